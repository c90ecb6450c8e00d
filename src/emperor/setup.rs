//! From checked settings to an emperor that is ready to run.
//!
//! Every fault found here still names the place of the setting, and nothing has been started yet.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread::available_parallelism;
use std::time::Duration;

use crate::config::emperor::{EmperorConfig, Keeper};
use crate::config::setting::Located;
use crate::log::{Level, Log};
use crate::monitor::dir::{self, Dir};
use crate::reactor::{Interest, Kind, Reactor};
use crate::spawn::environment;
use crate::spawn::hook;
use crate::spawn::plan::Template;
use crate::stage::environment as program;
use crate::state::realm::Realm;
use crate::state::{Rules, SourceId};
use crate::sys::clock;
use crate::sys::dir::Links;
use crate::sys::signal::{Signal, SignalFd, SignalMask, set_default, set_mask};
use crate::sys::socket::{self, ListenOptions, SocketOwner};
use crate::sys::{creds, fd, memory, pidfd, prctl, process, write};
use crate::types::advice;
use crate::types::moment::Moment;

use super::context::{Context, Sources, Trips};
use super::runtime_dir::RuntimeDir;
use super::token::Token;
use super::{
    Emperor, Source, descriptors, forkserver, manager, ondemand, own_process, parent, stats,
};

/// Lives between fork and verdict at one time, at least.
const FEWEST_STARTING: usize = 8;
/// Mode of the socket of the statistics, which show what runs and with which errors; anybody's by `chmod-socket`.
const STATS_MODE: u32 = 0o660;
/// Signals that the loop reads; all others keep their default action.
/// The last two tell of a write that has failed, as its errno does, and would end us.
const SIGNALS: [&str; 12] = [
    "SIGCHLD", "SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGURG",
    "SIGWINCH", "SIGALRM", "SIGPIPE", "SIGXFSZ",
];

/// Why the emperor cannot start.
#[derive(Debug)]
pub struct SetupError {
    doing: String,
    source: Option<io::Error>,
    advice: String,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "cannot {}: {source}{}", self.doing, self.advice),
            None => f.write_str(&self.doing),
        }
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|error| error as _)
    }
}

/// Gives an error of the kernel its sentence.
pub(super) fn cannot(doing: impl Into<String>) -> impl FnOnce(io::Error) -> SetupError {
    let doing = doing.into();
    move |source| SetupError { doing, advice: String::new(), source: Some(source) }
}

impl SetupError {
    /// What others have put into words.
    pub(super) fn said(text: String) -> Self {
        Self { doing: text, source: None, advice: String::new() }
    }

    /// With what to do about it.
    pub(super) fn advised(self, advice: impl FnOnce(io::ErrorKind) -> String) -> Self {
        let advice = self.source.as_ref().map(|source| advice(source.kind())).unwrap_or_default();
        Self { advice, ..self }
    }
}

/// The emperor as statistics show it.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(super) pid: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) cwd: Vec<u8>,
}

/// The keeper above us.
#[derive(Debug)]
pub struct KeeperHandle {
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
}

/// What the process was given, read once by `main`.
#[derive(Clone, Debug)]
pub struct Given {
    /// Arguments are resolved already; this is the environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The program that is started as the stage.
    pub own_program: PathBuf,
    /// The pid of the keeper, who is our parent.
    pub keeper: Option<u32>,
    /// What vassals are worth when memory runs out, where this process is worth more.
    pub oom_score: Option<i32>,
    /// What is written here the keeper passes on to the service manager.
    pub relay: Option<Rc<UnixDatagram>>,
}

/// Whether this emperor is to run under a keeper: not as PID 1, where the kernel does it, and not where
/// the service manager ends the whole control group.
pub fn wants_keeper(config: &EmperorConfig, environment: &[(OsString, OsString)]) -> bool {
    let own = std::process::id();
    let managed = variable(environment, "SYSTEMD_EXEC_PID")
        .and_then(OsStr::to_str)
        .is_some_and(|pid| pid.parse() == Ok(own));
    match config.keeper {
        Keeper::On => true,
        Keeper::Off => false,
        Keeper::Auto => own != 1 && !managed,
    }
}

/// Opens the log: a file if there is one, else standard error.
///
/// # Errors
/// If the file cannot be opened.
pub fn open_log(config: &EmperorConfig, given: &Given) -> Result<Log, SetupError> {
    let mut log = open_any_log(config, given)?;
    if let Some(level) = Level::parse(&config.log_level) {
        log.set_threshold(level);
    }
    Ok(log)
}

fn open_any_log(config: &EmperorConfig, given: &Given) -> Result<Log, SetupError> {
    match &config.logto {
        Some(path) => {
            if let Some(number) = write::descriptor_named(Path::new(&path.value)) {
                return stream_log(number, given).map_err(cannot(format!("write to {}", at(path))));
            }
            let absolute = absolute(Path::new(&path.value));
            Log::file(&absolute).map_err(|error| {
                cannot(format!("open the log {}", at(path)))(error)
                    .advised(|kind| advice::write(kind, path.advised(&absolute)))
            })
        }
        None => {
            let journal = variable(&given.environment, "JOURNAL_STREAM");
            Ok(Log::shared(io::stderr().as_fd(), journal))
        }
    }
}

/// What it means that there is no directory for notify sockets.
pub(super) const ABSTRACT: &str = "those of the vassals have abstract names, which every user can reach; make \
     /run/liege, or set XDG_RUNTIME_DIR";

/// The directory of the notify sockets; nobody needs it where no stage offers one.
fn runtime_dir(given: &Given, stage: bool, log: &mut Log) -> RuntimeDir {
    if !stage {
        return RuntimeDir::default();
    }
    let path = |name| variable(&given.environment, name).map(Path::new);
    let runtime = RuntimeDir::make(path("XDG_RUNTIME_DIR"), path("TMPDIR"));
    if runtime.path().is_none() {
        log.warning(format_args!(
            "no private directory for notify sockets can be made: {ABSTRACT}"
        ));
    }
    runtime
}

/// One of our descriptors as it is, for us and for the vassals.
fn stream_log(number: RawFd, given: &Given) -> io::Result<Log> {
    let stream = fd::inherited(number)?;
    for own in [1, 2] {
        fd::set_stdio(own, stream.as_fd())?;
    }
    Ok(Log::shared(io::stderr().as_fd(), variable(&given.environment, "JOURNAL_STREAM")))
}

impl Emperor {
    /// Makes everything ready: signals, sockets, sources. Nothing is started yet.
    ///
    /// # Errors
    /// The first thing that is refused; with its place in the configuration.
    pub fn new(config: &EmperorConfig, given: &Given, mut log: Log) -> Result<Self, SetupError> {
        memory::give_back_what_is_free();
        own_process::set_limits(config)?;
        let limit = process::raise_descriptor_limit()
            .or_else(|_| process::descriptor_limit())
            .map_err(cannot("read the limit of descriptors"))?;
        // What was inherited without close-on-exec is nobody's business below.
        fd::cloexec_from(3).map_err(cannot("close inherited descriptors at exec"))?;
        prctl::become_subreaper().map_err(cannot("become a subreaper"))?;
        let wanted = own_process::wanted(config, &mut log)?;
        let variables = program::below_emperor(given.environment.clone(), &config.own.env, &wanted);
        let template = template(config, given, (variables, limit));
        for warning in &config.warnings {
            log.warning(format_args!("{warning}"));
        }
        let signals = signals().map_err(cannot("receive signals"))?;
        let mut reactor = Reactor::new().map_err(cannot("make the poll set"))?;
        reactor.add(signals.as_fd(), Token::Signals, Interest::Read, Kind::Busy);
        let keeper = keeper(given)?;
        if let Some(keeper) = &keeper {
            let watched = keeper.pidfd.as_fd();
            reactor.add(watched, Token::Keeper, Interest::Read, Kind::Busy);
        }
        let parent = parent::pipe(given).unwrap_or_else(|why| {
            log.warning(format_args!("{why}"));
            None
        });
        if let Some(pipe) = &parent {
            let pipe = pipe.as_fd();
            reactor.add(pipe, Token::Parent, Interest::Read, Kind::Busy);
        }
        let now = clock::now();
        let listeners = stats_listeners(config, own_process::owner(&wanted))?;
        let form = if config.stats_http { stats::Form::Http } else { stats::Form::Json };
        let mut stats = stats::Stats::new(listeners, form, now);
        stats.settle(&mut reactor, Token::Stats);
        let manager = service_manager(given, now, &mut log);
        let pidfile = PidFile::write(config)?;
        // Whatever needs privileges has been done.
        if let Some(file) = log.vassal_output() {
            own_process::give_log(file, &wanted)
                .map_err(cannot("give the log to the emperor's user"))?;
        }
        own_process::become_user(config, &wanted)?;
        own_process::enter(config)?;
        let monitors = monitors(config, &mut log)?;
        let forks = fork_server(config)?;
        for (index, source) in monitors.iter().enumerate() {
            let token = Token::Monitor(SourceId(index));
            let descriptor = source.monitor.descriptor();
            reactor.add(descriptor, token, Interest::Read, Kind::Busy);
        }
        let runtime_dir = runtime_dir(given, template.stage, &mut log);
        enter_first(&monitors, config, &mut log);
        own_process::set_title(config, &mut log);
        lend_output(&log);
        let mut context = Context::new(reactor, log, now);
        context.sources = Sources(monitors.iter().map(start_of).collect());
        context.trips = Trips::new(variable(&given.environment, "LIEGE_TEST_FAULT"));
        Ok(Self {
            context,
            realm: Realm::new(rules(config)),
            monitors,
            halls: std::collections::HashMap::new(),
            warned: std::collections::HashMap::new(),
            vassal_files: super::vassal_files::VassalFiles::default(),
            processes: std::collections::HashMap::new(),
            pids: std::collections::HashMap::new(),
            helpers: super::helpers::Helpers::default(),
            pauses: super::pauses::Pauses::default(),
            strays: super::strays::Strays::default(),
            runtime_dir,
            more_strangers: false,
            max_vassals: descriptors::max_vassals(),
            faults: super::faults::Faults::default(),
            hold_groups: super::hold_groups::HoldGroups::default(),
            started: now,
            template,
            null: fd::open_null().map_err(cannot("open /dev/null"))?,
            ondemand: ondemand::Options {
                backlog: config.listen,
                mode: config.chmod_socket.unwrap_or(0o666),
            },
            forks,
            stats,
            manager,
            signals,
            status_log: super::signals::StatusLog::default(),
            keeper,
            parent,
            identity: identity(),
            pidfile,
            effects: VecDeque::new(),
            asked: Vec::new(),
            heard: crate::monitor::Out::default(),
            inspections: VecDeque::new(),
            hearings: 0,
            leave: None,
        })
    }
}

/// Names the place of a setting, and its value.
fn at(setting: &Located<String>) -> String {
    format!("{} ({setting})", setting.show(&setting.value))
}

pub(super) fn variable<'a>(
    environment: &'a [(OsString, OsString)],
    name: &str,
) -> Option<&'a OsStr> {
    environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A path as the keeper wants it, which has no use for a working directory.
pub(super) fn absolute_c(path: &str) -> Option<CString> {
    CString::new(absolute(Path::new(path)).into_os_string().into_vec()).ok()
}

fn rules(config: &EmperorConfig) -> Rules {
    let processors = available_parallelism().map_or(1, std::num::NonZero::get);
    let starting = FEWEST_STARTING.max(processors * 2);
    Rules {
        throttle: config.throttle,
        max_throttle: config.max_throttle,
        throttle_burst: usize::try_from(config.throttle_burst).unwrap_or(usize::MAX),
        max_starting: config.max_starting.and_then(|n| usize::try_from(n).ok()).unwrap_or(starting),
        blacklist: !config.no_blacklist,
        required_heartbeat: config.required_heartbeat,
        curse_tolerance: config.curse_tolerance,
        reload_mercy: config.reload_mercy,
        loyal_after: config.loyal_after,
        ready_after: config.ready_after,
        // The process that becomes the program waits for its start hook.
        stage_timeout: config.stage_timeout
            + config.start_hook.as_ref().map_or(Duration::ZERO, |_| hook::LIMIT),
        start_timeout: config.start_timeout,
        graceful_shutdown: config.graceful_shutdown,
        stage: starts_stage(config),
        stop_hook: config.stop_hook.is_some(),
        fork_server: config.use_fork_server.is_some(),
        bases: config.fork_bases.iter().map(|name| name.value.clone().into_bytes()).collect(),
        ..Rules::default()
    }
}

/// Where the fork server is; it is asked with descriptors, which only unix sockets carry.
fn fork_server(config: &EmperorConfig) -> Result<forkserver::Forks, SetupError> {
    let Some(setting) = &config.use_fork_server else { return Ok(forkserver::Forks::default()) };
    let here = std::env::current_dir().unwrap_or_default();
    let place = ondemand::place(&setting.value, &here);
    let unix = place.filter(|place| !matches!(place, socket::Address::Tcp(_)));
    let unix = unix.ok_or_else(|| SetupError {
        doing: format!("use the fork server at {} ({setting})", setting.show(&setting.value)),
        source: Some(io::ErrorKind::InvalidInput.into()),
        advice: "; name a unix socket, by its path or as @name".to_owned(),
    })?;
    Ok(forkserver::Forks::at(unix))
}

/// Whether vassals start through the stage. As soon as another program may be started in its place, all are
/// started as uWSGI starts them: a program that is not ours must not get the status socket, and gives no
/// verdict.
fn starts_stage(config: &EmperorConfig) -> bool {
    !config.starts_others()
}

/// The programs, in the order in which they are tried; and how many of them are overrides.
fn programs(config: &EmperorConfig, given: &Given) -> (Vec<CString>, usize) {
    let text = |text: &Located<String>| CString::new(text.value.as_str()).ok();
    let own = || CString::new(given.own_program.as_os_str().as_bytes()).ok();
    let program = match config.wrapper.as_ref().or(config.binary_path.as_ref()) {
        Some(path) => text(path),
        None => own(),
    };
    let mut programs: Vec<CString> = config.wrapper_override.iter().filter_map(text).collect();
    let overrides = programs.len();
    programs.extend(program.into_iter().chain(config.wrapper_fallback.iter().filter_map(text)));
    (programs, overrides)
}

fn template(
    config: &EmperorConfig,
    given: &Given,
    (variables, limit): (Vec<(OsString, OsString)>, process::DescriptorLimit),
) -> Template {
    let text = |text: &str| CString::new(text).ok();
    let mut environment = environment::for_vassals(variables);
    environment.extend(parent::depth(given).and_then(|depth| CString::new(depth).ok()));
    let (programs, overrides) = programs(config, given);
    let mut template = Template::new(programs, environment, limit);
    template.overrides = overrides;
    let options = |name: &'static str, values: &[Located<String>]| {
        values
            .iter()
            .flat_map(|place| [text(name), text(&place.value)])
            .flatten()
            .collect::<Vec<CString>>()
    };
    template.before = [
        options("--inherit", &config.vassals_inherit_before),
        options("--include", &config.vassals_include_before),
        options("--set", &config.vassals_set),
    ]
    .concat();
    template.after = [
        options("--inherit", &config.vassals_inherit),
        options("--include", &config.vassals_include),
    ]
    .concat();
    template.extra_extensions = config.extra_extensions.clone();
    template.stage = starts_stage(config);
    template.oom_score = given.oom_score;
    let command = |hook: &Option<Located<String>>| hook.as_ref().and_then(|h| text(&h.value));
    template.start_hook = command(&config.start_hook);
    template.stop_hook = command(&config.stop_hook);
    template.config_pipe = config.force_config_pipe;
    template
}

/// The line to the service manager; silent where there is none, or an address that makes no sense.
fn service_manager(given: &Given, now: Moment, log: &mut Log) -> manager::ServiceManager {
    let told = |name| variable(&given.environment, name);
    let environment = manager::ManagerEnvironment {
        socket: told("NOTIFY_SOCKET"),
        watchdog_usec: told("WATCHDOG_USEC"),
        watchdog_pid: told("WATCHDOG_PID"),
        // The manager knows the keeper alone.
        pid: given.keeper.unwrap_or_else(std::process::id),
        relay: given.relay.as_deref(),
    };
    manager::ServiceManager::new(&environment, now).unwrap_or_else(|why| {
        log.warning(format_args!("{why}"));
        manager::ServiceManager::default()
    })
}

fn signals() -> io::Result<SignalFd> {
    let wanted = SIGNALS.iter().filter_map(|name| Signal::parse(name));
    let mask = wanted.fold(SignalMask::NONE, SignalMask::with);
    let signals = SignalFd::new(mask)?;
    set_mask(mask)?;
    // Rust's start-up code handles these two, to tell of a stack that has overflown; a handler makes
    // the first one that somebody sends vanish.
    for name in ["SIGSEGV", "SIGBUS"] {
        Signal::parse(name).map_or(Ok(()), set_default)?;
    }
    Ok(signals)
}

fn keeper(given: &Given) -> Result<Option<KeeperHandle>, SetupError> {
    let Some(pid) = given.keeper else { return Ok(None) };
    let pidfd = pidfd::open_parent(pid).map_err(cannot("watch the keeper"))?;
    Ok(Some(KeeperHandle { pid, pidfd }))
}

fn stats_listeners(
    config: &EmperorConfig,
    owner: SocketOwner,
) -> Result<Vec<stats::Bound>, SetupError> {
    let here = own_process::directory(config)?;
    let options = ListenOptions {
        owner,
        backlog: config.listen,
        mode: Some(config.chmod_socket.unwrap_or(STATS_MODE)),
        ..ListenOptions::default()
    };
    let bind = |address: &Located<crate::config::address::Address>| {
        let doing = format!("serve statistics at {} ({address})", address.show(&address.value));
        let place = ondemand::place(&address.value, &here)
            .ok_or_else(|| cannot(doing.clone())(io::ErrorKind::InvalidInput.into()))?;
        let bound = stats::Place { address: place.clone(), options: options.clone() };
        stats::Bound::new(bound).map_err(|error| {
            let remedy =
                if address.hidden { String::new() } else { ondemand::advice(&place, &error) };
            cannot(doing)(error.source).advised(|_| remedy)
        })
    };
    config.stats.iter().map(bind).collect()
}

/// The pid file, removed when this is dropped, unless a successor has written another one since.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Written beside and renamed, so that nobody ever reads half of it.
    fn write(config: &EmperorConfig) -> Result<Option<Self>, SetupError> {
        let Some(setting) = &config.pidfile else { return Ok(None) };
        let path = absolute(Path::new(&setting.value));
        let mut beside = path.clone().into_os_string();
        beside.push(".new");
        let text = format!("{}\n", std::process::id());
        let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &path));
        if written.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        written.map_err(|error| {
            cannot(format!("write the pid file {}", at(setting)))(error)
                .advised(|kind| advice::write(kind, setting.advised(&path)))
        })?;
        Ok(Some(Self(path)))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let own = std::process::id().to_string();
        if std::fs::read_to_string(&self.0).is_ok_and(|text| text.trim() == own) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

fn monitors(config: &EmperorConfig, log: &mut Log) -> Result<Vec<Source>, SetupError> {
    let mut sources = Vec::new();
    for setting in &config.emperors {
        let path = setting.value.strip_prefix("dir://").unwrap_or(&setting.value);
        let path = absolute(Path::new(path));
        if sources.iter().any(|source: &Source| source.directory == path) {
            log.warning(format_args!("{} is given twice; the second is ignored", at(setting)));
            continue;
        }
        let options = dir::Options {
            path: path.clone(),
            shown: setting.show(path.display()),
            extensions: config.extra_extensions.iter().map(OsString::from).collect(),
            on_demand_extension: config.on_demand_extension.as_ref().map(OsString::from),
            links: if config.nofollow { Links::Stay } else { Links::Follow },
            freq: config.freq,
            grace: config.dir_grace,
        };
        let monitor = Dir::new(options).map_err(|error| {
            cannot(format!("watch {}", at(setting)))(error)
                .advised(|kind| advice::watch(kind).to_owned())
        })?;
        let monitor = Box::new(monitor);
        sources.push(Source { monitor, directory: path });
    }
    Ok(sources)
}

/// Where the vassals of a source start.
fn start_of(source: &Source) -> Rc<CStr> {
    CString::new(source.directory.as_os_str().as_bytes()).unwrap_or_default().into()
}

/// The emperor lives in its first source, as the documents of uWSGI promise; statistics show it.
fn enter_first(monitors: &[Source], config: &EmperorConfig, log: &mut Log) {
    let (Some(first), Some(setting)) = (monitors.first(), config.emperors.first()) else { return };
    if let Err(error) = std::env::set_current_dir(&first.directory) {
        let shown = setting.show(first.directory.display());
        log.warning(format_args!("cannot change to {shown}: {error}"));
    }
}

/// Vassals write where we do: with a log file, standard output and error are that file.
pub(super) fn lend_output(log: &Log) {
    if let Some(output) = log.vassal_output() {
        for stream in [1, 2] {
            // It cannot fail for a descriptor that is open.
            let _ = fd::set_stdio(stream, output);
        }
    }
}

fn identity() -> Identity {
    let cwd = std::env::current_dir().unwrap_or_default();
    Identity {
        pid: std::process::id(),
        uid: creds::effective_uid(),
        gid: creds::effective_gid(),
        cwd: cwd.into_os_string().into_vec(),
    }
}
