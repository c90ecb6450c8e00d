//! What a life leaves behind: processes of its group and session, and those in sessions of their own.
//!
//! We are a subreaper, so an orphan of a life becomes our child; which life it came from is told by its
//! session, or by the mark that each life gets at its start and hands on to all it starts (`sys::mark`). An
//! orphan of a running life is that program's own affair. When the main process has ended, what is left is
//! ended too, and the end of the life is told when nothing of it is found any more: its ports are free then.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::super::context::Context;
use super::{Dying, Lives};
use crate::state::realm::Realm;
use crate::state::{LifeEvent, LifeId};
use crate::sys::descendants;
use crate::sys::mark::{self, ProcessMark, ProcessMarks};
use crate::sys::process::{self, Pid};
use crate::sys::signal::Signal;
use crate::types::exit_status::ExitStatus;
use crate::types::moment::Moment;

/// How long the end of a life waits for what was killed; who hangs in the kernel holds up nobody.
const LEFTOVER_TIMEOUT: Duration = Duration::from_secs(1);
/// Orphans that are asked for their mark in one turn: a few microseconds each.
const MAX_MARKS_READ: usize = 128;
/// A program that ends well so soon after its start, and leaves something behind in a session of its own, has
/// gone to the background.
const DAEMON_AGE: Duration = Duration::from_secs(3);

/// What is left, and of whom.
#[derive(Debug)]
pub(super) struct Leftovers {
    marks: ProcessMarks,
    /// Lives whose main process is reaped, until nobody of them is found.
    ended: HashMap<LifeId, EndedLife>,
    /// The lives of orphans that were asked: while they are our children their numbers are their own.
    orphans: HashMap<Pid, Option<LifeId>>,
    /// The kernel has told who our children are when it was asked last.
    children_listable: bool,
    /// More orphans than one turn asks.
    more: bool,
}

/// A life whose main process is reaped.
#[derive(Debug)]
struct EndedLife {
    /// The session that it led, as long as no new one can have this number.
    session: Option<Pid>,
    /// Its end, until that is told.
    end: Option<End>,
    /// It was told to stop with all its group, and what is left of that may finish: until it is killed.
    may_finish: bool,
}

/// An end that is not told yet.
#[derive(Debug)]
struct End {
    event: LifeEvent,
    /// Told then at the latest, unless what is left may finish.
    by: Moment,
    /// It has ended well, unasked, and very soon.
    is_early: bool,
}

impl Default for Leftovers {
    fn default() -> Self {
        Self {
            marks: ProcessMarks::new(),
            ended: HashMap::new(),
            orphans: HashMap::new(),
            children_listable: true,
            more: false,
        }
    }
}

impl Leftovers {
    /// The mark of a life.
    pub fn mark(&self, life: LifeId) -> Option<ProcessMark> {
        self.marks.mark(life.0)
    }

    /// The lives whose end is not told yet.
    pub fn untold(&self) -> impl Iterator<Item = LifeId> {
        self.ended.iter().filter(|(_, ended)| ended.end.is_some()).map(|(life, _)| *life)
    }

    /// A new process leads a session of this number: whatever was left of another one is gone, as its number
    /// could not be given out again.
    pub fn is_new(&mut self, session: Pid) {
        for ended in self.ended.values_mut().filter(|ended| ended.session == Some(session)) {
            ended.session = None;
        }
    }

    /// A base has forked this for a life, and what it starts is no more the base's. Where that cannot be said,
    /// what it leaves behind stays until the end.
    pub fn adopt(&mut self, pid: Pid, life: LifeId) {
        self.orphans.remove(&pid);
        if let Some(mark) = self.mark(life) {
            let _ = mark::set(pid, mark);
        }
    }

    /// What is left of this life may not finish any more.
    pub fn kill(&mut self, life: LifeId, now: Moment) {
        if let Some(ended) = self.ended.get_mut(&life)
            && std::mem::take(&mut ended.may_finish)
        {
            self.more = true;
            if let Some(end) = &mut ended.end {
                end.by = now + LEFTOVER_TIMEOUT;
            }
        }
    }

    /// When a turn is needed, though nobody has anything to say.
    pub fn deadline(&self, now: Moment) -> Option<Moment> {
        if self.more {
            return Some(now);
        }
        let must_end = self.ended.values().filter(|ended| !ended.may_finish);
        must_end.filter_map(|ended| ended.end.as_ref().map(|end| end.by)).min()
    }

    /// The life that an orphan came from, if that has ended.
    fn owner(
        &mut self,
        pid: Pid,
        sessions: &HashMap<i32, LifeId>,
        left: &mut usize,
    ) -> OrphanOwner {
        let session = process::session_of(pid).unwrap_or(0);
        if let Some(life) = sessions.get(&session) {
            return OrphanOwner::OfEnded(*life, Pid::new(session));
        }
        let life = match self.orphans.get(&pid) {
            Some(known) => *known,
            None if *left == 0 => return OrphanOwner::NotAsked,
            None => {
                *left -= 1;
                let life = self.marks.number_of(pid).map(LifeId);
                self.orphans.insert(pid, life);
                life
            }
        };
        match life.filter(|life| self.ended.contains_key(life)) {
            Some(life) => OrphanOwner::OfEnded(life, Pid::new(session)),
            None => OrphanOwner::Other,
        }
    }
}

/// What is left of a life that has ended well, unasked, and very soon.
struct Daemon {
    pid: Pid,
    /// It has a session of its own.
    has_own_session: bool,
}

/// Whose an orphan is.
enum OrphanOwner {
    /// Of a life that has ended; it sits in this session.
    OfEnded(LifeId, Option<Pid>),
    /// Of a life that has not, or of nobody's.
    Other,
    /// The next turn asks it.
    NotAsked,
}

impl Lives {
    /// How a life leaves whose main process has ended and is not reaped.
    pub fn leftover_policy(
        &self,
        life: LifeId,
        dying: Dying,
        realm: &Realm,
        now: Moment,
    ) -> LeftoverPolicy {
        let record = self.vassal_of(life).and_then(|vassal| realm.vassal(vassal));
        let of_life = record.and_then(|record| {
            record.current().into_iter().chain(record.other()).find(|known| known.id == life)
        });
        let cursed = of_life.is_some_and(|life| life.is_cursed());
        let is_early = of_life.is_some_and(|life| !life.is_cursed() && life.age(now) < DAEMON_AGE);
        LeftoverPolicy { session: dying.pid, may_finish: dying.group_signalled && cursed, is_early }
    }

    /// The main process of a life is reaped: its end is raised when nothing is left of it. True if what is left
    /// must be looked at now: what we have just killed with its group is reaped later in this turn, and would be
    /// seen by nobody.
    pub fn main_ended(
        &mut self,
        life: LifeId,
        event: LifeEvent,
        policy: LeftoverPolicy,
        now: Moment,
    ) -> bool {
        let LeftoverPolicy { session, may_finish, is_early } = policy;
        let is_early = is_early && event == LifeEvent::Exited(ExitStatus::Code(0));
        let end = Some(End { event, by: now + LEFTOVER_TIMEOUT, is_early });
        let ended = EndedLife { session: Some(session), end, may_finish };
        self.leftovers.ended.insert(life, ended);
        self.leftovers.more = true;
        is_early
    }

    /// Whether there is an ended life of which something may be left.
    pub fn may_have_leftovers(&self) -> bool {
        !self.leftovers.ended.is_empty()
    }

    /// When the leftovers are to be looked at again, though nobody has anything to say.
    pub fn leftovers_deadline(&self, now: Moment) -> Option<Moment> {
        self.leftovers.deadline(now)
    }

    /// A child that nobody knows is reaped.
    pub fn orphan_reaped(&mut self, pid: Pid) {
        self.leftovers.orphans.remove(&pid);
    }

    /// Kills what ended lives have left behind, and raises the ends of those of which nothing is left. What is
    /// killed here leaves its own children to us in a later turn, so this looks again, whenever a child has
    /// ended, until nothing is found. Processes that a fork server has just named (`claimed`) are not orphans.
    pub fn kill_session_leftovers(
        &mut self,
        claimed: &[Pid],
        realm: &Realm,
        context: &mut Context,
    ) {
        if self.leftovers.ended.is_empty() {
            self.leftovers.more = false;
            return;
        }
        let mut unknown = Vec::new();
        let listed = descendants::each_child(|pid| {
            // Nearly all children are known, and asking the kernel costs more than the table.
            if !self.by_pid.contains_key(&pid) {
                unknown.push(pid);
            }
        });
        let was_listed = std::mem::replace(&mut self.leftovers.children_listable, listed.is_ok());
        if let Err(error) = listed
            && was_listed
        {
            context.log.warning(format_args!(
                "cannot list the children of the emperor: {error}; what a program leaves behind stays until the \
                 end; mount /proc"
            ));
        }
        unknown.retain(|pid| !claimed.contains(pid));
        let (left, daemons) = self.leftovers.kill_left(&unknown);
        self.leftovers.raise_daemons(daemons, realm, context);
        self.leftovers.raise_ends(&left, context);
    }
}

impl Leftovers {
    /// Kills those of ended lives; gives the lives of which some are left, and who may be a daemon.
    fn kill_left(&mut self, unknown: &[Pid]) -> (HashSet<LifeId>, HashMap<LifeId, Daemon>) {
        let sessions = self.ended.iter();
        let sessions = sessions.filter_map(|(life, it)| Some((it.session?.get(), *life))).collect();
        let (mut left, mut daemons) = (HashSet::new(), HashMap::new());
        let mut asked = MAX_MARKS_READ;
        self.more = false;
        for &pid in unknown {
            match self.owner(pid, &sessions, &mut asked) {
                OrphanOwner::OfEnded(life, session) => {
                    left.insert(life);
                    let Some(ended) = self.ended.get(&life) else { continue };
                    let has_own_session = session != ended.session;
                    if ended.end.as_ref().is_some_and(|end| end.is_early) {
                        // Its own session is the sign of a daemon; but it may not have come to that yet.
                        daemons
                            .entry(life)
                            .and_modify(|it: &mut Daemon| it.has_own_session |= has_own_session)
                            .or_insert(Daemon { pid, has_own_session });
                    }
                    // Who has a session of its own was not told to stop, and would not.
                    if has_own_session || !ended.may_finish {
                        let _ = process::kill_child(pid, Signal::KILL);
                    }
                }
                OrphanOwner::Other => {}
                OrphanOwner::NotAsked => self.more = true,
            }
        }
        if self.more {
            left.extend(self.ended.keys());
        }
        (left, daemons)
    }

    /// Raises that programs have gone to the background.
    fn raise_daemons(
        &mut self,
        daemons: HashMap<LifeId, Daemon>,
        realm: &Realm,
        context: &mut Context,
    ) {
        for (life, Daemon { pid, has_own_session }) in daemons {
            let vassal = realm.vassal_of(life).and_then(|vassal| realm.vassal(vassal));
            let is_on_demand = vassal.is_some_and(|vassal| vassal.address().is_some());
            // On demand it may well end after the first request, and before its workers.
            if !has_own_session && is_on_demand {
                continue;
            }
            let end = self.ended.get_mut(&life).and_then(|ended| ended.end.as_mut());
            if end.is_some_and(|end| std::mem::take(&mut end.is_early)) {
                let why = format!(
                    "its program has gone to the background (pid {pid}), where it cannot be supervised: have it \
                     stay in the foreground (daemon off, --nodaemon, -F …)"
                );
                context.raise_for(life, LifeEvent::Daemonized(why));
            }
        }
    }

    /// Raises the ends of lives of which nothing is left, or for which was waited long enough.
    fn raise_ends(&mut self, left: &HashSet<LifeId>, context: &mut Context) {
        let mut ends = Vec::new();
        self.ended.retain(|life, ended| {
            let is_left = left.contains(life);
            let is_due =
                ended.end.as_ref().is_some_and(|end| !ended.may_finish && end.by <= context.now);
            if (!is_left || is_due)
                && let Some(end) = ended.end.take()
            {
                ends.push((*life, end.event));
            }
            is_left
        });
        ends.sort_by_key(|(life, _)| *life);
        for (life, event) in ends {
            context.raise_for(life, event);
        }
    }
}

/// How a life goes.
#[derive(Clone, Copy, Debug)]
pub(in crate::emperor) struct LeftoverPolicy {
    /// The session that it led.
    session: Pid,
    /// What is left of it may finish.
    pub may_finish: bool,
    /// Nobody has told it to, and it has only just begun.
    is_early: bool,
}
