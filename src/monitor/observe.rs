//! One look at a name in a directory: what is there, where it leads, and what stands beside it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;

use super::address_file;
use super::change::{FileVersion, OnDemandAddress, VassalFile};
use super::debounce::DELETE_GRACE;
use super::names::{NameKind, NameRules};
use super::shared_watches::Route;
use super::symlinks::PathWatches;
use crate::sys::dir::{self, FileKind, Links, Stat};
use crate::types::moment::Moment;

/// What a look at a name costs at least.
const OBSERVATION_COST: usize = 4;

/// What a name looks like now.
pub(super) enum Observation {
    /// A vassal file; if not all of it could be learned, another look is due soon. Its address file has
    /// vanished, and may come back until `address_by`.
    File { file: VassalFile, is_stable: bool, has_other_links: bool, address_by: Option<Moment> },
    /// There is no such name.
    Absent,
    /// There is a link without an end.
    Dangling,
    /// Something that cannot be a vassal.
    Refused(String),
}

/// Where a name leads.
struct ResolvedEntry {
    /// What is there; nothing if it is a link that leads nowhere.
    stat: Option<Stat>,
    /// Whether it stayed the same while it was looked at.
    is_stable: bool,
    /// Whether it has other names, which has not been known.
    has_other_links: bool,
}

impl ResolvedEntry {
    fn stable(own: Stat) -> Self {
        Self { stat: Some(own), is_stable: true, has_other_links: false }
    }
}

/// Looks at names in a directory, and watches what else they depend on.
pub(super) struct Observer {
    pub(super) paths: PathWatches,
    pub(super) filter: NameRules,
    pub(super) links: Links,
    /// The vassals whose address file has vanished, since when.
    pub(super) without_address: HashMap<OsString, Moment>,
}

impl Observer {
    /// Nothing has been looked at yet.
    pub(super) fn new(filter: NameRules, links: Links) -> Self {
        Self { paths: PathWatches::default(), filter, links, without_address: HashMap::new() }
    }

    /// Looks at a name and at all it depends on; `known` is what it was.
    pub(super) fn observe(
        &mut self,
        (at, name): (BorrowedFd<'_>, &OsStr),
        known: Option<&VassalFile>,
        now: Moment,
    ) -> io::Result<Observation> {
        self.paths.charge(OBSERVATION_COST);
        let mut routes = Vec::new();
        let seen = self.observe_entry((at, name), known, now, &mut routes);
        if seen.is_err() {
            routes.extend(self.paths.routes_of(name));
        }
        self.paths.set_routes(name, routes);
        seen
    }

    fn observe_entry(
        &mut self,
        (at, name): (BorrowedFd<'_>, &OsStr),
        known: Option<&VassalFile>,
        now: Moment,
        routes: &mut Vec<Route>,
    ) -> io::Result<Observation> {
        let own = match dir::stat_at(at, name, Links::Stay) {
            Err(error) if dir::is_not_found(&error) => return Ok(Observation::Absent),
            result => result?,
        };
        if let NameKind::Refused(why) = self.filter.classify(name) {
            return Ok(Observation::Refused(why.to_owned()));
        }
        let traced = match (own.kind, self.links) {
            (FileKind::Link, Links::Stay) => ResolvedEntry::stable(own),
            _ => self.resolve(at, name, own, routes)?,
        };
        let Some(stat) = traced.stat else { return Ok(Observation::Dangling) };
        if let Some(why) = refusal_of(stat.kind) {
            return Ok(Observation::Refused(why.to_owned()));
        }
        let (mut on_demand, is_read) = self.on_demand((at, name), known, routes);
        let address_by = self.address_grace_end(name, known, &on_demand, now);
        if let Some(file) = known.filter(|_| address_by.is_some()) {
            on_demand = file.on_demand.clone();
        }
        let is_link = stat.kind == FileKind::Link;
        let file = VassalFile {
            version: FileVersion::from(&stat),
            uid: stat.uid,
            gid: stat.gid,
            is_link,
            on_demand,
        };
        let is_stable = traced.is_stable && is_read;
        Ok(Observation::File {
            file,
            is_stable,
            has_other_links: traced.has_other_links,
            address_by,
        })
    }

    /// Until when the address file of a vassal that had one may come back, if it is away.
    fn address_grace_end(
        &mut self,
        name: &OsStr,
        known: Option<&VassalFile>,
        seen: &OnDemandAddress,
        now: Moment,
    ) -> Option<Moment> {
        let had_one = known.is_some_and(|file| file.on_demand != OnDemandAddress::No);
        if *seen != OnDemandAddress::No || !had_one {
            self.without_address.remove(name);
            return None;
        }
        let by = *self.without_address.entry(name.to_owned()).or_insert(now) + DELETE_GRACE;
        (by > now).then_some(by)
    }

    /// Finds the end of a name, and watches it.
    fn resolve(
        &mut self,
        at: BorrowedFd<'_>,
        name: &OsStr,
        own: Stat,
        routes: &mut Vec<Route>,
    ) -> io::Result<ResolvedEntry> {
        match own.kind {
            FileKind::Link => {
                let route = Route::Link(dir::link_text(at, name)?.into());
                routes.push(route.clone());
                let followed = self.paths.follow(&route, at, name)?;
                Ok(ResolvedEntry {
                    stat: followed.stat,
                    is_stable: followed.is_stable,
                    has_other_links: false,
                })
            }
            FileKind::File if own.links > 1 => {
                let route = Route::Inode(own.dev, own.ino);
                let has_other_links = self.paths.watch_inode(&route, at, name);
                routes.push(route);
                Ok(ResolvedEntry { has_other_links, ..ResolvedEntry::stable(own) })
            }
            _ => Ok(ResolvedEntry::stable(own)),
        }
    }

    /// The address, and whether it could be read. While it cannot, a known one stays.
    fn on_demand(
        &mut self,
        (at, name): (BorrowedFd<'_>, &OsStr),
        known: Option<&VassalFile>,
        routes: &mut Vec<Route>,
    ) -> (OnDemandAddress, bool) {
        let Some(beside) = self.filter.address_file_of(name) else {
            return (OnDemandAddress::No, true);
        };
        // Watched first, read afterwards: no change goes unseen.
        let own = dir::stat_at(at, &beside, Links::Stay);
        let is_stable = match own.map(|own| self.resolve(at, &beside, own, routes)) {
            Ok(traced) => traced.is_ok_and(|traced| traced.is_stable),
            Err(error) => dir::is_not_found(&error),
        };
        match (address_file::read(at, &beside), known) {
            (Ok(on_demand), _) => (on_demand, is_stable),
            (Err(_), Some(file)) => (file.on_demand.clone(), false),
            (Err(error), None) => {
                let beside = beside.display();
                let why = format!("its address file {beside} cannot be read: {error}");
                (OnDemandAddress::Fault(why.into()), false)
            }
        }
    }
}

fn refusal_of(kind: FileKind) -> Option<&'static str> {
    match kind {
        FileKind::File | FileKind::Link => None,
        FileKind::Directory => Some("is a directory, not a vassal file"),
        FileKind::Fifo => Some("is a FIFO, not a vassal file"),
        FileKind::Socket => Some("is a socket, not a vassal file"),
        FileKind::Device => Some("is a device, not a vassal file"),
    }
}
