//! All vassals, with what they share: throttle, start budget, deadlines, ragnarok.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::context::{Outbox, RealmRequest, StepContext};
use super::deadline_queue::DeadlineQueue;
use super::life::Life;
use super::start_queue::{Queue, StartQueue};
use super::vassal::Vassal;
use super::{Effect, Event, File, Key, LifeEvent, LifeId, Note, Rules, VassalId};
use crate::types::moment::Moment;
use crate::types::purpose::Purpose;
use sweep::{SweepKind, Sweeps};

pub(super) mod sweep;
mod wait_notices;

use wait_notices::WaitNotices;

/// After the mercy everything is killed; what the kernel does not give back by then is left to it.
const FINAL_KILL_WAIT: Duration = Duration::from_secs(1);
/// Exit status of an emperor that had to leave processes behind.
const EXIT_PROCESSES_LEFT: u8 = 1;

/// All vassals.
#[derive(Debug)]
pub struct Realm {
    pub(super) rules: Rules,
    pub(super) vassals: BTreeMap<VassalId, Box<Vassal>>,
    /// All vassals, in the order of their keys.
    pub(super) by_key: Vec<VassalId>,
    /// Living processes with their vassals. Sorted by [`LifeId`].
    pub(super) lives: Vec<(LifeId, VassalId)>,
    pub(super) deadlines: DeadlineQueue,
    pub(super) queue: StartQueue,
    /// The number of stop hooks that are not over, for each key.
    pub(super) hooks: HashMap<Key, usize>,
    pub(super) counts: Counts,
    pub(super) sweeps: Sweeps,
    /// Vassals that wait for an address of another vassal.
    blocked: BTreeSet<VassalId>,
    last_vassal: u64,
    last_life: u64,
    pub(super) ragnarok: Option<Ragnarok>,
    notices: WaitNotices,
    internal_errors: u64,
    #[cfg(any(test, debug_assertions))]
    fails_next: bool,
}

/// The numbers for the service manager, kept up to date with each row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Vassals with a process; a check or a replacement is a second one of the same vassal. One that has
    /// failed to start does not count with each new try, but when its program runs.
    pub running: usize,
    /// Vassals with a `last_error`.
    pub failing: usize,
}

impl Counts {
    pub(super) fn of(vassal: &Vassal) -> Self {
        let failing = vassal.history.last_error.is_some();
        let tries = failing && vassal.current().is_some_and(|life| !life.has_run());
        Self {
            running: usize::from(vassal.current().is_some() && !tries),
            failing: usize::from(failing),
        }
    }

    pub(super) fn change(&mut self, before: Self, after: Self) {
        self.running = (self.running + after.running).saturating_sub(before.running);
        self.failing = (self.failing + after.failing).saturating_sub(before.failing);
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Ragnarok {
    pub(super) kill_at: Moment,
    pub(super) killed: bool,
    pub(super) left: bool,
}

impl Realm {
    /// A realm without vassals.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            vassals: BTreeMap::new(),
            by_key: Vec::new(),
            lives: Vec::new(),
            deadlines: DeadlineQueue::default(),
            queue: StartQueue::default(),
            hooks: HashMap::new(),
            counts: Counts::default(),
            sweeps: Sweeps::default(),
            blocked: BTreeSet::new(),
            last_vassal: 0,
            last_life: 0,
            ragnarok: None,
            notices: WaitNotices::default(),
            internal_errors: 0,
            #[cfg(any(test, debug_assertions))]
            fails_next: false,
        }
    }

    /// Takes one event, and appends the effects that the emperor must carry out to `out`, in order. When an effect
    /// fails or is answered at once, that event must be given to the state before any other event.
    pub fn step(&mut self, now: Moment, event: Event, out: &mut Vec<Effect>) {
        let first = out.len();
        let mut outbox = self.outbox(now, out);
        match event {
            // What is found or changed in ragnarok comes too late.
            Event::Found { .. } | Event::Changed { .. } if self.ragnarok.is_some() => {}
            Event::Found { key, file, is_initial } => {
                let queue = if is_initial { Queue::Budget } else { Queue::Throttle };
                self.found(key, file, queue, &mut outbox);
            }
            Event::Changed { key, file } => {
                self.apply_to_named(&key, &mut outbox, |vassal, ctx| {
                    vassal.file_changed(file, ctx)
                });
            }
            // Only a tyrant minds; statistics show it.
            Event::OwnerChanged { key, file } => {
                self.apply_to_named(&key, &mut outbox, |vassal, _| vassal.owner_changed(file));
            }
            Event::Lost(key) => self.apply_to_named(&key, &mut outbox, Vassal::file_lost),
            Event::ListenerBound(id) => self.apply(id, &mut outbox, Vassal::listener_bound),
            Event::ListenerRefused(id, why) => {
                self.apply(id, &mut outbox, |vassal, ctx| vassal.listener_refused(why, ctx));
            }
            Event::ListenerLost(id, why) => {
                self.apply(id, &mut outbox, |vassal, ctx| vassal.listener_lost(why, ctx));
            }
            Event::ListenersRenewed(id) => self.apply(id, &mut outbox, Vassal::listeners_renewed),
            Event::Connection(id) => self.apply(id, &mut outbox, Vassal::connection),
            Event::Life(id, event) => self.apply_life_event(id, event, &mut outbox),
            Event::HookEnded(key) => self.hook_ended(&key, &mut outbox),
            Event::ReloadAll => self.sweep(SweepKind::Reload, &mut outbox),
            Event::ForgetBlacklist => self.sweep(SweepKind::ForgetBlacklist, &mut outbox),
            Event::Ragnarok => self.begin_ragnarok(self.rules.reload_mercy, &mut outbox),
            Event::RagnarokNow => self.begin_ragnarok(Duration::ZERO, &mut outbox),
            Event::Time => self.serve_deadlines(&mut outbox),
        }
        self.grant_starts(&mut outbox);
        if !self.blocked.is_empty() {
            self.start_unblocked(first, &mut outbox);
            self.grant_starts(&mut outbox);
        }
        self.log_waits(&mut outbox);
        self.leave_if_empty(out);
    }

    /// When `Event::Time` is due.
    pub fn deadline(&self) -> Option<Moment> {
        let end = self.ragnarok.filter(|end| !end.left).map(|end| end.kill_at);
        let sweep = (!self.sweeps.is_empty()).then_some(Moment::from_nanos(0));
        let starts = self.queue.deadline().filter(|_| self.ragnarok.is_none());
        let own = [sweep, self.deadlines.first(), starts, end, self.notices.deadline()];
        own.into_iter().flatten().min()
    }

    pub(super) fn outbox<'a>(&self, now: Moment, out: &'a mut Vec<Effect>) -> Outbox<'a> {
        Outbox { now, out, requests: Vec::new(), ending: self.ragnarok.is_some() }
    }

    /// How many vassals run and how many have trouble.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Rows that have failed by a fault in liege; each was mended by [`Vassal::rebuild`].
    pub fn internal_errors(&self) -> u64 {
        self.internal_errors
    }

    /// Lets the next row fail, when it has done all it can do wrong: for tests.
    #[cfg(any(test, debug_assertions))]
    pub fn fail_next_row(&mut self) {
        self.fails_next = true;
    }

    /// The numbers it works by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// All vassals, in the order in which they were found.
    pub fn vassals(&self) -> impl Iterator<Item = &Vassal> {
        self.vassals.values().map(|vassal| &**vassal)
    }

    /// All vassals from this one on.
    pub fn vassals_from(&self, first: VassalId) -> impl Iterator<Item = &Vassal> {
        self.vassals.range(first..).map(|(_, vassal)| &**vassal)
    }

    /// One vassal.
    pub fn vassal(&self, id: VassalId) -> Option<&Vassal> {
        self.vassals.get(&id).map(|vassal| &**vassal)
    }

    /// How many vassals there are.
    pub fn len(&self) -> usize {
        self.vassals.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.vassals.is_empty()
    }

    /// Which vassal bears this name.
    pub fn named_id(&self, key: &Key) -> Option<VassalId> {
        self.by_key.get(self.index_of_key(key).ok()?).copied()
    }

    /// The index of a key in [`Realm::by_key`], or the index where it belongs.
    fn index_of_key(&self, key: &Key) -> Result<usize, usize> {
        self.by_key
            .binary_search_by(|id| self.vassal(*id).map(|vassal| &vassal.key).cmp(&Some(key)))
    }

    /// Which vassal a living process belongs to.
    pub fn vassal_of(&self, life: LifeId) -> Option<VassalId> {
        self.lives.get(self.index_of_life(life)?).map(|(_, vassal)| *vassal)
    }

    fn index_of_life(&self, life: LifeId) -> Option<usize> {
        self.lives.binary_search_by_key(&life, |(id, _)| *id).ok()
    }

    /// The present level of the throttle.
    pub fn throttle_level(&self) -> Duration {
        self.queue.throttle_level()
    }

    /// Lives between fork and verdict, as the start budget counts them.
    pub fn starting(&self) -> usize {
        self.queue.starting()
    }

    /// The end has begun.
    pub fn is_ending(&self) -> bool {
        self.ragnarok.is_some()
    }

    fn found(&mut self, key: Key, file: File, queue: Queue, outbox: &mut Outbox<'_>) {
        let Err(index) = self.index_of_key(&key) else {
            return self.apply_to_named(&key, outbox, |vassal, ctx| vassal.file_changed(file, ctx));
        };
        self.last_vassal += 1;
        let id = VassalId(self.last_vassal);
        self.by_key.insert(index, id);
        self.vassals.insert(id, Box::new(Vassal::new(id, key, file, &self.rules)));
        self.apply(id, outbox, |vassal, ctx| vassal.file_found(queue, ctx));
    }

    /// Vassals that wait for an address which one of the effects from this index on has given back start now.
    fn start_unblocked(&mut self, first: usize, outbox: &mut Outbox<'_>) {
        let effects = outbox.out.get(first..).unwrap_or_default().iter();
        let given_back: Vec<VassalId> = effects
            .filter_map(|effect| match effect {
                Effect::Forget(id) | Effect::Unbind(id) | Effect::TakeCustody(id, _) => Some(*id),
                _ => None,
            })
            .collect();
        let blocked = std::mem::take(&mut self.blocked);
        for id in &blocked {
            for of in &given_back {
                self.apply(*id, outbox, |vassal, ctx| vassal.address_freed(*of, ctx));
            }
        }
        let waits = |id: &VassalId| self.vassal(*id).is_some_and(Vassal::waits_for_address);
        let still = blocked.into_iter().filter(waits).collect();
        self.blocked = still;
    }

    fn apply_life_event(&mut self, id: LifeId, event: LifeEvent, outbox: &mut Outbox<'_>) {
        let is_born = matches!(event, LifeEvent::Spawned(_));
        let Some(vassal) = self.vassal_of(id) else {
            // Its vassal has given it up, by a fault or because nobody has answered in time.
            outbox.out.extend(is_born.then_some(Effect::Kill(id)));
            return;
        };
        let before = self.is_base_up(vassal);
        match &event {
            LifeEvent::Exited(_) => {
                self.stop_hook(vassal, id, outbox);
                self.life_is_over(id);
            }
            LifeEvent::SpawnFailed(_) | LifeEvent::BaseNotReady(_) => self.life_is_over(id),
            LifeEvent::AddressTaken(..) => {
                self.blocked.insert(vassal);
                self.queue.free_slot(id);
            }
            LifeEvent::Verdict(..) | LifeEvent::StartFailed(_) | LifeEvent::StatusClosed => {
                self.queue.free_slot(id);
            }
            LifeEvent::Spawned(_)
            | LifeEvent::Unreachable
            | LifeEvent::Answered
            | LifeEvent::Message(..)
            | LifeEvent::SeenAccepting
            | LifeEvent::PipeClosed
            | LifeEvent::Daemonized(_) => {}
        }
        self.apply(vassal, outbox, |vassal, ctx| vassal.life_event(id, event, ctx));
        if is_born {
            self.life_begins(vassal, id, outbox);
        }
        if !before && self.is_base_up(vassal) {
            self.sweep(SweepKind::BaseReady, outbox);
        }
    }

    /// A life has a process. One that is adopted runs its program already, and needs no slot in the start budget. When
    /// the mercy of ragnarok is over, whatever is born is killed, even if its vassal does not know of the end yet.
    fn life_begins(&mut self, id: VassalId, life: LifeId, outbox: &mut Outbox<'_>) {
        let vassal = self.vassals.get(&id);
        let mut lives = vassal.into_iter().flat_map(|v| [v.current(), v.other()]).flatten();
        if lives.any(|one| one.id == life && one.is_adopted) {
            self.queue.free_slot(life);
        }
        let (is_over, kill) = (self.ragnarok.is_some_and(|end| end.killed), Effect::Kill(life));
        if is_over && outbox.out.last() != Some(&kill) {
            outbox.out.push(kill);
        }
    }

    fn life_is_over(&mut self, id: LifeId) {
        if let Some(index) = self.index_of_life(id) {
            self.lives.remove(index);
        }
        self.queue.free_slot(id);
    }

    /// Whether this vassal is a base, and takes requests.
    fn is_base_up(&self, id: VassalId) -> bool {
        let base = self.vassal(id).filter(|vassal| vassal.is_base);
        base.and_then(Vassal::current).is_some_and(Life::is_accepting)
    }

    /// A life has ended: clears up after it. A check of the file has left nothing.
    fn stop_hook(&mut self, id: VassalId, life: LifeId, outbox: &mut Outbox<'_>) {
        let Some(vassal) = self.vassals.get(&id).filter(|_| self.rules.stop_hook) else { return };
        let mut lives = [vassal.current(), vassal.other()].into_iter().flatten();
        if lives.any(|one| one.id == life && one.purpose == Purpose::Start) {
            let key = vassal.key.clone();
            *self.hooks.entry(key.clone()).or_default() += 1;
            outbox.out.push(Effect::StopHook(id, key));
        }
    }

    fn hook_ended(&mut self, key: &Key, outbox: &mut Outbox<'_>) {
        let Some(count) = self.hooks.get_mut(key) else { return };
        *count -= 1;
        if *count == 0 {
            self.hooks.remove(key);
            self.apply_to_named(key, outbox, Vassal::hook_ended);
        }
    }

    pub(super) fn apply_to_named(
        &mut self,
        key: &Key,
        outbox: &mut Outbox<'_>,
        row: impl FnOnce(&mut Vassal, &mut StepContext<'_>),
    ) {
        if let Some(id) = self.named_id(key) {
            self.apply(id, outbox, row);
        }
    }

    /// Applies a row to a vassal. A panic in it is a bug in liege that must not reach other vassals: what the
    /// row has asked for is dropped, and this vassal is built anew.
    pub(super) fn apply(
        &mut self,
        id: VassalId,
        outbox: &mut Outbox<'_>,
        row: impl FnOnce(&mut Vassal, &mut StepContext<'_>),
    ) {
        let Some(vassal) = self.vassals.get_mut(&id) else { return };
        let before = (Counts::of(vassal), vassal.listens_at());
        let asked = vassal.asked_lives();
        let (effects, requests) = (outbox.out.len(), outbox.requests.len());
        let mut ctx = outbox.context(&self.rules, &mut self.last_life);
        #[cfg(any(test, debug_assertions))]
        let fails = std::mem::take(&mut self.fails_next);
        let done = catch_unwind(AssertUnwindSafe(|| {
            row(vassal, &mut ctx);
            #[cfg(any(test, debug_assertions))]
            if fails {
                vassal.fail();
            }
        }));
        if done.is_err() {
            self.internal_errors += 1;
            ctx.out.truncate(effects);
            ctx.requests.truncate(requests);
            let lives = self.lives.iter().filter(|(_, of)| *of == id);
            let lives = lives.map(|(life, _)| (*life, asked.contains(&Some(*life))));
            vassal.rebuild(lives, before.1, &mut ctx);
        }
        self.deadlines.set(id, vassal.deadline());
        self.counts.change(before.0, Counts::of(vassal));
    }

    fn begin_ragnarok(&mut self, mercy: Duration, outbox: &mut Outbox<'_>) {
        let kill_at = outbox.now + mercy;
        match &mut self.ragnarok {
            // After the kill the deadline is that of leaving, which an order cannot hurry.
            Some(end) if end.killed => {}
            Some(end) => end.kill_at = end.kill_at.min(kill_at),
            None => self.ragnarok = Some(Ragnarok { kill_at, killed: false, left: false }),
        }
        outbox.ending = true;
        self.sweeps.drop_all();
        self.sweep(SweepKind::Lose, outbox);
        self.mercy_ends(outbox);
    }

    fn mercy_ends(&mut self, outbox: &mut Outbox<'_>) {
        let now = outbox.now;
        let Some(end) = self.ragnarok.as_mut().filter(|end| end.kill_at <= now && !end.left) else {
            return;
        };
        if end.killed {
            end.left = true;
            outbox.out.push(Effect::Leave(EXIT_PROCESSES_LEFT));
            return;
        }
        end.killed = true;
        end.kill_at = now + FINAL_KILL_WAIT;
        for vassal in self.vassals.values() {
            let lives = [vassal.current(), vassal.other()].into_iter().flatten();
            let mut born = lives.filter(|life| !life.is_asked()).peekable();
            if born.peek().is_some() {
                let why = "reload-mercy has passed";
                outbox.out.push(Effect::Note(vassal.id, vassal.key.clone(), Note::Killed { why }));
            }
            outbox.out.extend(born.map(|life| Effect::Kill(life.id)));
        }
        if !self.hooks.is_empty() {
            outbox.out.push(Effect::KillHooks);
        }
    }

    fn serve_deadlines(&mut self, outbox: &mut Outbox<'_>) {
        self.go_on_sweeping(outbox);
        for id in self.deadlines.due(outbox.now, self.rules.max_swept) {
            self.apply(id, outbox, Vassal::time_passed);
        }
        self.mercy_ends(outbox);
    }

    /// Serves the requests of vassals and grants starts, until no vassal can start or has a request.
    pub(super) fn grant_starts(&mut self, outbox: &mut Outbox<'_>) {
        let now = outbox.now;
        loop {
            self.take_requests(outbox);
            // Whoever still waits is lost in a moment.
            if outbox.ending {
                return;
            }
            let vassals = &self.vassals;
            let waits = |id, ticket| vassals.get(&id).is_some_and(|v| v.waits_with(ticket));
            let Some((id, ticket)) = self.queue.next(now, &self.rules, waits) else { return };
            let hooks = &self.hooks;
            if self.vassals.get_mut(&id).is_some_and(|vassal| {
                hooks.contains_key(&vassal.key) && vassal.hold_for_hook(ticket)
            }) {
                continue;
            }
            let mut born = None;
            self.apply(id, outbox, |vassal, ctx| born = vassal.start_granted(ticket, ctx));
            if let Some(life) = born {
                self.lives.push((life, id));
                self.queue.take_slot(life, now);
            }
        }
    }

    fn take_requests(&mut self, outbox: &mut Outbox<'_>) {
        let mut forgotten = false;
        for want in std::mem::take(&mut outbox.requests) {
            match want {
                RealmRequest::Start(id, ticket, queue) => {
                    self.queue.push(outbox.now, (id, ticket), queue, &self.rules);
                }
                RealmRequest::Forget(id) => {
                    forgotten = true;
                    self.forget(id, outbox.out);
                }
            }
        }
        let vassals = &self.vassals;
        let waits = |id, ticket| vassals.get(&id).is_some_and(|v| v.waits_with(ticket));
        self.queue.compact(vassals.len(), waits);
        if forgotten {
            self.queue.drop_gone(outbox.now, &self.rules, waits);
        }
    }

    fn forget(&mut self, id: VassalId, out: &mut Vec<Effect>) {
        if let Some(index) = self.vassal(id).and_then(|vassal| self.index_of_key(&vassal.key).ok())
        {
            self.by_key.remove(index);
        }
        if let Some(vassal) = self.vassals.remove(&id) {
            self.deadlines.set(id, None);
            self.counts.change(Counts::of(&vassal), Counts::default());
            out.push(Effect::Forget(id));
        }
    }

    pub(super) fn leave_if_empty(&mut self, out: &mut Vec<Effect>) {
        if let Some(end) = &mut self.ragnarok
            && !end.left
            && self.vassals.is_empty()
            && self.hooks.is_empty()
        {
            end.left = true;
            out.push(Effect::Leave(0));
        }
    }
}
