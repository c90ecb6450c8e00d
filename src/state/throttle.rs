//! The throttle: one queue for starts that come too fast.
//!
//! A queued start waits the current *level* after the queued start before it. Would it still come within
//! a second of that one, the level grows by one step and it waits the new level; if not, the level halves.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Rules, VassalId};

const WINDOW: Duration = Duration::from_secs(1);
const SMALLEST: Duration = Duration::from_millis(1);

/// A place in a queue; a vassal that has lost interest holds another number by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u32);

/// The queue and its level.
#[derive(Debug, Default)]
pub struct Throttle {
    level: Duration,
    recent: VecDeque<Instant>,
    queue: VecDeque<(VassalId, Ticket)>,
    /// When the head of the queue may go, and the level after it.
    head: Option<(Instant, Duration)>,
}

impl Throttle {
    /// The wait that the head of the queue has met, or the next queued start would, at least.
    pub fn level(&self) -> Duration {
        self.head.map_or(self.level, |(_, level)| level)
    }

    /// When the head of the queue may go.
    pub fn deadline(&self) -> Option<Instant> {
        self.head.map(|(at, _)| at)
    }

    /// Whose turn it is then.
    pub fn first(&self) -> Option<VassalId> {
        self.queue.front().map(|(vassal, _)| *vassal)
    }

    /// Puts a start at the end of the queue.
    pub fn push(&mut self, now: Instant, start: (VassalId, Ticket), rules: &Rules) {
        self.queue.push_back(start);
        self.plan(now, rules);
    }

    /// Takes the first of the queue that still waits, if the time of the head has come.
    pub fn pop(
        &mut self,
        now: Instant,
        rules: &Rules,
        waits: impl Fn(VassalId, Ticket) -> bool,
    ) -> Option<(VassalId, Ticket)> {
        let (_, level) = self.head.filter(|(at, _)| *at <= now)?;
        let gone =
            self.queue.iter().take_while(|(vassal, ticket)| !waits(*vassal, *ticket)).count();
        self.queue.drain(..gone);
        let Some(start) = self.queue.pop_front() else {
            self.head = None;
            return None;
        };
        self.level = level;
        // The time at which it really goes, or a late wake-up would let two go at once.
        self.recent.push_back(now);
        while self.recent.len() > rules.throttle_burst.max(1) {
            self.recent.pop_front();
        }
        self.head = None;
        self.plan(now, rules);
        Some(start)
    }

    /// Drops from the queue, for nothing, whoever no longer waits.
    pub fn retain(
        &mut self,
        now: Instant,
        rules: &Rules,
        waits: impl Fn(VassalId, Ticket) -> bool,
    ) {
        let head = self.queue.front().copied();
        self.queue.retain(|(vassal, ticket)| waits(*vassal, *ticket));
        if self.queue.front().copied() != head {
            self.head = None;
            self.plan(now, rules);
        }
    }

    fn plan(&mut self, now: Instant, rules: &Rules) {
        if self.head.is_none() && !self.queue.is_empty() {
            self.head = Some(self.next(now, rules));
        }
    }

    /// When a start that is the head of the queue now may go, and the level from then on.
    fn next(&self, now: Instant, rules: &Rules) -> (Instant, Duration) {
        let halved = if self.level / 2 < SMALLEST { Duration::ZERO } else { self.level / 2 };
        let Some(&last) = self.recent.back() else { return (now, halved) };
        let earliest = now.max(last);
        let in_window = self.recent.iter().filter(|&&at| at + WINDOW > earliest).count();
        if rules.throttle_burst > 1 && in_window < rules.throttle_burst {
            return (earliest, self.level);
        }
        let at = now.max(last + self.level);
        if at >= last + WINDOW {
            return (at, halved);
        }
        let grown = (self.level + rules.throttle).min(rules.max_throttle);
        (now.max(last + grown), grown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(rules: &Rules, arrivals_ms: &[u64]) -> Vec<u64> {
        let zero = Instant::now();
        let mut throttle = Throttle::default();
        let mut starts = Vec::new();
        let mut arrivals =
            arrivals_ms.iter().map(|ms| zero + Duration::from_millis(*ms)).peekable();
        loop {
            let arrival = arrivals.peek().copied();
            let due = throttle.deadline();
            let now = match (arrival, due) {
                (Some(a), Some(d)) => a.min(d),
                (Some(at), None) | (None, Some(at)) => at,
                (None, None) => return starts,
            };
            if arrival == Some(now) {
                arrivals.next();
                throttle.push(now, (VassalId(0), Ticket(0)), rules);
            }
            while throttle.pop(now, rules, |_, _| true).is_some() {
                starts.push(u64::try_from((now - zero).as_millis()).unwrap());
            }
        }
    }

    fn rules(step_ms: u64) -> Rules {
        Rules { throttle: Duration::from_millis(step_ms), ..Rules::default() }
    }

    #[test]
    fn one_new_file_starts_at_once() {
        assert_eq!(starts(&rules(1000), &[5]), [5]);
    }

    #[test]
    fn files_copied_all_at_once_start_about_one_a_second() {
        assert_eq!(starts(&rules(600), &[0, 0, 0, 0]), [0, 600, 1800, 3000]);
        assert_eq!(starts(&rules(1000), &[0, 0, 0, 0, 0]), [0, 1000, 2000, 3500, 5000]);
    }

    #[test]
    fn files_more_than_a_second_apart_never_wait() {
        assert_eq!(starts(&rules(1000), &[0, 1100, 2300]), [0, 1100, 2300]);
    }

    #[test]
    fn the_level_never_passes_the_maximum() {
        let rules = Rules { max_throttle: Duration::from_millis(300), ..rules(200) };
        assert_eq!(starts(&rules, &[0; 5]), [0, 200, 500, 800, 1100]);
    }

    #[test]
    fn a_burst_is_free_in_each_second() {
        let rules = Rules { throttle_burst: 3, ..rules(1000) };
        assert_eq!(starts(&rules, &[0; 7]), [0, 0, 0, 1000, 1000, 1000, 2000]);
    }

    #[test]
    fn a_throttle_of_zero_never_waits() {
        assert_eq!(starts(&rules(0), &[0; 4]), [0, 0, 0, 0]);
    }

    #[test]
    fn who_leaves_the_queue_costs_the_others_nothing() {
        let zero = Instant::now();
        let rules = rules(1000);
        let mut throttle = Throttle::default();
        for id in 0..4 {
            throttle.push(zero, (VassalId(id), Ticket(0)), &rules);
        }
        assert_eq!(throttle.pop(zero, &rules, |_, _| true), Some((VassalId(0), Ticket(0))));
        throttle.retain(zero, &rules, |vassal, _| vassal.0 == 3);
        let at = throttle.deadline().unwrap();
        assert_eq!(at, zero + Duration::from_secs(1));
        assert_eq!(throttle.pop(at, &rules, |_, _| true), Some((VassalId(3), Ticket(0))));
        assert_eq!(throttle.deadline(), None);
    }

    #[test]
    fn who_has_lost_interest_is_passed_over_when_the_turn_comes() {
        let zero = Instant::now();
        let rules = rules(1000);
        let mut throttle = Throttle::default();
        for id in 0..3 {
            throttle.push(zero, (VassalId(id), Ticket(0)), &rules);
        }
        let last_alone = |vassal: VassalId, _| vassal.0 == 2;
        assert_eq!(throttle.pop(zero, &rules, last_alone), Some((VassalId(2), Ticket(0))));
        assert_eq!(throttle.deadline(), None);
        throttle.push(zero, (VassalId(1), Ticket(0)), &rules);
        assert_eq!(throttle.pop(zero + Duration::from_secs(1), &rules, last_alone), None);
        assert_eq!(throttle.deadline(), None);
    }

    #[test]
    fn a_late_wake_up_does_not_let_two_go_at_once() {
        let zero = Instant::now();
        let late = zero + Duration::from_secs(20);
        let rules = rules(1000);
        let mut throttle = Throttle::default();
        for id in 0..3 {
            throttle.push(zero, (VassalId(id), Ticket(0)), &rules);
        }
        assert!(throttle.pop(zero, &rules, |_, _| true).is_some());
        assert!(throttle.pop(late, &rules, |_, _| true).is_some());
        assert_eq!(throttle.pop(late, &rules, |_, _| true), None);
    }
}
