//! Several descriptors behind one: an epoll set that is only polled, never waited on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

/// What of a descriptor makes the bundle readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something can be read.
    Read,
    /// Something urgent, such as a change of the mount table.
    Urgent,
}

/// One descriptor that is readable while any of its members has news. A member leaves by being closed.
pub struct Bundle(Epoll);

impl Bundle {
    /// An empty bundle: never readable.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// Adds a member; the caller keeps it.
    ///
    /// # Errors
    /// `ENOMEM`, `ENOSPC` (`fs.epoll.max_user_watches`).
    pub fn add(&self, member: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
        let flags = match interest {
            Interest::Read => EpollFlags::EPOLLIN,
            Interest::Urgent => EpollFlags::EPOLLPRI,
        };
        Ok(self.0.add(member, EpollEvent::new(flags, 0))?)
    }
}

impl AsFd for Bundle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}
