//! The kernel and its processes: what effects do, and what comes of it later.
//!
//! A life comes to be by `order`: then the spawner makes it; or by `ask`: then a base forks it. What they answer may
//! be late or lost, and that of a base a lie. Everything after the birth is the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use liege::types::exit_status::ExitStatus;
use liege::types::moment::Moment;

use liege::state::{Channel, LifeEvent, LifeId, Order, VassalId, VassalMessage};
use liege::types::purpose::Purpose;
use liege::types::run_settings::RunSettings;

use crate::program::{Course, Manners, Program, Stage, Voice};
use crate::rng::Rng;

/// A process that is not reaped.
#[derive(Debug)]
pub struct Process {
    pub vassal: VassalId,
    pub program: Program,
    /// Its program runs: the stage is over.
    pub execd: bool,
    /// It has ended; its status waits to be read.
    pub exit: Option<ExitStatus>,
    status: VecDeque<LifeEvent>,
    pipe: VecDeque<LifeEvent>,
    status_open: bool,
    pipe_open: bool,
    adopted: bool,
    /// It has been said what it leaves in the background.
    unmasked: bool,
}

/// What the spawner or a base was asked for, until the realm has heard how that went.
#[derive(Debug)]
pub struct Talk {
    pub vassal: VassalId,
    birth: Birth,
    /// A base is asked, not the spawner.
    of_base: bool,
    heard: VecDeque<LifeEvent>,
}

#[derive(Debug)]
pub struct Listener {
    pub address: String,
    pub watched: bool,
    /// A program has shut it down, for all who hold it; or it cannot be polled.
    pub dead: bool,
    /// Clients that nobody has accepted.
    pub queue: u32,
}

#[derive(Clone, Debug)]
enum Act {
    Verdict,
    Refuse,
    Exec,
    Say(VassalMessage, Channel),
    Beat(u32),
    ClosePipe,
    Exit(ExitStatus),
    /// The base answers.
    Answer,
    /// The process is there: made by the spawner, or named by a base and by now a child of the emperor.
    Appear,
    /// The talk comes to nothing.
    Fail(LifeEvent),
}

#[derive(Debug, Default)]
pub struct Kernel {
    pub processes: BTreeMap<LifeId, Process>,
    pub listeners: BTreeMap<VassalId, Listener>,
    pub fork_fails: bool,
    pub bind_fails: bool,
    pub base_fails: bool,
    pub talks: BTreeMap<LifeId, Talk>,
    /// What the spawner would have done since it was stopped, or hangs.
    stalled: Option<Vec<(LifeId, Act)>>,
    agenda: BTreeMap<(Moment, u64), (LifeId, Act)>,
    planned: u64,
}

const BEAT: Duration = Duration::from_secs(12);

impl Kernel {
    /// When the next process does something.
    pub fn next_act(&self) -> Option<Moment> {
        self.agenda.first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets the processes do what is due.
    pub fn run(&mut self, now: Moment, rng: &mut Rng) {
        while let Some(entry) = self.agenda.first_entry()
            && entry.key().0 <= now
        {
            let ((at, _), (life, act)) = entry.remove_entry();
            self.act(at, life, act, rng);
        }
    }

    fn plan(&mut self, at: Moment, life: LifeId, act: Act) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), (life, act));
    }

    fn act(&mut self, now: Moment, life: LifeId, act: Act, rng: &mut Rng) {
        if matches!(act, Act::Answer | Act::Appear | Act::Fail(_)) {
            return self.hear_answer(now, life, act, rng);
        }
        let Some(process) = self.processes.get_mut(&life).filter(|p| p.exit.is_none()) else {
            return;
        };
        match act {
            Act::Verdict => {
                process.status.push_back(process.program.verdict());
            }
            Act::Refuse if rng.percent(30) => {
                let by = rng.percent(70).then(|| VassalId(rng.below(20)));
                process.status.push_back(LifeEvent::AddressTaken("in use".to_owned(), by));
            }
            Act::Refuse => process.status.push_back(LifeEvent::StartFailed("refused".to_owned())),
            Act::Exec => {
                process.execd = true;
                process.close_status();
                self.begin(now, life, rng);
            }
            Act::Say(said, channel) => process.say(said, channel),
            Act::Beat(left) => {
                let channel = process.channel();
                process.say(VassalMessage::Heartbeat, channel);
                if left > 0 {
                    self.plan(now + BEAT, life, Act::Beat(left - 1));
                }
            }
            Act::ClosePipe => process.close_pipe(),
            Act::Exit(exit) => {
                process.close_status();
                process.close_pipe();
                process.exit = Some(exit);
            }
            Act::Answer | Act::Appear | Act::Fail(_) => {}
        }
    }

    /// A base is asked for a life; gives what is known at once.
    pub fn ask(
        &mut self,
        now: Moment,
        life: LifeId,
        birth: Birth,
        rng: &mut Rng,
    ) -> Option<LifeEvent> {
        let not_ready = || LifeEvent::BaseNotReady("end of file".to_owned());
        let failed = || LifeEvent::SpawnFailed("rubbish".to_owned());
        if self.base_fails && rng.percent(40) {
            return Some(if rng.percent(70) { not_ready() } else { failed() });
        }
        // No stage has read its file, so that nothing is known of it, and no notify socket is there.
        let voice = match birth.program.voice {
            Voice::Notify | Voice::BrokenPromise => Voice::Mute,
            voice => voice,
        };
        let program = Program { settings: RunSettings::default(), voice, ..birth.program };
        self.talk(life, Birth { program, ..birth }, true);
        let soon = now + rng.millis(40);
        let late = now + rng.millis(9000);
        match (self.base_fails, rng.below(10)) {
            (false, _) | (true, 0..4) => {
                self.plan(soon, life, Act::Answer);
                self.plan(soon + rng.millis(5), life, Act::Appear);
            }
            (true, 4) => {
                self.plan(late, life, Act::Answer);
                self.plan(late + rng.millis(1500), life, Act::Appear);
            }
            // Born and dead before anybody has looked.
            (true, 5) => {
                self.plan(soon, life, Act::Appear);
                self.plan(soon, life, Act::Exit(ExitStatus::Code(1)));
            }
            // A process that is not ours.
            (true, 6) => self.plan(late, life, Act::Answer),
            (true, 7) => self.plan(late, life, Act::Fail(not_ready())),
            (true, 8) => self.plan(late, life, Act::Fail(failed())),
            (true, _) => {}
        }
        None
    }

    /// The spawner is given an order. It serves one after the other, so that none is answered while it hangs.
    pub fn order(&mut self, now: Moment, life: LifeId, birth: Birth, rng: &mut Rng) {
        self.talk(life, birth, false);
        let soon = now + rng.millis(5);
        match (self.fork_fails, rng.below(10)) {
            (false, _) | (true, 7..) => self.plan(soon, life, Act::Appear),
            (true, 0..4) => {
                let refused = LifeEvent::SpawnFailed("EAGAIN".to_owned());
                self.plan(soon, life, Act::Fail(refused));
            }
            (true, 4) => self.plan(now + rng.millis(9000), life, Act::Appear),
            // Made and dead before anybody has read the answer.
            (true, 5) => {
                self.plan(soon, life, Act::Appear);
                self.plan(soon, life, Act::Exit(ExitStatus::Signal(9)));
            }
            (true, _) => self.stop_spawner(),
        }
    }

    /// The spawner hangs from now on.
    pub fn stop_spawner(&mut self) {
        self.stalled.get_or_insert_default();
    }

    /// A spawner that was stopped goes on.
    pub fn continue_spawner(&mut self, now: Moment) {
        for (life, act) in self.stalled.take().unwrap_or_default() {
            self.plan(now, life, act);
        }
    }

    /// The spawner has ended and is replaced: what it was asked for and has not answered comes to nothing. Processes
    /// that it has made without an answer are killed and reaped as strangers. Gives the lives that are over.
    pub fn end_spawner(&mut self) -> Vec<LifeId> {
        self.stalled = None;
        let open = self.talks.iter().filter(|(_, talk)| !talk.of_base && talk.heard.is_empty());
        let over: Vec<LifeId> = open.map(|(life, _)| *life).collect();
        self.talks.retain(|life, _| !over.contains(life));
        over
    }

    fn talk(&mut self, life: LifeId, birth: Birth, of_base: bool) {
        let (vassal, heard) = (birth.vassal, VecDeque::new());
        self.talks.insert(life, Talk { vassal, birth, of_base, heard });
    }

    fn hear_answer(&mut self, now: Moment, life: LifeId, act: Act, rng: &mut Rng) {
        let Some(talk) = self.talks.get_mut(&life) else { return };
        if let Some(stalled) = self.stalled.as_mut().filter(|_| !talk.of_base) {
            return stalled.push((life, act));
        }
        match act {
            Act::Fail(event) => talk.heard.push_back(event),
            Act::Appear if talk.of_base => {
                talk.heard.push_back(LifeEvent::Spawned(pid_of(life)));
                let mut process = Process::new(talk.birth.clone());
                (process.execd, process.adopted, process.status_open) = (true, true, false);
                self.processes.insert(life, process);
                self.begin(now, life, rng);
            }
            Act::Appear => {
                talk.heard.push_back(LifeEvent::Spawned(pid_of(life)));
                let birth = talk.birth.clone();
                self.fork(now, life, birth, rng);
            }
            _ => talk.heard.push_back(LifeEvent::Answered),
        }
    }

    /// The realm gives a talk up; what was born of it is killed and reaped as a stranger. A spawner that does not answer
    /// is replaced, and all that it was asked for comes to nothing. Gives the lives that are over.
    pub fn end_talk(&mut self, life: LifeId) -> Vec<LifeId> {
        if self.talks.get(&life).is_some_and(|talk| !talk.of_base) {
            return self.end_spawner();
        }
        self.talks.remove(&life);
        self.processes.remove(&life);
        vec![life]
    }

    /// Whether the spawner has made this life, and it has ended before the answer is read.
    pub fn died_unheard(&self, life: LifeId) -> bool {
        let is_heard = self.talks.get(&life).is_none_or(|talk| talk.of_base);
        !is_heard && self.processes.get(&life).is_some_and(|process| process.exit.is_some())
    }

    /// The lives of a vassal, those that are only asked for among them.
    pub fn lives_of(&self, vassal: VassalId) -> usize {
        let lives: BTreeSet<LifeId> = self.lives().collect();
        lives.into_iter().filter(|life| self.owner(*life) == Some(vassal)).count()
    }

    /// All lives, those that are only asked for among them.
    pub fn lives(&self) -> impl Iterator<Item = LifeId> {
        self.processes.keys().chain(self.talks.keys()).copied()
    }

    fn owner(&self, life: LifeId) -> Option<VassalId> {
        let asked = || self.talks.get(&life).map(|talk| talk.vassal);
        self.processes.get(&life).map(|process| process.vassal).or_else(asked)
    }

    /// A new process, from fork to verdict; `staged`: the stage is what is exec'd first.
    fn fork(&mut self, now: Moment, life: LifeId, birth: Birth, rng: &mut Rng) {
        let (purpose, stage, staged) = (birth.purpose, birth.program.stage, birth.staged);
        let soon = now + rng.millis(30);
        let slow = now + Duration::from_millis(1500) + rng.millis(6000);
        let later = soon + rng.millis(30);
        let process = Process::new(birth);
        self.processes.insert(life, process);
        if rng.percent(5) {
            // The tenant's own hand, through /proc, on a stage that runs as the tenant.
            let word = *rng.pick(&[
                VassalMessage::Accepting,
                VassalMessage::Loyal,
                VassalMessage::GoIdle,
                VassalMessage::Heartbeat,
            ]);
            self.plan(now, life, Act::Say(word, Channel::Pipe));
        }
        let after =
            if purpose == Purpose::Check { Act::Exit(ExitStatus::Code(0)) } else { Act::Exec };
        match stage {
            Stage::Good | Stage::Slow => {
                let at = if stage == Stage::Slow { slow } else { soon };
                if staged {
                    self.plan(at, life, Act::Verdict);
                }
                self.plan(at + rng.millis(3), life, after);
            }
            Stage::Refuses => {
                self.plan(soon, life, Act::Refuse);
                self.plan(later, life, Act::Exit(ExitStatus::Code(1)));
            }
            Stage::RefusesAndHangs => self.plan(soon, life, Act::Refuse),
            Stage::ExecFails => {
                if staged {
                    self.plan(soon, life, Act::Verdict);
                }
                if purpose == Purpose::Start {
                    self.plan(soon, life, Act::Refuse);
                }
                self.plan(
                    later,
                    life,
                    Act::Exit(ExitStatus::Code(i32::from(purpose == Purpose::Start))),
                );
            }
            Stage::DiesWithoutVerdict => {
                let exit =
                    *rng.pick(&[ExitStatus::Code(0), ExitStatus::Code(1), ExitStatus::Signal(11)]);
                self.plan(soon, life, Act::Exit(exit));
            }
            Stage::HangsAfterVerdict if staged => self.plan(soon, life, Act::Verdict),
            Stage::Hangs | Stage::HangsAfterVerdict => {}
        }
    }

    /// The course of a program, from its exec or from its reload.
    fn begin(&mut self, now: Moment, life: LifeId, rng: &mut Rng) {
        let Some(process) = self.processes.get(&life) else { return };
        let (voice, course, channel) =
            (process.program.voice, process.program.course, process.channel());
        let soon = now + rng.millis(2000);
        let later = soon + rng.millis(20_000);
        match voice {
            Voice::Mute | Voice::BrokenPromise => {}
            Voice::FewBytes => {
                let word = *rng.pick(&[
                    VassalMessage::Ready,
                    VassalMessage::GoIdle,
                    VassalMessage::Heartbeat,
                    VassalMessage::Loyal,
                ]);
                self.plan(soon, life, Act::Say(word, Channel::Pipe));
            }
            Voice::Bytes => {
                self.plan(soon, life, Act::Say(VassalMessage::Ready, Channel::Pipe));
                self.plan(
                    soon + rng.millis(3000),
                    life,
                    Act::Say(VassalMessage::Accepting, Channel::Pipe),
                );
                self.plan(later, life, Act::Say(VassalMessage::Loyal, Channel::Pipe));
            }
            Voice::Notify => self.plan(soon, life, Act::Say(VassalMessage::Ready, Channel::Notify)),
        }
        let idle = Act::Say(VassalMessage::GoIdle, channel);
        match course {
            Course::Serves => {}
            Course::Beats => self.plan(soon, life, Act::Beat(u32::MAX)),
            Course::BeatsThenHangs => self.plan(soon, life, Act::Beat(1)),
            Course::Ends(exit) => self.plan(later, life, Act::Exit(exit)),
            Course::EndsAtOnce(exit) => self.plan(now + rng.millis(5), life, Act::Exit(exit)),
            Course::GoesIdle => self.plan(later, life, idle),
            Course::GoesIdleAndEnds => {
                self.plan(later, life, idle);
                self.plan(later, life, Act::Exit(ExitStatus::Code(0)));
            }
            Course::ClosesPipe => self.plan(later, life, Act::ClosePipe),
            Course::ClosesPipeAndEnds => {
                self.plan(later, life, Act::ClosePipe);
                self.plan(later + rng.millis(3000), life, Act::Exit(ExitStatus::Code(1)));
            }
        }
    }

    /// A byte on the emperor pipe; `file`: what it would read in a reload.
    pub fn tell(
        &mut self,
        now: Moment,
        (life, order): (LifeId, Order),
        file: Option<&Program>,
        rng: &mut Rng,
    ) {
        let Some(process) = self.processes.get_mut(&life) else { return };
        if !process.pipe_open || !process.execd || !process.speaks() {
            return;
        }
        match order {
            Order::Stop | Order::StopGracefully => self.stop(now, life, ExitStatus::Code(0), rng),
            Order::Reload if process.program.manners == Manners::Deaf => {}
            // As a process that was forked from a loaded application may do.
            Order::Reload if process.adopted && rng.percent(40) => {
                self.plan(now + rng.millis(500), life, Act::Exit(ExitStatus::Code(0)));
            }
            Order::Reload => {
                let Some(file) = file else { return };
                // It stays the program that it is; how it behaves may be another matter now.
                let bad = !matches!(file.stage, Stage::Good | Stage::Slow);
                process.program.course = file.course;
                process.program.manners = file.manners;
                if bad {
                    self.plan(now + rng.millis(500), life, Act::Exit(ExitStatus::Code(1)));
                } else {
                    self.begin(now, life, rng);
                }
            }
        }
    }

    pub fn signal(&mut self, now: Moment, life: LifeId, signal: i32, rng: &mut Rng) {
        let Some(process) = self.processes.get(&life) else { return };
        let settings = &process.program.settings;
        let stops = [Some(15), Some(settings.stop_signal()), settings.graceful_signal];
        if stops.contains(&u8::try_from(signal).ok()) {
            let exit = *rng.pick(&[ExitStatus::Signal(signal), ExitStatus::Code(0)]);
            self.stop(now, life, exit, rng);
        }
    }

    fn stop(&mut self, now: Moment, life: LifeId, exit: ExitStatus, rng: &mut Rng) {
        let Some(process) = self.processes.get(&life) else { return };
        match process.program.manners {
            Manners::Obedient => self.plan(now + rng.millis(200), life, Act::Exit(exit)),
            Manners::Slow => self.plan(now + rng.millis(20_000), life, Act::Exit(exit)),
            Manners::Deaf => {}
        }
    }

    pub fn kill(&mut self, now: Moment, life: LifeId, rng: &mut Rng) {
        // Some sit in a system call that does not end before its device answers.
        let stuck = if rng.percent(2) { rng.millis(40_000) } else { rng.millis(20) };
        self.plan(now + stuck, life, Act::Exit(ExitStatus::Signal(9)));
    }

    /// Lives whose status socket, pipe or end waits to be read.
    pub fn readable(&self) -> Vec<LifeId> {
        let waits = |p: &Process| !p.status.is_empty() || !p.pipe.is_empty() || p.exit.is_some();
        let heard = self.talks.iter().filter(|(_, talk)| !talk.heard.is_empty());
        let processes = self.processes.iter().filter(|(life, _)| !self.talks.contains_key(life));
        let processes = processes.filter(|(_, p)| waits(p)).map(|(life, _)| *life);
        heard.map(|(life, _)| *life).chain(processes).collect()
    }

    /// Reads what the spawner has answered about a life.
    pub fn read_answer_of_spawner(&mut self, life: LifeId) -> Option<LifeEvent> {
        let talk = self.talks.get_mut(&life).filter(|talk| !talk.of_base)?;
        let event = talk.heard.pop_front()?;
        self.talks.remove(&life);
        Some(event)
    }

    /// Reads one event of a life in the order of the ranks; the last one reaps it.
    pub fn read(&mut self, life: LifeId) -> Option<LifeEvent> {
        if let Some(talk) = self.talks.get_mut(&life) {
            let event = talk.heard.pop_front()?;
            if event != LifeEvent::Answered {
                self.talks.remove(&life);
            }
            return Some(event);
        }
        let process = self.processes.get_mut(&life)?;
        if let Some(event) = process.status.pop_front().or_else(|| process.pipe.pop_front()) {
            return Some(event);
        }
        let exit = process.exit?;
        // Some leave what was to be the program in the background.
        if exit == ExitStatus::Code(0)
            && process.execd
            && life.0.is_multiple_of(5)
            && !process.unmasked
        {
            process.unmasked = true;
            return Some(LifeEvent::Daemonized("in the background".to_owned()));
        }
        self.processes.remove(&life);
        Some(LifeEvent::Exited(exit))
    }

    /// An event of this life that was delivered already.
    pub fn duplicate(&self, life: LifeId) -> Option<LifeEvent> {
        let process = self.processes.get(&life).filter(|_| !self.talks.contains_key(&life))?;
        let read = |open: bool, queue: &VecDeque<LifeEvent>| !open && queue.is_empty();
        if read(process.status_open, &process.status) {
            return Some(LifeEvent::StatusClosed);
        }
        read(process.pipe_open, &process.pipe).then_some(LifeEvent::PipeClosed)
    }

    /// A client connects; true if there was somebody to connect to.
    pub fn connect(&mut self, vassal: VassalId) -> bool {
        let Some(listener) = self.listeners.get_mut(&vassal).filter(|l| !l.dead) else {
            return false;
        };
        listener.queue += 1;
        true
    }

    /// Programs that serve take what waits for them.
    pub fn accept(&mut self) {
        for (vassal, listener) in &mut self.listeners {
            let serves = |p: &Process| {
                p.vassal == *vassal
                    && p.execd
                    && p.exit.is_none()
                    && !matches!(p.program.course, Course::EndsAtOnce(_))
            };
            if self.processes.values().any(serves) {
                listener.queue = 0;
            }
        }
    }
}

/// A number for eyes only.
pub fn pid_of(life: LifeId) -> i32 {
    i32::try_from(life.0 % 30_000).unwrap() + 2
}

/// What a new process is made from.
#[derive(Clone, Debug)]
pub struct Birth {
    pub vassal: VassalId,
    pub purpose: Purpose,
    pub program: Program,
    pub staged: bool,
}

impl Process {
    fn new(Birth { vassal, program, .. }: Birth) -> Self {
        Self {
            vassal,
            program,
            execd: false,
            exit: None,
            status: VecDeque::new(),
            pipe: VecDeque::new(),
            status_open: true,
            pipe_open: true,
            adopted: false,
            unmasked: false,
        }
    }

    fn channel(&self) -> Channel {
        match self.program.settings.notify {
            true => Channel::Notify,
            false => Channel::Pipe,
        }
    }

    /// It can be seen to wait for connections.
    pub fn waits_for_clients(&self) -> bool {
        let leaves = matches!(self.program.course, Course::EndsAtOnce(_));
        self.execd && self.exit.is_none() && !leaves
    }

    fn speaks(&self) -> bool {
        matches!(self.program.voice, Voice::Bytes | Voice::FewBytes)
    }

    fn say(&mut self, said: VassalMessage, channel: Channel) {
        // Idleness has no word in the notify protocol.
        let channel = if said == VassalMessage::GoIdle { Channel::Pipe } else { channel };
        if channel == Channel::Notify || self.pipe_open {
            self.pipe.push_back(LifeEvent::Message(said, channel));
        }
    }

    fn close_status(&mut self) {
        if std::mem::take(&mut self.status_open) {
            self.status.push_back(LifeEvent::StatusClosed);
        }
    }

    fn close_pipe(&mut self) {
        if std::mem::take(&mut self.pipe_open) {
            self.pipe.push_back(LifeEvent::PipeClosed);
        }
    }
}
