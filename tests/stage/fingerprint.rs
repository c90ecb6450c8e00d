//! The fingerprint: the same for files that would start the same, another for every difference that an exec
//! would make.

use super::*;

const BASE: [&str; 7] = [
    "unprivileged-binary-patch-arg = sleep 600",
    "env = A=1",
    "socket = a.sock",
    "umask = 022",
    "chdir = /",
    "listen = 50",
    "processes = 2",
];

/// What the stage says in `dir` of a vassal file with these lines.
fn told(dir: &Path, lines: &[&str], purpose: Purpose) -> ExecVerdict {
    vassal_file(&dir.join("a.ini"), lines);
    let setup = stage(&[]).order(|order| order.purpose = purpose).env("GIVEN", "x");
    setup.inside(dir).start().exec().0
}

fn print(dir: &Path, lines: &[&str]) -> u64 {
    told(dir, lines, Purpose::Check).fingerprint
}

#[test]
fn a_check_and_a_start_of_the_same_file_have_the_same_fingerprint() {
    let dir = TempDir::new().unwrap();
    let settings = told(dir.path(), &BASE, Purpose::Check);
    assert_eq!(settings.fingerprint, told(dir.path(), &BASE, Purpose::Start).fingerprint);
    assert_eq!(settings.fingerprint, print(dir.path(), &BASE), "no clock and no chance enter");
    assert_ne!(settings.fingerprint, 0);
}

#[test]
fn a_check_tells_of_an_argument_that_is_too_long_before_it_tries_anything() {
    let dir = TempDir::new().unwrap();
    let long = format!("command = echo {}", "x".repeat(140_000));
    vassal_file(&dir.path().join("a.ini"), &["logto = /nope/log", &long]);
    let fault = stage(&[]).check().inside(dir.path()).start().error(1);
    assert_eq!(fault.step, "read");
    assert!(fault.message.contains("longer than the 128 KiB"), "{}", fault.message);
}

#[test]
fn what_changes_nothing_for_the_program_changes_no_fingerprint() {
    let dir = TempDir::new().unwrap();
    let base = print(dir.path(), &BASE);
    for line in [
        "# a comment",
        "",
        "stop-signal = INT",
        "reload-signal = HUP",
        "graceful-signal = QUIT",
        "restart = never",
        "loyal-after = 3",
        "ready-after = 3",
        "start-timeout = 3",
        "set-placeholder = unused=1",
    ] {
        assert_eq!(print(dir.path(), &[&BASE[..], &[line]].concat()), base, "{line}");
    }
    let swapped = [BASE[1], BASE[0], BASE[6], BASE[5], BASE[2], BASE[4], BASE[3]];
    assert_eq!(print(dir.path(), &swapped), base, "the order of what is independent");
}

#[test]
fn every_difference_that_an_exec_would_make_changes_the_fingerprint() {
    let dir = TempDir::new().unwrap();
    let mut seen = BTreeMap::from([(print(dir.path(), &BASE), "nothing".to_owned())]);
    let mut differs = |what: String, lines: &[&str]| {
        let other = seen.insert(print(dir.path(), lines), what.clone());
        assert_eq!(other, None, "{what}");
    };
    for line in [
        "env = B=1",
        "env = A=2",
        "env = A=",
        "unenv = GIVEN",
        "unenv = LISTEN_FDS",
        "socket = b.sock",
        "http-socket = b.sock",
        "socket = @b",
        "socket = 127.0.0.1:0",
        "chmod-socket = 600",
        "umask = 077",
        "chdir = /tmp",
        "listen = 51",
        "reuse-port = true",
        "honour-stdin = true",
        "skip-zero = true",
        "processes = 3",
        "threads = 3",
        "logto = log",
        "pidfile = pid",
        "notify = true",
        "heartbeat = 10",
    ] {
        differs(line.to_owned(), &[&BASE[..], &[line]].concat());
    }
    for command in ["sleep 601", "sleep 6 00", "sleep '6 00'", "exec sleep $((600))"] {
        let first = format!("unprivileged-binary-patch-arg = {command}");
        differs(command.to_owned(), &[&[first.as_str()], &BASE[1..]].concat());
    }
    differs(
        "privileged".to_owned(),
        &[&["privileged-binary-patch-arg = sleep 600"], &BASE[1..]].concat(),
    );
    differs("no socket".to_owned(), &[&BASE[..2], &BASE[3..]].concat());
    if is_root() {
        for line in ["uid = 65534", "gid = 65534", "add-gid = 7", "chown-socket = 0"] {
            differs(line.to_owned(), &[&BASE[..], &[line]].concat());
        }
    }
}

#[test]
fn an_emperor_that_would_govern_otherwise_has_another_fingerprint() {
    let dir = TempDir::new().unwrap();
    let base = ["emperor = /nowhere", "emperor-throttle = 5"];
    let same = print(dir.path(), &[base[0], "# a comment", base[1]]);
    assert_eq!(same, print(dir.path(), &base));
    for lines in [[base[0], "emperor-throttle = 6"], ["emperor = /elsewhere", base[1]]] {
        assert_ne!(same, print(dir.path(), &lines), "{lines:?}");
    }
}
