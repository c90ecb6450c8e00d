#![doc = include_str!("README.md")]
// The documentation is for those who work on liege: it names what is private too.
#![allow(rustdoc::private_intra_doc_links)]

pub mod config;
pub mod emperor;
pub mod identity;
pub mod init;
pub mod log;
pub mod monitor;
pub mod opts;
pub mod proto;
pub mod reactor;
pub mod spawn;
pub mod stage;
pub mod state;
pub mod sys;
pub mod types;
