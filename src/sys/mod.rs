//! Kernel calls behind safe types: one call a wrapper, close-on-exec at birth, `EINTR` retried where
//! that is right. The only place with `unsafe` besides the child between fork and exec.
#![allow(unsafe_code)]

pub mod accept;
pub mod address;
pub mod arena;
pub mod caps;
pub mod clock;
pub mod command;
pub mod creds;
pub mod descendants;
pub mod dir;
pub mod fd;
pub mod inotify;
pub mod limits;
pub mod listeners;
pub mod mark;
pub mod memory;
pub mod mounts;
pub mod oom;
pub mod pidfd;
pub mod poll;
pub mod prctl;
pub mod process;
pub mod scm;
pub mod signal;
pub mod socket;
#[cfg(test)]
pub(crate) mod test_fork_lock;
pub mod title;
pub mod tty;
pub mod waiters;
pub mod write;

use std::io;

use libc::{c_int, c_long};

/// Turns the C convention (-1 and `errno`) into a result.
///
/// # Errors
/// The calling thread's `errno` if `returned` is -1.
pub(crate) fn check(returned: c_int) -> io::Result<c_int> {
    if returned == -1 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

/// The same for what `libc::syscall` returns, where the result is a descriptor or another `int`.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_long(returned: c_long) -> io::Result<c_int> {
    check(c_int::try_from(returned).map_err(io::Error::other)?)
}

/// Makes a call of the nix crate, and repeats it when a signal has interrupted it.
///
/// # Errors
/// Whatever the call gives, but never `EINTR`.
pub(crate) fn call<T>(mut run: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    retry(|| run().map_err(io::Error::from))
}

/// Repeats a call that a signal has interrupted.
///
/// # Errors
/// Whatever the call gives, but never `EINTR`.
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
