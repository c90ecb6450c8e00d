//! The processes of the vassals, one for each life: start them, listen to them, give them orders, reap them.
//!
//! The messages of a life and its end are returned to the caller or raised as events; `state` decides what they
//! mean. [`super::serve`] defines the order in which the last messages of a dead process are read, its group is
//! killed, and it is reaped.

mod delayed;
mod leftovers;
mod listen;
mod orders;
mod process;
mod start;
mod wire;

use std::collections::HashMap;
use std::ffi::OsString;
use std::hash::RandomState;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use crate::log::Level;
use crate::proto::spawner::Template;
use crate::state::realm::Realm;
use crate::state::{LifeEvent, LifeId, VassalId};
use crate::sys::pidfd;
use crate::sys::process::{self as kernel, Pid, Reap};
use crate::sys::signal::Signal;
use crate::types::exit_status::ExitStatus;

use super::context::Context;
use super::runtime_dir::RuntimeDir;
use delayed::DelayedActions;
use leftovers::Leftovers;

pub(super) use delayed::{ConfigPipe, FILE_INTERVAL};
pub(super) use listen::{FINAL_READ_LIMIT, NOTIFY_PACKETS, STATUS_PACKETS, StatusRead};
pub(super) use process::Process;
pub(super) use start::NewLife;
use start::OrderedLife;
pub(super) use wire::{fault_text, send_failure};

/// All processes of vassals.
pub(super) struct Lives {
    processes: HashMap<LifeId, Box<Process>>,
    /// Lives that the spawner was ordered to make, and has not answered for.
    ordered: HashMap<LifeId, OrderedLife>,
    by_pid: HashMap<Pid, LifeId>,
    delayed: DelayedActions,
    leftovers: Leftovers,
    /// Hash of the warnings about the present file of each vassal, where there are some; the texts would cost 200
    /// bytes for each vassal.
    warned: HashMap<VassalId, u64>,
    warning_hasher: RandomState,
    runtime_dir: RuntimeDir,
    template: Rc<Template>,
}

/// A process that has ended and is not reaped yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dying {
    pub pid: Pid,
    /// Whether it is a base: lives that were forked from it may be in its process group.
    pub is_base: bool,
    /// Whether the last signal for a stop or a reload went to its whole process group.
    group_signalled: bool,
}

impl Lives {
    /// Without processes.
    pub fn new(template: Rc<Template>, runtime_dir: RuntimeDir) -> Self {
        Self {
            processes: HashMap::new(),
            ordered: HashMap::new(),
            by_pid: HashMap::new(),
            delayed: DelayedActions::default(),
            leftovers: Leftovers::default(),
            warned: HashMap::new(),
            warning_hasher: RandomState::new(),
            runtime_dir,
            template,
        }
    }

    /// How many processes there are that are not reaped: each is a child of ours.
    pub fn unreaped(&self) -> usize {
        self.processes.len()
    }

    pub fn get(&self, life: LifeId) -> Option<&Process> {
        self.processes.get(&life).map(Box::as_ref)
    }

    fn get_mut(&mut self, life: LifeId) -> Option<&mut Process> {
        self.processes.get_mut(&life).map(Box::as_mut)
    }

    /// The life whose main process has this number.
    pub fn with_pid(&self, pid: Pid) -> Option<LifeId> {
        self.by_pid.get(&pid).copied()
    }

    /// Whether a vassal has a process.
    pub fn has_process(&self, vassal: VassalId) -> bool {
        self.processes.values().any(|process| process.vassal == vassal)
    }

    /// The lives that are ordered, and those whose end was not raised as an event yet.
    pub fn alive(&self) -> impl Iterator<Item = LifeId> {
        let known = self.processes.keys().chain(self.ordered.keys());
        known.copied().chain(self.leftovers.untold())
    }

    /// The lives that are ordered and not answered for.
    pub fn ordered(&self) -> impl Iterator<Item = LifeId> {
        self.ordered.keys().copied()
    }

    /// Rebuilds the table of pids from that of the processes, after a fault.
    pub fn rebuild_pids(&mut self) {
        self.by_pid = self.processes.iter().map(|(life, process)| (process.pid, *life)).collect();
    }

    /// The base that a life was forked from.
    pub fn base_of(&self, life: LifeId) -> Option<Rc<[u8]>> {
        self.get(life)?.base.clone()
    }

    /// The config pipe of a life, if it has one.
    pub fn config_pipe(&mut self, life: LifeId) -> Option<&mut ConfigPipe> {
        self.get_mut(life)?.config.as_deref_mut()
    }

    /// Takes out the listeners that the stage of this life has sent for its vassal.
    pub fn take_listeners(&mut self, life: LifeId) -> Option<Vec<OwnedFd>> {
        Some(std::mem::take(&mut self.get_mut(life)?.listeners))
    }

    /// Takes out the declared files that the stage of this life has sent for its vassal.
    pub fn take_files(&mut self, life: LifeId) -> Option<Box<crate::proto::status::DeclaredFiles>> {
        self.get_mut(life)?.files.take()
    }

    /// The file of a vassal has changed or is gone: its warnings are logged again when they come again.
    pub fn forget_warnings(&mut self, vassal: VassalId) {
        self.warned.remove(&vassal);
    }

    /// The directory of the notify sockets.
    fn runtime_path(&self) -> OsString {
        self.runtime_dir.path().map(OsString::from).unwrap_or_default()
    }

    /// A line about the vassal of this life.
    pub fn log_for(
        &self,
        (life, level): (LifeId, Level),
        text: &str,
        realm: &Realm,
        context: &mut Context,
    ) {
        let record = self.get(life).and_then(|process| realm.vassal(process.vassal));
        context.log_for(record.map(|record| &record.key), level, text);
    }

    // The end of a process.

    /// Looks whether the main process of a life has ended, without reaping it.
    pub fn peek_end(&self, life: LifeId, realm: &Realm, context: &mut Context) -> Option<Dying> {
        let process = self.get(life)?;
        match pidfd::wait(process.pidfd.as_fd(), Reap::Peek) {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(error) => {
                let why = format!("cannot be waited for: {error}");
                self.log_for((life, Level::Error), &why, realm, context);
            }
        }
        let (pid, is_base, group_signalled) =
            (process.pid, process.is_base, process.group_signalled);
        Some(Dying { pid, is_base, group_signalled })
    }

    /// Reaps the process, takes it out of the tables and closes what belongs to it; gives the event of its end.
    pub fn take_exit(&mut self, life: LifeId, context: &mut Context) -> Option<LifeEvent> {
        let ended = match pidfd::wait(self.get(life)?.pidfd.as_fd(), Reap::Take) {
            Ok(Some(ended)) => ended,
            Ok(None) | Err(_) => ExitStatus::Code(255),
        };
        let process = self.processes.remove(&life)?;
        self.by_pid.remove(&process.pid);
        self.runtime_dir.forget(process.pid);
        let event = match process.has_truncated_verdict {
            true => LifeEvent::SpawnFailed("no descriptor is left for its listeners".to_owned()),
            false => LifeEvent::Exited(ended),
        };
        for fd in [process.status, process.pipe, process.notify, Some(process.pidfd)] {
            context.close(fd);
        }
        Some(event)
    }

    /// At the end of the emperor: closes all descriptors; then the notify sockets can be removed.
    pub fn clear(&mut self) {
        self.processes.clear();
        self.runtime_dir.clear();
    }
}

impl Dying {
    /// Kills the process group that it led. It is not reaped yet, so the kernel cannot have reused its number or that
    /// of its group.
    pub fn kill_group(self) {
        let _ = kernel::kill_group(self.pid, Signal::KILL);
    }
}
