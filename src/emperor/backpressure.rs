//! What keeps a turn short however much there is to do, so that nobody waits for long.

/// Rounds of one run: effects answer with events, which have effects again. A thousand forks that are refused
/// one after the other must not keep everything else waiting.
const MAX_ROUNDS: usize = 64;
/// Effects of one run. A thousand vassals that are stopped at once take many turns, of a few milliseconds each.
const MAX_EFFECTS: usize = 64;
/// Turns in a row in which lives are read before deadlines are served, and no deadline is. A life that speaks
/// without end must not keep the others from being judged.
const MAX_DRAIN_TURNS: usize = 256;

/// The counters of the three limits.
#[derive(Debug, Default)]
pub(super) struct Backpressure {
    rounds: usize,
    effects: usize,
    /// Since the last turn that served the deadlines, or had none to serve.
    drain_turns: usize,
}

impl Backpressure {
    /// A run of effects begins.
    pub fn begin_run(&mut self) {
        (self.rounds, self.effects) = (0, 0);
    }

    /// Counts a round of this run; false if it is one too many.
    pub fn allows_round(&mut self) -> bool {
        self.rounds += 1;
        self.rounds <= MAX_ROUNDS
    }

    /// Whether this run may do one effect more.
    pub fn allows_effect(&self) -> bool {
        self.effects < MAX_EFFECTS
    }

    pub fn count_effect(&mut self) {
        self.effects += 1;
    }

    /// Counts a turn in which lives are read before the deadlines; false if it is one too many.
    pub fn allows_drain(&mut self) -> bool {
        self.drain_turns += 1;
        self.drain_turns <= MAX_DRAIN_TURNS
    }

    /// The deadlines are served, or there are none.
    pub fn end_drain(&mut self) {
        self.drain_turns = 0;
    }
}
