//! The life of a vassal: ready, accepting, loyal, dead, started again.

use crate::support::{Liege, proc, program};

#[test]
fn ready_accepting_and_loyal_are_told_by_bytes() {
    let words = "do=ready,gate:$DIR/a,accepting,gate:$DIR/b,loyal";
    let emperor = Liege::in_temp_dir().app("one.ini", words).start();
    let flags = |wanted: [i64; 3]| {
        emperor.wait_until(&format!("ready, accepting, loyal = {wanted:?}"), || {
            let stats = emperor.stats();
            let vassal = stats.vassal("one.ini");
            ["ready", "accepting", "loyal"].map(|key| vassal.number(key)) == wanted
        });
    };
    flags([1, 0, 0]);
    emperor.open_gate("a");
    flags([1, 1, 0]);
    emperor.open_gate("b");
    flags([1, 1, 1]);
    let stats = emperor.stats();
    for key in
        ["last_ready", "last_accepting", "last_loyal", "first_run", "last_run", "born", "last_mod"]
    {
        assert!(stats.vassal("one.ini").number(key) > 1_600_000_000, "{key} is a time");
    }
}

#[test]
fn a_loyal_vassal_that_dies_is_started_again_without_blame() {
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready,accepting,loyal").start();
    let pid = emperor.running("one.ini");
    emperor.wait_until("it is loyal", || emperor.stats().vassal("one.ini").number("loyal") == 1);
    proc::kill(pid, libc::SIGKILL);
    emperor.running_anew("one.ini", pid);
    assert!(emperor.stats().blacklisted("one.ini").is_none());
}

#[test]
fn it_is_started_again_whatever_its_exit_code() {
    // 17, 22, 26 and 30 have a meaning inside uWSGI; here they are deaths like any other.
    let mut setup =
        Liege::in_temp_dir().flag("--emperor-no-blacklist").option("--emperor-throttle", "1");
    for code in [0, 1, 17, 22, 26, 30, 255] {
        setup = setup.app(&format!("{code}.ini"), &format!("do=ready,until:1:exit:{code}"));
    }
    let emperor = setup.start();
    for code in [0, 1, 17, 22, 26, 30, 255] {
        emperor.life(&format!("{code}.ini"), 2);
        emperor.running(&format!("{code}.ini"));
    }
}

#[test]
fn restart_never_and_on_failure_are_obeyed() {
    let setup = Liege::in_temp_dir().option("--emperor-throttle", "1");
    let emperor = setup
        .app_with("never.ini", "restart = never", "do=until:1:exit:1")
        .app_with("good.ini", "restart = on-failure", "do=until:1:exit:0")
        .app_with("bad.ini", "restart = on-failure", "do=until:1:exit:1")
        .start();
    emperor.life("bad.ini", 2);
    emperor.wait_until("the others have ended, and the emperor knows", || {
        let stats = emperor.stats();
        let ended = |name: &&str| stats.vassal(name).pid().is_none() && emperor.lives(name) == 1;
        ["never.ini", "good.ini"].iter().all(ended)
    });
    emperor.stays("those that may not come back stay away, and are still shown", || {
        let stats = emperor.stats();
        ["never.ini", "good.ini"].iter().all(|name| stats.vassal(name).pid().is_none())
    });
    emperor.touch("never.ini");
    emperor.life("never.ini", 2);
}

#[test]
fn a_silent_program_is_ready_after_ready_after_and_loyal_after_loyal_after() {
    let lines = "ready-after = 1\nloyal-after = 5";
    let emperor = Liege::in_temp_dir().app_with("one.ini", lines, "").start();
    emperor.wait_until("it is accepting", || {
        let stats = emperor.stats();
        let vassal = stats.vassal("one.ini");
        let accepting = vassal.number("accepting") == 1;
        assert!(accepting || vassal.number("loyal") == 0, "loyal before it accepts");
        accepting
    });
    assert_eq!(emperor.stats().vassal("one.ini").number("loyal"), 0, "not so soon");
    emperor.wait_until("it is loyal", || emperor.stats().vassal("one.ini").number("loyal") == 1);
}

#[test]
fn the_emperor_has_its_own_rule_for_the_loyalty_of_silent_programs() {
    let setup = Liege::in_temp_dir().option("--emperor-loyal-after", "1");
    let emperor = setup.app("one.ini", "").start();
    emperor.wait_until("it is loyal", || emperor.stats().vassal("one.ini").number("loyal") == 1);
}

#[test]
fn a_vassal_that_closes_its_pipe_after_speaking_is_cursed_and_replaced() {
    let setup = Liege::in_temp_dir().option("--emperor-curse-tolerance", "1");
    let emperor = setup.app("one.ini", "do=ready,accepting,loyal,wait:200,until:1:close").start();
    let first = emperor.life("one.ini", 1)["pid"].as_i64().unwrap() as i32;
    emperor.running_anew("one.ini", first);
    assert!(!proc::lives(first));
}

#[test]
fn a_speaker_that_dies_is_known_by_its_exit_and_not_by_the_end_of_its_pipe() {
    let emperor = Liege::in_temp_dir()
        .option("--emperor-throttle", "1")
        .app("often.ini", "do=ready,accepting,loyal,until:10:exit:3")
        .app("once.ini", "do=ready,exit:7")
        .start();
    emperor.life("often.ini", 11);
    emperor.wait_until("the exit is the last error", || {
        let error = emperor.stats().vassal("once.ini").0["last_error"].to_string();
        error.contains("(exit 7)")
    });
    assert!(!emperor.log().contains("emperor pipe"), "{}", emperor.log());
}

#[test]
fn a_program_that_closes_a_pipe_it_never_used_is_left_alone() {
    let setup = Liege::in_temp_dir().option("--emperor-curse-tolerance", "1");
    let emperor = setup.app("one.ini", "do=close").option("--emperor-throttle", "1").start();
    let pid = emperor.running("one.ini");
    let start = std::time::Instant::now();
    emperor.wait_until("twice the tolerance is over", || start.elapsed().as_millis() > 2200);
    assert_eq!(emperor.pid("one.ini"), Some(pid));
    assert_eq!(emperor.lives("one.ini"), 1);
}

#[test]
fn the_same_name_in_two_directories_is_two_vassals() {
    let setup = Liege::in_temp_dir();
    std::fs::create_dir(setup.path("more")).unwrap();
    let setup = setup.option("--emperor", "$DIR/more").vassal("x.ini", &program("/bin/sleep 1000"));
    std::fs::copy(setup.path("vassals/x.ini"), setup.path("more/x.ini")).unwrap();
    let emperor = setup.start();
    emperor.wait_until("both run", || emperor.stats().up() == 2);
    let stats = emperor.stats();
    let monitors: Vec<_> = stats.vassals().iter().map(|vassal| &vassal["monitor"]).collect();
    assert_eq!(monitors.len(), 2);
    assert_ne!(monitors[0], monitors[1]);
    std::fs::remove_file(emperor.path("more/x.ini")).unwrap();
    emperor.wait_until("the other is left", || emperor.stats().vassals().len() == 1);
    assert_eq!(emperor.stats().up(), 1);
    // The log names them by their whole paths.
    for (name, what) in [("vassals", "runs with"), ("more", "runs with"), ("more", "stopped after")]
    {
        let path = emperor.path(name).join("x.ini");
        emperor.logged(&format!("[{}] {what}", path.display()));
    }
    assert!(!emperor.log().contains("[x.ini]"), "{}", emperor.log());
}

#[test]
fn orphans_of_vassals_are_reaped() {
    let text = program(
        "/bin/sh -c \"for i in 1 2 3 4 5 6 7 8 9; do (sleep 0.1 &) ; done; exec sleep 1000\"",
    );
    let emperor = Liege::in_temp_dir().vassal("one.ini", &text).start();
    emperor.running("one.ini");
    let (emperor_pid, keeper) = (emperor.emperor_pid(), emperor.first_pid());
    emperor.wait_until("their parent is the emperor or nobody, and no zombie is left", || {
        let left = emperor.survivors().len();
        left <= 4 && proc::zombies_of(emperor_pid).is_empty() && proc::zombies_of(keeper).is_empty()
    });
}

#[test]
fn each_of_many_deaths_at_once_has_a_successor() {
    let mut setup = Liege::in_temp_dir();
    for number in 0..40 {
        setup = setup.app(&format!("{number}.ini"), "do=ready,accepting,loyal,wait:1100");
    }
    let emperor = setup.start();
    let loyal = |stats: &crate::support::stats::Stats| {
        stats.up() == 40 && stats.vassals().iter().all(|vassal| vassal["loyal"] == 1)
    };
    emperor.wait_until("all are loyal", || loyal(&emperor.stats()));
    // A life shorter than a second is started again through the throttle, which is another promise.
    let born = std::time::Instant::now();
    emperor.wait_until("they have lived for a second", || born.elapsed().as_millis() > 1100);
    let before: Vec<i64> =
        emperor.stats().vassals().iter().map(|vassal| vassal["pid"].as_i64().unwrap()).collect();
    before.iter().for_each(|&pid| proc::kill(pid as i32, libc::SIGKILL));
    emperor.wait_until("all run again", || {
        let stats = emperor.stats();
        stats.up() == 40
            && stats.vassals().iter().all(|v| !before.contains(&v["pid"].as_i64().unwrap()))
    });
    assert_eq!(emperor.stats().top("blacklist").as_array().unwrap().len(), 0);
}

#[test]
fn a_vassal_that_never_announces_its_promised_readiness_is_killed() {
    let lines = "start-timeout = 1\nnotify = true";
    let setup = Liege::in_temp_dir().option("--emperor-throttle", "1");
    let emperor = setup.app_with("one.ini", lines, "").start();
    emperor.life("one.ini", 2);
}

#[test]
fn a_pipe_that_outlives_its_vassal_in_another_process_hides_no_death() {
    let words = "do=ready,accepting,loyal,until:1:stray:double,until:1:exit:1";
    let emperor = Liege::in_temp_dir().app("one.ini", words).start();
    let first = emperor.life("one.ini", 1)["pid"].as_i64().unwrap() as i32;
    emperor.running_anew("one.ini", first);
}

#[test]
fn descriptors_that_a_vassal_sends_along_are_not_kept() {
    let emperor = Liege::in_temp_dir()
        .app("one.ini", "do=ready,gate:$DIR/go,rights:100,loyal,accepting")
        .start();
    emperor.wait_until("it is ready", || emperor.stats().vassal("one.ini").number("ready") == 1);
    let before = proc::descriptors(emperor.emperor_pid()).len();
    emperor.open_gate("go");
    emperor.wait_until("it has sent them", || {
        emperor.stats().vassal("one.ini").number("accepting") == 1
    });
    emperor.wait_until("no more descriptors than before", || {
        proc::descriptors(emperor.emperor_pid()).len() <= before
    });
}
