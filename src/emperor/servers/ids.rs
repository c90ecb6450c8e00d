//! What the reactor waits for in the servers.

/// A server, by its place among all. There are few, and a small number keeps the token of each descriptor small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emperor) struct ServerId(pub u8);

/// One connection; the number is never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emperor) struct ClientId(pub u64);

/// A descriptor of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emperor) enum ServerSocket {
    /// The listener at this place of the server.
    Listener(ServerId, usize),
    /// A connection.
    Client(ServerId, ClientId),
}
