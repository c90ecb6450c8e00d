//! What the program finds: arguments, environment, descriptors, signals, identity, files.

use super::*;
use liege::types::run_settings::Restart;

#[test]
fn the_program_has_the_pid_of_the_stage_and_its_words_as_a_shell_would_split_them() {
    let mut stage = stage(&[r#"unprivileged-binary-patch-arg = exec sleep '600' "0" "#]).start();
    let (settings, fds) = stage.exec();
    assert_eq!(settings.argv0, "sleep");
    assert!(fds.is_empty());
    assert_eq!(stage.words("cmdline"), ["sleep", "600", "0"]);
}

#[test]
fn a_text_that_needs_a_shell_gets_one() {
    let shell = "unprivileged-binary-patch-arg = X=600; exec sleep $X";
    let mut stage = stage(&[shell]).start();
    assert_eq!(stage.exec().0.argv0, "/bin/sh -c X=600; exec sleep $X");
    stage.becomes("sleep");
    assert_eq!(stage.words("cmdline"), ["sleep", "600"]);
}

#[test]
fn binsh_names_the_shell_and_the_first_that_can_be_executed_is_taken() {
    let text = "unprivileged-binary-patch-arg = exec sleep $N";
    let mut setup = stage(&["binsh = /no/such/shell", "binsh = ./mysh", text]);
    executable(&setup.path("mysh"), "#!/bin/sh\nN=600 exec /bin/sh \"$@\"\n");
    setup = setup.env("N", "1");
    let mut stage = setup.start();
    stage.exec();
    stage.becomes("sleep");
    assert_eq!(stage.words("cmdline"), ["sleep", "600"]);
}

#[test]
fn a_patched_binary_gets_the_arguments_of_the_vassal() {
    for option in ["privileged-binary-patch", "unprivileged-binary-patch"] {
        let mut setup = stage(&[&format!("{option} = ./app")]);
        executable(
            &setup.path("app"),
            "#!/bin/sh\nprintf '%s\\n' \"$0\" \"$@\" > args\nexec sleep 600\n",
        );
        setup.template.after = vec![c"--set".into(), c"x=y z".into()];
        let mut stage = setup.start();
        assert_eq!(stage.exec().0.argv0, "./app");
        stage.becomes("sleep");
        assert_eq!(file_text(&stage.path("args")), "./app\n--ini\na.ini\n--set\nx=y z\n");
    }
}

#[test]
fn programs_are_looked_up_in_the_path_of_the_vassal_file() {
    let setup =
        stage(&["unprivileged-binary-patch-arg = only-here", "env = PATH=./bin:/usr/bin:/bin"]);
    fs::create_dir(setup.path("bin")).unwrap();
    executable(&setup.path("bin/only-here"), "#!/bin/sh\nexec sleep 600\n");
    let mut stage = setup.start();
    stage.exec();
    stage.becomes("sleep");
}

#[test]
fn nothing_but_what_was_promised_is_open() {
    let mut setup = stage(&[SLEEP]);
    setup.extra.push(("LEAK".into(), leak()));
    let mut stage = setup.start();
    stage.exec();
    let fds = stage.fds();
    assert_eq!(fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(fds[&0], "/dev/null");
    assert!(fds[&3].starts_with("socket:"));
    assert_eq!(stage.environment()["UWSGI_EMPEROR_FD"], "3");
    // It is the emperor's pipe and it works: what is sent here waits there.
    let pipe = stage.pipe.take().unwrap();
    assert_eq!(socket::send(pipe.as_fd(), &[1]).unwrap(), 1);
}

#[test]
fn the_environment_is_that_of_the_emperor_without_what_is_meant_for_others() {
    let mut setup = stage(&[
        SLEEP,
        "env = A=1",
        "env = A=two = 2",
        "unenv = GONE",
        "env = EMPTY=",
        "processes = 4",
        "threads = 8",
    ])
    .env("GONE", "x")
    .env("KEPT", "here");
    for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC"] {
        setup = setup.env(name, "poison");
    }
    setup = setup.env("UWSGI_RELOADS", "1").env("UWSGI_ORIGINAL_PROC_NAME", "poison");
    let mut stage = setup.env("SERVER_STARTER_PORT", "poison").start();
    stage.exec();
    let env = stage.environment();
    assert!(!env.values().any(|value| value == "poison"), "{env:?}");
    for (name, value) in [
        ("A", "two = 2"),
        ("EMPTY", ""),
        ("KEPT", "here"),
        ("WEB_CONCURRENCY", "4"),
        ("LIEGE_PROCESSES", "4"),
        ("LIEGE_THREADS", "8"),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
    for name in
        ["GONE", "LIEGE_STATUS_FD", "UWSGI_RELOADS", "UWSGI_ORIGINAL_PROC_NAME", "LISTEN_FDS"]
    {
        assert!(!env.contains_key(name), "{name}");
    }
}

#[test]
fn all_signals_are_default_and_unblocked_whatever_liege_was_started_with() {
    let mut setup = stage(&[SLEEP]);
    let poison = ["--ignore-signal=HUP,TERM,PIPE,USR1", "--block-signal=TERM,USR2,INT,CHLD"];
    let works = Command::new("env").args(poison).arg("true").status();
    if !works.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this env(1) cannot block signals");
        return;
    }
    setup.command = program("env");
    setup.command.args(poison).args([env!("CARGO_BIN_EXE_liege"), "spawner"]);
    let mut stage = setup.start();
    stage.exec();
    for mask in ["SigBlk", "SigIgn", "SigCgt"] {
        assert_eq!(stage.status_line(mask), "0000000000000000", "{mask}");
    }
}

#[test]
fn privileges_are_dropped_to_the_user_its_group_and_its_groups() {
    if !is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let daemon = "1 1 1 1";
    #[rustfmt::skip]
    let table: &[(&[&str], &str, &str, &str)] = &[
        (&["uid = daemon", "gid = daemon"], daemon, daemon, "1"),
        (&["uid = 1", "gid = 1", "add-gid = 7", "add-gid = daemon", "add-gid = 9"], daemon, daemon, "1 7 9"),
        (&["uid = daemon", "gid = 5", "no-initgroups = true", "add-gid = 9"], daemon, "5 5 5 5", "9"),
        (&["uid = daemon"], daemon, daemon, "1"),
        (&["uid = 64999"], "64999 64999 64999 64999", "64999 64999 64999 64999", "64999"),
        (&["gid = 9"], "0 0 0 0", "9 9 9 9", ""),
        (&["uid = 0", "gid = 0"], "0 0 0 0", "0 0 0 0", "0"),
    ];
    for (lines, uid, gid, groups) in table {
        let mut stage = stage(&[lines, &[SLEEP][..]].concat()).start();
        stage.exec();
        assert_eq!(stage.status_line("Uid"), *uid, "{lines:?}");
        assert_eq!(stage.status_line("Gid"), *gid, "{lines:?}");
        assert_eq!(stage.status_line("Groups"), *groups, "{lines:?}");
        if !uid.starts_with('0') {
            assert_eq!(stage.status_line("CapEff"), "0000000000000000");
        }
    }
}

#[test]
fn a_privileged_patch_keeps_the_privileges_and_a_warning_says_so() {
    if !is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let lines = ["privileged-binary-patch-arg = sleep 600", "uid = daemon", "gid = daemon"];
    let mut stage = stage(&lines).start();
    let (settings, _) = stage.exec();
    assert_eq!(stage.status_line("Uid"), "0 0 0 0");
    assert!(settings.warnings.iter().any(|line| line.contains("a.ini:3: uid")), "{settings:?}");
}

#[test]
fn a_root_program_without_a_uid_is_warned_of() {
    if !is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let warned = |lines: &[&str]| {
        let (settings, _) = stage(lines).start().exec();
        settings.warnings.iter().any(|line| line.contains("runs as root"))
    };
    assert!(warned(&[SLEEP]));
    assert!(!warned(&[SLEEP, "uid = 0", "gid = 0"]));
    assert!(!warned(&[SLEEP, "uid = daemon", "gid = daemon"]));
}

#[test]
fn an_ordinary_user_may_name_itself_in_a_vassal_file() {
    if !is_root() || !is_reachable_by_all() {
        eprintln!("skipped: not root, or no other user can execute the program");
        return;
    }
    let own = ["uid = 65534", "gid = 65534"];
    let mut ok = stage(&[&own[..], &[SLEEP]].concat()).run_by(NOBODY).start();
    ok.exec();
    assert_eq!(ok.status_line("Uid"), "65534 65534 65534 65534");
    let other = stage(&[SLEEP, "uid = daemon", "gid = daemon"]).run_by(NOBODY).start();
    let fault = other.error(1);
    assert_eq!((fault.step.as_str(), fault.origin.as_str()), ("read", "a.ini:3 uid"));
    assert!(fault.message.contains("cannot become user 1"), "{fault:?}");
    assert_eq!(fault.more.len(), 1);
}

#[test]
fn directory_umask_log_and_pid_file_are_as_written() {
    let setup = stage(&[
        "unprivileged-binary-patch-arg = sh -c 'echo to-log; echo to-err >&2; touch made; exec sleep 600'",
        "chdir = sub",
        "umask = 027",
        "logto = log",
        "pidfile = pid",
    ]);
    fs::create_dir(setup.path("sub")).unwrap();
    fs::set_permissions(setup.path("sub"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(setup.path("log"), "before\n").unwrap();
    let mut stage = setup.start();
    stage.exec();
    stage.becomes("sleep");
    assert_eq!(
        fs::read_link(stage.proc("cwd")).unwrap(),
        stage.path("sub").canonicalize().unwrap()
    );
    assert_eq!(stage.status_line("Umask"), "0027");
    assert_eq!(file_text(&stage.path("log")), "before\nto-log\nto-err\n");
    assert_eq!(file_text(&stage.path("pid")), format!("{}\n", stage.pid()));
    let mode = fs::metadata(stage.path("sub/made")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn a_new_log_file_is_not_for_everybody() {
    let mut stage = stage(&[SLEEP, "logto = log", "umask = 022"]).start();
    stage.exec();
    let mode = fs::metadata(stage.path("log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn the_verdict_says_how_the_program_wants_to_be_treated() {
    let mut stage = stage(&[
        SLEEP,
        "stop-signal = INT",
        "reload-signal = HUP",
        "graceful-signal = QUIT",
        "restart = on-failure",
        "loyal-after = 5",
        "ready-after = 1",
        "start-timeout = 60",
    ])
    .start();
    let (settings, _) = stage.exec();
    let signals =
        (settings.run.stop_signal, settings.run.reload_signal, settings.run.graceful_signal);
    assert_eq!(signals, (Some(2), Some(1), Some(3)));
    assert_eq!((settings.run.restart, settings.notify_socket), (Restart::OnFailure, false));
    let seconds = |number| Some(Duration::from_secs(number));
    assert_eq!(settings.run.loyal_after, seconds(5));
    assert_eq!(settings.run.ready_after, seconds(1));
    assert_eq!(settings.run.start_timeout, seconds(60));
}

#[test]
fn a_program_that_notifies_gets_a_socket_whose_other_end_the_emperor_has() {
    // So many that the numbers which the stage has used so far are needed for them.
    let mut lines = vec!["socket = 127.0.0.1:0"; 9];
    lines.extend([SLEEP, "notify = true", "heartbeat = 20"]);
    let mut stage = stage(&lines).start();
    let (settings, mut fds) = stage.exec();
    assert!(settings.notify_socket && settings.run.notify);
    assert_eq!(
        (settings.run.listeners, settings.run.heartbeat),
        (9, Some(Duration::from_secs(20)))
    );
    let notify = fds.pop().unwrap();
    assert!(fds.iter().all(|fd| socket::is_listening(fd.as_fd())));
    let env = stage.environment();
    assert_eq!(env["WATCHDOG_USEC"], "20000000");
    let name = env["NOTIFY_SOCKET"].strip_prefix('@').unwrap();
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    let client = std::os::unix::net::UnixDatagram::unbound().unwrap();
    client.send_to_addr(b"READY=1", &address).unwrap();
    let mut buffer = [0; 64];
    let received = scm::receive_text(notify.as_fd(), &mut buffer).unwrap();
    assert_eq!(&buffer[..received.length], b"READY=1");
    assert_eq!(received.sender.unwrap().pid.unsigned_abs(), std::process::id());
    // The program itself holds neither end.
    assert_eq!(stage.fds().len(), 3 + 9 + 1);
}

#[test]
fn a_program_with_sockets_is_offered_a_notify_socket_and_need_not_use_it() {
    let socket = "socket = 127.0.0.1:0";
    for (lines, offered) in [
        (vec![SLEEP, socket], true),
        (vec![SLEEP, socket, "notify = auto"], true),
        (vec![SLEEP, socket, "notify = false"], false),
        (vec![SLEEP], false),
    ] {
        let mut stage = stage(&lines).start();
        let (settings, _) = stage.exec();
        assert_eq!((settings.notify_socket, settings.run.notify), (offered, false), "{lines:?}");
        assert_eq!(stage.environment().contains_key("NOTIFY_SOCKET"), offered, "{lines:?}");
        assert!(!settings.warnings.iter().any(|line| line.contains("notify")), "{settings:?}");
    }
}

#[test]
fn without_notify_there_is_no_watchdog_and_a_warning() {
    let mut stage = stage(&[SLEEP, "heartbeat = 20"]).start();
    let (settings, _) = stage.exec();
    assert_eq!(settings.run.heartbeat, None);
    assert!(settings.warnings.iter().any(|line| line.contains("heartbeat")), "{settings:?}");
    assert!(!stage.environment().contains_key("WATCHDOG_USEC"));
}

#[test]
fn a_check_tells_the_verdict_and_does_nothing() {
    let lines = [SLEEP, "socket = a.sock", "logto = log", "pidfile = pid", "notify = true"];
    let mut stage = stage(&lines).check().start();
    let (settings, fds) = stage.exec();
    assert_eq!((settings.argv0.as_str(), fds.len()), ("sleep", 0));
    assert_eq!(stage.wait(), ExitStatus::Code(0));
    for name in ["a.sock", "log", "pid"] {
        assert!(!stage.path(name).exists(), "{name}");
    }
    let bad = super::stage(&["socket = a.sock"]);
    let fault = bad.check().start().error(1);
    assert!(fault.message.contains("nothing to run"), "{fault:?}");
}

#[test]
fn under_a_foreign_emperor_the_program_starts_all_the_same_and_warnings_go_to_stderr() {
    let lines = [SLEEP, "stop-signal = INT", "notify = true", "print = hello from %n"];
    let mut stage = stage(&lines).foreign().start();
    stage.becomes("sleep");
    assert_eq!(stage.environment()["UWSGI_EMPEROR_FD"], "3");
    assert!(!stage.environment().contains_key("NOTIFY_SOCKET"));
    assert_eq!(stage.fds()[&0], "/dev/null");
    let said = stage.stderr();
    assert!(said.contains("liege: hello from a\n"), "{said}");
    assert!(said.contains("liege: stop-signal, notify has no effect"), "{said}");
}

#[test]
fn alone_it_needs_no_emperor_at_all() {
    let mut setup = stage(&[SLEEP]).foreign();
    setup.pipe = false;
    let stage = setup.start();
    stage.becomes("sleep");
    assert_eq!(stage.fds().len(), 3);
    assert!(!stage.environment().contains_key("UWSGI_EMPEROR_FD"));
}

#[test]
fn an_emperor_pipe_that_is_not_open_is_not_passed_on() {
    let mut setup = stage(&[SLEEP]).foreign().env("UWSGI_EMPEROR_FD", "777");
    setup.pipe = false;
    let stage = setup.start();
    stage.becomes("sleep");
    assert!(!stage.environment().contains_key("UWSGI_EMPEROR_FD"));
}

#[test]
fn a_program_dies_with_its_emperor_also_as_another_user() {
    let user = if is_root() { "uid = daemon\ngid = daemon" } else { "" };
    let setup = stage(&[SLEEP, user, "pidfile = pid"]).foreign();
    let liege = setup.command.get_program().to_str().unwrap().to_owned();
    // The shell stands for the emperor: it is killed, and cannot say a word.
    let mut between = program("/bin/sh");
    between.arg("-c").arg(format!("'{liege}' --ini a.ini & wait")).current_dir(setup.dir.path());
    let mut emperor = Setup { command: between, ..setup }.start();
    let pid = emperor.path("pid");
    until("the pid file", || fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n')));
    let proc = format!("/proc/{}", file_text(&pid).trim());
    until("the program", || file_text(&Path::new(&proc).join("comm")).trim() == "sleep");
    emperor.kill();
    until("the death of the program", || {
        // Gone, or a zombie that some ancestor of ours has not reaped yet.
        fs::read_to_string(format!("{proc}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
}
