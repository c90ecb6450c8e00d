//! The shell of the emperor: it waits, ranks what has come, steps the state and acts on its effects.
//!
//! Nothing here decides what a vassal's event means; that is the event table in `state`. Nothing here
//! waits but the reactor.

mod act;
mod context;
mod descriptors;
mod faults;
mod fork_servers;
mod helpers;
mod hold_groups;
mod keeper;
mod listeners;
mod listening_socket;
mod lives;
pub mod manager;
mod messages;
mod monitors;
mod open_log;
mod own_process;
mod parent;
mod pid_file;
mod process_context;
mod runtime_dir;
mod serve;
mod servers;
mod setup;
mod setup_error;
mod signals;
pub mod start;
mod state_words;
mod status_log;
mod token;
mod vassal_files;

use std::collections::VecDeque;

use crate::monitor::{Change, ChangeKind, Changes, Monitor};
use crate::reactor::Token as _;
use crate::state::realm::Realm;
use crate::state::{Effect, Event, Key, SourceId, VassalId};
use crate::sys::descendants;
use crate::types::moment::Moment;

use context::{Context, Part};
use listeners::{Inspection, MAX_INSPECTIONS};
use servers::Servers;
use servers::ids::ServerSocket;
use servers::service::Access;
use token::{LAST_RANK_OF_LIVES, RANK_OF_ORDERS, Token};

/// Most rounds of effects that answer with events before something else is served.
const MAX_ROUNDS: usize = 64;
/// Most effects that are seen to before something else is served: a few milliseconds.
const MAX_EFFECTS: usize = 64;
/// Most turns in a row in which lives are heard and no deadline is judged; one that speaks without end is not
/// waited for.
const MAX_HEARINGS: usize = 256;

/// The emperor.
pub struct Emperor {
    context: Context,
    realm: Realm,
    monitors: monitors::Monitors,
    listeners: listeners::Listeners,
    vassal_files: vassal_files::VassalFiles,
    lives: lives::Lives,
    helpers: helpers::Helpers,
    fork_servers: fork_servers::ForkServers,
    servers: Servers,
    manager: manager::ServiceManager,
    signals: signals::Signals,
    status_log: status_log::StatusLog,
    keeper: Option<keeper::KeeperHandle>,
    parent: parent::Parent,
    process_info: own_process::ProcessInfo,
    pidfile: Option<pid_file::PidFile>,
    /// What the state has asked for and one turn could not do.
    effects: VecDeque<Effect>,
    /// Turns since the last one that judged a deadline, or had none to judge.
    hearings: usize,
    started: Moment,
    /// What the state asks for in one step; empty between two.
    asked: Vec<Effect>,
    descriptors: descriptors::DescriptorBudget,
    faults: faults::Faults,
    hold_groups: hold_groups::HoldGroups,
    /// More unknown children have died than one wake-up reaps.
    more_unknown_children: bool,
    leave: Option<u8>,
}

impl Emperor {
    /// Runs until ragnarok is over; gives the exit status.
    pub fn run(&mut self) -> u8 {
        self.first_scan();
        let mut ready = Vec::new();
        while self.leave.is_none() {
            self.turn_safely(|emperor| emperor.turn(&mut ready));
        }
        let status = self.leave.unwrap_or_default();
        self.safely(|emperor| emperor.bury(status));
        status
    }

    fn turn(&mut self, ready: &mut Vec<Token>) {
        match self.context.reactor.wait(self.deadline(), ready) {
            Ok(now) => self.context.now = now,
            Err(error) => {
                self.context.log.error(format_args!("cannot wait for events: poll: {error}"))
            }
        }
        self.settle();
        self.safely(Self::repair);
        self.context.trip("turn");
        let first_order = ready.partition_point(|token| token.rank() < RANK_OF_ORDERS);
        let mut orders = ready.split_off(first_order);
        self.serve_all(ready);
        // Deadlines after what lives say: a heartbeat that has just come must be seen before the timer
        // that would punish its absence. But before orders: a storm of them gives no rest.
        if self.effects.is_empty() {
            if self.deadline().is_none_or(|at| at > self.context.now) {
                self.hearings = 0;
            } else if self.all_are_heard(ready) {
                self.serve_deadlines();
            }
        }
        self.serve_all(&mut orders);
        if std::mem::take(&mut self.more_unknown_children) {
            self.safely(Self::reap_unknown_children);
        }
        self.safely(Self::kill_session_leftovers);
        self.safely(Self::tell_manager);
    }

    /// Hears lives once more before anybody is judged: between the end of the wait and the look at the clock
    /// this process may have been stopped for hours, and all have spoken since. True if nobody had a word
    /// to say; else the next turn, in which everybody else is served too, tries again.
    fn all_are_heard(&mut self, ready: &mut Vec<Token>) -> bool {
        self.hearings += 1;
        // Whoever is late by this clock is judged by the time of the wake-up, not by a later one.
        if self.hearings <= MAX_HEARINGS
            && self.context.reactor.wait(Some(self.context.now), ready).is_ok()
        {
            ready.retain(|token| token.rank() <= LAST_RANK_OF_LIVES);
            if !ready.is_empty() {
                self.serve_all(ready);
                return false;
            }
        }
        self.hearings = 0;
        true
    }

    /// Serves those who are ready. What lives say, what is found and what is ordered waits, in the kernel,
    /// until all is done that was decided before.
    fn serve_all(&mut self, ready: &mut Vec<Token>) {
        for token in ready.drain(..) {
            if self.effects.is_empty() || token.bypasses_backpressure() {
                self.safely(|emperor| emperor.serve(token));
            }
        }
    }

    fn deadline(&self) -> Option<Moment> {
        let own = [
            self.monitors.deadline(),
            self.realm.deadline(),
            self.helpers.deadline(),
            self.lives.deadline(),
            self.servers.deadline(),
            self.manager.deadline(),
            self.fork_servers.deadline(),
            self.status_log.deadline(),
            self.hold_groups.deadline(),
            self.faults.repair_at,
            self.lives.leftovers_deadline(self.context.now),
        ];
        let more = self.more_unknown_children
            || !self.context.events.is_empty()
            || !self.effects.is_empty()
            || self.listeners.has_inspections();
        let more = more.then_some(self.context.now);
        own.into_iter().flatten().chain(more).min()
    }

    fn serve_deadlines(&mut self) {
        let now = self.context.now;
        let due = |at: Option<Moment>| at.is_some_and(|at| at <= now);
        for source in self.monitors.ids() {
            if self.monitors.is_due(source, now) {
                let expire = |monitor: &mut dyn Monitor, now, out: &mut _| monitor.expire(now, out);
                self.safely(|emperor| emperor.poll_monitor(source, expire));
            }
        }
        type Duty = (Option<Moment>, fn(&mut Emperor));
        let inspection = self.listeners.has_inspections().then_some(now);
        let duties: [Duty; 8] = [
            (inspection, Self::inspect_listeners),
            (self.servers.deadline(), |it| it.servers.expire(&mut it.context)),
            (self.lives.deadline(), Self::expire_lives),
            (self.helpers.deadline(), |it| it.helpers.expire(&it.realm, &mut it.context)),
            (self.fork_servers.deadline(), Self::check_claims),
            (self.status_log.deadline(), |it| it.status_log.expire(&it.realm, &mut it.context)),
            (self.hold_groups.deadline(), |it| it.hold_groups.log_due(&mut it.context)),
            (self.realm.deadline(), |emperor| emperor.happen(Event::Time)),
        ];
        for (at, duty) in duties {
            if due(at) {
                self.safely(|emperor| {
                    emperor.context.trip("deadline");
                    duty(emperor);
                });
            }
        }
    }

    fn expire_lives(&mut self) {
        self.lives.expire(&self.realm, &mut self.context);
        self.obey();
    }

    /// Steps the state with one event, and with all that its effects answer, before anything else; unless
    /// the state is ahead of what is done, which comes first.
    fn happen(&mut self, event: Event) {
        self.context.raise(event);
        self.obey();
    }

    /// Steps the state with what waits for it, unless that has to wait.
    fn obey(&mut self) {
        self.serve_requests();
        if self.effects.is_empty() {
            self.settle();
        }
    }

    /// Goes on until effects and events have come to rest. What is left after [`MAX_ROUNDS`] (a thousand
    /// forks that are refused one after the other) or [`MAX_EFFECTS`] (a thousand vassals that are stopped)
    /// is for the next turn, which comes at once.
    fn settle(&mut self) {
        let mut left = MAX_EFFECTS;
        for _ in 0..MAX_ROUNDS {
            while let Some(event) = self.context.events.pop_front() {
                self.step(event);
            }
            while left > 0
                && let Some(effect) = self.effects.pop_front()
            {
                left -= 1;
                self.act_safely(effect);
            }
            if left == 0 || self.context.events.is_empty() {
                return;
            }
        }
    }

    /// Calls a monitor, and dispatches what it has found.
    fn poll_monitor(
        &mut self,
        source: SourceId,
        call: impl FnOnce(&mut dyn Monitor, Moment, &mut Changes),
    ) {
        let found = self.monitors.poll(source, call, &mut self.context);
        if found.is_full_scan {
            self.inspect_soon(Inspection::Regular);
        }
        monitors::log_notices(source, found.notices, &mut self.context);
        for change in found.changes {
            self.safely(|emperor| {
                emperor.context.trip("sighting");
                emperor.dispatch_change(source, change);
            });
        }
    }

    fn dispatch_change(&mut self, source: SourceId, change: Change) {
        let key = Key { source, name: change.name.as_encoded_bytes().into() };
        let boot = change.is_initial;
        if let (ChangeKind::Changed(_), Some(vassal)) = (&change.kind, self.realm.named_id(&key)) {
            self.inspect(vassal);
            self.lives.forget_warnings(vassal);
        }
        self.happen(match change.kind {
            ChangeKind::Found(file) => Event::Found { key, file: monitors::file(&file), boot },
            ChangeKind::Changed(file) => Event::Changed { key, file: monitors::file(&file) },
            ChangeKind::OwnerChanged(file) => Event::Chowned { key, file: monitors::file(&file) },
            ChangeKind::Lost => Event::Lost(key),
        });
    }

    /// Inspects the listeners of one vassal.
    fn inspect(&mut self, vassal: VassalId) {
        self.listeners.inspect(vassal, &self.realm, &mut self.context);
        self.obey();
    }

    /// Inspects the listeners of some of the vassals that wait for it.
    fn inspect_listeners(&mut self) {
        for _ in 0..MAX_INSPECTIONS {
            let Some(vassal) = self.listeners.next_inspection() else { return };
            self.inspect(vassal);
        }
    }

    /// Has the listeners of all vassals inspected in the next turns, and those of the servers now.
    fn inspect_soon(&mut self, why: Inspection) {
        self.listeners.inspect_soon(why, &self.realm, self.context.now);
        self.servers.check_listeners(&mut self.context);
    }

    fn first_scan(&mut self) {
        self.rescan();
        // All listeners are new.
        self.listeners.inspect_none();
        let count = messages::vassals(self.realm.len());
        let pid = std::process::id();
        self.context.log.notice(format_args!("the emperor (pid {pid}) governs {count}"));
        let sent = self.manager.ready();
        self.warn_if_failed(sent);
        self.parent.tell_ready();
        self.tell_manager();
    }

    /// Somebody wants to know something.
    fn serve_client(&mut self, socket: ServerSocket) {
        let base_of = |life| self.lives.base_of(life);
        let mut access = Access {
            context: &mut self.context,
            realm: &self.realm,
            monitors: self.monitors.all(),
            process: &self.process_info,
            keeper_pid: self.keeper.as_ref().map(|keeper| keeper.pid),
            started: self.started,
            max_vassals: self.descriptors.max_vassals,
            internal_errors: self.faults.count(),
            base_of: &base_of,
        };
        self.servers.serve(socket, &mut access);
    }

    fn rescan(&mut self) {
        for source in self.monitors.ids() {
            self.safely(|emperor| {
                emperor.poll_monitor(source, |monitor, now, out| monitor.rescan(now, out));
            });
        }
    }

    /// Tells the service manager what has changed, if there is one.
    fn tell_manager(&mut self) {
        if self.manager.is_idle() {
            return;
        }
        let counts = self.realm.counts();
        let sent = self.manager.status(counts.running, counts.failing, self.context.now);
        self.warn_if_failed(sent);
    }

    fn warn_if_failed(&mut self, sent: Result<(), String>) {
        if let Err(why) = sent {
            self.context.log.warning(format_args!("{why}"));
        }
    }

    /// The end: nothing that was started here is left behind.
    fn bury(&mut self, status: u8) {
        descendants::clear(|| {});
        drop(self.pidfile.take());
        self.lives.clear();
        let sent = self.manager.buried();
        self.warn_if_failed(sent);
        self.context.trip("bury");
        let turn = self.context.reactor.longest_turn().as_micros();
        self.context.log.debug(format_args!("the longest turn of the event loop took {turn} us"));
        self.context.log.notice(format_args!("the emperor is buried (status {status})"));
        self.context.log.flush();
    }
}
