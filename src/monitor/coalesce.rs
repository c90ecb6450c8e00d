//! What the events of one wake-up say about each name: many events become one mark, so that a name is
//! looked at once however often it was touched.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::hash::Hash;

use super::names::{NameKind, NameRules};
use crate::sys::inotify::{InotifyEvent, WatchMask};

/// The last word of the events about one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameEvent {
    /// Complete: look at it now.
    Complete,
    /// Touched: look at it now, unless somebody is writing it.
    Touched,
    /// Somebody is writing it.
    Writing,
    /// Made just now: a link is complete, a file is being written.
    Created,
    /// What its link leads to was made just now.
    TargetCreated,
    /// Removed; programs that replace a file without rename(2) make it again at once.
    Deleted,
    /// Moved to where it is no vassal; editors do so with their backup before they write it anew.
    MovedOut,
    /// Moved to the name of another vassal: it is lost now.
    Renamed,
}

/// Names, or whatever else is marked, with their marks, in the order in which they came up first.
pub(super) struct EventQueue<K = OsString> {
    order: VecDeque<K>,
    marks: HashMap<K, NameEvent>,
}

impl<K> Default for EventQueue<K> {
    fn default() -> Self {
        Self { order: VecDeque::new(), marks: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash> EventQueue<K> {
    /// Adds what one more event says.
    pub(super) fn add<Q>(&mut self, key: &Q, mark: NameEvent)
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + Eq + Hash + ?Sized,
    {
        let Some(known) = self.marks.get_mut(key) else {
            self.order.push_back(key.to_owned());
            self.marks.insert(key.to_owned(), mark);
            return;
        };
        match (*known, mark) {
            // Only the end of writing ends it: cp -p and editors set times and modes before they close.
            (
                NameEvent::Created | NameEvent::TargetCreated | NameEvent::Writing,
                NameEvent::Touched | NameEvent::Writing,
            ) => {}
            (NameEvent::Complete | NameEvent::Renamed, NameEvent::Touched) => {}
            _ => *known = mark,
        }
    }

    /// Takes the one that came up first.
    pub(super) fn pop(&mut self) -> Option<(K, NameEvent)> {
        self.marks.remove_entry(&self.order.pop_front()?)
    }

    /// Whether nothing is marked.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

/// Turns the events of a directory into marks. It remembers the first half of a move, whose second
/// half may come with the next wake-up.
#[derive(Default)]
pub(super) struct Coalescer {
    moved: Option<(u32, OsString)>,
}

impl Coalescer {
    /// Takes in one event about an entry of the directory.
    pub(super) fn add_event(
        &mut self,
        event: &InotifyEvent<'_>,
        filter: &NameRules,
        marks: &mut EventQueue,
    ) {
        let name = filter.classify(event.name);
        let is_ours = !matches!(name, NameKind::Other | NameKind::Unrecognized);
        if event.mask.has(WatchMask::MOVED_TO) {
            let first_half = self.moved.take().filter(|(cookie, _)| *cookie == event.cookie);
            if let Some((_, from)) = first_half.filter(|_| is_ours) {
                marks.add(&from, NameEvent::Renamed);
            }
        }
        if name == NameKind::Other {
            return;
        }
        if event.mask.has(WatchMask::MOVED_FROM) {
            self.moved = Some((event.cookie, event.name.to_owned()));
        }
        if let Some(mark) = name_event_of(event.mask) {
            marks.add(event.name, mark);
        }
    }
}

fn name_event_of(mask: WatchMask) -> Option<NameEvent> {
    let table = [
        (WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO, NameEvent::Complete),
        (WatchMask::CREATE, NameEvent::Created),
        (WatchMask::MODIFY, NameEvent::Writing),
        (WatchMask::ATTRIB, NameEvent::Touched),
        (WatchMask::DELETE, NameEvent::Deleted),
        (WatchMask::MOVED_FROM, NameEvent::MovedOut),
    ];
    table.into_iter().find(|(kinds, _)| mask.has(*kinds)).map(|(_, mark)| mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    fn after(marks: &[NameEvent]) -> NameEvent {
        let mut all = <EventQueue>::default();
        for mark in marks {
            all.add(OsStr::new("a.ini"), *mark);
        }
        let taken: Vec<_> = std::iter::from_fn(|| all.pop()).collect();
        assert_eq!(taken.len(), 1);
        assert!(all.is_empty());
        taken[0].1
    }

    #[test]
    fn the_last_word_counts() {
        use NameEvent::*;
        assert_eq!(after(&[Created, Writing, Complete]), Complete);
        assert_eq!(after(&[Created, Writing, Complete, Deleted]), Deleted);
        assert_eq!(after(&[Deleted, Created]), Created);
        assert_eq!(after(&[MovedOut, Created, Writing, Complete]), Complete);
        assert_eq!(after(&[Touched]), Touched);
    }

    #[test]
    fn a_touch_does_not_cut_writing_short() {
        use NameEvent::*;
        assert_eq!(after(&[Created, Writing, Touched]), Created);
        assert_eq!(after(&[Writing, Touched, Writing]), Writing);
        assert_eq!(after(&[Complete, Touched]), Complete);
        assert_eq!(after(&[Complete, Writing]), Writing);
    }

    #[test]
    fn names_keep_the_order_of_the_events() {
        let mut all = <EventQueue>::default();
        for name in ["b", "a", "c", "a", "b"] {
            all.add(OsStr::new(name), NameEvent::Complete);
        }
        let names: Vec<_> = std::iter::from_fn(|| all.pop()).map(|(name, _)| name).collect();
        assert_eq!(names, ["b", "a", "c"]);
    }
}
