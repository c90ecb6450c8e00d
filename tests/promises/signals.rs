//! The signals of the emperor, and what it tells the service manager.

use crate::support::{Liege, proc, program};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn usr1_writes_the_state_of_every_vassal_into_the_log() {
    let setup = Liege::in_temp_dir().option("--emperor-throttle", "60000");
    let emperor = setup.app("good.ini", "do=ready").app("bad.ini", "do=exit:1").start();
    let pid = emperor.running("good.ini");
    emperor.state("bad.ini", "backoff");
    let before = emperor.log().len();
    emperor.signal(libc::SIGUSR1);
    emperor.wait_until("both are named", || {
        let log = emperor.log();
        let new = &log[before..];
        let line = |name: &str, what: &str| {
            new.split_inclusive('\n').any(|line| line.contains(name) && line.contains(what))
        };
        line("good.ini", &format!("pid {pid} running\n")) && line("bad.ini", "")
    });
}

#[test]
fn usr2_opens_the_log_file_anew() {
    let setup =
        Liege::in_temp_dir().option("--logto", "$DIR/emperor.log").app("one.ini", "do=ready");
    let emperor = setup.start();
    emperor.running("one.ini");
    let file = emperor.path("emperor.log");
    emperor.wait_until("it logs there", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("one.ini"))
    });
    std::fs::rename(&file, emperor.path("old.log")).unwrap();
    emperor.signal(libc::SIGUSR2);
    emperor.wait_until("a new file is there", || file.exists());
    emperor.remove("one.ini");
    emperor.wait_until("what follows is in the new file", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("one.ini"))
    });
}

#[test]
fn winch_looks_again() {
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready").start();
    let pid = emperor.running("one.ini");
    emperor.signal(libc::SIGWINCH);
    emperor.stays("with nothing changed nothing happens", || emperor.pid("one.ini") == Some(pid));
    assert!(emperor.events("one.ini", "byte").is_empty());
}

#[test]
fn a_storm_of_usr1_writes_the_state_once_a_second_and_at_its_end() {
    // Two, as a line that is the same as the last one is only counted.
    let emperor =
        Liege::in_temp_dir().app("one.ini", "do=ready").app("two.ini", "do=ready").start();
    emperor.running("one.ini");
    emperor.running("two.ini");
    let pid = emperor.emperor_pid();
    let count = || emperor.log().matches("vassal instance one.ini").count();
    let start = std::time::Instant::now();
    for _ in 0..200 {
        proc::kill(pid, libc::SIGUSR1);
        // It answers, so the signal has been read.
        emperor.stats();
    }
    let written = count();
    assert!(written <= start.elapsed().as_secs() as usize + 1, "{written}: {:?}", start.elapsed());
    emperor.wait_until("one that came too soon is obeyed later", || count() >= 2);
}

#[test]
fn ten_thousand_signals_are_survived_and_the_last_counts() {
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready,accepting,loyal").start();
    emperor.wait_until("it has spoken", || emperor.stats().vassal("one.ini").number("loyal") == 1);
    let pid = emperor.emperor_pid();
    for _ in 0..2500 {
        for signal in [libc::SIGUSR1, libc::SIGURG, libc::SIGWINCH, libc::SIGCHLD] {
            proc::kill(pid, signal);
        }
    }
    assert!(emperor.log().len() < 2_000_000, "{} bytes of log", emperor.log().len());
    let start = std::time::Instant::now();
    assert_eq!(emperor.end().code(), Some(0));
    assert!(start.elapsed().as_secs() < 20, "not by the mercy");
}

#[test]
fn a_storm_of_hangups_makes_nobody_wait_who_has_died() {
    let mut setup = Liege::in_temp_dir().option("--emperor-throttle", "0");
    for number in 0..60 {
        let text = format!("{}reload-signal = CONT\n", program("/bin/sleep 1000"));
        setup = setup.vassal(&format!("{number}.ini"), &text);
    }
    let emperor = setup.start();
    let first = emperor.running("0.ini");
    emperor.wait_until("all run", || {
        let runs = |vassal: &serde_json::Value| vassal["state"] == "running";
        emperor.stats().vassals().iter().all(runs)
    });
    let (pid, over) = (emperor.emperor_pid(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                proc::kill(pid, libc::SIGHUP);
            }
        });
        let count = || emperor.log().matches("SIGHUP from").count();
        emperor.wait_until("the storm has begun", || count() > 10);
        proc::kill(first, libc::SIGKILL);
        emperor.running_anew("0.ini", first);
    });
}

/// Ends the storm, whatever happens.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn the_service_manager_is_told_when_it_is_ready_and_when_it_stops() {
    let setup = Liege::in_temp_dir();
    let socket = UnixDatagram::bind(setup.path("notify.sock")).unwrap();
    socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    let path = setup.path("notify.sock");
    let emperor =
        setup.env("NOTIFY_SOCKET", path.to_str().unwrap()).app("one.ini", "do=ready").start();
    let mut told = String::new();
    let mut hear = |wanted: &str| {
        while !told.contains(wanted) {
            let mut message = [0; 4096];
            let size = socket
                .recv(&mut message)
                .unwrap_or_else(|why| panic!("no {wanted}: {why}\n{told}"));
            told.push_str(&String::from_utf8_lossy(&message[..size]));
            told.push('\n');
        }
    };
    hear("READY=1");
    hear("STATUS=The Emperor is governing 1 vassals");
    assert_eq!(emperor.end().code(), Some(0));
    hear("STOPPING=1");
}

#[test]
fn the_service_manager_is_told_of_vassals_and_not_of_processes() {
    let setup = Liege::in_temp_dir();
    let socket = UnixDatagram::bind(setup.path("notify.sock")).unwrap();
    socket.set_nonblocking(true).unwrap();
    let path = setup.path("notify.sock");
    let emperor = setup
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .vassal("one.ini", &program("/bin/sleep 1000"))
        .start();
    // The new file is checked by a second process, while the first one runs.
    let old = emperor.running("one.ini");
    emperor.touch("one.ini");
    emperor.running_anew("one.ini", old);
    assert_eq!(emperor.end().code(), Some(0));
    let mut message = [0; 4096];
    while let Ok(size) = socket.recv(&mut message) {
        let told = String::from_utf8_lossy(&message[..size]);
        assert!(!told.contains("governing 2"), "{told}");
    }
}
