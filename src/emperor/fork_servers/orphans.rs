//! Orphans: processes in the session of a base that a failed talk, an ended base or an ended life has left behind.

use std::os::fd::AsFd;
use std::time::Duration;

use super::super::context::Context;
use super::super::lives::Lives;
use super::ForkServers;
use crate::state::LifeId;
use crate::sys::process::{self, Pid};
use crate::sys::signal::Signal;
use crate::sys::{descendants, pidfd};
use crate::types::moment::Moment;

/// The time from a failed talk to the first scan for its orphans; each further pause is twice as long.
pub(super) const FIRST_SCAN: Duration = Duration::from_secs(1);
/// The longest pause between two scans.
const MAX_SCAN_INTERVAL: Duration = Duration::from_secs(32);

/// A scheduled scan of the session of a base for children of ours that are in no table.
#[derive(Debug)]
pub(super) struct OrphanScan {
    /// Time of the scan.
    pub at: Moment,
    /// Pause between this scan and the next one, if it finds nothing.
    pub pause: Duration,
    /// The base, unless it has ended already.
    pub life: Option<LifeId>,
    /// Session that is scanned.
    pub session: Pid,
    /// Earliest start of a process that is killed, in ticks since boot.
    pub since: u64,
}

impl ForkServers {
    /// Schedules a scan of a session; it is merged with one that is scheduled already.
    pub(super) fn plan_scan(&mut self, new: OrphanScan) {
        let same = |old: &&mut OrphanScan| (old.session, old.life) == (new.session, new.life);
        match self.scans.iter_mut().find(same) {
            Some(old) => {
                old.at = old.at.min(new.at);
                old.pause = old.pause.min(new.pause);
                old.since = old.since.min(new.since);
            }
            None => self.scans.push(new),
        }
    }
}

impl ForkServers {
    /// A base has ended. The lives that were forked from it go on; all other processes of its session are killed.
    pub fn base_ended(&mut self, life: LifeId, session: Pid, now: Moment) {
        let (at, pause, life) = (now, MAX_SCAN_INTERVAL, Some(life));
        self.plan_scan(OrphanScan { at, pause, life, session, since: 0 });
    }

    /// An adopted process that was in the session of its base has ended, and is not reaped yet. The processes that it
    /// has forked are still in that session, and all of them are younger than itself.
    pub fn adopted_ended(&mut self, (pid, session): (Pid, Pid), base: Option<LifeId>, now: Moment) {
        let Ok(since) = process::start_ticks(pid) else { return };
        let (at, pause, life) = (now, MAX_SCAN_INTERVAL, base);
        self.plan_scan(OrphanScan { at, pause, life, session, since });
    }

    /// Kills the children in the session of a base that are in no table, except those that the answer to an open
    /// request may still name; the scan is repeated for these.
    pub(super) fn scan(&mut self, scan: OrphanScan, lives: &Lives, context: &mut Context) {
        let session = scan.session;
        if lives.with_pid(session).is_some_and(|life| Some(life) != scan.life) {
            return; // The number belongs to another session by now.
        }
        let talks = self.talks.values();
        let same = talks.filter(|talk| talk.base.as_ref().is_some_and(|b| b.session == session));
        let first_asked = same.map(|talk| talk.asked_at).min().unwrap_or(u64::MAX);
        let mut unknown = Vec::new();
        let listed = descendants::each_child(|pid| {
            let sits_there = || process::session_of(pid).is_ok_and(|s| s == session.get());
            // A process that was proved in this turn is taken into the lives only after the scans.
            let is_proved = self.proved.iter().any(|(_, process)| process.pid == pid);
            if lives.with_pid(pid).is_none() && !is_proved && sits_there() {
                unknown.push(pid);
            }
        });
        if let Err(error) = listed {
            context.log.warning(format_args!("cannot list the children of the emperor: {error}"));
        }
        let mut found = false;
        for pid in unknown {
            let Ok(start) = process::start_ticks(pid) else { continue };
            if start < scan.since {
                continue;
            }
            // A process that is killed may leave orphans of its own.
            found = true;
            if start >= first_asked {
                continue;
            }
            if let Ok(stray) = pidfd::open(pid) {
                let _ = pidfd::send(stray.as_fd(), Signal::KILL);
            }
        }
        let (at, pause) = match found {
            true => (context.now + FIRST_SCAN, scan.pause),
            false if scan.pause < MAX_SCAN_INTERVAL => (context.now + scan.pause, scan.pause * 2),
            false => return,
        };
        self.plan_scan(OrphanScan { at, pause, ..scan });
    }
}
