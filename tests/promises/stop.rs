//! Stopping: a removed file, politely first, and not for ever.

use crate::support::{Liege, proc};
use std::time::{Duration, Instant};

fn gone(emperor: &Liege, name: &str) {
    emperor.wait_until(&format!("{name} is gone"), || emperor.stats().find(name).is_none());
}

fn stray(emperor: &Liege, name: &str) -> i32 {
    emperor.wait_for("the stray", || emperor.events(name, "stray").first()?["pid"].as_i64()) as i32
}

#[test]
fn a_removed_file_is_a_stop_by_byte() {
    let emperor =
        Liege::in_temp_dir().app("one.ini", "do=ready").app("two.ini", "do=ready").start();
    emperor.wait_until("it has spoken", || emperor.stats().vassal("one.ini").number("ready") == 1);
    let (pid, other) = (emperor.running("one.ini"), emperor.running("two.ini"));
    emperor.remove("one.ini");
    gone(&emperor, "one.ini");
    assert!(!proc::lives(pid));
    assert_eq!(emperor.events("one.ini", "byte")[0]["value"], 0);
    assert_eq!(emperor.events("one.ini", "term").len(), 0);
    assert_eq!(emperor.pid("two.ini"), Some(other));
    assert!(emperor.stats().blacklisted("one.ini").is_none());
}

#[test]
fn a_file_that_is_moved_away_is_a_stop_too() {
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready").start();
    let pid = emperor.running("one.ini");
    std::fs::rename(emperor.file("one.ini"), emperor.path("elsewhere.ini")).unwrap();
    gone(&emperor, "one.ini");
    assert!(!proc::lives(pid));
    std::fs::rename(emperor.path("elsewhere.ini"), emperor.file("one.ini")).unwrap();
    emperor.running("one.ini");
}

#[test]
fn a_renamed_file_is_one_vassal_less_and_one_more() {
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready").start();
    let pid = emperor.running("one.ini");
    std::fs::rename(emperor.file("one.ini"), emperor.file("two.ini")).unwrap();
    gone(&emperor, "one.ini");
    assert_ne!(emperor.running("two.ini"), pid);
}

#[test]
fn a_silent_program_is_stopped_by_sigterm() {
    let emperor = Liege::in_temp_dir().app("one.ini", "on=stop: on=term:exit:0").start();
    emperor.running("one.ini");
    emperor.life("one.ini", 1);
    emperor.remove("one.ini");
    gone(&emperor, "one.ini");
    assert_eq!(emperor.events("one.ini", "term").len(), 1);
}

#[test]
fn a_stop_signal_of_its_own_is_sent_instead() {
    let words = "on=stop: on=term: on=int:exit:0";
    let emperor = Liege::in_temp_dir().app_with("one.ini", "stop-signal = INT", words).start();
    emperor.running("one.ini");
    emperor.life("one.ini", 1);
    emperor.remove("one.ini");
    gone(&emperor, "one.ini");
    assert_eq!(emperor.events("one.ini", "int").len(), 1);
    assert_eq!(emperor.events("one.ini", "term").len(), 0);
}

#[test]
fn what_does_not_stop_is_killed_when_the_curse_tolerance_is_over() {
    let setup = Liege::in_temp_dir().option("--emperor-curse-tolerance", "2");
    let emperor = setup.app("one.ini", "do=ready,ignore:term on=stop:").start();
    let pid = emperor.running("one.ini");
    emperor.wait_until("it has spoken", || emperor.stats().vassal("one.ini").number("ready") == 1);
    let removed = Instant::now();
    emperor.remove("one.ini");
    emperor.wait_until("it is cursed", || {
        let stats = emperor.stats();
        let vassal = stats.vassal("one.ini");
        vassal.text("state") == "stopping" && vassal.number("cursed") > 1_600_000_000
    });
    gone(&emperor, "one.ini");
    assert!(!proc::lives(pid));
    assert_eq!(emperor.events("one.ini", "byte").len(), 1, "asked first");
    assert!(removed.elapsed() >= Duration::from_millis(1950), "not before the time is over");
}

#[test]
fn a_stopped_process_is_killed_as_well() {
    let setup = Liege::in_temp_dir().option("--emperor-curse-tolerance", "1");
    let emperor = setup.app("one.ini", "do=ready").start();
    let pid = emperor.running("one.ini");
    proc::kill(pid, libc::SIGSTOP);
    emperor.remove("one.ini");
    gone(&emperor, "one.ini");
    assert!(!proc::lives(pid));
}

#[test]
fn a_graceful_shutdown_says_byte_two() {
    let setup = Liege::in_temp_dir().flag("--emperor-graceful-shutdown");
    let emperor = setup.app("one.ini", "do=ready").start();
    emperor.wait_until("it has spoken", || emperor.stats().vassal("one.ini").number("ready") == 1);
    emperor.remove("one.ini");
    gone(&emperor, "one.ini");
    assert_eq!(emperor.events("one.ini", "byte")[0]["value"], 2);
}

#[test]
fn the_whole_process_group_of_a_vassal_goes_with_it() {
    let emperor = Liege::in_temp_dir()
        .app("one.ini", "do=stray:plain,ready")
        .app("deaf.ini", "do=stray:deaf,ready")
        .start();
    for name in ["one.ini", "deaf.ini"] {
        emperor.running(name);
        let stray = stray(&emperor, name);
        emperor.remove(name);
        gone(&emperor, name);
        emperor.wait_until("its child is gone", || !proc::lives(stray));
    }
}

#[test]
fn a_group_of_its_own_in_the_session_of_the_vassal_goes_too() {
    // An interactive shell puts each of its jobs in a group of its own, and so do shells in its jobs.
    for kind in ["group", "nested"] {
        let words = format!("do=stray:{kind},ready");
        let emperor = Liege::in_temp_dir().app("one.ini", &words).start();
        emperor.running("one.ini");
        let job = stray(&emperor, "one.ini");
        emperor.remove("one.ini");
        gone(&emperor, "one.ini");
        emperor.wait_until(&format!("the {kind} job is gone"), || !proc::lives(job));
    }
}

#[test]
fn a_file_that_comes_back_while_its_vassal_stops_is_started_afterwards() {
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready on=stop:wait:500+exit:0").start();
    emperor.wait_until("it has spoken", || emperor.stats().vassal("one.ini").number("ready") == 1);
    let pid = emperor.running("one.ini");
    emperor.remove("one.ini");
    // Within one wake-up it would be a change, and not a loss.
    emperor.state("one.ini", "stopping");
    emperor.put_app("one.ini", "do=ready");
    emperor.running_anew("one.ini", pid);
    assert!(!proc::lives(pid), "never two lives of one vassal");
    emperor.life("one.ini", 2);
    assert_eq!(emperor.lives("one.ini"), 2);
}

#[test]
fn byte_22_of_a_vassal_that_is_not_on_demand_is_a_stop_and_a_start() {
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready,loyal,until:1:idle").start();
    emperor.life("one.ini", 2);
    assert_eq!(emperor.events("one.ini", "byte")[0]["value"], 0);
    emperor.running("one.ini");
}

#[test]
fn one_that_could_not_read_for_long_finds_the_stop_behind_all_reloads() {
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready,accepting,loyal").start();
    let (pid, vassal) = (emperor.emperor_pid(), emperor.spoken("one.ini"));
    proc::kill(vassal, libc::SIGSTOP);
    emperor.wait_until("its pipe is full", || {
        proc::kill(pid, libc::SIGHUP);
        emperor.stats().vassal("one.ini").number("respawns") > 300
    });
    emperor.remove("one.ini");
    emperor.logged("told to stop, but still running");
    proc::kill(vassal, libc::SIGCONT);
    emperor.wait_for_within(Duration::from_secs(15), "it is gone, and not by force", || {
        emperor.log().contains("(exit 0)").then_some(())
    });
}

/// The worker dies by any signal that is sent to the group; the main process ends when a gate is open.
const SERVER: &str = "do=stray:worker on=term:gate:$DIR/finished+exit:0 on=hup: on=stop:";

fn is_stopping(emperor: &Liege, name: &str) {
    emperor.wait_until("it has the signal", || emperor.events(name, "term").len() == 1);
}

#[test]
fn a_stop_signal_is_for_the_main_process_which_lets_its_workers_finish() {
    let emperor = Liege::in_temp_dir().app("one.ini", SERVER).start();
    emperor.running("one.ini");
    let worker = stray(&emperor, "one.ini");
    emperor.remove("one.ini");
    is_stopping(&emperor, "one.ini");
    emperor.stays("the worker lives", || proc::lives(worker));
    emperor.open_gate("finished");
    gone(&emperor, "one.ini");
    emperor.wait_until("nothing is left", || !proc::lives(worker));
}

#[test]
fn a_reload_signal_is_for_the_main_process_too() {
    let setup = Liege::in_temp_dir();
    let emperor = setup.app_with("one.ini", "reload-signal = HUP", SERVER).start();
    emperor.running("one.ini");
    let worker = stray(&emperor, "one.ini");
    emperor.touch("one.ini");
    emperor.wait_until("it has the signal", || emperor.events("one.ini", "hup").len() == 1);
    emperor.stays("the worker lives", || proc::lives(worker));
    emperor.open_gate("finished");
}

#[test]
fn stop_to_group_tells_all_processes_of_the_group() {
    let setup = Liege::in_temp_dir();
    let lines = "stop-to = group\nreload-signal = HUP";
    let setup = setup.app_with("one.ini", lines, SERVER).app_with("two.ini", lines, SERVER);
    let emperor = setup.start();
    for name in ["one.ini", "two.ini"] {
        emperor.running(name);
        let worker = stray(&emperor, name);
        match name {
            "one.ini" => emperor.remove(name),
            _ => emperor.touch(name),
        }
        emperor.wait_until("the worker is told, and dies of it", || !proc::lives(worker));
        assert_eq!(emperor.events(name, "exit").len(), 0);
    }
    emperor.open_gate("finished");
}

#[test]
fn where_a_shell_stays_its_program_is_told_as_well() {
    let text = |command: &str| format!("[uwsgi]\nunprivileged-binary-patch-arg = {command}\n");
    let words =
        "$APP record=$DIR/record/$NAME do=stray:worker on=term:gate:$DIR/finished+exit:0 on=stop:";
    // The shell dies after its program only: one that dies first takes all with it.
    let emperor = Liege::in_temp_dir()
        .vassal("stays.ini", &text(&format!("trap : TERM; {words}; exit 3")))
        .vassal("script.ini", &text("/bin/sh $DIR/script"))
        // Other than these it has no shell any more when it is stopped.
        .vassal("leaves.ini", &text(&format!("cd / && exec {words}")));
    std::fs::write(
        emperor.path("script"),
        format!("trap : TERM\n{words}\nexit 4\n")
            .replace("$APP", crate::support::app_path().to_str().unwrap())
            .replace("$DIR", emperor.path("").to_str().unwrap().trim_end_matches('/'))
            .replace("$NAME", "script.ini"),
    )
    .unwrap();
    let emperor = emperor.start();
    for name in ["stays.ini", "script.ini", "leaves.ini"] {
        emperor.running(name);
        let worker = stray(&emperor, name);
        emperor.remove(name);
        is_stopping(&emperor, name);
        if name == "leaves.ini" {
            emperor.stays("the worker lives", || proc::lives(worker));
        } else {
            emperor.wait_until("the worker is told", || !proc::lives(worker));
        }
    }
    emperor.open_gate("finished");
}
