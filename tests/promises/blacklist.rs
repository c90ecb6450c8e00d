//! The blacklist: who dies before being loyal waits longer each time.

use crate::support::{Liege, proc};

/// The pauses between the starts of a vassal, in milliseconds.
fn pauses(emperor: &Liege, name: &str) -> Vec<i64> {
    let at: Vec<i64> =
        emperor.events(name, "start").iter().map(|e| e["at_ms"].as_i64().unwrap()).collect();
    at.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// A pause is never shorter than promised; longer it may be, by what a busy machine needs for a start.
fn assert_pauses(emperor: &Liege, name: &str, promised: &[i64]) {
    emperor.life(name, promised.len() + 1);
    let pauses = pauses(emperor, name);
    for (pause, promised) in pauses.iter().zip(promised) {
        assert!((promised - 20..promised + 5000).contains(pause), "{pauses:?}");
    }
    let log = emperor.log();
    let told = log.lines().filter_map(|line| line.split("next start in ").nth(1));
    let told: Vec<&str> = told.filter_map(|text| text.split(" (").next()).collect();
    let promised: Vec<_> = promised.iter().map(|promised| format!("{promised} ms")).collect();
    assert_eq!(told[..promised.len()], promised, "{log}");
}

#[test]
fn each_death_adds_one_step_up_to_the_maximum_which_is_held() {
    // A burst leaves the throttle, another promise, out of the picture.
    let emperor = Liege::in_temp_dir()
        .option("--emperor-throttle", "300")
        .option("--emperor-max-throttle", "700")
        .option("--emperor-throttle-burst", "100")
        .app("bad.ini", "do=exit:1")
        .start();
    assert_pauses(&emperor, "bad.ini", &[300, 600, 700, 700]);
}

#[test]
fn the_penalty_can_be_watched() {
    let setup = Liege::in_temp_dir().option("--emperor-throttle", "5000");
    let emperor = setup.app("bad.ini", "do=exit:3").start();
    emperor.state("bad.ini", "backoff");
    let stats = emperor.stats();
    let entry = stats.blacklisted("bad.ini").expect("an entry of the blacklist");
    assert_eq!(entry.number("throttle_level"), 5000);
    assert!(entry.number("first_attempt") > 1_600_000_000);
    assert!(entry.number("last_attempt") >= entry.number("first_attempt"));
    let vassal = stats.vassal("bad.ini");
    assert_eq!(vassal.number("pid"), -1, "it stays visible while it waits");
    assert!((1..=5000).contains(&vassal.number("next_start_ms")), "{}", vassal.0);
    assert!(vassal.0["last_exit"].to_string().contains('3'), "{}", vassal.0);
    let log = emperor.log();
    let line =
        log.lines().find(|line| line.contains("[bad.ini]") && line.contains("next start in 5 s"));
    assert!(line.is_some(), "the log says when it will be started: {log}");
}

#[test]
fn a_touch_forgives() {
    let setup = Liege::in_temp_dir().option("--emperor-throttle", "100000");
    let emperor = setup.app("bad.ini", "do=until:1:exit:1,ready").start();
    emperor.state("bad.ini", "backoff");
    emperor.touch("bad.ini");
    emperor.running("bad.ini");
    assert!(emperor.stats().blacklisted("bad.ini").is_none());
}

#[test]
fn a_mended_file_starts_at_once() {
    let setup = Liege::in_temp_dir().option("--emperor-throttle", "100000");
    let emperor = setup.vassal("bad.ini", "[uwsgi]\nchdir = $DIR/nowhere\nlisten = many\n").start();
    emperor.state("bad.ini", "backoff");
    emperor.put_app("bad.ini", "do=ready");
    emperor.running("bad.ini");
}

#[test]
fn sigurg_forgives_all() {
    let setup = Liege::in_temp_dir().option("--emperor-throttle", "100000");
    let words = "do=until:1:exit:1,ready";
    let emperor = setup.app("a.ini", words).app("b.ini", words).start();
    emperor.state("a.ini", "backoff");
    emperor.state("b.ini", "backoff");
    emperor.signal(libc::SIGURG);
    emperor.wait_until("the list is empty", || {
        emperor.stats().top("blacklist").as_array().unwrap().is_empty()
    });
}

#[test]
fn loyalty_forgives() {
    let setup = Liege::in_temp_dir().option("--emperor-throttle", "100");
    let emperor = setup.app("bad.ini", "do=until:2:exit:1,ready,gate:$DIR/go,loyal").start();
    emperor.life("bad.ini", 3);
    emperor.wait_until("it has an entry", || emperor.stats().blacklisted("bad.ini").is_some());
    emperor.open_gate("go");
    emperor.wait_until("it has none", || emperor.stats().blacklisted("bad.ini").is_none());
}

#[test]
fn without_a_blacklist_nobody_waits_for_a_penalty() {
    let emperor = Liege::in_temp_dir()
        .flag("--emperor-no-blacklist")
        .option("--emperor-throttle", "30000")
        .option("--emperor-throttle-burst", "100")
        .app("bad.ini", "do=until:3:exit:1,ready")
        .start();
    emperor.life("bad.ini", 4);
    assert!(emperor.stats().blacklisted("bad.ini").is_none());
}

#[test]
fn one_bad_vassal_delays_no_other() {
    let setup = Liege::in_temp_dir().option("--emperor-throttle", "100000");
    let emperor =
        setup.app("bad.ini", "do=exit:1").app("good.ini", "do=ready,accepting,loyal").start();
    emperor.state("bad.ini", "backoff");
    let pid = emperor.running("good.ini");
    let born = std::time::Instant::now();
    emperor.wait_until("it has lived for a second", || born.elapsed().as_millis() > 1100);
    proc::kill(pid, libc::SIGKILL);
    emperor.running_anew("good.ini", pid);
}

#[test]
fn a_start_that_fails_is_blamed_once_and_not_twice() {
    let setup = Liege::in_temp_dir().option("--emperor-throttle", "60000");
    let text = "[uwsgi]\nunprivileged-binary-patch-arg = $DIR/nowhere/program\n";
    let emperor = setup.vassal("bad.ini", text).start();
    emperor.state("bad.ini", "backoff");
    let stats = emperor.stats();
    assert_eq!(stats.blacklisted("bad.ini").unwrap().number("throttle_level"), 60000);
    assert!(stats.vassal("bad.ini").0["last_error"].to_string().contains("nowhere/program"));
}

#[test]
fn a_loyal_vassal_that_ends_at_once_is_no_storm() {
    let begin = std::time::Instant::now();
    let emperor = Liege::in_temp_dir().app("short.ini", "do=ready,loyal,exit:0").start();
    emperor.life("short.ini", 21);
    let elapsed = begin.elapsed().as_millis();
    assert!(elapsed >= 2000, "21 starts in {elapsed} ms");
    assert!(emperor.stats().blacklisted("short.ini").is_none(), "and no blame");
}

#[test]
fn what_is_odd_about_a_file_is_said_once_until_it_changes() {
    let emperor = Liege::in_temp_dir()
        .option("--emperor-throttle", "10")
        .vassal("one.ini", "[uwsgi]\nno-such = 1\nunprivileged-binary-patch-arg = /bin/false\n")
        .start();
    let said = || emperor.log().matches("no-such").count();
    let deaths = |count| {
        emperor.wait_until("it dies again and again", || {
            emperor.stats().vassal("one.ini").number("deaths") >= count
        });
    };
    deaths(4);
    assert_eq!(said(), 1, "{}", emperor.log());
    assert!(emperor.log().contains("warning [one.ini] line 2: "), "{}", emperor.log());
    emperor.touch("one.ini");
    emperor.wait_until("it is said again", || said() == 2);
    deaths(8);
    assert_eq!(said(), 2, "{}", emperor.log());
}

#[test]
fn a_program_that_never_ran_has_not_died() {
    let text = "[uwsgi]\nuid = 0\nsocket = /nowhere/to/be/found/x.sock\nunprivileged-binary-patch-arg = /bin/true\n";
    let emperor = Liege::in_temp_dir().vassal("one.ini", text).start();
    emperor.logged("[one.ini] blacklisted, next start in 1 s (attempt 1)");
    let log = emperor.log();
    let why = "[one.ini] cannot start: line 3 socket: cannot bind /nowhere/to/be/found/x.sock: \
               No such file or directory (os error 2); create /nowhere/to/be/found first\n";
    assert!(log.contains(why) && !log.contains("exited"), "{log}");
}
