//! A listening socket of a server: how many connections it accepts, when it pauses, and how it is bound again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use crate::emperor::listening_socket::{ListeningSocket, SocketLoss};
use crate::sys::fd;
use crate::sys::socket::{self, ListenOptions, SocketError};
use crate::types::address::Address;
use crate::types::moment::Moment;

/// The time in which a listener accepts at most [`MAX_ACCEPTS`] connections.
pub(super) const ACCEPT_WINDOW: Duration = Duration::from_millis(20);

/// Most connections accepted at one listener within [`ACCEPT_WINDOW`].
pub(super) const MAX_ACCEPTS: usize = 32;

/// Where a server listens, and how. A path is absolute.
#[derive(Clone, Debug)]
pub(in crate::emperor) struct BindPlace {
    pub address: Address,
    pub options: ListenOptions,
}

/// A listening socket of a server.
#[derive(Debug)]
pub(in crate::emperor) struct ServerListener {
    socket: ListeningSocket,
    place: BindPlace,
    /// End of the pause in which it is not polled.
    pub(super) paused_until: Option<Moment>,
    /// Since when connections are counted, and how many were accepted since.
    accepted: (Option<Moment>, usize),
}

impl ServerListener {
    /// Listens at a place.
    ///
    /// # Errors
    /// Those of [`socket::listen`].
    pub fn bind(place: BindPlace) -> Result<Self, SocketError> {
        let socket = socket::listen(&place.address, &place.options)?;
        Ok(Self::new(socket, place))
    }

    /// A socket that listens at this place already.
    pub(super) fn new(socket: OwnedFd, place: BindPlace) -> Self {
        // It cannot fail for an open descriptor; a poll before each accept would still protect.
        let _ = fd::set_nonblocking(socket.as_fd());
        let socket = ListeningSocket::new(socket, Path::new("/"));
        Self { socket, place, paused_until: None, accepted: (None, 0) }
    }

    /// When the next connection may be accepted; it is counted if that is now.
    pub(super) fn next_accept(&mut self, now: Moment) -> Moment {
        let (since, count) = &mut self.accepted;
        match *since {
            Some(begin) if now.saturating_duration_since(begin) < ACCEPT_WINDOW => {
                if *count >= MAX_ACCEPTS {
                    return begin + ACCEPT_WINDOW;
                }
            }
            _ => (*since, *count) = (Some(now), 0),
        }
        *count += 1;
        now
    }

    /// Binds it again if clients cannot reach it any more; gives the old socket and a text for the log.
    pub(super) fn bind_again_if_lost(&mut self, name: &str) -> Option<(Option<OwnedFd>, String)> {
        let lost = self.socket.lost(Path::new("/"))?;
        let address = self.place.address.clone();
        let replace_refusing = lost == SocketLoss::ShutDown;
        let options = ListenOptions { replace_refusing, ..self.place.options.clone() };
        let what = format!("the socket of the {name}, {address}, {lost}");
        Some(match socket::listen(&address, &options) {
            Ok(socket) => {
                let new = Self::new(socket, self.place.clone());
                let old = std::mem::replace(self, new);
                (Some(old.socket.socket), format!("{what}; it is bound again"))
            }
            Err(error) => (None, format!("{what}; it cannot be bound again: {error}")),
        })
    }
}

impl AsFd for ServerListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
