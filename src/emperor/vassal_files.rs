//! Files that vassals have the emperor mind: `vacuum` removes them when a vassal is gone, a change of one that
//! `touch-reload` names is a reload.
//!
//! For a touch the directory is watched, as a file is often replaced by another one of its name; where the
//! name is a link, that of its target too. One inotify instance serves all; there is none while no vassal
//! asks for it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::path::Path;

use crate::log::{Level, escaped};
use crate::proto::status::{DeclaredFiles, FileMark};
use crate::reactor::{Interest, Kind};
use crate::state::{Event, LifeId, VassalId};
use crate::sys::dir;
use crate::sys::inotify::{self, Inotify, WatchDescriptor, WatchMask};

use super::Emperor;
use super::token::Token;

/// Events read in one wake-up.
const BUFFER: usize = 16 * 1024;
/// What can change a file: its end of writing, its times, another file in its place. What is just made is
/// looked at when it is closed.
const CHANGES: WatchMask =
    WatchMask::CLOSE_WRITE.with(WatchMask::ATTRIB).with(WatchMask::MOVED_TO).with(WatchMask::ADD);

/// Device, inode, size and time of change of a file.
type Stamp = (u64, u64, i64, i128);

/// One file that is watched for one vassal.
#[derive(Debug)]
struct Touched {
    path: OsString,
    stamp: Option<Stamp>,
    places: Vec<(WatchDescriptor, OsString)>,
}

/// What is minded for all vassals.
#[derive(Default)]
pub(super) struct VassalFiles {
    vacuum: HashMap<VassalId, Vec<FileMark>>,
    touched: HashMap<VassalId, Vec<Touched>>,
    inotify: Option<Inotify>,
}

fn stamp(path: &OsStr) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path).ok()?;
    let time = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    Some((meta.dev(), meta.ino(), meta.size().cast_signed(), time))
}

/// Removes what is still the file that was marked. The name is looked up once, and both looks at the file are
/// through the same open directory, so that a directory that is swapped meanwhile changes nothing.
fn remove(mark: &FileMark) -> std::io::Result<()> {
    let path = Path::new(&mark.path);
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let is_marked = |found: &dir::Stat| {
        let (seconds, nanos) = found.mtime;
        (found.dev, found.ino, FileMark::time((seconds, nanos.into())))
            == (mark.dev, mark.ino, mark.modified)
    };
    match dir::open(above).and_then(|above| dir::remove_if(above.as_fd(), name, is_marked)) {
        Err(error) if !dir::is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}

impl Emperor {
    /// The files that the stage of a life has named are the vassal's from now on. What was marked for the life
    /// before, and is not any more, is of no use to anybody.
    pub(super) fn mind(&mut self, vassal: VassalId, life: LifeId) {
        let named = self.lives.take_files(life);
        let DeclaredFiles { vacuum, touch } = named.map(|files| *files).unwrap_or_default();
        let old = self.vassal_files.vacuum.remove(&vassal).unwrap_or_default();
        let gone = old.iter().filter(|old| !vacuum.iter().any(|new| new.path == old.path));
        self.vacuum(vassal, gone);
        if !vacuum.is_empty() {
            self.vassal_files.vacuum.insert(vassal, vacuum);
        }
        self.vassal_files.forget_touched(vassal);
        if !touch.is_empty() {
            let touched = touch.into_iter().map(|path| self.watch_file(vassal, path)).collect();
            self.vassal_files.touched.insert(vassal, touched);
        }
    }

    /// The vassal is gone.
    pub(super) fn mind_no_more(&mut self, vassal: VassalId) {
        let marks = self.vassal_files.vacuum.remove(&vassal).unwrap_or_default();
        self.vacuum(vassal, marks.iter());
        self.vassal_files.forget_touched(vassal);
    }

    fn vacuum<'a>(&mut self, vassal: VassalId, marks: impl Iterator<Item = &'a FileMark>) {
        for mark in marks {
            if let Err(error) = remove(mark) {
                let path = Path::new(&mark.path).display();
                self.say_of(
                    vassal,
                    Level::Warning,
                    &format!("vacuum: cannot remove {path}: {error}"),
                );
            }
        }
    }

    fn say_of(&mut self, vassal: VassalId, level: Level, text: &str) {
        let record = self.realm.vassal(vassal);
        let label =
            record.map_or_else(|| "?".to_owned(), |record| self.context.sources.label(&record.key));
        self.context.log.line(level, format_args!("[{label}] {}", escaped(text.as_bytes())));
    }

    /// Watches the directory of a file, and that of its target.
    fn watch_file(&mut self, vassal: VassalId, path: OsString) -> Touched {
        let target = std::fs::canonicalize(&path).ok().filter(|target| target.as_os_str() != path);
        let mut touched = Touched { stamp: stamp(&path), path, places: Vec::new() };
        let names = [Some(Path::new(&touched.path).to_owned()), target];
        for name in names.into_iter().flatten() {
            match self.watch_name(&name) {
                Ok(place) => touched.places.push(place),
                Err(error) => {
                    let name = name.display();
                    let why = format!(
                        "touch-reload: {name} cannot be watched: {error}; its directory must be there"
                    );
                    self.say_of(vassal, Level::Warning, &why);
                }
            }
        }
        touched
    }

    fn watch_name(&mut self, path: &Path) -> std::io::Result<(WatchDescriptor, OsString)> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(std::io::ErrorKind::InvalidInput.into());
        };
        let directory = dir::open(above)?;
        if self.vassal_files.inotify.is_none() {
            let made = Inotify::new()?;
            self.context.reactor.add(made.as_fd(), Token::Touches, Interest::Read, Kind::Quiet);
            self.vassal_files.inotify = Some(made);
        }
        let inotify = self.vassal_files.inotify.as_ref().ok_or(std::io::ErrorKind::NotFound)?;
        Ok((inotify.watch(directory.as_fd(), CHANGES)?, name.to_owned()))
    }

    /// Something has happened in a watched directory.
    pub(super) fn read_touches(&mut self) {
        let mut buffer = [0; BUFFER];
        let read = self.vassal_files.inotify.as_ref().and_then(|it| it.read(&mut buffer).ok());
        let mut happened = Vec::new();
        for event in inotify::events(buffer.get(..read.unwrap_or(0)).unwrap_or_default()) {
            happened.push((
                event.watch,
                event.name.to_owned(),
                event.mask.has(WatchMask::OVERFLOW),
            ));
        }
        for (vassal, path) in self.vassal_files.changed(&happened) {
            let path = Path::new(&path).display();
            self.say_of(vassal, Level::Notice, &format!("touch-reload: {path} has changed"));
            if let Some(record) = self.realm.vassal(vassal) {
                let (key, file) = (record.key.clone(), record.file.clone());
                self.happen(Event::Changed { key, file });
            }
        }
    }
}

impl VassalFiles {
    /// The vassals of which a file is another now, each with the first of them.
    fn changed(
        &mut self,
        happened: &[(WatchDescriptor, OsString, bool)],
    ) -> Vec<(VassalId, OsString)> {
        let concerns = |touched: &Touched| {
            happened.iter().any(|(watch, name, all)| {
                *all || touched.places.iter().any(|place| place.0 == *watch && place.1 == *name)
            })
        };
        let mut changed = Vec::new();
        for (vassal, files) in &mut self.touched {
            let mut first = None;
            for touched in files.iter_mut().filter(|touched| concerns(touched)) {
                let now = stamp(&touched.path);
                // One that has gone away says nothing; one that comes back does.
                if now.is_some() && std::mem::replace(&mut touched.stamp, now) != now {
                    first = first.or_else(|| Some(touched.path.clone()));
                }
            }
            changed.extend(first.map(|path| (*vassal, path)));
        }
        changed.sort_by_key(|(vassal, _)| *vassal);
        changed
    }

    fn forget_touched(&mut self, vassal: VassalId) {
        let Some(files) = self.touched.remove(&vassal) else { return };
        let used = |watch: WatchDescriptor| {
            self.touched
                .values()
                .flatten()
                .flat_map(|file| &file.places)
                .any(|place| place.0 == watch)
        };
        for (watch, _) in files.iter().flat_map(|file| &file.places) {
            if let Some(inotify) = self.inotify.as_ref().filter(|_| !used(*watch)) {
                inotify.forget(*watch);
            }
        }
    }
}
