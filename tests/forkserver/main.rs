//! Vassals that a fork server makes, tried with the real binary and a base of the tests' own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod adopted;
mod badinput;
mod hooks;
mod leftovers;
mod talk;

use std::path::PathBuf;

use support::{Liege, Setup, app_path, app_text, example, proc};

/// An emperor that asks the fork server at `base.sock`; nobody serves there yet.
fn asking() -> Setup {
    let app = app_path().to_str().unwrap().to_owned();
    let setup = Liege::in_temp_dir().env("NEWBORN", &app);
    setup
        .option("--emperor-use-fork-server", "$DIR/base.sock")
        .option("--vassal-fork-base", "base.ini")
}

/// The same, with a base that serves requests as these words say.
fn with_base(words: &str) -> Setup {
    asking().vassal("base.ini", &base_text(words))
}

fn base_path() -> PathBuf {
    example("test-base", "tests/apps/base.rs")
}

fn base_text(words: &str) -> String {
    let base = base_path();
    format!(
        "[uwsgi]\nunprivileged-binary-patch-arg = {} sock=$DIR/base.sock record=$DIR/record/base.ini \
         {words}\n",
        base.display()
    )
}

/// The file of a vassal that is asked for: the newborn reads its words in it.
fn text(words: &str) -> String {
    app_text(true, "", words)
}

/// What the base was asked so far.
fn requests(emperor: &Liege) -> Vec<serde_json::Value> {
    emperor.events("base.ini", "request")
}

/// Waits until the vassal runs, adopted; gives its pid.
fn adopted(emperor: &Liege, name: &str) -> i32 {
    let pid = emperor.running(name);
    assert_eq!(emperor.stats().vassal(name).number("adopted"), 1, "{name} was forked by the base");
    pid
}

/// The processes of a vassal that were started and live.
fn living(emperor: &Liege, name: &str) -> Vec<i32> {
    let starts = emperor.events(name, "start");
    let pids = starts.iter().map(|start| start["pid"].as_i64().unwrap() as i32);
    pids.filter(|pid| proc::lives(*pid)).collect()
}

/// Its last error, as long as it has one.
fn error(emperor: &Liege, name: &str) -> String {
    let stats = emperor.stats();
    stats.find(name).and_then(|v| v.0["last_error"].as_str().map(str::to_owned)).unwrap_or_default()
}

/// Waits until a reason has been told: it may be over, and no longer shown, when we look.
fn told(emperor: &Liege, name: &str, reason: &str) {
    let mark = format!("[{name}]");
    emperor.wait_until(&format!("the reason of {name}: {reason}"), || {
        let is_it = |line: &str| line.contains(&mark) && line.contains(reason);
        error(emperor, name).contains(reason) || emperor.log().lines().any(is_it)
    });
}

fn is_blacklisted(emperor: &Liege, name: &str) -> bool {
    emperor.stats().blacklisted(name).is_some()
}
