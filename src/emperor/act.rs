//! Carries out the effects of the state, by calls of the parts that they concern.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use crate::log::Level;
use crate::state::vassal::Vassal;
use crate::state::{Effect, Event, Key, LifeEvent, LifeId, Note, VassalId, WaitNotice};
use crate::sys::dir;
use crate::types::purpose::Purpose;

use super::context::Request;
use super::fork_servers::{ForkRequest, KnownProcesses};
use super::listeners::VassalSockets;
use super::lives::{FILE_INTERVAL, NewLife};
use super::spawner::{Made, OrderOwner};

use super::{Emperor, messages};

impl Emperor {
    /// Carries out one effect; a failure is raised as an event, which is the next one that the state takes.
    pub(super) fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Bind(vassal, address) => self.bind(vassal, &address),
            Effect::Unbind(vassal) => self.listeners.unbind(vassal, &mut self.context),
            Effect::Watch(vassal) => {
                self.listeners.watch(vassal, &self.realm, &mut self.context);
            }
            Effect::Unwatch(vassal) => self.listeners.unwatch(vassal, &mut self.context),
            Effect::Spawn(vassal, life, purpose) => self.spawn(vassal, life, purpose),
            Effect::Ask(vassal, life) => self.ask(vassal, life),
            Effect::EndRequest(life, why) => self.end_request(life, why),
            Effect::ProbeAccepting(vassal, life) => self.probe_accepting(vassal, life),
            Effect::Tell(life, order) => self.lives.send_order(life, order, self.context.now),
            Effect::Signal(life, signal, to) => {
                self.lives.signal(life, (signal, to), &self.realm, &mut self.context);
            }
            Effect::Kill(life) => self.lives.kill(life, &self.realm, &mut self.context),
            Effect::StopHook(_, key) => self.helpers.run_stop_hook(key, &mut self.context),
            Effect::KillHooks => self.helpers.kill_all(&mut self.context),
            Effect::TakeCustody(vassal, life) => self.take_custody(vassal, life),
            Effect::Forget(vassal) => self.forget(vassal),
            Effect::Note(_, key, note) => self.note(&key, &note),
            Effect::Notice(notice) => self.say_to_all(notice),
            Effect::Leave(status) => self.leave = Some(status),
        }
    }

    /// Binds the address of a vassal; the result is raised as an event.
    fn bind(&mut self, vassal: VassalId, address: &str) {
        // The file may have changed again since; then another effect binds the new address.
        if self.realm.vassal(vassal).and_then(Vassal::address) != Some(address) {
            return;
        }
        let room = self.descriptors.room_to_listen(&self.listeners, &self.realm);
        let sources = &self.context.sources;
        let bound = room.and_then(|()| self.listeners.bind(vassal, address, &self.realm, sources));
        self.context.raise(match bound {
            Ok(()) => Event::ListenerBound(vassal),
            Err(why) => Event::ListenerRefused(vassal, why),
        });
    }

    /// Moves the listeners and declared files that the stage of this life has sent to its vassal.
    fn take_custody(&mut self, vassal: VassalId, life: LifeId) {
        let files = self.lives.take_files(life).map(|files| *files).unwrap_or_default();
        self.vassal_files.replace(vassal, files, &self.realm, &mut self.context);
        if let Some(set) = self.lives.take_listeners(life) {
            self.listeners.take_custody(vassal, set, &self.realm, &self.context.sources);
        }
    }

    /// Probes whether a life accepts connections on a listener that it was given.
    fn probe_accepting(&mut self, vassal: VassalId, life: LifeId) {
        let Some(process) = self.lives.get(life) else { return };
        let kept = self.listeners.get(vassal).into_iter().flat_map(VassalSockets::all);
        let sockets = process.listeners.iter().chain(kept);
        let inodes = sockets.filter_map(|socket| Some(dir::stat(socket.as_fd()).ok()?.ino));
        let inodes: Vec<u64> = inodes.collect();
        self.helpers.probe_accepting(life, process.pid, inodes, &mut self.context);
    }

    /// Sends its file to a life that asks for it, at intervals at most.
    pub(super) fn push_config(&mut self, life: LifeId) {
        let now = self.context.now;
        let Some(vassal) = self.lives.vassal_of(life) else { return };
        let Some(config) = self.lives.config_pipe(life) else { return };
        let is_early = config.last.is_some_and(|last| last + FILE_INTERVAL > now);
        if is_early || self.helpers.is_sending_to(life) {
            return self.lives.send_file_later(life, now);
        }
        config.last = Some(now);
        let Some(record) = self.realm.vassal(vassal) else { return };
        let pipe = config.pipe.as_fd();
        if let Err(error) = self.helpers.send_config(life, pipe, &record.key, &mut self.context) {
            self.config_sent(life, Err(format!("cannot be sent its file: {error}")));
        }
    }

    /// Logs why its file was not sent to a life, once for each reason.
    pub(super) fn config_sent(&mut self, life: LifeId, result: Result<(), String>) {
        let Some(config) = self.lives.config_pipe(life) else { return };
        let failed = result.err();
        if config.failed != failed {
            config.failed.clone_from(&failed);
            if let Some(why) = failed {
                self.lives.log_for((life, Level::Error), &why, &self.realm, &mut self.context);
            }
        }
    }

    /// Serves the requests of parts to each other.
    pub(super) fn serve_requests(&mut self) {
        while let Some(request) = self.context.requests.pop_front() {
            match request {
                Request::SendFile(life) => self.push_config(life),
                Request::FailOrders => self.fail_orders(),
            }
        }
    }

    /// Requests a life from a fork server; the result is raised as an event.
    fn ask(&mut self, vassal: VassalId, life: LifeId) {
        let Some(record) = self.realm.vassal(vassal) else {
            let why = "cannot ask a fork server: its vassal is gone".to_owned();
            return self.context.raise_for(life, LifeEvent::SpawnFailed(why));
        };
        let listener = self.listeners.on_demand(vassal).map(AsFd::as_fd);
        let request = ForkRequest { life, record, listener };
        let known =
            KnownProcesses { lives: &self.lives, helpers: &self.helpers, realm: &self.realm };
        self.fork_servers.ask(&request, known, &mut self.context);
    }

    /// Gives up a request whose time is over: of a fork server the talk, and of the spawner everything, as it serves
    /// one order after the other. What the state does not know by a fault, it is told again.
    fn end_request(&mut self, life: LifeId, why: &'static str) {
        if let Some(process) = self.lives.get(life) {
            return self.context.raise_for(life, LifeEvent::Spawned(process.pid.get()));
        }
        if self.lives.is_ordered(life) {
            self.context.log.error(format_args!("{why}: it is replaced"));
            return self.replace_spawner();
        }
        let known =
            KnownProcesses { lives: &self.lives, helpers: &self.helpers, realm: &self.realm };
        self.fork_servers.end_talk((life, why), known, &mut self.context);
        self.adopt_proved();
    }

    /// Adds the verified processes of fork servers to the tables.
    pub(super) fn adopt_proved(&mut self) {
        for (life, process) in self.fork_servers.take_proved() {
            let pid = process.pid;
            self.lives.adopt(life, process, &mut self.context);
            self.push_config(life);
            self.context.raise_for(life, LifeEvent::Spawned(pid.get()));
        }
    }

    /// Orders a life from the spawner, which answers later; a failure is raised as an event.
    fn spawn(&mut self, vassal: VassalId, life: LifeId, purpose: Purpose) {
        if let Err(error) = self.try_spawn(vassal, life, purpose) {
            self.context.raise_for(life, spawn_failed(&error));
        }
    }

    fn try_spawn(&mut self, vassal: VassalId, life: LifeId, purpose: Purpose) -> io::Result<()> {
        let has_room =
            || self.listeners.on_demand(vassal).is_some() || self.lives.has_process(vassal);
        self.descriptors.room_to_start(self.lives.ordered().count(), has_room)?;
        let record = self.realm.vassal(vassal).ok_or(io::ErrorKind::NotFound)?;
        let sockets = self.listeners.get(vassal);
        self.lives.order(NewLife { life, purpose, record, sockets }, &mut self.context)
    }

    /// The spawner has answered; what follows is raised as an event.
    pub(super) fn order_answered(&mut self, owner: OrderOwner, made: Made) {
        match (owner, made) {
            (OrderOwner::Life(life), Ok((pid, pidfd))) => {
                self.lives.made(life, (pid, pidfd), &mut self.context);
                self.context.raise_for(life, LifeEvent::Spawned(pid.get()));
            }
            (OrderOwner::Life(life), Err(error)) => {
                self.lives.drop_order(life);
                self.context.raise_for(life, spawn_failed(&error));
            }
            (OrderOwner::Helper(id), made) => {
                let end = self.helpers.made(id, made, &mut self.context);
                self.helper_ended(end);
            }
        }
    }

    /// Ends the spawner, whose open orders have failed.
    pub(super) fn replace_spawner(&mut self) {
        self.context.spawner.replace(&mut self.context.reactor);
        self.fail_orders();
    }

    fn fail_orders(&mut self) {
        for owner in self.context.spawner.take_failed() {
            self.take_answer_safely(owner, Err(io::Error::other("the spawner has ended")));
        }
    }

    pub(super) fn forget(&mut self, vassal: VassalId) {
        self.listeners.forget(vassal, &mut self.context);
        self.lives.forget_warnings(vassal);
        self.vassal_files.forget(vassal, &self.realm, &mut self.context);
    }

    /// Logs a wait that many vassals share.
    fn say_to_all(&mut self, notice: WaitNotice) {
        if let WaitNotice::Ending { left } = notice {
            return self.say_who_is_left(left);
        }
        self.context.log.notice(format_args!("{}", messages::SharedWait(notice)));
    }

    /// Logs which vassals ragnarok waits for.
    fn say_who_is_left(&mut self, left: Duration) {
        let vassals = || self.realm.vassals().filter(|vassal| vassal.current().is_some());
        let (count, hooks) = (vassals().count(), self.helpers.stop_hooks().count());
        if count == 0 && hooks == 0 {
            return;
        }
        let names = vassals().map(|vassal| self.context.sources.label(&vassal.key));
        let shown = messages::names(names, count);
        let hooks = match hooks {
            0 => String::new(),
            1 => "; and for 1 stop hook".to_owned(),
            more => format!("; and for {more} stop hooks"),
        };
        let (count, left) = (messages::vassals(count), messages::Time(left));
        self.context.log.notice(format_args!(
            "ragnarok waits for {count}: {shown}{hooks}; what is left is killed in {left}"
        ));
    }

    fn note(&mut self, key: &Key, note: &Note) {
        let (label, line) = (self.context.sources.label(key), messages::Message(note));
        if self.hold_groups.absorb_note(&label, note, self.context.now) {
            return;
        }
        let line = messages::without_name(&line.to_string(), &key.name);
        self.context.log.line(messages::severity(note), format_args!("[{label}] {line}"));
    }
}

fn spawn_failed(error: &io::Error) -> LifeEvent {
    LifeEvent::SpawnFailed(format!("cannot make a process: {error}"))
}
