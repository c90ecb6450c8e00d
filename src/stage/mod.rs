//! The stage: liege exec'd to start one vassal. It reads the vassal file, binds, drops privileges, gives
//! its verdict on the status socket and execs the application; nothing of it stays.
//!
//! Steps in order: signals and descriptors, custody, read and look up, umask, log, pid file, sockets,
//! notify socket, limits, groups, gid, uid, chdir, parent death, verdict, exec. A privileged program skips the
//! change of ids. Under a foreign Emperor, or alone, there is no status socket: nothing is received, and
//! what would be a verdict is a line on stderr.

pub mod declared_files;
pub mod environment;
pub mod failure;
pub mod files;
mod fingerprint;
pub mod inspect;
pub mod program;
pub mod settings;
pub mod sockets;
pub mod status_channel;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::command::World;
use crate::config::vassal::Notify;
use crate::config::{self, EmperorConfig, Faults, Invocation, Resolved, VassalConfig};
use crate::identity::{self, NewIdentity};
use crate::opts::Refusal;
use crate::proto::emperor;
use crate::proto::status::ExecVerdict;
use crate::spawn::step::Step;
use crate::sys::creds::{self, Accounts, Identity};
use crate::sys::signal::{Signal, SignalMask};
use crate::sys::socket::{self, Address, SocketOwner};
use crate::sys::{command, fd, prctl, signal};
use crate::types::exit_status::{NOT_EXECUTABLE, NOT_FOUND};
use crate::types::purpose::Purpose;
use crate::types::quote::cut;

use crate::types::environment::Variable;
use environment::StartInfo;
use failure::Failure;
use program::Program;
use sockets::{ReceivedSockets, Sockets};
use status_channel::{Handoff, StatusChannel};

/// How long the first byte of a configuration that is read from a descriptor may take.
const READ_TIMEOUT: Duration = Duration::from_secs(8);

/// What was read and looked up; nothing has been changed yet.
struct Ready {
    config: VassalConfig,
    program: Program,
    wanted: NewIdentity,
    owner: SocketOwner,
    warnings: Vec<String>,
}

/// The process as it was given to us.
struct Start {
    args: Vec<OsString>,
    env: Vec<Variable>,
    cwd: PathBuf,
    parent: u32,
    emperor: Option<OwnedFd>,
}

/// What a stage comes back with, as it has not become a program.
#[derive(Debug)]
pub enum Outcome {
    /// The status to exit with: the program is not started, and whoever takes the verdict has been told
    /// why; or it was only to be checked.
    Ended(u8),
    /// The vassal is an emperor itself, which this process is to become, with this environment.
    Emperor(Box<EmperorConfig>, Vec<Variable>),
}

/// Starts one vassal; `args` are the arguments after the program's name, `known` is what they resolve to
/// where that was read already: a pipe can be read only once.
pub fn run(args: Vec<OsString>, known: Option<Resolved>) -> Outcome {
    let env: Vec<Variable> = std::env::vars_os().collect();
    let mut line = match StatusChannel::open(&env) {
        Ok(line) => line,
        Err(failure) => return Outcome::Ended(StatusChannel::stderr().refuse(failure)),
    };
    match start(&mut line, args, env, known) {
        Ok(outcome) => outcome,
        Err(failure) => Outcome::Ended(line.refuse(failure)),
    }
}

fn start(
    line: &mut StatusChannel,
    args: Vec<OsString>,
    env: Vec<Variable>,
    known: Option<Resolved>,
) -> Result<Outcome, Failure> {
    let start = begin(args, env)?;
    let given = line.receive()?;
    let resolved = match known {
        Some(resolved) => resolved,
        None => read(&start)?,
    };
    for message in resolved.messages() {
        line.print(message);
    }
    if resolved.is_emperors() {
        return become_emperor(line, start, &given, &resolved);
    }
    let ready = prepare(&resolved, &start, line)?;
    if given.purpose == Purpose::Check {
        return check(line, start, given.held, ready).map(Outcome::Ended);
    }
    act(line, start, given.held, ready).map(Outcome::Ended)
}

/// Signals and descriptors as a program expects them.
fn begin(args: Vec<OsString>, env: Vec<Variable>) -> Result<Start, Failure> {
    let parent = parent_id();
    signal::set_all_default();
    let unblocked = signal::set_mask(SignalMask::NONE);
    unblocked.map_err(|error| Failure::new(Step::Signals, format!("cannot unblock: {error}")))?;
    fd::cloexec_from(3).map_err(|error| {
        let message = format!("cannot close inherited descriptors at exec: {error}");
        Failure::new(Step::Fds, message)
    })?;
    let pipe = env.iter().find(|(name, _)| name == emperor::PIPE_FD_VARIABLE);
    let pipe = pipe.and_then(|(_, text)| text.to_str()?.parse().ok());
    // One that is not open is as good as none: the program must not take another file for it.
    let emperor = pipe.and_then(|number: RawFd| fd::inherited(number).ok());
    let cwd = std::env::current_dir().map_err(|error| {
        Failure::new(
            Step::Cwd,
            format!("the working directory is gone or cannot be named: {error}"),
        )
    })?;
    Ok(Start { args, env, cwd, parent, emperor })
}

/// Reads and expands the vassal file.
fn read(start: &Start) -> Result<Resolved, Failure> {
    config::load(&invocation(start)).map_err(|faults| Failure::of_faults(&faults))
}

fn invocation(start: &Start) -> Invocation {
    Invocation {
        uid: creds::effective_uid(),
        gid: creds::effective_gid(),
        now: SystemTime::now(),
        run: command::output,
        descriptor: readable,
        ..Invocation::new(start.args.clone(), start.env.clone(), start.cwd.clone())
    }
}

/// A descriptor to read a configuration from, which must not keep the start waiting.
fn readable(number: RawFd) -> io::Result<File> {
    let file = File::from(fd::inherited(number)?);
    if file.is_terminal() {
        return Err(io::Error::other("it is a terminal; name a file"));
    }
    if fd::wait_readable([file.as_fd()], Some(READ_TIMEOUT))? == [false] {
        return Err(io::Error::other("nothing came from it within 8 s; name a file"));
    }
    Ok(file)
}

/// The vassal is an emperor: no program is exec'd, this process goes on as one.
fn become_emperor(
    line: &StatusChannel,
    start: Start,
    given: &Handoff,
    resolved: &Resolved,
) -> Result<Outcome, Failure> {
    let config = config::emperor::check(resolved)
        .and_then(|config| {
            config.refuse_itself(resolved, (&start.cwd, Path::new(""))).map(|()| config)
        })
        .map_err(|faults| Failure::of_faults(&faults))?;
    if given.has_on_demand() {
        let message = "an emperor takes no connections: remove its on-demand address";
        return Err(Failure::new(Step::Read, message));
    }
    let above = start.env.iter().find(|(name, _)| name == emperor::DEPTH_VARIABLE);
    let above = above.and_then(|(_, text)| text.to_str()?.parse().ok()).unwrap_or(0_usize);
    if above >= emperor::MAX_EMPEROR_DEPTH {
        let most = emperor::MAX_EMPEROR_DEPTH;
        let message = format!("{most} emperors one below another: does one govern its own file?");
        return Err(Failure::new(Step::Read, message));
    }
    if given.purpose == Purpose::Check {
        let faults = inspect::System::default().emperor(&config, &invocation(&start)).faults;
        if !faults.is_empty() {
            return Err(Failure::of_faults(&Faults(faults)));
        }
    }
    let argv0 = "liege".to_owned();
    let fingerprint = fingerprint::of_emperor(resolved, &start);
    line.verdict(ExecVerdict { argv0, fingerprint, ..ExecVerdict::default() }, &[])?;
    if given.purpose == Purpose::Check {
        return Ok(Outcome::Ended(0));
    }
    Ok(Outcome::Emperor(Box::new(config), start.env))
}

/// Checks and looks up: everything that can be wrong before anything is done.
fn prepare(resolved: &Resolved, start: &Start, line: &StatusChannel) -> Result<Ready, Failure> {
    let config = config::vassal::check(resolved).map_err(|faults| Failure::of_faults(&faults))?;
    let mut warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    let Some(vassal_program) = &config.program else {
        return Err(Failure::new(Step::Read, "nothing to run: write command = PROGRAM ARGUMENTS"));
    };
    let program = Program::new(&vassal_program.value, &config.binsh, &start.args);
    let privileged = vassal_program.value.privileged;
    let mut accounts = Accounts::default();
    let (wanted, owner) = identities(&config, privileged, &mut accounts, &mut warnings)
        .map_err(|faults| Failure::of_faults(&Faults(faults)))?;
    settings::warn(&config, line.is_emperor(), &mut warnings);
    declared_files::check(&config, &start.cwd, &mut warnings)?;
    if let Some(place) = config.logto.as_ref().filter(|place| files::is_remote(&place.value)) {
        let refusal = Refusal {
            what: "is the address of a log server, which is not supported by this version of liege",
            why: "What the program prints would be lost",
            instead: "Name a file",
        };
        return Err(Failure::at(Step::Read, place, refusal.to_string()));
    }
    Ok(Ready { program, wanted, owner, warnings, config })
}

/// Who the program, and who its sockets belong to.
fn identities(
    config: &VassalConfig,
    privileged: bool,
    accounts: &mut Accounts<'_>,
    warnings: &mut Vec<String>,
) -> Result<(NewIdentity, SocketOwner), Vec<config::Fault>> {
    let mut faults = Vec::new();
    let mut wanted = NewIdentity::default();
    let is_root = creds::effective_uid() == 0;
    if !privileged {
        let found = identity::look_up(config, accounts, warnings).and_then(|wanted| {
            if !is_root {
                let now = Identity::current().unwrap_or_default();
                identity::check_current_identity(config, &wanted, &now)?;
            }
            Ok(wanted)
        });
        match found {
            Ok(found) if is_root => wanted = found,
            Ok(_) => {}
            Err(more) => faults.extend(more),
        }
        if is_root && config.uid.is_none() {
            warnings
                .push("runs as root: no uid is set (uid = 0 says that this is meant)".to_owned());
        }
    }
    let owner = config.chown_socket.as_ref().map(|place| identity::socket_owner(place, accounts));
    let owner = owner.transpose().unwrap_or_else(|more| {
        faults.extend(more);
        None
    });
    // What it had bound after the drop would be its own, too.
    let own = SocketOwner { uid: wanted.uid, gid: wanted.gid };
    if faults.is_empty() { Ok((wanted, owner.unwrap_or(own))) } else { Err(faults) }
}

/// Tries all that [`act`] does, as far as nobody but this process sees it, and gives the verdict: what runs is
/// stopped for this start.
fn check(
    line: &mut StatusChannel,
    mut start: Start,
    held: ReceivedSockets,
    ready: Ready,
) -> Result<u8, Failure> {
    let fingerprint = fingerprint::of_program(&ready, &start);
    let Ready { config, program, wanted, owner, mut warnings } = ready;
    let too_long = inspect::too_long(&config, &start.args);
    if !too_long.is_empty() {
        return Err(Failure::of_faults(&Faults(too_long)));
    }
    files::try_all(&config, line.is_emperor())?;
    let mut sockets = sockets::open(&config, owner, held, &mut warnings)?;
    settings::warn_of_shell(&program, &sockets, &mut warnings);
    files::limits(&config)?;
    identity::drop_privileges(&config, &wanted)?;
    files::chdir(&config)?;
    let env =
        environment::build(std::mem::take(&mut start.env), &StartInfo::default(), &config.env);
    let path = program.look_up(&env).map_err(|error| not_executed(&config, &program, &error))?;
    if let Some(vassal_program) = &config.program {
        let place = |failure: Failure| Failure::at(failure.step, vassal_program, failure.message);
        inspect::interpreter(Path::new(&path), vassal_program).map_err(place)?;
        inspect::syntax(&program, vassal_program).map_err(place)?;
    }
    move_descriptors(line, &mut start, &mut sockets, &mut None).map_err(sockets::descriptors)?;
    sockets.place_stdin(&config, line.is_emperor()).map_err(sockets::descriptors)?;
    sockets.place(start.emperor.as_ref()).map_err(sockets::descriptors)?;
    line.verdict(settings::exec_verdict(&config, &program, fingerprint, warnings), &[])?;
    Ok(0)
}

/// Does it: from here on every step changes something.
fn act(
    line: &mut StatusChannel,
    mut start: Start,
    held: ReceivedSockets,
    ready: Ready,
) -> Result<u8, Failure> {
    let fingerprint = fingerprint::of_program(&ready, &start);
    let Ready { config, program, wanted, owner, mut warnings } = ready;
    files::umask(&config);
    files::log(&config, &wanted, line.is_emperor())?;
    files::pid(&config)?;
    let mut sockets = sockets::open(&config, owner, held, &mut warnings)?;
    settings::warn_of_shell(&program, &sockets, &mut warnings);
    let mut notify = match config.notify {
        Notify::Demanded => notify_socket(line, start.parent, &wanted)?,
        // It does without, if there is none to be had.
        Notify::Auto if !sockets.list().is_empty() => {
            notify_socket(line, start.parent, &wanted).unwrap_or_default()
        }
        Notify::Auto | Notify::Never => None,
    };
    files::limits(&config)?;
    let user = identity::environment::NewUser::of(&wanted);
    identity::drop_privileges(&config, &wanted)?;
    files::chdir(&config)?;
    move_descriptors(line, &mut start, &mut sockets, &mut notify).map_err(sockets::descriptors)?;
    sockets.place_stdin(&config, line.is_emperor()).map_err(sockets::descriptors)?;
    let minded = declared_files::files(&config, &sockets, &start.cwd);
    let emperor = sockets.place(start.emperor.as_ref()).map_err(sockets::descriptors)?;
    let told = StartInfo {
        pid: std::process::id(),
        sockets: sockets.list(),
        cwd: start.cwd,
        emperor,
        user,
        notify: notify.as_ref().map(|(_, address)| address),
        watchdog: config.run.heartbeat.filter(|_| config.run.notify && notify.is_some()),
        processes: config.processes,
        threads: config.threads,
    };
    let env = environment::build(start.env, &told, &config.env);
    if line.is_emperor() || emperor.is_some() {
        die_with_parent(start.parent)?;
    }
    let mut fds = sockets.custody();
    let mut verdict = settings::exec_verdict(&config, &program, fingerprint, warnings);
    verdict.notify_socket = notify.is_some();
    verdict.run.places = sockets.places().into();
    verdict.run.listeners = u8::try_from(fds.len()).unwrap_or(u8::MAX);
    fds.extend(notify.as_ref().map(|(socket, _)| socket.as_fd()));
    line.files(minded)?;
    line.verdict(verdict, &fds)?;
    Err(exec(&config, &program, &env))
}

/// Becomes the program; comes back with the failure only.
fn exec(config: &VassalConfig, program: &Program, env: &[Variable]) -> Failure {
    not_executed(config, program, &program.exec(env))
}

/// Why the program does not run, and what to do about it.
fn not_executed(config: &VassalConfig, program: &Program, error: &io::Error) -> Failure {
    let (status, advice) = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            (NOT_FOUND, "install it, or correct the path")
        }
        io::ErrorKind::PermissionDenied => (NOT_EXECUTABLE, "make it executable for this user"),
        _ => (NOT_EXECUTABLE, "it must be a program, or a script that names its interpreter"),
    };
    let name = match &config.program {
        Some(place) => place.show(cut(&program.name())),
        None => program.name(),
    };
    let message = format!("cannot execute {name}: {error}; {advice}");
    let failure = match &config.program {
        Some(place) => Failure::at(Step::Exec, place, message),
        None => Failure::new(Step::Exec, message),
    };
    Failure { status, ..failure }
}

/// A socket, and where it is bound.
type Bound = (OwnedFd, Address);

/// The socket on which the program says that it is ready; the emperor keeps it, the program has its name.
///
/// Made before the drop, in a directory in which the program's user can change nothing, and for that user alone.
fn notify_socket(
    line: &StatusChannel,
    parent: u32,
    wanted: &NewIdentity,
) -> Result<Option<Bound>, Failure> {
    if !line.is_emperor() {
        return Ok(None);
    }
    let owner = SocketOwner { uid: wanted.uid, gid: wanted.gid };
    let in_directory =
        line.notify_path(parent).map(|path| socket::notify_socket(Some((&path, owner))));
    let made = match in_directory {
        Some(Ok(made)) => Ok(made),
        // Any user can fill the queue of an abstract one: better than none.
        Some(Err(_)) | None => socket::notify_socket(None),
    };
    made.map(Some).map_err(|error| Failure::new(Step::Notify, format!("notify socket: {error}")))
}

/// Moves everything that this stage still needs above the numbers that the program's descriptors get.
fn move_descriptors(
    line: &mut StatusChannel,
    start: &mut Start,
    sockets: &mut Sockets,
    notify: &mut Option<Bound>,
) -> io::Result<()> {
    let lowest = sockets.make_room(start.emperor.as_ref())?;
    line.move_above(lowest)?;
    start.emperor = start.emperor.take().map(|pipe| fd::move_above(pipe, lowest)).transpose()?;
    if let Some((socket, address)) = notify.take() {
        *notify = Some((fd::move_above(socket, lowest)?, address));
    }
    Ok(())
}

/// Arms the parent-death signal, which every change of ids has cleared, and makes sure that the parent is
/// still the one that started us.
fn die_with_parent(parent: u32) -> Result<(), Failure> {
    let failed = |message: String| Failure::new(Step::ParentDeath, message);
    prctl::set_parent_death(Some(Signal::KILL)).map_err(|error| failed(error.to_string()))?;
    if parent_id() == parent { Ok(()) } else { Err(failed("the emperor is gone".to_owned())) }
}
