//! The bytes of every protocol that liege speaks. Pure: it turns bytes into values, and values into bytes.

pub mod emperor;
pub mod fork;
pub mod notify;
mod packet;
pub mod spawner;
pub mod status;
pub mod uwsgi;
