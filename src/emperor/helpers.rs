//! Processes beside the vassals: stop hooks, and those that push a file once more.
//!
//! Each is watched by its pidfd and has a limit; the loop waits for none of them.

use std::collections::{HashMap, VecDeque};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use crate::log::Level;
use crate::reactor::{Interest, Kind};
use crate::spawn::hook::{self, Hook};
use crate::spawn::push;
use crate::state::{Event, Key, LifeEvent, LifeId, VassalId};
use crate::sys::process::{self, Ended, Pid, Reap};
use crate::sys::signal::{Signal, SignalMask, set_mask};
use crate::sys::{dir, pidfd, prctl, waiters};
use crate::types::moment::Moment;

use super::lives::{FILE_INTERVAL, unsent};
use super::token::Token;
use super::{Emperor, messages};

/// Stop hooks that run at one time; when all vassals end at once, the others wait for their turn.
const MOST_HOOKS: usize = 16;

/// Lives that are looked at, whether they accept, at one time, and the limit of one look.
const MOST_LOOKS: usize = 4;
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// One of them; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(u64);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Helpers {
    running: HashMap<Id, Helper>,
    /// Stop hooks that are not started yet, and where: at most two for each vassal that there was.
    waiting: VecDeque<(Key, Rc<CStr>)>,
    last: u64,
}

#[derive(Debug)]
struct Helper {
    pid: Pid,
    pidfd: OwnedFd,
    kill_at: Moment,
    limit: Duration,
    task: Task,
}

#[derive(Debug)]
enum Task {
    /// Clears up after a life of this vassal.
    StopHook(Key),
    /// Sends its file to a life.
    Push(LifeId),
    /// Sees whether a life accepts.
    Look(LifeId),
}

impl Helpers {
    /// When the next limit has passed.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.running.values().map(|helper| helper.kill_at).min()
    }

    /// Which one has this pid.
    pub(super) fn with_pid(&self, pid: Pid) -> Option<Id> {
        self.running.iter().find(|(_, helper)| helper.pid == pid).map(|(id, _)| *id)
    }

    /// The stop hooks that are not over, by the vassals for which they run.
    pub(super) fn stop_hooks(&self) -> impl Iterator<Item = &Key> {
        let running = self.running.values().filter_map(|helper| match &helper.task {
            Task::StopHook(key) => Some(key),
            Task::Push(_) | Task::Look(_) => None,
        });
        running.chain(self.waiting.iter().map(|(key, _)| key))
    }

    fn hooks(&self) -> usize {
        let is_hook = |helper: &&Helper| matches!(helper.task, Task::StopHook(_));
        self.running.values().filter(is_hook).count()
    }

    fn looks(&self) -> usize {
        self.running.values().filter(|helper| matches!(helper.task, Task::Look(_))).count()
    }

    fn pushes_to(&self, life: LifeId) -> bool {
        self.running.values().any(|helper| matches!(helper.task, Task::Push(to) if to == life))
    }
}

impl Emperor {
    /// Runs the stop hook for a life of this vassal that has ended.
    pub(super) fn stop_hook(&mut self, key: Key) {
        let Some(directory) = self.context.sources.start(key.source) else {
            return self.context.raise(Event::HookEnded(key));
        };
        self.helpers.waiting.push_back((key, directory));
        self.start_hooks();
    }

    fn start_hooks(&mut self) {
        while self.helpers.hooks() < MOST_HOOKS {
            let Some((key, directory)) = self.helpers.waiting.pop_front() else { return };
            let Some(command) = &self.template.stop_hook else {
                self.context.raise(Event::HookEnded(key));
                continue;
            };
            let started = Hook::new(&self.template, command, &key.name, &directory)
                .and_then(|hook| hook.spawn(&self.template, self.null.as_fd()))
                .and_then(|pid| self.help(pid, Task::StopHook(key.clone()), hook::LIMIT));
            if let Err(error) = started {
                self.hook_refused(key, &error);
            }
        }
    }

    fn hook_refused(&mut self, key: Key, error: &io::Error) {
        let name = self.context.sources.label(&key);
        self.context.log.error(format_args!("[{name}] stop hook cannot be run: {error}"));
        self.context.raise(Event::HookEnded(key));
    }

    /// Sends its file to a life that asks for it; when it asks all the time, in its pace.
    pub(super) fn push_config(&mut self, life: LifeId) {
        let Some(vassal) = self.lives.vassal_of(life) else { return };
        let Some(config) = self.lives.config_pipe(life) else { return };
        let is_early = config.last.is_some_and(|last| last + FILE_INTERVAL > self.context.now);
        if is_early || self.helpers.pushes_to(life) {
            return self.lives.send_file_later(life, self.context.now);
        }
        config.last = Some(self.context.now);
        let Some(key) = self.realm.vassal(vassal).map(|record| &record.key) else { return };
        let Some(directory) = self.context.sources.start(key.source) else { return };
        let name = CString::new(&*key.name).map_err(io::Error::from);
        let pushed = name
            .and_then(|name| push::spawn(config.pipe.as_fd(), &directory, &name))
            .and_then(|pid| self.help(pid, Task::Push(life), push::LIMIT));
        if let Err(error) = pushed {
            self.not_pushed(life, format!("cannot be sent its file: {error}"));
        }
    }

    /// Sees, from a process of its own, whether a process of this life waits for connections on a listener
    /// that it was given: `/proc` may keep the one who asks waiting. While others are looked at this one has
    /// to wait for its next look.
    pub(super) fn look_whether_it_accepts(&mut self, vassal: VassalId, life: LifeId) {
        let Some(process) = self.lives.get(life) else { return };
        let hall = self.halls.get(&vassal);
        let kept = hall.map_or(&[][..], |hall| &hall.custody);
        let on_demand = hall.and_then(|hall| hall.listener.as_ref());
        let kept = kept.iter().chain(on_demand).map(|listener| &listener.socket);
        let listeners = process.listeners.iter().chain(kept);
        let inodes = listeners.filter_map(|fd| Some(dir::stat(fd.as_fd()).ok()?.ino));
        let inodes: Vec<u64> = inodes.collect();
        if inodes.is_empty() || self.helpers.looks() >= MOST_LOOKS {
            return;
        }
        let pid = process.pid;
        let looks = process::fork(|| {
            let armed = prctl::set_parent_death(Some(Signal::KILL))
                .and_then(|()| set_mask(SignalMask::NONE));
            u8::from(armed.is_err() || !waiters::is_awaited(pid, &inodes))
        });
        // What cannot be seen is believed by its age.
        let _ = looks.and_then(|pid| self.help(pid, Task::Look(life), LOOK_LIMIT));
    }

    /// Says why, once for each reason.
    fn not_pushed(&mut self, life: LifeId, why: String) {
        let Some(config) = self.lives.config_pipe(life) else { return };
        if config.failed.as_ref() != Some(&why) {
            config.failed = Some(why.clone());
            self.lives.log_for((life, Level::Error), &why, &self.realm, &mut self.context);
        }
    }

    /// Watches a new child; if that is not possible it is ended, as nobody would ever see it.
    fn help(&mut self, pid: Pid, task: Task, limit: Duration) -> io::Result<()> {
        self.helpers.last += 1;
        let id = Id(self.helpers.last);
        let pidfd = pidfd::open(pid).inspect_err(|_| {
            let _ = process::kill_child(pid, Signal::KILL);
        })?;
        self.context.reactor.add(pidfd.as_fd(), Token::Helper(id), Interest::Read, Kind::Busy);
        let helper = Helper { pid, pidfd, kill_at: self.context.now + limit, limit, task };
        self.helpers.running.insert(id, helper);
        Ok(())
    }

    /// A pidfd is readable, or the process was met among the dead.
    pub(super) fn reap_helper(&mut self, id: Id) {
        let Some(helper) = self.helpers.running.get(&id) else { return };
        let ended = match pidfd::wait(helper.pidfd.as_fd(), Reap::Take) {
            Ok(Some(ended)) => ended,
            Ok(None) => return,
            Err(_) => Ended::Exited(u8::MAX),
        };
        let Some(helper) = self.helpers.running.remove(&id) else { return };
        self.context.reactor.remove(helper.pidfd.as_fd());
        match helper.task {
            Task::StopHook(key) => {
                let name = self.context.sources.label(&key);
                let level = if ended == Ended::Exited(0) { Level::Info } else { Level::Warning };
                self.context.log.line(
                    level,
                    format_args!("[{name}] stop hook {}", messages::hook_result(ended)),
                );
                self.start_hooks();
                self.happen(Event::HookEnded(key));
            }
            Task::Look(life) => {
                if ended == Ended::Exited(0) {
                    self.happen(Event::Life(life, LifeEvent::SeenAccepting));
                }
            }
            Task::Push(life) if ended != Ended::Exited(0) => {
                let why = match ended {
                    Ended::Exited(errno) => unsent(i32::from(errno)),
                    Ended::Killed { .. } => unsent(0),
                };
                self.not_pushed(life, why);
            }
            Task::Push(life) => {
                if let Some(config) = self.lives.config_pipe(life) {
                    config.failed = None;
                }
            }
        }
    }

    /// Kills whatever has passed its limit, and what is in its group.
    pub(super) fn expire_helpers(&mut self) {
        let mut killed = Vec::new();
        for helper in self.helpers.running.values_mut().filter(|h| h.kill_at <= self.context.now) {
            helper.kill_at = self.context.now + helper.limit;
            helper.kill();
            let (what, key) = match &helper.task {
                Task::StopHook(key) => ("its stop hook", Some(key.clone())),
                Task::Push(life) => {
                    let vassal = self.realm.vassal_of(*life);
                    let vassal = vassal.and_then(|id| self.realm.vassal(id));
                    ("the sending of its file", vassal.map(|vassal| vassal.key.clone()))
                }
                // It was kept waiting, which is no news: the next one may see more.
                Task::Look(_) => continue,
            };
            killed.push((what, key, helper.limit.as_secs()));
        }
        for (what, key, limit) in killed {
            let name = key.map(|key| self.context.sources.label(&key)).unwrap_or_default();
            self.context
                .log
                .error(format_args!("[{name}] {what} has taken {limit} s: it is killed"));
        }
    }

    /// The mercy is over.
    pub(super) fn kill_hooks(&mut self) {
        for (key, _) in self.helpers.waiting.drain(..) {
            self.context.raise(Event::HookEnded(key));
        }
        self.helpers.running.values().for_each(Helper::kill);
    }
}

impl Helper {
    /// The process, which is our child and not reaped, and its group, if it leads one.
    fn kill(&self) {
        let _ = process::kill_group(self.pid, Signal::KILL);
        let _ = pidfd::send(self.pidfd.as_fd(), Signal::KILL);
    }
}
