//! Faults in liege itself: a panic is caught as near to where it happens as can be, told in the log, and what
//! it may have left half done is repaired.
//!
//! The emperor's death would be that of every vassal, so everything that it does is done by
//! [`Emperor::safely`]. What a panic may have lost (an event, an effect, an entry of a table) is found by
//! comparing: the state with the processes that there are, and both with what the monitors know.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::log::panics;
use crate::monitor::{Change, ChangeKind};
use crate::state::repair::Truth;
use crate::state::{Effect, Event, LifeId, SourceId, VassalId};
use crate::sys::clock;
use crate::sys::fd;
use crate::types::moment::Moment;

use super::{Emperor, monitors};

/// From the second failure in a row on: the pause after it, which is doubled with each.
const FIRST_FAULT_PAUSE: Duration = Duration::from_millis(10);
const MAX_FAULT_PAUSE: Duration = Duration::from_secs(1);
/// So many turns are remembered as having failed.
const MAX_FAILED_TURNS: u32 = 10;
/// From the time at which an ordered end should be over to the one at which it is given up.
const END_GRACE: Duration = Duration::from_secs(3);
/// Exit status when it is given up.
const EXIT_GIVEN_UP: u8 = 1;

/// What has failed so far.
#[derive(Debug, Default)]
pub(super) struct CaughtFaults {
    /// Since the start, but for rows of the state.
    count: u64,
    /// Rows of the state that have failed and were told.
    rows: u64,
    /// Turns that have failed lately.
    streak: u32,
    /// The vassals for which something was being done.
    suspects: Vec<VassalId>,
    /// When state, processes and monitors are compared.
    pub repair_at: Option<Moment>,
    /// Orders that the state has failed to take.
    refused: Vec<Event>,
    /// By then the end that was ordered is over, or it never will be.
    end_by: Option<Moment>,
}

/// What something is done for.
#[derive(Clone, Copy, Debug)]
enum Subject {
    General,
    Vassal(VassalId),
    Life(LifeId),
}

impl CaughtFaults {
    /// For statistics.
    pub(super) fn count(&self) -> u64 {
        self.count + self.rows
    }

    /// From one comparison, or one turn that fails, to the next.
    fn pause(&self) -> Duration {
        match self.streak {
            0 | 1 => Duration::ZERO,
            more => FIRST_FAULT_PAUSE
                .saturating_mul(1 << (more - 2).min(MAX_FAILED_TURNS))
                .min(MAX_FAULT_PAUSE),
        }
    }
}

impl Emperor {
    /// Does one thing, which must not take anything else with it when it fails.
    pub(super) fn safely(&mut self, act: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| act(self))).is_err() {
            self.faults.count += 1;
            self.report_fault();
        }
    }

    fn safely_about(&mut self, subject: Subject, act: impl FnOnce(&mut Self)) {
        let before = self.faults.count;
        let vassal = match subject {
            Subject::General => None,
            Subject::Vassal(vassal) => Some(vassal),
            Subject::Life(life) => self.realm.vassal_of(life),
        };
        self.safely(act);
        if self.faults.count != before {
            self.faults.suspects.extend(vassal);
        }
    }

    /// Says what has failed, and has everything compared in the next turn.
    fn report_fault(&mut self) {
        let text = panics::last();
        self.context
            .log
            .error(format_args!("internal error (a bug in liege): {text}; please report it"));
        self.faults.repair_at.get_or_insert(self.context.now + self.faults.pause());
    }

    /// One turn; when turns fail again and again there are pauses between them, which a signal ends.
    pub(super) fn turn_safely(&mut self, turn: impl FnOnce(&mut Self)) {
        let before = self.faults.count();
        self.safely(turn);
        if self.faults.count() == before {
            self.faults.streak = self.faults.streak.saturating_sub(1);
            return;
        }
        self.faults.streak = (self.faults.streak + 1).min(MAX_FAILED_TURNS);
        let _ = fd::wait_readable([self.signals.as_fd()], Some(self.faults.pause()));
        self.context.now = clock::now();
        self.serve_essentials();
    }

    /// What comes last in a turn: one that fails each time must keep neither orders nor the end out.
    fn serve_essentials(&mut self) {
        self.safely(Self::run_effects);
        self.safely(Self::read_signals);
        if self.realm.is_ending() {
            self.safely(Self::serve_deadlines);
        }
        self.safely(Self::kill_session_leftovers);
        self.safely(Self::tell_manager);
        // The state itself may be what fails: then nothing is stopped one by one.
        if self.faults.end_by.is_some_and(|by| by <= self.context.now) {
            self.context.log.error(format_args!(
                "cannot end in good order, as liege fails each time: what is left is killed"
            ));
            self.leave.get_or_insert(EXIT_GIVEN_UP);
        }
    }

    /// Takes an order in, before anything that is said about it can fail.
    pub(super) fn order(&mut self, order: Event) {
        let mercy = match order {
            Event::Ragnarok => Some(self.realm.rules().reload_mercy),
            Event::RagnarokNow => Some(Duration::ZERO),
            _ => None,
        };
        if let Some(by) = mercy.map(|mercy| self.context.now + mercy + END_GRACE) {
            self.faults.end_by = Some(self.faults.end_by.map_or(by, |old| old.min(by)));
        }
        self.context.raise(order);
        self.context.trip("order");
    }

    /// Steps the state with one event.
    pub(super) fn step(&mut self, event: Event) {
        self.context.version += 1;
        let order = event.is_order().then(|| event.clone());
        let before = self.faults.count;
        let subject = match &event {
            Event::Life(life, _) => Subject::Life(*life),
            Event::ListenerBound(vassal)
            | Event::ListenerRefused(vassal, _)
            | Event::ListenerLost(vassal, _)
            | Event::ListenersRenewed(vassal)
            | Event::Connection(vassal) => Subject::Vassal(*vassal),
            Event::Changed { key, .. } | Event::Chowned { key, .. } | Event::Lost(key) => {
                self.realm.named_id(key).map_or(Subject::General, Subject::Vassal)
            }
            Event::Found { .. }
            | Event::HookEnded(_)
            | Event::ReloadAll
            | Event::ForgetBlacklist
            | Event::Ragnarok
            | Event::RagnarokNow
            | Event::Time => Subject::General,
        };
        self.safely_about(subject, |emperor| {
            #[cfg(debug_assertions)]
            if emperor.context.trips.wants_a_row_to_fail() {
                emperor.realm.fail_next_row();
            }
            emperor.context.trip("step");
            if event.is_order() {
                emperor.context.trip("step of an order");
            }
            emperor.realm.step(emperor.context.now, event, &mut emperor.new_effects);
        });
        // Whoever has given it does so once.
        if self.faults.count != before {
            self.faults.refused.extend(order);
        }
        self.effects.extend(self.new_effects.drain(..));
        if self.realm.internal_errors() != self.faults.rows {
            self.faults.rows = self.realm.internal_errors();
            self.report_fault();
        }
    }

    /// Does what one effect asks for.
    pub(super) fn act_safely(&mut self, effect: Effect) {
        let subject = match &effect {
            Effect::Bind(vassal, _)
            | Effect::Unbind(vassal)
            | Effect::Watch(vassal)
            | Effect::Unwatch(vassal)
            | Effect::Spawn(vassal, ..)
            | Effect::Ask(vassal, _)
            | Effect::ProbeAccepting(vassal, _)
            | Effect::TakeCustody(vassal, _) => Subject::Vassal(*vassal),
            Effect::EndTalk(life, _)
            | Effect::Tell(life, _)
            | Effect::Signal(life, ..)
            | Effect::Kill(life) => Subject::Life(*life),
            Effect::StopHook(..)
            | Effect::KillHooks
            | Effect::Forget(_)
            | Effect::Note(..)
            | Effect::Notice(_)
            | Effect::Leave(_) => Subject::General,
        };
        self.safely_about(subject, |emperor| {
            emperor.context.trip("act");
            emperor.act(effect);
        });
    }

    /// Compares everything with what there is, if something has failed; first of all in a turn.
    pub(super) fn repair(&mut self) {
        // What is decided already is done before.
        let due = self.faults.repair_at.is_some_and(|at| at <= self.context.now);
        if !due || !self.context.events.is_empty() || !self.effects.is_empty() {
            return;
        }
        self.faults.repair_at = None;
        self.context.trip("repair");
        self.lives.rebuild_pids();
        let forgotten = |id: &VassalId| self.realm.vassal(*id).is_none();
        let forgotten: Vec<VassalId> = self.listeners.vassals().filter(forgotten).collect();
        for vassal in forgotten {
            self.forget(vassal);
        }
        let truth = self.truth();
        self.realm.repair(self.context.now, &truth, &mut self.new_effects);
        self.effects.extend(self.new_effects.drain(..));
        self.context.events.extend(self.faults.refused.drain(..));
        for source in self.monitors.ids() {
            self.safely(|emperor| emperor.compare(source));
        }
        self.run_effects();
    }

    fn truth(&mut self) -> Truth {
        let mut lives: Vec<LifeId> = self.lives.alive().collect();
        lives.extend(self.fork_servers.lives());
        lives.sort_unstable();
        let mut hooks = HashMap::new();
        for key in self.helpers.stop_hooks() {
            *hooks.entry(key.clone()).or_default() += 1;
        }
        Truth { lives, hooks, suspects: std::mem::take(&mut self.faults.suspects) }
    }

    /// Compares a monitor with its directory, and the state with the monitor.
    fn compare(&mut self, source: SourceId) {
        if self.realm.is_ending() {
            return;
        }
        self.poll_monitor(source, |monitor, now, out| monitor.rescan(now, out));
        let Some(known) = self.monitors.known(source) else { return };
        let of_source = self.realm.vassals().filter(|vassal| vassal.key.source == source);
        let mut governed = HashMap::new();
        for vassal in of_source {
            let name = OsStr::from_bytes(&vassal.key.name).to_owned();
            governed.insert(name, vassal.file.clone());
        }
        let mut missed = Vec::new();
        for (name, file) in &known {
            let what = match governed.get(name) {
                None => ChangeKind::Found(file.clone()),
                Some(old) if *old != monitors::file(file) => ChangeKind::Changed(file.clone()),
                Some(_) => continue,
            };
            missed.push((name.clone(), what));
        }
        let lost = governed.into_keys().filter(|name| !known.contains_key(name));
        missed.extend(lost.map(|name| (name, ChangeKind::Lost)));
        for (name, kind) in missed {
            self.dispatch_change(source, Change { name, kind, is_initial: true });
        }
    }
}
