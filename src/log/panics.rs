//! Panics, which are faults in liege: what they say is kept for a line in the log.
//!
//! Rust's own hook writes to standard error and waits until that takes the message, which a full pipe
//! never does.

use std::fmt::Write;
use std::panic::PanicHookInfo;
use std::sync::Mutex;

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// From now on a panic writes nothing: whoever catches it asks [`last`] what it has said.
pub fn keep() {
    std::panic::set_hook(Box::new(note));
}

fn note(panic: &PanicHookInfo<'_>) {
    let Ok(mut last) = LAST_PANIC.try_lock() else { return };
    last.clear();
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let _ = write!(last, "{}", text.unwrap_or("a panic"));
    if let Some(place) = panic.location() {
        let _ = write!(last, " ({}:{})", place.file(), place.line());
    }
}

/// What the last panic has said, and where that was.
pub fn last() -> String {
    LAST_PANIC.try_lock().map(|last| last.clone()).unwrap_or_default()
}
