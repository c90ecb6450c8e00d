//! Deadlines of all vassals, in order; each vassal has at most one, its nearest.

use std::collections::BTreeSet;

use super::VassalId;
use crate::types::moment::Moment;

/// The nearest deadline of each vassal.
#[derive(Debug, Default)]
pub struct Timers {
    order: BTreeSet<(Moment, VassalId)>,
}

impl Timers {
    /// Sets, moves or removes the deadline of a vassal; `before`: the one it had.
    pub fn set(&mut self, vassal: VassalId, before: Option<Moment>, at: Option<Moment>) {
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, vassal));
        }
        if let Some(at) = at {
            self.order.insert((at, vassal));
        }
    }

    /// The nearest of all.
    pub fn first(&self) -> Option<Moment> {
        self.order.first().map(|(at, _)| *at)
    }

    /// The vassals whose deadline has passed, the longest overdue first.
    pub fn due(&self, now: Moment) -> Vec<VassalId> {
        self.order.iter().take_while(|(at, _)| *at <= now).map(|(_, vassal)| *vassal).collect()
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
        let mut timers = Timers::default();
        timers.set(VassalId(1), None, Some(at(5)));
        timers.set(VassalId(2), None, Some(at(3)));
        timers.set(VassalId(1), Some(at(5)), Some(at(1)));
        assert_eq!(timers.first(), Some(at(1)));
        assert_eq!(timers.due(at(3)), [VassalId(1), VassalId(2)]);
        timers.set(VassalId(1), Some(at(1)), None);
        assert_eq!(timers.due(at(3)), [VassalId(2)]);
        timers.set(VassalId(2), Some(at(3)), None);
        assert_eq!(timers.first(), None);
    }
}
