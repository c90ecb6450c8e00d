//! Leftovers of a life: processes of its group and session, and those in sessions of their own.
//!
//! The emperor is a subreaper, so an orphan of a life becomes its child. The session of the orphan tells which life
//! it came from, or the mark that each life gets at its start and that its descendants inherit (`sys::mark`).
//! Orphans of a running life are left alone. When the main process has ended, its leftovers are killed, and the
//! end of the life is raised when none is found any more, because its ports are free only then.
//!
//! What a process leaves behind becomes our child before its end can be seen. So where we have no child but those that
//! we know, an ended life has left nothing, which is found out by a look at the end of the list of children. To list
//! them all takes milliseconds where there are thousands, and is done no more often than it is cheap.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::time::Duration;

use super::super::context::Context;
use super::{Dying, Lives};
use crate::state::realm::Realm;
use crate::state::{LifeEvent, LifeId};
use crate::sys::descendants::{ChildList, Listed};
use crate::sys::mark::{self, ProcessMark, ProcessMarks};
use crate::sys::process::{self, Pid};
use crate::sys::signal::Signal;
use crate::types::exit_status::ExitStatus;
use crate::types::moment::Moment;
use crate::types::purpose::Purpose;

/// How long the end of a life waits for its killed leftovers. A process that hangs in the kernel delays it no longer.
const LEFTOVER_TIMEOUT: Duration = Duration::from_secs(1);
/// From one listing of all children to the next, for each of them: four times what it costs.
const LIST_PAUSE_PER_CHILD: Duration = Duration::from_micros(2);
/// After so many births the list of children is read on, so that no look at it is a long one.
const BIRTHS_PER_LOOK: u32 = 256;
/// Most ends that are raised in one turn: each may be followed by a start.
const MAX_ENDS: usize = 64;
/// Orphans that are asked for their mark in one turn: a few microseconds each.
const MAX_MARKS_READ: usize = 128;
/// A program that exits with 0 so soon after its start, and leaves a process in a session of its own, has gone to
/// the background.
const DAEMON_AGE: Duration = Duration::from_secs(3);

/// The lives that have ended and may have left processes behind.
#[derive(Debug)]
pub(super) struct Leftovers {
    marks: ProcessMarks,
    /// Lives whose main process is reaped, until none of their processes is found.
    ended: HashMap<LifeId, EndedLife>,
    /// Ends of lives of which nothing is left, to be raised in their order.
    clear: VecDeque<(LifeId, LifeEvent)>,
    /// The lives of orphans whose marks were read. The entries hold as long as the orphans are our children, because
    /// their pids cannot be reused before they are reaped.
    orphans: HashMap<Pid, Option<LifeId>>,
    children: ChildList,
    /// The children that nobody knows, of a listing that is not at its end. Nobody is reaped meanwhile, which would
    /// move the others in the list.
    listing: Option<Vec<Pid>>,
    /// Births since the list was read on for them.
    born_since_look: u32,
    /// Whether all children were known when this was asked first in this turn.
    no_other_child: Option<bool>,
    /// Whether the last listing of our children has succeeded.
    children_listable: bool,
    /// Whether there is something to be looked for.
    more: bool,
    /// The next listing of all children, at the earliest.
    list_at: Moment,
}

/// A life whose main process is reaped.
#[derive(Debug)]
struct EndedLife {
    /// Session that the main process led, until a new session has this number.
    session: Option<Pid>,
    /// Its end, until it is raised.
    end: Option<End>,
    /// Whether its leftovers may finish until the life is killed, because its whole group was told to stop.
    may_finish: bool,
}

/// An end that is not raised yet.
#[derive(Debug)]
struct End {
    event: LifeEvent,
    /// Latest time at which it is raised, unless the leftovers may finish.
    by: Moment,
    /// Whether the life has exited with 0, without an order, very soon after its start.
    is_early: bool,
}

impl Default for Leftovers {
    fn default() -> Self {
        let mut children = ChildList::default();
        // Opens it, so that no descriptor is wanted later.
        let _ = children.read_on(|_| {});
        Self {
            marks: ProcessMarks::new(),
            ended: HashMap::new(),
            clear: VecDeque::new(),
            orphans: HashMap::new(),
            children,
            listing: None,
            born_since_look: 0,
            no_other_child: None,
            children_listable: true,
            more: false,
            list_at: Moment::from_nanos(0),
        }
    }
}

impl Leftovers {
    /// The mark of a life.
    pub fn mark(&self, life: LifeId) -> Option<ProcessMark> {
        self.marks.mark(life.0)
    }

    /// The lives whose end is not raised yet.
    pub fn untold(&self) -> impl Iterator<Item = LifeId> {
        let kept = self.ended.iter().filter(|(_, ended)| ended.end.is_some());
        kept.map(|(life, _)| *life).chain(self.clear.iter().map(|(life, _)| *life))
    }

    /// A new process has this number, and leads a session of it. The kernel does not reuse the number of a session
    /// that has processes, so nothing is left of an older session with it.
    pub fn born(&mut self, session: Pid) {
        self.born_since_look += 1;
        if self.born_since_look >= BIRTHS_PER_LOOK && self.listing.is_none() {
            self.born_since_look = 0;
            // So that the first look after many births is not a long one.
            let _ = self.children.read_on(|_| {});
        }
        self.orphans.remove(&session);
        for ended in self.ended.values_mut().filter(|ended| ended.session == Some(session)) {
            ended.session = None;
        }
    }

    /// A base has forked this process for a life, so it gets the mark of that life in place of the mark of the base.
    /// If that fails, its leftovers stay until the end of the emperor.
    pub fn adopt(&mut self, pid: Pid, life: LifeId) {
        self.orphans.remove(&pid);
        if let Some(mark) = self.mark(life) {
            let _ = mark::set(pid, mark);
        }
    }

    /// The leftovers of this life may not finish any more.
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

    /// When a turn is needed even if no descriptor is ready.
    pub fn deadline(&self, now: Moment) -> Option<Moment> {
        if !self.clear.is_empty() {
            return Some(now);
        }
        if self.more {
            let is_listing = self.listing.is_some();
            return Some(if is_listing { now } else { now.max(self.list_at) });
        }
        let must_end = self.ended.values().filter(|ended| !ended.may_finish);
        must_end.filter_map(|ended| ended.end.as_ref().map(|end| end.by)).min()
    }

    /// The ended life that an orphan came from.
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

/// A leftover of a life that has exited with 0, without an order, very soon after its start.
struct Daemon {
    pid: Pid,
    /// Whether it has a session of its own.
    has_own_session: bool,
}

/// The owner of an orphan.
enum OrphanOwner {
    /// A life that has ended; the orphan is in this session.
    OfEnded(LifeId, Option<Pid>),
    /// A life that has not ended, or no life.
    Other,
    /// Not known yet: its mark is read in the next turn.
    NotAsked,
}

impl Lives {
    /// The policy for the leftovers of a life whose main process has ended and is not reaped yet.
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
        // A check of the file exits with 0 as it should.
        let is_early = of_life.is_some_and(|life| {
            life.purpose == Purpose::Start && !life.is_cursed() && life.age(now) < DAEMON_AGE
        });
        LeftoverPolicy { session: dying.pid, may_finish: dying.group_signalled && cursed, is_early }
    }

    /// The main process of a life is reaped: its end is raised when it has no leftovers. True if these must be
    /// examined now: processes that were just killed with its group are reaped later in this turn, and a daemon
    /// among them would go unnoticed.
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

    /// A spawner is reaped that has not answered for these lives: what it has made for them, in its session or with
    /// their marks, is killed.
    pub fn abandon(&mut self, spawner: Pid, lives: Vec<LifeId>) {
        for life in lives {
            let ended = EndedLife { session: Some(spawner), end: None, may_finish: false };
            self.leftovers.ended.insert(life, ended);
            self.leftovers.more = true;
        }
    }

    /// A new turn: whoever was seen to have ended at its begin had done so before anything is asked in it.
    pub fn begin_turn(&mut self) {
        self.leftovers.no_other_child = None;
    }

    /// Whether the emperor has so many children, all of which it knows, and no other, so that no life which has ended has
    /// left anything. The first answer of a turn stands for all that had ended at its begin. Where it cannot be told at
    /// once, as one was reaped and none was born since the last look, it is not said.
    pub fn has_no_child_but(&mut self, known: usize) -> bool {
        let Leftovers { no_other_child, children, .. } = &mut self.leftovers;
        *no_other_child.get_or_insert_with(
            || matches!(children.read_on(|_| {}), Ok(Listed::All(seen)) if seen == known),
        )
    }

    /// The next listing of all children need not wait.
    pub fn list_now(&mut self) {
        self.leftovers.list_at = Moment::from_nanos(0);
    }

    /// Whether there is an ended life that may have leftovers.
    pub fn may_have_leftovers(&self) -> bool {
        !self.leftovers.ended.is_empty() || !self.leftovers.clear.is_empty()
    }

    /// When the leftovers are to be examined again even if no descriptor is ready.
    pub fn leftovers_deadline(&self, now: Moment) -> Option<Moment> {
        self.leftovers.deadline(now)
    }

    /// An unknown child was reaped.
    pub fn orphan_reaped(&mut self, pid: Pid) {
        self.leftovers.orphans.remove(&pid);
    }

    /// Kills the leftovers of ended lives, and raises the ends of lives without leftovers. The children of a process
    /// that is killed here become ours in a later turn, so this is repeated whenever a child has ended, until none
    /// is found. Processes that a fork server has just named (`claimed`) are not orphans.
    pub fn kill_session_leftovers(
        &mut self,
        claimed: &[Pid],
        realm: &Realm,
        context: &mut Context,
    ) {
        if !self.leftovers.clear.is_empty() {
            return self.leftovers.raise_clear(context);
        }
        if self.leftovers.ended.is_empty() {
            self.leftovers.more = false;
            self.leftovers.listing = None;
            return;
        }
        let Some((mut unknown, listed)) = self.list_unknown_children(context.now) else {
            self.leftovers.more = true;
            return;
        };
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

impl Lives {
    /// Lists the children that are no main process of a life, a part of them in each turn; `None` until that is done, or
    /// if it is not due.
    fn list_unknown_children(&mut self, now: Moment) -> Option<(Vec<Pid>, io::Result<()>)> {
        let Leftovers { children, listing, list_at, .. } = &mut self.leftovers;
        if listing.is_none() {
            if now < *list_at {
                return None;
            }
            children.rewind();
        }
        let mut unknown = listing.take().unwrap_or_default();
        let read = children.read_on(|pid| {
            // Nearly all children are in the table, which costs less than a question to the kernel.
            if !self.by_pid.contains_key(&pid) {
                unknown.push(pid);
            }
        });
        match read {
            Ok(Listed::Part) => {
                *listing = Some(unknown);
                None
            }
            Ok(Listed::All(count)) => {
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                *list_at = now + LIST_PAUSE_PER_CHILD.saturating_mul(count);
                Some((unknown, Ok(())))
            }
            Err(error) => Some((unknown, Err(error))),
        }
    }

    /// Whether no child may be reaped now.
    pub fn is_listing_children(&self) -> bool {
        self.leftovers.listing.is_some()
    }
}

impl Leftovers {
    /// Kills the orphans of ended lives; gives the lives that have leftovers, and the processes that may be daemons.
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
                        // A session of its own is the sign of a daemon, but it may not have called setsid(2) yet.
                        daemons
                            .entry(life)
                            .and_modify(|it: &mut Daemon| it.has_own_session |= has_own_session)
                            .or_insert(Daemon { pid, has_own_session });
                    }
                    // A process in a session of its own did not get the signal to stop.
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

    /// Raises the events of programs that have gone to the background.
    fn raise_daemons(
        &mut self,
        daemons: HashMap<LifeId, Daemon>,
        realm: &Realm,
        context: &mut Context,
    ) {
        for (life, Daemon { pid, has_own_session }) in daemons {
            let vassal = realm.vassal_of(life).and_then(|vassal| realm.vassal(vassal));
            let is_on_demand = vassal.is_some_and(|vassal| vassal.address().is_some());
            // An on-demand vassal may well exit after its first request, and before its workers.
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

    /// Raises the ends of lives without leftovers, and of those whose time limit has passed.
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
        self.clear.extend(ends);
        self.raise_clear(context);
    }

    /// Raises ends of lives of which nothing is left.
    fn raise_clear(&mut self, context: &mut Context) {
        for (life, event) in self.clear.drain(..self.clear.len().min(MAX_ENDS)) {
            context.raise_for(life, event);
        }
    }
}

/// How the leftovers of a life are treated.
#[derive(Clone, Copy, Debug)]
pub(in crate::emperor) struct LeftoverPolicy {
    /// Session that the main process led.
    session: Pid,
    /// Whether they may finish.
    pub may_finish: bool,
    /// Whether the life has ended without an order, very soon after its start.
    is_early: bool,
}
