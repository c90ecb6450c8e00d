//! Bad input: a clear line (file, line, setting, remedy), nobody else disturbed, healed by itself.

use crate::skip;
use crate::support::{
    Liege, code, executable, full_pipe, is_root, proc, program, reachable_by_all,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Instant;

/// An emperor with a good vassal, to see that it is not disturbed; `bad` prepares the rest.
fn beside_a_good_one(bad: impl FnOnce(crate::support::Setup) -> crate::support::Setup) -> Liege {
    let setup =
        Liege::in_temp_dir().option("--emperor-throttle", "100").app("good.ini", "do=ready,loyal");
    let emperor = bad(setup).start();
    emperor.spoken("good.ini");
    emperor.life("good.ini", 1);
    emperor
}

/// The good one was never started again nor told anything.
fn undisturbed(emperor: &Liege) {
    assert_eq!(emperor.lives("good.ini"), 1);
    assert!(emperor.events("good.ini", "byte").is_empty());
    assert!(emperor.pid("good.ini").is_some_and(proc::lives));
}

fn error_of(emperor: &Liege, name: &str, parts: &[&str]) {
    emperor.wait_until(&format!("{name} shows a fault with {parts:?}"), || {
        let stats = emperor.stats();
        let Some(vassal) = stats.find(name) else { return false };
        let error = vassal.0["last_error"].as_str().unwrap_or_default();
        parts.iter().all(|part| error.contains(part))
    });
    // A line of the log begins with the name of the vassal, which is not said again for its file.
    let parts: Vec<_> =
        parts.iter().map(|part| part.replace(&format!("{name}:"), "line ")).collect();
    let log = emperor.log();
    let logged =
        log.lines().any(|line| line.contains(name) && parts.iter().all(|part| line.contains(part)));
    assert!(logged, "{parts:?} in one line of\n{log}");
}

#[test]
fn an_unknown_option_is_refused_with_the_nearest_name() {
    let (status, log) = Liege::in_temp_dir()
        .only_args(&["--emperor", "$DIR/vassals", "--emperor-trottle", "5"])
        .run();
    assert_eq!(code(status), 1, "{log}");
    assert!(log.contains("emperor-trottle") && log.contains("emperor-throttle"), "{log}");
}

#[test]
fn an_option_with_a_bad_value_is_refused_with_its_name() {
    let args = ["--emperor", "$DIR/vassals", "--emperor-throttle", "soon"];
    let (status, log) = Liege::in_temp_dir().only_args(&args).run();
    assert_eq!(code(status), 1, "{log}");
    assert!(log.contains("emperor-throttle") && log.contains("soon"), "{log}");
}

#[test]
fn a_missing_directory_is_waited_for() {
    let args = ["--emperor", "$DIR/later", "--emperor-stats", "$DIR/stats.sock"];
    let emperor = Liege::in_temp_dir().only_args(&args).start();
    emperor.logged("later");
    fs::create_dir(emperor.path("later")).unwrap();
    fs::write(emperor.path("later/one.ini"), program("/bin/sleep 1000")).unwrap();
    emperor.running("one.ini");
}

#[test]
fn an_unreadable_directory_is_named_and_read_when_it_can_be() {
    if !is_root() || !reachable_by_all() {
        skip!("needs root, to start the emperor as a user for whom the directory is closed");
    }
    let setup = Liege::in_temp_dir().user(65534).vassal("one.ini", &program("/bin/sleep 1000"));
    let dir = setup.path("vassals");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    let emperor = setup.start();
    emperor.logged("ermission denied");
    assert!(emperor.stats().vassals().is_empty());
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    emperor.running("one.ini");
}

#[test]
fn what_is_no_regular_file_is_no_vassal_and_blocks_nobody() {
    let emperor = beside_a_good_one(|setup| {
        let dir = setup.path("vassals");
        proc::make_fifo(&dir.join("fifo.ini"));
        fs::create_dir(dir.join("dir.ini")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", dir.join("device.ini")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.join("dangling.ini")).unwrap();
        drop(UnixListener::bind(dir.join("socket.ini")).unwrap());
        setup
    });
    emperor.put_app("last.ini", "do=ready");
    emperor.running("last.ini");
    for name in ["fifo.ini", "dir.ini", "device.ini", "dangling.ini", "socket.ini"] {
        assert!(emperor.stats().find(name).is_none_or(|vassal| vassal.pid().is_none()), "{name}");
    }
    fs::remove_file(emperor.file("fifo.ini")).unwrap();
    emperor.put_app("fifo.ini", "do=ready");
    emperor.running("fifo.ini");
    undisturbed(&emperor);
}

#[test]
fn a_fifo_as_an_address_file_blocks_nobody() {
    let emperor = beside_a_good_one(|setup| {
        let setup =
            setup.option("--emperor-on-demand-extension", ".socket").app("one.ini", "do=ready");
        proc::make_fifo(&setup.path("vassals/one.ini.socket"));
        setup
    });
    emperor.put_app("last.ini", "do=ready");
    emperor.running("last.ini");
    assert_eq!(emperor.lives("one.ini"), 0, "never started without the socket it asked for");
    undisturbed(&emperor);
}

#[test]
fn an_empty_file_and_one_without_a_program_say_what_is_missing() {
    let emperor = beside_a_good_one(|setup| {
        setup.vassal("empty.ini", "").vassal("idle.ini", "[uwsgi]\nchdir = /\n")
    });
    error_of(&emperor, "empty.ini", &["empty.ini"]);
    error_of(&emperor, "idle.ini", &["nothing to run"]);
    for name in ["empty.ini", "idle.ini"] {
        emperor.put_app(name, "do=ready");
        emperor.running(name);
    }
    undisturbed(&emperor);
}

#[test]
fn ten_mebibytes_of_noise_are_refused_and_cost_no_memory() {
    let emperor = beside_a_good_one(|setup| {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let noise: Vec<u8> = (0..10 * 1024 * 1024)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect();
        fs::write(setup.path("vassals/noise.ini"), noise).unwrap();
        setup
    });
    error_of(&emperor, "noise.ini", &["noise.ini"]);
    let rss = proc::status(emperor.emperor_pid(), "VmHWM").unwrap();
    assert!(rss.trim_end_matches(" kB").parse::<u64>().unwrap() < 30_000, "{rss}");
    emperor.put_app("noise.ini", "do=ready");
    emperor.running("noise.ini");
    undisturbed(&emperor);
}

#[test]
fn invalid_utf8_is_refused_or_passed_on_but_never_fatal() {
    let emperor = beside_a_good_one(|setup| {
        let text =
            b"[uwsgi]\nenv = WORD=\xff\xfe\nunprivileged-binary-patch-arg = /bin/sleep 1000\n";
        fs::write(setup.path("vassals/bytes.ini"), text).unwrap();
        setup
    });
    emperor.wait_until("it runs, or its fault is shown", || {
        let stats = emperor.stats();
        let vassal = stats.vassal("bytes.ini");
        vassal.pid().is_some() || !vassal.0["last_error"].as_str().unwrap_or_default().is_empty()
    });
    emperor.put_app("bytes.ini", "do=ready");
    emperor.running("bytes.ini");
    undisturbed(&emperor);
}

#[test]
fn odd_names_are_vassals_and_control_characters_are_not() {
    let odd =
        ["qu\"ote.ini", "blank name.ini", "per%cent.ini", "-dash.ini", "it's.ini", "col:on.ini"];
    let emperor = beside_a_good_one(|mut setup| {
        for name in odd.iter().chain(&["new\nline.ini", "bell\u{7}.ini"]) {
            setup = setup.vassal(name, &program("/bin/sleep 1000"));
        }
        setup
    });
    for name in odd {
        emperor.running(name);
    }
    assert_eq!(emperor.stats().up(), odd.len() + 1, "names with control characters are refused");
    for line in emperor.log().lines() {
        assert!(!line.starts_with("line.ini"), "a name forges a log line: {line}");
        assert!(!line.contains('\u{7}'), "{line:?}");
    }
    assert!(emperor.log().contains("new\\x0aline.ini"), "{}", emperor.log());
    for name in odd {
        emperor.remove(name);
    }
    emperor.wait_until("they are gone", || emperor.stats().up() == 1);
    undisturbed(&emperor);
}

#[test]
fn a_name_that_is_too_long_is_ignored_or_runs_but_disturbs_nobody() {
    let emperor = beside_a_good_one(|setup| {
        let name = format!("{}.ini", "x".repeat(251));
        setup.vassal(&name, &program("/bin/sleep 1000"))
    });
    emperor.put_app("last.ini", "do=ready");
    emperor.running("last.ini");
    undisturbed(&emperor);
}

#[test]
fn a_program_that_is_missing_or_not_executable_is_named_with_file_and_line() {
    let emperor = beside_a_good_one(|setup| {
        fs::write(setup.path("text"), "no program").unwrap();
        executable(&setup.path("script"), "#!/no/such/interpreter\n");
        setup
            .vassal("missing.ini", &program("$DIR/missing one two"))
            .vassal("text.ini", &program("$DIR/text"))
            .vassal("script.ini", &program("$DIR/script"))
    });
    error_of(&emperor, "missing.ini", &["missing.ini:2", "/missing", "No such file"]);
    error_of(&emperor, "text.ini", &["text.ini:2", "/text", "ermission denied"]);
    error_of(&emperor, "script.ini", &["script.ini:2", "/script", "No such file"]);
    // It heals when the cause goes, at the latest with the next attempt.
    std::os::unix::fs::symlink("/bin/true", emperor.path("missing")).unwrap();
    fs::remove_file(emperor.path("missing")).unwrap();
    let sleeper = "#!/bin/sh\nexec sleep 1000\n";
    for name in ["missing", "text", "script"] {
        executable(&emperor.path(name), sleeper);
        emperor.running(&format!("{name}.ini"));
    }
    undisturbed(&emperor);
}

#[test]
fn a_directory_that_cannot_be_entered_names_the_setting() {
    let emperor = beside_a_good_one(|setup| {
        let text =
            "[uwsgi]\n\nchdir = $DIR/nowhere\nunprivileged-binary-patch-arg = /bin/sleep 1000\n";
        setup.vassal("bad.ini", text)
    });
    error_of(&emperor, "bad.ini", &["bad.ini:3", "chdir", "nowhere"]);
    fs::create_dir(emperor.path("nowhere")).unwrap();
    emperor.running("bad.ini");
    undisturbed(&emperor);
}

#[test]
fn an_unknown_user_is_an_error_and_never_means_root() {
    let names = ["nobody-of-that-name", "-1", "4294967295", "0x0", "1e3"];
    let emperor = beside_a_good_one(|mut setup| {
        for (number, user) in names.iter().enumerate() {
            let words = format!("uid = {user}");
            setup = setup.app_with(&format!("{number}.ini"), &words, "do=ready");
        }
        setup
    });
    for number in 0..names.len() {
        error_of(&emperor, &format!("{number}.ini"), &[&format!("{number}.ini:2"), "uid"]);
        assert_eq!(emperor.lives(&format!("{number}.ini")), 0);
    }
    undisturbed(&emperor);
}

#[test]
fn an_address_in_use_names_the_setting_and_heals() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let emperor = beside_a_good_one(|setup| {
        setup.app_with("bad.ini", &format!("http-socket = 127.0.0.1:{port}"), "do=ready")
    });
    error_of(&emperor, "bad.ini", &["bad.ini:2", &port.to_string(), "in use"]);
    drop(listener);
    emperor.running("bad.ini");
    undisturbed(&emperor);
}

#[test]
fn a_stats_address_in_use_is_refused_before_anything_runs() {
    let setup = Liege::in_temp_dir().app("good.ini", "do=ready");
    let _listener = UnixListener::bind(setup.path("stats.sock")).unwrap();
    let mut emperor = setup.spawn();
    assert_eq!(code(emperor.wait_for_end()), 1);
    let log = emperor.log();
    assert!(
        log.contains("--emperor-stats") && log.contains("stats.sock") && log.contains("in use"),
        "{log}"
    );
    assert_eq!(emperor.lives("good.ini"), 0);
    emperor.all_gone();
}

#[test]
fn an_unwritable_socket_directory_is_named_and_heals() {
    let emperor = beside_a_good_one(|setup| {
        setup.app("bad.ini", "do=serve").on_demand("bad.ini", "later/bad.sock")
    });
    emperor.state("bad.ini", "backoff");
    let stats = emperor.stats().vassal("bad.ini").0.to_string();
    assert!(stats.contains("later/bad.sock") || stats.contains("No such file"), "{stats}");
    fs::create_dir(emperor.path("later")).unwrap();
    emperor.state("bad.ini", "listening");
    assert!(emperor.ask("later/bad.sock").ends_with(" 1\n"));
    undisturbed(&emperor);
}

#[test]
fn too_few_descriptors_lose_no_vassal_and_blame_none() {
    let emperor = Liege::in_temp_dir().option("--emperor-throttle-burst", "1000").start();
    let pid = emperor.emperor_pid();
    proc::limit_files(pid, 48);
    for number in 0..40 {
        emperor.put_app(&format!("{number:02}.ini"), "do=ready,accepting,loyal");
    }
    emperor.wait_until("some run, all are known", || {
        let stats = emperor.stats();
        stats.up() >= 5 && stats.vassals().len() == 40
    });
    assert!(emperor.stats().up() < 40);
    assert!(emperor.stats().top("blacklist").as_array().unwrap().is_empty());
    proc::limit_files(pid, 1024);
    emperor.wait_until("all run", || emperor.stats().up() == 40);
    assert_eq!(emperor.emperor_pid(), pid);
    assert!(emperor.stats().top("blacklist").as_array().unwrap().is_empty());
}

#[test]
fn a_limit_that_sinks_while_it_runs_is_survived() {
    let mut setup = Liege::in_temp_dir();
    for number in 0..10 {
        setup = setup.app(&format!("{number}.ini"), "do=ready,accepting,loyal");
    }
    let emperor = setup.start();
    emperor.wait_until("all run", || emperor.stats().up() == 10);
    let pid = emperor.emperor_pid();
    proc::limit_files(pid, 8);
    emperor.put_app("late.ini", "do=ready");
    proc::kill(emperor.life("3.ini", 1)["pid"].as_i64().unwrap() as i32, libc::SIGKILL);
    emperor.stays("it lives, and so do the others", || {
        proc::lives(pid)
            && (4..10).all(|number| {
                proc::lives(
                    emperor.life(&format!("{number}.ini"), 1)["pid"].as_i64().unwrap() as i32
                )
            })
    });
    proc::limit_files(pid, 1024);
    emperor.wait_until("all run, the late one too", || {
        emperor.try_stats().is_some_and(|stats| stats.up() == 11)
    });
    assert!(emperor.stats().blacklisted("late.ini").is_none());
}

/// Processes of another user, which count against a limit; ended with the value.
struct Ballast(Vec<std::process::Child>);

impl Ballast {
    fn of(uid: u32, count: usize) -> Self {
        use std::os::unix::process::CommandExt;
        let sleep =
            || std::process::Command::new("/bin/sleep").arg("1000").uid(uid).spawn().unwrap();
        Self((0..count).map(|_| sleep()).collect())
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_refused_fork_blames_nobody_and_heals() {
    if !is_root() || !reachable_by_all() {
        skip!("needs root, to start the emperor as a user with a limit of processes");
    }
    // A uid of its own, so that no other test's processes count. dash calls the limit p, others u.
    let uid = 60000 + std::process::id() % 5000;
    let ballast = Ballast::of(uid, 20);
    let mut setup =
        Liege::in_temp_dir().user(uid).shell("ulimit -u 26 2>/dev/null || ulimit -p 26");
    for number in 0..10 {
        setup = setup.app(&format!("{number}.ini"), "do=ready,accepting,loyal");
    }
    let emperor = setup.start();
    emperor.wait_until("some are held for want of a process", || {
        let stats = emperor.stats();
        stats.vassals().iter().filter(|vassal| vassal["state"] == "backoff").count() >= 4
    });
    assert!(emperor.stats().top("blacklist").as_array().unwrap().is_empty());
    drop(ballast);
    emperor.wait_until("all run", || emperor.stats().up() == 10);
    assert!(emperor.stats().top("blacklist").as_array().unwrap().is_empty());
}

#[test]
fn a_verdict_whose_sockets_find_no_descriptor_is_nobodys_fault() {
    let mut setup = Liege::in_temp_dir().shell("ulimit -n 40");
    for number in 0..12 {
        let sockets = ["a", "b", "c", "d"].map(|s| format!("http-socket = $DIR/{number}{s}.sock"));
        setup = setup.app_with(&format!("{number}.ini"), &sockets.join("\n"), "do=ready");
    }
    let emperor = setup.start();
    emperor.logged("no descriptor is left");
    assert!(emperor.stats().top("blacklist").as_array().unwrap().is_empty());
    assert!(!emperor.log().contains("without a verdict"));
    (2..12).for_each(|number| emperor.remove(&format!("{number}.ini")));
    emperor.wait_until("those that are left run", || {
        emperor.try_stats().is_some_and(|stats| stats.up() == 2 && stats.vassals().len() == 2)
    });
    assert_eq!(emperor.end().code(), Some(0));
}

#[test]
fn a_log_that_must_not_grow_is_told_by_its_reason() {
    let emperor = Liege::in_temp_dir().shell("ulimit -f 16").app("one.ini", "").start();
    emperor.running("one.ini");
    // Somebody else has filled it; the limit is the emperor's alone.
    let mut file = std::fs::OpenOptions::new().append(true).open(emperor.path("log")).unwrap();
    std::io::Write::write_all(&mut file, "somebody\n".repeat(2000).as_bytes()).unwrap();
    // Two in turn, or they were only counted.
    let log_something = || [libc::SIGUSR1, libc::SIGURG].map(|signal| emperor.signal(signal));
    emperor.wait_until("lines are lost", || {
        log_something();
        emperor.stats().top("lost_log_lines").as_u64() > Some(2)
    });
    std::fs::write(emperor.path("log"), "").unwrap();
    log_something();
    emperor.logged("lines were lost here: File too large");
}

#[test]
fn a_standard_error_that_nobody_reads_stops_nothing() {
    let (reader, writer) = full_pipe();
    let setup =
        Liege::in_temp_dir().stderr(writer.into()).app("one.ini", "do=ready,accepting,loyal");
    let emperor = setup.option("--emperor-throttle", "1").start();
    let pid = emperor.spoken("one.ini");
    for _ in 0..200 {
        emperor.signal(libc::SIGUSR1);
    }
    emperor.touch("one.ini");
    emperor.wait_until("it is reloaded", || emperor.events("one.ini", "byte").len() == 1);
    proc::kill(pid, libc::SIGKILL);
    emperor.running_anew("one.ini", pid);
    assert_eq!(emperor.end().code(), Some(0));
    drop(reader);
}

#[test]
fn a_standard_error_without_a_reader_or_none_at_all_kills_nobody() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let emperor = Liege::in_temp_dir().stderr(writer.into()).app("one.ini", "do=ready").start();
    emperor.running("one.ini");
    emperor.signal(libc::SIGUSR1);
    assert_eq!(emperor.end().code(), Some(0));

    let emperor =
        Liege::in_temp_dir().shell("exec 0<&- 1>&- 2>&-").app("one.ini", "do=ready").start();
    emperor.running("one.ini");
    let fds = &emperor.life("one.ini", 1)["fds"];
    for standard in ["0", "1", "2"] {
        assert!(!fds[standard].as_str().unwrap_or_default().starts_with("socket:"), "{fds}");
    }
    assert_eq!(emperor.end().code(), Some(0));
}

#[test]
fn a_vassal_that_floods_its_pipe_costs_the_others_nothing() {
    let emperor = beside_a_good_one(|setup| {
        setup
            .app("flood.ini", "do=ready,loyal,flood:20000,jump:2")
            .option("--emperor-curse-tolerance", "1")
    });
    let before = emperor.log().len();
    emperor.touch("good.ini");
    emperor
        .wait_until("the good one is reloaded", || emperor.events("good.ini", "byte").len() == 1);
    emperor.stays("it answers", || emperor.try_stats().is_some());
    assert!(emperor.log().len() < before + 20_000, "a log line for each byte?");
}

#[test]
fn floods_of_words_keep_the_emperor_neither_busy_nor_talking() {
    let notifier = "#!/usr/bin/python3\nimport os, socket\n\
                    to = os.environ['NOTIFY_SOCKET']\n\
                    line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)\n\
                    line.sendto(b'READY=1', to)\n\
                    while True: line.sendto(WORDS, to)\n";
    let emperor = beside_a_good_one(|setup| {
        for (name, words) in
            [("notifier", r"b'READY=1\nWATCHDOG=1'"), ("long-winded", "b'STATUS=' + 60000 * b'x'")]
        {
            let path = setup.path(name);
            fs::write(&path, notifier.replace("WORDS", words)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let text = "[uwsgi]\nnotify = true\nunprivileged-binary-patch-arg = $DIR/notifier\n";
        let long = text.replace("notifier", "long-winded");
        let flood = |bytes: &str| format!("do=ready,{bytes},jump:2");
        setup
            .vassal("notify.ini", text)
            .vassal("long.ini", &long)
            .app("known.ini", &flood("byte:1,byte:5,loyal,beat,byte:2"))
            .app("unknown.ini", &flood("byte:30,byte:0,byte:99"))
    });
    for name in ["known.ini", "unknown.ini", "notify.ini", "long.ini"] {
        emperor.running(name);
    }
    for name in ["notify.ini", "long.ini"] {
        emperor.wait_until("the notifier is heard", || {
            emperor.stats().vassal(name).number("loyal") == 1
        });
    }
    let pid = emperor.emperor_pid();
    let (said, used, begin) = (emperor.log().len(), proc::ticks(pid), Instant::now());
    emperor.wait_until("two seconds are over", || begin.elapsed().as_secs() >= 2);
    let used = proc::ticks(pid) - used;
    assert!(used < 40, "{used} ticks of processor time in 2 s");
    assert!(emperor.log().len() < said + 1000, "{}", emperor.log());
    emperor.touch("good.ini");
    emperor
        .wait_until("the good one is reloaded", || emperor.events("good.ini", "byte").len() == 1);
    assert_eq!(emperor.lives("known.ini"), 1);
}

#[test]
fn a_program_that_dies_at_once_for_any_reason_is_reported_with_it() {
    let emperor = beside_a_good_one(|setup| {
        setup.app("segv.ini", "do=die:segv").app("exit.ini", "do=exit:99")
    });
    emperor.wait_until("both reasons are shown", || {
        let stats = emperor.stats();
        let exit = |name: &str| stats.vassal(name).0["last_exit"].to_string().to_lowercase();
        (exit("segv.ini").contains("segv") || exit("segv.ini").contains("11"))
            && exit("exit.ini").contains("99")
    });
    undisturbed(&emperor);
}

#[test]
fn without_proc_it_starts_stops_and_clears_away_all_the_same() {
    let unshare = std::process::Command::new("unshare").args(["-m", "true"]).output();
    if !is_root() || !unshare.is_ok_and(|output| output.status.success()) {
        skip!("needs root and unshare(1), to take /proc away");
    }
    let away = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
    let emperor = Liege::in_temp_dir()
        .before(&["unshare", "-m", "sh", "-c", away])
        .option("--emperor-throttle", "100")
        .vassal("one.ini", &program("/bin/sleep 1000"))
        .vassal("bad.ini", &program("/bin/false"))
        .start();
    let pid = emperor.running("one.ini");
    emperor.wait_until("the bad one has died again and again", || {
        emperor.stats().find("bad.ini").is_some_and(|vassal| vassal.number("deaths") > 3)
    });
    // One line, not one for each death.
    assert_eq!(emperor.log().matches("cannot list the children").count(), 1, "{}", emperor.log());
    assert_eq!(emperor.end().code(), Some(0));
    assert!(!proc::lives(pid));
}

#[test]
fn a_vassal_that_reads_its_configuration_from_descriptors_of_liege_is_refused_at_once() {
    let emperor = Liege::in_temp_dir()
        .vassal("ini.ini", "[uwsgi]\nini = fd://3\n")
        .vassal("include.ini", "[uwsgi]\ninclude = fd://3\n")
        .vassal("resource.ini", "[uwsgi]\nenv = A=@(fd://4)\n")
        .start();
    for (name, place) in
        [("ini", "line 2 ini"), ("include", "line 2 include"), ("resource", "line 2 env")]
    {
        emperor.logged(&format!("[{name}.ini] cannot start: read: {place}: "));
    }
    let log = emperor.log();
    assert!(log.contains("descriptor 4 is the line between"), "{log}");
    assert!(log.contains("fd://3: descriptor 3 is liege's own or not open"), "{log}");
}
