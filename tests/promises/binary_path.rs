//! `binary-path`: another program instead of the stage, started exactly as uWSGI's Emperor starts it.

use crate::support::{Liege, executable, proc};

#[test]
fn the_program_gets_the_arguments_of_a_uwsgi_vassal() {
    let mut setup = Liege::in_temp_dir();
    let options = [
        ("a.ini", "--ini"),
        ("b.xml", "--xml"),
        ("c.yml", "--yaml"),
        ("d.yaml", "--yaml"),
        ("e.json", "--json"),
        ("f.js", "--json"),
    ];
    for (name, _) in options {
        setup = setup.vassal(name, "");
    }
    let show = setup.path("show");
    executable(&show, "#!/bin/sh\nprintf '%s\\n' \"$@\" > ../record/$2\nexec sleep 1000\n");
    let emperor = setup.option("--binary-path", show.to_str().unwrap()).start();
    for (name, option) in options {
        let expected = format!("{option}\n{name}\n");
        emperor.wait_until(&format!("{name} has arguments"), || {
            std::fs::read_to_string(emperor.path("record").join(name))
                .is_ok_and(|text| text == expected)
        });
    }
}

#[test]
fn the_name_of_the_program_is_its_first_argument() {
    let emperor = Liege::in_temp_dir().direct().app("one.ini", "do=ready").start();
    let start = emperor.life("one.ini", 1);
    let app = crate::support::app_path();
    assert_eq!(start["argv"], serde_json::json!([app.to_str(), "--ini", "one.ini"]));
    assert_eq!(start["exe"].as_str(), app.to_str());
}

#[test]
fn it_has_the_emperor_pipe_and_no_other_descriptor() {
    let setup = Liege::in_temp_dir().direct().app("one.ini", "do=ready");
    let emperor = setup.shell("exec 5</etc/passwd 6</dev/null 9>$DIR/leak").start();
    let start = emperor.life("one.ini", 1);
    let pipe = start["env"]["UWSGI_EMPEROR_FD"].as_str().unwrap();
    let fds = start["fds"].as_object().unwrap();
    assert_eq!(fds["0"], "/dev/null");
    assert!(fds[pipe].as_str().unwrap().starts_with("socket:"), "{fds:?}");
    let mut numbers: Vec<_> = fds.keys().map(String::as_str).collect();
    numbers.sort_unstable();
    let mut expected = vec!["0", "1", "2", pipe];
    expected.sort_unstable();
    assert_eq!(numbers, expected, "{fds:?}");
}

#[test]
fn it_has_no_blocked_and_no_ignored_signal() {
    let setup = Liege::in_temp_dir().direct().app("one.ini", "do=ready");
    let emperor = setup.shell("trap '' TERM HUP USR2 PIPE").start();
    let start = emperor.life("one.ini", 1);
    assert_eq!(start["blocked"], "0000000000000000");
    assert_eq!(start["ignored"], "0000000000000000");
}

#[test]
fn it_starts_in_the_directory_of_its_file_in_a_session_of_its_own() {
    let emperor = Liege::in_temp_dir().direct().app("one.ini", "do=ready").start();
    let start = emperor.life("one.ini", 1);
    let dir = emperor.path("vassals").canonicalize().unwrap();
    assert_eq!(start["cwd"].as_str(), dir.to_str());
    assert_eq!(start["sid"], start["pid"]);
    assert_eq!(start["ppid"], emperor.emperor_pid());
    assert_eq!(start["death_signal"], libc::SIGKILL);
}

#[test]
fn it_does_not_see_what_was_meant_for_the_emperor() {
    let mut setup = Liege::in_temp_dir().direct().app("one.ini", "do=ready");
    for name in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "UWSGI_RELOADS"] {
        setup = setup.env(name, "0");
    }
    let emperor = setup.env("KEPT", "a b").start();
    let start = emperor.life("one.ini", 1);
    let env = start["env"].as_object().unwrap();
    for name in [
        "NOTIFY_SOCKET",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "UWSGI_RELOADS",
        "LIEGE_STATUS_FD",
    ] {
        assert!(!env.contains_key(name), "{name} in {env:?}");
    }
    assert_eq!(env["KEPT"], "a b");
}

#[test]
fn variables_meant_for_vassals_lose_their_prefix() {
    let setup = Liege::in_temp_dir().direct().app("one.ini", "do=ready");
    let setup = setup.env("UWSGI_VASSAL_ONE", "first").env("UWSGI_VASSAL_TWO", "second");
    let emperor = setup.env("UWSGI_TWO", "hidden by the other").start();
    let start = emperor.life("one.ini", 1);
    assert_eq!(start["env"]["UWSGI_ONE"], "first");
    assert_eq!(start["env"]["UWSGI_TWO"], "second");
    assert!(start["env"].get("UWSGI_VASSAL_ONE").is_none());
}

#[test]
fn the_limit_of_open_files_is_the_one_the_emperor_was_started_with() {
    let setup = Liege::in_temp_dir().direct().app("one.ini", "do=ready");
    let emperor = setup.shell("ulimit -S -n 300").start();
    assert_eq!(emperor.life("one.ini", 1)["nofile"][0], 300);
    let limits =
        std::fs::read_to_string(format!("/proc/{}/limits", emperor.emperor_pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words[3], words[4], "the emperor itself uses all it may: {line}");
}

#[test]
fn a_program_that_is_not_there_is_named_with_the_reason_and_tried_again() {
    let setup = Liege::in_temp_dir()
        .vassal("one.ini", "[uwsgi]\napp = record=$DIR/record/one.ini do=ready\n");
    let program = setup.path("program");
    let program = program.to_str().unwrap();
    let emperor =
        setup.option("--binary-path", program).option("--emperor-throttle", "100").start();
    emperor.wait_until("the reason is shown", || {
        let error = emperor.stats().vassal("one.ini").0["last_error"].to_string();
        error.contains("No such file") && error.contains(program)
    });
    std::os::unix::fs::symlink(crate::support::app_path(), program).unwrap();
    emperor.running("one.ini");
}

#[test]
fn two_hundred_starts_and_stops_leave_no_descriptor_and_no_zombie() {
    let setup = Liege::in_temp_dir().direct().option("--emperor-throttle-burst", "1000");
    let emperor = setup.app("stays.ini", "do=ready,accepting,loyal").start();
    emperor.running("stays.ini");
    let pid = emperor.emperor_pid();
    let before = proc::descriptors(pid).len();
    for _ in 0..10 {
        for number in 0..20 {
            emperor.put_app(&format!("{number}.ini"), "do=ready");
        }
        emperor.wait_until("all run", || emperor.stats().up() == 21);
        for number in 0..20 {
            emperor.remove(&format!("{number}.ini"));
        }
        emperor.wait_until("all but one are gone", || emperor.stats().vassals().len() == 1);
    }
    // The client that looks is a descriptor too, and may be there or not.
    emperor
        .wait_until("no more descriptors than before", || proc::descriptors(pid).len() <= before);
    assert!(proc::zombies_of(pid).is_empty());
}
