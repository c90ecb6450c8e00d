//! The calls of sockets that take an address or an option as bytes.
//!
//! They are raw, as all calls of sockets, because the feature `socket` of nix brings in a crate with a build script,
//! and does not fit everywhere: its `Backlog` ends at 4096, its `accept4` and `getsockname` speak of bare numbers,
//! and control messages that were cut off leak what they brought.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::c_int;

use crate::sys::address::Raw;
use crate::sys::check;

/// socket(2), close-on-exec.
pub(super) fn socket(family: c_int, kind: c_int) -> io::Result<OwnedFd> {
    // SAFETY: three integers go in, an integer comes out; no memory of ours is touched.
    let fd = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just handed us `fd`; nothing else owns it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(super) fn bind(socket: BorrowedFd<'_>, address: &Raw) -> io::Result<()> {
    // SAFETY: pointer and length describe the initialized bytes of `address`, which outlive the call;
    // the kernel copies them byte by byte, so their alignment does not matter.
    check(unsafe {
        libc::bind(socket.as_raw_fd(), address.bytes.as_ptr().cast(), address.socklen())
    })?;
    Ok(())
}

/// connect(2) as it is: for a non-blocking socket `EINPROGRESS` and `EAGAIN` are ordinary answers.
pub(super) fn connect_raw(socket: BorrowedFd<'_>, address: &Raw) -> io::Result<()> {
    // SAFETY: as in `bind`.
    check(unsafe {
        libc::connect(socket.as_raw_fd(), address.bytes.as_ptr().cast(), address.socklen())
    })?;
    Ok(())
}

pub(super) fn set_option(socket: BorrowedFd<'_>, option: c_int, value: &[c_int]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(value)).unwrap_or(0);
    // SAFETY: pointer and length describe `value`, whole and initialized, which outlives the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            value.as_ptr().cast(),
            length,
        )
    })?;
    Ok(())
}

pub(super) fn option<const N: usize>(
    socket: BorrowedFd<'_>,
    option: c_int,
) -> io::Result<[c_int; N]> {
    let mut value = [0; N];
    let mut length = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `value`; any bytes are a
    // valid integer.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    Ok(value)
}
