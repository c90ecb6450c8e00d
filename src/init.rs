//! `liege init`, and the keeper of the emperor: one command, its signals, its orphans, its end.
//!
//! Both are the code of [`run`]. The command is a program ([`Command::Program`], a container's init)
//! or the emperor, who is a function in the forked child ([`Command::Function`]). This process stays
//! as the parent, and as the subreaper of everything below:
//!
//! - It passes every signal on, but SIGCHLD. All are blocked before the fork and none is unblocked
//!   but in the command, so none is lost.
//! - It reaps every orphan.
//! - At the terminal it steps back: the command has a process group of its own, and the foreground
//!   if we had it; the two stop and go on together.
//! - When the command has ended, however, it ends everything that is left below and leaves with the
//!   command's status.
//!
//! It must outlive everything. So it sleeps in one system call (`rt_sigtimedwait`) that needs no
//! descriptor, holds none but standard error, allocates nothing after the fork, and treats every
//! failure of a call as "nothing happened".

mod cli;
pub mod relay;
mod terminal;

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::parent_id;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::log::{Log, panics};
use crate::sys::descendants::{self, Cleared, Reaped};
use crate::sys::process::{self, CStringArray, Pid};
use crate::sys::signal::{self, Disposition, Queued, ReceivedSignal, Sender, Signal, SignalMask};
use crate::sys::{fd, prctl, write};
use crate::types::exit_status::ExitStatus;

pub use cli::main;
use relay::Relay;

/// The exit status of a function, or of ourselves, that has failed for an inner reason (`EX_SOFTWARE`).
const SOFTWARE: u8 = 70;

/// What is to be done besides what is always done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitOptions {
    /// Whom signals are passed to.
    pub target: SignalTarget,
    /// What goes with a signal that is passed on.
    pub forwarding: SignalForwarding,
    /// Passed on when our parent dies.
    pub parent_death: Option<Signal>,
    /// What happens to processes that outlive the command.
    pub orphans: OrphanPolicy,
    /// Removed at the end, if it still names the command's pid.
    pub pid_file: Option<CString>,
}

/// Whom signals are passed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalTarget {
    /// The command alone.
    Command,
    /// The command's whole process group.
    Group,
}

/// What goes with a signal that is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalForwarding {
    /// What came with it: nothing, or the value that it was queued with.
    AsSent,
    /// The sender's pid and uid, as the value of a queued signal ([`ReceivedSignal::original_sender`]).
    WithSender,
}

/// What happens to processes that outlive the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrphanPolicy {
    /// They are killed at once.
    Kill,
    /// They have this time to end by themselves, and get the signals that come meanwhile; then they are killed.
    WaitFor(Duration),
}

/// What is to be run and kept.
pub enum Command {
    /// Argument 0 is looked for in `PATH`. It starts with the signal mask and the dispositions that
    /// we were given.
    Program(CStringArray),
    /// Runs in the forked child; what it returns is its exit status. It starts with every signal
    /// blocked, so that none is lost before it can read them, and SIGCHLD at its default.
    Function(Box<dyn FnOnce() -> u8>),
}

/// What a keeper does for its emperor, besides what every init does.
#[derive(Debug)]
pub struct KeeperOptions {
    /// Passes on what the emperor tells the service manager.
    pub relay: Option<Relay>,
    /// The emperor's log, where that is a file.
    pub log: Option<PathBuf>,
}

/// Runs the command until it has ended and nothing is left below; tells how it ended.
///
/// # Errors
/// As [`keep`].
pub fn run(options: &InitOptions, command: Command) -> io::Result<ExitStatus> {
    keep(options, command, None)
}

/// The same for an emperor: a line in the log tells how it has ended.
///
/// The caller has one thread, owns no descriptor that it wants to keep (all but standard error are
/// closed here; what the command holds is the command's), and has little to do afterwards, also
/// after an error: signals stay blocked.
///
/// # Errors
/// That of fork(2); then nothing has been started.
pub fn keep(
    options: &InitOptions,
    command: Command,
    mut extra: Option<KeeperOptions>,
) -> io::Result<ExitStatus> {
    let parent = parent_id();
    let given = InheritedSignals::take_over()?;
    // Refused only by a kernel without it: then orphans go to whoever is above, as without us.
    let _ = prctl::become_subreaper();
    watch_parent(options, parent);

    let mut command = Some(command);
    let own_group = process::own_group();
    let child = process::fork(|| {
        drop(extra.take());
        match command.take() {
            Some(command) => become_command(command, &given, own_group),
            None => SOFTWARE,
        }
    })?;
    // Also done by the child; whoever comes first. A refusal means that it has been done.
    let _ = process::new_group_of(child);
    let log = extra.as_mut().map(|extra| extra.log.take());
    let relay = extra.and_then(|extra| extra.relay);
    close_inherited(command, relay.as_ref());
    if let Some(relay) = &relay {
        relay.open();
    }

    let mut supervisor = Supervisor {
        options,
        command: child,
        parent,
        parent_death: options.parent_death,
        passed_a_stop: false,
        is_stopped: false,
        relay,
        orphans: 0,
    };
    let ended = supervisor.supervise_safely();
    terminal::take_back(child);
    let left = supervisor.orphans + end_orphans(options.orphans);
    remove_pid_file(options, child);
    if let Some(log) = log {
        tell_end(log.as_deref(), child, ended, left);
    }
    Ok(ended)
}

/// The signals as we found them, for the command.
struct InheritedSignals {
    mask: SignalMask,
    child_signal: Disposition,
}

impl InheritedSignals {
    /// Blocks every signal, and has the kernel keep ended children for us: it reaps them itself,
    /// and their status is lost, where SIGCHLD is ignored.
    fn take_over() -> io::Result<Self> {
        let mask = signal::block_all()?;
        let child_signal = signal::disposition(Signal::CHLD)?;
        signal::set_default(Signal::CHLD)?;
        Ok(Self { mask, child_signal })
    }

    /// Gives the command, just before its exec, the signals as we found them.
    fn put_back(&self) {
        if self.child_signal == Disposition::Ignored {
            let _ = signal::set_ignored(Signal::CHLD);
        }
        if signal::given_sigpipe() == Disposition::Default {
            let _ = signal::set_default(Signal::PIPE);
        }
        let _ = signal::set_mask(self.mask);
    }
}

/// Has the kernel wake us when the parent dies.
///
/// The wake-up is SIGCHLD, and `getppid` tells the rest: so any signal can be asked for, KILL too,
/// and a thread of the parent that ends (which the kernel takes for the parent) means nothing.
fn watch_parent(options: &InitOptions, parent: u32) {
    if let Some(wanted) = options.parent_death {
        // A parent outside of our PID namespace has no number, before its death or after.
        let _ = prctl::set_parent_death(Some(if parent == 0 { wanted } else { Signal::CHLD }));
    }
}

/// The child's side of the fork.
fn become_command(command: Command, given: &InheritedSignals, own_group: i32) -> u8 {
    let _ = process::new_own_group();
    terminal::enter_foreground(own_group);
    match command {
        Command::Function(function) => function(),
        Command::Program(argv) => {
            given.put_back();
            let Some(program) = argv.strings().first() else { return SOFTWARE };
            let error = process::execvp(program, &argv);
            // A reader that is gone must not turn 127 into 141.
            let _ = signal::set_ignored(Signal::PIPE);
            cannot_run(Path::new(OsStr::from_bytes(program.to_bytes())), &error)
        }
    }
}

/// Says why; returns the status that shells give.
fn cannot_run(program: &Path, error: &io::Error) -> u8 {
    let name = program.as_os_str().to_string_lossy();
    let start = format!("liege init: cannot run {}", name.escape_debug());
    // One directory of PATH that we may not search makes "permission denied" of "not found".
    let searched = !name.contains('/');
    let path = std::env::var_os("PATH").unwrap_or_default();
    if searched && !std::env::split_paths(&path).any(|directory| directory.join(program).exists()) {
        write::say(io::stderr().as_fd(), format_args!("{start}: not found in PATH"));
        return 127;
    }
    write::say(io::stderr().as_fd(), format_args!("{start}: {error}"));
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => 127,
        _ => 126,
    }
}

/// Closes every descriptor that belongs to the command: a pipe or a listening socket that we held open
/// would not end when the command closes it. Standard error stays open for the last message; so there is
/// always room for the one descriptor that is wanted at the end.
fn close_inherited(command: Option<Command>, relay: Option<&Relay>) {
    let kept = relay.map(Relay::descriptors);
    fd::close_all_but_stderr_and(kept.as_ref().map_or(&[], |kept| kept));
    // Its descriptors are closed; to drop them would close those numbers again.
    std::mem::forget(command);
}

/// What is known while the command lives.
struct Supervisor<'a> {
    options: &'a InitOptions,
    command: Pid,
    parent: u32,
    /// Still to be passed on.
    parent_death: Option<Signal>,
    /// A stop was asked for through us, and no CONT since.
    passed_a_stop: bool,
    /// The command has stopped, and we have stopped with it.
    is_stopped: bool,
    relay: Option<Relay>,
    /// Reaped so far; an emperor leaves none before it ends, as it reaps its own.
    orphans: usize,
}

impl Supervisor<'_> {
    /// Goes on after a panic: an internal error must not end the command.
    fn supervise_safely(&mut self) -> ExitStatus {
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.supervise())) {
                Ok(ended) => return ended,
                Err(_) => {
                    say(&format!(
                        "liege: internal error (a bug in liege): {}; please report it",
                        panics::last()
                    ));
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    /// Reaps and passes on, asleep in between, until the command has ended.
    fn supervise(&mut self) -> ExitStatus {
        loop {
            let mut over = None;
            let mut orphans = 0;
            let round = descendants::reap_some(|pid, ended| match pid == self.command {
                true => over = Some(ended),
                false => orphans += 1,
            });
            self.orphans += orphans;
            let again = self.relay.as_mut().and_then(Relay::pass);
            if let Some(ended) = over {
                return ended;
            }
            let limit = match round {
                // Cannot be while only we reap; but to wait for nobody would be for ever.
                Reaped::All => return ExitStatus::Code(i32::from(SOFTWARE)),
                Reaped::Some => Some(Duration::ZERO),
                Reaped::Nobody => again,
            };
            self.check_parent();
            self.mirror_stop();
            match signal::wait(SignalMask::ALL, limit) {
                Ok(Some(received)) => self.pass_on(received),
                Ok(None) => {}
                // A sandbox that forbids the call: look now and then instead of spinning.
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    fn check_parent(&mut self) {
        if let Some(signal) = self.parent_death.take_if(|_| parent_id() != self.parent) {
            self.send_plain(signal);
        }
    }

    fn pass_on(&mut self, received: ReceivedSignal) {
        match received.signal {
            Signal::CHLD => {}
            // The kernel tells of a message.
            Signal::IO if self.relay.is_some() => {}
            // Our own SIGPIPE.
            _ if received.sender.pid == std::process::id() => {}
            Signal::CONT => self.resume(received),
            Signal::TSTP | Signal::TTIN | Signal::TTOU => {
                self.passed_a_stop = true;
                self.send(received);
            }
            _ => self.send(received),
        }
    }

    /// Stops with the command if the stop came from the terminal or through us; a SIGSTOP from
    /// somebody else is between him and the command, and we must stay awake for its end.
    fn mirror_stop(&mut self) {
        let Ok(Some(signal)) = process::stopped_by(self.command) else { return };
        if !self.passed_a_stop {
            if signal == Signal::TSTP && process::leads_session() {
                // Above the leader of a session there is no shell that could continue the command:
                // as for the kernel's orphaned groups, the key for "stop" has no effect.
                let _ = process::kill_group(self.command, Signal::CONT);
                return;
            }
            if !matches!(signal, Signal::TSTP | Signal::TTIN | Signal::TTOU) {
                return;
            }
        }
        self.is_stopped = true;
        terminal::take_back(self.command);
        // A stop would wipe out a CONT that is waiting to be read. (One that comes between these two
        // calls is lost; the sender sees us stopped, and sends another.)
        match signal::wait(SignalMask::NONE.with(Signal::CONT), Some(Duration::ZERO)) {
            Ok(Some(received)) => self.resume(received),
            _ => process::stop_self(),
        }
    }

    fn resume(&mut self, received: ReceivedSignal) {
        self.passed_a_stop = false;
        terminal::hand_over(self.command);
        if std::mem::take(&mut self.is_stopped) {
            let _ = process::kill_group(self.command, Signal::CONT);
        } else {
            self.send(received);
        }
    }

    fn send(&self, received: ReceivedSignal) {
        let queued = match (self.options.target, self.options.forwarding) {
            (SignalTarget::Command, SignalForwarding::WithSender) => Some(Queued {
                signal: received.signal,
                sender: Sender::ourselves(),
                value: received.sender.to_value(),
            }),
            (SignalTarget::Command, SignalForwarding::AsSent) if received.is_queued() => {
                Some(Queued {
                    signal: received.signal,
                    sender: received.sender,
                    value: received.value,
                })
            }
            _ => None,
        };
        let sent = queued.map(|queued| process::queue_to_child(self.command, &queued));
        // A queue that is full is no reason to lose the signal.
        if !matches!(sent, Some(Ok(()))) {
            self.send_plain(received.signal);
        }
    }

    fn send_plain(&self, signal: Signal) {
        // It fails only if the command has ended; then it is reaped next.
        let _ = match self.options.target {
            SignalTarget::Command => process::kill_child(self.command, signal),
            SignalTarget::Group => process::kill_group(self.command, signal),
        };
    }
}

/// Says how the emperor has ended, where it has not said so itself, and what it has left behind.
fn tell_end(log: Option<&Path>, emperor: Pid, ended: ExitStatus, left: usize) {
    if left == 0 && matches!(ended, ExitStatus::Code(_)) {
        return;
    }
    let journal = std::env::var_os("JOURNAL_STREAM");
    let shared = |stream: BorrowedFd<'_>| Log::shared(stream, journal.as_deref());
    let open = |path: &Path| match write::descriptor_named(path) {
        Some(number) => fd::inherited(number).map(|stream| shared(stream.as_fd())),
        None => Log::file(path),
    };
    let mut log =
        log.and_then(|path| open(path).ok()).unwrap_or_else(|| shared(io::stderr().as_fd()));
    let left = match left {
        0 => "it left no process".to_owned(),
        1 => "1 process that it left was ended".to_owned(),
        more => format!("{more} processes that it left were ended"),
    };
    log.error(format_args!("keeper: the emperor (pid {emperor}) has ended ({ended}); {left}"));
}

/// Ends what has outlived the command, at once or after its time; tells how many processes were ended.
fn end_orphans(policy: OrphanPolicy) -> usize {
    if let OrphanPolicy::WaitFor(limit) = policy {
        wait_for_orphans(limit);
    }
    let mut ended = 0;
    if descendants::clear(|| ended += 1) == Cleared::NotAll {
        say("liege init: some processes could not be ended");
    }
    ended
}

fn wait_for_orphans(limit: Duration) {
    let started = Instant::now();
    loop {
        let rest = match descendants::reap_some(|_, _| {}) {
            Reaped::All => return,
            Reaped::Some => Duration::ZERO,
            Reaped::Nobody => limit.saturating_sub(started.elapsed()),
        };
        if started.elapsed() >= limit {
            return;
        }
        match signal::wait(SignalMask::ALL, Some(rest)) {
            Ok(Some(received)) if received.signal != Signal::CHLD => {
                descendants::signal_children(received.signal);
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// Removes the pid file if it names the command; another instance's is left alone.
fn remove_pid_file(options: &InitOptions, command: Pid) {
    let Some(path) = &options.pid_file else { return };
    let mut text = [0_u8; 16];
    let length = fd::open_read(path).and_then(|file| fd::read(file.as_fd(), &mut text));
    let text = text.get(..length.unwrap_or(0)).unwrap_or_default();
    let named = str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok());
    if named == Some(command.get()) {
        let _ = fd::remove(path);
    }
}

/// Writes a line to standard error, unless that would have to wait.
fn say(line: &str) {
    write::say(io::stderr().as_fd(), format_args!("{line}"));
}
