//! Any text as a value of every kind; an address and a command line are read back from what they show.
#![no_main]

use liege::config::{address, values};
use liege::opts;

libfuzzer_sys::fuzz_target!(|text: &str| {
    for opt in opts::lookup::rows() {
        let _ = values::check(opt.kind, text);
    }
    let _ = opts::lookup::prefix(text);
    let _ = opts::nearest(text);
    if let Ok(address) = address::parse(text) {
        if !text.contains('\0') {
            assert_eq!(address::parse(&address.to_string()).as_ref(), Ok(&address));
        }
    }
    if let Some(words) = liege::stage::program::words(text) {
        assert!(words.iter().map(String::len).sum::<usize>() <= text.len());
    }
});
