//! `dir://`: the vassal files of one directory, by inotify.
//!
//! Two instances: one watches the directory and nothing else, the other (`trail.rs`) the path to it and
//! what links in it lead to. Events only say where to look; what is known comes from stat(2) alone, so
//! lost or needless events do no harm. Nothing is held open, so that file systems can be unmounted.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::files::{Files, Scan, Turn};
use super::filter::Filter;
use super::marks::{Mark, Marks, Reader};
use super::trail::{TRIES, Told};
use super::waits::{WRITER_SILENT, Wait};
use super::watches::Route;
use super::{Level, Monitor, Out};
use crate::sys::bundle::{Bundle, Interest};
use crate::sys::dir::{self, Kind, Links};
use crate::sys::inotify::{self, Inotify, Mask, Watch};
use crate::sys::mounts::Mounts;

/// How often everything is looked at while inotify is refused, unless `freq` says otherwise.
const BLIND_PERIOD: Duration = Duration::from_secs(3);

/// How many names a line of the log shows.
const SHOWN: usize = 5;

/// How many bytes of events one call takes in, from each of the two instances.
const MOST_EVENTS: usize = 128 * 1024;

/// Room for events; one read fills it at most.
const BUFFER: usize = 32 * 1024;

/// The longest event: a header and a name of 255 bytes.
const LONGEST_EVENT: usize = 272;

/// What the directory is watched for.
const ENTRIES: Mask = Mask::CREATE
    .and(Mask::MODIFY)
    .and(Mask::CLOSE_WRITE)
    .and(Mask::ATTRIB)
    .and(Mask::MOVED_FROM)
    .and(Mask::MOVED_TO)
    .and(Mask::DELETE)
    .and(Mask::DELETE_SELF)
    .and(Mask::MOVE_SELF)
    .and(Mask::EXCEPT_UNLINKED);

/// How a directory is watched.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory; a relative path counts from where we are when the monitor is made.
    pub path: PathBuf,
    /// Endings of vassal files besides the ordinary ones, each with its dot.
    pub extensions: Vec<OsString>,
    /// What follows a vassal's name in the name of the file with its on-demand address.
    pub on_demand_extension: Option<OsString>,
    /// Whether a link stands for its target, or for itself as with `emperor-nofollow`.
    pub links: Links,
    /// The period of rescans besides all events; zero: none.
    pub freq: Duration,
    /// How long the vassals outlive a directory that goes away.
    pub grace: Duration,
}

/// Where the directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    /// Nobody has looked yet.
    Unknown,
    /// The path leads to this device and number.
    There((u64, u64)),
    /// The path leads to no directory, since then.
    Gone(Instant),
}

/// The monitor of one directory.
pub struct Dir {
    path: PathBuf,
    source: PathBuf,
    freq: Duration,
    grace: Duration,
    bundle: Bundle,
    inotify: Option<Inotify>,
    watch: Option<Watch>,
    mounts: Option<Mounts>,
    reader: Reader,
    buffer: Vec<u8>,
    files: Files,
    home: Home,
    /// What inotify has refused in this call.
    refusal: Option<io::Error>,
    /// Why not all events are told, if so.
    blind: Option<String>,
    /// What is wrong with the directory, and when it is tried again.
    trouble: Option<Trouble>,
    rescan_at: Option<Instant>,
    has_scanned: bool,
}

/// The directory is there, but it cannot be read.
struct Trouble {
    why: String,
    again: Wait,
}

/// What the events of the directory say about itself.
#[derive(Default)]
struct Entries {
    have_moved: bool,
    have_overflown: bool,
}

impl Dir {
    /// A monitor that has not looked yet. That inotify is refused is no error: it is tried again.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`: not even one descriptor can be had. `ENOENT` if the path is
    /// relative and the working directory is gone.
    pub fn new(options: Options) -> io::Result<Self> {
        let path = std::path::absolute(&options.path)?;
        let filter = Filter::new(&options.extensions, options.on_demand_extension);
        let bundle = Bundle::new()?;
        // Without /proc only the scans notice what is mounted over the directory.
        let mounts = Mounts::open().ok();
        if let Some(mounts) = &mounts {
            bundle.add(mounts.wakes(), Interest::Urgent)?;
        }
        Ok(Self {
            source: path.clone(),
            path,
            freq: options.freq,
            grace: options.grace,
            bundle,
            inotify: None,
            watch: None,
            mounts,
            reader: Reader::default(),
            buffer: vec![0; BUFFER],
            files: Files::new(filter, options.links, WRITER_SILENT.max(options.freq)),
            home: Home::Unknown,
            refusal: None,
            blind: None,
            trouble: None,
            rescan_at: None,
            has_scanned: false,
        })
    }

    /// Takes in the events of the directory.
    fn read_entries(&mut self, marks: &mut Marks) -> Entries {
        let mut entries = Entries::default();
        let Some(inotify) = &self.inotify else { return entries };
        let result = drain(inotify, &mut self.buffer, |event| {
            if event.mask.has(Mask::OVERFLOW) {
                entries.have_overflown = true;
            } else if Some(event.watch) != self.watch {
                // Left over from a directory that was here before.
            } else if event.name.is_empty() {
                entries.have_moved = true;
                if event.mask.has(Mask::IGNORED) {
                    self.watch = None;
                }
            } else {
                self.reader.note(&event, &self.files.filter, marks);
            }
        });
        if let Err(error) = result {
            // An instance that cannot be read would stay readable for ever.
            (self.inotify, self.watch, self.refusal) = (None, None, Some(error));
            entries.have_overflown = true;
        }
        entries
    }

    /// Takes in the events of the trails and the news of mounts.
    fn read_trails(&mut self, marks: &mut Marks) -> Told {
        let mut told = Told::default();
        let trails = &mut self.files.trails;
        if let Some(inotify) = trails.inotify() {
            let result = drain(&inotify, &mut self.buffer, |event| trails.note(&event, &mut told));
            if let Err(error) = result {
                trails.close();
                self.refusal = Some(error);
                told.has_overflown = true;
            }
        }
        let is_mounted = self.mounts.as_ref().is_some_and(Mounts::changed);
        if is_mounted {
            told.moved.insert(Route::Source);
        }
        if told.has_overflown {
            told.moved = trails.all();
        }
        if is_mounted || told.has_overflown {
            trails.all().iter().for_each(|route| told.marks.add(route, Mark::Check));
        }
        for (route, mark) in told.marks.take() {
            trails.mark_names(&route, mark, marks);
        }
        told
    }

    /// Finds out where the path leads. True if that is all there is to do: what is there has been
    /// looked at, or nothing can be.
    fn locate(&mut self, turn: &mut Turn<'_>) -> bool {
        for _ in 0..TRIES {
            let end = self.files.trails.walk_source(self.path.as_os_str());
            let arrived = match end {
                Ok(Some((object, stat))) if stat.kind == Kind::Directory => {
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
                Err(error) if dir::is_nowhere(&error) => {}
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
        let watch = match self.inotify.as_ref().map(|inotify| inotify.watch(at, ENTRIES)) {
            None => None,
            Some(Ok(watch)) => Some(watch),
            Some(Err(error)) => {
                self.refusal = Some(error);
                None
            }
        };
        if self.home == Home::There(inode) && self.watch == watch {
            return false;
        }
        if let (Some(inotify), Some(old)) =
            (&self.inotify, self.watch.filter(|old| Some(*old) != watch))
        {
            inotify.forget(old);
        }
        if let Home::Gone(_) = self.home {
            self.say(Level::Notice, "the directory is there now", turn);
        }
        (self.home, self.watch) = (Home::There(inode), watch);
        self.source = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let scan = if self.has_scanned { Scan::Blind } else { Scan::First };
        self.scan(at, scan, turn);
        true
    }

    /// The path leads to no directory.
    fn miss(&mut self, turn: &mut Turn<'_>) {
        self.trouble = None;
        let what = match self.home {
            Home::Gone(_) => return,
            Home::Unknown => "there is no such directory".to_owned(),
            Home::There(_) => {
                format!("the directory is gone, and its {} vassals with it", self.files.count())
            }
        };
        self.say(Level::Warning, &format!("{what}; waiting for it to come"), turn);
        if let (Some(inotify), Some(watch)) = (&self.inotify, self.watch.take()) {
            inotify.forget(watch);
        }
        self.home = Home::Gone(turn.now);
        self.files.waits.clear();
        if self.grace.is_zero() {
            self.files.lose_all(turn);
        }
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
        self.files.waits.clear();
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
                Err(error) if !dir::is_nowhere(&error) => {
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
        turn.out.say(level, format!("{}: {what}", self.path.display()));
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
        let is_blind = self.blind.is_some() || self.trouble.is_some();
        self.open_eyes();
        if !self.locate(turn) {
            let scan = if is_blind { Scan::Blind } else { Scan::Check };
            match dir::open(&self.path) {
                Ok(at) => self.scan(at.as_fd(), scan, turn),
                Err(error) => self.stumble(&error, turn),
            }
        }
        self.has_scanned = true;
        self.rescan_at = None;
        let refusal = self.refusal();
        if refusal.is_none() && self.blind.take().is_some() {
            self.say(Level::Notice, "inotify is granted again: no more timed scans", turn);
        }
        self.refusal = refusal;
    }

    /// Asks for what was refused before. That there is an answer at all is forgotten, so that what is
    /// refused now can be told from it.
    fn open_eyes(&mut self) {
        self.refusal();
        let open = || {
            let inotify = Inotify::new()?;
            self.bundle.add(inotify.as_fd(), Interest::Read)?;
            Ok(inotify)
        };
        if self.inotify.is_none() {
            match open() {
                Ok(inotify) => self.inotify = Some(inotify),
                Err(error) => self.refusal = Some(error),
            }
            self.watch = None;
        }
        if self.files.trails.inotify().is_none() {
            match open() {
                Ok(inotify) => self.files.trails.open(inotify),
                Err(error) => self.refusal = Some(error),
            }
        }
    }

    fn refusal(&mut self) -> Option<io::Error> {
        let (own, trails) = (self.refusal.take(), self.files.trails.refusal());
        own.or(trails)
    }

    /// Ends every call: says when the next one is due.
    fn plan(&mut self, turn: &mut Turn<'_>) {
        let period = if self.freq.is_zero() { BLIND_PERIOD } else { self.freq };
        if let Some(error) = self.refusal() {
            let why = error.to_string();
            if self.blind.as_ref() != Some(&why) {
                let text = format!(
                    "inotify is refused: {why}; everything is looked at every {period:?} until it is \
                     granted (see fs.inotify.max_user_instances and fs.inotify.max_user_watches)"
                );
                self.say(Level::Warning, &text, turn);
                self.blind = Some(why);
            }
        }
        let is_due = self.blind.is_some() || !self.freq.is_zero();
        self.rescan_at = is_due.then(|| self.rescan_at.unwrap_or(turn.now + period));
    }

    /// When the vassals of a missing directory are given up.
    fn grace_ends(&self) -> Option<Instant> {
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
        self.bundle.as_fd()
    }

    fn deadline(&self) -> Option<Instant> {
        let again = self.trouble.as_ref().map(|trouble| trouble.again.due);
        [self.files.waits.next(), self.rescan_at, again, self.grace_ends()]
            .into_iter()
            .flatten()
            .min()
    }

    fn read(&mut self, now: Instant, out: &mut Out) {
        let turn = &mut Turn { now, out };
        let mut marks = Marks::default();
        let entries = self.read_entries(&mut marks);
        let mut told = self.read_trails(&mut marks);
        if entries.have_overflown || told.has_overflown {
            self.say(Level::Warning, "events were lost: everything is compared", turn);
        }
        let has_moved = told.moved.remove(&Route::Source) || entries.have_moved;
        if has_moved && !self.locate(turn) && self.trouble.is_some() {
            self.scan_all(turn);
        }
        let marks = marks.take();
        if !(marks.is_empty() && told.moved.is_empty())
            && let Some(at) = self.enter(turn)
        {
            for route in &told.moved {
                self.files.trails.walk_again(route, at.as_fd());
            }
            self.files.react(at.as_fd(), marks, turn);
        }
        if entries.have_overflown {
            self.scan_all(turn);
        }
        self.plan(turn);
    }

    fn expire(&mut self, now: Instant, out: &mut Out) {
        let turn = &mut Turn { now, out };
        let is_due = |when: Option<Instant>| when.is_some_and(|when| when <= now);
        if is_due(self.grace_ends()) {
            self.files.lose_all(turn);
        }
        if is_due(self.rescan_at) || is_due(self.trouble.as_ref().map(|trouble| trouble.again.due))
        {
            self.scan_all(turn);
        }
        if is_due(self.files.waits.next())
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

    fn rescan(&mut self, now: Instant, out: &mut Out) {
        let turn = &mut Turn { now, out };
        self.scan_all(turn);
        self.plan(turn);
    }

    fn refused(&self) -> Vec<(&OsStr, &str)> {
        self.files.refused()
    }
}

/// Takes in events until there are none, or too many for one call: those stay for the next.
fn drain(
    inotify: &Inotify,
    buffer: &mut [u8],
    mut take: impl FnMut(inotify::Event<'_>),
) -> io::Result<()> {
    let mut taken = 0;
    while taken < MOST_EVENTS {
        let length = inotify.read(buffer)?;
        inotify::events(buffer.get(..length).unwrap_or_default()).for_each(&mut take);
        taken += length;
        if length + LONGEST_EVENT <= buffer.len() {
            break;
        }
    }
    Ok(())
}

/// The first few names, escaped.
fn list(names: &[OsString]) -> String {
    let shown: Vec<_> = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
