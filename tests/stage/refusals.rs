//! Bad input: each has its step, its place and a sentence, and leaves nothing behind.

use super::*;
use liege::spawn::step::Step;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// The fault of a stage whose vassal file has these lines.
fn fault(lines: &[&str]) -> StageFault {
    stage(lines).start().error(1)
}

#[test]
fn what_is_wrong_is_told_with_step_place_and_remedy() {
    let (_taken, address) = tcp();
    let taken = format!("socket = {address}");
    #[rustfmt::skip]
    let table: &[(&str, &str, &str, &str)] = &[
        ("uid = nobody-has-this-name", "read", "a.ini:3 uid", "not found"),
        ("uid = 4294967295", "read", "a.ini:3 uid", "4294967295"),
        ("uid = -1", "read", "a.ini:3 uid", "-1"),
        ("uid = 0x0", "read", "a.ini:3 uid", "0x0"),
        ("gid = nobody-has-this-name", "read", "a.ini:3 gid", "not found"),
        ("add-gid = nobody-has-this-name", "read", "a.ini:3 add-gid", "not found"),
        ("chown-socket = nobody-has-this-name", "read", "a.ini:3 chown-socket", "not found"),
        ("umask = 9", "read", "a.ini:3 umask", ""),
        ("chmod-socket = 0660", "read", "a.ini:3 chmod-socket", ""),
        ("stop-signal = NOSUCH", "read", "a.ini:3 stop-signal", ""),
        ("include = missing.ini", "read", "a.ini:3 include", "missing.ini"),
        ("socket = =0", "read", "a.ini:3 socket", "no shared-socket"),
        (&taken, "bind", "a.ini:3 socket", "stop the program that listens there"),
        ("socket = no/such/dir/a.sock", "bind", "a.ini:3 socket", "create no/such/dir first"),
        ("http-socket = 192.0.2.1:80", "bind", "a.ini:3 http-socket", "no interface"),
        ("socket = fd://99", "bind", "a.ini:3 socket", "descriptor 99"),
        ("socket = ::", "bind", "a.ini:3 socket", "descriptor 0 is not a listening socket"),
        ("chdir = /no/such/directory", "chdir", "a.ini:3 chdir", "No such file or directory"),
        ("chdir = a.ini", "chdir", "a.ini:3 chdir", "Not a directory"),
        ("logto = no/such/dir/log", "log", "a.ini:3 logto", "create no/such/dir first"),
        ("logto = 127.0.0.1:514", "read", "a.ini:3 logto", "Name a file"),
        ("pidfile = no/such/dir/pid", "pidfile", "a.ini:3 pidfile", "create no/such/dir first"),
    ];
    for (line, step, origin, message) in table {
        let fault = fault(&[SLEEP, line]);
        assert_eq!(
            (fault.step.as_str(), fault.origin.as_str()),
            (*step, *origin),
            "{line}: {fault:?}"
        );
        assert!(fault.message.contains(message), "{line}: {fault:?}");
    }
}

#[test]
fn what_fails_first_is_the_step_that_comes_first() {
    // One more is right each time.
    let faulty = [
        "umask = 9",
        "logto = no/such/dir/log",
        "pidfile = no/such/dir/pid",
        "socket = no/such/dir/a.sock",
        "chdir = /no/such/directory",
    ];
    let mut steps = Vec::new();
    for first in 0..faulty.len() {
        let lines: Vec<_> = [SLEEP].iter().chain(&faulty[first..]).copied().collect();
        let told = stage(&lines).start().error(1).step;
        let step = Step::ALL.into_iter().find(|step| step.name() == told);
        steps.push(step.unwrap_or_else(|| panic!("{told} is not a step")));
    }
    assert_eq!(steps.len(), 5);
    assert!(steps.windows(2).all(|pair| pair[0] < pair[1]), "{steps:?}");
}

#[test]
fn all_faults_of_a_file_are_told_at_once() {
    let fault = fault(&["umask = 9", "listen = many", "socket = 1.2.3.4:99999"]);
    assert_eq!(fault.origin, "a.ini:2 umask");
    let more = fault.more.join("\n");
    for expected in ["a.ini:3: listen", "a.ini:4: socket", "nothing to run"] {
        assert!(more.contains(expected), "{expected} in {more}");
    }
}

#[test]
fn a_vassal_without_a_program_has_nothing_to_run() {
    for lines in [&[][..], &["http-socket = 127.0.0.1:0"], &["; only a comment"]] {
        assert!(fault(lines).message.contains("nothing to run"));
    }
}

#[test]
fn a_file_that_is_no_readable_text_is_refused_at_once() {
    let refused = |prepare: &dyn Fn(&Path)| {
        let setup = stage(&[SLEEP]);
        let file = setup.path("a.ini");
        fs::remove_file(&file).unwrap();
        prepare(&file);
        let begun = Instant::now();
        let fault = setup.start().error(1);
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!(fault.step, "read", "{fault:?}");
        assert!(format!("{} {}", fault.origin, fault.message).contains("a.ini"), "{fault:?}");
        fault.message
    };
    refused(&|_| {});
    refused(&|path| fs::create_dir(path).unwrap());
    refused(&|path| {
        let made = Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    });
    refused(&|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()));
    refused(&|path| std::os::unix::fs::symlink("/dev/zero", path).unwrap());
    refused(&|path| fs::write(path, "").unwrap());
    refused(&|path| {
        // Ten mebibytes that compress badly, from a generator without state worth a crate.
        let mut seed = 1u32;
        let noise = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        });
        fs::write(path, noise.take(10 << 20).collect::<Vec<_>>()).unwrap();
    });
    refused(&|path| {
        fs::write(path, b"[uwsgi]\nunprivileged-binary-patch-arg = \xff\xfe\n").unwrap()
    });
    refused(&|path| fs::write(path, b"[uwsgi]\nunprivileged-binary-patch-arg = a\0b\n").unwrap());
}

#[test]
fn a_file_that_may_not_be_read_is_refused() {
    let mut setup = stage(&[SLEEP]);
    fs::set_permissions(setup.path("a.ini"), fs::Permissions::from_mode(0o000)).unwrap();
    if is_root() {
        if !is_reachable_by_all() {
            eprintln!(
                "skipped: root may read everything, and no other user can execute the program"
            );
            return;
        }
        setup = setup.run_by(NOBODY);
    }
    let fault = setup.start().error(1);
    assert_eq!(fault.step, "read");
    assert!(fault.message.contains("ermission denied"), "{fault:?}");
}

#[test]
fn a_program_that_cannot_be_executed_is_told_after_the_verdict_with_its_place() {
    #[rustfmt::skip]
    let table: &[(&str, i32, i32)] = &[
        ("./missing", 2, 127),
        ("no-such-program-in-path", 2, 127),
        ("./a.ini/below", 20, 127),
        ("./plain", 13, 126),
        ("./", 13, 126),
        ("./noise", 8, 126),
        ("./missing-interpreter", 2, 127),
    ];
    for (program, errno, status) in table {
        for option in ["unprivileged-binary-patch-arg", "privileged-binary-patch"] {
            let setup = stage(&[&format!("{option} = {program}"), "socket = 127.0.0.1:0"]);
            fs::write(setup.path("plain"), "text").unwrap();
            fs::set_permissions(setup.path("plain"), fs::Permissions::from_mode(0o644)).unwrap();
            executable(&setup.path("noise"), "\u{1}\u{2}\u{3}noise");
            executable(&setup.path("missing-interpreter"), "#!/no/such/interpreter\n");
            let mut stage = setup.start();
            let said = stage.said();
            let [(FromStage::Verdict(Verdict::Exec(settings)), _), (failed, _)] = said.as_slice()
            else {
                panic!("{program}: {said:?}");
            };
            assert_eq!((settings.argv0.as_str(), settings.run.listeners), (*program, 1));
            let FromStage::Verdict(Verdict::Error(fault)) = failed else {
                panic!("{program}: {failed:?}")
            };
            assert_eq!((&*fault.step, &*fault.origin), ("exec", &*format!("a.ini:2 {option}")));
            let reason = std::io::Error::from_raw_os_error(*errno).to_string();
            assert!(
                fault.message.contains(program) && fault.message.contains(&reason),
                "{fault:?}"
            );
            assert_eq!(stage.wait(), ExitStatus::Code(*status), "{program}");
        }
    }
}

#[test]
fn under_a_foreign_emperor_faults_go_to_stderr_and_the_status_is_1() {
    let said = |lines: &[&str], status: i32| {
        let mut stage = stage(lines).foreign().start();
        assert_eq!(stage.wait(), ExitStatus::Code(status));
        stage.stderr()
    };
    assert_eq!(
        said(&[SLEEP, "chdir = /no/such/directory"], 1).lines().next_back().unwrap(),
        "liege: a.ini:3 chdir: cannot enter /no/such/directory: No such file or directory (os error 2); create it first, or correct the path"
    );
    let two = said(&["umask = 9", "listen = many", SLEEP], 1);
    assert!(
        two.contains("liege: a.ini:2 umask: ") && two.contains("liege: a.ini:3: listen"),
        "{two}"
    );
    let exec = said(&["unprivileged-binary-patch-arg = ./missing"], 127);
    assert!(
        exec.contains("a.ini:2 unprivileged-binary-patch-arg: cannot execute ./missing"),
        "{exec}"
    );
}

#[test]
fn text_from_a_file_cannot_speak_to_the_terminal() {
    let mut stage = stage(&["unprivileged-binary-patch = ./\u{1b}[31mx"]).foreign().start();
    stage.wait();
    let said = stage.stderr();
    assert!(said.contains("\\x1b[31m") && !said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn a_stage_without_an_emperor_that_takes_its_verdict_ends_and_starts_no_program() {
    let mut setup = stage(&["unprivileged-binary-patch-arg = touch started"]);
    let mut spawner = setup.spawner();
    let (pipe, their_pipe) = socket::stream_pair().unwrap();
    let (status, their_status) = socket::packet_pair().unwrap();
    drop((pipe, status));
    let order = SpawnerOrder::Start(setup.order.clone());
    let made = spawner.order(&order, &[their_pipe, their_status]).unwrap();
    assert_eq!(made.wait(), ExitStatus::Code(1));
    assert!(!setup.path("started").exists());
}

#[test]
fn a_vassal_file_with_an_odd_name_is_read_like_any_other() {
    for name in [
        &b"-leading.ini"[..],
        b"blank name.ini",
        b"q\"'.ini",
        b"per%cent.ini",
        b"\xff\xfe.ini",
        b"new\nline.ini",
    ] {
        let setup = stage(&[SLEEP]);
        let name = OsString::from_vec(name.to_vec());
        fs::rename(setup.path("a.ini"), setup.dir.path().join(&name)).unwrap();
        let mut stage = setup.order(|order| order.vassal.name = name.clone()).start();
        let (settings, _) = stage.exec();
        assert_eq!(settings.argv0, "sleep", "{name:?}");
    }
}
