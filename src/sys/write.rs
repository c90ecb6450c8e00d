//! Writing without waiting, to a descriptor whose open file description belongs to others as well.
//!
//! Standard error is shared with whoever started us, so `O_NONBLOCK` must not be set on it: the shell
//! or a vassal would meet `EAGAIN`. Each call here asks for "not now" by itself instead.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::c_int;

use super::{check, retry};

/// Sends on a socket without waiting and without SIGPIPE.
///
/// # Errors
/// `EAGAIN` if nothing fits now, `EPIPE` or `ECONNRESET` if the reader is gone.
///
/// # Source
/// send(2): `MSG_DONTWAIT`, `MSG_NOSIGNAL`.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    retry(|| {
        // SAFETY: the kernel reads `bytes.len()` bytes from a live slice and keeps no pointer to it.
        let sent = unsafe {
            libc::send(
                socket.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(sent).map_err(|_negative| io::Error::last_os_error())
    })
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
        // SAFETY: one element is announced and one is passed; it describes a live slice, which the
        // kernel only reads although `iovec` has no const pointer.
        let written = unsafe { libc::pwritev2(fd.as_raw_fd(), &part, 1, -1, libc::RWF_NOWAIT) };
        usize::try_from(written).map_err(|_negative| io::Error::last_os_error())
    })
}

/// Tells whether poll(2) would let a few bytes through now; hang-up and error count as yes, so that
/// the write that follows can report them.
///
/// # Errors
/// `ENOMEM`; `EINVAL` if not even one descriptor may be polled (`RLIMIT_NOFILE` is 0).
pub fn is_writable(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    retry(|| {
        // SAFETY: one entry is announced and one is passed; it outlives the call, which does not wait.
        check(unsafe { libc::poll(&mut entry, 1, 0) }).map(|ready: c_int| ready > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::{is_writable, send, write_now};
    use std::io::{self, Read};
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
        assert!(!is_writable(writer.as_fd()).unwrap());
        reader.read_exact(&mut [0; 4096]).unwrap();
        assert!(is_writable(writer.as_fd()).unwrap());
        assert_eq!(write_now(writer.as_fd(), &chunk).unwrap(), chunk.len());
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error_and_no_signal() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert_eq!(send(ours.as_fd(), b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert!(is_writable(writer.as_fd()).unwrap());
    }
}
