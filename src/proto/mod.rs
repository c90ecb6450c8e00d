//! The bytes of every protocol that liege speaks. Pure: it turns bytes into values, and values into bytes.

pub mod emperor;
pub mod fork;
pub mod notify;
pub mod status;
pub mod uwsgi;
