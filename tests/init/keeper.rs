//! The keeper: the same code with the emperor, a function, as its command.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::parent_id;

use liege::init::{Command, InitOptions, OrphanPolicy, SignalForwarding, SignalTarget, run};
use liege::sys::process::{self, Reap};
use liege::sys::signal::{self, Signal, SignalMask};
use liege::sys::{fd, pidfd};
use liege::types::exit_status::ExitStatus;

use crate::support::*;

fn options(pid_file: Option<CString>) -> InitOptions {
    InitOptions {
        target: SignalTarget::Command,
        forwarding: SignalForwarding::WithSender,
        parent_death: None,
        orphans: OrphanPolicy::Kill,
        pid_file,
    }
}

/// A keeper with a function below it; what that writes into `out` ends up in the file `said`.
struct Keeper {
    handle: std::os::fd::OwnedFd,
    pid: i32,
}

impl Keeper {
    fn start(options: InitOptions, emperor: impl FnOnce() -> u8 + 'static) -> Self {
        let keeper = process::fork(move || {
            run(&options, Command::Function(Box::new(emperor))).map_or(200, ExitStatus::shell_code)
        })
        .unwrap();
        Self { handle: pidfd::open(keeper).unwrap(), pid: keeper.get() }
    }

    #[track_caller]
    fn end(&self) -> u8 {
        let ended =
            until("the keeper's end", || pidfd::wait(self.handle.as_fd(), Reap::Take).unwrap());
        let ExitStatus::Code(code) = ended else { panic!("{ended}") };
        u8::try_from(code).unwrap()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        for child in children(self.pid) {
            kill(child, Signal::KILL);
        }
        let _ = pidfd::send(self.handle.as_fd(), Signal::KILL);
        let _ = fd::wait_readable([self.handle.as_fd()], None);
        let _ = pidfd::wait(self.handle.as_fd(), Reap::Take);
    }
}

#[test]
fn the_emperor_learns_who_has_sent_a_signal() {
    let world = World::new();
    let path = world.path("said");
    let tester = std::process::id();
    let keeper = Keeper::start(options(None), move || {
        let mut said = File::create(path).unwrap();
        writeln!(said, "up").unwrap();
        loop {
            let Ok(Some(got)) = signal::wait(SignalMask::ALL, None) else { continue };
            let sender = got.original_sender(Some(parent_id()));
            let known = sender.pid == tester && sender.uid == signal::Sender::ourselves().uid;
            let forged = got.original_sender(Some(tester)).pid == tester;
            writeln!(said, "{} {known} {forged}", got.signal).unwrap();
            if got.signal == Signal::TERM {
                return 0;
            }
        }
    });
    world.line("said", "up");
    for name in ["SIGHUP", "SIGUSR1", "SIGWINCH", "SIGRTMIN+4", "SIGSEGV", "SIGTERM"] {
        kill(keeper.pid, signal(name));
        world.line("said", &format!("{name} true false"));
    }
    assert_eq!(keeper.end(), 0);
}

#[test]
fn no_signal_is_lost_before_the_emperor_can_read_it() {
    for _ in 0..50 {
        let keeper = Keeper::start(options(None), || {
            loop {
                if let Ok(Some(got)) = signal::wait(SignalMask::ALL, None) {
                    return got.signal.get();
                }
            }
        });
        // Its child is there, so the signals are blocked.
        child_of(keeper.pid);
        kill(keeper.pid, Signal::HUP);
        assert_eq!(keeper.end(), Signal::HUP.get());
    }
}

#[test]
fn the_emperor_has_a_process_group_and_a_handle_on_the_keeper() {
    let keeper = Keeper::start(options(None), || {
        let watched =
            pidfd::open_parent(parent_id()).and_then(|keeper| pidfd::info(keeper.as_fd()));
        let watched = watched.is_ok_and(|keeper| keeper.pid == parent_id());
        let leads = u32::try_from(process::own_group()) == Ok(std::process::id());
        u8::from(!watched) + 2 * u8::from(!leads)
    });
    assert_eq!(keeper.end(), 0);
}

/// An emperor with three who would like to stay, and its pid file.
fn emperor_with_strays(world: &World, pid_in_file: impl FnOnce(u32) -> u32 + 'static) -> Keeper {
    let pid_file = world.path("pid");
    let name = CString::new(pid_file.to_str().unwrap()).unwrap();
    let mut strays = world.command("sh");
    strays.args(["-c", "sleep 600 & (setsid sleep 600 &) ; sh -c 'kill -STOP $$' & echo up >up"]);
    strays.stdin(std::process::Stdio::null());
    let keeper = Keeper::start(options(Some(name)), move || {
        let _ = signal::set_mask(SignalMask::NONE);
        std::fs::write(pid_file, format!("{}\n", pid_in_file(std::process::id()))).unwrap();
        strays.status().unwrap();
        loop {
            std::thread::park();
        }
    });
    world.line("up", "up");
    // The shell that has started them may still be there.
    until("the strays alone", || (world.alive().len() == 3).then_some(()));
    keeper
}

#[test]
fn an_emperor_that_is_killed_takes_everything_and_its_pid_file_along() {
    let world = World::new();
    let keeper = emperor_with_strays(&world, |own| own);
    kill(world.number("pid"), Signal::KILL);
    assert_eq!(keeper.end(), 137);
    world.nobody_is_left();
    assert!(!world.path("pid").exists());
}

#[test]
fn a_pid_file_that_names_another_process_stays() {
    let world = World::new();
    let keeper = emperor_with_strays(&world, |_| 1);
    kill(child_of(keeper.pid), Signal::KILL);
    assert_eq!(keeper.end(), 137);
    assert_eq!(world.text("pid"), "1\n");
}

#[test]
fn an_emperor_without_its_keeper_can_clear_away_everything_below_it() {
    let world = World::new();
    let mut strays = world.command("sh");
    strays.args(["-c", "sleep 600 & (setsid sleep 600 &) ; sh -c 'kill -STOP $$' & echo up >up"]);
    strays.stdin(std::process::Stdio::null());
    let said = world.path("said");
    let keeper = Keeper::start(options(None), move || {
        let keeper = pidfd::open_parent(parent_id()).unwrap();
        liege::sys::prctl::become_subreaper().unwrap();
        strays.status().unwrap();
        let _ = fd::wait_readable([keeper.as_fd()], None);
        let cleared = liege::sys::descendants::clear(|| {});
        std::fs::write(said, format!("{cleared:?}\n")).unwrap();
        70
    });
    world.line("up", "up");
    until("all up", || (world.alive().len() == 3).then_some(()));
    kill(keeper.pid, Signal::KILL);
    world.line("said", "All");
    world.nobody_is_left();
}

#[test]
fn an_emperor_that_panics_ends_with_70_and_never_becomes_a_second_keeper() {
    let keeper = Keeper::start(options(None), || panic!("told to"));
    assert_eq!(keeper.end(), 70);
}
