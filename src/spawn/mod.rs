//! From plan to fork to exec.

pub mod step;
