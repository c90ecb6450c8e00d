//! The harness of the black-box tests: a real `liege` in a temporary directory.
//!
//! Everything that is started here carries `TEST_OF_LIEGE` in its environment, so that what survives can be
//! found in `/proc` whatever it did to its parent, session or user, and is ended when the test ends.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stderr, reason = "a failing test shows what the emperor said")]

pub mod brief;
pub mod proc;
pub mod stats;

use serde_json::Value;
use stats::Stats;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;

/// How long a promise may take on a busy machine before it counts as broken.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long to look on where nothing must happen.
pub const A_WHILE: Duration = Duration::from_millis(700);

/// Says why a test did not run; libtest has no state for that.
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        eprintln!("skipped: {}", format_args!($($why)*));
        return;
    }};
}

/// What is prepared before the emperor is started.
pub struct Setup {
    dir: TempDir,
    id: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stderr: Option<Stdio>,
    shell: String,
    before: Vec<String>,
    user: Option<u32>,
    direct: bool,
    program: String,
}

/// A running emperor, and the keeper above it.
pub struct Liege {
    pub dir: TempDir,
    id: String,
    child: Child,
    direct: bool,
    ended: bool,
}

impl Liege {
    /// A directory with an empty `vassals`, statistics on a unix socket.
    pub fn in_temp_dir() -> Setup {
        brief::cut_panics();
        proc::set_usual_umask();
        let dir = TempDir::new().unwrap();
        for name in ["vassals", "record"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            open_to_all(&dir.path().join(name));
        }
        open_to_all(dir.path());
        let args = ["--emperor", "$DIR/vassals", "--emperor-stats", "$DIR/stats.sock"];
        Setup {
            dir,
            id: unique_id(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: Vec::new(),
            stderr: None,
            shell: String::new(),
            before: Vec::new(),
            user: None,
            direct: false,
            program: env!("CARGO_BIN_EXE_liege").to_owned(),
        }
    }
}

impl Setup {
    /// A path in the temporary directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A vassal file with this text; `$DIR` stands for the temporary directory, `$APP` for the test vassal.
    pub fn vassal(self, name: &str, text: &str) -> Self {
        fs::write(self.path("vassals").join(name), fill(text, self.dir.path(), name)).unwrap();
        self
    }

    /// A vassal that runs the test vassal with these words.
    pub fn app(self, name: &str, words: &str) -> Self {
        self.app_with(name, "", words)
    }

    /// The same, with more lines of configuration.
    pub fn app_with(self, name: &str, lines: &str, words: &str) -> Self {
        let text = app_text(self.direct, lines, words);
        self.vassal(name, &text)
    }

    /// An on-demand address for a vassal: a path in the temporary directory, or `host:port`.
    pub fn on_demand(self, name: &str, address: &str) -> Self {
        let address =
            if address.contains(':') { address.to_owned() } else { format!("$DIR/{address}") };
        let setup = self.vassal(&format!("{name}.socket"), &format!("{address}\n"));
        let set = setup.args.iter().any(|arg| arg == "--emperor-on-demand-extension");
        if set { setup } else { setup.option("--emperor-on-demand-extension", ".socket") }
    }

    /// The test vassal is the `binary-path` and reads its words in the vassal file; call it first.
    pub fn direct(mut self) -> Self {
        self.direct = true;
        let app = app_path().to_str().unwrap().to_owned();
        self.option("--binary-path", &app)
    }

    /// Another emperor, that understands the same options: uWSGI's.
    pub fn program(mut self, program: &str) -> Self {
        program.clone_into(&mut self.program);
        self
    }

    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.args.extend([name.to_owned(), value.to_owned()]);
        self
    }

    pub fn flag(mut self, name: &str) -> Self {
        self.args.push(name.to_owned());
        self
    }

    /// The whole command line instead of the usual one.
    pub fn only_args(mut self, args: &[&str]) -> Self {
        self.args = args.iter().map(|&arg| arg.to_owned()).collect();
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where standard error goes, instead of the log file.
    pub fn stderr(mut self, to: Stdio) -> Self {
        self.stderr = Some(to);
        self
    }

    /// A line of shell that prepares the process which becomes the emperor: `ulimit`, `trap`, redirections.
    pub fn shell(mut self, line: &str) -> Self {
        self.shell = format!("{}{line}; ", self.shell);
        self
    }

    /// A program, with its arguments, that starts the emperor: strace(1).
    pub fn before(mut self, words: &[&str]) -> Self {
        self.before = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts it as another user; needs root.
    pub fn user(mut self, uid: u32) -> Self {
        self.user = Some(uid);
        self
    }

    /// Starts the emperor and waits until it answers.
    pub fn start(self) -> Liege {
        let liege = self.spawn();
        liege.wait_until("the statistics answer", || liege.try_stats().is_some());
        liege
    }

    /// Starts it and waits for nothing.
    pub fn spawn(self) -> Liege {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.command();
        command.stdout(log.try_clone().unwrap());
        command.stderr(self.stderr.unwrap_or_else(|| log.into()));
        let child = command.spawn().unwrap();
        Liege { dir: self.dir, id: self.id, child, direct: self.direct, ended: false }
    }

    /// Runs it to its end: for command lines that are refused.
    pub fn run(self) -> (ExitStatus, String) {
        let liege = self.spawn();
        let mut liege = liege;
        let status = liege.wait_for_end();
        (status, liege.log())
    }

    fn command(&self) -> Command {
        let mut words = self.before.clone();
        words.push(self.program.clone());
        if !self.shell.is_empty() {
            let line = format!("{} exec \"$0\" \"$@\"", self.shell);
            words.splice(0..0, ["/bin/sh".to_owned(), "-c".to_owned(), line]);
        }
        let mut words = words.iter().map(|word| fill(word, self.dir.path(), ""));
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        command.args(self.args.iter().map(|arg| fill(arg, self.dir.path(), "")));
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("TEST_OF_LIEGE", &self.id).envs(self.env.iter().map(|(k, v)| (k, v)));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        if let Some(uid) = self.user {
            use std::os::unix::process::CommandExt;
            command.uid(uid).gid(uid);
        }
        command
    }
}

impl Liege {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The path of a vassal file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path("vassals").join(name)
    }

    /// What the emperor has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("log")).unwrap_or_default()).into_owned()
    }

    pub fn stats(&self) -> Stats {
        self.wait_for("the statistics answer", || self.try_stats())
    }

    pub fn try_stats(&self) -> Option<Stats> {
        Stats::parse(&self.raw_stats()?)
    }

    /// The bytes that the statistics server sends.
    pub fn raw_stats(&self) -> Option<Vec<u8>> {
        self.bytes_at("stats.sock")
    }

    fn bytes_at(&self, socket: &str) -> Option<Vec<u8>> {
        let mut client = UnixStream::connect(self.path(socket)).ok()?;
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Waits until the emperor below, whose statistics are at `lower.sock`, knows this vassal as loyal:
    /// before it has spoken, a vassal is told nothing by bytes alone.
    pub fn loyal_below(&self, name: &str) {
        self.wait_until(&format!("{name} is loyal to the emperor below"), || {
            let stats = self.bytes_at("lower.sock").and_then(|bytes| Stats::parse(&bytes));
            stats.is_some_and(|stats| stats.find(name).is_some_and(|v| v.number("loyal") == 1))
        });
    }

    /// The pid that the statistics show for a vassal.
    pub fn pid(&self, name: &str) -> Option<i32> {
        self.stats().find(name)?.pid()
    }

    /// The pid of the emperor, also under a keeper.
    pub fn emperor_pid(&self) -> i32 {
        self.stats().top("pid").as_i64().unwrap() as i32
    }

    /// The pid of the process that forks in the emperor's place.
    pub fn spawner_pid(&self) -> i32 {
        self.stats().top("spawner_pid").as_i64().unwrap() as i32
    }

    /// The pid of the process that was started: the keeper, if there is one.
    pub fn first_pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Waits until a vassal runs and gives its pid.
    pub fn running(&self, name: &str) -> i32 {
        self.wait_for(&format!("{name} runs"), || {
            let stats = self.try_stats()?;
            let vassal = stats.find(name)?;
            vassal.pid().filter(|_| vassal.text("state") == "running")
        })
    }

    /// Waits until a vassal runs with another pid than this.
    pub fn running_anew(&self, name: &str, old: i32) -> i32 {
        self.wait_for(&format!("{name} runs again, not as {old}"), || {
            let stats = self.try_stats()?;
            let vassal = stats.find(name)?;
            vassal.pid().filter(|&pid| pid != old && vassal.text("state") == "running")
        })
    }

    /// Waits until a vassal runs and has said that it is ready, and gives its pid. Before it has said anything
    /// it is no speaker: it would be told nothing by bytes, but stopped by a signal.
    pub fn spoken(&self, name: &str) -> i32 {
        self.wait_for(&format!("{name} has spoken"), || {
            let stats = self.try_stats()?;
            let vassal = stats.find(name)?;
            let is_ready = vassal.number("ready") == 1 && vassal.text("state") == "running";
            vassal.pid().filter(|_| is_ready)
        })
    }

    /// Waits until the statistics show this state of a vassal.
    pub fn state(&self, name: &str, state: &str) {
        self.wait_until(&format!("{name} is {state}"), || {
            self.try_stats().is_some_and(|stats| {
                stats.find(name).is_some_and(|vassal| vassal.text("state") == state)
            })
        });
    }

    /// Waits until the log contains this text.
    pub fn logged(&self, text: &str) {
        self.wait_until(&format!("the log says {text:?}"), || self.log().contains(text));
    }

    pub fn wait_until(&self, what: &str, mut done: impl FnMut() -> bool) {
        self.wait_for(what, || done().then_some(()));
    }

    pub fn wait_for<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        self.wait_for_within(PATIENCE, what, look)
    }

    /// The same, where something slow is promised.
    pub fn wait_for_within<T>(
        &self,
        patience: Duration,
        what: &str,
        mut look: impl FnMut() -> Option<T>,
    ) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(start.elapsed() < patience, "in vain, for {patience:?}: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Looks on for a while: the condition must stay true.
    pub fn stays(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while start.elapsed() < A_WHILE {
            assert!(holds(), "no longer after {:?}: {what}", start.elapsed());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the test vassal of this file has written down, oldest first.
    pub fn record(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path("record").join(name)).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The records of one kind: `start`, `byte`, `stray`, `term` …
    pub fn events(&self, name: &str, event: &str) -> Vec<Value> {
        self.record(name).into_iter().filter(|line| line["event"] == event).collect()
    }

    /// How often the program of this vassal was started.
    pub fn lives(&self, name: &str) -> usize {
        self.events(name, "start").len()
    }

    /// Waits for the n-th start and gives its record.
    pub fn life(&self, name: &str, number: usize) -> Value {
        self.wait_for(&format!("start {number} of {name}"), || {
            self.events(name, "start").get(number - 1).cloned()
        })
    }

    /// Writes a vassal file anew, in its place.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), fill(text, self.dir.path(), name)).unwrap();
    }

    /// Brings a vassal file in by renaming, as careful editors do.
    pub fn put(&self, name: &str, text: &str) {
        let draft = self.path("draft");
        fs::write(&draft, fill(text, self.dir.path(), name)).unwrap();
        fs::rename(&draft, self.file(name)).unwrap();
    }

    pub fn put_app(&self, name: &str, words: &str) {
        self.put(name, &app_text(self.direct, "", words));
    }

    pub fn put_app_with(&self, name: &str, lines: &str, words: &str) {
        self.put(name, &app_text(self.direct, lines, words));
    }

    /// Gives the file a new time, to the nanosecond.
    pub fn touch(&self, name: &str) {
        let file = File::options().append(true).open(self.file(name)).unwrap();
        file.set_modified(SystemTime::now()).unwrap();
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).unwrap();
    }

    /// Opens a gate of the test vassals.
    pub fn open_gate(&self, name: &str) {
        fs::write(self.path(name), "").unwrap();
    }

    /// Connects to a unix socket of the temporary directory and reads to the end.
    pub fn ask(&self, socket: &str) -> String {
        let mut client = self.connect(socket);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn connect(&self, socket: &str) -> UnixStream {
        let client = UnixStream::connect(self.path(socket)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    pub fn signal(&self, signal: i32) {
        proc::kill(self.emperor_pid(), signal);
    }

    /// Ends it as an administrator does, and checks that nothing is left.
    pub fn end(mut self) -> ExitStatus {
        proc::kill(self.first_pid(), libc::SIGTERM);
        let status = self.wait_for_end();
        self.all_gone();
        status
    }

    /// Waits until the process that was started has ended.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.ended = true;
                return status;
            }
            assert!(start.elapsed() < PATIENCE + Duration::from_secs(10), "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn has_ended(&mut self) -> bool {
        self.ended = self.ended || self.child.try_wait().unwrap().is_some();
        self.ended
    }

    /// Waits until no process is left that this emperor, or anything under it, has started.
    pub fn all_gone(&self) {
        self.wait_until("no process is left", || self.survivors().is_empty());
    }

    /// Every process that was started by this test and lives.
    pub fn survivors(&self) -> Vec<i32> {
        proc::marked(&format!("TEST_OF_LIEGE={}", self.id))
    }
}

impl Drop for Liege {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let stats = brief::statistics(&self.raw_stats().unwrap_or_default());
            let log = brief::last_lines(&self.log(), brief::LOG);
            eprintln!("--- log\n{log}\n--- statistics\n{stats}");
        }
        if !self.has_ended() {
            proc::kill(self.first_pid(), libc::SIGTERM);
            let start = Instant::now();
            while !self.has_ended() && start.elapsed() < Duration::from_secs(3) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        // What is left was made stubborn by its test, or by a fault: ended by pid, again until none is left.
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let left = self.survivors();
            if left.is_empty() {
                break;
            }
            left.iter().for_each(|&pid| proc::kill(pid, libc::SIGKILL));
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.wait();
    }
}

/// The text of a vassal file that runs the test vassal.
pub fn app_text(direct: bool, lines: &str, words: &str) -> String {
    if direct {
        format!("[uwsgi]\n{lines}\napp = record=$DIR/record/$NAME {words}\n")
    } else {
        format!(
            "[uwsgi]\n{lines}\nunprivileged-binary-patch-arg = $APP record=$DIR/record/$NAME {words}\n"
        )
    }
}

/// The text of a vassal file for a plain program.
pub fn program(command: &str) -> String {
    format!("[uwsgi]\nunprivileged-binary-patch-arg = {command}\n")
}

/// Makes a program. Another process writes it: a test beside this one may be about to start something, which
/// has all that we have open until its exec, and what somebody has open for writing cannot be executed.
pub fn executable(path: &Path, text: &str) {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success(), "{}", path.display());
}

/// A loopback port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Reads what a TCP server says until it closes.
pub fn ask_tcp(port: u16) -> std::io::Result<String> {
    let mut client = TcpStream::connect(("127.0.0.1", port))?;
    client.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    Ok(answer)
}

/// How a test says that it needs root.
pub fn is_root() -> bool {
    proc::uid() == 0
}

/// The exit status, or 128 and the signal.
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Whether other users can execute the programs under test.
pub fn reachable_by_all() -> bool {
    let app = app_path();
    let reachable =
        |dir: &Path| fs::metadata(dir).is_ok_and(|meta| meta.permissions().mode() & 1 != 0);
    app.ancestors().all(reachable)
}

/// The test vassal, built if it is not there or older than its source.
pub fn app_path() -> PathBuf {
    example("test-vassal", "tests/apps/vassal.rs")
}

/// An example of this package. `cargo test` builds them all, but `cargo test --test NAME` does not.
pub fn example(name: &str, source: &str) -> PathBuf {
    let bin = Path::new(env!("CARGO_BIN_EXE_liege"));
    let path = bin.parent().unwrap().join("examples").join(name);
    let changed = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    if changed(&path).is_none() || changed(&path) < changed(&source) {
        static BUILD: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _one_at_a_time = BUILD.lock();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", name]).current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(cargo.status().unwrap().success(), "cargo build --example {name}");
    }
    path
}

fn fill(text: &str, dir: &Path, name: &str) -> String {
    let app =
        if text.contains("$APP") { app_path().to_str().unwrap().to_owned() } else { String::new() };
    text.replace("$DIR", dir.to_str().unwrap()).replace("$APP", &app).replace("$NAME", name)
}

fn open_to_all(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
}

fn unique_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    format!("{}-{}-{since}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Writes to a pipe until it takes no more, and gives both ends: for a standard error nobody reads.
pub fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    proc::set_nonblocking(&writer, true);
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    proc::set_nonblocking(&writer, false);
    (reader, writer)
}

/// Sends a datagram to a notify socket, by the name in its variable.
pub fn notify(name: &str, text: &str) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    };
    let socket = UnixDatagram::unbound().unwrap();
    socket.send_to_addr(text.as_bytes(), &address.unwrap()).unwrap();
}
