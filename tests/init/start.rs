//! How the command starts, and what its end means.

use std::io::Read;
use std::process::Stdio;

use liege::sys::signal::{self, Signal, SignalMask};

use crate::support::*;

#[test]
fn the_exit_status_is_the_commands_own() {
    let world = World::new();
    for wanted in 0..=255 {
        assert_eq!(world.run(&["sh", "-c", &format!("exit {wanted}")]).code(), Some(wanted));
    }
}

#[test]
fn a_command_that_a_signal_has_ended_gives_128_plus_its_number() {
    let world = World::new();
    let harmless = ["CHLD", "CONT", "URG", "WINCH", "STOP", "TSTP", "TTIN", "TTOU"].map(signal);
    for signal in Signal::all().filter(|it| !harmless.contains(it)) {
        if (32..34).contains(&signal.get()) {
            continue; // the C library does not let a shell send these
        }
        let number = i32::from(signal.get());
        let script = format!("ulimit -c 0; kill -{number} $$; exit 0");
        assert_eq!(world.run(&["sh", "-c", &script]).code(), Some(128 + number), "{signal}");
    }
}

#[test]
fn a_command_that_is_missing_gives_127_and_one_line_that_says_so() {
    let world = World::new();
    for name in ["no-such-command-here", "./no-such-file", "/etc/passwd/x", "with\nnewline\u{1b}"] {
        let output = output(&mut world.init(&["--", name]));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(127), "{said}");
        assert!(said.starts_with("liege init: cannot run ") && said.ends_with('\n'), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(!said.contains('\u{1b}'));
    }
}

#[test]
fn a_directory_in_path_that_nobody_may_search_does_not_turn_missing_into_forbidden() {
    let world = World::new();
    std::fs::write(world.path("closed"), "no directory").unwrap();
    std::fs::create_dir(world.path("open")).unwrap();
    std::fs::write(world.path("open/plain"), "no program").unwrap();
    let path = format!("{0}/closed:/root:{0}/open", world.path("").display());
    for (name, wanted) in [("no-such-command-here", 127), ("plain", 126)] {
        let output = output(world.init(&[name]).env("PATH", &path));
        assert_eq!(output.status.code(), Some(wanted), "{:?}", output.stderr);
    }
}

#[test]
fn a_command_that_cannot_be_executed_gives_126_and_one_line_that_says_so() {
    let world = World::new();
    std::fs::write(world.path("plain"), "no program").unwrap();
    for name in ["./plain", "/", "/etc/passwd"] {
        let output = output(&mut world.init(&[name]));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(126), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_fork_that_is_refused_is_a_failure_of_our_own_with_a_reason() {
    if !is_root() || !has("setpriv") || !has("prlimit") {
        return;
    }
    let world = World::new();
    // A uid of its own, which has one process: this one.
    let limited = ["--reuid=64321", "--regid=64321", "--clear-groups", "prlimit", "--nproc=1"];
    let mut command = world.command("setpriv");
    let output = output(command.current_dir("/").args(limited).args([LIEGE, "init", "true"]));
    let said = String::from_utf8(output.stderr).unwrap();
    if output.status.code() == Some(126) {
        eprintln!("skipped: another user cannot run {LIEGE}");
        return;
    }
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.starts_with("liege init: cannot start the command: "), "{said}");
}

#[test]
fn wrong_usage_is_told_apart_from_any_status_of_the_command() {
    let world = World::new();
    let wrong: [&[&str]; 7] = [
        &[],
        &["--"],
        &["-x", "true"],
        &["-p"],
        &["-p", "NONSENSE", "true"],
        &["--reload-mercy", "soon", "true"],
        &["--wait=yes", "true"],
    ];
    for arguments in wrong {
        let output = output(&mut world.init(arguments));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(125), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let help = output(&mut world.init(&["--help"]));
    assert!(help.status.success() && help.stdout.starts_with(b"Usage: liege init"));
}

#[test]
fn what_follows_the_command_is_the_commands() {
    let world = World::new();
    let arguments = ["-g", "printf", "%s|", "-g", "--wait", "--", "-p", ""];
    assert_eq!(output(&mut world.init(&arguments)).stdout, b"-g|--wait|--|-p||");
    let arguments = ["--", "printf", "%s|", "--", "-g"];
    assert_eq!(output(&mut world.init(&arguments)).stdout, b"--|-g|");
}

/// The lines about signals of a command's own status, with and without init above it.
fn signal_lines(command: &mut std::process::Command) -> Vec<String> {
    let text = String::from_utf8(output(command).stdout).unwrap();
    let about = ["SigBlk:", "SigIgn:", "SigCgt:"];
    let lines = text.lines().filter(|line| about.iter().any(|key| line.starts_with(key)));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_command_starts_with_the_mask_and_the_dispositions_that_init_was_given() {
    let world = World::new();
    let ignored: [&[&str]; 4] =
        [&[], &["PIPE"], &["CHLD", "HUP"], &["CHLD", "PIPE", "TSTP", "TTOU", "SEGV", "RTMIN+3"]];
    let blocked: [&[&str]; 3] = [&[], &["TERM", "USR2", "RTMIN"], &["CHLD", "TSTP", "33"]];
    for ignored in ignored {
        for blocked in blocked {
            let mask = blocked.iter().fold(SignalMask::NONE, |mask, name| mask.with(signal(name)));
            let poison = |mut command: std::process::Command| {
                let ignored = ignored.iter().map(|name| signal(name)).collect::<Vec<_>>();
                let poison = move || {
                    ignored.iter().try_for_each(|it| signal::set_ignored(*it))?;
                    signal::set_mask(mask).map(drop)
                };
                before_exec(&mut command, poison);
                signal_lines(&mut command)
            };
            let mut plain = world.command("cat");
            plain.arg("/proc/self/status");
            let below = world.init(&["cat", "/proc/self/status"]);
            let wanted = poison(plain);
            assert_eq!(wanted.len(), 3);
            assert_eq!(poison(below), wanted, "ignored {ignored:?}, blocked {blocked:?}");
        }
    }
}

#[test]
fn the_status_is_known_even_if_init_was_told_to_ignore_its_children() {
    let world = World::new();
    let mut command = world.init(&["sh", "-c", "exit 7"]);
    before_exec(&mut command, || signal::set_ignored(Signal::CHLD));
    assert_eq!(output(&mut command).status.code(), Some(7));
}

#[test]
fn standard_streams_that_are_closed_are_survived() {
    let world = World::new();
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let script = format!("exec \"$@\" {closed}");
        let arguments = ["-c", &script, "sh", LIEGE, "init", "sh", "-c", "exit 5"];
        assert_eq!(output(world.command("sh").args(arguments)).status.code(), Some(5), "{closed}");
    }
}

#[test]
fn the_command_gets_the_descriptors_of_init_and_nothing_more() {
    let world = World::new();
    let list = |above: &[&str]| {
        let script = "exec 7</dev/null; exec \"$@\"";
        let command = ["sh", "-c", "ls /proc/self/fd"];
        let output =
            output(world.command("sh").args(["-c", script, "sh"]).args(above).args(command));
        String::from_utf8(output.stdout).unwrap()
    };
    let wanted = list(&[]);
    assert!(wanted.lines().any(|line| line == "7"), "{wanted}");
    assert_eq!(list(&[LIEGE, "init"]), wanted);
}

#[test]
fn a_pipe_ends_when_the_command_closes_it_although_init_goes_on() {
    let world = World::new();
    let script = "exec >&- 9>&-; echo $$ >pid; exec sleep 600";
    let mut child = world
        .command("sh")
        .args(["-c", "exec 9>&1 \"$@\"", "sh", LIEGE, "init", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || pipe.read_to_end(&mut Vec::new()).unwrap());
    until("the end of the pipe", || reader.is_finished().then_some(()));
    assert_eq!(child.try_wait().unwrap(), None);
    kill(world.number("pid"), Signal::KILL);
    assert_eq!(end_of(&mut child).code(), Some(137));
}

#[test]
fn init_sleeps_without_limit_and_without_descriptors_while_nothing_happens() {
    let world = World::new();
    let init = world.start(&["sleep", "600"]);
    let pid = init.pid();
    let command = child_of(pid);
    // The call and its arguments: rt_sigtimedwait, and no time to wake up at.
    let asleep = until("asleep", || {
        let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
        let words = call.split(' ').map(str::to_owned).collect::<Vec<_>>();
        (words[0] == libc::SYS_rt_sigtimedwait.to_string()).then_some(words)
    });
    assert_eq!(asleep[3], "0x0", "{asleep:?}");
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert_eq!(open, 1);
    let switches = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        text.lines().filter(|line| line.contains("ctxt_switches")).map(str::to_owned).collect()
    };
    let before: Vec<String> = switches();
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(before, switches());
    kill(command, Signal::KILL);
    init.ends_with(137);
}
