//! If the emperor dies, all the vassals die, whatever they did; and if the keeper dies, too.

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};

use liege::sys::scm;
use liege::sys::socket::{self, Address};

use crate::skip;
use crate::support::{Liege, code, is_root, proc, reachable_by_all};

const STRAYS: &[&str] = &["plain", "session", "double", "stopped", "deaf"];

/// An emperor with one vassal of each hostile kind.
fn with_hostile_vassals() -> Liege {
    let mut setup = Liege::in_temp_dir();
    for kind in STRAYS {
        setup = setup.app(
            &format!("{kind}.ini"),
            &format!("do=stray:{kind},ignore:term,ready on=eof: on=stop:"),
        );
    }
    if is_root() && reachable_by_all() {
        setup = setup
            .app("uid-stray.ini", "do=stray:uid,ready on=eof:")
            .app("setuid.ini", "do=setuid:65534,ready on=eof:")
            .app_with("uid.ini", "uid = 65534\ngid = 65534", "do=ready on=eof:");
    }
    let emperor = setup.start();
    for kind in STRAYS {
        emperor.wait_until(&format!("the {kind} stray"), || {
            !emperor.events(&format!("{kind}.ini"), "stray").is_empty()
        });
    }
    let vassals = emperor.stats().vassals().len();
    emperor.wait_until("all run", || emperor.stats().up() == vassals);
    emperor
}

#[test]
fn sigkill_of_the_emperor_leaves_no_process() {
    let mut emperor = with_hostile_vassals();
    proc::kill(emperor.emperor_pid(), libc::SIGKILL);
    let status = emperor.wait_for_end();
    emperor.all_gone();
    assert_eq!(code(status), 128 + libc::SIGKILL, "the keeper says how the emperor ended");
}

#[test]
fn sigkill_of_the_keeper_leaves_no_process() {
    let mut emperor = with_hostile_vassals();
    assert_ne!(emperor.first_pid(), emperor.emperor_pid(), "there is a keeper");
    proc::kill(emperor.first_pid(), libc::SIGKILL);
    emperor.wait_for_end();
    emperor.all_gone();
}

#[test]
fn a_crash_of_the_emperor_is_no_better() {
    let mut emperor = with_hostile_vassals();
    proc::kill(emperor.emperor_pid(), libc::SIGABRT);
    let status = emperor.wait_for_end();
    emperor.all_gone();
    assert_eq!(code(status), 128 + libc::SIGABRT);
}

#[test]
fn the_keeper_is_the_parent_and_the_emperor_has_its_own_group() {
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready").start();
    let own = emperor.emperor_pid();
    assert_eq!(proc::parent(own), Some(emperor.first_pid()));
    assert_eq!(proc::group(own), Some(own));
}

#[test]
fn without_a_keeper_a_vassal_still_dies_with_the_emperor() {
    let mut setup = Liege::in_temp_dir().option("--emperor-keeper", "off");
    setup = setup.app("one.ini", "do=ignore:term,ready on=eof:");
    if is_root() && reachable_by_all() {
        setup = setup.app_with("uid.ini", "uid = 65534\ngid = 65534", "do=ready on=eof:");
    }
    let mut emperor = setup.start();
    let vassals = emperor.stats().vassals().len();
    emperor.wait_until("all run", || emperor.stats().up() == vassals);
    assert_eq!(emperor.first_pid(), emperor.emperor_pid());
    proc::kill(emperor.emperor_pid(), libc::SIGKILL);
    emperor.wait_for_end();
    emperor.all_gone();
}

#[test]
fn signals_may_go_to_either_of_them() {
    for to_keeper in [true, false] {
        let emperor = Liege::in_temp_dir().app("one.ini", "do=ready,accepting,loyal").start();
        emperor
            .wait_until("it has spoken", || emperor.stats().vassal("one.ini").number("loyal") == 1);
        let target = if to_keeper { emperor.first_pid() } else { emperor.emperor_pid() };
        proc::kill(target, libc::SIGHUP);
        emperor.wait_until("it is told to reload", || emperor.events("one.ini", "byte").len() == 1);
        proc::kill(target, libc::SIGTERM);
        let mut emperor = emperor;
        assert_eq!(code(emperor.wait_for_end()), 0);
        emperor.all_gone();
    }
}

#[test]
fn under_a_service_manager_that_watches_the_group_there_is_no_keeper() {
    // The manager says so by naming our own pid (systemd 254).
    let setup = Liege::in_temp_dir().app("one.ini", "do=ready").shell("export SYSTEMD_EXEC_PID=$$");
    let emperor = setup.start();
    assert_eq!(emperor.first_pid(), emperor.emperor_pid());
    assert_eq!(emperor.end().code(), Some(0));
}

#[test]
fn a_user_without_rights_is_protected_as_well() {
    if !is_root() {
        skip!("starting the emperor as another user needs root");
    }
    if !reachable_by_all() {
        skip!("the test programs are not in a directory that other users can reach");
    }
    let setup = Liege::in_temp_dir().user(65534).app("one.ini", "do=stray:double,ready on=eof:");
    let mut emperor = setup.start();
    emperor.wait_until("the stray", || !emperor.events("one.ini", "stray").is_empty());
    proc::kill(emperor.emperor_pid(), libc::SIGKILL);
    emperor.wait_for_end();
    emperor.all_gone();
}

/// What a service manager hears, and from whom.
struct Manager {
    socket: OwnedFd,
    name: String,
    heard: RefCell<Vec<String>>,
}

impl Manager {
    fn new() -> Self {
        let (socket, address) = socket::notify_socket(None).unwrap();
        let Address::Abstract(name) = address else { panic!("{address}") };
        let name = format!("@{}", String::from_utf8(name).unwrap());
        Self { socket, name, heard: RefCell::default() }
    }

    /// Waits for a message, and checks that all until then came from this process.
    fn hears(&self, emperor: &Liege, text: &str) {
        let mut heard = self.heard.borrow_mut();
        emperor.wait_until(&format!("the manager hears {text}"), || {
            let mut buffer = [0; 4096];
            while let Ok(packet) = scm::receive_text(self.socket.as_fd(), &mut buffer) {
                let message = String::from_utf8_lossy(&buffer[..packet.length]).into_owned();
                let sender = packet.sender.map(|sender| sender.pid);
                assert_eq!(sender, Some(emperor.first_pid()), "{message}");
                heard.push(message);
            }
            let place = heard.iter().position(|message| message.starts_with(text));
            place.inspect(|place| drop(heard.drain(..=*place))).is_some()
        });
    }
}

#[test]
fn a_manager_that_listens_to_the_main_process_alone_hears_all_from_the_keeper() {
    let manager = Manager::new();
    let setup = Liege::in_temp_dir().app("one.ini", "do=ready");
    let emperor = setup
        .env("NOTIFY_SOCKET", &manager.name)
        .env("WATCHDOG_USEC", "200000")
        .shell("export WATCHDOG_PID=$$")
        .start();
    assert_ne!(emperor.first_pid(), emperor.emperor_pid(), "there is a keeper");
    manager.hears(&emperor, "READY=1");
    manager.hears(&emperor, "STATUS=The Emperor is governing 1 vassals");
    for _ in 0..3 {
        manager.hears(&emperor, "WATCHDOG=1");
    }
    emperor.signal(libc::SIGHUP);
    manager.hears(&emperor, "RELOADING=1");
    manager.hears(&emperor, "READY=1");
    emperor.signal(libc::SIGTERM);
    manager.hears(&emperor, "STOPPING=1");
    let mut emperor = emperor;
    assert_eq!(code(emperor.wait_for_end()), 0);
    manager.hears(&emperor, "STATUS=The Emperor is buried.");
}

#[test]
fn a_manager_that_does_not_read_holds_up_neither_keeper_nor_emperor() {
    let manager = Manager::new();
    let setup = Liege::in_temp_dir().app("one.ini", "do=ready,accepting,loyal");
    let emperor = setup.env("NOTIFY_SOCKET", &manager.name).env("WATCHDOG_USEC", "2000").start();
    emperor.running("one.ini");
    emperor.stays("the emperor answers", || emperor.try_stats().is_some());
    proc::kill(emperor.first_pid(), libc::SIGHUP);
    emperor.wait_until("it is told to reload", || emperor.events("one.ini", "byte").len() == 1);
    assert_eq!(code(emperor.end()), 0);
}

#[test]
fn the_keeper_says_how_the_emperor_has_ended_and_how_many_it_has_left() {
    for logto in [false, true] {
        let mut setup = Liege::in_temp_dir().app("one.ini", "do=stray:session,ready on=eof:");
        if logto {
            setup = setup.option("--logto", "$DIR/own.log");
        }
        let mut emperor = setup.start();
        emperor.wait_until("the stray", || !emperor.events("one.ini", "stray").is_empty());
        emperor.running("one.ini");
        let pid = emperor.emperor_pid();
        proc::kill(pid, libc::SIGKILL);
        emperor.wait_for_end();
        emperor.all_gone();
        let log = match logto {
            true => std::fs::read_to_string(emperor.path("own.log")).unwrap(),
            false => emperor.log(),
        };
        let line = log.lines().find(|line| line.contains("keeper: ")).unwrap_or_default();
        let said = format!("error keeper: the emperor (pid {pid}) has ended (");
        assert!(line.contains(&said) && line.contains("SIGKILL"), "{log}");
        // The kernel may have killed the program and the spawner before the keeper came to them, but not the stray.
        let ended = [
            "1 process that it left was",
            "2 processes that it left were",
            "3 processes that it left were",
        ];
        assert!(ended.iter().any(|ended| line.ends_with(&format!("{ended} ended"))), "{log}");
    }
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready").start();
    emperor.running("one.ini");
    let mut emperor = emperor;
    emperor.signal(libc::SIGTERM);
    emperor.wait_for_end();
    assert!(!emperor.log().contains("keeper"), "an orderly end needs no line: {}", emperor.log());
}

fn oom_score(pid: i32) -> i32 {
    std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse().unwrap()
}

#[test]
fn a_vassal_is_worth_what_the_emperor_was_given_and_the_emperor_never_less() {
    let emperor = Liege::in_temp_dir()
        .shell("echo 300 > /proc/$$/oom_score_adj")
        .app("one.ini", "do=ready")
        .start();
    let pid = emperor.running("one.ini");
    assert_eq!(oom_score(pid), 300);
    // 0 without the right, -900 with it.
    for pid in [emperor.emperor_pid(), emperor.first_pid()] {
        assert!([0, -900].contains(&oom_score(pid)), "{}", oom_score(pid));
    }
}

#[test]
fn emperor_and_keeper_are_precious_where_that_is_permitted() {
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready").start();
    let pid = emperor.running("one.ini");
    assert_eq!(oom_score(pid), oom_score(std::process::id() as i32).max(0));
    if oom_score(emperor.emperor_pid()) != -900 {
        skip!("going below the given oom_score_adj needs CAP_SYS_RESOURCE");
    }
    assert_eq!(oom_score(emperor.first_pid()), -900);
}

/// A control group whose memory is limited to 64 MiB; removed at the end.
struct SmallMemory(std::path::PathBuf);

impl SmallMemory {
    fn new() -> std::io::Result<Self> {
        let name = format!("liege-test-{}", std::process::id());
        let (v1, v2) = ("/sys/fs/cgroup/memory", "/sys/fs/cgroup");
        let (root, limit) = match std::path::Path::new(v1).exists() {
            true => (v1, "memory.limit_in_bytes"),
            false => (v2, "memory.max"),
        };
        let group = Self(std::path::Path::new(root).join(name));
        std::fs::create_dir(&group.0)?;
        std::fs::write(group.0.join(limit), "67108864")?;
        Ok(group)
    }
}

impl Drop for SmallMemory {
    fn drop(&mut self) {
        let start = std::time::Instant::now();
        while std::fs::remove_dir(&self.0).is_err() && start.elapsed().as_secs() < 10 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

#[test]
fn the_vassal_that_eats_the_memory_is_the_one_that_goes() {
    let group = match SmallMemory::new() {
        Ok(group) => group,
        Err(why) => skip!("no control group with limited memory can be made: {why}"),
    };
    let mut emperor = Liege::in_temp_dir()
        .shell(&format!(
            "echo 500 > /proc/$$/oom_score_adj; echo $$ > {}/cgroup.procs",
            group.0.display()
        ))
        .app("one.ini", "do=ready")
        .vassal("hog.ini", &crate::support::program("/usr/bin/tail /dev/zero"))
        .start();
    let own = emperor.emperor_pid();
    emperor.wait_until("the hog was ended twice", || {
        emperor.stats().vassal("hog.ini").number("deaths") >= 2
    });
    let exit = emperor.stats().vassal("hog.ini").0["last_exit"].to_string();
    assert!(exit.contains("SIGKILL"), "{exit}");
    assert_eq!(emperor.emperor_pid(), own);
    assert!(!emperor.has_ended());
    emperor.signal(libc::SIGTERM);
    assert_eq!(code(emperor.wait_for_end()), 0);
    emperor.all_gone();
}
