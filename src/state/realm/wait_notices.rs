//! Which vassals wait for what, and until when: for the statistics, and for one line when a wait of more than a second
//! begins and one when it ends.
//!
//! A wait of one vassal alone (penalty, address, base, resource, stop) is logged by its notes. Here are the waits
//! that many vassals share: for the throttle, for the start budget, and for the end of ragnarok.

use std::collections::HashMap;
use std::time::Duration;

use super::Realm;
use crate::state::context::Outbox;
use crate::state::start_queue::{Queue, Ticket};
use crate::state::{Effect, VassalId, WaitNotice};
use crate::types::moment::Moment;

/// The time from the first vassal that waits to the line, so that the line counts others of the same burst.
const GATHER_INTERVAL: Duration = Duration::from_millis(300);
/// A wait that is shorter than this is not logged.
const MIN_LOGGED_WAIT: Duration = Duration::from_secs(1);
/// The shortest interval between two lines, as vassals that end again and again wait again and again. A line comes
/// earlier if more vassals wait than the last one said.
const REPEAT_INTERVAL: Duration = Duration::from_secs(10);
/// The interval between two lines about the vassals for which ragnarok waits.
const RAGNAROK_INTERVAL: Duration = Duration::from_secs(10);

/// The state of the lines about waits.
#[derive(Debug, Default)]
pub(super) struct WaitNotices {
    throttle: WaitLog,
    budget: WaitLog,
    ending: Option<Moment>,
}

/// The state of the lines about one kind of wait.
#[derive(Clone, Copy, Debug, Default)]
struct WaitLog {
    /// Time of the next check, if a vassal waits.
    check_at: Option<Moment>,
    /// Whether the begin of the present wait was logged.
    begun: bool,
    /// Time of the last line about a begin, and the number of vassals that waited.
    last: Option<(Moment, usize)>,
}

impl WaitLog {
    /// No vassal waits any more; true if that is to be logged.
    fn end(&mut self) -> bool {
        self.check_at = None;
        std::mem::take(&mut self.begun)
    }

    /// A vassal waits; true if a check is due for how long it will take, which is `pause` after the begin.
    fn is_due(&mut self, now: Moment, pause: Duration) -> bool {
        if self.begun {
            return false;
        }
        *self.check_at.get_or_insert(now + pause) <= now
    }

    /// Whether a line about so many vassals may be logged now; else the next check comes when it may.
    fn may_log(&mut self, now: Moment, waiting: usize) -> bool {
        if let Some((at, most)) = self.last
            && now < at + REPEAT_INTERVAL
            && waiting <= most
        {
            self.check_at = Some(at + REPEAT_INTERVAL);
            return false;
        }
        (self.begun, self.check_at, self.last) = (true, None, Some((now, waiting)));
        true
    }
}

impl WaitNotices {
    /// When [`Realm::log_waits`] is due.
    pub(super) fn deadline(&self) -> Option<Moment> {
        [self.throttle.check_at, self.budget.check_at, self.ending].into_iter().flatten().min()
    }
}

impl Realm {
    /// When the vassals that wait start next, where that is known; of those that wait for their turn the
    /// latest time.
    pub fn next_starts(&self) -> HashMap<VassalId, Moment> {
        let held = self.vassals().filter_map(|v| Some((v.id, v.held_until()?)));
        self.budgeted().into_iter().chain(self.throttled()).chain(held).collect()
    }

    fn waits(&self) -> impl Fn(VassalId, Ticket) -> bool + '_ {
        |id, ticket| self.vassal(id).is_some_and(|vassal| vassal.waits_with(ticket))
    }

    fn throttled(&self) -> Vec<(VassalId, Moment)> {
        self.queue.throttled(&self.rules, self.waits())
    }

    fn budgeted(&self) -> Vec<(VassalId, Moment)> {
        self.queue.budgeted(self.waits())
    }

    /// Ends every step: logs the waits that have begun or ended.
    pub(super) fn log_waits(&mut self, outbox: &mut Outbox<'_>) {
        self.log_throttle(outbox);
        self.log_budget(outbox);
        self.log_ragnarok(outbox);
    }

    fn log_throttle(&mut self, outbox: &mut Outbox<'_>) {
        let now = outbox.now;
        if self.queue.is_empty(Queue::Throttle) || outbox.ending {
            if self.notices.throttle.end() && !outbox.ending {
                outbox.out.push(Effect::Notice(WaitNotice::ThrottleEnds));
            }
        } else if self.notices.throttle.is_due(now, GATHER_INTERVAL) {
            let starts = self.throttled();
            let last = starts.last().map(|(_, at)| at.saturating_duration_since(now));
            let told = &mut self.notices.throttle;
            match last.filter(|last| *last + GATHER_INTERVAL > MIN_LOGGED_WAIT) {
                Some(last) if told.may_log(now, starts.len()) => {
                    let waiting = starts.len();
                    outbox.out.push(Effect::Notice(WaitNotice::ThrottleBegins { waiting, last }));
                }
                Some(_) => {}
                None => told.check_at = Some(now + GATHER_INTERVAL),
            }
        }
    }

    fn log_budget(&mut self, outbox: &mut Outbox<'_>) {
        let now = outbox.now;
        if self.queue.is_empty(Queue::Budget) || outbox.ending {
            if self.notices.budget.end() && !outbox.ending {
                outbox.out.push(Effect::Notice(WaitNotice::BudgetEnds));
            }
        } else if self.notices.budget.is_due(now, MIN_LOGGED_WAIT) {
            let starts = self.budgeted();
            let last = starts.last().map_or(now, |(_, at)| *at);
            if self.notices.budget.may_log(now, starts.len()) {
                outbox.out.push(Effect::Notice(WaitNotice::BudgetBegins {
                    waiting: starts.len(),
                    last: last.saturating_duration_since(now),
                    at_once: self.rules.max_starting,
                }));
            }
        }
    }

    fn log_ragnarok(&mut self, outbox: &mut Outbox<'_>) {
        let Some(end) = self.ragnarok.filter(|end| !end.killed) else {
            self.notices.ending = None;
            return;
        };
        if self.is_empty() && self.hooks.is_empty() {
            self.notices.ending = None;
        } else if self.notices.ending.is_none_or(|at| at <= outbox.now) {
            let left = self.last_kill(end.kill_at).saturating_duration_since(outbox.now);
            outbox.out.push(Effect::Notice(WaitNotice::Ending { left }));
            self.notices.ending = Some(outbox.now + RAGNAROK_INTERVAL);
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
