//! Ragnarok: TERM, INT or QUIT end everything, and nothing is left.

use crate::support::{Liege, code, proc};
use std::time::{Duration, Instant};

const SPEAKER: &str = "do=ready,accepting,loyal";

fn evoke(mut emperor: Liege, signal: i32) -> Liege {
    emperor.signal(signal);
    let status = emperor.wait_for_end();
    assert_eq!(code(status), 0, "{status:?}\n{}", emperor.log());
    emperor.all_gone();
    emperor
}

#[test]
fn each_of_the_three_signals_ends_everything_with_status_0() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
        let emperor = Liege::in_temp_dir()
            .app("speaker.ini", SPEAKER)
            .app("silent.ini", "")
            .app("waits.ini", SPEAKER)
            .on_demand("waits.ini", "w.sock")
            .start();
        emperor
            .wait_until("it speaks", || emperor.stats().vassal("speaker.ini").number("loyal") == 1);
        emperor.running("silent.ini");
        let emperor = evoke(emperor, signal);
        assert_eq!(emperor.events("speaker.ini", "byte")[0]["value"], 0);
        assert_eq!(emperor.lives("waits.ini"), 0);
    }
}

#[test]
fn it_is_over_the_moment_the_last_vassal_is_gone() {
    let emperor = Liege::in_temp_dir().app("one.ini", SPEAKER).start();
    emperor.running("one.ini");
    let start = Instant::now();
    evoke(emperor, libc::SIGTERM);
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}: no second is waited for",
        start.elapsed()
    );
}

#[test]
fn the_log_names_the_sender() {
    let emperor = Liege::in_temp_dir().start();
    let emperor = evoke(emperor, libc::SIGTERM);
    let sender = std::process::id().to_string();
    let log = emperor.log();
    let line = log.lines().find(|line| line.contains("SIGTERM") && line.contains(&sender));
    assert!(line.is_some(), "pid {sender} in\n{log}");
}

#[test]
fn the_log_names_at_once_whom_the_end_waits_for() {
    let mut setup = Liege::in_temp_dir().option("--reload-mercy", "12");
    for number in 0..12 {
        setup = setup.app(&format!("v{number:02}.ini"), "do=ready,ignore:term");
    }
    let emperor = setup.start();
    for number in 0..12 {
        let name = format!("v{number:02}.ini");
        emperor.spoken(&name);
        proc::kill(emperor.running(&name), libc::SIGSTOP);
    }
    let emperor = evoke(emperor, libc::SIGTERM);
    let log = emperor.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("ragnarok waits")).collect();
    let [first, second] = lines[..] else { panic!("{log}") };
    assert!(first.contains("waits for 12 vassals: v00.ini, "), "{first}");
    assert!(first.contains("v09.ini and 2 more; what is left is killed in 12 s"), "{first}");
    assert!(second.contains("waits for 12 vassals: v00.ini, "), "{second}");
}

#[test]
fn a_start_is_one_line_in_the_log_and_an_end_is_one() {
    let emperor = Liege::in_temp_dir().app("one.ini", SPEAKER).start();
    let pid = emperor.spoken("one.ini");
    emperor.wait_until("loyal", || emperor.stats().vassal("one.ini").number("loyal") == 1);
    emperor.remove("one.ini");
    emperor.wait_until("it is gone", || emperor.stats().vassals().is_empty());
    let log = emperor.log();
    let mut lines = log.lines().filter_map(|line| line.split_once(" notice [one.ini] "));
    let mut lines = lines.by_ref().map(|line| line.1);
    assert_eq!(lines.next(), Some(format!("runs with pid {pid}").as_str()), "{log}");
    let end = lines.next().unwrap();
    assert!(
        end.starts_with("stopped after ") && end.ends_with(" because its file is gone"),
        "{log}"
    );
    assert_eq!(lines.next(), None, "{log}");
    assert!(log.contains("governs 1 vassal\n"), "{log}");
    let emperor = evoke(emperor, libc::SIGTERM);
    assert!(!emperor.log().contains("longest turn"), "{}", emperor.log());
}

#[test]
fn each_step_of_a_vassal_is_told_to_those_who_ask_for_it() {
    let emperor =
        Liege::in_temp_dir().option("--emperor-log-level", "debug").app("one.ini", SPEAKER).start();
    emperor.wait_until("loyal", || emperor.stats().vassal("one.ini").number("loyal") == 1);
    emperor.remove("one.ini");
    emperor.wait_until("it is gone", || emperor.stats().vassals().is_empty());
    for step in ["has been spawned", "is ready to accept requests", "is now loyal", "stopping "] {
        assert!(emperor.log().contains(&format!("debug [one.ini] {step}")), "{}", emperor.log());
    }
    let emperor = evoke(emperor, libc::SIGTERM);
    assert!(emperor.log().contains("debug the longest turn of the event loop took"));
}

#[test]
fn who_does_not_go_is_killed_when_the_mercy_is_over() {
    let setup = Liege::in_temp_dir().option("--reload-mercy", "1");
    let emperor = setup
        .app("speaker.ini", "do=ready,ignore:term on=stop:")
        .app("silent.ini", "do=ignore:term")
        .app("stopped.ini", "do=ready")
        .start();
    for name in ["speaker.ini", "silent.ini", "stopped.ini"] {
        emperor.running(name);
        emperor.life(name, 1);
    }
    proc::kill(emperor.running("stopped.ini"), libc::SIGSTOP);
    let start = Instant::now();
    evoke(emperor, libc::SIGTERM);
    assert!(start.elapsed() >= Duration::from_millis(950), "not before the mercy is over");
}

#[test]
fn a_second_sigterm_changes_nothing() {
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready on=stop:wait:800+exit:0").start();
    emperor.wait_until("it has spoken", || emperor.stats().vassal("one.ini").number("ready") == 1);
    let pid = emperor.emperor_pid();
    proc::kill(pid, libc::SIGTERM);
    emperor.wait_until("it was told", || !emperor.events("one.ini", "byte").is_empty());
    proc::kill(pid, libc::SIGTERM);
    let mut emperor = emperor;
    assert_eq!(code(emperor.wait_for_end()), 0);
    assert_eq!(emperor.events("one.ini", "exit").len(), 1, "it had its time");
}

#[test]
fn a_second_sigint_means_now() {
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready,ignore:term on=stop:").start();
    emperor.wait_until("it has spoken", || emperor.stats().vassal("one.ini").number("ready") == 1);
    let pid = emperor.emperor_pid();
    proc::kill(pid, libc::SIGINT);
    emperor.wait_until("it was told", || !emperor.events("one.ini", "byte").is_empty());
    let start = Instant::now();
    proc::kill(pid, libc::SIGINT);
    let mut emperor = emperor;
    assert_eq!(code(emperor.wait_for_end()), 0);
    assert!(start.elapsed() < Duration::from_secs(20), "the mercy of 30 s is not waited for");
    emperor.all_gone();
}

#[test]
fn it_may_come_at_any_moment() {
    let text = "[uwsgi]\nhttp-socket = $DIR/r.sock\nready-after = 60\nunprivileged-binary-patch-arg = $APP record=$DIR/record/$NAME listen=3\n";
    let emperor = Liege::in_temp_dir()
        .option("--reload-mercy", "2")
        .option("--emperor-throttle", "60000")
        .vassal("replacing.ini", text)
        .app("held.ini", "do=exit:1")
        .app("stopping.ini", "do=ready,ignore:term on=stop:")
        .start();
    emperor.running("replacing.ini");
    emperor.touch("replacing.ini");
    emperor.state("replacing.ini", "replacing");
    emperor.state("held.ini", "backoff");
    emperor.running("stopping.ini");
    emperor.wait_until("it spoke", || emperor.stats().vassal("stopping.ini").number("ready") == 1);
    emperor.remove("stopping.ini");
    emperor.state("stopping.ini", "stopping");
    for number in 0..10 {
        emperor.put_app(&format!("starting{number}.ini"), SPEAKER);
    }
    evoke(emperor, libc::SIGTERM);
}

#[test]
fn files_that_come_during_the_end_are_ignored() {
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready on=stop:wait:800+exit:0").start();
    emperor.wait_until("it has spoken", || emperor.stats().vassal("one.ini").number("ready") == 1);
    proc::kill(emperor.emperor_pid(), libc::SIGTERM);
    emperor.wait_until("it was told", || !emperor.events("one.ini", "byte").is_empty());
    emperor.put_app("late.ini", SPEAKER);
    let mut emperor = emperor;
    assert_eq!(code(emperor.wait_for_end()), 0);
    assert_eq!(emperor.lives("late.ini"), 0);
    emperor.all_gone();
}

#[test]
fn strays_in_sessions_of_their_own_are_ended_too() {
    let emperor = Liege::in_temp_dir()
        .option("--reload-mercy", "2")
        .app("one.ini", "do=stray:session,stray:double,stray:deaf,stray:stopped,ready")
        .start();
    emperor.wait_until("they are there", || emperor.events("one.ini", "stray").len() == 4);
    emperor.running("one.ini");
    evoke(emperor, libc::SIGTERM);
}

#[test]
fn the_statistics_answer_until_the_end() {
    let words = "do=ready on=stop:gate:$DIR/go+exit:0";
    let mut emperor = Liege::in_temp_dir().app("one.ini", words).start();
    emperor.wait_until("it has spoken", || emperor.stats().vassal("one.ini").number("ready") == 1);
    proc::kill(emperor.emperor_pid(), libc::SIGTERM);
    emperor.wait_until("it was told", || !emperor.events("one.ini", "byte").is_empty());
    assert_eq!(emperor.stats().vassal("one.ini").text("state"), "stopping");
    emperor.open_gate("go");
    assert_eq!(code(emperor.wait_for_end()), 0);
}
