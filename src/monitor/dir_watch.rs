//! One directory: it is watched, its names are looked at, and differences from what is known become changes.
//!
//! Which directory that is, and what happens when it goes away, is the affair of the source that has it. Events
//! (`events.rs`, and `symlinks.rs` for paths and links) only say where to look; what is known comes from stat(2)
//! alone, so lost or needless events do no harm. Nothing is held open, so that file systems can be unmounted: the
//! source opens the directory for each call.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use super::change::{FileVersion, VassalFile};
use super::coalesce::NameEvent;
use super::debounce::{Cause, DEBOUNCE, DELETE_GRACE, Debouncer, PendingCheck};
use super::events::{EventReader, PendingEvents};
use super::known_names::KnownNames;
use super::names::{NameKind, NameRules};
use super::observe::{Observation, Observer};
use super::scan::{Scan, ScanContext};
use super::shared_watches::Route;
use super::unrecognized::UnrecognizedFiles;
use crate::sys::dir::{self, FileKind, Links, Stat};
use crate::types::moment::Moment;

/// How much is done in one call, in steps of a walk: the loop must not be away for long, whatever
/// somebody does to the directory. The rest is due at once.
const MAX_EFFORT: usize = 1000;

/// Whether a name that is missing may still come back.
#[derive(Clone, Copy)]
enum IfMissing<'a> {
    /// An event came: the program that has removed the file may be about to make it anew.
    Wait,
    /// What there was to wait for has been waited for, by this wait if any.
    Lost(Option<&'a PendingCheck>),
}

/// What one call has read.
pub(super) struct EventsRead {
    /// Events were lost.
    pub(super) is_lossy: bool,
    /// The path may lead to another directory.
    pub(super) has_path_changed: bool,
}

/// One directory that is watched.
pub(super) struct DirWatch {
    reader: EventReader,
    /// Events that are not processed yet.
    events: PendingEvents,
    observer: Observer,
    pending: Debouncer,
    writer_silent: Duration,
    known: KnownNames,
    unrecognized: UnrecognizedFiles,
    /// What a scan has not come to yet, and why a difference there would matter.
    to_scan: VecDeque<OsString>,
    scan_cause: Cause,
}

impl DirWatch {
    /// Nothing is known yet. `writer_silent` is how long a silent writer is waited for.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`: not even one descriptor can be had.
    pub(super) fn new(
        filter: NameRules,
        links: Links,
        writer_silent: Duration,
    ) -> io::Result<Self> {
        Ok(Self {
            reader: EventReader::new()?,
            events: PendingEvents::default(),
            observer: Observer::new(filter, links),
            pending: Debouncer::default(),
            writer_silent,
            known: KnownNames::default(),
            unrecognized: UnrecognizedFiles::default(),
            to_scan: VecDeque::new(),
            scan_cause: Cause::Settling,
        })
    }

    // What is watched.

    /// Readable while there are events; the same for the whole life.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.reader.descriptor()
    }

    /// Asks for the inotify instances that are missing.
    pub(super) fn open_instances(&mut self) {
        self.reader.open(&mut self.observer.paths);
    }

    /// What the kernel has refused since this was asked last: then there are not events for everything.
    pub(super) fn refusal(&mut self) -> Option<io::Error> {
        self.reader.refusal(&mut self.observer.paths)
    }

    /// Follows the path of the directory and watches all that it leads through; gives what is at its end.
    ///
    /// # Errors
    /// The path cannot be followed.
    pub(super) fn follow_path(&mut self, path: &OsStr) -> io::Result<Option<(OwnedFd, Stat)>> {
        self.observer.paths.walk_source(path)
    }

    /// Watches this directory, and no other. Says whether it was not watched before.
    pub(super) fn watch(&mut self, directory: BorrowedFd<'_>) -> bool {
        self.reader.watch(directory)
    }

    /// Watches no directory.
    pub(super) fn unwatch(&mut self) {
        self.reader.unwatch();
    }

    /// The directory is another one: links in it may start from elsewhere, and lead elsewhere.
    pub(super) fn queue_all_links(&mut self) {
        let Self { observer, events, .. } = self;
        for route in observer.paths.all().into_iter().filter(|route| *route != Route::Directory) {
            observer.paths.queue_for_names(&route, NameEvent::Touched, &mut events.names);
            events.moved.insert(route);
        }
    }

    // Events.

    /// Reads events; to be called when all earlier ones have been processed.
    pub(super) fn read_events(&mut self) -> EventsRead {
        self.events = self.reader.read(&self.observer.filter, &mut self.observer.paths);
        EventsRead {
            is_lossy: self.events.entries_lost || self.events.paths_lost,
            has_path_changed: self.events.moved.remove(&Route::Directory),
        }
    }

    /// Whether there are events that have not been processed.
    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether [`DirWatch::process`] has something to do.
    pub(super) fn has_work(&self) -> bool {
        !self.events.names.is_empty() || !self.events.moved.is_empty() || self.is_scanning()
    }

    /// Whether events were lost, and all others are processed: then everything has to be scanned. Says so once.
    pub(super) fn take_need_of_scan(&mut self) -> bool {
        let is_done = self.events.names.is_empty() && self.events.moved.is_empty();
        is_done && std::mem::take(&mut self.events.entries_lost)
    }

    /// Takes out the events that are not processed; where the path leads elsewhere by now, they are dropped.
    pub(super) fn take_events(&mut self) -> PendingEvents {
        std::mem::take(&mut self.events)
    }

    /// Processes events, and goes on with a scan: all, or as much as one call may.
    pub(super) fn process(
        &mut self,
        at: BorrowedFd<'_>,
        mut events: PendingEvents,
        context: &mut ScanContext<'_>,
    ) {
        self.process_events(at, &mut events, context);
        self.events = events;
        self.go_on_scanning(at, context);
    }

    /// What is to be said about files that are no vassals by their names.
    pub(super) fn take_unrecognized(&mut self) -> Option<String> {
        self.unrecognized.tell()
    }

    // Names.

    /// The vassals.
    pub(super) fn known(&self) -> Vec<(&OsStr, &VassalFile)> {
        self.known.files().collect()
    }

    /// How many vassals there are.
    pub(super) fn count(&self) -> usize {
        self.known.files().count()
    }

    /// See [`super::Monitor::refused`].
    pub(super) fn refused(&self) -> Vec<(&OsStr, &str)> {
        self.known.refused().chain(self.unrecognized.refused()).collect()
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
        for name in self.known.lose_all(context.out) {
            self.observer.paths.set_routes(&name, Vec::new());
        }
    }

    fn process_events(
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
            NameEvent::Deleted | NameEvent::MovedOut if self.known.file(name).is_some() => {
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
        if self.known.file(vassal).is_none() {
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
        let known = self.known.file(name).map(|file| file.version.inode());
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
    /// that were different although there was no event for it.
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
        names.extend(self.known.names());
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
            // There is no event for what the first scan has not come to yet.
            Scan::Polling | Scan::Verify if is_arriving => {}
            Scan::Polling => self.scan_cause = Cause::Settling,
            Scan::Verify => self.scan_cause = Cause::MissedEvent,
        }
        self.to_scan.extend(names);
        self.go_on_scanning(at, context);
        Ok(())
    }

    /// Goes on with the scan that is under way, as far as one call may.
    fn go_on_scanning(&mut self, at: BorrowedFd<'_>, context: &mut ScanContext<'_>) {
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
        match (self.observe(at, name, context.now), self.known.file(name)) {
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
        self.observer.observe((at, name), self.known.file(name), now)
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
                self.known.record_file(name, file, context.out);
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
                if has_time && self.known.file(name).is_some() =>
            {
                self.pending
                    .set(name, PendingCheck::new(Cause::Settling, context.now, DELETE_GRACE, None));
            }
            Ok(Observation::Absent) => self.lose(name, None, context),
            Ok(Observation::Dangling) => {
                let why = "is a dangling link; started when its target exists";
                self.lose(name, Some(why.to_owned()), context);
            }
            Ok(Observation::Refused(why)) => self.lose(name, Some(why), context),
            Err(error) => {
                let why = format!("cannot be examined: {error}; trying again");
                self.known.report_problem(name, why, context.out);
                self.pending.set(name, PendingCheck::retry(context.now, before));
            }
        }
    }

    /// A file has got another name here. The names that were known before are looked at again, because there is no
    /// event in their directory for what is done through the new name.
    fn recheck_hard_links(&mut self, name: &OsStr, file: &VassalFile, now: Moment) {
        for (other, known) in self.known.files() {
            let is_same = known.version.inode() == file.version.inode();
            if is_same && other != name && self.pending.get(other).is_none() {
                let check = PendingCheck::new(Cause::Settling, now, DEBOUNCE, Some(known.version));
                self.pending.set(other, check);
            }
        }
    }

    fn lose(&mut self, name: &OsStr, problem: Option<String>, context: &mut ScanContext<'_>) {
        self.observer.without_address.remove(name);
        self.known.record_lost(name, problem, context.out);
    }

    fn version(&self, at: BorrowedFd<'_>, name: &OsStr) -> Option<FileVersion> {
        dir::stat_at(at, name, self.observer.links).ok().map(|stat| FileVersion::from(&stat))
    }
}

/// Links and further names of a file are whole when they are made; there is no event for their end.
fn is_complete_at_birth(stat: &Stat) -> bool {
    stat.kind == FileKind::Link || (stat.kind == FileKind::File && stat.links > 1)
}
