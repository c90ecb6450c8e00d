//! What the processes of a base leave behind, and whom a lie may hurt.

use crate::support::{Liege, executable, is_root, proc, reachable_by_all};
use crate::{Setup, adopted, asking, base_text, living, text, told, with_base};
use std::fs;

/// The children that a vassal has forked, by its record.
fn forked(emperor: &Liege, name: &str) -> Vec<i32> {
    let strays = emperor.events(name, "stray");
    strays.iter().map(|stray| stray["pid"].as_i64().unwrap() as i32).collect()
}

#[test]
fn what_an_adopted_vassal_has_forked_ends_with_it() {
    let emperor = with_base("")
        .vassal("one.ini", &text("do=until:1:stray:deaf,ready on=eof:"))
        .vassal("two.ini", &text("do=stray:deaf,ready on=eof:"))
        .start();
    let (one, two) = (adopted(&emperor, "one.ini"), adopted(&emperor, "two.ini"));
    emperor.wait_until("all are forked", || {
        forked(&emperor, "one.ini").len() == 1 && forked(&emperor, "two.ini").len() == 1
    });
    let (of_one, of_two) = (forked(&emperor, "one.ini")[0], forked(&emperor, "two.ini")[0]);
    let base = emperor.running("base.ini");
    assert_eq!(proc::session(of_one), Some(base), "nothing but its parent tells whose it is");
    proc::kill(one, libc::SIGKILL);
    emperor.wait_until("its child is gone", || !proc::lives(of_one));
    emperor.running_anew("one.ini", one);
    assert!(proc::lives(of_two) && proc::lives(two) && proc::lives(base));
    // Also when the base is not there any more.
    emperor.remove("base.ini");
    emperor.wait_until("the base is gone", || !proc::lives(base));
    emperor.stays("its vassal is whole", || proc::lives(of_two) && proc::lives(two));
    emperor.remove("two.ini");
    emperor.wait_until("nothing is left of it", || !proc::lives(of_two) && !proc::lives(two));
}

#[test]
fn who_becomes_ours_long_after_its_talk_was_given_up_is_killed() {
    let emperor = with_base("do=linger:4000").vassal("one.ini", &text("do=ready on=eof:")).start();
    let pid = adopted(&emperor, "one.ini");
    emperor.wait_until("both were born", || emperor.lives("one.ini") == 2);
    emperor.wait_until("one is left", || living(&emperor, "one.ini") == [pid]);
}

/// A hook of the administrator.
fn script(setup: &Setup, text: &str) -> String {
    let path = setup.path("hook");
    executable(&path, &format!("#!/bin/sh\n{text}\n"));
    path.to_str().unwrap().to_owned()
}

fn pid_in(emperor: &Liege, file: &str) -> i32 {
    emperor.wait_for("its pid", || fs::read_to_string(emperor.path(file)).ok()?.trim().parse().ok())
}

#[test]
fn a_hook_that_a_base_names_is_neither_adopted_nor_killed() {
    let setup = with_base("do=pid-in:$DIR/named");
    let (named, gate) = (setup.path("named"), setup.path("gate"));
    let wait = "while [ ! -e $GATE ]; do sleep 0.05; done";
    let hook = script(&setup, &format!("echo $$ > $NAMED\n{wait}"));
    let emperor = setup
        .env("NAMED", named.to_str().unwrap())
        .env("GATE", gate.to_str().unwrap())
        .option("--vassals-stop-hook", &hook)
        .option("--vassal-fork-base", "other.ini")
        .app("other.ini", "do=ready")
        .start();
    emperor.running("base.ini");
    emperor.running("other.ini");
    emperor.remove("other.ini");
    let hook = pid_in(&emperor, "named");
    emperor.put("one.ini", &text("do=ready"));
    told(&emperor, "one.ini", "that of a hook");
    assert!(proc::lives(hook));
    emperor.open_gate("gate");
    emperor.logged("[other.ini] stop hook returned 0");
    adopted(&emperor, "one.ini");
}

#[test]
fn a_base_of_another_user_cannot_have_a_process_of_roots_killed() {
    if !is_root() {
        crate::skip!("a base of another user needs root");
    }
    if !reachable_by_all() {
        crate::skip!("the test programs are not in a directory that other users can reach");
    }
    let low = base_text("do=pid-in:$DIR/named");
    let setup = asking().vassal("base.ini", &format!("{low}uid = 65534\ngid = 65534\n"));
    let named = setup.path("named");
    // A daemon of root's, whose parent is the emperor.
    let daemon = "[ $1 != base.ini ] || { setsid sleep 600 & echo $! > $NAMED; }";
    let hook = script(&setup, daemon);
    let emperor = setup
        .env("NAMED", named.to_str().unwrap())
        .option("--vassals-start-hook", &hook)
        .vassal("one.ini", &text("do=ready"))
        .start();
    let daemon = pid_in(&emperor, "named");
    told(&emperor, "one.ini", "runs as user 0");
    adopted(&emperor, "one.ini");
    assert!(proc::lives(daemon));
}
