//! The rows of the event table that say how a newer file comes to run: in place, by a second life, or by a
//! stop and a start; and how that ends.

use super::life::Life;
use super::vassal::{Hold, Lane, Phase, Then, Turn, Vassal, Why, running};
use super::{Effect, Exit, Fingerprint, Note, OnDemand, Order, Origin, Role};

/// How a reload is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadWay {
    /// Byte 1.
    Byte,
    /// This signal.
    Signal(i32),
    /// A second life on the same listeners, which reads its file first.
    Replacement,
    /// The same, and the file is known to be good, and that it starts something else.
    Checked,
    /// A second life on listeners that were bound anew.
    Renewed,
    /// Its file is checked, then it is stopped and started.
    Restart,
    /// The same, and it is known to be good, and that it starts something else.
    Anew,
}

impl Vassal {
    /// Told by byte, by signal, or replaced; a stage reads the file first, where one can.
    pub(super) fn reload(&mut self, mut current: Box<Life>, turn: &mut Turn<'_>) -> Phase {
        if current.is_spared() && !self.has_fault() {
            return self.start_next(current, Role::Vassal, turn);
        }
        let in_place = current.reloads_in_place();
        // No stage of ours reads for it: the program itself does, or its base has.
        if in_place && (!turn.rules.stage || self.origin == Origin::Asked) {
            current.edition = self.edition;
            self.reload_in_place(&mut current, turn);
            return running(current);
        }
        // Where it is to listen cannot be read: what runs is better than what could not start.
        if let OnDemand::Fault(why) = &self.file.on_demand {
            let why = why.to_string();
            self.history.last_error = Some(why.clone());
            self.note(Note::ReplacementFailed { why }, turn);
            return running(current);
        }
        let has_custody = self.has_custody(&current);
        // What a base forks is as new as the base, and cannot be checked before.
        let unchecked = !turn.rules.stage && !has_custody;
        if self.origin == Origin::Asked || unchecked {
            return self.stop(current, None, Then::Begin(Lane::Budget), turn);
        }
        let role = if has_custody && !in_place { Role::Vassal } else { Role::Check };
        if !in_place {
            let by = if has_custody { ReloadWay::Replacement } else { ReloadWay::Restart };
            self.announce(&mut current, by, turn);
        }
        self.start_next(current, role, turn)
    }

    /// [`Vassal::reload`] for a reason that is a new one, even if what `due` waits for is still missing.
    pub(super) fn reload_anew(
        &mut self,
        mut current: Box<Life>,
        due: Option<Box<Hold>>,
        turn: &mut Turn<'_>,
    ) -> Phase {
        current.announced &= due.is_some_and(|due| due.is_queued());
        self.reload(current, turn)
    }

    /// Tells that another life is to come, once however often that is tried or begun anew.
    fn announce(&self, current: &mut Life, by: ReloadWay, turn: &mut Turn<'_>) {
        if !std::mem::replace(&mut current.announced, true) {
            self.note(Note::Reloading { by }, turn);
        }
    }

    /// A second life is due, as soon as there is a place for it.
    pub(super) fn start_next(
        &mut self,
        current: Box<Life>,
        role: Role,
        turn: &mut Turn<'_>,
    ) -> Phase {
        let due = Hold { role, ..self.queued(Lane::Budget, turn) };
        Phase::Running { current, due: Some(Box::new(due)) }
    }

    /// Nobody comes to the listeners of its lives any more, however good they are: only a life that is started
    /// from now on has those where clients come.
    pub fn listeners_renewed(&mut self, turn: &mut Turn<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Starting(mut life) => {
                life.kill(turn.now, turn.rules, turn.out);
                Phase::Stopping { life, other: None, then: Then::Begin(Lane::Budget) }
            }
            // A new one could not be started: the file is read again when its address is.
            Phase::Running { current, due } if self.has_fault() => Phase::Running { current, due },
            Phase::Running { current, due: _ } if self.origin == Origin::Asked => {
                self.stop(current, None, Then::Begin(Lane::Budget), turn)
            }
            Phase::Running { mut current, due: _ } if self.has_custody(&current) => {
                self.announce(&mut current, ReloadWay::Renewed, turn);
                self.start_next(current, Role::Vassal, turn)
            }
            Phase::Replacing { mut current, mut next, again: _ } => {
                current.fingerprint = Fingerprint::default();
                if !next.is_cursed() {
                    next.kill(turn.now, turn.rules, turn.out);
                }
                Phase::Replacing { current, next, again: true }
            }
            Phase::Retiring { mut current, old, reload: _ } => {
                current.fingerprint = Fingerprint::default();
                Phase::Retiring { current, old, reload: true }
            }
            same @ (Phase::Held(_)
            | Phase::Waiting
            | Phase::Running { .. }
            | Phase::Stopping { .. }) => same,
        };
    }

    pub(super) fn reload_in_place(&self, current: &mut Life, turn: &mut Turn<'_>) {
        if current.spoke {
            turn.out.push(Effect::Tell(current.id, Order::Reload));
            current.reload(turn.now);
            self.note(Note::Reloading { by: ReloadWay::Byte }, turn);
        } else if let Some(signal) = current.settings.reload_signal.map(i32::from) {
            let to = current.settings.stop_to;
            turn.out.push(Effect::Signal(current.id, signal, to));
            current.count_reload(turn.now);
            self.note(Note::Reloading { by: ReloadWay::Signal(signal) }, turn);
        }
    }

    /// The current life has died while a replacement was under way; `then`: what its death means.
    pub(super) fn succeed(
        &mut self,
        mut next: Box<Life>,
        again: bool,
        then: Then,
        turn: &mut Turn<'_>,
    ) -> Phase {
        if next.is_cursed() || next.role == Role::Check {
            if !next.is_cursed() {
                next.kill(turn.now, turn.rules, turn.out);
            }
            let then = if again { Then::Begin(Lane::Budget) } else { then };
            return Phase::Stopping { life: next, other: None, then };
        }
        if next.is_starting() {
            return Phase::Starting(next);
        }
        turn.out.push(Effect::TakeCustody(self.id, next.id));
        self.note(Note::Replaced { pid: next.pid }, turn);
        next.replaces_nobody();
        running(next)
    }

    /// The replacement, or the check, has ended; the current life goes on.
    pub(super) fn next_ended(
        &mut self,
        mut current: Box<Life>,
        (next, exit): (&Life, Exit),
        again: bool,
        turn: &mut Turn<'_>,
    ) -> Phase {
        if current.is_spared() && again {
            self.stopped(next, exit, "because its file has changed", turn);
            return self.start_next(current, Role::Vassal, turn);
        }
        if current.is_spared() {
            return self.outlive(next, current, exit, turn);
        }
        let checked = next.role == Role::Check && next.verdict && next.failed.is_none();
        if current.is_cursed() {
            let fresh = again || checked;
            let then = if fresh { Then::Begin(Lane::Budget) } else { Then::Judge };
            return Phase::Stopping { life: current, other: None, then };
        }
        if again {
            return self.reload(current, turn);
        }
        if checked && !next.is_cursed() {
            return self.checked(current, next, turn);
        }
        if next.is_blocked {
            self.refused = next.failed.clone();
            let due = Some(Box::new(self.wait_for_address(next, turn.now)));
            return Phase::Running { current, due };
        }
        current.announced = false;
        if next.failed.is_none() && !next.is_cursed() {
            let why = format!("the replacement has ended ({exit}) before it was accepting");
            self.history.last_error = Some(why.clone());
            self.note(Note::ReplacementFailed { why }, turn);
        }
        let why = next.failed.as_deref().or(self.history.last_error.as_deref());
        self.refused = why.map(Box::from);
        running(current)
    }

    /// The life that has taken over, or was about to, has ended while the one before it has not left yet. That
    /// was told to stop, but serves on as far as it can, and is not killed before another is accepting.
    pub(super) fn outlive(
        &mut self,
        new: &Life,
        mut old: Box<Life>,
        exit: Exit,
        turn: &mut Turn<'_>,
    ) -> Phase {
        let rests = self.demand.is_some() && exit == Exit::Code(0) && new.failed.is_none();
        let mut due = match self.judge(new, exit, turn) {
            Then::Begin(lane) if !rests => self.queued(lane, turn),
            Then::Hold(hold) if matches!(hold.why, Why::Penalty | Why::Pace | Why::Taken(..)) => {
                *hold
            }
            then @ (Then::Begin(_) | Then::Hold(_) | Then::Gone | Then::Judge) => {
                old.stop(turn.now, turn.rules, turn.out);
                return Phase::Stopping { life: old, other: None, then };
            }
        };
        due.role = Role::Vassal;
        if self.history.last_error.is_none() {
            let why = format!("its new program has ended ({exit}) soon after it had taken over");
            self.history.last_error = Some(why);
        }
        self.refused = self.history.last_error.as_deref().map(Box::from);
        old.spare();
        if let Some(pid) = old.pid {
            self.note(Note::Spared { pid }, turn);
        }
        Phase::Running { current: old, due: Some(Box::new(due)) }
    }

    /// The life that was to stop in its own time has ended, before there was another.
    pub(super) fn spared_ended(
        &mut self,
        old: &Life,
        due: Option<Box<Hold>>,
        exit: Exit,
        turn: &mut Turn<'_>,
    ) -> Phase {
        self.stopped(old, exit, "because it was replaced", turn);
        match due {
            Some(due) if due.ticket.is_none() => Phase::Held(*due),
            Some(due) => self.begin(due.lane, turn),
            None => self.begin(Lane::Budget, turn),
        }
    }

    /// The file is read and good. What would start the same is told in place, if it can be told.
    fn checked(&mut self, mut current: Box<Life>, next: &Life, turn: &mut Turn<'_>) -> Phase {
        let in_place = current.reloads_in_place();
        if in_place && next.fingerprint == current.fingerprint {
            current.announced = false;
            self.reload_in_place(&mut current, turn);
            return running(current);
        }
        if self.has_custody(&current) {
            self.announce(&mut current, ReloadWay::Checked, turn);
            return self.start_next(current, Role::Vassal, turn);
        }
        if in_place {
            self.announce(&mut current, ReloadWay::Anew, turn);
        }
        self.stop(current, None, Then::Begin(Lane::Budget), turn)
    }
}
