//! The process that forks in the emperor's place: what becomes of vassals when it ends, is stopped or hangs.

use crate::support::{Liege, is_root, proc};

/// An emperor with a running vassal, and the pid of that.
fn with_one() -> (Liege, i32) {
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready,accepting,loyal").start();
    let pid = emperor.running("one.ini");
    (emperor, pid)
}

/// Nobody is blamed for what the spawner has done.
fn is_blameless(emperor: &Liege, name: &str) {
    let stats = emperor.stats();
    assert_eq!(stats.vassal(name).number("deaths"), 0, "{}", emperor.log());
    assert_eq!(stats.top("blacklist").as_array().unwrap().len(), 0);
}

#[test]
fn a_spawner_that_was_killed_is_made_anew_and_no_vassal_notices() {
    let (emperor, pid) = with_one();
    let first = emperor.spawner_pid();
    proc::kill(first, libc::SIGKILL);
    emperor.logged("the spawner has ended: it is replaced");
    emperor.put_app("new.ini", "do=ready");
    emperor.running("new.ini");
    assert_ne!(emperor.spawner_pid(), first);
    assert!(!proc::lives(first), "it is reaped");
    assert_eq!(emperor.pid("one.ini"), Some(pid));
    is_blameless(&emperor, "new.ini");
    assert_eq!(emperor.stats().top("internal_errors"), 0);
}

#[test]
fn a_spawner_that_does_not_answer_is_replaced_and_its_orders_are_held_for_the_resource() {
    let (emperor, pid) = with_one();
    let first = emperor.spawner_pid();
    proc::kill(first, libc::SIGSTOP);
    emperor.put_app("new.ini", "do=ready");
    emperor.put_app("other.ini", "do=ready");
    // Everything else goes on meanwhile.
    emperor.touch("one.ini");
    emperor.logged("the spawner has not answered in time: it is replaced");
    emperor
        .logged("not started: cannot make a process: the spawner has ended; next attempt in 1 s");
    for name in ["new.ini", "other.ini"] {
        emperor.running(name);
        is_blameless(&emperor, name);
        emperor.wait_until("it has begun, once", || emperor.lives(name) == 1);
    }
    assert!(!proc::lives(first));
    assert_eq!(emperor.pid("one.ini"), Some(pid));
}

#[test]
fn a_vassal_that_is_gone_before_the_spawner_has_answered_leaves_no_process() {
    let (emperor, _) = with_one();
    let spawner = emperor.spawner_pid();
    proc::kill(spawner, libc::SIGSTOP);
    emperor.put_app("new.ini", "do=ready");
    emperor.state("new.ini", "starting");
    emperor.remove("new.ini");
    emperor.state("new.ini", "stopping");
    proc::kill(spawner, libc::SIGCONT);
    emperor.wait_until("it is gone", || emperor.stats().find("new.ini").is_none());
    assert_eq!(emperor.spawner_pid(), spawner, "it has answered in time");
    assert_eq!(emperor.lives("new.ini"), 0);
    let (emperor_pid, keeper) = (emperor.emperor_pid(), emperor.first_pid());
    emperor.wait_until("keeper, emperor, spawner and one vassal are left", || {
        emperor.survivors().len() == 4
            && [emperor_pid, keeper].iter().all(|pid| proc::zombies_of(*pid).is_empty())
    });
}

#[test]
fn a_start_that_is_under_way_when_the_spawner_is_killed_is_not_lost() {
    for _ in 0..5 {
        let setup = Liege::in_temp_dir().option("--emperor-throttle", "0");
        let emperor = setup.app("one.ini", "do=ready").start();
        for number in 0..10 {
            emperor.put_app(&format!("{number}.ini"), "do=ready");
        }
        proc::kill(emperor.spawner_pid(), libc::SIGKILL);
        for number in 0..10 {
            let name = format!("{number}.ini");
            emperor.running(&name);
            is_blameless(&emperor, &name);
        }
        // What was made and not answered for is killed: each runs once.
        emperor.wait_until("nobody else is left", || {
            let spawners = usize::from(!emperor.stats().top("spawner_pid").is_null());
            emperor.survivors().len() == 13 + spawners
        });
        assert_eq!(emperor.end().code(), Some(0));
    }
}

#[test]
fn ragnarok_with_a_spawner_that_does_not_answer_ends_all_the_same() {
    let (mut emperor, pid) = with_one();
    proc::kill(emperor.spawner_pid(), libc::SIGSTOP);
    emperor.put_app("new.ini", "do=ready");
    emperor.state("new.ini", "starting");
    emperor.signal(libc::SIGTERM);
    assert_eq!(emperor.wait_for_end().code(), Some(0));
    assert!(!proc::lives(pid));
    emperor.all_gone();
}

#[test]
fn the_spawner_dies_with_the_emperor_and_is_as_precious() {
    let (mut emperor, _) = with_one();
    let (spawner, pid) = (emperor.spawner_pid(), emperor.emperor_pid());
    let score = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    assert_eq!(score(spawner), score(pid));
    proc::kill(pid, libc::SIGKILL);
    emperor.wait_for_end();
    emperor.all_gone();
    assert!(!proc::lives(spawner));
}

#[test]
fn the_spawner_has_no_descriptor_of_the_emperor() {
    let (emperor, _) = with_one();
    if !is_root() {
        crate::skip!("the descriptors of a process that is not dumpable are root's to see");
    }
    let open = proc::descriptors(emperor.spawner_pid());
    assert_eq!(open.len(), 4, "the order socket, standard output and error, /dev/null: {open:?}");
}
