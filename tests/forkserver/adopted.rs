//! The life of an adopted vassal: birth, words, reload, stop, and the end of its base or emperor.

use crate::support::{Liege, is_root, proc, reachable_by_all};
use crate::{
    adopted, asking, base_path, base_text, is_blacklisted, living, requests, text, with_base,
};

const SPEAKER: &str = "do=ready,accepting,loyal";

#[test]
fn a_vassal_is_forked_from_its_base_and_adopted() {
    let emperor = with_base("").vassal("one.ini", &text(SPEAKER)).start();
    let pid = adopted(&emperor, "one.ini");
    let base = emperor.running("base.ini");
    emperor.wait_until("it has spoken", || emperor.stats().vassal("one.ini").number("loyal") == 1);
    let stats = emperor.stats();
    assert_eq!(stats.vassal("one.ini").0["base"], "base.ini");
    assert_eq!(stats.vassal("base.ini").number("adopted"), 0);
    assert_eq!(proc::parent(pid), Some(emperor.emperor_pid()));
    assert_eq!(proc::session(pid), Some(base), "it sits in its base's session, as uWSGI's do");
    assert_eq!(requests(&emperor).len(), 1);
    assert_eq!(emperor.life("one.ini", 1)["pid"], pid);
    assert_eq!(emperor.end().code(), Some(0));
}

#[test]
fn the_request_is_that_of_uwsgi() {
    let base = base_path();
    let words = "[uwsgi]\nbase = sock=$DIR/base.sock record=$DIR/record/base.ini\n";
    let emperor = asking()
        .option("--binary-path", base.to_str().unwrap())
        // Tried where something is started, which is not the case here.
        .option("--emperor-wrapper-override", "/nonexistent/override")
        .option("--vassals-set", "a=b")
        .option("--vassals-include", "/c.ini")
        .on_demand("two.ini", "two.sock")
        .vassal("base.ini", words)
        .vassal("one.ini", &text(SPEAKER))
        .vassal("two.ini", &text("listen=0 do=serve"))
        .start();
    adopted(&emperor, "one.ini");
    emperor.ask("two.sock");
    let all = requests(&emperor);
    let argv = |name: &str| {
        let base = base.to_str().unwrap();
        serde_json::json!([base, "--set", "a=b", "--ini", name, "--include", "/c.ini"])
    };
    let size = |name: &str| {
        let strings: Vec<String> = serde_json::from_value(argv(name)).unwrap();
        strings.iter().map(|string| string.len() + 2).sum::<usize>()
    };
    for (request, name, mask, fds) in [(&all[0], "one.ini", 1, 1), (&all[1], "two.ini", 5, 2)] {
        assert_eq!(request["argv"], argv(name));
        assert_eq!(
            request["header"],
            serde_json::json!([35, size(name) % 256, size(name) / 256, mask])
        );
        assert_eq!(request["fds"], fds);
    }
}

#[test]
fn a_file_that_travels_by_the_config_pipe_comes_to_adopted_vassals_too() {
    let emperor =
        with_base("").flag("--emperor-force-config-pipe").vassal("one.ini", &text(SPEAKER)).start();
    adopted(&emperor, "one.ini");
    let request = &requests(&emperor)[0];
    assert_eq!((&request["header"][3], &request["fds"]), (&3.into(), &2.into()));
    assert_eq!(request["argv"].as_array().unwrap()[2], "emperor://one.ini");
    emperor.wait_until("it has come", || {
        let come = emperor.events("base.ini", "config");
        come.first().is_some_and(|config| config["text"].as_str().unwrap().contains(SPEAKER))
    });
}

#[test]
fn fifty_vassals_of_one_base_are_adopted_at_the_start() {
    let mut setup = with_base("");
    for number in 0..50 {
        setup = setup.vassal(&format!("v{number:02}.ini"), &text(SPEAKER));
    }
    let emperor = setup.start();
    emperor.wait_until("all run", || emperor.stats().up() == 51);
    let stats = emperor.stats();
    let from_base = stats.vassals().iter().filter(|v| v["adopted"] == 1 && v["base"] == "base.ini");
    assert_eq!(from_base.count(), 50);
    emperor.wait_until("each has begun, once", || {
        (0..50).all(|n| emperor.lives(&format!("v{n:02}.ini")) == 1)
    });
    assert!(emperor.stats().top("blacklist").as_array().unwrap().is_empty());
    let base = emperor.running("base.ini");
    emperor.remove("base.ini");
    emperor.wait_until("the base is gone", || !proc::lives(base));
    emperor.stays("they live on", || emperor.stats().up() == 50);
    assert_eq!(emperor.end().code(), Some(0));
}

#[test]
fn a_base_that_dies_is_started_again_and_its_vassals_live_on() {
    for words in ["", "group"] {
        let emperor = with_base(words)
            .vassal("one.ini", &text(SPEAKER))
            .vassal("two.ini", &text("on=eof:"))
            .start();
        let (one, two) = (adopted(&emperor, "one.ini"), adopted(&emperor, "two.ini"));
        let base = emperor.running("base.ini");
        proc::kill(base, libc::SIGKILL);
        let second = emperor.running_anew("base.ini", base);
        emperor.stays("the vassals live on", || {
            emperor.pid("one.ini") == Some(one) && emperor.pid("two.ini") == Some(two)
        });
        emperor.touch("base.ini");
        emperor.running_anew("base.ini", second);
        assert!(proc::lives(one) && proc::lives(two), "also when the base is told to stop");
        emperor.wait_until("loyal", || emperor.stats().vassal("one.ini").number("loyal") == 1);
        proc::kill(one, libc::SIGKILL);
        emperor.running_anew("one.ini", one);
        adopted(&emperor, "one.ini");
        assert!(proc::lives(two));
    }
}

#[test]
fn an_on_demand_vassal_is_adopted_with_its_listener() {
    let emperor = with_base("")
        .on_demand("one.ini", "one.sock")
        .vassal("one.ini", &text("listen=0 do=serve on=served:idle"))
        .start();
    emperor.state("one.ini", "listening");
    emperor.running("base.ini");
    for round in 1..=3 {
        // A client that comes before the one that rests is gone waits for the next, too.
        emperor.state("one.ini", "listening");
        let answer = emperor.ask("one.sock");
        assert!(answer.ends_with(&format!(" {round}\n")), "{answer:?} in round {round}");
        // Until it is told to stop it would take the next connection, too.
        emperor.state("one.ini", "listening");
    }
    assert!(requests(&emperor).iter().all(|request| request["fds"] == 2));
    let start = emperor.life("one.ini", 1);
    assert!(start["fds"]["0"].as_str().unwrap().starts_with("socket:"));
    assert!(!is_blacklisted(&emperor, "one.ini"));
}

#[test]
fn a_connection_waits_until_the_base_is_there() {
    let emperor = asking()
        .on_demand("one.ini", "one.sock")
        .vassal("one.ini", &text("listen=0 do=serve"))
        .start();
    emperor.state("one.ini", "listening");
    let mut client = emperor.connect("one.sock");
    emperor.logged("one.ini] not started: fork server");
    emperor.put("base.ini", &base_text(""));
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut client, &mut answer).unwrap();
    assert!(answer.ends_with(" 1\n"), "{answer:?}");
}

#[test]
fn a_heartbeat_that_stays_away_ends_in_a_new_fork() {
    let emperor = with_base("")
        .option("--emperor-required-heartbeat", "1")
        .option("--emperor-curse-tolerance", "1")
        .vassal("one.ini", &text("do=ready,until:1:beat on=reload: on=stop:"))
        .start();
    let first = adopted(&emperor, "one.ini");
    emperor.wait_until("it is asked to reload", || {
        emperor.events("one.ini", "byte").iter().any(|byte| byte["value"] == 1)
    });
    let second = emperor.running_anew("one.ini", first);
    assert!(!proc::lives(first));
    assert_eq!(adopted(&emperor, "one.ini"), second);
}

#[test]
fn a_speaker_keeps_its_process_in_a_reload() {
    let emperor = with_base("").vassal("one.ini", &text(SPEAKER)).start();
    let pid = adopted(&emperor, "one.ini");
    emperor.wait_until("loyal", || emperor.stats().vassal("one.ini").number("loyal") == 1);
    emperor.touch("one.ini");
    emperor.wait_until("it has reloaded", || {
        let stats = emperor.stats();
        stats.vassal("one.ini").number("respawns") == 1
            && stats.vassal("one.ini").number("accepting") == 1
    });
    assert_eq!((emperor.pid("one.ini"), requests(&emperor).len()), (Some(pid), 1));
}

#[test]
fn one_that_exits_instead_of_reloading_is_a_new_fork_without_blame() {
    let emperor = with_base("").vassal("one.ini", &text("do=ready on=reload:exit:1")).start();
    let first = adopted(&emperor, "one.ini");
    emperor.wait_until("ready", || emperor.stats().vassal("one.ini").number("ready") == 1);
    emperor.touch("one.ini");
    emperor.running_anew("one.ini", first);
    adopted(&emperor, "one.ini");
    assert!(!is_blacklisted(&emperor, "one.ini"));
    emperor.life("one.ini", 2);
    assert_eq!((emperor.lives("one.ini"), requests(&emperor).len()), (2, 2));
}

#[test]
fn a_silent_one_is_stopped_and_asked_for_again() {
    let emperor = with_base("").vassal("one.ini", &text("on=stop:")).start();
    let first = adopted(&emperor, "one.ini");
    emperor.life("one.ini", 1);
    emperor.touch("one.ini");
    let second = emperor.running_anew("one.ini", first);
    assert!(!proc::lives(first), "by its signal, alone");
    emperor.life("one.ini", 2);
    emperor.signal(libc::SIGHUP);
    emperor.running_anew("one.ini", second);
    assert!(!is_blacklisted(&emperor, "one.ini"));
}

#[test]
fn a_stop_with_and_without_the_vassals_help_touches_nobody_else() {
    for words in ["", "group"] {
        let emperor = with_base(words)
            .option("--emperor-curse-tolerance", "1")
            .vassal("good.ini", &text(SPEAKER))
            .vassal("deaf.ini", &text("do=ignore:term,ready on=stop: on=eof:"))
            .vassal("other.ini", &text(""))
            .start();
        let (good, deaf) = (adopted(&emperor, "good.ini"), adopted(&emperor, "deaf.ini"));
        let (other, base) = (adopted(&emperor, "other.ini"), emperor.running("base.ini"));
        emperor.wait_until("deaf is ready", || {
            emperor.stats().vassal("deaf.ini").number("ready") == 1
        });
        emperor.remove("good.ini");
        emperor.remove("deaf.ini");
        emperor.wait_until("both are gone", || {
            let stats = emperor.stats();
            stats.find("good.ini").is_none() && stats.find("deaf.ini").is_none()
        });
        assert!(!proc::lives(good) && !proc::lives(deaf));
        assert_eq!(emperor.pid("other.ini"), Some(other));
        assert_eq!(emperor.pid("base.ini"), Some(base));
    }
}

#[test]
fn sigkill_of_the_emperor_ends_adopted_vassals_that_ignore_everything() {
    for words in ["", "group"] {
        let mut setup = with_base(words);
        for name in ["one.ini", "two.ini", "three.ini"] {
            setup = setup.vassal(name, &text("do=ignore:term,ready on=eof: on=stop:"));
        }
        let mut emperor = setup.start();
        emperor.wait_until("all run", || emperor.stats().up() == 4);
        for name in ["one.ini", "two.ini", "three.ini"] {
            emperor.life(name, 1);
        }
        proc::kill(emperor.emperor_pid(), libc::SIGKILL);
        emperor.wait_for_end();
        emperor.all_gone();
    }
}

#[test]
fn a_base_of_another_user_gives_its_user_to_its_vassals() {
    if !is_root() {
        crate::skip!("a base of another user needs root");
    }
    if !reachable_by_all() {
        crate::skip!("the test programs are not in a directory that other users can reach");
    }
    let text_of_base = format!("{}uid = 65534\ngid = 65534\n", base_text(""));
    let emperor: Liege =
        asking().vassal("base.ini", &text_of_base).vassal("one.ini", &text(SPEAKER)).start();
    adopted(&emperor, "one.ini");
    assert_eq!(emperor.life("one.ini", 1)["uid"], "65534 65534 65534 65534");
    assert_eq!(living(&emperor, "one.ini").len(), 1);
}

#[test]
fn a_base_that_dies_again_and_again_leaves_each_vassal_with_one_process() {
    let names: Vec<String> = (0..20).map(|number| format!("v{number:02}.ini")).collect();
    let mut setup = with_base("").option("--emperor-throttle", "50");
    for name in &names {
        setup = setup.vassal(name, &text("do=ready,accepting,loyal on=eof:"));
    }
    let emperor = setup.start();
    let all_run = || emperor.wait_until("all run", || emperor.stats().up() == 21);
    all_run();
    let count = || proc::descriptors(emperor.emperor_pid()).len();
    let before = count();
    for round in 0..6 {
        proc::kill(emperor.running("base.ini"), libc::SIGKILL);
        // In the middle of the talks that begin here, too.
        for name in names.iter().skip(round).step_by(3) {
            if let Some(pid) = emperor.pid(name) {
                proc::kill(pid, libc::SIGKILL);
            }
        }
        for name in names.iter().skip(round + 1).step_by(3) {
            emperor.touch(name);
        }
        if round % 2 == 0 {
            proc::kill(emperor.running("base.ini"), libc::SIGKILL);
        }
    }
    all_run();
    for name in &names {
        emperor.wait_until(&format!("{name} has one process"), || {
            emperor.pid(name).is_some_and(|pid| living(&emperor, name) == [pid])
        });
    }
    emperor.wait_until("no more descriptors than before", || count() <= before);
    emperor.wait_until("nobody is left unreaped", || {
        proc::zombies_of(emperor.emperor_pid()).is_empty()
    });
    assert_eq!(emperor.end().code(), Some(0));
}
