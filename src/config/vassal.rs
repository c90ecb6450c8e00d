//! The settings of a vassal, checked.

use std::path::Path;

use crate::opts::key::RunOption;
use crate::opts::{Opt, Refusal, VassalOption as V};
use crate::types::run_settings::RunSettings;

use super::Resolved;
use super::address::{self, SocketSpec};
use super::check::{Check, ConfigRole, choice, located, number, signal};
use super::setting::{Fault, Faults, Located, Setting};
use super::values;
use crate::types::address::Address;

/// The program that a vassal runs, and whether it keeps the privileges of the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VassalProgram {
    /// It is executed before the privileges are dropped.
    pub privileged: bool,
    pub run: ProgramSpec,
}

impl VassalProgram {
    /// Whether both come from the same option, by whichever of its names.
    fn is_alike(&self, other: &Self) -> bool {
        self.privileged == other.privileged
            && std::mem::discriminant(&self.run) == std::mem::discriminant(&other.run)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramSpec {
    /// A program by its name, with the vassal's own arguments.
    Path(String),
    /// A command line: split into words, or given to the shell where it needs one.
    Command(String),
}

/// A change of the program's environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvChange {
    /// `env = NAME=text`.
    Set(String, String),
    /// `unenv = NAME`, or `env = NAME`.
    Unset(String),
}

/// Whether a program announces its readiness on a notify socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notify {
    /// It may, if it was given sockets: then it gets a notify socket, and its start does not wait for the message.
    #[default]
    Auto,
    /// It must, within `start-timeout`.
    Demanded,
    /// It gets no notify socket.
    Never,
}

/// All settings of a vassal that this version obeys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VassalConfig {
    /// The program; never `None` after `check`.
    pub program: Option<Located<VassalProgram>>,
    /// Shells to use for `-arg` texts, instead of `/bin/sh`: the first that can be executed.
    pub binsh: Vec<String>,
    /// All sockets in configuration order; the key gives the name for `LISTEN_FDNAMES`.
    pub sockets: Vec<Located<SocketSpec>>,
    /// Which of them are shared sockets, that `SocketSpec::Shared` counts: indices of `sockets`.
    pub shared: Vec<usize>,
    pub chmod_socket: Option<u32>,
    /// Owner, and group if given, of unix sockets: names or numbers.
    pub chown_socket: Option<Located<(String, Option<String>)>>,
    pub listen: u32,
    pub reuse_port: bool,
    /// Descriptor 0 is left as it is.
    pub honour_stdin: bool,
    /// A socket that was passed as descriptor 0 is not used.
    pub skip_zero: bool,
    /// Unix sockets are made in the abstract name space.
    pub abstract_socket: bool,
    /// Working directory; entered after the drop of privileges.
    pub chdir: Option<Located<String>>,
    /// Changes of the environment, in order.
    pub env: Vec<Located<EnvChange>>,
    pub umask: Option<u32>,
    /// User, a name or a number; looked up by the stage.
    pub uid: Option<Located<String>>,
    /// Group, a name or a number.
    pub gid: Option<Located<String>>,
    /// Supplementary groups, names or numbers.
    pub add_gid: Vec<Located<String>>,
    /// The user's own supplementary groups are left out.
    pub no_initgroups: bool,
    /// File for stdout and stderr.
    pub logto: Option<Located<String>>,
    /// A log file that exists already is given to the user, too.
    pub logfile_chown: bool,
    /// File for the pid.
    pub pidfile: Option<Located<String>>,
    /// Its unix sockets and pid file are removed when the vassal is gone.
    pub vacuum: bool,
    /// Files whose change reloads the vassal.
    pub touch_reload: Vec<Located<String>>,
    /// Capabilities that are kept over a change of the user; the emperor's only.
    pub cap: Option<Located<u64>>,
    /// Limit of the address space in bytes.
    pub limit_as: Option<Located<u64>>,
    /// Limit of descriptors.
    pub max_fd: Option<Located<u32>>,
    /// Passed to the program as `WEB_CONCURRENCY` and `LIEGE_PROCESSES`.
    pub processes: Option<u32>,
    /// Passed to the program as `LIEGE_THREADS`.
    pub threads: Option<u32>,
    pub notify: Notify,
    /// The settings that the emperor obeys.
    pub run: RunSettings,
    /// Names of the options in use that have no effect without an emperor.
    pub for_emperor: Vec<String>,
    /// Warnings: they do not prevent the start.
    pub warnings: Vec<Fault>,
}

/// Turns the list into the settings of a vassal.
///
/// # Errors
/// All faults: texts that are wrong for their option, options that are refused or not supported, no
/// program to run.
pub fn check(resolved: &Resolved) -> Result<VassalConfig, Faults> {
    let (mut config, check) = build(resolved);
    config.warnings = check.finish(resolved)?;
    Ok(config)
}

/// All faults and all warnings.
pub(super) fn judge(resolved: &Resolved) -> (Faults, Vec<Fault>) {
    build(resolved).1.parts(resolved)
}

fn build(resolved: &Resolved) -> (VassalConfig, Check) {
    let mut config = VassalConfig { listen: 100, ..VassalConfig::default() };
    let mut check = Check::new(ConfigRole::Vassal);
    for (setting, opt) in check.settings(resolved) {
        if let Some(key) = opt.vassal_key() {
            config.set(key, setting, &mut check);
            config.note_for_emperor(key, setting);
        } else {
            warn_of_emperor_option(&opt, setting, &mut check);
        }
    }
    config.check_together(resolved, &mut check);
    (config, check)
}

/// Warns of an option of the emperor.
fn warn_of_emperor_option(opt: &Opt, setting: &Setting, check: &mut Check) {
    // A file that names sources of vassals is an emperor's, and is not checked here.
    if opt.emperor_key().is_some() {
        check.warn(setting, "is an option of the emperor and has no effect in a vassal");
    }
}

impl VassalConfig {
    /// Takes one setting, whose text has been checked.
    pub(super) fn set(&mut self, key: V, setting: &Setting, check: &mut Check) {
        let flag = || values::flag(&setting.value);
        let text = || located(setting, setting.value.clone());
        match key {
            V::PrivilegedPath
            | V::PrivilegedCommand
            | V::UnprivilegedPath
            | V::UnprivilegedCommand => self.set_program(key, setting, check),
            V::Binsh => self.binsh.push(setting.value.clone()),
            V::Socket | V::SharedSocket => {
                if key == V::SharedSocket {
                    self.shared.push(self.sockets.len());
                }
                self.sockets.extend(address::parse(&setting.value).map(|at| located(setting, at)));
            }
            V::ChmodSocket => self.chmod_socket = values::mode(&setting.value).ok(),
            V::ChownSocket => self.chown_socket = Some(located(setting, owner(&setting.value))),
            V::Listen => self.listen = number(setting),
            V::ReusePort => self.reuse_port = flag(),
            V::HonourStdin => self.honour_stdin = flag(),
            V::SkipZero => self.skip_zero = flag(),
            V::AbstractSocket => self.abstract_socket = flag(),
            V::Chdir => self.chdir = Some(text()),
            V::Env => self.env.extend(env_change(setting)),
            V::Unenv => {
                self.env.push(located(setting, EnvChange::Unset(setting.value.clone())));
            }
            V::Umask => self.umask = values::umask(&setting.value).ok(),
            V::Uid => self.uid = Some(text()),
            V::Gid => self.gid = Some(text()),
            V::AddGid => self.add_gid.push(text()),
            V::NoInitgroups => self.no_initgroups = flag(),
            V::Logto => self.logto = Some(text()),
            V::Daemonize => {
                check.warn(setting, "a vassal stays in the foreground: taken as logto");
                self.logto = Some(text());
            }
            V::Pidfile => self.pidfile = Some(text()),
            V::Vacuum => self.vacuum = flag(),
            V::TouchReload => self.touch_reload.push(text()),
            V::Cap => {
                let bits = values::capability_bits(&setting.value).unwrap_or_default();
                self.cap = Some(located(setting, bits));
            }
            V::LimitAs => {
                self.limit_as =
                    values::megabytes(&setting.value).ok().map(|at| located(setting, at));
            }
            V::MaxFd => self.max_fd = Some(located(setting, number(setting))),
            V::LogfileChown => self.logfile_chown = flag(),
            V::LogDate => check.warn(
                setting,
                "has no effect on what the program prints: let the program print the time itself",
            ),
            V::Procname => check.warn(setting, "has no effect: the program keeps its own title"),
            V::Processes => self.processes = Some(number(setting)),
            V::Threads => self.threads = Some(number(setting)),
            V::Run(option) => self.set_run(option, setting),
        }
    }

    /// Takes one setting that the emperor obeys.
    fn set_run(&mut self, option: RunOption, setting: &Setting) {
        let seconds = || values::seconds(&setting.value).ok();
        let run = &mut self.run;
        match option {
            RunOption::StopSignal => run.stop_signal = signal(setting),
            RunOption::GracefulSignal => run.graceful_signal = signal(setting),
            RunOption::ReloadSignal => run.reload_signal = signal(setting),
            RunOption::StopTo => run.stop_to = choice(setting),
            RunOption::Restart => run.restart = choice(setting),
            RunOption::Notify => {
                self.notify = notify(&setting.value);
                run.notify = self.notify == Notify::Demanded;
            }
            RunOption::Heartbeat => run.heartbeat = seconds().filter(|time| !time.is_zero()),
            RunOption::LoyalAfter => run.loyal_after = seconds(),
            RunOption::ReadyAfter => run.ready_after = seconds(),
            RunOption::StartTimeout => run.start_timeout = seconds(),
        }
    }

    /// Remembers an option that has no effect without an emperor.
    fn note_for_emperor(&mut self, key: V, setting: &Setting) {
        let is_for_emperor = match key {
            // The program gets it in its environment in any case.
            V::Run(RunOption::Heartbeat) => false,
            V::Run(RunOption::Notify) => self.run.notify,
            V::Run(_) | V::TouchReload => true,
            V::Vacuum => self.vacuum,
            // The stage, or the program, obeys all others.
            _ => false,
        };
        self.for_emperor.retain(|name| *name != setting.key);
        if is_for_emperor {
            self.for_emperor.push(setting.key.clone());
        }
    }

    /// Takes the program. The same option may be given twice, in a template and in the file, but not two
    /// different ones.
    fn set_program(&mut self, key: V, setting: &Setting, check: &mut Check) {
        let privileged = matches!(key, V::PrivilegedPath | V::PrivilegedCommand);
        let run = if matches!(key, V::PrivilegedPath | V::UnprivilegedPath) {
            ProgramSpec::Path(setting.value.clone())
        } else {
            ProgramSpec::Command(setting.value.clone())
        };
        let vassal_program = VassalProgram { privileged, run };
        let is_other = |named: &&Located<VassalProgram>| !named.value.is_alike(&vassal_program);
        if let Some(other) = self.program.as_ref().filter(is_other) {
            let message = format!("{other} names the program already; keep one of the two");
            check.fault(setting, message);
            return;
        }
        self.program = Some(located(setting, vassal_program));
    }

    /// Checks what several settings say together.
    fn check_together(&mut self, resolved: &Resolved, check: &mut Check) {
        if resolved.settings.is_empty() && resolved.main_file.is_none() {
            check.fault_of_whole(
                "nothing to do: say --emperor DIR, or name a file; liege --help tells more",
            );
        } else if self.program.is_none() {
            // Most likely the name of that very option is misspelt.
            let is_slip = |warning: &&Fault| {
                warning.message.contains("binary-patch") || warning.message.contains("\"command\"")
            };
            let slip = resolved.warnings.iter().find(is_slip);
            let slip = slip.map(|warning| format!(" ({warning})")).unwrap_or_default();
            check.fault_of_whole(&format!(
                "nothing to run: write command = PROGRAM ARGUMENTS, the command line of the program{slip}"
            ));
        }
        if self.program.as_ref().is_some_and(|place| place.value.privileged) {
            for identity in [&self.uid, &self.gid].into_iter().flatten().chain(&self.add_gid) {
                check.warn_at(identity, "has no effect on a program that is run privileged");
            }
        } else if let (Some(uid), None) = (&self.uid, &self.gid)
            && !matches!(uid.value.as_str(), "0" | "root")
        {
            check.warn_at(uid, "is set without gid: the user's own groups are used");
        }
        if self.run.heartbeat.is_some() && !self.run.notify {
            check.warn_of_whole(
                "heartbeat without notify = true: that the program is alive is all that can be known",
            );
        }
        if let Some(cap) = &self.cap {
            let refusal = Refusal {
                what: "is not supported in a vassal file by this version of liege",
                why: "The program would have other rights than its file says",
                instead: "Let the emperor have a uid and these capabilities, or use an on-demand address for a \
                          port below 1024",
            };
            check.fault_at(cap, refusal.to_string());
        }
        let shared = self.shared.len();
        for socket in &mut self.sockets {
            match &socket.value {
                SocketSpec::Shared(index) if *index >= shared => {
                    let message =
                        format!("there is no shared-socket number {index} (they count from 0)");
                    check.fault_at(socket, message);
                }
                SocketSpec::Bind(Address::Path(path)) if self.abstract_socket => {
                    socket.value = SocketSpec::Bind(Address::Abstract(bytes(path)));
                }
                _ => {}
            }
        }
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_encoded_bytes().to_vec()
}

fn owner(text: &str) -> (String, Option<String>) {
    match text.split_once(':') {
        Some((user, group)) => (user.to_owned(), Some(group.to_owned())),
        None => (text.to_owned(), None),
    }
}

fn env_change(setting: &Setting) -> Option<Located<EnvChange>> {
    let change = match values::variable(&setting.value).ok()? {
        (name, Some(text)) => EnvChange::Set(name.to_owned(), text.to_owned()),
        (name, None) => EnvChange::Unset(name.to_owned()),
    };
    Some(located(setting, change))
}

fn notify(text: &str) -> Notify {
    match text {
        values::AUTO => Notify::Auto,
        _ if values::flag(text) => Notify::Demanded,
        _ => Notify::Never,
    }
}
