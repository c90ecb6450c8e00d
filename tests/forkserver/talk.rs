//! The talk with a base: late, lost and lying answers, and what happens to its vassal meanwhile.

use crate::support::{Liege, is_root, proc};
use crate::{
    adopted, asking, base_text, error, is_blacklisted, living, requests, text, told, with_base,
};
use std::process::Command;

/// A vassal that survives the end of its pipe, so that nobody but the emperor ends it.
const CLINGING: &str = "do=ready on=eof:";

/// The first talk comes to nothing for a reason that contains this; nobody is blamed, and it heals.
fn fails_and_heals(how: &str, reason: &str) -> Liege {
    let emperor = with_base(&format!("do={how}")).vassal("one.ini", &text(CLINGING)).start();
    told(&emperor, "one.ini", reason);
    adopted(&emperor, "one.ini");
    assert!(!is_blacklisted(&emperor, "one.ini"), "{how} is no fault of the vassal");
    assert_eq!(error(&emperor, "one.ini"), "", "it runs, so all is well");
    emperor
}

#[test]
fn a_vassal_waits_for_its_base_without_penalty() {
    let emperor = asking().vassal("one.ini", &text(CLINGING)).start();
    emperor.state("one.ini", "queued");
    emperor.stays("it is held and not blamed", || {
        let stats = emperor.stats();
        stats.vassal("one.ini").text("state") != "running" && stats.blacklisted("one.ini").is_none()
    });
    let stats = emperor.stats();
    assert!(error(&emperor, "one.ini").contains("is not ready"), "{}", stats.0);
    let lines = emperor.log().lines().filter(|line| line.contains("one.ini] not started")).count();
    assert_eq!(lines, 1, "told once, not with each try");
    emperor.put("base.ini", &base_text(""));
    adopted(&emperor, "one.ini");
}

#[test]
fn byte_5_of_the_base_is_the_moment_to_ask() {
    let emperor = asking().vassal("one.ini", &text(CLINGING)).start();
    emperor.wait_until("the pauses are long", || {
        emperor.stats().vassal("one.ini").0["next_start_ms"].as_u64().is_some_and(|ms| ms > 900)
    });
    emperor.put("base.ini", &base_text("say"));
    adopted(&emperor, "one.ini");
    assert_eq!(emperor.stats().vassal("base.ini").number("accepting"), 1);
}

#[test]
fn an_answer_may_come_byte_by_byte() {
    let emperor = with_base("do=bytes").vassal("one.ini", &text(CLINGING)).start();
    adopted(&emperor, "one.ini");
    assert_eq!(requests(&emperor).len(), 1);
}

#[test]
fn an_answer_that_makes_no_sense_holds_the_vassal_with_its_reason() {
    fails_and_heals("rubbish", "has the modifier 72");
    fails_and_heals("oversize", "announces 65535 bytes");
    for pid in ["-1", "0", "1", "4294967297", "x"] {
        fails_and_heals(&format!("pid:{pid}"), "a pid that no vassal can have");
    }
}

#[test]
fn the_process_of_a_stranger_is_neither_adopted_nor_signalled() {
    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = stranger.id();
    let emperor = fails_and_heals(&format!("pid:{pid}"), "has not become our child");
    assert!(proc::lives(pid as i32));
    drop(emperor);
    assert!(proc::lives(pid as i32));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    // That number is nobody's now.
    fails_and_heals(&format!("pid:{pid}"), &format!("pid {pid}"));
}

#[test]
fn the_process_of_another_vassal_is_not_adopted() {
    let emperor = fails_and_heals("own-pid", "that of another vassal");
    assert_eq!(emperor.lives("base.ini"), 1, "the base lives on");
}

#[test]
fn an_orphan_that_was_there_before_is_not_adopted_but_killed() {
    let emperor = fails_and_heals("old", "is older than the request: it is killed");
    let own = emperor.emperor_pid();
    emperor.wait_until("the base, the vassal and the spawner are left", || {
        emperor.survivors().iter().filter(|pid| proc::parent(**pid) == Some(own)).count() == 3
    });
    assert_eq!(emperor.lives("base.ini"), 1, "the base lives on");
}

#[test]
fn an_orphan_that_has_died_since_is_not_taken_for_a_life_that_was_born_dead() {
    let emperor = fails_and_heals("old-dead", "No such process");
    assert_eq!(emperor.stats().vassal("one.ini").number("deaths"), 0);
}

#[test]
fn a_newborn_of_another_user_is_killed() {
    if !is_root() {
        crate::skip!("a change of user needs root");
    }
    let emperor = fails_and_heals("setuid:65534", "runs as user 65534: it is killed");
    let pid = emperor.running("one.ini");
    emperor.wait_until("one is left", || {
        living(&emperor, "one.ini").iter().all(|living| *living == pid)
    });
}

#[test]
fn the_emperor_does_not_adopt_itself() {
    let mut emperor = fails_and_heals("parent-pid", "has not become our child");
    assert!(!emperor.has_ended());
}

#[test]
fn a_base_that_dies_in_a_talk_is_started_again_and_so_is_the_talk() {
    for how in ["die-before", "die-between"] {
        let emperor = fails_and_heals(how, "is not ready");
        assert_eq!(emperor.lives("base.ini"), 2, "{how}");
        // Whatever the first base has left behind.
        emperor.wait_until("one process is left of it", || living(&emperor, "one.ini").len() == 1);
    }
}

#[test]
fn a_base_that_dies_after_its_answer_takes_nobody_along() {
    let emperor = with_base("do=die-after").vassal("one.ini", &text(CLINGING)).start();
    let pid = adopted(&emperor, "one.ini");
    emperor.wait_until("the base is there again", || emperor.lives("base.ini") == 2);
    emperor.stays("the vassal lives on", || emperor.pid("one.ini") == Some(pid));
    assert_eq!((emperor.lives("one.ini"), requests(&emperor).len()), (1, 1));
}

#[test]
fn a_silent_server_holds_up_nobody_and_is_given_up_after_five_seconds() {
    let emperor = with_base("do=silent").vassal("one.ini", &text(CLINGING)).start();
    emperor.wait_until("it was asked", || requests(&emperor).len() == 1);
    assert_eq!(emperor.stats().vassal("one.ini").text("state"), "starting");
    emperor.put("two.ini", &text(CLINGING));
    adopted(&emperor, "two.ini");
    told(&emperor, "one.ini", "not answered");
    adopted(&emperor, "one.ini");
    assert!(!is_blacklisted(&emperor, "one.ini"));
}

#[test]
fn what_a_failed_talk_has_left_behind_is_killed() {
    let emperor = with_base("do=lost").vassal("one.ini", &text(CLINGING)).start();
    emperor.wait_until("both were born", || emperor.lives("one.ini") == 2);
    let pid = adopted(&emperor, "one.ini");
    emperor.wait_until("one is left", || living(&emperor, "one.ini") == [pid]);
    let base = emperor.running("base.ini");
    assert!(proc::lives(base), "the base is left alone");
}

#[test]
fn who_has_died_before_its_answer_is_read_was_born_and_is_dead() {
    let emperor = with_base("do=stillborn").vassal("one.ini", &text(CLINGING)).start();
    emperor.wait_until("its death is judged", || is_blacklisted(&emperor, "one.ini"));
    emperor.logged("before it was loyal");
    adopted(&emperor, "one.ini");
    let stats = emperor.stats();
    assert_eq!(stats.vassal("one.ini").number("deaths"), 1);
    assert!(stats.vassal("one.ini").0["last_exit"].to_string().contains("exit 9"));
}

#[test]
fn the_process_between_may_end_a_little_late() {
    // A part of the second in which a claim may come true: most of it is for a busy machine.
    for pause in [100, 300] {
        let base = with_base(&format!("do=linger:{pause}"));
        let emperor = base.vassal("one.ini", &text(CLINGING)).start();
        adopted(&emperor, "one.ini");
        emperor.life("one.ini", 1);
        assert_eq!((emperor.lives("one.ini"), requests(&emperor).len()), (1, 1));
    }
}

#[test]
fn descriptors_that_come_with_an_answer_are_closed() {
    let emperor = with_base("do=good,rights").vassal("one.ini", &text(CLINGING)).start();
    let first = adopted(&emperor, "one.ini");
    let count = || proc::descriptors(emperor.emperor_pid()).len();
    // A client of the statistics that has just gone may be counted here, hence no equality below.
    let before = count();
    proc::kill(first, libc::SIGKILL);
    emperor.running_anew("one.ini", first);
    emperor.wait_until("there are no more than before", || count() <= before);
}

// What happens to the vassal while a talk is open.

fn in_a_talk(words: &str) -> Liege {
    let words = format!("do=gate:$DIR/go {words}");
    let emperor = with_base(&words).vassal("one.ini", &text(CLINGING)).start();
    emperor.wait_until("it was asked", || requests(&emperor).len() == 1);
    emperor.state("one.ini", "starting");
    emperor
}

#[test]
fn a_touch_in_a_talk_stops_what_is_born_and_asks_again() {
    let emperor = in_a_talk("");
    emperor.touch("one.ini");
    emperor.state("one.ini", "stopping");
    emperor.stays("the talk is not cut short", || requests(&emperor).len() == 1);
    emperor.open_gate("go");
    let pid = adopted(&emperor, "one.ini");
    assert_eq!(requests(&emperor).len(), 2);
    emperor.wait_until("the first is gone", || {
        let living = living(&emperor, "one.ini");
        living == [pid]
    });
    assert!(!is_blacklisted(&emperor, "one.ini"));
}

#[test]
fn a_removal_in_a_talk_stops_what_is_born() {
    let emperor = in_a_talk("");
    emperor.remove("one.ini");
    emperor.state("one.ini", "stopping");
    emperor.open_gate("go");
    emperor.wait_until("it is gone", || emperor.stats().find("one.ini").is_none());
    assert_eq!(living(&emperor, "one.ini"), [0; 0]);
    assert_eq!(emperor.stats().up(), 1);
}

#[test]
fn ragnarok_in_a_talk_stops_what_is_born() {
    let mut emperor = in_a_talk("deaf");
    emperor.signal(libc::SIGTERM);
    emperor.state("one.ini", "stopping");
    emperor.open_gate("go");
    assert_eq!(emperor.wait_for_end().code(), Some(0));
    emperor.all_gone();
    assert!(emperor.log().contains("one.ini] is adopted"), "{}", emperor.log());
}
