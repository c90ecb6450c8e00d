//! Has the spawner make a life, and adds it to the tables when it is made; or adds one that a fork server has forked.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::proto::spawner::{SpawnerOrder, StartOrder};
use crate::reactor::{Delivery, Interest};
use crate::state::vassal::Vassal;
use crate::state::{LifeId, VassalId};
use crate::sys::mark::ProcessMark;
use crate::sys::process::Pid;
use crate::sys::socket;
use crate::types::purpose::Purpose;

use super::super::context::{Context, Sources};
use super::super::listeners::VassalSockets;
use super::super::spawner::OrderOwner;
use super::super::token::Token;
use super::{ConfigPipe, Lives, Process};

/// A life that is to be started.
#[derive(Clone, Copy)]
pub(in crate::emperor) struct NewLife<'a> {
    pub life: LifeId,
    pub purpose: Purpose,
    /// Vassal of the life.
    pub record: &'a Vassal,
    /// The listeners of its vassal, if there are some.
    pub sockets: Option<&'a VassalSockets>,
}

/// Our ends of the channels of a life that the spawner was ordered to make.
#[derive(Debug)]
pub(super) struct OrderedLife {
    vassal: VassalId,
    is_base: bool,
    pipe: OwnedFd,
    status: OwnedFd,
    config: Option<OwnedFd>,
}

impl Lives {
    /// Orders a life from the spawner.
    ///
    /// # Errors
    /// Some resource is missing: descriptors, processes, memory.
    pub fn order(&mut self, new: NewLife<'_>, context: &mut Context) -> io::Result<()> {
        self.runtime_dir.renew_or_warn(&mut context.log);
        let NewLife { life, purpose, record, sockets } = new;
        let (pipe, its_pipe) = socket::stream_pair()?;
        let (status, its_status) = socket::packet_pair()?;
        socket::refuse_descriptors(pipe.as_fd())?;
        let config = self.template.config_pipe.then(socket::stream_pair).transpose()?;
        let on_demand = sockets.and_then(|sockets| sockets.listener.as_ref());
        let directory = context.sources.directory(record.key.source).unwrap_or_default();
        let kept = sockets.map_or(&[][..], |sockets| &sockets.custody);
        let kept = kept.iter().filter(|one| self.template.stage && one.is_of_use(&directory));
        let kept: Vec<BorrowedFd<'_>> = kept.map(AsFd::as_fd).collect();
        let before = record.current().filter(|current| current.id != life);
        let running = before.and_then(|current| self.mark(current.id));
        let order = SpawnerOrder::Start(StartOrder {
            vassal: Sources::vassal_name(&record.key),
            purpose,
            mark: self.mark(life).map_or(0, ProcessMark::to_number),
            on_demand: on_demand.is_some(),
            in_use: before.is_some(),
            listeners: u8::try_from(kept.len()).unwrap_or(0),
            runtime: self.runtime_path(),
            running: running.map_or(0, ProcessMark::to_number),
        });
        let config_ends = config.iter().flat_map(|(ours, theirs)| [ours.as_fd(), theirs.as_fd()]);
        let attached: Vec<BorrowedFd<'_>> = [its_pipe.as_fd(), its_status.as_fd()]
            .into_iter()
            .chain(config_ends)
            .chain(on_demand.map(AsFd::as_fd))
            .chain(kept)
            .collect();
        context.order(OrderOwner::Life(life), &order, &attached)?;
        let config = config.map(|(ours, _)| ours);
        let ordered =
            OrderedLife { vassal: record.id, is_base: record.is_base, pipe, status, config };
        self.ordered.insert(life, ordered);
        Ok(())
    }

    /// Whether the spawner was ordered to make a base, and has not answered.
    pub fn awaits_base(&self) -> bool {
        self.ordered.values().any(|ordered| ordered.is_base)
    }

    /// Whether the spawner has not answered for this life.
    pub fn is_ordered(&self, life: LifeId) -> bool {
        self.ordered.contains_key(&life)
    }

    /// The spawner will not make this life: closes its channels.
    pub fn drop_order(&mut self, life: LifeId) {
        self.ordered.remove(&life);
    }

    /// The spawner has made this life: adds it to the tables.
    pub fn made(&mut self, life: LifeId, (pid, pidfd): (Pid, OwnedFd), context: &mut Context) {
        let Some(ordered) = self.ordered.remove(&life) else { return };
        let process = Process::new(ordered.vassal, (pid, pidfd), ordered.pipe, context.now);
        let process = Process {
            status: Some(ordered.status),
            config: ordered.config.map(ConfigPipe::new),
            is_base: ordered.is_base,
            ..process
        };
        let channels = [
            (process.status.as_ref(), Token::Status(life), Delivery::Direct),
            (process.pipe.as_ref(), Token::Pipe(life), Delivery::Batched),
            (Some(&process.pidfd), Token::Pidfd(life), Delivery::Batched),
        ];
        for (fd, token, kind) in channels {
            if let Some(fd) = fd {
                context.reactor.add(fd.as_fd(), token, Interest::Read, kind);
            }
        }
        self.processes.insert(life, Box::new(process));
        self.by_pid.insert(pid, life);
        context.trip("birth");
        self.leftovers.born(pid);
    }

    /// Adds a verified process that a fork server has forked to the tables.
    pub fn adopt(&mut self, life: LifeId, process: Process, context: &mut Context) {
        let pid = process.pid;
        let channels = [
            (process.pipe.as_ref(), Token::Pipe(life)),
            (Some(&process.pidfd), Token::Pidfd(life)),
        ];
        for (fd, token) in channels {
            if let Some(fd) = fd {
                context.reactor.add(fd.as_fd(), token, Interest::Read, Delivery::Batched);
            }
        }
        self.processes.insert(life, Box::new(process));
        self.by_pid.insert(pid, life);
        self.leftovers.adopt(pid, life);
    }

    fn mark(&self, life: LifeId) -> Option<ProcessMark> {
        self.leftovers.mark(life)
    }
}
