//! Forks a life and adds it to the tables; or adds one that a fork server has forked.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use crate::proto::status::Custody;
use crate::reactor::{Delivery, Interest};
use crate::spawn::child;
use crate::spawn::plan::{ChildSetup, Plan};
use crate::state::LifeId;
use crate::state::vassal::Vassal;
use crate::sys::mark::ProcessMark;
use crate::sys::process::{self, Pid};
use crate::sys::signal::Signal;
use crate::sys::{pidfd, scm, socket};
use crate::types::purpose::Purpose;

use super::super::context::Context;
use super::super::listeners::VassalSockets;
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

impl Lives {
    /// Forks a life.
    ///
    /// # Errors
    /// Some resource is missing: descriptors, processes, memory.
    pub fn spawn(&mut self, new: NewLife<'_>, context: &mut Context) -> io::Result<Pid> {
        self.runtime_dir.renew_or_warn(&mut context.log);
        let source = new.record.key.source;
        let directory = context.sources.start_directory(source).ok_or(io::ErrorKind::NotFound)?;
        let listener = new.sockets.and_then(|sockets| sockets.listener.as_ref());
        let (pipe, its_pipe) = socket::stream_pair()?;
        let (status, its_status) = socket::packet_pair()?;
        socket::refuse_descriptors(pipe.as_fd())?;
        if self.template.stage {
            self.send_custody(&status, new, context)?;
        }
        let config = self.template.config_pipe.then(socket::stream_pair).transpose()?;
        let setup = ChildSetup {
            name: &new.record.key.name,
            directory: &directory,
            input: listener.map_or(self.null.as_fd(), AsFd::as_fd),
            pipe: its_pipe.as_fd(),
            status: its_status.as_fd(),
            config: config.as_ref().map(|(ours, theirs)| [ours.as_fd(), theirs.as_fd()]),
            null: self.null.as_fd(),
            runs: new.purpose == Purpose::Start,
            mark: self.mark(new.life),
        };
        let pid = child::spawn(&Plan::new(&self.template, &setup)?)?;
        self.insert_child(new, pid, (pipe, status), context)?;
        if let Some(process) = self.get_mut(new.life) {
            process.config = config.map(|(ours, _)| ConfigPipe::new(ours));
        }
        Ok(pid)
    }

    /// Sends the stage its instructions and the listeners in custody of its vassal.
    fn send_custody(
        &self,
        status: &OwnedFd,
        new: NewLife<'_>,
        context: &Context,
    ) -> io::Result<()> {
        let NewLife { life, purpose, record, sockets } = new;
        let directory = context.sources.directory(record.key.source).unwrap_or_default();
        let on_demand = sockets.and_then(|sockets| sockets.listener.as_ref());
        let kept = sockets.map_or(&[][..], |sockets| &sockets.custody);
        let kept: Vec<_> = kept.iter().filter(|one| one.is_of_use(&directory)).collect();
        let all = on_demand.into_iter().chain(kept.iter().copied());
        let descriptors: Vec<_> = all.map(AsFd::as_fd).collect();
        let before = record.current().filter(|current| current.id != life);
        let running = before.and_then(|current| self.mark(current.id));
        let custody = Custody {
            name: OsString::from_vec(context.sources.full_name(&record.key)),
            purpose,
            on_demand: on_demand.is_some(),
            in_use: before.is_some(),
            listeners: u8::try_from(kept.len()).unwrap_or(0),
            runtime: self.runtime_path(),
            running: running.map_or(0, ProcessMark::to_number),
        };
        scm::send(status.as_fd(), &custody.encode(), &descriptors)?;
        Ok(())
    }

    /// Adds a new child to the tables. If that fails the child is killed, as it would be unsupervised.
    fn insert_child(
        &mut self,
        new: NewLife<'_>,
        pid: Pid,
        (pipe, status): (OwnedFd, OwnedFd),
        context: &mut Context,
    ) -> io::Result<()> {
        let pidfd = pidfd::open(pid).inspect_err(|_| {
            let _ = process::kill_child(pid, Signal::KILL);
        })?;
        let (vassal, life) = (new.record.id, new.life);
        let process = Process::new(vassal, (pid, pidfd), pipe, context.now);
        let process = Process { status: Some(status), ..process };
        // This comes first: if a later step fails, a life that is in the tables can be killed.
        self.processes.insert(life, Box::new(process));
        self.by_pid.insert(pid, life);
        context.trip("birth");
        self.leftovers.forget_reused_session(pid);
        let Some(process) = self.get_mut(life) else { return Ok(()) };
        process.is_base = new.record.is_base;
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
        Ok(())
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
