//! The stage as a black box: these tests play the emperor. They start the binary with a status socket, an
//! emperor pipe and custody, read its verdict, and look from outside at the program it becomes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stderr, reason = "a test that cannot run here says why")]

#[path = "../support/brief.rs"]
#[allow(dead_code, reason = "there is no emperor here")]
mod brief;
mod fingerprint;
mod program;
mod refusals;
mod sockets;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use liege::proto::status::{
    self, Custody, ExecVerdict, FromStage, MAX_PACKET, StageFault, Verdict,
};
use liege::sys::{fd, scm, socket};
use tempfile::TempDir;

/// How long a promise may take on a busy machine before it counts as broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the program of most tests is; its process is looked at from outside.
const SLEEP: &str = "unprivileged-binary-patch-arg = sleep 600";

/// A user without rights that every machine has by this number.
const NOBODY: u32 = 65534;

/// A descriptor is inherited by whoever is started while it is not close-on-exec.
static SPAWN: Mutex<()> = Mutex::new(());

fn is_root() -> bool {
    liege::sys::creds::effective_uid() == 0
}

/// Whether other users can execute the program under test, which may be in somebody's home directory.
fn is_reachable_by_all() -> bool {
    let opens = |dir: &Path| fs::metadata(dir).is_ok_and(|meta| meta.permissions().mode() & 1 != 0);
    Path::new(env!("CARGO_BIN_EXE_liege")).ancestors().all(opens)
}

/// A stage that is to be started.
struct Setup {
    dir: TempDir,
    command: Command,
    custody: Option<Custody>,
    fds: Vec<OwnedFd>,
    /// Left open in the stage as well: its number is told under this name.
    extra: Vec<(String, OwnedFd)>,
    status: bool,
    pipe: bool,
}

/// A started stage, or what it has become; ended when dropped.
struct Stage {
    dir: TempDir,
    child: Child,
    status: Option<OwnedFd>,
    pipe: Option<OwnedFd>,
}

/// All that came on the status socket until its end.
type Said = Vec<(FromStage, Vec<OwnedFd>)>;

/// A stage for a vassal file `a.ini` with these lines.
fn stage(lines: &[&str]) -> Setup {
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(dir.path().join("a.ini"), format!("[uwsgi]\n{}\n", lines.join("\n"))).unwrap();
    // Whatever the umask of who runs the tests.
    fs::set_permissions(dir.path().join("a.ini"), fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_liege"));
    command.args(["--ini", "a.ini"]).current_dir(dir.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("UWSGI_EMPEROR_FD");
    Setup {
        dir,
        command,
        custody: Some(Custody { name: "a.ini".into(), ..Default::default() }),
        fds: Vec::new(),
        extra: Vec::new(),
        status: true,
        pipe: true,
    }
}

impl Setup {
    /// Without a status socket: under another Emperor, or alone.
    fn foreign(mut self) -> Self {
        self.status = false;
        self
    }

    /// Listening sockets in custody.
    fn held(mut self, fds: Vec<OwnedFd>) -> Self {
        self.custody.as_mut().unwrap().listeners = fds.len().try_into().unwrap();
        self.fds.extend(fds);
        self
    }

    /// An on-demand listener.
    fn on_demand(mut self, fd: OwnedFd) -> Self {
        self.custody.as_mut().unwrap().on_demand = true;
        self.fds.insert(0, fd);
        self
    }

    fn custody(mut self, change: impl FnOnce(&mut Custody)) -> Self {
        change(self.custody.as_mut().unwrap());
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// The program is another user's from the start, as under Tyrant.
    fn run_by(mut self, uid: u32) -> Self {
        self.command.uid(uid).gid(uid);
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(mut self) -> Stage {
        brief::cut_panics();
        let (ours, theirs) = socket::packet_pair().unwrap();
        let (pipe, their_pipe) = socket::stream_pair().unwrap();
        if let Some(custody) = &self.custody {
            let fds: Vec<BorrowedFd<'_>> = self.fds.iter().map(AsFd::as_fd).collect();
            scm::send(ours.as_fd(), &custody.encode(), &fds).unwrap();
        }
        self.fds.clear();
        let mut passed = std::mem::take(&mut self.extra);
        if self.status {
            passed.push((status::STATUS_FD_VARIABLE.into(), theirs));
        }
        if self.pipe {
            passed.push(("UWSGI_EMPEROR_FD".into(), their_pipe));
        }
        let _alone = SPAWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (name, descriptor) in &passed {
            fd::clear_cloexec(descriptor.as_fd()).unwrap();
            self.command.env(name, descriptor.as_raw_fd().to_string());
        }
        let child = self.command.spawn().unwrap();
        drop(passed);
        let status = self.status.then_some(ours);
        Stage { dir: self.dir, child, status, pipe: Some(pipe) }
    }
}

impl Stage {
    /// Everything up to the end of the status socket.
    fn said(&mut self) -> Said {
        let status = self.status.take().expect("a stage of ours");
        let deadline = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no end of the status socket after {said:?}");
            fd::wait_readable([status.as_fd()], Some(left)).unwrap();
            let mut packet = vec![0; MAX_PACKET];
            match scm::receive(status.as_fd(), &mut packet) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                // What was not read when the stage ended.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
                received => {
                    let received = received.unwrap();
                    if received.length == 0 {
                        return said;
                    }
                    let message = FromStage::decode(&packet[..received.length]).unwrap();
                    said.push((message, received.fds));
                }
            }
        }
    }

    /// The verdict `exec`, and that nothing came after it.
    fn exec(&mut self) -> (ExecVerdict, Vec<OwnedFd>) {
        let mut said = self.said();
        let last = said.pop();
        assert!(said.is_empty(), "{said:?} before {last:?}");
        match last {
            Some((FromStage::Verdict(Verdict::Exec(settings)), fds)) => {
                assert_eq!(fds.len(), settings.descriptors());
                if settings.argv0 == "sleep" {
                    until("its sleep", || {
                        self.stat().is_none_or(|(_, state)| "SZ".contains(state))
                    });
                }
                (settings, fds)
            }
            other => panic!("no exec: {other:?}; {}", self.stderr()),
        }
    }

    /// The verdict `error`, after which the stage has ended with this status.
    fn error(mut self, expected: i32) -> StageFault {
        let said = self.said();
        assert_eq!(self.wait().code(), Some(expected), "{said:?}");
        match said.into_iter().next() {
            Some((FromStage::Verdict(Verdict::Error(fault)), fds)) => {
                assert!(fds.is_empty());
                fault
            }
            other => panic!("no error: {other:?}; {}", self.stderr()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the kernel says about the program.
    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid()))
    }

    /// The words of `/proc/PID/cmdline` or `environ`.
    fn words(&self, name: &str) -> Vec<String> {
        let bytes = fs::read(self.proc(name)).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        text.split_terminator('\0').map(str::to_owned).collect()
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let split = |word: String| {
            let (name, value) = word.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        self.words("environ").into_iter().map(split).collect()
    }

    /// A line of `/proc/PID/status`.
    fn status_line(&self, name: &str) -> String {
        let text = fs::read_to_string(self.proc("status")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Every open descriptor and what it is.
    fn fds(&self) -> BTreeMap<i32, String> {
        let number = |path: &Path| path.file_name()?.to_str()?.parse().ok();
        let entries = fs::read_dir(self.proc("fd")).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (number(&path).unwrap(), link(&path))).collect()
    }

    /// Whether reads and accepts of this descriptor of the program wait.
    fn is_blocking(&self, number: i32) -> bool {
        let text = fs::read_to_string(self.proc(&format!("fdinfo/{number}"))).unwrap();
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        i64::from_str_radix(flags.trim(), 8).unwrap() & 0o4000 == 0
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it has not ended");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What it has written to stderr, after its end.
    fn stderr(&mut self) -> String {
        let _ = self.child.kill();
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            std::io::Read::read_to_string(&mut stderr, &mut text).unwrap();
        }
        text
    }

    /// Waits until the stage has become this program, which sleeps; before, its loader has files open.
    fn becomes(&self, name: &str) {
        until("the program", || {
            self.stat().is_some_and(|(comm, state)| comm == name && state == 'S')
        });
    }

    /// Name and state in `/proc/PID/stat`.
    fn stat(&self) -> Option<(String, char)> {
        let text = fs::read_to_string(self.proc("stat")).ok()?;
        let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
        Some((name.to_owned(), rest.trim_start().chars().next()?))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Both fail only if it has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a condition.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: waited in vain");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn link(path: &Path) -> String {
    fs::read_link(path).unwrap().to_str().unwrap().to_owned()
}

/// What a descriptor of ours is, as `/proc` names it: equal for both ends of a passing.
fn identity(descriptor: &OwnedFd) -> String {
    link(Path::new(&format!("/proc/self/fd/{}", descriptor.as_raw_fd())))
}

/// A listener on a free port, and its address.
fn tcp() -> (OwnedFd, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener.into(), address)
}

/// Makes a program. Not while another test forks: the child would have it open for writing until its
/// own exec, and nobody could execute it meanwhile.
fn executable(path: &Path, text: &str) {
    let _alone = SPAWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A socket without a server, and nobody who has it open still: a test beside this one may fork.
fn left_over_socket(path: &Path) {
    let _alone = SPAWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    drop(std::os::unix::net::UnixListener::bind(path).unwrap());
}

fn file_text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

/// Something open that no program must see.
fn leak() -> OwnedFd {
    File::open("/dev/zero").unwrap().into()
}
