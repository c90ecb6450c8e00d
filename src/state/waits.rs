//! Who waits for what, and until when: for the statistics, and for one line when a wait of more than a second
//! begins and one when it ends.
//!
//! A wait that is a vassal's own (penalty, address, base, resource, stop) is told by its notes. Here are
//! those in which many wait for the same: the throttle, the start budget, and ragnarok for all.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::realm::{Realm, SLOT, Sink};
use super::throttle::Ticket;
use super::vassal::{Lane, Phase, Vassal, Why};
use super::{Effect, Notice, VassalId};

/// From the first that waits to the line: others of the same burst are counted in.
const GATHER: Duration = Duration::from_millis(300);
/// A wait that is shorter than this is not told.
const LONG: Duration = Duration::from_secs(1);
/// Between two lines on what ragnarok waits for.
const ENDING: Duration = Duration::from_secs(10);

/// What was told of the waits.
#[derive(Debug, Default)]
pub(super) struct Notices {
    throttle: Told,
    budget: Told,
    ending: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Told {
    /// Nobody waits.
    #[default]
    Nothing,
    /// Somebody does; it is looked at then.
    Later(Instant),
    /// It was said.
    Said,
}

impl Told {
    fn due(self) -> Option<Instant> {
        match self {
            Self::Later(at) => Some(at),
            Self::Nothing | Self::Said => None,
        }
    }

    fn is_due(self, now: Instant) -> bool {
        self.due().is_some_and(|at| at <= now)
    }
}

impl Notices {
    /// When [`Realm::tell_waits`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.throttle.due(), self.budget.due(), self.ending].into_iter().flatten().min()
    }
}

impl Vassal {
    /// Whether it still waits in a queue with this ticket.
    pub fn waits_with(&self, ticket: Ticket) -> bool {
        match &self.phase {
            Phase::Held(hold) => hold.ticket == Some(ticket),
            Phase::Running { due, .. } => due.as_ref().is_some_and(|d| d.ticket == Some(ticket)),
            Phase::Waiting
            | Phase::Starting(_)
            | Phase::Replacing { .. }
            | Phase::Retiring { .. }
            | Phase::Stopping { .. } => false,
        }
    }

    /// Its ticket, if it waits in a queue, and in which.
    pub(super) fn place_in_queue(&self) -> Option<(Ticket, Lane)> {
        let hold = match &self.phase {
            Phase::Held(hold) => hold,
            Phase::Running { due, .. } => due.as_deref()?,
            Phase::Waiting
            | Phase::Starting(_)
            | Phase::Replacing { .. }
            | Phase::Retiring { .. }
            | Phase::Stopping { .. } => return None,
        };
        let lane = if hold.why == Why::Throttle { Lane::Throttle } else { Lane::Budget };
        Some((hold.ticket?, lane))
    }

    /// Until when it, or its replacement, is held, where that is known.
    pub fn held_until(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Held(hold) => hold.until,
            Phase::Running { due, .. } => due.as_ref().and_then(|due| due.until),
            Phase::Waiting
            | Phase::Starting(_)
            | Phase::Replacing { .. }
            | Phase::Retiring { .. }
            | Phase::Stopping { .. } => None,
        }
    }
}

impl Realm {
    /// When the vassals that wait start next, where that is known; of those that wait for their turn the
    /// latest time.
    pub fn next_starts(&self) -> HashMap<VassalId, Instant> {
        let held = self.vassals().filter_map(|v| Some((v.id, v.held_until()?)));
        self.budgeted().into_iter().chain(self.throttled()).chain(held).collect()
    }

    /// Those in the queue of the throttle, and when they leave it.
    fn throttled(&self) -> impl Iterator<Item = (VassalId, Instant)> {
        let starts = self.throttle.forecast(&self.rules).into_iter();
        let waits = |id, ticket| self.vassal(id).is_some_and(|vassal| vassal.waits_with(ticket));
        starts.filter(move |(id, ticket, _)| waits(*id, *ticket)).map(|(id, _, at)| (id, at))
    }

    /// Those in the queue of the start budget, and when they leave it at the latest.
    fn budgeted(&self) -> Vec<(VassalId, Instant)> {
        let free: Vec<Instant> = self.slots.iter().map(|(at, _)| *at).collect();
        let waits = |(id, ticket): &&(VassalId, _)| {
            self.vassal(*id).is_some_and(|vassal| vassal.waits_with(*ticket))
        };
        let waiting = self.budget.iter().filter(waits).enumerate();
        let at = |place: usize| {
            let round = u32::try_from(place / free.len().max(1)).unwrap_or(u32::MAX);
            free.get(place % free.len().max(1)).map(|at| *at + SLOT.saturating_mul(round))
        };
        waiting.filter_map(|(place, (id, _))| Some((*id, at(place)?))).collect()
    }

    /// Ends every step: tells of waits that have begun or ended.
    pub(super) fn tell_waits(&mut self, sink: &mut Sink<'_>) {
        self.tell_throttle(sink);
        self.tell_budget(sink);
        self.tell_ending(sink);
    }

    fn tell_throttle(&mut self, sink: &mut Sink<'_>) {
        let now = sink.now;
        let told = self.notices.throttle;
        if self.throttle.is_empty() || sink.ending {
            if told == Told::Said && !sink.ending {
                sink.out.push(Effect::Say(Notice::ThrottleEnds));
            }
            self.notices.throttle = Told::Nothing;
        } else if told == Told::Nothing {
            self.notices.throttle = Told::Later(now + GATHER);
        } else if told.is_due(now) {
            let starts: Vec<Instant> = self.throttled().map(|(_, at)| at).collect();
            let last = starts.last().map(|at| at.saturating_duration_since(now));
            self.notices.throttle = match last.filter(|last| *last + GATHER > LONG) {
                Some(last) => {
                    let waiting = starts.len();
                    sink.out.push(Effect::Say(Notice::ThrottleBegins { waiting, last }));
                    Told::Said
                }
                None => Told::Later(now + GATHER),
            };
        }
    }

    fn tell_budget(&mut self, sink: &mut Sink<'_>) {
        let now = sink.now;
        let told = self.notices.budget;
        if self.budget.is_empty() || sink.ending {
            if told == Told::Said && !sink.ending {
                sink.out.push(Effect::Say(Notice::BudgetEnds));
            }
            self.notices.budget = Told::Nothing;
        } else if told == Told::Nothing {
            self.notices.budget = Told::Later(now + LONG);
        } else if told.is_due(now) {
            let starts = self.budgeted();
            let last = starts.last().map_or(now, |(_, at)| *at);
            sink.out.push(Effect::Say(Notice::BudgetBegins {
                waiting: starts.len(),
                last: last.saturating_duration_since(now),
                at_once: self.rules.max_starting,
            }));
            self.notices.budget = Told::Said;
        }
    }

    fn tell_ending(&mut self, sink: &mut Sink<'_>) {
        let Some(end) = self.ragnarok.filter(|end| !end.killed) else {
            self.notices.ending = None;
            return;
        };
        if self.is_empty() && self.hooks.is_empty() {
            self.notices.ending = None;
        } else if self.notices.ending.is_none_or(|at| at <= sink.now) {
            let left = end.kill_at.saturating_duration_since(sink.now);
            sink.out.push(Effect::Say(Notice::Ending { left }));
            self.notices.ending = Some(sink.now + ENDING);
        }
    }
}
