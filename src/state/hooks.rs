//! The rows of the event table on stop hooks, which clear up after a life that has ended.
//!
//! The next life of that vassal waits for them, as one that clears up must not meet one that prepares.

use super::throttle::Ticket;
use super::vassal::{Hold, HoldReason, Phase, Queue, StepContext, Vassal};

impl Vassal {
    /// Its turn has come, while a stop hook is clearing up after its last life: true if it waits for that.
    pub fn waits_for_hook(&mut self, ticket: Ticket) -> bool {
        match &mut self.phase {
            Phase::Held(hold) if hold.ticket == Some(ticket) => {
                *hold = Hold::new(HoldReason::StopHook);
                true
            }
            // A replacement is started beside a life that runs, and waits for nobody.
            Phase::Held(_)
            | Phase::Listening
            | Phase::Starting(_)
            | Phase::Running { .. }
            | Phase::Replacing { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. } => false,
        }
    }

    /// The last of its stop hooks is over.
    pub fn hook_ended(&mut self, ctx: &mut StepContext<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) if hold.reason == HoldReason::StopHook => {
                self.request_start(Queue::Budget, ctx)
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
}
