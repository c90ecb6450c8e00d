//! The shell of the emperor: it waits for descriptors and deadlines, passes them to the state as events, and carries
//! out the effects that the state returns. The event table of `state` decides what an event means for a vassal.
//!
//! The order of a turn ([`Emperor::turn`]) is a contract:
//!
//! 1. *Wait* for a descriptor or a deadline; the time of the wake-up is the current time for the whole turn.
//! 2. *Effects* that earlier turns have left over: earlier decisions come before new events.
//! 3. *Repair*, after a fault in liege: compares the state with the processes and files that exist.
//! 4. *Lives and sources*, by the rank of their tokens: "exec failed" before "it exited", the last messages of a
//!    process before its exit, and events of lives before those of monitors.
//! 5. *Deadlines*, after all messages of lives: a heartbeat that has just arrived must be seen before the deadline
//!    that would punish its absence. But before orders, as a storm of orders would delay them for ever.
//! 6. *Orders*: signals, the end of the keeper, the emperor above.
//! 7. *Unknown children* that have exited: after SIGCHLD, and as long as there were more than one turn reaps.
//! 8. *Leftovers* of lives that have ended are killed, and the ends of lives without leftovers are raised.
//! 9. *The service manager* is told what has changed.
//!
//! While effects are left over, the input of 4 and 6 waits in the kernel, except clients that only read and the end
//! of the keeper, and deadlines wait too. The limits that cause this are in [`backpressure`]. A turn that a fault
//! has ended is followed by what must not be missed, in [`faults`]. Each piece of work runs inside [`Emperor::safely`], so that a fault
//! affects nothing else.
//!
//! A part (lives, listeners, monitors …) owns its fields, descriptors and deadlines. It is given the [`Context`], and
//! shared references to what it must read of other parts; it never calls the loop. It raises events or returns
//! values, and only this file, `serve.rs` (ready descriptors), `act.rs` (effects) and `faults.rs` call all parts;
//! `setup.rs` makes them.

mod act;
mod backpressure;
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
mod spawner;
pub mod start;
mod state_words;
mod status_log;
mod token;
mod vassal_files;

use std::collections::VecDeque;

use crate::monitor::{Change, ChangeKind, Changes, Monitor};
use crate::reactor::Ranked as _;
use crate::state::realm::Realm;
use crate::state::{Effect, Event, Key, SourceId, VassalId};
use crate::sys::descendants;
use crate::types::moment::Moment;

use context::Context;
use listeners::{Inspection, MAX_INSPECTIONS};
use servers::Servers;
use servers::ids::ServerSocket;
use servers::service::Access;
use token::{LAST_RANK_OF_LIVES, RANK_OF_ORDERS, Token};

/// A deadline, and the call that serves it.
type Deadline = (Option<Moment>, fn(&mut Emperor));

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
    process_info: own_process::OwnProcess,
    pidfile: Option<pid_file::PidFile>,
    /// Effects that one turn could not carry out.
    effects: VecDeque<Effect>,
    backpressure: backpressure::Backpressure,
    started: Moment,
    /// The effects of one step of the state; empty between two steps.
    new_effects: Vec<Effect>,
    descriptors: descriptors::DescriptorBudget,
    faults: faults::CaughtFaults,
    hold_groups: hold_groups::HoldGroups,
    /// Children have exited that nobody may know.
    unknown_children: bool,
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
        self.safely(|emperor| emperor.shut_down(status));
        status
    }

    /// One turn; the numbers are those of the list at the top of this file.
    fn turn(&mut self, ready: &mut Vec<Token>) {
        let mut orders = self.wait(ready); // 1
        self.lives.begin_turn();
        self.run_effects(); // 2
        self.safely(Self::repair); // 3
        self.context.trip("turn");
        self.serve_all(ready); // 4
        self.serve_deadlines_after_lives(ready); // 5
        self.serve_all(&mut orders); // 6
        self.reap_unknown_children_after_signal(); // 7
        self.safely(Self::kill_session_leftovers); // 8
        self.safely(Self::tell_manager); // 9
    }

    /// Fills `ready` with the lives and sources that are ready, and gives the orders.
    fn wait(&mut self, ready: &mut Vec<Token>) -> Vec<Token> {
        match self.context.reactor.wait(self.deadline(), ready) {
            Ok(now) => self.context.now = now,
            Err(error) => {
                self.context.log.error(format_args!("cannot wait for events: poll: {error}"));
            }
        }
        ready.split_off(ready.partition_point(|token| token.rank() < RANK_OF_ORDERS))
    }

    /// Serves the descriptors that are ready. While effects are left over, lives, monitors and orders wait in the
    /// kernel.
    fn serve_all(&mut self, ready: &mut Vec<Token>) {
        for token in ready.drain(..) {
            if self.effects.is_empty() || token.bypasses_backpressure() {
                self.safely(|emperor| emperor.serve(token));
            }
        }
    }

    fn serve_deadlines_after_lives(&mut self, ready: &mut Vec<Token>) {
        if !self.effects.is_empty() {
            return;
        }
        if self.deadline().is_none_or(|at| at > self.context.now) {
            self.backpressure.end_drain();
        } else if self.drain_lives_before_deadlines(ready) {
            self.serve_deadlines();
        }
    }

    /// Reads all lives once more before deadlines are served: between the end of the wait and the reading of the clock
    /// this process may have been stopped for hours, and the lives have sent messages since. True if there were none;
    /// otherwise the next turn, which serves everything else too, tries again.
    fn drain_lives_before_deadlines(&mut self, ready: &mut Vec<Token>) -> bool {
        // Deadlines are compared with the time of the wake-up, not with a later one.
        if self.backpressure.begin_drain_turn()
            && self.context.reactor.wait(Some(self.context.now), ready).is_ok()
        {
            // Who is ready now may have ended since this turn has begun.
            self.lives.begin_turn();
            ready.retain(|token| token.rank() <= LAST_RANK_OF_LIVES);
            if !ready.is_empty() {
                self.serve_all(ready);
                return false;
            }
        }
        self.backpressure.end_drain();
        true
    }

    fn reap_unknown_children_after_signal(&mut self) {
        if std::mem::take(&mut self.unknown_children) {
            self.safely(Self::reap_unknown_children);
        }
    }

    // Deadlines.

    /// All deadlines that are served in step 5, in this order, with what is then done.
    fn deadlines(&self) -> [Deadline; 9] {
        let answers = self.servers.are_busy().then_some(self.context.now);
        let inspection = self.listeners.has_inspections().then_some(self.context.now);
        [
            (inspection, Self::inspect_listeners),
            (answers, |it| it.with_servers(|servers, access| servers.go_on(access))),
            (self.servers.deadline(), |it| it.servers.expire(&mut it.context)),
            (self.lives.deadline(), |it| it.lives.expire(&mut it.context)),
            (self.helpers.deadline(), |it| it.helpers.expire(&it.realm, &mut it.context)),
            (self.fork_servers.deadline(), Self::check_claims),
            (self.status_log.deadline(), |it| it.status_log.expire(&it.realm, &mut it.context)),
            (self.hold_groups.deadline(), |it| it.hold_groups.log_due(&mut it.context)),
            (self.realm.deadline(), |it| it.dispatch(Event::Time)),
        ]
    }

    /// When the next turn is due at the latest.
    fn deadline(&self) -> Option<Moment> {
        let has_more =
            self.unknown_children || !self.context.events.is_empty() || !self.effects.is_empty();
        let of_other_steps = [
            has_more.then_some(self.context.now),
            self.faults.repair_at,
            self.monitors.deadline(),
            self.lives.leftovers_deadline(self.context.now),
            self.manager.deadline(),
        ];
        let of_parts = self.deadlines().into_iter().map(|(at, _)| at);
        of_parts.chain(of_other_steps).flatten().min()
    }

    fn serve_deadlines(&mut self) {
        let now = self.context.now;
        for source in self.monitors.ids() {
            if self.monitors.is_due(source, now) {
                let expire = |monitor: &mut dyn Monitor, now, out: &mut _| monitor.expire(now, out);
                self.safely(|emperor| emperor.poll_monitor(source, expire));
            }
        }
        for (at, expire) in self.deadlines() {
            if at.is_some_and(|at| at <= now) {
                self.safely(|emperor| {
                    emperor.context.trip("deadline");
                    expire(emperor);
                    emperor.settle_raised();
                });
            }
        }
    }

    // Events and effects.

    /// Steps the state with one event, and with all events that its effects raise, before anything else; unless
    /// effects are left over, which come first.
    fn dispatch(&mut self, event: Event) {
        self.context.raise(event);
        self.settle_raised();
    }

    /// Serves the requests of parts to each other, then steps the state with the events that were raised and carries
    /// out their effects, until none is left. Effects that are left over from an earlier run come first: then the
    /// events wait for the next turn.
    fn settle_raised(&mut self) {
        self.serve_requests();
        if self.effects.is_empty() {
            self.run_effects();
        }
    }

    /// Alternates between events and effects until both are used up, or until [`backpressure`] ends this run: the next
    /// turn, which begins at once, goes on with the rest.
    fn run_effects(&mut self) {
        self.backpressure.begin_run();
        while self.backpressure.begin_round() {
            while let Some(event) = self.context.events.pop_front() {
                self.step(event);
            }
            while self.backpressure.allows_effect()
                && let Some(effect) = self.effects.pop_front()
            {
                self.backpressure.count_effect();
                self.act_safely(effect);
            }
            if !self.backpressure.allows_effect() || self.context.events.is_empty() {
                return;
            }
        }
    }

    // Monitors and listeners.

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
        let is_initial = change.is_initial;
        if let (ChangeKind::Changed(_), Some(vassal)) = (&change.kind, self.realm.named_id(&key)) {
            self.inspect(vassal);
            self.lives.forget_warnings(vassal);
        }
        self.dispatch(match change.kind {
            ChangeKind::Found(file) => {
                Event::Found { key, file: monitors::to_state_file(&file), is_initial }
            }
            ChangeKind::Changed(file) => {
                Event::Changed { key, file: monitors::to_state_file(&file) }
            }
            ChangeKind::OwnerChanged(file) => {
                Event::OwnerChanged { key, file: monitors::to_state_file(&file) }
            }
            ChangeKind::Lost => Event::Lost(key),
        });
    }

    /// Inspects the listeners of one vassal.
    fn inspect(&mut self, vassal: VassalId) {
        self.listeners.inspect(vassal, &self.realm, &mut self.context);
        self.settle_raised();
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
        self.listeners.cancel_inspections();
        let count = messages::vassals(self.realm.len());
        let pid = std::process::id();
        self.context.log.notice(format_args!("the emperor (pid {pid}) governs {count}"));
        let sent = self.manager.ready();
        self.warn_if_failed(sent);
        self.parent.tell_ready();
        self.tell_manager();
    }

    /// Serves a client of a server.
    fn serve_client(&mut self, socket: ServerSocket) {
        self.with_servers(|servers, access| servers.serve(socket, access));
    }

    fn with_servers(&mut self, act: impl FnOnce(&mut Servers, &mut Access<'_>)) {
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
        act(&mut self.servers, &mut access);
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

    /// The end of the emperor: everything that it has started is ended and closed.
    fn shut_down(&mut self, status: u8) {
        descendants::clear(|| {});
        drop(self.pidfile.take());
        self.lives.clear();
        let sent = self.manager.buried();
        self.warn_if_failed(sent);
        self.context.trip("bury");
        let longest = self.context.reactor.longest_turn();
        let (cpu, wall) = (longest.cpu.as_micros(), longest.wall.as_micros());
        self.context.log.debug(format_args!(
            "the longest turn of the event loop took {cpu} us of processor time, one {wall} us in all"
        ));
        self.context.log.notice(format_args!("the emperor is buried (status {status})"));
        self.context.log.flush();
    }
}
