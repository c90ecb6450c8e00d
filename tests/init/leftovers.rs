//! Orphans, and what the command leaves behind.

use std::time::{Duration, Instant};

use liege::sys::signal::Signal;

use crate::support::*;

#[test]
fn every_orphan_is_reaped_at_once() {
    let world = World::new();
    let script = "(sleep 600 & echo $! >orphan) ; echo $$ >pid; exec sleep 600";
    let init = world.start(&["sh", "-c", script]);
    let (command, orphan) = (world.number("pid"), world.number("orphan"));
    until("adopted", || (children(init.pid()).len() == 2).then_some(()));
    kill(orphan, Signal::KILL);
    until("reaped", || state(orphan).is_none().then_some(()));
    assert_eq!(children(init.pid()), [command]);
    kill(init.pid(), Signal::TERM);
    init.ends_with(143);
}

#[test]
fn five_thousand_orphans_that_end_at_once_are_reaped() {
    let world = World::new();
    // While init is stopped they pile up as its zombies.
    let script = "echo $$ >pid; while [ ! -e go ]; do sleep 0.02; done
        i=0; while [ $i -lt 5000 ]; do (: &); i=$((i+1)); done; echo >done; exec sleep 600";
    let init = world.start(&["sh", "-c", script]);
    let command = world.number("pid");
    kill(init.pid(), Signal::STOP);
    wait_for_state(init.pid(), 'T');
    std::fs::write(world.path("go"), "").unwrap();
    world.line("done", "");
    until("5,000 zombies", || (children(init.pid()).len() == 5001).then_some(()));
    let started = Instant::now();
    kill(init.pid(), Signal::CONT);
    until("all reaped", || (children(init.pid()) == [command]).then_some(()));
    eprintln!("5,000 zombies reaped in {:?}", started.elapsed());
    kill(init.pid(), Signal::TERM);
    init.ends_with(143);
}

/// What tries to stay: in the background, in another session, orphaned twice, stopped, deaf.
const STAYERS: &str = r#"
    sleep 601 &
    setsid sleep 602 &
    (setsid sh -c '(sleep 603 & echo >>up) & sleep 604' &)
    sh -c 'kill -STOP $$; sleep 605' &
    sh -c 'trap "" TERM HUP INT QUIT; echo >>up; while :; do sleep 606; done' &
    (setsid setsid sh -c 'trap "" TERM HUP; echo >>up; kill -STOP $$' &)
"#;

#[test]
fn whatever_outlives_the_command_is_killed_and_init_is_gone_soon_after() {
    let world = World::new();
    for (ending, status) in [("exit 3", 3), ("kill -9 $$", 137)] {
        let script =
            format!("{STAYERS} echo $$ >pid; while [ ! -e go ]; do sleep 0.02; done; {ending}");
        let init = world.start(&["sh", "-c", &script]);
        world.number("pid");
        until("all up", || (world.text("up").lines().count() >= 3).then_some(()));
        until("stopped ones", || {
            let stopped = |pid: &i32| state(*pid) == Some('T');
            (world.alive().into_iter().filter(stopped).count() == 2).then_some(())
        });
        let started = Instant::now();
        std::fs::write(world.path("go"), "").unwrap();
        init.ends_with(status);
        let took = started.elapsed();
        eprintln!("{} and all below gone after {took:?}", status);
        assert!(took < Duration::from_secs(20), "{took:?}");
        for name in ["go", "up", "pid"] {
            std::fs::remove_file(world.path(name)).unwrap();
        }
    }
}

#[test]
fn those_with_another_uid_or_without_a_name_in_proc_do_not_stay_either() {
    if !is_root() || !has("setpriv") {
        return;
    }
    let world = World::new();
    let other = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    let script = format!(
        "{other} sleep 600 & (setsid {other} sh -c 'trap \"\" TERM; echo $$; sleep 600' >other &)
         while [ ! -s other ]; do sleep 0.02; done; exit 4"
    );
    world.start(&["sh", "-c", &script]).ends_with(4);
}

#[test]
fn the_end_needs_no_descriptor() {
    if !has("prlimit") {
        return;
    }
    let world = World::new();
    let script = format!("{STAYERS} echo $$ >pid; exec sleep 600");
    let init = world.start(&["sh", "-c", &script]);
    let command = world.number("pid");
    let limit = ["--pid", &init.pid().to_string(), "--nofile=3"];
    assert!(output(world.command("prlimit").args(limit)).status.success());
    kill(command, Signal::KILL);
    init.ends_with(137);
}

#[test]
fn a_fork_bomb_does_not_outlive_the_command() {
    let world = World::new();
    // Ten that replace themselves for ever, and some that fork two and wait.
    let script = r#"
        hop() { [ -e stop ] || hop & }
        tree() { [ -e stop ] && exit; [ $1 -gt 0 ] && { tree $(($1-1)) & tree $(($1-1)) & }; wait
                 while [ ! -e stop ]; do (sleep 0.01 &); (:); done; }
        for i in 1 2 3 4 5 6 7 8 9 10; do (hop &) ; done
        tree 5 &
        while [ ! -e go ]; do sleep 0.02; done
        exit 6
    "#;
    let mut init = world.start(&["sh", "-c", script]);
    until("a crowd", || (world.alive().len() > 60).then_some(()));
    std::fs::write(world.path("go"), "").unwrap();
    let started = Instant::now();
    assert_eq!(code(init.end()), 6);
    eprintln!("fork bomb gone after {:?}", started.elapsed());
    world.nobody_is_left();
}

#[test]
fn with_wait_the_rest_may_end_by_itself() {
    let world = World::new();
    let script =
        "setsid sh -c 'trap \"\" HUP; while [ ! -e go ]; do sleep 0.02; done; echo >done' &
                  echo $! >pid; exit 8";
    let mut init = world.start(&["--wait", "sh", "-c", script]);
    let rest = world.number("pid");
    until("the command's end", || (children(init.pid()) == [rest]).then_some(()));
    assert_eq!(init.child.try_wait().unwrap(), None);
    std::fs::write(world.path("go"), "").unwrap();
    init.ends_with(8);
    assert_eq!(world.text("done"), "\n");
}

#[test]
fn with_wait_signals_reach_the_rest() {
    let world = World::new();
    let script =
        "sh -c 'trap \"echo >got; exit\" TERM; echo $$ >pid; while :; do sleep 0.02; done' &
                  while [ ! -e pid ]; do sleep 0.02; done; exit 8";
    let init = world.start(&["--wait", "sh", "-c", script]);
    let rest = world.number("pid");
    until("the command's end", || (children(init.pid()) == [rest]).then_some(()));
    kill(init.pid(), Signal::TERM);
    init.ends_with(8);
    assert_eq!(world.text("got"), "\n");
}

#[test]
fn with_wait_the_rest_is_killed_when_the_mercy_is_over() {
    let world = World::new();
    let started = Instant::now();
    let script = format!("{STAYERS} exit 8");
    world.start(&["--wait", "--reload-mercy", "1", "sh", "-c", &script]).ends_with(8);
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_stranger_that_ends_is_never_taken_for_the_command() {
    let world = World::new();
    let script = "(sh -c 'exit 77' &); (sh -c 'kill -9 $$' &); sleep 0.2; exit 0";
    for _ in 0..10 {
        assert_eq!(world.run(&["sh", "-c", script]).code(), Some(0));
    }
}
