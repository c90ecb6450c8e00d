//! One connection of a listener, or the reason why there is none, sorted by what can be done about it.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::socket;

/// What accept(2) has given.
#[derive(Debug)]
pub enum Accepted {
    /// A connection, non-blocking and close-on-exec.
    Connection(OwnedFd),
    /// No connection waits.
    Nobody,
    /// A connection has failed before it was accepted; the next one may be good.
    Failed,
    /// No descriptor is left (`EMFILE`, `ENFILE`). The kernel looks at this first: it says nothing
    /// about whether a connection waits.
    NoDescriptor,
    /// No memory, or the listener itself is broken.
    Broken,
}

/// Takes the next connection of a non-blocking listener.
///
/// # Source
/// accept(2): errors that are already pending on the new connection are to be treated like `EAGAIN`.
pub fn next(listener: BorrowedFd<'_>) -> Accepted {
    match socket::accept(listener) {
        Ok(connection) => Accepted::Connection(connection),
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN) => Accepted::Nobody,
            Some(
                libc::ECONNABORTED
                | libc::EPERM
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET,
            ) => Accepted::Failed,
            Some(libc::EMFILE | libc::ENFILE) => Accepted::NoDescriptor,
            _ => Accepted::Broken,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Accepted, next};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    #[test]
    fn a_listener_tells_a_connection_from_nobody_and_from_a_fault() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        assert!(matches!(next(listener.as_fd()), Accepted::Nobody));
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(matches!(next(listener.as_fd()), Accepted::Connection(_)));
        let no_listener = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(matches!(next(no_listener.as_fd()), Accepted::Broken));
    }
}
