//! What the manual promises, tried with the real binary: one module for each of its chapters.
//!
//! One program for all of them, so that tests that mostly wait can wait at the same time
//! (`cargo test --test promises ondemand::`).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod advice;
mod app;
mod badinput;
mod binary_path;
mod blacklist;
mod brief;
mod config_pipe;
mod deploy;
mod faults;
mod heartbeat;
mod hooks;
mod keeper;
mod life;
mod listeners;
mod many;
mod memory;
mod monitor_dir;
mod notify;
mod ondemand;
mod own;
mod pidfile;
mod ragnarok;
mod readiness;
mod reload;
mod secrets;
mod setups;
mod signals;
mod spawn;
mod spawner;
mod stale;
mod stats;
mod stop;
mod strays;
mod sub_emperor;
mod throttle;
mod users;
mod vassal_files;
mod wrapper;
