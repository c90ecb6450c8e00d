//! As the init of a PID namespace.

use std::process::{Child, Stdio};

use liege::sys::signal::Signal;

use crate::support::*;

fn possible() -> bool {
    if !is_root() || !has("unshare") {
        return false;
    }
    let world = World::new();
    let done = output(world.command("unshare").args(["--pid", "--fork", "true"])).status.success();
    if !done {
        eprintln!("skipped: no PID namespace to be had here");
    }
    done
}

/// `liege init` with number 1; returns the one who waits for it.
fn start(world: &World, proc: &[&str], arguments: &[&str]) -> Child {
    world
        .command("unshare")
        .args(["--pid", "--fork"])
        .args(proc)
        .args([LIEGE, "init"])
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// The same, of an init that is there for a while; and its pid as we see it.
fn start_and_find(world: &World, proc: &[&str], arguments: &[&str]) -> (Child, i32) {
    let unshare = start(world, proc, arguments);
    let init = child_of(i32::try_from(unshare.id()).unwrap());
    (unshare, init)
}

#[test]
fn pid_1_gives_the_commands_status_and_passes_signals_on() {
    if !possible() {
        return;
    }
    let world = World::new();
    let mut unshare = start(&world, &["--mount-proc"], &["sh", "-c", "exit 42"]);
    assert_eq!(end_of(&mut unshare).code(), Some(42));
    for name in ["TERM", "INT", "USR2", "RTMIN+5", "SEGV"] {
        let script = "echo $$ >pid; ulimit -c 0; exec sleep 600";
        let (mut unshare, init) = start_and_find(&world, &["--mount-proc"], &["sh", "-c", script]);
        assert_ne!(world.number("pid"), 1);
        kill(init, signal(name));
        let status = 128 + i32::from(signal(name).get());
        assert_eq!(end_of(&mut unshare).code(), Some(status), "{name}");
        std::fs::remove_file(world.path("pid")).unwrap();
    }
}

#[test]
fn pid_1_reaps_orphans_and_leaves_nothing() {
    if !possible() {
        return;
    }
    let world = World::new();
    let script = "i=0; while [ $i -lt 300 ]; do (: &); i=$((i+1)); done; echo >done
        while [ ! -e go ]; do sleep 0.02; done; setsid sleep 600 & (sleep 600 &) ; exit 3";
    // Also where /proc is that of another namespace, whose numbers mean others here.
    for proc in [&["--mount-proc"][..], &[]] {
        let (mut unshare, init) = start_and_find(&world, proc, &["sh", "-c", script]);
        world.line("done", "");
        until("all reaped", || (children(init).len() == 1).then_some(()));
        std::fs::write(world.path("go"), "").unwrap();
        assert_eq!(end_of(&mut unshare).code(), Some(3), "{proc:?}");
        world.nobody_is_left();
        for name in ["go", "done"] {
            std::fs::remove_file(world.path(name)).unwrap();
        }
    }
}

#[test]
fn a_subreaper_with_a_foreign_proc_leaves_nothing() {
    if !possible() {
        return;
    }
    let world = World::new();
    // Not PID 1, so nobody kills the rest for it; the numbers in /proc are those outside.
    let script = "\"$@\"; echo $? >status; exec sleep 600";
    let below = "setsid sleep 601 & (sleep 602 &) ; exit 3";
    let mut unshare = world
        .command("unshare")
        .args(["--pid", "--fork", "sh", "-c", script, "sh", LIEGE, "init", "sh", "-c", below])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(world.number("status"), 3);
    // unshare and the sleep that the shell has become.
    until("nobody else", || (world.alive().len() == 2).then_some(()));
    kill(child_of(i32::try_from(unshare.id()).unwrap()), Signal::KILL);
    end_of(&mut unshare);
}

#[test]
fn a_stop_asked_of_pid_1_stops_the_command() {
    if !possible() {
        return;
    }
    let world = World::new();
    let (mut unshare, init) = start_and_find(&world, &["--mount-proc"], &["sleep", "600"]);
    let command = child_of(init);
    kill(init, Signal::TSTP);
    wait_for_state(command, 'T');
    wait_for_state(init, 'S');
    kill(init, Signal::CONT);
    wait_for_state(command, 'S');
    kill(init, Signal::TERM);
    assert_eq!(end_of(&mut unshare).code(), Some(143));
}

#[test]
fn pid_1_with_p_learns_of_a_parent_outside() {
    if !possible() {
        return;
    }
    let world = World::new();
    for name in ["TERM", "KILL"] {
        let mut unshare = start(&world, &["--mount-proc"], &["-p", name, "sleep", "600"]);
        until("up", || (world.alive().len() == 3).then_some(()));
        unshare.kill().unwrap();
        unshare.wait().unwrap();
        until("all gone", || world.alive().is_empty().then_some(()));
    }
}
