//! The controlling terminal: which process group has the foreground.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::unistd;

use super::{call, fd};

/// Opens the controlling terminal.
///
/// # Errors
/// `ENXIO` if this session has none.
pub fn open() -> io::Result<OwnedFd> {
    fd::open_both(c"/dev/tty")
}

/// The group that has the foreground.
///
/// # Errors
/// `ENOTTY`, `EIO` if it is not (or no longer) our terminal.
pub fn foreground(terminal: BorrowedFd<'_>) -> io::Result<i32> {
    Ok(unistd::tcgetpgrp(terminal)?.as_raw())
}

/// Gives the foreground to a group of our session. SIGTTOU must be blocked, or this stops a process
/// that is in the background itself.
///
/// # Errors
/// `EPERM` if it is no group of our session, `ENOTTY`.
pub fn set_foreground(terminal: BorrowedFd<'_>, group: i32) -> io::Result<()> {
    call(|| unistd::tcsetpgrp(terminal, unistd::Pid::from_raw(group)))
}
