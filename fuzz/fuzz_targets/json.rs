//! Any bytes as JSON: told as pairs and faults, never a panic.
#![no_main]

use liege::config::fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::json(bytes));
