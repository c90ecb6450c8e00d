//! `dir://`: the vassal files of one directory.
//!
//! Here is where the directory is: its path may lead elsewhere, to nothing for a while, or to what cannot be read,
//! and inotify may be refused. [`DirWatch`] is what happens in it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::change::Changes;
use super::debounce::{DELETE_GRACE, PendingCheck, WRITER_IDLE_TIMEOUT};
use super::dir_watch::DirWatch;
use super::names::NameRules;
use super::scan::{Scan, ScanContext};
use super::symlinks::MAX_TRIES;
use super::{Monitor, Options};
use crate::log::Level;
use crate::sys::dir::{self, FileKind};
use crate::types::moment::Moment;

/// How often everything is looked at while inotify is refused, unless `freq` says otherwise.
const POLLING_INTERVAL: Duration = Duration::from_secs(3);

/// How many names a line of the log shows.
const MAX_NAMES_SHOWN: usize = 5;

/// Where the directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DirState {
    /// Nobody has looked yet.
    Unknown,
    /// The path leads to this device and number.
    Present((u64, u64)),
    /// The path leads to no directory, since then.
    Missing(Moment),
}

/// The monitor of one directory.
pub struct DirSource {
    path: PathBuf,
    shown: String,
    source: PathBuf,
    freq: Duration,
    grace: Duration,
    watch: DirWatch,
    state: DirState,
    /// Not all could be done in one call; since when.
    behind_since: Option<Moment>,
    /// Why there are not events for everything, if so: it is scanned from time to time.
    polling: Option<String>,
    /// What is wrong with the directory, and when it is tried again.
    read_error: Option<ReadError>,
    rescan_at: Option<Moment>,
    has_scanned: bool,
}

/// The directory is there, but it cannot be read.
struct ReadError {
    why: String,
    again: PendingCheck,
}

impl DirSource {
    /// A monitor that has not looked yet. That inotify is refused is no error: it is tried again.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`: not even one descriptor can be had. `ENOENT` if the path is
    /// relative and the working directory is gone.
    pub fn new(path: &Path, options: Options) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let filter = NameRules::new(&options.extensions, options.on_demand_extension);
        Ok(Self {
            source: path.clone(),
            path,
            shown: options.shown,
            freq: options.freq,
            grace: options.grace.max(DELETE_GRACE),
            watch: DirWatch::new(filter, options.links, WRITER_IDLE_TIMEOUT.max(options.freq))?,
            state: DirState::Unknown,
            behind_since: None,
            polling: None,
            read_error: None,
            rescan_at: None,
            has_scanned: false,
        })
    }

    /// Finds out where the path leads. True if that is all there is to do: what is there has been
    /// looked at, or nothing can be.
    fn locate(&mut self, context: &mut ScanContext<'_>) -> bool {
        for _ in 0..MAX_TRIES {
            let end = self.watch.follow_path(self.path.as_os_str());
            let arrived = match end {
                Ok(Some((object, stat))) if stat.kind == FileKind::Directory => {
                    dir::open_again(object.as_fd()).and_then(|at| {
                        // Walked and watched first, asked again afterwards: no change goes unseen.
                        let is_here = dir::stat_path(&self.path)?.inode() == stat.inode();
                        Ok(is_here.then_some((at, stat.inode())))
                    })
                }
                Ok(_) => {
                    self.on_missing(context);
                    return true;
                }
                Err(error) => Err(error),
            };
            match arrived {
                Ok(Some((at, inode))) => return self.on_present(at.as_fd(), inode, context),
                Ok(None) => {}
                Err(error) if dir::is_not_found(&error) => {}
                Err(error) => {
                    self.on_read_error(&error, context);
                    return true;
                }
            }
        }
        self.on_read_error(&io::Error::other("its path changes all the time"), context);
        true
    }

    /// The path leads to a directory. True if it is another one than before.
    fn on_present(
        &mut self,
        at: BorrowedFd<'_>,
        inode: (u64, u64),
        context: &mut ScanContext<'_>,
    ) -> bool {
        let is_watched_anew = self.watch.watch(at);
        let is_known = self.state == DirState::Present(inode);
        if is_known && !is_watched_anew {
            return false;
        }
        if let DirState::Missing(_) = self.state {
            self.say(Level::Notice, "the directory is there now", context);
        }
        self.state = DirState::Present(inode);
        self.source = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        self.watch.queue_all_links();
        let scan = match (self.has_scanned, is_known) {
            (false, _) => Scan::Initial,
            (true, false) => Scan::Appeared,
            (true, true) => Scan::Polling,
        };
        self.scan(at, scan, context);
        true
    }

    /// The path leads to no directory.
    fn on_missing(&mut self, context: &mut ScanContext<'_>) {
        self.read_error = None;
        let what = match self.state {
            DirState::Missing(_) => return,
            DirState::Unknown if std::fs::exists(&self.path).unwrap_or(false) => {
                "this is not a directory, but vassals are files in one".to_owned()
            }
            DirState::Unknown => "there is no such directory".to_owned(),
            DirState::Present(_) => format!(
                "the directory is gone; its {} vassals are stopped unless it is back within {:?}",
                self.watch.count(),
                self.grace
            ),
        };
        self.say(Level::Warning, &format!("{what}; waiting for it to come"), context);
        self.watch.unwatch();
        self.state = DirState::Missing(context.now);
        self.watch.cancel_checks();
    }

    /// The directory cannot be read: all stays as it is, and everything is compared when it can be.
    fn on_read_error(&mut self, error: &io::Error, context: &mut ScanContext<'_>) {
        let why = format!(
            "cannot read the directory: {error}; its vassals stay as they are, trying again"
        );
        if self.read_error.as_ref().is_none_or(|read_error| read_error.why != why) {
            self.say(Level::Warning, &why, context);
        }
        let again = PendingCheck::retry(
            context.now,
            self.read_error.as_ref().map(|read_error| &read_error.again),
        );
        self.read_error = Some(ReadError { why, again });
        self.watch.cancel_checks();
    }

    /// Opens the directory, if it is still the one that is known.
    fn open_current(&mut self, context: &mut ScanContext<'_>) -> Option<OwnedFd> {
        for _ in 0..MAX_TRIES {
            let opened = dir::open(&self.path).and_then(|at| {
                let inode = dir::stat(at.as_fd())?.inode();
                Ok((at, inode))
            });
            match opened {
                Ok((at, inode)) if self.state == DirState::Present(inode) => return Some(at),
                Err(error) if !dir::is_not_found(&error) => {
                    self.on_read_error(&error, context);
                    return None;
                }
                _ if self.locate(context) => return None,
                _ => {}
            }
        }
        self.on_read_error(&io::Error::other("its path changes all the time"), context);
        None
    }

    /// Says something about the directory.
    fn say(&self, level: Level, what: &str, context: &mut ScanContext<'_>) {
        context.out.log(level, format!("{}: {what}", self.shown));
    }

    fn scan(&mut self, at: BorrowedFd<'_>, scan: Scan, context: &mut ScanContext<'_>) {
        match self.watch.scan(at, scan, context) {
            Err(error) => self.on_read_error(&error, context),
            Ok(()) => {
                if self.read_error.take().is_some() {
                    self.say(Level::Notice, "the directory can be read again", context);
                }
            }
        }
    }

    /// Looks at everything.
    fn scan_all(&mut self, context: &mut ScanContext<'_>) {
        context.out.is_full_scan = true;
        let was_polling = self.polling.is_some() || self.read_error.is_some();
        self.watch.open_instances();
        if !self.locate(context) {
            let scan = if was_polling { Scan::Polling } else { Scan::Verify };
            match dir::open(&self.path) {
                Ok(at) => self.scan(at.as_fd(), scan, context),
                Err(error) => self.on_read_error(&error, context),
            }
        }
        self.has_scanned = true;
        self.rescan_at = None;
        match self.watch.refusal() {
            Some(error) => self.fall_back_to_polling(&error, context),
            None if self.polling.take().is_some() => {
                self.say(Level::Notice, "inotify works again: no more timed scans", context);
            }
            None => {}
        }
    }

    /// Reads events.
    fn read_events(&mut self, context: &mut ScanContext<'_>) {
        let read = self.watch.read_events();
        if read.is_lossy {
            self.say(Level::Warning, "events were lost: comparing all files", context);
        }
        if read.has_path_changed && !self.locate(context) && self.read_error.is_some() {
            self.scan_all(context);
        }
    }

    /// Processes events, as many as one call may.
    fn process_pending(&mut self, context: &mut ScanContext<'_>) {
        if self.watch.has_work() {
            let events = self.watch.take_events();
            // Where the path leads elsewhere, all there is looked at anyway.
            if let Some(at) = self.open_current(context) {
                self.watch.process(at.as_fd(), events, context);
            }
        }
        if self.watch.take_need_of_scan() {
            self.scan_all(context);
        }
    }

    /// There are not events for everything any more.
    fn fall_back_to_polling(&mut self, error: &io::Error, context: &mut ScanContext<'_>) {
        let why = error.to_string();
        if self.polling.as_ref() != Some(&why) {
            let text = format!(
                "inotify is refused: {why}; everything is looked at every {:?} until it is granted \
                 (see fs.inotify.max_user_instances and fs.inotify.max_user_watches)",
                self.period()
            );
            self.say(Level::Warning, &text, context);
            self.polling = Some(why);
        }
    }

    /// The time between scans, where there are any.
    fn period(&self) -> Duration {
        if self.freq.is_zero() { POLLING_INTERVAL } else { self.freq }
    }

    /// Ends every call: says when the next one is due.
    fn schedule(&mut self, context: &mut ScanContext<'_>) {
        if let Some(error) = self.watch.refusal() {
            self.fall_back_to_polling(&error, context);
        }
        if let Some(what) = self.watch.take_unrecognized() {
            self.say(Level::Warning, &what, context);
        }
        let is_due = self.polling.is_some() || !self.freq.is_zero();
        self.rescan_at = is_due.then(|| self.rescan_at.unwrap_or(context.now + self.period()));
        let is_behind = self.watch.has_events() || self.watch.has_work();
        self.behind_since = is_behind.then_some(context.now);
    }

    /// When the vassals of a missing directory are given up.
    fn grace_ends(&self) -> Option<Moment> {
        match self.state {
            DirState::Missing(since) if self.watch.count() > 0 => Some(since + self.grace),
            _ => None,
        }
    }
}

impl Monitor for DirSource {
    fn source(&self) -> &Path {
        &self.source
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.watch.descriptor()
    }

    fn deadline(&self) -> Option<Moment> {
        let again = self.read_error.as_ref().map(|read_error| read_error.again.due);
        [self.behind_since, self.watch.next(), self.rescan_at, again, self.grace_ends()]
            .into_iter()
            .flatten()
            .min()
    }

    fn read(&mut self, now: Moment, out: &mut Changes) {
        let context = &mut ScanContext { now, out };
        // While we are behind, events wait in the kernel, which has an end.
        if !self.watch.has_events() {
            self.read_events(context);
        }
        self.process_pending(context);
        self.schedule(context);
    }

    fn expire(&mut self, now: Moment, out: &mut Changes) {
        let context = &mut ScanContext { now, out };
        let is_due = |when: Option<Moment>| when.is_some_and(|when| when <= now);
        if is_due(self.grace_ends()) {
            self.watch.lose_all(context);
        }
        self.process_pending(context);
        if is_due(self.rescan_at)
            || is_due(self.read_error.as_ref().map(|read_error| read_error.again.due))
        {
            self.scan_all(context);
        }
        // Events come before checks that are due: a program may have begun to write again.
        if !self.watch.has_events()
            && is_due(self.watch.next())
            && let Some(at) = self.open_current(context)
        {
            let missed = self.watch.expire(at.as_fd(), context);
            if !missed.is_empty() {
                let what = format!("inotify missed the change of {}", list(&missed));
                self.say(Level::Warning, &what, context);
            }
        }
        self.schedule(context);
    }

    fn rescan(&mut self, now: Moment, out: &mut Changes) {
        let context = &mut ScanContext { now, out };
        self.scan_all(context);
        self.schedule(context);
    }

    fn known(&self) -> Vec<(&OsStr, &super::change::VassalFile)> {
        self.watch.known()
    }

    fn refused(&self) -> Vec<(&OsStr, &str)> {
        self.watch.refused()
    }
}

/// The first few names, escaped.
fn list(names: &[OsString]) -> String {
    let shown: Vec<_> =
        names.iter().take(MAX_NAMES_SHOWN).map(|name| format!("{name:?}")).collect();
    match names.len().saturating_sub(MAX_NAMES_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
