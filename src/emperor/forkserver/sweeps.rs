//! What failed talks, ended bases and ended lives leave behind in the session of a base.

use std::os::fd::AsFd;
use std::time::Duration;

use super::super::Emperor;
use super::Forks;
use crate::state::LifeId;
use crate::sys::process::{self, Pid};
use crate::sys::signal::Signal;
use crate::sys::{descendants, pidfd};
use crate::types::moment::Moment;

/// From a failed talk to the first look at what it has left behind; then doubled.
pub(super) const SWEEP: Duration = Duration::from_secs(1);
/// The longest pause between two looks: who is born later than that is nobody's guess.
const LAST_SWEEP: Duration = Duration::from_secs(32);

/// A look at the session of a base, for children that nobody knows.
#[derive(Debug)]
pub(super) struct Sweep {
    pub at: Moment,
    /// To the look after that, if this one finds nobody.
    pub pause: Duration,
    /// The base, unless it has ended already.
    pub life: Option<LifeId>,
    pub session: Pid,
    /// Only who is not older than this, in ticks since boot.
    pub since: u64,
}

impl Forks {
    /// Plans a look at a session; one that is planned already takes it over.
    pub(super) fn look_later(&mut self, new: Sweep) {
        let same = |old: &&mut Sweep| (old.session, old.life) == (new.session, new.life);
        match self.sweeps.iter_mut().find(same) {
            Some(old) => {
                old.at = old.at.min(new.at);
                old.pause = old.pause.min(new.pause);
                old.since = old.since.min(new.since);
            }
            None => self.sweeps.push(new),
        }
    }
}

impl Emperor {
    /// A base has ended. What was forked from it lives on; what else is left of its session does not.
    pub(in crate::emperor) fn base_ended(&mut self, life: LifeId, session: Pid) {
        let (at, pause, life) = (self.context.now, LAST_SWEEP, Some(life));
        self.forks.look_later(Sweep { at, pause, life, session, since: 0 });
    }

    /// An adopted process has ended that sat in the session of its base, and is not reaped yet: what it
    /// has forked sits there still, and is older than nobody but itself.
    pub(in crate::emperor) fn adopted_ended(&mut self, pid: Pid, session: Pid) {
        let Ok(since) = process::start_ticks(pid) else { return };
        let (at, pause, life) = (self.context.now, LAST_SWEEP, self.lives.with_pid(session));
        self.forks.look_later(Sweep { at, pause, life, session, since });
    }

    /// Kills the children in a base's session whom nobody knows, but for those that an open talk may
    /// still name; these are looked at again.
    pub(super) fn sweep(&mut self, sweep: Sweep) {
        let session = sweep.session;
        if self.lives.with_pid(session).is_some_and(|life| Some(life) != sweep.life) {
            return; // The number is another session's by now.
        }
        let talks = self.forks.talks.values();
        let same = talks.filter(|talk| talk.base.as_ref().is_some_and(|b| b.session == session));
        let first_asked = same.map(|talk| talk.asked_at).min().unwrap_or(u64::MAX);
        let mut unknown = Vec::new();
        let listed = descendants::each_child(|pid| {
            let sits_there = || process::session_of(pid).is_ok_and(|s| s == session.get());
            if self.lives.with_pid(pid).is_none() && sits_there() {
                unknown.push(pid);
            }
        });
        if let Err(error) = listed {
            self.context
                .log
                .warning(format_args!("cannot list the children of the emperor: {error}"));
        }
        let mut found = false;
        for pid in unknown {
            let Ok(start) = process::start_ticks(pid) else { continue };
            if start < sweep.since {
                continue;
            }
            // Whoever is killed may leave orphans of its own.
            found = true;
            if start >= first_asked {
                continue;
            }
            if let Ok(stray) = pidfd::open(pid) {
                let _ = pidfd::send(stray.as_fd(), Signal::KILL);
            }
        }
        let (at, pause) = match found {
            true => (self.context.now + SWEEP, sweep.pause),
            false if sweep.pause < LAST_SWEEP => (self.context.now + sweep.pause, sweep.pause * 2),
            false => return,
        };
        self.forks.look_later(Sweep { at, pause, ..sweep });
    }
}
