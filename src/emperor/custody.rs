//! What the shell holds for a vassal as long as its file exists: its listeners.

use std::ffi::{CStr, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::rc::Rc;

use crate::monitor;
use crate::state::{File, Key, LifeId, OnDemand, SourceId, VassalId};

use super::Emperor;

/// One vassal's listeners. Who has none has no entry.
#[derive(Debug, Default)]
pub(super) struct Hall {
    /// On-demand; blocking, as programs expect it.
    pub listener: Option<OwnedFd>,
    /// The listening sockets that its stage has bound.
    pub custody: Vec<OwnedFd>,
}

impl Emperor {
    /// What a vassal is called in the log: its name, or its path where another source may have the same.
    pub(super) fn full_name(&self, key: &Key) -> Vec<u8> {
        let directory = self.start_of(key.source).filter(|_| self.monitors.len() > 1);
        let Some(directory) = directory else { return key.name.to_vec() };
        let directory = Path::new(OsStr::from_bytes(directory.to_bytes()));
        directory.join(OsStr::from_bytes(&key.name)).into_os_string().into_vec()
    }

    /// The same, as it may be printed.
    pub(super) fn label(&self, key: &Key) -> String {
        super::lines::name(&self.full_name(key))
    }

    /// The listeners of a vassal, to be changed.
    pub(super) fn hall(&mut self, id: VassalId) -> &mut Hall {
        self.halls.entry(id).or_default()
    }

    /// Where the vassals of a source start.
    pub(super) fn start_of(&self, source: SourceId) -> Option<Rc<CStr>> {
        self.monitors.get(source.0).map(|source| Rc::clone(&source.start))
    }

    /// The set of listeners that the stage of this life has sent is the vassal's from now on.
    pub(super) fn take_custody(&mut self, vassal: VassalId, life: LifeId) {
        self.mind(vassal, life);
        let Some(process) = self.processes.get_mut(&life) else { return };
        let set = std::mem::take(&mut process.custody);
        if !set.is_empty() || self.halls.contains_key(&vassal) {
            self.hall(vassal).custody = set;
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
            monitor::OnDemand::Fault(why) => OnDemand::Fault(Rc::clone(why)),
        },
    }
}
