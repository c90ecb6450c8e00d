//! What monitors have in common: changes of vassal files.
//!
//! A monitor is a source of vassals. It says which names there are and what their files look like from
//! outside; it never opens a vassal file, starts nothing and prints nothing. What it tells are exact
//! differences: each name is found once, changed only when something differs, lost once.

mod address_file;
mod coalesce;
mod debounce;
pub mod dir_source;
mod dir_watch;
mod events;
mod names;
mod observe;
mod shared_watches;
mod symlinks;
mod unrecognized;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::log::Level;
use crate::sys::dir::{Links, Stat};
use crate::types::moment::Moment;
use crate::types::source_spec::SourceSpec;

use self::dir_source::DirSource;

/// How sources are watched.
#[derive(Clone, Debug)]
pub struct Options {
    /// What messages call the source.
    pub shown: String,
    /// Endings of vassal files besides the ordinary ones, each with its dot.
    pub extensions: Vec<OsString>,
    /// What follows a vassal's name in the name of the file with its on-demand address.
    pub on_demand_extension: Option<OsString>,
    /// Whether a link stands for its target, or for itself as with `emperor-nofollow`.
    pub links: Links,
    /// The period of rescans besides all events; zero: none.
    pub freq: Duration,
    /// How long the vassals outlive a directory that goes away; at least as long as a file that does.
    pub grace: Duration,
}

/// The monitor of a source, which has not looked yet.
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOMEM`: not even one descriptor can be had. `ENOENT` if a path is relative and the
/// working directory is gone.
pub fn open(spec: &SourceSpec, options: Options) -> io::Result<Box<dyn Monitor>> {
    match spec {
        SourceSpec::Dir(path) => Ok(Box::new(DirSource::new(path, options)?)),
    }
}

/// A source of vassals.
///
/// The caller polls [`descriptor`](Monitor::descriptor) for reading and calls
/// [`read`](Monitor::read) when it is readable, then [`expire`](Monitor::expire) when
/// [`deadline`](Monitor::deadline) has come, and starts with one [`rescan`](Monitor::rescan): what that
/// finds was there from the beginning. Nothing here blocks, and one call does a bounded piece of work.
pub trait Monitor {
    /// The source as statistics show it: of a directory the real path, without scheme.
    fn source(&self) -> &Path;

    /// Readable when [`read`](Monitor::read) has something to do; the same for the whole life.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// When [`expire`](Monitor::expire) wants to be called; `None` if everything is quiet.
    fn deadline(&self) -> Option<Moment>;

    /// Takes in what was told since; what is too much for one call leaves the descriptor readable.
    fn read(&mut self, now: Moment, out: &mut Changes);

    /// Does what is due.
    fn expire(&mut self, now: Moment, out: &mut Changes);

    /// Compares everything with what is known, and says what had been missed.
    fn rescan(&mut self, now: Moment, out: &mut Changes);

    /// All vassal files that it has told of and not told to be lost.
    fn known(&self) -> Vec<(&OsStr, &VassalFile)>;

    /// The files that would be vassals by their names and are refused, with the reasons.
    fn refused(&self) -> Vec<(&OsStr, &str)>;
}

/// What a monitor has to say; the caller empties it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The differences, in the order in which they must be acted on.
    pub changes: Vec<Change>,
    /// Lines for the log.
    pub notices: Vec<LogLine>,
    /// Everything is looked at again, whether or not an event has told of it.
    pub is_full_scan: bool,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The file in its source; any bytes but NUL, `/` and control characters, shorter than 255.
    pub name: OsString,
    /// What happened to it.
    pub kind: ChangeKind,
    /// It was found by the first look at its directory, in which nobody has just put it: at the start, or
    /// when the directory has come, has come back, or has taken the place of another.
    pub is_initial: bool,
}

/// What happened to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is there now and was not before.
    Found(VassalFile),
    /// Its [`FileVersion`] is another one, or its on-demand address.
    Changed(VassalFile),
    /// Its version is the same, but its owner or group is another one; only a tyrant minds.
    OwnerChanged(VassalFile),
    /// It is not there any more.
    Lost,
}

/// A vassal file from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VassalFile {
    /// What it looks like.
    pub version: FileVersion,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Whether all this is said of a symbolic link itself, not of what opening it would give.
    pub is_link: bool,
    /// Where to listen for it.
    pub on_demand: OnDemandAddress,
}

/// What tells two states of a file apart. The time of the last status change is left out: chmod is no
/// change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileVersion {
    /// The device of its file system.
    pub dev: u64,
    /// Its number there.
    pub ino: u64,
    /// Its length in bytes.
    pub size: u64,
    /// When its content was last changed: seconds, nanoseconds.
    pub mtime: (i64, u32),
}

impl FileVersion {
    /// Device and number: which file this is, as long as it exists.
    pub fn inode(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }
}

impl From<&Stat> for FileVersion {
    fn from(stat: &Stat) -> Self {
        Self { dev: stat.dev, ino: stat.ino, size: stat.size, mtime: stat.mtime }
    }
}

/// Where to listen for a vassal that starts on demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnDemandAddress {
    /// Nowhere: it is started at once.
    No,
    /// At this address, not checked yet.
    Address(Rc<str>),
    /// It is meant to be on demand, but the address cannot be had: why, without anything that stands
    /// in the file. It must not be started without its socket.
    Fault(Rc<str>),
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// The file it is about; if none, it is about the source.
    pub name: Option<OsString>,
    /// The sentence; names in it are escaped.
    pub text: String,
}

impl Changes {
    fn push(&mut self, name: &OsStr, kind: ChangeKind) {
        self.changes.push(Change { name: name.to_owned(), kind, is_initial: false });
    }

    /// All that was sighted after the first `count` was there already.
    fn mark_initial_after(&mut self, count: usize) {
        self.changes.iter_mut().skip(count).for_each(|change| change.is_initial = true);
    }

    fn log(&mut self, level: Level, text: String) {
        self.notices.push(LogLine { level, name: None, text });
    }

    fn warn_of(&mut self, name: &OsStr, text: String) {
        self.notices.push(LogLine { level: Level::Warning, name: Some(name.to_owned()), text });
    }
}
