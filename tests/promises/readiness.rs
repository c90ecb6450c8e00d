//! When a new program is believed to take requests, and how long the old one stays.

use crate::support::{Liege, proc};

/// On this socket, with a long way to being believed by its age.
const LINES: &str = "http-socket = $DIR/one.sock\nready-after = 600";

/// A vassal that behaves so from its second life on, after a change of its file.
fn replaced(lines: &str, words: &str) -> (Liege, i32) {
    let emperor = Liege::in_temp_dir().app_with("one.ini", lines, words).start();
    let first = emperor.running("one.ini");
    emperor.life("one.ini", 1);
    emperor.touch("one.ini");
    (emperor, first)
}

#[test]
fn ready_from_a_program_that_has_promised_nothing_counts_at_once() {
    // It does not listen, so that nothing else tells.
    let (emperor, first) = replaced(LINES, "do=notify");
    emperor.running_anew("one.ini", first);
    emperor.wait_until("the old one is gone", || !proc::lives(first));
    let stats = emperor.stats();
    let vassal = stats.vassal("one.ini");
    assert_eq!((vassal.number("ready"), vassal.number("accepting")), (1, 1));
}

#[test]
fn ready_may_be_said_by_a_child_of_the_program() {
    let (emperor, first) = replaced(LINES, "do=notify:child");
    emperor.running_anew("one.ini", first);
}

#[test]
fn ready_of_somebody_else_is_not_counted_and_said_once() {
    let emperor = Liege::in_temp_dir()
        .app_with("one.ini", &format!("{LINES}\nstart-timeout = 600\nnotify = true"), "do=wait:1")
        .start();
    emperor.running("one.ini");
    let name = emperor.life("one.ini", 1)["env"]["NOTIFY_SOCKET"].as_str().unwrap().to_owned();
    // This test: of another session than any vassal.
    for _ in 0..3 {
        crate::support::notify(&name, "READY=1");
    }
    let (uid, pid) = (own_uid(), std::process::id());
    emperor.logged(&format!("READY=1 or WATCHDOG=1 of pid {pid} (user {uid}) is not counted"));
    emperor.stays("it is not believed", || emperor.stats().vassal("one.ini").number("ready") == 0);
    assert_eq!(emperor.log().matches("is not counted").count(), 1);
}

fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid()
}
