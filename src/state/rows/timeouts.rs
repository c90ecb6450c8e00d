//! What passes with time: the end of a hold, and each deadline of a life.

use crate::state::context::StepContext;
use crate::state::life::StartResult;
use crate::state::vassal::{AfterStop, Phase, Vassal, phases};
use crate::state::{Effect, LifeId, Note};
use crate::types::purpose::Purpose;

impl Vassal {
    pub fn hold_ends(&mut self, ctx: &mut StepContext<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) => self.request_start(hold.queue, ctx),
            Phase::Running { current, due: Some(due) } if current.is_fallback() => {
                let due = Some(Box::new(self.place_in(due.queue, ctx)));
                Phase::Running { current, due }
            }
            Phase::Running { current, due: Some(_) } => self.reload(current, ctx),
            same @ (Phase::Running { due: None, .. }
            | Phase::Listening
            | Phase::Starting(_)
            | Phase::Replacing { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    /// The program of a life does not run in time.
    pub fn start_timed_out(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        self.kill_for_timeout(id, "its program does not run in time", ctx);
    }

    /// The process was not made in time, or the answer of a fork server could not be proved in time.
    pub fn answer_overdue(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        if let Some(life) = self.life_mut(id) {
            let why = life.end_request(ctx);
            ctx.out.push(Effect::EndRequest(id, why));
        }
    }

    /// A probe for whether a life waits for connections is due.
    pub fn probe_due(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        if self.life_mut(id).is_some_and(|life| life.next_probe(ctx.now)) {
            ctx.out.push(Effect::ProbeAccepting(self.id, id));
        }
    }

    /// A program has been running long enough to count as accepting.
    pub fn accepting_by_age(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        if let Some(life) = self.life_mut(id) {
            life.assume_accepting(ctx.now);
            self.note(Note::Accepting, ctx);
        }
        self.now_accepting(id, ctx);
    }

    /// A program has been running long enough to count as loyal.
    pub fn loyal_by_age(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        if let Some(life) = self.life_mut(id) {
            life.assume_loyal(ctx.now);
            self.penalty.forgive();
            self.note(Note::Loyal, ctx);
        }
    }

    /// A program has not announced its readiness in time.
    pub fn readiness_timed_out(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        self.kill_for_timeout(id, "it is not ready in time", ctx);
    }

    /// No message has come after the program was asked to reload because its heartbeat was missing.
    pub fn reply_timed_out(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        self.kill_for_timeout(id, "no heartbeat, and no message after the reload request", ctx);
    }

    /// A life was told to stop a second ago, and has not ended.
    pub fn stops_slowly(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        if let Some(life) = self.life_mut(id) {
            let left = life.stops_slowly(ctx.now);
            // Of ragnarok there is one line for all.
            if !ctx.ending {
                self.note(Note::StopsSlowly { left }, ctx);
            }
        }
    }

    /// A life that was told to stop has not ended within the curse tolerance; the next tolerance begins.
    pub fn stop_timed_out(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        if let Some(life) = self.life_mut(id) {
            life.kill(ctx);
            self.note(Note::Killed { why: "did not stop within emperor-curse-tolerance" }, ctx);
        }
    }

    pub fn heartbeat_missed(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        self.note(Note::Silent, ctx);
        // A check of the file cannot go on alone, as a second life could.
        if matches!(&self.phase, Phase::Replacing { next, .. } if next.purpose == Purpose::Start) {
            return self.kill_for_timeout(id, "no heartbeat", ctx);
        }
        if let Some(life) = self.life_mut(id) {
            life.expect_reply(ctx);
        }
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Running { mut current, due } if current.reloads_in_place() => {
                self.reload_in_place(&mut current, ctx);
                Phase::Running { current, due }
            }
            Phase::Running { current, due: _ } => self.reload(current, ctx),
            Phase::Draining { mut current, old, reload } => {
                let told = current.reloads_in_place();
                if told {
                    self.reload_in_place(&mut current, ctx);
                }
                Phase::Draining { current, old, reload: reload || !told }
            }
            same @ phases!(Held | Listening | Starting | Replacing | Stopping) => same,
        };
    }

    /// A life has missed a deadline: it is killed. What follows depends on its part in the vassal.
    fn kill_for_timeout(&mut self, id: LifeId, why: &'static str, ctx: &mut StepContext<'_>) {
        let Some(life) = self.life_mut(id) else { return };
        // The reason of a stage that has reported a fault, and then hangs, is the better one.
        let told = life.failure().map(str::to_owned);
        if life.is_starting() && told.is_none() {
            life.start_result = StartResult::Failed(why.into());
        }
        life.kill(ctx);
        self.history.last_error = Some(told.unwrap_or_else(|| why.to_owned()).into());
        self.note(Note::Killed { why }, ctx);
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Starting(life) | Phase::Running { current: life, due: _ } => {
                Phase::Stopping { life, other: None, then: AfterStop::JudgeExit }
            }
            Phase::Draining { current, old, reload } => {
                if current.id == id {
                    Phase::Stopping { life: current, other: Some(old), then: AfterStop::JudgeExit }
                } else {
                    Phase::Draining { current, old, reload }
                }
            }
            same @ phases!(Held | Listening | Replacing | Stopping) => same,
        };
    }
}
