//! What monitors have in common: changes of vassal files.
//!
//! A monitor is a source of vassals. It says which names there are and what their files look like from
//! outside; it never opens a vassal file, starts nothing and prints nothing. What it tells are exact
//! differences: each name is found once, changed only when something differs, lost once.

mod address_file;
mod change;
mod coalesce;
mod debounce;
pub mod dir_source;
mod dir_watch;
mod events;
mod known_names;
mod names;
mod observe;
mod scan;
mod shared_watches;
mod symlinks;
mod unrecognized;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use crate::sys::dir::Links;
use crate::types::moment::Moment;
use crate::types::source_spec::SourceSpec;

use self::dir_source::DirSource;

pub use self::change::{
    Change, ChangeKind, Changes, FileVersion, LogLine, OnDemandAddress, VassalFile,
};

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

    /// Reads events; what is too much for one call leaves the descriptor readable.
    fn read(&mut self, now: Moment, out: &mut Changes);

    /// Does what is due.
    fn expire(&mut self, now: Moment, out: &mut Changes);

    /// Compares everything with what is known, and says what had been missed.
    fn rescan(&mut self, now: Moment, out: &mut Changes);

    /// All vassal files that were found and are not lost.
    fn known(&self) -> Vec<(&OsStr, &VassalFile)>;

    /// The files that would be vassals by their names and are refused, with the reasons.
    fn refused(&self) -> Vec<(&OsStr, &str)>;
}
