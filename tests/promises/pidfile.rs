//! `emperor-pidfile`: the emperor's pid, as long as there is an emperor.

use std::fs;

use crate::support::{Liege, code, proc};

#[test]
fn it_names_the_emperor_and_not_the_keeper_and_is_gone_at_the_end() {
    let emperor = Liege::in_temp_dir().option("--emperor-pidfile", "$DIR/pid").start();
    let text = fs::read_to_string(emperor.path("pid")).unwrap();
    assert_eq!(text, format!("{}\n", emperor.emperor_pid()));
    assert_ne!(emperor.emperor_pid(), emperor.first_pid());
    let path = emperor.path("pid");
    let mut emperor = emperor;
    proc::kill(emperor.first_pid(), libc::SIGTERM);
    assert_eq!(code(emperor.wait_for_end()), 0);
    assert!(!path.exists());
}

#[test]
fn a_relative_one_counts_from_where_the_emperor_was_started() {
    let emperor = Liege::in_temp_dir().option("--pidfile", "pid").start();
    assert!(emperor.path("pid").exists());
    assert!(!emperor.file("pid").exists());
}

#[test]
fn one_that_is_left_from_an_earlier_run_is_replaced() {
    let setup = Liege::in_temp_dir().option("--emperor-pidfile", "$DIR/pid");
    fs::write(setup.path("pid"), "1234567\nand more\n").unwrap();
    let emperor = setup.start();
    let text = fs::read_to_string(emperor.path("pid")).unwrap();
    assert_eq!(text, format!("{}\n", emperor.emperor_pid()));
}

#[test]
fn the_keeper_removes_it_when_the_emperor_is_killed() {
    let setup = Liege::in_temp_dir().option("--emperor-pidfile", "$DIR/pid");
    let mut emperor = setup.app("one.ini", "do=ready").start();
    emperor.running("one.ini");
    proc::kill(emperor.emperor_pid(), libc::SIGKILL);
    assert_eq!(code(emperor.wait_for_end()), 128 + libc::SIGKILL);
    assert!(!emperor.path("pid").exists());
}

#[test]
fn one_that_a_successor_has_written_stays() {
    for signal in [libc::SIGKILL, libc::SIGTERM] {
        let setup = Liege::in_temp_dir().option("--emperor-pidfile", "$DIR/pid");
        let mut emperor = setup.start();
        fs::write(emperor.path("pid"), "1234567\n").unwrap();
        proc::kill(emperor.emperor_pid(), signal);
        emperor.wait_for_end();
        assert_eq!(fs::read_to_string(emperor.path("pid")).unwrap(), "1234567\n");
    }
}

#[test]
fn one_that_cannot_be_written_is_named_with_its_place_and_nothing_is_started() {
    let setup = Liege::in_temp_dir().app("one.ini", "do=ready");
    fs::write(setup.path("emperor.ini"), "[uwsgi]\nemperor = vassals\n\npidfile = none/pid\n")
        .unwrap();
    let record = setup.path("record").join("one.ini");
    let (status, log) = setup.only_args(&["--ini", "emperor.ini"]).run();
    assert_eq!(code(status), 1);
    assert!(log.contains("cannot write the pid file none/pid (emperor.ini:4 pidfile)"), "{log}");
    assert!(log.contains("No such file or directory"), "{log}");
    assert!(!record.exists());
}

#[test]
fn a_start_that_fails_leaves_none() {
    for keeper in ["on", "off"] {
        let setup = Liege::in_temp_dir().option("--emperor-pidfile", "$DIR/pid");
        let path = setup.path("pid");
        let setup = setup.option("--emperor-keeper", keeper);
        let (status, log) = setup.option("--emperor-stats", "/nonexistent/dir/stats").run();
        assert_eq!(code(status), 1, "{log}");
        assert!(!path.exists());
    }
}

#[test]
fn one_that_cannot_be_written_leaves_nothing_beside_it() {
    // Written beside, and then moved to the name of a directory.
    let setup = Liege::in_temp_dir().option("--pidfile", "$DIR/record");
    let beside = setup.path("record.new");
    let liege = setup.spawn();
    let mut liege = liege;
    assert_eq!(code(liege.wait_for_end()), 1);
    assert!(liege.log().contains("record"), "{}", liege.log());
    assert!(!beside.exists());
}
