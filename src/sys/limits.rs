//! Limits of a process, for itself and what it executes.

use std::io;

use super::check;

/// Limits the address space to so many bytes.
///
/// # Errors
/// `EPERM` above the present hard limit without the privilege.
pub fn set_address_space(bytes: u64) -> io::Result<()> {
    let limit = both(bytes);
    // SAFETY: `limit` is ours and outlives the call, which only reads it.
    check(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }).map(drop)
}

/// Limits the number of descriptors.
///
/// # Errors
/// `EPERM` above the present hard limit without the privilege, or above the sysctl `fs.nr_open`.
pub fn set_descriptors(count: u64) -> io::Result<()> {
    let limit = both(count);
    // SAFETY: as above.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(drop)
}

/// What counts, and up to where it may be raised.
fn both(number: u64) -> libc::rlimit {
    libc::rlimit { rlim_cur: number, rlim_max: number }
}
