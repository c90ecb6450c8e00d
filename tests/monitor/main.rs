//! The promises of the monitor of a directory, kept over real directories with real inotify.
//!
//! Each change is also checked against all before it: found once, changed only when something
//! differs, lost once. Where a promise speaks of seconds, the clock is moved instead of waited for.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may fail loudly and say what it skips"
)]

#[path = "../support/brief.rs"]
#[allow(dead_code, reason = "there is no emperor here")]
mod brief;
mod faults;
mod files;
mod folder;
mod links;
mod ondemand;
mod random;
mod world;
