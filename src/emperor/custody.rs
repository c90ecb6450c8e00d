//! What the shell holds for a vassal as long as its file exists: its name and its listeners.

use std::ffi::{CStr, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::rc::Rc;

use crate::monitor;
use crate::state::{File, Key, LifeId, OnDemand, VassalId};

use super::Emperor;

/// One vassal's belongings.
#[derive(Debug)]
pub(super) struct Hall {
    /// Its name, as it is.
    pub name: Box<[u8]>,
    /// Where it starts: its source.
    pub directory: Rc<CStr>,
    /// Its on-demand listener, blocking, as programs expect it.
    pub listener: Option<OwnedFd>,
    /// The listening sockets that its stage has bound.
    pub custody: Vec<OwnedFd>,
}

impl Emperor {
    /// What a vassal is called in the log: its name, or its path where another source may have the same.
    pub(super) fn full_name(&self, directory: &CStr, name: &[u8]) -> Vec<u8> {
        if self.monitors.len() < 2 {
            return name.to_vec();
        }
        let directory = Path::new(OsStr::from_bytes(directory.to_bytes()));
        directory.join(OsStr::from_bytes(name)).into_os_string().into_vec()
    }

    /// The same for this key, as it may be printed.
    pub(super) fn label(&self, key: &Key) -> String {
        let source = self.monitors.get(key.source.0);
        source.map_or_else(String::new, |source| {
            super::lines::name(&self.full_name(&source.start, &key.name))
        })
    }

    /// The same for this vassal.
    pub(super) fn label_of(&self, vassal: VassalId) -> String {
        self.halls.get(&vassal).map_or_else(
            || "?".to_owned(),
            |hall| super::lines::name(&self.full_name(&hall.directory, &hall.name)),
        )
    }

    /// The belongings of a vassal, made when they are first asked for.
    pub(super) fn hall(&mut self, id: VassalId) -> Option<&mut Hall> {
        if !self.halls.contains_key(&id) {
            let key = &self.realm.vassal(id)?.key;
            let source = self.monitors.get(key.source.0)?;
            let hall = Hall {
                name: key.name.as_slice().into(),
                directory: Rc::clone(&source.start),
                listener: None,
                custody: Vec::new(),
            };
            self.halls.insert(id, Box::new(hall));
        }
        self.halls.get_mut(&id).map(|hall| &mut **hall)
    }

    /// The set of listeners that the stage of this life has sent is the vassal's from now on.
    pub(super) fn take_custody(&mut self, vassal: VassalId, life: LifeId) {
        let Some(process) = self.processes.get_mut(&life) else { return };
        let set = std::mem::take(&mut process.custody);
        if let Some(hall) = self.hall(vassal) {
            hall.custody = set;
        }
    }
}

/// What the state wants to know of a file.
pub(super) fn file(seen: &monitor::File) -> File {
    File {
        modified: seen.stamp.mtime.0,
        uid: seen.uid,
        gid: seen.gid,
        on_demand: match &seen.on_demand {
            monitor::OnDemand::No => OnDemand::No,
            monitor::OnDemand::Address(text) => super::ondemand::on_demand(text),
            monitor::OnDemand::Fault(why) => OnDemand::Fault(why.clone()),
        },
    }
}
