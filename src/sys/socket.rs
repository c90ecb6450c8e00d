//! Sockets: bind, listen, accept, connect, ask.
//!
//! Everything is close-on-exec at birth. Addresses are plain bytes ([`super::address`]), so the only unsafe
//! part of each call is the call itself. The calls are raw, because the feature `socket` of nix brings in a crate
//! with a build script, and does not fit everywhere: its `Backlog` ends at 4096, its `accept4` and `getsockname`
//! speak of bare numbers, and control messages that were cut off leak what they brought.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use libc::c_int;
use nix::sys::stat::{Mode, fchmod};

pub use super::address::Address;
use super::address::Raw;
use super::{call, check, check_long, dir, retry};

/// Whether `accept` on a listener waits; it is a property that all who share the listener see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accept {
    /// At once, with `EAGAIN`: for listeners that we accept on.
    #[default]
    Returns,
    /// Until a client comes: for listeners that are passed to a program.
    Waits,
}

/// Who owns the name of a unix socket; `None` leaves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOwner {
    /// The user.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
}

/// How to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// How many connections wait; the kernel cuts it to `net.core.somaxconn` ([`somaxconn`]).
    pub backlog: u32,
    /// Mode of a unix socket's file; `None` leaves what the umask made of 0777.
    pub mode: Option<u32>,
    /// SocketOwner of a unix socket's file.
    pub owner: SocketOwner,
    /// Let other sockets listen at the same TCP address (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Whether `accept` waits.
    pub accept: Accept,
    /// Replace a unix socket too that is held by somebody but refuses connections, because it was shut down.
    /// Finding out means to connect: it would wake a program that waits there.
    pub replace_refusing: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: 100,
            mode: None,
            owner: SocketOwner::default(),
            reuse_port: false,
            accept: Accept::Returns,
            replace_refusing: false,
        }
    }
}

/// A call that failed while a socket was made.
#[derive(Debug)]
pub struct SocketError {
    /// The call.
    pub call: &'static str,
    /// Its errno.
    pub source: io::Error,
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.source)
    }
}

impl std::error::Error for SocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Gives a failure the name of its call.
fn failed(call: &'static str) -> impl FnOnce(io::Error) -> SocketError {
    move |source| SocketError { call, source }
}

/// socket(2), close-on-exec.
fn socket(family: c_int, kind: c_int) -> io::Result<OwnedFd> {
    // SAFETY: three integers go in, an integer comes out; no memory of ours is touched.
    let fd = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just handed us `fd`; nothing else owns it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bind(socket: BorrowedFd<'_>, address: &Raw) -> io::Result<()> {
    // SAFETY: pointer and length describe the initialized bytes of `address`, which outlive the call;
    // the kernel copies them byte by byte, so their alignment does not matter.
    check(unsafe {
        libc::bind(socket.as_raw_fd(), address.bytes.as_ptr().cast(), address.socklen())
    })?;
    Ok(())
}

/// connect(2) as it is: for a non-blocking socket `EINPROGRESS` and `EAGAIN` are ordinary answers.
fn connect_raw(socket: BorrowedFd<'_>, address: &Raw) -> io::Result<()> {
    // SAFETY: as in `bind`.
    check(unsafe {
        libc::connect(socket.as_raw_fd(), address.bytes.as_ptr().cast(), address.socklen())
    })?;
    Ok(())
}

fn set_option(socket: BorrowedFd<'_>, option: c_int, value: &[c_int]) -> io::Result<()> {
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

fn option<const N: usize>(socket: BorrowedFd<'_>, option: c_int) -> io::Result<[c_int; N]> {
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

/// Binds and listens.
///
/// A unix socket that is left over (nobody holds it any more) is removed first; anything else with that
/// name is never removed. Mode and owner are set between bind and listen, so nobody can connect
/// before they hold, and on the very file that was made, so nobody can swap another in.
///
/// # Errors
/// Which call failed and why; `EADDRINUSE` also where a file that is no left-over socket is in the way.
pub fn listen(address: &Address, options: &ListenOptions) -> Result<OwnedFd, SocketError> {
    let raw = Raw::of(address).map_err(failed("bind"))?;
    let socket = unbound(address, &raw, options)?;
    match (bind(socket.as_fd(), &raw), address) {
        (Err(error), Address::Path(path)) if error.raw_os_error() == Some(libc::EADDRINUSE) => {
            remove_stale(path, &raw, options)?;
            bind(socket.as_fd(), &raw).map_err(failed("bind"))?;
        }
        (bound, _) => bound.map_err(failed("bind"))?,
    }
    if let Address::Path(path) = address {
        set_attributes(path, options.mode, options.owner)?;
    }
    set_backlog(socket.as_fd(), options.backlog).map_err(failed("listen"))?;
    Ok(socket)
}

/// A socket that is not bound yet.
fn unbound(address: &Address, raw: &Raw, options: &ListenOptions) -> Result<OwnedFd, SocketError> {
    let wait = match options.accept {
        Accept::Returns => libc::SOCK_NONBLOCK,
        Accept::Waits => 0,
    };
    let socket = socket(raw.family(), libc::SOCK_STREAM | wait).map_err(failed("socket"))?;
    if matches!(address, Address::Tcp(_)) {
        set_option(socket.as_fd(), libc::SO_REUSEADDR, &[1]).map_err(failed("setsockopt"))?;
        if options.reuse_port {
            set_option(socket.as_fd(), libc::SO_REUSEPORT, &[1]).map_err(failed("setsockopt"))?;
        }
    }
    Ok(socket)
}

/// Whether [`listen`] would do, as far as that is seen without leaving anything behind; gives a socket that is
/// bound nowhere. A port or an abstract name is bound for a moment, and never listened on; where a unix socket
/// is to be made is only looked at.
///
/// # Errors
/// Those of [`listen`].
pub fn try_listen(address: &Address, options: &ListenOptions) -> Result<OwnedFd, SocketError> {
    let raw = Raw::of(address).map_err(failed("bind"))?;
    let stand_in = unbound(address, &raw, options)?;
    match address {
        Address::Path(path) => {
            try_path(path, options).map_err(failed("bind"))?;
            try_owner(options.owner)?;
        }
        Address::Tcp(_) | Address::Abstract(_) => {
            let bound = unbound(address, &raw, options)?;
            bind(bound.as_fd(), &raw).map_err(failed("bind"))?;
        }
    }
    Ok(stand_in)
}

fn try_path(path: &Path, options: &ListenOptions) -> io::Result<()> {
    let in_use = || Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
    match std::fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => in_use(),
        Ok(_) if !options.replace_refusing && is_held(path) => in_use(),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        // It is made, or made anew.
        Ok(_) | Err(_) => dir::may_make(path),
    }
}

/// Whether a file of ours may be given to this owner.
///
/// # Errors
/// `EPERM`.
pub fn try_owner(owner: SocketOwner) -> Result<(), SocketError> {
    if owner == SocketOwner::default() {
        return Ok(());
    }
    // The kernel has one rule for all that a process has made.
    let own = socket(libc::AF_UNIX, libc::SOCK_STREAM).map_err(failed("socket"))?;
    std::os::unix::fs::fchown(own, owner.uid, owner.gid).map_err(failed("chown"))
}

/// listen(2); on a socket that listens already only the length of the queue changes.
///
/// # Errors
/// `EADDRINUSE` if another socket listens there, `EINVAL` if it is not bound.
pub fn set_backlog(socket: BorrowedFd<'_>, backlog: u32) -> io::Result<()> {
    let backlog = c_int::try_from(backlog).unwrap_or(c_int::MAX);
    // SAFETY: two integers; no memory of ours is touched.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) })?;
    Ok(())
}

/// Whether somebody holds the unix socket at `path`, or there is something else; nobody is woken by it.
pub fn is_held(path: &Path) -> bool {
    let Ok(raw) = Raw::of(&Address::Path(path.to_owned())) else { return false };
    let probe = socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK);
    let answer = probe.and_then(|probe| connect_raw(probe.as_fd(), &raw));
    let nobody = [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound];
    !answer.is_err_and(|error| nobody.contains(&error.kind()))
}

/// Removes the socket at `path` if it is left over.
///
/// A datagram socket is refused as any other where nobody holds the socket any more, and else told that it has
/// the wrong type (`EPROTOTYPE`), without ever standing in the queue of connections.
fn remove_stale(path: &Path, raw: &Raw, options: &ListenOptions) -> Result<(), SocketError> {
    let in_use = || failed("bind")(io::Error::from_raw_os_error(libc::EADDRINUSE));
    let meta = std::fs::symlink_metadata(path).map_err(failed("lstat"))?;
    if !meta.file_type().is_socket() {
        return Err(in_use());
    }
    let kind = if options.replace_refusing { libc::SOCK_STREAM } else { libc::SOCK_DGRAM };
    let probe = socket(libc::AF_UNIX, kind | libc::SOCK_NONBLOCK).map_err(failed("socket"))?;
    match connect_raw(probe.as_fd(), raw) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed("unlink"))
        }
        _ => Err(in_use()),
    }
}

/// Sets mode and owner of the unix socket at `path`.
///
/// The file is opened without following a link and looked at before anything is changed, so a name that
/// somebody has swapped meanwhile is left alone.
///
/// # Errors
/// `EADDRINUSE` if it is no socket; `EPERM` if the owner may not be changed.
pub fn set_attributes(
    path: &Path,
    mode: Option<u32>,
    owner: SocketOwner,
) -> Result<(), SocketError> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    if mode.is_none() && owner == SocketOwner::default() {
        return Ok(());
    }
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
        .open(path)
        .map_err(failed("open"))?;
    if !file.metadata().map_err(failed("fstat"))?.file_type().is_socket() {
        return Err(failed("chmod")(io::Error::from_raw_os_error(libc::EADDRINUSE)));
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    if owner != SocketOwner::default() {
        std::os::unix::fs::chown(&path, owner.uid, owner.gid).map_err(failed("chown"))?;
    }
    match mode {
        Some(mode) if change_mode(file.as_fd(), mode).is_err() => {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, mode).map_err(failed("chmod"))
        }
        _ => Ok(()),
    }
}

/// fchmodat2(2) of an `O_PATH` descriptor, which needs no `/proc`.
///
/// # Errors
/// `ENOSYS` before Linux 6.6.
fn change_mode(object: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    /// The same on every architecture that is built for; libc does not name it for all of them.
    const FCHMODAT2: libc::c_long = 452;
    let (name, flags) = (c"", libc::AT_EMPTY_PATH);
    // SAFETY: the name is a string that lives for ever, the rest are integers; nothing of ours is written.
    let done = unsafe { libc::syscall(FCHMODAT2, object.as_raw_fd(), name.as_ptr(), mode, flags) };
    check_long(done).map(drop)
}

/// Longest queue of connections that the kernel grants (`net.core.somaxconn`).
///
/// # Errors
/// Those of reading `/proc`, and `EINVAL` if it holds no number.
pub fn somaxconn() -> io::Result<u32> {
    let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn")?;
    text.trim().parse().map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Takes the next connection, non-blocking.
///
/// # Errors
/// `EAGAIN` if there is none, `EMFILE`, `ENFILE` and those of the connection itself (accept(2)).
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let (address, length) = (std::ptr::null_mut(), std::ptr::null_mut());
    let fd = retry(|| {
        // SAFETY: null for address and length asks for neither; nothing of ours is written.
        check(unsafe { libc::accept4(listener.as_raw_fd(), address, length, flags) })
    })?;
    // SAFETY: the kernel has just handed us `fd`; nothing else owns it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// How far a connect has come.
#[derive(Debug)]
pub enum Connecting {
    /// Connected.
    Done(OwnedFd),
    /// The socket turns writable when it is decided; then ask [`pending_error`].
    Pending(OwnedFd),
}

/// Begins a connection on a new non-blocking stream socket.
///
/// # Errors
/// Those of connect(2): `ENOENT`, `ECONNREFUSED`; `EAGAIN` if a unix listener's queue is full.
pub fn connect(address: &Address) -> io::Result<Connecting> {
    let raw = Raw::of(address)?;
    let socket = socket(raw.family(), libc::SOCK_STREAM | libc::SOCK_NONBLOCK)?;
    match connect_raw(socket.as_fd(), &raw) {
        Ok(()) => Ok(Connecting::Done(socket)),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
            Ok(Connecting::Pending(socket))
        }
        Err(error) => Err(error),
    }
}

/// Where a socket is bound; `None` if nowhere, or in a family that we do not know.
///
/// # Errors
/// `ENOTSOCK`, `EBADF`.
pub fn local_address(socket: BorrowedFd<'_>) -> io::Result<Option<Address>> {
    let mut raw = Raw::empty();
    let mut length = libc::socklen_t::try_from(raw.bytes.len()).unwrap_or(0);
    let bytes = raw.bytes.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `length` bytes, which is the size of the buffer.
    check(unsafe { libc::getsockname(socket.as_raw_fd(), bytes, &raw mut length) })?;
    // The kernel tells the length it would have needed, which may be more than the buffer.
    raw.length = usize::try_from(length).unwrap_or(0);
    Ok(raw.address())
}

/// Whether this is a stream socket that listens.
pub fn is_listening(fd: BorrowedFd<'_>) -> bool {
    matches!(option(fd, libc::SO_ACCEPTCONN), Ok([1]))
        && matches!(option(fd, libc::SO_TYPE), Ok([libc::SOCK_STREAM]))
}

/// Whether somebody who holds a listening socket has shut it down, for all who hold it: nobody can
/// connect any more. A unix socket still says that it listens then.
pub fn is_shut_down(listener: BorrowedFd<'_>) -> bool {
    !is_listening(listener) || super::poll::is_hung_up(listener).unwrap_or(false)
}

/// Who was at the other end when the connection or pair was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Process; 0 if it is in a namespace that we cannot see.
    pub pid: i32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

/// The other end of a unix stream socket (`SO_PEERCRED`).
///
/// # Errors
/// `ENOTSOCK`, `ENOPROTOOPT`.
pub fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<PeerCredentials> {
    let [pid, uid, gid] = option(socket, libc::SO_PEERCRED)?;
    Ok(PeerCredentials { pid, uid: uid.cast_unsigned(), gid: gid.cast_unsigned() })
}

/// A pair of connected byte streams, blocking.
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    UnixStream::pair().map(|(one, other)| (one.into(), other.into()))
}

/// A pair of connected sockets that keep the borders of packets, blocking.
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    let mut fds: [RawFd; 2] = [-1; 2];
    // SAFETY: the kernel writes two integers, for which there is room.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    // SAFETY: the kernel has just handed us both; nothing else owns them yet.
    Ok(fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).into())
}

/// A datagram socket on which every message says who sent it, and none brings descriptors where the kernel can
/// refuse them: at `path`, for its owner alone, or with an abstract name chosen by the kernel.
///
/// Credentials are asked for before the bind: from the first datagram on none can come without them.
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOMEM`; `EADDRINUSE`, `EACCES`, `ENAMETOOLONG` and the like for a path.
pub fn notify_socket(at: Option<(&Path, SocketOwner)>) -> io::Result<(OwnedFd, Address)> {
    let socket = socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK)?;
    set_option(socket.as_fd(), libc::SO_PASSCRED, &[1])?;
    refuse_descriptors(socket.as_fd())?;
    let Some((path, owner)) = at else {
        bind(socket.as_fd(), &Raw::unnamed())?;
        let name = local_address(socket.as_fd())?.ok_or(io::ErrorKind::AddrNotAvailable)?;
        return Ok((socket, name));
    };
    let address = Address::Path(path.to_owned());
    // Of the socket, from which the kernel takes the mode of the file: nobody else comes before the chmod.
    call(|| fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR))?;
    bind(socket.as_fd(), &Raw::of(&address)?)?;
    match set_attributes(path, Some(0o600), owner) {
        Ok(()) => Ok((socket, address)),
        Err(error) => {
            let _ = std::fs::remove_file(path);
            Err(error.source)
        }
    }
}

/// Whether there is a datagram socket at `path` that nobody has open any more.
pub fn is_left_over_datagram(path: &Path) -> bool {
    let Ok(raw) = Raw::of(&Address::Path(path.to_owned())) else { return false };
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let Ok(probe) = socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK) else {
        return false;
    };
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && connect_raw(probe.as_fd(), &raw).is_err_and(refused)
}

/// Switches lingering off, so that closing the last copy of the socket never waits.
///
/// # Errors
/// `ENOTSOCK`.
pub fn linger_off(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::SO_LINGER, &[0, 0])
}

/// Makes the kernel refuse descriptors that somebody wants to send here, where it can (Linux 6.16);
/// older kernels ignore it, and the receiver must be ready for them.
///
/// # Errors
/// `ENOTSOCK`, `EOPNOTSUPP` for a socket that is not a unix socket.
pub fn refuse_descriptors(socket: BorrowedFd<'_>) -> io::Result<()> {
    // asm-generic/socket.h; the libc crate does not know it yet.
    const SO_PASSRIGHTS: c_int = 83;
    match set_option(socket, SO_PASSRIGHTS, &[0]) {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(()),
        result => result,
    }
}

/// Sends what fits now; never waits, never raises SIGPIPE.
///
/// # Errors
/// `EAGAIN` if nothing fits, `EPIPE` if the other end is gone.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let sent = retry(|| {
        // SAFETY: pointer and length describe `bytes`, which outlives the call and is only read.
        let sent =
            unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
        if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(sent) }
    })?;
    Ok(sent.cast_unsigned())
}

/// Whether this is a connected byte stream, or one end of a pair.
pub fn is_stream(fd: BorrowedFd<'_>) -> bool {
    !is_listening(fd) && matches!(option(fd, libc::SO_TYPE), Ok([libc::SOCK_STREAM]))
}

/// Whether the other end of a unix socket has not yet read all that was sent.
///
/// # Errors
/// `EOPNOTSUPP` if it is no socket of that kind.
pub fn has_unread(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut bytes: c_int = 0;
    // SAFETY: the kernel writes one integer, for which there is room.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(bytes > 0)
}

/// Receives what is there now; never waits. 0 is the end.
///
/// # Errors
/// `EAGAIN` if there is nothing, `ECONNRESET`.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let received = retry(|| {
        // SAFETY: pointer and length describe `buffer`, which we alone hold during the call.
        let received = unsafe {
            libc::recv(
                socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
            )
        };
        if received == -1 { Err(io::Error::last_os_error()) } else { Ok(received) }
    })?;
    Ok(received.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv6Addr, SocketAddr};
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixListener;

    fn loopback() -> Address {
        Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    fn errno(result: Result<OwnedFd, SocketError>) -> Option<i32> {
        result.err().and_then(|error| error.source.raw_os_error())
    }

    #[test]
    fn a_listener_that_was_shut_down_is_told_from_one_that_waits() {
        let path = std::env::temp_dir().join(format!("liege-shut-{}", std::process::id()));
        let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners = [unix.as_fd(), tcp.as_fd()];
        assert_eq!(listeners.map(is_shut_down), [false; 2]);
        for listener in listeners {
            // SAFETY: two integers; no memory of ours is touched.
            assert_eq!(unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RD) }, 0);
        }
        assert_eq!(listeners.map(is_shut_down), [true; 2]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn every_kind_of_address_is_bound_and_told_again() {
        let _quiet = crate::sys::test_fork_lock::none();
        let dir = tempfile::tempdir().unwrap();
        let unique = format!("liege-test-{}", std::process::id()).into_bytes();
        let addresses = [
            loopback(),
            Address::Tcp(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))),
            Address::Path(dir.path().join("a.sock")),
            Address::Abstract(unique),
        ];
        for address in addresses {
            let listener = match listen(&address, &ListenOptions::default()) {
                Err(error) if error.source.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {
                    println!("skipped: no {address} here");
                    continue;
                }
                listener => listener.unwrap(),
            };
            assert!(is_listening(listener.as_fd()));
            let told = local_address(listener.as_fd()).unwrap().unwrap();
            match (&address, &told) {
                (Address::Tcp(asked), Address::Tcp(told)) => {
                    assert_eq!(asked.ip(), told.ip());
                    assert_ne!(told.port(), 0);
                }
                _ => assert_eq!(address, told),
            }
            assert_eq!(accept(listener.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            let client = match connect(&told).unwrap() {
                Connecting::Done(client) | Connecting::Pending(client) => client,
            };
            let served = loop {
                match accept(listener.as_fd()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    served => break served.unwrap(),
                }
            };
            assert_eq!(option(client.as_fd(), libc::SO_ERROR).unwrap(), [0]);
            assert!(!is_listening(client.as_fd()));
            drop(served);
        }
    }

    #[test]
    fn a_left_over_socket_is_replaced_a_living_one_is_not() {
        let _quiet = crate::sys::test_fork_lock::none();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let address = Address::Path(path.clone());
        drop(UnixListener::bind(&path).unwrap());
        let living = listen(&address, &ListenOptions::default()).unwrap();
        assert!(is_listening(living.as_fd()));
        let again = listen(&address, &ListenOptions::default());
        assert_eq!(errno(again), Some(libc::EADDRINUSE));
        assert!(matches!(connect(&address), Ok(Connecting::Done(_))));
    }

    #[test]
    fn nobody_who_waits_at_a_socket_is_woken_by_the_question_whether_it_is_left_over() {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::Path(dir.path().join("a.sock"));
        let living = listen(&address, &ListenOptions::default()).unwrap();
        let again = listen(&address, &ListenOptions::default());
        assert_eq!(errno(again), Some(libc::EADDRINUSE));
        assert_eq!(accept(living.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_socket_that_its_holder_has_shut_down_is_replaced_by_who_asks_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::Path(dir.path().join("a.sock"));
        let dead = listen(&address, &ListenOptions::default()).unwrap();
        let options = ListenOptions { replace_refusing: true, ..Default::default() };
        assert_eq!(errno(listen(&address, &options)), Some(libc::EADDRINUSE));
        // SAFETY: two integers; no memory of ours is touched.
        assert_eq!(unsafe { libc::shutdown(dead.as_raw_fd(), libc::SHUT_RD) }, 0);
        assert_eq!(errno(listen(&address, &ListenOptions::default())), Some(libc::EADDRINUSE));
        let _anew = listen(&address, &options).unwrap();
        assert!(matches!(connect(&address), Ok(Connecting::Done(_))));
    }

    #[test]
    fn a_living_socket_with_a_full_queue_is_not_taken_for_left_over() {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::Path(dir.path().join("a.sock"));
        let options = ListenOptions { backlog: 0, ..Default::default() };
        let _listener = listen(&address, &options).unwrap();
        let mut clients = Vec::new();
        while let Ok(Connecting::Done(client)) = connect(&address) {
            clients.push(client);
        }
        assert_eq!(errno(listen(&address, &options)), Some(libc::EADDRINUSE));
    }

    #[test]
    fn a_file_or_a_link_in_the_way_of_a_socket_stays() {
        let _quiet = crate::sys::test_fork_lock::none();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("precious");
        std::fs::write(&file, "data").unwrap();
        let link = dir.path().join("link");
        let stale = dir.path().join("stale");
        drop(UnixListener::bind(&stale).unwrap());
        std::os::unix::fs::symlink(&stale, &link).unwrap();
        for path in [&file, &link] {
            let refused = listen(&Address::Path(path.clone()), &ListenOptions::default());
            assert_eq!(errno(refused), Some(libc::EADDRINUSE));
            assert!(std::fs::symlink_metadata(path).is_ok());
        }
        assert_eq!(std::fs::read(&file).unwrap(), b"data");
    }

    #[test]
    fn mode_of_a_socket_is_the_one_asked_for() {
        let _quiet = crate::sys::test_fork_lock::none();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        for mode in [0o600, 0o666, 0o660] {
            let options = ListenOptions { mode: Some(mode), ..Default::default() };
            drop(listen(&Address::Path(path.clone()), &options).unwrap());
            assert_eq!(std::fs::symlink_metadata(&path).unwrap().mode() & 0o7777, mode);
        }
    }

    #[test]
    fn attributes_are_never_set_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let before = std::fs::metadata(&file).unwrap().mode();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            assert!(set_attributes(path, Some(0o777), SocketOwner::default()).is_err());
        }
        assert_eq!(std::fs::metadata(&file).unwrap().mode(), before);
    }

    #[test]
    fn impossible_names_are_refused() {
        let options = ListenOptions::default();
        let refused = |address| errno(listen(&address, &options));
        assert_eq!(refused(Address::Path("".into())), Some(libc::EINVAL));
        assert_eq!(refused(Address::Path("a\0b".into())), Some(libc::EINVAL));
        assert_eq!(refused(Address::Path("x".repeat(108).into())), Some(libc::ENAMETOOLONG));
        assert_eq!(refused(Address::Abstract(vec![b'x'; 108])), Some(libc::ENAMETOOLONG));
        assert_eq!(refused(Address::Path("/no/such/dir/s".into())), Some(libc::ENOENT));
    }

    #[test]
    fn two_listen_at_one_address_only_by_consent() {
        let first = ListenOptions { reuse_port: true, ..Default::default() };
        let holder = listen(&loopback(), &first).unwrap();
        let address = local_address(holder.as_fd()).unwrap().unwrap();
        assert_eq!(errno(listen(&address, &ListenOptions::default())), Some(libc::EADDRINUSE));
        listen(&address, &first).unwrap();
    }

    #[test]
    fn a_notify_socket_has_a_name_that_a_client_can_reach() {
        let (socket, name) = notify_socket(None).unwrap();
        let Address::Abstract(name) = name else { panic!("not abstract: {name}") };
        assert!(!name.is_empty());
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let client = std::os::unix::net::UnixDatagram::unbound().unwrap();
        client.send_to_addr(b"READY=1", &address).unwrap();
        let mut buffer = [0; 32];
        assert_eq!(receive(socket.as_fd(), &mut buffer).unwrap(), 7);
    }

    #[test]
    fn a_notify_socket_in_a_directory_is_for_its_owner_alone() {
        use std::os::unix::fs::MetadataExt;
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("notify");
        let (socket, address) = notify_socket(Some((&path, SocketOwner::default()))).unwrap();
        assert_eq!(address, Address::Path(path.clone()));
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let client = std::os::unix::net::UnixDatagram::unbound().unwrap();
        client.send_to(b"READY=1", &path).unwrap();
        let mut buffer = [0; 32];
        assert_eq!(receive(socket.as_fd(), &mut buffer).unwrap(), 7);
        let taken = notify_socket(Some((&path, SocketOwner::default()))).unwrap_err();
        assert_eq!(taken.raw_os_error(), Some(libc::EADDRINUSE));
    }

    #[test]
    fn pairs_send_receive_and_end_without_waiting() {
        let _quiet = crate::sys::test_fork_lock::none();
        let (ours, theirs) = packet_pair().unwrap();
        let mut buffer = [0; 8];
        let nothing = receive(ours.as_fd(), &mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(send(theirs.as_fd(), b"one").unwrap(), 3);
        assert_eq!(send(theirs.as_fd(), b"two").unwrap(), 3);
        assert_eq!(receive(ours.as_fd(), &mut buffer).unwrap(), 3);
        let peer = peer_credentials(ours.as_fd()).unwrap();
        assert_eq!(peer.pid.unsigned_abs(), std::process::id());
        drop(theirs);
        assert_eq!(receive(ours.as_fd(), &mut buffer).unwrap(), 3);
        assert_eq!(receive(ours.as_fd(), &mut buffer).unwrap(), 0);
        assert_eq!(send(ours.as_fd(), b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let (ours, theirs) = stream_pair().unwrap();
        refuse_descriptors(ours.as_fd()).unwrap();
        linger_off(ours.as_fd()).unwrap();
        assert_eq!(send(theirs.as_fd(), b"abc").unwrap(), 3);
        assert_eq!(receive(ours.as_fd(), &mut buffer[..1]).unwrap(), 1);
        assert!(somaxconn().unwrap() > 0);
    }
}
