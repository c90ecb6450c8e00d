//! The settings of the emperor, checked.

use std::time::Duration;

use super::address::Address;
use super::setting::{Fault, Located};

/// Whether the emperor runs under a keeper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keeper {
    /// Unless it is PID 1 or systemd watches over it.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Everything the command line, files and environment can tell the emperor of this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmperorConfig {
    /// The sources of vassals, as written.
    pub emperors: Vec<Located<String>>,
    /// Time between rescans; 0 = none.
    pub freq: Duration,
    /// The time of a link counts, not of its target.
    pub nofollow: bool,
    /// Further endings of vassal files.
    pub extra_extensions: Vec<String>,
    /// The program started for vassals; unset: liege itself.
    pub binary_path: Option<Located<String>>,
    /// Step of the wait before starts.
    pub throttle: Duration,
    /// Longest wait before a start.
    pub max_throttle: Duration,
    /// Starts per second that are free.
    pub throttle_burst: u32,
    /// Most vassals between fork and verdict; unset: by the number of processors.
    pub max_starting: Option<u32>,
    /// Deaths are not punished.
    pub no_blacklist: bool,
    /// Longest silence after the first heartbeat.
    pub required_heartbeat: Duration,
    /// From the request to stop to SIGKILL.
    pub curse_tolerance: Duration,
    /// The same for all at the end.
    pub reload_mercy: Duration,
    /// Alive this long = loyal, for programs that do not say so.
    pub loyal_after: Duration,
    /// From the start of a stage to its verdict.
    pub stage_timeout: Duration,
    /// From exec to readiness, where it is announced.
    pub start_timeout: Duration,
    /// Alive this long = accepting, where nothing is announced.
    pub ready_after: Duration,
    /// Stops are asked for by byte 2.
    pub graceful_shutdown: bool,
    /// Ending of the file that holds a vassal's on-demand address.
    pub on_demand_extension: Option<String>,
    /// Backlog of the emperor's sockets.
    pub listen: u32,
    /// Mode of the emperor's unix sockets.
    pub chmod_socket: Option<u32>,
    /// Where statistics are served.
    pub stats: Vec<Located<Address>>,
    /// With an HTTP header first.
    pub stats_http: bool,
    /// The keeper.
    pub keeper: Keeper,
    /// File for the pid.
    pub pidfile: Option<Located<String>>,
    /// File for the log.
    pub logto: Option<Located<String>>,
    /// `--set` for each vassal.
    pub vassals_set: Vec<String>,
    /// `--include` behind each vassal file.
    pub vassals_include: Vec<String>,
    /// `--inherit` behind each vassal file.
    pub vassals_inherit: Vec<String>,
    /// `--include` before each vassal file.
    pub vassals_include_before: Vec<String>,
    /// `--inherit` before each vassal file.
    pub vassals_inherit_before: Vec<String>,
    /// The fork server that every vassal is asked from.
    pub use_fork_server: Option<Located<Address>>,
    /// Vassals that are started normally all the same.
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
    /// Vassal files travel by the config pipe.
    pub force_config_pipe: bool,
    /// What is odd but does not stop the start.
    pub warnings: Vec<Fault>,
}

impl Default for EmperorConfig {
    fn default() -> Self {
        Self {
            emperors: Vec::new(),
            freq: Duration::ZERO,
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
            ready_after: Duration::from_secs(3),
            graceful_shutdown: false,
            on_demand_extension: None,
            listen: 100,
            chmod_socket: None,
            stats: Vec::new(),
            stats_http: false,
            keeper: Keeper::Auto,
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
