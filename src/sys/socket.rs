//! Sockets: bind, listen, accept, connect, ask.
