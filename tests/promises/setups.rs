//! Set-ups of the kinds that are published for uWSGI: which start as they are, what is said about them, and
//! which are refused with which way out.
//!
//! Each is an emperor's file and one vassal's. `USER` stands for a user that exists everywhere, `$APP` for a
//! program that is started as uWSGI would be, `RUN` for the line that names one to liege.

use std::fs;

use crate::support::{Liege, Setup, code, is_root, reachable_by_all};

/// What becomes of a set-up.
enum Then {
    /// The vassal runs; the log has exactly these warnings.
    Starts(&'static [&'static str]),
    /// The emperor does not start; the log says this.
    Refused(&'static [&'static str]),
    /// The emperor runs, the vassal does not; the log says this.
    VassalRefused(&'static [&'static str]),
}
use Then::{Refused, Starts, VassalRefused};

struct Published {
    kind: &'static str,
    emperor: &'static str,
    vassal: &'static str,
    then: Then,
}

const fn setup(
    kind: &'static str,
    emperor: &'static str,
    vassal: &'static str,
    then: Then,
) -> Published {
    Published { kind, emperor, vassal, then }
}

const DJANGO: &str = "chdir = $DIR\nmodule = shop.wsgi:application\nhome = $DIR/env\nsocket = $DIR/shop.sock\n\
     chmod-socket = 660\nprocesses = 4\nmaster = true\nvacuum = true\n";
const FLASK: &str = "wsgi-file = $DIR/app.py\ncallable = app\nplugins = python3\nvirtualenv = $DIR/venv\n\
     http-socket = :0\ndie-on-term = true\ntouch-reload = $DIR/app.py\n";
const PLAIN: &str = "RUN\n";

#[rustfmt::skip] // a table
const PUBLISHED: &[Published] = &[
    // Emperors with a real uWSGI below them.
    setup("a distribution's service", "uid = USER\ngid = USER\nbinary-path = $APP\n", DJANGO, Starts(&[])),
    setup("the tutorial for Django", "vassals-include = $DIR/common.ini\nbinary-path = $APP\nuid = USER\ngid = USER\nmaster = true\n", DJANGO, Starts(&[])),
    setup("the tutorial for Flask", "binary-path = $APP\nlogto = $DIR/emperor.log\nuid = USER\ngid = USER\n", FLASK, Starts(&[])),
    setup("an init script", "binary-path = $APP\ndaemonize = $DIR/emperor.log\npidfile = $DIR/emperor.pid\nuid = USER\ngid = USER\n", DJANGO, Starts(&["taken as logto"])),
    setup("supervisor", "binary-path = $APP\nmaster = true\nno-orphans = true\ndie-on-term = true\nlog-date = true\n", FLASK, Starts(&[])),
    setup("a container", "binary-path = $APP\nmaster = true\nthunder-lock = true\nenable-threads = true\nvacuum = true\n", FLASK, Starts(&["ignored, because only", "vacuum"])),
    setup("two groups", "binary-path = $APP\nuid = USER\ngid = USER\nadd-gid = 7\numask = 002\n", DJANGO, Starts(&[])),
    setup("a group of its own", "binary-path = $APP\nuid = USER\n", DJANGO, Starts(&["without gid"])),
    setup("statistics of both kinds", "binary-path = $APP\nstats = 127.0.0.1:0\nemperor-stats-server = $DIR/more.sock\n", FLASK, Starts(&["emperor-stats"])),
    setup("a logger", "binary-path = $APP\nlogger = syslog:emperor\nlog-date = %%Y-%%m-%%d\n", FLASK, Starts(&["logs to standard error", "the format is not used"])),
    setup("limits and a title", "binary-path = $APP\nmax-fd = 500\nprocname = emperor of shops\nauto-procname = true\n", FLASK, Starts(&["ignored, because only"])),
    setup("workers in the emperor's file", "binary-path = $APP\nprocesses = 4\nharakiri = 30\nbuffer-size = 32768\n", FLASK, Starts(&["belongs into a vassal file", "ignored, because only"])),
    setup("a directory to start from", "binary-path = $APP\nchdir = $DIR\n", DJANGO, Starts(&[])),
    setup("an environment", "binary-path = $APP\nenv = LANG=C.UTF-8\nenv = DJANGO_SETTINGS_MODULE=shop.settings\n", DJANGO, Starts(&[])),
    setup("settings for all vassals", "binary-path = $APP\nvassal-set = processes=2\nvassals-set = vacuum=true\n", FLASK, Starts(&[])),
    setup("throttle and heartbeat", "binary-path = $APP\nemperor-throttle = 500\nemperor-required-heartbeat = 40\nemperor-no-blacklist = true\n", FLASK, Starts(&[])),
    setup("a misspelt name", "binary-path = $APP\nemperor-thottle = 500\n", FLASK, Starts(&["did you mean"])),
    // Vassals that liege itself starts.
    setup("a program", "", PLAIN, Starts(&[])),
    setup("a program of another user", "", "RUN\nuid = USER\ngid = USER\nlogfile-chown = true\n", Starts(&[])),
    setup("a program with files to mind", "", "RUN\nvacuum = true\ntouch-reload = $DIR/now\npidfile = $DIR/a.pid\nsocket = $DIR/a.sock\n", Starts(&[])),
    setup("a program with limits", "", "RUN\nlimit-as = 4000\nmax-fd = 100\n", Starts(&[])),
    setup("uWSGI's words beside a program", "", "RUN\nlog-date = true\nauto-procname = true\nprocname = x\ndaemonize = $DIR/a.log\n", Starts(&["ignored, because only", "keeps its own title", "print the time itself", "taken as logto"])),
    setup("uWSGI's files without uWSGI", "", DJANGO, VassalRefused(&["nothing to run"])),
    setup("a user below a user", "uid = USER\ngid = USER\n", "RUN\nuid = root\n", VassalRefused(&["cannot become user 0", "without a uid of its own"])),
    setup("capabilities of a vassal", "", "RUN\nuid = USER\ngid = USER\ncap = net_bind_service\n", VassalRefused(&["cap: is not supported in a vassal file"])),
    // What this version cannot do, and does not pretend to.
    setup("tyrant", "emperor-tyrant = true\n", PLAIN, Refused(&["emperor-tyrant: is not supported"])),
    setup("a proxy in the emperor", "http = :0\n", PLAIN, Refused(&["http: "])),
    setup("a socket in the emperor", "socket = $DIR/emperor.sock\n", PLAIN, Refused(&["the emperor serves nothing itself", "vassals-set"])),
    setup("a jail", "chroot = /srv/jail\n", PLAIN, Refused(&["chroot: is not supported"])),
    setup("an unknown user", "uid = no-such-user-x\ngid = no-such-user-x\n", PLAIN, Refused(&["no-such-user-x"])),
    setup("a pid file of the safe kind", "safe-pidfile = $DIR/emperor.pid\n", PLAIN, Refused(&["safe-pidfile: ", "Use pidfile"])),
    setup("a database of vassals", "emperor = pg://host=db user=shop;SELECT 1\n", PLAIN, Refused(&["'pg://' is not supported"])),
];

/// A user that is not this one can be had by root only; others write who they are.
fn user() -> String {
    if is_root() { "nobody".to_owned() } else { crate::support::proc::uid().to_string() }
}

fn prepared(published: &Published) -> Setup {
    let setup = Liege::in_temp_dir().only_args(&["--ini", "emperor.ini"]);
    let run = "command = $APP record=$DIR/record/one.ini do=ready";
    let told = |text: &str| {
        text.replace("RUN", run).replace("gid = USER", "gid = 65534").replace("USER", &user())
    };
    let dir = setup.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    let app = crate::support::app_path().to_str().unwrap().to_owned();
    let text = told(published.emperor).replace("$DIR", &dir).replace("$APP", &app);
    let text = format!("[uwsgi]\nemperor = $DIR/vassals\nemperor-stats = $DIR/stats.sock\n{text}")
        .replace("$DIR", &dir);
    fs::write(setup.path("emperor.ini"), text).unwrap();
    fs::write(setup.path("common.ini"), "[uwsgi]\nprocesses = 2\n").unwrap();
    let words = "app = record=$DIR/record/one.ini do=ready\n";
    let words = if published.emperor.contains("$APP") { words } else { "" };
    setup.vassal("one.ini", &format!("[uwsgi]\n{}{words}", told(published.vassal)))
}

/// What is told of the file, without what only depends on who runs the test.
fn warnings(log: &str) -> Vec<&str> {
    let is_told = |line: &&str| line.contains(" warning ") && !line.contains("runs as root");
    log.lines().filter(is_told).collect()
}

fn try_all(part: usize) {
    for published in PUBLISHED.iter().skip(part).step_by(4) {
        let Published { kind, then, .. } = published;
        let changes_user = published.emperor.contains("USER") || published.vassal.contains("USER");
        if changes_user && (!is_root() || !reachable_by_all()) {
            continue;
        }
        let setup = prepared(published);
        match then {
            Refused(told) => {
                let (status, log) = setup.run();
                assert_eq!(code(status), 1, "{kind}: {log}");
                assert!(told.iter().all(|told| log.contains(told)), "{kind}: {log}");
            }
            VassalRefused(told) => {
                let emperor = setup.start();
                told.iter().for_each(|told| emperor.logged(told));
                assert_eq!(emperor.lives("one.ini"), 0, "{kind}");
            }
            Starts(told) => {
                let emperor = setup.start();
                emperor.running("one.ini");
                emperor.life("one.ini", 1);
                let own = fs::read_to_string(emperor.path("emperor.log")).unwrap_or_default();
                let log = emperor.log() + &own;
                let warnings = warnings(&log);
                assert_eq!(warnings.len(), told.len(), "{kind}: {warnings:?}");
                for told in *told {
                    assert!(
                        warnings.iter().any(|line| line.contains(told)),
                        "{kind}: {warnings:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn published_set_ups_start_or_say_why_not_first_quarter() {
    try_all(0);
}

#[test]
fn published_set_ups_start_or_say_why_not_second_quarter() {
    try_all(1);
}

#[test]
fn published_set_ups_start_or_say_why_not_third_quarter() {
    try_all(2);
}

#[test]
fn published_set_ups_start_or_say_why_not_last_quarter() {
    try_all(3);
}
