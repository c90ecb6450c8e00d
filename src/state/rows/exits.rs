//! The end of a process: which life takes its place, or what follows when there is none. What the end means for
//! the next start is in [`crate::state::restart`].

use crate::state::context::StepContext;
use crate::state::life::{Life, StartResult};
use crate::state::start_queue::Queue;
use crate::state::vassal::{AfterStop, Hold, HoldReason, Phase, Vassal, phases, running};
use crate::state::{Effect, LifeId, Note};
use crate::types::exit_status::ExitStatus;
use crate::types::purpose::Purpose;

impl Vassal {
    pub fn exited(&mut self, id: LifeId, exit: ExitStatus, ctx: &mut StepContext<'_>) {
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
            same @ phases!(Held | Listening) => same,
        };
    }

    /// The replacement, or the check, has ended; the current life goes on.
    fn next_ended(
        &mut self,
        mut current: Box<Life>,
        (next, exit): (&Life, ExitStatus),
        again: bool,
        ctx: &mut StepContext<'_>,
    ) -> Phase {
        if current.is_fallback() && again {
            self.stopped(next, exit, "because its file has changed", ctx);
            return self.start_next(current, Purpose::Start, ctx);
        }
        if current.is_fallback() {
            return self.fall_back(next, current, exit, ctx);
        }
        let checked = next.purpose == Purpose::Check && next.start_result == StartResult::Prepared;
        if current.is_cursed() {
            let fresh = again || checked;
            let then = if fresh { AfterStop::Start(Queue::Budget) } else { AfterStop::JudgeExit };
            return Phase::Stopping { life: current, other: None, then };
        }
        if again {
            return self.reload(current, ctx);
        }
        if checked && !next.is_cursed() {
            return self.check_passed(current, next, ctx);
        }
        if let StartResult::AddressTaken(conflict) = &next.start_result {
            self.refused = Some(conflict.why.clone());
            let due = Some(Box::new(self.wait_for_address(next, ctx.now)));
            return Phase::Running { current, due };
        }
        current.replacement_logged = false;
        if next.failure().is_none() && !next.is_cursed() {
            let why = format!("the replacement has ended ({exit}) before it was accepting");
            self.history.last_error = Some(why.as_str().into());
            self.note(Note::ReplacementFailed { why }, ctx);
        }
        let why = next.failure().or(self.history.last_error.as_deref());
        self.refused = why.map(Box::from);
        running(current)
    }

    /// The current life has died while a replacement was under way; `then`: what its death means.
    fn promote_next(
        &mut self,
        mut next: Box<Life>,
        again: bool,
        then: AfterStop,
        ctx: &mut StepContext<'_>,
    ) -> Phase {
        if next.is_cursed() || next.purpose == Purpose::Check {
            if !next.is_cursed() {
                next.kill(ctx);
            }
            let then = if again { AfterStop::Start(Queue::Budget) } else { then };
            return Phase::Stopping { life: next, other: None, then };
        }
        if !next.has_run() {
            return Phase::Starting(next);
        }
        ctx.out.push(Effect::TakeCustody(self.id, next.id));
        self.note(Note::Replaced { pid: next.pid }, ctx);
        next.clear_replacement_deadline();
        running(next)
    }

    /// The life that has taken over, or was about to, has ended while the one before it has not left yet. That
    /// was told to stop, but serves on as far as it can, and is not killed before another is accepting.
    fn fall_back(
        &mut self,
        new: &Life,
        mut old: Box<Life>,
        exit: ExitStatus,
        ctx: &mut StepContext<'_>,
    ) -> Phase {
        let is_idle = self.has_gone_idle(new, exit);
        let mut due = match self.judge_exit(new, exit, ctx) {
            AfterStop::Start(queue) if !is_idle => self.place_in(queue, ctx),
            AfterStop::Hold(hold)
                if matches!(
                    hold.reason,
                    HoldReason::Penalty
                        | HoldReason::RestartInterval
                        | HoldReason::AddressTaken(..)
                ) =>
            {
                *hold
            }
            then @ (AfterStop::Start(_)
            | AfterStop::Hold(_)
            | AfterStop::Forget
            | AfterStop::JudgeExit) => {
                old.stop(ctx);
                return Phase::Stopping { life: old, other: None, then };
            }
        };
        due.purpose = Purpose::Start;
        if self.history.last_error.is_none() {
            let why = format!("its new program has ended ({exit}) soon after it had taken over");
            self.history.last_error = Some(why.into());
        }
        self.refused = self.history.last_error.as_deref().map(Box::from);
        old.become_fallback();
        if let Some(pid) = old.pid {
            self.note(Note::FallBack { pid }, ctx);
        }
        Phase::Running { current: old, due: Some(Box::new(due)) }
    }

    /// The life that was to stop in its own time has ended, before there was another.
    fn fallback_ended(
        &mut self,
        old: &Life,
        due: Option<Box<Hold>>,
        exit: ExitStatus,
        ctx: &mut StepContext<'_>,
    ) -> Phase {
        self.stopped(old, exit, "because it was replaced", ctx);
        match due {
            Some(due) if due.ticket.is_none() => Phase::Held(*due),
            Some(due) => self.request_start(due.queue, ctx),
            None => self.request_start(Queue::Budget, ctx),
        }
    }

    /// The life that stands for the vassal has stopped: what its end means.
    fn finish_stop(
        &mut self,
        life: &Life,
        then: AfterStop,
        exit: ExitStatus,
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
