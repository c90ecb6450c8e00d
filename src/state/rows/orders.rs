//! What the administrator asks of all vassals at once.

use crate::state::context::StepContext;
use crate::state::vassal::{AfterStop, HoldReason, Phase, Vassal, phases};

impl Vassal {
    /// The administrator reloads all vassals (SIGHUP).
    pub fn reload_ordered(&mut self, ctx: &mut StepContext<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Running { current, due } if current.is_fallback() => {
                Phase::Running { current, due }
            }
            Phase::Running { current, due } => self.reload_for_new_reason(current, due, ctx),
            Phase::Draining { current, old, reload: _ } => {
                Phase::Draining { current, old, reload: true }
            }
            same @ phases!(Held | Listening | Starting | Replacing | Stopping) => same,
        };
    }

    /// The administrator clears the blacklist (SIGURG): a penalty that is being served ends.
    pub fn forget_blacklist(&mut self, ctx: &mut StepContext<'_>) {
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
            same @ phases!(
                Held | Listening | Starting | Running | Replacing | Draining | Stopping
            ) => same,
        };
    }
}
