//! The same scenario under uWSGI's Emperor and under liege, as one and the same vassal sees it.
//!
//! What differs on purpose stands in [`DIFFERENCES`], and nowhere else: a difference that is not there fails
//! the test, and so does one that is there and cannot be seen any more.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::UWSGI;
use crate::support::{Liege, app_path, code, executable, proc};

/// What a vassal sees otherwise under liege, and why.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "env UWSGI_ONE",
        "UWSGI_VASSAL_ONE arrives, as the documents promise; uWSGI loses the first of several",
    ),
    ("env UWSGI_L_PROC_NAME", "what uWSGI makes of the variable behind the one that it takes away"),
    ("env UWSGI_ORIGINAL_PROC_NAME", "the emperor's own title is nobody's business below"),
    ("env UWSGI_VASSALS_DIR", "meant for hooks, and only they get it"),
    ("hook pipe", "a hook has no emperor pipe: it cannot speak for the vassal"),
    ("env LISTEN_FDS", "the emperor's sockets are not the vassal's"),
    ("ignored", "SIGPIPE has its default action; uWSGI's vassals inherit that it is ignored"),
    (
        "leads its session",
        "a vassal can be signalled, and cleared away, with all that it has started",
    ),
];

type Seen = BTreeMap<String, Value>;

/// Runs the scenario: a start, a touch, a removal, a return, the end.
fn scenario(program: Option<&str>) -> Seen {
    let setup = Liege::in_temp_dir().direct();
    let hook = setup.path("hook");
    let text = format!(
        "#!/bin/sh\necho \"$# $1 $UWSGI_VASSALS_DIR $(pwd -P) ${{UWSGI_EMPEROR_FD:+pipe}}\" >> {}/$(basename $0).seen\n",
        setup.path("").display()
    );
    executable(&hook, &text);
    for name in ["start", "stop"] {
        symlink(&hook, setup.path(name)).unwrap();
    }
    symlink(app_path(), setup.path("app")).unwrap();
    let setup = setup
        .option("--emperor-freq", "1")
        .option("--emperor-wrapper-override", "/nonexistent/override")
        .option("--emperor-wrapper", "/nonexistent/wrapper")
        .option("--emperor-wrapper-fallback", "/nonexistent/fallback")
        .option("--emperor-wrapper-fallback", "$DIR/app")
        .option("--vassals-start-hook", "$DIR/start")
        .option("--vassals-stop-hook", "$DIR/stop")
        .option("--vassals-include", "ia")
        .option("--vassals-inherit", "ha")
        .option("--vassals-set", "s=a b")
        .option("--vassals-include-before", "ib")
        .option("--vassals-inherit-before", "hb")
        .option("--reload-mercy", "3")
        .env("KEPT", "a b")
        .env("NOTIFY_SOCKET", "/nonexistent")
        .env("LISTEN_FDS", "3")
        .env("UWSGI_RELOADS", "7")
        .env("UWSGI_VASSAL_ONE", "the first one")
        .env("UWSGI_VASSAL_TWO", "the second one");
    let setup = setup.app("one.ini", "do=ready,accepting,loyal");
    let setup = if let Some(program) = program { setup.program(program) } else { setup };
    let emperor = setup.start();
    let mut seen = first_life(&emperor);
    seen.insert("bytes".to_owned(), bytes(&emperor));
    let root = emperor.path("").canonicalize().unwrap();
    let hooks = |name: &str| {
        let text = fs::read_to_string(emperor.path(&format!("{name}.seen"))).unwrap();
        text.replace(root.to_str().unwrap(), "ROOT/")
    };
    let line = hooks("start").lines().next().unwrap().to_owned();
    seen.insert("hook pipe".to_owned(), json!(line.ends_with(" pipe")));
    seen.insert("start hook".to_owned(), json!(line.trim_end_matches("pipe").trim_end()));
    seen.insert("stop hook".to_owned(), json!(hooks("stop").lines().next().unwrap().trim_end()));
    seen.insert("status of the end".to_owned(), json!(code(emperor.end())));
    seen
}

/// What the kernel and the emperor have given to the vassal.
fn first_life(emperor: &Liege) -> Seen {
    let start = emperor.life("one.ini", 1);
    let root = emperor.path("").canonicalize().unwrap();
    let root = root.to_str().unwrap();
    let mut seen = Seen::new();
    let text = |value: &Value| json!(value.to_string().replace(root, "ROOT/"));
    seen.insert("argv".to_owned(), text(&start["argv"]));
    seen.insert("cwd".to_owned(), text(&start["cwd"]));
    for name in ["uid", "gid", "groups", "umask", "blocked", "ignored", "death_signal", "nofile"] {
        seen.insert(name.to_owned(), start[name].clone());
    }
    seen.insert("leads its session".to_owned(), json!(start["sid"] == start["pid"]));
    let pipe = start["env"]["UWSGI_EMPEROR_FD"].as_str().unwrap();
    for (number, target) in start["fds"].as_object().unwrap() {
        let target = target.as_str().unwrap();
        let target = target.split(':').next().unwrap().replace(root, "ROOT/");
        let number = if number == pipe { "pipe" } else { number };
        seen.insert(format!("fd {number}"), json!(target));
    }
    for (name, value) in start["env"].as_object().unwrap() {
        if !["UWSGI_EMPEROR_FD", "TEST_OF_LIEGE"].contains(&name.as_str()) {
            seen.insert(format!("env {name}"), text(value));
        }
    }
    seen
}

/// The bytes of a touch, a removal and an end.
fn bytes(emperor: &Liege) -> Value {
    let heard = |count: usize| {
        emperor.wait_until(&format!("{count} bytes are heard"), || {
            emperor.events("one.ini", "byte").len() >= count
        });
    };
    let loyal = || {
        emperor.wait_until("it is loyal", || {
            emperor.stats().find("one.ini").is_some_and(|vassal| vassal.number("loyal") == 1)
        });
    };
    loyal();
    // uWSGI sees whole seconds, and only later ones.
    proc::set_modified_only(&emperor.file("one.ini"), 4_000_000_000);
    heard(1);
    let text = fs::read_to_string(emperor.file("one.ini")).unwrap();
    emperor.remove("one.ini");
    heard(2);
    emperor.wait_until("it is gone", || emperor.stats().find("one.ini").is_none());
    emperor.put("one.ini", &text);
    emperor.life("one.ini", 2);
    loyal();
    let events = emperor.events("one.ini", "byte");
    json!(events.iter().map(|byte| byte["value"].clone()).collect::<Vec<_>>())
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn a_vassal_sees_the_same_under_both_but_for_what_is_listed() {
    let (uwsgi, liege) = (scenario(Some(UWSGI)), scenario(None));
    let names: std::collections::BTreeSet<&String> = uwsgi.keys().chain(liege.keys()).collect();
    let mut differing: Vec<&str> = names
        .into_iter()
        .filter(|name| uwsgi.get(*name) != liege.get(*name))
        .map(String::as_str)
        .collect();
    for name in &differing {
        eprintln!("{name}: uWSGI {:?}, liege {:?}", uwsgi.get(*name), liege.get(*name));
    }
    let mut listed: Vec<&str> = DIFFERENCES.iter().map(|(name, _)| *name).collect();
    listed.sort_unstable();
    differing.sort_unstable();
    assert_eq!(differing, listed);
    assert_eq!(liege["bytes"], json!([1, 0]));
    assert_eq!(liege["env UWSGI_ONE"], json!("\"the first one\""));
}
