//! What statistics show: plain data; the names of the fields are the keys, and their order is that of the keys:
//! uWSGI's first, ours behind them.
//!
//! Times are seconds of
//! the wall clock since 1970, and 0 where the thing has not happened yet, as in uWSGI.

use serde::Serialize;

use super::json::{self, OutsideText};
use crate::types::exit_status::ExitStatus;

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StatisticsReport {
    /// Version of liege.
    pub version: String,
    /// Process id of the emperor, not of its keeper.
    pub pid: i32,
    /// User id of the emperor.
    pub uid: u32,
    /// Group id of the emperor.
    pub gid: u32,
    /// Working directory.
    pub cwd: OutsideText,
    /// The sources without scheme: the real path of a directory, a glob as written.
    #[serde(serialize_with = "json::unindented")]
    pub emperor: Vec<OutsideText>,
    /// Vassals run as the owners of their files.
    pub emperor_tyrant: bool,
    /// Current level of the throttle, milliseconds.
    pub throttle_level: u64,
    /// All vassals, also those that do not run.
    pub vassals: Vec<VassalReport>,
    /// Vassals with a penalty.
    pub blacklist: Vec<BlacklistEntry>,
    /// `governing`, `ragnarok`; ours, like all that follows.
    pub state: &'static str,
    /// What makes the vassals die with the emperor: `parent-death`, `keeper` …
    #[serde(serialize_with = "json::in_one_line")]
    pub death_guards: Vec<&'static str>,
    /// The keeper, if there is one.
    pub keeper_pid: Option<i32>,
    /// The spawner, while it runs.
    pub spawner_pid: Option<i32>,
    /// Start of the emperor.
    pub started: i64,
    /// Vassals whose program runs.
    pub running: usize,
    /// Vassals that have a `last_error`.
    pub failing: usize,
    /// Lives between fork and verdict.
    pub starting: usize,
    /// How many vassals the limit of descriptors allows.
    pub max_vassals: usize,
    /// Faults in liege that were caught and mended.
    pub internal_errors: u64,
    /// The most processor time that one turn of the loop has used, microseconds.
    pub longest_turn_us: u64,
    /// The longest turn by the clock, microseconds: so long all vassals and clients had to wait.
    pub longest_turn_wall_us: u64,
    /// Lines of the log that were lost.
    pub lost_log_lines: u64,
    /// Files that are no vassals by the rules.
    pub refused: Vec<Refused>,
}

/// One vassal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VassalReport {
    /// Its name.
    pub id: OutsideText,
    /// Its process; uWSGI's -1 where there is none.
    #[serde(serialize_with = "json::pid")]
    pub pid: Option<i32>,
    /// Modification time of its file when it was found.
    pub born: i64,
    /// Modification time of its file.
    pub last_mod: i64,
    /// Last byte 26, or `WATCHDOG=1`.
    pub last_heartbeat: i64,
    /// Whether it is loyal: it has served a request, or has lived long enough.
    pub loyal: bool,
    /// Whether it has started.
    pub ready: bool,
    /// Whether it takes requests.
    pub accepting: bool,
    /// Time at which it became loyal.
    pub last_loyal: i64,
    /// Time at which it became ready.
    pub last_ready: i64,
    /// Time at which it was accepting.
    pub last_accepting: i64,
    /// Start of its first life.
    pub first_run: i64,
    /// Start or reload of its last life.
    pub last_run: i64,
    /// When it was told to stop, or lost its pipe.
    pub cursed: i64,
    /// A reinforcement of another vassal.
    pub zerg: bool,
    /// The address it waits at, or nothing.
    pub on_demand: OutsideText,
    /// Whether it is not started before an administrator asks for it.
    pub suspended: bool,
    /// Forked by a fork server, not by the emperor.
    pub adopted: bool,
    /// Owner of its file under tyrant; else 0, as in uWSGI.
    pub uid: u32,
    /// Group of its file under tyrant; else 0.
    pub gid: u32,
    /// The source it was found in, as in [`StatisticsReport::emperor`].
    pub monitor: OutsideText,
    /// Attributes, in the order of the file.
    #[serde(serialize_with = "json::pairs")]
    pub attrs: Vec<(OutsideText, OutsideText)>,
    /// Reloads and new lives.
    pub respawns: u64,
    /// Name of its phase: `queued`, `backoff`, `finished`, `listening`, `starting`, `running`,
    /// `replacing`, `draining`, `stopping`; ours, like all that follows.
    pub state: &'static str,
    /// Why it does not run, or what it waits for; empty where the state says all.
    pub reason: String,
    /// Time to its next start, milliseconds, where one is due.
    pub next_start_ms: Option<u64>,
    /// How its last life ended.
    #[serde(serialize_with = "json::shown")]
    pub last_exit: Option<ExitStatus>,
    /// Last error, with step and place; it is cleared when the program runs again.
    pub last_error: Option<String>,
    /// Whether the running program may differ from what the file says.
    pub stale: bool,
    /// Why that is so.
    pub stale_reason: Option<String>,
    /// The base it was, or is to be, forked from.
    pub base: Option<OutsideText>,
    /// Generation of the code that the base holds.
    pub generation: u64,
    /// Resident memory of its process, bytes, where it was measured.
    pub memory: Option<u64>,
    /// Lives that were started.
    pub starts: u64,
    /// Lives that have ended without an order.
    pub deaths: u64,
    /// Its second process: the replacement under way, or the one that leaves.
    pub other_pid: Option<i32>,
}

/// A vassal that pays for its deaths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BlacklistEntry {
    /// Its name.
    pub id: OutsideText,
    /// The penalty, milliseconds.
    pub throttle_level: u64,
    /// Deaths after the first, as uWSGI counts.
    pub attempt: u64,
    /// Its first death since it was forgiven.
    pub first_attempt: i64,
    /// Its last death.
    pub last_attempt: i64,
}

/// A file that is no vassal by the rules (tyrant, kind of file, name).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Its name.
    pub id: OutsideText,
    /// The source it was found in.
    pub monitor: OutsideText,
    /// The rule.
    pub reason: String,
}
