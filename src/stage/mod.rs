//! The stage: liege exec'd to start one vassal. It reads the vassal file, binds, drops privileges, gives
//! its verdict on the status socket and execs the application; nothing of it stays.

pub mod environment;
mod failure;
pub mod patch;
pub mod privileges;
pub mod sockets;
