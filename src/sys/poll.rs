//! poll(2) over a few descriptors, and the epoll set that holds the many quiet ones.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::{check, fd, retry};

/// What a descriptor is waited for; hang-up and error always count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something can be read or accepted.
    Read,
    /// Something can be written.
    Write,
    /// An exceptional condition, as `/proc/self/mountinfo` raises it.
    Exception,
}

/// The array of poll(2), kept between two calls; it has no empty slots, because the kernel counts
/// them against `RLIMIT_NOFILE`.
#[derive(Debug, Default)]
pub struct PollSet {
    entries: Vec<libc::pollfd>,
}

impl PollSet {
    /// Adds a descriptor at the end.
    pub fn push(&mut self, descriptor: BorrowedFd<'_>, interest: Interest) {
        let events = match interest {
            Interest::Read => libc::POLLIN,
            Interest::Write => libc::POLLOUT,
            Interest::Exception => libc::POLLPRI,
        };
        self.entries.push(libc::pollfd { fd: descriptor.as_raw_fd(), events, revents: 0 });
    }

    /// Takes one out; the last one gets its place.
    pub fn swap_remove(&mut self, index: usize) {
        if index < self.entries.len() {
            self.entries.swap_remove(index);
        }
    }

    /// Waits until one is ready or the time is over; without a limit, for ever. `EINTR` is nothing
    /// ready.
    ///
    /// # Errors
    /// `EINVAL` if there are more than `RLIMIT_NOFILE` entries, `ENOMEM`.
    pub fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        for entry in &mut self.entries {
            entry.revents = 0;
        }
        fd::poll(&mut self.entries, limit)
    }

    /// The places of those that were ready.
    pub fn ready(&self) -> impl Iterator<Item = usize> {
        self.places(|revents| revents != 0 && revents & libc::POLLNVAL == 0)
    }

    /// The last place whose descriptor was not open, by a fault of the caller's.
    pub fn last_closed(&self) -> Option<usize> {
        self.places(|revents| revents & libc::POLLNVAL != 0).last()
    }

    fn places(&self, are: impl Fn(libc::c_short) -> bool) -> impl Iterator<Item = usize> {
        let place =
            move |(index, entry): (usize, &libc::pollfd)| are(entry.revents).then_some(index);
        self.entries.iter().enumerate().filter_map(place)
    }
}

/// A set of descriptors in the kernel; readable itself when one of them is.
#[derive(Debug)]
pub struct Epoll {
    set: OwnedFd,
    found: Vec<libc::epoll_event>,
}

impl Epoll {
    /// An empty set; one look finds at most `most`.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new(most: usize) -> io::Result<Self> {
        // SAFETY: an integer goes in, an integer comes out.
        let created = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel has just handed us `created`; nothing else owns it yet.
        let set = unsafe { OwnedFd::from_raw_fd(created) };
        Ok(Self { set, found: vec![libc::epoll_event { events: 0, u64: 0 }; most] })
    }

    /// Adds a descriptor, to be found readable under this key.
    ///
    /// # Errors
    /// `EEXIST`, `ENOMEM`, `ENOSPC` (`max_user_watches`), `EPERM` for a regular file.
    pub fn add(&self, descriptor: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: key };
        self.control(libc::EPOLL_CTL_ADD, descriptor.as_raw_fd(), &raw mut event)
    }

    /// Takes it out; must come before it is closed, because a copy of it in another process would
    /// keep it in the set.
    ///
    /// # Errors
    /// `ENOENT` if it is not in the set, `EBADF` if it is closed already.
    pub fn remove(&self, descriptor: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, descriptor, std::ptr::null_mut())
    }

    fn control(&self, what: i32, fd: RawFd, event: *mut libc::epoll_event) -> io::Result<()> {
        // SAFETY: `event` is null or points to a live event of the caller; the kernel only reads it.
        check(unsafe { libc::epoll_ctl(self.set.as_raw_fd(), what, fd, event) }).map(drop)
    }

    /// The keys of those that are ready now, without waiting.
    ///
    /// # Errors
    /// None that can happen here.
    pub fn ready(&mut self) -> io::Result<impl Iterator<Item = u64>> {
        let most = i32::try_from(self.found.len()).unwrap_or(i32::MAX);
        let (set, into) = (self.set.as_raw_fd(), self.found.as_mut_ptr());
        // SAFETY: the kernel writes at most `most` events into `found`, which has that length.
        let count = retry(|| check(unsafe { libc::epoll_wait(set, into, most, 0) }))?;
        let count = usize::try_from(count).unwrap_or(0);
        Ok(self.found.iter().take(count).map(|event| event.u64))
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }
}
