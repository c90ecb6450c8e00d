//! inotify(7): watches and events.
//!
//! A watch is put on an open descriptor, never on a path: what was looked at is what is watched. The
//! parser takes any bytes; what is no whole event ends it.

use std::ffi::{CString, OsStr};
use std::io;
use std::ops::BitOr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use nix::sys::inotify::{AddWatchFlags, InitFlags};

use super::{call, check, fd};

/// Kinds of events: what a watch asks for, what an event tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchMask(u32);

impl WatchMask {
    /// Asks for nothing.
    pub const NONE: Self = Self(0);
    /// The content of a file was changed by write(2) or truncate(2).
    pub const MODIFY: Self = Self(libc::IN_MODIFY);
    /// Times, owner, mode or the number of links changed.
    pub const ATTRIB: Self = Self(libc::IN_ATTRIB);
    /// A file that was open for writing was closed.
    pub const CLOSE_WRITE: Self = Self(libc::IN_CLOSE_WRITE);
    /// An entry of the directory was moved away.
    pub const MOVED_FROM: Self = Self(libc::IN_MOVED_FROM);
    /// An entry was moved into the directory.
    pub const MOVED_TO: Self = Self(libc::IN_MOVED_TO);
    /// An entry was made in the directory, a link too.
    pub const CREATE: Self = Self(libc::IN_CREATE);
    /// An entry of the directory was removed.
    pub const DELETE: Self = Self(libc::IN_DELETE);
    /// The watched object is gone for good; not told while anybody holds it open or works in it.
    pub const DELETE_SELF: Self = Self(libc::IN_DELETE_SELF);
    /// The watched object was moved.
    pub const MOVE_SELF: Self = Self(libc::IN_MOVE_SELF);
    /// The queue was full and events are lost; the watch of this event is -1.
    pub const OVERFLOW: Self = Self(libc::IN_Q_OVERFLOW);
    /// The watch has ended; its number is not used again.
    pub const IGNORED: Self = Self(libc::IN_IGNORED);
    /// In an event: the entry is a directory.
    pub const IS_DIRECTORY: Self = Self(libc::IN_ISDIR);
    /// In a request: nothing is told of entries that have no name any more.
    pub const EXCEPT_UNLINKED: Self = Self(libc::IN_EXCL_UNLINK);
    /// In a request: add to what the watch asks for, instead of replacing it.
    pub const ADD: Self = Self(libc::IN_MASK_ADD);

    /// Both together; `|` for constants.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any kind in `other` is in here.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for WatchMask {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

/// The number of a watch in its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatchDescriptor(i32);

/// One event, its name still in the buffer of the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InotifyEvent<'a> {
    /// Where it happened.
    pub watch: WatchDescriptor,
    /// What happened.
    pub mask: WatchMask,
    /// The same in both halves of a move, otherwise 0.
    pub cookie: u32,
    /// The entry of a watched directory; empty if the event is about the watched object itself.
    pub name: &'a OsStr,
}

/// One inotify instance. A user has few of them (`fs.inotify.max_user_instances`).
pub struct Inotify(nix::sys::inotify::Inotify);

impl Inotify {
    /// Opens an instance that never blocks.
    ///
    /// # Errors
    /// `EMFILE` if this process or this user has no instance left, `ENFILE`, `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
        Ok(Self(nix::sys::inotify::Inotify::init(flags)?))
    }

    /// Watches an open object, which may be an `O_PATH` descriptor, also of a symbolic link. The same
    /// object has the same watch, and asks from now on for `mask` alone (see [`WatchMask::ADD`]).
    ///
    /// # Errors
    /// `ENOSPC` if the user has no watch left, `EACCES` if the object cannot be read, `ENOENT`
    /// without /proc, `ENOMEM`.
    pub fn watch(&self, object: BorrowedFd<'_>, mask: WatchMask) -> io::Result<WatchDescriptor> {
        let path = CString::new(format!("/proc/self/fd/{}", object.as_raw_fd()))?;
        let mask = AddWatchFlags::from_bits_retain(mask.0);
        call(|| self.0.add_watch(path.as_c_str(), mask))
            .map(|watch| WatchDescriptor(watch.as_raw()))
    }

    /// Ends a watch; one that the kernel has ended already is no error.
    pub fn forget(&self, watch: WatchDescriptor) {
        // SAFETY: two numbers go in; no memory of ours is touched. nix takes only a watch that it has made
        // itself, and this one may come from an event.
        let _ended = check(unsafe { libc::inotify_rm_watch(self.as_fd().as_raw_fd(), watch.0) });
    }

    /// Fills `buffer` with whole events and gives their length; 0 if there are none now.
    ///
    /// # Errors
    /// `EINVAL` if `buffer` has no room for one event (272 bytes).
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // Not by nix, which allocates for each event, and takes 4 KiB at once.
        match fd::read(self.as_fd(), buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            result => result,
        }
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The events in what [`Inotify::read`] gave, in the order of the kernel.
pub fn events(bytes: &[u8]) -> InotifyEvents<'_> {
    InotifyEvents { rest: bytes }
}

/// Iterator of [`events`].
pub struct InotifyEvents<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for InotifyEvents<'a> {
    type Item = InotifyEvent<'a>;

    fn next(&mut self) -> Option<InotifyEvent<'a>> {
        let (watch, rest) = self.rest.split_first_chunk()?;
        let (mask, rest) = rest.split_first_chunk()?;
        let (cookie, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(u32::from_ne_bytes(*length).try_into().ok()?)?;
        self.rest = rest;
        // The kernel fills the name up with NUL bytes.
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(InotifyEvent {
            watch: WatchDescriptor(i32::from_ne_bytes(*watch)),
            mask: WatchMask(u32::from_ne_bytes(*mask)),
            cookie: u32::from_ne_bytes(*cookie),
            name: OsStr::from_bytes(name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn raw(watch: i32, mask: u32, cookie: u32, name: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(watch.to_ne_bytes());
        bytes.extend(mask.to_ne_bytes());
        bytes.extend(cookie.to_ne_bytes());
        bytes.extend((name.len() as u32).to_ne_bytes());
        bytes.extend(name);
        bytes
    }

    #[test]
    fn events_are_parsed_with_their_names() {
        let mut bytes = raw(1, libc::IN_CREATE, 0, b"a.ini\0\0\0");
        bytes.extend(raw(-1, libc::IN_Q_OVERFLOW, 7, b""));
        let parsed: Vec<_> = events(&bytes).collect();
        assert_eq!(parsed.len(), 2);
        assert_eq!((parsed[0].watch, parsed[0].name), (WatchDescriptor(1), OsStr::new("a.ini")));
        assert!(parsed[0].mask.has(WatchMask::CREATE) && !parsed[0].mask.has(WatchMask::DELETE));
        assert_eq!((parsed[1].mask, parsed[1].cookie), (WatchMask::OVERFLOW, 7));
    }

    #[test]
    fn bytes_that_are_no_event_end_the_parser() {
        let whole = raw(1, libc::IN_CREATE, 0, b"a.ini\0\0\0");
        for length in 0..whole.len() {
            assert_eq!(events(&whole[..length]).count(), 0);
        }
        assert_eq!(events(&[0xff; 100]).count(), 0);
    }

    #[test]
    fn a_link_itself_can_be_watched_through_its_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        let inotify = Inotify::new().unwrap();
        let above = crate::sys::dir::open(folder.path()).unwrap();
        let object = crate::sys::dir::open_path_at(above.as_fd(), OsStr::new("link")).unwrap();
        let watch =
            inotify.watch(object.as_fd(), WatchMask::ATTRIB | WatchMask::MOVE_SELF).unwrap();
        drop(object);
        fs::rename(&link, folder.path().join("other")).unwrap();
        let mut buffer = [0; 4096];
        let length = inotify.read(&mut buffer).unwrap();
        let seen: Vec<_> = events(&buffer[..length]).collect();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].watch, watch);
        assert!(seen[0].mask.has(WatchMask::MOVE_SELF));
        assert_eq!(inotify.read(&mut buffer).unwrap(), 0);
    }
}
