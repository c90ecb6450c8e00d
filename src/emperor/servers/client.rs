//! One connection: its request, its answer, its end.
//!
//! A connection whose answer is sent stays open until the client closes it: if we closed it first, with unread
//! bytes of the client, the kernel would reset it and discard what is under way (RFC 1122, 4.2.2.13).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::sys::poll::Interest;
use crate::sys::{socket, write};
use crate::types::moment::Moment;

use super::ids::ClientId;
use super::service::{Answer, Bytes};

/// From connect to close, however slow the client is; each further request of a connection has as long.
pub(super) const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest request, in bytes.
pub(super) const MAX_REQUEST: usize = 4096;

/// Most bytes that a client may send after its last answer before it is taken for a flood.
const MAX_IGNORED_INPUT: usize = 64 * 1024;

/// Most bytes that are sent to a client in one turn: one that reads as fast as we write would take a large answer whole.
const MAX_SENT: usize = 256 * 1024;

/// A connection.
pub(super) struct Client {
    pub id: ClientId,
    pub socket: OwnedFd,
    /// Whether it waits for an answer that is being made.
    pub is_waiting: bool,
    state: ClientState,
    /// Time at which it last took some of its answer.
    pub last_progress: Moment,
    pub deadline: Moment,
}

enum ClientState {
    /// The part of its request that was received.
    Reading(Vec<u8>),
    /// An answer, how much of it is sent, and the received part of the next request, unless the answer is the last one.
    Writing { answer: Bytes, sent: usize, next: Option<Vec<u8>> },
    /// It has got its whole answer; what it still sends is discarded.
    Closing { ignored: usize },
}

/// Whether a client stays connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    Keep,
    Close,
}

impl Client {
    /// One that has just connected.
    pub fn new(id: ClientId, socket: OwnedFd, now: Moment) -> Self {
        let state = ClientState::Reading(Vec::new());
        Self {
            id,
            socket,
            is_waiting: false,
            state,
            last_progress: now,
            deadline: now + CLIENT_TIMEOUT,
        }
    }

    /// The readiness that it is polled for.
    pub fn interest(&self) -> Interest {
        match self.state {
            ClientState::Writing { .. } => Interest::Write,
            ClientState::Reading(_) | ClientState::Closing { .. } => Interest::Read,
        }
    }

    /// Whether it has got its whole answer.
    pub fn is_closing(&self) -> bool {
        matches!(self.state, ClientState::Closing { .. })
    }

    /// The answer that is not sent completely.
    pub fn unsent(&self) -> Option<&Bytes> {
        match &self.state {
            ClientState::Writing { answer, .. } => Some(answer),
            ClientState::Reading(_) | ClientState::Closing { .. } => None,
        }
    }

    /// Reads, answers and sends as far as possible without blocking; at most one buffer is read.
    pub fn advance(&mut self, now: Moment, mut answer: impl FnMut(&[u8]) -> Answer) -> Connection {
        let mut may_read = true;
        let mut may_send = MAX_SENT;
        self.is_waiting = false;
        loop {
            match &mut self.state {
                ClientState::Reading(request) => match answer(request) {
                    Answer::Incomplete if std::mem::take(&mut may_read) => {
                        match receive(self.socket.as_fd(), request) {
                            Ok(true) => {}
                            Ok(false) => return Connection::Keep,
                            Err(_gone) => return Connection::Close,
                        }
                    }
                    Answer::Incomplete => return Connection::Keep,
                    Answer::Later => {
                        self.is_waiting = true;
                        return Connection::Keep;
                    }
                    Answer::Next { taken, bytes } => {
                        let next = Some(request.split_off(taken.min(request.len())));
                        self.state = ClientState::Writing { answer: bytes, sent: 0, next };
                        self.deadline = now + CLIENT_TIMEOUT;
                    }
                    Answer::Last(bytes) => {
                        self.state = ClientState::Writing { answer: bytes, sent: 0, next: None };
                    }
                },
                ClientState::Writing { answer, sent, next } => {
                    let tail = answer.get(*sent..).unwrap_or_default();
                    if tail.is_empty() {
                        self.state = match next.take() {
                            Some(request) => ClientState::Reading(request),
                            None if write::shutdown_write(self.socket.as_fd()).is_ok() => {
                                ClientState::Closing { ignored: 0 }
                            }
                            None => return Connection::Close,
                        };
                        continue;
                    }
                    if may_send == 0 {
                        return Connection::Keep;
                    }
                    let piece = tail.get(..may_send.min(tail.len())).unwrap_or_default();
                    match socket::send(self.socket.as_fd(), piece) {
                        Ok(more) => {
                            may_send = may_send.saturating_sub(more);
                            *sent += more;
                            self.last_progress = now;
                        }
                        Err(error) if would_block(&error) => return Connection::Keep,
                        Err(_gone) => return Connection::Close,
                    }
                }
                ClientState::Closing { ignored } => {
                    return throw_away_input(self.socket.as_fd(), ignored);
                }
            }
        }
    }
}

/// Appends what can be read; false if there was nothing.
fn receive(socket: BorrowedFd<'_>, request: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; MAX_REQUEST];
    let room = MAX_REQUEST.saturating_sub(request.len());
    match socket::receive(socket, buffer.get_mut(..room).unwrap_or_default()) {
        // No room: the request is too long. Or the client has closed before its request was complete.
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(length) => {
            request.extend_from_slice(buffer.get(..length).unwrap_or_default());
            Ok(true)
        }
        Err(error) if would_block(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn throw_away_input(socket: BorrowedFd<'_>, ignored: &mut usize) -> Connection {
    let mut buffer = [0; 4096];
    while *ignored <= MAX_IGNORED_INPUT {
        match socket::receive(socket, &mut buffer) {
            Ok(0) => return Connection::Close,
            Ok(length) => *ignored += length,
            Err(error) if would_block(&error) => return Connection::Keep,
            Err(_gone) => return Connection::Close,
        }
    }
    Connection::Close
}

fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Sends as much as fits at once to a client, and closes the connection.
pub(super) fn answer_at_once(client: &OwnedFd, answer: &[u8]) {
    let _ = socket::send(client.as_fd(), answer);
    let _ = write::shutdown_write(client.as_fd());
    let _ = socket::receive(client.as_fd(), &mut [0; 4096]);
}
