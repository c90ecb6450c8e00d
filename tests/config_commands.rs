//! `liege check`, `liege config` and what the command line asks for instead of the program's work.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a test may fail
#![allow(clippy::print_stderr, reason = "a test that cannot run says so")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(self, name: &str, text: &str) -> Self {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, args: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_liege"))
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Said::from(output)
    }
}

struct Said {
    out: String,
    err: String,
    status: i32,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            status: output.status.code().unwrap(),
        }
    }
}

const GOOD: &str = "[uwsgi]\nunprivileged-binary-patch-arg = sleep 1\n";

#[test]
fn liege_alone_says_how_it_is_used() {
    let said = Place::new().run(&[]);
    assert_eq!((said.status, said.out.as_str()), (1, ""));
    assert!(said.err.contains("--emperor DIR") && said.err.contains("--help"), "{}", said.err);
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);
}

#[test]
fn check_tells_all_faults_of_all_files_with_their_places() {
    let place = Place::new()
        .file("v/good.ini", GOOD)
        .file(
            "v/bad.ini",
            &format!("{GOOD}processes = x\nset = y\nuid = no-such-user-x\nchroot = /z\n"),
        )
        .file("v/worse.ini", "[uwsgi]\nsocket = example.org:1\n");
    let said = place.run(&["check", "v/good.ini", "v/bad.ini", "v/worse.ini", "v/gone.ini"]);
    assert_eq!(said.status, 1);
    for told in [
        "liege: v/bad.ini:4: set: 'y' has no '='",
        "liege: v/bad.ini:3: processes: 'x' is not a number",
        "liege: v/bad.ini:5: uid: there is no user named 'no-such-user-x'",
        "liege: v/bad.ini:6: chroot: is not supported",
        "liege: v/worse.ini:2: socket: 'example.org'",
        "liege: v/worse.ini: nothing to run",
        "gone.ini",
    ] {
        assert!(said.err.contains(told), "{told} is missing in:\n{}", said.err);
    }
    assert_eq!(said.out, "4 checked, 3 with faults\n");
}

#[test]
fn check_reads_a_vassal_as_its_emperor_would() {
    let place = Place::new()
        .file(
            "vassals/app.ini",
            "[uwsgi]\ninclude = base.ini\nchdir = %d../vassals\nset-ph = a=%n\n",
        )
        .file("vassals/base.ini", GOOD)
        .file("vassals/notes.txt", "not a vassal")
        .file("vassals/bad.yml", "uwsgi:\n  privileged-binary-patch: /x\n  umask: 9\n");
    let said = place.run(&["check", "vassals"]);
    assert_eq!((said.status, said.out.as_str()), (1, "3 checked, 1 with faults\n"), "{}", said.err);
    assert!(
        said.err.contains("liege: vassals/bad.yml:3: umask: '9' is not a umask"),
        "{}",
        said.err
    );
}

#[test]
fn check_of_an_emperor_checks_all_its_vassals_with_their_templates() {
    let place = Place::new()
        .file(
            "e.ini",
            "[uwsgi]\nemperor = v\nvassals-set = port=8000\nvassals-include = %d/tail.ini\n",
        )
        .file("tail.ini", "[uwsgi]\nunprivileged-binary-patch-arg = sleep %(port)\n")
        .file("v/a.ini", "[uwsgi]\nhttp-socket = :%(port)\n")
        .file("v/b.ini", "[uwsgi]\nprocesses = -1\n");
    for args in [&["check", "e.ini"][..], &["--ini", "e.ini", "--check"]] {
        let said = place.run(args);
        assert_eq!(
            (said.status, said.out.as_str()),
            (1, "3 checked, 1 with faults\n"),
            "{}",
            said.err
        );
        assert!(said.err.contains("v/b.ini:2: processes: '-1' is not a number"), "{}", said.err);
    }
    let said = place.run(&["--emperor", "gone", "--check"]);
    assert!(said.status == 1 && said.err.contains("--emperor: "), "{}", said.err);
    assert!(said.err.contains("gone: No such file"), "{}", said.err);
}

#[test]
fn check_goes_on_to_the_vassals_of_an_emperor_that_has_faults_itself() {
    let place = Place::new()
        .file("e.ini", "[uwsgi]\nemperor = v\nemperor-throttle = fast\nset = x\nemperor = gone\n")
        .file("v/a.ini", GOOD)
        .file("v/b.ini", &format!("{GOOD}processes = -1\n"));
    for args in [&["check", "e.ini"][..], &["e.ini", "--check"]] {
        let said = place.run(args);
        for told in [
            "liege: e.ini:3: emperor-throttle: 'fast'",
            "liege: e.ini:4: set: 'x'",
            "liege: e.ini:5: emperor: ",
            "liege: v/b.ini:3: processes: '-1'",
        ] {
            assert!(said.err.contains(told), "{told} is missing in:\n{}", said.err);
        }
        assert_eq!((said.status, said.out.as_str()), (1, "4 checked, 3 with faults\n"));
    }
}

#[test]
fn a_template_that_is_wrong_is_told_once_at_the_line_that_names_it_to_the_vassals() {
    let place = Place::new()
        .file(
            "e.ini",
            "[uwsgi]\nemperor = v\nvassals-include = gone.ini\nvassals-inherit = %d/bad.ini\nvassals-set = \
             threads=x\n",
        )
        .file("bad.ini", "[uwsgi]\nprocesses = y\n")
        .file("v/a.ini", GOOD)
        .file("v/b.ini", GOOD);
    let said = place.run(&["check", "e.ini"]);
    for told in [
        "liege: e.ini:3: include: gone.ini: cannot open",
        "bad.ini:2: processes: 'y' is not a number (expected 0 to 2147483647) (included from e.ini:4)",
        "liege: e.ini:5: threads: 'x' is not a number",
    ] {
        assert_eq!(said.err.matches(told).count(), 1, "{told}, once, in:\n{}", said.err);
    }
    assert_eq!((said.status, said.out.as_str()), (1, "3 checked, 2 with faults\n"));
    let told: Value = serde_json::from_str(&place.run(&["check", "--json", "e.ini"]).out).unwrap();
    for vassal in [1, 2] {
        let fault = &told["files"][vassal]["faults"][0];
        assert_eq!((&fault["file"], &fault["line"]), (&json!("e.ini"), &json!(3)), "{told}");
    }
}

#[test]
fn a_command_that_never_ends_ends_the_check() {
    let place = Place::new().file("a.ini", &format!("{GOOD}env = A=@(exec://sleep 1000)\n"));
    let run = |command| {
        Command::new(env!("CARGO_BIN_EXE_liege"))
            .args([command, "a.ini"])
            .current_dir(place.path())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    for child in ["check", "config"].map(run) {
        let said = Said::from(child.wait_with_output().unwrap());
        let told = "liege: a.ini:3: env: @(exec://sleep 1000): the commands of this configuration take longer";
        assert!(said.err.starts_with(told), "{}", said.err);
        assert_eq!(said.status, 1);
    }
}

#[test]
fn a_start_tells_the_faults_of_reading_and_checking_together_twenty_of_them() {
    let place = Place::new().file("e.ini", "[uwsgi]\nemperor = .\nset = x\nemperor-throttle = y\n");
    let said = place.run(&["e.ini", "--zork", "--ini", "gone.ini", "-Z"]);
    assert_eq!(said.status, 1);
    let told = "liege: command line: --zork: is not an option\nliege: command line: -Z is not the letter of an option\n\
                liege: gone.ini: cannot open";
    assert!(said.err.starts_with(told), "{}", said.err);
    let said = place.run(&["e.ini"]);
    assert!(
        said.err.contains("e.ini:3: set: 'x'") && said.err.contains("e.ini:4: emperor-throttle")
    );
    let place =
        place.file("e.ini", &("[uwsgi]\nemperor = .\n".to_owned() + &"set = x\n".repeat(50)));
    let said = place.run(&["e.ini"]);
    assert_eq!(said.err.lines().count(), 21);
    assert!(said.err.ends_with("liege: 30 more faults; liege check tells all\n"), "{}", said.err);
}

#[test]
fn check_tells_the_slips_of_an_emperor_that_has_faults_too() {
    let text = "[uwsgi]\nemperor = .\nemperor-throttel = 5\nemperor-freq = x\n";
    let place = Place::new().file("v/e.ini", text);
    for name in ["v/e.ini", "v"] {
        let said = place.run(&["check", name]);
        assert!(said.err.contains("emperor-freq: 'x' is not a number of seconds"), "{}", said.err);
        assert!(said.err.contains("did you mean \"emperor-throttle\""), "{}", said.err);
    }
}

#[test]
fn what_is_wrong_with_a_file_as_a_whole_is_told_with_that_files_name() {
    let place = Place::new()
        .file("e.ini", "[uwsgi]\nemperor = v\nvassals-include-before = %d/head.ini\n")
        .file("head.ini", "[uwsgi]\nprocesses = 2\n")
        .file("v/empty.ini", "[uwsgi]\n")
        .file("v/large.ini", &"x".repeat(2 << 20));
    for args in [&["check", "v"][..], &["check", "v/empty.ini", "v/large.ini"], &["check", "e.ini"]]
    {
        let said = place.run(args);
        assert!(said.err.contains("liege: v/empty.ini: nothing to run"), "{}", said.err);
        assert!(said.err.contains(" v/large.ini: the file is longer"), "{}", said.err);
    }
}

#[test]
fn check_reads_an_emperor_among_the_vassals_as_one_and_refuses_one_that_governs_its_own_file() {
    let place = Place::new()
        .file("v/sub.ini", "[uwsgi]\nemperor = .\n")
        .file("v/bad.ini", "[uwsgi]\nemperor = w\nemperor-throttle = fast\n")
        .file("v/good.ini", "[uwsgi]\nemperor = ..\n");
    for args in [&["check", "v"][..], &["--emperor", "v", "--check"]] {
        let said = place.run(args);
        assert_eq!(said.status, 1);
        assert!(said.err.contains("v/bad.ini:3: emperor-throttle"), "{}", said.err);
        assert!(
            said.err.contains("sub.ini:2: emperor: this file is in the directory that it governs"),
            "{}",
            said.err
        );
        assert!(!said.err.contains("good.ini"), "{}", said.err);
    }
    assert_eq!(place.run(&["check", "v/sub.ini"]).status, 1);
    // A name that is none of a vassal does no harm.
    let place =
        Place::new().file("v/emperor.conf", "[uwsgi]\nemperor = .\n").file("v/.sub.ini", "x");
    assert_eq!(place.run(&["check", "v/emperor.conf"]).status, 0);
    assert_eq!(place.run(&["check", "v"]).out, "0 checked, 0 with faults\n");
}

/// The faults and warnings of one vassal file, by its lines; `$DIR` stands for the directory.
fn looked_at(lines: &str) -> Said {
    let place = Place::new()
        .file("plain", "")
        .file("bad", "#!/no/such/interpreter\n")
        .file("crlf", "#!/bin/sh\r\n");
    for name in ["bad", "crlf"] {
        fs::set_permissions(place.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let text = format!("[uwsgi]\n{lines}\n").replace("$DIR", place.path().to_str().unwrap());
    let place = place.file("v/a.ini", &text);
    let before = listed(place.path());
    let said = place.run(&["check", "v"]);
    assert_eq!(listed(place.path()), before, "{lines}: the check has changed something");
    said
}

fn listed(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut all: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.extend(fs::read_dir(dir.join("v")).unwrap().map(|entry| entry.unwrap().path()));
    all.sort();
    all
}

#[test]
fn check_finds_what_the_start_would_stumble_over() {
    let sockets = "socket = 127.0.0.1:0\n".repeat(17);
    let long = format!("command = sleep {}", "x".repeat(128 << 10));
    let variable = format!("command = sleep 1\nenv = A={}", "x".repeat(128 << 10));
    for (lines, told) in [
        (
            "command = no-such-program-x",
            "a.ini:2: command: cannot execute no-such-program-x: No such file",
        ),
        ("command = $DIR/plain", "plain: Permission denied"),
        ("command = $DIR/bad", "its interpreter /no/such/interpreter: No such file"),
        ("command = $DIR/crlf", "plain line ends"),
        ("command = sleep 1\nchdir = $DIR/none", "a.ini:3: chdir: cannot enter"),
        ("command = sleep 1\nlogto = $DIR/none/log", "a.ini:3: logto: cannot write"),
        ("command = sleep 1\nlogto = $DIR/v", "name a file, not a directory"),
        ("command = sleep 1\npidfile = none/pid", "a.ini:3: pidfile: cannot write"),
        ("command = sleep 1\nsocket = $DIR/none/a.sock", "none first"),
        ("command = sleep 1\nsocket = $DIR/plain", "a.ini:3: socket: "),
        (&format!("command = sleep 1\n{sockets}"), "a.ini:19: socket: too many sockets"),
        (&long, "an argument is longer than the 128 KiB"),
        (&variable, "a.ini:3: env: the variable is longer"),
        ("command = sleep 'one", "the shell cannot read this command"),
        ("command = sleep 1 | cat \"x", "the shell cannot read this command"),
        ("command = if true; then sleep 1", "the shell cannot read this command"),
    ] {
        let said = looked_at(lines);
        let short: String = lines.chars().take(60).collect();
        assert_eq!(said.status, 1, "{short}: {}", said.err);
        assert!(said.err.contains(told), "{short}: {}", said.err);
    }
    for good in [
        "command = sleep 1\nlogto = /dev/stdout\npidfile = $DIR/pid\nsocket = $DIR/a.sock\nchdir = $DIR",
        "command = sleep 1 | cat 'x' > $DIR/never",
        "command = sleep 1\nsocket = 127.0.0.1:0\nsocket = :0",
    ] {
        let said = looked_at(good);
        assert_eq!(
            (said.status, said.err.lines().filter(|line| !line.contains("uid")).count()),
            (0, 0),
            "{good}: {}",
            said.err
        );
    }
}

#[test]
fn check_tells_two_vassals_with_one_address_and_an_address_in_use() {
    let vassal = |address: &str| format!("{GOOD}socket = {address}\n");
    for (one, other, is_told) in [
        (":18771", "127.0.0.1:18771", true),
        ("[::1]:18772", "[::1]:18772", true),
        ("a.sock", "./b/../a.sock", false),
        ("a.sock", "a.sock", true),
        ("@name-x", "@name-x", true),
        ("127.0.0.1:18773", "127.0.0.2:18773", false),
        (":0", ":0", false),
    ] {
        let place = Place::new()
            .file("v/one.ini", &vassal(one))
            .file("v/two.ini", &vassal(other))
            .file("v/b/x", "");
        let said = place.run(&["check", "v"]);
        assert_eq!(
            said.err.contains("v/two.ini:3: socket: v/one.ini has this address already"),
            is_told,
            "{one} {other}: {}",
            said.err
        );
        assert_eq!(said.status == 1, is_told);
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let said = Place::new().file("v/one.ini", &vassal(&taken)).run(&["check", "v"]);
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(
        said.err
            .contains(&format!("warning: v/one.ini:3: socket: process {} (", std::process::id())),
        "{}",
        said.err
    );
}

#[test]
fn check_of_an_emperor_with_binary_path_leaves_the_files_to_that_program() {
    let place =
        Place::new().file("emperor.ini", "[uwsgi]\nemperor = v\nbinary-path = /bin/true\n").file(
            "v/django.ini",
            "[uwsgi]\nmodule = shop.wsgi\nsocket = none/a.sock\nchroot = /none\n",
        );
    let said = place.run(&["check", "emperor.ini"]);
    assert_eq!((said.status, said.out.as_str()), (0, "2 checked, 0 with faults\n"), "{}", said.err);
    let said = place.run(&["check", "v"]);
    assert!(said.status == 1 && said.err.contains("check the emperor's own file"), "{}", said.err);
    let place = place.file("emperor.ini", "[uwsgi]\nemperor = v\nbinary-path = /no/such/uwsgi\nlogto = none/log\nuid = no-such-user-x\n");
    let said = place.run(&["check", "emperor.ini"]);
    assert!(said.err.contains("5: uid: there is no user named"), "{}", said.err);
    let place = place.file(
        "emperor.ini",
        "[uwsgi]\nemperor = v\nbinary-path = /no/such/uwsgi\nlogto = none/log\n",
    );
    let said = place.run(&["check", "emperor.ini"]);
    assert!(said.err.contains("3: binary-path: cannot execute /no/such/uwsgi"), "{}", said.err);
    assert!(said.err.contains("4: logto: cannot write none/log"), "{}", said.err);
}

#[test]
fn check_by_root_looks_as_the_user_of_the_vassal() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("skipped: changing the user needs root");
        return;
    }
    let place = Place::new().file("tool", "#!/bin/sh\n").file("closed/x", "");
    for (name, mode) in [("tool", 0o700), ("closed", 0o700), (".", 0o755)] {
        fs::set_permissions(place.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let dir = place.path().to_str().unwrap().to_owned();
    let lines = |uid: u32| format!("[uwsgi]\ncommand = {dir}/tool\nuid = {uid}\ngid = {uid}\n");
    let place = place
        .file("v/tool.ini", &lines(54321))
        .file("v/chdir.ini", &format!("{GOOD}uid = 54321\ngid = 54321\nchdir = {dir}/closed\n"))
        .file("w/tool.ini", &lines(0));
    let said = place.run(&["check", "v"]);
    assert_eq!(said.out, "2 checked, 2 with faults\n", "{}", said.err);
    assert!(said.err.contains("tool.ini:2: command: cannot execute"), "{}", said.err);
    assert!(said.err.contains("chdir.ini:5: chdir: cannot enter"), "{}", said.err);
    assert_eq!(place.run(&["check", "w"]).status, 0);
}

#[test]
fn a_name_service_that_hangs_does_not_hang_the_check() {
    if fs::metadata("/proc/self").unwrap().uid() != 0
        || Command::new("unshare").args(["-m", "true"]).status().map_or(true, |it| !it.success())
    {
        eprintln!("skipped: a mount needs root");
        return;
    }
    let place = Place::new().file("getent", "#!/bin/sh\nexec sleep 1000\n");
    fs::set_permissions(place.path().join("getent"), fs::Permissions::from_mode(0o755)).unwrap();
    let users: String = (0..5).map(|number| format!("add-gid = nobody-{number}\n")).collect();
    let place = place.file("v/a.ini", &format!("{GOOD}uid = no-such-user-x\n{users}"));
    let began = std::time::Instant::now();
    let script = format!(
        "mount --bind getent /usr/bin/getent && exec {} check v",
        env!("CARGO_BIN_EXE_liege")
    );
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .current_dir(place.path())
        .output();
    let said = Said::from(output.unwrap());
    assert!(said.err.contains("cannot be found out"), "{}", said.err);
    assert!(began.elapsed() < std::time::Duration::from_secs(25), "{:?}", began.elapsed());
}

#[test]
fn check_speaks_json_to_programs() {
    let place = Place::new()
        .file("a.ini", &format!("{GOOD}processes = x\nmodule = y\n"))
        .file("b.ini", GOOD);
    let said = place.run(&["check", "--json", "a.ini", "b.ini"]);
    assert_eq!((said.status, said.err.as_str()), (1, ""));
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(told["files"][0]["good"], false);
    let fault = &told["files"][0]["faults"][0];
    assert_eq!(
        (&fault["file"], &fault["line"], &fault["option"]),
        (&json!("a.ini"), &json!(3), &json!("processes"))
    );
    assert!(fault["message"].as_str().unwrap().contains("'x' is not a number"));
    assert_eq!(
        told["files"][1],
        json!({"file": "b.ini", "good": true, "faults": [], "warnings": []})
    );
}

#[test]
fn config_shows_what_a_file_resolves_to() {
    let place = Place::new().file("v/a.ini", "[uwsgi]\nname = %n\nenv = A=%(name)\n");
    let said = place.run(&["config", "v/a.ini"]);
    assert_eq!(said.out, "[uwsgi]\nini = a.ini\nname = a\nenv = A=a\n;end of configuration\n");
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    let said = place.run(&["config", "--json", "v/a.ini"]);
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(told[2], json!({"name": "env", "value": "A=a", "file": "v/a.ini", "line": 3}));
    assert_eq!(told[0]["source"], "command line");
}

#[test]
fn the_resolved_list_is_shown_without_any_side_effect() {
    let place = Place::new().file(
        "a.ini",
        &format!("{GOOD}socket = a.sock\npidfile = a.pid\nlogto = a.log\nprint = hello\n"),
    );
    let said = place.run(&["--show-config-json", "a.ini"]);
    assert_eq!(said.status, 0, "{}", said.err);
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(told[1], json!(["socket", "a.sock"]));
    assert_eq!(place.run(&["a.ini", "--get", "pidfile"]).out, "a.pid\n");
    assert_eq!(place.run(&["a.ini", "--get", "nothing"]).out, "");
    let names: Vec<_> =
        fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["a.ini"]);
}

#[test]
fn a_vassal_that_is_started_by_hand_is_read_once() {
    let text =
        "[uwsgi]\nunprivileged-binary-patch-arg = echo hello @(exec://echo x >> ran; echo you)\n";
    let place = Place::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_liege"))
        .arg("-")
        .current_dir(place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!(said.out, "hello you\n", "{}", said.err);
    assert_eq!(fs::read_to_string(place.path().join("ran")).unwrap(), "x\n");
}

#[test]
fn a_check_runs_no_command_in_a_strangers_file() {
    let place =
        Place::new().file("a.ini", &format!("{GOOD}env = A=@(exec://echo x >> ran; echo 1)\n"));
    assert_eq!(place.run(&["check", "a.ini"]).status, 0);
    assert_eq!(fs::read_to_string(place.path().join("ran")).unwrap(), "x\n", "once");
    fs::remove_file(place.path().join("ran")).unwrap();
    if std::os::unix::fs::chown(place.path().join("a.ini"), Some(12345), None).is_err() {
        println!("skipped: only root can give a file away");
        return;
    }
    for command in ["check", "config"] {
        let said = place.run(&[command, "a.ini"]);
        assert_eq!(said.status, 1);
        assert!(
            said.err.contains("a.ini:3: env: ") && said.err.contains("another user"),
            "{}",
            said.err
        );
    }
    assert!(!place.path().join("ran").exists());
}

#[test]
fn what_is_not_there_is_told_as_it_was_written() {
    let place = Place::new();
    for name in ["gone", "gone.ini", "v/gone.yml"] {
        for command in ["check", "config"] {
            let said = place.run(&[command, name]);
            assert!(said.err.starts_with(&format!("liege: {name}: cannot open ")), "{}", said.err);
        }
    }
    let said = place.run(&[]);
    assert_eq!(
        said.err,
        "liege: command line: nothing to do: say --emperor DIR, or name a file; liege --help tells more\n"
    );
    assert_eq!(said.status, 1);
}

#[test]
fn wrong_use_of_a_command_is_status_2() {
    let place = Place::new().file("a.ini", GOOD);
    for args in [
        &["check"][..],
        &["check", "--zork", "a.ini"],
        &["check", "-x", "a.ini"],
        &["config", "-h"],
        &["config"],
        &["config", "a.ini", "b.ini"],
        &["--man", "gone.8.in"],
    ] {
        let said = place.run(args);
        assert_eq!(said.status, 2, "{args:?}: {}", said.err);
        assert!(said.err.starts_with("liege: "), "{args:?}");
    }
    assert_eq!(place.run(&["check", "--", "a.ini"]).status, 0);
}

#[test]
fn help_and_version_need_nothing_else() {
    let place = Place::new();
    assert_eq!(place.run(&["--version"]).out, concat!("liege ", env!("CARGO_PKG_VERSION"), "\n"));
    for args in [&["--help"][..], &["-h"], &["--ini", "gone.ini", "--help"], &["--help-all"]] {
        let said = place.run(args);
        assert_eq!(said.status, 0);
        assert!(said.out.contains("--emperor DIR"), "{args:?}");
    }
    let template = place.file("x.8.in", ".Sh OPTIONS\n.\\\" @OPTIONS emperor@\n");
    assert!(template.run(&["--man", "x.8.in"]).out.contains(".It Fl Fl emperor Ar DIR\n"));
}

#[test]
fn check_sees_the_variables_that_a_vassal_gets_and_no_others() {
    let place = Place::new()
        .file(
            "v/a.ini",
            &format!("{GOOD}set-ph = imperial-processes=1\nthreads = %(imperial-processes)\n"),
        )
        .file("emperor.ini", "[uwsgi]\nemperor = v\nunprivileged-binary-patch-arg = x\n");
    for (name, is_seen) in [
        ("UWSGI_PROCESSES", true),
        ("UWSGI_VASSAL_PROCESSES", true),
        ("UWSGI_IMPERIAL_PROCESSES", false),
    ] {
        let mut check = Command::new(env!("CARGO_BIN_EXE_liege"));
        check.args(["check", "v/a.ini"]).current_dir(place.path()).env_clear().env(name, "x");
        let said = Said::from(check.output().unwrap());
        assert_eq!(said.status == 1, is_seen, "{name}: {}", said.err);
        let mut start = Command::new(env!("CARGO_BIN_EXE_liege"));
        start.args(["--ini", "emperor.ini"]).current_dir(place.path()).env_clear().env(name, "1");
        let said = Said::from(start.output().unwrap());
        assert!(!said.err.contains("UWSGI_IMPERIAL"), "{}", said.err);
    }
}

#[test]
fn check_of_an_emperor_judges_its_vassals_as_the_user_that_it_becomes() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("skipped: changing the user needs root");
        return;
    }
    let place = Place::new()
        .file("e.ini", "[uwsgi]\nemperor = v\nuid = 54321\ngid = 54321\nenv = WHO=of the emperor\n")
        .file("root.ini", "[uwsgi]\nemperor = v\n")
        .file("v/same.ini", &format!("{GOOD}uid = 54321\ngid = 54321\n"))
        .file("v/other.ini", &format!("{GOOD}uid = 54999\ngid = 54999\n"))
        .file("v/socket.ini", &format!("{GOOD}socket = x.sock\n"))
        .file("v/log.ini", &format!("{GOOD}logto = %d../roots.log\n"))
        .file("v/closed.ini", GOOD)
        .file("v/who.ini", &format!("{GOOD}env = A=@(exec://sh who)\nchdir = /none/%u\n"))
        .file("v/who", "(id -u; id -ru; id -G; echo $WHO) > out/who; echo > made || true")
        .file("v/out/x", "")
        .file("roots.log", "");
    for (name, mode) in [(".", 0o755), ("v", 0o755), ("v/closed.ini", 0o600), ("v/out", 0o777)] {
        fs::set_permissions(place.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for args in [&["check", "e.ini"][..], &["--ini", "e.ini", "--check"]] {
        let said = place.run(args);
        let told =
            |text: &str| assert!(said.err.contains(text), "{text} is missing:\n{}", said.err);
        told("v/other.ini:3: uid: cannot become user 54999: liege runs as user 54321");
        told("v/other.ini:4: gid: cannot become group 54999");
        told("v/socket.ini:3: socket: cannot bind");
        told("v/log.ini:3: logto: cannot write");
        told("v/closed.ini: cannot open");
        told("v/who.ini:4: chdir: cannot enter /none/54321");
        let who = place.path().join("v/out/who");
        assert_eq!(fs::read_to_string(&who).unwrap(), "54321\n54321\n54321\nof the emperor\n");
        fs::remove_file(who).unwrap();
        assert!(!place.path().join("v/made").exists());
        assert!(!said.err.contains("same.ini"), "{}", said.err);
        assert_eq!(said.out, "7 checked, 5 with faults\n", "{}", said.err);
    }
    // What comes behind it is judged as root again.
    let said = place.run(&["check", "e.ini", "v/log.ini", "root.ini"]);
    assert_eq!(said.out, "15 checked, 6 with faults\n", "{}", said.err);
}

#[test]
fn an_address_file_takes_part_in_the_search_for_equal_addresses() {
    let emperor = "[uwsgi]\nemperor = v\nemperor-on-demand-extension = .socket\n";
    for (address, is_told) in [
        ("127.0.0.1:18775\n", true),
        ("# the blog\n:18775 # for all\n", true),
        ("127.0.0.1:18776", false),
    ] {
        let place = Place::new()
            .file("e.ini", emperor)
            .file("v/one.ini", &format!("{GOOD}socket = 127.0.0.1:18775\n"))
            .file("v/two.ini", GOOD)
            .file("v/two.ini.socket", address);
        let said = place.run(&["check", "e.ini"]);
        let text = "v/two.ini.socket: v/one.ini has this address already (v/one.ini:3 socket)";
        assert_eq!(said.err.contains(text), is_told, "{address}: {}", said.err);
        assert_eq!(said.status == 1, is_told, "{}", said.err);
    }
    // Names count from the directory that the emperor enters, and a socket's from that of the vassal.
    let place = Place::new()
        .file("e.ini", &format!("{emperor}chdir = below\n"))
        .file("below/v/one.ini", &format!("{GOOD}socket = a.sock\n"))
        .file("below/v/two.ini", GOOD)
        .file("below/v/two.ini.socket", "./a.sock");
    let said = place.run(&["check", "e.ini"]);
    assert!(said.err.contains("v/two.ini.socket: v/one.ini has this address"), "{}", said.err);
    // Without the option it is a file like any other.
    let place = Place::new()
        .file("e.ini", "[uwsgi]\nemperor = v\n")
        .file("v/one.ini", &format!("{GOOD}socket = a.sock\n"))
        .file("v/two.ini", GOOD)
        .file("v/two.ini.socket", "a.sock");
    assert_eq!(place.run(&["check", "e.ini"]).status, 0);
    // What holds no address is told.
    let place = place.file("e.ini", emperor).file("v/two.ini.socket", "12345");
    let said = place.run(&["check", "e.ini"]);
    assert!(
        said.err.contains("v/two.ini.socket: its address file holds no address"),
        "{}",
        said.err
    );
}
