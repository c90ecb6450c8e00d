//! The bytes of every protocol that is spoken here. Pure: bytes in, values out, and back.

pub mod emperor;
pub mod fork;
pub mod notify;
pub mod status;
pub mod uwsgi;
