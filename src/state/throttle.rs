//! The throttle: one queue for starts that come too fast.
//!
//! A queued start waits the current *level* after the queued start before it. A burst adds one step to the
//! level: a start that is asked for within a second of the last one, while nothing waits. What joins the
//! queue while others wait adds nothing, and a start that has not to wait halves the level. So files that
//! are copied all at once start one step apart.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Rules, VassalId};
use crate::types::moment::Moment;

const WINDOW: Duration = Duration::from_secs(1);
const SMALLEST: Duration = Duration::from_millis(1);

/// The number of a place in a queue. It is out of date when the vassal does not hold this number any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u32);

/// The queue and its level.
#[derive(Debug, Default)]
pub struct Throttle {
    level: Duration,
    recent: VecDeque<Moment>,
    queue: VecDeque<(VassalId, Ticket)>,
    head: Option<Head>,
}

/// The decision about the first start of the queue.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// Time at which it may start.
    at: Moment,
    /// Level of the throttle after its start.
    level: Duration,
    /// Whether others waited when it joined the queue.
    joined: bool,
    /// Whether the start behind it has joined one that waited.
    waits: bool,
}

impl Throttle {
    /// The wait that the head of the queue has met, or the next queued start would, at least.
    pub fn level(&self) -> Duration {
        self.head.map_or(self.level, |head| head.level)
    }

    /// When the head of the queue may go.
    pub fn deadline(&self) -> Option<Moment> {
        self.head.map(|head| head.at)
    }

    /// Whether nothing is in the queue.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// When each vassal of the queue starts, if none of them leaves it.
    pub fn forecast(&self, rules: &Rules) -> Vec<(VassalId, Ticket, Moment)> {
        let Some(mut head) = self.head else { return Vec::new() };
        let (level, recent) = (self.level, self.recent.clone());
        let mut rest = Self { level, recent, ..Self::default() };
        let mut starts = Vec::with_capacity(self.queue.len());
        for (vassal, ticket) in &self.queue {
            starts.push((*vassal, *ticket, head.at));
            rest.went(head.at, head.level, rules);
            head = rest.next(head.at, head.waits, rules);
        }
        starts
    }

    /// Puts a start at the end of the queue.
    pub fn push(&mut self, now: Moment, start: (VassalId, Ticket), rules: &Rules) {
        self.queue.push_back(start);
        if self.head.is_none() {
            self.plan(now, false, rules);
        }
    }

    /// Forgets the queue; what has started so far still counts.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.head = None;
    }

    /// Takes the first of the queue that still waits, if the time of the head has come.
    pub fn pop(
        &mut self,
        now: Moment,
        rules: &Rules,
        waits: impl Fn(VassalId, Ticket) -> bool,
    ) -> Option<(VassalId, Ticket)> {
        let head = self.head.filter(|head| head.at <= now)?;
        let gone =
            self.queue.iter().take_while(|(vassal, ticket)| !waits(*vassal, *ticket)).count();
        self.queue.drain(..gone);
        let Some(start) = self.queue.pop_front() else {
            self.head = None;
            return None;
        };
        // The time at which it really goes, or a late wake-up would let two go at once.
        self.went(now, head.level, rules);
        self.plan(now, head.waits, rules);
        Some(start)
    }

    /// Drops vassals that do not wait any more from the queue, without counting them as starts.
    pub fn retain(&mut self, now: Moment, rules: &Rules, waits: impl Fn(VassalId, Ticket) -> bool) {
        let first = self.queue.front().copied();
        self.queue.retain(|(vassal, ticket)| waits(*vassal, *ticket));
        if self.queue.front().copied() != first
            && let Some(head) = self.head
        {
            self.plan(now, head.joined, rules);
        }
    }

    /// Counts a start.
    fn went(&mut self, at: Moment, level: Duration, rules: &Rules) {
        self.level = level;
        self.recent.push_back(at);
        while self.recent.len() > rules.throttle_burst.max(1) {
            self.recent.pop_front();
        }
    }

    fn plan(&mut self, now: Moment, joined: bool, rules: &Rules) {
        self.head = (!self.queue.is_empty()).then(|| self.next(now, joined, rules));
    }

    /// When a start that is the head of the queue now may go.
    fn next(&self, now: Moment, joined: bool, rules: &Rules) -> Head {
        let level = self.level;
        let halved = if level / 2 < SMALLEST { Duration::ZERO } else { level / 2 };
        let at_once = |level| Head { at: now, level, joined, waits: joined };
        let Some(&last) = self.recent.back() else { return at_once(halved) };
        let is_burst = !joined && now < last + WINDOW;
        let in_window = self.recent.iter().filter(|&&at| at + WINDOW > now).count();
        if rules.throttle_burst > 1 && in_window < rules.throttle_burst {
            return at_once(if joined || is_burst { level } else { halved });
        }
        let grown = (level + rules.throttle).min(rules.max_throttle);
        let level = if is_burst { grown } else { level };
        let at = now.max(last + level);
        match joined || is_burst || at > now {
            true => Head { at, level, joined, waits: joined || at > now },
            false => at_once(halved),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(rules: &Rules, arrivals_ms: &[u64]) -> Vec<u64> {
        let zero = Moment::from_nanos(1_000_000_000_000);
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
                starts
                    .push(u64::try_from(now.saturating_duration_since(zero).as_millis()).unwrap());
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
        assert_eq!(starts(&rules(600), &[0, 0, 0, 0]), [0, 600, 1200, 1800]);
        assert_eq!(starts(&rules(1000), &[0; 30])[29], 29_000);
    }

    #[test]
    fn a_burst_right_behind_another_starts_at_longer_distances() {
        let arrivals = [0, 0, 0, 0, 1900, 1900, 1900];
        assert_eq!(starts(&rules(600), &arrivals), [0, 600, 1200, 1800, 3000, 4200, 5400]);
    }

    #[test]
    fn it_makes_no_difference_whether_files_are_found_one_by_one_or_together() {
        let (zero, rules) = (Moment::from_nanos(1_000_000_000_000), rules(600));
        let mut throttle = Throttle::default();
        for id in 0..4 {
            throttle.push(zero, (VassalId(id), Ticket(0)), &rules);
        }
        let mut starts = Vec::new();
        while let Some(at) = throttle.deadline() {
            throttle.pop(at, &rules, |_, _| true).unwrap();
            starts.push(at.saturating_duration_since(zero).as_millis());
        }
        assert_eq!(starts, [0, 600, 1200, 1800]);
    }

    #[test]
    fn the_forecast_of_the_queue_comes_true() {
        let zero = Moment::from_nanos(1_000_000_000_000);
        for burst in [1, 3] {
            let rules = Rules { throttle_burst: burst, ..rules(700) };
            let mut throttle = Throttle::default();
            for id in 0..20 {
                throttle.push(zero, (VassalId(id), Ticket(0)), &rules);
            }
            for (id, ticket, at) in throttle.forecast(&rules) {
                assert_eq!(throttle.deadline(), Some(at));
                assert_eq!(throttle.pop(at, &rules, |_, _| true), Some((id, ticket)));
            }
            assert!(throttle.is_empty());
        }
    }

    #[test]
    fn files_more_than_a_second_apart_never_wait() {
        assert_eq!(starts(&rules(1000), &[0, 1100, 2300]), [0, 1100, 2300]);
    }

    #[test]
    fn the_level_never_passes_the_maximum() {
        let rules = Rules { max_throttle: Duration::from_millis(300), ..rules(200) };
        assert_eq!(starts(&rules, &[0, 0, 210, 210, 800, 800]), [0, 200, 500, 800, 1100, 1400]);
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
        let zero = Moment::from_nanos(1_000_000_000_000);
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
        let zero = Moment::from_nanos(1_000_000_000_000);
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
        let zero = Moment::from_nanos(1_000_000_000_000);
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
