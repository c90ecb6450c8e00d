//! What becomes of a base, and of those that wait for it.

use crate::state::LifeId;
use crate::state::context::StepContext;
use crate::state::life::Life;
use crate::state::start_queue::Queue;
use crate::state::vassal::{AfterStop, HoldReason, Phase, Vassal, phases};

impl Vassal {
    /// A base takes requests: a vassal that waits for it asks now.
    pub fn base_ready(&mut self, ctx: &mut StepContext<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) if matches!(hold.reason, HoldReason::Base(_)) => {
                self.base_retries.forget();
                self.request_start(hold.queue, ctx)
            }
            same @ phases!(
                Held | Listening | Starting | Running | Replacing | Draining | Stopping
            ) => same,
        };
    }

    /// The socket file of a base was removed, so the base is of no use before it listens anew: it is stopped and
    /// started. A base that has not announced yet that it is accepting may be about to listen anew.
    pub fn base_unreachable(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        let is_it = |life: &Life| life.id == id && (life.is_accepting() || !life.uses_protocol);
        if !self.current().is_some_and(is_it) {
            return;
        }
        let then = AfterStop::Start(Queue::Budget);
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Running { current, due: _ } => self.stop(current, None, then, ctx),
            Phase::Draining { current, old, reload: _ } => self.stop(current, Some(old), then, ctx),
            // The life that takes over listens anew.
            same @ phases!(Held | Listening | Starting | Replacing | Stopping) => same,
        };
    }
}
