//! What a running program is waited for: its deadlines, and how each event moves them.

use std::time::Duration;

use crate::types::moment::Moment;

/// The time to the first probe of a life that is to take over, and the shortest pause between two probes.
pub(super) const FIRST_PROBE: Duration = Duration::from_millis(20);
/// The time to the first probe of a life that does not replace another.
pub(super) const IDLE_PROBE: Duration = Duration::from_millis(500);
/// The longest pause between two probes, while the life is young.
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// A deadline of a life that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// The program does not run in time.
    Start,
    /// The process is not made in time, or the answer of a fork server cannot be proved in time.
    Answer,
    /// The program has been running long enough to count as accepting.
    AssumeAccepting,
    /// A probe for whether it accepts connections is due.
    Probe,
    /// The program has been running long enough to count as loyal.
    AssumeLoyal,
    /// The program has not announced its readiness in time.
    Readiness,
    /// The heartbeat has not come in time.
    Heartbeat,
    /// No message has come after the program was asked to reload because its heartbeat was missing.
    Reply,
    /// The life was told to stop a second ago, and has not ended.
    SlowStop,
    /// The life has not ended within the curse tolerance.
    Kill,
}

/// A program that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunState {
    /// Time at which the program has begun to run.
    pub(super) since: Moment,
    /// Whether it was told to reload by a byte, and has sent no message after that.
    pub(super) is_reloading: bool,
    /// Deadlines; `None` when there are none, as for most programs, which then cost no memory for them.
    deadlines: Option<Box<Deadlines>>,
}

impl RunState {
    pub(super) fn new(since: Moment, deadlines: Deadlines) -> Self {
        Self { since, is_reloading: false, deadlines: Some(Box::new(deadlines)) }
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut Deadlines)) {
        let mut deadlines = self.deadlines.take().unwrap_or_default();
        change(&mut deadlines);
        self.deadlines = Some(deadlines).filter(|left| **left != Deadlines::default());
    }

    /// Whether it is probed, because it has announced nothing yet.
    pub(super) fn is_probed(&self) -> bool {
        self.deadlines.as_ref().is_some_and(|deadlines| deadlines.probe_at.is_some())
    }

    /// Schedules the next probe. True if one is due now, and the program does not count as accepting by its age.
    pub(super) fn next_probe(&mut self, now: Moment) -> bool {
        let age = now.saturating_duration_since(self.since);
        let pause = age.min(MAX_PROBE_INTERVAL.max(age / 10)).max(FIRST_PROBE);
        let mut is_due = false;
        self.change(|deadlines| {
            is_due = deadlines.assume_accepting_at.is_some_and(|at| at > now);
            deadlines.probe_at = is_due.then(|| now + pause);
        });
        is_due
    }

    /// The nearest deadline, and what has passed with it.
    pub(super) fn deadline(&self) -> Option<(Moment, Timeout)> {
        self.deadlines.as_ref().and_then(|deadlines| deadlines.first())
    }
}

/// The deadlines of a running life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Deadlines {
    /// Time at which a program that announces nothing counts as accepting.
    pub(super) assume_accepting_at: Option<Moment>,
    /// Time of the next probe for whether it accepts connections.
    pub(super) probe_at: Option<Moment>,
    /// Time at which a program that does not use the protocol counts as loyal.
    pub(super) assume_loyal_at: Option<Moment>,
    /// Time limit for the announcement of its readiness.
    pub(super) readiness_deadline: Option<Moment>,
    /// Time limit for the next heartbeat.
    pub(super) heartbeat_deadline: Option<Moment>,
    /// Time limit for any message after it was asked to reload because its heartbeat was missing.
    pub(super) reply_deadline: Option<Moment>,
}

impl Deadlines {
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
