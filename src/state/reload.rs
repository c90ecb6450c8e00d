//! The rows of the event table that say how a newer file comes to run: in place, by a second life, or by a
//! stop and a start; and how that ends.

use super::context::StepContext;
use super::life::Life;
use super::start_queue::Queue;
use super::vassal::{AfterStop, Hold, Phase, Vassal, running};
use super::{Effect, Note, OnDemand, Order};
use crate::types::purpose::Purpose;

/// How a reload is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadWay {
    /// By byte 1 on the emperor pipe.
    Byte,
    /// By this signal.
    Signal(i32),
    /// By a second life on the same listeners, which checks the file first.
    Replacement,
    /// By a second life on the same listeners. A check has shown that the file is good and starts something else.
    ReplacementAfterCheck,
    /// By a second life on listeners that were bound anew.
    OnNewListeners,
    /// By a stop and a start, after a check of the file.
    Restart,
    /// By a stop and a start. A check has shown that the file is good and starts something else.
    RestartAfterCheck,
}

impl Vassal {
    /// Told by byte, by signal, or replaced; a stage reads the file first, where one can.
    pub(super) fn reload(&mut self, mut current: Box<Life>, ctx: &mut StepContext<'_>) -> Phase {
        if current.is_fallback() && !self.has_bad_address() {
            return self.start_next(current, Purpose::Start, ctx);
        }
        let in_place = current.reloads_in_place();
        // No stage of ours reads for it: the program itself does, or its base has.
        if in_place && (!ctx.rules.stage || current.is_adopted) {
            current.revision = self.revision;
            self.reload_in_place(&mut current, ctx);
            return running(current);
        }
        // Where it is to listen cannot be read: what runs is better than what could not start.
        if let OnDemand::Fault(why) = &self.file.on_demand {
            let why = why.to_string();
            self.history.last_error = Some(why.as_str().into());
            self.note(Note::ReplacementFailed { why }, ctx);
            return running(current);
        }
        let has_custody = self.has_custody(&current);
        // What a base forks is as new as the base, and cannot be checked before.
        let unchecked = !ctx.rules.stage && !has_custody;
        if current.is_adopted || unchecked {
            return self.stop(current, None, AfterStop::Start(Queue::Budget), ctx);
        }
        let purpose = if has_custody && !in_place { Purpose::Start } else { Purpose::Check };
        if !in_place {
            let by = if has_custody { ReloadWay::Replacement } else { ReloadWay::Restart };
            self.log_replacement(&mut current, by, ctx);
        }
        self.start_next(current, purpose, ctx)
    }

    /// [`Vassal::reload`] for a reason that is a new one, even if what `due` waits for is still missing.
    pub(super) fn reload_for_new_reason(
        &mut self,
        mut current: Box<Life>,
        due: Option<Box<Hold>>,
        ctx: &mut StepContext<'_>,
    ) -> Phase {
        current.replacement_logged &= due.is_some_and(|due| due.is_queued());
        self.reload(current, ctx)
    }

    /// Tells that another life is to come, once however often that is tried or begun anew.
    pub(super) fn log_replacement(
        &self,
        current: &mut Life,
        by: ReloadWay,
        ctx: &mut StepContext<'_>,
    ) {
        if !std::mem::replace(&mut current.replacement_logged, true) {
            self.note(Note::Reloading { by }, ctx);
        }
    }

    /// A second life is due, as soon as there is a place for it.
    pub(super) fn start_next(
        &mut self,
        current: Box<Life>,
        purpose: Purpose,
        ctx: &mut StepContext<'_>,
    ) -> Phase {
        let due = Hold { purpose, ..self.place_in(Queue::Budget, ctx) };
        Phase::Running { current, due: Some(Box::new(due)) }
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

    /// The file is read and good. What would start the same is told in place, if it can be told.
    pub(super) fn check_passed(
        &mut self,
        mut current: Box<Life>,
        next: &Life,
        ctx: &mut StepContext<'_>,
    ) -> Phase {
        let in_place = current.reloads_in_place();
        if in_place && next.fingerprint == current.fingerprint {
            current.replacement_logged = false;
            self.reload_in_place(&mut current, ctx);
            return running(current);
        }
        if self.has_custody(&current) {
            self.log_replacement(&mut current, ReloadWay::ReplacementAfterCheck, ctx);
            return self.start_next(current, Purpose::Start, ctx);
        }
        if in_place {
            self.log_replacement(&mut current, ReloadWay::RestartAfterCheck, ctx);
        }
        self.stop(current, None, AfterStop::Start(Queue::Budget), ctx)
    }
}
