//! One process of one vassal, from the request for it to reaping.

use std::rc::Rc;
use std::time::Duration;

use super::announced::Announced;
use super::context::StepContext;
use super::run_state::{Deadlines, RunState, Timeout};
use super::{Channel, Effect, Fingerprint, LifeId, Order, Rules, VassalId, VassalMessage};
use crate::types::exit_status::ExitStatus;
use crate::types::moment::Moment;
use crate::types::purpose::Purpose;
use crate::types::run_settings::RunSettings;

/// A stop that takes longer than this is logged.
const SLOW_STOP: Duration = Duration::from_secs(1);

/// How the process of a life comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Birth {
    /// The spawner makes it; a stage reads the file, gives its verdict, and becomes the program.
    Stage,
    /// The spawner makes it, and it becomes the program at once.
    Direct,
    /// A fork server forks it, and it is adopted.
    ForkServer,
}

impl Birth {
    /// How a life begins, unless its verdict says otherwise; a base is never asked from another.
    pub(super) fn by_rules(rules: &Rules, is_base: bool) -> Self {
        match (rules.fork_server && !is_base, rules.stage) {
            (true, _) => Self::ForkServer,
            (false, true) => Self::Stage,
            (false, false) => Self::Direct,
        }
    }
}

/// The phase of a life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LifePhase {
    /// Its process was asked for, and there is none yet that is known and proved to be ours.
    Asked {
        /// Way in which the process is made.
        birth: Birth,
        /// Time limit for the answer, or for the proof of the answer.
        deadline: Moment,
        /// Whether a fork server has named a process. Then it is being proved that the process is ours.
        answered: bool,
        /// Time at which the life was cancelled: its process is ended as soon as it is there. The request goes on,
        /// because otherwise the process that is made would be lost.
        cancelled_at: Option<Moment>,
    },
    /// It has a process, whose program does not run yet.
    Starting {
        /// Time limit for the exec of the program.
        deadline: Moment,
    },
    /// The program runs.
    Running(RunState),
    /// The life was told to stop, or is killed.
    Cursed {
        /// Time of the order.
        since: Moment,
        /// Time of the next SIGKILL, which is repeated after each curse tolerance; `None` while it is a fallback.
        kill_at: Option<Moment>,
        /// Time at which a slow stop is logged.
        log_at: Option<Moment>,
        /// State of its program when it was told to stop; `None` if the program has not run.
        ran: Option<Ran>,
    },
}

/// The state of a program when it was told to stop, by which its end is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Signal by which it was told to stop, if it was a signal.
    stop_signal: Option<i32>,
    /// Whether it was reloading.
    was_reloading: bool,
}

/// How far the start of a life has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartResult {
    /// The stage has not given its verdict.
    Undecided,
    /// The stage has given its verdict, or there is no stage.
    Prepared,
    /// The start has failed, for this reason.
    Failed(Box<str>),
    /// The start has failed because its address is taken.
    AddressTaken(Box<AddressConflict>),
}

/// Why an address cannot be bound. It is boxed, because few lives ever meet a conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressConflict {
    /// The reason.
    pub why: Box<str>,
    /// The vassal that has the address, if it is one of ours.
    pub holder: Option<VassalId>,
}

/// One process.
#[derive(Clone, Debug)]
pub struct Life {
    /// Number of the life.
    pub id: LifeId,
    /// Purpose of the process: a start, or a check of the file.
    pub purpose: Purpose,
    /// Process id, only to be shown.
    pub pid: Option<i32>,
    /// Phase of the process.
    pub phase: LifePhase,
    /// Time at which its process was asked for.
    pub created: Moment,
    /// Settings from the verdict of its stage, or those of the rules.
    pub settings: Rc<RunSettings>,
    /// Fingerprint of its start, from the verdict of its stage.
    pub fingerprint: Fingerprint,
    /// Newest revision of the file that is known to start the same as this life.
    pub revision: u32,
    /// Progress of its start.
    pub start_result: StartResult,
    /// Whether it has sent a protocol byte.
    pub uses_protocol: bool,
    /// Announcements of its program.
    pub announced: Announced,
    /// Time of its last heartbeat.
    pub last_heartbeat: Option<Moment>,
    /// Whether the log says already that another life is to replace it.
    pub replacement_logged: bool,
    /// Number of reloads in place.
    pub reloads: u32,
    /// Time of the last reload in place.
    pub last_reload: Option<Moment>,
    /// Whether a base has forked it.
    pub is_adopted: bool,
}

impl Life {
    /// A life whose process is about to be asked for.
    pub fn new(id: LifeId, purpose: Purpose, birth: Birth, ctx: &StepContext<'_>) -> Self {
        let start_result = match birth {
            Birth::Stage => StartResult::Undecided,
            Birth::Direct | Birth::ForkServer => StartResult::Prepared,
        };
        let deadline = ctx.now + ctx.rules.answer_timeout;
        Self {
            id,
            purpose,
            pid: None,
            phase: LifePhase::Asked { birth, deadline, answered: false, cancelled_at: None },
            created: ctx.now,
            settings: Rc::clone(&ctx.rules.settings),
            fingerprint: Fingerprint::default(),
            revision: 0,
            start_result,
            uses_protocol: false,
            announced: Announced::default(),
            last_heartbeat: None,
            replacement_logged: false,
            reloads: 0,
            last_reload: None,
            is_adopted: false,
        }
    }

    /// Why its start has failed, if it has.
    pub fn failure(&self) -> Option<&str> {
        match &self.start_result {
            StartResult::Undecided | StartResult::Prepared => None,
            StartResult::Failed(why) => Some(why),
            StartResult::AddressTaken(conflict) => Some(&conflict.why),
        }
    }

    /// The other vassal that has the address which this life wants, if that is why its start has failed.
    pub fn blocked_by(&self) -> Option<VassalId> {
        match &self.start_result {
            StartResult::AddressTaken(conflict) => conflict.holder,
            StartResult::Undecided | StartResult::Prepared | StartResult::Failed(_) => None,
        }
    }

    /// Whether it was told to stop or is killed, or was cancelled before it has a process.
    pub fn is_cursed(&self) -> bool {
        self.cursed_since().is_some()
    }

    /// When it was told to stop, or was cancelled.
    pub fn cursed_since(&self) -> Option<Moment> {
        match self.phase {
            LifePhase::Cursed { since, .. } => Some(since),
            LifePhase::Asked { cancelled_at, .. } => cancelled_at,
            LifePhase::Starting { .. } | LifePhase::Running(_) => None,
        }
    }

    /// Whether its process was asked for, and is not known yet.
    pub fn is_asked(&self) -> bool {
        matches!(self.phase, LifePhase::Asked { .. })
    }

    /// The fork server has named a process; it must be proved by a new deadline.
    pub fn answered(&mut self, ctx: &StepContext<'_>) {
        if let LifePhase::Asked { deadline, answered, .. } = &mut self.phase {
            (*deadline, *answered) = (ctx.now + ctx.rules.claim_timeout, true);
        }
    }

    /// The reason for which the request is given up. The emperor answers at once; the new deadline is a safeguard.
    pub fn end_request(&mut self, ctx: &StepContext<'_>) -> &'static str {
        let LifePhase::Asked { birth, deadline, answered, .. } = &mut self.phase else {
            return "nobody is asked";
        };
        *deadline = ctx.now + ctx.rules.answer_timeout;
        match (birth, *answered) {
            (Birth::Stage | Birth::Direct, _) => "the spawner has not answered in time",
            (Birth::ForkServer, false) => "the fork server has not answered in time",
            (Birth::ForkServer, true) => {
                "the fork server has named a process that has not become our child"
            }
        }
    }

    /// Its process is there. If the life was cancelled before, the process is ended.
    pub fn born(&mut self, pid: i32, ctx: &mut StepContext<'_>) {
        let LifePhase::Asked { birth, cancelled_at, .. } = self.phase else { return };
        self.pid = Some(pid);
        match birth {
            Birth::Stage | Birth::Direct => {
                let deadline = ctx.now + ctx.rules.stage_timeout;
                self.phase = LifePhase::Starting { deadline };
            }
            Birth::ForkServer => {
                self.is_adopted = true;
                self.run(ctx);
            }
        }
        if cancelled_at.is_some() {
            self.stop(ctx);
        }
    }

    /// Whether it has ended instead of reloading, so that its successor is a new fork of the base.
    pub fn ended_for_reload(&self, exit: ExitStatus) -> bool {
        let is_reloading = match &self.phase {
            LifePhase::Running(run) => run.is_reloading,
            LifePhase::Cursed { ran, .. } => ran.is_some_and(|ran| ran.was_reloading),
            LifePhase::Asked { .. } | LifePhase::Starting { .. } => false,
        };
        self.is_adopted && is_reloading && matches!(exit, ExitStatus::Code(_))
    }

    /// Whether its program runs and was not told to stop.
    pub fn is_running(&self) -> bool {
        matches!(self.phase, LifePhase::Running(_))
    }

    /// Whether it has a process whose program does not run yet.
    pub fn is_starting(&self) -> bool {
        matches!(self.phase, LifePhase::Starting { .. })
    }

    /// Whether its program has run, not only its stage.
    pub fn has_run(&self) -> bool {
        match &self.phase {
            LifePhase::Asked { .. } | LifePhase::Starting { .. } => false,
            LifePhase::Running(_) => true,
            LifePhase::Cursed { ran, .. } => ran.is_some(),
        }
    }

    /// Its program runs from now on.
    pub fn run(&mut self, ctx: &StepContext<'_>) {
        let (now, rules, settings) = (ctx.now, ctx.rules, &self.settings);
        let silent = !settings.notify;
        let watchdog = settings.heartbeat.filter(|_| settings.notify);
        let deadlines = Deadlines {
            assume_accepting_at: silent.then(|| now + self.ready_after(rules)),
            probe_at: None,
            assume_loyal_at: silent.then(|| now + self.loyal_after(rules)),
            readiness_deadline: settings.notify.then(|| now + self.start_timeout(rules)),
            heartbeat_deadline: watchdog.map(|period| now + period + rules.required_heartbeat),
            reply_deadline: None,
        };
        self.phase = LifePhase::Running(RunState::new(now, deadlines));
    }

    fn ready_after(&self, rules: &Rules) -> Duration {
        self.settings.ready_after.unwrap_or(rules.ready_after)
    }

    fn loyal_after(&self, rules: &Rules) -> Duration {
        self.settings.loyal_after.unwrap_or(rules.loyal_after)
    }

    fn start_timeout(&self, rules: &Rules) -> Duration {
        self.settings.start_timeout.unwrap_or(rules.start_timeout)
    }

    /// Obeys what a newer file, which would start the same, says about its running. What its own exec has
    /// fixed stays: its sockets, and whether it has a notify socket.
    pub fn apply_settings(&mut self, told: &RunSettings, rules: &Rules) {
        let own = &self.settings;
        let (notify, heartbeat, listeners) = (own.notify, own.heartbeat, own.listeners);
        let places = own.places.clone();
        let settings = RunSettings { notify, heartbeat, listeners, places, ..told.clone() };
        if settings == **own {
            return;
        }
        self.settings = Rc::new(settings);
        let (ready, loyal, start) =
            (self.ready_after(rules), self.loyal_after(rules), self.start_timeout(rules));
        if let LifePhase::Running(run) = &mut self.phase {
            let since = run.since;
            run.change(|deadlines| {
                deadlines.assume_accepting_at =
                    deadlines.assume_accepting_at.map(|_| since + ready);
                deadlines.assume_loyal_at = deadlines.assume_loyal_at.map(|_| since + loyal);
                deadlines.readiness_deadline = deadlines.readiness_deadline.map(|_| since + start);
            });
        }
    }

    /// Has a life with listeners of ours probed for whether it accepts, until it has announced something or counts as
    /// accepting. The first probe comes this time after the begin of its program. The pause before each further one
    /// is as long as the program has run, but at most one second, or a tenth of its age where that is more.
    pub fn probe_after(&mut self, first: Duration) {
        if let LifePhase::Running(run) = &mut self.phase {
            let at = run.since + first;
            run.change(|deadlines| deadlines.probe_at = deadlines.assume_accepting_at.map(|_| at));
        }
    }

    /// Whether it is probed, because it has announced nothing yet.
    pub fn is_probed(&self) -> bool {
        matches!(&self.phase, LifePhase::Running(run) if run.is_probed())
    }

    /// Schedules the next probe. True if one is due now, and the program does not count as accepting by its age.
    pub fn next_probe(&mut self, now: Moment) -> bool {
        let LifePhase::Running(run) = &mut self.phase else { return false };
        run.next_probe(now)
    }

    /// Whether it can be told to reload in place, without a new exec.
    pub fn reloads_in_place(&self) -> bool {
        self.uses_protocol || self.settings.reload_signal.is_some()
    }

    /// Takes a message of the program; true if it changes what is known of it.
    pub fn on_message(
        &mut self,
        message: VassalMessage,
        channel: Channel,
        ctx: &StepContext<'_>,
    ) -> bool {
        let first = channel == Channel::Pipe && !self.uses_protocol;
        self.uses_protocol |= channel == Channel::Pipe;
        if let LifePhase::Running(run) = &mut self.phase {
            run.is_reloading = false;
            run.change(|deadlines| {
                deadlines.reply_deadline = None;
                if first {
                    // From here on its messages count, not its age.
                    deadlines.assume_accepting_at = None;
                    deadlines.probe_at = None;
                    deadlines.assume_loyal_at = None;
                }
                match message {
                    VassalMessage::Heartbeat => {
                        deadlines.heartbeat_deadline = Some(ctx.now + ctx.rules.required_heartbeat);
                    }
                    VassalMessage::Accepting => deadlines.readiness_deadline = None,
                    VassalMessage::Ready if channel == Channel::Notify => {
                        deadlines.readiness_deadline = None;
                    }
                    VassalMessage::Ready | VassalMessage::Loyal | VassalMessage::GoIdle => {}
                }
            });
        }
        match message {
            VassalMessage::Ready => self.announced.ready.make(ctx.now),
            VassalMessage::Accepting => self.announced.accepting.make(ctx.now),
            VassalMessage::Loyal => self.announced.loyal.make(ctx.now),
            VassalMessage::Heartbeat => {
                self.last_heartbeat = Some(ctx.now);
                false
            }
            VassalMessage::GoIdle => true,
        }
    }

    /// A program that uses the protocol and is to replace another must say that it is accepting.
    pub fn expect_accepting(&mut self, rules: &Rules) {
        let limit = self.start_timeout(rules);
        if let LifePhase::Running(run) = &mut self.phase {
            let announce_by = run.since + limit;
            run.change(|deadlines| {
                deadlines.readiness_deadline = deadlines.readiness_deadline.or(Some(announce_by))
            });
        }
    }

    /// The life that it was to replace has ended: its readiness deadline goes, unless it has a notify socket.
    pub fn clear_replacement_deadline(&mut self) {
        if let LifePhase::Running(run) = &mut self.phase
            && !self.settings.notify
        {
            run.change(|deadlines| deadlines.readiness_deadline = None);
        }
    }

    /// Counts a reload in place, after which the program announces its readiness again.
    pub fn reload(&mut self, now: Moment) {
        self.count_reload(now);
        self.announced.ready.withdraw();
        self.announced.accepting.withdraw();
        // A program that loads sends no heartbeat; the first one after it starts the watch anew.
        if let LifePhase::Running(run) = &mut self.phase {
            run.is_reloading = true;
            run.change(|deadlines| deadlines.heartbeat_deadline = None);
        }
    }

    /// Counts a reload in place.
    pub fn count_reload(&mut self, now: Moment) {
        self.reloads = self.reloads.saturating_add(1);
        self.last_reload = Some(now);
    }

    /// The heartbeat is missing: waits as long as the curse tolerance for any message.
    pub fn expect_reply(&mut self, ctx: &StepContext<'_>) {
        if let LifePhase::Running(run) = &mut self.phase {
            run.change(|deadlines| {
                deadlines.heartbeat_deadline = None;
                deadlines.reply_deadline = Some(ctx.now + ctx.rules.curse_tolerance);
            });
        }
    }

    /// Tells it to stop; one that does not run its program yet is killed.
    pub fn stop(&mut self, ctx: &mut StepContext<'_>) {
        match self.phase {
            LifePhase::Asked { .. } => self.curse(ctx),
            LifePhase::Starting { .. } => self.kill(ctx),
            LifePhase::Running(_) => self.stop_program(ctx),
            LifePhase::Cursed { kill_at: None, .. } => self.curse(ctx),
            LifePhase::Cursed { kill_at: Some(_), .. } => {}
        }
    }

    fn stop_program(&mut self, ctx: &mut StepContext<'_>) {
        let graceful = ctx.rules.graceful_shutdown;
        let order = if graceful { Order::StopGracefully } else { Order::Stop };
        ctx.out.push(Effect::Tell(self.id, order));
        let mut signal = None;
        if !self.uses_protocol {
            let gentle = self.settings.graceful_signal.filter(|_| graceful);
            let number = i32::from(gentle.unwrap_or(self.settings.stop_signal()));
            ctx.out.push(Effect::Signal(self.id, number, self.settings.stop_to));
            signal = Some(number);
        }
        self.curse(ctx);
        if let LifePhase::Cursed { log_at, kill_at, ran, .. } = &mut self.phase {
            let slow = Some(ctx.now + SLOW_STOP);
            *log_at = slow.filter(|at| kill_at.is_none_or(|kill| *at < kill));
            if let Some(ran) = ran {
                ran.stop_signal = signal;
            }
        }
    }

    /// Begins the curse tolerance without an order, because its pipe is closed or the order was given already.
    pub fn curse(&mut self, ctx: &StepContext<'_>) {
        let (since, ran) = match &mut self.phase {
            LifePhase::Asked { cancelled_at, .. } => {
                cancelled_at.get_or_insert(ctx.now);
                return;
            }
            LifePhase::Starting { .. } => (ctx.now, None),
            LifePhase::Running(run) => {
                (ctx.now, Some(Ran { stop_signal: None, was_reloading: run.is_reloading }))
            }
            LifePhase::Cursed { since, ran, .. } => (*since, *ran),
        };
        let kill_at = Some(ctx.now + ctx.rules.curse_tolerance);
        self.phase = LifePhase::Cursed { since, kill_at, log_at: None, ran };
    }

    /// When it is killed if it is still there.
    pub fn kill_at(&self) -> Option<Moment> {
        match self.phase {
            LifePhase::Cursed { kill_at, .. } => kill_at,
            LifePhase::Asked { .. } | LifePhase::Starting { .. } | LifePhase::Running(_) => None,
        }
    }

    /// Notes that its slow stop was logged; gives the time until it is killed.
    pub fn stops_slowly(&mut self, now: Moment) -> Duration {
        match &mut self.phase {
            LifePhase::Cursed { kill_at, log_at, .. } => {
                *log_at = None;
                kill_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
            }
            LifePhase::Asked { .. } | LifePhase::Starting { .. } | LifePhase::Running(_) => {
                Duration::ZERO
            }
        }
    }

    /// Makes it the fallback: it was told to stop, but is not killed as long as no other life takes requests.
    pub fn become_fallback(&mut self) {
        if let LifePhase::Cursed { kill_at, log_at, .. } = &mut self.phase {
            (*kill_at, *log_at) = (None, None);
        }
    }

    /// Whether it was told to stop, but is not killed as long as no other life takes requests.
    pub fn is_fallback(&self) -> bool {
        matches!(self.phase, LifePhase::Cursed { kill_at: None, .. })
    }

    /// Kills it, and again each curse tolerance.
    pub fn kill(&mut self, ctx: &mut StepContext<'_>) {
        if !self.is_asked() {
            ctx.out.push(Effect::Kill(self.id));
        }
        self.curse(ctx);
    }

    /// Kills it, of which is known only that it has a process.
    pub(super) fn kill_unseen(&mut self, ctx: &mut StepContext<'_>) {
        self.phase = LifePhase::Starting { deadline: ctx.now };
        self.kill(ctx);
    }

    /// Whether this end is what it was told, or a good one by itself.
    pub fn ended_well(&self, exit: ExitStatus) -> bool {
        match exit {
            ExitStatus::Code(code) => code == 0,
            ExitStatus::Signal(signal) | ExitStatus::CoreDump(signal) => {
                let told = Some(signal);
                matches!(self.phase, LifePhase::Cursed { ran: Some(ran), .. } if ran.stop_signal == told)
            }
        }
    }

    /// The nearest deadline, and its kind.
    pub fn deadline(&self) -> Option<(Moment, Timeout)> {
        match &self.phase {
            LifePhase::Asked { deadline, .. } => Some((*deadline, Timeout::Answer)),
            LifePhase::Starting { deadline } => Some((*deadline, Timeout::Start)),
            LifePhase::Cursed { log_at: Some(at), .. } => Some((*at, Timeout::SlowStop)),
            LifePhase::Cursed { kill_at, .. } => kill_at.map(|at| (at, Timeout::Kill)),
            LifePhase::Running(run) => run.deadline(),
        }
    }

    /// Counts as accepting (and ready) by its age.
    pub fn assume_accepting(&mut self, now: Moment) {
        if let LifePhase::Running(run) = &mut self.phase {
            run.change(|deadlines| {
                (deadlines.assume_accepting_at, deadlines.probe_at) = (None, None)
            });
        }
        self.announced.ready.make(now);
        self.announced.accepting.make(now);
    }

    /// Counts as loyal, by its age or by its readiness; true if it was not before.
    pub fn assume_loyal(&mut self, now: Moment) -> bool {
        if let LifePhase::Running(run) = &mut self.phase {
            run.change(|deadlines| deadlines.assume_loyal_at = None);
        }
        self.announced.loyal.make(now)
    }

    /// Whether it has announced that it takes requests, or is assumed by its age to do so.
    pub fn is_accepting(&self) -> bool {
        self.announced.accepting.holds()
    }

    /// Whether it has announced that it is loyal, or is assumed to be by its age.
    pub fn is_loyal(&self) -> bool {
        self.announced.loyal.holds()
    }

    /// How long it has lived.
    pub fn age(&self, now: Moment) -> Duration {
        now.saturating_duration_since(self.created)
    }
}
