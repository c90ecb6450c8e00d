//! Changes of the mount table, which itself is never read.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::poll::{self, Interest};

/// Tells of mounts and unmounts in our mount namespace (proc(5), `/proc/pid/mountinfo`).
///
/// A poll resets the state, so there are two descriptors: one that wakes the loop, and one for
/// [`Mounts::changed`].
pub struct Mounts {
    wakes: File,
    asked: File,
}

impl Mounts {
    /// Counts changes from now on.
    ///
    /// # Errors
    /// `ENOENT` without /proc, `EMFILE`.
    pub fn open() -> io::Result<Self> {
        const TABLE: &str = "/proc/self/mountinfo";
        Ok(Self { wakes: File::open(TABLE)?, asked: File::open(TABLE)? })
    }

    /// To be polled for an exceptional condition; it is always readable.
    pub fn wakes(&self) -> BorrowedFd<'_> {
        self.wakes.as_fd()
    }

    /// Whether anything was mounted or unmounted since this was last asked.
    pub fn changed(&self) -> bool {
        // A change that is lost to an error (ENOMEM) would be lost for good: count it as one.
        poll::is_ready(self.asked.as_fd(), Interest::Exception).unwrap_or(true)
    }
}
