//! What the events of one wake-up say about each name: many events become one mark, so that a name is
//! looked at once however often it was touched.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::hash::Hash;

use super::names::{Filter, Name};
use crate::sys::inotify::{InotifyEvent, WatchMask};

/// The last word of the events about one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Complete: look at it now.
    Look,
    /// Touched: look at it now, unless somebody is writing it.
    Check,
    /// Somebody is writing it.
    Write,
    /// Made just now: a link is complete, a file is being written.
    Create,
    /// What its link leads to was made just now.
    Target,
    /// Removed; programs that replace a file without rename(2) make it again at once.
    Gone,
    /// Moved to where it is no vassal; editors do so with their backup before they write it anew.
    Away,
    /// Moved to the name of another vassal: it is lost now.
    Renamed,
}

/// Names, or whatever else is marked, with their marks, in the order in which they came up first.
pub(super) struct Marks<K = OsString> {
    order: VecDeque<K>,
    marks: HashMap<K, Mark>,
}

impl<K> Default for Marks<K> {
    fn default() -> Self {
        Self { order: VecDeque::new(), marks: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash> Marks<K> {
    /// Adds what one more event says.
    pub(super) fn add<Q>(&mut self, key: &Q, mark: Mark)
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
            (Mark::Create | Mark::Target | Mark::Write, Mark::Check | Mark::Write) => {}
            (Mark::Look | Mark::Renamed, Mark::Check) => {}
            _ => *known = mark,
        }
    }

    /// Takes the one that came up first.
    pub(super) fn pop(&mut self) -> Option<(K, Mark)> {
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
pub(super) struct Reader {
    moved: Option<(u32, OsString)>,
}

impl Reader {
    /// Takes in one event about an entry of the directory.
    pub(super) fn note(&mut self, event: &InotifyEvent<'_>, filter: &Filter, marks: &mut Marks) {
        let name = filter.judge(event.name);
        let is_ours = !matches!(name, Name::Other | Name::Stranger);
        if event.mask.has(WatchMask::MOVED_TO) {
            let first_half = self.moved.take().filter(|(cookie, _)| *cookie == event.cookie);
            if let Some((_, from)) = first_half.filter(|_| is_ours) {
                marks.add(&from, Mark::Renamed);
            }
        }
        if name == Name::Other {
            return;
        }
        if event.mask.has(WatchMask::MOVED_FROM) {
            self.moved = Some((event.cookie, event.name.to_owned()));
        }
        if let Some(mark) = mark_of(event.mask) {
            marks.add(event.name, mark);
        }
    }
}

fn mark_of(mask: WatchMask) -> Option<Mark> {
    let table = [
        (WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO, Mark::Look),
        (WatchMask::CREATE, Mark::Create),
        (WatchMask::MODIFY, Mark::Write),
        (WatchMask::ATTRIB, Mark::Check),
        (WatchMask::DELETE, Mark::Gone),
        (WatchMask::MOVED_FROM, Mark::Away),
    ];
    table.into_iter().find(|(kinds, _)| mask.has(*kinds)).map(|(_, mark)| mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    fn after(marks: &[Mark]) -> Mark {
        let mut all = <Marks>::default();
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
        use Mark::*;
        assert_eq!(after(&[Create, Write, Look]), Look);
        assert_eq!(after(&[Create, Write, Look, Gone]), Gone);
        assert_eq!(after(&[Gone, Create]), Create);
        assert_eq!(after(&[Away, Create, Write, Look]), Look);
        assert_eq!(after(&[Check]), Check);
    }

    #[test]
    fn a_touch_does_not_cut_writing_short() {
        use Mark::*;
        assert_eq!(after(&[Create, Write, Check]), Create);
        assert_eq!(after(&[Write, Check, Write]), Write);
        assert_eq!(after(&[Look, Check]), Look);
        assert_eq!(after(&[Look, Write]), Write);
    }

    #[test]
    fn names_keep_the_order_of_the_events() {
        let mut all = <Marks>::default();
        for name in ["b", "a", "c", "a", "b"] {
            all.add(OsStr::new(name), Mark::Look);
        }
        let names: Vec<_> = std::iter::from_fn(|| all.pop()).map(|(name, _)| name).collect();
        assert_eq!(names, ["b", "a", "c"]);
    }
}
