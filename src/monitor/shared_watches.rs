//! Watches that several routes share: which route gets an event, and what the kernel is asked for.
//!
//! One inotify instance has one watch for each inode, with one mask. The mask is the union of
//! what the routes want, and never wider for long, so that there are no needless wake-ups.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use super::coalesce::NameEvent;
use crate::sys::inotify::{Inotify, InotifyEvent, WatchDescriptor, WatchMask};

/// A directory on the way: it was moved or removed.
pub(super) const ON_PATH_DIR: WatchMask = WatchMask::MOVE_SELF.with(WatchMask::DELETE_SELF);
/// A link on the way; when it is replaced by rename(2), its number of links changes.
pub(super) const ON_SYMLINK: WatchMask = ON_PATH_DIR.with(WatchMask::ATTRIB);
/// A file at the end.
pub(super) const ON_FILE: WatchMask =
    ON_SYMLINK.with(WatchMask::CLOSE_WRITE).with(WatchMask::MODIFY);
/// By name: what is missing has come.
pub(super) const ON_MISSING: WatchMask =
    WatchMask::CREATE.with(WatchMask::MOVED_TO).with(WatchMask::CLOSE_WRITE);
/// By name: the last directory has gone. That another is moved over it is an event of the directory.
pub(super) const ON_PARENT: WatchMask = WatchMask::DELETE;
/// The same where the directory itself is not watched for what happens to it.
pub(super) const ON_PARENT_OF_MISSING: WatchMask = ON_PARENT.with(WatchMask::MOVED_TO);

/// What a path is followed for; names that need the same path share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Route {
    /// The source itself.
    Directory,
    /// Links in the source with this text.
    Link(Rc<OsStr>),
    /// Files in the source with this device and number, which have other names elsewhere.
    Inode(u64, u64),
}

/// What an event means for a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteEvent {
    /// The end is the same; this has happened to it.
    TargetChanged(NameEvent),
    /// The route may lead elsewhere: walk it anew, then this has happened.
    PathChanged(NameEvent),
}

/// The answer to the wish to watch something.
pub(super) enum WatchResult {
    /// It is watched as long as the route holds on to this.
    Watched(WatchRef),
    /// We may not read it; then it would be of no use as a vassal file either.
    Unreadable,
    /// No watch is left, or there is no instance.
    Refused,
}

/// What one route holds on to.
#[derive(Debug)]
pub(super) struct WatchRef {
    watch: WatchDescriptor,
    name: Option<OsString>,
}

/// One watch and the routes behind it.
#[derive(Default)]
struct SharedWatch {
    mask: WatchMask,
    wanted: MaskCounts,
    own: HashMap<Route, WatchMask>,
    named: HashMap<OsString, HashMap<Route, WatchMask>>,
}

impl SharedWatch {
    fn acquire(&mut self, route: &Route, mask: WatchMask, name: Option<&OsStr>) {
        let routes = match name {
            None => &mut self.own,
            Some(name) => self.named.entry(name.to_owned()).or_default(),
        };
        let entry = routes.entry(route.clone()).or_default();
        let before = std::mem::replace(entry, *entry | mask);
        let now = *entry;
        self.wanted.acquire(now);
        // Nobody wants the empty mask of a new entry.
        self.wanted.release(before);
    }

    fn release(&mut self, route: &Route, name: Option<&OsStr>) {
        let Some(name) = name else {
            return self.own.remove(route).into_iter().for_each(|mask| self.wanted.release(mask));
        };
        let Some(routes) = self.named.get_mut(name) else { return };
        let before = routes.remove(route);
        if routes.is_empty() {
            self.named.remove(name);
        }
        before.into_iter().for_each(|mask| self.wanted.release(mask));
    }
}

/// How many routes want each mask: there are few masks, but may be thousands of routes.
#[derive(Default)]
struct MaskCounts(Vec<(WatchMask, usize)>);

impl MaskCounts {
    fn acquire(&mut self, mask: WatchMask) {
        match self.0.iter_mut().find(|(wanted, _)| *wanted == mask) {
            Some((_, count)) => *count += 1,
            None => self.0.push((mask, 1)),
        }
    }

    fn release(&mut self, mask: WatchMask) {
        let Some(at) = self.0.iter().position(|(wanted, _)| *wanted == mask) else { return };
        if let Some((_, count)) = self.0.get_mut(at) {
            *count -= 1;
            if *count == 0 {
                self.0.swap_remove(at);
            }
        }
    }

    /// All that anybody wants.
    fn union(&self) -> WatchMask {
        self.0.iter().fold(WatchMask::NONE, |all, (mask, _)| all | *mask)
    }
}

/// All shared watches of one instance, which may be missing.
#[derive(Default)]
pub(super) struct SharedWatches {
    inotify: Option<Rc<Inotify>>,
    watched: HashMap<WatchDescriptor, SharedWatch>,
    refusal: Option<io::Error>,
}

impl SharedWatches {
    /// Takes an instance; what was watched before must be watched anew.
    pub(super) fn open(&mut self, inotify: Inotify) {
        self.inotify = Some(Rc::new(inotify));
        self.watched.clear();
    }

    /// Drops the instance.
    pub(super) fn close(&mut self) {
        self.inotify = None;
        self.watched.clear();
    }

    /// The instance, to be read.
    pub(super) fn inotify(&self) -> Option<Rc<Inotify>> {
        self.inotify.clone()
    }

    /// Why a watch was refused since this was asked last, if one was.
    pub(super) fn refusal(&mut self) -> Option<io::Error> {
        self.refusal.take()
    }

    /// Watches an object for a route, as itself or, if there is a name, for that name in it.
    pub(super) fn acquire(
        &mut self,
        route: &Route,
        object: BorrowedFd<'_>,
        mask: WatchMask,
        name: Option<&OsStr>,
    ) -> WatchResult {
        let Some(inotify) = &self.inotify else { return WatchResult::Refused };
        let watch = match inotify.watch(object, mask | WatchMask::ADD) {
            Ok(watch) => watch,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return WatchResult::Unreadable;
            }
            Err(error) => {
                self.refusal = Some(error);
                return WatchResult::Refused;
            }
        };
        let watched = self.watched.entry(watch).or_default();
        watched.acquire(route, mask, name);
        let wanted = watched.wanted.union();
        let asked = watched.mask | mask;
        watched.mask = match asked == wanted || inotify.watch(object, wanted).is_err() {
            true => asked,
            false => wanted,
        };
        WatchResult::Watched(WatchRef { watch, name: name.map(OsStr::to_owned) })
    }

    /// Takes the wishes of a route back; the watches stay until [`SharedWatches::forget`], so that no event is lost
    /// when it wants the same objects again.
    pub(super) fn release(&mut self, route: &Route, watches: &[WatchRef]) {
        for acquire in watches {
            if let Some(watched) = self.watched.get_mut(&acquire.watch) {
                watched.release(route, acquire.name.as_deref());
            }
        }
    }

    /// Ends those of the watches that nobody needs any more.
    pub(super) fn forget(&mut self, watches: &[WatchRef]) {
        for acquire in watches {
            let is_unused =
                |watched: &SharedWatch| watched.own.is_empty() && watched.named.is_empty();
            if self.watched.get(&acquire.watch).is_some_and(is_unused) {
                self.watched.remove(&acquire.watch);
                if let Some(inotify) = &self.inotify {
                    inotify.forget(acquire.watch);
                }
            }
        }
    }

    /// Gives each route what an event means for it.
    pub(super) fn dispatch(
        &mut self,
        event: &InotifyEvent<'_>,
        mut dispatch: impl FnMut(&Route, RouteEvent),
    ) {
        if event.mask.has(WatchMask::IGNORED) {
            let Some(watched) = self.watched.remove(&event.watch) else { return };
            let named = watched.named.values().flat_map(HashMap::keys);
            watched
                .own
                .keys()
                .chain(named)
                .for_each(|route| dispatch(route, RouteEvent::PathChanged(NameEvent::Touched)));
            return;
        }
        let Some(watched) = self.watched.get(&event.watch) else { return };
        if event.name.is_empty() {
            for (route, mask) in watched.own.iter().filter(|(_, mask)| event.mask.has(**mask)) {
                dispatch(route, event_on_itself(event.mask, *mask));
            }
        } else if let Some(routes) = watched.named.get(event.name) {
            for (route, _) in routes.iter().filter(|(_, mask)| event.mask.has(**mask)) {
                dispatch(route, event_on_name(event.mask));
            }
        }
    }
}

fn event_on_itself(seen: WatchMask, wanted: WatchMask) -> RouteEvent {
    if seen.has(WatchMask::CLOSE_WRITE) {
        RouteEvent::TargetChanged(NameEvent::Complete)
    } else if seen.has(WatchMask::MODIFY) {
        RouteEvent::TargetChanged(NameEvent::Writing)
    } else if seen.has(WatchMask::MOVE_SELF) {
        RouteEvent::PathChanged(NameEvent::MovedOut)
    } else if seen.has(WatchMask::ATTRIB) && wanted.has(WatchMask::CLOSE_WRITE) {
        RouteEvent::TargetChanged(NameEvent::Touched)
    } else {
        RouteEvent::PathChanged(NameEvent::Touched)
    }
}

fn event_on_name(seen: WatchMask) -> RouteEvent {
    if seen.has(WatchMask::MOVED_TO | WatchMask::CLOSE_WRITE) {
        RouteEvent::PathChanged(NameEvent::Complete)
    } else if seen.has(WatchMask::CREATE) && !seen.has(WatchMask::IS_DIRECTORY) {
        RouteEvent::TargetChanged(NameEvent::TargetCreated)
    } else {
        RouteEvent::PathChanged(NameEvent::Touched)
    }
}
