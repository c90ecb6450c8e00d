//! The event table: what each event means in each phase of a vassal. `EVENTS.md` beside this folder shows it
//! whole; the files here are its groups, in its order.
//!
//! A public function is a row. Where the phase matters, an arm of its `match` is a column and gives the next phase,
//! without a wildcard, so that a new phase does not compile before all rows have met it. A row that only notes
//! something about one life looks that life up instead. Here is only which function an event, or a deadline that
//! has passed, belongs to; a new event does not compile before it has one.

mod births;
mod exits;
mod files;
mod fork_servers;
mod listeners;
mod messages;
mod orders;
mod starts;
mod timeouts;

use crate::state::context::StepContext;
use crate::state::run_state::Timeout;
use crate::state::vassal::Vassal;
use crate::state::{LifeEvent, LifeId};

impl Vassal {
    /// Something happened to one of its lives.
    pub fn life_event(&mut self, id: LifeId, event: LifeEvent, ctx: &mut StepContext<'_>) {
        match event {
            LifeEvent::Spawned(pid) => self.born(id, pid, ctx),
            LifeEvent::SpawnFailed(why) => self.spawn_failed(id, why, ctx),
            LifeEvent::BaseNotReady(why) => self.base_not_ready(id, why, ctx),
            LifeEvent::Unreachable => self.base_unreachable(id, ctx),
            LifeEvent::Answered => self.fork_server_answered(id, ctx),
            LifeEvent::Verdict(settings, print) => self.verdict(id, settings, print, ctx),
            LifeEvent::StartFailed(why) => self.start_failed(id, why, ctx),
            LifeEvent::AddressTaken(why, by) => self.address_taken(id, (why, by), ctx),
            LifeEvent::StatusClosed => self.status_closed(id, ctx),
            LifeEvent::Message(message, channel) => self.message(id, message, channel, ctx),
            LifeEvent::SeenAccepting => self.seen_accepting(id, ctx),
            LifeEvent::PipeClosed => self.pipe_closed(id, ctx),
            LifeEvent::Daemonized(why) => self.daemonized(id, why, ctx),
            LifeEvent::Exited(exit) => self.exited(id, exit, ctx),
        }
    }

    /// Serves every deadline that has passed.
    pub fn time_passed(&mut self, ctx: &mut StepContext<'_>) {
        // Each deadline that is served moves or goes; the bound is against a fault of ours only.
        for _ in 0..16 {
            if !self.serve_deadline(ctx) {
                return;
            }
        }
    }

    fn serve_deadline(&mut self, ctx: &mut StepContext<'_>) -> bool {
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
        match what {
            Timeout::Start => self.start_timed_out(id, ctx),
            Timeout::Answer => self.answer_overdue(id, ctx),
            Timeout::Probe => self.probe_due(id, ctx),
            Timeout::AssumeAccepting => self.accepting_by_age(id, ctx),
            Timeout::AssumeLoyal => self.loyal_by_age(id, ctx),
            Timeout::Readiness => self.readiness_timed_out(id, ctx),
            Timeout::Heartbeat => self.heartbeat_missed(id, ctx),
            Timeout::Reply => self.reply_timed_out(id, ctx),
            Timeout::SlowStop => self.stops_slowly(id, ctx),
            Timeout::Kill => self.stop_timed_out(id, ctx),
        }
        true
    }
}
