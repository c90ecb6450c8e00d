//! The settings of the emperor, checked.

use std::path::Path;
use std::time::Duration;

pub use crate::opts::key::Served;
use crate::opts::{EmperorOption as E, Opt, Refusal, Section, VassalOption as V};
use crate::types::keeper_mode::KeeperMode;
use crate::types::log_level::Level;
use crate::types::source_spec::SourceSpec;
use crate::types::{environment, names};

use super::Resolved;
use super::address::{self, SocketSpec};
use super::check::{Check, ConfigRole, choice, located, number};
use super::setting::{Fault, Faults, Located, Origin, Setting};
use super::vassal::VassalConfig;
use super::{source, values};

/// Everything the command line, files and environment can tell the emperor of this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmperorConfig {
    pub emperors: Vec<Located<SourceSpec>>,
    /// Time between rescans; 0 = none.
    pub freq: Duration,
    /// How long the vassals of a directory that vanishes go on running.
    pub dir_grace: Duration,
    /// The time of change of a symbolic link counts, not that of its target.
    pub nofollow: bool,
    /// Further endings of vassal files.
    pub extra_extensions: Vec<String>,
    /// The program started for vassals; unset: liege itself.
    pub binary_path: Option<Located<String>>,
    /// The step by which the wait before a start grows.
    pub throttle: Duration,
    /// Longest wait before a start.
    pub max_throttle: Duration,
    /// Starts per second that never wait.
    pub throttle_burst: u32,
    /// Most vassals between fork and verdict; unset: by the number of processors.
    pub max_starting: Option<u32>,
    /// A death before loyalty does not delay the next start.
    pub no_blacklist: bool,
    /// Longest silence after the first heartbeat.
    pub required_heartbeat: Duration,
    /// From the request to stop to SIGKILL.
    pub curse_tolerance: Duration,
    /// The same for all vassals when the emperor ends.
    pub reload_mercy: Duration,
    /// A program that does not say that it is loyal counts as loyal when it has run for this long.
    pub loyal_after: Duration,
    /// From the start of a stage to its verdict.
    pub stage_timeout: Duration,
    /// From exec to readiness, where it is announced.
    pub start_timeout: Duration,
    /// A program that announces nothing counts as accepting when it has run for this long.
    pub ready_after: Duration,
    /// Vassals are asked to stop gracefully (byte 2).
    pub graceful_shutdown: bool,
    /// Ending of the file that holds a vassal's on-demand address.
    pub on_demand_extension: Option<String>,
    /// Backlog of the emperor's sockets.
    pub listen: u32,
    /// Mode of the emperor's unix sockets.
    pub chmod_socket: Option<u32>,
    /// What is served, and where.
    pub served: Vec<(Served, Located<SocketSpec>)>,
    /// Statistics begin with an HTTP header.
    pub stats_http: bool,
    pub keeper: KeeperMode,
    /// Lines that matter less than this are not logged.
    pub log_level: Level,
    /// The options of vassals that the emperor obeys for its own process: `uid`, `gid`, `add-gid`, `no-initgroups`,
    /// `cap`, `umask`, `chdir`, `max-fd`; and `env` and `unenv`, for the environment of all vassals.
    pub own_process: VassalConfig,
    pub procname: Option<String>,
    /// File for the pid.
    pub pidfile: Option<Located<String>>,
    /// File for the log.
    pub logto: Option<Located<String>>,
    /// `--set` for each vassal.
    pub vassals_set: Vec<Located<String>>,
    /// `--include` behind each vassal file.
    pub vassals_include: Vec<Located<String>>,
    /// `--inherit` behind each vassal file.
    pub vassals_inherit: Vec<Located<String>>,
    /// `--include` before each vassal file.
    pub vassals_include_before: Vec<Located<String>>,
    /// `--inherit` before each vassal file.
    pub vassals_inherit_before: Vec<Located<String>>,
    /// The fork server that is asked to fork every vassal.
    pub use_fork_server: Option<Located<SocketSpec>>,
    /// Vassals that are started by fork and exec in spite of it: they are fork servers.
    pub fork_bases: Vec<Located<String>>,
    /// Used instead of `binary_path`.
    pub wrapper: Option<Located<String>>,
    /// Tried before it.
    pub wrapper_override: Vec<Located<String>>,
    /// Tried after it.
    pub wrapper_fallback: Vec<Located<String>>,
    /// Command run in each new process before its exec.
    pub start_hook: Option<Located<String>>,
    /// Command run when a vassal is gone.
    pub stop_hook: Option<Located<String>>,
    /// The text of vassal files is sent on the config pipe.
    pub force_config_pipe: bool,
    /// Warnings: they do not prevent the start.
    pub warnings: Vec<Fault>,
}

impl Default for EmperorConfig {
    fn default() -> Self {
        Self {
            emperors: Vec::new(),
            freq: Duration::ZERO,
            dir_grace: Duration::ZERO,
            nofollow: false,
            extra_extensions: Vec::new(),
            binary_path: None,
            throttle: Duration::from_millis(1000),
            max_throttle: Duration::from_secs(180),
            throttle_burst: 1,
            max_starting: None,
            no_blacklist: false,
            required_heartbeat: Duration::from_secs(30),
            curse_tolerance: Duration::from_secs(30),
            reload_mercy: Duration::from_secs(30),
            loyal_after: Duration::from_secs(10),
            stage_timeout: Duration::from_secs(10),
            start_timeout: Duration::from_secs(90),
            ready_after: Duration::from_secs(10),
            graceful_shutdown: false,
            on_demand_extension: None,
            listen: 100,
            chmod_socket: None,
            served: Vec::new(),
            stats_http: false,
            keeper: KeeperMode::Auto,
            log_level: Level::default(),
            own_process: VassalConfig::default(),
            procname: None,
            pidfile: None,
            logto: None,
            vassals_set: Vec::new(),
            vassals_include: Vec::new(),
            vassals_inherit: Vec::new(),
            vassals_include_before: Vec::new(),
            vassals_inherit_before: Vec::new(),
            use_fork_server: None,
            fork_bases: Vec::new(),
            wrapper: None,
            wrapper_override: Vec::new(),
            wrapper_fallback: Vec::new(),
            start_hook: None,
            stop_hook: None,
            force_config_pipe: false,
            warnings: Vec::new(),
        }
    }
}

/// Turns the list into the settings of the emperor.
///
/// # Errors
/// All faults: texts that are wrong for their option, options that are refused or not supported, nothing
/// to govern.
pub fn check(resolved: &Resolved) -> Result<EmperorConfig, Faults> {
    let (mut config, check) = build(resolved);
    config.warnings = check.finish(resolved)?;
    Ok(config)
}

/// All faults and all warnings.
pub(super) fn judge(resolved: &Resolved) -> (Faults, Vec<Fault>) {
    build(resolved).1.parts(resolved)
}

/// What the settings without faults say: enough to find the vassals.
pub(super) fn without_faulty_settings(resolved: &Resolved) -> EmperorConfig {
    build(resolved).0
}

fn build(resolved: &Resolved) -> (EmperorConfig, Check) {
    let mut config = EmperorConfig::default();
    let mut check = Check::new(ConfigRole::Emperor);
    for (setting, opt) in check.settings(resolved) {
        if let Some(key) = opt.emperor_key() {
            config.set(key, setting, &mut check);
        } else {
            config.set_vassal_option(&opt, setting, &mut check);
        }
    }
    config.check_together(&mut check);
    if config.emperors.is_empty() {
        check.fault_of_whole("nothing to govern: say --emperor DIR");
    }
    let inherited = options_inherited_by_vassals(resolved);
    if !inherited.is_empty() {
        let names = inherited.join(", ");
        check.warn_of_whole(&format!(
            "these variables of the environment are options of every vassal too: {names}; to set one for \
             vassals only, call it UWSGI_VASSAL_…"
        ));
    }
    (config, check)
}

impl EmperorConfig {
    /// Whether vassals may be started by another program than liege, which reads their files itself.
    #[must_use]
    pub fn starts_others(&self) -> bool {
        self.binary_path.is_some()
            || self.wrapper.is_some()
            || !self.wrapper_override.is_empty()
            || !self.wrapper_fallback.is_empty()
    }

    /// Refuses an emperor whose file would be one of its own vassals: it is in a directory that it names as a
    /// source, and its name is that of a vassal. Relative names count from `cwd`; the name of the file has
    /// `shown_prefix` in front.
    ///
    /// # Errors
    /// The fault, at the option that names the directory.
    pub fn refuse_itself(
        &self,
        resolved: &Resolved,
        (cwd, shown_prefix): (&Path, &Path),
    ) -> Result<(), Faults> {
        let Some(Origin::File { file, .. }) = &resolved.main_file else { return Ok(()) };
        let path = cwd.join(file.path.strip_prefix(shown_prefix).unwrap_or(&file.path));
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        let extra = self.extra_extensions.iter().map(String::as_str);
        if !names::is_vassal(name.as_encoded_bytes(), extra) {
            return Ok(());
        }
        let real = |path: &Path| std::fs::canonicalize(path).ok();
        let above = real(above);
        let base =
            self.own_process.chdir.as_ref().map_or(cwd.to_owned(), |chdir| cwd.join(&chdir.value));
        let is_own = |source: &&Located<SourceSpec>| {
            above.is_some() && real(&base.join(source.value.directory())) == above
        };
        match self.emperors.iter().find(is_own) {
            Some(source) => Err(Faults(vec![source.fault(format!(
                "this file is in the directory that it governs, and would be a vassal of itself: move it out of \
                 {}, or give it a name that no vassal has",
                source.show(&source.value)
            ))])),
            None => Ok(()),
        }
    }
}

/// The options from the environment that vassals inherit with it.
fn options_inherited_by_vassals(resolved: &Resolved) -> Vec<&str> {
    let names = resolved.settings.iter().filter_map(|setting| match &setting.origin {
        Origin::Environment(name) => Some(name.as_str()),
        Origin::CommandLine | Origin::File { .. } => None,
    });
    names.filter(|name| environment::is_inherited(name.as_ref())).collect()
}

impl EmperorConfig {
    /// Takes an option of vassals: some of them concern the emperor's own process as well.
    fn set_vassal_option(&mut self, opt: &Opt, setting: &Setting, check: &mut Check) {
        let Some(key) = opt.vassal_key() else { return };
        match (opt.section, key) {
            (Section::Identity, _)
            | (_, V::Umask | V::Chdir | V::MaxFd | V::Cap | V::Env | V::Unenv) => {
                self.own_process.set(key, setting, check);
            }
            (_, V::Daemonize) => {
                check.warn(setting, "the emperor stays in the foreground: taken as logto");
                self.logto = Some(located(setting, setting.value.clone()));
            }
            // The log file of the emperor is given to its user in any case.
            (_, V::LogfileChown) => {}
            // Each line of the log has its time in any case.
            (_, V::LogDate) => {
                if !matches!(setting.value.as_str(), "" | "true" | "false" | "1") {
                    let message = "each line of the log has its time, in a form of its own: the format is \
                                   not used";
                    check.warn(setting, message);
                }
            }
            (_, V::Vacuum) => check.warn(
                setting,
                "is ignored: the emperor removes its pid file in any case; for the files of vassals write it \
                 into their files, or say vassals-set = vacuum=true",
            ),
            (Section::Sockets, _) => check.refuse(
                setting,
                &Refusal {
                    what: "is refused: the emperor serves nothing itself",
                    why: "Nobody would take the connections",
                    instead: "Write it into a vassal file, or say vassals-set",
                },
            ),
            (
                _,
                V::PrivilegedPath
                | V::PrivilegedCommand
                | V::UnprivilegedPath
                | V::UnprivilegedCommand,
            ) => check.refuse(
                setting,
                &Refusal {
                    what: "is refused: the emperor runs no program itself",
                    why: "It runs one for each vassal file",
                    instead: "Write it into a vassal file",
                },
            ),
            _ => check.warn(setting, "has no effect on the emperor: it belongs into a vassal file"),
        }
    }

    /// Checks what several settings say together.
    fn check_together(&self, check: &mut Check) {
        if let (Some(uid), None) = (&self.own_process.uid, &self.own_process.gid)
            && !matches!(uid.value.as_str(), "0" | "root")
        {
            check.warn_at(uid, "is set without gid: the user's own groups are used");
        }
        if let (Some(cap), None) = (&self.own_process.cap, &self.own_process.uid) {
            check.warn_at(cap, "has no effect without uid: the capabilities stay what they are");
        }
    }

    /// Takes one setting, whose text has been checked.
    fn set(&mut self, key: E, setting: &Setting, check: &mut Check) {
        let flag = || values::flag(&setting.value);
        let text = || located(setting, setting.value.clone());
        let word = || setting.value.clone();
        let seconds = || values::seconds(&setting.value).unwrap_or_default();
        let millis = || values::millis(&setting.value).unwrap_or_default();
        let address = || address::parse(&setting.value).ok().map(|at| located(setting, at));
        match key {
            E::Emperor => match source::parse(setting) {
                Ok(spec) => self.emperors.push(located(setting, spec)),
                Err(why) => check.fault(setting, why),
            },
            E::Freq => self.freq = seconds(),
            E::DirGrace => self.dir_grace = seconds(),
            E::NoFollow => self.nofollow = flag(),
            E::ExtraExtension => self.extra_extensions.push(word()),
            E::BinaryPath => self.binary_path = Some(text()),
            E::Throttle => self.throttle = millis(),
            E::MaxThrottle => self.max_throttle = millis(),
            E::ThrottleBurst => self.throttle_burst = number(setting),
            E::MaxStarting => self.max_starting = Some(number(setting).max(1)),
            E::NoBlacklist => self.no_blacklist = flag(),
            E::RequiredHeartbeat => self.required_heartbeat = seconds(),
            E::CurseTolerance => self.curse_tolerance = seconds(),
            E::ReloadMercy => self.reload_mercy = seconds(),
            E::LoyalAfter => self.loyal_after = seconds(),
            E::StageTimeout => self.stage_timeout = seconds(),
            E::StartTimeout => self.start_timeout = seconds(),
            E::ReadyAfter => self.ready_after = seconds(),
            E::GracefulShutdown => self.graceful_shutdown = flag(),
            E::OnDemandExtension => self.on_demand_extension = Some(word()),
            E::Listen => self.listen = number(setting),
            E::ChmodSocket => self.chmod_socket = values::mode(&setting.value).ok(),
            E::Serve(what) => self.served.extend(address().map(|at| (what, at))),
            E::StatsHttp => self.stats_http = flag(),
            E::Keeper => self.keeper = choice(setting),
            E::LogLevel => self.log_level = choice(setting),
            E::Pidfile => self.pidfile = Some(text()),
            E::Procname => self.procname = Some(word()),
            E::Logto => self.logto = Some(text()),
            E::VassalsSet => self.vassals_set.push(text()),
            E::VassalsInclude => self.vassals_include.push(text()),
            E::VassalsInherit => self.vassals_inherit.push(text()),
            E::VassalsIncludeBefore => self.vassals_include_before.push(text()),
            E::VassalsInheritBefore => self.vassals_inherit_before.push(text()),
            E::UseForkServer => self.use_fork_server = address(),
            E::ForkBase => self.fork_bases.push(text()),
            E::Wrapper => self.wrapper = Some(text()),
            E::WrapperOverride => self.wrapper_override.push(text()),
            E::WrapperFallback => self.wrapper_fallback.push(text()),
            E::StartHook => self.start_hook = Some(text()),
            E::StopHook => self.stop_hook = Some(text()),
            E::ForceConfigPipe => self.force_config_pipe = flag(),
        }
    }
}
