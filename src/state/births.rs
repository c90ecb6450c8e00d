//! The rows of the event table that say how a life comes to be, or does not: a fork, and what a base says.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::life::Life;
use super::vassal::{AfterStop, Hold, HoldReason, Phase, Queue, StepContext, Vassal, running};
use super::{LifeId, Note, Role, VassalId};
use crate::types::moment::Moment;

/// First and longest pause before a base that takes no requests is asked again.
const BASE_RETRY: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(1);
/// The same before an address is tried again that another vassal has.
const TAKEN_RETRY: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(10);
/// The same when the kernel has refused what a life needs.
const RESOURCE_RETRY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);

impl Vassal {
    pub(super) fn spawned(&mut self, id: LifeId, pid: i32) {
        if let Some(life) = self.life_mut(id) {
            life.pid = Some(pid);
        }
    }

    pub(super) fn spawn_failed(&mut self, id: LifeId, why: String, ctx: &mut StepContext<'_>) {
        let wait = self.resource_retries.next(&RESOURCE_RETRY);
        self.history.last_error = Some(why.clone());
        let hold = Hold::until(HoldReason::Resource(why.as_str().into()), ctx.now + wait);
        if self.last_logged_hold.as_deref() != Some(&hold.reason) {
            self.last_logged_hold = Some(Box::new(hold.reason.clone()));
            self.note(Note::Held { why, wait: Some(wait) }, ctx);
        }
        self.spawn_aborted(id, hold, ctx);
    }

    /// Another vassal has an address that this one wants: nobody is to blame, least of all where a file was
    /// renamed and the old name has not stopped yet.
    pub(super) fn address_taken(
        &mut self,
        id: LifeId,
        (why, holder): (String, Option<VassalId>),
        ctx: &mut StepContext<'_>,
    ) {
        // Nothing runs that would be lost: a stranger's address is a fault as any other.
        if holder.is_none() && !matches!(self.phase, Phase::Replacing { .. }) {
            return self.start_failed(id, why, ctx);
        }
        let Some(life) = self.life_mut(id).filter(|life| life.is_starting()) else { return };
        if life.failed.is_some() {
            return;
        }
        life.failed = Some(why.as_str().into());
        (life.is_blocked, life.blocked_by) = (true, holder);
        self.history.last_error = Some(why.clone());
        let taken = taken(&why, holder);
        if self.last_logged_hold.as_deref() == Some(&taken) {
            return;
        }
        self.last_logged_hold = Some(Box::new(taken));
        let note = match &self.phase {
            Phase::Replacing { .. } => Note::ReplacementFailed { why },
            Phase::Held(_)
            | Phase::Listening
            | Phase::Starting(_)
            | Phase::Running { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. } => Note::Held { why, wait: None },
        };
        self.note(note, ctx);
    }

    /// Until the address is given back, if another vassal has it, or the next try.
    pub(super) fn wait_for_address(&mut self, life: &Life, now: Moment) -> Hold {
        let why = taken(life.failed.as_deref().unwrap_or_default(), life.blocked_by);
        Hold::until(why, now + self.address_retries.next(&TAKEN_RETRY))
    }

    /// It waits for an address that another vassal has, or is about to.
    pub(super) fn waits_for_address(&self) -> bool {
        let taken = |hold: &Hold| matches!(hold.reason, HoldReason::AddressTaken(..));
        let blocked = |life: Option<&Life>| life.is_some_and(|life| life.blocked_by.is_some());
        let waits = match &self.phase {
            Phase::Held(hold) => taken(hold),
            Phase::Running { due, .. } => due.as_deref().is_some_and(taken),
            Phase::Stopping { then: AfterStop::Hold(hold), .. } => taken(hold),
            Phase::Listening
            | Phase::Starting(_)
            | Phase::Replacing { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. } => false,
        };
        waits || blocked(self.current()) || blocked(self.other())
    }

    /// Another vassal has given addresses back: who has waited for one of them starts now.
    pub(super) fn address_is_free(&mut self, of: VassalId, ctx: &mut StepContext<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) if hold.reason.is_taken_by(of) => self.request_start(hold.queue, ctx),
            Phase::Running { current, due: Some(due) } if due.reason.is_taken_by(of) => {
                self.reload(current, ctx)
            }
            Phase::Stopping { life, other, then: AfterStop::Hold(hold) }
                if hold.reason.is_taken_by(of) =>
            {
                Phase::Stopping { life, other, then: AfterStop::Start(hold.queue) }
            }
            same @ (Phase::Held(_)
            | Phase::Listening
            | Phase::Starting(_)
            | Phase::Running { .. }
            | Phase::Replacing { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    /// A life has come to nothing, and nobody is to blame: its vassal is held.
    fn spawn_aborted(&mut self, id: LifeId, hold: Hold, ctx: &mut StepContext<'_>) {
        if self.life_mut(id).is_some_and(|life| life.role == Role::Vassal) {
            self.history.starts = self.history.starts.saturating_sub(1);
        }
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Starting(_) => Phase::Held(hold),
            Phase::Replacing { current, next, again } => {
                if next.id != id {
                    Phase::Replacing { current, next, again }
                } else if current.is_cursed() && !current.is_fallback() {
                    Phase::Stopping { life: current, other: None, then: AfterStop::JudgeExit }
                } else {
                    Phase::Running { current, due: Some(Box::new(hold)) }
                }
            }
            // Killed before the fork was answered: nothing is there to be reaped.
            Phase::Stopping { life, other, then } => match other {
                None => {
                    if then == AfterStop::Forget {
                        self.note(Note::Gone, ctx);
                    }
                    self.on_stopped(then, ctx)
                }
                Some(other) if life.id == id => Phase::Stopping { life: other, other: None, then },
                Some(_) => Phase::Stopping { life, other: None, then },
            },
            same @ (Phase::Held(_)
            | Phase::Listening
            | Phase::Running { .. }
            | Phase::Draining { .. }) => same,
        };
    }

    /// A base takes requests: who waits for one asks now.
    pub fn base_ready(&mut self, ctx: &mut StepContext<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) if matches!(hold.reason, HoldReason::Base(_)) => {
                self.base_retries.forget();
                self.request_start(hold.queue, ctx)
            }
            same @ (Phase::Held(_)
            | Phase::Listening
            | Phase::Starting(_)
            | Phase::Running { .. }
            | Phase::Replacing { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    pub(super) fn base_not_ready(&mut self, id: LifeId, why: String, ctx: &mut StepContext<'_>) {
        let wait = self.base_retries.next(&BASE_RETRY);
        self.history.last_error = Some(why.clone());
        let hold = Hold::until(HoldReason::Base(why.as_str().into()), ctx.now + wait);
        // A base that crashes gives another reason at each try.
        if !matches!(self.last_logged_hold.as_deref(), Some(HoldReason::Base(_))) {
            self.last_logged_hold = Some(Box::new(hold.reason.clone()));
            self.note(Note::Held { why, wait: Some(wait) }, ctx);
        }
        self.spawn_aborted(id, hold, ctx);
    }

    /// A base whose address has vanished is of no use before it listens anew: it is stopped and started. One
    /// that is about to say that it is accepting may be listening anew already.
    pub(super) fn unreachable(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        let is_it = |life: &Life| life.id == id && (life.accepting || !life.uses_protocol);
        if !self.current().is_some_and(is_it) {
            return;
        }
        let then = AfterStop::Start(Queue::Budget);
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Running { current, due: _ } => self.stop(current, None, then, ctx),
            Phase::Draining { current, old, reload: _ } => self.stop(current, Some(old), then, ctx),
            // Who takes over listens anew.
            same @ (Phase::Held(_)
            | Phase::Listening
            | Phase::Starting(_)
            | Phase::Replacing { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    pub(super) fn answered(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        if let Some(life) = self.life_mut(id) {
            life.answered(ctx.now, ctx.rules);
        }
    }

    pub(super) fn adopted(&mut self, id: LifeId, pid: i32, ctx: &mut StepContext<'_>) {
        let Some(life) = self.life_mut(id).filter(|life| life.is_asked()) else { return };
        let wanted = life.adopt(pid, ctx.now, ctx.rules);
        if !wanted {
            // Touched, lost or in ragnarok since it was asked for.
            life.stop(ctx.now, ctx.rules, ctx.out);
        }
        self.history.last_error = None;
        self.last_logged_hold = None;
        self.resource_retries.forget();
        self.base_retries.forget();
        self.note(Note::Adopted { pid }, ctx);
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Starting(current) => running(current),
            same @ (Phase::Held(_)
            | Phase::Listening
            | Phase::Running { .. }
            | Phase::Replacing { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. }) => same,
        };
    }
}

/// Why a start is put off that wants an address of this vassal, or of a stranger.
fn taken(why: &str, holder: Option<VassalId>) -> HoldReason {
    match holder {
        Some(holder) => HoldReason::AddressTaken(why.into(), holder),
        None => HoldReason::Address(why.into()),
    }
}
