//! The rows of the event table that say how a newer file comes to run: in place, by a second life, or by a
//! stop and a start; and how that ends.

use super::life::Life;
use super::vassal::{AfterStop, Hold, HoldReason, Phase, Queue, StepContext, Vassal, running};
use super::{Effect, Exit, Fingerprint, Note, OnDemand, Order, Origin, Role};

/// How a reload is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadWay {
    /// Byte 1.
    Byte,
    /// This signal.
    Signal(i32),
    /// A second life on the same listeners, which reads its file first.
    Replacement,
    /// The same, and the file is known to be good, and that it starts something else.
    Checked,
    /// A second life on listeners that were bound anew.
    Renewed,
    /// Its file is checked, then it is stopped and started.
    Restart,
    /// The same, and it is known to be good, and that it starts something else.
    Anew,
}

impl Vassal {
    /// Told by byte, by signal, or replaced; a stage reads the file first, where one can.
    pub(super) fn reload(&mut self, mut current: Box<Life>, ctx: &mut StepContext<'_>) -> Phase {
        if current.is_fallback() && !self.has_bad_address() {
            return self.start_next(current, Role::Vassal, ctx);
        }
        let in_place = current.reloads_in_place();
        // No stage of ours reads for it: the program itself does, or its base has.
        if in_place && (!ctx.rules.stage || self.origin == Origin::Asked) {
            current.revision = self.revision;
            self.reload_in_place(&mut current, ctx);
            return running(current);
        }
        // Where it is to listen cannot be read: what runs is better than what could not start.
        if let OnDemand::Fault(why) = &self.file.on_demand {
            let why = why.to_string();
            self.history.last_error = Some(why.clone());
            self.note(Note::ReplacementFailed { why }, ctx);
            return running(current);
        }
        let has_custody = self.has_custody(&current);
        // What a base forks is as new as the base, and cannot be checked before.
        let unchecked = !ctx.rules.stage && !has_custody;
        if self.origin == Origin::Asked || unchecked {
            return self.stop(current, None, AfterStop::Start(Queue::Budget), ctx);
        }
        let role = if has_custody && !in_place { Role::Vassal } else { Role::Check };
        if !in_place {
            let by = if has_custody { ReloadWay::Replacement } else { ReloadWay::Restart };
            self.announce(&mut current, by, ctx);
        }
        self.start_next(current, role, ctx)
    }

    /// [`Vassal::reload`] for a reason that is a new one, even if what `due` waits for is still missing.
    pub(super) fn reload_for_new_reason(
        &mut self,
        mut current: Box<Life>,
        due: Option<Box<Hold>>,
        ctx: &mut StepContext<'_>,
    ) -> Phase {
        current.announced &= due.is_some_and(|due| due.is_queued());
        self.reload(current, ctx)
    }

    /// Tells that another life is to come, once however often that is tried or begun anew.
    fn announce(&self, current: &mut Life, by: ReloadWay, ctx: &mut StepContext<'_>) {
        if !std::mem::replace(&mut current.announced, true) {
            self.note(Note::Reloading { by }, ctx);
        }
    }

    /// A second life is due, as soon as there is a place for it.
    pub(super) fn start_next(
        &mut self,
        current: Box<Life>,
        role: Role,
        ctx: &mut StepContext<'_>,
    ) -> Phase {
        let due = Hold { role, ..self.place_in(Queue::Budget, ctx) };
        Phase::Running { current, due: Some(Box::new(due)) }
    }

    /// Nobody comes to the listeners of its lives any more, however good they are: only a life that is started
    /// from now on has those where clients come.
    pub fn listeners_renewed(&mut self, ctx: &mut StepContext<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Starting(mut life) => {
                life.kill(ctx.now, ctx.rules, ctx.out);
                Phase::Stopping { life, other: None, then: AfterStop::Start(Queue::Budget) }
            }
            // A new one could not be started: the file is read again when its address is.
            Phase::Running { current, due } if self.has_bad_address() => {
                Phase::Running { current, due }
            }
            Phase::Running { current, due: _ } if self.origin == Origin::Asked => {
                self.stop(current, None, AfterStop::Start(Queue::Budget), ctx)
            }
            Phase::Running { mut current, due: _ } if self.has_custody(&current) => {
                self.announce(&mut current, ReloadWay::Renewed, ctx);
                self.start_next(current, Role::Vassal, ctx)
            }
            Phase::Replacing { mut current, mut next, again: _ } => {
                current.fingerprint = Fingerprint::default();
                if !next.is_cursed() {
                    next.kill(ctx.now, ctx.rules, ctx.out);
                }
                Phase::Replacing { current, next, again: true }
            }
            Phase::Draining { mut current, old, reload: _ } => {
                current.fingerprint = Fingerprint::default();
                Phase::Draining { current, old, reload: true }
            }
            same @ (Phase::Held(_)
            | Phase::Listening
            | Phase::Running { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    pub(super) fn reload_in_place(&self, current: &mut Life, ctx: &mut StepContext<'_>) {
        if current.uses_protocol {
            ctx.out.push(Effect::Tell(current.id, Order::Reload));
            current.reload(ctx.now);
            self.note(Note::Reloading { by: ReloadWay::Byte }, ctx);
        } else if let Some(signal) = current.settings.reload_signal.map(i32::from) {
            let to = current.settings.stop_to;
            ctx.out.push(Effect::Signal(current.id, signal, to));
            current.count_reload(ctx.now);
            self.note(Note::Reloading { by: ReloadWay::Signal(signal) }, ctx);
        }
    }

    /// The current life has died while a replacement was under way; `then`: what its death means.
    pub(super) fn promote_next(
        &mut self,
        mut next: Box<Life>,
        again: bool,
        then: AfterStop,
        ctx: &mut StepContext<'_>,
    ) -> Phase {
        if next.is_cursed() || next.role == Role::Check {
            if !next.is_cursed() {
                next.kill(ctx.now, ctx.rules, ctx.out);
            }
            let then = if again { AfterStop::Start(Queue::Budget) } else { then };
            return Phase::Stopping { life: next, other: None, then };
        }
        if next.is_starting() {
            return Phase::Starting(next);
        }
        ctx.out.push(Effect::TakeCustody(self.id, next.id));
        self.note(Note::Replaced { pid: next.pid }, ctx);
        next.clear_replacement_deadline();
        running(next)
    }

    /// The replacement, or the check, has ended; the current life goes on.
    pub(super) fn next_ended(
        &mut self,
        mut current: Box<Life>,
        (next, exit): (&Life, Exit),
        again: bool,
        ctx: &mut StepContext<'_>,
    ) -> Phase {
        if current.is_fallback() && again {
            self.stopped(next, exit, "because its file has changed", ctx);
            return self.start_next(current, Role::Vassal, ctx);
        }
        if current.is_fallback() {
            return self.fall_back(next, current, exit, ctx);
        }
        let checked = next.role == Role::Check && next.verdict && next.failed.is_none();
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
        if next.is_blocked {
            self.refused = next.failed.clone();
            let due = Some(Box::new(self.wait_for_address(next, ctx.now)));
            return Phase::Running { current, due };
        }
        current.announced = false;
        if next.failed.is_none() && !next.is_cursed() {
            let why = format!("the replacement has ended ({exit}) before it was accepting");
            self.history.last_error = Some(why.clone());
            self.note(Note::ReplacementFailed { why }, ctx);
        }
        let why = next.failed.as_deref().or(self.history.last_error.as_deref());
        self.refused = why.map(Box::from);
        running(current)
    }

    /// The life that has taken over, or was about to, has ended while the one before it has not left yet. That
    /// was told to stop, but serves on as far as it can, and is not killed before another is accepting.
    pub(super) fn fall_back(
        &mut self,
        new: &Life,
        mut old: Box<Life>,
        exit: Exit,
        ctx: &mut StepContext<'_>,
    ) -> Phase {
        let rests = self.listener.is_some() && exit == Exit::Code(0) && new.failed.is_none();
        let mut due = match self.judge_exit(new, exit, ctx) {
            AfterStop::Start(queue) if !rests => self.place_in(queue, ctx),
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
                old.stop(ctx.now, ctx.rules, ctx.out);
                return Phase::Stopping { life: old, other: None, then };
            }
        };
        due.role = Role::Vassal;
        if self.history.last_error.is_none() {
            let why = format!("its new program has ended ({exit}) soon after it had taken over");
            self.history.last_error = Some(why);
        }
        self.refused = self.history.last_error.as_deref().map(Box::from);
        old.become_fallback();
        if let Some(pid) = old.pid {
            self.note(Note::FallBack { pid }, ctx);
        }
        Phase::Running { current: old, due: Some(Box::new(due)) }
    }

    /// The life that was to stop in its own time has ended, before there was another.
    pub(super) fn fallback_ended(
        &mut self,
        old: &Life,
        due: Option<Box<Hold>>,
        exit: Exit,
        ctx: &mut StepContext<'_>,
    ) -> Phase {
        self.stopped(old, exit, "because it was replaced", ctx);
        match due {
            Some(due) if due.ticket.is_none() => Phase::Held(*due),
            Some(due) => self.request_start(due.queue, ctx),
            None => self.request_start(Queue::Budget, ctx),
        }
    }

    /// The file is read and good. What would start the same is told in place, if it can be told.
    fn check_passed(
        &mut self,
        mut current: Box<Life>,
        next: &Life,
        ctx: &mut StepContext<'_>,
    ) -> Phase {
        let in_place = current.reloads_in_place();
        if in_place && next.fingerprint == current.fingerprint {
            current.announced = false;
            self.reload_in_place(&mut current, ctx);
            return running(current);
        }
        if self.has_custody(&current) {
            self.announce(&mut current, ReloadWay::Checked, ctx);
            return self.start_next(current, Role::Vassal, ctx);
        }
        if in_place {
            self.announce(&mut current, ReloadWay::Anew, ctx);
        }
        self.stop(current, None, AfterStop::Start(Queue::Budget), ctx)
    }
}
