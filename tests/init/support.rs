//! What the tests share: an init in a directory of its own, and a look into `/proc`.
//!
//! Whatever a test starts carries a mark in its environment. So everything of it can be found, in
//! whatever session and with whatever parent, and is ended when the test is over, failed or not.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use liege::sys::process::Pid;
use liege::sys::signal::{self, Signal};

/// How long a promise may take on a busy machine before it counts as broken.
pub const PATIENCE: Duration = Duration::from_secs(30);

const MARK: &str = "LIEGE_INIT_TEST";

/// The program under test.
pub const LIEGE: &str = env!("CARGO_BIN_EXE_liege");

/// Waits until `look` finds what it is looking for.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A directory and a mark; ends everything that carries the mark.
pub struct World {
    dir: tempfile::TempDir,
    mark: String,
}

impl World {
    pub fn new() -> Self {
        crate::brief::cut_panics();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = tempfile::tempdir().unwrap();
        Self { dir, mark: format!("{MARK}={}-{number}", std::process::id()) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program with the mark, in the directory.
    pub fn command(&self, program: &str) -> Command {
        let (key, value) = self.mark.split_once('=').unwrap();
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).env(key, value);
        // Who runs the tests may ignore signals (nohup does), and that would be handed on.
        before_exec(&mut command, || {
            liege::sys::signal::set_all_default();
            Ok(())
        });
        command
    }

    /// `liege init` with these arguments.
    pub fn init(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(LIEGE);
        command.arg("init").args(arguments);
        command
    }

    /// `liege init`, run to its end by somebody who waits for no more than that.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> ExitStatus {
        let mut child = self.init(arguments).stdin(Stdio::null()).spawn().unwrap();
        end_of(&mut child)
    }

    /// `liege init` in the background.
    pub fn start(&self, arguments: &[&str]) -> Running<'_> {
        let mut command = self.init(arguments);
        // Whoever started the tests by posix_spawn(3) has left these two ignored.
        before_exec(&mut command, || {
            [32, 33].into_iter().filter_map(Signal::new).try_for_each(signal::set_default)
        });
        Running { child: command.stdin(Stdio::null()).spawn().unwrap(), world: self }
    }

    /// What a script has written, or nothing.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Waits for the first whole line of a file and reads a number from it.
    #[track_caller]
    pub fn number(&self, name: &str) -> i32 {
        until(name, || self.text(name).split_once('\n')?.0.trim().parse().ok())
    }

    /// Waits until a file has a line like this.
    #[track_caller]
    pub fn line(&self, name: &str, line: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.text(name).lines().any(|it| it == line) {
            let text = self.text(name);
            assert!(Instant::now() < deadline, "waited in vain: {line:?} in {name}: {text:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[track_caller]
    pub fn nobody_is_left(&self) {
        let alive = self.alive();
        assert!(alive.is_empty(), "left: {alive:?}");
    }

    /// Who carries the mark and has not ended.
    pub fn alive(&self) -> Vec<i32> {
        let carries = |pid: &i32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|&byte| byte == 0).any(|entry| entry == self.mark.as_bytes())
                && !matches!(state(*pid), None | Some('Z' | 'X'))
        };
        pids().filter(carries).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Scripts that would go on for ever look for this.
        let _ = fs::write(self.path("stop"), "");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let alive = self.alive();
            if alive.is_empty() || Instant::now() > deadline {
                return;
            }
            for pid in alive {
                kill(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// An init that is running.
pub struct Running<'a> {
    pub child: Child,
    world: &'a World,
}

impl Running<'_> {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        end_of(&mut self.child)
    }

    #[track_caller]
    pub fn ends_with(mut self, code: i32) {
        assert_eq!(self.end().code(), Some(code));
        self.world.nobody_is_left();
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
pub fn end_of(child: &mut Child) -> ExitStatus {
    until("the end", || child.try_wait().unwrap())
}

/// Runs to the end; for commands that are known to end.
pub fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

/// The exit status as a shell shows it.
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| status.signal().unwrap() + 1000)
}

/// Sends a signal to a process that this test has started; quiet if it has gone.
pub fn kill(pid: i32, signal: Signal) {
    if let Some(handle) = Pid::new(pid).and_then(|pid| liege::sys::pidfd::open(pid).ok()) {
        let _ = liege::sys::pidfd::send(std::os::fd::AsFd::as_fd(&handle), signal);
    }
}

pub fn signal(name: &str) -> Signal {
    Signal::parse(name).unwrap()
}

pub fn pids() -> impl Iterator<Item = i32> {
    let names = fs::read_dir("/proc").unwrap().flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Field `number` of `/proc/PID/stat`, counted as in proc(5).
pub fn stat(pid: i32, number: usize) -> Option<String> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let rest = &text[text.rfind(')')? + 2..];
    rest.split(' ').nth(number - 3).map(|field| field.trim().to_owned())
}

pub fn state(pid: i32) -> Option<char> {
    stat(pid, 3)?.chars().next()
}

#[track_caller]
pub fn wait_for_state(pid: i32, wanted: char) {
    until(&format!("state {wanted} of {pid}"), || (state(pid)? == wanted).then_some(()));
}

pub fn is_gone(pid: i32) -> bool {
    matches!(state(pid), None | Some('Z' | 'X'))
}

/// The children of a process, zombies included.
pub fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    list.unwrap_or_default().split_whitespace().map(|word| word.parse().unwrap()).collect()
}

/// Waits for the first child of a process.
#[track_caller]
pub fn child_of(pid: i32) -> i32 {
    until("a child", || children(pid).first().copied())
}

/// Whether we may do what only root may; prints the reason if not.
pub fn is_root() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|it| {
        use std::os::unix::fs::MetadataExt;
        it.uid() == 0
    });
    if !root {
        eprintln!("skipped: not root");
    }
    root
}

/// Whether a program is there; prints the reason if not.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| Path::is_file(&dir.join(program)));
    if !found {
        eprintln!("skipped: no {program} here");
    }
    found
}

/// Has a command make system calls between its fork and its exec.
#[allow(unsafe_code)]
pub fn before_exec(
    command: &mut Command,
    prepare: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: what the tests do here is system calls only.
    unsafe { command.pre_exec(prepare) };
}
