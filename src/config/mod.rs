//! From files, environment and command line to one ordered list, and from that to checked structs.
//!
//! [`load`] reads and expands; [`vassal::check`] and [`emperor::check`] check; others act on the result. Nothing here
//! reads the arguments, the environment or the working directory of the process: these come with an [`Invocation`].

mod accounts;
pub mod address;
mod arithmetic;
mod check;
pub mod command;
pub mod emperor;
mod expand;
mod file;
mod ini;
mod json;
mod limits;
mod magic;
mod pattern;
mod read;
pub mod setting;
mod source;
mod text;
pub mod values;
pub mod vassal;
pub mod vassal_command_line;
mod xml;
mod yaml;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, SystemTime};

use crate::opts::cli::CliArgument;
use crate::opts::key::Directive;
use crate::opts::{self, Class};

pub use address::SocketSpec;
pub use emperor::EmperorConfig;
pub use setting::{Fault, Faults, Located, Origin, Setting};
pub use vassal::VassalConfig;

/// The process for which a configuration is read.
#[derive(Debug)]
pub struct Invocation {
    /// The arguments after the program's name.
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    /// The working directory, absolute; relative names count from here.
    pub cwd: PathBuf,
    /// User id, for `%u` and `%U`.
    pub uid: u32,
    /// Group id, for `%g` and `%G`.
    pub gid: u32,
    /// The time of the start, for `%t` and `%T`.
    pub now: SystemTime,
    /// A file that is already open, with its name: where that name is to be read, this descriptor is read.
    pub opened: Option<(OsString, File)>,
    /// Prefix for relative names in messages, for a reader whose working directory is not `cwd`.
    pub shown_prefix: PathBuf,
    /// Whether commands that the configuration names are run; not in the check of another user's file.
    pub commands: bool,
    /// Where each option of `args` was written, for those that were taken from a configuration.
    pub written_at: Vec<Origin>,
    /// How long the commands that the configuration names may take, all of them together.
    pub commands_timeout: Duration,
    pub run: Run,
    /// Whether a descriptor above 2 may be a file that was inherited; an emperor of liege passes none on to a vassal.
    pub inherits_files: bool,
    /// Opens the descriptor of `fd://N` or of the config pipe.
    pub descriptor: fn(i32) -> io::Result<File>,
}

/// Runs a command and gives its output. The errors `TimedOut` and `FileTooLarge` say that it takes longer than the
/// duration, or prints more than this number of bytes.
pub type Run = fn(&mut Command, usize, Duration) -> io::Result<(Vec<u8>, ExitStatus)>;

/// Shorter than the time-out of a stage, so that the stage itself reports the command.
const COMMANDS_TIMEOUT: Duration = Duration::from_secs(8);

impl Invocation {
    /// An invocation by user 0 at the epoch, without an opened file, that opens descriptors by way of
    /// `/proc` (which sockets refuse) and runs no commands.
    #[must_use]
    pub fn new(args: Vec<OsString>, env: Vec<(OsString, OsString)>, cwd: PathBuf) -> Self {
        Self {
            args,
            env,
            cwd,
            uid: 0,
            gid: 0,
            now: SystemTime::UNIX_EPOCH,
            inherits_files: true,
            opened: None,
            commands: true,
            shown_prefix: PathBuf::new(),
            written_at: Vec::new(),
            commands_timeout: COMMANDS_TIMEOUT,
            run: |_, _, _| Err(io::ErrorKind::Unsupported.into()),
            descriptor: |number| File::open(format!("/proc/self/fd/{number}")),
        }
    }

    /// The same invocation by another user, with the environment of that user.
    #[must_use]
    pub fn of(&self, uid: u32, gid: u32, env: Vec<(OsString, OsString)>) -> Self {
        Self {
            uid,
            gid,
            now: self.now,
            opened: None,
            commands: self.commands,
            shown_prefix: self.shown_prefix.clone(),
            written_at: self.written_at.clone(),
            commands_timeout: self.commands_timeout,
            run: self.run,
            descriptor: self.descriptor,
            ..Self::new(self.args.clone(), env, self.cwd.clone())
        }
    }

    fn variable(&self, name: &str) -> Option<&OsStr> {
        let found = self.env.iter().find(|(variable, _)| variable.to_str() == Some(name));
        found.map(|(_, value)| value.as_os_str())
    }
}

/// What a command line asks the program to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Run: as an emperor, or as a vassal.
    #[default]
    Run,
    /// Print the list of settings.
    ShowConfig,
    /// Print the list of settings as JSON.
    ShowConfigJson,
    /// Print the first value of this name.
    Get(String),
    Check,
    Version,
    /// Print the usual options.
    Help,
    /// Print all options.
    HelpAll,
    /// Print this page of the manual.
    Man(String),
}

/// Access to the parsers for the fuzz targets: only that they return matters, not what they return.
#[cfg(fuzzing)]
pub mod fuzz {
    pub fn ini(bytes: &[u8]) {
        let _ = super::ini::parse(bytes, None);
    }

    pub fn json(bytes: &[u8]) {
        let _ = super::json::parse(bytes, None);
    }

    pub fn yaml(bytes: &[u8]) {
        let _ = super::yaml::parse(bytes, None);
    }

    pub fn xml(bytes: &[u8]) {
        let _ = super::xml::parse(bytes, None);
    }
}

/// The one ordered list, read and expanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Every setting in the order in which it takes effect, directives included.
    pub settings: Vec<Setting>,
    pub warnings: Vec<Fault>,
    /// What the command line asks for.
    pub mode: Mode,
    /// The first file that is not a template: the place of faults that belong to no line.
    pub main_file: Option<Origin>,
}

impl Resolved {
    /// The lines that the configuration wants in the log.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        let is_print = |key: &str| {
            opts::find(key).is_some_and(|opt| opt.class == Class::Directive(Directive::Print))
        };
        self.settings.iter().filter(move |s| is_print(&s.key)).map(|s| s.value.as_str())
    }

    /// The texts that are wrong for their options.
    #[must_use]
    pub fn text_faults(&self) -> Faults {
        Faults(check::check_texts(self))
    }

    /// Whether this configuration is an emperor's: it names a source of vassals.
    #[must_use]
    pub fn is_emperors(&self) -> bool {
        let is_source = |key| opts::find(key).and_then(|opt| opt.emperor_key());
        self.settings.iter().any(|s| is_source(&s.key) == Some(opts::EmperorOption::Emperor))
    }

    /// The first text of a name.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|setting| setting.key == name).map(|s| s.value.as_str())
    }
}

/// Reads everything that the invocation names into one ordered list, and expands it.
///
/// A command line that asks for help, version or manual is not read further.
///
/// # Errors
/// All faults that were found. If there is one, the list is checked too, so that a person who mends the
/// file is told everything at once.
pub fn load(call: &Invocation) -> Result<Resolved, Faults> {
    let reading = read(call);
    if reading.faults.0.is_empty() {
        return Ok(reading.resolved);
    }
    Err(if reading.resolved.is_emperors() {
        reading.faults_with(emperor::check)
    } else {
        reading.faults_with(vassal::check)
    })
}

/// What a reading has found, faults or not.
struct ReadResult {
    resolved: Resolved,
    faults: Faults,
    /// The list is complete and expanded, so that its texts can be judged whatever the faults.
    is_complete: bool,
}

impl ReadResult {
    /// The faults of the reading, and those that a check of its list finds.
    fn faults_with<T>(&self, check: fn(&Resolved) -> Result<T, Faults>) -> Faults {
        let mut faults = self.faults.clone();
        if self.is_complete
            && let Err(more) = check(&self.resolved)
        {
            faults.add(more);
        }
        faults
    }
}

fn read(call: &Invocation) -> ReadResult {
    let arguments = opts::cli::read(&call.args);
    let mode = mode(&arguments);
    if matches!(mode, Mode::Version | Mode::Help | Mode::HelpAll | Mode::Man(_)) {
        let resolved = Resolved { mode, ..Resolved::default() };
        return ReadResult { resolved, faults: Faults::default(), is_complete: true };
    }
    let mut reader = read::ConfigReader::new(call);
    let is_complete = reader
        .environment()
        .and_then(|()| reader.command_line(arguments))
        .and_then(|()| {
            reader.replace_magic_in_environment();
            reader.expand()
        })
        .and_then(|()| reader.inherit())
        .is_ok();
    reader.judge_unknown_names();
    let settings = reader.list.into_iter().map(|entry| entry.setting).collect();
    let main_file = reader.main_file.map(|(origin, _)| origin);
    let resolved = Resolved { settings, warnings: reader.warnings, mode, main_file };
    ReadResult { resolved, faults: Faults(reader.faults), is_complete }
}

/// What the program is to do: the last option that says so counts.
fn mode(arguments: &[CliArgument]) -> Mode {
    let mut mode = Mode::Run;
    for argument in arguments {
        let CliArgument::Option { opt, value, .. } = argument else { continue };
        let Class::Directive(directive) = opt.class else { continue };
        let text = || value.to_string_lossy().into_owned();
        mode = match directive {
            Directive::ShowConfig => Mode::ShowConfig,
            Directive::ShowConfigJson => Mode::ShowConfigJson,
            Directive::Get => Mode::Get(text()),
            Directive::Check => Mode::Check,
            Directive::Version => Mode::Version,
            Directive::Help => Mode::Help,
            Directive::HelpAll => Mode::HelpAll,
            Directive::Man => Mode::Man(text()),
            _ => continue,
        };
    }
    mode
}
