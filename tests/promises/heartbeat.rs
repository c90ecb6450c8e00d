//! The heartbeat: who has once given a sign of life must go on giving it.

use crate::support::{Liege, proc};
use std::time::{Duration, Instant};

fn silent_for(emperor: &Liege, time: Duration) {
    let start = Instant::now();
    emperor.wait_until("the time is over", || start.elapsed() > time);
}

#[test]
fn a_vassal_that_beats_is_left_alone() {
    let setup = Liege::in_temp_dir().option("--emperor-required-heartbeat", "3");
    let emperor = setup.app("one.ini", "do=ready,accepting,loyal,beat,wait:100,jump:3").start();
    let pid = emperor.running("one.ini");
    emperor.wait_until("it has beaten", || {
        emperor.stats().vassal("one.ini").number("last_heartbeat") > 0
    });
    silent_for(&emperor, Duration::from_millis(5000));
    assert_eq!(emperor.pid("one.ini"), Some(pid));
    assert!(emperor.events("one.ini", "byte").is_empty());
}

#[test]
fn a_vassal_that_never_beats_is_never_missed() {
    let setup = Liege::in_temp_dir().option("--emperor-required-heartbeat", "1");
    let emperor = setup.app("one.ini", "do=ready,accepting,loyal").start();
    let pid = emperor.running("one.ini");
    silent_for(&emperor, Duration::from_millis(2500));
    assert_eq!(emperor.pid("one.ini"), Some(pid));
    assert!(emperor.events("one.ini", "byte").is_empty());
}

#[test]
fn a_beat_that_fails_to_come_is_a_graceful_reload_first() {
    let setup = Liege::in_temp_dir().option("--emperor-required-heartbeat", "1");
    // It comes back to life by the reload.
    let words = "do=ready,accepting,loyal,beat on=reload:ready+accepting+beat+wait:200+beat";
    let emperor = setup.app("one.ini", words).start();
    let pid = emperor.running("one.ini");
    emperor.wait_until("it was told to reload", || {
        emperor.events("one.ini", "byte").iter().any(|byte| byte["value"] == 1)
    });
    assert_eq!(emperor.pid("one.ini"), Some(pid), "the same process");
    emperor.logged("heartbeat");
}

#[test]
fn a_vassal_that_stays_silent_after_the_reload_is_killed_and_started_again() {
    let emperor = Liege::in_temp_dir()
        .option("--emperor-required-heartbeat", "1")
        .option("--emperor-curse-tolerance", "1")
        .app("one.ini", "do=ready,accepting,loyal,until:1:beat on=reload:wait:100000")
        .start();
    let first = emperor.life("one.ini", 1)["pid"].as_i64().unwrap() as i32;
    emperor.running_anew("one.ini", first);
    assert!(!proc::lives(first));
}

#[test]
fn an_emperor_that_was_stopped_listens_before_it_judges() {
    let setup = Liege::in_temp_dir().option("--emperor-required-heartbeat", "3");
    let emperor = setup.app("one.ini", "do=ready,accepting,loyal,beat,wait:100,jump:3").start();
    let pid = emperor.running("one.ini");
    emperor.wait_until("it has beaten", || {
        emperor.stats().vassal("one.ini").number("last_heartbeat") > 0
    });
    let own = emperor.emperor_pid();
    proc::kill(own, libc::SIGSTOP);
    silent_for(&emperor, Duration::from_secs(5));
    proc::kill(own, libc::SIGCONT);
    emperor.stays("nobody is reloaded or killed", || {
        emperor.pid("one.ini") == Some(pid) && emperor.events("one.ini", "byte").is_empty()
    });
}
