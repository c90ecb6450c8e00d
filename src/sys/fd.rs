//! Descriptors: open, read and write once, wait, flags, duplicates, ranges.

use std::ffi::{CStr, c_int, c_uint};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::fcntl::{self, FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::stat::Mode;
use nix::unistd;

use super::{call, check, check_long, poll, retry};

/// For `OpenOptionsExt::custom_flags`: the open waits for no FIFO's other end and takes no terminal. A
/// FIFO that nobody reads is `ENXIO` then.
pub const OPEN_AT_ONCE: c_int = libc::O_NONBLOCK | libc::O_NOCTTY;

/// Opens a file for reading, close-on-exec, without waiting for a FIFO's other end and without
/// getting a controlling terminal.
///
/// # Errors
/// As open(2).
pub fn open_read(path: &CStr) -> io::Result<OwnedFd> {
    open(path, OFlag::O_RDONLY)
}

/// Opens a file for reading and writing, as [`open_read`].
///
/// # Errors
/// As open(2).
pub fn open_both(path: &CStr) -> io::Result<OwnedFd> {
    open(path, OFlag::O_RDWR)
}

/// Opens `/dev/null` for reading and writing.
///
/// # Errors
/// `ENOENT` where there is none, `EMFILE`.
pub fn open_null() -> io::Result<OwnedFd> {
    open_both(c"/dev/null")
}

/// Removes a name from its directory.
///
/// # Errors
/// As unlink(2).
pub fn remove(path: &CStr) -> io::Result<()> {
    call(|| unistd::unlink(path))
}

fn open(path: &CStr, how: OFlag) -> io::Result<OwnedFd> {
    let flags = how | OFlag::O_CLOEXEC | OFlag::from_bits_retain(OPEN_AT_ONCE);
    call(|| fcntl::open(path, flags, Mode::empty()))
}

/// Reads once; 0 is the end of the file.
///
/// # Errors
/// As read(2), `EINTR` retried.
pub fn read(from: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    call(|| unistd::read(from, buffer))
}

/// Writes once; may take less than all.
///
/// # Errors
/// As write(2), `EINTR` retried.
pub fn write(to: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    call(|| unistd::write(to, bytes))
}

/// Waits until one of a few descriptors is readable, hung up or broken, or the time is over; without
/// a limit, for ever. The reactor has its own way for many.
///
/// # Errors
/// `ENOMEM`. `EINTR` is reported as nothing ready.
pub fn wait_readable<const N: usize>(
    descriptors: [BorrowedFd<'_>; N],
    limit: Option<Duration>,
) -> io::Result<[bool; N]> {
    let mut set = descriptors.map(|descriptor| poll::entry(descriptor, libc::POLLIN));
    poll::poll(&mut set, limit)?;
    Ok(set.map(|entry| entry.revents != 0))
}

/// Keeps the descriptor over the next exec.
///
/// # Errors
/// None that can happen here.
pub fn clear_cloexec(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    call(|| fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))).map(drop)
}

/// Makes reads and writes fail instead of wait, for everybody who shares this open file.
///
/// # Errors
/// None that can happen here.
pub fn set_nonblocking(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    set_status_flag(descriptor, OFlag::O_NONBLOCK, true)
}

/// Makes reads and writes wait, for everybody who shares this open file.
///
/// # Errors
/// None that can happen here.
pub fn clear_nonblocking(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    set_status_flag(descriptor, OFlag::O_NONBLOCK, false)
}

/// Switches a flag of the open file, which several descriptors may share.
fn set_status_flag(descriptor: BorrowedFd<'_>, flag: OFlag, is_on: bool) -> io::Result<()> {
    let old = OFlag::from_bits_retain(call(|| fcntl(descriptor, FcntlArg::F_GETFL))?);
    let mut new = old;
    new.set(flag, is_on);
    if new == old {
        return Ok(());
    }
    call(|| fcntl(descriptor, FcntlArg::F_SETFL(new))).map(drop)
}

/// Has the kernel send SIGIO to this process whenever something can be read from this socket.
///
/// # Errors
/// `EINVAL` for what is no socket, pipe or terminal.
pub fn signal_when_readable(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let own = c_int::try_from(std::process::id()).map_err(io::Error::other)?;
    // SAFETY: an open descriptor's number, a request that nix does not know and an integer go in; no memory of
    // ours is touched.
    check(unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_SETOWN, own) })?;
    set_status_flag(descriptor, OFlag::O_ASYNC, true)
}

/// Duplicates, close-on-exec, to the first free number from `lowest` on.
///
/// # Errors
/// `EMFILE`, `EINVAL` if `lowest` is above the limit.
pub fn duplicate(descriptor: BorrowedFd<'_>, lowest: RawFd) -> io::Result<OwnedFd> {
    let copy = call(|| fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(lowest)))?;
    // SAFETY: the kernel has just handed us `copy`; nothing else owns it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Duplicates a descriptor that our parent left open under this number, close-on-exec; the number itself
/// stays as it is.
///
/// # Errors
/// `EBADF` if nothing is open there, `EMFILE`.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: integers go in (nix wants a descriptor that is known to be open); a number that is not open only
    // gives an error, one that is not ours to know a second descriptor of the same file. Nothing is closed.
    let copy = check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: the kernel has just handed us `copy`; nothing else owns it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Takes over a descriptor that this process was started with, above the standard streams; call it before
/// anything else is opened, and once.
///
/// # Errors
/// `EBADF` if there is none.
pub fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: integers go in; no memory of ours is touched.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and as nothing was opened since the start of this process, it was inherited and
    // has no owner here.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Moves a descriptor to a number from `lowest` on, unless it is there already.
///
/// # Errors
/// `EMFILE`.
pub fn move_above(descriptor: OwnedFd, lowest: RawFd) -> io::Result<OwnedFd> {
    if descriptor.as_raw_fd() >= lowest {
        Ok(descriptor)
    } else {
        duplicate(descriptor.as_fd(), lowest)
    }
}

/// Puts copies at the numbers from 3 on, in order, to stay open over the exec that comes next. What was
/// open there is closed: the owner of a descriptor below `3 + descriptors.len()` must [`move_above`] it first.
///
/// # Errors
/// `EBADF` if one of `descriptors` has a number that is to be used.
pub fn place_from_three(descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let above = c_int::try_from(descriptors.len()).map_err(io::Error::other)?.saturating_add(3);
    if descriptors.iter().any(|descriptor| descriptor.as_raw_fd() < above) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    for (number, descriptor) in (3..).zip(descriptors) {
        // SAFETY: only integers go in (nix wants the owner of the descriptor that is replaced). The caller promises
        // that this descriptor has no owner.
        retry(|| check(unsafe { libc::dup2(descriptor.as_raw_fd(), number) }))?;
    }
    Ok(())
}

/// Makes standard stream `number` (0, 1, 2) a copy of `descriptor` that stays open over an exec.
///
/// # Errors
/// `EBADF` for another number: those have owners.
pub fn set_stdio(number: RawFd, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    if !(0..=2).contains(&number) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    if descriptor.as_raw_fd() == number {
        return clear_cloexec(descriptor);
    }
    // A standard stream has no owner in Rust, so no owned descriptor is replaced.
    call(|| match number {
        0 => unistd::dup2_stdin(descriptor),
        1 => unistd::dup2_stdout(descriptor),
        _ => unistd::dup2_stderr(descriptor),
    })
}

/// Marks every descriptor from `first` on to be closed at the next exec.
///
/// # Errors
/// Those of reading `/proc`, where close_range(2) cannot do it: before Linux 5.11, in some sandboxes.
pub fn cloexec_from(first: RawFd) -> io::Result<()> {
    close_range(first, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC)
        .or_else(|_refused| cloexec_one_by_one(first))
}

fn cloexec_one_by_one(first: RawFd) -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(number) = number.filter(|number: &RawFd| *number >= first) else { continue };
        // SAFETY: only integers go in; the owner of the descriptor does not change. It fails only for the descriptor
        // of this listing, if that is closed already.
        let _ = check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) });
    }
    Ok(())
}

/// Closes every descriptor but standard error and these. For a process that has just been forked and is to
/// hold nothing of what its parent gave it. Before Linux 5.9 they stay open.
///
/// Whatever in this process owns one of them must be forgotten, not dropped: dropping would close a
/// number that is another's by then. From now on files may get the numbers 0 and 1; so nothing that
/// is to be exec'd is started, and nothing is printed.
pub fn close_all_but_stderr_and(kept: &[BorrowedFd<'_>]) {
    let mut kept: Vec<RawFd> = kept.iter().map(AsRawFd::as_raw_fd).collect();
    kept.push(libc::STDERR_FILENO);
    kept.sort_unstable();
    close_gaps(0, kept);
}

/// Closes every descriptor but the standard streams and these, which are in the order of their numbers. For a
/// process that has just been forked; who owns one of them must be forgotten, as above. Before Linux 5.9 they stay
/// open until the exec.
pub fn close_all_but_stdio_and<'a>(kept: impl IntoIterator<Item = &'a OwnedFd>) {
    close_gaps(3, kept.into_iter().map(AsRawFd::as_raw_fd));
}

/// Closes what lies between and behind these numbers.
fn close_gaps(mut first: RawFd, kept: impl IntoIterator<Item = RawFd>) {
    for number in kept.into_iter().chain([RawFd::MAX]) {
        if first < number {
            let _ = close_range(first, number - 1, 0);
        }
        first = number.saturating_add(1);
    }
}

fn close_range(first: RawFd, last: RawFd, flags: c_uint) -> io::Result<()> {
    // SAFETY: integers go in (nix does not know this call). To close what others own is the purpose of the one
    // caller that closes; it says what has to be true there.
    check_long(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn flags_go_on_and_off() {
        let null = open_null().unwrap();
        let flags = |request| fcntl(null.as_fd(), request).unwrap();
        assert_eq!(flags(FcntlArg::F_GETFD) & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        clear_cloexec(null.as_fd()).unwrap();
        assert_eq!(flags(FcntlArg::F_GETFD) & libc::FD_CLOEXEC, 0);
        clear_nonblocking(null.as_fd()).unwrap();
        assert_eq!(flags(FcntlArg::F_GETFL) & libc::O_NONBLOCK, 0);
        set_nonblocking(null.as_fd()).unwrap();
        assert_eq!(flags(FcntlArg::F_GETFL) & libc::O_NONBLOCK, libc::O_NONBLOCK);
    }

    #[test]
    fn without_close_range_descriptors_are_marked_one_by_one() {
        let null = open_null().unwrap();
        let copy = duplicate(null.as_fd(), 900).unwrap();
        clear_cloexec(null.as_fd()).unwrap();
        clear_cloexec(copy.as_fd()).unwrap();
        cloexec_one_by_one(900).unwrap();
        let flags = |fd: BorrowedFd<'_>| fcntl(fd, FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags(copy.as_fd()) & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        assert_eq!(flags(null.as_fd()) & libc::FD_CLOEXEC, 0);
    }

    #[test]
    fn a_duplicate_lies_where_it_was_wanted() {
        let null = open_null().unwrap();
        let copy = duplicate(null.as_fd(), 200).unwrap();
        assert!(copy.as_raw_fd() >= 200);
    }

    #[test]
    fn a_stream_with_an_owner_is_never_replaced() {
        let null = open_null().unwrap();
        assert_eq!(set_stdio(3, null.as_fd()).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn waiting_ends_with_the_time_or_with_data() {
        let _quiet = crate::sys::test_fork_lock::none();
        let (end, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(wait_readable([end.as_fd()], Some(Duration::from_millis(1))).unwrap(), [false]);
        io::Write::write_all(&mut other, b"x").unwrap();
        assert_eq!(wait_readable([end.as_fd()], None).unwrap(), [true]);
        let mut buffer = [0; 4];
        assert_eq!(read(end.as_fd(), &mut buffer).unwrap(), 1);
        drop(other);
        assert_eq!(wait_readable([end.as_fd()], None).unwrap(), [true]);
    }
}
