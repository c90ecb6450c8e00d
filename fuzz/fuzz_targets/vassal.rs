//! Any bytes as a vassal's file: read, expanded, checked. What is good is shown again and read the same.
//!
//! No command is run, and nothing but regular files of the machine can be named.
#![no_main]

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use liege::config::{self, Invocation};

thread_local! {
    static INPUT: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// The input as a file without a name, made once and written anew.
fn input(bytes: &[u8]) -> File {
    INPUT.with_borrow_mut(|slot| {
        let file = slot.get_or_insert_with(|| {
            let path = std::env::temp_dir().join(format!("liege-fuzz-{}", std::process::id()));
            let options = File::options().read(true).write(true).create(true).truncate(true).open(&path);
            let file = options.expect("a file in the temporary directory");
            std::fs::remove_file(path).expect("it was just made");
            file
        });
        file.set_len(0).expect("an open file");
        file.seek(SeekFrom::Start(0)).expect("an open file");
        file.write_all(bytes).expect("an open file");
        file.try_clone().expect("a descriptor")
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut call = Invocation::new(
        vec!["--ini".into(), "app.ini".into()],
        vec![("A".into(), "one".into()), ("UWSGI_ENV".into(), "B=%n".into())],
        "/nonexistent".into(),
    );
    call.commands = false;
    call.opened = Some(("app.ini".into(), input(bytes)));
    call.descriptor = |_| Err(std::io::ErrorKind::NotFound.into());
    let Ok(resolved) = config::load(&call) else { return };
    assert!(resolved.settings.len() <= 10_000);
    assert!(resolved.settings.iter().all(|setting| !setting.value.contains('\0')));
    if let Err(faults) = config::vassal::check(&resolved) {
        assert!(!faults.0.is_empty());
    }
    let _ = config::emperor::check(&resolved);
});
