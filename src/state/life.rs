//! One process of one vassal, from fork or adoption to reaping.

use std::rc::Rc;
use std::time::Duration;

use super::{Channel, Effect, Exit, Fingerprint, LifeId, Order, Role, Rules, Said, VassalId};
use crate::types::moment::Moment;
use crate::types::run_settings::RunSettings;

/// Where a life is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
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
        unwanted: Option<Moment>,
    },
    /// Its program runs.
    Running(Watch),
    /// Told to stop, or to be killed.
    Cursed {
        /// Since then.
        since: Moment,
        /// SIGKILL then, and again each curse tolerance; never as long as it is spared.
        kill_at: Option<Moment>,
        /// If it is still there then, that is told.
        tell_at: Option<Moment>,
    },
}

/// What a running life is watched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Its program began.
    since: Moment,
    /// Nothing once it has settled, as most have.
    due: Option<Box<Due>>,
}

impl Watch {
    fn change(&mut self, change: impl FnOnce(&mut Due)) {
        let mut due = self.due.take().unwrap_or_default();
        change(&mut due);
        self.due = Some(due).filter(|due| **due != Due::default());
    }
}

/// The deadlines of a running life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Due {
    /// Counts as accepting then, as it announces nothing.
    accepting_at: Option<Moment>,
    /// Is looked at then, whether it accepts already.
    look_at: Option<Moment>,
    /// Counts as loyal then, as it speaks no protocol.
    loyal_at: Option<Moment>,
    /// Must have announced its readiness by then.
    ready_by: Option<Moment>,
    /// The next heartbeat must have come by then.
    beat_by: Option<Moment>,
    /// It was asked to reload for its silence; any word must have come by then.
    word_by: Option<Moment>,
}

impl Due {
    /// The nearest, and what has passed with it.
    fn first(&self) -> Option<(Moment, Overdue)> {
        [
            (self.accepting_at, Overdue::Accepting),
            (self.look_at, Overdue::Look),
            (self.loyal_at, Overdue::Loyal),
            (self.ready_by, Overdue::Readiness),
            (self.beat_by, Overdue::Beat),
            (self.word_by, Overdue::Word),
        ]
        .into_iter()
        .filter_map(|(at, what)| at.map(|at| (at, what)))
        .min_by_key(|(at, _)| *at)
    }
}

/// A deadline of a life that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// Its program does not run in time.
    Start,
    /// The fork server does not answer in time, or with what cannot be proved in time.
    Talk,
    /// It has been running long enough to count as accepting.
    Accepting,
    /// It is time to see whether it accepts.
    Look,
    /// It has been running long enough to count as loyal.
    Loyal,
    /// It has not announced its readiness in time.
    Readiness,
    /// Its heartbeat has not come.
    Beat,
    /// It was asked to reload for that, and is silent still.
    Word,
    /// It was told to stop a second ago, and lives.
    Slow,
    /// It was told to stop, and lives.
    Kill,
}

/// The first look at a life that is to take over, and the shortest pause between two.
pub(super) const FIRST_LOOK: Duration = Duration::from_millis(20);
/// The first look at a life that nobody waits for.
pub(super) const IDLE_LOOK: Duration = Duration::from_millis(500);
/// The longest pause between two looks, while it is young.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// A stop that takes longer than this is told.
const LONG_STOP: Duration = Duration::from_secs(1);

/// When the life last said or did something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
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
    pub phase: Phase,
    /// When it was forked.
    pub born: Moment,
    /// What its stage has told of it.
    pub settings: Rc<RunSettings>,
    /// Of its start, as far as a stage has told.
    pub fingerprint: Fingerprint,
    /// The last edition of its file that it is known to be as good as.
    pub edition: u32,
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
    pub spoke: bool,
    /// It has started.
    pub ready: bool,
    /// It takes requests.
    pub accepting: bool,
    /// It has served one.
    pub loyal: bool,
    /// When it said so.
    pub marks: Marks,
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
            phase: Phase::Starting { deadline: now + rules.stage_timeout },
            born: now,
            settings: Rc::clone(&rules.settings),
            fingerprint: Fingerprint::default(),
            edition: 0,
            verdict: !rules.stage,
            failed: None,
            is_blocked: false,
            blocked_by: None,
            announced: false,
            has_run: false,
            spoke: false,
            ready: false,
            accepting: false,
            loyal: false,
            marks: Marks::default(),
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
            phase: Phase::Asked { deadline, unwanted: None },
            verdict: true,
            ..Self::new(id, role, now, rules)
        }
    }

    /// It was told to stop, or to be killed; or will be, as soon as it is born.
    pub fn is_cursed(&self) -> bool {
        matches!(self.phase, Phase::Cursed { .. } | Phase::Asked { unwanted: Some(_), .. })
    }

    /// A base was asked for it, and it is not adopted yet.
    pub fn is_asked(&self) -> bool {
        matches!(self.phase, Phase::Asked { .. })
    }

    /// The base has named a process; it must be proved by a new deadline.
    pub fn answered(&mut self, now: Moment, rules: &Rules) {
        if let Phase::Asked { deadline, .. } = &mut self.phase {
            *deadline = now + rules.claim_timeout;
            self.answered = true;
        }
    }

    /// The talk is given up: why. The shell answers at once; the new deadline is for one that does not.
    pub fn end_talk(&mut self, now: Moment, rules: &Rules) -> &'static str {
        if let Phase::Asked { deadline, .. } = &mut self.phase {
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
        matches!(self.phase, Phase::Running(_))
    }

    /// Its program does not run yet.
    pub fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. })
    }

    /// Its program runs from now on.
    pub fn run(&mut self, now: Moment, rules: &Rules) {
        let settings = &self.settings;
        let silent = !settings.notify;
        let watchdog = settings.heartbeat.filter(|_| settings.notify);
        let due = Due {
            accepting_at: silent.then(|| now + self.ready_after(rules)),
            look_at: None,
            loyal_at: silent.then(|| now + self.loyal_after(rules)),
            ready_by: settings.notify.then(|| now + self.start_timeout(rules)),
            beat_by: watchdog.map(|period| now + period + rules.required_heartbeat),
            word_by: None,
        };
        self.phase = Phase::Running(Watch { since: now, due: Some(Box::new(due)) });
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
    pub fn obey(&mut self, told: &RunSettings, rules: &Rules) {
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
        if let Phase::Running(watch) = &mut self.phase {
            let since = watch.since;
            watch.change(|due| {
                due.accepting_at = due.accepting_at.map(|_| since + ready);
                due.loyal_at = due.loyal_at.map(|_| since + loyal);
                due.ready_by = due.ready_by.map(|_| since + start);
            });
        }
    }

    /// It has listeners of ours: as long as nothing is known of it, it is looked at whether it accepts, from
    /// this time after its begin on, in pauses as long as it has run so far, but of a second at most (or a
    /// tenth of its age).
    pub fn look_after(&mut self, first: Duration) {
        if let Phase::Running(watch) = &mut self.phase {
            let at = watch.since + first;
            watch.change(|due| due.look_at = due.accepting_at.map(|_| at));
        }
    }

    /// Nothing is known of it yet, and whether it accepts is looked at.
    pub fn is_looked_at(&self) -> bool {
        let Phase::Running(watch) = &self.phase else { return false };
        watch.due.as_ref().is_some_and(|due| due.look_at.is_some())
    }

    /// It is time to look at it; true if it is, as it is not to be believed by its age at once.
    pub fn looked(&mut self, now: Moment) -> bool {
        let Phase::Running(watch) = &mut self.phase else { return false };
        let age = now.saturating_duration_since(watch.since);
        let pause = age.min(LONGEST_LOOK.max(age / 10)).max(FIRST_LOOK);
        let mut is_due = false;
        watch.change(|due| {
            is_due = due.accepting_at.is_some_and(|at| at > now);
            due.look_at = is_due.then(|| now + pause);
        });
        is_due
    }

    /// Can be told to reload without an exec of ours.
    pub fn reloads_in_place(&self) -> bool {
        self.spoke || self.settings.reload_signal.is_some()
    }

    /// Takes a word of the program; true if it changes what is known of it.
    pub fn hear(&mut self, now: Moment, said: Said, channel: Channel, rules: &Rules) -> bool {
        let first = channel == Channel::Pipe && !self.spoke;
        self.spoke |= channel == Channel::Pipe;
        self.reloading = false;
        if let Phase::Running(watch) = &mut self.phase {
            watch.change(|due| {
                due.word_by = None;
                if first {
                    // From here on it is believed by its words, not by its age.
                    due.accepting_at = None;
                    due.look_at = None;
                    due.loyal_at = None;
                }
                match said {
                    Said::Beat => due.beat_by = Some(now + rules.required_heartbeat),
                    Said::Accepting => due.ready_by = None,
                    Said::Ready if channel == Channel::Notify => due.ready_by = None,
                    Said::Ready | Said::Loyal | Said::GoIdle => {}
                }
            });
        }
        match said {
            Said::Ready => flag(&mut self.ready, &mut self.marks.ready, now),
            Said::Accepting => flag(&mut self.accepting, &mut self.marks.accepting, now),
            Said::Loyal => flag(&mut self.loyal, &mut self.marks.loyal, now),
            Said::Beat => {
                self.marks.beat = Some(now);
                false
            }
            Said::GoIdle => true,
        }
    }

    /// A speaker that is to replace another must say that it is accepting.
    pub fn expect_accepting(&mut self, rules: &Rules) {
        let limit = self.start_timeout(rules);
        if let Phase::Running(watch) = &mut self.phase {
            let announce_by = watch.since + limit;
            watch.change(|due| due.ready_by = due.ready_by.or(Some(announce_by)));
        }
    }

    /// The life that it was to replace is gone: only what it has promised is asked of it.
    pub fn replaces_nobody(&mut self) {
        if let Phase::Running(watch) = &mut self.phase
            && !self.settings.notify
        {
            watch.change(|due| due.ready_by = None);
        }
    }

    /// It was told to reload in place: it says again when it is ready.
    pub fn reload(&mut self, now: Moment) {
        self.count_reload(now);
        self.ready = false;
        self.accepting = false;
        self.reloading = true;
        // Nobody beats while he loads; the first beat after it starts the watch anew.
        if let Phase::Running(watch) = &mut self.phase {
            watch.change(|due| due.beat_by = None);
        }
    }

    /// It was told to reload in place.
    pub fn count_reload(&mut self, now: Moment) {
        self.reloads = self.reloads.saturating_add(1);
        self.reloaded = Some(now);
    }

    /// Its heartbeat is missing: gives it the curse tolerance for any word.
    pub fn expect_word(&mut self, now: Moment, rules: &Rules) {
        if let Phase::Running(watch) = &mut self.phase {
            watch.change(|due| {
                due.beat_by = None;
                due.word_by = Some(now + rules.curse_tolerance);
            });
        }
    }

    /// Tells it to stop; one that does not run its program yet is killed.
    pub fn stop(&mut self, now: Moment, rules: &Rules, out: &mut Vec<Effect>) {
        match self.phase {
            Phase::Starting { .. } | Phase::Asked { .. } => self.kill(now, rules, out),
            Phase::Running(_) => {
                let graceful = rules.graceful_shutdown;
                let order = if graceful { Order::StopGracefully } else { Order::Stop };
                out.push(Effect::Tell(self.id, order));
                if !self.spoke {
                    let gentle = self.settings.graceful_signal.filter(|_| graceful);
                    let signal = i32::from(gentle.unwrap_or(self.settings.stop_signal()));
                    self.stopped_by = Some(signal);
                    out.push(Effect::Signal(self.id, signal, self.settings.stop_to));
                }
                self.curse(now, rules);
                if let Phase::Cursed { tell_at, kill_at, .. } = &mut self.phase {
                    *tell_at =
                        Some(now + LONG_STOP).filter(|at| kill_at.is_none_or(|kill| *at < kill));
                }
            }
            Phase::Cursed { kill_at: None, .. } => self.curse(now, rules),
            Phase::Cursed { kill_at: Some(_), .. } => {}
        }
    }

    /// Its pipe is gone, so it cannot be told: the curse alone.
    pub fn curse(&mut self, now: Moment, rules: &Rules) {
        let since = match &mut self.phase {
            Phase::Cursed { since, .. } => *since,
            Phase::Starting { .. } | Phase::Running(_) => now,
            Phase::Asked { unwanted, .. } => {
                unwanted.get_or_insert(now);
                return;
            }
        };
        let kill_at = Some(now + rules.curse_tolerance);
        self.phase = Phase::Cursed { since, kill_at, tell_at: None };
    }

    /// When it is killed if it is still there.
    pub fn kill_at(&self) -> Option<Moment> {
        match self.phase {
            Phase::Cursed { kill_at, .. } => kill_at,
            Phase::Starting { .. } | Phase::Asked { .. } | Phase::Running { .. } => None,
        }
    }

    /// Its slow stop is told; gives the time that is left to it.
    pub fn stops_slowly(&mut self, now: Moment) -> Duration {
        match &mut self.phase {
            Phase::Cursed { kill_at, tell_at, .. } => {
                *tell_at = None;
                kill_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
            }
            Phase::Starting { .. } | Phase::Asked { .. } | Phase::Running(_) => Duration::ZERO,
        }
    }

    /// It was told to stop, and may take its time as long as nobody takes requests in its place.
    pub fn spare(&mut self) {
        if let Phase::Cursed { kill_at, tell_at, .. } = &mut self.phase {
            (*kill_at, *tell_at) = (None, None);
        }
    }

    /// It was told to stop, and is not killed if it does not.
    pub fn is_spared(&self) -> bool {
        matches!(self.phase, Phase::Cursed { kill_at: None, .. })
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
    pub fn deadline(&self) -> Option<(Moment, Overdue)> {
        match &self.phase {
            Phase::Starting { deadline } => Some((*deadline, Overdue::Start)),
            Phase::Asked { deadline, .. } => Some((*deadline, Overdue::Talk)),
            Phase::Cursed { tell_at: Some(at), .. } => Some((*at, Overdue::Slow)),
            Phase::Cursed { kill_at, .. } => kill_at.map(|at| (at, Overdue::Kill)),
            Phase::Running(watch) => watch.due.as_ref().and_then(|due| due.first()),
        }
    }

    /// Counts as accepting (and ready) by its age.
    pub fn believe_accepting(&mut self, now: Moment) {
        if let Phase::Running(watch) = &mut self.phase {
            watch.change(|due| (due.accepting_at, due.look_at) = (None, None));
        }
        flag(&mut self.ready, &mut self.marks.ready, now);
        flag(&mut self.accepting, &mut self.marks.accepting, now);
    }

    /// Counts as loyal, by its age or by its readiness; true if it was not before.
    pub fn believe_loyal(&mut self, now: Moment) -> bool {
        if let Phase::Running(watch) = &mut self.phase {
            watch.change(|due| due.loyal_at = None);
        }
        flag(&mut self.loyal, &mut self.marks.loyal, now)
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
