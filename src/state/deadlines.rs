//! The rows of the event table that time brings: holds that end, and what a life has missed.

use super::life::Overdue;
use super::vassal::{Phase, Then, Turn, Vassal};
use super::{Effect, LifeId, Note, Role};

impl Vassal {
    /// Serves every deadline that has passed.
    pub fn expire(&mut self, turn: &mut Turn<'_>) {
        // Each deadline that is served moves or goes; the bound is against a fault of ours only.
        for _ in 0..16 {
            if !self.expire_one(turn) {
                return;
            }
        }
    }

    fn expire_one(&mut self, turn: &mut Turn<'_>) -> bool {
        let now = turn.now;
        if self.held_until().is_some_and(|until| until <= now) {
            self.hold_ends(turn);
            return true;
        }
        let lives = [self.current(), self.other()];
        let passed = lives
            .into_iter()
            .flatten()
            .filter_map(|life| life.deadline().map(|(at, what)| (at, life.id, what)))
            .filter(|(at, ..)| *at <= now)
            .min_by_key(|(at, ..)| *at);
        let Some((_, id, what)) = passed else { return false };
        self.overdue(id, what, turn);
        true
    }

    fn hold_ends(&mut self, turn: &mut Turn<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Held(hold) => self.begin(hold.lane, turn),
            Phase::Running { current, due: Some(due) } if current.is_spared() => {
                let due = Some(Box::new(self.queued(due.lane, turn)));
                Phase::Running { current, due }
            }
            Phase::Running { current, due: Some(_) } => self.reload(current, turn),
            same @ (Phase::Running { due: None, .. }
            | Phase::Waiting
            | Phase::Starting(_)
            | Phase::Replacing { .. }
            | Phase::Retiring { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    fn overdue(&mut self, id: LifeId, what: Overdue, turn: &mut Turn<'_>) {
        match what {
            Overdue::Accepting => {
                if let Some(life) = self.life_mut(id) {
                    life.believe_accepting(turn.now);
                    self.note(Note::Accepting, turn);
                }
                self.accepting(id, turn);
            }
            Overdue::Look => {
                if self.life_mut(id).is_some_and(|life| life.looked(turn.now)) {
                    turn.out.push(Effect::Look(self.id, id));
                }
            }
            Overdue::Loyal => {
                if let Some(life) = self.life_mut(id) {
                    life.believe_loyal(turn.now);
                    self.penalty.forgive();
                    self.note(Note::Loyal, turn);
                }
            }
            Overdue::Slow => {
                if let Some(life) = self.life_mut(id) {
                    let left = life.stops_slowly(turn.now);
                    // Of ragnarok there is one line for all.
                    if !turn.ending {
                        self.note(Note::StopsSlowly { left }, turn);
                    }
                }
            }
            Overdue::Kill => {
                if let Some(life) = self.life_mut(id) {
                    life.kill(turn.now, turn.rules, turn.out);
                    self.note(
                        Note::Killed { why: "did not stop within emperor-curse-tolerance" },
                        turn,
                    );
                }
            }
            Overdue::Beat => self.beat_missing(id, turn),
            Overdue::Talk => {
                if let Some(life) = self.life_mut(id) {
                    let why = life.end_talk(turn.now, turn.rules);
                    turn.out.push(Effect::EndTalk(id, why));
                }
            }
            Overdue::Start => self.too_late(id, "its program does not run in time", turn),
            Overdue::Readiness => self.too_late(id, "it is not ready in time", turn),
            Overdue::Word => {
                self.too_late(id, "no heartbeat, and no message after the reload request", turn)
            }
        }
    }

    /// A life has missed a deadline for good: it is killed, and what it was decides the rest.
    fn too_late(&mut self, id: LifeId, why: &'static str, turn: &mut Turn<'_>) {
        let Some(life) = self.life_mut(id) else { return };
        // A stage that has told its reason, and then hangs, has told the better one.
        let told = life.failed.clone();
        if life.is_starting() {
            life.failed.get_or_insert_with(|| why.into());
        }
        life.kill(turn.now, turn.rules, turn.out);
        self.history.last_error = Some(told.map_or_else(|| why.to_owned(), String::from));
        self.note(Note::Killed { why }, turn);
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Starting(life) | Phase::Running { current: life, due: _ } => {
                Phase::Stopping { life, other: None, then: Then::Judge }
            }
            Phase::Retiring { current, old, reload } => {
                if current.id == id {
                    Phase::Stopping { life: current, other: Some(old), then: Then::Judge }
                } else {
                    Phase::Retiring { current, old, reload }
                }
            }
            same @ (Phase::Held(_)
            | Phase::Waiting
            | Phase::Replacing { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    fn beat_missing(&mut self, id: LifeId, turn: &mut Turn<'_>) {
        self.note(Note::Silent, turn);
        // A check of the file is no second life that could go on alone.
        if matches!(&self.phase, Phase::Replacing { next, .. } if next.role == Role::Vassal) {
            return self.too_late(id, "no heartbeat", turn);
        }
        if let Some(life) = self.life_mut(id) {
            life.expect_word(turn.now, turn.rules);
        }
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Running { mut current, due } if current.reloads_in_place() => {
                self.reload_in_place(&mut current, turn);
                Phase::Running { current, due }
            }
            Phase::Running { current, due: _ } => self.reload(current, turn),
            Phase::Retiring { mut current, old, reload } => {
                let told = current.reloads_in_place();
                if told {
                    self.reload_in_place(&mut current, turn);
                }
                Phase::Retiring { current, old, reload: reload || !told }
            }
            same @ (Phase::Held(_)
            | Phase::Waiting
            | Phase::Starting(_)
            | Phase::Replacing { .. }
            | Phase::Stopping { .. }) => same,
        };
    }
}
