//! The servers of the emperor: what answers the clients that connect to it.

pub mod server;
pub mod statistics;
