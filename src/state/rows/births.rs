//! From the request for a process to its birth: what the spawner and the fork servers answer.
//!
//! Both are asked alike. A life that is cancelled before the answer goes on until the answer is there, as otherwise
//! a process might be made that nobody knows; then it is ended.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::state::context::StepContext;
use crate::state::vassal::{AfterStop, Hold, HoldReason, Phase, Vassal, phases, running};
use crate::state::{LifeId, Note};
use crate::types::purpose::Purpose;

/// First and longest pause before a start for which the kernel has refused something is tried again.
const RESOURCE_RETRY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);
/// First and longest pause before a base that takes no requests is asked again.
const BASE_RETRY: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(1);

impl Vassal {
    /// The process that was asked for is there. One that is adopted runs its program already.
    pub fn born(&mut self, id: LifeId, pid: i32, ctx: &mut StepContext<'_>) {
        let Some(life) = self.life_mut(id).filter(|life| life.is_asked()) else { return };
        life.born(pid, ctx);
        if !life.is_adopted {
            return;
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

    pub fn fork_server_answered(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        if let Some(life) = self.life_mut(id) {
            life.answered(ctx);
        }
    }

    pub fn spawn_failed(&mut self, id: LifeId, why: String, ctx: &mut StepContext<'_>) {
        let wait = self.resource_retries.next(&RESOURCE_RETRY);
        self.history.last_error = Some(why.as_str().into());
        let hold = Hold::until(HoldReason::Resource(why.as_str().into()), ctx.now + wait);
        if self.last_logged_hold.as_deref() != Some(&hold.reason) {
            self.last_logged_hold = Some(Box::new(hold.reason.clone()));
            self.note(Note::Held { why, wait: Some(wait) }, ctx);
        }
        self.spawn_aborted(id, hold, ctx);
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

    /// A life has not come to a process, which is not a death: its vassal is held.
    fn spawn_aborted(&mut self, id: LifeId, hold: Hold, ctx: &mut StepContext<'_>) {
        if self.life_mut(id).is_some_and(|life| life.purpose == Purpose::Start) {
            self.history.starts = self.history.starts.saturating_sub(1);
        }
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Starting(_) => Phase::Held(hold),
            Phase::Replacing { current, next, again } => {
                if next.id != id {
                    Phase::Replacing { current, next, again }
                } else if current.is_cursed() && !current.is_fallback() {
                    Phase::Stopping { life: current, other: None, then: AfterStop::JudgeExit }
                } else {
                    Phase::Running { current, due: Some(Box::new(hold)) }
                }
            }
            // Cancelled before the answer: nothing is there to be reaped.
            Phase::Stopping { life, other, then } => match other {
                None => {
                    if then == AfterStop::Forget {
                        self.note(Note::Gone, ctx);
                    }
                    self.on_stopped(then, ctx)
                }
                Some(other) if life.id == id => Phase::Stopping { life: other, other: None, then },
                Some(_) => Phase::Stopping { life, other: None, then },
            },
            same @ phases!(Held | Listening | Running | Draining) => same,
        };
    }
}
