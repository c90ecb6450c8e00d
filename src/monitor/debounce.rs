//! Names that are looked at later: because somebody is writing them, because they may come back, or
//! because the kernel would not say.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use super::FileVersion;
use crate::types::moment::Moment;

/// A file, an address file or a whole directory that is removed or moved away may be made anew within this
/// time, and is changed then, not lost: git, install(1), tar and editors remove a file before they write it
/// again, and may be kept from the processor in between. Every stop by removal is later by this.
pub(super) const VANISHED: Duration = Duration::from_millis(100);

/// A link shows only that it was made; what a scan finds may be half written. Both are looked at when
/// they have been quiet for this long.
pub(super) const SETTLED: Duration = Duration::from_millis(100);

/// A file is taken although it is still open for writing when two looks so far apart see the same.
pub(super) const WRITER_SILENT: Duration = Duration::from_secs(3);

/// A file that somebody writes without end is taken after this time.
const WRITER_LIMIT: Duration = Duration::from_secs(30);

/// First and longest pause between tries after an error.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3));

/// Why a name waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Somebody is writing it: nothing but the end of writing cuts the wait short.
    Writer,
    /// It must stay as it is for a moment.
    Settle,
    /// The same, after a scan found a difference that no event had told.
    Missed,
    /// The same, after it was found in a directory that has just come.
    Arrived,
    /// An error; the pauses double.
    Retry,
}

/// One name's wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// When to look.
    pub(super) due: Moment,
    /// Why it waits.
    pub(super) why: Why,
    quiet: Duration,
    until: Moment,
    last: Option<FileVersion>,
}

impl Wait {
    /// Waits until the name has looked like `last` for `quiet`.
    pub(super) fn new(why: Why, now: Moment, quiet: Duration, last: Option<FileVersion>) -> Self {
        Self { due: now + quiet, why, quiet, until: now + WRITER_LIMIT.max(quiet), last }
    }

    /// The next try after an error; `before` is the wait that has just ended.
    pub(super) fn retry(now: Moment, before: Option<&Self>) -> Self {
        let pause = match before {
            Some(wait) if wait.why == Why::Retry => (wait.quiet * 2).min(RETRY.1),
            _ => RETRY.0,
        };
        Self::new(Why::Retry, now, pause, None)
    }

    /// Whether it was for a name that was there when it began: one that is missing at its end has not been
    /// waited for yet.
    pub(super) fn was_for_something_there(&self) -> bool {
        self.why == Why::Retry || self.last.is_some()
    }

    /// The wait that must follow on this one because the name was different at its end, if any.
    pub(super) fn again(&self, now: Moment, seen: Option<FileVersion>) -> Option<Self> {
        let is_busy = self.why != Why::Retry && seen.is_some() && seen != self.last;
        let due = now + self.quiet;
        (is_busy && due <= self.until).then_some(Self { due, last: seen, ..*self })
    }
}

/// All names that wait.
#[derive(Default)]
pub(super) struct Waits(HashMap<OsString, Wait>);

impl Waits {
    pub(super) fn set(&mut self, name: &OsStr, wait: Wait) {
        self.0.insert(name.to_owned(), wait);
    }

    /// Sets a wait; one after another of the same kind ends when the first of them must.
    pub(super) fn prolong(&mut self, name: &OsStr, mut wait: Wait) {
        if let Some(old) = self.0.get(name).filter(|old| old.why == wait.why) {
            (wait.until, wait.due) = (old.until, wait.due.min(old.until));
        }
        self.set(name, wait);
    }

    pub(super) fn get(&self, name: &OsStr) -> Option<&Wait> {
        self.0.get(name)
    }

    pub(super) fn end(&mut self, name: &OsStr) -> Option<Wait> {
        self.0.remove(name)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Gives back what was due and must wait for the next call, unless it waits for more by now.
    pub(super) fn put_back(&mut self, name: OsString, wait: Wait) {
        self.0.entry(name).or_insert(wait);
    }

    /// When the first is due.
    pub(super) fn next(&self) -> Option<Moment> {
        self.0.values().map(|wait| wait.due).min()
    }

    /// Takes out what is due, the earliest first.
    pub(super) fn due(&mut self, now: Moment) -> Vec<(OsString, Wait)> {
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
        let mut wait = Wait::new(Why::Writer, start, WRITER_SILENT, version(0));
        let mut size = 0;
        while let Some(next) = wait.again(wait.due, version(size + 1)) {
            (wait, size) = (next, size + 1);
        }
        assert_eq!(wait.due, start + WRITER_LIMIT);
        let silent = Wait::new(Why::Writer, start, WRITER_SILENT, version(5));
        assert!(silent.again(silent.due, version(5)).is_none());
    }

    #[test]
    fn what_is_not_there_at_the_end_is_not_waited_for() {
        let now = clock::now();
        let wait = Wait::new(Why::Settle, now, VANISHED, None);
        assert!(wait.again(wait.due, None).is_none());
        assert!(wait.again(wait.due, version(1)).is_some());
    }

    #[test]
    fn pauses_after_errors_double_up_to_three_seconds() {
        let now = clock::now();
        let mut wait = Wait::retry(now, None);
        let mut pauses = vec![wait.due.saturating_duration_since(now)];
        for _ in 0..9 {
            wait = Wait::retry(now, Some(&wait));
            pauses.push(wait.due.saturating_duration_since(now));
        }
        let millis: Vec<_> = pauses.iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [50, 100, 200, 400, 800, 1600, 3000, 3000, 3000, 3000]);
    }

    #[test]
    fn the_earliest_comes_first() {
        let now = clock::now();
        let mut waits = Waits::default();
        for (name, millis) in [("late", 900), ("b", 20), ("a", 20), ("first", 10)] {
            let wait = Wait::new(Why::Settle, now, Duration::from_millis(millis), None);
            waits.set(OsStr::new(name), wait);
        }
        assert_eq!(waits.next(), Some(now + Duration::from_millis(10)));
        let due: Vec<_> =
            waits.due(now + Duration::from_millis(20)).into_iter().map(|d| d.0).collect();
        assert_eq!(due, ["first", "a", "b"]);
        assert_eq!(waits.next(), Some(now + Duration::from_millis(900)));
    }
}
