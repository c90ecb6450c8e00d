//! The starts that wait for their turn: through the throttle if they come too fast, then for a slot of the
//! start budget, so that not too many lives are between fork and verdict at one time.

use std::collections::VecDeque;
use std::time::Duration;

use super::throttle::Throttle;
pub use super::throttle::Ticket;
use super::{LifeId, Rules, VassalId};
use crate::types::moment::Moment;

/// A life holds its slot in the start budget no longer than this.
const START_SLOT_TIMEOUT: Duration = Duration::from_secs(1);

/// Which queue a start goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// The throttle, then the start budget.
    Throttle,
    /// The start budget alone.
    Budget,
}

/// The throttle, the start budget and its slots.
#[derive(Debug, Default)]
pub struct StartQueue {
    throttle: Throttle,
    budget: VecDeque<(VassalId, Ticket)>,
    /// The lives that hold a slot, with the time at which they lose it; sorted.
    slots: VecDeque<(Moment, LifeId)>,
}

impl StartQueue {
    /// Puts a start at the end of a queue.
    pub fn push(&mut self, now: Moment, start: (VassalId, Ticket), queue: Queue, rules: &Rules) {
        match queue {
            Queue::Throttle => self.throttle.push(now, start, rules),
            Queue::Budget => self.budget.push_back(start),
        }
    }

    /// The next vassal that may start now, if there are one and a free slot. Its ticket may be out of date.
    pub fn next(
        &mut self,
        now: Moment,
        rules: &Rules,
        waits: impl Fn(VassalId, Ticket) -> bool,
    ) -> Option<(VassalId, Ticket)> {
        while let Some(start) = self.throttle.pop(now, rules, &waits) {
            self.budget.push_back(start);
        }
        while self.slots.front().is_some_and(|(until, _)| *until <= now) {
            self.slots.pop_front();
        }
        if self.slots.len() >= rules.max_starting.max(1) {
            return None;
        }
        let start = self.budget.pop_front();
        if start.is_none() {
            // It has held all vassals once.
            self.budget.shrink_to(rules.max_starting);
        }
        start
    }

    /// This life starts: it holds a slot until [`StartQueue::free_slot`].
    pub fn take_slot(&mut self, life: LifeId, now: Moment) {
        self.slots.push_back((now + START_SLOT_TIMEOUT, life));
    }

    /// The start of this life is decided, or it has ended.
    pub fn free_slot(&mut self, life: LifeId) {
        self.slots.retain(|(_, holder)| *holder != life);
    }

    /// Lives that hold a slot.
    pub fn starting(&self) -> usize {
        self.slots.len()
    }

    /// When [`StartQueue::next`] may have something, at the earliest.
    pub fn deadline(&self) -> Option<Moment> {
        let slot = self.slots.front().map(|(at, _)| *at).filter(|_| !self.budget.is_empty());
        slot.into_iter().chain(self.throttle.deadline()).min()
    }

    /// Drops the places that vassals which have asked anew have left behind, once there are many.
    pub fn compact(&mut self, vassals: usize, waits: impl Fn(VassalId, Ticket) -> bool) {
        if self.budget.len() > 2 * vassals {
            self.budget.retain(|(vassal, ticket)| waits(*vassal, *ticket));
        }
    }

    /// Drops vassals that do not wait any more from the queue of the throttle, without counting them as starts.
    pub fn drop_gone(
        &mut self,
        now: Moment,
        rules: &Rules,
        waits: impl Fn(VassalId, Ticket) -> bool,
    ) {
        self.throttle.retain(now, rules, waits);
    }

    /// The present level of the throttle.
    pub fn throttle_level(&self) -> Duration {
        self.throttle.level()
    }

    /// No vassal is in this queue.
    pub fn is_empty(&self, queue: Queue) -> bool {
        match queue {
            Queue::Throttle => self.throttle.is_empty(),
            Queue::Budget => self.budget.is_empty(),
        }
    }

    /// The vassals in the queue of the throttle, and when they leave it.
    pub fn throttled(
        &self,
        rules: &Rules,
        waits: impl Fn(VassalId, Ticket) -> bool,
    ) -> Vec<(VassalId, Moment)> {
        let starts = self.throttle.forecast(rules).into_iter();
        starts.filter(|(id, ticket, _)| waits(*id, *ticket)).map(|(id, _, at)| (id, at)).collect()
    }

    /// The vassals in the queue of the start budget, and when they leave it at the latest.
    pub fn budgeted(&self, waits: impl Fn(VassalId, Ticket) -> bool) -> Vec<(VassalId, Moment)> {
        let free: Vec<Moment> = self.slots.iter().map(|(at, _)| *at).collect();
        let waiting = self.budget.iter().filter(|(id, ticket)| waits(*id, *ticket)).enumerate();
        let at = |place: usize| {
            let round = u32::try_from(place / free.len().max(1)).unwrap_or(u32::MAX);
            let slot = free.get(place % free.len().max(1));
            slot.map(|at| *at + START_SLOT_TIMEOUT.saturating_mul(round))
        };
        waiting.filter_map(|(place, (id, _))| Some((*id, at(place)?))).collect()
    }

    /// Forgets who waits, and the slots of lives that are not there; what has started so far still counts.
    pub fn clear(&mut self, is_there: impl Fn(LifeId) -> bool) {
        self.throttle.clear();
        self.budget.clear();
        self.slots.retain(|(_, life)| is_there(*life));
    }
}
