//! The promises of `liege init` and of the keeper, on the real binary.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

#[path = "../support/brief.rs"]
#[allow(dead_code, reason = "there is no emperor here")]
mod brief;
mod keeper;
mod leftovers;
mod namespace;
mod signals;
mod start;
mod support;
mod terminal;
