//! Helper processes: they run stop hooks, send a file over a config pipe again, or probe whether a life accepts
//! connections.
//!
//! Each is watched by its pidfd and has a limit; the loop waits for none of them.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use crate::log::Level;
use crate::proto::spawner::{SpawnerOrder, Template};
use crate::reactor::{Delivery, Interest};
use crate::spawn::{CONFIG_PUSH_TIMEOUT, HOOK_TIMEOUT};
use crate::state::realm::Realm;
use crate::state::{Event, Key, LifeId};
use crate::sys::pidfd;
use crate::sys::process::{self, Pid, Reap};
use crate::sys::signal::Signal;
use crate::types::exit_status::ExitStatus;
use crate::types::moment::Moment;

use super::context::{Context, Sources};
use super::messages;
use super::spawner::{Made, OrderOwner};
use super::token::{HelperId, Token};

/// Most stop hooks that run at one time; when all vassals end at once, the others wait in a queue.
const MAX_HOOKS: usize = 16;

/// Most probes that run at one time, and the time limit of each.
const MAX_PROBES: usize = 4;
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// All helpers, running and waiting.
#[derive(Debug)]
pub(super) struct Helpers {
    running: HashMap<HelperId, Helper>,
    /// Those that the spawner was ordered to make, and has not answered for.
    ordered: HashMap<HelperId, Task>,
    /// Stop hooks that are not ordered yet: at most two for each vassal.
    waiting: VecDeque<Key>,
    /// The reload mercy has passed: whatever is made is killed.
    kills_all: bool,
    last: u64,
    template: Rc<Template>,
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
    /// Runs the stop hook of this vassal.
    StopHook(Key),
    /// Sends its file to this life.
    SendConfig(LifeId),
    /// Probes whether this life accepts connections.
    ProbeAccepting(LifeId),
}

/// The result of a helper.
#[derive(Debug)]
pub(super) enum HelperEnd {
    /// The stop hook of this vassal is over.
    StopHook(Key),
    /// The file was sent to this life, or was not, with this error number, or 0 if there is none.
    SentConfig(LifeId, Result<(), i32>),
    /// This life waits for connections.
    Accepts(LifeId),
    /// No event follows.
    Nothing,
}

impl Helpers {
    /// Without helpers.
    pub fn new(template: Rc<Template>) -> Self {
        Self {
            running: HashMap::new(),
            ordered: HashMap::new(),
            waiting: VecDeque::new(),
            kills_all: false,
            last: 0,
            template,
        }
    }

    /// How many there are that are not reaped.
    pub fn unreaped(&self) -> usize {
        self.running.len()
    }

    /// The helper with this pid.
    pub fn with_pid(&self, pid: Pid) -> Option<HelperId> {
        self.running.iter().find(|(_, helper)| helper.pid == pid).map(|(id, _)| *id)
    }

    /// The stop hooks that are not over, by the vassals for which they run.
    pub fn stop_hooks(&self) -> impl Iterator<Item = &Key> {
        let begun = self.tasks().filter_map(|task| match task {
            Task::StopHook(key) => Some(key),
            Task::SendConfig(_) | Task::ProbeAccepting(_) => None,
        });
        begun.chain(&self.waiting)
    }

    /// What the helpers do that are ordered or running.
    fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.running.values().map(|helper| &helper.task).chain(self.ordered.values())
    }

    fn count(&self, is_counted: impl Fn(&Task) -> bool) -> usize {
        self.tasks().filter(|task| is_counted(task)).count()
    }

    /// Whether a life is just being sent its file.
    pub fn is_sending_to(&self, life: LifeId) -> bool {
        self.count(|task| matches!(task, Task::SendConfig(to) if *to == life)) > 0
    }

    /// Runs the stop hook for a life of this vassal that has ended.
    pub fn run_stop_hook(&mut self, key: Key, context: &mut Context) {
        self.waiting.push_back(key);
        self.start_hooks(context);
    }

    fn start_hooks(&mut self, context: &mut Context) {
        while self.count(|task| matches!(task, Task::StopHook(_))) < MAX_HOOKS {
            let Some(key) = self.waiting.pop_front() else { return };
            if self.template.stop_hook.is_none() {
                context.raise(Event::HookEnded(key));
                continue;
            }
            let order = SpawnerOrder::StopHook(Sources::vassal_name(&key));
            if let Err(error) = self.order(Task::StopHook(key.clone()), &order, &[], context) {
                hook_failed(key, &error, context);
            }
        }
    }

    /// Sends the file of its vassal to a life, over our end of its config pipe.
    ///
    /// # Errors
    /// There is no process or descriptor left.
    pub fn send_config(
        &mut self,
        life: LifeId,
        pipe: BorrowedFd<'_>,
        key: &Key,
        context: &mut Context,
    ) -> io::Result<()> {
        let order = SpawnerOrder::SendConfig(Sources::vassal_name(key));
        self.order(Task::SendConfig(life), &order, &[pipe], context)
    }

    /// Probes whether a process of this life waits for connections on one of these sockets. A helper does that, as
    /// reads of `/proc` may block. While too many probes run this one is left out, until it is due again.
    pub fn probe_accepting(
        &mut self,
        life: LifeId,
        pid: Pid,
        inodes: Vec<u64>,
        context: &mut Context,
    ) {
        let probes = self.count(|task| matches!(task, Task::ProbeAccepting(_)));
        if inodes.is_empty() || probes >= MAX_PROBES {
            return;
        }
        let order = SpawnerOrder::Probe { pid: pid.get(), inodes };
        // If no probe can run, a life counts as accepting when it is old enough.
        let _ = self.order(Task::ProbeAccepting(life), &order, &[], context);
    }

    /// Orders a helper from the spawner.
    fn order(
        &mut self,
        task: Task,
        order: &SpawnerOrder,
        attached: &[BorrowedFd<'_>],
        context: &mut Context,
    ) -> io::Result<()> {
        self.last += 1;
        let id = HelperId(self.last);
        context.order(OrderOwner::Helper(id), order, attached)?;
        self.ordered.insert(id, task);
        Ok(())
    }

    /// The spawner has made a helper, or has not; gives the result of one that cannot run.
    pub fn made(&mut self, id: HelperId, made: Made, context: &mut Context) -> HelperEnd {
        let Some(task) = self.ordered.remove(&id) else { return HelperEnd::Nothing };
        let (pid, pidfd) = match made {
            Ok(made) => made,
            Err(error) => {
                return match task {
                    Task::StopHook(key) => {
                        hook_failed(key, &error, context);
                        HelperEnd::Nothing
                    }
                    Task::SendConfig(life) => {
                        HelperEnd::SentConfig(life, Err(error.raw_os_error().unwrap_or(0)))
                    }
                    Task::ProbeAccepting(_) => HelperEnd::Nothing,
                };
            }
        };
        context.reactor.add(pidfd.as_fd(), Token::Helper(id), Interest::Read, Delivery::Direct);
        let limit = match task {
            Task::StopHook(_) => HOOK_TIMEOUT,
            Task::SendConfig(_) => CONFIG_PUSH_TIMEOUT,
            Task::ProbeAccepting(_) => PROBE_TIMEOUT,
        };
        let helper = Helper { pid, pidfd, kill_at: context.now + limit, limit, task };
        if self.kills_all {
            helper.kill();
        }
        self.running.insert(id, helper);
        HelperEnd::Nothing
    }

    /// Reaps a helper whose pidfd is readable, or which waitid(2) has found; gives its result.
    pub fn reap(&mut self, id: HelperId, context: &mut Context) -> HelperEnd {
        let Some(helper) = self.running.get(&id) else { return HelperEnd::Nothing };
        let ended = match pidfd::wait(helper.pidfd.as_fd(), Reap::Take) {
            Ok(Some(ended)) => ended,
            Ok(None) => return HelperEnd::Nothing,
            Err(_) => ExitStatus::Code(255),
        };
        let Some(helper) = self.running.remove(&id) else { return HelperEnd::Nothing };
        context.reactor.remove(helper.pidfd.as_fd());
        match helper.task {
            Task::StopHook(key) => {
                let name = context.sources.label(&key);
                let level = if ended == ExitStatus::Code(0) { Level::Info } else { Level::Warning };
                let result = messages::hook_result(ended);
                context.log.line(level, format_args!("[{name}] stop hook {result}"));
                self.start_hooks(context);
                HelperEnd::StopHook(key)
            }
            Task::SendConfig(life) => HelperEnd::SentConfig(
                life,
                match ended {
                    ExitStatus::Code(0) => Ok(()),
                    ExitStatus::Code(errno) => Err(errno),
                    ExitStatus::Signal(_) | ExitStatus::CoreDump(_) => Err(0),
                },
            ),
            Task::ProbeAccepting(life) if ended == ExitStatus::Code(0) => HelperEnd::Accepts(life),
            Task::ProbeAccepting(_) => HelperEnd::Nothing,
        }
    }

    /// The reload mercy has passed: kills every helper, and starts no further one.
    pub fn kill_all(&mut self, context: &mut Context) {
        self.kills_all = true;
        for key in self.waiting.drain(..) {
            context.raise(Event::HookEnded(key));
        }
        self.running.values().for_each(Helper::kill);
    }
}

impl Helpers {
    /// When the next time limit passes.
    pub fn deadline(&self) -> Option<Moment> {
        self.running.values().map(|helper| helper.kill_at).min()
    }

    /// Kills every helper that has exceeded its time limit, with its group.
    pub fn expire(&mut self, realm: &Realm, context: &mut Context) {
        for helper in self.running.values_mut().filter(|helper| helper.kill_at <= context.now) {
            helper.kill_at = context.now + helper.limit;
            helper.kill();
            let (what, key) = match &helper.task {
                Task::StopHook(key) => ("its stop hook", Some(key)),
                Task::SendConfig(life) => {
                    let vassal = realm.vassal_of(*life).and_then(|id| realm.vassal(id));
                    ("the sending of its file", vassal.map(|vassal| &vassal.key))
                }
                // A read of `/proc` has blocked; the next probe may succeed.
                Task::ProbeAccepting(_) => continue,
            };
            let name = key.map(|key| context.sources.label(key)).unwrap_or_default();
            let limit = helper.limit.as_secs();
            context.log.error(format_args!("[{name}] {what} has taken {limit} s: it is killed"));
        }
    }
}

impl Helper {
    /// Kills the process, which is our unreaped child, and its group, if it leads one.
    fn kill(&self) {
        let _ = process::kill_group(self.pid, Signal::KILL);
        let _ = pidfd::send(self.pidfd.as_fd(), Signal::KILL);
    }
}

/// A stop hook cannot be run; the vassal does not wait for it.
fn hook_failed(key: Key, error: &io::Error, context: &mut Context) {
    let name = context.sources.label(&key);
    context.log.error(format_args!("[{name}] stop hook cannot be run: {error}"));
    context.raise(Event::HookEnded(key));
}
