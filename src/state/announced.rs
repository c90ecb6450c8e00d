//! What a program has announced, or is assumed to have reached by its age, and when.

use crate::types::moment::Moment;

/// Something that a program announces, or is assumed to have reached by its age.
#[derive(Clone, Copy, Debug, Default)]
pub struct Announcement {
    holds: bool,
    last: Option<Moment>,
}

impl Announcement {
    /// Whether it was announced, and not withdrawn by a reload.
    pub fn holds(self) -> bool {
        self.holds
    }

    /// When it was announced last.
    pub fn last(self) -> Option<Moment> {
        self.last
    }

    /// Makes the announcement; true if it did not hold before.
    pub(super) fn make(&mut self, now: Moment) -> bool {
        self.last = Some(now);
        !std::mem::replace(&mut self.holds, true)
    }

    pub(super) fn withdraw(&mut self) {
        self.holds = false;
    }
}

/// The announcements of a program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Announced {
    /// The program has started.
    pub ready: Announcement,
    /// The program takes requests.
    pub accepting: Announcement,
    /// The program has served a request.
    pub loyal: Announcement,
}
