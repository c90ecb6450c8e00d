//! One look at a name in a directory: what is there, where it leads, and what stands beside it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;

use super::debounce::VANISHED;
use super::dir_watch::Files;
use super::names::Name;
use super::shared_watches::Route;
use super::{FileVersion, OnDemandAddress, VassalFile, address_file};
use crate::sys::dir::{self, FileKind, Links, Stat};
use crate::types::moment::Moment;

/// What a look at a name costs at least.
const LOOK: usize = 4;

/// What a name looks like now.
pub(super) enum Seen {
    /// A vassal file; if not all of it could be learned, another look is due soon. Its address file has
    /// vanished, and may come back until `address_by`.
    File { file: VassalFile, is_firm: bool, has_kin: bool, address_by: Option<Moment> },
    /// There is no such name.
    Nothing,
    /// There is a link without an end.
    Nowhere,
    /// Something that cannot be a vassal.
    Refused(String),
}

/// Where a name leads.
struct Traced {
    /// What is there; nothing if it is a link that leads nowhere.
    stat: Option<Stat>,
    /// Whether it stayed the same while it was looked at.
    is_firm: bool,
    /// Whether it has other names, which has not been known.
    has_kin: bool,
}

impl Traced {
    fn firm(own: Stat) -> Self {
        Self { stat: Some(own), is_firm: true, has_kin: false }
    }
}

impl Files {
    /// Looks at a name and at all it depends on.
    pub(super) fn examine(
        &mut self,
        at: BorrowedFd<'_>,
        name: &OsStr,
        now: Moment,
    ) -> io::Result<Seen> {
        self.trails.exert(LOOK);
        let mut routes = Vec::new();
        let seen = self.examine_for((at, name), now, &mut routes);
        if seen.is_err() {
            routes.extend(self.trails.routes_of(name));
        }
        self.trails.assign(name, routes);
        seen
    }

    fn examine_for(
        &mut self,
        (at, name): (BorrowedFd<'_>, &OsStr),
        now: Moment,
        routes: &mut Vec<Route>,
    ) -> io::Result<Seen> {
        let own = match dir::stat_at(at, name, Links::Stay) {
            Err(error) if dir::is_not_found(&error) => return Ok(Seen::Nothing),
            result => result?,
        };
        if let Name::Refused(why) = self.filter.judge(name) {
            return Ok(Seen::Refused(why.to_owned()));
        }
        let traced = match (own.kind, self.links) {
            (FileKind::Link, Links::Stay) => Traced::firm(own),
            _ => self.trace(at, name, own, routes)?,
        };
        let Some(stat) = traced.stat else { return Ok(Seen::Nowhere) };
        if let Some(why) = refusal_of(stat.kind) {
            return Ok(Seen::Refused(why.to_owned()));
        }
        let (mut on_demand, is_read) = self.on_demand(at, name, routes);
        let address_by = self.address_may_return(name, &on_demand, now);
        if let Some(file) = self.file(name).filter(|_| address_by.is_some()) {
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
        let is_firm = traced.is_firm && is_read;
        Ok(Seen::File { file, is_firm, has_kin: traced.has_kin, address_by })
    }

    /// Until when the address file of a vassal that had one may come back, if it is away.
    fn address_may_return(
        &mut self,
        name: &OsStr,
        seen: &OnDemandAddress,
        now: Moment,
    ) -> Option<Moment> {
        let had_one = self.file(name).is_some_and(|file| file.on_demand != OnDemandAddress::No);
        if *seen != OnDemandAddress::No || !had_one {
            self.without_address.remove(name);
            return None;
        }
        let by = *self.without_address.entry(name.to_owned()).or_insert(now) + VANISHED;
        (by > now).then_some(by)
    }

    /// Finds the end of a name and sees to it that what happens there is told.
    fn trace(
        &mut self,
        at: BorrowedFd<'_>,
        name: &OsStr,
        own: Stat,
        routes: &mut Vec<Route>,
    ) -> io::Result<Traced> {
        match own.kind {
            FileKind::Link => {
                let route = Route::Link(dir::link_text(at, name)?.into());
                routes.push(route.clone());
                let followed = self.trails.follow(&route, at, name)?;
                Ok(Traced { stat: followed.stat, is_firm: followed.is_steady, has_kin: false })
            }
            FileKind::File if own.links > 1 => {
                let route = Route::Inode(own.dev, own.ino);
                let has_kin = self.trails.pin(&route, at, name);
                routes.push(route);
                Ok(Traced { has_kin, ..Traced::firm(own) })
            }
            _ => Ok(Traced::firm(own)),
        }
    }

    /// The address, and whether it could be read. While it cannot, a known one stays.
    fn on_demand(
        &mut self,
        at: BorrowedFd<'_>,
        name: &OsStr,
        routes: &mut Vec<Route>,
    ) -> (OnDemandAddress, bool) {
        let Some(beside) = self.filter.companion_of(name) else {
            return (OnDemandAddress::No, true);
        };
        // Watched first, read afterwards: no change goes unseen.
        let own = dir::stat_at(at, &beside, Links::Stay);
        let is_firm = match own.map(|own| self.trace(at, &beside, own, routes)) {
            Ok(traced) => traced.is_ok_and(|traced| traced.is_firm),
            Err(error) => dir::is_not_found(&error),
        };
        match (address_file::read(at, &beside), self.file(name)) {
            (Ok(on_demand), _) => (on_demand, is_firm),
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
