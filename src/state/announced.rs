//! What a program has announced, or is assumed to have reached by its age, and when.

use crate::types::moment::Moment;

/// Something that a program announces, or is assumed to have reached by its age.
#[derive(Clone, Copy, Debug, Default)]
pub struct Announcement {
    holds: bool,
    last: Option<Moment>,
}

impl Announcement {
    /// It was announced, and not taken back by a reload.
    pub fn holds(self) -> bool {
        self.holds
    }

    /// When it was announced last.
    pub fn last(self) -> Option<Moment> {
        self.last
    }

    /// True if that is news.
    pub(super) fn make(&mut self, now: Moment) -> bool {
        self.last = Some(now);
        !std::mem::replace(&mut self.holds, true)
    }

    pub(super) fn withdraw(&mut self) {
        self.holds = false;
    }
}

/// What a program has announced.
#[derive(Clone, Copy, Debug, Default)]
pub struct Announced {
    /// It has started.
    pub ready: Announcement,
    /// It takes requests.
    pub accepting: Announcement,
    /// It has served one.
    pub loyal: Announcement,
}
