//! The rows of the event table that time brings: holds that end, and what a life has missed.

use super::life::Timeout;
use super::vassal::{AfterStop, Phase, StepContext, Vassal};
use super::{Effect, LifeId, Note, Role};

impl Vassal {
    /// Serves every deadline that has passed.
    pub fn expire(&mut self, ctx: &mut StepContext<'_>) {
        // Each deadline that is served moves or goes; the bound is against a fault of ours only.
        for _ in 0..16 {
            if !self.expire_one(ctx) {
                return;
            }
        }
    }

    fn expire_one(&mut self, ctx: &mut StepContext<'_>) -> bool {
        let now = ctx.now;
        if self.held_until().is_some_and(|until| until <= now) {
            self.hold_ends(ctx);
            return true;
        }
        let lives = [self.current(), self.other()];
        let passed = lives
            .into_iter()
            .flatten()
            .filter_map(|life| life.deadline().map(|(at, what)| (at, life.id, what)))
            .filter(|(at, ..)| *at <= now)
            .min_by_key(|(at, ..)| *at);
        let Some((_, id, what)) = passed else { return false };
        self.overdue(id, what, ctx);
        true
    }

    fn hold_ends(&mut self, ctx: &mut StepContext<'_>) {
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

    fn overdue(&mut self, id: LifeId, what: Timeout, ctx: &mut StepContext<'_>) {
        match what {
            Timeout::AssumeAccepting => {
                if let Some(life) = self.life_mut(id) {
                    life.assume_accepting(ctx.now);
                    self.note(Note::Accepting, ctx);
                }
                self.accepting(id, ctx);
            }
            Timeout::Probe => {
                if self.life_mut(id).is_some_and(|life| life.next_probe(ctx.now)) {
                    ctx.out.push(Effect::ProbeAccepting(self.id, id));
                }
            }
            Timeout::AssumeLoyal => {
                if let Some(life) = self.life_mut(id) {
                    life.assume_loyal(ctx.now);
                    self.penalty.forgive();
                    self.note(Note::Loyal, ctx);
                }
            }
            Timeout::SlowStop => {
                if let Some(life) = self.life_mut(id) {
                    let left = life.stops_slowly(ctx.now);
                    // Of ragnarok there is one line for all.
                    if !ctx.ending {
                        self.note(Note::StopsSlowly { left }, ctx);
                    }
                }
            }
            Timeout::Kill => {
                if let Some(life) = self.life_mut(id) {
                    life.kill(ctx.now, ctx.rules, ctx.out);
                    self.note(
                        Note::Killed { why: "did not stop within emperor-curse-tolerance" },
                        ctx,
                    );
                }
            }
            Timeout::Heartbeat => self.heartbeat_missed(id, ctx),
            Timeout::ForkServer => {
                if let Some(life) = self.life_mut(id) {
                    let why = life.end_talk(ctx.now, ctx.rules);
                    ctx.out.push(Effect::EndTalk(id, why));
                }
            }
            Timeout::Start => self.kill_for_timeout(id, "its program does not run in time", ctx),
            Timeout::Readiness => self.kill_for_timeout(id, "it is not ready in time", ctx),
            Timeout::Reply => self.kill_for_timeout(
                id,
                "no heartbeat, and no message after the reload request",
                ctx,
            ),
        }
    }

    /// A life has missed a deadline for good: it is killed, and what it was decides the rest.
    fn kill_for_timeout(&mut self, id: LifeId, why: &'static str, ctx: &mut StepContext<'_>) {
        let Some(life) = self.life_mut(id) else { return };
        // A stage that has told its reason, and then hangs, has told the better one.
        let told = life.failed.clone();
        if life.is_starting() {
            life.failed.get_or_insert_with(|| why.into());
        }
        life.kill(ctx.now, ctx.rules, ctx.out);
        self.history.last_error = Some(told.map_or_else(|| why.to_owned(), String::from));
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
            same @ (Phase::Held(_)
            | Phase::Listening
            | Phase::Replacing { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    fn heartbeat_missed(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        self.note(Note::Silent, ctx);
        // A check of the file is no second life that could go on alone.
        if matches!(&self.phase, Phase::Replacing { next, .. } if next.role == Role::Vassal) {
            return self.kill_for_timeout(id, "no heartbeat", ctx);
        }
        if let Some(life) = self.life_mut(id) {
            life.expect_reply(ctx.now, ctx.rules);
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
            same @ (Phase::Held(_)
            | Phase::Listening
            | Phase::Starting(_)
            | Phase::Replacing { .. }
            | Phase::Stopping { .. }) => same,
        };
    }
}
