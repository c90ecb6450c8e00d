//! What happens to the listening socket of a vassal.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::state::context::StepContext;
use crate::state::reload::ReloadWay;
use crate::state::restart::MIN_RESTART_INTERVAL;
use crate::state::start_queue::Queue;
use crate::state::vassal::{AfterStop, Hold, HoldReason, Phase, Vassal, phases};
use crate::state::{Effect, Fingerprint, Note};
use crate::types::purpose::Purpose;

/// First and longest pause between two tries to bind.
const BIND_RETRY: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(10);

impl Vassal {
    /// The on-demand address is bound.
    pub fn listener_bound(&mut self, ctx: &mut StepContext<'_>) {
        if let Some(listener) = &mut self.listener {
            listener.bound = true;
        }
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) if matches!(hold.reason, HoldReason::Address(_)) => {
                self.history.last_error = None;
                self.request_start(hold.queue, ctx)
            }
            same @ phases!(
                Held | Listening | Starting | Running | Replacing | Draining | Stopping
            ) => same,
        };
    }

    /// The on-demand address cannot be bound.
    pub fn listener_refused(&mut self, why: String, ctx: &mut StepContext<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) if matches!(hold.reason, HoldReason::Address(_)) => {
                let wait = self.bind_pause();
                if self.history.last_error.as_deref() != Some(why.as_str()) {
                    self.note(Note::Held { why: why.clone(), wait: Some(wait) }, ctx);
                    self.history.last_error = Some(why.as_str().into());
                }
                Phase::Held(Hold::until(HoldReason::Address(why.into()), ctx.now + wait))
            }
            same @ phases!(
                Held | Listening | Starting | Running | Replacing | Draining | Stopping
            ) => same,
        };
    }

    /// The on-demand listener is of no use any more. It is bound anew after a pause, as the new one might be lost in the
    /// same way in the same turn. The loss of a listener that is not polled is found when it is polled again.
    pub fn listener_lost(&mut self, why: String, ctx: &mut StepContext<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Listening => {
                ctx.out.push(Effect::Unwatch(self.id));
                ctx.out.push(Effect::Unbind(self.id));
                let wait = self.bind_pause();
                self.note(Note::Held { why: why.clone(), wait: Some(wait) }, ctx);
                self.history.last_error = Some(why.as_str().into());
                Phase::Held(Hold::until(HoldReason::Address(why.into()), ctx.now + wait))
            }
            same @ phases!(Held | Starting | Running | Replacing | Draining | Stopping) => same,
        };
    }

    /// The listeners were bound anew, because clients could not reach the old ones. Only a life that starts from now on
    /// has the new ones.
    pub fn listeners_renewed(&mut self, ctx: &mut StepContext<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Starting(mut life) => {
                life.kill(ctx);
                Phase::Stopping { life, other: None, then: AfterStop::Start(Queue::Budget) }
            }
            // A new one could not be started: the file is read again when its address is.
            Phase::Running { current, due } if self.has_bad_address() => {
                Phase::Running { current, due }
            }
            Phase::Running { current, due: _ } if current.is_adopted => {
                self.stop(current, None, AfterStop::Start(Queue::Budget), ctx)
            }
            Phase::Running { mut current, due: _ } if self.has_custody(&current) => {
                self.log_replacement(&mut current, ReloadWay::OnNewListeners, ctx);
                self.start_next(current, Purpose::Start, ctx)
            }
            Phase::Replacing { mut current, mut next, again: _ } => {
                current.fingerprint = Fingerprint::default();
                if !next.is_cursed() {
                    next.kill(ctx);
                }
                Phase::Replacing { current, next, again: true }
            }
            Phase::Draining { mut current, old, reload: _ } => {
                current.fingerprint = Fingerprint::default();
                Phase::Draining { current, old, reload: true }
            }
            same @ phases!(Held | Listening | Running | Stopping) => same,
        };
    }

    /// A client has connected to the on-demand listener.
    pub fn connection(&mut self, ctx: &mut StepContext<'_>) {
        let earliest = self.history.last_run.map(|last| last + MIN_RESTART_INTERVAL);
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Listening => {
                ctx.out.push(Effect::Unwatch(self.id));
                if let Some(listener) = &mut self.listener {
                    listener.retries.forget();
                }
                match earliest.filter(|at| *at > ctx.now) {
                    Some(at) => Phase::Held(Hold::until(HoldReason::RestartInterval, at)),
                    None => self.enqueue(Queue::Budget, ctx),
                }
            }
            same @ phases!(Held | Starting | Running | Replacing | Draining | Stopping) => same,
        };
    }

    /// The address cannot be bound now: gives the pause before the next attempt, and doubles it.
    fn bind_pause(&mut self) -> Duration {
        let Some(listener) = &mut self.listener else { return *BIND_RETRY.start() };
        listener.bound = false;
        listener.retries.next(&BIND_RETRY)
    }
}
