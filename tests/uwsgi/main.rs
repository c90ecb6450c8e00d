//! Real uWSGI beside liege: as its vassal, as the emperor above it, and as the emperor next to it.
//!
//! Needs Debian's uWSGI with its python3 plug-in: `tests/run --apps` installs it and runs these.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod above;
mod parity;
mod shell;
mod vassal;

/// The program itself, not an alternative that may be another.
pub const UWSGI: &str = "/usr/bin/uwsgi-core";
