//! From the request to a fork server to the adopted process, and what becomes of a base.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::state::context::StepContext;
use crate::state::life::Life;
use crate::state::start_queue::Queue;
use crate::state::vassal::{AfterStop, Hold, HoldReason, Phase, Vassal, phases, running};
use crate::state::{LifeId, Note};

/// First and longest pause before a base that takes no requests is asked again.
const BASE_RETRY: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(1);

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

    pub fn base_not_ready(&mut self, id: LifeId, why: String, ctx: &mut StepContext<'_>) {
        let wait = self.base_retries.next(&BASE_RETRY);
        self.history.last_error = Some(why.as_str().into());
        let hold = Hold::until(HoldReason::Base(why.as_str().into()), ctx.now + wait);
        // A base that crashes gives another reason at each try.
        if !matches!(self.last_logged_hold.as_deref(), Some(HoldReason::Base(_))) {
            self.last_logged_hold = Some(Box::new(hold.reason.clone()));
            self.note(Note::Held { why, wait: Some(wait) }, ctx);
        }
        self.spawn_aborted(id, hold, ctx);
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

    pub fn fork_server_answered(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        if let Some(life) = self.life_mut(id) {
            life.answered(ctx);
        }
    }

    pub fn adopted(&mut self, id: LifeId, pid: i32, ctx: &mut StepContext<'_>) {
        let Some(life) = self.life_mut(id).filter(|life| life.is_asked()) else { return };
        let wanted = life.adopt(pid, ctx);
        if !wanted {
            // Touched, lost or in ragnarok since it was asked for.
            life.stop(ctx);
        }
        self.history.last_error = None;
        self.last_logged_hold = None;
        self.resource_retries.forget();
        self.base_retries.forget();
        self.note(Note::Adopted { pid }, ctx);
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Starting(current) => running(current),
            same @ phases!(Held | Listening | Running | Replacing | Draining | Stopping) => same,
        };
    }
}
