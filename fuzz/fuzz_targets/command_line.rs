//! Any command line, one argument a line: read without files.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use liege::config::{self, Invocation};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let args = bytes.split(|byte| *byte == b'\n').map(|arg| OsString::from_vec(arg.to_vec()));
    let mut call = Invocation::new(args.collect(), Vec::new(), "/nonexistent".into());
    call.commands = false;
    call.descriptor = |_| Err(std::io::ErrorKind::NotFound.into());
    if let Ok(resolved) = config::load(&call) {
        let _ = config::vassal::check(&resolved);
        let _ = config::emperor::check(&resolved);
    }
});
