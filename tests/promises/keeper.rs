//! If the emperor dies, all the vassals die, whatever they did; and if the keeper dies, too.

use crate::skip;
use crate::support::{Liege, code, is_root, proc, reachable_by_all};

const STRAYS: &[&str] = &["plain", "session", "double", "stopped", "deaf"];

/// An emperor with one vassal of each hostile kind.
fn with_hostile_vassals() -> Liege {
    let mut setup = Liege::in_temp_dir();
    for kind in STRAYS {
        setup = setup.app(
            &format!("{kind}.ini"),
            &format!("do=stray:{kind},ignore:term,ready on=eof: on=stop:"),
        );
    }
    if is_root() && reachable_by_all() {
        setup = setup
            .app("uid-stray.ini", "do=stray:uid,ready on=eof:")
            .app("setuid.ini", "do=setuid:65534,ready on=eof:")
            .app_with("uid.ini", "uid = 65534\ngid = 65534", "do=ready on=eof:");
    }
    let emperor = setup.start();
    for kind in STRAYS {
        emperor.wait_until(&format!("the {kind} stray"), || {
            !emperor.events(&format!("{kind}.ini"), "stray").is_empty()
        });
    }
    let vassals = emperor.stats().vassals().len();
    emperor.wait_until("all run", || emperor.stats().up() == vassals);
    emperor
}

#[test]
fn sigkill_of_the_emperor_leaves_no_process() {
    let mut emperor = with_hostile_vassals();
    proc::kill(emperor.emperor_pid(), libc::SIGKILL);
    let status = emperor.wait_for_end();
    emperor.all_gone();
    assert_eq!(code(status), 128 + libc::SIGKILL, "the keeper says how the emperor ended");
}

#[test]
fn sigkill_of_the_keeper_leaves_no_process() {
    let mut emperor = with_hostile_vassals();
    assert_ne!(emperor.first_pid(), emperor.emperor_pid(), "there is a keeper");
    proc::kill(emperor.first_pid(), libc::SIGKILL);
    emperor.wait_for_end();
    emperor.all_gone();
}

#[test]
fn a_crash_of_the_emperor_is_no_better() {
    let mut emperor = with_hostile_vassals();
    proc::kill(emperor.emperor_pid(), libc::SIGABRT);
    let status = emperor.wait_for_end();
    emperor.all_gone();
    assert_eq!(code(status), 128 + libc::SIGABRT);
}

#[test]
fn the_keeper_is_the_parent_and_the_emperor_has_its_own_group() {
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready").start();
    let own = emperor.emperor_pid();
    assert_eq!(proc::parent(own), Some(emperor.first_pid()));
    assert_eq!(proc::group(own), Some(own));
}

#[test]
fn without_a_keeper_a_vassal_still_dies_with_the_emperor() {
    let mut setup = Liege::in_temp_dir().option("--emperor-keeper", "off");
    setup = setup.app("one.ini", "do=ignore:term,ready on=eof:");
    if is_root() && reachable_by_all() {
        setup = setup.app_with("uid.ini", "uid = 65534\ngid = 65534", "do=ready on=eof:");
    }
    let mut emperor = setup.start();
    let vassals = emperor.stats().vassals().len();
    emperor.wait_until("all run", || emperor.stats().up() == vassals);
    assert_eq!(emperor.first_pid(), emperor.emperor_pid());
    proc::kill(emperor.emperor_pid(), libc::SIGKILL);
    emperor.wait_for_end();
    emperor.all_gone();
}

#[test]
fn signals_may_go_to_either_of_them() {
    for to_keeper in [true, false] {
        let emperor = Liege::in_temp_dir().app("one.ini", "do=ready,accepting,loyal").start();
        emperor
            .wait_until("it has spoken", || emperor.stats().vassal("one.ini").number("loyal") == 1);
        let target = if to_keeper { emperor.first_pid() } else { emperor.emperor_pid() };
        proc::kill(target, libc::SIGHUP);
        emperor.wait_until("it is told to reload", || emperor.events("one.ini", "byte").len() == 1);
        proc::kill(target, libc::SIGTERM);
        let mut emperor = emperor;
        assert_eq!(code(emperor.wait_for_end()), 0);
        emperor.all_gone();
    }
}

#[test]
fn under_a_service_manager_that_watches_the_group_there_is_no_keeper() {
    // The manager says so by naming our own pid (systemd 254).
    let setup = Liege::in_temp_dir().app("one.ini", "do=ready").shell("export SYSTEMD_EXEC_PID=$$");
    let emperor = setup.start();
    assert_eq!(emperor.first_pid(), emperor.emperor_pid());
    assert_eq!(emperor.end().code(), Some(0));
}

#[test]
fn a_user_without_rights_is_protected_as_well() {
    if !is_root() {
        skip!("starting the emperor as another user needs root");
    }
    if !reachable_by_all() {
        skip!("the test programs are not in a directory that other users can reach");
    }
    let setup = Liege::in_temp_dir().user(65534).app("one.ini", "do=stray:double,ready on=eof:");
    let mut emperor = setup.start();
    emperor.wait_until("the stray", || !emperor.events("one.ini", "stray").is_empty());
    proc::kill(emperor.emperor_pid(), libc::SIGKILL);
    emperor.wait_for_end();
    emperor.all_gone();
}
