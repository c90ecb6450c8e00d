//! After a panic, which is a fault in liege: what is known of the vassals is rebuilt from the ground truth.
//!
//! A row of the event table that panics has taken its vassal's phase, and the lives in it, with it. That
//! vassal alone is built anew, by [`Vassal::rebuild`]: its processes are killed, and it starts again later.
//! A panic anywhere else may have lost an event or an effect: [`Realm::repair`] compares all that the realm
//! knows with what the emperor really has.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use super::context::StepContext;
use super::deadline_queue::DeadlineQueue;
use super::life::{Birth, Life};
use super::realm::sweep::SweepKind;
use super::realm::{Counts, Realm};
use super::start_queue::Queue;
use super::vassal::{AfterStop, Hold, HoldReason, Phase, Vassal};
use super::{Effect, Key, LifeId, Note, VassalId};
use crate::types::moment::Moment;
use crate::types::purpose::Purpose;

/// First and longest pause before a vassal is started again for which liege has failed.
const INTERNAL_RETRY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

/// The lives and hooks that the emperor really has, with which the realm is compared.
#[derive(Debug, Default)]
pub struct Truth {
    /// Lives that have a process, that somebody is asked for, or whose end is not raised yet; sorted.
    pub lives: Vec<LifeId>,
    /// Those of them whose process is asked for and not known yet.
    pub asked: HashSet<LifeId>,
    /// Stop hooks that are not over.
    pub hooks: HashMap<Key, usize>,
    /// Vassals whose event or effect was being handled when the fault happened.
    pub suspects: Vec<VassalId>,
}

impl Vassal {
    /// The on-demand address, and whether it is bound.
    pub(super) fn listens_at(&self) -> Option<(Rc<str>, bool)> {
        self.listener.as_ref().map(|listener| (Rc::clone(&listener.address), listener.bound))
    }

    /// Builds the vassal anew after its phase was lost, with these lives and this on-demand address; each life with
    /// whether it is asked for and has no process yet. The lives are killed. When they are reaped, the vassal is held
    /// for a while, then it starts again through the queue.
    pub(super) fn rebuild(
        &mut self,
        lives: impl Iterator<Item = (LifeId, bool)>,
        listened: Option<(Rc<str>, bool)>,
        ctx: &mut StepContext<'_>,
    ) {
        ctx.out.push(Effect::Unwatch(self.id));
        // What the row had asked for at its address has not been done.
        if self.listens_at() != listened {
            ctx.out.push(Effect::Unbind(self.id));
            self.listener = super::vassal::listener_of(&self.file);
        }
        let wait = self.internal_retries.next(&INTERNAL_RETRY);
        let why = "internal error".to_owned();
        self.history.last_error = Some(why.as_str().into());
        self.last_logged_hold = None;
        self.note(Note::Held { why, wait: Some(wait) }, ctx);
        let hold = Hold {
            queue: Queue::Throttle,
            ..Hold::until(HoldReason::InternalError, ctx.now + wait)
        };
        let then = if ctx.ending { AfterStop::Forget } else { AfterStop::Hold(Box::new(hold)) };
        let mut lives = lives.map(|life| Box::new(self.life_to_end(life, ctx))).collect::<Vec<_>>();
        let other = if lives.len() > 1 { lives.pop() } else { None };
        self.phase = match lives.pop() {
            Some(life) => Phase::Stopping { life, other, then },
            None => self.on_stopped(then, ctx),
        };
    }

    /// A record for one of its lives that only says that the life is to end. If it is asked for, its process is ended
    /// when it is there.
    fn life_to_end(&self, (id, is_asked): (LifeId, bool), ctx: &mut StepContext<'_>) -> Life {
        let birth = Birth::by_rules(ctx.rules, self.is_base);
        let mut life = Life::new(id, Purpose::Start, birth, ctx);
        match is_asked {
            true => life.curse(ctx),
            false => life.kill_unseen(ctx),
        }
        life
    }

    /// Loses the phase and panics, which is the worst fault of a row; for tests.
    #[cfg(any(test, debug_assertions))]
    #[cfg_attr(not(test), expect(clippy::panic, reason = "that is what it is for"))]
    pub(super) fn fail(&mut self) {
        self.phase = Phase::default();
        #[cfg(test)] // Without a message: the tests cause hundreds.
        std::panic::resume_unwind(Box::new(()));
        #[cfg(not(test))]
        std::panic::panic_any("a row fails, as a test wants it");
    }

    /// Whether it waits for an event that cannot come any more.
    fn is_forgotten(&self) -> bool {
        match &self.phase {
            Phase::Held(hold) => {
                matches!(hold.reason, HoldReason::Budget | HoldReason::Throttle)
                    && !hold.is_queued()
            }
            Phase::Listening
            | Phase::Starting(_)
            | Phase::Running { .. }
            | Phase::Replacing { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. } => false,
        }
    }
}

impl Realm {
    /// Makes the records of the realm agree with each other and with what the emperor really has. Lives that belong to no
    /// vassal are killed. Vassals whose life does not exist any more, and suspects, are rebuilt.
    pub fn repair(&mut self, now: Moment, truth: &Truth, out: &mut Vec<Effect>) {
        self.rebuild_indexes(now, truth);
        let mut outbox = self.outbox(now, out);
        let known = |life: &LifeId| self.lives.binary_search_by_key(life, |(id, _)| *id).is_ok();
        let unknown = truth.lives.iter().filter(|life| !known(life));
        outbox.out.extend(unknown.map(|life| Effect::Kill(*life)));
        let is_lost = |vassal: &Vassal| {
            let mut lives = [vassal.current(), vassal.other()].into_iter().flatten();
            truth.suspects.contains(&vassal.id)
                || vassal.is_forgotten()
                || lives.any(|life| truth.lives.binary_search(&life.id).is_err())
        };
        let lost: Vec<VassalId> = self.vassals().filter(|v| is_lost(v)).map(|v| v.id).collect();
        // Of those that do not exist nothing is killed, nor waited for.
        self.lives.retain(|(life, _)| truth.lives.binary_search(life).is_ok());
        for id in lost {
            let lives = self.lives.iter().filter(|(_, of)| *of == id);
            let lives: Vec<(LifeId, bool)> =
                lives.map(|(life, _)| (*life, truth.asked.contains(life))).collect();
            self.apply(id, &mut outbox, |vassal, ctx| {
                let listens = vassal.listens_at();
                vassal.rebuild(lives.into_iter(), listens, ctx);
            });
        }
        let hooks = &self.hooks;
        let waits_in_vain = |vassal: &&Vassal| {
            let for_hook =
                matches!(&vassal.phase, Phase::Held(hold) if hold.reason == HoldReason::StopHook);
            for_hook && !hooks.contains_key(&vassal.key)
        };
        let in_vain: Vec<VassalId> = self.vassals().filter(waits_in_vain).map(|v| v.id).collect();
        for id in in_vain {
            self.apply(id, &mut outbox, Vassal::hook_ended);
        }
        if outbox.ending {
            self.sweep(SweepKind::Lose, &mut outbox);
        }
        self.grant_starts(&mut outbox);
        // Maybe that was asked for and not done.
        if let Some(end) = &mut self.ragnarok {
            end.left = false;
        }
        self.leave_if_empty(out);
    }

    /// Rebuilds all tables that follow from the vassals.
    fn rebuild_indexes(&mut self, now: Moment, truth: &Truth) {
        let mut by_key: Vec<VassalId> = self.vassals.keys().copied().collect();
        by_key.sort_by_key(|id| self.vassals.get(id).map(|vassal| &vassal.key));
        self.by_key = by_key;
        self.deadlines = DeadlineQueue::default();
        self.counts = Counts::default();
        self.lives.clear();
        self.hooks.clone_from(&truth.hooks);
        let there = |life| truth.lives.binary_search(&life).is_ok();
        self.queue.clear(there);
        for vassal in self.vassals.values() {
            self.deadlines.set(vassal.id, vassal.deadline());
            self.counts.change(Counts::default(), Counts::of(vassal));
            let lives = [vassal.current(), vassal.other()].into_iter().flatten();
            self.lives.extend(lives.map(|life| (life.id, vassal.id)));
            if let Some((ticket, queue)) = vassal.place_in_queue() {
                self.queue.push(now, (vassal.id, ticket), queue, &self.rules);
            }
        }
        self.lives.sort_unstable();
    }
}
