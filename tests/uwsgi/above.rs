//! uWSGI's own Emperor above one of liege.

use std::fs;

use crate::UWSGI;
use crate::support::{Liege, Setup, app_path, code, proc};

/// uWSGI's Emperor with liege as the program of its vassals; `sub.ini` is an emperor with one vassal.
fn setup(words: &str) -> Setup {
    let liege = env!("CARGO_BIN_EXE_liege");
    let setup = Liege::in_temp_dir().program(UWSGI).option("--binary-path", liege);
    let setup = setup.option("--emperor-freq", "1");
    fs::create_dir(setup.path("lower")).unwrap();
    let text = format!(
        "[uwsgi]\nunprivileged-binary-patch-arg = {} record={} {words}\n",
        app_path().display(),
        setup.path("record").join("under.ini").display()
    );
    fs::write(setup.path("lower").join("under.ini"), text).unwrap();
    setup.vassal("sub.ini", "[uwsgi]\nemperor = $DIR/lower\nemperor-stats = $DIR/lower.sock\n")
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn it_is_told_that_the_emperor_below_is_ready_accepting_and_loyal() {
    let emperor = setup("do=ready,accepting,loyal").start();
    emperor.life("under.ini", 1);
    emperor.wait_until("all three are told", || {
        let stats = emperor.stats();
        let told = |flag| stats.find("sub.ini").is_some_and(|sub| sub.number(flag) == 1);
        told("ready") && told("accepting") && told("loyal")
    });
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn its_reload_and_its_stop_are_obeyed() {
    let emperor = setup("do=ready,accepting,loyal").start();
    let under = emperor.life("under.ini", 1)["pid"].as_i64().unwrap() as i32;
    emperor.wait_until("it is loyal", || {
        emperor.stats().find("sub.ini").is_some_and(|sub| sub.number("loyal") == 1)
    });
    emperor.loyal_below("under.ini");
    let pid = emperor.pid("sub.ini").unwrap();
    // uWSGI sees whole seconds, and only later ones.
    proc::set_modified_only(&emperor.file("sub.ini"), 4_000_000_000);
    emperor.wait_until("byte 1 is passed on", || {
        emperor.events("under.ini", "byte").iter().any(|byte| byte["value"] == 1)
    });
    assert_eq!(emperor.pid("sub.ini"), Some(pid));
    emperor.remove("sub.ini");
    emperor.wait_until("all below is gone", || !proc::lives(pid) && !proc::lives(under));
    assert!(emperor.events("under.ini", "byte").iter().any(|byte| byte["value"] == 0));
    assert_eq!(code(emperor.end()), 0);
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn when_it_is_killed_all_below_is_gone() {
    let mut emperor = setup("do=ready,stray:deaf").start();
    emperor.wait_until("the stray is there", || !emperor.events("under.ini", "stray").is_empty());
    proc::kill(emperor.first_pid(), libc::SIGKILL);
    assert_eq!(code(emperor.wait_for_end()), 128 + libc::SIGKILL);
    emperor.all_gone();
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn its_vassals_may_be_started_by_liege() {
    let setup = setup("do=ready").app("plain.ini", "do=ready,accepting,loyal");
    let emperor = setup.start();
    emperor.life("plain.ini", 1);
    emperor.wait_until("its bytes arrive", || {
        emperor.stats().find("plain.ini").is_some_and(|vassal| vassal.number("loyal") == 1)
    });
}
