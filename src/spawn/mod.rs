//! From plan to fork to exec. Everything that can be prepared is prepared before the fork.

pub mod child;
pub mod environment;
pub mod hook;
pub mod plan;
pub mod push;
pub mod step;
pub mod template;
