//! The rows of the event table on stop hooks, which clear up after a life that has ended.
//!
//! The next life of that vassal waits for them, as one that clears up must not meet one that prepares.

use super::throttle::Ticket;
use super::vassal::{Hold, Lane, Phase, Turn, Vassal, Why};

impl Vassal {
    /// Its turn has come, while a stop hook is clearing up after its last life: true if it waits for that.
    pub fn waits_for_hook(&mut self, ticket: Ticket) -> bool {
        match &mut self.phase {
            Phase::Held(hold) if hold.ticket == Some(ticket) => {
                *hold = Hold::new(Why::StopHook);
                true
            }
            // A replacement is started beside a life that runs, and waits for nobody.
            Phase::Held(_)
            | Phase::Waiting
            | Phase::Starting(_)
            | Phase::Running { .. }
            | Phase::Replacing { .. }
            | Phase::Retiring { .. }
            | Phase::Stopping { .. } => false,
        }
    }

    /// The last of its stop hooks is over.
    pub fn hook_ended(&mut self, turn: &mut Turn<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) if hold.why == Why::StopHook => self.begin(Lane::Budget, turn),
            same @ (Phase::Held(_)
            | Phase::Waiting
            | Phase::Starting(_)
            | Phase::Running { .. }
            | Phase::Replacing { .. }
            | Phase::Retiring { .. }
            | Phase::Stopping { .. }) => same,
        };
    }
}
