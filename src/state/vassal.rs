//! One vassal file: its phases, and what the rows of the event table (`rows`) are made of.

use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use super::backoff::Backoff;
use super::context::{RealmRequest, StepContext};
use super::life::{Birth, Life};
use super::penalty::Penalty;
use super::start_queue::{Queue, Ticket};
use super::{Effect, File, Key, LifeId, Note, OnDemand, Rules, VassalId};
use crate::types::exit_status::ExitStatus;
use crate::types::moment::Moment;
use crate::types::purpose::Purpose;

/// The phase of a vassal, with the lives that it has in that phase.
#[derive(Debug)]
pub enum Phase {
    /// Not started, with the reason.
    Held(Hold),
    /// On demand: its listener waits for the first client.
    Listening,
    /// One life, whose program does not run yet.
    Starting(Box<Life>),
    /// One life, whose program runs.
    Running {
        /// The life that stands for the vassal.
        current: Box<Life>,
        /// The hold of a replacement that is due, if one is.
        due: Option<Box<Hold>>,
    },
    /// A second life is to take over.
    Replacing {
        /// The life that stands for the vassal until `next` takes over.
        current: Box<Life>,
        /// The life that is to take over, or a check of the file.
        next: Box<Life>,
        /// Whether `next` is being killed, because another one is to read a newer file.
        again: bool,
    },
    /// The second life has taken over.
    Draining {
        /// The life that has taken over and stands for the vassal.
        current: Box<Life>,
        /// The life before it, which was told to stop.
        old: Box<Life>,
        /// Whether the file has changed since the takeover.
        reload: bool,
    },
    /// All lives are told to stop.
    Stopping {
        /// The life that stands for the vassal.
        life: Box<Life>,
        /// The second life, if there is one.
        other: Option<Box<Life>>,
        /// The step that follows when both have ended.
        then: AfterStop,
    },
}

/// A pattern for several phases, whatever is in them.
macro_rules! phases {
    ($($phase:ident)|+) => { $(crate::state::vassal::Phase::$phase { .. })|+ };
}
pub(super) use phases;

impl Default for Phase {
    fn default() -> Self {
        Self::Held(Hold::new(HoldReason::Budget))
    }
}

/// Why a start is put off, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The reason.
    pub reason: HoldReason,
    /// The end of the hold; `None`: an event ends it.
    pub until: Option<Moment>,
    /// The ticket of its place in a queue, if it has one.
    pub(super) ticket: Option<Ticket>,
    /// The queue in which the start is placed when the hold has ended.
    pub(super) queue: Queue,
    /// The purpose of the process whose start is put off.
    pub(super) purpose: Purpose,
}

impl Hold {
    pub(super) fn new(reason: HoldReason) -> Self {
        Self { reason, until: None, ticket: None, queue: Queue::Budget, purpose: Purpose::Start }
    }

    pub(super) fn until(reason: HoldReason, until: Moment) -> Self {
        Self { until: Some(until), ..Self::new(reason) }
    }

    /// Whether the start has a place in a queue.
    pub(super) fn is_queued(&self) -> bool {
        self.ticket.is_some()
    }

    pub(super) fn queued(reason: HoldReason, ticket: Ticket) -> Self {
        Self { ticket: Some(ticket), ..Self::new(reason) }
    }
}

/// Why a vassal is not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldReason {
    /// In the throttle's queue.
    Throttle,
    /// Too many lives are starting.
    Budget,
    /// The penalty for its deaths is not served yet.
    Penalty,
    /// The kernel has refused to fork, or a request to the fork server has failed, for this reason.
    Resource(Rc<str>),
    /// The fork server does not take requests, for this reason.
    Base(Rc<str>),
    /// The address is not bound, or cannot be, for this reason.
    Address(Rc<str>),
    /// Another vassal, with this number, has an address that this one wants to bind.
    AddressTaken(Rc<str>, VassalId),
    /// The stop hook of a life that has ended is not over.
    StopHook,
    /// The minimum interval between two starts is not over.
    RestartInterval,
    /// The vassal has ended with this status, and is not started again before its file changes.
    Finished(ExitStatus),
    /// A fault in liege has lost what was known of it.
    InternalError,
}

impl HoldReason {
    /// A start wants an address that this vassal has, or a stranger.
    pub(super) fn address_taken(why: &str, holder: Option<VassalId>) -> Self {
        match holder {
            Some(holder) => Self::AddressTaken(why.into(), holder),
            None => Self::Address(why.into()),
        }
    }

    /// Whether the hold waits for an address that this vassal has.
    pub(super) fn is_taken_by(&self, of: VassalId) -> bool {
        matches!(self, Self::AddressTaken(_, holder) if *holder == of)
    }
}

/// The step that follows when the last life is reaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterStop {
    /// The vassal is forgotten.
    Forget,
    /// The vassal starts through this queue; on demand it listens for a client first.
    Start(Queue),
    /// The vassal is held, as was decided when its death was judged.
    Hold(Box<Hold>),
    /// The end is judged like one that was not ordered.
    JudgeExit,
}

impl AfterStop {
    /// Why its lives are told to stop.
    pub(super) fn stop_reason(&self, ending: bool, on_demand: bool) -> &'static str {
        match self {
            Self::Forget if ending => "for ragnarok",
            Self::Forget => "because its file is gone",
            Self::Hold(hold) if hold.reason == HoldReason::InternalError => {
                "after an internal error"
            }
            Self::Start(_) if on_demand => "to go back to listening",
            Self::Start(_) | Self::Hold(_) => "for a restart",
            Self::JudgeExit => "because it failed",
        }
    }
}

/// The on-demand address of a vassal, and whether it is bound.
#[derive(Debug)]
pub(super) struct OnDemandListener {
    pub(super) address: Rc<str>,
    pub(super) bound: bool,
    pub(super) retries: Backoff,
}

/// The counters and times of a vassal, for statistics.
#[derive(Debug, Default)]
pub struct History {
    /// Lives that were started.
    pub starts: u32,
    /// Lives that have ended without an order.
    pub deaths: u32,
    /// Reloads in place of the lives that have ended.
    pub reloads: u32,
    /// Start of the first life.
    pub first_run: Option<Moment>,
    /// Start of the last life.
    pub last_run: Option<Moment>,
    /// How the last life ended.
    pub last_exit: Option<ExitStatus>,
    /// The last error; it is cleared when a program runs again.
    pub last_error: Option<Box<str>>,
}

/// A vassal file, from the time it is found until it is removed and all its lives have ended.
#[derive(Debug)]
pub struct Vassal {
    /// Number of the vassal.
    pub id: VassalId,
    /// Name of the vassal.
    pub key: Key,
    /// Attributes of its file, as the monitor has found them.
    pub file: File,
    /// Modification time of the file when it was found.
    pub first_modified: i64,
    /// Phase, with its lives.
    pub phase: Phase,
    /// Penalty for its deaths.
    pub penalty: Penalty,
    /// Counters and times for statistics.
    pub history: History,
    /// Number of changes of its file so far.
    pub(super) revision: u32,
    /// Reason why the newest revision of the file cannot start, while an older revision runs.
    pub(super) refused: Option<Box<str>>,
    /// On-demand listener, if its file asks for one.
    pub(super) listener: Option<Box<OnDemandListener>>,
    /// Whether it is a base: other vassals are forked from its lives.
    pub is_base: bool,
    pub(super) resource_retries: Backoff,
    pub(super) base_retries: Backoff,
    pub(super) address_retries: Backoff,
    pub(super) internal_retries: Backoff,
    /// Reason of the last hold in the log, until a program of it runs.
    pub(super) last_logged_hold: Option<Box<HoldReason>>,
    last_ticket: u32,
}

/// First and longest pause before a start is tried again whose address another vassal has.
const TAKEN_RETRY: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(10);

impl Vassal {
    /// A vassal whose file was just found; nothing has begun yet.
    pub fn new(id: VassalId, key: Key, file: File, rules: &Rules) -> Self {
        Self {
            id,
            is_base: rules.bases.iter().any(|base| *base == *key.name),
            key,
            listener: listener_of(&file),
            first_modified: file.modified,
            file,
            phase: Phase::default(),
            penalty: Penalty::default(),
            history: History::default(),
            revision: 0,
            refused: None,
            last_ticket: 0,
            last_logged_hold: None,
            resource_retries: Backoff::default(),
            base_retries: Backoff::default(),
            address_retries: Backoff::default(),
            internal_retries: Backoff::default(),
        }
    }

    /// The address at which it waits for clients, if it is on demand.
    pub fn address(&self) -> Option<&str> {
        self.listener.as_ref().map(|listener| &*listener.address)
    }

    /// The life that stands for the vassal: the current one.
    pub fn current(&self) -> Option<&Life> {
        match &self.phase {
            Phase::Held(_) | Phase::Listening => None,
            Phase::Starting(life) | Phase::Stopping { life, .. } => Some(life),
            Phase::Running { current, .. }
            | Phase::Replacing { current, .. }
            | Phase::Draining { current, .. } => Some(current),
        }
    }

    /// The other life, if there are two.
    pub fn other(&self) -> Option<&Life> {
        match &self.phase {
            Phase::Held(_) | Phase::Listening | Phase::Starting(_) | Phase::Running { .. } => None,
            Phase::Replacing { next, .. } => Some(next),
            Phase::Draining { old, .. } => Some(old),
            Phase::Stopping { other, .. } => other.as_deref(),
        }
    }

    /// The nearest deadline of its lives and of its hold.
    pub fn deadline(&self) -> Option<Moment> {
        let lives = [self.current(), self.other()];
        let nearest =
            lives.into_iter().flatten().filter_map(|l| l.deadline().map(|(at, _)| at)).min();
        nearest.into_iter().chain(self.held_until()).min()
    }

    /// The hold of its start, or of the start of its replacement.
    pub fn hold(&self) -> Option<&Hold> {
        match &self.phase {
            Phase::Held(hold) => Some(hold),
            Phase::Running { due, .. } => due.as_deref(),
            phases!(Listening | Starting | Replacing | Draining | Stopping) => None,
        }
    }

    /// Whether it still waits in a queue with this ticket.
    pub fn waits_with(&self, ticket: Ticket) -> bool {
        self.hold().is_some_and(|hold| hold.ticket == Some(ticket))
    }

    /// The ticket and the queue, if it waits in a queue.
    pub(super) fn place_in_queue(&self) -> Option<(Ticket, Queue)> {
        let hold = self.hold()?;
        let is_throttled = hold.reason == HoldReason::Throttle;
        Some((hold.ticket?, if is_throttled { Queue::Throttle } else { Queue::Budget }))
    }

    /// The end of its hold, or of the hold of its replacement, if it is known.
    pub fn held_until(&self) -> Option<Moment> {
        self.hold()?.until
    }

    /// A hold until the other vassal gives the address back, or until the next attempt.
    pub(super) fn wait_for_address(&mut self, life: &Life, now: Moment) -> Hold {
        let why = HoldReason::address_taken(life.failure().unwrap_or_default(), life.blocked_by());
        Hold::until(why, now + self.address_retries.next(&TAKEN_RETRY))
    }

    /// Whether it waits for an address that another vassal has, or will do so when its lives have ended.
    pub(super) fn waits_for_address(&self) -> bool {
        let taken = |hold: &Hold| matches!(hold.reason, HoldReason::AddressTaken(..));
        let blocked = |life: Option<&Life>| life.is_some_and(|life| life.blocked_by().is_some());
        let waits = match &self.phase {
            Phase::Stopping { then: AfterStop::Hold(hold), .. } => taken(hold),
            phases!(Held | Listening | Starting | Running | Replacing | Draining | Stopping) => {
                self.hold().is_some_and(taken)
            }
        };
        waits || blocked(self.current()) || blocked(self.other())
    }

    // What the rows of the table are made of.

    /// On-demand: waiting, once the address is bound; else a start, in its turn.
    pub(super) fn request_start(&mut self, queue: Queue, ctx: &mut StepContext<'_>) -> Phase {
        if let OnDemand::Fault(why) = &self.file.on_demand {
            let why = why.to_string();
            self.history.last_error = Some(why.as_str().into());
            self.note(Note::Held { why: why.clone(), wait: None }, ctx);
            return Phase::Held(Hold::new(HoldReason::Address(why.into())));
        }
        let Some(listener) = &self.listener else { return self.enqueue(queue, ctx) };
        if listener.bound {
            let address = listener.address.to_string();
            ctx.out.push(Effect::Watch(self.id));
            self.note(Note::Listening { address }, ctx);
            return Phase::Listening;
        }
        ctx.out.push(Effect::Bind(self.id, listener.address.to_string()));
        Phase::Held(Hold::new(HoldReason::Address("not bound yet".into())))
    }

    pub(super) fn enqueue(&mut self, queue: Queue, ctx: &mut StepContext<'_>) -> Phase {
        Phase::Held(self.place_in(queue, ctx))
    }

    /// A place in this queue.
    pub(super) fn place_in(&mut self, queue: Queue, ctx: &mut StepContext<'_>) -> Hold {
        let why = match queue {
            Queue::Throttle => HoldReason::Throttle,
            Queue::Budget => HoldReason::Budget,
        };
        Hold::queued(why, self.take_ticket(queue, ctx))
    }

    pub(super) fn take_ticket(&mut self, queue: Queue, ctx: &mut StepContext<'_>) -> Ticket {
        self.last_ticket = self.last_ticket.wrapping_add(1);
        let ticket = Ticket(self.last_ticket);
        ctx.requests.push(RealmRequest::Start(self.id, ticket, queue));
        ticket
    }

    pub(super) fn spawn(&mut self, purpose: Purpose, ctx: &mut StepContext<'_>) -> Box<Life> {
        *ctx.last_life += 1;
        let id = LifeId(*ctx.last_life);
        let birth = Birth::by_rules(ctx.rules, self.is_base);
        let mut life = Life::new(id, purpose, birth, ctx);
        let effect = match birth {
            Birth::Stage | Birth::Direct => Effect::Spawn(self.id, id, purpose),
            Birth::ForkServer => Effect::Ask(self.id, id),
        };
        life.revision = self.revision;
        if purpose == Purpose::Start {
            self.history.starts = self.history.starts.saturating_add(1);
            self.history.first_run.get_or_insert(ctx.now);
            self.history.last_run = Some(ctx.now);
        }
        ctx.out.push(effect);
        Box::new(life)
    }

    /// Stops one or two lives.
    pub(super) fn stop(
        &self,
        mut life: Box<Life>,
        mut other: Option<Box<Life>>,
        then: AfterStop,
        ctx: &mut StepContext<'_>,
    ) -> Phase {
        let why = then.stop_reason(ctx.ending, self.listener.is_some());
        self.note(Note::Stopping { why }, ctx);
        life.stop(ctx);
        if let Some(other) = &mut other {
            other.stop(ctx);
        }
        Phase::Stopping { life, other, then }
    }

    /// Takes over the new attributes of the file; true if its on-demand address has changed.
    pub(super) fn update_file(&mut self, file: File, ctx: &mut StepContext<'_>) -> bool {
        self.file = file;
        self.revision = self.revision.wrapping_add(1);
        self.refused = None;
        let moved = match &self.file.on_demand {
            OnDemand::No => self.listener.is_some(),
            OnDemand::Address(address) => self.address() != Some(address),
            // An address that cannot be read says nothing: the listener and its clients stay.
            OnDemand::Fault(_) => false,
        };
        if moved {
            if self.listener.as_ref().is_some_and(|listener| listener.bound) {
                if matches!(self.phase, Phase::Listening) {
                    ctx.out.push(Effect::Unwatch(self.id));
                }
                ctx.out.push(Effect::Unbind(self.id));
            }
            self.listener = listener_of(&self.file);
        }
        moved
    }

    /// Whether its file names an address that cannot be read, so that it must not start.
    pub(super) fn has_bad_address(&self) -> bool {
        matches!(self.file.on_demand, OnDemand::Fault(_))
    }

    /// Whether a second life could serve the same listeners.
    pub(super) fn has_custody(&self, current: &Life) -> bool {
        self.listener.is_some() || current.settings.listeners > 0
    }

    /// Its lives that have no process yet.
    pub(super) fn asked_lives(&self) -> [Option<LifeId>; 2] {
        let asked = |life: Option<&Life>| life.filter(|life| life.is_asked()).map(|life| life.id);
        [asked(self.current()), asked(self.other())]
    }

    pub(super) fn life_mut(&mut self, id: LifeId) -> Option<&mut Life> {
        let (first, second) = match &mut self.phase {
            Phase::Held(_) | Phase::Listening => (None, None),
            Phase::Starting(life) | Phase::Running { current: life, .. } => (Some(life), None),
            Phase::Replacing { current, next, .. } => (Some(current), Some(next)),
            Phase::Draining { current, old, .. } => (Some(current), Some(old)),
            Phase::Stopping { life, other, .. } => (Some(life), other.as_mut()),
        };
        [first, second].into_iter().flatten().find(|life| life.id == id).map(|life| &mut **life)
    }

    pub(super) fn note(&self, note: Note, ctx: &mut StepContext<'_>) {
        ctx.out.push(Effect::Note(self.id, self.key.clone(), note));
    }
}

pub(super) fn running(current: Box<Life>) -> Phase {
    Phase::Running { current, due: None }
}

pub(super) fn listener_of(file: &File) -> Option<Box<OnDemandListener>> {
    match &file.on_demand {
        OnDemand::Address(address) => {
            let (address, bound, retries) = (Rc::clone(address), false, Backoff::default());
            Some(Box::new(OnDemandListener { address, bound, retries }))
        }
        OnDemand::No | OnDemand::Fault(_) => None,
    }
}
