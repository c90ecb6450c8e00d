//! The blacklist: what a vassal's deaths have earned it.

use std::time::Duration;

use super::Rules;
use crate::types::moment::Moment;

/// The deaths of one vassal since it was last forgiven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Penalty(Option<Box<Deaths>>);

/// Most vassals have none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Deaths {
    count: u32,
    first: Moment,
    last: Moment,
}

impl Penalty {
    /// Adds the death of a life that was not loyal; gives the wait before the next start.
    pub fn add(&mut self, now: Moment, rules: &Rules) -> Duration {
        if !rules.blacklist {
            return Duration::ZERO;
        }
        let none = || Box::new(Deaths { count: 0, first: now, last: now });
        let deaths = self.0.get_or_insert_with(none);
        deaths.count = deaths.count.saturating_add(1);
        deaths.last = now;
        self.wait(rules)
    }

    /// Forgets all deaths; false if there was nothing to forget.
    pub fn forgive(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Deaths so far.
    pub fn deaths(&self) -> u32 {
        self.0.as_ref().map_or(0, |deaths| deaths.count)
    }

    /// First and last death, if there was any.
    pub fn span(&self) -> Option<(Moment, Moment)> {
        self.0.as_ref().map(|deaths| (deaths.first, deaths.last))
    }

    /// The wait that the deaths so far have earned.
    pub fn wait(&self, rules: &Rules) -> Duration {
        rules.throttle.saturating_mul(self.deaths()).min(rules.max_throttle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_death_adds_one_step_and_the_maximum_is_held() {
        let rules = Rules {
            throttle: Duration::from_millis(800),
            max_throttle: Duration::from_millis(2000),
            ..Rules::default()
        };
        let mut penalty = Penalty::default();
        let waits: Vec<u128> = (0..5)
            .map(|_| penalty.add(Moment::from_nanos(1_000_000_000_000), &rules).as_millis())
            .collect();
        assert_eq!(waits, [800, 1600, 2000, 2000, 2000]);
    }

    #[test]
    fn a_forgiven_vassal_begins_anew() {
        let mut penalty = Penalty::default();
        penalty.add(Moment::from_nanos(1_000_000_000_000), &Rules::default());
        assert!(penalty.forgive());
        assert!(!penalty.forgive());
        assert_eq!(
            penalty.add(Moment::from_nanos(1_000_000_000_000), &Rules::default()),
            Duration::from_secs(1)
        );
    }

    #[test]
    fn without_blacklist_no_death_is_counted() {
        let rules = Rules { blacklist: false, ..Rules::default() };
        let mut penalty = Penalty::default();
        assert_eq!(penalty.add(Moment::from_nanos(1_000_000_000_000), &rules), Duration::ZERO);
        assert_eq!(penalty.span(), None);
    }
}
