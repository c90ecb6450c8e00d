//! From the turn to start to the running program: what the queue and the stage say.
//!
//! A start waits for the stop hooks of the life before it, as what clears up must not meet what prepares.

use std::rc::Rc;

use crate::state::context::StepContext;
use crate::state::life::{AddressConflict, StartResult};
use crate::state::run_state::{FIRST_PROBE, IDLE_PROBE};
use crate::state::start_queue::{Queue, Ticket};
use crate::state::vassal::{AfterStop, Hold, HoldReason, Phase, Vassal, phases};
use crate::state::{Effect, Fingerprint, LifeId, Note, VassalId};
use crate::types::purpose::Purpose;
use crate::types::run_settings::RunSettings;

impl Vassal {
    /// The turn of the vassal has come: gives its new life, or nothing if it does not wait with this ticket any more.
    pub fn start_granted(&mut self, ticket: Ticket, ctx: &mut StepContext<'_>) -> Option<LifeId> {
        if !self.waits_with(ticket) {
            return None;
        }
        let (phase, born) = match std::mem::take(&mut self.phase) {
            Phase::Held(_) => {
                let life = self.spawn(Purpose::Start, ctx);
                let id = life.id;
                (Phase::Starting(life), Some(id))
            }
            Phase::Running { current, due } => {
                let purpose = due.map_or(Purpose::Check, |due| due.purpose);
                let next = self.spawn(purpose, ctx);
                let id = next.id;
                (Phase::Replacing { current, next, again: false }, Some(id))
            }
            same @ phases!(Listening | Starting | Replacing | Draining | Stopping) => (same, None),
        };
        self.phase = phase;
        born
    }

    /// The turn of the vassal has come, while the stop hook of its last life runs: holds it until the hook has ended.
    /// False if it does not wait with this ticket any more, or need not wait for the hook.
    pub fn hold_for_hook(&mut self, ticket: Ticket) -> bool {
        match &mut self.phase {
            Phase::Held(hold) if hold.ticket == Some(ticket) => {
                *hold = Hold::new(HoldReason::StopHook);
                true
            }
            // A replacement is started beside a life that runs, and does not wait.
            phases!(Held | Listening | Starting | Running | Replacing | Draining | Stopping) => {
                false
            }
        }
    }

    /// The last stop hook of the vassal has ended.
    pub fn hook_ended(&mut self, ctx: &mut StepContext<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) if hold.reason == HoldReason::StopHook => {
                self.request_start(Queue::Budget, ctx)
            }
            same @ phases!(
                Held | Listening | Starting | Running | Replacing | Draining | Stopping
            ) => same,
        };
    }

    /// Another vassal has given addresses back: if this one has waited for one of them, it starts now.
    pub fn address_freed(&mut self, of: VassalId, ctx: &mut StepContext<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) if hold.reason.is_taken_by(of) => self.request_start(hold.queue, ctx),
            Phase::Running { current, due: Some(due) } if due.reason.is_taken_by(of) => {
                self.reload(current, ctx)
            }
            Phase::Stopping { life, other, then: AfterStop::Hold(hold) }
                if hold.reason.is_taken_by(of) =>
            {
                Phase::Stopping { life, other, then: AfterStop::Start(hold.queue) }
            }
            same @ phases!(
                Held | Listening | Starting | Running | Replacing | Draining | Stopping
            ) => same,
        };
    }

    pub fn verdict(
        &mut self,
        id: LifeId,
        settings: RunSettings,
        fingerprint: Fingerprint,
        ctx: &mut StepContext<'_>,
    ) {
        self.resource_retries.forget();
        let Some(life) = self.life_mut(id).filter(|life| life.is_starting()) else { return };
        if settings != *life.settings {
            life.settings = Rc::new(settings);
        }
        life.fingerprint = fingerprint;
        if life.start_result == StartResult::Undecided {
            life.start_result = StartResult::Prepared;
        }
        // What runs is what the newer file would start: it has that revision from now on.
        if let Phase::Replacing { current, next, again: _ } = &mut self.phase
            && next.id == id
            && next.fingerprint == current.fingerprint
        {
            current.revision = next.revision;
            current.apply_settings(&next.settings, ctx.rules);
        }
    }

    pub fn start_failed(&mut self, id: LifeId, why: String, ctx: &mut StepContext<'_>) {
        let Some(life) = self.life_mut(id).filter(|life| life.is_starting()) else { return };
        if life.failure().is_some() {
            return;
        }
        life.start_result = StartResult::Failed(why.as_str().into());
        self.show_failure(why, ctx);
    }

    /// Another vassal has an address that this one wants. That is not a death, least of all where a file was
    /// renamed and the vassal of the old name has not stopped yet.
    pub fn address_taken(
        &mut self,
        id: LifeId,
        (why, holder): (String, Option<VassalId>),
        ctx: &mut StepContext<'_>,
    ) {
        // Nothing runs that would be lost: a stranger's address is a fault as any other.
        if holder.is_none() && !matches!(self.phase, Phase::Replacing { .. }) {
            return self.start_failed(id, why, ctx);
        }
        let Some(life) = self.life_mut(id).filter(|life| life.is_starting()) else { return };
        if life.failure().is_some() {
            return;
        }
        let conflict = AddressConflict { why: why.as_str().into(), holder };
        life.start_result = StartResult::AddressTaken(Box::new(conflict));
        self.history.last_error = Some(why.as_str().into());
        let taken = HoldReason::address_taken(&why, holder);
        if self.last_logged_hold.as_deref() == Some(&taken) {
            return;
        }
        self.last_logged_hold = Some(Box::new(taken));
        let note = match &self.phase {
            Phase::Replacing { .. } => Note::ReplacementFailed { why },
            phases!(Held | Listening | Starting | Running | Draining | Stopping) => {
                Note::Held { why, wait: None }
            }
        };
        self.note(note, ctx);
    }

    pub fn status_closed(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        let Some(life) = self.life_mut(id).filter(|life| life.is_starting()) else { return };
        if life.failure().is_some() {
            return;
        }
        if life.start_result == StartResult::Undecided {
            let why = "the stage has ended without a verdict".to_owned();
            return self.start_failed(id, why, ctx);
        }
        if life.purpose == Purpose::Check {
            return;
        }
        life.run(ctx);
        let pid = life.pid;
        self.history.last_error = None;
        self.last_logged_hold = None;
        self.resource_retries.forget();
        self.address_retries.forget();
        self.note(Note::Running { pid }, ctx);
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Starting(mut current) => {
                ctx.out.push(Effect::TakeCustody(self.id, current.id));
                if self.has_custody(&current) {
                    current.probe_after(IDLE_PROBE);
                }
                Phase::Running { current, due: None }
            }
            Phase::Replacing { current, mut next, again } => {
                if self.has_custody(&next) {
                    next.probe_after(FIRST_PROBE);
                }
                Phase::Replacing { current, next, again }
            }
            same @ phases!(Held | Listening | Running | Draining | Stopping) => same,
        };
    }

    pub(super) fn show_failure(&mut self, why: String, ctx: &mut StepContext<'_>) {
        self.history.last_error = Some(why.as_str().into());
        let note = match &self.phase {
            Phase::Replacing { .. } => Note::ReplacementFailed { why },
            phases!(Held | Listening | Starting | Running | Draining | Stopping) => {
                Note::StartFailed { why }
            }
        };
        self.note(note, ctx);
    }
}
