//! The text of a vassal file, sent on the config pipe.
//!
//! The emperor opens no vassal file, which may be a tenant's and on a file system that hangs: a child
//! of the spawner does, the one that becomes the program or one that is made for this alone.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::proto::emperor::{MAX_CONFIG, config_header};
use crate::proto::uwsgi::HEADER_LENGTH;
use crate::sys::dir::{self, FileKind};
use crate::sys::{fd, socket};

/// A push that takes longer than this is given up.
pub const CONFIG_PUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends the file `name` of the working directory, unless a text that was sent before is still unread.
///
/// # Errors
/// Those of open(2); `EINVAL` if it is not a regular file, `EFBIG` if it is longer than the pipe can carry,
/// `EAGAIN` if the kernel does not take it whole.
pub(super) fn push(to: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let errno = |number| Err(io::Error::from_raw_os_error(number));
    if socket::has_unread(to)? {
        return Ok(());
    }
    let file = fd::open_read(name)?;
    if dir::stat(file.as_fd())?.kind != FileKind::File {
        return errno(libc::EINVAL);
    }
    // One byte more than may be, to see whether there is more.
    let mut packet = [0; HEADER_LENGTH + MAX_CONFIG + 1];
    let mut used = HEADER_LENGTH;
    loop {
        let room = packet.get_mut(used..).unwrap_or_default();
        match fd::read(file.as_fd(), room)? {
            0 => break,
            count => used += count,
        }
    }
    let Ok(length) = u16::try_from(used - HEADER_LENGTH) else { return errno(libc::EFBIG) };
    if let Some(header) = packet.first_chunk_mut::<HEADER_LENGTH>() {
        *header = config_header(length);
    }
    let packet = packet.get(..used).unwrap_or_default();
    if socket::send(to, packet)? < packet.len() {
        return errno(libc::EAGAIN);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    struct Sent {
        result: Result<(), i32>,
        received: Vec<u8>,
    }

    fn sent(content: &[u8]) -> Sent {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let name = CString::new(file.path().to_str().unwrap()).unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let result = push(ours.as_fd(), &name).map_err(|error| error.raw_os_error().unwrap());
        drop(ours);
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).unwrap();
        Sent { result, received }
    }

    #[test]
    fn a_text_is_sent_whole_behind_its_header() {
        assert_eq!(sent(b"[uwsgi]\n").received, b"\x73\x08\x00\x00[uwsgi]\n");
        assert_eq!(sent(b"").received, b"\x73\0\0\0");
    }

    #[test]
    fn the_longest_text_is_sent_and_a_longer_one_is_refused() {
        let _quiet = crate::sys::test_fork_lock::none();
        let longest = vec![b'x'; MAX_CONFIG];
        let good = sent(&longest);
        assert_eq!((good.result, good.received.len()), (Ok(()), HEADER_LENGTH + MAX_CONFIG));
        assert_eq!(good.received[..HEADER_LENGTH], [115, 255, 255, 0]);
        for more in [1, 1_000_000] {
            let bad = sent(&[longest.as_slice(), &vec![b'x'; more]].concat());
            assert_eq!((bad.result, bad.received.len()), (Err(libc::EFBIG), 0));
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let refusal = |name| push(ours.as_fd(), name).unwrap_err().raw_os_error();
        assert_eq!(refusal(c"/dev/null"), Some(libc::EINVAL));
        assert_eq!(refusal(c"/"), Some(libc::EINVAL));
        assert_eq!(refusal(c"/nonexistent"), Some(libc::ENOENT));
    }

    #[test]
    fn a_text_that_is_still_unread_is_not_sent_twice() {
        let _quiet = crate::sys::test_fork_lock::none();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        for _ in 0..3 {
            push(ours.as_fd(), c"/proc/self/comm").unwrap();
        }
        drop(ours);
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).unwrap();
        assert_eq!(received.iter().filter(|byte| **byte == 115).count(), 1, "{received:?}");
    }
}
