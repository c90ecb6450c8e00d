//! Sockets: accept, connect, pairs, datagrams, questions; listening is in a file of its own.
//!
//! Everything is close-on-exec at birth. Addresses are plain bytes ([`super::address`]), so the only unsafe
//! part of each call is the call itself.

mod listen;
mod raw;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use libc::c_int;
use nix::sys::stat::{Mode, fchmod};

use super::address::Raw;
use super::{call, check, retry};
use raw::{bind, connect_raw, option, set_option, socket};

pub use super::address::Address;
pub use listen::{
    Accept, ListenOptions, SocketError, SocketOwner, is_held, listen, set_attributes, set_backlog,
    somaxconn, try_listen, try_owner,
};

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
    /// The socket turns writable when it is made or has failed; which of the two the next send tells.
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
    // The kernel gives the file the mode of the socket, so no other user can connect before the chmod.
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

    fn loopback() -> Address {
        Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
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
