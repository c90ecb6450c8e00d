//! Under construction.

pub mod notify;
pub mod stats;
