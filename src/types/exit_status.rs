//! How a process has ended.

use std::fmt;

use super::signal;

/// The status of a program that is there and cannot be executed, as the shells have it.
pub const NOT_EXECUTABLE: u8 = 126;
/// The status of a program that is not there.
pub const NOT_FOUND: u8 = 127;

/// What wait(2) says about a process that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited by itself with this status, 0 to 255.
    Code(i32),
    /// This signal has ended it.
    Signal(i32),
    /// This signal has ended it, and it has left a core dump.
    CoreDump(i32),
}

impl ExitStatus {
    /// The signal that has ended it.
    #[must_use]
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Code(_) => None,
            Self::Signal(signal) | Self::CoreDump(signal) => Some(signal),
        }
    }

    /// The exit status that a shell would show: 128 + signal for one that was killed.
    #[must_use]
    pub fn shell_code(self) -> u8 {
        let code = match self {
            Self::Code(code) => code,
            Self::Signal(signal) | Self::CoreDump(signal) => signal.saturating_add(128),
        };
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = match self {
            Self::Code(code) => return write!(f, "exit {code}"),
            Self::Signal(number) | Self::CoreDump(number) => *number,
        };
        match u8::try_from(number).ok().and_then(signal::name) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "signal {number}")?,
        }
        if matches!(self, Self::CoreDump(_)) { f.write_str(", core dumped") } else { Ok(()) }
    }
}
