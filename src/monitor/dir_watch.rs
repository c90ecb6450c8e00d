//! What is known of each name in one directory, and how looking at it turns into changes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::coalesce::Mark;
use super::debounce::{SETTLED, VANISHED, Wait, Waits, Why};
use super::events::News;
use super::names::{Filter, Name};
use super::observe::Seen;
use super::symlinks::Trails;
use super::unrecognized::Strangers;
use super::{ChangeKind, Changes, FileVersion, VassalFile};
use crate::sys::dir::{self, FileKind, Links, Stat};
use crate::types::moment::Moment;

/// How much is done in one call, in steps of a walk: the loop must not be away for long, whatever
/// somebody does to the directory. The rest is due at once.
const MOST_EFFORT: usize = 1000;

/// One wake-up: when it is, and where its news goes.
pub(super) struct Turn<'a> {
    pub(super) now: Moment,
    pub(super) out: &'a mut Changes,
}

/// Why a whole directory is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// It was there from the beginning: everything is taken as it is.
    First,
    /// It has come, or come back: the same, but for what differs after a moment.
    Arrival,
    /// Its events are not told: differences must stay for a moment.
    Blind,
    /// Events should have told everything: what they missed is said.
    Check,
}

/// Whether a name that is missing may still come back.
#[derive(Clone, Copy)]
enum Patience<'a> {
    /// An event came: whoever removed the file may be about to make it anew.
    Some,
    /// What there was to wait for has been waited for, by this wait if any.
    None(Option<&'a Wait>),
}

/// One name: a vassal, or something refused, or a vassal with a complaint.
#[derive(Default)]
struct Known {
    file: Option<VassalFile>,
    complaint: Option<Box<str>>,
}

/// The names of one directory.
pub(super) struct Files {
    pub(super) trails: Trails,
    pub(super) waits: Waits,
    pub(super) filter: Filter,
    pub(super) links: Links,
    writer_silent: Duration,
    known: BTreeMap<Box<OsStr>, Box<Known>>,
    /// The vassals whose address file has vanished, since when.
    pub(super) strangers: Strangers,
    pub(super) without_address: HashMap<OsString, Moment>,
    /// What a scan has not come to yet, and why a difference there would matter.
    unseen: VecDeque<OsString>,
    unseen_why: Why,
}

impl Files {
    /// Nothing is known yet. `writer_silent` is how long a silent writer is waited for.
    pub(super) fn new(filter: Filter, links: Links, writer_silent: Duration) -> Self {
        let (trails, waits, known, strangers, without_address, unseen) = Default::default();
        let unseen_why = Why::Settle;
        Self {
            trails,
            waits,
            filter,
            links,
            writer_silent,
            known,
            strangers,
            without_address,
            unseen,
            unseen_why,
        }
    }

    /// The vassals.
    pub(super) fn known(&self) -> Vec<(&OsStr, &VassalFile)> {
        let known = self.known.iter();
        known.filter_map(|(name, known)| Some((&**name, known.file.as_ref()?))).collect()
    }

    /// How many vassals there are.
    pub(super) fn count(&self) -> usize {
        self.known.values().filter(|known| known.file.is_some()).count()
    }

    /// See [`super::Monitor::refused`].
    pub(super) fn refused(&self) -> Vec<(&OsStr, &str)> {
        let refused = self.known.iter().filter(|(_, known)| known.file.is_none());
        let refused =
            refused.filter_map(|(name, known)| Some((&**name, known.complaint.as_deref()?)));
        refused.chain(self.strangers.refused()).collect()
    }

    /// When [`Files::expire`] is due.
    pub(super) fn next(&self) -> Option<Moment> {
        [self.waits.next(), self.strangers.next()].into_iter().flatten().min()
    }

    /// Whether a scan is not over yet.
    pub(super) fn is_scanning(&self) -> bool {
        !self.unseen.is_empty()
    }

    /// The directory cannot be looked at: what was to be looked at in it is found out anew when it can.
    pub(super) fn forget_plans(&mut self) {
        self.waits.clear();
        self.unseen.clear();
    }

    /// The directory is gone, and everything with it.
    pub(super) fn lose_all(&mut self, turn: &mut Turn<'_>) {
        self.forget_plans();
        self.without_address.clear();
        self.strangers.clear();
        for (name, known) in std::mem::take(&mut self.known) {
            self.trails.assign(&name, Vec::new());
            if known.file.is_some() {
                turn.out.push(&name, ChangeKind::Lost);
            }
        }
    }

    /// Does what has been told asks for: all, or as much as one call may do.
    pub(super) fn react(&mut self, at: BorrowedFd<'_>, news: &mut News, turn: &mut Turn<'_>) {
        let start = self.trails.effort();
        while self.trails.effort_since(start) < MOST_EFFORT {
            // Where links lead comes first: the marks are for those who ask there.
            if let Some(route) = news.moved.extract_if(|_| true).next() {
                self.trails.walk_again(&route, at);
            } else if let Some((name, mark)) = news.marks.pop() {
                self.trails.exert(1);
                match self.filter.judge(&name) {
                    Name::Companion(vassal) => {
                        self.react_to_companion(at, (&name, vassal), mark, turn);
                    }
                    Name::Vassal | Name::Refused(_) => self.react_to(at, &name, mark, turn),
                    Name::Stranger => self.strangers.note(&name, mark, turn.now),
                    Name::Other => {}
                }
            } else {
                return;
            }
        }
    }

    fn react_to(&mut self, at: BorrowedFd<'_>, name: &OsStr, mark: Mark, turn: &mut Turn<'_>) {
        let why = self.waits.get(name).map(|wait| wait.why);
        let is_being_written = why == Some(Why::Writer);
        let has_arrived = why == Some(Why::Arrived);
        match mark {
            Mark::Look => self.look(at, name, Patience::Some, turn),
            Mark::Renamed => self.look(at, name, Patience::None(None), turn),
            Mark::Check | Mark::Write | Mark::Target if is_being_written => {}
            // Looked at soon, as one that was there.
            Mark::Check if has_arrived => {}
            Mark::Check => self.check(at, name, turn),
            Mark::Write => self.wait_for_writer(at, name, turn),
            Mark::Target => self.wait(at, name, SETTLED, turn),
            Mark::Create => match dir::stat_at(at, name, Links::Stay) {
                Ok(stat) if is_complete_at_birth(&stat) => self.wait(at, name, SETTLED, turn),
                Ok(stat) if stat.kind == FileKind::File => self.wait_for_writer(at, name, turn),
                _ => self.look(at, name, Patience::Some, turn),
            },
            Mark::Gone | Mark::Away if self.file(name).is_some() => {
                self.waits.set(name, Wait::new(Why::Settle, turn.now, VANISHED, None));
            }
            Mark::Gone | Mark::Away => self.look(at, name, Patience::None(None), turn),
        }
    }

    /// The address file of a known vassal; that of any other is read when the vassal is found.
    fn react_to_companion(
        &mut self,
        at: BorrowedFd<'_>,
        (name, vassal): (&OsStr, &OsStr),
        mark: Mark,
        turn: &mut Turn<'_>,
    ) {
        if self.file(vassal).is_none() {
            return;
        }
        if matches!(mark, Mark::Gone | Mark::Away | Mark::Renamed) {
            self.without_address.entry(vassal.to_owned()).or_insert(turn.now);
        }
        // The end of writing, or the begin of it, after the address file was away.
        let is_news = matches!(mark, Mark::Look | Mark::Renamed | Mark::Create);
        let is_waiting = self.waits.get(vassal).is_some_and(|wait| match wait.why {
            Why::Retry => false,
            // For this, perhaps: unless it is the vassal that may come back.
            Why::Settle => !is_news || self.version(at, vassal).is_none(),
            Why::Writer | Why::Missed | Why::Arrived => true,
        });
        if is_waiting {
            return;
        }
        match mark {
            Mark::Look | Mark::Check | Mark::Renamed => self.look(at, vassal, Patience::Some, turn),
            Mark::Write | Mark::Target => {}
            Mark::Gone | Mark::Away => self.wait(at, vassal, VANISHED, turn),
            Mark::Create => match dir::stat_at(at, name, Links::Stay) {
                Ok(stat) if stat.kind == FileKind::File && !is_complete_at_birth(&stat) => {
                    self.wait(at, vassal, self.writer_silent, turn);
                }
                _ => self.wait(at, vassal, SETTLED, turn),
            },
        }
    }

    /// A touch is complete at once, but behind a link another file may be in the making.
    fn check(&mut self, at: BorrowedFd<'_>, name: &OsStr, turn: &mut Turn<'_>) {
        let known = self.file(name).map(|file| file.version.inode());
        match self.examine(at, name, turn.now) {
            Ok(Seen::File { file, has_kin, .. }) if known != Some(file.version.inode()) => {
                self.postpone(name, &file, has_kin, (Why::Settle, turn.now));
            }
            seen => {
                self.waits.end(name);
                self.conclude(name, seen, Patience::Some, turn);
            }
        }
    }

    /// The file is different, and must stay so for a moment.
    fn postpone(
        &mut self,
        name: &OsStr,
        file: &VassalFile,
        has_kin: bool,
        (why, now): (Why, Moment),
    ) {
        if has_kin {
            self.look_at_kin(name, file, now);
        }
        self.waits.prolong(name, Wait::new(why, now, SETTLED, Some(file.version)));
    }

    fn wait(&mut self, at: BorrowedFd<'_>, name: &OsStr, quiet: Duration, turn: &mut Turn<'_>) {
        let last = self.version(at, name);
        self.waits.prolong(name, Wait::new(Why::Settle, turn.now, quiet, last));
    }

    fn wait_for_writer(&mut self, at: BorrowedFd<'_>, name: &OsStr, turn: &mut Turn<'_>) {
        let last = self.version(at, name);
        self.waits.set(name, Wait::new(Why::Writer, turn.now, self.writer_silent, last));
    }

    /// Looks at what has been waited for, as much of it as one call may do, and gives the names of those
    /// that were different though no event had told it.
    pub(super) fn expire(&mut self, at: BorrowedFd<'_>, turn: &mut Turn<'_>) -> Vec<OsString> {
        let mut missed = Vec::new();
        let start = self.trails.effort();
        self.strangers.expire(at, turn.now);
        for (name, wait) in self.waits.due(turn.now) {
            if self.trails.effort_since(start) >= MOST_EFFORT {
                self.waits.put_back(name, wait);
                continue;
            }
            self.trails.exert(1);
            if let Some(next) = wait.again(turn.now, self.version(at, &name)) {
                self.waits.set(&name, next);
                continue;
            }
            let before = turn.out.changes.len();
            self.look(at, &name, Patience::None(Some(&wait)), turn);
            match wait.why {
                Why::Missed if turn.out.changes.len() > before => missed.push(name),
                Why::Arrived => turn.out.mark_initial_after(before),
                Why::Missed | Why::Writer | Why::Settle | Why::Retry => {}
            }
        }
        missed
    }

    /// Compares the whole directory with what is known: the first time at once, later as much of it as one
    /// call may do.
    ///
    /// # Errors
    /// The directory could not be read; everything is as it was.
    pub(super) fn scan(
        &mut self,
        at: BorrowedFd<'_>,
        scan: Scan,
        turn: &mut Turn<'_>,
    ) -> io::Result<()> {
        let filter = &self.filter;
        let is_ours =
            |name: &OsStr| !matches!(filter.judge(name), Name::Companion(_) | Name::Other);
        let names: BTreeSet<_> = dir::names(at, is_ours)?.into_iter().collect();
        self.strangers.keep(&names);
        let is_stranger = |name: &OsString| self.filter.judge(name) == Name::Stranger;
        let (strangers, mut names): (BTreeSet<_>, BTreeSet<_>) =
            names.into_iter().partition(is_stranger);
        for name in strangers {
            match scan {
                Scan::First => self.strangers.look(at, &name),
                Scan::Arrival | Scan::Blind | Scan::Check => {
                    self.strangers.note(&name, Mark::Check, turn.now);
                }
            }
        }
        names.extend(self.known.keys().map(|name| name.to_os_string()));
        let is_arriving = self.is_scanning() && self.unseen_why == Why::Arrived;
        self.unseen.clear();
        match scan {
            Scan::First => {
                let before = turn.out.changes.len();
                for name in names {
                    self.look(at, &name, Patience::None(None), turn);
                }
                turn.out.mark_initial_after(before);
                return Ok(());
            }
            Scan::Arrival => self.unseen_why = Why::Arrived,
            // What the first look has not come to yet has no event to be told by.
            Scan::Blind | Scan::Check if is_arriving => {}
            Scan::Blind => self.unseen_why = Why::Settle,
            Scan::Check => self.unseen_why = Why::Missed,
        }
        self.unseen.extend(names);
        self.go_on_scanning(at, turn);
        Ok(())
    }

    /// Goes on with the scan that is under way, as far as one call may.
    pub(super) fn go_on_scanning(&mut self, at: BorrowedFd<'_>, turn: &mut Turn<'_>) {
        let start = self.trails.effort();
        while self.trails.effort_since(start) < MOST_EFFORT
            && let Some(name) = self.unseen.pop_front()
        {
            self.glance(at, &name, self.unseen_why, turn);
        }
    }

    /// Compares one name with what is known; what is different must stay so for a moment.
    fn glance(&mut self, at: BorrowedFd<'_>, name: &OsStr, why: Why, turn: &mut Turn<'_>) {
        if self.waits.get(name).is_some() {
            return;
        }
        match (self.examine(at, name, turn.now), self.file(name)) {
            (Ok(Seen::File { file, has_kin, .. }), known) if known != Some(&file) => {
                self.postpone(name, &file, has_kin, (why, turn.now));
            }
            (Ok(Seen::Nothing | Seen::Nowhere), Some(_)) => {
                self.waits.set(name, Wait::new(why, turn.now, VANISHED, None));
            }
            (seen, _) => self.conclude(name, seen, Patience::None(None), turn),
        }
    }

    fn look(
        &mut self,
        at: BorrowedFd<'_>,
        name: &OsStr,
        patience: Patience<'_>,
        turn: &mut Turn<'_>,
    ) {
        self.waits.end(name);
        let seen = self.examine(at, name, turn.now);
        self.conclude(name, seen, patience, turn);
    }

    fn conclude(
        &mut self,
        name: &OsStr,
        seen: io::Result<Seen>,
        patience: Patience<'_>,
        turn: &mut Turn<'_>,
    ) {
        let (before, has_time) = match patience {
            Patience::None(before) => (before, before.is_some_and(Wait::was_for_something_there)),
            Patience::Some => (None, true),
        };
        match seen {
            Ok(Seen::File { file, is_firm, has_kin, address_by }) => {
                if has_kin {
                    self.look_at_kin(name, &file, turn.now);
                }
                let version = file.version;
                self.settle(name, file, turn);
                if let Some(by) = address_by {
                    let quiet = by.saturating_duration_since(turn.now);
                    self.waits.set(name, Wait::new(Why::Settle, turn.now, quiet, Some(version)));
                } else if !is_firm {
                    self.waits.set(name, Wait::retry(turn.now, before));
                }
            }
            Ok(Seen::Nothing | Seen::Nowhere) if has_time && self.file(name).is_some() => {
                self.waits.set(name, Wait::new(Why::Settle, turn.now, VANISHED, None));
            }
            Ok(Seen::Nothing) => self.lose(name, None, turn),
            Ok(Seen::Nowhere) => {
                let why = "is a link that leads nowhere; started when it leads to a file";
                self.lose(name, Some(why.to_owned()), turn);
            }
            Ok(Seen::Refused(why)) => self.lose(name, Some(why), turn),
            Err(error) => {
                self.complain(name, format!("cannot be looked at: {error}; tried again"), turn);
                self.waits.set(name, Wait::retry(turn.now, before));
            }
        }
    }

    /// A file has got another name here. Those that were known before are told of what is done
    /// through that one only after another look, because a new name is not told in their directory.
    fn look_at_kin(&mut self, name: &OsStr, file: &VassalFile, now: Moment) {
        for (kin, known) in &self.known {
            let version = known.file.as_ref().map(|file| file.version);
            let is_same = version.is_some_and(|version| version.inode() == file.version.inode());
            if is_same && **kin != *name && self.waits.get(kin).is_none() {
                self.waits.set(kin, Wait::new(Why::Settle, now, SETTLED, version));
            }
        }
    }

    /// The file is there: says what is new about it.
    fn settle(&mut self, name: &OsStr, file: VassalFile, turn: &mut Turn<'_>) {
        let known = self.known.entry(name.into()).or_default();
        known.complaint = None;
        let Some(old) = known.file.replace(file.clone()) else {
            return turn.out.push(name, ChangeKind::Found(file));
        };
        if old.version != file.version || old.on_demand != file.on_demand {
            turn.out.push(name, ChangeKind::Changed(file));
        } else if (old.uid, old.gid) != (file.uid, file.gid) {
            turn.out.push(name, ChangeKind::OwnerChanged(file));
        }
    }

    /// The file is not there, or it is something else now.
    fn lose(&mut self, name: &OsStr, complaint: Option<String>, turn: &mut Turn<'_>) {
        self.without_address.remove(name);
        if self.file(name).is_some() {
            turn.out.push(name, ChangeKind::Lost);
        }
        match complaint {
            None => drop(self.known.remove(name)),
            Some(why) => {
                self.complain(name, why, turn);
                self.known.entry(name.into()).or_default().file = None;
            }
        }
    }

    fn complain(&mut self, name: &OsStr, why: String, turn: &mut Turn<'_>) {
        let known = self.known.entry(name.into()).or_default();
        if known.complaint.as_deref() != Some(&why) {
            turn.out.warn_of(name, why.clone());
            known.complaint = Some(why.into());
        }
    }

    pub(super) fn file(&self, name: &OsStr) -> Option<&VassalFile> {
        self.known.get(name)?.file.as_ref()
    }

    fn version(&self, at: BorrowedFd<'_>, name: &OsStr) -> Option<FileVersion> {
        dir::stat_at(at, name, self.links).ok().map(|stat| FileVersion::from(&stat))
    }
}

/// Links and further names of a file are whole when they are made, and nothing is told afterwards.
fn is_complete_at_birth(stat: &Stat) -> bool {
    stat.kind == FileKind::Link || (stat.kind == FileKind::File && stat.links > 1)
}
