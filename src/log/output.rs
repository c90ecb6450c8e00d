//! Where log lines go, and how to write there without ever waiting.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::io::ErrorKind::{InvalidInput, Unsupported};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::sys::poll::{self, Interest};
use crate::sys::{fd, socket, write};

/// A poll that says "writable" promises at least this much, on terminals (the driver counts its room
/// in blocks of 256 bytes) as on pipes (pages).
const ALWAYS_FITS: usize = 64;

/// How a write is kept from waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Plain write(2): a file on disk, or an open file description of our own with `O_NONBLOCK`.
    Plain,
    /// `RWF_NOWAIT`: a shared description that could not be opened again.
    AtOnce,
    /// Small pieces, each after a poll: shared, and of a kind that does not know `RWF_NOWAIT`.
    Polled,
    /// `MSG_DONTWAIT`.
    Socket,
}

/// An open target.
pub(super) struct LogOutput {
    pub(super) file: File,
    pub(super) way: Way,
    pub(super) is_on_disk: bool,
}

impl LogOutput {
    /// Prepares a descriptor that others hold as well; what they see of it does not change.
    ///
    /// # Errors
    /// `EBADF` if it is closed, `EMFILE`.
    pub(super) fn shared(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let file = File::from(fd.try_clone_to_owned()?);
        let kind = file.metadata()?.file_type();
        let is_on_disk = kind.is_file();
        if kind.is_socket() {
            return Ok(Self { file, way: Way::Socket, is_on_disk });
        }
        if !kind.is_fifo() && !kind.is_char_device() {
            return Ok(Self { file, way: Way::Plain, is_on_disk });
        }
        // Refused without /proc, and for a terminal that belongs to the user we were switched from.
        Ok(match write::open_again(file.as_fd()) {
            Ok(own) => Self { file: own, way: Way::Plain, is_on_disk },
            Err(_refused) => Self { file, way: Way::AtOnce, is_on_disk },
        })
    }

    /// Opens a log file, creating it with mode 0640 less the umask.
    ///
    /// # Errors
    /// Those of open(2); `ENXIO` for a named pipe that nobody reads.
    pub(super) fn append(path: &Path) -> io::Result<Self> {
        let file = write::open_log(path)?;
        let is_on_disk = file.metadata()?.is_file();
        Ok(Self { file, way: Way::Plain, is_on_disk })
    }

    /// The descriptor, if it is a file on disk; only such a one may be handed on, for all others
    /// carry `O_NONBLOCK`.
    pub(super) fn on_disk(&self) -> Option<BorrowedFd<'_>> {
        self.is_on_disk.then(|| self.file.as_fd())
    }

    /// Whether this is the stream that `$JOURNAL_STREAM` names as `device:inode` (sd-daemon(3)).
    pub(super) fn is_journal(&self, journal_stream: &OsStr) -> bool {
        let Ok(metadata) = self.file.metadata() else { return false };
        journal_stream.to_str().and_then(|text| text.split_once(':')).is_some_and(
            |(device, inode)| {
                device.parse() == Ok(metadata.dev()) && inode.parse() == Ok(metadata.ino())
            },
        )
    }

    /// Writes now, all, a part, or nothing.
    ///
    /// # Errors
    /// `EAGAIN` if nothing fits now, `EPIPE`, `ENOSPC`, `EIO` …
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.way {
            Way::Plain => fd::write(self.file.as_fd(), bytes),
            Way::Socket => socket::send(self.file.as_fd(), bytes),
            Way::Polled => self.write_in_pieces(bytes),
            Way::AtOnce => match write::write_now(self.file.as_fd(), bytes) {
                Err(error) if matches!(error.kind(), Unsupported | InvalidInput) => {
                    self.way = Way::Polled;
                    self.write_in_pieces(bytes)
                }
                result => result,
            },
        }
    }

    fn write_in_pieces(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        // A newline goes alone: the terminal makes two characters of it in a step of their own, which
        // waits if the text before it has taken the last block (seen, Linux 6.18).
        let parts = bytes.chunk_by(|&byte, &next| byte != b'\n' && next != b'\n');
        for piece in parts.flat_map(|part| part.chunks(ALWAYS_FITS)) {
            let result = match poll::is_ready(self.file.as_fd(), Interest::Write) {
                Ok(true) => fd::write(self.file.as_fd(), piece),
                Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => Err(error),
            };
            match result {
                Ok(part) => {
                    written += part;
                    if part < piece.len() {
                        break;
                    }
                }
                Err(error) if written == 0 => return Err(error),
                Err(_ends_here) => break,
            }
        }
        Ok(written)
    }
}
