//! The settings of a vassal, checked.

use std::time::Duration;

use super::address::Address;
use super::setting::{Fault, Located};

/// The program that a vassal runs, and whether it keeps the privileges of the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Exec'd before (true) or after the privileges are dropped.
    pub privileged: bool,
    /// What is exec'd.
    pub run: Run,
}

/// What is exec'd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
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

/// When a vassal that has ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartRule {
    /// Whatever the reason.
    #[default]
    Always,
    /// Unless its exit status was 0.
    OnFailure,
    /// Only by a change of its file.
    Never,
}

/// Which fork server a vassal is asked from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForkServerUse {
    /// None: it is started normally.
    None,
    /// The one at this address.
    At(Address),
}

/// Everything a vassal file can say that this version obeys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VassalConfig {
    /// The program; never `None` after `check`.
    pub patch: Option<Located<Patch>>,
    /// Shells to use for `-arg` texts, instead of `/bin/sh`: the first that can be executed.
    pub binsh: Vec<String>,
    /// All sockets in configuration order; the key gives the name for `LISTEN_FDNAMES`.
    pub sockets: Vec<Located<Address>>,
    /// Mode of unix sockets.
    pub chmod_socket: Option<u32>,
    /// Owner, and group if given, of unix sockets: names or numbers.
    pub chown_socket: Option<Located<(String, Option<String>)>>,
    /// Backlog.
    pub listen: u32,
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
    /// Descriptor 0 stays what it is.
    pub honour_stdin: bool,
    /// A socket on descriptor 0 is not taken.
    pub skip_zero: bool,
    /// Unlink unix sockets and pid files at the end.
    pub vacuum: bool,
    /// Unix sockets are made in the abstract name space.
    pub abstract_socket: bool,
    /// Working directory, entered after the drop.
    pub chdir: Option<Located<String>>,
    /// Changes of the environment, in order.
    pub env: Vec<Located<EnvChange>>,
    /// File creation mask.
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
    /// File for the pid.
    pub pidfile: Option<Located<String>>,
    /// Told to the program as `WEB_CONCURRENCY` and `LIEGE_PROCESSES`.
    pub processes: Option<u32>,
    /// Told to the program as `LIEGE_THREADS`.
    pub threads: Option<u32>,
    /// Watchdog period promised to the program.
    pub heartbeat: Option<Duration>,
    /// Without traffic for this long it goes back to waiting.
    pub idle: Option<Duration>,
    /// Signal for a stop.
    pub stop_signal: Option<u8>,
    /// Signal for a reload.
    pub reload_signal: Option<u8>,
    /// Signal for a graceful stop.
    pub graceful_signal: Option<u8>,
    /// When it is started again.
    pub restart: Option<RestartRule>,
    /// It announces readiness on a notify socket.
    pub notify: bool,
    /// Alive this long = loyal.
    pub loyal_after: Option<Duration>,
    /// Alive this long = accepting, where nothing is announced.
    pub ready_after: Option<Duration>,
    /// From exec to readiness, where it is announced.
    pub start_timeout: Option<Duration>,
    /// From the start of the stage to its verdict.
    pub stage_timeout: Option<Duration>,
    /// The fork server of this vassal.
    pub fork_server_use: Option<Located<ForkServerUse>>,
    /// What is odd but does not stop the start, one per line of the log.
    pub warnings: Vec<Fault>,
}
