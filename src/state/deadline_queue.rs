//! Deadlines of all vassals, in order; each vassal has at most one, its nearest.

use std::collections::{BTreeSet, HashMap};

use super::VassalId;
use crate::types::moment::Moment;

/// The nearest deadline of each vassal that has one; a vassal that needs no attention has none.
#[derive(Debug, Default)]
pub struct DeadlineQueue {
    order: BTreeSet<(Moment, VassalId)>,
    of: HashMap<VassalId, Moment>,
}

impl DeadlineQueue {
    /// Sets, moves or removes the deadline of a vassal.
    pub fn set(&mut self, vassal: VassalId, at: Option<Moment>) {
        let before = match at {
            Some(at) => self.of.insert(vassal, at),
            None => self.of.remove(&vassal),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, vassal));
        }
        if let Some(at) = at {
            self.order.insert((at, vassal));
        }
        if self.of.is_empty() {
            // It has held all vassals once.
            self.of.shrink_to_fit();
        }
    }

    /// The nearest of all.
    pub fn first(&self) -> Option<Moment> {
        self.order.first().map(|(at, _)| *at)
    }

    /// The vassals whose deadline has passed, the longest overdue first, and so many of them at most.
    pub fn due(&self, now: Moment, most: usize) -> Vec<VassalId> {
        let due = self.order.iter().take_while(|(at, _)| *at <= now).take(most);
        due.map(|(_, vassal)| *vassal).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_nearest_deadline_comes_first_wherever_it_was_moved() {
        let zero = Moment::from_nanos(1_000_000_000_000);
        let at = |s| zero + Duration::from_secs(s);
        let mut queue = DeadlineQueue::default();
        queue.set(VassalId(1), Some(at(5)));
        queue.set(VassalId(2), Some(at(3)));
        queue.set(VassalId(1), Some(at(1)));
        assert_eq!(queue.first(), Some(at(1)));
        assert_eq!(queue.due(at(3), 9), [VassalId(1), VassalId(2)]);
        assert_eq!(queue.due(at(3), 1), [VassalId(1)]);
        queue.set(VassalId(1), None);
        assert_eq!(queue.due(at(3), 9), [VassalId(2)]);
        queue.set(VassalId(2), None);
        assert_eq!(queue.first(), None);
    }
}
