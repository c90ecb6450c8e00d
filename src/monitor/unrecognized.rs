//! Files in a directory of vassals that are not taken for vassals: each is named once, so that nobody waits in
//! vain for `blog.conf` or `UPPER.INI` to start.
//!
//! What other programs are known to put beside a vassal file is passed over ([`LEFT_ALONE`]), and so is what
//! does not stay for a moment: tools write under a name of their own before they rename.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::coalesce::Mark;
use crate::sys::dir::{self, FileKind, Links};
use crate::types::moment::Moment;

/// The endings of files that have their reasons to be in a directory of vassals; the manual shows the same list.
pub(super) const LEFT_ALONE: &str = concat!(
    // uWSGI's own, and what its documents put there.
    ".pid .log .sock .socket .skel .template .fifo .lock .touch .stats ",
    // Editors and hands.
    "~ .swp .swo .bak .backup .orig .rej .old .new .save .tmp .part ",
    ".off .disabled .inactive .example .sample .md ",
    // Package managers and deployment.
    ".dpkg-old .dpkg-new .dpkg-dist .dpkg-tmp .dpkg-bak .ucf-old .ucf-new .ucf-dist ",
    ".rpmsave .rpmnew .rpmorig .pacnew .pacsave .pacorig .apk-new .j2 .dist",
);

/// And those that are so by what their name begins with.
pub(super) const LEFT_ALONE_BY_BEGIN: &str = "README #";

/// A file that is there after this time is there to stay.
const STAYS: Duration = Duration::from_secs(3);

/// No more than so many are remembered for one directory.
const MOST: usize = 100;

/// How many names a line of the log shows.
const SHOWN: usize = 5;

/// Why one is not taken, for the statistics.
const WHY: &str = "its name does not end as that of a vassal file, with .ini, .xml, .yml, .yaml, .js or .json in lower \
                   case; rename it, or add its ending with emperor-extra-extension";

/// Whether a name is no business of ours, though it could be a file that somebody takes for a vassal.
pub(super) fn is_left_alone(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b".")
        || LEFT_ALONE.split_whitespace().any(|end| name.ends_with(end.as_bytes()))
        || LEFT_ALONE_BY_BEGIN.split_whitespace().any(|begin| name.starts_with(begin.as_bytes()))
}

/// The strangers of one directory.
#[derive(Default)]
pub(super) struct Strangers {
    known: BTreeSet<OsString>,
    /// Those that may go as they have come, and when they are looked at.
    due: BTreeMap<OsString, Moment>,
    unsaid: Vec<OsString>,
}

impl Strangers {
    /// Takes in what an event or a scan says of one.
    pub(super) fn note(&mut self, name: &OsStr, mark: Mark, now: Moment) {
        match mark {
            Mark::Gone | Mark::Away | Mark::Renamed => {
                self.known.remove(name);
                self.due.remove(name);
            }
            Mark::Look | Mark::Check | Mark::Write | Mark::Create | Mark::Target => {
                if !self.known.contains(name) && self.known.len() + self.due.len() < MOST {
                    self.due.entry(name.to_owned()).or_insert(now + STAYS);
                }
            }
        }
    }

    /// Looks at one: what is no regular file is nobody's mistake.
    pub(super) fn look(&mut self, at: BorrowedFd<'_>, name: &OsStr) {
        let is_file =
            || dir::stat_at(at, name, Links::Follow).is_ok_and(|stat| stat.kind == FileKind::File);
        if self.known.len() < MOST && !self.known.contains(name) && is_file() {
            self.known.insert(name.to_owned());
            self.unsaid.push(name.to_owned());
        }
    }

    /// Forgets those that a scan has not met.
    pub(super) fn keep(&mut self, met: &BTreeSet<OsString>) {
        self.known.retain(|name| met.contains(name));
        self.due.retain(|name, _| met.contains(name));
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// When [`Strangers::expire`] is due.
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
        let shown: Vec<_> = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect();
        let more = match names.len().saturating_sub(SHOWN) {
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
        self.known.iter().map(|name| (name.as_os_str(), WHY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_names_all_that_is_left_alone() {
        let manual = include_str!("../../man/liege.8.in");
        let begin = manual.find("Files that are passed over").expect("the list");
        let list: Vec<&str> = manual[begin..]
            .split_whitespace()
            .map(|word| word.trim_start_matches("\\&").trim_end_matches(','))
            .take(150)
            .collect();
        for part in LEFT_ALONE.split_whitespace().chain(LEFT_ALONE_BY_BEGIN.split_whitespace()) {
            assert!(list.contains(&part), "{part}");
        }
    }
}
