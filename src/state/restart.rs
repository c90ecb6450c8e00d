//! What follows the death of a process: the one page on it.
//!
//! 1. The kernel says by the pidfd, or by the end of the emperor pipe, that the process has ended. The emperor
//!    reads its status socket and its pipe to their end, and reaps it. When nothing of the life is left, or after
//!    a second, it raises `LifeEvent::Exited`.
//! 2. The realm takes the life from its lists, gives its slot in the start budget back, and asks for the stop
//!    hook.
//! 3. The row `exits::exited` says which life stands for the vassal from now on. If there is a second one,
//!    that goes on. If the life was told to stop, what follows was decided then, and stands in
//!    `AfterStop`.
//! 4. Else [`Vassal::judge_exit`] says what the end means:
//!    - it was to make room for a new fork of its base, or is idle: a start, which is not a death;
//!    - it wants an address that another vassal has: held until that is given back;
//!    - its restart setting says that it does not come back: held until its file changes;
//!    - else it is a death. One before it was loyal adds a step to the penalty ([`super::penalty`]).
//! 5. [`Vassal::schedule_restart`] says when: after the penalty, and not before [`MIN_RESTART_INTERVAL`] has
//!    passed since the life was forked; and by which queue: a life that was short and not loyal sends its
//!    successor through the throttle, any other through the start budget alone.
//! 6. [`Vassal::on_stopped`] does it: a place in the queue ([`super::throttle`]), or on demand the wait for a
//!    connection. The realm grants the place, after the stop hook, and the row `starts::start_granted` makes
//!    the next life.

use std::time::Duration;

use super::Note;
use super::context::{RealmRequest, StepContext};
use super::life::Life;
use super::start_queue::Queue;
use super::vassal::{AfterStop, Hold, HoldReason, Phase, Vassal};
use crate::types::exit_status::ExitStatus;
use crate::types::moment::Moment;
use crate::types::run_settings::Restart;

/// Between the start of a life that ends by its own will and that of its successor, at least: a program
/// that ends at once, whatever it has said before, must not keep us busy.
pub(super) const MIN_RESTART_INTERVAL: Duration = Duration::from_millis(100);
const SIGKILL: i32 = 9;
/// A life shorter than this has come back too fast: its successor waits in the throttle's queue.
const SHORT_LIFE: Duration = Duration::from_secs(1);

impl Vassal {
    /// A life has ended by itself: what follows.
    pub(super) fn judge_exit(
        &mut self,
        life: &Life,
        exit: ExitStatus,
        ctx: &mut StepContext<'_>,
    ) -> AfterStop {
        let lived = life.age(ctx.now);
        self.remember(life, exit);
        if life.blocked_by().is_some() {
            return AfterStop::Hold(Box::new(self.wait_for_address(life, ctx.now)));
        }
        if life.ended_for_reload(exit) {
            self.note(Note::Stopped { exit, lived, why: "for a restart" }, ctx);
            return AfterStop::Start(Queue::Budget);
        }
        if self.has_gone_idle(life, exit) {
            self.note(Note::Stopped { exit, lived, why: "because it is idle" }, ctx);
            return AfterStop::Start(Queue::Budget);
        }
        self.history.deaths = self.history.deaths.saturating_add(1);
        let comes_back = match life.settings.restart {
            Restart::Always => true,
            Restart::OnFailure => !life.ended_well(exit),
            Restart::Never => false,
        };
        if !comes_back && life.failure().is_none() {
            self.note(Note::Finished { exit }, ctx);
            return AfterStop::Hold(Box::new(Hold::new(HoldReason::Finished(exit))));
        }
        let wait = match life.is_loyal() {
            true => Duration::ZERO,
            false => self.penalty.add(ctx.now, ctx.rules),
        };
        let mut hint = String::new();
        // A life that was told to stop, or whose start has failed, has a better reason already.
        if !life.is_loyal() && !life.is_cursed() && life.failure().is_none() {
            hint = self::hint(life, exit);
            self.history.last_error =
                Some(format!("its program has ended ({exit}) before it was loyal{hint}").into());
        }
        let attempt = self.penalty.deaths();
        let (loyal, failed) = (life.is_loyal(), life.failure().is_some());
        // The log says it once; without a blacklist no attempts are counted.
        if attempt != 1 && self.history.deaths != 1 {
            hint.clear();
        }
        self.note(Note::Died { exit, lived, loyal, wait, attempt, failed, hint }, ctx);
        self.schedule_restart(life, Some(exit), wait, ctx.now)
    }

    /// Whether the end of a life means that it had nothing to do: on demand, it has run, and exited with 0.
    pub(super) fn has_gone_idle(&self, life: &Life, exit: ExitStatus) -> bool {
        self.listener.is_some() && exit == ExitStatus::Code(0) && life.failure().is_none()
    }

    /// The step after a life that has ended, or wants to: a start, when the penalty is served and the minimum interval
    /// is over. On demand the interval is kept when a client connects; a loyal life that has ended by SIGKILL was
    /// killed from outside, and is replaced at once.
    pub(super) fn schedule_restart(
        &self,
        life: &Life,
        exit: Option<ExitStatus>,
        penalty: Duration,
        now: Moment,
    ) -> AfterStop {
        let queue = queue_after(life, now);
        let killed = life.is_loyal() && exit == Some(ExitStatus::Signal(SIGKILL));
        let pace = if self.listener.is_some() || killed {
            now
        } else {
            life.created + MIN_RESTART_INTERVAL
        };
        let until = pace.max(now + penalty);
        if until <= now {
            return AfterStop::Start(queue);
        }
        let why = if penalty.is_zero() { HoldReason::RestartInterval } else { HoldReason::Penalty };
        AfterStop::Hold(Box::new(Hold { queue, ..Hold::until(why, until) }))
    }

    /// The last life is reaped, or there was none.
    pub(super) fn on_stopped(&mut self, then: AfterStop, ctx: &mut StepContext<'_>) -> Phase {
        match then {
            AfterStop::Forget => {
                ctx.requests.push(RealmRequest::Forget(self.id));
                Phase::default()
            }
            AfterStop::Start(queue) => self.request_start(queue, ctx),
            AfterStop::Hold(hold) if hold.until.is_some_and(|until| until <= ctx.now) => {
                self.request_start(hold.queue, ctx)
            }
            AfterStop::Hold(hold) => Phase::Held(*hold),
            // There is no life left whose end could be judged.
            AfterStop::JudgeExit => self.request_start(Queue::Budget, ctx),
        }
    }

    /// A life has ended as it was told to. The end of a life whose program has not run is neither remembered nor
    /// logged.
    pub(super) fn stopped(
        &mut self,
        life: &Life,
        exit: ExitStatus,
        why: &'static str,
        ctx: &mut StepContext<'_>,
    ) {
        if !life.has_run() {
            return;
        }
        self.remember(life, exit);
        self.note(Note::Stopped { exit, lived: life.age(ctx.now), why }, ctx);
    }

    fn remember(&mut self, life: &Life, exit: ExitStatus) {
        self.history.last_exit = Some(exit);
        self.history.reloads = self.history.reloads.saturating_add(life.reloads);
    }
}

/// A program may have failed because it wanted to bind what it was given: it was given sockets, and has failed
/// before it took requests. What its administrator has to know then, or nothing.
fn hint(life: &Life, exit: ExitStatus) -> String {
    let places = &life.settings.places;
    if places.is_empty() || life.is_accepting() || !matches!(exit, ExitStatus::Code(1..)) {
        return String::new();
    }
    format!(
        "; if its address is in use: liege holds {places}; let the program use that, or remove the line"
    )
}

/// The queue in which the successor of a life that ends by its own will has to wait.
fn queue_after(life: &Life, now: Moment) -> Queue {
    match life.age(now) < SHORT_LIFE && !life.is_loyal() {
        true => Queue::Throttle,
        false => Queue::Budget,
    }
}
