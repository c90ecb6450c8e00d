//! What statistics show, read off the state.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::json::OutsideText;
use super::report::{BlacklistEntry, Refused, StatisticsReport, VassalReport};
use crate::emperor::servers::service::Access;
use crate::emperor::state_words::{hold_reason, reason, state_name};
use crate::monitor::Monitor;
use crate::state::VassalId;
use crate::state::life::Life;
use crate::state::stale::Stale;
use crate::state::vassal::Vassal;
use crate::sys::process::Pid;
use crate::types::moment::Moment;

/// Turns moments of the monotonic clock into seconds since 1970.
#[derive(Clone, Copy)]
struct Wall {
    now: Moment,
    seconds: f64,
}

impl Wall {
    /// By the time of the wake-up.
    fn at_wake_up(access: &Access<'_>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { now: access.context.now, seconds: since.as_secs_f64() }
    }

    fn at(self, moment: Moment) -> i64 {
        let ago = self.now.saturating_duration_since(moment).as_secs_f64();
        (self.seconds - ago) as i64
    }

    fn of(self, moment: Option<Moment>) -> i64 {
        moment.map_or(0, |moment| self.at(moment))
    }
}

/// What is counted while the vassals are shown.
#[derive(Debug, Default)]
pub(super) struct Totals {
    running: usize,
    failing: usize,
    blacklist: Vec<BlacklistEntry>,
}

/// Everything at this moment but the vassals.
pub(super) fn frame(access: &Access<'_>, totals: Totals) -> StatisticsReport {
    let wall = Wall::at_wake_up(access);
    let sources = sources(access);
    let longest_turn = access.context.reactor.longest_turn();
    StatisticsReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: i32::try_from(access.process.pid).unwrap_or(0),
        uid: access.process.uid,
        gid: access.process.gid,
        cwd: text(&access.process.cwd),
        throttle_level: millis(access.realm.throttle_level()),
        running: totals.running,
        failing: totals.failing,
        vassals: Vec::new(),
        blacklist: totals.blacklist,
        state: if access.realm.is_ending() { "ragnarok" } else { "governing" },
        death_guards: death_guards(access),
        keeper_pid: access.keeper_pid.and_then(|pid| i32::try_from(pid).ok()),
        spawner_pid: access.context.spawner.pid().map(Pid::get),
        started: wall.at(access.started),
        starting: access.realm.starting(),
        max_vassals: access.max_vassals,
        internal_errors: access.internal_errors,
        longest_turn_us: microseconds(longest_turn.cpu),
        longest_turn_wall_us: microseconds(longest_turn.wall),
        lost_log_lines: access.context.log.lost(),
        refused: refused(access, &sources),
        emperor: sources,
        emperor_tyrant: false,
    }
}

/// These vassals at this moment, which are counted.
pub(super) fn vassals(
    access: &Access<'_>,
    shown: impl Iterator<Item = VassalId>,
    starts: &HashMap<VassalId, Moment>,
    totals: &mut Totals,
) -> Vec<VassalReport> {
    let wall = Wall::at_wake_up(access);
    let sources = sources(access);
    let mut reports = Vec::new();
    for vassal in shown.filter_map(|id| access.realm.vassal(id)) {
        let start = starts.get(&vassal.id);
        let next_start_ms = start.map(|at| millis(at.saturating_duration_since(wall.now)));
        let report =
            VassalReport { next_start_ms, ..vassal_report(access, vassal, wall, &sources) };
        totals.running += usize::from(report.pid.is_some());
        totals.failing += usize::from(report.last_error.is_some());
        totals.blacklist.extend(blacklisted(access, vassal, wall));
        reports.push(report);
    }
    reports
}

/// The sources without their schemes.
fn sources(access: &Access<'_>) -> Vec<OutsideText> {
    let source = |monitor: &&dyn Monitor| text(monitor.source().as_os_str().as_bytes());
    access.monitors.iter().map(source).collect()
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What makes the vassals die with the emperor.
fn death_guards(access: &Access<'_>) -> Vec<&'static str> {
    let keeper = access.keeper_pid.is_some().then_some("keeper");
    let kernel = (access.process.pid == 1).then_some("pid-namespace");
    ["parent-death"].into_iter().chain(keeper).chain(kernel).collect()
}

fn refused(access: &Access<'_>, sources: &[OutsideText]) -> Vec<Refused> {
    let of = |(monitor, source): (&&dyn Monitor, &OutsideText)| {
        let refused = monitor.refused();
        let entry = |(name, why): (&std::ffi::OsStr, &str)| Refused {
            id: text(name.as_bytes()),
            monitor: source.clone(),
            reason: why.to_owned(),
        };
        refused.into_iter().map(entry).collect::<Vec<_>>()
    };
    access.monitors.iter().zip(sources).flat_map(of).collect()
}

fn vassal_report(
    access: &Access<'_>,
    vassal: &Vassal,
    wall: Wall,
    sources: &[OutsideText],
) -> VassalReport {
    let life = vassal.current();
    let (history, stale) = (&vassal.history, vassal.stale());
    let announced = life.map(|life| life.announced).unwrap_or_default();
    let reloads = history.reloads + life.map_or(0, |life| life.reloads);
    VassalReport {
        id: text(&vassal.key.name),
        pid: life.and_then(|life| life.pid),
        born: vassal.first_modified,
        last_mod: vassal.file.modified,
        last_heartbeat: wall.of(life.and_then(|life| life.last_heartbeat)),
        loyal: life.is_some_and(Life::is_loyal),
        ready: life.is_some_and(|life| life.announced.ready.holds()),
        accepting: life.is_some_and(Life::is_accepting),
        last_loyal: wall.of(announced.loyal.last()),
        last_ready: wall.of(announced.ready.last()),
        last_accepting: wall.of(announced.accepting.last()),
        first_run: wall.of(history.first_run),
        last_run: wall.of(life.and_then(|life| life.last_reload).or(history.last_run)),
        cursed: life.map_or(0, |life| cursed(life, wall)),
        on_demand: text(vassal.address().unwrap_or_default().as_bytes()),
        adopted: life.is_some_and(|life| life.is_adopted),
        base: life.and_then(|life| (access.base_of)(life.id)).map(|name| text(&name)),
        monitor: sources.get(vassal.key.source.0).cloned().unwrap_or_default(),
        respawns: u64::from(reloads) + u64::from(history.starts.saturating_sub(1)),
        state: state_name(vassal),
        reason: reason(vassal).unwrap_or_default(),
        last_exit: history.last_exit,
        last_error: history.last_error.as_deref().map(str::to_owned),
        stale: stale.is_some(),
        stale_reason: stale.map(|stale| stale_reason(vassal, stale)),
        starts: u64::from(history.starts),
        deaths: u64::from(history.deaths),
        other_pid: vassal.other().and_then(|life| life.pid),
        ..VassalReport::default()
    }
}

fn blacklisted(access: &Access<'_>, vassal: &Vassal, wall: Wall) -> Option<BlacklistEntry> {
    let (first, last) = vassal.penalty.span()?;
    Some(BlacklistEntry {
        id: text(&vassal.key.name),
        throttle_level: millis(vassal.penalty.wait(access.realm.rules())),
        attempt: u64::from(vassal.penalty.deaths().saturating_sub(1)),
        first_attempt: wall.at(first),
        last_attempt: wall.at(last),
    })
}
fn text(bytes: &[u8]) -> OutsideText {
    OutsideText(bytes.to_vec())
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn cursed(life: &Life, wall: Wall) -> i64 {
    life.cursed_since().map_or(0, |since| wall.at(since))
}

/// Why what runs may not be what its file says.
fn stale_reason(vassal: &Vassal, stale: Stale<'_>) -> String {
    match stale {
        Stale::Refused(why) => format!("its file has changed, and cannot be started: {why}"),
        Stale::Address(why) => {
            format!("its file has changed, and its address cannot be read: {why}")
        }
        Stale::Held(hold) => {
            format!(
                "its file has changed, and the start that is to read it waits: {}",
                hold_reason(vassal, hold)
            )
        }
        Stale::Replacing => "its file has changed: it is being read, or started".to_owned(),
        Stale::Draining => {
            "its file has changed: it is read when the process before this one has ended".to_owned()
        }
        Stale::Changed => "its file has changed".to_owned(),
    }
}
