//! The mount table: told when it changes, never read.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::poll::{self, Interest};

/// News of mounts and unmounts in our mount namespace (proc(5), `/proc/pid/mountinfo`).
///
/// A poll uses the news up, so there are two descriptors: one to be woken by, which others poll, and
/// one to ask.
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

    /// What to poll for urgent news; never for reading, which it always is.
    pub fn wakes(&self) -> BorrowedFd<'_> {
        self.wakes.as_fd()
    }

    /// Whether anything was mounted or unmounted since this was last asked.
    pub fn changed(&self) -> bool {
        // A change that is lost to an error (ENOMEM) would be lost for good: count it as one.
        poll::is_ready(self.asked.as_fd(), Interest::Exception).unwrap_or(true)
    }
}
