//! What a program has started and left to itself: ended with its life, and with no other.

use crate::support::{Liege, proc, program};

fn strays(emperor: &Liege, name: &str) -> Vec<i32> {
    let strays = emperor.events(name, "stray");
    strays.iter().map(|stray| stray["pid"].as_i64().unwrap() as i32).collect()
}

fn stray(emperor: &Liege, name: &str) -> i32 {
    emperor.wait_for("the stray", || strays(emperor, name).first().copied())
}

fn gone(emperor: &Liege, name: &str) {
    emperor.wait_until(&format!("{name} is gone"), || emperor.stats().find(name).is_none());
}

#[test]
fn what_has_a_session_of_its_own_is_gone_when_its_vassal_is() {
    let emperor = Liege::in_temp_dir()
        .app("session.ini", "do=stray:session,ready")
        .app("double.ini", "do=stray:double,ready")
        .app("other.ini", "do=stray:double,ready")
        .start();
    emperor.running("other.ini");
    let other = stray(&emperor, "other.ini");
    for name in ["session.ini", "double.ini"] {
        emperor.spoken(name);
        let left = stray(&emperor, name);
        assert_ne!(proc::session(left), emperor.pid(name));
        emperor.remove(name);
        gone(&emperor, name);
        assert!(!proc::lives(left), "{name}: nothing is left when it is said to be gone");
    }
    emperor.stays("that of another vassal lives", || proc::lives(other));
}

#[test]
fn each_crash_takes_along_what_was_left_behind_before_the_next_start() {
    let setup = Liege::in_temp_dir().option("--emperor-throttle", "1");
    let emperor = setup.app("one.ini", "do=stray:double,until:9:exit:1,ready").start();
    for life in 2..=10 {
        emperor.life("one.ini", life);
        let left = strays(&emperor, "one.ini");
        let earlier = left.get(..life - 1).unwrap();
        assert!(earlier.iter().all(|&pid| !proc::lives(pid)), "life {life}: {left:?}");
    }
    emperor.spoken("one.ini");
    let last = *strays(&emperor, "one.ini").last().unwrap();
    emperor.stays("that of the life which runs is let alone", || proc::lives(last));
}

#[test]
fn a_replacement_takes_along_what_the_old_one_has_left_and_nothing_else() {
    let setup = Liege::in_temp_dir();
    let lines = "socket = 127.0.0.1:0\nready-after = 0";
    let emperor = setup.app_with("one.ini", lines, "do=stray:double").start();
    let old = emperor.running("one.ini");
    let left = stray(&emperor, "one.ini");
    emperor.put_app_with("one.ini", lines, "do=stray:double,wait:1");
    emperor.running_anew("one.ini", old);
    let new = emperor.wait_for("the new stray", || strays(&emperor, "one.ini").get(1).copied());
    emperor.wait_until("the old one's is gone", || !proc::lives(old) && !proc::lives(left));
    emperor.stays("the new one's lives", || proc::lives(new));
}

#[test]
fn a_stray_that_has_become_another_user_is_no_exception() {
    if proc::uid() != 0 {
        crate::skip!("only root can become somebody else");
    }
    let text = program("/bin/sh $DIR/script");
    let setup = Liege::in_temp_dir().vassal("one.ini", &text);
    let script = "setsid setpriv --reuid=12345 --clear-groups env -i sleep 1000 >/dev/null 2>&1 &\n\
                  echo $! > $DIR/pid; exec sleep 1000\n";
    let dir = setup.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    std::fs::write(setup.path("script"), script.replace("$DIR", &dir)).unwrap();
    let emperor = setup.start();
    emperor.running("one.ini");
    let left = emperor.wait_for("the stray", || {
        let text = std::fs::read_to_string(emperor.path("pid")).ok()?;
        text.trim().parse::<i32>().ok()
    });
    emperor.wait_until("it is another user", || {
        proc::status(left, "Uid").is_some_and(|uid| uid.starts_with("12345"))
            && proc::status(left, "Name").as_deref() == Some("sleep")
    });
    emperor.remove("one.ini");
    gone(&emperor, "one.ini");
    assert!(!proc::lives(left));
}

#[test]
fn a_program_that_goes_to_the_background_is_named_with_the_remedy() {
    let setup = Liege::in_temp_dir().option("--emperor-throttle", "60000");
    let emperor = setup
        .app("daemon.ini", "do=stray:double,exit:0")
        .app_with("once.ini", "restart = never", "do=stray:session,exit:0")
        .app("short.ini", "do=exit:0")
        .start();
    let error = |name: &str| {
        emperor.wait_for(&format!("an error of {name}"), || {
            emperor.try_stats()?.find(name)?.0["last_error"].as_str().map(str::to_owned)
        })
    };
    for name in ["daemon.ini", "once.ini"] {
        let error = error(name);
        assert!(error.contains("background") && error.contains("foreground"), "{name}: {error}");
        emperor.wait_until("it is ended", || !proc::lives(stray(&emperor, name)));
    }
    assert!(!error("short.ini").contains("background"));
    emperor.stays("restart = never is obeyed", || emperor.lives("once.ini") == 1);
}

#[test]
fn a_daemon_that_is_killed_before_it_has_a_session_is_named_each_time() {
    let names: Vec<String> = (0..12).map(|number| format!("v{number}.ini")).collect();
    let mut setup = Liege::in_temp_dir().option("--emperor-throttle", "60000");
    for name in &names {
        setup = setup.app_with(name, "restart = never", "do=stray:plain,exit:0");
    }
    let emperor = setup.start();
    for name in &names {
        emperor.logged(&format!("[{name}] cannot start: its program has gone to the background"));
    }
}

#[test]
fn the_program_of_a_shell_that_dies_at_once_may_finish() {
    let words = "$APP record=$DIR/record/$NAME on=stop: on=eof: on=term:gate:$DIR/done+exit:0";
    let setup = Liege::in_temp_dir().option("--emperor-curse-tolerance", "3");
    let emperor = setup
        .vassal("one.ini", &program(&format!("{words}; exit 3")))
        .vassal(
            "deaf.ini",
            &program(
                "$APP record=$DIR/record/$NAME do=ignore:term,stray:deaf on=stop: on=eof:; exit 3",
            ),
        )
        .start();
    let pids = ["one.ini", "deaf.ini"].map(|name| {
        emperor.running(name);
        let shell = emperor.pid(name).unwrap();
        let program = emperor.wait_for("its program", || proc::children_of(shell).first().copied());
        (shell, program)
    });
    emperor.life("one.ini", 1);
    stray(&emperor, "deaf.ini");
    emperor.remove("one.ini");
    emperor.remove("deaf.ini");
    for (shell, _) in pids {
        emperor.wait_until("the shell is dead", || !proc::lives(shell));
    }
    assert!(proc::lives(pids[1].1));
    emperor.wait_until("the program is told", || emperor.events("one.ini", "term").len() == 1);
    emperor.stays("it may finish", || proc::lives(pids[0].1));
    emperor.open_gate("done");
    gone(&emperor, "one.ini");
    assert_eq!(emperor.events("one.ini", "exit").len(), 1);
    gone(&emperor, "deaf.ini");
    assert!(!proc::lives(pids[1].1), "but not for ever");
}

#[test]
fn nobody_waits_for_what_was_never_told_to_stop() {
    let text = program("/bin/sh $DIR/script; exit 3");
    let setup = Liege::in_temp_dir().option("--emperor-curse-tolerance", "600");
    let setup = setup.vassal("one.ini", &text);
    let dir = setup.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    let script =
        format!("setsid sleep 1000 >/dev/null 2>&1 &\necho $! > {dir}/pid\nsleep 1000; exit 0\n");
    std::fs::write(setup.path("script"), script).unwrap();
    let emperor = setup.start();
    emperor.running("one.ini");
    let left: i32 = emperor.wait_for("the stray", || {
        std::fs::read_to_string(emperor.path("pid")).ok()?.trim().parse().ok()
    });
    emperor.wait_until("it has its own session", || proc::session(left) == Some(left));
    emperor.remove("one.ini");
    gone(&emperor, "one.ini");
    assert!(!proc::lives(left));
}
