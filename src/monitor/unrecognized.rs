//! Files in a directory of vassals that are not taken for vassals: each is logged once, so that the
//! administrator does not wait in vain for `blog.conf` or `UPPER.INI` to start.
//!
//! What other programs are known to put beside a vassal file is passed over (`names.rs`), and so is what
//! does not stay for a moment: tools write under a name of their own before they rename.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::coalesce::NameEvent;
use crate::sys::dir::{self, FileKind, Links};
use crate::types::moment::Moment;

/// A file that is there after this time is there to stay.
const REPORT_GRACE: Duration = Duration::from_secs(3);

/// No more than so many are remembered for one directory.
const MAX_UNRECOGNIZED: usize = 100;

/// How many names a line of the log shows.
const MAX_UNRECOGNIZED_SHOWN: usize = 5;

/// Why one is not taken, for the statistics.
const UNRECOGNIZED_REASON: &str = "its name does not end as that of a vassal file, with .ini, .xml, .yml, .yaml, .js or .json in lower \
                   case; rename it, or add its ending with emperor-extra-extension";

/// The strangers of one directory.
#[derive(Default)]
pub(super) struct UnrecognizedFiles {
    known: BTreeSet<OsString>,
    /// Those that may go as they have come, and when they are looked at.
    due: BTreeMap<OsString, Moment>,
    unsaid: Vec<OsString>,
}

impl UnrecognizedFiles {
    /// Takes in what an event or a scan says of one.
    pub(super) fn note(&mut self, name: &OsStr, mark: NameEvent, now: Moment) {
        match mark {
            NameEvent::Deleted | NameEvent::MovedOut | NameEvent::Renamed => {
                self.known.remove(name);
                self.due.remove(name);
            }
            NameEvent::Complete
            | NameEvent::Touched
            | NameEvent::Writing
            | NameEvent::Created
            | NameEvent::TargetCreated => {
                if !self.known.contains(name)
                    && self.known.len() + self.due.len() < MAX_UNRECOGNIZED
                {
                    self.due.entry(name.to_owned()).or_insert(now + REPORT_GRACE);
                }
            }
        }
    }

    /// Examines one name. Only a regular file may be a mistake of the administrator.
    pub(super) fn look(&mut self, at: BorrowedFd<'_>, name: &OsStr) {
        let is_file =
            || dir::stat_at(at, name, Links::Follow).is_ok_and(|stat| stat.kind == FileKind::File);
        if self.known.len() < MAX_UNRECOGNIZED && !self.known.contains(name) && is_file() {
            self.known.insert(name.to_owned());
            self.unsaid.push(name.to_owned());
        }
    }

    /// Forgets the names that a scan has not met.
    pub(super) fn keep(&mut self, met: &BTreeSet<OsString>) {
        self.known.retain(|name| met.contains(name));
        self.due.retain(|name, _| met.contains(name));
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// When [`UnrecognizedFiles::expire`] is due.
    pub(super) fn next(&self) -> Option<Moment> {
        self.due.values().min().copied()
    }

    /// Looks at those that have stayed.
    pub(super) fn expire(&mut self, at: BorrowedFd<'_>, now: Moment) {
        let due: Vec<_> = self.due.extract_if(.., |_, due| *due <= now).collect();
        due.iter().for_each(|(name, _)| self.look(at, name));
    }

    /// What is to be said of those that are new, once.
    pub(super) fn tell(&mut self) -> Option<String> {
        let names = std::mem::take(&mut self.unsaid);
        let shown: Vec<_> =
            names.iter().take(MAX_UNRECOGNIZED_SHOWN).map(|name| format!("{name:?}")).collect();
        let more = match names.len().saturating_sub(MAX_UNRECOGNIZED_SHOWN) {
            0 if names.is_empty() => return None,
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let what = if names.len() == 1 {
            "is not taken for a vassal"
        } else {
            "are not taken for vassals"
        };
        let shown = shown.join(", ");
        Some(format!(
            "{shown}{more} {what}: the name of a vassal file ends with .ini, .xml, .yml, .yaml, .js or .json, in \
             lower case; rename it, or add its ending with emperor-extra-extension"
        ))
    }

    /// All, with the reason.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&OsStr, &str)> {
        self.known.iter().map(|name| (name.as_os_str(), UNRECOGNIZED_REASON))
    }
}
