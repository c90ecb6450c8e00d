//! From an order of the emperor to the new process: the spawner, and what its children do before the exec.

pub mod child;
pub mod environment;
pub mod handed;
mod hook;
mod inheritance;
mod plan;
mod push;
pub mod spawner;
pub mod step;

pub use crate::sys::arena::Allocator;
pub use hook::HOOK_TIMEOUT;
pub use push::CONFIG_PUSH_TIMEOUT;
