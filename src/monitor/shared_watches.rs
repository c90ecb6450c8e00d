//! Watches that several routes share: who is told what, and what the kernel is asked for.
//!
//! One inotify instance has one watch for each inode, with one mask. It is the union of what the
//! routes want, and never wider for long, so that nobody is woken for nothing.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use super::coalesce::Mark;
use crate::sys::inotify::{Inotify, InotifyEvent, WatchDescriptor, WatchMask};

/// A directory on the way: it was moved or removed.
pub(super) const WAY: WatchMask = WatchMask::MOVE_SELF.with(WatchMask::DELETE_SELF);
/// A link on the way; when it is replaced by rename(2), its number of links changes.
pub(super) const LINK: WatchMask = WAY.with(WatchMask::ATTRIB);
/// A file at the end.
pub(super) const FILE: WatchMask = LINK.with(WatchMask::CLOSE_WRITE).with(WatchMask::MODIFY);
/// By name: what is missing has come.
pub(super) const MISSING: WatchMask =
    WatchMask::CREATE.with(WatchMask::MOVED_TO).with(WatchMask::CLOSE_WRITE);
/// By name: the last directory has gone. That another is moved over it is told by the directory.
pub(super) const LAST: WatchMask = WatchMask::DELETE;
/// The same where the directory itself is not watched for what happens to it.
pub(super) const LAST_BEFORE_MISSING: WatchMask = LAST.with(WatchMask::MOVED_TO);

/// What a trail is followed for; names that need the same trail share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Route {
    /// The source itself.
    Source,
    /// Links in the source with this text.
    Link(Rc<OsStr>),
    /// Files in the source with this device and number, which have other names elsewhere.
    Inode(u64, u64),
}

/// What an event means for a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The end is the same; this has happened to it.
    Happened(Mark),
    /// The route may lead elsewhere: walk it anew, then this has happened.
    Moved(Mark),
}

/// The answer to the wish to watch something.
pub(super) enum Held {
    /// It is watched as long as the route holds on to this.
    Yes(Hold),
    /// We may not read it; then it would be of no use as a vassal file either.
    Unreadable,
    /// No watch is left, or nothing can be seen at all.
    Refused,
}

/// What one route holds on to.
#[derive(Debug)]
pub(super) struct Hold {
    watch: WatchDescriptor,
    name: Option<OsString>,
}

/// One watch and the routes behind it.
#[derive(Default)]
struct Watched {
    mask: WatchMask,
    /// How many of those behind it want each mask: there are few masks, but may be thousands of routes.
    wants: Vec<(WatchMask, usize)>,
    own: HashMap<Route, WatchMask>,
    named: HashMap<OsString, HashMap<Route, WatchMask>>,
}

impl Watched {
    fn wanted(&self) -> WatchMask {
        self.wants.iter().fold(WatchMask::NONE, |all, (mask, _)| all | *mask)
    }

    fn hold(&mut self, route: &Route, mask: WatchMask, name: Option<&OsStr>) {
        let routes = match name {
            None => &mut self.own,
            Some(name) => self.named.entry(name.to_owned()).or_default(),
        };
        let entry = routes.entry(route.clone()).or_default();
        let before = std::mem::replace(entry, *entry | mask);
        let now = *entry;
        self.want(now);
        self.want_no_more((before != WatchMask::NONE).then_some(before));
    }

    fn let_go(&mut self, route: &Route, name: Option<&OsStr>) {
        let Some(name) = name else {
            let before = self.own.remove(route);
            return self.want_no_more(before);
        };
        let Some(routes) = self.named.get_mut(name) else { return };
        let before = routes.remove(route);
        if routes.is_empty() {
            self.named.remove(name);
        }
        self.want_no_more(before);
    }

    fn want(&mut self, mask: WatchMask) {
        match self.wants.iter_mut().find(|(wanted, _)| *wanted == mask) {
            Some((_, count)) => *count += 1,
            None => self.wants.push((mask, 1)),
        }
    }

    fn want_no_more(&mut self, mask: Option<WatchMask>) {
        let Some(at) = self.wants.iter().position(|(wanted, _)| Some(*wanted) == mask) else {
            return;
        };
        if let Some((_, count)) = self.wants.get_mut(at) {
            *count -= 1;
            if *count == 0 {
                self.wants.swap_remove(at);
            }
        }
    }
}

/// All shared watches of one instance, which may be missing.
#[derive(Default)]
pub(super) struct Watches {
    inotify: Option<Rc<Inotify>>,
    watched: HashMap<WatchDescriptor, Watched>,
    refusal: Option<io::Error>,
}

impl Watches {
    /// Begins to see; what was held before must be held anew.
    pub(super) fn open(&mut self, inotify: Inotify) {
        self.inotify = Some(Rc::new(inotify));
        self.watched.clear();
    }

    /// Sees nothing any more.
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
    pub(super) fn hold(
        &mut self,
        route: &Route,
        object: BorrowedFd<'_>,
        mask: WatchMask,
        name: Option<&OsStr>,
    ) -> Held {
        let Some(inotify) = &self.inotify else { return Held::Refused };
        let watch = match inotify.watch(object, mask | WatchMask::ADD) {
            Ok(watch) => watch,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Held::Unreadable;
            }
            Err(error) => {
                self.refusal = Some(error);
                return Held::Refused;
            }
        };
        let watched = self.watched.entry(watch).or_default();
        watched.hold(route, mask, name);
        let wanted = watched.wanted();
        let asked = watched.mask | mask;
        watched.mask = match asked == wanted || inotify.watch(object, wanted).is_err() {
            true => asked,
            false => wanted,
        };
        Held::Yes(Hold { watch, name: name.map(OsStr::to_owned) })
    }

    /// Lets a route go; the watches stay until [`Watches::forget`], so that holding on to the same
    /// objects again loses no event.
    pub(super) fn let_go(&mut self, route: &Route, holds: &[Hold]) {
        for hold in holds {
            if let Some(watched) = self.watched.get_mut(&hold.watch) {
                watched.let_go(route, hold.name.as_deref());
            }
        }
    }

    /// Ends those of the watches that nobody needs any more.
    pub(super) fn forget(&mut self, holds: &[Hold]) {
        for hold in holds {
            let is_unused = |watched: &Watched| watched.own.is_empty() && watched.named.is_empty();
            if self.watched.get(&hold.watch).is_some_and(is_unused) {
                self.watched.remove(&hold.watch);
                if let Some(inotify) = &self.inotify {
                    inotify.forget(hold.watch);
                }
            }
        }
    }

    /// Tells the routes what an event means for them.
    pub(super) fn tell(&mut self, event: &InotifyEvent<'_>, mut tell: impl FnMut(&Route, News)) {
        if event.mask.has(WatchMask::IGNORED) {
            let Some(watched) = self.watched.remove(&event.watch) else { return };
            let named = watched.named.values().flat_map(HashMap::keys);
            watched.own.keys().chain(named).for_each(|route| tell(route, News::Moved(Mark::Check)));
            return;
        }
        let Some(watched) = self.watched.get(&event.watch) else { return };
        if event.name.is_empty() {
            for (route, mask) in watched.own.iter().filter(|(_, mask)| event.mask.has(**mask)) {
                tell(route, own_news(event.mask, *mask));
            }
        } else if let Some(routes) = watched.named.get(event.name) {
            for (route, _) in routes.iter().filter(|(_, mask)| event.mask.has(**mask)) {
                tell(route, named_news(event.mask));
            }
        }
    }
}

fn own_news(seen: WatchMask, wanted: WatchMask) -> News {
    if seen.has(WatchMask::CLOSE_WRITE) {
        News::Happened(Mark::Look)
    } else if seen.has(WatchMask::MODIFY) {
        News::Happened(Mark::Write)
    } else if seen.has(WatchMask::MOVE_SELF) {
        News::Moved(Mark::Away)
    } else if seen.has(WatchMask::ATTRIB) && wanted.has(WatchMask::CLOSE_WRITE) {
        News::Happened(Mark::Check)
    } else {
        News::Moved(Mark::Check)
    }
}

fn named_news(seen: WatchMask) -> News {
    if seen.has(WatchMask::MOVED_TO | WatchMask::CLOSE_WRITE) {
        News::Moved(Mark::Look)
    } else if seen.has(WatchMask::CREATE) && !seen.has(WatchMask::IS_DIRECTORY) {
        News::Happened(Mark::Target)
    } else {
        News::Moved(Mark::Check)
    }
}
