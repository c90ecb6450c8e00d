//! The event table: what each event means in each phase of a vassal.
//!
//! A function is a row, an arm of its `match` is a column; each arm must give the next phase. There is no
//! wildcard over phases or events: a new one does not compile before all have met it.

use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use super::life::{FIRST_PROBE, IDLE_PROBE, Life};
use super::throttle::Ticket;
use super::vassal::{
    AfterStop, Hold, HoldReason, MIN_RESTART_INTERVAL, Phase, Queue, StepContext, Vassal, running,
};
use super::{
    Channel, Effect, Exit, File, Fingerprint, LifeEvent, LifeId, Note, Role, VassalMessage,
};
use crate::types::run_settings::{Restart, RunSettings};

/// First and longest pause between two tries to bind.
const BIND_RETRY: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(10);

impl Vassal {
    // The file.

    /// Its file is another than before.
    pub fn changed(&mut self, file: File, ctx: &mut StepContext<'_>) {
        self.penalty.forgive();
        self.last_logged_hold = None;
        self.resource_retries.forget();
        self.base_retries.forget();
        self.address_retries.forget();
        let moved = self.update_file(file, ctx);
        let anew = AfterStop::Start(Queue::Budget);
        let stays = !moved && !self.has_bad_address();
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) => match hold.reason {
                HoldReason::Throttle | HoldReason::Budget if stays => Phase::Held(hold),
                HoldReason::Throttle
                | HoldReason::Budget
                | HoldReason::Penalty
                | HoldReason::Resource(_)
                | HoldReason::Base(_)
                | HoldReason::Address(_)
                | HoldReason::AddressTaken(..)
                | HoldReason::StopHook
                | HoldReason::RestartInterval
                | HoldReason::InternalError
                | HoldReason::Finished(_) => self.request_start(Queue::Budget, ctx),
            },
            Phase::Listening if stays => Phase::Listening,
            Phase::Listening => {
                // A listener that has moved is closed already, and was polled until then.
                if !moved {
                    ctx.out.push(Effect::Unwatch(self.id));
                }
                self.request_start(Queue::Budget, ctx)
            }
            Phase::Starting(mut life) => {
                life.kill(ctx.now, ctx.rules, ctx.out);
                Phase::Stopping { life, other: None, then: anew }
            }
            // Another address needs another listener, which only a new life can be given.
            Phase::Running { current, due: _ } if moved => self.stop(current, None, anew, ctx),
            Phase::Replacing { current, next: other, again: _ }
            | Phase::Draining { current, old: other, reload: _ }
                if moved =>
            {
                self.stop(current, Some(other), anew, ctx)
            }
            Phase::Running { current, due } => self.reload_for_new_reason(current, due, ctx),
            Phase::Replacing { current, mut next, again: _ } => {
                if !next.is_cursed() {
                    next.kill(ctx.now, ctx.rules, ctx.out);
                }
                Phase::Replacing { current, next, again: true }
            }
            Phase::Draining { current, old, reload: _ } => {
                Phase::Draining { current, old, reload: true }
            }
            Phase::Stopping { life, other, then: _ } => Phase::Stopping { life, other, then: anew },
        };
    }

    /// Its file is gone, or ragnarok has come.
    pub fn lost(&mut self, ctx: &mut StepContext<'_>) {
        let gone = AfterStop::Forget;
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(_) | Phase::Listening => {
                self.note(Note::Gone, ctx);
                self.on_stopped(gone, ctx)
            }
            Phase::Starting(life) => self.stop(life, None, gone, ctx),
            Phase::Running { current, due: _ } => self.stop(current, None, gone, ctx),
            Phase::Replacing { current, next, again: _ } => {
                self.stop(current, Some(next), gone, ctx)
            }
            Phase::Draining { current, old, reload: _ } => self.stop(current, Some(old), gone, ctx),
            Phase::Stopping { life, other, then: _ } => Phase::Stopping { life, other, then: gone },
        };
    }

    /// SIGHUP.
    pub fn reload_ordered(&mut self, ctx: &mut StepContext<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Running { current, due } if current.is_fallback() => {
                Phase::Running { current, due }
            }
            Phase::Running { current, due } => self.reload_for_new_reason(current, due, ctx),
            Phase::Draining { current, old, reload: _ } => {
                Phase::Draining { current, old, reload: true }
            }
            same @ (Phase::Held(_)
            | Phase::Listening
            | Phase::Starting(_)
            | Phase::Replacing { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    /// SIGURG: a penalty that is being served is over.
    pub fn forgive(&mut self, ctx: &mut StepContext<'_>) {
        self.penalty.forgive();
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) if hold.reason == HoldReason::Penalty => {
                self.request_start(hold.queue, ctx)
            }
            Phase::Running { current, due: Some(hold) } if hold.reason == HoldReason::Penalty => {
                let due = Some(Box::new(self.place_in(hold.queue, ctx)));
                Phase::Running { current, due }
            }
            Phase::Stopping { life, other, then: AfterStop::Hold(hold) }
                if hold.reason == HoldReason::Penalty =>
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

    // The listener and the queues.

    /// Its address is bound.
    pub fn listener_bound(&mut self, ctx: &mut StepContext<'_>) {
        if let Some(listener) = &mut self.listener {
            listener.bound = true;
        }
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) if matches!(hold.reason, HoldReason::Address(_)) => {
                self.history.last_error = None;
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

    /// Its address cannot be bound.
    pub fn listener_refused(&mut self, why: String, ctx: &mut StepContext<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) if matches!(hold.reason, HoldReason::Address(_)) => {
                let wait = self.bind_pause();
                if self.history.last_error.as_ref() != Some(&why) {
                    self.note(Note::Held { why: why.clone(), wait: Some(wait) }, ctx);
                    self.history.last_error = Some(why.clone());
                }
                Phase::Held(Hold::until(HoldReason::Address(why.into()), ctx.now + wait))
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

    /// Its listener is of no use any more: it is bound anew, after a pause, lest the next one is lost
    /// the same way in the same turn. Who is not polled finds out when it is.
    pub fn listener_lost(&mut self, why: String, ctx: &mut StepContext<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Listening => {
                ctx.out.push(Effect::Unwatch(self.id));
                ctx.out.push(Effect::Unbind(self.id));
                let wait = self.bind_pause();
                self.note(Note::Held { why: why.clone(), wait: Some(wait) }, ctx);
                self.history.last_error = Some(why.clone());
                Phase::Held(Hold::until(HoldReason::Address(why.into()), ctx.now + wait))
            }
            same @ (Phase::Held(_)
            | Phase::Starting(_)
            | Phase::Running { .. }
            | Phase::Replacing { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    /// It has no listener: gives the pause before the next try, and doubles it.
    fn bind_pause(&mut self) -> Duration {
        let Some(listener) = &mut self.listener else { return *BIND_RETRY.start() };
        listener.bound = false;
        listener.retries.next(&BIND_RETRY)
    }

    /// Somebody has connected.
    pub fn connection(&mut self, ctx: &mut StepContext<'_>) {
        let earliest = self.history.last_run.map(|last| last + MIN_RESTART_INTERVAL);
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Listening => {
                ctx.out.push(Effect::Unwatch(self.id));
                if let Some(listener) = &mut self.listener {
                    listener.retries.forget();
                }
                match earliest.filter(|at| *at > ctx.now) {
                    Some(at) => Phase::Held(Hold::until(HoldReason::RestartInterval, at)),
                    None => self.enqueue(Queue::Budget, ctx),
                }
            }
            same @ (Phase::Held(_)
            | Phase::Starting(_)
            | Phase::Running { .. }
            | Phase::Replacing { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    /// Its turn has come: gives the new life, or nothing if it has lost interest.
    pub fn start_granted(&mut self, ticket: Ticket, ctx: &mut StepContext<'_>) -> Option<LifeId> {
        if !self.waits_with(ticket) {
            return None;
        }
        let (phase, born) = match std::mem::take(&mut self.phase) {
            Phase::Held(_) => {
                let life = self.spawn(Role::Vassal, ctx);
                let id = life.id;
                (Phase::Starting(life), Some(id))
            }
            Phase::Running { current, due } => {
                let role = due.map_or(Role::Check, |due| due.role);
                let next = self.spawn(role, ctx);
                let id = next.id;
                (Phase::Replacing { current, next, again: false }, Some(id))
            }
            same @ (Phase::Listening
            | Phase::Starting(_)
            | Phase::Replacing { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. }) => (same, None),
        };
        self.phase = phase;
        born
    }

    // One life.

    /// Something happened to one of its lives.
    pub fn life(&mut self, id: LifeId, event: LifeEvent, ctx: &mut StepContext<'_>) {
        match event {
            LifeEvent::Spawned(pid) => self.spawned(id, pid),
            LifeEvent::SpawnFailed(why) => self.spawn_failed(id, why, ctx),
            LifeEvent::BaseNotReady(why) => self.base_not_ready(id, why, ctx),
            LifeEvent::Unreachable => self.unreachable(id, ctx),
            LifeEvent::Answered => self.answered(id, ctx),
            LifeEvent::Adopted(pid) => self.adopted(id, pid, ctx),
            LifeEvent::Verdict(settings, print) => self.verdict(id, settings, print, ctx),
            LifeEvent::StartFailed(why) => self.start_failed(id, why, ctx),
            LifeEvent::AddressTaken(why, by) => self.address_taken(id, (why, by), ctx),
            LifeEvent::StatusClosed => self.status_closed(id, ctx),
            LifeEvent::Message(said, channel) => self.message(id, said, channel, ctx),
            LifeEvent::SeenAccepting => self.seen_accepting(id, ctx),
            LifeEvent::PipeClosed => self.pipe_closed(id, ctx),
            LifeEvent::Daemonized(why) => self.daemonized(id, why, ctx),
            LifeEvent::Exited(exit) => self.exited(id, exit, ctx),
        }
    }

    fn verdict(
        &mut self,
        id: LifeId,
        settings: RunSettings,
        fingerprint: Fingerprint,
        ctx: &mut StepContext<'_>,
    ) {
        self.resource_retries.forget();
        let Some(life) = self.life_mut(id).filter(|life| life.is_starting()) else { return };
        if settings != *life.settings {
            life.settings = Rc::new(settings);
        }
        life.fingerprint = fingerprint;
        life.verdict = true;
        // What runs is what the newer file would start: it has that edition from now on.
        if let Phase::Replacing { current, next, again: _ } = &mut self.phase
            && next.id == id
            && next.fingerprint == current.fingerprint
        {
            current.revision = next.revision;
            current.apply_settings(&next.settings, ctx.rules);
        }
    }

    pub(super) fn start_failed(&mut self, id: LifeId, why: String, ctx: &mut StepContext<'_>) {
        let Some(life) = self.life_mut(id).filter(|life| life.is_starting()) else { return };
        if life.failed.is_some() {
            return;
        }
        life.failed = Some(why.as_str().into());
        self.show_failure(why, ctx);
    }

    /// It ends well, but what was to run is in the background: no good end, unless a good end is all it has to
    /// come to.
    fn daemonized(&mut self, id: LifeId, why: String, ctx: &mut StepContext<'_>) {
        let Some(life) = self.life_mut(id).filter(|life| life.is_running()) else { return };
        if life.settings.restart == Restart::Always {
            life.failed = Some(why.as_str().into());
        }
        self.show_failure(why, ctx);
    }

    fn show_failure(&mut self, why: String, ctx: &mut StepContext<'_>) {
        self.history.last_error = Some(why.clone());
        let note = match &self.phase {
            Phase::Replacing { .. } => Note::ReplacementFailed { why },
            Phase::Held(_)
            | Phase::Listening
            | Phase::Starting(_)
            | Phase::Running { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. } => Note::StartFailed { why },
        };
        self.note(note, ctx);
    }

    fn status_closed(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        let Some(life) = self.life_mut(id).filter(|life| life.is_starting()) else { return };
        if life.failed.is_some() {
            return;
        }
        if !life.verdict {
            let why = "the stage has ended without a verdict".to_owned();
            return self.start_failed(id, why, ctx);
        }
        if life.role == Role::Check {
            return;
        }
        life.run(ctx.now, ctx.rules);
        let pid = life.pid;
        self.history.last_error = None;
        self.last_logged_hold = None;
        self.resource_retries.forget();
        self.address_retries.forget();
        self.note(Note::Running { pid }, ctx);
        let on_demand = self.listener.is_some();
        let has_custody = |life: &Life| on_demand || life.settings.listeners > 0;
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Starting(mut current) => {
                ctx.out.push(Effect::TakeCustody(self.id, current.id));
                if has_custody(&current) {
                    current.probe_after(IDLE_PROBE);
                }
                Phase::Running { current, due: None }
            }
            Phase::Replacing { current, mut next, again } => {
                if has_custody(&next) {
                    next.probe_after(FIRST_PROBE);
                }
                Phase::Replacing { current, next, again }
            }
            same @ (Phase::Held(_)
            | Phase::Listening
            | Phase::Running { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    fn message(
        &mut self,
        id: LifeId,
        said: VassalMessage,
        channel: Channel,
        ctx: &mut StepContext<'_>,
    ) {
        if matches!(&self.phase, Phase::Stopping { .. }) {
            return;
        }
        let Some(life) = self.life_mut(id).filter(|life| life.is_running()) else { return };
        let news = life.on_message(ctx.now, said, channel, ctx.rules);
        let announced = channel == Channel::Notify && said == VassalMessage::Ready;
        let mut loyal = false;
        if announced {
            life.assume_accepting(ctx.now);
            loyal = !life.uses_protocol && life.assume_loyal(ctx.now);
        }
        if life.loyal {
            self.penalty.forgive();
        }
        if news {
            self.tell_news(said, ctx);
        }
        if loyal {
            self.note(Note::Loyal, ctx);
        }
        if said == VassalMessage::Accepting || announced {
            self.accepting(id, ctx);
        } else {
            self.next_must_accept(id, ctx);
        }
        if said == VassalMessage::GoIdle {
            self.go_idle(id, ctx);
        }
    }

    /// A speaker that replaces another has until its start timeout to say that it is accepting.
    fn next_must_accept(&mut self, id: LifeId, ctx: &StepContext<'_>) {
        if let Phase::Replacing { next, .. } = &mut self.phase
            && next.id == id
            && next.uses_protocol
            && !next.accepting
        {
            next.expect_accepting(ctx.rules);
        }
    }

    fn tell_news(&self, said: VassalMessage, ctx: &mut StepContext<'_>) {
        let note = match said {
            VassalMessage::Ready => Note::Ready,
            VassalMessage::Accepting => Note::Accepting,
            VassalMessage::Loyal => Note::Loyal,
            VassalMessage::GoIdle | VassalMessage::Heartbeat => return,
        };
        self.note(note, ctx);
    }

    /// A life takes requests: a replacement takes over.
    pub(super) fn accepting(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Replacing { mut current, next, again } => {
                if next.id != id || next.is_cursed() {
                    Phase::Replacing { current, next, again }
                } else {
                    ctx.out.push(Effect::TakeCustody(self.id, next.id));
                    self.note(Note::Replaced { pid: next.pid }, ctx);
                    current.stop(ctx.now, ctx.rules, ctx.out);
                    Phase::Draining { current: next, old: current, reload: false }
                }
            }
            same @ (Phase::Held(_)
            | Phase::Listening
            | Phase::Starting(_)
            | Phase::Running { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    /// A process of a life that has not said anything yet waits for connections.
    fn seen_accepting(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        let Some(life) = self.life_mut(id).filter(|life| life.is_probed()) else { return };
        life.assume_accepting(ctx.now);
        self.note(Note::Accepting, ctx);
        self.accepting(id, ctx);
    }

    fn go_idle(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        let Some(current) = self.current().filter(|life| life.id == id) else { return };
        let then = self.schedule_restart(current, None, Duration::ZERO, ctx.now);
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Running { current, due: _ } => self.stop(current, None, then, ctx),
            Phase::Replacing { current, next: other, again: _ }
            | Phase::Draining { current, old: other, reload: _ } => {
                self.stop(current, Some(other), then, ctx)
            }
            same @ (Phase::Held(_)
            | Phase::Listening
            | Phase::Starting(_)
            | Phase::Stopping { .. }) => same,
        };
    }

    fn pipe_closed(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        let Some(life) = self.life_mut(id) else { return };
        if !life.uses_protocol || life.is_cursed() {
            return;
        }
        life.curse(ctx.now, ctx.rules);
        self.history.last_error = Some("its emperor pipe is closed".to_owned());
        self.note(Note::Stopping { why: "because its emperor pipe is closed" }, ctx);
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Running { current, due: _ } => {
                Phase::Stopping { life: current, other: None, then: AfterStop::JudgeExit }
            }
            Phase::Draining { current, old, reload } => {
                if current.id == id {
                    Phase::Stopping { life: current, other: Some(old), then: AfterStop::JudgeExit }
                } else {
                    Phase::Draining { current, old, reload }
                }
            }
            same @ (Phase::Held(_)
            | Phase::Listening
            | Phase::Starting(_)
            | Phase::Replacing { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    fn exited(&mut self, id: LifeId, exit: Exit, ctx: &mut StepContext<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Running { current, due } if current.is_fallback() => {
                self.fallback_ended(&current, due, exit, ctx)
            }
            Phase::Starting(life) | Phase::Running { current: life, due: _ } => {
                let then = self.judge_exit(&life, exit, ctx);
                self.on_stopped(then, ctx)
            }
            Phase::Replacing { current, next, again } => {
                if current.id == id {
                    let then = if current.is_fallback() {
                        self.stopped(&current, exit, "because it was replaced", ctx);
                        AfterStop::Start(Queue::Budget)
                    } else {
                        self.judge_exit(&current, exit, ctx)
                    };
                    self.promote_next(next, again, then, ctx)
                } else {
                    self.next_ended(current, (&next, exit), again, ctx)
                }
            }
            Phase::Draining { current, old, reload } => {
                if old.id == id {
                    self.stopped(&old, exit, "because it was replaced", ctx);
                    if reload { self.reload(current, ctx) } else { running(current) }
                } else {
                    self.fall_back(&current, old, exit, ctx)
                }
            }
            Phase::Stopping { life, other, then } => {
                if let Some(other) = other.as_ref().filter(|other| other.id == id) {
                    self.stopped(
                        other,
                        exit,
                        then.stop_reason(ctx.ending, self.listener.is_some()),
                        ctx,
                    );
                    Phase::Stopping { life, other: None, then }
                } else {
                    match (other, then) {
                        (Some(old), AfterStop::JudgeExit) => self.fall_back(&life, old, exit, ctx),
                        (Some(old), then) => {
                            let then = self.finish_stop(&life, then, exit, ctx);
                            Phase::Stopping { life: old, other: None, then }
                        }
                        (None, then) => {
                            let then = self.finish_stop(&life, then, exit, ctx);
                            self.on_stopped(then, ctx)
                        }
                    }
                }
            }
            same @ (Phase::Held(_) | Phase::Listening) => same,
        };
    }

    /// The life that stands for the vassal has stopped: what its end means.
    fn finish_stop(
        &mut self,
        life: &Life,
        then: AfterStop,
        exit: Exit,
        ctx: &mut StepContext<'_>,
    ) -> AfterStop {
        match then {
            AfterStop::JudgeExit => self.judge_exit(life, exit, ctx),
            AfterStop::Forget | AfterStop::Start(_) | AfterStop::Hold(_) => {
                self.stopped(
                    life,
                    exit,
                    then.stop_reason(ctx.ending, self.listener.is_some()),
                    ctx,
                );
                then
            }
        }
    }
}
