//! Reload: a changed file, SIGHUP, and the replacement of programs that know nothing of an Emperor.

use crate::support::{Liege, ask_tcp, free_port, proc, program};
use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

const SPEAKER: &str = "do=ready,accepting,loyal";

/// How often the program was told to reload.
fn reloads(emperor: &Liege, name: &str) -> usize {
    emperor.events(name, "byte").iter().filter(|event| event["value"] == 1).count()
}

fn reloaded(emperor: &Liege, name: &str, times: usize) {
    emperor.wait_until(&format!("{name} was reloaded {times} times"), || {
        reloads(emperor, name) == times
    });
}

#[test]
fn a_touch_is_a_reload_by_byte_of_the_same_process() {
    let emperor = Liege::in_temp_dir().app("one.ini", SPEAKER).app("two.ini", SPEAKER).start();
    let (pid, other) = (emperor.running("one.ini"), emperor.running("two.ini"));
    emperor.wait_until("it has spoken", || emperor.stats().vassal("one.ini").number("loyal") == 1);
    emperor.touch("one.ini");
    reloaded(&emperor, "one.ini", 1);
    emperor.wait_until("it is ready again and counted", || {
        let stats = emperor.stats();
        let vassal = stats.vassal("one.ini");
        vassal.number("accepting") == 1 && vassal.number("respawns") == 1
    });
    assert_eq!(emperor.pid("one.ini"), Some(pid));
    assert_eq!(emperor.pid("two.ini"), Some(other));
    assert_eq!(reloads(&emperor, "two.ini"), 0);
}

#[test]
fn a_reload_takes_ready_and_accepting_back_until_they_are_said_again() {
    let words = format!("{SPEAKER} on=reload:");
    let emperor = Liege::in_temp_dir().app("one.ini", &words).start();
    emperor.wait_until("it is accepting", || {
        emperor.stats().vassal("one.ini").number("accepting") == 1
    });
    emperor.touch("one.ini");
    reloaded(&emperor, "one.ini", 1);
    let stats = emperor.stats();
    let vassal = stats.vassal("one.ini");
    assert_eq!((vassal.number("ready"), vassal.number("accepting")), (0, 0));
    assert_eq!(vassal.text("state"), "running", "silence after a reload is no fault");
}

#[test]
fn sighup_reloads_all() {
    let emperor = Liege::in_temp_dir().app("one.ini", SPEAKER).app("two.ini", SPEAKER).start();
    emperor.wait_until("both have spoken", || {
        emperor.stats().vassals().iter().all(|vassal| vassal["loyal"] == 1)
    });
    emperor.signal(libc::SIGHUP);
    reloaded(&emperor, "one.ini", 1);
    reloaded(&emperor, "two.ini", 1);
}

#[test]
fn every_kind_of_change_is_seen_and_each_is_one_reload() {
    let emperor = Liege::in_temp_dir().app("one.ini", SPEAKER).start();
    emperor.wait_until("it has spoken", || emperor.stats().vassal("one.ini").number("loyal") == 1);
    let file = emperor.file("one.ini");
    let text = fs::read_to_string(&file).unwrap();

    let set_time =
        |time| File::options().append(true).open(&file).unwrap().set_modified(time).unwrap();
    set_time(SystemTime::now() + Duration::from_secs(86400));
    reloaded(&emperor, "one.ini", 1);
    set_time(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    reloaded(&emperor, "one.ini", 2);
    fs::write(&file, format!("{text}\n")).unwrap();
    reloaded(&emperor, "one.ini", 3);
    // An older file moved over it, as a restored backup is.
    let backup = emperor.path("backup");
    fs::write(&backup, &text).unwrap();
    File::options()
        .append(true)
        .open(&backup)
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH)
        .unwrap();
    fs::rename(&backup, &file).unwrap();
    reloaded(&emperor, "one.ini", 4);
    // Two edits within one second, and within one tick of the clock of the file system.
    emperor.touch("one.ini");
    reloaded(&emperor, "one.ini", 5);
    emperor.touch("one.ini");
    reloaded(&emperor, "one.ini", 6);

    let mode = fs::metadata(&file).unwrap().permissions();
    fs::set_permissions(&file, mode).unwrap();
    emperor.stays("a chmod is no change", || reloads(&emperor, "one.ini") == 6);
}

#[test]
fn a_silent_program_with_a_reload_signal_gets_that() {
    let emperor = Liege::in_temp_dir()
        .app_with("one.ini", "reload-signal = HUP", "on=hup: do=wait:1")
        .start();
    let pid = emperor.running("one.ini");
    emperor.life("one.ini", 1);
    emperor.touch("one.ini");
    emperor.wait_until("it got SIGHUP", || emperor.events("one.ini", "hup").len() == 1);
    assert_eq!(emperor.pid("one.ini"), Some(pid));
}

#[test]
fn a_silent_program_is_replaced_with_the_same_socket_and_no_connection_is_refused() {
    let port = free_port();
    let lines = format!("http-socket = 127.0.0.1:{port}\nready-after = 1\nlisten = 100");
    // It finishes what it has accepted and leaves: what is in the queue is for its successor.
    let words = "listen=3 do=serve on=term:exit:0";
    let emperor = Liege::in_temp_dir().app_with("one.ini", &lines, words).start();
    let first = emperor.running("one.ini");
    emperor.life("one.ini", 1);

    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let client = std::thread::spawn({
        let (stop, answers) = (stop.clone(), answers.clone());
        move || {
            let mut pids = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let answer = ask_tcp(port).expect("no connection is refused or reset");
                let pid: i32 =
                    answer.split(' ').next().and_then(|pid| pid.parse().ok()).expect("an answer");
                answers.fetch_add(1, Ordering::Relaxed);
                // So many that the machine runs out of ports are no better proof.
                std::thread::sleep(Duration::from_millis(1));
                if pids.last() != Some(&pid) {
                    pids.push(pid);
                }
            }
            pids
        }
    });
    emperor.wait_until("it serves", || answers.load(Ordering::Relaxed) > 10);
    emperor.touch("one.ini");
    let second = emperor.running_anew("one.ini", first);
    emperor.wait_until("the old one is gone", || !proc::lives(first));
    let so_far = answers.load(Ordering::Relaxed);
    emperor.wait_until("the new one serves", || answers.load(Ordering::Relaxed) > so_far + 10);
    stop.store(true, Ordering::Relaxed);
    let pids = client.join().expect("every connection was answered");
    assert!(pids.contains(&first) && pids.contains(&second), "{first} {second}: {pids:?}");
    assert_eq!(emperor.lives("one.ini"), 2);
}

#[test]
fn the_old_program_stays_until_the_new_one_accepts() {
    let lines = "http-socket = $DIR/one.sock\nready-after = 60";
    let words = "listen=3 do=from:1:gate:$DIR/go,from:1:ready,from:1:accepting,serve";
    let emperor = Liege::in_temp_dir().app_with("one.ini", lines, words).start();
    let first = emperor.running("one.ini");
    assert!(emperor.ask("one.sock").starts_with(&format!("{first} ")));
    emperor.touch("one.ini");
    emperor.state("one.ini", "replacing");
    emperor.life("one.ini", 2);
    emperor.stays("both live and the old one answers", || {
        proc::lives(first) && emperor.ask("one.sock").starts_with(&format!("{first} "))
    });
    emperor.open_gate("go");
    let second = emperor.running_anew("one.ini", first);
    assert!(!proc::lives(first));
    assert!(emperor.ask("one.sock").starts_with(&format!("{second} ")));
}

#[test]
fn a_changed_file_that_is_bad_never_stops_the_running_program() {
    let with_socket = "http-socket = $DIR/one.sock\nready-after = 1";
    let emperor = Liege::in_temp_dir()
        .app_with("one.ini", with_socket, "listen=3 do=serve")
        .app("bare.ini", "")
        .start();
    for name in ["one.ini", "bare.ini"] {
        let pid = emperor.running(name);
        emperor.life(name, 1);
        let good = fs::read_to_string(emperor.file(name)).unwrap();
        emperor.put(name, "[uwsgi]\nchdir = $DIR/nowhere\nlisten = many\n");
        emperor.wait_until("the fault is shown with its place", || {
            let error = emperor.stats().vassal(name).0["last_error"].to_string();
            error.contains(&format!("{name}:3"))
        });
        emperor.stays("it runs on", || emperor.pid(name) == Some(pid) && proc::lives(pid));
        emperor.put(name, &good);
        emperor.running_anew(name, pid);
        emperor.wait_until("the fault is no longer shown", || {
            emperor.stats().vassal(name).0["last_error"].as_str().unwrap_or_default().is_empty()
        });
    }
}

#[test]
fn a_replacement_that_dies_is_dropped_and_the_old_one_serves_on() {
    let lines = "http-socket = $DIR/one.sock\nready-after = 60";
    let words = "listen=3 do=from:1:exit:3,serve";
    let emperor = Liege::in_temp_dir().app_with("one.ini", lines, words).start();
    let pid = emperor.running("one.ini");
    emperor.life("one.ini", 1);
    emperor.touch("one.ini");
    emperor.life("one.ini", 2);
    emperor.state("one.ini", "running");
    emperor.wait_until("the reason is shown", || {
        !emperor.stats().vassal("one.ini").0["last_error"].as_str().unwrap_or_default().is_empty()
    });
    emperor.stays("it is not tried again before the next change", || emperor.lives("one.ini") == 2);
    assert_eq!(emperor.pid("one.ini"), Some(pid));
    assert_eq!(emperor.ask("one.sock"), format!("{pid} 1\n"));
}

#[test]
fn a_program_without_a_socket_is_stopped_and_then_started() {
    let emperor = Liege::in_temp_dir().app("one.ini", "").start();
    let first = emperor.running("one.ini");
    emperor.life("one.ini", 1);
    emperor.touch("one.ini");
    emperor.running_anew("one.ini", first);
    let (one, two) = (emperor.life("one.ini", 1), emperor.life("one.ini", 2));
    assert_ne!(one["pid"], two["pid"]);
    assert!(!proc::lives(first));
    assert!(emperor.stats().blacklisted("one.ini").is_none(), "a reload is no death");
}

#[test]
fn a_new_address_is_bound_and_a_dropped_one_closed() {
    let lines = |socket: &str| format!("http-socket = $DIR/{socket}\nready-after = 1");
    let emperor =
        Liege::in_temp_dir().app_with("one.ini", &lines("a.sock"), "listen=3 do=serve").start();
    let first = emperor.running("one.ini");
    assert!(emperor.ask("a.sock").starts_with(&format!("{first} ")));
    emperor.put_app_with("one.ini", &lines("b.sock"), "listen=3 do=serve");
    let second = emperor.running_anew("one.ini", first);
    assert!(emperor.ask("b.sock").starts_with(&format!("{second} ")));
    emperor.wait_until("nobody listens at the old address", || {
        std::os::unix::net::UnixStream::connect(emperor.path("a.sock")).is_err()
    });
}

#[test]
fn a_reload_while_one_is_under_way_ends_with_the_newest_file() {
    let lines = "http-socket = $DIR/one.sock\nready-after = 1";
    let words = |word: &str| format!("listen=3 do=print:{word},serve");
    let emperor = Liege::in_temp_dir().app_with("one.ini", lines, &words("v0")).start();
    let first = emperor.running("one.ini");
    emperor.life("one.ini", 1);
    for version in 1..=5 {
        emperor.put_app_with("one.ini", lines, &words(&format!("v{version}")));
    }
    emperor.wait_until("the newest runs, alone", || {
        let newest = emperor.events("one.ini", "start").last().cloned();
        let argv = newest.map(|start| start["argv"].to_string()).unwrap_or_default();
        let stats = emperor.stats();
        argv.contains("print:v5") && stats.vassal("one.ini").text("state") == "running"
    });
    assert!(!proc::lives(first));
    let starts = emperor.events("one.ini", "start");
    let living: Vec<_> =
        starts.iter().filter(|start| proc::lives(start["pid"].as_i64().unwrap() as i32)).collect();
    assert_eq!(living.len(), 1);
}

#[test]
fn a_restart_whose_program_cannot_run_leaves_the_running_one_alone() {
    let emperor = Liege::in_temp_dir().vassal("one.ini", &program("/bin/sleep 1000")).start();
    let pid = emperor.running("one.ini");
    fs::create_dir(emperor.path("bin")).unwrap();
    fs::write(emperor.path("bin/plain"), "#!/bin/sh\n").unwrap();
    let bad = [
        ("", "$DIR/bin/none 1", "none"),
        ("", "$DIR/bin/plain", "Permission denied"),
        ("", "$DIR/bin", "bin: Permission denied"),
        ("", "no-such-program-anywhere", "no-such-program-anywhere"),
        ("env = PATH=$DIR/bin", "sleep 1000", "sleep: No such file"),
        ("chdir = $DIR/nowhere", "/bin/sleep 1000", "cannot enter"),
        ("binsh = $DIR/bin/sh", "a | b", "bin/sh"),
    ];
    for (line, command, shown) in bad {
        emperor.put(
            "one.ini",
            &format!("[uwsgi]\n{line}\nunprivileged-binary-patch-arg = {command}\n"),
        );
        emperor.wait_until(&format!("{command} is refused with {shown}"), || {
            let error = emperor.stats().vassal("one.ini").0["last_error"].to_string();
            error.contains(shown) && emperor.stats().vassal("one.ini").text("state") == "running"
        });
        assert_eq!(emperor.pid("one.ini"), Some(pid), "{command}");
    }
    // What a vassal file says of its directory and its PATH counts in the look-up.
    fs::copy("/bin/sleep", emperor.path("bin/own-sleep")).unwrap();
    for line in ["chdir = $DIR/bin\nenv = PATH=.:/bin", "env = PATH=/nowhere:$DIR/bin"] {
        let old = emperor.running("one.ini");
        emperor.put(
            "one.ini",
            &format!("[uwsgi]\n{line}\nunprivileged-binary-patch-arg = own-sleep 1000\n"),
        );
        emperor.running_anew("one.ini", old);
    }
}

#[test]
fn a_file_that_is_renamed_waits_for_the_sockets_of_its_old_name_and_pays_no_penalty() {
    let port = free_port();
    let lines = |port: u16| format!("http-socket = 127.0.0.1:{port}\nhttp-socket = $DIR/one.sock");
    let words = "listen=3 on=stop: on=term:gate:$DIR/go+exit:0 do=serve";
    let emperor = Liege::in_temp_dir().app_with("old.ini", &lines(port), words).start();
    let first = emperor.running("old.ini");
    emperor.life("old.ini", 1);
    assert!(ask_tcp(port).is_ok());
    fs::rename(emperor.file("old.ini"), emperor.file("new.ini")).unwrap();
    emperor.wait_until("the new name says whom it waits for", || {
        let stats = emperor.stats();
        stats.find("new.ini").is_some_and(|new| {
            new.text("state") == "backoff"
                && new.text("reason").contains("the vassal old.ini listens")
        })
    });
    emperor.wait_until("the old one is told to stop", || {
        !emperor.events("old.ini", "term").is_empty()
    });
    emperor.open_gate("go");
    let second = emperor.running("new.ini");
    assert!(second != first && !proc::lives(first));
    emperor.wait_until("it serves", || ask_tcp(port).is_ok());
    let stats = emperor.stats();
    assert!(
        stats.blacklisted("new.ini").is_none() && stats.vassal("new.ini").number("deaths") == 0
    );
}
