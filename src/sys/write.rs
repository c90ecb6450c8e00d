//! Writing without waiting, to a descriptor whose open file description belongs to others as well.
//!
//! Standard error is shared with the process that has started us, so `O_NONBLOCK` must not be set on it: the
//! shell or a vassal would get `EAGAIN`. Instead each call here asks the kernel not to wait.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::poll::{self, Interest};
use super::{check, fd, retry};

/// Opens the pipe or terminal behind a descriptor once more, for writing: a description of our own,
/// with `O_NONBLOCK`, while the shared one stays as it is.
///
/// # Errors
/// `ENOENT` without /proc; `EACCES` for a terminal or pipe of another user; `ENXIO` for a socket, or a
/// pipe that nobody reads.
///
/// # Source
/// proc_pid_fd(5): the links lead to the file itself, whatever its name has become.
pub fn open_again(fd: BorrowedFd<'_>) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// Opens a log file for appending, creating it with mode 0640 less the umask; `O_NONBLOCK`, so that
/// neither the open nor a write waits for the reader of a named pipe.
///
/// # Errors
/// Those of open(2); `ENXIO` for a named pipe that nobody reads.
pub fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

/// The same, but a file that is not there yet is given to this user and group. One that is there keeps its owner:
/// its name may have been put there by somebody who has no right to what it leads to.
///
/// # Errors
/// Those of open(2) and fchown(2).
pub fn open_log_of(path: &Path, uid: Option<u32>, gid: Option<u32>) -> io::Result<File> {
    let made = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o640)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    match made {
        Ok(file) => {
            std::os::unix::fs::fchown(&file, uid, gid)?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open_log(path),
        Err(error) => Err(error),
    }
}

/// The descriptor that a name means: `/dev/stdout` and the like are the open file itself, whatever it is, where a
/// second open would be refused (a socket, a pipe of another user).
pub fn descriptor_named(path: &Path) -> Option<RawFd> {
    let name = path.to_str()?;
    match name {
        "/dev/stdin" => Some(0),
        "/dev/stdout" => Some(1),
        "/dev/stderr" => Some(2),
        _ => {
            let number =
                name.strip_prefix("/dev/fd/").or_else(|| name.strip_prefix("/proc/self/fd/"))?;
            let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            number.parse().ok().filter(|_| is_number)
        }
    }
}

/// Ends our side of a stream socket: the reader gets the end of file behind what was sent, and may
/// still write.
///
/// # Errors
/// `ENOTCONN` if the reader is gone.
pub fn shutdown_write(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: two integers go in; no memory of ours is touched. Raw as all of sockets: see there.
    check(unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_WR) }).map(|_zero| ())
}

/// Writes to a pipe at once or not at all, at the position that all holders of the file share.
///
/// # Errors
/// `EAGAIN` if nothing fits now; `EOPNOTSUPP` if the kind of file does not know the flag (terminals
/// never do, pipes do since Linux 6.4); `EPIPE` if the reader is gone and SIGPIPE is ignored.
///
/// # Source
/// pwritev2(2): `RWF_NOWAIT`, offset -1.
pub fn write_now(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    retry(|| {
        // SAFETY: nix does not know this call; one element is announced and one is passed; it describes a live slice, which the
        // kernel only reads although `iovec` has no const pointer.
        let written = unsafe { libc::pwritev2(fd.as_raw_fd(), &part, 1, -1, libc::RWF_NOWAIT) };
        usize::try_from(written).map_err(|_negative| io::Error::last_os_error())
    })
}

/// Writes one line, unless that would have to wait, in parts that a reader of a pipe takes whole.
///
/// A terminal or pipe that is ready for anything has room for at least 4096 bytes, or for a short line; what
/// is longer is cut.
pub fn say(to: BorrowedFd<'_>, line: fmt::Arguments<'_>) {
    const LONGEST: usize = 2000;
    let mut text = line.to_string();
    text.truncate(text.floor_char_boundary(LONGEST));
    text.push('\n');
    if write_now(to, text.as_bytes()).is_err()
        && poll::is_ready(to, Interest::Write).unwrap_or(false)
    {
        let _ = fd::write(to, text.as_bytes());
    }
}

/// A terminal for tests: its outer end, which a terminal program would hold, and its inner end.
#[cfg(test)]
pub(crate) fn terminal() -> (File, File) {
    let pair = nix::pty::openpty(None, None).unwrap();
    (pair.master.into(), pair.slave.into())
}

#[cfg(test)]
mod tests {
    use super::{shutdown_write, write_now};
    use crate::sys::poll::{Interest, is_ready};
    use std::io::{self, Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_full_pipe_refuses_at_once_and_takes_more_when_it_was_read() {
        let (mut reader, writer) = io::pipe().unwrap();
        let chunk = [b'x'; 4096];
        let mut total = 0;
        let refusal = loop {
            match write_now(writer.as_fd(), &chunk) {
                Ok(written) => total += written,
                Err(error) => break error,
            }
        };
        if refusal.raw_os_error() == Some(libc::EOPNOTSUPP) {
            println!("skipped: this kernel's pipes do not know RWF_NOWAIT");
            return;
        }
        assert_eq!(refusal.kind(), io::ErrorKind::WouldBlock);
        assert!(total > 0);
        assert!(!is_ready(writer.as_fd(), Interest::Write).unwrap());
        reader.read_exact(&mut [0; 4096]).unwrap();
        assert!(is_ready(writer.as_fd(), Interest::Write).unwrap());
        assert_eq!(write_now(writer.as_fd(), &chunk).unwrap(), chunk.len());
    }

    #[test]
    fn a_pipe_without_a_reader_counts_as_writable() {
        let _quiet = crate::sys::test_fork_lock::none();
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert!(is_ready(writer.as_fd(), Interest::Write).unwrap());
    }

    #[test]
    fn an_ended_stream_can_still_be_read_from() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        shutdown_write(ours.as_fd()).unwrap();
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
        theirs.write_all(b"x").unwrap();
        assert_eq!(ours.read(&mut [0]).unwrap(), 1);
    }
}
