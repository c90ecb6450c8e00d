//! One process of one vassal, from fork or adoption to reaping.

use std::rc::Rc;
use std::time::Duration;

use super::{
    Channel, Effect, Exit, Fingerprint, LifeId, Order, Role, Rules, VassalId, VassalMessage,
};
use crate::types::moment::Moment;
use crate::types::run_settings::RunSettings;

/// Where a life is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LifePhase {
    /// Forked; its program does not run yet.
    Starting {
        /// The program must run by then.
        deadline: Moment,
    },
    /// A base is asked for it; there is no process of ours yet.
    Asked {
        /// The answer, or the proof of it, must be there by then.
        deadline: Moment,
        /// Nobody wants it any more since then: what is born is stopped. The talk is not cut short,
        /// because nobody would know what was born of it.
        cancelled_at: Option<Moment>,
    },
    /// Its program runs.
    Running(RunState),
    /// Told to stop, or to be killed.
    Cursed {
        /// Since then.
        since: Moment,
        /// SIGKILL then, and again each curse tolerance; never as long as it is spared.
        kill_at: Option<Moment>,
        /// If it is still there then, that is told.
        log_at: Option<Moment>,
    },
}

/// What a running life is watched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunState {
    /// Its program began.
    since: Moment,
    /// Nothing once it has settled, as most have.
    due: Option<Box<Deadlines>>,
}

impl RunState {
    fn change(&mut self, change: impl FnOnce(&mut Deadlines)) {
        let mut due = self.due.take().unwrap_or_default();
        change(&mut due);
        self.due = Some(due).filter(|due| **due != Deadlines::default());
    }
}

/// The deadlines of a running life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Deadlines {
    /// Counts as accepting then, as it announces nothing.
    assume_accepting_at: Option<Moment>,
    /// Is looked at then, whether it accepts already.
    probe_at: Option<Moment>,
    /// Counts as loyal then, as it speaks no protocol.
    assume_loyal_at: Option<Moment>,
    /// Must have announced its readiness by then.
    readiness_deadline: Option<Moment>,
    /// The next heartbeat must have come by then.
    heartbeat_deadline: Option<Moment>,
    /// It was asked to reload for its silence; any word must have come by then.
    reply_deadline: Option<Moment>,
}

impl Deadlines {
    /// The nearest, and what has passed with it.
    fn first(&self) -> Option<(Moment, Timeout)> {
        [
            (self.assume_accepting_at, Timeout::AssumeAccepting),
            (self.probe_at, Timeout::Probe),
            (self.assume_loyal_at, Timeout::AssumeLoyal),
            (self.readiness_deadline, Timeout::Readiness),
            (self.heartbeat_deadline, Timeout::Heartbeat),
            (self.reply_deadline, Timeout::Reply),
        ]
        .into_iter()
        .filter_map(|(at, what)| at.map(|at| (at, what)))
        .min_by_key(|(at, _)| *at)
    }
}

/// A deadline of a life that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Its program does not run in time.
    Start,
    /// The fork server does not answer in time, or with what cannot be proved in time.
    ForkServer,
    /// It has been running long enough to count as accepting.
    AssumeAccepting,
    /// It is time to see whether it accepts.
    Probe,
    /// It has been running long enough to count as loyal.
    AssumeLoyal,
    /// It has not announced its readiness in time.
    Readiness,
    /// Its heartbeat has not come.
    Heartbeat,
    /// It was asked to reload for that, and is silent still.
    Reply,
    /// It was told to stop a second ago, and lives.
    SlowStop,
    /// It was told to stop, and lives.
    Kill,
}

/// The first look at a life that is to take over, and the shortest pause between two.
pub(super) const FIRST_PROBE: Duration = Duration::from_millis(20);
/// The first look at a life that nobody waits for.
pub(super) const IDLE_PROBE: Duration = Duration::from_millis(500);
/// The longest pause between two looks, while it is young.
const LONGEST_PROBE_PAUSE: Duration = Duration::from_secs(1);

/// A stop that takes longer than this is told.
const SLOW_STOP: Duration = Duration::from_secs(1);

/// When the life last said or did something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timestamps {
    /// Ready.
    pub ready: Option<Moment>,
    /// Accepting.
    pub accepting: Option<Moment>,
    /// Loyal.
    pub loyal: Option<Moment>,
    /// Heartbeat.
    pub beat: Option<Moment>,
}

/// One process.
#[derive(Clone, Debug)]
pub struct Life {
    /// Its number.
    pub id: LifeId,
    /// The part it plays.
    pub role: Role,
    /// Its process id, for eyes only.
    pub pid: Option<i32>,
    /// Where it is.
    pub phase: LifePhase,
    /// When it was forked.
    pub born: Moment,
    /// What its stage has told of it.
    pub settings: Rc<RunSettings>,
    /// Of its start, as far as a stage has told.
    pub fingerprint: Fingerprint,
    /// The last edition of its file that it is known to be as good as.
    pub revision: u32,
    /// The stage has given its verdict; true from the start where none runs.
    pub verdict: bool,
    /// Why its start has failed.
    pub failed: Option<Box<str>>,
    /// It wants an address that somebody else has.
    pub is_blocked: bool,
    /// And that is this other vassal.
    pub blocked_by: Option<VassalId>,
    /// Its program has run, not only its stage.
    pub has_run: bool,
    /// It has sent a protocol byte.
    pub uses_protocol: bool,
    /// It has started.
    pub ready: bool,
    /// It takes requests.
    pub accepting: bool,
    /// It has served one.
    pub loyal: bool,
    /// When it said so.
    pub timestamps: Timestamps,
    /// It is told that another is to come after it.
    pub announced: bool,
    /// Reloads in place.
    pub reloads: u32,
    /// The last of them.
    pub reloaded: Option<Moment>,
    /// It was forked by a base.
    pub adopted: bool,
    /// The base has answered; what it has said is being proved.
    answered: bool,
    /// It was told to reload by byte, and has said nothing since.
    reloading: bool,
    stopped_by: Option<i32>,
}

impl Life {
    /// A life that is about to be forked.
    pub fn new(id: LifeId, role: Role, now: Moment, rules: &Rules) -> Self {
        Self {
            id,
            role,
            pid: None,
            phase: LifePhase::Starting { deadline: now + rules.stage_timeout },
            born: now,
            settings: Rc::clone(&rules.settings),
            fingerprint: Fingerprint::default(),
            revision: 0,
            verdict: !rules.stage,
            failed: None,
            is_blocked: false,
            blocked_by: None,
            announced: false,
            has_run: false,
            uses_protocol: false,
            ready: false,
            accepting: false,
            loyal: false,
            timestamps: Timestamps::default(),
            reloads: 0,
            reloaded: None,
            adopted: false,
            answered: false,
            reloading: false,
            stopped_by: None,
        }
    }

    /// A life that a base is about to be asked for.
    pub fn asked(id: LifeId, role: Role, now: Moment, rules: &Rules) -> Self {
        let deadline = now + rules.adoption_timeout;
        Self {
            phase: LifePhase::Asked { deadline, cancelled_at: None },
            verdict: true,
            ..Self::new(id, role, now, rules)
        }
    }

    /// It was told to stop, or to be killed; or will be, as soon as it is born.
    pub fn is_cursed(&self) -> bool {
        matches!(
            self.phase,
            LifePhase::Cursed { .. } | LifePhase::Asked { cancelled_at: Some(_), .. }
        )
    }

    /// A base was asked for it, and it is not adopted yet.
    pub fn is_asked(&self) -> bool {
        matches!(self.phase, LifePhase::Asked { .. })
    }

    /// The base has named a process; it must be proved by a new deadline.
    pub fn answered(&mut self, now: Moment, rules: &Rules) {
        if let LifePhase::Asked { deadline, .. } = &mut self.phase {
            *deadline = now + rules.claim_timeout;
            self.answered = true;
        }
    }

    /// The talk is given up: why. The shell answers at once; the new deadline is for one that does not.
    pub fn end_talk(&mut self, now: Moment, rules: &Rules) -> &'static str {
        if let LifePhase::Asked { deadline, .. } = &mut self.phase {
            *deadline = now + rules.adoption_timeout;
        }
        match self.answered {
            true => "the fork server has named a process that has not become ours",
            false => "the fork server has not answered in time",
        }
    }

    /// It has a process; tells whether anybody still wants it.
    pub fn adopt(&mut self, pid: i32, now: Moment, rules: &Rules) -> bool {
        let wanted = !self.is_cursed();
        self.pid = Some(pid);
        self.adopted = true;
        self.run(now, rules);
        wanted
    }

    /// It has ended by itself instead of reloading: its successor is a new fork.
    pub fn ended_for_reload(&self, exit: Exit) -> bool {
        self.adopted && self.reloading && matches!(exit, Exit::Code(_))
    }

    /// Its program runs, and nobody has told it to stop.
    pub fn is_running(&self) -> bool {
        matches!(self.phase, LifePhase::Running(_))
    }

    /// Its program does not run yet.
    pub fn is_starting(&self) -> bool {
        matches!(self.phase, LifePhase::Starting { .. })
    }

    /// Its program runs from now on.
    pub fn run(&mut self, now: Moment, rules: &Rules) {
        let settings = &self.settings;
        let silent = !settings.notify;
        let watchdog = settings.heartbeat.filter(|_| settings.notify);
        let due = Deadlines {
            assume_accepting_at: silent.then(|| now + self.ready_after(rules)),
            probe_at: None,
            assume_loyal_at: silent.then(|| now + self.loyal_after(rules)),
            readiness_deadline: settings.notify.then(|| now + self.start_timeout(rules)),
            heartbeat_deadline: watchdog.map(|period| now + period + rules.required_heartbeat),
            reply_deadline: None,
        };
        self.phase = LifePhase::Running(RunState { since: now, due: Some(Box::new(due)) });
        self.has_run = true;
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
        if let LifePhase::Running(watch) = &mut self.phase {
            let since = watch.since;
            watch.change(|due| {
                due.assume_accepting_at = due.assume_accepting_at.map(|_| since + ready);
                due.assume_loyal_at = due.assume_loyal_at.map(|_| since + loyal);
                due.readiness_deadline = due.readiness_deadline.map(|_| since + start);
            });
        }
    }

    /// It has listeners of ours: as long as nothing is known of it, it is looked at whether it accepts, from
    /// this time after its begin on, in pauses as long as it has run so far, but of a second at most (or a
    /// tenth of its age).
    pub fn probe_after(&mut self, first: Duration) {
        if let LifePhase::Running(watch) = &mut self.phase {
            let at = watch.since + first;
            watch.change(|due| due.probe_at = due.assume_accepting_at.map(|_| at));
        }
    }

    /// Nothing is known of it yet, and whether it accepts is looked at.
    pub fn is_probed(&self) -> bool {
        let LifePhase::Running(watch) = &self.phase else { return false };
        watch.due.as_ref().is_some_and(|due| due.probe_at.is_some())
    }

    /// It is time to look at it; true if it is, as it is not to be believed by its age at once.
    pub fn next_probe(&mut self, now: Moment) -> bool {
        let LifePhase::Running(watch) = &mut self.phase else { return false };
        let age = now.saturating_duration_since(watch.since);
        let pause = age.min(LONGEST_PROBE_PAUSE.max(age / 10)).max(FIRST_PROBE);
        let mut is_due = false;
        watch.change(|due| {
            is_due = due.assume_accepting_at.is_some_and(|at| at > now);
            due.probe_at = is_due.then(|| now + pause);
        });
        is_due
    }

    /// Can be told to reload without an exec of ours.
    pub fn reloads_in_place(&self) -> bool {
        self.uses_protocol || self.settings.reload_signal.is_some()
    }

    /// Takes a word of the program; true if it changes what is known of it.
    pub fn on_message(
        &mut self,
        now: Moment,
        said: VassalMessage,
        channel: Channel,
        rules: &Rules,
    ) -> bool {
        let first = channel == Channel::Pipe && !self.uses_protocol;
        self.uses_protocol |= channel == Channel::Pipe;
        self.reloading = false;
        if let LifePhase::Running(watch) = &mut self.phase {
            watch.change(|due| {
                due.reply_deadline = None;
                if first {
                    // From here on it is believed by its words, not by its age.
                    due.assume_accepting_at = None;
                    due.probe_at = None;
                    due.assume_loyal_at = None;
                }
                match said {
                    VassalMessage::Heartbeat => {
                        due.heartbeat_deadline = Some(now + rules.required_heartbeat)
                    }
                    VassalMessage::Accepting => due.readiness_deadline = None,
                    VassalMessage::Ready if channel == Channel::Notify => {
                        due.readiness_deadline = None
                    }
                    VassalMessage::Ready | VassalMessage::Loyal | VassalMessage::GoIdle => {}
                }
            });
        }
        match said {
            VassalMessage::Ready => flag(&mut self.ready, &mut self.timestamps.ready, now),
            VassalMessage::Accepting => {
                flag(&mut self.accepting, &mut self.timestamps.accepting, now)
            }
            VassalMessage::Loyal => flag(&mut self.loyal, &mut self.timestamps.loyal, now),
            VassalMessage::Heartbeat => {
                self.timestamps.beat = Some(now);
                false
            }
            VassalMessage::GoIdle => true,
        }
    }

    /// A speaker that is to replace another must say that it is accepting.
    pub fn expect_accepting(&mut self, rules: &Rules) {
        let limit = self.start_timeout(rules);
        if let LifePhase::Running(watch) = &mut self.phase {
            let announce_by = watch.since + limit;
            watch.change(|due| {
                due.readiness_deadline = due.readiness_deadline.or(Some(announce_by))
            });
        }
    }

    /// The life that it was to replace is gone: only what it has promised is asked of it.
    pub fn clear_replacement_deadline(&mut self) {
        if let LifePhase::Running(watch) = &mut self.phase
            && !self.settings.notify
        {
            watch.change(|due| due.readiness_deadline = None);
        }
    }

    /// It was told to reload in place: it says again when it is ready.
    pub fn reload(&mut self, now: Moment) {
        self.count_reload(now);
        self.ready = false;
        self.accepting = false;
        self.reloading = true;
        // Nobody beats while he loads; the first beat after it starts the watch anew.
        if let LifePhase::Running(watch) = &mut self.phase {
            watch.change(|due| due.heartbeat_deadline = None);
        }
    }

    /// It was told to reload in place.
    pub fn count_reload(&mut self, now: Moment) {
        self.reloads = self.reloads.saturating_add(1);
        self.reloaded = Some(now);
    }

    /// Its heartbeat is missing: gives it the curse tolerance for any word.
    pub fn expect_reply(&mut self, now: Moment, rules: &Rules) {
        if let LifePhase::Running(watch) = &mut self.phase {
            watch.change(|due| {
                due.heartbeat_deadline = None;
                due.reply_deadline = Some(now + rules.curse_tolerance);
            });
        }
    }

    /// Tells it to stop; one that does not run its program yet is killed.
    pub fn stop(&mut self, now: Moment, rules: &Rules, out: &mut Vec<Effect>) {
        match self.phase {
            LifePhase::Starting { .. } | LifePhase::Asked { .. } => self.kill(now, rules, out),
            LifePhase::Running(_) => {
                let graceful = rules.graceful_shutdown;
                let order = if graceful { Order::StopGracefully } else { Order::Stop };
                out.push(Effect::Tell(self.id, order));
                if !self.uses_protocol {
                    let gentle = self.settings.graceful_signal.filter(|_| graceful);
                    let signal = i32::from(gentle.unwrap_or(self.settings.stop_signal()));
                    self.stopped_by = Some(signal);
                    out.push(Effect::Signal(self.id, signal, self.settings.stop_to));
                }
                self.curse(now, rules);
                if let LifePhase::Cursed { log_at, kill_at, .. } = &mut self.phase {
                    *log_at =
                        Some(now + SLOW_STOP).filter(|at| kill_at.is_none_or(|kill| *at < kill));
                }
            }
            LifePhase::Cursed { kill_at: None, .. } => self.curse(now, rules),
            LifePhase::Cursed { kill_at: Some(_), .. } => {}
        }
    }

    /// Its pipe is gone, so it cannot be told: the curse alone.
    pub fn curse(&mut self, now: Moment, rules: &Rules) {
        let since = match &mut self.phase {
            LifePhase::Cursed { since, .. } => *since,
            LifePhase::Starting { .. } | LifePhase::Running(_) => now,
            LifePhase::Asked { cancelled_at, .. } => {
                cancelled_at.get_or_insert(now);
                return;
            }
        };
        let kill_at = Some(now + rules.curse_tolerance);
        self.phase = LifePhase::Cursed { since, kill_at, log_at: None };
    }

    /// When it is killed if it is still there.
    pub fn kill_at(&self) -> Option<Moment> {
        match self.phase {
            LifePhase::Cursed { kill_at, .. } => kill_at,
            LifePhase::Starting { .. } | LifePhase::Asked { .. } | LifePhase::Running { .. } => {
                None
            }
        }
    }

    /// Its slow stop is told; gives the time that is left to it.
    pub fn stops_slowly(&mut self, now: Moment) -> Duration {
        match &mut self.phase {
            LifePhase::Cursed { kill_at, log_at, .. } => {
                *log_at = None;
                kill_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
            }
            LifePhase::Starting { .. } | LifePhase::Asked { .. } | LifePhase::Running(_) => {
                Duration::ZERO
            }
        }
    }

    /// It was told to stop, and may take its time as long as nobody takes requests in its place.
    pub fn become_fallback(&mut self) {
        if let LifePhase::Cursed { kill_at, log_at, .. } = &mut self.phase {
            (*kill_at, *log_at) = (None, None);
        }
    }

    /// It was told to stop, and is not killed if it does not.
    pub fn is_fallback(&self) -> bool {
        matches!(self.phase, LifePhase::Cursed { kill_at: None, .. })
    }

    /// Kills it without a further word, and again each curse tolerance.
    pub fn kill(&mut self, now: Moment, rules: &Rules, out: &mut Vec<Effect>) {
        if !self.is_asked() {
            out.push(Effect::Kill(self.id));
        }
        self.curse(now, rules);
    }

    /// Whether this end is what it was told, or a good one by itself.
    pub fn ended_well(&self, exit: Exit) -> bool {
        match exit {
            Exit::Code(code) => code == 0,
            Exit::Signal(signal) => self.stopped_by == Some(signal),
        }
    }

    /// Its nearest deadline, and what has passed with it.
    pub fn deadline(&self) -> Option<(Moment, Timeout)> {
        match &self.phase {
            LifePhase::Starting { deadline } => Some((*deadline, Timeout::Start)),
            LifePhase::Asked { deadline, .. } => Some((*deadline, Timeout::ForkServer)),
            LifePhase::Cursed { log_at: Some(at), .. } => Some((*at, Timeout::SlowStop)),
            LifePhase::Cursed { kill_at, .. } => kill_at.map(|at| (at, Timeout::Kill)),
            LifePhase::Running(watch) => watch.due.as_ref().and_then(|due| due.first()),
        }
    }

    /// Counts as accepting (and ready) by its age.
    pub fn assume_accepting(&mut self, now: Moment) {
        if let LifePhase::Running(watch) = &mut self.phase {
            watch.change(|due| (due.assume_accepting_at, due.probe_at) = (None, None));
        }
        flag(&mut self.ready, &mut self.timestamps.ready, now);
        flag(&mut self.accepting, &mut self.timestamps.accepting, now);
    }

    /// Counts as loyal, by its age or by its readiness; true if it was not before.
    pub fn assume_loyal(&mut self, now: Moment) -> bool {
        if let LifePhase::Running(watch) = &mut self.phase {
            watch.change(|due| due.assume_loyal_at = None);
        }
        flag(&mut self.loyal, &mut self.timestamps.loyal, now)
    }

    /// How long it has lived.
    pub fn age(&self, now: Moment) -> Duration {
        now.saturating_duration_since(self.born)
    }
}

/// Sets a flag and its mark; true if it was not set before.
fn flag(flag: &mut bool, mark: &mut Option<Moment>, now: Moment) -> bool {
    *mark = Some(now);
    !std::mem::replace(flag, true)
}
