//! What monitors tell: changes of vassal files, and lines for the log.

use std::ffi::{OsStr, OsString};
use std::rc::Rc;

use crate::log::Level;
use crate::sys::dir::Stat;

/// What a monitor has to say; the caller empties it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The differences, in the order in which they must be acted on.
    pub changes: Vec<Change>,
    /// Lines for the log.
    pub notices: Vec<LogLine>,
    /// The source has been scanned as a whole.
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
    pub(super) fn push(&mut self, name: &OsStr, kind: ChangeKind) {
        self.changes.push(Change { name: name.to_owned(), kind, is_initial: false });
    }

    /// All changes after the first `count` are of files that were there already.
    pub(super) fn mark_initial_after(&mut self, count: usize) {
        self.changes.iter_mut().skip(count).for_each(|change| change.is_initial = true);
    }

    pub(super) fn log(&mut self, level: Level, text: String) {
        self.notices.push(LogLine { level, name: None, text });
    }

    pub(super) fn warn_of(&mut self, name: &OsStr, text: String) {
        self.notices.push(LogLine { level: Level::Warning, name: Some(name.to_owned()), text });
    }
}
