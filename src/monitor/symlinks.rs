//! Where paths lead, and watches on everything that could make them lead elsewhere.
//!
//! A path is walked step by step. Every directory and every link on the way is watched *itself*, so
//! that there is an event when it is moved or replaced, and none for what else happens beside it: a link target
//! in a busy directory costs nothing. Only two things are watched by name: what is missing, in the last
//! directory there is, and the removal of that directory, for which it has no event itself while a process
//! has it as its working directory. All this has an inotify instance of its own, so a flood here never loses an event of
//! the vassal directory.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use super::coalesce::{EventQueue, NameEvent};
use super::shared_watches::{
    ON_FILE, ON_MISSING, ON_PARENT, ON_PARENT_OF_MISSING, ON_PATH_DIR, ON_SYMLINK, Route,
    RouteEvent, SharedWatches, WatchRef, WatchResult,
};
use crate::sys::dir::{self, FileKind, Links, Stat};
use crate::sys::inotify::{Inotify, InotifyEvent, WatchMask};

/// How many links a path may have, as in the kernel.
const MAX_LINKS: usize = 40;

/// How many names a path may have with all its links, so that a hostile one cannot keep us walking.
/// What needs more leads nowhere for us.
const MAX_STEPS: usize = 500;

/// How often a path is walked that changes while it is walked.
pub(super) const MAX_TRIES: usize = 3;

/// One route as it was walked last.
#[derive(Default)]
struct WatchedPath {
    watches: Vec<WatchRef>,
    end: Option<(u64, u64)>,
    is_complete: bool,
    is_loop: bool,
    names: BTreeSet<OsString>,
}

/// Where a link leads.
pub(super) struct Followed {
    /// Its end, if it has one.
    pub(super) stat: Option<Stat>,
    /// Whether the watched path ends there, too; if not, it changes faster than it can be walked.
    pub(super) is_stable: bool,
}

/// What one read has given.
#[derive(Default)]
pub(super) struct RouteEvents {
    /// Routes to walk anew.
    pub(super) moved: HashSet<Route>,
    /// What has happened on routes; it is for all their names.
    pub(super) names: EventQueue<Route>,
    /// Whether events were lost.
    pub(super) is_lost: bool,
}

/// All watched paths, with the names that depend on them.
#[derive(Default)]
pub(super) struct PathWatches {
    shared: SharedWatches,
    paths: HashMap<Route, WatchedPath>,
    routes: HashMap<OsString, Vec<Route>>,
    effort: usize,
}

impl PathWatches {
    /// Takes an instance; all paths are to be walked anew.
    pub(super) fn open(&mut self, inotify: Inotify) {
        self.shared.open(inotify);
        for path in self.paths.values_mut() {
            *path =
                WatchedPath { names: std::mem::take(&mut path.names), ..WatchedPath::default() };
        }
    }

    /// Drops the instance.
    pub(super) fn close(&mut self) {
        self.shared.close();
    }

    /// The instance, to be read.
    pub(super) fn inotify(&self) -> Option<Rc<Inotify>> {
        self.shared.inotify()
    }

    /// Counts what has been done, in steps of a walk.
    pub(super) fn charge(&mut self, steps: usize) {
        self.effort = self.effort.wrapping_add(steps);
    }

    /// The count of all that has been done.
    pub(super) fn effort(&self) -> usize {
        self.effort
    }

    /// How many steps have been counted since the count was `before`.
    pub(super) fn spent_since(&self, before: usize) -> usize {
        self.effort.wrapping_sub(before)
    }

    /// See [`SharedWatches::refusal`].
    pub(super) fn refusal(&mut self) -> Option<io::Error> {
        self.shared.refusal()
    }

    /// Takes in one event.
    pub(super) fn note(&mut self, event: &InotifyEvent<'_>, events: &mut RouteEvents) {
        if event.mask.has(WatchMask::OVERFLOW) {
            events.is_lost = true;
        }
        self.shared.dispatch(event, |route, route_event| match route_event {
            RouteEvent::TargetChanged(mark) if *route != Route::Directory => {
                events.names.add(route, mark)
            }
            RouteEvent::TargetChanged(mark) | RouteEvent::PathChanged(mark) => {
                events.moved.insert(route.clone());
                events.names.add(route, mark);
            }
        });
    }

    /// Marks the names that depend on a route.
    pub(super) fn queue_for_names(&self, route: &Route, mark: NameEvent, queue: &mut EventQueue) {
        let names = self.paths.get(route).into_iter().flat_map(|path| &path.names);
        names.for_each(|name| queue.add(name.as_os_str(), mark));
    }

    /// Walks an absolute path for the source and gives the directory or file at its end.
    ///
    /// # Errors
    /// What the kernel says when it does not say whether there is one.
    pub(super) fn walk_source(&mut self, path: &OsStr) -> io::Result<Option<(OwnedFd, Stat)>> {
        self.walk(&Route::Directory, dir::root()?.as_fd(), path)
    }

    /// Walks a route of a link anew; one of a file with several names is walked when it is looked at.
    pub(super) fn rewalk(&mut self, route: &Route, directory: BorrowedFd<'_>) {
        match route {
            Route::Link(text) => {
                let _told_by_stat = self.walk(route, directory, &text.clone());
            }
            Route::Inode(..) => self.release_watches(route),
            Route::Directory => {}
        }
    }

    /// All routes.
    pub(super) fn all(&self) -> HashSet<Route> {
        self.paths.keys().cloned().collect()
    }

    /// The routes on which a name depends.
    pub(super) fn routes_of(&self, name: &OsStr) -> Vec<Route> {
        self.routes.get(name).cloned().unwrap_or_default()
    }

    /// Makes a name depend on these routes and no others.
    pub(super) fn set_routes(&mut self, name: &OsStr, routes: Vec<Route>) {
        if self.routes.get(name).map_or(&[][..], Vec::as_slice) == routes {
            return;
        }
        let before = self.routes.remove(name).unwrap_or_default();
        for route in &routes {
            self.paths.entry(route.clone()).or_default().names.insert(name.to_owned());
        }
        for route in before.iter().filter(|route| !routes.contains(route)) {
            let Some(path) = self.paths.get_mut(route) else { continue };
            path.names.remove(name);
            if path.names.is_empty() {
                self.release_watches(route);
                self.paths.remove(route);
            }
        }
        if !routes.is_empty() {
            self.routes.insert(name.to_owned(), routes);
        }
    }

    /// Says where the link `name` leads; its text is that of the route. The path is walked first and
    /// the end is asked for afterwards, so no change between the two goes unseen.
    ///
    /// # Errors
    /// What the kernel says when it does not say whether the link leads anywhere.
    pub(super) fn follow(
        &mut self,
        route: &Route,
        directory: BorrowedFd<'_>,
        name: &OsStr,
    ) -> io::Result<Followed> {
        if self.inotify().is_none() {
            return Ok(Followed { stat: end_of(directory, name)?, is_stable: true });
        }
        if !self.paths.get(route).is_some_and(|path| path.is_complete) {
            self.rewalk(route, directory);
        }
        for tries in 0..MAX_TRIES {
            let stat = end_of(directory, name)?;
            let end = self.paths.get(route).and_then(|path| path.end);
            // What leads nowhere may by now do so further on, where nothing is watched yet.
            let is_walked = stat.is_some() || tries > 0;
            if is_walked && stat.map(|stat| stat.inode()) == end {
                return Ok(Followed { stat, is_stable: true });
            }
            self.rewalk(route, directory);
            if self.paths.get(route).is_some_and(|path| path.is_loop) {
                return Ok(Followed { stat: None, is_stable: true });
            }
        }
        Ok(Followed { stat: end_of(directory, name)?, is_stable: false })
    }

    /// Watches a file that has other names elsewhere, because there is no event in its directory for
    /// what is done through them. A name that it gets elsewhere later is found at the next look. Says whether it is newly
    /// watched.
    pub(super) fn watch_inode(
        &mut self,
        route: &Route,
        directory: BorrowedFd<'_>,
        name: &OsStr,
    ) -> bool {
        if self.paths.get(route).is_some_and(|path| !path.watches.is_empty()) {
            return false;
        }
        let Ok(object) = dir::open_path_at(directory, name) else { return false };
        let path = self.paths.entry(route.clone()).or_default();
        let WatchResult::Watched(watch) = self.shared.acquire(route, object.as_fd(), ON_FILE, None)
        else {
            return false;
        };
        path.watches.push(watch);
        true
    }

    fn walk(
        &mut self,
        route: &Route,
        from: BorrowedFd<'_>,
        path: &OsStr,
    ) -> io::Result<Option<(OwnedFd, Stat)>> {
        let walked = self.paths.entry(route.clone()).or_default();
        let before = std::mem::take(&mut walked.watches);
        self.shared.release(route, &before);
        let mut walk = PathWalk {
            shared: &mut self.shared,
            route,
            watches: Vec::new(),
            is_complete: true,
            is_loop: false,
            steps: 0,
        };
        let end = walk.along(from, path);
        self.effort = self.effort.wrapping_add(walk.steps + before.len());
        walked.watches = walk.watches;
        walked.is_complete = walk.is_complete && end.is_ok();
        walked.is_loop = walk.is_loop;
        walked.end = end.as_ref().ok().and_then(Option::as_ref).map(|(_, stat)| stat.inode());
        self.shared.forget(&before);
        end
    }

    fn release_watches(&mut self, route: &Route) {
        let Some(path) = self.paths.get_mut(route) else { return };
        let watches = std::mem::take(&mut path.watches);
        self.effort = self.effort.wrapping_add(watches.len());
        self.shared.release(route, &watches);
        self.shared.forget(&watches);
    }
}

fn end_of(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<Stat>> {
    match dir::stat_at(directory, name, Links::Follow) {
        Ok(stat) => Ok(Some(stat)),
        Err(error) if dir::is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// One walk in progress.
struct PathWalk<'a> {
    shared: &'a mut SharedWatches,
    route: &'a Route,
    watches: Vec<WatchRef>,
    is_complete: bool,
    is_loop: bool,
    steps: usize,
}

impl PathWalk<'_> {
    fn along(&mut self, from: BorrowedFd<'_>, path: &OsStr) -> io::Result<Option<(OwnedFd, Stat)>> {
        let mut here = if path.as_bytes().starts_with(b"/") {
            dir::root()?
        } else {
            from.try_clone_to_owned()?
        };
        let mut above = None;
        let mut ahead = Vec::new();
        push_steps(&mut ahead, path);
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            self.steps += 1;
            if links > MAX_LINKS || self.steps > MAX_STEPS {
                self.is_loop = true;
                return Ok(None);
            }
            let object = match dir::open_path_at(here.as_fd(), &name) {
                Err(error) if dir::is_not_found(&error) => {
                    self.watch(here.as_fd(), ON_MISSING, Some(&name));
                    self.watch_parent(above.as_ref(), ON_PARENT_OF_MISSING);
                    // It may have come before it was watched for.
                    match dir::open_path_at(here.as_fd(), &name) {
                        Err(error) if dir::is_not_found(&error) => return Ok(None),
                        result => result?,
                    }
                }
                result => result?,
            };
            let stat = dir::stat(object.as_fd())?;
            match stat.kind {
                FileKind::Link => {
                    self.watch(object.as_fd(), ON_SYMLINK, None);
                    links += 1;
                    let text = dir::link_text(object.as_fd(), OsStr::new(""))?;
                    if text.as_bytes().starts_with(b"/") {
                        (here, above) = (dir::root()?, None);
                    }
                    push_steps(&mut ahead, &text);
                }
                FileKind::Directory => {
                    self.watch(object.as_fd(), ON_PATH_DIR, None);
                    let left = std::mem::replace(&mut here, object);
                    // What is reached upwards cannot be removed while what is below it is there.
                    above = (name != "..").then_some((left, name));
                }
                _ => {
                    self.watch(object.as_fd(), ON_FILE, None);
                    return Ok(ahead.is_empty().then_some((object, stat)));
                }
            }
        }
        self.watch_parent(above.as_ref(), ON_PARENT);
        let stat = dir::stat(here.as_fd())?;
        Ok(Some((here, stat)))
    }

    fn watch_parent(&mut self, above: Option<&(OwnedFd, OsString)>, mask: WatchMask) {
        if let Some((above, name)) = above {
            self.watch(above.as_fd(), mask, Some(name));
        }
    }

    fn watch(&mut self, object: BorrowedFd<'_>, mask: WatchMask, name: Option<&OsStr>) {
        match self.shared.acquire(self.route, object, mask, name) {
            WatchResult::Watched(watch) => self.watches.push(watch),
            WatchResult::Unreadable => {}
            WatchResult::Refused => self.is_complete = false,
        }
    }
}

/// Puts the steps of a path on top of those that are still ahead, the first one uppermost.
fn push_steps(ahead: &mut Vec<OsString>, path: &OsStr) {
    let steps = path.as_bytes().split(|byte| *byte == b'/');
    let steps = steps.filter(|step| !step.is_empty() && *step != b".");
    ahead.extend(steps.rev().map(|step| OsStr::from_bytes(step).to_owned()));
}
