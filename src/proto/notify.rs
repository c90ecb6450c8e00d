//! The names of notify sockets in the runtime directory, on which the stage that makes one and the emperor that
//! removes it agree.

const PREFIX: &str = "notify.";

/// The name of the socket of this process of this emperor.
pub fn name(emperor: u32, pid: i32) -> String {
    format!("{PREFIX}{emperor}.{pid}")
}

/// Whether a file has the name of a notify socket.
pub fn is_name(name: &str) -> bool {
    name.starts_with(PREFIX)
}
