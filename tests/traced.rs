//! What only strace(1) can prove: that an idle emperor makes no system call, and that it survives the failure of
//! each. `tests/run --apps` runs a part of the fault sweep, `FAULT_SWEEP=whole` (`tests/run --long`) all of it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

mod support;

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use support::{Liege, Setup, proc, program};

#[test]
#[ignore = "needs strace: tests/run --apps"]
fn an_idle_emperor_with_five_hundred_vassals_makes_no_system_call_in_ten_seconds() {
    let mut setup =
        Liege::in_temp_dir().option("--emperor-loyal-after", "1").option("--ready-after", "1");
    for number in 0..500 {
        setup = setup.vassal(&format!("{number}.ini"), &program("/bin/sleep 100000"));
    }
    let emperor = setup.start();
    emperor.wait_until("all are loyal", || {
        let stats = emperor.stats();
        stats.up() == 500 && stats.vassals().iter().all(|vassal| vassal["loyal"] == 1)
    });
    let pid = emperor.emperor_pid();
    let mut quiet = (proc::sleeps(pid), Instant::now());
    emperor.wait_until("the last deadlines have passed", || {
        if proc::sleeps(pid) != quiet.0 {
            quiet = (proc::sleeps(pid), Instant::now());
        }
        quiet.1.elapsed() > Duration::from_secs(2)
    });
    // One after the other, and the parent first: it is told when its child is stopped by a tracer.
    for pid in [emperor.first_pid(), pid] {
        let calls = calls_in_ten_seconds(&emperor, pid);
        assert!(calls.is_empty(), "{calls:#?}");
    }
}

/// The system calls that a process begins or ends in ten seconds.
fn calls_in_ten_seconds(emperor: &Liege, pid: i32) -> Vec<String> {
    let trace = emperor.path(&format!("trace-{pid}"));
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-p", &pid.to_string(), "-o"]);
    let mut strace = strace.arg(&trace).stderr(Stdio::null()).spawn().unwrap();
    emperor.wait_until("it is traced", || {
        proc::status(pid, "TracerPid").is_some_and(|tracer| tracer != "0")
    });
    // Attaching interrupts the call in which it sleeps; what it does about that is no sign of unrest.
    let seconds = |count| {
        let start = Instant::now();
        emperor.wait_until("seconds have passed", || start.elapsed() > Duration::from_secs(count));
    };
    seconds(1);
    let before = fs::read_to_string(&trace).unwrap().len();
    seconds(10);
    let calls = fs::read_to_string(&trace).unwrap();
    proc::kill(strace.id() as i32, libc::SIGINT);
    strace.wait().unwrap();
    let whole = fs::read_to_string(&trace).unwrap();
    assert!(whole.contains("<detached"), "it was traced to the end: {whole}");
    calls[before..].lines().map(str::to_owned).collect()
}

/// Calls whose failure must not be the end, and the errors that they can have.
const CALLS: &[(&str, &[&str])] = &[
    ("openat", &["EMFILE", "ENFILE", "ENOMEM", "EIO"]),
    ("getdents64", &["ENOMEM", "EIO"]),
    ("newfstatat,statx", &["ENOMEM", "EIO"]),
    ("readlink,readlinkat", &["ENOMEM", "EIO"]),
    ("inotify_add_watch", &["ENOMEM", "ENOSPC"]),
    ("socket", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("bind", &["ENOMEM", "EADDRINUSE"]),
    ("listen", &["EADDRINUSE"]),
    ("socketpair", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("accept4", &["EMFILE", "ENFILE", "ENOMEM", "ECONNABORTED"]),
    ("clone,clone3,fork,vfork", &["EAGAIN", "ENOMEM"]),
    ("pidfd_open", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("pidfd_send_signal", &["EAGAIN"]),
    ("recvmsg,recvfrom", &["EINTR", "EAGAIN", "ENOMEM"]),
    ("sendmsg,sendto", &["EINTR", "EAGAIN", "ENOMEM", "EPIPE"]),
    ("read", &["EINTR", "EAGAIN", "EIO"]),
    ("write,writev,pwritev2", &["EINTR", "EAGAIN", "ENOSPC", "EIO"]),
    ("poll,ppoll", &["EINTR", "ENOMEM"]),
    ("waitid", &["EINTR"]),
    ("dup,fcntl", &["EMFILE"]),
    ("memfd_create", &["EMFILE", "ENOMEM"]),
    ("unlink,unlinkat", &["EIO"]),
];

/// The fixed scenario, with one failing call in it.
fn survive(calls: &str, error: &str, when: u32) -> Result<(), String> {
    let liege = std::panic::catch_unwind(|| scenario(calls, error, when));
    liege.map_err(|why| {
        let text = why.downcast_ref::<String>().cloned();
        let text = text.or_else(|| why.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        format!("{calls} fails with {error} at call {when}: {}", text.unwrap_or_default())
    })
}

fn scenario(calls: &str, error: &str, when: u32) {
    let emperor = prepared()
        .before(&[
            "strace",
            "-qq",
            "-o",
            "$DIR/trace",
            "-e",
            &format!("trace={calls}"),
            "-e",
            &format!("inject={calls}:error={error}:when={when}"),
        ])
        .spawn();
    let mut emperor = emperor;
    let answered = Instant::now();
    while emperor.try_stats().is_none() {
        if emperor.has_ended() {
            // A fault at the very start may be fatal, with a reason, and before anything runs.
            assert!(!emperor.log().trim().is_empty(), "it gives no reason");
            assert!(emperor.survivors().is_empty(), "it leaves processes behind");
            return;
        }
        assert!(answered.elapsed() < Duration::from_secs(30), "it does not answer");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = emperor.emperor_pid();
    let up = |emperor: &Liege, names: &[&str]| {
        emperor.try_stats().is_some_and(|stats| {
            names.iter().all(|name| stats.find(name).is_some_and(|v| v.text("state") == "running"))
        })
    };
    emperor.wait_until("the first run", || up(&emperor, &["a.ini", "b.ini"]));
    emperor.put_app("c.ini", "do=ready,accepting,loyal");
    emperor.touch("a.ini");
    emperor.remove("b.ini");
    proc::kill(emperor.running("a.ini"), libc::SIGKILL);
    let mut client = emperor.wait_for("the socket is there", || {
        std::os::unix::net::UnixStream::connect(emperor.path("d.sock")).ok()
    });
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(' '), "no client is lost");
    emperor.wait_until("the state is that of a run without the fault", || {
        up(&emperor, &["a.ini", "c.ini"])
            && emperor.try_stats().is_some_and(|stats| stats.vassals().len() == 3)
    });
    assert_eq!(emperor.emperor_pid(), pid, "the same emperor");
    proc::kill(pid, libc::SIGTERM);
    assert_eq!(emperor.wait_for_end().code(), Some(0));
    emperor.all_gone();
}

fn prepared() -> Setup {
    Liege::in_temp_dir()
        .option("--emperor-keeper", "off")
        .option("--emperor-throttle", "100")
        .option("--emperor-curse-tolerance", "2")
        .option("--reload-mercy", "3")
        .app("a.ini", "do=ready,accepting,loyal")
        .app("b.ini", "do=ready,accepting,loyal")
        .app("d.ini", "do=ready,accepting,loyal,serve")
        .on_demand("d.ini", "d.sock")
}

#[test]
#[ignore = "needs strace: tests/run --apps"]
fn no_failing_system_call_ends_the_emperor_or_loses_a_vassal() {
    let whole = std::env::var("FAULT_SWEEP").is_ok_and(|how| how == "whole");
    let mut cases = Vec::new();
    for (calls, errors) in CALLS {
        // The part: one error of each call, early and late.
        let errors = if whole { errors } else { &errors[..1] };
        let last = if whole { 40 } else { 6 };
        for error in errors {
            cases.extend((1..=last).map(|when| (*calls, *error, when)));
        }
    }
    let (count, queue, faults) = (cases.len(), Mutex::new(cases), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                loop {
                    let Some((calls, error, when)) = queue.lock().unwrap().pop() else { break };
                    if let Err(fault) = survive(calls, error, when) {
                        eprintln!("{fault}");
                        faults.lock().unwrap().push(fault);
                    }
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    eprintln!("{count} faults injected, {} of them not survived", faults.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
