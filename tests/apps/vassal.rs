//! The vassal of the tests: does what its argument list says, and writes down what happened to it.
//!
//! It is given words, either as arguments or (when it is started as `PROGRAM --ini FILE`, through
//! `binary-path`) in the line `app = WORDS` of that file:
//!
//! - `record=PATH`: append one JSON object per line: first the start state, then every event.
//! - `listen=0`, `listen=3`: accept on this descriptor; `listen=/PATH`, `listen=HOST:PORT`: bind it.
//! - `do=STEP,STEP,…`: what it does by itself, from the start.
//! - `on=EVENT:STEP+STEP…`: what it does at an event: `stop` (byte 0), `reload` (1), `graceful` (2),
//!   `eof`, `served` (a connection was answered), `term`, `hup`, `usr1`, `usr2`, `int`.
//!
//! Steps: `ready accepting loyal idle beat` (bytes), `byte:N`, `flood:N`, `wait:MS`, `gate:PATH` (until the
//! file exists), `serve` (accept from now on), `exit:N`, `die:SIGNAL`, `close` (the emperor pipe),
//! `shutdown` (the listener, for all who have it), `rights:N` (send N descriptors along with a byte),
//! `ignore:SIGNAL`, `stray:KIND`, `setuid:N`, `print:TEXT`, `jump:N` (back to the N-th step),
//! `notify` (READY=1 on the notify socket), `notify:child` (the same, said by a child of its own),
//! `until:N:STEP` (only in the first N lives), `from:N:STEP` (only in the later ones).
//!
//! There is no Rust run-time start-up: it ignores SIGPIPE, and the tests want to see what was inherited.
#![no_main]
#![allow(unsafe_code, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::undocumented_unsafe_blocks, clippy::multiple_unsafe_ops_per_block)]

use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::{IntoRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::time::{Duration, Instant};

struct App {
    record: Option<String>,
    listen: Option<String>,
    script: Vec<String>,
    reactions: Vec<(String, Vec<String>)>,
    life: usize,
    pipe: Option<RawFd>,
    listener: Option<RawFd>,
    serving: bool,
}

/// What the script does after a step.
enum Next {
    Step,
    Jump(usize),
    Wait(Duration),
    Gate(String),
}

#[unsafe(no_mangle)]
extern "C" fn main(_argc: i32, _argv: *const *const libc::c_char) -> i32 {
    let args: Vec<String> = std::env::args().collect();
    let mut app = App {
        record: None,
        listen: None,
        script: Vec::new(),
        reactions: Vec::new(),
        life: 1,
        pipe: std::env::var("UWSGI_EMPEROR_FD").ok().and_then(|text| text.parse().ok()),
        listener: None,
        serving: false,
    };
    for word in words(&args) {
        let Some((name, value)) = word.split_once('=') else { continue };
        match name {
            "record" => app.record = Some(value.to_owned()),
            "listen" => app.listen = Some(value.to_owned()),
            "do" => app.script = value.split(',').map(str::to_owned).collect(),
            "on" => {
                let (event, steps) = value.split_once(':').unwrap_or((value, ""));
                let steps = steps.split('+').filter(|step| !step.is_empty()).map(str::to_owned);
                app.reactions.push((event.to_owned(), steps.collect()));
            }
            _ => panic!("unknown word {word}"),
        }
    }
    app.life = 1 + app.lives_so_far();
    app.note(start_state(&args));
    app.run()
}

/// The words that steer: the arguments, or the line `app =` of the vassal file.
fn words(args: &[String]) -> Vec<String> {
    let file = args.iter().position(|arg| arg == "--ini" || arg == "--config");
    let Some(name) = file.and_then(|at| args.get(at + 1)) else { return args[1..].to_vec() };
    let text = fs::read_to_string(name).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("app = ")).unwrap_or_default();
    line.split_whitespace().map(str::to_owned).collect()
}

fn start_state(args: &[String]) -> Value {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let mut fds = serde_json::Map::new();
    let listing = fs::read_dir("/proc/self/fd").unwrap();
    for name in listing.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        // The descriptor of the listing itself is there too, and gone when it is asked for.
        if let Ok(target) = fs::read_link(format!("/proc/self/fd/{name}")) {
            let target = target.to_string_lossy().into_owned();
            if !target.ends_with("/fd") {
                fds.insert(name, json!(target));
            }
        }
    }
    let mut death_signal = 0;
    unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut death_signal) };
    let mut files = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut files) };
    json!({
        "event": "start",
        "argv": args,
        "env": std::env::vars_os()
            .map(|(k, v)| (k.to_string_lossy().into_owned(), json!(v.to_string_lossy())))
            .collect::<serde_json::Map<_, _>>(),
        "fds": fds,
        "cwd": std::env::current_dir().map(|dir| dir.to_string_lossy().into_owned()).ok(),
        "exe": fs::read_link("/proc/self/exe").map(|exe| exe.to_string_lossy().into_owned()).ok(),
        "uid": field("Uid"), "gid": field("Gid"), "groups": field("Groups"), "umask": field("Umask"),
        "blocked": field("SigBlk"), "ignored": field("SigIgn"), "caught": field("SigCgt"),
        "ppid": unsafe { libc::getppid() },
        "pgid": unsafe { libc::getpgid(0) },
        "sid": unsafe { libc::getsid(0) },
        "death_signal": death_signal,
        "nofile": [files.rlim_cur, files.rlim_max],
    })
}

impl App {
    fn lives_so_far(&self) -> usize {
        let text = self.record.as_ref().and_then(|path| fs::read_to_string(path).ok());
        text.map_or(0, |text| {
            text.lines().filter(|line| line.contains("\"event\":\"start\"")).count()
        })
    }

    fn note(&self, mut what: Value) {
        let Some(path) = &self.record else { return };
        what["pid"] = json!(std::process::id());
        what["life"] = json!(self.life);
        what["at_ms"] = json!(clock_ms());
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        // One write: lines of several processes must not be mixed.
        file.write_all(format!("{what}\n").as_bytes()).unwrap();
    }

    fn run(&mut self) -> i32 {
        let signals = self.take_signals();
        let mut at = 0;
        let mut wake: Option<Instant> = None;
        let mut gate: Option<String> = None;
        loop {
            let open = gate.as_ref().is_none_or(|path| fs::exists(path).unwrap_or(false));
            if open && wake.is_none_or(|due| due <= Instant::now()) {
                (gate, wake) = (None, None);
                if let Some(step) = self.script.get(at).cloned() {
                    at += 1;
                    match self.step(&step) {
                        Next::Step => {}
                        Next::Jump(to) => at = to,
                        Next::Wait(time) => wake = Some(Instant::now() + time),
                        Next::Gate(path) => gate = Some(path),
                    }
                    continue;
                }
            }
            let timeout = match (&gate, wake) {
                (Some(_), _) => 5,
                (None, Some(due)) => {
                    i32::try_from(due.saturating_duration_since(Instant::now()).as_millis() + 1)
                        .unwrap()
                }
                (None, None) => -1,
            };
            self.wait(signals, timeout);
        }
    }

    /// Serves what comes until the time is over, or until one event was served.
    fn wait(&mut self, signals: RawFd, timeout: i32) {
        let entry = |fd: Option<RawFd>| libc::pollfd {
            fd: fd.unwrap_or(-1),
            events: libc::POLLIN,
            revents: 0,
        };
        let listener = self.listener.filter(|_| self.serving);
        let mut set = [entry(Some(signals)), entry(self.pipe), entry(listener)];
        if unsafe { libc::poll(set.as_mut_ptr(), 3, timeout) } <= 0 {
            return;
        }
        if set[0].revents != 0 {
            let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
            let size = size_of::<libc::signalfd_siginfo>();
            unsafe { libc::read(signals, (&raw mut info).cast(), size) };
            self.react(name_of_signal(info.ssi_signo as i32));
        }
        if set[1].revents != 0 {
            self.read_pipe();
        }
        if set[2].revents != 0 {
            self.serve_one();
        }
    }

    fn read_pipe(&mut self) {
        let Some(pipe) = self.pipe else { return };
        let mut byte = 0u8;
        match unsafe { libc::read(pipe, (&raw mut byte).cast(), 1) } {
            1 => {
                let event = match byte {
                    0 => "stop",
                    1 => "reload",
                    2 => "graceful",
                    _ => "byte",
                };
                self.note(json!({ "event": "byte", "value": byte }));
                self.react(event);
            }
            _ => {
                self.pipe = None;
                self.note(json!({ "event": "eof" }));
                self.react("eof");
            }
        }
    }

    fn serve_one(&mut self) {
        let Some(listener) = self.listener else { return };
        let client =
            unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), 0) };
        if client < 0 {
            // Another life was faster; anything else is the end of the listener, and of a server.
            match std::io::Error::last_os_error().kind() {
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::ConnectionAborted => return,
                _ => unsafe { libc::_exit(1) },
            }
        }
        let answer = format!("{} {}\n", std::process::id(), self.life);
        // A client that has gone is no reason to die by SIGPIPE.
        unsafe { libc::send(client, answer.as_ptr().cast(), answer.len(), libc::MSG_NOSIGNAL) };
        unsafe { libc::close(client) };
        self.react("served");
    }

    fn react(&mut self, event: &str) {
        if matches!(event, "term" | "int" | "hup" | "usr1" | "usr2") {
            self.note(json!({ "event": event }));
        }
        let asked =
            self.reactions.iter().find(|(name, _)| name == event).map(|(_, steps)| steps.clone());
        let steps = asked.unwrap_or_else(|| {
            let steps: &[&str] = match event {
                "stop" | "graceful" | "eof" => &["exit:0"],
                // As uWSGI does: the same process reads its configuration again and is ready again.
                "reload" => &["ready", "accepting"],
                _ => &[],
            };
            steps.iter().map(|&step| step.to_owned()).collect()
        });
        for step in steps {
            match self.step(&step) {
                Next::Wait(time) => std::thread::sleep(time),
                Next::Gate(path) => {
                    while !fs::exists(&path).unwrap_or(true) {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
                Next::Step | Next::Jump(_) => {}
            }
        }
    }

    fn step(&mut self, step: &str) -> Next {
        let (name, value) = step.split_once(':').unwrap_or((step, ""));
        let number = || value.parse::<i32>().unwrap_or_else(|_| panic!("no number in {step}"));
        match name {
            "ready" => self.say(1),
            "accepting" => self.say(5),
            "loyal" => self.say(17),
            "idle" => self.say(22),
            "beat" => self.say(26),
            "byte" => self.say(number() as u8),
            "flood" => (0..number()).for_each(|_| self.say(17)),
            "wait" => return Next::Wait(Duration::from_millis(number() as u64)),
            "gate" => return Next::Gate(value.to_owned()),
            "jump" => return Next::Jump(number() as usize),
            "serve" => self.serve(),
            "exit" => {
                self.note(json!({ "event": "exit", "value": number() }));
                unsafe { libc::_exit(number()) }
            }
            "die" => unsafe { die(signal_number(value)) },
            "close" => {
                if let Some(pipe) = self.pipe.take() {
                    unsafe { libc::close(pipe) };
                }
            }
            "ignore" => unsafe {
                libc::signal(signal_number(value), libc::SIG_IGN);
            },
            "stray" => self.stray(value),
            "shutdown" => {
                self.serve();
                self.serving = false;
                unsafe { libc::shutdown(self.listener.unwrap(), libc::SHUT_RDWR) };
            }
            "notify" if value == "child" => unsafe {
                let child = libc::fork();
                if child == 0 {
                    notify();
                    libc::_exit(0);
                }
                libc::waitpid(child, std::ptr::null_mut(), 0);
            },
            "notify" => notify(),
            "rights" => (0..number()).for_each(|_| self.send_a_descriptor()),
            "setuid" => assert_eq!(unsafe { libc::setuid(number() as u32) }, 0, "setuid"),
            "print" => {
                let _ = std::io::stdout().write_all(format!("{value}\n").as_bytes());
            }
            "until" | "from" => {
                let (lives, step) = value.split_once(':').unwrap();
                let early = self.life <= lives.parse::<usize>().unwrap();
                if early == (name == "until") {
                    return self.step(step);
                }
            }
            _ => panic!("unknown step {step}"),
        }
        Next::Step
    }

    fn say(&self, byte: u8) {
        if let Some(pipe) = self.pipe {
            unsafe { libc::send(pipe, (&raw const byte).cast(), 1, libc::MSG_NOSIGNAL) };
        }
    }

    /// Byte 17 with standard error attached, which the emperor has not asked for.
    fn send_a_descriptor(&self) {
        let Some(pipe) = self.pipe else { return };
        unsafe {
            let mut byte = 17u8;
            let mut vector = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
            let mut control = [0u64; 8];
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = &raw mut vector;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(4) as usize;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
            *libc::CMSG_DATA(header).cast::<i32>() = 2;
            libc::sendmsg(pipe, &raw const message, libc::MSG_NOSIGNAL);
        }
    }

    fn serve(&mut self) {
        let listen = self.listen.clone().unwrap_or_else(|| "0".to_owned());
        let fd = match listen.parse::<RawFd>() {
            Ok(fd) => fd,
            Err(_) if listen.starts_with('/') => UnixListener::bind(&listen).unwrap().into_raw_fd(),
            Err(_) => TcpListener::bind(&listen).unwrap().into_raw_fd(),
        };
        // Two lives share a listener during a replacement: one must not be stuck where the other took it.
        unsafe {
            libc::fcntl(fd, libc::F_SETFL, libc::fcntl(fd, libc::F_GETFL) | libc::O_NONBLOCK)
        };
        self.listener = Some(fd);
        self.serving = true;
    }

    /// Blocks the signals that have a reaction and gives the descriptor on which they arrive.
    fn take_signals(&self) -> RawFd {
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for (event, _) in &self.reactions {
                if matches!(event.as_str(), "term" | "int" | "hup" | "usr1" | "usr2") {
                    libc::sigaddset(&raw mut set, signal_number(event));
                }
            }
            libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC)
        }
    }

    /// Leaves a process behind that a supervisor finds hard to end; it writes down its own pid.
    fn stray(&self, kind: &str) {
        let (mut reader, writer) = std::io::pipe().unwrap();
        unsafe {
            if libc::fork() != 0 {
                drop(writer);
                // Until the stray has written itself down.
                let _ = reader.read_to_end(&mut Vec::new());
                return;
            }
            match kind {
                "plain" | "stopped" | "deaf" | "uid" => {}
                // Of a server: it has no use for the signals that its parent waits for.
                "worker" => {
                    let mut none: libc::sigset_t = std::mem::zeroed();
                    libc::sigemptyset(&raw mut none);
                    libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
                }
                "group" => assert_eq!(libc::setpgid(0, 0), 0),
                "nested" => {
                    assert_eq!(libc::setpgid(0, 0), 0);
                    if libc::fork() != 0 {
                        drop(writer);
                        loop {
                            libc::pause();
                        }
                    }
                    assert_eq!(libc::setpgid(0, 0), 0);
                }
                "session" => assert!(libc::setsid() > 0),
                "double" => {
                    assert!(libc::setsid() > 0);
                    if libc::fork() != 0 {
                        libc::_exit(0);
                    }
                }
                _ => panic!("unknown kind of stray {kind}"),
            }
            if kind == "deaf" {
                for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
                    libc::signal(signal, libc::SIG_IGN);
                }
            }
            self.note(json!({ "event": "stray", "kind": kind }));
            if kind == "uid" {
                assert_eq!(libc::setuid(65534), 0, "setuid");
            }
            drop(reader);
            drop(writer);
            if kind == "stopped" {
                libc::raise(libc::SIGSTOP);
            }
            loop {
                libc::pause();
            }
        }
    }
}

/// READY=1 on the notify socket, if there is one.
fn notify() {
    let Ok(name) = std::env::var("NOTIFY_SOCKET") else { return };
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let socket = UnixDatagram::unbound().unwrap();
    let _ = socket.send_to_addr(b"READY=1", &address.unwrap());
}

fn clock_ms() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

unsafe fn die(signal: i32) -> ! {
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
        loop {
            libc::pause();
        }
    }
}

const SIGNALS: &[(&str, i32)] = &[
    ("term", libc::SIGTERM),
    ("int", libc::SIGINT),
    ("hup", libc::SIGHUP),
    ("usr1", libc::SIGUSR1),
    ("usr2", libc::SIGUSR2),
    ("quit", libc::SIGQUIT),
    ("kill", libc::SIGKILL),
    ("segv", libc::SIGSEGV),
    ("stop", libc::SIGSTOP),
];

fn signal_number(name: &str) -> i32 {
    let found = SIGNALS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("unknown signal {name}")).1
}

fn name_of_signal(number: i32) -> &'static str {
    SIGNALS.iter().find(|(_, known)| *known == number).map_or("signal", |(name, _)| name)
}
