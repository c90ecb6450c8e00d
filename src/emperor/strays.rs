//! What a life leaves behind: processes of its group and session, and those in sessions of their own.
//!
//! We are a subreaper, so an orphan of a life becomes our child; which life it came from is told by its
//! session, or by the mark that each life gets at its start and hands on to all it starts (`sys::mark`). An
//! orphan of a running life is that program's own affair. When the main process has ended, what is left is
//! ended too, and the end of the life is told when nothing of it is found any more: its ports are free then.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::Emperor;
use crate::state::{Event, Exit, LifeEvent, LifeId};
use crate::sys::descendants;
use crate::sys::mark::{self, ProcessMark, ProcessMarks};
use crate::sys::process::{self, Pid};
use crate::sys::signal::Signal;
use crate::types::moment::Moment;

/// How long the end of a life waits for what was killed; who hangs in the kernel holds up nobody.
const PATIENCE: Duration = Duration::from_secs(1);
/// Orphans that are asked for their mark in one turn: a few microseconds each.
const MAX_ASKED: usize = 128;
/// A program that ends well so soon after its start, and leaves something behind in a session of its own, has
/// gone to the background.
const DAEMON: Duration = Duration::from_secs(3);

/// What is left, and of whom.
#[derive(Debug)]
pub(super) struct Strays {
    marks: ProcessMarks,
    /// Lives whose main process is reaped, until nobody of them is found.
    ended: HashMap<LifeId, Ended>,
    /// The lives of orphans that were asked: while they are our children their numbers are their own.
    orphans: HashMap<Pid, Option<LifeId>>,
    /// The kernel has told who our children are when it was asked last.
    lists_children: bool,
    /// More orphans than one turn asks.
    more: bool,
}

/// A life whose main process is reaped.
#[derive(Debug)]
struct Ended {
    /// The session that it led, as long as no new one can have this number.
    session: Option<Pid>,
    /// Its end, until that is told.
    end: Option<End>,
    /// It was told to stop with all its group, and what is left of that may finish: until it is killed.
    spared: bool,
}

/// An end that is not told yet.
#[derive(Debug)]
struct End {
    event: LifeEvent,
    /// Told then at the latest, unless what is left is spared.
    by: Moment,
    /// It has ended well, unasked, and very soon.
    soon: bool,
}

impl Default for Strays {
    fn default() -> Self {
        Self {
            marks: ProcessMarks::new(),
            ended: HashMap::new(),
            orphans: HashMap::new(),
            lists_children: true,
            more: false,
        }
    }
}

impl Strays {
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

    /// A child that nobody knows is reaped.
    pub fn reaped(&mut self, pid: Pid) {
        self.orphans.remove(&pid);
    }

    /// What is left of this life is spared no more.
    pub fn kill(&mut self, life: LifeId, now: Moment) {
        if let Some(ended) = self.ended.get_mut(&life)
            && std::mem::take(&mut ended.spared)
        {
            self.more = true;
            if let Some(end) = &mut ended.end {
                end.by = now + PATIENCE;
            }
        }
    }

    /// When a turn is needed, though nobody has anything to say.
    pub fn deadline(&self, now: Moment) -> Option<Moment> {
        if self.more {
            return Some(now);
        }
        let unspared = self.ended.values().filter(|ended| !ended.spared);
        unspared.filter_map(|ended| ended.end.as_ref().map(|end| end.by)).min()
    }

    /// The life that an orphan came from, if that has ended.
    fn owner(&mut self, pid: Pid, sessions: &HashMap<i32, LifeId>, left: &mut usize) -> Owner {
        let session = process::session_of(pid).unwrap_or(0);
        if let Some(life) = sessions.get(&session) {
            return Owner::Ended(*life, Pid::new(session));
        }
        let life = match self.orphans.get(&pid) {
            Some(known) => *known,
            None if *left == 0 => return Owner::NotAsked,
            None => {
                *left -= 1;
                let life = self.marks.number_of(pid).map(LifeId);
                self.orphans.insert(pid, life);
                life
            }
        };
        match life.filter(|life| self.ended.contains_key(life)) {
            Some(life) => Owner::Ended(life, Pid::new(session)),
            None => Owner::Other,
        }
    }
}

/// What is left of a life that has ended well, unasked, and very soon.
struct Daemon {
    pid: Pid,
    /// It has a session of its own.
    own: bool,
}

/// Whose an orphan is.
enum Owner {
    /// Of a life that has ended; it sits in this session.
    Ended(LifeId, Option<Pid>),
    /// Of a life that has not, or of nobody's.
    Other,
    /// The next turn asks it.
    NotAsked,
}

impl Emperor {
    /// The main process of a life is reaped: its end is told when nothing is left of it, which is in this turn
    /// if it has left nothing behind.
    pub(super) fn main_ended(&mut self, life: LifeId, event: LifeEvent, ended: Leaving) {
        let Leaving { session, spared, soon } = ended;
        let soon = soon && event == LifeEvent::Exited(Exit::Code(0));
        let end = Some(End { event, by: self.context.now + PATIENCE, soon });
        self.strays.ended.insert(life, Ended { session: Some(session), end, spared });
        self.strays.more = true;
        if soon {
            // What we have just killed with its group is reaped later in this turn, and would be seen by nobody.
            self.end_strays();
        }
    }

    /// How a life goes whose main process has ended and is not reaped.
    pub(super) fn leaving(&self, life: LifeId, session: Pid, told_group: bool) -> Leaving {
        let record = self.processes.get(&life).and_then(|it| self.realm.vassal(it.vassal));
        let of_life = record.and_then(|record| {
            record.current().into_iter().chain(record.other()).find(|known| known.id == life)
        });
        let cursed = of_life.is_some_and(|life| life.is_cursed());
        let soon =
            of_life.is_some_and(|life| !life.is_cursed() && life.age(self.context.now) < DAEMON);
        Leaving { session, spared: told_group && cursed, soon }
    }

    /// Ends what ended lives have left behind. Who is killed here leaves its own children to us in a later turn,
    /// so this looks again, whenever a child has ended, until nobody is found.
    pub(super) fn end_strays(&mut self) {
        if self.strays.ended.is_empty() {
            self.strays.more = false;
            return;
        }
        let mut unknown = Vec::new();
        let listed = descendants::each_child(|pid| {
            // Nearly all children are known, and asking the kernel costs more than the table.
            if !self.pids.contains_key(&pid) {
                unknown.push(pid);
            }
        });
        let was_listed = std::mem::replace(&mut self.strays.lists_children, listed.is_ok());
        if let Err(error) = listed
            && was_listed
        {
            self.context.log.warning(format_args!(
                "cannot list the children of the emperor: {error}; what a program leaves behind stays until the \
                 end; mount /proc"
            ));
        }
        unknown.retain(|pid| !self.forks.is_claimed(*pid));
        let (left, daemons) = self.kill_left(&unknown);
        self.tell_ends(&left, daemons);
    }

    /// Kills those of ended lives; gives the lives of which some are left, and who may be a daemon.
    fn kill_left(&mut self, unknown: &[Pid]) -> (HashSet<LifeId>, HashMap<LifeId, Daemon>) {
        let sessions = self.strays.ended.iter();
        let sessions = sessions.filter_map(|(life, it)| Some((it.session?.get(), *life))).collect();
        let (mut left, mut daemons) = (HashSet::new(), HashMap::new());
        let mut asked = MAX_ASKED;
        self.strays.more = false;
        for &pid in unknown {
            match self.strays.owner(pid, &sessions, &mut asked) {
                Owner::Ended(life, session) => {
                    left.insert(life);
                    let Some(ended) = self.strays.ended.get(&life) else { continue };
                    let own = session != ended.session;
                    if ended.end.as_ref().is_some_and(|end| end.soon) {
                        // Its own session is the sign of a daemon; but it may not have come to that yet.
                        daemons
                            .entry(life)
                            .and_modify(|it: &mut Daemon| it.own |= own)
                            .or_insert(Daemon { pid, own });
                    }
                    // Who has a session of its own was not told to stop, and would not.
                    if own || !ended.spared {
                        let _ = process::kill_child(pid, Signal::KILL);
                    }
                }
                Owner::Other => {}
                Owner::NotAsked => self.strays.more = true,
            }
        }
        if self.strays.more {
            left.extend(self.strays.ended.keys());
        }
        (left, daemons)
    }

    fn is_on_demand(&self, life: LifeId) -> bool {
        let vassal = self.realm.vassal_of(life).and_then(|vassal| self.realm.vassal(vassal));
        vassal.is_some_and(|vassal| vassal.address().is_some())
    }

    /// Tells the ends of lives of which nothing is left, or for which was waited long enough.
    fn tell_ends(&mut self, left: &HashSet<LifeId>, daemons: HashMap<LifeId, Daemon>) {
        for (life, Daemon { pid, own }) in daemons {
            // On demand it may well end after the first request, and before its workers.
            if !own && self.is_on_demand(life) {
                continue;
            }
            let end = self.strays.ended.get_mut(&life).and_then(|ended| ended.end.as_mut());
            if end.is_some_and(|end| std::mem::take(&mut end.soon)) {
                let why = format!(
                    "its program has gone to the background (pid {pid}), where it cannot be supervised: have it \
                     stay in the foreground (daemon off, --nodaemon, -F …)"
                );
                self.happen(Event::Life(life, LifeEvent::Daemonized(why)));
            }
        }
        let now = self.context.now;
        let mut told = Vec::new();
        self.strays.ended.retain(|life, ended| {
            let is_left = left.contains(life);
            let is_due = ended.end.as_ref().is_some_and(|end| !ended.spared && end.by <= now);
            if (!is_left || is_due)
                && let Some(end) = ended.end.take()
            {
                told.push((*life, end.event));
            }
            is_left
        });
        told.sort_by_key(|(life, _)| *life);
        for (life, event) in told {
            self.happen(Event::Life(life, event));
        }
    }
}

/// How a life goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    /// The session that it leads.
    pub session: Pid,
    /// What is left of it may finish.
    pub spared: bool,
    /// Nobody has told it to, and it has only just begun.
    soon: bool,
}
