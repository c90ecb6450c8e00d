//! Pauses between tries that fail for a reason outside: each is twice the one before.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How often something was tried in vain.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    tries: u8,
}

impl Backoff {
    /// The pause before the next try, from the first of `pauses` to the last.
    pub fn next(&mut self, pauses: &RangeInclusive<Duration>) -> Duration {
        let doubled = 2_u32.saturating_pow(self.tries.into());
        self.tries = self.tries.saturating_add(1);
        pauses.start().saturating_mul(doubled).min(*pauses.end())
    }

    /// Begins with the first pause again.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_the_longest_is_held() {
        let pauses = Duration::from_millis(50)..=Duration::from_secs(1);
        let mut backoff = Backoff::default();
        let mut next = || backoff.next(&pauses).as_millis();
        assert_eq!(
            [next(), next(), next(), next(), next(), next()],
            [50, 100, 200, 400, 800, 1000]
        );
        assert!((0..1000).all(|_| next() == 1000));
        backoff.forget();
        assert_eq!(backoff.next(&pauses), *pauses.start());
    }
}
