//! Effects to calls.

use crate::state::{Effect, Key, Note, VassalId};

use super::{Emperor, lines};

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
            Effect::Tell(life, order) => self.tell(life, order),
            Effect::Signal(life, signal, to) => self.signal(life, signal, to),
            Effect::Kill(life) => self.kill(life),
            Effect::StopHook(_, key) => self.stop_hook(key),
            Effect::KillHooks => self.kill_hooks(),
            Effect::TakeCustody(vassal, life) => self.take_custody(vassal, life),
            Effect::Forget(vassal) => self.forget(vassal),
            Effect::Note(_, key, note) => self.note(&key, &note),
            Effect::Leave(status) => self.leave = Some(status),
        }
    }

    fn forget(&mut self, vassal: VassalId) {
        self.unbind(vassal);
        self.halls.remove(&vassal);
    }

    fn note(&mut self, key: &Key, note: &Note) {
        let (label, line) = (self.label(key), lines::Line(note));
        self.log.line(lines::loudness(note), format_args!("[{label}] {line}"));
    }
}
