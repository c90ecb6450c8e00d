//! Limits that keep a turn short however much there is to do, so that no descriptor waits for long.

/// Most rounds of one run: effects raise events, which have effects in turn. A thousand forks that fail one after
/// the other must not keep everything else waiting.
const MAX_ROUNDS: usize = 64;
/// Most effects of one run. To stop a thousand vassals at once takes many turns of a few milliseconds each.
const MAX_EFFECTS: usize = 32;
/// Most turns in a row that read lives instead of serving deadlines. A life that sends without end must not delay
/// the deadlines of the others.
const MAX_DRAIN_TURNS: usize = 256;

/// The counters of the three limits.
#[derive(Debug, Default)]
pub(super) struct Backpressure {
    rounds: usize,
    effects: usize,
    /// Such turns since the last one that served the deadlines, or had none to serve.
    drain_turns: usize,
}

impl Backpressure {
    /// Begins a run of effects.
    pub fn begin_run(&mut self) {
        (self.rounds, self.effects) = (0, 0);
    }

    /// Counts a round of this run; false if the limit is exceeded.
    pub fn begin_round(&mut self) -> bool {
        self.rounds += 1;
        self.rounds <= MAX_ROUNDS
    }

    /// Whether this run may carry out one more effect.
    pub fn allows_effect(&self) -> bool {
        self.effects < MAX_EFFECTS
    }

    pub fn count_effect(&mut self) {
        self.effects += 1;
    }

    /// Counts a turn that reads lives before the deadlines; false if the limit is exceeded.
    pub fn begin_drain_turn(&mut self) -> bool {
        self.drain_turns += 1;
        self.drain_turns <= MAX_DRAIN_TURNS
    }

    /// The deadlines are served, or there are none.
    pub fn end_drain(&mut self) {
        self.drain_turns = 0;
    }
}
