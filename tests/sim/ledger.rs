//! The invariants: what must hold whatever happens, kept in books of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use liege::types::exit_status::ExitStatus;
use liege::types::moment::Moment;

use liege::state::life::{Life, LifePhase};
use liege::state::realm::Realm;
use liege::state::stale::Stale;
use liege::state::vassal::{AfterStop, Hold, HoldReason, Phase, Vassal};
use liege::state::{
    Effect, Event, Key, LifeEvent, LifeId, Note, OnDemand, Order, Rules, VassalId, VassalMessage,
};
use liege::types::purpose::Purpose;

use crate::world::{Rare, World};

/// What the realm looked like before an event.
pub struct Before(BTreeMap<VassalId, Seen>);

struct Seen {
    key: Key,
    kind: Kind,
    until: Option<Moment>,
    throttled: bool,
    /// It waits for a base, or for the address of another, which may come before the hold ends.
    base: bool,
    current: Option<LifeId>,
    /// The current life runs, and nobody has told it to stop.
    up: bool,
    overdue: Option<Moment>,
    other: Option<LifeId>,
    /// Its lives that were cancelled and have no process yet.
    cancelled: Vec<LifeId>,
    /// Its deaths, of all time and those that are not forgiven.
    deaths: (u32, u32),
    address: Option<String>,
    custody: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Held,
    Waiting,
    Starting,
    Running,
    Replacing,
    Retiring,
    Stopping,
}

/// What has happened, as far as the invariants need it.
pub struct Ledger {
    pub rules: Rules,
    lives: BTreeSet<LifeId>,
    /// No verdict yet: they hold a place in the start budget while they are young.
    undecided: BTreeMap<LifeId, Moment>,
    refused: BTreeSet<LifeId>,
    /// What the spawner or a base is asked for, and is not answered or not proved.
    requests: BTreeMap<LifeId, Request>,
    /// The order for all that is being carried out.
    pub swept: Option<Event>,
    decided: BTreeSet<LifeId>,
    cursed: BTreeMap<LifeId, Moment>,
    killed: BTreeMap<LifeId, Moment>,
    /// Asked to reload because their heartbeat was missing.
    silent: BTreeMap<LifeId, Moment>,
    loyal: BTreeSet<LifeId>,
    books: BTreeMap<VassalId, Book>,
    /// The last start that has waited in the throttle, and whether the budget was ever used up.
    throttled: Option<Moment>,
    contended: bool,
    ragnarok: Option<Moment>,
    left: Option<u8>,
}

/// One process that is asked for.
struct Request {
    /// When the answer, or its proof, must be there.
    until: Moment,
    of_base: bool,
}

/// What one vassal has earned.
#[derive(Default)]
struct Book {
    deaths: u32,
    penalty_ends: Option<Moment>,
    /// The file that the last process or reload order was given.
    read: i64,
    forks_failed: u32,
    binds_failed: u32,
}

impl Before {
    pub fn look(realm: &Realm) -> Self {
        Self(realm.vassals().map(|vassal| (vassal.id, Seen::of(vassal))).collect())
    }

    fn waits(&self, id: VassalId) -> bool {
        self.0.get(&id).is_some_and(|seen| seen.kind == Kind::Waiting)
    }

    fn owner(&self, life: LifeId) -> Option<&Seen> {
        self.0.values().find(|seen| seen.current == Some(life) || seen.other == Some(life))
    }
}

impl Seen {
    fn of(vassal: &Vassal) -> Self {
        let (until, throttled) = match &vassal.phase {
            Phase::Held(hold) => (hold.until, hold.reason == HoldReason::Throttle),
            _ => (None, false),
        };
        let current = vassal.current();
        Self {
            key: vassal.key.clone(),
            kind: kind(&vassal.phase),
            until,
            throttled,
            base: matches!(&vassal.phase, Phase::Held(hold) if matches!(hold.reason, HoldReason::Base(_) | HoldReason::AddressTaken(..))),
            current: current.map(|life| life.id),
            up: current.is_some_and(|life| {
                matches!(life.phase, LifePhase::Running(_)) || life.is_fallback()
            }),
            overdue: current.and_then(Life::deadline).map(|(at, _)| at),
            other: vassal.other().map(|life| life.id),
            cancelled: current
                .into_iter()
                .chain(vassal.other())
                .filter(|life| life.is_asked() && life.is_cursed())
                .map(|life| life.id)
                .collect(),
            deaths: deaths(vassal),
            address: vassal.address().map(str::to_owned),
            custody: vassal.address().is_some()
                || current.is_some_and(|life| life.settings.listeners > 0),
        }
    }
}

fn deaths(vassal: &Vassal) -> (u32, u32) {
    (vassal.history.deaths, vassal.penalty.deaths())
}

fn kind(phase: &Phase) -> Kind {
    match phase {
        Phase::Held(_) => Kind::Held,
        Phase::Listening => Kind::Waiting,
        Phase::Starting(_) => Kind::Starting,
        Phase::Running { .. } => Kind::Running,
        Phase::Replacing { .. } => Kind::Replacing,
        Phase::Draining { .. } => Kind::Retiring,
        Phase::Stopping { .. } => Kind::Stopping,
    }
}

impl Ledger {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            lives: BTreeSet::new(),
            undecided: BTreeMap::new(),
            refused: BTreeSet::new(),
            requests: BTreeMap::new(),
            swept: None,
            decided: BTreeSet::new(),
            cursed: BTreeMap::new(),
            killed: BTreeMap::new(),
            silent: BTreeMap::new(),
            loyal: BTreeSet::new(),
            books: BTreeMap::new(),
            throttled: None,
            contended: false,
            ragnarok: None,
            left: None,
        }
    }

    pub fn has_left(&self) -> bool {
        self.left.is_some()
    }

    /// As long as the worst honest way from any state to running can take.
    pub fn patience(&self) -> Duration {
        let rules = &self.rules;
        let one = rules.stage_timeout + rules.start_timeout + rules.required_heartbeat;
        rules.max_throttle * 2 + one * 2 + rules.curse_tolerance * 6 + Duration::from_secs(240)
    }

    // Effects.

    pub fn check_effect(world: &mut World, before: &Before, event: &Event, effect: &Effect) {
        assert!(
            world.ledger.left.is_none() || matches!(effect, Effect::Forget(_) | Effect::Note(..)),
            "{effect:?} after leaving"
        );
        match effect {
            Effect::Bind(id, address) => check_bind(world, before, event, (*id, address)),
            Effect::Unbind(id) => check_unbind(world, *id),
            Effect::Watch(id) => check_watch(world, *id, true),
            Effect::Unwatch(id) => check_watch(world, *id, false),
            Effect::Spawn(id, life, purpose) => {
                check_spawn(world, before, event, (*id, *life, *purpose));
                world.ledger.book_request(*life, world.now, false);
            }
            Effect::Ask(id, life) => {
                let asked = world.realm.vassal(*id).is_some_and(|vassal| is_asked(vassal, world));
                assert!(asked, "{id:?} is asked from a base");
                check_spawn(world, before, event, (*id, *life, Purpose::Start));
                world.ledger.book_request(*life, world.now, true);
            }
            Effect::EndRequest(life, _) => {
                let request = world.ledger.requests.remove(life);
                let over = request.is_some_and(|request| request.until <= world.now);
                assert!(over, "the request for {life:?} is cut short");
            }
            Effect::Tell(life, order) => {
                check_alive(world, *life);
                if *order == Order::Reload {
                    Self::reads(world, world.kernel.processes[life].vassal);
                }
                if matches!(order, Order::Stop | Order::StopGracefully) {
                    check_cause(world, before, event, *life);
                    world.ledger.cursed.entry(*life).or_insert(world.now);
                }
            }
            Effect::Signal(life, signal, _) => {
                check_alive(world, *life);
                let process = &world.kernel.processes[life];
                if process.program.settings.reload_signal.map(i32::from) == Some(*signal) {
                    Self::reads(world, process.vassal);
                }
            }
            Effect::Kill(life) => {
                check_alive(world, *life);
                check_cause(world, before, event, *life);
                world.ledger.cursed.insert(*life, world.now);
                world.ledger.killed.insert(*life, world.now);
            }
            Effect::ProbeAccepting(id, life) => {
                check_alive(world, *life);
                let process = &world.kernel.processes[life];
                assert_eq!(process.vassal, *id, "{life:?} is looked at for another");
                let vassal = world.realm.vassal(*id).expect("nobody is looked at");
                let lives = vassal.current().into_iter().chain(vassal.other());
                let known = lives.filter(|one| one.id == *life).all(|one| one.is_accepting());
                assert!(!known, "{life:?} is looked at, and known to accept");
                let has_some = process.program.settings.listeners > 0 || vassal.address().is_some();
                assert!(has_some, "{life:?} is looked at, and has no listeners");
            }
            Effect::TakeCustody(id, life) => {
                check_alive(world, *life);
                assert_eq!(world.kernel.processes[life].vassal, *id, "custody of a stranger");
                assert!(world.ledger.decided.contains(life), "custody before the verdict");
            }
            Effect::Forget(id) => {
                let left = world.kernel.lives_of(*id) > 0;
                assert!(!left, "{id:?} is forgotten with a life left");
                assert!(world.realm.vassal(*id).is_none(), "{id:?} is forgotten and still there");
                world.ledger.books.remove(id);
            }
            Effect::StopHook(id, _) => {
                let is_reaped = matches!(event, Event::Life(_, LifeEvent::Exited(_)));
                assert!(is_reaped, "{id:?}: a stop hook for a life that has not ended");
            }
            Effect::KillHooks => assert!(world.ledger.ragnarok.is_some(), "hooks are killed"),
            Effect::Note(id, _, note) => check_note(world, before, *id, note),
            Effect::Notice(_) => {}
            Effect::Leave(status) => check_leave(world, *status),
        }
    }

    fn book_request(&mut self, life: LifeId, now: Moment, of_base: bool) {
        let until = now + self.rules.answer_timeout;
        self.requests.insert(life, Request { until, of_base });
    }

    /// A process that nobody wants any more is ended as soon as it is there; and where there is none, nobody is to
    /// blame for it.
    pub fn check_answer(world: &mut World, before: &Before, event: &Event, effects: &[Effect]) {
        let Event::Life(life, answer) = event else { return };
        let Some(seen) = before.owner(*life) else { return };
        let is_cancelled = seen.cancelled.contains(life);
        match answer {
            LifeEvent::Spawned(_) if is_cancelled => {
                world.seen.insert(Rare::LateBirth);
                // The program of a base's child runs already, so it is asked politely first.
                let stop = |order: &Order| *order != Order::Reload;
                let is_adopted = world.ledger.decided.contains(life);
                let ends = |effect: &Effect| match effect {
                    Effect::Kill(killed) => killed == life,
                    Effect::Tell(told, order) => is_adopted && told == life && stop(order),
                    _ => false,
                };
                assert!(effects.iter().any(ends), "{life:?} is born after all, and goes on");
            }
            LifeEvent::SpawnFailed(_) | LifeEvent::BaseNotReady(_) => {
                let vassal = world.realm.named_id(&seen.key).and_then(|id| world.realm.vassal(id));
                if is_cancelled {
                    world.seen.insert(Rare::CancelledFailure);
                }
                let Some(vassal) = vassal else { return };
                assert_eq!(deaths(vassal), seen.deaths, "{life:?} was not born, and is mourned");
                let hold = match &vassal.phase {
                    Phase::Held(hold) => Some(hold),
                    Phase::Running { due, .. } => due.as_deref(),
                    _ => None,
                };
                let held = hold.is_some_and(|hold| {
                    matches!(hold.reason, HoldReason::Resource(_) | HoldReason::Base(_))
                });
                assert!(
                    held || is_cancelled || seen.kind != Kind::Starting,
                    "{life:?} was not born, and that is not said"
                );
            }
            _ => {}
        }
    }

    /// A process of this vassal reads its file now.
    pub fn reads(world: &mut World, id: VassalId) {
        let modified = world.realm.vassal(id).map_or(0, |vassal| vassal.file.modified);
        world.ledger.books.entry(id).or_default().read = modified;
    }

    /// Books of what the event itself says; the realm has met it already.
    pub fn book_event(world: &mut World, before: &Before, event: &Event) {
        let now = world.now;
        let ledger = &mut world.ledger;
        match event {
            Event::Found { key, .. } | Event::Changed { key, .. } => {
                if let Some(vassal) =
                    world.realm.named_id(key).and_then(|id| world.realm.vassal(id))
                {
                    let book = ledger.books.entry(vassal.id).or_default();
                    if before
                        .0
                        .get(&vassal.id)
                        .is_some_and(|seen| seen.address.as_deref() != vassal.address())
                    {
                        book.binds_failed = 0;
                    }
                    if ledger.ragnarok.is_none() {
                        book.deaths = 0;
                        book.penalty_ends = None;
                        book.forks_failed = 0;
                    }
                }
            }
            Event::ForgetBlacklist => {
                for book in ledger.books.values_mut() {
                    book.deaths = 0;
                    book.penalty_ends = None;
                }
            }
            Event::Ragnarok | Event::RagnarokNow => {
                let mercy = match event {
                    Event::Ragnarok => ledger.rules.reload_mercy,
                    _ => Duration::ZERO,
                };
                let end = now + mercy;
                ledger.ragnarok = Some(ledger.ragnarok.map_or(end, |old| old.min(end)));
            }
            Event::Life(life, event) => {
                ledger.after_life(&world.realm, (*life, event), before, now)
            }
            Event::ListenerRefused(id, _) => {
                check_refusal(world, *id);
            }
            Event::ListenerLost(id, _) if before.waits(*id) => check_refusal(world, *id),
            Event::Connection(id) if before.waits(*id) => {
                ledger.books.entry(*id).or_default().binds_failed = 0;
            }
            Event::ListenerBound(_)
            | Event::ListenerLost(..)
            | Event::ListenersRenewed(_)
            | Event::Connection(_)
            | Event::Lost(_)
            | Event::OwnerChanged { .. }
            | Event::HookEnded(_)
            | Event::ReloadAll
            | Event::Time => {}
        }
    }

    /// Whether this event does what this order wants, or goes on with it.
    fn is_swept(&self, event: &Event, order: &Event) -> bool {
        event == order || (*event == Event::Time && self.swept.as_ref() == Some(order))
    }

    fn after_life(
        &mut self,
        realm: &Realm,
        (life, event): (LifeId, &LifeEvent),
        before: &Before,
        now: Moment,
    ) {
        let Some(seen) = before.owner(life) else { return };
        let id = realm.named_id(&seen.key);
        let forked = match event {
            LifeEvent::Verdict(..) => {
                self.decided.insert(life);
                true
            }
            LifeEvent::StatusClosed => {
                self.decided.insert(life);
                // Without a verdict nothing has run, so the kernel may still be at its limit.
                id.is_some_and(|id| runs(realm, id, life))
            }
            LifeEvent::StartFailed(_) | LifeEvent::AddressTaken(..) => {
                self.refused.insert(life);
                self.undecided.remove(&life);
                false
            }
            LifeEvent::Spawned(_) => {
                let of_base = self.requests.remove(&life).is_some_and(|request| request.of_base);
                if of_base {
                    self.decided.insert(life);
                    self.undecided.remove(&life);
                }
                of_base
            }
            LifeEvent::Answered => {
                if let Some(request) = self.requests.get_mut(&life) {
                    request.until = now + self.rules.claim_timeout;
                }
                false
            }
            LifeEvent::Exited(_) | LifeEvent::SpawnFailed(_) | LifeEvent::BaseNotReady(_) => {
                self.requests.remove(&life);
                assert!(self.lives.remove(&life), "{life:?} is reaped twice");
                assert!(realm.vassal_of(life).is_none(), "{life:?} is reaped and still known");
                self.undecided.remove(&life);
                self.cursed.remove(&life);
                self.killed.remove(&life);
                self.silent.remove(&life);
                false
            }
            LifeEvent::Message(..) => {
                self.silent.remove(&life);
                false
            }
            LifeEvent::PipeClosed
            | LifeEvent::Unreachable
            | LifeEvent::SeenAccepting
            | LifeEvent::Daemonized(_) => false,
        };
        if matches!(event, LifeEvent::Verdict(..) | LifeEvent::StatusClosed) {
            self.undecided.remove(&life);
        }
        let Some(id) = id else { return };
        let book = self.books.entry(id).or_default();
        if forked {
            book.forks_failed = 0;
        }
        // A loyal life is believed again with each word, until it is told to stop.
        if matches!(event, LifeEvent::Message(..))
            && self.loyal.contains(&life)
            && runs(realm, id, life)
        {
            book.deaths = 0;
        }
        if matches!(event, LifeEvent::BaseNotReady(_)) {
            let held = realm.vassal(id).map(|vassal| &vassal.phase);
            if let Some(Phase::Held(hold)) = held
                && matches!(hold.reason, HoldReason::Base(_))
            {
                let wait = hold.until.map(|until| until.saturating_duration_since(now));
                let (least, most) = (Duration::from_millis(50), Duration::from_secs(1));
                assert!(
                    wait >= Some(least) && wait <= Some(most),
                    "the pause for a base: {wait:?}"
                );
            }
        }
        if matches!(event, LifeEvent::SpawnFailed(_)) {
            let wait =
                Duration::from_secs(1 << book.forks_failed.min(5)).min(Duration::from_secs(30));
            book.forks_failed += 1;
            let hold = realm.vassal(id).and_then(|vassal| match &vassal.phase {
                Phase::Held(hold) => Some(hold),
                Phase::Running { due, .. } => due.as_deref(),
                _ => None,
            });
            if let Some(Hold { reason: HoldReason::Resource(_), until, .. }) = hold {
                assert_eq!(*until, Some(now + wait), "the pause after a failed fork");
            }
        }
    }

    /// Books of what can be seen of each vassal.
    pub fn follow(&mut self, realm: &Realm, now: Moment) {
        for vassal in realm.vassals() {
            let book = self.books.entry(vassal.id).or_default();
            for life in vassal.current().into_iter().chain(vassal.other()) {
                // One that is spared has all the time it wants; then it has the tolerance again.
                if life.is_fallback() {
                    self.cursed.remove(&life.id);
                } else if matches!(life.phase, LifePhase::Cursed { .. }) {
                    self.cursed.entry(life.id).or_insert(now);
                }
                if life.is_loyal() && self.loyal.insert(life.id) {
                    book.deaths = 0;
                }
            }
            // Another life has taken over from the dead one, or a newer file is to be read at once.
            let served = match &vassal.phase {
                Phase::Held(_) => false,
                Phase::Stopping { then, .. } => matches!(then, AfterStop::Start(_)),
                _ => true,
            };
            if served {
                book.penalty_ends = None;
            }
        }
    }

    // The whole world, after each turn.

    pub fn check_world(world: &World) {
        assert_eq!(world.realm.internal_errors(), 0, "a row has failed");
        check_counts(world);
        let on_time = world.realm.deadline().is_none_or(|at| at > world.now);
        let mut known = BTreeSet::new();
        let lives = world.realm.vassals().flat_map(|v| v.current().into_iter().chain(v.other()));
        let known_cursed: BTreeSet<LifeId> =
            lives.filter(|life| life.is_cursed()).map(|life| life.id).collect();
        for vassal in world.realm.vassals() {
            known.extend(check_vassal(world, vassal));
        }
        let real: BTreeSet<LifeId> = world.kernel.lives().collect();
        if world.ledger.left.is_none() {
            assert_eq!(known, real, "lives that the realm knows, and processes that there are");
        }
        if world.ledger.ragnarok.is_none() && world.ledger.rules.stage {
            world.realm.vassals().for_each(|vassal| check_edition(world, vassal));
        }
        for (id, listener) in &world.kernel.listeners {
            let vassal = world.realm.vassal(*id).expect("a listener without a vassal");
            assert_eq!(
                vassal.address(),
                Some(listener.address.as_str()),
                "{id:?} listens elsewhere"
            );
            let waits = matches!(vassal.phase, Phase::Listening);
            assert_eq!(listener.watched, waits, "{id:?} is polled exactly while it waits");
        }
        if on_time {
            for (life, request) in &world.ledger.requests {
                let open = world.now < request.until || world.ledger.left.is_some();
                assert!(open, "the request for {life:?} does not end");
            }
            for (life, since) in &world.ledger.silent {
                let limit = *since + world.ledger.rules.curse_tolerance;
                let cursed = known_cursed.contains(life);
                assert!(world.now < limit || cursed, "{life:?} is silent and not killed");
            }
            for (life, since) in &world.ledger.cursed {
                let limit = *since + world.ledger.rules.curse_tolerance;
                assert!(
                    world.now < limit || world.ledger.left.is_some(),
                    "{life:?} is not killed though it does not stop"
                );
            }
        }
    }

    /// In a world at peace every vassal with a good file is up, and no other is left: gives one
    /// that is not as it should be yet.
    pub fn who_waits(world: &World) -> Option<String> {
        let stray = world.realm.vassals().find(|vassal| !world.files.contains_key(&vassal.key));
        if let Some(stray) = stray {
            return Some(format!("the end of {stray:?}"));
        }
        for (key, content) in &world.files {
            let id = world.realm.named_id(key).expect("a file without a vassal");
            let vassal = world.realm.vassal(id).expect("a name without a vassal");
            let shut_out = match (&vassal.phase, vassal.address()) {
                (Phase::Held(hold), Some(address))
                    if matches!(hold.reason, HoldReason::Address(_)) =>
                {
                    world.kernel.listeners.values().any(|listener| listener.address == address)
                }
                // Its last life has ended for good, as the file of that life has said.
                (Phase::Held(hold), _) => matches!(hold.reason, HoldReason::Finished(_)),
                _ => false,
            };
            if !content.is_good() || shut_out {
                continue;
            }
            let read = world.ledger.books.get(&id).map_or(0, |book| book.read);
            let up = match &vassal.phase {
                Phase::Running { current, due: None } => {
                    let staged = world.ledger.rules.stage && !is_asked(vassal, world);
                    // What has failed once, before there was peace, waits for the next change.
                    let refused = matches!(vassal.stale(), Some(Stale::Refused(_)));
                    assert!(refused || vassal.stale().is_none(), "{id:?} is at peace");
                    let obeys = *current.settings == content.program.settings;
                    read == vassal.file.modified && (!staged || refused || obeys)
                }
                _ => matches!(vassal.phase, Phase::Listening),
            };
            let queue = world.kernel.listeners.get(&id).map_or(0, |listener| listener.queue);
            if !up || queue > 0 {
                return Some(format!("{queue} clients of {vassal:?}"));
            }
        }
        None
    }

    pub fn check_end(world: &World) {
        let ledger = &world.ledger;
        let end = ledger.ragnarok.expect("ragnarok") + Duration::from_secs(1);
        assert!(world.now <= end, "ragnarok has taken longer than the mercy and a second");
        if ledger.left == Some(0) {
            assert!(world.realm.is_empty(), "vassals are left");
            assert!(world.kernel.lives().next().is_none(), "lives are left");
            assert!(world.kernel.listeners.is_empty(), "listeners are left");
        }
    }
}

/// A life that runs is what its file says, or that it is not is shown.
fn check_edition(world: &World, vassal: &Vassal) {
    let id = vassal.id;
    let (Phase::Running { current, .. }
    | Phase::Replacing { current, .. }
    | Phase::Draining { current, .. }) = &vassal.phase
    else {
        return assert_eq!(vassal.stale(), None, "{id:?} does not run");
    };
    assert_ne!(vassal.stale(), Some(Stale::Changed), "{id:?}: nobody sees to its new file");
    let process = world.kernel.processes.get(&current.id);
    let (Some(process), Some(file)) = (process, world.files.get(&vassal.key)) else { return };
    let same = process.program.fingerprint() == file.program.fingerprint();
    if !is_asked(vassal, world) && vassal.stale().is_none() {
        assert!(same, "{id:?} runs what its file does not say, and does not show it");
    }
}

fn runs(realm: &Realm, id: VassalId, life: LifeId) -> bool {
    let vassal = realm.vassal(id);
    let mut lives = vassal.into_iter().flat_map(|v| v.current().into_iter().chain(v.other()));
    lives.any(|other| other.id == life && other.is_running())
}

fn check_alive(world: &World, life: LifeId) {
    let born = world.kernel.processes.contains_key(&life);
    let known = !world.kernel.talks.contains_key(&life);
    assert!(born && known, "{life:?} is reaped, or was never born");
}

fn check_watch(world: &World, id: VassalId, on: bool) {
    let listener = world.kernel.listeners.get(&id).expect("polls a listener that is not there");
    assert_ne!(listener.watched, on, "{id:?} is polled, or not, as it was before");
}

fn check_bind(world: &World, before: &Before, event: &Event, (id, address): (VassalId, &str)) {
    assert!(!world.kernel.listeners.contains_key(&id), "{id:?} binds a second listener");
    let told = OnDemand::Address(address.into());
    assert_eq!(world.on_demand(id), Some(&told), "{id:?} binds what its file does not say");
    check_hold(world, before, event, id);
}

/// A hold ends at its time, or by something that ends it.
fn check_hold(world: &World, before: &Before, event: &Event, id: VassalId) {
    let until = before.0.get(&id).filter(|seen| !seen.base).and_then(|seen| seen.until);
    let ends = matches!(event, Event::Found { .. } | Event::Changed { .. })
        || world.ledger.is_swept(event, &Event::ForgetBlacklist);
    assert!(ends || until.is_none_or(|until| until <= world.now), "{id:?} acts before its time");
}

fn check_unbind(world: &World, id: VassalId) {
    let listener = world.kernel.listeners.get(&id).expect("closes a listener that is not there");
    let moved = match world.on_demand(id) {
        Some(OnDemand::Address(address)) => **address != *listener.address,
        Some(OnDemand::No) => true,
        Some(OnDemand::Fault(_)) | None => false,
    };
    assert!(moved || listener.dead, "{id:?} loses its listener, and {} clients", listener.queue);
}

fn check_refusal(world: &mut World, id: VassalId) {
    let Some(vassal) = world.realm.vassal(id) else { return };
    let book = world.ledger.books.entry(id).or_default();
    let wait = Duration::from_millis(50 << book.binds_failed.min(10)).min(Duration::from_secs(10));
    book.binds_failed += 1;
    let Phase::Held(hold) = &vassal.phase else { panic!("{id:?} goes on without its listener") };
    assert_eq!(hold.until, Some(world.now + wait), "the pause after a refused address");
}

fn check_spawn(
    world: &mut World,
    before: &Before,
    event: &Event,
    (id, life, purpose): (VassalId, LifeId, Purpose),
) {
    check_hold(world, before, event, id);
    let now = world.now;
    assert!(world.ledger.ragnarok.is_none(), "a start in ragnarok");
    assert!(world.ledger.lives.insert(life), "{life:?} is born twice");
    match world.on_demand(id) {
        Some(OnDemand::Address(_)) => {
            assert!(world.kernel.listeners.contains_key(&id), "{id:?} starts without its socket");
        }
        Some(OnDemand::No) => {}
        other => panic!("{id:?} starts with {other:?}"),
    }
    let lives = world.kernel.lives_of(id);
    let vassal = world.realm.vassal(id).expect("a start of nobody");
    let most = match vassal.phase {
        Phase::Starting(_) => 0,
        Phase::Replacing { .. } => 1,
        _ => panic!("{id:?} starts, and is {:?}", kind(&vassal.phase)),
    };
    assert_eq!(lives, most, "{id:?} has {lives} lives before its start");
    assert!(purpose == Purpose::Start || most == 1, "{id:?} checks its file without a life");
    let seen = before.0.get(&id);
    let ledger = &mut world.ledger;
    let waited = seen.is_some_and(|seen| matches!(seen.kind, Kind::Held));
    let ends = ledger.books.entry(id).or_default().penalty_ends.filter(|_| waited);
    let forgiven = matches!(event, Event::Changed { .. } | Event::Found { .. })
        || ledger.is_swept(event, &Event::ForgetBlacklist);
    assert!(forgiven || ends.is_none_or(|ends| ends <= now), "{id:?} comes too soon after a death");
    // The start budget.
    ledger.undecided.insert(life, now);
    let young = |born: &&Moment| **born + Duration::from_secs(1) > now;
    let starting = ledger.undecided.values().filter(young).count();
    let most = ledger.rules.max_starting;
    assert!(starting <= most, "{starting} lives start at once");
    if starting == most {
        ledger.contended = true;
    }
    // The throttle.
    let fresh = seen.is_none() && matches!(event, Event::Found { is_initial: false, .. });
    if seen.is_some_and(|seen| seen.throttled)
        || (fresh && world.realm.vassal(id).is_some_and(|v| v.address().is_none()))
    {
        check_throttle(ledger, id, now);
    }
}

/// Its lives come from a fork server.
fn is_asked(vassal: &Vassal, world: &World) -> bool {
    world.ledger.rules.fork_server && !vassal.is_base
}

fn check_throttle(ledger: &mut Ledger, id: VassalId, now: Moment) {
    let rules = &ledger.rules;
    let gap = rules.throttle.min(rules.max_throttle).min(Duration::from_secs(1));
    // Where slots are scarce too, a start comes later than it left the throttle.
    let judged = ledger.rules.throttle_burst == 1 && !ledger.contended;
    if let Some(last) = ledger.throttled.filter(|_| judged) {
        assert!(now >= last + gap, "{id:?} comes too soon after the queued start before it");
    }
    ledger.throttled = Some(now);
}

/// A current life that runs is stopped for a good reason only; a bad file is none.
fn check_cause(world: &World, before: &Before, event: &Event, life: LifeId) {
    let Some(seen) = before.owner(life).filter(|seen| seen.current == Some(life) && seen.up) else {
        return;
    };
    let vassal = world.realm.named_id(&seen.key).and_then(|id| world.realm.vassal(id));
    let Some(vassal) = vassal else { return };
    let taken_over = matches!(&vassal.phase, Phase::Draining { old, .. } if old.id == life);
    let asked = is_asked(vassal, world);
    let plain_restart = asked || (!world.ledger.rules.stage && !seen.custody);
    let moved = match &vassal.file.on_demand {
        OnDemand::Address(address) => seen.address.as_deref() != Some(&**address),
        OnDemand::No => seen.address.is_some(),
        OnDemand::Fault(_) => false,
    };
    let reason = match event {
        Event::Time if world.ledger.ragnarok.is_some() => true,
        Event::Time if world.ledger.is_swept(event, &Event::ReloadAll) && plain_restart => true,
        Event::Lost(_) | Event::Ragnarok | Event::RagnarokNow => true,
        Event::Found { .. } | Event::Changed { .. } => moved || plain_restart,
        Event::ReloadAll | Event::ListenersRenewed(_) => plain_restart,
        Event::Time => {
            taken_over || plain_restart || seen.overdue.is_some_and(|at| at <= world.now)
        }
        Event::Life(speaker, LifeEvent::Message(VassalMessage::GoIdle, _)) if *speaker == life => {
            true
        }
        Event::Life(base, LifeEvent::Unreachable) if *base == life => true,
        Event::Life(_, LifeEvent::SeenAccepting) => taken_over,
        Event::Life(_, LifeEvent::Message(..)) => taken_over,
        Event::Life(check, LifeEvent::Exited(_)) => {
            let passed = world.ledger.decided.contains(check)
                && !world.ledger.refused.contains(check)
                && seen.other == Some(*check)
                && seen.kind == Kind::Replacing;
            passed || plain_restart
        }
        _ => false,
    };
    assert!(reason, "{life:?} runs, and is stopped for {event:?}");
}

fn check_note(world: &mut World, before: &Before, id: VassalId, note: &Note) {
    // One of two that replace each other is killed at once.
    if *note == Note::Silent && before.0.get(&id).is_some_and(|s| s.kind != Kind::Replacing) {
        let current = world.realm.vassal(id).and_then(Vassal::current).filter(|l| l.is_running());
        world.ledger.silent.extend(current.map(|life| (life.id, world.now)));
    }
    let Note::Died { exit, loyal, wait, attempt, lived, failed: _, hint: _ } = note else { return };
    let ledger = &mut world.ledger;
    let book = ledger.books.entry(id).or_default();
    let mut expected = Duration::ZERO;
    if !loyal && ledger.rules.blacklist {
        book.deaths += 1;
        expected = (ledger.rules.throttle * book.deaths).min(ledger.rules.max_throttle);
    }
    assert_eq!((*wait, *attempt), (expected, book.deaths), "the penalty of {id:?}");
    // Whatever it has earned, its successor keeps the pace, unless somebody else has killed it.
    let killed = *loyal && *exit == ExitStatus::Signal(9);
    let pace = if killed { Duration::ZERO } else { Duration::from_millis(100) };
    let pace = world.now - *lived + pace;
    book.penalty_ends = Some(pace.max(world.now + expected));
}

fn check_leave(world: &mut World, status: u8) {
    assert!(world.ledger.left.replace(status).is_none(), "leaves twice");
    // Also a talk that was given up for it just now.
    let empty = world.ledger.lives.is_empty();
    assert_eq!(status == 0, empty, "leaves with {status}");
    let mercy_ends = world.ledger.ragnarok;
    let kills_end = mercy_ends.map(|at| at + Duration::from_secs(1));
    assert!(
        empty || kills_end.is_some_and(|at| at <= world.now),
        "leaves before the killed can go"
    );
    let born = |life: &&LifeId| !world.kernel.talks.contains_key(life);
    for life in world.kernel.processes.keys().filter(born) {
        let killed = world.ledger.killed.get(life).copied();
        assert!(killed >= mercy_ends, "{life:?} is left behind and was not killed");
    }
}

/// One vassal: its lives have the phases that its phase wants, and whatever must end has a deadline.
fn check_vassal(world: &World, vassal: &Vassal) -> Vec<LifeId> {
    let id = vassal.id;
    let timed = |life: &Life| {
        assert!(life.deadline().is_some(), "{id:?}: {:?} may last for ever", life.id);
        life.id
    };
    let cursed = |life: &Life| {
        assert!(life.is_cursed(), "{id:?}: {:?} is not told to stop", life.id);
        timed(life)
    };
    let up = |life: &Life| {
        assert!(matches!(life.phase, LifePhase::Running(_)), "{id:?}: {:?} does not run", life.id);
        life.id
    };
    let hold = |hold: &Hold| match &hold.reason {
        HoldReason::Finished(_) => {}
        HoldReason::Address(_) if matches!(vassal.file.on_demand, OnDemand::Fault(_)) => {}
        HoldReason::InternalError => panic!("{id:?}: a row has failed"),
        // It is over in the turn that starts it, in this world.
        HoldReason::StopHook => panic!("{id:?} waits for a hook that is over"),
        HoldReason::Throttle | HoldReason::Budget => {
            assert!(world.realm.deadline().is_some(), "{id:?} waits in a queue for ever");
        }
        HoldReason::Penalty
        | HoldReason::Resource(_)
        | HoldReason::Base(_)
        | HoldReason::Address(_)
        | HoldReason::AddressTaken(..)
        | HoldReason::RestartInterval => {
            assert!(hold.until.is_some(), "{id:?} is held for ever: {:?}", hold.reason);
        }
    };
    if let Some(at) = vassal.deadline() {
        assert!(world.realm.deadline().is_some_and(|first| first <= at), "{id:?} is not woken");
    }
    match &vassal.phase {
        Phase::Held(held) => {
            hold(held);
            vec![]
        }
        Phase::Listening => vec![],
        Phase::Starting(life) => vec![timed(life)],
        Phase::Running { current, due } => {
            due.iter().for_each(|due| hold(due));
            if current.is_fallback() {
                assert!(due.is_some() || vassal.stale().is_some(), "{id:?} has no successor");
                return vec![current.id];
            }
            vec![up(current)]
        }
        Phase::Replacing { current, next, .. } => vec![current.id, timed(next)],
        Phase::Draining { current, old, .. } => vec![up(current), cursed(old)],
        Phase::Stopping { life, other, .. } => {
            let other = other.as_deref().map(cursed);
            std::iter::once(cursed(life)).chain(other).collect()
        }
    }
}

/// The counts that are kept up to date are those of a walk through all.
fn check_counts(world: &World) {
    let counts = world.realm.counts();
    let fails = |vassal: &&Vassal| vassal.history.last_error.is_some();
    let runs =
        |vassal: &&Vassal| vassal.current().is_some_and(|life| life.has_run() || !fails(vassal));
    let running = world.realm.vassals().filter(runs).count();
    let failing = world.realm.vassals().filter(fails).count();
    assert_eq!((counts.running, counts.failing), (running, failing), "the counts are wrong");
}
