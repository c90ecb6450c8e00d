//! What happens to the file of a vassal.

use crate::state::context::StepContext;
use crate::state::start_queue::Queue;
use crate::state::vassal::{AfterStop, HoldReason, Phase, Vassal};
use crate::state::{Effect, File, Note};

impl Vassal {
    /// Its file was found; `queue` is the queue of its first start.
    pub fn file_found(&mut self, queue: Queue, ctx: &mut StepContext<'_>) {
        self.phase = self.request_start(queue, ctx);
    }

    /// The file has changed.
    pub fn file_changed(&mut self, file: File, ctx: &mut StepContext<'_>) {
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
                life.kill(ctx);
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
                    next.kill(ctx);
                }
                Phase::Replacing { current, next, again: true }
            }
            Phase::Draining { current, old, reload: _ } => {
                Phase::Draining { current, old, reload: true }
            }
            Phase::Stopping { life, other, then: _ } => Phase::Stopping { life, other, then: anew },
        };
    }

    /// The file has another owner, and is the same otherwise: statistics show the owner.
    pub fn owner_changed(&mut self, file: File) {
        self.file = file;
    }

    /// The file was removed, or ragnarok has begun.
    pub fn file_lost(&mut self, ctx: &mut StepContext<'_>) {
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
}
