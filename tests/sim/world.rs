//! The world around a realm: files, people, time and faults; and the shell that does what the realm wants.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use liege::types::exit_status::ExitStatus;
use liege::types::moment::Moment;

use liege::state::realm::Realm;
use liege::state::{
    Effect, Event, File, Key, LifeEvent, LifeId, OnDemand, Rules, SourceId, VassalId,
};
use liege::types::purpose::Purpose;

use crate::kernel::{Birth, Kernel};
use crate::ledger::{Before, Ledger};
use crate::number;
use crate::program::Content;
use crate::rng::Rng;

/// Answers that cause further effects: so many rounds in one turn at most.
const MOST_ROUNDS: usize = 64;
const NAMES: u64 = 7;

/// What is rare and must happen in some world, so that the invariants about it say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rare {
    /// The process of a life comes that was cancelled before.
    LateBirth,
    /// A process has ended before the answer that names it is read, or in the turn of that.
    DeadBirth,
    /// The spawner ends with several open orders.
    SpawnerEnds,
    /// The spawner hangs with several open orders until it is replaced.
    SpawnerHangs,
    /// A life that was cancelled before gets no process.
    CancelledFailure,
}

pub const RARE: [Rare; 5] = [
    Rare::LateBirth,
    Rare::DeadBirth,
    Rare::SpawnerEnds,
    Rare::SpawnerHangs,
    Rare::CancelledFailure,
];

pub struct World {
    pub now: Moment,
    pub realm: Realm,
    pub kernel: Kernel,
    pub files: BTreeMap<Key, Content>,
    pub ledger: Ledger,
    pub events: usize,
    /// Which of [`RARE`] has happened.
    pub seen: BTreeSet<Rare>,
    seed: u64,
    zero: Moment,
    rng: Rng,
    /// Answers are served before the other effects' answers, or after them.
    depth_first: bool,
    /// How many in a hundred programs do what they should.
    decency: u64,
    dead: VecDeque<LifeId>,
    log: VecDeque<(Moment, Line)>,
    memory: usize,
}

/// Whatever fails, an assertion here or a panic in the realm: how to see it again.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}: replay with SIM_SEED={}; the last events:", self.seed, self.seed);
            for (at, line) in &self.log {
                eprintln!(
                    "{:10.3} {line:?}",
                    at.saturating_duration_since(self.zero).as_secs_f64()
                );
            }
        }
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let rules = random_rules(&mut rng);
        let zero = Moment::from_nanos(1_000_000_000_000);
        let mut world = Self {
            now: zero,
            realm: Realm::new(rules.clone()),
            kernel: Kernel::default(),
            files: BTreeMap::new(),
            ledger: Ledger::new(rules),
            events: 0,
            seen: BTreeSet::new(),
            seed,
            zero,
            depth_first: rng.percent(50),
            decency: *rng.pick(&[0, 40, 80, 95]),
            rng,
            dead: VecDeque::new(),
            log: VecDeque::new(),
            memory: number("SIM_LOG").map_or(25, |lines| usize::try_from(lines).unwrap()),
        };
        for _ in 0..world.rng.below(NAMES) {
            world.write_file(true);
        }
        world
    }

    // Events.

    /// One thing happens, whichever.
    pub fn random_event(&mut self) {
        match self.rng.below(100) {
            0..40 => self.deliver_one(),
            40..70 => self.advance(),
            70..78 => self.write_file(false),
            78..82 => self.remove_file(),
            82..87 => self.connect(),
            87..89 => self.event_of_the_dead(),
            89..91 => self.duplicate(),
            91 => self.order_all(Event::ReloadAll),
            92 => self.order_all(Event::ForgetBlacklist),
            93 => self.kernel.fork_fails = self.rng.percent(30),
            94 => self.kernel.base_fails = self.rng.percent(50),
            95..97 => self.kernel.bind_fails = self.rng.percent(30),
            97 if self.rng.percent(50) => self.turn(Event::Time),
            97 => self.shut_down(),
            98 => self.jump(),
            _ => self.upset_spawner(),
        }
        self.check();
    }

    /// No fault and no event of the outside any more, and all the time in the world.
    pub fn calm_down(&mut self) {
        self.kernel.fork_fails = false;
        self.kernel.bind_fails = false;
        self.kernel.base_fails = false;
        if self.rng.percent(50) {
            self.touch_all();
        }
        // Not the first moment, which may be luck.
        let soon = self.now + Duration::from_secs(30);
        let end = soon + self.ledger.patience();
        loop {
            while self.deliver_all() {}
            self.check();
            let waits = Ledger::who_waits(self);
            if waits.is_none() && self.now >= soon {
                return;
            }
            assert!(self.now < end, "waits for ever: {waits:?}");
            self.advance_to(end);
        }
    }

    /// The end, with people who cannot wait, and a world that goes on.
    pub fn ragnarok(&mut self) {
        let first = if self.rng.percent(20) { Event::RagnarokNow } else { Event::Ragnarok };
        self.turn(first);
        self.check();
        let end = self.now + self.ledger.rules.reload_mercy + Duration::from_secs(2);
        while !self.ledger.has_left() {
            assert!(self.now < end, "ragnarok does not end");
            match self.rng.below(40) {
                0 => self.turn(Event::Ragnarok),
                1 => self.turn(Event::RagnarokNow),
                2 => self.order_all(Event::ReloadAll),
                3 => self.write_file(false),
                4 => self.remove_file(),
                5 => self.connect(),
                6 => self.upset_spawner(),
                7..20 => self.deliver_one(),
                _ => {
                    while self.deliver_all() {}
                    if !self.ledger.has_left() {
                        self.advance_to(end);
                    }
                }
            }
            self.check();
        }
        Ledger::check_end(self);
    }

    fn deliver_one(&mut self) {
        let mut ready: Vec<Source> = self.kernel.readable().into_iter().map(Source::Life).collect();
        ready.extend(self.connected().into_iter().map(Source::Listener));
        if ready.is_empty() {
            return self.advance();
        }
        match *self.rng.pick(&ready) {
            Source::Life(life) => self.deliver(life),
            Source::Listener(vassal) => self.look(vassal),
        }
    }

    /// A polled listener is readable.
    fn look(&mut self, vassal: VassalId) {
        let event = match self.kernel.listeners.get(&vassal).is_some_and(|l| l.dead) {
            true => Event::ListenerLost(vassal, "it is shut down".to_owned()),
            false => Event::Connection(vassal),
        };
        self.turn(event);
    }

    fn deliver(&mut self, life: LifeId) {
        let is_dead = self.kernel.died_unheard(life);
        let Some(event) = self.kernel.read(life) else { return };
        let nothing = matches!(event, LifeEvent::SpawnFailed(_) | LifeEvent::BaseNotReady(_));
        if nothing || matches!(event, LifeEvent::Exited(_)) {
            self.bury(life);
        }
        let died = matches!(event, LifeEvent::Spawned(_)) && is_dead;
        self.turn(Event::Life(life, event));
        if died {
            self.seen.insert(Rare::DeadBirth);
            // The end may be read in the same turn.
            while self.rng.percent(70) && self.kernel.processes.contains_key(&life) {
                self.deliver(life);
            }
        }
    }

    /// The spawner is killed, stopped or continued.
    fn upset_spawner(&mut self) {
        match self.rng.below(4) {
            0 => self.kernel.stop_spawner(),
            1 => self.kernel.continue_spawner(self.now),
            _ => {
                let over = self.kernel.end_spawner();
                let failed = self.orders_fail(&over, Rare::SpawnerEnds, "the spawner has ended");
                self.turn_of(failed);
            }
        }
    }

    /// The open orders of a spawner have failed, all in one turn.
    fn orders_fail(&mut self, over: &[LifeId], how: Rare, why: &str) -> Vec<Event> {
        if over.len() > 1 {
            self.seen.insert(how);
        }
        over.iter().for_each(|life| self.bury(*life));
        let failed = |life: &LifeId| Event::Life(*life, LifeEvent::SpawnFailed(why.to_owned()));
        over.iter().map(failed).collect()
    }

    fn bury(&mut self, life: LifeId) {
        self.dead.push_back(life);
        if self.dead.len() > 50 {
            self.dead.pop_front();
        }
    }

    /// Every source that is ready; false if there was none.
    fn deliver_all(&mut self) -> bool {
        let (lives, listeners) = (self.kernel.readable(), self.connected());
        let some = !lives.is_empty() || !listeners.is_empty();
        for life in lives {
            self.deliver(life);
        }
        for vassal in listeners {
            self.look(vassal);
        }
        some
    }

    /// Polled listeners with clients: what poll says again and again until somebody accepts.
    fn connected(&mut self) -> Vec<VassalId> {
        self.kernel.accept();
        let ready =
            self.kernel.listeners.iter().filter(|(_, l)| l.watched && (l.queue > 0 || l.dead));
        ready.map(|(vassal, _)| *vassal).collect()
    }

    fn advance(&mut self) {
        let far = self.now + Duration::from_secs(600);
        self.advance_to(far);
    }

    /// To the next thing that happens by itself.
    fn advance_to(&mut self, end: Moment) {
        let deadline = self.realm.deadline();
        let next = [self.kernel.next_act(), deadline].into_iter().flatten().min();
        self.now = self.now.max(next.map_or(end, |next| next.min(end)));
        self.kernel.run(self.now, &mut self.rng);
        if deadline.is_some_and(|at| at <= self.now) {
            self.time();
        }
    }

    /// An order for all, which comes to a part of them in each turn.
    fn order_all(&mut self, order: Event) {
        self.ledger.swept = Some(order.clone());
        self.turn(order);
        if self.realm.deadline().is_some_and(|next| next <= self.now) {
            self.time();
        }
        self.ledger.swept = None;
    }

    /// Serves what is due: each turn a part, where it concerns many.
    fn time(&mut self) {
        for _ in 0..MOST_ROUNDS {
            self.turn(Event::Time);
            if self.realm.deadline().is_none_or(|next| next > self.now) {
                return;
            }
        }
        panic!("a deadline that is not served: the loop spins");
    }

    /// The emperor was stopped, or the machine was: much has happened when it wakes up.
    fn jump(&mut self) {
        let span = *self.rng.pick(&[50, 1000, 40_000, 400_000]);
        self.now += self.rng.millis(span);
        self.kernel.run(self.now, &mut self.rng);
        if self.rng.percent(70) {
            while self.deliver_all() {}
        }
        if self.rng.percent(90) {
            self.time();
        }
    }

    fn any_key(&mut self) -> Key {
        let number = self.rng.below(NAMES);
        let source = SourceId(usize::from(number == 0));
        Key { source, name: format!("v{}.ini", number.max(1)).into_bytes().into() }
    }

    /// A file is written: found if it is new, else changed.
    fn write_file(&mut self, is_initial: bool) {
        let key = self.any_key();
        let name = format!("{}-{}", key.source.0, String::from_utf8_lossy(&key.name));
        // The same vassals are on-demand most of the time, so that their files seldom move.
        let on_demand = key.name[1].is_multiple_of(2);
        let content = match self.files.get(&key) {
            Some(content) if self.rng.percent(25) => content.clone(),
            _ => Content::random(&mut self.rng, &name, on_demand, self.decency),
        };
        let modified = i64::try_from(self.events).unwrap();
        let file = File { modified, uid: 0, gid: 0, on_demand: content.on_demand.clone() };
        match self.files.insert(key.clone(), content) {
            Some(_) => self.turn(Event::Changed { key, file }),
            None => self.turn(Event::Found { key, file, is_initial }),
        }
    }

    /// Whatever each vassal is in the middle of, it must read its newest file in the end.
    fn touch_all(&mut self) {
        let files: Vec<_> =
            self.files.iter().map(|(k, c)| (k.clone(), c.on_demand.clone())).collect();
        for (key, on_demand) in files {
            let modified = i64::try_from(self.events).unwrap();
            self.turn(Event::Changed { key, file: File { modified, uid: 0, gid: 0, on_demand } });
        }
    }

    fn remove_file(&mut self) {
        let key = self.any_key();
        if self.files.remove(&key).is_some() || self.rng.percent(10) {
            self.turn(Event::Lost(key));
        }
    }

    fn connect(&mut self) {
        let listeners: Vec<VassalId> = self.kernel.listeners.keys().copied().collect();
        let vassal = match listeners.is_empty() || self.rng.percent(5) {
            // From an earlier round of poll: the vassal may be another by now, or gone.
            true => VassalId(self.rng.below(NAMES * 3)),
            false => *self.rng.pick(&listeners),
        };
        if !self.kernel.connect(vassal) {
            self.turn(Event::Connection(vassal));
        }
    }

    /// A program shuts a listener down that it was only lent.
    fn shut_down(&mut self) {
        let listeners: Vec<VassalId> = self.kernel.listeners.keys().copied().collect();
        let number = usize::try_from(self.rng.below(NAMES)).unwrap();
        let listener = listeners.get(number).and_then(|id| self.kernel.listeners.get_mut(id));
        if let Some(listener) = listener {
            listener.dead = true;
            listener.queue = 0;
        }
        if self.rng.percent(50) {
            self.renew_listener();
        }
    }

    /// The emperor has found a listener to be of no use that is not polled, and has bound it anew.
    fn renew_listener(&mut self) {
        let unwatched = self.kernel.listeners.iter_mut().find(|(_, l)| l.dead && !l.watched);
        let Some((id, listener)) = unwatched else { return };
        listener.dead = false;
        let id = *id;
        self.turn(Event::ListenersRenewed(id));
    }

    fn event_of_the_dead(&mut self) {
        let dead: Vec<LifeId> = self.dead.iter().copied().collect();
        let life = match dead.is_empty() {
            true => LifeId(u64::MAX),
            false => *self.rng.pick(&dead),
        };
        let program = Content::random(&mut self.rng, "dead", false, 0).program;
        let event = match self.rng.below(12) {
            11 => LifeEvent::SeenAccepting,
            10 => LifeEvent::Unreachable,
            7 => LifeEvent::BaseNotReady("late".to_owned()),
            8 => LifeEvent::Answered,
            0 | 9 => return self.late_birth(life, LifeEvent::Spawned(1)),
            1 => LifeEvent::SpawnFailed("late".to_owned()),
            2 => program.verdict(),
            3 => LifeEvent::StartFailed("late".to_owned()),
            4 => LifeEvent::StatusClosed,
            5 => LifeEvent::PipeClosed,
            _ => LifeEvent::Exited(ExitStatus::Code(0)),
        };
        self.changes_nothing(Event::Life(life, event));
    }

    /// A process that nobody waits for any more is killed.
    fn late_birth(&mut self, life: LifeId, event: LifeEvent) {
        let mut out = Vec::new();
        self.realm.step(self.now, Event::Life(life, event), &mut out);
        assert!(out.contains(&Effect::Kill(life)), "a stray is not killed: {out:?}");
    }

    fn duplicate(&mut self) {
        let lives: Vec<LifeId> = self.kernel.processes.keys().copied().collect();
        if lives.is_empty() {
            return;
        }
        let life = *self.rng.pick(&lives);
        if let Some(event) = self.kernel.duplicate(life) {
            self.changes_nothing(Event::Life(life, event));
        }
    }

    /// Once everything that is due is served, this event must leave no trace.
    fn changes_nothing(&mut self, event: Event) {
        self.time();
        let before = self.fingerprint();
        let mut out = Vec::new();
        self.log(Line::NoTrace(event.clone()));
        self.realm.step(self.now, event, &mut out);
        assert!(out.is_empty(), "an event of the dead has done {out:?}");
        assert_eq!(before, self.fingerprint(), "an event of the dead has changed the realm");
    }

    /// All that can be seen of the realm, in an order that hash maps do not disturb.
    fn fingerprint(&self) -> String {
        let vassals: Vec<_> = self.realm.vassals().collect();
        let (deadline, level) = (self.realm.deadline(), self.realm.throttle_level());
        format!("{vassals:?} {deadline:?} {level:?} {}", self.realm.starting())
    }

    // The shell.

    /// One event and everything that it brings about at once.
    fn turn(&mut self, event: Event) {
        self.turn_of(vec![event]);
    }

    fn turn_of(&mut self, events: Vec<Event>) {
        let mut events: VecDeque<_> = events.into_iter().map(|event| (event, 0)).collect();
        while let Some((event, round)) = events.pop_front() {
            assert!(round < MOST_ROUNDS, "the turn does not end");
            let before = Before::look(&self.realm);
            self.events += 1;
            self.log(Line::Event(event.clone()));
            let mut effects = Vec::new();
            self.realm.step(self.now, event.clone(), &mut effects);
            let mut answers = Vec::new();
            Ledger::book_event(self, &before, &event);
            Ledger::check_answer(self, &before, &event, &effects);
            for effect in &effects {
                self.log(Line::Effect(effect.clone()));
                Ledger::check_effect(self, &before, &event, effect);
                answers.extend(self.execute(effect));
            }
            self.ledger.follow(&self.realm, self.now);
            let answers = answers.into_iter().map(|answer| (answer, round + 1));
            match self.depth_first {
                true => answers.rev().for_each(|answer| events.push_front(answer)),
                false => events.extend(answers),
            }
        }
    }

    fn execute(&mut self, effect: &Effect) -> Vec<Event> {
        if let Effect::EndRequest(life, why) = effect {
            // An answer that is there is read before.
            if let Some(event) = self.kernel.read_answer_of_spawner(*life) {
                return vec![Event::Life(*life, event)];
            }
            let over = self.kernel.end_talk(*life);
            return self.orders_fail(&over, Rare::SpawnerHangs, why);
        }
        self.execute_one(effect).into_iter().collect()
    }

    fn execute_one(&mut self, effect: &Effect) -> Option<Event> {
        let now = self.now;
        match effect {
            Effect::Bind(id, address) => return Some(self.bind(*id, address)),
            Effect::Unbind(id) => drop(self.kernel.listeners.remove(id)),
            Effect::Watch(id) => {
                self.watch(*id, true);
                if self.kernel.bind_fails && self.rng.percent(80) {
                    self.kernel.listeners.get_mut(id)?.dead = true;
                    return Some(Event::ListenerLost(*id, "cannot be polled".to_owned()));
                }
            }
            Effect::Unwatch(id) => self.watch(*id, false),
            Effect::Spawn(id, life, purpose) => return self.spawn(*id, *life, *purpose),
            Effect::Ask(id, life) => return self.ask(*id, *life),
            Effect::Tell(life, order) => {
                let vassal = self.kernel.processes.get(life).map(|process| process.vassal);
                let file = vassal.and_then(|id| self.realm.vassal(id));
                let file = file.and_then(|vassal| self.files.get(&vassal.key));
                let program = file.map(|file| &file.program);
                self.kernel.tell(now, (*life, *order), program, &mut self.rng);
            }
            Effect::ProbeAccepting(_, life) => {
                let waits = self.kernel.processes.get(life)?.waits_for_clients();
                let seen = waits && self.rng.percent(50);
                return seen.then_some(Event::Life(*life, LifeEvent::SeenAccepting));
            }
            Effect::Signal(life, signal, _) => {
                self.kernel.signal(now, *life, *signal, &mut self.rng)
            }
            Effect::Kill(life) => self.kernel.kill(now, *life, &mut self.rng),
            Effect::Forget(id) => drop(self.kernel.listeners.remove(id)),
            Effect::StopHook(_, key) => return Some(Event::HookEnded(key.clone())),
            Effect::TakeCustody(..)
            | Effect::Note(..)
            | Effect::Notice(_)
            | Effect::KillHooks
            | Effect::EndRequest(..)
            | Effect::Leave(_) => {}
        }
        None
    }

    fn bind(&mut self, id: VassalId, address: &str) -> Event {
        let taken = self.kernel.listeners.values().any(|listener| listener.address == address);
        if taken || (self.kernel.bind_fails && self.rng.percent(80)) {
            return Event::ListenerRefused(id, "address in use".to_owned());
        }
        let listener = crate::kernel::Listener {
            address: address.to_owned(),
            watched: false,
            dead: false,
            queue: 0,
        };
        self.kernel.listeners.insert(id, listener);
        Event::ListenerBound(id)
    }

    fn watch(&mut self, id: VassalId, on: bool) {
        if let Some(listener) = self.kernel.listeners.get_mut(&id) {
            listener.watched = on;
        }
    }

    fn spawn(&mut self, vassal: VassalId, life: LifeId, purpose: Purpose) -> Option<Event> {
        Ledger::reads(self, vassal);
        let file = self.file_of(vassal);
        // Some orders cannot even be sent.
        let Some(file) = file.filter(|_| !(self.kernel.fork_fails && self.rng.percent(40))) else {
            self.bury(life);
            return Some(Event::Life(life, LifeEvent::SpawnFailed("EMFILE".to_owned())));
        };
        let staged = self.ledger.rules.stage;
        let birth = Birth { vassal, purpose, program: file.program, staged };
        self.kernel.order(self.now, life, birth, &mut self.rng);
        None
    }

    fn ask(&mut self, vassal: VassalId, life: LifeId) -> Option<Event> {
        Ledger::reads(self, vassal);
        let answer = match self.file_of(vassal) {
            Some(Content { program, .. }) => {
                let birth = Birth { vassal, purpose: Purpose::Start, program, staged: false };
                self.kernel.ask(self.now, life, birth, &mut self.rng)
            }
            None => Some(LifeEvent::SpawnFailed("no file".to_owned())),
        };
        if answer.is_some() {
            self.bury(life);
        }
        answer.map(|event| Event::Life(life, event))
    }

    fn file_of(&self, vassal: VassalId) -> Option<Content> {
        self.realm.vassal(vassal).and_then(|vassal| self.files.get(&vassal.key)).cloned()
    }

    fn check(&mut self) {
        Ledger::check_world(self);
    }

    fn log(&mut self, line: Line) {
        if self.log.len() >= self.memory {
            self.log.pop_front();
        }
        self.log.push_back((self.now, line));
    }

    /// What the file of a vassal says of its address, as the realm was told.
    pub fn on_demand(&self, id: VassalId) -> Option<&OnDemand> {
        self.realm.vassal(id).map(|vassal| &vassal.file.on_demand)
    }
}

/// What is remembered for a failure; only then it is made text.
#[derive(Debug)]
#[allow(dead_code, reason = "read by Debug")]
enum Line {
    Event(Event),
    Effect(Effect),
    NoTrace(Event),
}

#[derive(Clone, Copy)]
enum Source {
    Life(LifeId),
    Listener(VassalId),
}

fn random_rules(rng: &mut Rng) -> Rules {
    let seconds = Duration::from_secs;
    Rules {
        throttle: Duration::from_millis(*rng.pick(&[1000, 1000, 600, 100, 0])),
        max_throttle: seconds(*rng.pick(&[180, 180, 5])),
        throttle_burst: *rng.pick(&[1, 1, 3]),
        max_starting: *rng.pick(&[1, 2, 8, 8]),
        blacklist: !rng.percent(10),
        required_heartbeat: seconds(*rng.pick(&[30, 15])),
        curse_tolerance: seconds(*rng.pick(&[30, 5])),
        reload_mercy: seconds(*rng.pick(&[30, 5, 0])),
        stage: !rng.percent(20),
        graceful_shutdown: rng.percent(20),
        stop_hook: rng.percent(20),
        max_swept: *rng.pick(&[1, 2, 256, 256]),
        fork_server: rng.percent(40),
        bases: if rng.percent(50) { vec![b"v3.ini".to_vec()] } else { Vec::new() },
        ..Rules::default()
    }
}
