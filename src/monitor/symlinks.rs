//! Where paths lead, and watches on everything that could make them lead elsewhere.
//!
//! A path is walked step by step. Every directory and every link on the way is watched *itself*, so
//! that moving or replacing it is told, while whatever else happens beside it is not: a link target in
//! a busy directory costs nothing. Only two things are watched by name: what is missing, in the last
//! directory there is, and the removal of that directory, which is not told on itself while anybody
//! works in it. All this has an inotify instance of its own, so a flood here never loses an event of
//! the vassal directory.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use super::coalesce::{Mark, Marks};
use super::shared_watches::{
    FILE, Held, Hold, LAST, LAST_BEFORE_MISSING, LINK, MISSING, News, Route, WAY, Watches,
};
use crate::sys::dir::{self, FileKind, Links, Stat};
use crate::sys::inotify::{Inotify, InotifyEvent, WatchMask};

/// How many links a path may have, as in the kernel.
const MOST_LINKS: usize = 40;

/// How many names a path may have with all its links, so that a hostile one cannot keep us walking.
/// What needs more leads nowhere for us.
const MOST_STEPS: usize = 500;

/// How often a path is walked that changes while it is walked.
pub(super) const TRIES: usize = 3;

/// One route as it was walked last.
#[derive(Default)]
struct Trail {
    holds: Vec<Hold>,
    end: Option<(u64, u64)>,
    is_whole: bool,
    is_endless: bool,
    names: BTreeSet<OsString>,
}

/// Where a link leads.
pub(super) struct Followed {
    /// Its end, if it has one.
    pub(super) stat: Option<Stat>,
    /// Whether the trail agrees; if not, the path changes faster than it can be walked.
    pub(super) is_steady: bool,
}

/// What was told since.
#[derive(Default)]
pub(super) struct Told {
    /// Routes to walk anew.
    pub(super) moved: HashSet<Route>,
    /// What has happened on routes; it is for all their names.
    pub(super) marks: Marks<Route>,
    /// Whether events were lost.
    pub(super) has_overflown: bool,
}

/// All trails, with the names that depend on them.
#[derive(Default)]
pub(super) struct Trails {
    watches: Watches,
    trails: HashMap<Route, Trail>,
    routes: HashMap<OsString, Vec<Route>>,
    effort: usize,
}

impl Trails {
    /// Begins to see.
    pub(super) fn open(&mut self, inotify: Inotify) {
        self.watches.open(inotify);
        for trail in self.trails.values_mut() {
            *trail = Trail { names: std::mem::take(&mut trail.names), ..Trail::default() };
        }
    }

    /// Sees nothing any more.
    pub(super) fn close(&mut self) {
        self.watches.close();
    }

    /// The instance, to be read.
    pub(super) fn inotify(&self) -> Option<Rc<Inotify>> {
        self.watches.inotify()
    }

    /// Counts what has been done, in steps of a walk.
    pub(super) fn exert(&mut self, steps: usize) {
        self.effort = self.effort.wrapping_add(steps);
    }

    /// The count of all that has been done.
    pub(super) fn effort(&self) -> usize {
        self.effort
    }

    /// How many steps have been counted since the count was `before`.
    pub(super) fn effort_since(&self, before: usize) -> usize {
        self.effort.wrapping_sub(before)
    }

    /// See [`Watches::refusal`].
    pub(super) fn refusal(&mut self) -> Option<io::Error> {
        self.watches.refusal()
    }

    /// Takes in one event.
    pub(super) fn note(&mut self, event: &InotifyEvent<'_>, told: &mut Told) {
        if event.mask.has(WatchMask::OVERFLOW) {
            told.has_overflown = true;
        }
        self.watches.tell(event, |route, news| match news {
            News::Happened(mark) if *route != Route::Source => told.marks.add(route, mark),
            News::Happened(mark) | News::Moved(mark) => {
                told.moved.insert(route.clone());
                told.marks.add(route, mark);
            }
        });
    }

    /// Marks the names that depend on a route.
    pub(super) fn mark_names(&self, route: &Route, mark: Mark, marks: &mut Marks) {
        let names = self.trails.get(route).into_iter().flat_map(|trail| &trail.names);
        names.for_each(|name| marks.add(name.as_os_str(), mark));
    }

    /// Walks an absolute path for the source and gives the directory or file at its end.
    ///
    /// # Errors
    /// What the kernel says when it does not say whether there is one.
    pub(super) fn walk_source(&mut self, path: &OsStr) -> io::Result<Option<(OwnedFd, Stat)>> {
        self.walk(&Route::Source, dir::root()?.as_fd(), path)
    }

    /// Walks a route of a link anew; one of a file with several names is walked when it is looked at.
    pub(super) fn walk_again(&mut self, route: &Route, directory: BorrowedFd<'_>) {
        match route {
            Route::Link(text) => {
                let _told_by_stat = self.walk(route, directory, &text.clone());
            }
            Route::Inode(..) => self.drop_holds(route),
            Route::Source => {}
        }
    }

    /// All routes.
    pub(super) fn all(&self) -> HashSet<Route> {
        self.trails.keys().cloned().collect()
    }

    /// The routes on which a name depends.
    pub(super) fn routes_of(&self, name: &OsStr) -> Vec<Route> {
        self.routes.get(name).cloned().unwrap_or_default()
    }

    /// Makes a name depend on these routes and no others.
    pub(super) fn assign(&mut self, name: &OsStr, routes: Vec<Route>) {
        if self.routes.get(name).map_or(&[][..], Vec::as_slice) == routes {
            return;
        }
        let before = self.routes.remove(name).unwrap_or_default();
        for route in &routes {
            self.trails.entry(route.clone()).or_default().names.insert(name.to_owned());
        }
        for route in before.iter().filter(|route| !routes.contains(route)) {
            let Some(trail) = self.trails.get_mut(route) else { continue };
            trail.names.remove(name);
            if trail.names.is_empty() {
                self.drop_holds(route);
                self.trails.remove(route);
            }
        }
        if !routes.is_empty() {
            self.routes.insert(name.to_owned(), routes);
        }
    }

    /// Says where the link `name` leads; its text is that of the route. The trail is walked first and
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
            return Ok(Followed { stat: end_of(directory, name)?, is_steady: true });
        }
        if !self.trails.get(route).is_some_and(|trail| trail.is_whole) {
            self.walk_again(route, directory);
        }
        for tries in 0..TRIES {
            let stat = end_of(directory, name)?;
            let end = self.trails.get(route).and_then(|trail| trail.end);
            // What leads nowhere may by now do so further on, where nothing is watched yet.
            let is_walked = stat.is_some() || tries > 0;
            if is_walked && stat.map(|stat| stat.inode()) == end {
                return Ok(Followed { stat, is_steady: true });
            }
            self.walk_again(route, directory);
            if self.trails.get(route).is_some_and(|trail| trail.is_endless) {
                return Ok(Followed { stat: None, is_steady: true });
            }
        }
        Ok(Followed { stat: end_of(directory, name)?, is_steady: false })
    }

    /// Watches a file that has other names elsewhere, because what is done through them is not told in
    /// its directory. A name that it gets elsewhere later is met at the next look. Says whether it is newly
    /// watched.
    pub(super) fn pin(&mut self, route: &Route, directory: BorrowedFd<'_>, name: &OsStr) -> bool {
        if self.trails.get(route).is_some_and(|trail| !trail.holds.is_empty()) {
            return false;
        }
        let Ok(object) = dir::open_path_at(directory, name) else { return false };
        let trail = self.trails.entry(route.clone()).or_default();
        let Held::Yes(hold) = self.watches.hold(route, object.as_fd(), FILE, None) else {
            return false;
        };
        trail.holds.push(hold);
        true
    }

    fn walk(
        &mut self,
        route: &Route,
        from: BorrowedFd<'_>,
        path: &OsStr,
    ) -> io::Result<Option<(OwnedFd, Stat)>> {
        let trail = self.trails.entry(route.clone()).or_default();
        let before = std::mem::take(&mut trail.holds);
        self.watches.let_go(route, &before);
        let mut walk = Walk {
            watches: &mut self.watches,
            route,
            holds: Vec::new(),
            is_whole: true,
            is_endless: false,
            steps: 0,
        };
        let end = walk.along(from, path);
        self.effort = self.effort.wrapping_add(walk.steps + before.len());
        trail.holds = walk.holds;
        trail.is_whole = walk.is_whole && end.is_ok();
        trail.is_endless = walk.is_endless;
        trail.end = end.as_ref().ok().and_then(Option::as_ref).map(|(_, stat)| stat.inode());
        self.watches.forget(&before);
        end
    }

    fn drop_holds(&mut self, route: &Route) {
        let Some(trail) = self.trails.get_mut(route) else { return };
        let holds = std::mem::take(&mut trail.holds);
        self.effort = self.effort.wrapping_add(holds.len());
        self.watches.let_go(route, &holds);
        self.watches.forget(&holds);
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
struct Walk<'a> {
    watches: &'a mut Watches,
    route: &'a Route,
    holds: Vec<Hold>,
    is_whole: bool,
    is_endless: bool,
    steps: usize,
}

impl Walk<'_> {
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
            if links > MOST_LINKS || self.steps > MOST_STEPS {
                self.is_endless = true;
                return Ok(None);
            }
            let object = match dir::open_path_at(here.as_fd(), &name) {
                Err(error) if dir::is_not_found(&error) => {
                    self.hold(here.as_fd(), MISSING, Some(&name));
                    self.hold_last(above.as_ref(), LAST_BEFORE_MISSING);
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
                    self.hold(object.as_fd(), LINK, None);
                    links += 1;
                    let text = dir::link_text(object.as_fd(), OsStr::new(""))?;
                    if text.as_bytes().starts_with(b"/") {
                        (here, above) = (dir::root()?, None);
                    }
                    push_steps(&mut ahead, &text);
                }
                FileKind::Directory => {
                    self.hold(object.as_fd(), WAY, None);
                    let left = std::mem::replace(&mut here, object);
                    // What is reached upwards cannot be removed while what is below it is there.
                    above = (name != "..").then_some((left, name));
                }
                _ => {
                    self.hold(object.as_fd(), FILE, None);
                    return Ok(ahead.is_empty().then_some((object, stat)));
                }
            }
        }
        self.hold_last(above.as_ref(), LAST);
        let stat = dir::stat(here.as_fd())?;
        Ok(Some((here, stat)))
    }

    fn hold_last(&mut self, above: Option<&(OwnedFd, OsString)>, mask: WatchMask) {
        if let Some((above, name)) = above {
            self.hold(above.as_fd(), mask, Some(name));
        }
    }

    fn hold(&mut self, object: BorrowedFd<'_>, mask: WatchMask, name: Option<&OsStr>) {
        match self.watches.hold(self.route, object, mask, name) {
            Held::Yes(hold) => self.holds.push(hold),
            Held::Unreadable => {}
            Held::Refused => self.is_whole = false,
        }
    }
}

/// Puts the steps of a path on top of those that are still ahead, the first one uppermost.
fn push_steps(ahead: &mut Vec<OsString>, path: &OsStr) {
    let steps = path.as_bytes().split(|byte| *byte == b'/');
    let steps = steps.filter(|step| !step.is_empty() && *step != b".");
    ahead.extend(steps.rev().map(|step| OsStr::from_bytes(step).to_owned()));
}
