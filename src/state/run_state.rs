//! What a running program is waited for: its deadlines, and how each event moves them.

use std::time::Duration;

use crate::types::moment::Moment;

/// The first look at a life that is to take over, and the shortest pause between two.
pub(super) const FIRST_PROBE: Duration = Duration::from_millis(20);
/// The first look at a life that does not replace another.
pub(super) const IDLE_PROBE: Duration = Duration::from_millis(500);
/// The longest pause between two looks, while it is young.
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(1);

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

/// A program that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunState {
    /// Its program began.
    pub(super) since: Moment,
    /// It was told to reload by byte, and has said nothing since.
    pub(super) is_reloading: bool,
    /// Nothing once it has settled, as most have: a vassal that is left in peace costs no memory for them.
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

    /// Nothing is known of it yet, and whether it accepts is looked at.
    pub(super) fn is_probed(&self) -> bool {
        self.deadlines.as_ref().is_some_and(|deadlines| deadlines.probe_at.is_some())
    }

    /// It is time to look at it; true if it is, as long as it does not count as accepting by its age.
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
    /// Counts as accepting then, as it announces nothing.
    pub(super) assume_accepting_at: Option<Moment>,
    /// Is looked at then, whether it accepts already.
    pub(super) probe_at: Option<Moment>,
    /// Counts as loyal then, as it does not use the protocol.
    pub(super) assume_loyal_at: Option<Moment>,
    /// Must have announced its readiness by then.
    pub(super) readiness_deadline: Option<Moment>,
    /// The next heartbeat must have come by then.
    pub(super) heartbeat_deadline: Option<Moment>,
    /// It was asked to reload for its silence; any message must have come by then.
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
