//! A program whose exec waits: between its fork and its exec a process can be looked at.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use libc::c_int;

/// Missing in libc; the same on all architectures.
const F_SETSIG: c_int = 10;

/// Whoever opens or executes the file waits while this lives: a write lease (fcntl(2)).
pub struct Lease(File);

impl Lease {
    /// Takes it.
    ///
    /// # Errors
    /// The file system has no leases, or some process has the file open.
    pub fn take(path: &Path) -> io::Result<Self> {
        let lease = Self(File::open(path)?);
        // The signal that says "somebody waits": the usual one would end this process.
        lease.control(F_SETSIG, libc::SIGURG)?;
        lease.control(libc::F_SETLEASE, libc::F_WRLCK)?;
        Ok(lease)
    }

    /// Whether somebody waits for the file.
    pub fn is_awaited(&self) -> bool {
        self.control(libc::F_GETLEASE, 0).unwrap() != libc::F_WRLCK
    }

    fn control(&self, request: c_int, argument: c_int) -> io::Result<c_int> {
        // SAFETY: three integers go in, and the descriptor is open.
        let answer = unsafe { libc::fcntl(self.0.as_raw_fd(), request, argument) };
        if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(answer) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A child of another test may have a copy of the descriptor for a moment.
        let _ = self.control(libc::F_SETLEASE, libc::F_UNLCK);
    }
}
