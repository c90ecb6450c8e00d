//! What concerns all vassals at once, done for a part of them at a time, so that no event takes long.

use std::collections::{BTreeMap, VecDeque};

use super::Realm;
use crate::state::VassalId;
use crate::state::context::{Outbox, StepContext};
use crate::state::vassal::Vassal;

/// What is to be done with every vassal: a row of the event table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::state) enum SweepKind {
    Reload,
    ForgetBlacklist,
    Lose,
    BaseReady,
}

/// The sweeps that are not at their end, oldest first; one of each kind at most.
#[derive(Debug, Default)]
pub(in crate::state) struct Sweeps(VecDeque<Sweep>);

#[derive(Debug)]
struct Sweep {
    kind: SweepKind,
    /// The vassals that it has yet to come to: those from here to the last one that was there when it began.
    from: VassalId,
    last: VassalId,
}

impl SweepKind {
    fn row(self) -> fn(&mut Vassal, &mut StepContext<'_>) {
        match self {
            Self::Reload => Vassal::reload_ordered,
            Self::ForgetBlacklist => Vassal::forget_blacklist,
            Self::Lose => Vassal::file_lost,
            Self::BaseReady => Vassal::base_ready,
        }
    }
}

impl Sweeps {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Begins a sweep over all vassals, anew if there is one of this kind.
    pub fn begin(&mut self, kind: SweepKind, vassals: &BTreeMap<VassalId, Box<Vassal>>) {
        self.0.retain(|sweep| sweep.kind != kind);
        if let (Some((&from, _)), Some((&last, _))) =
            (vassals.first_key_value(), vassals.last_key_value())
        {
            self.0.push_back(Sweep { kind, from, last });
        }
    }

    /// All vassals are lost: nothing else counts any more.
    pub fn drop_all(&mut self) {
        self.0.clear();
    }
}

impl Realm {
    /// Begins with what concerns all vassals; what is left is due at once, as [`Event::Time`](crate::state::Event::Time).
    pub(in crate::state) fn sweep(&mut self, kind: SweepKind, outbox: &mut Outbox<'_>) {
        if outbox.ending && kind != SweepKind::Lose {
            return;
        }
        self.sweeps.begin(kind, &self.vassals);
        self.go_on_sweeping(outbox);
    }

    /// Goes on for as many vassals as one event may concern.
    pub(super) fn go_on_sweeping(&mut self, outbox: &mut Outbox<'_>) {
        let Some(sweep) = self.sweeps.0.front() else { return };
        let row = sweep.kind.row();
        let most = self.rules.max_swept.max(1);
        let mut ids: Vec<VassalId> =
            self.vassals.range(sweep.from..=sweep.last).map(|(id, _)| *id).take(most + 1).collect();
        let next = if ids.len() > most { ids.pop() } else { None };
        match (next, self.sweeps.0.front_mut()) {
            (Some(next), Some(sweep)) => sweep.from = next,
            _ => drop(self.sweeps.0.pop_front()),
        }
        for id in ids {
            self.apply(id, outbox, row);
        }
    }
}
