//! poll(2) over a few descriptors, and the epoll set that holds the many quiet ones.
//!
//! ppoll is called raw: the array is kept between two calls, and the entries of nix borrow their descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use libc::c_short;
use nix::sys::epoll::{self, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{call, check};

/// The state in which a descriptor is ready; hang-up and error always count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something can be read or accepted.
    Read,
    /// Something can be written.
    Write,
    /// An exceptional condition, as `/proc/self/mountinfo` raises it.
    Exception,
}

impl Interest {
    fn events(self) -> c_short {
        match self {
            Self::Read => libc::POLLIN,
            Self::Write => libc::POLLOUT,
            Self::Exception => libc::POLLPRI,
        }
    }
}

/// Whether a descriptor is ready now; hang-up and error count as yes, so that the call that follows can report
/// them.
///
/// # Errors
/// `ENOMEM`; `EINVAL` if not even one descriptor may be polled (`RLIMIT_NOFILE` is 0).
pub fn is_ready(descriptor: BorrowedFd<'_>, interest: Interest) -> io::Result<bool> {
    is_any(descriptor, interest.events())
}

/// Whether both directions of a connection, or a listener, were shut down.
///
/// # Errors
/// As [`is_ready`].
pub fn is_hung_up(descriptor: BorrowedFd<'_>) -> io::Result<bool> {
    is_any(descriptor, libc::POLLRDHUP)
}

fn is_any(descriptor: BorrowedFd<'_>, events: c_short) -> io::Result<bool> {
    let mut set = [entry(descriptor, events)];
    poll(&mut set, Some(Duration::ZERO))?;
    let [entry] = set;
    Ok(entry.revents != 0)
}

pub(super) fn entry(descriptor: BorrowedFd<'_>, events: c_short) -> libc::pollfd {
    libc::pollfd { fd: descriptor.as_raw_fd(), events, revents: 0 }
}

pub(super) fn poll(set: &mut [libc::pollfd], limit: Option<Duration>) -> io::Result<()> {
    for entry in &mut *set {
        entry.revents = 0;
    }
    // Not poll(2), whose milliseconds would double the shortest waits.
    let limit = limit.map(|limit| libc::timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: limit.subsec_nanos() as libc::c_long,
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let length = libc::nfds_t::try_from(set.len()).map_err(io::Error::other)?;
    // SAFETY: `set` has `length` entries, is ours and outlives the call, and so does what `limit` points
    // to, if it points anywhere; without a mask the signals are left alone.
    match check(unsafe { libc::ppoll(set.as_mut_ptr(), length, limit, std::ptr::null()) }) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
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
        self.entries.push(entry(descriptor, interest.events()));
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
        poll(&mut self.entries, limit)
    }

    /// The places of those that were ready.
    pub fn ready(&self) -> impl Iterator<Item = usize> {
        self.places(|revents| revents != 0 && revents & libc::POLLNVAL == 0)
    }

    /// The last place whose descriptor was not open, by a fault of the caller's.
    pub fn last_closed(&self) -> Option<usize> {
        self.places(|revents| revents & libc::POLLNVAL != 0).last()
    }

    fn places(&self, are: impl Fn(c_short) -> bool) -> impl Iterator<Item = usize> {
        let place =
            move |(index, entry): (usize, &libc::pollfd)| are(entry.revents).then_some(index);
        self.entries.iter().enumerate().filter_map(place)
    }
}

/// A set of descriptors in the kernel; readable itself when one of them is ready.
#[derive(Debug)]
pub struct Epoll {
    set: epoll::Epoll,
    found: Vec<EpollEvent>,
}

impl Epoll {
    /// An empty set; one look finds at most `most`.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new(most: usize) -> io::Result<Self> {
        let set = epoll::Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { set, found: vec![EpollEvent::empty(); most] })
    }

    /// Adds a descriptor, to be found under this key. The caller keeps it.
    ///
    /// # Errors
    /// `EEXIST`, `ENOMEM`, `ENOSPC` (`max_user_watches`), `EPERM` for a regular file.
    pub fn add(&self, member: BorrowedFd<'_>, interest: Interest, key: u64) -> io::Result<()> {
        let flags = match interest {
            Interest::Read => EpollFlags::EPOLLIN,
            Interest::Write => EpollFlags::EPOLLOUT,
            Interest::Exception => EpollFlags::EPOLLPRI,
        };
        Ok(self.set.add(member, EpollEvent::new(flags, key))?)
    }

    /// Takes it out; must come before it is closed, unless no other process has a copy, which would
    /// keep it in the set.
    ///
    /// # Errors
    /// `ENOENT` if it is not in the set.
    pub fn remove(&self, member: BorrowedFd<'_>) -> io::Result<()> {
        Ok(self.set.delete(member)?)
    }

    /// The keys of those that are ready now, without waiting.
    ///
    /// # Errors
    /// None that can happen here.
    pub fn ready(&mut self) -> io::Result<impl Iterator<Item = u64>> {
        let count = call(|| self.set.wait(&mut self.found, EpollTimeout::ZERO))?;
        Ok(self.found.iter().take(count).map(EpollEvent::data))
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.set.0.as_fd()
    }
}
