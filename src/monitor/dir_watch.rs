//! What is known of each name in one directory, and how looking at it turns into changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::change::{ChangeKind, Changes, FileVersion, VassalFile};
use super::coalesce::NameEvent;
use super::debounce::{Cause, DEBOUNCE, DELETE_GRACE, Debouncer, PendingCheck};
use super::events::PendingEvents;
use super::names::{NameKind, NameRules};
use super::observe::{Observation, Observer};
use super::unrecognized::UnrecognizedFiles;
use crate::sys::dir::{self, FileKind, Links, Stat};
use crate::types::moment::Moment;

/// How much is done in one call, in steps of a walk: the loop must not be away for long, whatever
/// somebody does to the directory. The rest is due at once.
const MAX_EFFORT: usize = 1000;

/// One wake-up: when it is, and where its news goes.
pub(super) struct ScanContext<'a> {
    pub(super) now: Moment,
    pub(super) out: &'a mut Changes,
}

/// Why a whole directory is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// It was there from the beginning: everything is taken as it is.
    Initial,
    /// It has come, or come back: the same, but for what differs after a moment.
    Appeared,
    /// Its events are not told: differences must stay for a moment.
    Polling,
    /// Events should have told everything: what they missed is said.
    Verify,
}

/// Whether a name that is missing may still come back.
#[derive(Clone, Copy)]
enum IfMissing<'a> {
    /// An event came: whoever removed the file may be about to make it anew.
    Wait,
    /// What there was to wait for has been waited for, by this wait if any.
    Lost(Option<&'a PendingCheck>),
}

/// One name: a vassal, or something refused, or a vassal with a complaint.
#[derive(Default)]
struct KnownName {
    file: Option<VassalFile>,
    problem: Option<Box<str>>,
}

/// The names of one directory.
pub(super) struct DirWatch {
    pub(super) observer: Observer,
    pub(super) pending: Debouncer,
    writer_silent: Duration,
    known: BTreeMap<Box<OsStr>, Box<KnownName>>,
    pub(super) unrecognized: UnrecognizedFiles,
    /// What a scan has not come to yet, and why a difference there would matter.
    to_scan: VecDeque<OsString>,
    scan_cause: Cause,
}

impl DirWatch {
    /// Nothing is known yet. `writer_silent` is how long a silent writer is waited for.
    pub(super) fn new(filter: NameRules, links: Links, writer_silent: Duration) -> Self {
        let (pending, known, unrecognized, to_scan) = Default::default();
        let (observer, scan_cause) = (Observer::new(filter, links), Cause::Settling);
        Self { observer, pending, writer_silent, known, unrecognized, to_scan, scan_cause }
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
            refused.filter_map(|(name, known)| Some((&**name, known.problem.as_deref()?)));
        refused.chain(self.unrecognized.refused()).collect()
    }

    /// When [`DirWatch::expire`] is due.
    pub(super) fn next(&self) -> Option<Moment> {
        [self.pending.next(), self.unrecognized.next()].into_iter().flatten().min()
    }

    /// Whether a scan is not over yet.
    pub(super) fn is_scanning(&self) -> bool {
        !self.to_scan.is_empty()
    }

    /// The directory cannot be looked at: what was to be looked at in it is found out anew when it can.
    pub(super) fn cancel_checks(&mut self) {
        self.pending.clear();
        self.to_scan.clear();
    }

    /// The directory is gone, and everything with it.
    pub(super) fn lose_all(&mut self, context: &mut ScanContext<'_>) {
        self.cancel_checks();
        self.observer.without_address.clear();
        self.unrecognized.clear();
        for (name, known) in std::mem::take(&mut self.known) {
            self.observer.paths.set_routes(&name, Vec::new());
            if known.file.is_some() {
                context.out.push(&name, ChangeKind::Lost);
            }
        }
    }

    /// Does what has been told asks for: all, or as much as one call may do.
    pub(super) fn process_events(
        &mut self,
        at: BorrowedFd<'_>,
        pending_events: &mut PendingEvents,
        context: &mut ScanContext<'_>,
    ) {
        let start = self.observer.paths.effort();
        while self.observer.paths.spent_since(start) < MAX_EFFORT {
            // Where links lead comes first: the marks are for those who ask there.
            if let Some(route) = pending_events.moved.extract_if(|_| true).next() {
                self.observer.paths.rewalk(&route, at);
            } else if let Some((name, mark)) = pending_events.names.pop() {
                self.observer.paths.charge(1);
                match self.observer.filter.classify(&name) {
                    NameKind::AddressFile(vassal) => {
                        self.on_address_file_event(at, (&name, vassal), mark, context);
                    }
                    NameKind::Vassal | NameKind::Refused(_) => {
                        self.on_event(at, &name, mark, context)
                    }
                    NameKind::Unrecognized => self.unrecognized.note(&name, mark, context.now),
                    NameKind::Other => {}
                }
            } else {
                return;
            }
        }
    }

    fn on_event(
        &mut self,
        at: BorrowedFd<'_>,
        name: &OsStr,
        mark: NameEvent,
        context: &mut ScanContext<'_>,
    ) {
        let why = self.pending.get(name).map(|wait| wait.cause);
        let is_being_written = why == Some(Cause::BeingWritten);
        let has_arrived = why == Some(Cause::Appeared);
        match mark {
            NameEvent::Complete => self.check_now(at, name, IfMissing::Wait, context),
            NameEvent::Renamed => self.check_now(at, name, IfMissing::Lost(None), context),
            NameEvent::Touched | NameEvent::Writing | NameEvent::TargetCreated
                if is_being_written => {}
            // Looked at soon, as one that was there.
            NameEvent::Touched if has_arrived => {}
            NameEvent::Touched => self.check_touched(at, name, context),
            NameEvent::Writing => self.wait_for_writer(at, name, context),
            NameEvent::TargetCreated => self.wait(at, name, DEBOUNCE, context),
            NameEvent::Created => match dir::stat_at(at, name, Links::Stay) {
                Ok(stat) if is_complete_at_birth(&stat) => self.wait(at, name, DEBOUNCE, context),
                Ok(stat) if stat.kind == FileKind::File => self.wait_for_writer(at, name, context),
                _ => self.check_now(at, name, IfMissing::Wait, context),
            },
            NameEvent::Deleted | NameEvent::MovedOut if self.file(name).is_some() => {
                self.pending
                    .set(name, PendingCheck::new(Cause::Settling, context.now, DELETE_GRACE, None));
            }
            NameEvent::Deleted | NameEvent::MovedOut => {
                self.check_now(at, name, IfMissing::Lost(None), context)
            }
        }
    }

    /// The address file of a known vassal; that of any other is read when the vassal is found.
    fn on_address_file_event(
        &mut self,
        at: BorrowedFd<'_>,
        (name, vassal): (&OsStr, &OsStr),
        mark: NameEvent,
        context: &mut ScanContext<'_>,
    ) {
        if self.file(vassal).is_none() {
            return;
        }
        if matches!(mark, NameEvent::Deleted | NameEvent::MovedOut | NameEvent::Renamed) {
            self.observer.without_address.entry(vassal.to_owned()).or_insert(context.now);
        }
        // The end of writing, or the begin of it, after the address file was away.
        let is_news = matches!(mark, NameEvent::Complete | NameEvent::Renamed | NameEvent::Created);
        let is_waiting = self.pending.get(vassal).is_some_and(|wait| match wait.cause {
            Cause::Retry => false,
            // For this, perhaps: unless it is the vassal that may come back.
            Cause::Settling => !is_news || self.version(at, vassal).is_none(),
            Cause::BeingWritten | Cause::MissedEvent | Cause::Appeared => true,
        });
        if is_waiting {
            return;
        }
        match mark {
            NameEvent::Complete | NameEvent::Touched | NameEvent::Renamed => {
                self.check_now(at, vassal, IfMissing::Wait, context)
            }
            NameEvent::Writing | NameEvent::TargetCreated => {}
            NameEvent::Deleted | NameEvent::MovedOut => {
                self.wait(at, vassal, DELETE_GRACE, context)
            }
            NameEvent::Created => match dir::stat_at(at, name, Links::Stay) {
                Ok(stat) if stat.kind == FileKind::File && !is_complete_at_birth(&stat) => {
                    self.wait(at, vassal, self.writer_silent, context);
                }
                _ => self.wait(at, vassal, DEBOUNCE, context),
            },
        }
    }

    /// A touch is complete at once, but behind a link another file may be in the making.
    fn check_touched(&mut self, at: BorrowedFd<'_>, name: &OsStr, context: &mut ScanContext<'_>) {
        let known = self.file(name).map(|file| file.version.inode());
        match self.observe(at, name, context.now) {
            Ok(Observation::File { file, has_other_links, .. })
                if known != Some(file.version.inode()) =>
            {
                self.postpone(name, &file, has_other_links, (Cause::Settling, context.now));
            }
            seen => {
                self.pending.cancel(name);
                self.apply(name, seen, IfMissing::Wait, context);
            }
        }
    }

    /// The file is different, and must stay so for a moment.
    fn postpone(
        &mut self,
        name: &OsStr,
        file: &VassalFile,
        has_other_links: bool,
        (why, now): (Cause, Moment),
    ) {
        if has_other_links {
            self.recheck_hard_links(name, file, now);
        }
        self.pending.extend(name, PendingCheck::new(why, now, DEBOUNCE, Some(file.version)));
    }

    fn wait(
        &mut self,
        at: BorrowedFd<'_>,
        name: &OsStr,
        quiet: Duration,
        context: &mut ScanContext<'_>,
    ) {
        let last = self.version(at, name);
        self.pending.extend(name, PendingCheck::new(Cause::Settling, context.now, quiet, last));
    }

    fn wait_for_writer(&mut self, at: BorrowedFd<'_>, name: &OsStr, context: &mut ScanContext<'_>) {
        let last = self.version(at, name);
        self.pending.set(
            name,
            PendingCheck::new(Cause::BeingWritten, context.now, self.writer_silent, last),
        );
    }

    /// Looks at what has been waited for, as much of it as one call may do, and gives the names of those
    /// that were different though no event had told it.
    pub(super) fn expire(
        &mut self,
        at: BorrowedFd<'_>,
        context: &mut ScanContext<'_>,
    ) -> Vec<OsString> {
        let mut missed = Vec::new();
        let start = self.observer.paths.effort();
        self.unrecognized.expire(at, context.now);
        for (name, wait) in self.pending.due(context.now) {
            if self.observer.paths.spent_since(start) >= MAX_EFFORT {
                self.pending.put_back(name, wait);
                continue;
            }
            self.observer.paths.charge(1);
            if let Some(next) = wait.again(context.now, self.version(at, &name)) {
                self.pending.set(&name, next);
                continue;
            }
            let before = context.out.changes.len();
            self.check_now(at, &name, IfMissing::Lost(Some(&wait)), context);
            match wait.cause {
                Cause::MissedEvent if context.out.changes.len() > before => missed.push(name),
                Cause::Appeared => context.out.mark_initial_after(before),
                Cause::MissedEvent | Cause::BeingWritten | Cause::Settling | Cause::Retry => {}
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
        context: &mut ScanContext<'_>,
    ) -> io::Result<()> {
        let filter = &self.observer.filter;
        let is_ours = |name: &OsStr| {
            !matches!(filter.classify(name), NameKind::AddressFile(_) | NameKind::Other)
        };
        let names: BTreeSet<_> = dir::names(at, is_ours)?.into_iter().collect();
        self.unrecognized.keep(&names);
        let is_stranger =
            |name: &OsString| self.observer.filter.classify(name) == NameKind::Unrecognized;
        let (unrecognized, mut names): (BTreeSet<_>, BTreeSet<_>) =
            names.into_iter().partition(is_stranger);
        for name in unrecognized {
            match scan {
                Scan::Initial => self.unrecognized.look(at, &name),
                Scan::Appeared | Scan::Polling | Scan::Verify => {
                    self.unrecognized.note(&name, NameEvent::Touched, context.now);
                }
            }
        }
        names.extend(self.known.keys().map(|name| name.to_os_string()));
        let is_arriving = self.is_scanning() && self.scan_cause == Cause::Appeared;
        self.to_scan.clear();
        match scan {
            Scan::Initial => {
                let before = context.out.changes.len();
                for name in names {
                    self.check_now(at, &name, IfMissing::Lost(None), context);
                }
                context.out.mark_initial_after(before);
                return Ok(());
            }
            Scan::Appeared => self.scan_cause = Cause::Appeared,
            // What the first look has not come to yet has no event to be told by.
            Scan::Polling | Scan::Verify if is_arriving => {}
            Scan::Polling => self.scan_cause = Cause::Settling,
            Scan::Verify => self.scan_cause = Cause::MissedEvent,
        }
        self.to_scan.extend(names);
        self.go_on_scanning(at, context);
        Ok(())
    }

    /// Goes on with the scan that is under way, as far as one call may.
    pub(super) fn go_on_scanning(&mut self, at: BorrowedFd<'_>, context: &mut ScanContext<'_>) {
        let start = self.observer.paths.effort();
        while self.observer.paths.spent_since(start) < MAX_EFFORT
            && let Some(name) = self.to_scan.pop_front()
        {
            self.compare_in_scan(at, &name, self.scan_cause, context);
        }
        if self.to_scan.is_empty() {
            // It has held all names once.
            self.to_scan.shrink_to_fit();
        }
    }

    /// Compares one name with what is known; what is different must stay so for a moment.
    fn compare_in_scan(
        &mut self,
        at: BorrowedFd<'_>,
        name: &OsStr,
        why: Cause,
        context: &mut ScanContext<'_>,
    ) {
        if self.pending.get(name).is_some() {
            return;
        }
        match (self.observe(at, name, context.now), self.file(name)) {
            (Ok(Observation::File { file, has_other_links, .. }), known)
                if known != Some(&file) =>
            {
                self.postpone(name, &file, has_other_links, (why, context.now));
            }
            (Ok(Observation::Absent | Observation::Dangling), Some(_)) => {
                self.pending.set(name, PendingCheck::new(why, context.now, DELETE_GRACE, None));
            }
            (seen, _) => self.apply(name, seen, IfMissing::Lost(None), context),
        }
    }

    fn observe(
        &mut self,
        at: BorrowedFd<'_>,
        name: &OsStr,
        now: Moment,
    ) -> io::Result<Observation> {
        let known = self.known.get(name).and_then(|known| known.file.as_ref());
        self.observer.observe((at, name), known, now)
    }

    fn check_now(
        &mut self,
        at: BorrowedFd<'_>,
        name: &OsStr,
        if_missing: IfMissing<'_>,
        context: &mut ScanContext<'_>,
    ) {
        self.pending.cancel(name);
        let seen = self.observe(at, name, context.now);
        self.apply(name, seen, if_missing, context);
    }

    fn apply(
        &mut self,
        name: &OsStr,
        seen: io::Result<Observation>,
        if_missing: IfMissing<'_>,
        context: &mut ScanContext<'_>,
    ) {
        let (before, has_time) = match if_missing {
            IfMissing::Lost(before) => {
                (before, before.is_some_and(PendingCheck::was_for_something_there))
            }
            IfMissing::Wait => (None, true),
        };
        match seen {
            Ok(Observation::File { file, is_stable, has_other_links, address_by }) => {
                if has_other_links {
                    self.recheck_hard_links(name, &file, context.now);
                }
                let version = file.version;
                self.record_file(name, file, context);
                if let Some(by) = address_by {
                    let quiet = by.saturating_duration_since(context.now);
                    self.pending.set(
                        name,
                        PendingCheck::new(Cause::Settling, context.now, quiet, Some(version)),
                    );
                } else if !is_stable {
                    self.pending.set(name, PendingCheck::retry(context.now, before));
                }
            }
            Ok(Observation::Absent | Observation::Dangling)
                if has_time && self.file(name).is_some() =>
            {
                self.pending
                    .set(name, PendingCheck::new(Cause::Settling, context.now, DELETE_GRACE, None));
            }
            Ok(Observation::Absent) => self.record_lost(name, None, context),
            Ok(Observation::Dangling) => {
                let why = "is a dangling link; started when its target exists";
                self.record_lost(name, Some(why.to_owned()), context);
            }
            Ok(Observation::Refused(why)) => self.record_lost(name, Some(why), context),
            Err(error) => {
                self.report_problem(
                    name,
                    format!("cannot be examined: {error}; trying again"),
                    context,
                );
                self.pending.set(name, PendingCheck::retry(context.now, before));
            }
        }
    }

    /// A file has got another name here. Those that were known before are told of what is done
    /// through that one only after another look, because a new name is not told in their directory.
    fn recheck_hard_links(&mut self, name: &OsStr, file: &VassalFile, now: Moment) {
        for (kin, known) in &self.known {
            let version = known.file.as_ref().map(|file| file.version);
            let is_same = version.is_some_and(|version| version.inode() == file.version.inode());
            if is_same && **kin != *name && self.pending.get(kin).is_none() {
                self.pending.set(kin, PendingCheck::new(Cause::Settling, now, DEBOUNCE, version));
            }
        }
    }

    /// The file is there: says what is new about it.
    fn record_file(&mut self, name: &OsStr, file: VassalFile, context: &mut ScanContext<'_>) {
        let known = self.known.entry(name.into()).or_default();
        known.problem = None;
        let Some(old) = known.file.replace(file.clone()) else {
            return context.out.push(name, ChangeKind::Found(file));
        };
        if old.version != file.version || old.on_demand != file.on_demand {
            context.out.push(name, ChangeKind::Changed(file));
        } else if (old.uid, old.gid) != (file.uid, file.gid) {
            context.out.push(name, ChangeKind::OwnerChanged(file));
        }
    }

    /// The file is not there, or it is something else now.
    fn record_lost(
        &mut self,
        name: &OsStr,
        problem: Option<String>,
        context: &mut ScanContext<'_>,
    ) {
        self.observer.without_address.remove(name);
        if self.file(name).is_some() {
            context.out.push(name, ChangeKind::Lost);
        }
        match problem {
            None => drop(self.known.remove(name)),
            Some(why) => {
                self.report_problem(name, why, context);
                self.known.entry(name.into()).or_default().file = None;
            }
        }
    }

    fn report_problem(&mut self, name: &OsStr, why: String, context: &mut ScanContext<'_>) {
        let known = self.known.entry(name.into()).or_default();
        if known.problem.as_deref() != Some(&why) {
            context.out.warn_of(name, why.clone());
            known.problem = Some(why.into());
        }
    }

    fn file(&self, name: &OsStr) -> Option<&VassalFile> {
        self.known.get(name)?.file.as_ref()
    }

    fn version(&self, at: BorrowedFd<'_>, name: &OsStr) -> Option<FileVersion> {
        dir::stat_at(at, name, self.observer.links).ok().map(|stat| FileVersion::from(&stat))
    }
}

/// Links and further names of a file are whole when they are made, and nothing is told afterwards.
fn is_complete_at_birth(stat: &Stat) -> bool {
    stat.kind == FileKind::Link || (stat.kind == FileKind::File && stat.links > 1)
}
