//! liege: a process supervisor that re-implements and outgrows the uWSGI Emperor.
//!
//! The map of the modules; imports point one way, and `tests/layers` keeps it so.
//!
//! - [`opts`]: the one table of options, and what is made from it (command line, help, manual).
//! - [`config`]: files, environment and command line to one ordered list, then to checked structs.
//! - [`state`]: what should happen. Pure: events and the time go in, effects come out.
//! - [`proto`]: the bytes of every protocol that is spoken here. Pure.
//! - [`reactor`]: one `poll(2)`: tokens, interest, deadline.
//! - [`emperor`]: the shell that makes it happen: wait, rank, step, act.
//! - [`monitor`]: sources of vassals.
//! - [`spawn`]: from plan to fork to exec.
//! - [`stage`]: liege exec'd as a vassal: read, bind, drop, exec the application.
//! - [`init`]: `liege init`, and the keeper of the emperor.
//! - [`log`]: one line per transition, never blocking.
//! - [`sys`]: kernel calls behind safe types.
//! - [`types`]: words that more than one of these speaks; the standard library only.

pub mod config;
pub mod emperor;
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
