//! Whether what runs is what its file says, and if not, why.

use super::OnDemand;
use super::life::Life;
use super::vassal::{Hold, Phase, Vassal};

/// Why a running life and its file may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale<'a> {
    /// The start that the file describes has failed.
    Refused(&'a str),
    /// The on-demand address of the file cannot be read.
    Address(&'a str),
    /// The process that is to read the file is held.
    Held(&'a Hold),
    /// The file is being read, or its program is on its way.
    Replacing,
    /// The process before this one has not ended yet.
    Draining,
    /// The file has changed, and why it is not in use is not known.
    Changed,
}

impl Vassal {
    /// Why what runs may not be what its file says; nothing if it is, or if nothing runs.
    pub fn stale(&self) -> Option<Stale<'_>> {
        let old = |life: &Life| life.revision != self.revision;
        match &self.phase {
            Phase::Held(_) | Phase::Listening | Phase::Starting(_) | Phase::Stopping { .. } => None,
            Phase::Running { current, due } => old(current)
                .then(|| self.refusal(due.as_deref().map_or(Stale::Changed, Stale::Held))),
            Phase::Replacing { current, .. } => old(current).then_some(Stale::Replacing),
            Phase::Draining { current, .. } => old(current).then_some(Stale::Draining),
        }
    }

    /// The known reason why the file is not in use, or else this one.
    fn refusal<'a>(&'a self, or_else: Stale<'a>) -> Stale<'a> {
        match (&self.file.on_demand, &self.refused) {
            (OnDemand::Fault(why), _) => Stale::Address(why),
            (_, Some(why)) => Stale::Refused(why),
            _ => or_else,
        }
    }
}
