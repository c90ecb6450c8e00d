//! What statistics show, read off the state.

use std::os::unix::ffi::OsStrExt;
use std::time::{SystemTime, UNIX_EPOCH};

use super::report::{BlacklistEntry, Refused, Report, VassalReport};
use crate::emperor::Emperor;
use crate::state::life::{Life, LifePhase};
use crate::state::stale::Stale;
use crate::state::vassal::{Hold, HoldReason, Phase, Vassal};
use crate::types::moment::Moment;

/// Turns moments of the monotonic clock into seconds since 1970.
#[derive(Clone, Copy)]
struct Wall {
    now: Moment,
    seconds: f64,
}

impl Wall {
    fn at(self, moment: Moment) -> i64 {
        let ago = self.now.saturating_duration_since(moment).as_secs_f64();
        (self.seconds - ago) as i64
    }

    fn of(self, moment: Option<Moment>) -> i64 {
        moment.map_or(0, |moment| self.at(moment))
    }
}

impl Emperor {
    /// Everything at this moment.
    pub(in crate::emperor) fn report(&self) -> Report {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Wall { now: self.context.now, seconds: since.as_secs_f64() };
        let sources: Vec<Vec<u8>> = self
            .monitors
            .iter()
            .map(|source| source.monitor.source().as_os_str().as_bytes().to_vec())
            .collect();
        let starts = self.realm.next_starts();
        let vassals: Vec<VassalReport> = self
            .realm
            .vassals()
            .map(|vassal| VassalReport {
                next_start_ms: starts.get(&vassal.id).map(|at| self.until(*at)),
                ..self.vassal_report(vassal, wall, &sources)
            })
            .collect();
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: i32::try_from(self.process_info.pid).unwrap_or(0),
            uid: self.process_info.uid,
            gid: self.process_info.gid,
            cwd: self.process_info.cwd.clone(),
            throttle_level: millis(self.realm.throttle_level()),
            running: vassals.iter().filter(|vassal| vassal.pid.is_some()).count(),
            failing: vassals.iter().filter(|vassal| vassal.last_error.is_some()).count(),
            vassals,
            blacklist: self.realm.vassals().filter_map(|v| self.blacklisted(v, wall)).collect(),
            state: if self.realm.is_ending() { "ragnarok" } else { "governing" },
            death_guards: self.death_guards(),
            keeper_pid: self.keeper.as_ref().and_then(|keeper| i32::try_from(keeper.pid).ok()),
            started: wall.at(self.started),
            starting: self.realm.starting(),
            max_vassals: self.max_vassals,
            internal_errors: self.faults.count(),
            longest_loop: self.longest_loop(),
            lost_log_lines: self.context.log.lost(),
            refused: self.refused(&sources),
            emperor: sources,
            emperor_tyrant: false,
        }
    }

    fn until(&self, at: Moment) -> u64 {
        millis(at.saturating_duration_since(self.context.now))
    }

    /// In microseconds.
    pub(in crate::emperor) fn longest_loop(&self) -> u64 {
        u64::try_from(self.context.reactor.longest_turn().as_micros()).unwrap_or(u64::MAX)
    }

    /// What makes the vassals die with the emperor.
    fn death_guards(&self) -> Vec<&'static str> {
        let keeper = self.keeper.is_some().then_some("keeper");
        let kernel = (self.process_info.pid == 1).then_some("pid-namespace");
        ["parent-death"].into_iter().chain(keeper).chain(kernel).collect()
    }

    fn refused(&self, sources: &[Vec<u8>]) -> Vec<Refused> {
        let of = |(source, monitor): (&crate::emperor::Source, &Vec<u8>)| {
            let refused = source.monitor.refused();
            let entry = |(name, why): (&std::ffi::OsStr, &str)| Refused {
                id: name.as_bytes().to_vec(),
                monitor: monitor.clone(),
                reason: why.to_owned(),
            };
            refused.into_iter().map(entry).collect::<Vec<_>>()
        };
        self.monitors.iter().zip(sources).flat_map(of).collect()
    }

    fn vassal_report(&self, vassal: &Vassal, wall: Wall, sources: &[Vec<u8>]) -> VassalReport {
        let life = vassal.current();
        let history = &vassal.history;
        let timestamps = life.map(|life| life.timestamps).unwrap_or_default();
        let reloads = history.reloads + life.map_or(0, |life| life.reloads);
        VassalReport {
            id: vassal.key.name.to_vec(),
            pid: life.and_then(|life| life.pid),
            born: vassal.born,
            last_mod: vassal.file.modified,
            last_heartbeat: wall.of(timestamps.beat),
            loyal: life.is_some_and(|life| life.loyal),
            ready: life.is_some_and(|life| life.ready),
            accepting: life.is_some_and(|life| life.accepting),
            last_loyal: wall.of(timestamps.loyal),
            last_ready: wall.of(timestamps.ready),
            last_accepting: wall.of(timestamps.accepting),
            first_run: wall.of(history.first_run),
            last_run: wall.of(life.and_then(|life| life.reloaded).or(history.last_run)),
            cursed: life.map_or(0, |life| cursed(life, wall)),
            on_demand: vassal.address().unwrap_or_default().as_bytes().to_vec(),
            adopted: life.is_some_and(|life| life.adopted),
            base: life.and_then(|life| self.base_of(life.id)).map(|name| name.to_vec()),
            monitor: sources.get(vassal.key.source.0).cloned().unwrap_or_default(),
            respawns: u64::from(reloads) + u64::from(history.starts.saturating_sub(1)),
            state: state_name(vassal),
            reason: reason(vassal).unwrap_or_default(),
            last_exit: history.last_exit,
            last_error: history.last_error.clone(),
            stale: vassal.stale().map(|stale| stale_reason(vassal, stale)),
            starts: u64::from(history.starts),
            deaths: u64::from(history.deaths),
            other_pid: vassal.other().and_then(|life| life.pid),
            ..VassalReport::default()
        }
    }

    fn blacklisted(&self, vassal: &Vassal, wall: Wall) -> Option<BlacklistEntry> {
        let (first, last) = vassal.penalty.span()?;
        Some(BlacklistEntry {
            id: vassal.key.name.to_vec(),
            throttle_level: millis(vassal.penalty.wait(self.realm.rules())),
            attempt: u64::from(vassal.penalty.deaths().saturating_sub(1)),
            first_attempt: wall.at(first),
            last_attempt: wall.at(last),
        })
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn cursed(life: &Life, wall: Wall) -> i64 {
    match life.phase {
        LifePhase::Cursed { since, .. } | LifePhase::Asked { cancelled_at: Some(since), .. } => {
            wall.at(since)
        }
        LifePhase::Starting { .. }
        | LifePhase::Asked { cancelled_at: None, .. }
        | LifePhase::Running(_) => 0,
    }
}

/// The name of a phase.
pub(in crate::emperor) fn state_name(vassal: &Vassal) -> &'static str {
    match &vassal.phase {
        Phase::Held(hold) => hold_name(&hold.reason),
        Phase::Listening => "listening",
        Phase::Starting(_) => "starting",
        Phase::Running { .. } => "running",
        Phase::Replacing { .. } => "replacing",
        Phase::Draining { .. } => "draining",
        Phase::Stopping { .. } => "stopping",
    }
}

/// What a vassal that is not started waits for: its turn, the end of a pause after something has failed, or
/// a change of its file.
fn hold_name(why: &HoldReason) -> &'static str {
    match why {
        HoldReason::Throttle | HoldReason::Budget | HoldReason::Base(_) | HoldReason::StopHook => {
            "queued"
        }
        HoldReason::Penalty
        | HoldReason::RestartInterval
        | HoldReason::Resource(_)
        | HoldReason::Address(_)
        | HoldReason::AddressTaken(..)
        | HoldReason::InternalError => "backoff",
        HoldReason::Finished(_) => "finished",
    }
}

/// uWSGI's number for it: 0 normal, 1 leaving.
pub(in crate::emperor) fn uwsgi_status(vassal: &Vassal) -> u8 {
    u8::from(matches!(vassal.phase, Phase::Stopping { .. }))
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
                why(vassal, hold)
            )
        }
        Stale::Replacing => "its file has changed: it is being read, or started".to_owned(),
        Stale::Draining => {
            "its file has changed: it is read when the process before this one has ended".to_owned()
        }
        Stale::Changed => "its file has changed".to_owned(),
    }
}

/// Why a vassal does not run, or what its replacement waits for.
pub(in crate::emperor) fn reason(vassal: &Vassal) -> Option<String> {
    let hold = match &vassal.phase {
        Phase::Held(hold) => hold,
        Phase::Running { due, .. } => due.as_ref()?,
        Phase::Listening
        | Phase::Starting(_)
        | Phase::Replacing { .. }
        | Phase::Draining { .. }
        | Phase::Stopping { .. } => return None,
    };
    Some(why(vassal, hold))
}

fn why(vassal: &Vassal, hold: &Hold) -> String {
    match &hold.reason {
        HoldReason::Throttle => "throttled: too many starts in one second".to_owned(),
        HoldReason::Budget => "waits for its turn to start".to_owned(),
        HoldReason::Penalty => match vassal.penalty.deaths() {
            1 => "blacklisted after 1 death".to_owned(),
            deaths => format!("blacklisted after {deaths} deaths"),
        },
        HoldReason::Resource(why) | HoldReason::Address(why) | HoldReason::AddressTaken(why, _) => {
            why.to_string()
        }
        HoldReason::StopHook => "waits for the end of its stop hook".to_owned(),
        HoldReason::Base(why) => format!("waits for its base: {why}"),
        HoldReason::RestartInterval => "restart rate limit (100 ms)".to_owned(),
        HoldReason::InternalError => "an internal error (a bug in liege)".to_owned(),
        HoldReason::Finished(exit) => format!("has ended ({exit}), as its restart setting says"),
    }
}
