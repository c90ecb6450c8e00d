//! `vassals-start-hook` and `vassals-stop-hook`: commands of the administrator around each process.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Liege, Setup, code, executable, proc};

/// A script that writes down what it was given, then does `then`.
fn script(setup: &Setup, name: &str, then: &str) -> String {
    let path = setup.path(name);
    let record = setup.path("hooks");
    let text = format!(
        "#!/bin/sh\nls /proc/$$/fd > {record}.fds\n\
         echo \"{name} $$ $# $1 $UWSGI_VASSALS_DIR $(pwd -P) pipe=$UWSGI_EMPEROR_FD\" >> {record}\n{then}\n",
        record = record.display()
    );
    executable(&path, &text);
    path.to_str().unwrap().to_owned()
}

/// The lines of the scripts, as words.
fn lines(emperor: &Liege, name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(emperor.path("hooks")).unwrap_or_default();
    let words = text.lines().map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    words.filter(|words| words[0] == name).collect()
}

fn runs(emperor: &Liege, name: &str) -> usize {
    lines(emperor, name).len()
}

#[test]
fn the_start_hook_gets_the_name_the_directory_and_no_descriptor() {
    let setup = Liege::in_temp_dir().app("one.ini", "do=ready");
    let hook = script(&setup, "start", "exit 3");
    let emperor = setup.option("--vassals-start-hook", &hook).start();
    emperor.running("one.ini");
    let line = &lines(&emperor, "start")[0];
    let vassals = emperor.path("vassals").canonicalize().unwrap();
    let vassals = vassals.to_str().unwrap();
    assert_eq!(&line[2..7], ["1", "one.ini", vassals, vassals, "pipe="], "{line:?}");
    // The shell has its script open, at a number above 9.
    let fds = fs::read_to_string(emperor.path("hooks.fds")).unwrap();
    let low: Vec<&str> = fds.lines().filter(|fd| fd.len() == 1).collect();
    assert_eq!(low, ["0", "1", "2"], "{fds}");
    assert!(emperor.life("one.ini", 1)["env"].get("UWSGI_VASSALS_DIR").is_none());
    emperor.logged("[one.ini] start hook returned 3; the vassal is started anyway");
}

#[test]
fn the_program_starts_when_its_start_hook_has_ended() {
    let setup = Liege::in_temp_dir().app("one.ini", "do=ready").app("two.ini", "do=ready");
    let wait = "[ $1 = two.ini ] || while [ ! -e $GATE ]; do sleep 0.05; done";
    let hook = script(&setup, "start", wait);
    let gate = setup.path("gate");
    let emperor =
        setup.env("GATE", gate.to_str().unwrap()).option("--vassals-start-hook", &hook).start();
    // Nobody else waits for it.
    emperor.running("two.ini");
    emperor.state("one.ini", "starting");
    assert_eq!(emperor.lives("one.ini"), 0);
    emperor.open_gate("gate");
    emperor.running("one.ini");
}

#[test]
fn the_start_hook_runs_for_each_new_process_and_for_no_reload() {
    let setup = Liege::in_temp_dir().direct().app("one.ini", "do=ready,accepting,loyal");
    let hook = script(&setup, "start", "");
    let emperor = setup.option("--vassals-start-hook", &hook).start();
    let pid = emperor.running("one.ini");
    emperor.wait_until("it has spoken", || emperor.stats().vassal("one.ini").number("loyal") == 1);
    emperor.touch("one.ini");
    emperor.wait_until("it is told to reload", || !emperor.events("one.ini", "byte").is_empty());
    assert_eq!(runs(&emperor, "start"), 1);
    proc::kill(pid, libc::SIGKILL);
    emperor.running_anew("one.ini", pid);
    assert_eq!(runs(&emperor, "start"), 2);
}

#[test]
fn a_start_hook_that_cannot_be_run_is_named_and_the_program_starts() {
    let setup = Liege::in_temp_dir().app("one.ini", "do=ready");
    let emperor = setup.option("--vassals-start-hook", "/nonexistent/hook").start();
    emperor.running("one.ini");
    emperor.logged("start hook returned 127");
}

#[test]
fn a_start_hook_goes_with_its_vassal() {
    let setup = Liege::in_temp_dir().app("one.ini", "do=ready");
    let hook = script(&setup, "start", "sleep 1000");
    let emperor = setup.option("--vassals-start-hook", &hook).start();
    emperor.wait_until("the hook runs", || runs(&emperor, "start") == 1);
    let pid: i32 = lines(&emperor, "start")[0][1].parse().unwrap();
    emperor.remove("one.ini");
    emperor.wait_until("the hook is gone", || !proc::lives(pid));
    assert_eq!(code(emperor.end()), 0);
}

#[test]
fn the_stop_hook_runs_when_the_process_is_reaped_and_before_the_next_one() {
    let setup = Liege::in_temp_dir().direct().app("one.ini", "do=ready,accepting,loyal");
    let hook = script(&setup, "stop", "while [ ! -e $GATE ]; do sleep 0.05; done; exit 4");
    let gate = setup.path("gate");
    let setup = setup.env("GATE", gate.to_str().unwrap()).app("two.ini", "do=ready");
    let emperor = setup.option("--vassals-stop-hook", &hook).start();
    let pid = emperor.running("one.ini");
    emperor.wait_until("it is loyal", || emperor.stats().vassal("one.ini").number("loyal") == 1);
    proc::kill(pid, libc::SIGKILL);
    emperor.wait_until("the hook runs", || runs(&emperor, "stop") == 1);
    assert!(proc::state(pid).is_none(), "reaped");
    emperor.wait_until("the reason is shown", || {
        emperor.stats().vassal("one.ini").text("reason") == "waits for the end of its stop hook"
    });
    emperor.stays("nobody starts", || emperor.lives("one.ini") == 1);
    // Nobody else waits for it.
    emperor.put_app("three.ini", "do=ready");
    emperor.running("three.ini");
    emperor.open_gate("gate");
    emperor.running_anew("one.ini", pid);
    emperor.logged("[one.ini] stop hook returned 4");
    let line = &lines(&emperor, "stop")[0];
    let vassals = emperor.path("vassals").canonicalize().unwrap();
    let vassals = vassals.to_str().unwrap();
    assert_eq!(&line[2..7], ["1", "one.ini", vassals, vassals, "pipe="], "{line:?}");
}

#[test]
fn ragnarok_stops_all_at_once_and_ends_with_the_last_stop_hook() {
    let mut setup = Liege::in_temp_dir();
    for number in 0..40 {
        setup = setup.app(&format!("{number}.ini"), "do=ready");
    }
    let hook = script(&setup, "stop", "sleep 0.1; echo done >> $DONE");
    let done = setup.path("done");
    let setup = setup.env("DONE", done.to_str().unwrap()).option("--vassals-stop-hook", &hook);
    let mut emperor = setup.start();
    emperor.wait_until("all run", || emperor.stats().up() == 40);
    let began = Instant::now();
    proc::kill(emperor.first_pid(), libc::SIGTERM);
    assert_eq!(code(emperor.wait_for_end()), 0);
    assert!(began.elapsed() < Duration::from_secs(25), "not by the mercy");
    assert_eq!(runs(&emperor, "stop"), 40);
    assert_eq!(fs::read_to_string(done).unwrap().lines().count(), 40);
    emperor.all_gone();
}

#[test]
fn a_stop_hook_that_hangs_delays_ragnarok_by_the_mercy_and_no_more() {
    let setup = Liege::in_temp_dir().app("one.ini", "do=ready");
    let hook = script(&setup, "stop", "trap '' TERM; sleep 1000");
    let setup = setup.option("--vassals-stop-hook", &hook).option("--reload-mercy", "2");
    let mut emperor = setup.start();
    emperor.running("one.ini");
    let began = Instant::now();
    proc::kill(emperor.first_pid(), libc::SIGTERM);
    emperor.wait_for_end();
    assert!(began.elapsed() >= Duration::from_millis(1900), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    emperor.all_gone();
}

#[test]
fn a_stop_hook_that_cannot_be_run_is_named_and_holds_nobody() {
    let setup = Liege::in_temp_dir().direct().app("one.ini", "do=ready,accepting,loyal");
    let emperor = setup.option("--vassals-stop-hook", "/nonexistent/hook").start();
    let pid = emperor.running("one.ini");
    emperor.wait_until("it is loyal", || emperor.stats().vassal("one.ini").number("loyal") == 1);
    proc::kill(pid, libc::SIGKILL);
    emperor.running_anew("one.ini", pid);
    emperor.logged("[one.ini] stop hook returned 127");
}

#[test]
#[ignore = "takes as long as the limit of a hook: tests/run --apps"]
fn hooks_are_killed_with_their_group_when_they_take_too_long() {
    let setup = Liege::in_temp_dir().direct().app("one.ini", "do=ready,accepting,loyal");
    let start = script(&setup, "start", "sleep 1001");
    let stop = script(&setup, "stop", "sleep 1002");
    let setup = setup.option("--vassals-start-hook", &start);
    let emperor = setup.option("--vassals-stop-hook", &stop).start();
    let patience = Duration::from_secs(60);
    emperor.wait_for_within(patience, "it runs after its hook", || {
        emperor.events("one.ini", "start").pop()
    });
    emperor.logged("start hook killed after 30 s");
    let pid = emperor.running("one.ini");
    emperor.wait_until("it is loyal", || emperor.stats().vassal("one.ini").number("loyal") == 1);
    proc::kill(pid, libc::SIGKILL);
    emperor.wait_until("the hook runs", || runs(&emperor, "stop") == 1);
    let hook: i32 = lines(&emperor, "stop")[0][1].parse().unwrap();
    emperor.wait_for_within(patience, "the hook is killed", || (!proc::lives(hook)).then_some(()));
    emperor.logged("its stop hook has taken 30 s: it is killed");
}
