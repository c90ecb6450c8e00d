//! What a monitor of a directory sees by: two inotify instances and the mount table, behind one
//! descriptor.
//!
//! One instance watches the directory and nothing else, so that nothing else can fill its queue. The
//! other belongs to the trails.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::coalesce::{Mark, Marks, Reader};
use super::names::Filter;
use super::shared_watches::Route;
use super::symlinks::{Told, Trails};

use crate::sys::inotify::{self, Inotify, InotifyEvent, WatchDescriptor, WatchMask};
use crate::sys::mounts::Mounts;
use crate::sys::poll::{Epoll, Interest};

/// How many bytes of events one call takes in, from each of the two instances.
const MOST_EVENTS: usize = 128 * 1024;

/// Room for events; one read fills it at most.
const BUFFER: usize = 32 * 1024;

/// The longest event: a header and a name of 255 bytes.
const LONGEST_EVENT: usize = 272;

/// What the directory is watched for.
const ENTRIES: WatchMask = WatchMask::CREATE
    .with(WatchMask::MODIFY)
    .with(WatchMask::CLOSE_WRITE)
    .with(WatchMask::ATTRIB)
    .with(WatchMask::MOVED_FROM)
    .with(WatchMask::MOVED_TO)
    .with(WatchMask::DELETE)
    .with(WatchMask::DELETE_SELF)
    .with(WatchMask::MOVE_SELF)
    .with(WatchMask::EXCEPT_UNLINKED);

/// All that was told, and has not been acted on.
#[derive(Default)]
pub(super) struct News {
    /// What the names are to be looked at for.
    pub(super) marks: Marks,
    /// The routes that may lead elsewhere, that of the source among them.
    pub(super) moved: HashSet<Route>,
    /// Whether events of the directory are lost.
    pub(super) have_entries_overflown: bool,
    /// Whether events of the trails are lost; all of them are in `moved` then.
    pub(super) have_trails_overflown: bool,
}

impl News {
    /// Whether all is done.
    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty() && self.moved.is_empty() && !self.have_entries_overflown
    }
}

/// The eyes; any of them may be missing.
pub(super) struct Eyes {
    ready_set: Epoll,
    inotify: Option<Inotify>,
    watch: Option<WatchDescriptor>,
    mounts: Option<Mounts>,
    reader: Reader,
    buffer: Vec<u8>,
    refusal: Option<io::Error>,
}

impl Eyes {
    /// Closed eyes, but for the mount table.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`: not even one descriptor can be had.
    pub(super) fn new() -> io::Result<Self> {
        let ready_set = Epoll::new(0)?;
        // Without /proc only the scans notice what is mounted over the directory.
        let mounts = Mounts::open().ok();
        if let Some(mounts) = &mounts {
            ready_set.add(mounts.wakes(), Interest::Exception, 0)?;
        }
        let (inotify, watch, reader, refusal) = Default::default();
        Ok(Self { ready_set, inotify, watch, mounts, reader, buffer: vec![0; BUFFER], refusal })
    }

    /// Readable while there is news; the same for ever.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.ready_set.as_fd()
    }

    /// Asks for the instances that are missing, and forgets what was refused before.
    pub(super) fn open(&mut self, trails: &mut Trails) {
        self.refusal(trails);
        let open = || {
            let inotify = Inotify::new()?;
            self.ready_set.add(inotify.as_fd(), Interest::Read, 0)?;
            Ok(inotify)
        };
        if self.inotify.is_none() {
            match open() {
                Ok(inotify) => (self.inotify, self.watch) = (Some(inotify), None),
                Err(error) => self.refusal = Some(error),
            }
        }
        if trails.inotify().is_none() {
            match open() {
                Ok(inotify) => trails.open(inotify),
                Err(error) => self.refusal = Some(error),
            }
        }
    }

    /// What was refused since this was asked last: then not everything is told.
    pub(super) fn refusal(&mut self, trails: &mut Trails) -> Option<io::Error> {
        let (own, of_trails) = (self.refusal.take(), trails.refusal());
        own.or(of_trails)
    }

    /// Watches a directory, and no other. Says whether it was not watched before.
    pub(super) fn watch(&mut self, directory: BorrowedFd<'_>) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let watch = match inotify.watch(directory, ENTRIES) {
            Ok(watch) => Some(watch),
            Err(error) => {
                self.refusal = Some(error);
                None
            }
        };
        if watch == self.watch {
            return false;
        }
        if let Some(old) = std::mem::replace(&mut self.watch, watch) {
            inotify.forget(old);
        }
        true
    }

    /// Watches no directory.
    pub(super) fn look_away(&mut self) {
        if let (Some(inotify), Some(watch)) = (&self.inotify, self.watch.take()) {
            inotify.forget(watch);
        }
    }

    /// Takes in what was told, in one bounded piece.
    pub(super) fn read(&mut self, filter: &Filter, trails: &mut Trails) -> News {
        let mut news = News::default();
        self.read_entries(filter, &mut news);
        self.read_trails(trails, &mut news);
        news
    }

    fn read_entries(&mut self, filter: &Filter, news: &mut News) {
        let Some(inotify) = &self.inotify else { return };
        let result = drain(inotify, &mut self.buffer, |event| {
            if event.mask.has(WatchMask::OVERFLOW) {
                news.have_entries_overflown = true;
            } else if Some(event.watch) != self.watch {
                // Left over from a directory that was here before.
            } else if event.name.is_empty() {
                news.moved.insert(Route::Source);
                if event.mask.has(WatchMask::IGNORED) {
                    self.watch = None;
                }
            } else {
                self.reader.note(&event, filter, &mut news.marks);
            }
        });
        if let Err(error) = result {
            // An instance that cannot be read would stay readable for ever.
            (self.inotify, self.watch, self.refusal) = (None, None, Some(error));
            news.have_entries_overflown = true;
        }
    }

    fn read_trails(&mut self, trails: &mut Trails, news: &mut News) {
        let mut told = Told::default();
        if let Some(inotify) = trails.inotify() {
            let result = drain(&inotify, &mut self.buffer, |event| trails.note(&event, &mut told));
            if let Err(error) = result {
                trails.close();
                self.refusal = Some(error);
                told.has_overflown = true;
            }
        }
        let is_mounted = self.mounts.as_ref().is_some_and(Mounts::changed);
        if is_mounted || told.has_overflown {
            trails.all().iter().for_each(|route| told.marks.add(route, Mark::Check));
        }
        if is_mounted {
            news.moved.insert(Route::Source);
        }
        if told.has_overflown {
            news.moved.extend(trails.all());
        }
        news.have_trails_overflown = told.has_overflown;
        news.moved.extend(told.moved);
        while let Some((route, mark)) = told.marks.pop() {
            trails.mark_names(&route, mark, &mut news.marks);
        }
    }
}

/// Takes in events until there are none, or too many for one call: those stay for the next.
fn drain(
    inotify: &Inotify,
    buffer: &mut [u8],
    mut take: impl FnMut(InotifyEvent<'_>),
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
