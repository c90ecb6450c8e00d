//! Names that are examined later: because a program is writing them, because they may come back, or because the
//! kernel did not give their state.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use super::change::FileVersion;
use crate::types::moment::Moment;

/// A file, an address file or a whole directory that is removed or moved away may be made anew within this
/// time, and is changed then, not lost: git, install(1), tar and editors remove a file before they write it
/// again, and may be kept from the processor in between. Every stop by removal is later by this.
pub(super) const DELETE_GRACE: Duration = Duration::from_millis(100);

/// A link shows only that it was made; what a scan finds may be half written. Both are looked at when
/// they have been quiet for this long.
pub(super) const DEBOUNCE: Duration = Duration::from_millis(100);

/// A file is taken although it is still open for writing when two looks so far apart see the same.
pub(super) const WRITER_IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// A file that somebody writes without end is taken after this time.
const MAX_WRITER_WAIT: Duration = Duration::from_secs(30);

/// First and longest pause between tries after an error.
const RETRY_INTERVALS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3));

/// Why a name waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Somebody is writing it: nothing but the end of writing cuts the wait short.
    BeingWritten,
    /// It must stay as it is for a moment.
    Settling,
    /// The same, after a scan found a difference for which there was no event.
    MissedEvent,
    /// The same, after it was found in a directory that has just come.
    Appeared,
    /// An error; the pauses double.
    Retry,
}

/// One name's wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingCheck {
    /// When to look.
    pub(super) due: Moment,
    /// Why it waits.
    pub(super) cause: Cause,
    quiet: Duration,
    until: Moment,
    last: Option<FileVersion>,
}

impl PendingCheck {
    /// Waits until the name has looked like `last` for `quiet`.
    pub(super) fn new(
        cause: Cause,
        now: Moment,
        quiet: Duration,
        last: Option<FileVersion>,
    ) -> Self {
        Self { due: now + quiet, cause, quiet, until: now + MAX_WRITER_WAIT.max(quiet), last }
    }

    /// The next try after an error; `before` is the wait that has just ended.
    pub(super) fn retry(now: Moment, before: Option<&Self>) -> Self {
        let pause = match before {
            Some(wait) if wait.cause == Cause::Retry => (wait.quiet * 2).min(RETRY_INTERVALS.1),
            _ => RETRY_INTERVALS.0,
        };
        Self::new(Cause::Retry, now, pause, None)
    }

    /// Whether it was for a name that was there when it began: one that is missing at its end has not been
    /// waited for yet.
    pub(super) fn was_for_something_there(&self) -> bool {
        self.cause == Cause::Retry || self.last.is_some()
    }

    /// The wait that must follow on this one because the name was different at its end, if any.
    pub(super) fn again(&self, now: Moment, seen: Option<FileVersion>) -> Option<Self> {
        let is_busy = self.cause != Cause::Retry && seen.is_some() && seen != self.last;
        let due = now + self.quiet;
        (is_busy && due <= self.until).then_some(Self { due, last: seen, ..*self })
    }
}

/// All names that wait.
#[derive(Default)]
pub(super) struct Debouncer(HashMap<OsString, PendingCheck>);

impl Debouncer {
    pub(super) fn set(&mut self, name: &OsStr, wait: PendingCheck) {
        self.0.insert(name.to_owned(), wait);
    }

    /// Sets a wait; one after another of the same kind ends when the first of them must.
    pub(super) fn extend(&mut self, name: &OsStr, mut wait: PendingCheck) {
        if let Some(old) = self.0.get(name).filter(|old| old.cause == wait.cause) {
            (wait.until, wait.due) = (old.until, wait.due.min(old.until));
        }
        self.set(name, wait);
    }

    pub(super) fn get(&self, name: &OsStr) -> Option<&PendingCheck> {
        self.0.get(name)
    }

    pub(super) fn cancel(&mut self, name: &OsStr) -> Option<PendingCheck> {
        self.0.remove(name)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Gives back what was due and must wait for the next call, unless it waits for more by now.
    pub(super) fn put_back(&mut self, name: OsString, wait: PendingCheck) {
        self.0.entry(name).or_insert(wait);
    }

    /// When the first is due.
    pub(super) fn next(&self) -> Option<Moment> {
        self.0.values().map(|wait| wait.due).min()
    }

    /// Takes out what is due, the earliest first.
    pub(super) fn due(&mut self, now: Moment) -> Vec<(OsString, PendingCheck)> {
        let mut due: Vec<_> = self.0.extract_if(|_, wait| wait.due <= now).collect();
        due.sort_by(|(one, first), (other, second)| (first.due, one).cmp(&(second.due, other)));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    fn version(size: u64) -> Option<FileVersion> {
        Some(FileVersion { dev: 1, ino: 1, size, mtime: (0, 0) })
    }

    #[test]
    fn a_writer_is_waited_for_while_it_writes_but_not_for_ever() {
        let start = clock::now();
        let mut wait =
            PendingCheck::new(Cause::BeingWritten, start, WRITER_IDLE_TIMEOUT, version(0));
        let mut size = 0;
        while let Some(next) = wait.again(wait.due, version(size + 1)) {
            (wait, size) = (next, size + 1);
        }
        assert_eq!(wait.due, start + MAX_WRITER_WAIT);
        let silent = PendingCheck::new(Cause::BeingWritten, start, WRITER_IDLE_TIMEOUT, version(5));
        assert!(silent.again(silent.due, version(5)).is_none());
    }

    #[test]
    fn what_is_not_there_at_the_end_is_not_waited_for() {
        let now = clock::now();
        let wait = PendingCheck::new(Cause::Settling, now, DELETE_GRACE, None);
        assert!(wait.again(wait.due, None).is_none());
        assert!(wait.again(wait.due, version(1)).is_some());
    }

    #[test]
    fn pauses_after_errors_double_up_to_three_seconds() {
        let now = clock::now();
        let mut wait = PendingCheck::retry(now, None);
        let mut pauses = vec![wait.due.saturating_duration_since(now)];
        for _ in 0..9 {
            wait = PendingCheck::retry(now, Some(&wait));
            pauses.push(wait.due.saturating_duration_since(now));
        }
        let millis: Vec<_> = pauses.iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [50, 100, 200, 400, 800, 1600, 3000, 3000, 3000, 3000]);
    }

    #[test]
    fn the_earliest_comes_first() {
        let now = clock::now();
        let mut pending = Debouncer::default();
        for (name, millis) in [("late", 900), ("b", 20), ("a", 20), ("first", 10)] {
            let wait = PendingCheck::new(Cause::Settling, now, Duration::from_millis(millis), None);
            pending.set(OsStr::new(name), wait);
        }
        assert_eq!(pending.next(), Some(now + Duration::from_millis(10)));
        let due: Vec<_> =
            pending.due(now + Duration::from_millis(20)).into_iter().map(|d| d.0).collect();
        assert_eq!(due, ["first", "a", "b"]);
        assert_eq!(pending.next(), Some(now + Duration::from_millis(900)));
    }
}
