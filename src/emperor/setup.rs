//! From checked settings to an emperor that is ready to run.
//!
//! Every fault found here still names the place of the setting, and nothing has been started yet.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::thread::available_parallelism;
use std::time::Duration;

use crate::config::emperor::EmperorConfig;
use crate::config::setting::Located;
use crate::config::vassal_command_line::{OptionPair, VassalCommandLine};
use crate::identity::{self, NewIdentity};
use crate::log::Log;
use crate::proto::spawner::Template;
use crate::reactor::Reactor;
use crate::spawn::HOOK_TIMEOUT;
use crate::spawn::environment::for_vassals;
use crate::state::realm::Realm;
use crate::state::{Rules, SourceId};
use crate::sys::clock;
use crate::sys::limits::{DescriptorLimit, descriptor_limit, raise_descriptor_limit};
use crate::sys::{fd, memory, prctl};
use crate::types::address::Address;
use crate::types::moment::Moment;

use super::Emperor;
use super::backpressure::Backpressure;
use super::context::{Context, Sources, Trips};
use super::descriptors::DescriptorBudget;
use super::faults::CaughtFaults;
use super::fork_servers::ForkServers;
use super::helpers::Helpers;
use super::hold_groups::HoldGroups;
use super::keeper::KeeperHandle;
use super::listeners::Listeners;
use super::lives::Lives;
use super::manager::ServiceManager;
use super::monitors::Monitors;
use super::open_log::redirect_stdio_to_log;
use super::own_process::{self, OwnProcess};
use super::parent::{self, Parent};
use super::pid_file::PidFile;
use super::process_context::ProcessContext;
use super::runtime_dir::RuntimeDir;
use super::servers::Servers;
use super::setup_error::{SetupError, cannot};
use super::signals::Signals;
use super::spawner::Spawner;
use super::status_log::StatusLog;
use super::vassal_files::VassalFiles;

/// Lives between fork and verdict at one time, at least.
const MIN_STARTING: usize = 8;

/// Makes everything ready: signals, sockets, sources. Nothing is started yet.
///
/// # Errors
/// The first thing that is refused; with its place in the configuration.
pub(super) fn build(
    config: &EmperorConfig,
    process: &ProcessContext,
    mut log: Log,
) -> Result<Emperor, SetupError> {
    let limit = prepare_process(config)?;
    let wanted = own_process::wanted(config, &mut log)?;
    for warning in &config.warnings {
        log.warning(format_args!("{warning}"));
    }
    let signals = Signals::open(process.keeper).map_err(cannot("receive signals"))?;
    let keeper = KeeperHandle::open(process)?;
    let parent = Parent::open(process, &mut log);
    let now = clock::now();
    let owner = own_process::owner(&wanted);
    let mut servers = Servers::open(config, owner, &own_process::directory(config)?)?;
    let manager = ServiceManager::open(process, now, &mut log);
    let pidfile = PidFile::write(config)?;
    let environment = environment(config, process, &wanted);
    drop_privileges(config, &wanted, &log)?;
    let (monitors, sources) = Monitors::open(config, &mut log)?;
    let fork_server = fork_server(config)?;
    let template = Rc::new(template(config, process, &sources, limit));
    let runtime_dir = RuntimeDir::open(process, template.stage, &mut log);
    settle_process(config, &sources, &mut log);
    let spawner = Spawner::new(&template, own_program(process), environment);
    let mut context = new_context((process, sources), log, now, spawner)?;
    signals.watch(&mut context.reactor);
    keeper.iter().for_each(|keeper| keeper.watch(&mut context.reactor));
    parent.watch(&mut context.reactor);
    monitors.watch(&mut context.reactor);
    servers.update_reactor(&mut context);
    Ok(Emperor {
        context,
        realm: Realm::new(rules(config)),
        monitors,
        listeners: Listeners::new(config),
        vassal_files: VassalFiles::default(),
        lives: Lives::new(Rc::clone(&template), runtime_dir),
        helpers: Helpers::new(Rc::clone(&template)),
        unknown_children: false,
        descriptors: DescriptorBudget::open().map_err(cannot("open /dev/null"))?,
        faults: CaughtFaults::default(),
        hold_groups: HoldGroups::default(),
        started: now,
        fork_servers: ForkServers::new(fork_server, template),
        servers,
        manager,
        signals,
        status_log: StatusLog::default(),
        keeper,
        parent,
        process_info: OwnProcess::current(),
        pidfile,
        effects: VecDeque::new(),
        new_effects: Vec::new(),
        backpressure: Backpressure::default(),
        leave: None,
    })
}

fn new_context(
    (process, sources): (&ProcessContext, Sources),
    log: Log,
    now: Moment,
    spawner: Spawner,
) -> Result<Context, SetupError> {
    let reactor = Reactor::new().map_err(cannot("make the poll set"))?;
    let mut context = Context::new(reactor, log, now, spawner);
    context.sources = sources;
    context.trips = Trips::new(process.variable("LIEGE_TEST_FAULT"));
    let Context { spawner, reactor, .. } = &mut context;
    spawner.start(reactor).map_err(cannot("start the spawner"))?;
    Ok(context)
}

/// Makes of this process the parent of vassals; gives its limit of descriptors.
fn prepare_process(config: &EmperorConfig) -> Result<DescriptorLimit, SetupError> {
    memory::give_back_what_is_free();
    own_process::set_limits(config)?;
    let limit = raise_descriptor_limit()
        .or_else(|_| descriptor_limit())
        .map_err(cannot("read the limit of descriptors"))?;
    // Inherited descriptors may be secret, and vassals must not get them.
    fd::cloexec_from(3).map_err(cannot("close inherited descriptors at exec"))?;
    prctl::become_subreaper().map_err(cannot("become a subreaper"))?;
    Ok(limit)
}

/// Becomes the emperor's user; whatever needs privileges has been done.
fn drop_privileges(
    config: &EmperorConfig,
    wanted: &NewIdentity,
    log: &Log,
) -> Result<(), SetupError> {
    if let Some(file) = log.vassal_output() {
        own_process::give_log(file, wanted)
            .map_err(cannot("give the log to the emperor's user"))?;
    }
    own_process::become_user(config, wanted)?;
    own_process::enter(config)
}

fn rules(config: &EmperorConfig) -> Rules {
    let processors = available_parallelism().map_or(1, std::num::NonZero::get);
    let starting = MIN_STARTING.max(processors * 2);
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
            + config.start_hook.as_ref().map_or(Duration::ZERO, |_| HOOK_TIMEOUT),
        start_timeout: config.start_timeout,
        graceful_shutdown: config.graceful_shutdown,
        stage: starts_stage(config),
        stop_hook: config.stop_hook.is_some(),
        fork_server: config.use_fork_server.is_some(),
        bases: config.fork_bases.iter().map(|name| name.value.clone().into_bytes()).collect(),
        ..Rules::default()
    }
}

/// The address of the fork server. It must be a unix socket, because requests carry descriptors.
fn fork_server(config: &EmperorConfig) -> Result<Option<Address>, SetupError> {
    let Some(setting) = &config.use_fork_server else { return Ok(None) };
    let here = std::env::current_dir().unwrap_or_default();
    let address = setting.value.address().map(|address| address.relative_to(&here));
    let unix = address.filter(|address| !matches!(address, Address::Tcp(_)));
    let unix = unix.ok_or_else(|| {
        let doing = format!("use the fork server at {} ({setting})", setting.show(&setting.value));
        cannot(doing)(io::ErrorKind::InvalidInput.into())
            .advised(|_| "; name a unix socket, by its path or as @name".to_owned())
    })?;
    Ok(Some(unix))
}

/// Whether vassals start through the stage. As soon as another program may be started in its place, all are
/// started as uWSGI starts them: a program that is not ours must not get the status socket, and gives no
/// verdict.
fn starts_stage(config: &EmperorConfig) -> bool {
    !config.starts_others()
}

/// The programs, in the order in which they are tried; and how many of them are overrides.
fn programs(config: &EmperorConfig, process: &ProcessContext) -> (Vec<CString>, usize) {
    let text = |text: &Located<String>| CString::new(text.value.as_str()).ok();
    let program = match config.wrapper.as_ref().or(config.binary_path.as_ref()) {
        Some(path) => text(path),
        None => Some(own_program(process)),
    };
    let mut programs: Vec<CString> = config.wrapper_override.iter().filter_map(text).collect();
    let overrides = programs.len();
    programs.extend(program.into_iter().chain(config.wrapper_fallback.iter().filter_map(text)));
    (programs, overrides)
}

fn own_program(process: &ProcessContext) -> CString {
    CString::new(process.own_program.as_os_str().as_bytes()).unwrap_or_default()
}

/// The environment of the spawner, which is that of the vassals; to be asked for before the user changes.
fn environment(
    config: &EmperorConfig,
    process: &ProcessContext,
    wanted: &NewIdentity,
) -> Vec<CString> {
    let variables = identity::environment::below_emperor(
        process.environment.clone(),
        &config.own_process.env,
        wanted,
    );
    let mut environment = for_vassals(variables);
    environment.extend(parent::depth(process).and_then(|depth| CString::new(depth).ok()));
    environment
}

fn template(
    config: &EmperorConfig,
    process: &ProcessContext,
    sources: &Sources,
    limit: DescriptorLimit,
) -> Template {
    let text = |text: &str| CString::new(text).ok();
    let (programs, overrides) = programs(config, process);
    let command_line = VassalCommandLine::of(config);
    let texts = |pairs: &[OptionPair]| -> Vec<CString> {
        pairs.iter().flat_map(|pair| &pair.value).filter_map(|word| text(word)).collect()
    };
    let command = |hook: &Option<Located<String>>| hook.as_ref().and_then(|h| text(&h.value));
    Template {
        programs,
        overrides,
        before: texts(&command_line.before),
        after: texts(&command_line.after),
        extra_extensions: config.extra_extensions.clone(),
        directories: sources.0.iter().map(|directory| CStr::to_owned(directory)).collect(),
        descriptor_limit: limit.soft,
        oom_score: process.oom_score,
        stage: starts_stage(config),
        start_hook: command(&config.start_hook),
        stop_hook: command(&config.stop_hook),
        config_pipe: config.force_config_pipe,
    }
}

/// Sets the directory, the title and the output of this process, after everything that can fail.
fn settle_process(config: &EmperorConfig, sources: &Sources, log: &mut Log) {
    enter_first(sources, config, log);
    own_process::set_title(config, log);
    redirect_stdio_to_log(log);
}

/// The emperor lives in its first source, as the documents of uWSGI promise; statistics show it.
fn enter_first(sources: &Sources, config: &EmperorConfig, log: &mut Log) {
    let first = sources.directory(SourceId(0));
    let (Some(first), Some(setting)) = (first, config.emperors.first()) else { return };
    if let Err(error) = std::env::set_current_dir(&first) {
        let shown = setting.show(first.display());
        log.warning(format_args!("cannot change to {shown}: {error}"));
    }
}
