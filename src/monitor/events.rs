//! The kernel's events for one directory: two inotify instances and the mount table, behind one descriptor.
//!
//! One instance watches the directory and nothing else, so that nothing else can fill its queue. The other watches
//! the paths of links (`symlinks.rs`).

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::coalesce::{Coalescer, EventQueue, NameEvent};
use super::names::NameRules;
use super::shared_watches::Route;
use super::symlinks::{PathWatches, RouteEvents};

use crate::sys::inotify::{self, Inotify, InotifyEvent, WatchDescriptor, WatchMask};
use crate::sys::mounts::Mounts;
use crate::sys::poll::{Epoll, Interest};

/// How many bytes of events one call takes in, from each of the two instances.
const MAX_EVENT_BYTES: usize = 128 * 1024;

/// Room for events; one read fills it at most.
const EVENT_BUFFER: usize = 32 * 1024;

/// The longest event: a header and a name of 255 bytes.
const MAX_EVENT_SIZE: usize = 272;

/// What the directory is watched for.
const ON_DIRECTORY: WatchMask = WatchMask::CREATE
    .with(WatchMask::MODIFY)
    .with(WatchMask::CLOSE_WRITE)
    .with(WatchMask::ATTRIB)
    .with(WatchMask::MOVED_FROM)
    .with(WatchMask::MOVED_TO)
    .with(WatchMask::DELETE)
    .with(WatchMask::DELETE_SELF)
    .with(WatchMask::MOVE_SELF)
    .with(WatchMask::EXCEPT_UNLINKED);

/// Events that are not processed yet.
#[derive(Default)]
pub(super) struct PendingEvents {
    /// The names that are to be looked at, each for this event.
    pub(super) names: EventQueue,
    /// The routes that may lead elsewhere, that of the source among them.
    pub(super) moved: HashSet<Route>,
    /// Whether events of the directory are lost.
    pub(super) entries_lost: bool,
    /// Whether events of the paths are lost; all routes are in `moved` then.
    pub(super) paths_lost: bool,
}

impl PendingEvents {
    /// Whether all is done.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.moved.is_empty() && !self.entries_lost
    }
}

/// The sources of events, each of which may be missing.
pub(super) struct EventReader {
    ready_set: Epoll,
    inotify: Option<Inotify>,
    watch: Option<WatchDescriptor>,
    mounts: Option<Mounts>,
    reader: Coalescer,
    buffer: Vec<u8>,
    refusal: Option<io::Error>,
}

impl EventReader {
    /// None but the mount table.
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
        Ok(Self {
            ready_set,
            inotify,
            watch,
            mounts,
            reader,
            buffer: vec![0; EVENT_BUFFER],
            refusal,
        })
    }

    /// Readable while there are events; the same for the whole life.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.ready_set.as_fd()
    }

    /// Asks for the instances that are missing, and forgets what was refused before.
    pub(super) fn open(&mut self, paths: &mut PathWatches) {
        self.refusal(paths);
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
        if paths.inotify().is_none() {
            match open() {
                Ok(inotify) => paths.open(inotify),
                Err(error) => self.refusal = Some(error),
            }
        }
    }

    /// What was refused since this was asked last: then there are not events for everything.
    pub(super) fn refusal(&mut self, paths: &mut PathWatches) -> Option<io::Error> {
        let (own, of_paths) = (self.refusal.take(), paths.refusal());
        own.or(of_paths)
    }

    /// Watches a directory, and no other. Says whether it was not watched before.
    pub(super) fn watch(&mut self, directory: BorrowedFd<'_>) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let watch = match inotify.watch(directory, ON_DIRECTORY) {
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
    pub(super) fn unwatch(&mut self) {
        if let (Some(inotify), Some(watch)) = (&self.inotify, self.watch.take()) {
            inotify.forget(watch);
        }
    }

    /// Reads events, in one bounded piece.
    pub(super) fn read(&mut self, filter: &NameRules, paths: &mut PathWatches) -> PendingEvents {
        let mut pending_events = PendingEvents::default();
        self.read_entries(filter, &mut pending_events);
        self.read_paths(paths, &mut pending_events);
        pending_events
    }

    fn read_entries(&mut self, filter: &NameRules, pending_events: &mut PendingEvents) {
        let Some(inotify) = &self.inotify else { return };
        let result = drain(inotify, &mut self.buffer, |event| {
            if event.mask.has(WatchMask::OVERFLOW) {
                pending_events.entries_lost = true;
            } else if Some(event.watch) != self.watch {
                // Left over from a directory that was here before.
            } else if event.name.is_empty() {
                pending_events.moved.insert(Route::Directory);
                if event.mask.has(WatchMask::IGNORED) {
                    self.watch = None;
                }
            } else {
                self.reader.add_event(&event, filter, &mut pending_events.names);
            }
        });
        if let Err(error) = result {
            // An instance that cannot be read would stay readable for ever.
            (self.inotify, self.watch, self.refusal) = (None, None, Some(error));
            pending_events.entries_lost = true;
        }
    }

    fn read_paths(&mut self, paths: &mut PathWatches, pending_events: &mut PendingEvents) {
        let mut route_events = RouteEvents::default();
        if let Some(inotify) = paths.inotify() {
            let result =
                drain(&inotify, &mut self.buffer, |event| paths.note(&event, &mut route_events));
            if let Err(error) = result {
                paths.close();
                self.refusal = Some(error);
                route_events.is_lost = true;
            }
        }
        let is_mounted = self.mounts.as_ref().is_some_and(Mounts::changed);
        if is_mounted || route_events.is_lost {
            paths.all().iter().for_each(|route| route_events.names.add(route, NameEvent::Touched));
        }
        if is_mounted {
            pending_events.moved.insert(Route::Directory);
        }
        if route_events.is_lost {
            pending_events.moved.extend(paths.all());
        }
        pending_events.paths_lost = route_events.is_lost;
        pending_events.moved.extend(route_events.moved);
        while let Some((route, mark)) = route_events.names.pop() {
            paths.queue_for_names(&route, mark, &mut pending_events.names);
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
    while taken < MAX_EVENT_BYTES {
        let length = inotify.read(buffer)?;
        inotify::events(buffer.get(..length).unwrap_or_default()).for_each(&mut take);
        taken += length;
        if length + MAX_EVENT_SIZE <= buffer.len() {
            break;
        }
    }
    Ok(())
}
