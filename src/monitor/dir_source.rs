//! `dir://`: the vassal files of one directory, by inotify.
//!
//! Events (`events.rs`, and `symlinks.rs` for the path and for links) only say where to look; what is known
//! comes from stat(2) alone (`dir_watch.rs`), so lost or needless events do no harm. Nothing is held open, so
//! that file systems can be unmounted.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::coalesce::Mark;
use super::debounce::{VANISHED, WRITER_SILENT, Wait};
use super::dir_watch::{Files, Scan, Turn};
use super::events::{Eyes, News};
use super::names::Filter;
use super::shared_watches::Route;
use super::symlinks::TRIES;
use super::{Changes, Monitor, Options};
use crate::log::Level;
use crate::sys::dir::{self, FileKind};
use crate::types::moment::Moment;

/// How often everything is looked at while inotify is refused, unless `freq` says otherwise.
const BLIND_PERIOD: Duration = Duration::from_secs(3);

/// How many names a line of the log shows.
const SHOWN: usize = 5;

/// Where the directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    /// Nobody has looked yet.
    Unknown,
    /// The path leads to this device and number.
    There((u64, u64)),
    /// The path leads to no directory, since then.
    Gone(Moment),
}

/// The monitor of one directory.
pub struct Dir {
    path: PathBuf,
    shown: String,
    source: PathBuf,
    freq: Duration,
    grace: Duration,
    eyes: Eyes,
    files: Files,
    home: Home,
    /// What was told and has been too much for one call; since when.
    news: News,
    behind_since: Option<Moment>,
    /// Why not all events are told, if so.
    blind: Option<String>,
    /// What is wrong with the directory, and when it is tried again.
    trouble: Option<Trouble>,
    rescan_at: Option<Moment>,
    has_scanned: bool,
}

/// The directory is there, but it cannot be read.
struct Trouble {
    why: String,
    again: Wait,
}

impl Dir {
    /// A monitor that has not looked yet. That inotify is refused is no error: it is tried again.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`: not even one descriptor can be had. `ENOENT` if the path is
    /// relative and the working directory is gone.
    pub fn new(path: &Path, options: Options) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let filter = Filter::new(&options.extensions, options.on_demand_extension);
        Ok(Self {
            source: path.clone(),
            path,
            shown: options.shown,
            freq: options.freq,
            grace: options.grace.max(VANISHED),
            eyes: Eyes::new()?,
            files: Files::new(filter, options.links, WRITER_SILENT.max(options.freq)),
            home: Home::Unknown,
            news: News::default(),
            behind_since: None,
            blind: None,
            trouble: None,
            rescan_at: None,
            has_scanned: false,
        })
    }

    /// Finds out where the path leads. True if that is all there is to do: what is there has been
    /// looked at, or nothing can be.
    fn locate(&mut self, turn: &mut Turn<'_>) -> bool {
        for _ in 0..TRIES {
            let end = self.files.trails.walk_source(self.path.as_os_str());
            let arrived = match end {
                Ok(Some((object, stat))) if stat.kind == FileKind::Directory => {
                    dir::open_again(object.as_fd()).and_then(|at| {
                        // Walked and watched first, asked again afterwards: no change goes unseen.
                        let is_here = dir::stat_path(&self.path)?.inode() == stat.inode();
                        Ok(is_here.then_some((at, stat.inode())))
                    })
                }
                Ok(_) => {
                    self.miss(turn);
                    return true;
                }
                Err(error) => Err(error),
            };
            match arrived {
                Ok(Some((at, inode))) => return self.arrive(at.as_fd(), inode, turn),
                Ok(None) => {}
                Err(error) if dir::is_not_found(&error) => {}
                Err(error) => {
                    self.stumble(&error, turn);
                    return true;
                }
            }
        }
        self.stumble(&io::Error::other("its path changes all the time"), turn);
        true
    }

    /// The path leads to a directory. True if it is another one than before.
    fn arrive(&mut self, at: BorrowedFd<'_>, inode: (u64, u64), turn: &mut Turn<'_>) -> bool {
        let is_watched_anew = self.eyes.watch(at);
        let is_known = self.home == Home::There(inode);
        if is_known && !is_watched_anew {
            return false;
        }
        if let Home::Gone(_) = self.home {
            self.say(Level::Notice, "the directory is there now", turn);
        }
        self.home = Home::There(inode);
        self.source = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        // Links in it may start from elsewhere now; whoever is there is looked at once more then.
        for route in self.files.trails.all().into_iter().filter(|route| *route != Route::Source) {
            self.files.trails.mark_names(&route, Mark::Check, &mut self.news.marks);
            self.news.moved.insert(route);
        }
        let scan = match (self.has_scanned, is_known) {
            (false, _) => Scan::First,
            (true, false) => Scan::Arrival,
            (true, true) => Scan::Blind,
        };
        self.scan(at, scan, turn);
        true
    }

    /// The path leads to no directory.
    fn miss(&mut self, turn: &mut Turn<'_>) {
        self.trouble = None;
        let what = match self.home {
            Home::Gone(_) => return,
            Home::Unknown if std::fs::exists(&self.path).unwrap_or(false) => {
                "this is not a directory, but vassals are files in one".to_owned()
            }
            Home::Unknown => "there is no such directory".to_owned(),
            Home::There(_) => format!(
                "the directory is gone; its {} vassals are stopped unless it is back within {:?}",
                self.files.count(),
                self.grace
            ),
        };
        self.say(Level::Warning, &format!("{what}; waiting for it to come"), turn);
        self.eyes.look_away();
        self.home = Home::Gone(turn.now);
        self.files.forget_plans();
    }

    /// The directory cannot be read: all stays as it is, and everything is compared when it can be.
    fn stumble(&mut self, error: &io::Error, turn: &mut Turn<'_>) {
        let why = format!(
            "cannot read the directory: {error}; its vassals stay as they are, tried again"
        );
        if self.trouble.as_ref().is_none_or(|trouble| trouble.why != why) {
            self.say(Level::Warning, &why, turn);
        }
        let again = Wait::retry(turn.now, self.trouble.as_ref().map(|trouble| &trouble.again));
        self.trouble = Some(Trouble { why, again });
        self.files.forget_plans();
    }

    /// Opens the directory, if it is still the one that is known.
    fn enter(&mut self, turn: &mut Turn<'_>) -> Option<OwnedFd> {
        for _ in 0..TRIES {
            let opened = dir::open(&self.path).and_then(|at| {
                let inode = dir::stat(at.as_fd())?.inode();
                Ok((at, inode))
            });
            match opened {
                Ok((at, inode)) if self.home == Home::There(inode) => return Some(at),
                Err(error) if !dir::is_not_found(&error) => {
                    self.stumble(&error, turn);
                    return None;
                }
                _ if self.locate(turn) => return None,
                _ => {}
            }
        }
        self.stumble(&io::Error::other("its path changes all the time"), turn);
        None
    }

    /// Says something about the directory.
    fn say(&self, level: Level, what: &str, turn: &mut Turn<'_>) {
        turn.out.log(level, format!("{}: {what}", self.shown));
    }

    fn scan(&mut self, at: BorrowedFd<'_>, scan: Scan, turn: &mut Turn<'_>) {
        match self.files.scan(at, scan, turn) {
            Err(error) => self.stumble(&error, turn),
            Ok(()) => {
                if self.trouble.take().is_some() {
                    self.say(Level::Notice, "the directory can be read again", turn);
                }
            }
        }
    }

    /// Looks at everything.
    fn scan_all(&mut self, turn: &mut Turn<'_>) {
        turn.out.is_full_scan = true;
        let is_blind = self.blind.is_some() || self.trouble.is_some();
        self.eyes.open(&mut self.files.trails);
        if !self.locate(turn) {
            let scan = if is_blind { Scan::Blind } else { Scan::Check };
            match dir::open(&self.path) {
                Ok(at) => self.scan(at.as_fd(), scan, turn),
                Err(error) => self.stumble(&error, turn),
            }
        }
        self.has_scanned = true;
        self.rescan_at = None;
        match self.eyes.refusal(&mut self.files.trails) {
            Some(error) => self.go_blind(&error, turn),
            None if self.blind.take().is_some() => {
                self.say(Level::Notice, "inotify is granted again: no more timed scans", turn);
            }
            None => {}
        }
    }

    /// Takes in what was told.
    fn hear(&mut self, turn: &mut Turn<'_>) {
        self.news = self.eyes.read(&self.files.filter, &mut self.files.trails);
        if self.news.have_entries_overflown || self.news.have_trails_overflown {
            self.say(Level::Warning, "events were lost: everything is compared", turn);
        }
        let has_moved = self.news.moved.remove(&Route::Source);
        if has_moved && !self.locate(turn) && self.trouble.is_some() {
            self.scan_all(turn);
        }
    }

    /// Acts on what was told, as much as one call may do.
    fn work(&mut self, turn: &mut Turn<'_>) {
        let is_told = !(self.news.marks.is_empty() && self.news.moved.is_empty());
        if is_told || self.files.is_scanning() {
            let told = std::mem::take(&mut self.news);
            // Where this leads elsewhere, all there is looked at anyway.
            if let Some(at) = self.enter(turn) {
                self.news = told;
                self.files.react(at.as_fd(), &mut self.news, turn);
                self.files.go_on_scanning(at.as_fd(), turn);
            }
        }
        let is_done = self.news.marks.is_empty() && self.news.moved.is_empty();
        if is_done && std::mem::take(&mut self.news.have_entries_overflown) {
            self.scan_all(turn);
        }
    }

    /// Not all events are told any more.
    fn go_blind(&mut self, error: &io::Error, turn: &mut Turn<'_>) {
        let why = error.to_string();
        if self.blind.as_ref() != Some(&why) {
            let text = format!(
                "inotify is refused: {why}; everything is looked at every {:?} until it is granted \
                 (see fs.inotify.max_user_instances and fs.inotify.max_user_watches)",
                self.period()
            );
            self.say(Level::Warning, &text, turn);
            self.blind = Some(why);
        }
    }

    /// The time between scans, where there are any.
    fn period(&self) -> Duration {
        if self.freq.is_zero() { BLIND_PERIOD } else { self.freq }
    }

    /// Ends every call: says when the next one is due.
    fn plan(&mut self, turn: &mut Turn<'_>) {
        if let Some(error) = self.eyes.refusal(&mut self.files.trails) {
            self.go_blind(&error, turn);
        }
        if let Some(what) = self.files.strangers.tell() {
            self.say(Level::Warning, &what, turn);
        }
        let is_due = self.blind.is_some() || !self.freq.is_zero();
        self.rescan_at = is_due.then(|| self.rescan_at.unwrap_or(turn.now + self.period()));
        let is_behind = !self.news.is_empty() || self.files.is_scanning();
        self.behind_since = is_behind.then_some(turn.now);
    }

    /// When the vassals of a missing directory are given up.
    fn grace_ends(&self) -> Option<Moment> {
        match self.home {
            Home::Gone(since) if self.files.count() > 0 => Some(since + self.grace),
            _ => None,
        }
    }
}

impl Monitor for Dir {
    fn source(&self) -> &Path {
        &self.source
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.eyes.descriptor()
    }

    fn deadline(&self) -> Option<Moment> {
        let again = self.trouble.as_ref().map(|trouble| trouble.again.due);
        [self.behind_since, self.files.next(), self.rescan_at, again, self.grace_ends()]
            .into_iter()
            .flatten()
            .min()
    }

    fn read(&mut self, now: Moment, out: &mut Changes) {
        let turn = &mut Turn { now, out };
        // While we are behind, events wait in the kernel, which has an end.
        if self.news.is_empty() {
            self.hear(turn);
        }
        self.work(turn);
        self.plan(turn);
    }

    fn expire(&mut self, now: Moment, out: &mut Changes) {
        let turn = &mut Turn { now, out };
        let is_due = |when: Option<Moment>| when.is_some_and(|when| when <= now);
        if is_due(self.grace_ends()) {
            self.files.lose_all(turn);
        }
        self.work(turn);
        if is_due(self.rescan_at) || is_due(self.trouble.as_ref().map(|trouble| trouble.again.due))
        {
            self.scan_all(turn);
        }
        // What was told comes before what was waited for: it may be that somebody writes again.
        if self.news.is_empty()
            && is_due(self.files.next())
            && let Some(at) = self.enter(turn)
        {
            let missed = self.files.expire(at.as_fd(), turn);
            if !missed.is_empty() {
                let what = format!("no event told the change of {}", list(&missed));
                self.say(Level::Warning, &what, turn);
            }
        }
        self.plan(turn);
    }

    fn rescan(&mut self, now: Moment, out: &mut Changes) {
        let turn = &mut Turn { now, out };
        self.scan_all(turn);
        self.plan(turn);
    }

    fn known(&self) -> Vec<(&OsStr, &super::VassalFile)> {
        self.files.known()
    }

    fn refused(&self) -> Vec<(&OsStr, &str)> {
        self.files.refused()
    }
}

/// The first few names, escaped.
fn list(names: &[OsString]) -> String {
    let shown: Vec<_> = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
