//! Signals that are sent to init.

use std::time::Duration;

use liege::sys::signal::Signal;

use crate::support::*;

/// A script that notes each signal it gets in the file `got`, and ends when `stop` is there.
const NOTE_ALL: &str = r#"
    for number in 1 2 3 4 5 6 7 8 10 11 12 13 14 15 16 18 20 21 22 23 24 25 26 27 28 29 30 31 \
        34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64
    do trap "echo $number >>got" $number; done
    echo $$ >pid
    while [ ! -e stop ]; do sleep 0.02; done
    exit 9
"#;

#[test]
fn every_signal_that_can_be_passed_on_reaches_the_command() {
    let world = World::new();
    let init = world.start(&["sh", "-c", NOTE_ALL]);
    world.number("pid");
    // KILL and STOP cannot be, CHLD is about init's own children, 32 and 33 the shell cannot trap.
    let passed = |it: &Signal| !matches!(it.get(), 9 | 17 | 19 | 32 | 33);
    for signal in Signal::all().filter(passed) {
        kill(init.pid(), signal);
        world.line("got", &signal.get().to_string());
    }
    std::fs::write(world.path("stop"), "").unwrap();
    init.ends_with(9);
}

#[test]
fn the_two_signals_that_the_c_library_hides_reach_the_command_and_do_not_end_init() {
    let world = World::new();
    for number in [32, 33] {
        let init = world.start(&["sleep", "600"]);
        child_of(init.pid());
        kill(init.pid(), Signal::new(number).unwrap());
        init.ends_with(128 + number);
    }
}

#[test]
fn each_of_many_real_time_signals_arrives() {
    let world = World::new();
    let script = "trap 'echo x >>got' 40; echo $$ >pid; while [ ! -e stop ]; do sleep 0.01; done";
    let init = world.start(&["sh", "-c", script]);
    world.number("pid");
    for sent in 1..=50 {
        kill(init.pid(), Signal::new(40).unwrap());
        until("each", || (world.text("got").lines().count() >= sent).then_some(()));
    }
    std::fs::write(world.path("stop"), "").unwrap();
    init.ends_with(0);
}

#[test]
fn no_signal_is_lost_between_fork_and_exec() {
    let world = World::new();
    for round in 0..300_u32 {
        let mut init = world.start(&["sleep", "600"]);
        std::thread::sleep(Duration::from_micros(u64::from(round % 100) * 40));
        kill(init.pid(), Signal::TERM);
        // Before init has blocked it, the signal is for init itself.
        let ended = code(init.end());
        assert!(ended == 143 || ended == 1015, "{ended}");
    }
    world.nobody_is_left();
}

const LEADER_AND_MEMBER: &str = r#"
    sh -c 'trap "echo member >>got; exit" TERM; echo $$ >member; while :; do sleep 0.02; done' &
    trap 'echo leader >>got' TERM
    echo $$ >leader
    while [ ! -e stop ]; do sleep 0.02; done
"#;

#[test]
fn with_g_the_whole_process_group_gets_the_signal() {
    let world = World::new();
    let init = world.start(&["-g", "sh", "-c", LEADER_AND_MEMBER]);
    let (leader, member) = (world.number("leader"), world.number("member"));
    assert_eq!(stat(member, 5), stat(leader, 5));
    kill(init.pid(), Signal::TERM);
    world.line("got", "leader");
    world.line("got", "member");
    std::fs::write(world.path("stop"), "").unwrap();
    init.ends_with(0);
}

#[test]
fn without_g_the_command_alone_gets_the_signal_although_it_leads_a_group() {
    let world = World::new();
    let init = world.start(&["sh", "-c", LEADER_AND_MEMBER]);
    let (leader, member) = (world.number("leader"), world.number("member"));
    assert_eq!(stat(leader, 5), Some(leader.to_string()));
    kill(init.pid(), Signal::TERM);
    world.line("got", "leader");
    assert!(!is_gone(member));
    assert_eq!(world.text("got"), "leader\n");
    std::fs::write(world.path("stop"), "").unwrap();
    init.ends_with(0);
}

#[test]
fn a_stop_asked_of_init_stops_both_and_cont_continues_both() {
    let world = World::new();
    for name in ["TSTP", "TTIN", "TTOU"] {
        let init = world.start(&["sleep", "600"]);
        let command = child_of(init.pid());
        for _ in 0..3 {
            kill(init.pid(), signal(name));
            wait_for_state(command, 'T');
            wait_for_state(init.pid(), 'T');
            kill(init.pid(), Signal::CONT);
            wait_for_state(init.pid(), 'S');
            wait_for_state(command, 'S');
        }
        kill(init.pid(), Signal::TERM);
        init.ends_with(143);
    }
}

#[test]
fn whatever_stops_and_continuations_have_crossed_another_cont_continues_both() {
    let world = World::new();
    let init = world.start(&["sleep", "600"]);
    let command = child_of(init.pid());
    for round in 0..300_u64 {
        kill(init.pid(), Signal::TSTP);
        std::thread::sleep(Duration::from_micros(round * 2));
        // Once is nearly always enough; but one that comes while init is about to stop itself is
        // wiped out by the kernel.
        until("both awake", || {
            kill(init.pid(), Signal::CONT);
            (state(init.pid()) == Some('S') && state(command) == Some('S')).then_some(())
        });
    }
    kill(init.pid(), Signal::TERM);
    init.ends_with(143);
}

#[test]
fn a_command_that_somebody_else_stops_leaves_init_awake() {
    let world = World::new();
    let init = world.start(&["sh", "-c", "sleep 600 & setsid sleep 600 & echo >up; wait"]);
    let command = child_of(init.pid());
    world.line("up", "");
    kill(command, Signal::STOP);
    wait_for_state(command, 'T');
    // Awake is who reaps: an orphan that ends does not stay a zombie.
    kill(command, Signal::KILL);
    init.ends_with(137);
}

#[test]
fn with_p_the_death_of_the_parent_reaches_the_command() {
    let world = World::new();
    for (name, ends) in [("TERM", true), ("KILL", true), ("USR1", false), ("RTMIN+2", false)] {
        let script = "trap 'echo got >>got' USR1 36; echo $$ >pid; while :; do sleep 0.02; done";
        let parent = "\"$@\" & wait";
        let mut parent = world
            .command("sh")
            .args(["-c", parent, "sh", LIEGE, "init", "-p", name, "--", "sh", "-c", script])
            .spawn()
            .unwrap();
        let command = world.number("pid");
        parent.kill().unwrap();
        parent.wait().unwrap();
        if ends {
            until(name, || world.alive().is_empty().then_some(()));
        } else {
            world.line("got", "got");
            kill(command, Signal::KILL);
            until("the end", || world.alive().is_empty().then_some(()));
            std::fs::remove_file(world.path("got")).unwrap();
        }
        std::fs::remove_file(world.path("pid")).unwrap();
    }
}

#[test]
fn with_p_the_end_of_a_thread_of_the_parent_is_not_taken_for_its_death() {
    let world = World::new();
    std::thread::scope(|scope| {
        let started = scope.spawn(|| world.start(&["-p", "KILL", "sleep", "600"]));
        let init = started.join().unwrap();
        let command = child_of(init.pid());
        // The thread has ended; what comes next has to pass by the signal of its death.
        kill(init.pid(), Signal::TSTP);
        wait_for_state(command, 'T');
        kill(init.pid(), Signal::CONT);
        wait_for_state(command, 'S');
        kill(init.pid(), Signal::TERM);
        init.ends_with(143);
    });
}

#[test]
fn without_p_the_death_of_the_parent_means_nothing() {
    let world = World::new();
    let script = "\"$@\" & echo $! >init; wait";
    let mut parent = world
        .command("sh")
        .args(["-c", script, "sh", LIEGE, "init", "sleep", "600"])
        .spawn()
        .unwrap();
    let init = world.number("init");
    let command = child_of(init);
    parent.kill().unwrap();
    parent.wait().unwrap();
    until("another parent", || (stat(init, 4)? != parent.id().to_string()).then_some(()));
    assert!(!is_gone(init) && !is_gone(command));
    kill(init, Signal::TERM);
    until("the end", || world.alive().is_empty().then_some(()));
}

#[test]
fn a_storm_of_signals_does_not_keep_init_from_its_duties() {
    let world = World::new();
    let init = world.start(&["sh", "-c", "trap '' HUP USR1; echo $$ >pid; exec sleep 600"]);
    world.number("pid");
    let pid = init.pid();
    let storm = std::thread::spawn(move || {
        for _ in 0..20_000 {
            for signal in [Signal::HUP, Signal::USR1, Signal::CHLD] {
                kill(pid, signal);
            }
        }
    });
    storm.join().unwrap();
    kill(pid, Signal::TERM);
    init.ends_with(143);
}
