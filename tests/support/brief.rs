//! What a failing test prints: enough to see what went wrong, and never more than forty lines.
//!
//! A log, a listing or a JSON document in the message of an assertion would push the reason off the screen.
#![allow(clippy::print_stderr, reason = "a failing test says why")]

use serde_json::Value;
use std::panic::PanicHookInfo;
use std::sync::Once;

/// Lines of a message: the reason stands at its begin, what came last at its end.
const FIRST: usize = 4;
const LAST: usize = 7;

/// Characters of a line.
const WIDTH: usize = 300;

/// Lines of a log, and vassals of the statistics.
pub const LOG: usize = 12;
pub const VASSALS: usize = 6;

/// Cuts the messages of all panics of this test program, from the first call on.
pub fn cut_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(say)));
}

fn say(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("a panic without a text");
    let name = thread.name().unwrap_or("?");
    eprintln!("\nthread '{name}' panicked at {place}:\n{}", message_of(message));
    if std::env::var("RUST_BACKTRACE").is_ok_and(|how| how == "full") {
        eprintln!("{}", std::backtrace::Backtrace::force_capture());
    }
}

/// The begin and the end of a message.
pub fn message_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let hidden = lines.len().saturating_sub(FIRST + LAST);
    if hidden < 2 {
        return narrow(lines.into_iter());
    }
    let begin = narrow(lines.iter().copied().take(FIRST));
    let end = narrow(lines.iter().copied().skip(FIRST + hidden));
    format!("{begin}\n… {hidden} lines …\n{end}")
}

/// The last lines of a text.
pub fn last_lines(text: &str, most: usize) -> String {
    let hidden = text.lines().count().saturating_sub(most);
    let shown = narrow(text.lines().skip(hidden));
    if hidden == 0 { shown } else { format!("… {hidden} lines …\n{shown}") }
}

/// The statistics: one line for the emperor, one for each of the first vassals.
pub fn statistics(bytes: &[u8]) -> String {
    let Ok(stats) = serde_json::from_slice::<Value>(bytes) else {
        return last_lines(&String::from_utf8_lossy(bytes), VASSALS);
    };
    let vassals = stats["vassals"].as_array().map(Vec::as_slice).unwrap_or_default();
    let top = stats.as_object().into_iter().flatten();
    let top =
        top.filter(|(_, value)| !value.is_array()).map(|(key, value)| format!("{key}={value}"));
    let mut lines = vec![top.collect::<Vec<_>>().join(" ")];
    // Those that are well are the least interesting.
    let is_well = |vassal: &&Value| vassal["last_error"].is_null();
    let (well, ill): (Vec<&Value>, Vec<&Value>) = vassals.iter().partition(is_well);
    lines.extend(ill.iter().chain(&well).take(VASSALS).map(|vassal| {
        let words = ["id", "state", "pid", "reason", "last_exit", "last_error", "ready", "loyal"];
        words.map(|word| format!("{word}={}", vassal[word])).join(" ")
    }));
    if vassals.len() > VASSALS {
        lines.push(format!("… {} vassals …", vassals.len() - VASSALS));
    }
    narrow(lines.iter().map(String::as_str))
}

/// Cuts each line to the width.
fn narrow<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let cut = lines.map(|line| {
        let mut shown: String = line.chars().take(WIDTH).collect();
        if line.chars().nth(WIDTH).is_some() {
            shown.push_str(&format!(" … ({} bytes)", line.len()));
        }
        shown
    });
    cut.collect::<Vec<_>>().join("\n")
}
