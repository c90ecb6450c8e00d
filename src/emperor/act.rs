//! Effects to calls.

use std::io;
use std::time::Duration;

use crate::state::{Effect, Key, LifeEvent, LifeId, Note, Role, VassalId, WaitNotice};
use crate::sys::process::Pid;

use super::context::Request;
use super::lives::NewLife;

use super::{Emperor, messages};

impl Emperor {
    /// Does what one effect asks for; what fails becomes an event, which comes next.
    pub(super) fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Bind(vassal, address) => self.bind(vassal, &address),
            Effect::Unbind(vassal) => self.unbind(vassal),
            Effect::Watch(vassal) => self.watch(vassal),
            Effect::Unwatch(vassal) => self.unwatch(vassal),
            Effect::Spawn(vassal, life, role) => self.spawn(vassal, life, role),
            Effect::Ask(vassal, life) => self.ask(vassal, life),
            Effect::EndTalk(life, why) => self.end_talk(life, why),
            Effect::ProbeAccepting(vassal, life) => self.look_whether_it_accepts(vassal, life),
            Effect::Tell(life, order) => self.lives.send_order(life, order, self.context.now),
            Effect::Signal(life, signal, to) => {
                self.lives.signal(life, (signal, to), &self.realm, &mut self.context);
            }
            Effect::Kill(life) => self.lives.kill(life, &self.realm, &mut self.context),
            Effect::StopHook(_, key) => self.stop_hook(key),
            Effect::KillHooks => self.kill_hooks(),
            Effect::TakeCustody(vassal, life) => self.take_custody(vassal, life),
            Effect::Forget(vassal) => self.forget(vassal),
            Effect::Note(_, key, note) => self.note(&key, &note),
            Effect::Notice(notice) => self.say_to_all(notice),
            Effect::Leave(status) => self.leave = Some(status),
        }
    }

    /// Does what parts want of each other.
    pub(super) fn serve_requests(&mut self) {
        while let Some(request) = self.context.requests.pop_front() {
            match request {
                Request::SendFile(life) => self.push_config(life),
            }
        }
    }

    /// Forks a life; answers with an event.
    fn spawn(&mut self, vassal: VassalId, life: LifeId, role: Role) {
        let answer = match self.try_spawn(vassal, life, role) {
            Ok(pid) => LifeEvent::Spawned(pid.get()),
            Err(error) => LifeEvent::SpawnFailed(format!("cannot make a process: {error}")),
        };
        self.context.raise_for(life, answer);
    }

    fn try_spawn(&mut self, vassal: VassalId, life: LifeId, role: Role) -> io::Result<Pid> {
        self.room_to_start(vassal)?;
        let record = self.realm.vassal(vassal).ok_or(io::ErrorKind::NotFound)?;
        let sockets = self.halls.get(&vassal);
        self.lives.spawn(NewLife { life, role, record, sockets }, &mut self.context)
    }

    pub(super) fn forget(&mut self, vassal: VassalId) {
        self.unbind(vassal);
        self.halls.remove(&vassal);
        self.lives.forget_warnings(vassal);
        self.mind_no_more(vassal);
    }

    /// A wait that many share.
    fn say_to_all(&mut self, notice: WaitNotice) {
        if let WaitNotice::Ending { left } = notice {
            return self.say_who_is_left(left);
        }
        self.context.log.notice(format_args!("{}", messages::SharedWait(notice)));
    }

    /// Ragnarok: whom it waits for.
    fn say_who_is_left(&mut self, left: Duration) {
        let vassals = self.realm.vassals().filter(|vassal| vassal.current().is_some());
        let names: Vec<String> =
            vassals.map(|vassal| self.context.sources.label(&vassal.key)).collect();
        let hooks = self.helpers.stop_hooks().count();
        if names.is_empty() && hooks == 0 {
            return;
        }
        let shown = messages::names(&names);
        let hooks = match hooks {
            0 => String::new(),
            1 => "; and for 1 stop hook".to_owned(),
            more => format!("; and for {more} stop hooks"),
        };
        let (count, left) = (messages::vassals(names.len()), messages::Time(left));
        self.context.log.notice(format_args!(
            "ragnarok waits for {count}: {shown}{hooks}; what is left is killed in {left}"
        ));
    }

    fn note(&mut self, key: &Key, note: &Note) {
        let (label, line) = (self.context.sources.label(key), messages::Message(note));
        if self.hold_groups.takes_over(&label, note, self.context.now) {
            return;
        }
        let line = messages::without_name(&line.to_string(), &key.name);
        self.context.log.line(messages::severity(note), format_args!("[{label}] {line}"));
    }
}
