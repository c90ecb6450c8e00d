//! The stage as a black box: these tests play the emperor. They start a spawner, send it a template and an order with
//! an emperor pipe, a status socket and custody, read the verdict of the stage, and look from outside at the program
//! that it becomes. As the emperor does, they reap it: it is a child of this process.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stderr, reason = "a test that cannot run here says why")]

#[path = "../support/brief.rs"]
#[allow(dead_code, reason = "there is no emperor here")]
mod brief;
mod fingerprint;
mod isolation;
mod lease;
#[path = "../support/proc.rs"]
#[allow(dead_code, reason = "the other black boxes need more of it")]
mod proc;
mod processes;
mod program;
mod refusals;
mod sockets;
mod spawner;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use liege::proto::spawner::{SpawnerAnswer, SpawnerOrder, StartOrder, Template, VassalName};
use liege::proto::status::{self, ExecVerdict, FromStage, MAX_PACKET, StageFault, Verdict};
use liege::sys::process::{self, Pid, Reap};
use liege::sys::signal::Signal;
use liege::sys::{fd, pidfd, scm, socket};
use liege::types::exit_status::ExitStatus;
use liege::types::purpose::Purpose;
use processes::{Made, Spawner, end_of, fds, stat};
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
    /// The spawner; or the stage itself, if it is [`Setup::foreign`].
    command: Command,
    template: Template,
    order: StartOrder,
    /// What is attached to the order, behind emperor pipe and status socket.
    fds: Vec<OwnedFd>,
    /// Left open in what is executed: its number is told under this name.
    extra: Vec<(String, OwnedFd)>,
    foreign: bool,
    pipe: bool,
}

/// A started stage, or what it has become; ended when dropped.
struct Stage {
    dir: TempDir,
    process: Process,
    status: Option<OwnedFd>,
    pipe: Option<OwnedFd>,
    /// Its standard error is that of the stage.
    spawner: Option<Spawner>,
}

/// A child of this process.
enum Process {
    Executed(Child),
    Made(Made),
}

/// All that came on the status socket until its end.
type Said = Vec<(FromStage, Vec<OwnedFd>)>;

/// A stage for a vassal file `a.ini` with these lines.
fn stage(lines: &[&str]) -> Setup {
    brief::cut_panics();
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    vassal_file(&dir.path().join("a.ini"), lines);
    let mut command = liege();
    command.arg("spawner");
    let template = Template {
        programs: vec![c_string(env!("CARGO_BIN_EXE_liege"))],
        directories: vec![c_string(dir.path().to_str().unwrap())],
        descriptor_limit: 1024,
        stage: true,
        ..Template::default()
    };
    let vassal = VassalName { source: 0, name: "a.ini".into() };
    Setup {
        dir,
        command,
        template,
        order: StartOrder { vassal, ..StartOrder::default() },
        fds: Vec::new(),
        extra: Vec::new(),
        foreign: false,
        pipe: true,
    }
}

/// A vassal file that everybody can read, whatever the umask of who runs the tests.
fn vassal_file(path: &Path, lines: &[&str]) {
    fs::write(path, format!("[uwsgi]\n{}\n", lines.join("\n"))).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

fn liege() -> Command {
    program(env!("CARGO_BIN_EXE_liege"))
}

fn program(path: &str) -> Command {
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("UWSGI_EMPEROR_FD");
    command
}

fn c_string(text: &str) -> CString {
    CString::new(text).unwrap()
}

impl Setup {
    /// Executed as liege without a status socket: under another Emperor, or alone.
    fn foreign(mut self) -> Self {
        self.foreign = true;
        self.command = liege();
        self.command.args(["--ini", "a.ini"]).current_dir(self.dir.path());
        self
    }

    /// Listening sockets in custody.
    fn held(mut self, fds: Vec<OwnedFd>) -> Self {
        self.order.listeners = fds.len().try_into().unwrap();
        self.fds.extend(fds);
        self
    }

    /// An on-demand listener.
    fn on_demand(mut self, fd: OwnedFd) -> Self {
        self.order.on_demand = true;
        self.fds.insert(0, fd);
        self
    }

    fn order(mut self, change: impl FnOnce(&mut StartOrder)) -> Self {
        change(&mut self.order);
        self
    }

    fn check(self) -> Self {
        self.order(|order| order.purpose = Purpose::Check)
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

    /// The spawner is an ordinary user's, who is given with it; `None` where that cannot be.
    fn of_ordinary_user(self) -> Option<(Self, u32)> {
        let user = liege::sys::creds::effective_uid();
        if user != 0 {
            return Some((self, user));
        }
        if !is_reachable_by_all() {
            eprintln!("skipped: no other user can execute the program");
            return None;
        }
        Some((self.run_by(NOBODY), NOBODY))
    }

    /// The spawner is started by a shell, behind this line. Called before what changes the command.
    fn through_shell(mut self, line: &str) -> Self {
        self.command = program("bash");
        let line = format!("{line} && exec \"$0\" spawner");
        self.command.args(["-c", &line, env!("CARGO_BIN_EXE_liege")]);
        self
    }

    /// The vassal file lies in this directory.
    fn inside(mut self, dir: &Path) -> Self {
        self.template.directories = vec![c_string(dir.to_str().unwrap())];
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Executes the command, with what is left open for it.
    fn execute(&mut self, mut passed: Vec<(String, OwnedFd)>) -> Child {
        passed.append(&mut self.extra);
        let _alone = SPAWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (name, descriptor) in &passed {
            fd::clear_cloexec(descriptor.as_fd()).unwrap();
            self.command.env(name, descriptor.as_raw_fd().to_string());
        }
        let child = self.command.spawn().unwrap();
        // While no other test forks.
        drop(passed);
        child
    }

    /// Starts the spawner alone.
    fn spawner(&mut self) -> Spawner {
        let packet = self.template.encode();
        self.spawner_told(&packet)
    }

    /// The same with this packet for a template.
    fn spawner_told(&mut self, template: &[u8]) -> Spawner {
        let (ours, theirs) = socket::packet_pair().unwrap();
        self.command.stdin(Stdio::from(theirs));
        let child = self.execute(Vec::new());
        // The command has a copy of its own.
        self.command.stdin(Stdio::null());
        scm::send(ours.as_fd(), template, &[]).unwrap();
        Spawner { child, socket: Some(ours), orders: 0 }
    }

    fn start(mut self) -> Stage {
        let (pipe, their_pipe) = socket::stream_pair().unwrap();
        if self.foreign {
            let their_pipe = self.pipe.then_some(their_pipe);
            let passed = their_pipe.map(|pipe| ("UWSGI_EMPEROR_FD".into(), pipe));
            let process = Process::Executed(self.execute(passed.into_iter().collect()));
            return Stage { dir: self.dir, process, status: None, pipe: Some(pipe), spawner: None };
        }
        let (status, their_status) = socket::packet_pair().unwrap();
        let mut spawner = self.spawner();
        let mut fds = vec![their_pipe, their_status];
        fds.append(&mut self.fds);
        let made = spawner.order(&SpawnerOrder::Start(self.order), &fds).unwrap();
        Stage {
            dir: self.dir,
            process: Process::Made(made),
            status: Some(status),
            pipe: Some(pipe),
            spawner: Some(spawner),
        }
    }
}

/// Everything up to the end of a status socket.
fn said_on(status: &OwnedFd) -> Said {
    let deadline = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "no end of the status socket after {said:?}");
        fd::wait_readable([status.as_fd()], Some(left)).unwrap();
        let mut packet = vec![0; MAX_PACKET];
        match scm::receive(status.as_fd(), &mut packet) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
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

impl Stage {
    /// Everything up to the end of the status socket.
    fn said(&mut self) -> Said {
        said_on(&self.status.take().expect("a stage of ours"))
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
        assert_eq!(self.wait(), ExitStatus::Code(expected), "{said:?}");
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
        match &self.process {
            Process::Executed(child) => child.id(),
            Process::Made(made) => made.number(),
        }
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

    fn fds(&self) -> BTreeMap<i32, String> {
        fds(self.pid())
    }

    /// Whether reads and accepts of this descriptor of the program wait.
    fn is_blocking(&self, number: i32) -> bool {
        let text = fs::read_to_string(self.proc(&format!("fdinfo/{number}"))).unwrap();
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        i64::from_str_radix(flags.trim(), 8).unwrap() & 0o4000 == 0
    }

    fn wait(&mut self) -> ExitStatus {
        match &mut self.process {
            Process::Executed(child) => {
                let status = end_of(child);
                let signal = || std::os::unix::process::ExitStatusExt::signal(&status).unwrap();
                status.code().map_or_else(|| ExitStatus::Signal(signal()), ExitStatus::Code)
            }
            Process::Made(made) => made.wait(),
        }
    }

    fn kill(&mut self) {
        match &mut self.process {
            // It fails only if it has ended and was waited for.
            Process::Executed(child) => drop(child.kill()),
            Process::Made(made) => made.kill(),
        }
    }

    /// Sends a signal to what a spawner has made.
    fn signal(&self, number: i32) {
        let Process::Made(made) = &self.process else { panic!("it was executed") };
        pidfd::send(made.handle.as_fd(), Signal::new(number).unwrap()).unwrap();
    }

    /// What it has written to stderr, after its end.
    fn stderr(&mut self) -> String {
        self.kill();
        let child = match (&mut self.process, &mut self.spawner) {
            (Process::Executed(child), _) => child,
            (Process::Made(_), spawner) => {
                let spawner = spawner.as_mut().unwrap();
                spawner.end();
                &mut spawner.child
            }
        };
        let mut text = String::new();
        if let Some(mut stderr) = child.stderr.take() {
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
        stat(self.pid())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Process::Executed(child) = &mut self.process {
            // Both fail only if it has ended and was waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
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
