//! The event table, cell by cell, and its rules, in virtual time.
//!
//! A [`Scene`] is a realm with one vassal in view. Its phase and what it wants done are compared as short
//! strings: `"replacing 1 by 2"`, `"kill 2"`. Forks and binds succeed unless the scene says otherwise.

use std::time::Duration;

use super::life::Life;
use super::realm::Realm;
use super::stale::Stale;
use super::vassal::{AfterStop, Hold, HoldReason, Phase, Vassal};
use super::{
    Channel, Effect, Event, File, Fingerprint, Key, LifeEvent, LifeId, Note, OnDemand, Rules,
    SourceId, VassalId, VassalMessage, WaitNotice,
};
use crate::types::exit_status::ExitStatus;
use crate::types::moment::Moment;
use crate::types::purpose::Purpose;
use crate::types::run_settings::{Restart, RunSettings, StopTo};

mod bases;
mod births;
mod exits;
mod faults;
mod files;
mod hooks;
mod listeners;
mod messages;
mod replacement;
mod rules;
mod timeouts;
mod waits;

const BLOG: &str = "blog.ini";
/// The fingerprint of every start, unless the scene says otherwise.
const SAME: u64 = 7;
const OTHER: u64 = 8;
const SOCKET: &str = "/run/blog.sock";
const KILLED: ExitStatus = ExitStatus::Signal(9);
const TERMINATED: ExitStatus = ExitStatus::Signal(15);

/// Every phase that the table has a column for.
const PHASES: [&str; 7] =
    ["held", "listening", "starting", "running", "replacing", "draining", "stopping"];

struct Scene {
    realm: Realm,
    now: Moment,
    zero: Moment,
    forks: bool,
    /// The spawner answers at once.
    answers: bool,
    binds: bool,
    /// The fork server takes requests.
    serves: bool,
    done: Vec<String>,
    notes: Vec<Note>,
    /// Which life was looked at, and when, in milliseconds.
    looks: Vec<(u64, u64)>,
    notices: Vec<WaitNotice>,
    /// Rows that were made to fail.
    faults: u64,
}

impl Scene {
    fn new(rules: Rules) -> Self {
        let now = Moment::from_nanos(1_000_000_000_000);
        let (done, notes) = (Vec::new(), Vec::new());
        Self {
            realm: Realm::new(rules),
            now,
            zero: now,
            forks: true,
            answers: true,
            binds: true,
            serves: true,
            done,
            notes,
            looks: Vec::new(),
            notices: Vec::new(),
            faults: 0,
        }
    }

    // The seven phases. Life 1 is the first; listeners are in custody, so that a reload replaces.

    fn starting() -> Self {
        let mut scene = Self::new(Rules::default());
        scene.find(OnDemand::No);
        scene.is("starting 1", &["spawn 1"]);
        scene
    }

    fn running_with(settings: RunSettings) -> Self {
        let mut scene = Self::starting();
        scene.runs(1, settings);
        scene.is("running 1", &["custody 1"]);
        scene
    }

    fn running() -> Self {
        Self::running_with(custody())
    }

    /// It has nothing that a second life could share.
    fn alone() -> Self {
        Self::running_with(RunSettings::default())
    }

    /// A program that speaks the Emperor protocol.
    fn speaker() -> Self {
        let mut scene = Self::running();
        scene.says(1, VassalMessage::Ready);
        scene.is("running 1", &[]);
        scene
    }

    fn held() -> Self {
        let mut scene = Self::running();
        scene.wait(2000);
        scene.exits(1, ExitStatus::Code(1));
        scene.is("held: penalty 1000", &[]);
        scene
    }

    fn listening() -> Self {
        let mut scene = Self::new(Rules::default());
        scene.find(on_demand());
        scene.is("listening", &["bind /run/blog.sock", "watch"]);
        scene
    }

    fn woken() -> Self {
        let mut scene = Self::listening();
        scene.connect();
        scene.runs(1, RunSettings::default());
        scene.is("running 1", &["unwatch", "spawn 1", "custody 1"]);
        scene
    }

    fn replacing() -> Self {
        let mut scene = Self::running();
        scene.change();
        scene.is("replacing 1 by 2", &["spawn 2"]);
        scene
    }

    /// Both programs run; the second does not accept yet.
    fn handover() -> Self {
        let mut scene = Self::replacing();
        scene.runs(2, custody());
        scene.is("replacing 1 by 2", &[]);
        scene
    }

    fn checking() -> Self {
        let mut scene = Self::alone();
        scene.change();
        scene.is("replacing 1 by 2", &["check 2"]);
        scene
    }

    fn draining() -> Self {
        let mut scene = Self::handover();
        scene.says(2, VassalMessage::Accepting);
        scene.is("draining 1 for 2", &["custody 2", "tell 1 Stop", "signal 1 15"]);
        scene
    }

    fn stopping() -> Self {
        let mut scene = Self::running();
        scene.lose();
        scene.is("stopping 1, then gone", &["tell 1 Stop", "signal 1 15"]);
        scene
    }

    fn in_phase(name: &str) -> Self {
        match name {
            "held" => Self::held(),
            "listening" => Self::listening(),
            "starting" => Self::starting(),
            "running" => Self::running(),
            "replacing" => Self::handover(),
            "draining" => Self::draining(),
            "stopping" => Self::stopping(),
            _ => panic!("no phase {name}"),
        }
    }

    // What happens.

    /// One turn: the event, then the answers to what it has caused.
    fn send(&mut self, event: Event) {
        let mut events = vec![event];
        for _ in 0..64 {
            let mut out = Vec::new();
            for event in events.drain(..) {
                self.realm.step(self.now, event, &mut out);
            }
            for effect in out {
                events.extend(self.act(effect));
            }
            if events.is_empty() {
                assert_eq!(self.realm.internal_errors(), self.faults, "a row has failed");
                return;
            }
        }
        panic!("the turn does not end");
    }

    fn act(&mut self, effect: Effect) -> Option<Event> {
        let (line, answer) = match effect {
            Effect::Bind(id, address) if self.binds => {
                (format!("bind {address}"), Some(Event::ListenerBound(id)))
            }
            Effect::Bind(id, address) => (
                format!("bind {address}"),
                Some(Event::ListenerRefused(id, "address in use".to_owned())),
            ),
            Effect::Spawn(_, life, purpose) => {
                let answer = match self.forks {
                    true => LifeEvent::Spawned(i32::try_from(life.0).unwrap()),
                    false => LifeEvent::SpawnFailed("EAGAIN".to_owned()),
                };
                let verb = if purpose == Purpose::Check { "check" } else { "spawn" };
                let answer = self.answers.then_some(Event::Life(life, answer));
                (format!("{verb} {}", life.0), answer)
            }
            Effect::Ask(_, life) => {
                let not_ready = || LifeEvent::BaseNotReady("no such file".to_owned());
                let answer = (!self.serves).then(not_ready);
                (format!("ask {}", life.0), answer.map(|event| Event::Life(life, event)))
            }
            Effect::EndRequest(life, why) => {
                let answer = LifeEvent::SpawnFailed(why.to_owned());
                (format!("end request {}", life.0), Some(Event::Life(life, answer)))
            }
            Effect::Note(_, _, note) => {
                self.notes.push(note);
                return None;
            }
            Effect::Unbind(_) => ("unbind".to_owned(), None),
            Effect::Watch(_) => ("watch".to_owned(), None),
            Effect::Unwatch(_) => ("unwatch".to_owned(), None),
            Effect::ProbeAccepting(_, life) => {
                self.looks.push((
                    life.0,
                    u64::try_from(self.now.saturating_duration_since(self.zero).as_millis())
                        .unwrap(),
                ));
                return None;
            }
            Effect::Tell(life, order) => (format!("tell {} {order:?}", life.0), None),
            Effect::Signal(life, signal, to) => {
                let to = match to {
                    StopTo::Auto => "",
                    StopTo::Main => " main",
                    StopTo::Group => " group",
                };
                (format!("signal {} {signal}{to}", life.0), None)
            }
            Effect::Kill(life) => (format!("kill {}", life.0), None),
            Effect::StopHook(..) => ("hook".to_owned(), None),
            Effect::KillHooks => ("kill hooks".to_owned(), None),
            Effect::TakeCustody(_, life) => (format!("custody {}", life.0), None),
            Effect::Forget(_) => ("forget".to_owned(), None),
            Effect::Notice(notice) => {
                self.notices.push(notice);
                return None;
            }
            Effect::Leave(status) => (format!("leave {status}"), None),
        };
        self.done.push(line);
        answer
    }

    /// Lets time pass; every deadline on the way is served when it comes.
    fn wait(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(at) = self.realm.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.send(Event::Time);
            let next = self.realm.deadline();
            assert!(next.is_none_or(|next| next > self.now), "a deadline is not served");
        }
        self.now = end;
    }

    /// Lets time pass unserved, as for a stopped emperor, then serves all at once.
    fn jump(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.send(Event::Time);
    }

    fn find(&mut self, on_demand: OnDemand) {
        self.find_as(BLOG, on_demand, true);
    }

    fn find_as(&mut self, name: &str, on_demand: OnDemand, is_initial: bool) {
        self.send(Event::Found { key: key(name), file: file(on_demand), is_initial });
    }

    fn change(&mut self) {
        let on_demand = self.blog().map_or(OnDemand::No, |vassal| vassal.file.on_demand.clone());
        self.change_to(on_demand);
    }

    fn change_to(&mut self, on_demand: OnDemand) {
        self.send(Event::Changed { key: key(BLOG), file: file(on_demand) });
    }

    fn lose(&mut self) {
        self.send(Event::Lost(key(BLOG)));
    }

    fn connect(&mut self) {
        self.send(Event::Connection(VassalId(1)));
    }

    fn life(&mut self, life: u64, event: LifeEvent) {
        self.send(Event::Life(LifeId(life), event));
    }

    fn verdict(&mut self, life: u64, settings: RunSettings) {
        self.life(life, LifeEvent::Verdict(settings, Fingerprint(SAME)));
    }

    /// A stage that only reads the file finds it good, and that it would start this.
    fn checks(&mut self, life: u64, fingerprint: u64) {
        self.checks_with(life, custody(), fingerprint);
    }

    fn checks_with(&mut self, life: u64, settings: RunSettings, fingerprint: u64) {
        self.life(life, LifeEvent::Verdict(settings, Fingerprint(fingerprint)));
        self.status_closes(life);
        self.exits(life, ExitStatus::Code(0));
    }

    fn status_closes(&mut self, life: u64) {
        self.life(life, LifeEvent::StatusClosed);
    }

    fn fails(&mut self, life: u64) {
        self.life(life, LifeEvent::StartFailed("line 3: no such option".to_owned()));
    }

    fn runs(&mut self, life: u64, settings: RunSettings) {
        self.verdict(life, settings);
        self.status_closes(life);
    }

    fn says(&mut self, life: u64, said: VassalMessage) {
        self.life(life, LifeEvent::Message(said, Channel::Pipe));
    }

    fn notifies(&mut self, life: u64, said: VassalMessage) {
        self.life(life, LifeEvent::Message(said, Channel::Notify));
    }

    fn closes_pipe(&mut self, life: u64) {
        self.life(life, LifeEvent::PipeClosed);
    }

    fn exits(&mut self, life: u64, exit: ExitStatus) {
        self.life(life, LifeEvent::Exited(exit));
    }

    // What is seen.

    /// The phase now, and what was done since the last look.
    #[track_caller]
    fn is(&mut self, phase: &str, done: &[&str]) {
        let did = std::mem::take(&mut self.done);
        assert_eq!(
            (self.phase().as_str(), did),
            (phase, done.iter().map(|s| (*s).into()).collect())
        );
    }

    fn phase(&self) -> String {
        self.phase_of(BLOG)
    }

    fn phase_of(&self, name: &str) -> String {
        match self.named(name) {
            Some(vassal) => describe(&vassal.phase, self.now),
            None => "gone".to_owned(),
        }
    }

    fn named(&self, name: &str) -> Option<&Vassal> {
        self.realm.named_id(&key(name)).and_then(|id| self.realm.vassal(id))
    }

    fn blog(&self) -> Option<&Vassal> {
        self.named(BLOG)
    }

    fn current(&self) -> &Life {
        self.blog().and_then(Vassal::current).expect("a life")
    }

    fn deaths(&self) -> u32 {
        self.blog().map_or(0, |vassal| vassal.penalty.deaths())
    }

    fn stale(&self) -> Option<Stale<'_>> {
        self.blog().and_then(Vassal::stale)
    }

    fn error(&self) -> Option<&str> {
        self.blog().and_then(|vassal| vassal.history.last_error.as_deref())
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.now.saturating_duration_since(self.zero).as_millis()).unwrap()
    }
}

fn describe(phase: &Phase, now: Moment) -> String {
    let hold = |hold: &Hold| {
        let why = match &hold.reason {
            HoldReason::Throttle => "throttle",
            HoldReason::Budget => "budget",
            HoldReason::Penalty => "penalty",
            HoldReason::StopHook => "stop hook",
            HoldReason::Resource(_) => "resource",
            HoldReason::Base(_) => "base",
            HoldReason::Address(_) => "address",
            HoldReason::RestartInterval => "pace",
            HoldReason::InternalError => "internal",
            HoldReason::AddressTaken(..) => "taken",
            HoldReason::Finished(_) => "finished",
        };
        match hold.until {
            Some(until) => format!("{why} {}", until.saturating_duration_since(now).as_millis()),
            None => why.to_owned(),
        }
    };
    match phase {
        Phase::Held(held) => format!("held: {}", hold(held)),
        Phase::Listening => "listening".to_owned(),
        Phase::Starting(life) => format!("starting {}", life.id.0),
        Phase::Running { current, due: None } => format!("running {}", current.id.0),
        Phase::Running { current, due: Some(due) } => {
            format!("running {}, due: {}", current.id.0, hold(due))
        }
        Phase::Replacing { current, next, again } => {
            let again = if *again { ", again" } else { "" };
            format!("replacing {} by {}{again}", current.id.0, next.id.0)
        }
        Phase::Draining { current, old, reload } => {
            let reload = if *reload { ", then reload" } else { "" };
            format!("draining {} for {}{reload}", old.id.0, current.id.0)
        }
        Phase::Stopping { life, other, then } => {
            let other = other.as_ref().map(|o| format!(" and {}", o.id.0)).unwrap_or_default();
            let then = match then {
                AfterStop::Forget => "gone".to_owned(),
                AfterStop::Start(_) => "begin".to_owned(),
                AfterStop::Hold(held) => hold(held),
                AfterStop::JudgeExit => "judge".to_owned(),
            };
            format!("stopping {}{other}, then {then}", life.id.0)
        }
    }
}

fn key(name: &str) -> Key {
    Key { source: SourceId(0), name: name.as_bytes().into() }
}

fn file(on_demand: OnDemand) -> File {
    File { modified: 0, uid: 0, gid: 0, on_demand }
}

fn on_demand() -> OnDemand {
    OnDemand::Address(SOCKET.into())
}

fn fault() -> OnDemand {
    OnDemand::Fault("blog.ini.socket: permission denied".into())
}

fn custody() -> RunSettings {
    RunSettings { listeners: 1, ..RunSettings::default() }
}

fn notifying() -> RunSettings {
    RunSettings { notify: true, ..custody() }
}

/// Sends one event to a vassal in each of these phases: nothing may change, and nothing be done.
#[track_caller]
fn means_nothing(phases: &[&str], event: impl Fn(&mut Scene)) {
    for name in phases {
        let mut scene = Scene::in_phase(name);
        let before = scene.phase();
        let penalty = scene.blog().map(|vassal| vassal.penalty.clone());
        event(&mut scene);
        assert_eq!(scene.phase(), before, "in {name}");
        assert_eq!(scene.done, [""; 0], "in {name}");
        assert_eq!(scene.blog().map(|vassal| vassal.penalty.clone()), penalty, "in {name}");
    }
}
