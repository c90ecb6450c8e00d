//! A point in time that can be written down and given to another program.

use std::num::NonZeroU64;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A point of CLOCK_MONOTONIC. Unlike an `Instant` it can be turned into a number and back, so a program that
/// replaces this one by `exec` can go on with it: the clock counts from the boot of the machine. An
/// `Option<Moment>` is not larger than a `Moment`.
///
/// Sums beyond either end of the clock stop at that end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(NonZeroU64);

impl Moment {
    /// The moment this many nanoseconds after the zero of the clock; zero itself counts as one.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        match NonZeroU64::new(nanos) {
            Some(nanos) => Self(nanos),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// Nanoseconds after the zero of the clock.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0.get()
    }

    /// The time from `earlier` until here; zero if that is later.
    #[must_use]
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.as_nanos().saturating_sub(earlier.as_nanos()))
    }
}

/// The clock holds 584 years; a longer time is cut to that.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self::from_nanos(self.as_nanos().saturating_add(nanos(time)))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, time: Duration) {
        *self = *self + time;
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, time: Duration) -> Self {
        Self::from_nanos(self.as_nanos().saturating_sub(nanos(time)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_and_stops_at_both_ends_of_the_clock() {
        let noon = Moment::from_nanos(12_000_000_000);
        let later = noon + Duration::from_millis(1500);
        assert_eq!(later.as_nanos(), 13_500_000_000);
        assert_eq!(later.saturating_duration_since(noon), Duration::from_millis(1500));
        assert_eq!(noon.saturating_duration_since(later), Duration::ZERO);
        assert_eq!(later - Duration::from_millis(1500), noon);
        assert_eq!((noon + Duration::MAX).as_nanos(), u64::MAX);
        assert_eq!((noon - Duration::MAX).as_nanos(), 1);
        assert_eq!(size_of::<Option<Moment>>(), size_of::<u64>());
    }
}
