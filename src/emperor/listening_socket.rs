//! A listening socket, and whether clients still reach it by its address.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sys::dir;
use crate::sys::socket::{self, Address};

/// A listening socket, and which file clients find it by.
#[derive(Debug)]
pub struct ListeningSocket {
    pub(super) socket: OwnedFd,
    /// Device and number of the file of a unix socket, where it could be seen.
    file: Option<(u64, u64)>,
}

/// Why clients cannot reach a listener any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketLoss {
    /// A program has shut it down, for all processes that hold it.
    ShutDown,
    /// Its file is removed.
    Removed,
    /// Another file has its name.
    Replaced,
}

impl fmt::Display for SocketLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShutDown => "was shut down by a program",
            Self::Removed => "cannot be reached any more: somebody has removed its file",
            Self::Replaced => {
                "cannot be reached any more: somebody has put another file in its place"
            }
        })
    }
}

impl ListeningSocket {
    /// A listener that was bound a moment ago; relative paths count from `directory`.
    pub fn new(socket: OwnedFd, directory: &Path) -> Self {
        let file = path_of(&socket, directory).and_then(|path| inode(&path).ok());
        Self { socket, file }
    }

    /// Why clients cannot reach it any more, if so; that costs one lstat(2) for a unix socket.
    pub fn lost(&self, directory: &Path) -> Option<SocketLoss> {
        if socket::is_shut_down(self.socket.as_fd()) {
            return Some(SocketLoss::ShutDown);
        }
        let file = self.file?;
        match inode(&path_of(&self.socket, directory)?) {
            Ok(now) => (now != file).then_some(SocketLoss::Replaced),
            Err(error) => dir::is_not_found(&error).then_some(SocketLoss::Removed),
        }
    }

    /// Whether clients reach another listener at its path. That is left alone, as a program has bound the path on
    /// purpose.
    pub fn has_successor(&self, lost: SocketLoss, directory: &Path) -> bool {
        let path = || path_of(&self.socket, directory);
        lost == SocketLoss::Replaced && path().is_some_and(|path| socket::is_held(&path))
    }

    /// Whether it can be given to the next life. The stage finds out itself whether it was shut down or removed.
    pub fn is_of_use(&self, directory: &Path) -> bool {
        let lost = self.lost(directory);
        lost.is_none_or(|lost| lost != SocketLoss::Replaced || self.has_successor(lost, directory))
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn path_of(socket: &OwnedFd, directory: &Path) -> Option<PathBuf> {
    match socket::local_address(socket.as_fd()) {
        Ok(Some(Address::Path(path))) => Some(directory.join(path)),
        _ => None,
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let meta = std::fs::symlink_metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}
