//! Files that the emperor looks after for vassals: `vacuum` removes them when a vassal is gone, a change of one that
//! `touch-reload` names is a reload.
//!
//! For a touch the directory is watched, as a file is often replaced by another one of its name; where the
//! name is a link, that of its target too. One inotify instance serves all; there is none while no vassal
//! asks for it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::path::Path;

use crate::log::Level;
use crate::proto::status::{DeclaredFiles, FileMark};
use crate::reactor::{Delivery, Interest};
use crate::state::VassalId;
use crate::state::realm::Realm;
use crate::sys::dir;
use crate::sys::inotify::{self, Inotify, WatchDescriptor, WatchMask};

use super::context::Context;
use super::token::Token;

/// Events read in one wake-up.
const TOUCH_BUFFER: usize = 16 * 1024;
/// What can change a file: its end of writing, its times, another file in its place. What is just made is
/// looked at when it is closed.
const CHANGES: WatchMask =
    WatchMask::CLOSE_WRITE.with(WatchMask::ATTRIB).with(WatchMask::MOVED_TO).with(WatchMask::ADD);

/// Device, inode, size and time of change of a file.
type TouchStamp = (u64, u64, i64, i128);

/// One file that is watched for one vassal.
#[derive(Debug)]
struct Touched {
    path: OsString,
    stamp: Option<TouchStamp>,
    places: Vec<(WatchDescriptor, OsString)>,
}

/// The files of all vassals.
#[derive(Default)]
pub(super) struct VassalFiles {
    vacuum: HashMap<VassalId, Vec<FileMark>>,
    touched: HashMap<VassalId, Vec<Touched>>,
    inotify: Option<Inotify>,
}

fn stamp(path: &OsStr) -> Option<TouchStamp> {
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

impl VassalFiles {
    /// Replaces the declared files of a vassal by those that the stage of a new life has named. Files that the life
    /// before wanted removed at its end are removed now, unless they are named again.
    pub fn replace(
        &mut self,
        vassal: VassalId,
        named: DeclaredFiles,
        realm: &Realm,
        context: &mut Context,
    ) {
        let DeclaredFiles { vacuum, touch } = named;
        let old = self.vacuum.remove(&vassal).unwrap_or_default();
        let gone = old.iter().filter(|old| !vacuum.iter().any(|new| new.path == old.path));
        remove_all(gone, vassal, realm, context);
        if !vacuum.is_empty() {
            self.vacuum.insert(vassal, vacuum);
        }
        self.forget_touched(vassal);
        if !touch.is_empty() {
            let watched = |path| self.watch_file(path, vassal, realm, context);
            let touched = touch.into_iter().map(watched).collect();
            self.touched.insert(vassal, touched);
        }
    }

    /// The vassal is gone: removes the files that it wanted removed, and stops watching the others.
    pub fn forget(&mut self, vassal: VassalId, realm: &Realm, context: &mut Context) {
        let marks = self.vacuum.remove(&vassal).unwrap_or_default();
        remove_all(marks.iter(), vassal, realm, context);
        self.forget_touched(vassal);
    }

    /// Watches the directory of a file, and that of its target.
    fn watch_file(
        &mut self,
        path: OsString,
        vassal: VassalId,
        realm: &Realm,
        context: &mut Context,
    ) -> Touched {
        let target = std::fs::canonicalize(&path).ok().filter(|target| target.as_os_str() != path);
        let mut touched = Touched { stamp: stamp(&path), path, places: Vec::new() };
        let names = [Some(Path::new(&touched.path).to_owned()), target];
        for name in names.into_iter().flatten() {
            match self.watch_name(&name, context) {
                Ok(place) => touched.places.push(place),
                Err(error) => {
                    let name = name.display();
                    let why = format!(
                        "touch-reload: {name} cannot be watched: {error}; its directory must be there"
                    );
                    log_for(vassal, Level::Warning, &why, realm, context);
                }
            }
        }
        touched
    }

    fn watch_name(
        &mut self,
        path: &Path,
        context: &mut Context,
    ) -> std::io::Result<(WatchDescriptor, OsString)> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(std::io::ErrorKind::InvalidInput.into());
        };
        let directory = dir::open(above)?;
        if self.inotify.is_none() {
            let made = Inotify::new()?;
            context.reactor.add(made.as_fd(), Token::Touches, Interest::Read, Delivery::Batched);
            self.inotify = Some(made);
        }
        let inotify = self.inotify.as_ref().ok_or(std::io::ErrorKind::NotFound)?;
        Ok((inotify.watch(directory.as_fd(), CHANGES)?, name.to_owned()))
    }

    /// Reads the events of the watched directories; gives the vassals of which a file has changed, each with the
    /// first such file.
    pub fn read(&mut self) -> Vec<(VassalId, OsString)> {
        let mut buffer = [0; TOUCH_BUFFER];
        let read = self.inotify.as_ref().and_then(|it| it.read(&mut buffer).ok());
        let mut happened = Vec::new();
        for event in inotify::events(buffer.get(..read.unwrap_or(0)).unwrap_or_default()) {
            happened.push((
                event.watch,
                event.name.to_owned(),
                event.mask.has(WatchMask::OVERFLOW),
            ));
        }
        self.changed(&happened)
    }

    /// The vassals of which a file has changed, each with the first such file.
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
                // A file that was removed is not a change; a file that has come back is one.
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

fn remove_all<'a>(
    marks: impl Iterator<Item = &'a FileMark>,
    vassal: VassalId,
    realm: &Realm,
    context: &mut Context,
) {
    for mark in marks {
        if let Err(error) = remove(mark) {
            let path = Path::new(&mark.path).display();
            let why = format!("vacuum: cannot remove {path}: {error}");
            log_for(vassal, Level::Warning, &why, realm, context);
        }
    }
}

fn log_for(vassal: VassalId, level: Level, text: &str, realm: &Realm, context: &mut Context) {
    context.log_for(realm.vassal(vassal).map(|record| &record.key), level, text);
}
