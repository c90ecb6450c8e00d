//! Messages to the service manager: the keeper sends on, as its own, what the emperor writes.
//!
//! A manager takes `READY=1` from the main process alone (`NotifyAccess=main`), which is the keeper. So the
//! emperor writes its datagrams to a pair of sockets, and they are passed on here, unread. The kernel tells of
//! each by SIGIO, so the keeper goes on sleeping in its one system call; a manager that does not read is
//! tried again a second later, and the emperor, whose end fills up, keeps what does not fit.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::sys::fd;

/// Until a message that did not fit is tried again.
const RELAY_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Longest message: a line of status is far shorter.
const MAX_RELAYED: usize = 4096;
/// Messages passed on in one round.
const MAX_RELAYED_AT_ONCE: usize = 32;

/// Sends the messages of the emperor on to the service manager.
#[derive(Debug)]
pub struct Relay {
    command: UnixDatagram,
    manager: UnixDatagram,
    address: SocketAddr,
    message: Box<[u8; MAX_RELAYED]>,
    /// Of the message that did not fit; 0 if there is none.
    length: usize,
}

impl Relay {
    /// To the manager at this address; with the command's end.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`; `Unsupported` for an address of another kind.
    pub fn new(name: &OsStr) -> io::Result<(Self, UnixDatagram)> {
        let address = address(name)?;
        let (command, its_end) = UnixDatagram::pair()?;
        let manager = UnixDatagram::unbound()?;
        for socket in [&command, &its_end, &manager] {
            socket.set_nonblocking(true)?;
        }
        let message = Box::new([0; MAX_RELAYED]);
        Ok((Self { command, manager, address, message, length: 0 }, its_end))
    }

    /// From now on SIGIO tells this process of each message.
    pub(super) fn open(&self) {
        // Refused by nothing but a kernel that knows no such signal; then each other one wakes us.
        let _ = fd::signal_when_readable(self.command.as_fd());
    }

    /// What must stay open.
    pub(super) fn descriptors(&self) -> [std::os::fd::BorrowedFd<'_>; 2] {
        [self.command.as_fd(), self.manager.as_fd()]
    }

    /// Passes on what is there; gives the time after which this is to be done again.
    pub(super) fn pass(&mut self) -> Option<Duration> {
        for _ in 0..MAX_RELAYED_AT_ONCE {
            if self.length == 0 {
                self.length = match self.command.recv(&mut self.message[..]) {
                    Ok(length) if length > 0 => length,
                    Ok(_) | Err(_) => return None,
                };
            }
            let text = self.message.get(..self.length).unwrap_or_default();
            match self.manager.send_to_addr(text, &self.address) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Some(RELAY_RETRY_INTERVAL);
                }
                // A manager that is gone is not waited for.
                Ok(_) | Err(_) => self.length = 0,
            }
        }
        Some(Duration::ZERO)
    }
}

/// `$NOTIFY_SOCKET`: a path, or `@` and an abstract name.
///
/// # Errors
/// `Unsupported` for another kind, `InvalidInput` for one that is too long.
pub fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => {
            let why = "it is neither a path nor an abstract name";
            Err(io::Error::new(ErrorKind::Unsupported, why))
        }
    }
}
