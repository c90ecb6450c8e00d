//! The event table: what each event means in each phase of a vassal.
//!
//! A function is a row, an arm of its `match` is a column; each arm must give the next phase. There is no
//! wildcard over phases or events: a new one does not compile before all have met it.

use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use super::life::{FIRST_LOOK, IDLE_LOOK, Life};
use super::throttle::Ticket;
use super::vassal::{Hold, Lane, PACE, Phase, Then, Turn, Vassal, Why, running};
use super::{Channel, Effect, Exit, File, Fingerprint, LifeEvent, LifeId, Note, Role, Said};
use crate::types::run_settings::{Restart, RunSettings};

/// First and longest pause between two tries to bind.
const BIND_RETRY: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(10);

impl Vassal {
    // The file.

    /// Its file is another than before.
    pub fn changed(&mut self, file: File, turn: &mut Turn<'_>) {
        self.penalty.forgive();
        self.told = None;
        self.resource_retries.forget();
        self.base_retries.forget();
        self.address_retries.forget();
        let moved = self.renew(file, turn);
        let anew = Then::Begin(Lane::Budget);
        let stays = !moved && !self.has_fault();
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) => match hold.why {
                Why::Throttle | Why::Budget if stays => Phase::Held(hold),
                Why::Throttle
                | Why::Budget
                | Why::Penalty
                | Why::Resource(_)
                | Why::Base(_)
                | Why::Address(_)
                | Why::Taken(..)
                | Why::StopHook
                | Why::Pace
                | Why::Internal
                | Why::Finished(_) => self.begin(Lane::Budget, turn),
            },
            Phase::Waiting if stays => Phase::Waiting,
            Phase::Waiting => {
                // A listener that has moved is closed already, and was polled until then.
                if !moved {
                    turn.out.push(Effect::Unwatch(self.id));
                }
                self.begin(Lane::Budget, turn)
            }
            Phase::Starting(mut life) => {
                life.kill(turn.now, turn.rules, turn.out);
                Phase::Stopping { life, other: None, then: anew }
            }
            // Another address needs another listener, which only a new life can be given.
            Phase::Running { current, due: _ } if moved => self.stop(current, None, anew, turn),
            Phase::Replacing { current, next: other, again: _ }
            | Phase::Retiring { current, old: other, reload: _ }
                if moved =>
            {
                self.stop(current, Some(other), anew, turn)
            }
            Phase::Running { current, due } => self.reload_anew(current, due, turn),
            Phase::Replacing { current, mut next, again: _ } => {
                if !next.is_cursed() {
                    next.kill(turn.now, turn.rules, turn.out);
                }
                Phase::Replacing { current, next, again: true }
            }
            Phase::Retiring { current, old, reload: _ } => {
                Phase::Retiring { current, old, reload: true }
            }
            Phase::Stopping { life, other, then: _ } => Phase::Stopping { life, other, then: anew },
        };
    }

    /// Its file is gone, or ragnarok has come.
    pub fn lost(&mut self, turn: &mut Turn<'_>) {
        let gone = Then::Gone;
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(_) | Phase::Waiting => {
                self.note(Note::Gone, turn);
                self.after(gone, turn)
            }
            Phase::Starting(life) => self.stop(life, None, gone, turn),
            Phase::Running { current, due: _ } => self.stop(current, None, gone, turn),
            Phase::Replacing { current, next, again: _ } => {
                self.stop(current, Some(next), gone, turn)
            }
            Phase::Retiring { current, old, reload: _ } => {
                self.stop(current, Some(old), gone, turn)
            }
            Phase::Stopping { life, other, then: _ } => Phase::Stopping { life, other, then: gone },
        };
    }

    /// SIGHUP.
    pub fn hang_up(&mut self, turn: &mut Turn<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Running { current, due } if current.is_spared() => {
                Phase::Running { current, due }
            }
            Phase::Running { current, due } => self.reload_anew(current, due, turn),
            Phase::Retiring { current, old, reload: _ } => {
                Phase::Retiring { current, old, reload: true }
            }
            same @ (Phase::Held(_)
            | Phase::Waiting
            | Phase::Starting(_)
            | Phase::Replacing { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    /// SIGURG: a penalty that is being served is over.
    pub fn forgive(&mut self, turn: &mut Turn<'_>) {
        self.penalty.forgive();
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) if hold.why == Why::Penalty => self.begin(hold.lane, turn),
            Phase::Running { current, due: Some(hold) } if hold.why == Why::Penalty => {
                let due = Some(Box::new(self.queued(hold.lane, turn)));
                Phase::Running { current, due }
            }
            Phase::Stopping { life, other, then: Then::Hold(hold) } if hold.why == Why::Penalty => {
                Phase::Stopping { life, other, then: Then::Begin(hold.lane) }
            }
            same @ (Phase::Held(_)
            | Phase::Waiting
            | Phase::Starting(_)
            | Phase::Running { .. }
            | Phase::Replacing { .. }
            | Phase::Retiring { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    // The listener and the queues.

    /// Its address is bound.
    pub fn listener_bound(&mut self, turn: &mut Turn<'_>) {
        if let Some(demand) = &mut self.demand {
            demand.bound = true;
        }
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) if matches!(hold.why, Why::Address(_)) => {
                self.history.last_error = None;
                self.begin(hold.lane, turn)
            }
            same @ (Phase::Held(_)
            | Phase::Waiting
            | Phase::Starting(_)
            | Phase::Running { .. }
            | Phase::Replacing { .. }
            | Phase::Retiring { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    /// Its address cannot be bound.
    pub fn listener_refused(&mut self, why: String, turn: &mut Turn<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) if matches!(hold.why, Why::Address(_)) => {
                let wait = self.bind_pause();
                if self.history.last_error.as_ref() != Some(&why) {
                    self.note(Note::Held { why: why.clone(), wait: Some(wait) }, turn);
                    self.history.last_error = Some(why.clone());
                }
                Phase::Held(Hold::until(Why::Address(why.into()), turn.now + wait))
            }
            same @ (Phase::Held(_)
            | Phase::Waiting
            | Phase::Starting(_)
            | Phase::Running { .. }
            | Phase::Replacing { .. }
            | Phase::Retiring { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    /// Its listener is of no use any more: it is bound anew, after a pause, lest the next one is lost
    /// the same way in the same turn. Who is not polled finds out when it is.
    pub fn listener_lost(&mut self, why: String, turn: &mut Turn<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Waiting => {
                turn.out.push(Effect::Unwatch(self.id));
                turn.out.push(Effect::Unbind(self.id));
                let wait = self.bind_pause();
                self.note(Note::Held { why: why.clone(), wait: Some(wait) }, turn);
                self.history.last_error = Some(why.clone());
                Phase::Held(Hold::until(Why::Address(why.into()), turn.now + wait))
            }
            same @ (Phase::Held(_)
            | Phase::Starting(_)
            | Phase::Running { .. }
            | Phase::Replacing { .. }
            | Phase::Retiring { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    /// It has no listener: gives the pause before the next try, and doubles it.
    fn bind_pause(&mut self) -> Duration {
        let Some(demand) = &mut self.demand else { return *BIND_RETRY.start() };
        demand.bound = false;
        demand.retries.next(&BIND_RETRY)
    }

    /// Somebody has connected.
    pub fn connection(&mut self, turn: &mut Turn<'_>) {
        let earliest = self.history.last_run.map(|last| last + PACE);
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Waiting => {
                turn.out.push(Effect::Unwatch(self.id));
                if let Some(demand) = &mut self.demand {
                    demand.retries.forget();
                }
                match earliest.filter(|at| *at > turn.now) {
                    Some(at) => Phase::Held(Hold::until(Why::Pace, at)),
                    None => self.queue(Lane::Budget, turn),
                }
            }
            same @ (Phase::Held(_)
            | Phase::Starting(_)
            | Phase::Running { .. }
            | Phase::Replacing { .. }
            | Phase::Retiring { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    /// Its turn has come: gives the new life, or nothing if it has lost interest.
    pub fn granted(&mut self, ticket: Ticket, turn: &mut Turn<'_>) -> Option<LifeId> {
        if !self.waits_with(ticket) {
            return None;
        }
        let (phase, born) = match std::mem::take(&mut self.phase) {
            Phase::Held(_) => {
                let life = self.spawn(Role::Vassal, turn);
                let id = life.id;
                (Phase::Starting(life), Some(id))
            }
            Phase::Running { current, due } => {
                let role = due.map_or(Role::Check, |due| due.role);
                let next = self.spawn(role, turn);
                let id = next.id;
                (Phase::Replacing { current, next, again: false }, Some(id))
            }
            same @ (Phase::Waiting
            | Phase::Starting(_)
            | Phase::Replacing { .. }
            | Phase::Retiring { .. }
            | Phase::Stopping { .. }) => (same, None),
        };
        self.phase = phase;
        born
    }

    // One life.

    /// Something happened to one of its lives.
    pub fn life(&mut self, id: LifeId, event: LifeEvent, turn: &mut Turn<'_>) {
        match event {
            LifeEvent::Spawned(pid) => self.spawned(id, pid),
            LifeEvent::SpawnFailed(why) => self.spawn_failed(id, why, turn),
            LifeEvent::BaseNotReady(why) => self.base_not_ready(id, why, turn),
            LifeEvent::Unreachable => self.unreachable(id, turn),
            LifeEvent::Answered => self.answered(id, turn),
            LifeEvent::Adopted(pid) => self.adopted(id, pid, turn),
            LifeEvent::Verdict(settings, print) => self.verdict(id, settings, print, turn),
            LifeEvent::StartFailed(why) => self.start_failed(id, why, turn),
            LifeEvent::AddressTaken(why, by) => self.address_taken(id, (why, by), turn),
            LifeEvent::StatusClosed => self.status_closed(id, turn),
            LifeEvent::Said(said, channel) => self.said(id, said, channel, turn),
            LifeEvent::SeenAccepting => self.seen_accepting(id, turn),
            LifeEvent::PipeClosed => self.pipe_closed(id, turn),
            LifeEvent::Daemonized(why) => self.daemonized(id, why, turn),
            LifeEvent::Exited(exit) => self.exited(id, exit, turn),
        }
    }

    fn verdict(
        &mut self,
        id: LifeId,
        settings: RunSettings,
        fingerprint: Fingerprint,
        turn: &mut Turn<'_>,
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
            current.edition = next.edition;
            current.obey(&next.settings, turn.rules);
        }
    }

    pub(super) fn start_failed(&mut self, id: LifeId, why: String, turn: &mut Turn<'_>) {
        let Some(life) = self.life_mut(id).filter(|life| life.is_starting()) else { return };
        if life.failed.is_some() {
            return;
        }
        life.failed = Some(why.as_str().into());
        self.show_failure(why, turn);
    }

    /// It ends well, but what was to run is in the background: no good end, unless a good end is all it has to
    /// come to.
    fn daemonized(&mut self, id: LifeId, why: String, turn: &mut Turn<'_>) {
        let Some(life) = self.life_mut(id).filter(|life| life.is_running()) else { return };
        if life.settings.restart == Restart::Always {
            life.failed = Some(why.as_str().into());
        }
        self.show_failure(why, turn);
    }

    fn show_failure(&mut self, why: String, turn: &mut Turn<'_>) {
        self.history.last_error = Some(why.clone());
        let note = match &self.phase {
            Phase::Replacing { .. } => Note::ReplacementFailed { why },
            Phase::Held(_)
            | Phase::Waiting
            | Phase::Starting(_)
            | Phase::Running { .. }
            | Phase::Retiring { .. }
            | Phase::Stopping { .. } => Note::StartFailed { why },
        };
        self.note(note, turn);
    }

    fn status_closed(&mut self, id: LifeId, turn: &mut Turn<'_>) {
        let Some(life) = self.life_mut(id).filter(|life| life.is_starting()) else { return };
        if life.failed.is_some() {
            return;
        }
        if !life.verdict {
            let why = "the stage has ended without a verdict".to_owned();
            return self.start_failed(id, why, turn);
        }
        if life.role == Role::Check {
            return;
        }
        life.run(turn.now, turn.rules);
        let pid = life.pid;
        self.history.last_error = None;
        self.told = None;
        self.resource_retries.forget();
        self.address_retries.forget();
        self.note(Note::Running { pid }, turn);
        let on_demand = self.demand.is_some();
        let has_custody = |life: &Life| on_demand || life.settings.listeners > 0;
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Starting(mut current) => {
                turn.out.push(Effect::TakeCustody(self.id, current.id));
                if has_custody(&current) {
                    current.look_after(IDLE_LOOK);
                }
                Phase::Running { current, due: None }
            }
            Phase::Replacing { current, mut next, again } => {
                if has_custody(&next) {
                    next.look_after(FIRST_LOOK);
                }
                Phase::Replacing { current, next, again }
            }
            same @ (Phase::Held(_)
            | Phase::Waiting
            | Phase::Running { .. }
            | Phase::Retiring { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    fn said(&mut self, id: LifeId, said: Said, channel: Channel, turn: &mut Turn<'_>) {
        if matches!(&self.phase, Phase::Stopping { .. }) {
            return;
        }
        let Some(life) = self.life_mut(id).filter(|life| life.is_running()) else { return };
        let news = life.hear(turn.now, said, channel, turn.rules);
        let announced = channel == Channel::Notify && said == Said::Ready;
        let mut loyal = false;
        if announced {
            life.believe_accepting(turn.now);
            loyal = !life.spoke && life.believe_loyal(turn.now);
        }
        if life.loyal {
            self.penalty.forgive();
        }
        if news {
            self.tell_news(said, turn);
        }
        if loyal {
            self.note(Note::Loyal, turn);
        }
        if said == Said::Accepting || announced {
            self.accepting(id, turn);
        } else {
            self.next_must_accept(id, turn);
        }
        if said == Said::GoIdle {
            self.go_idle(id, turn);
        }
    }

    /// A speaker that replaces another has until its start timeout to say that it is accepting.
    fn next_must_accept(&mut self, id: LifeId, turn: &Turn<'_>) {
        if let Phase::Replacing { next, .. } = &mut self.phase
            && next.id == id
            && next.spoke
            && !next.accepting
        {
            next.expect_accepting(turn.rules);
        }
    }

    fn tell_news(&self, said: Said, turn: &mut Turn<'_>) {
        let note = match said {
            Said::Ready => Note::Ready,
            Said::Accepting => Note::Accepting,
            Said::Loyal => Note::Loyal,
            Said::GoIdle | Said::Beat => return,
        };
        self.note(note, turn);
    }

    /// A life takes requests: a replacement takes over.
    pub(super) fn accepting(&mut self, id: LifeId, turn: &mut Turn<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Replacing { mut current, next, again } => {
                if next.id != id || next.is_cursed() {
                    Phase::Replacing { current, next, again }
                } else {
                    turn.out.push(Effect::TakeCustody(self.id, next.id));
                    self.note(Note::Replaced { pid: next.pid }, turn);
                    current.stop(turn.now, turn.rules, turn.out);
                    Phase::Retiring { current: next, old: current, reload: false }
                }
            }
            same @ (Phase::Held(_)
            | Phase::Waiting
            | Phase::Starting(_)
            | Phase::Running { .. }
            | Phase::Retiring { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    /// A process of a life that has not said anything yet waits for connections.
    fn seen_accepting(&mut self, id: LifeId, turn: &mut Turn<'_>) {
        let Some(life) = self.life_mut(id).filter(|life| life.is_looked_at()) else { return };
        life.believe_accepting(turn.now);
        self.note(Note::Accepting, turn);
        self.accepting(id, turn);
    }

    fn go_idle(&mut self, id: LifeId, turn: &mut Turn<'_>) {
        let Some(current) = self.current().filter(|life| life.id == id) else { return };
        let then = self.again(current, None, Duration::ZERO, turn.now);
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Running { current, due: _ } => self.stop(current, None, then, turn),
            Phase::Replacing { current, next: other, again: _ }
            | Phase::Retiring { current, old: other, reload: _ } => {
                self.stop(current, Some(other), then, turn)
            }
            same @ (Phase::Held(_)
            | Phase::Waiting
            | Phase::Starting(_)
            | Phase::Stopping { .. }) => same,
        };
    }

    fn pipe_closed(&mut self, id: LifeId, turn: &mut Turn<'_>) {
        let Some(life) = self.life_mut(id) else { return };
        if !life.spoke || life.is_cursed() {
            return;
        }
        life.curse(turn.now, turn.rules);
        self.history.last_error = Some("its emperor pipe is closed".to_owned());
        self.note(Note::Stopping { why: "because its emperor pipe is closed" }, turn);
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Running { current, due: _ } => {
                Phase::Stopping { life: current, other: None, then: Then::Judge }
            }
            Phase::Retiring { current, old, reload } => {
                if current.id == id {
                    Phase::Stopping { life: current, other: Some(old), then: Then::Judge }
                } else {
                    Phase::Retiring { current, old, reload }
                }
            }
            same @ (Phase::Held(_)
            | Phase::Waiting
            | Phase::Starting(_)
            | Phase::Replacing { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    fn exited(&mut self, id: LifeId, exit: Exit, turn: &mut Turn<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Running { current, due } if current.is_spared() => {
                self.spared_ended(&current, due, exit, turn)
            }
            Phase::Starting(life) | Phase::Running { current: life, due: _ } => {
                let then = self.judge(&life, exit, turn);
                self.after(then, turn)
            }
            Phase::Replacing { current, next, again } => {
                if current.id == id {
                    let then = if current.is_spared() {
                        self.stopped(&current, exit, "because it was replaced", turn);
                        Then::Begin(Lane::Budget)
                    } else {
                        self.judge(&current, exit, turn)
                    };
                    self.succeed(next, again, then, turn)
                } else {
                    self.next_ended(current, (&next, exit), again, turn)
                }
            }
            Phase::Retiring { current, old, reload } => {
                if old.id == id {
                    self.stopped(&old, exit, "because it was replaced", turn);
                    if reload { self.reload(current, turn) } else { running(current) }
                } else {
                    self.outlive(&current, old, exit, turn)
                }
            }
            Phase::Stopping { life, other, then } => {
                if let Some(other) = other.as_ref().filter(|other| other.id == id) {
                    self.stopped(other, exit, then.why(turn.ending, self.demand.is_some()), turn);
                    Phase::Stopping { life, other: None, then }
                } else {
                    match (other, then) {
                        (Some(old), Then::Judge) => self.outlive(&life, old, exit, turn),
                        (Some(old), then) => {
                            let then = self.conclude(&life, then, exit, turn);
                            Phase::Stopping { life: old, other: None, then }
                        }
                        (None, then) => {
                            let then = self.conclude(&life, then, exit, turn);
                            self.after(then, turn)
                        }
                    }
                }
            }
            same @ (Phase::Held(_) | Phase::Waiting) => same,
        };
    }

    /// The life that stands for the vassal has stopped: what its end means.
    fn conclude(&mut self, life: &Life, then: Then, exit: Exit, turn: &mut Turn<'_>) -> Then {
        match then {
            Then::Judge => self.judge(life, exit, turn),
            Then::Gone | Then::Begin(_) | Then::Hold(_) => {
                self.stopped(life, exit, then.why(turn.ending, self.demand.is_some()), turn);
                then
            }
        }
    }
}
