//! Faults in liege itself: a panic is caught close to the place where it happens and is reported in the log, and
//! what it may have left half done is repaired.
//!
//! The death of the emperor would end every vassal, so all its work runs inside [`Emperor::safely`]. What a panic
//! may have lost (an event, an effect, an entry of a table) is found by comparison: of the state with the
//! processes that exist, and of both with the files that the monitors know.

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

use super::spawner::{Made, OrderOwner};
use super::{Emperor, monitors};

/// The pause after the second failed turn in a row; each further one doubles it.
const FIRST_FAULT_PAUSE: Duration = Duration::from_millis(10);
const MAX_FAULT_PAUSE: Duration = Duration::from_secs(1);
/// The longest run of failed turns that is counted.
const MAX_FAILED_TURNS: u32 = 10;
/// How long an ordered shutdown may take beyond its own limit before it is given up.
const END_GRACE: Duration = Duration::from_secs(3);
/// Exit status when the shutdown is given up.
const EXIT_GIVEN_UP: u8 = 1;

/// The faults that were caught so far.
#[derive(Debug, Default)]
pub(super) struct CaughtFaults {
    /// Faults since the start, without those in rows of the state.
    count: u64,
    /// Faults in rows of the state that were reported.
    rows: u64,
    /// How many turns have failed lately; each good turn takes one off.
    streak: u32,
    /// The vassals whose events or effects were being handled when a fault happened.
    suspects: Vec<VassalId>,
    /// When state, processes and monitors are compared.
    pub repair_at: Option<Moment>,
    /// Orders whose step has failed; they are given to the state once more.
    refused: Vec<Event>,
    /// When an ordered shutdown that is not over is given up.
    end_by: Option<Moment>,
}

/// The vassal or life that an event or effect is about.
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

    /// The pause between two comparisons, or between two failed turns.
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
    /// Runs one piece of work, whose panic is caught, so that it harms no other.
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

    /// Reports the fault in the log, and schedules a repair for the next turn.
    fn report_fault(&mut self) {
        let text = panics::last();
        self.context
            .log
            .error(format_args!("internal error (a bug in liege): {text}; please report it"));
        self.faults.repair_at.get_or_insert(self.context.now + self.faults.pause());
    }

    /// One turn. Between turns that fail again and again there are pauses; a signal ends a pause early.
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

    /// The work that a failed turn must not prevent, even if every turn fails: orders and the shutdown.
    fn serve_essentials(&mut self) {
        self.safely(Self::run_effects);
        self.safely(Self::read_signals);
        self.safely(Self::reap_known_children);
        if self.realm.is_ending() {
            self.safely(Self::serve_deadlines);
        }
        self.safely(Self::kill_session_leftovers);
        self.safely(Self::tell_manager);
        // If the state itself fails, vassals cannot be stopped one by one.
        if self.faults.end_by.is_some_and(|by| by <= self.context.now) {
            self.context.log.error(format_args!(
                "cannot end in good order, as liege fails each time: what is left is killed"
            ));
            self.leave.get_or_insert(EXIT_GIVEN_UP);
        }
    }

    /// Accepts an order, before the log line about it can fail.
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
            Event::Changed { key, .. } | Event::OwnerChanged { key, .. } | Event::Lost(key) => {
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
        // An order is given once, so it is kept and given to the state again.
        if self.faults.count != before {
            self.faults.refused.extend(order);
        }
        self.effects.extend(self.new_effects.drain(..));
        if self.realm.internal_errors() != self.faults.rows {
            self.faults.rows = self.realm.internal_errors();
            self.report_fault();
        }
    }

    /// Carries out one effect.
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
            Effect::EndRequest(life, _)
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

    /// Takes one answer of the spawner.
    pub(super) fn take_answer_safely(&mut self, owner: OrderOwner, made: Made) {
        let subject = match owner {
            OrderOwner::Life(life) => Subject::Life(life),
            OrderOwner::Helper(_) => Subject::General,
        };
        self.safely_about(subject, |emperor| emperor.order_answered(owner, made));
    }

    /// Compares state, processes and monitors after a fault; this is the first work of a turn.
    pub(super) fn repair(&mut self) {
        // Events and effects that wait already come first.
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
        let asked = self.lives.ordered().chain(self.fork_servers.lives()).collect();
        let mut lives: Vec<LifeId> = self.lives.alive().collect();
        lives.extend(self.fork_servers.lives());
        lives.sort_unstable();
        let mut hooks = HashMap::new();
        for key in self.helpers.stop_hooks() {
            *hooks.entry(key.clone()).or_default() += 1;
        }
        Truth { lives, asked, hooks, suspects: std::mem::take(&mut self.faults.suspects) }
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
                Some(old) if *old != monitors::to_state_file(file) => {
                    ChangeKind::Changed(file.clone())
                }
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
