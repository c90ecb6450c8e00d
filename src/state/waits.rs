//! Who waits for what, and until when: for the statistics, and for one line when a wait of more than a second
//! begins and one when it ends.
//!
//! A wait that is a vassal's own (penalty, address, base, resource, stop) is told by its notes. Here are
//! those in which many wait for the same: the throttle, the start budget, and ragnarok for all.

use std::collections::HashMap;
use std::time::Duration;

use super::realm::{Outbox, Realm, START_SLOT_TIMEOUT};
use super::vassal::Vassal;
use super::{Effect, VassalId, WaitNotice};
use crate::types::moment::Moment;

/// From the first that waits to the line: others of the same burst are counted in.
const GATHER: Duration = Duration::from_millis(300);
/// A wait that is shorter than this is not told.
const LONG: Duration = Duration::from_secs(1);
/// Vassals that end again and again wait again and again: it is told no more often than this, unless more of
/// them wait than were told.
const QUIET: Duration = Duration::from_secs(10);
/// Between two lines on what ragnarok waits for.
const ENDING: Duration = Duration::from_secs(10);

/// What was told of the waits.
#[derive(Debug, Default)]
pub(super) struct Notices {
    throttle: Told,
    budget: Told,
    ending: Option<Moment>,
}

/// What was told of one kind of wait.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// Somebody waits; it is looked at then.
    probe_at: Option<Moment>,
    /// The begin of the present wait was told.
    begun: bool,
    /// When a begin was told last, and how many waited.
    last: Option<(Moment, usize)>,
}

impl Told {
    /// Nobody waits; true if that is to be told.
    fn over(&mut self) -> bool {
        self.probe_at = None;
        std::mem::take(&mut self.begun)
    }

    /// Somebody waits; true if it is time to look how long that takes, which is `pause` after the begin.
    fn is_due(&mut self, now: Moment, pause: Duration) -> bool {
        if self.begun {
            return false;
        }
        *self.probe_at.get_or_insert(now + pause) <= now
    }

    /// Whether so many are told now; else it is looked at again when they may be.
    fn tells(&mut self, now: Moment, waiting: usize) -> bool {
        if let Some((at, most)) = self.last
            && now < at + QUIET
            && waiting <= most
        {
            self.probe_at = Some(at + QUIET);
            return false;
        }
        (self.begun, self.probe_at, self.last) = (true, None, Some((now, waiting)));
        true
    }
}

impl Notices {
    /// When [`Realm::tell_waits`] is due.
    pub(super) fn deadline(&self) -> Option<Moment> {
        [self.throttle.probe_at, self.budget.probe_at, self.ending].into_iter().flatten().min()
    }
}

impl Vassal {}

impl Realm {
    /// When the vassals that wait start next, where that is known; of those that wait for their turn the
    /// latest time.
    pub fn next_starts(&self) -> HashMap<VassalId, Moment> {
        let held = self.vassals().filter_map(|v| Some((v.id, v.held_until()?)));
        self.budgeted().into_iter().chain(self.throttled()).chain(held).collect()
    }

    /// Those in the queue of the throttle, and when they leave it.
    fn throttled(&self) -> impl Iterator<Item = (VassalId, Moment)> {
        let starts = self.throttle.forecast(&self.rules).into_iter();
        let waits = |id, ticket| self.vassal(id).is_some_and(|vassal| vassal.waits_with(ticket));
        starts.filter(move |(id, ticket, _)| waits(*id, *ticket)).map(|(id, _, at)| (id, at))
    }

    /// Those in the queue of the start budget, and when they leave it at the latest.
    fn budgeted(&self) -> Vec<(VassalId, Moment)> {
        let free: Vec<Moment> = self.slots.iter().map(|(at, _)| *at).collect();
        let waits = |(id, ticket): &&(VassalId, _)| {
            self.vassal(*id).is_some_and(|vassal| vassal.waits_with(*ticket))
        };
        let waiting = self.budget.iter().filter(waits).enumerate();
        let at = |place: usize| {
            let round = u32::try_from(place / free.len().max(1)).unwrap_or(u32::MAX);
            free.get(place % free.len().max(1))
                .map(|at| *at + START_SLOT_TIMEOUT.saturating_mul(round))
        };
        waiting.filter_map(|(place, (id, _))| Some((*id, at(place)?))).collect()
    }

    /// Ends every step: tells of waits that have begun or ended.
    pub(super) fn tell_waits(&mut self, outbox: &mut Outbox<'_>) {
        self.tell_throttle(outbox);
        self.tell_budget(outbox);
        self.tell_ending(outbox);
    }

    fn tell_throttle(&mut self, outbox: &mut Outbox<'_>) {
        let now = outbox.now;
        if self.throttle.is_empty() || outbox.ending {
            if self.notices.throttle.over() && !outbox.ending {
                outbox.out.push(Effect::Notice(WaitNotice::ThrottleEnds));
            }
        } else if self.notices.throttle.is_due(now, GATHER) {
            let starts: Vec<Moment> = self.throttled().map(|(_, at)| at).collect();
            let last = starts.last().map(|at| at.saturating_duration_since(now));
            let told = &mut self.notices.throttle;
            match last.filter(|last| *last + GATHER > LONG) {
                Some(last) if told.tells(now, starts.len()) => {
                    let waiting = starts.len();
                    outbox.out.push(Effect::Notice(WaitNotice::ThrottleBegins { waiting, last }));
                }
                Some(_) => {}
                None => told.probe_at = Some(now + GATHER),
            }
        }
    }

    fn tell_budget(&mut self, outbox: &mut Outbox<'_>) {
        let now = outbox.now;
        if self.budget.is_empty() || outbox.ending {
            if self.notices.budget.over() && !outbox.ending {
                outbox.out.push(Effect::Notice(WaitNotice::BudgetEnds));
            }
        } else if self.notices.budget.is_due(now, LONG) {
            let starts = self.budgeted();
            let last = starts.last().map_or(now, |(_, at)| *at);
            if self.notices.budget.tells(now, starts.len()) {
                outbox.out.push(Effect::Notice(WaitNotice::BudgetBegins {
                    waiting: starts.len(),
                    last: last.saturating_duration_since(now),
                    at_once: self.rules.max_starting,
                }));
            }
        }
    }

    fn tell_ending(&mut self, outbox: &mut Outbox<'_>) {
        let Some(end) = self.ragnarok.filter(|end| !end.killed) else {
            self.notices.ending = None;
            return;
        };
        if self.is_empty() && self.hooks.is_empty() {
            self.notices.ending = None;
        } else if self.notices.ending.is_none_or(|at| at <= outbox.now) {
            let left = self.last_kill(end.kill_at).saturating_duration_since(outbox.now);
            outbox.out.push(Effect::Notice(WaitNotice::Ending { left }));
            self.notices.ending = Some(outbox.now + ENDING);
        }
    }

    /// When all is killed that does not end: each by its own tolerance, and everything by the mercy.
    fn last_kill(&self, mercy: Moment) -> Moment {
        if !self.hooks.is_empty() {
            return mercy;
        }
        let vassals = self.vassals.values();
        let lives = vassals.flat_map(|vassal| [vassal.current(), vassal.other()]).flatten();
        lives.map(|life| life.kill_at().unwrap_or(mercy)).max().map_or(mercy, |at| at.min(mercy))
    }
}
