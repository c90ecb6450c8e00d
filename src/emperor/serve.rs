//! Serves descriptors that are ready: each token goes to the part that owns the descriptor, and the events of that
//! part go to the state at once, so that each message is acted on before the next one is read.

use std::net::SocketAddr;
use std::path::Path;

use crate::log::Level;
use crate::proto::status::StageFault;
use crate::state::{Channel, Event, LifeEvent, LifeId};
use crate::sys::clock;
use crate::sys::process::{self, Children, Pid, Reap};

use super::Emperor;
use super::fork_servers::KnownProcesses;
use super::helpers::HelperEnd;
use super::listeners::Inspection;
use super::lives::{self, FINAL_READ_LIMIT, NOTIFY_PACKETS, STATUS_PACKETS, StatusRead};
use super::open_log::redirect_stdio_to_log;
use super::parent::ParentOrder;
use super::signals::{OrderBySignal, SignalOrder};
use super::spawner::{MAX_ANSWERS, SpawnerRead};
use super::token::{HelperId, Token};

/// Children that are reaped in one turn because waitid(2) has found them; the rest comes in the next.
const MAX_UNKNOWN_CHILDREN: usize = 16;
/// Signals read in one wake-up; each kind is queued once, but real-time ones.
const MAX_SIGNALS: usize = 64;
/// Exit status when the keeper has died.
const KEEPER_LOST: u8 = 70;

impl Emperor {
    pub(super) fn serve(&mut self, token: Token) {
        self.context.trip("serve");
        match token {
            Token::Spawner => self.read_spawner(),
            Token::Status(life) => self.read_status(life),
            Token::Pipe(life) => self.read_pipe(life),
            Token::Notify(life) => self.read_notify_socket(life),
            Token::ForkServer(life) => self.continue_talk(life),
            Token::Pidfd(life) => self.reap(life),
            Token::Helper(id) => self.reap_helper(id),
            Token::Monitor(source) => {
                self.poll_monitor(source, |monitor, now, out| monitor.read(now, out));
            }
            Token::OnDemand(vassal) => {
                self.listeners.on_readable(vassal, &mut self.context);
                self.settle_raised();
            }
            Token::Touches => self.read_touches(),
            Token::Server(socket) => self.serve_client(socket),
            Token::Signals => self.read_signals(),
            Token::Keeper => self.keeper_lost(),
            Token::Parent => self.read_parent(),
        }
    }

    // Answers of the spawner.

    /// Reads answers; each process is known to the state before the next one is read.
    pub(super) fn read_spawner(&mut self) {
        for _ in 0..MAX_ANSWERS {
            match self.context.spawner.read() {
                SpawnerRead::Blocked => return,
                SpawnerRead::Answered(owner, made) => {
                    self.take_answer_safely(owner, made);
                    self.unknown_children |= self.context.spawner.is_in_doubt();
                }
                SpawnerRead::Ended => {
                    self.context.log.error(format_args!("the spawner has ended: it is replaced"));
                    self.replace_spawner();
                }
            }
            self.settle_raised();
        }
    }

    // Messages of a life.

    fn read_status(&mut self, life: LifeId) {
        for _ in 0..STATUS_PACKETS {
            let event = match self.lives.read_status(life, &self.realm, &mut self.context) {
                StatusRead::Blocked => return,
                StatusRead::Noted => continue,
                StatusRead::Event(event) => event,
                StatusRead::Refused(fault) => self.start_refused(life, &fault),
                StatusRead::Closed => {
                    return self.dispatch(Event::Life(life, LifeEvent::StatusClosed));
                }
            };
            self.dispatch(Event::Life(life, event));
        }
    }

    /// The event for a start that the stage has refused, or that has failed because another vassal holds the address.
    fn start_refused(&self, life: LifeId, fault: &StageFault) -> LifeEvent {
        if fault.taken.is_empty() {
            return LifeEvent::StartFailed(lives::fault_text(fault));
        }
        let vassal = self.lives.vassal_of(life);
        let holder = vassal.and_then(|vassal| {
            self.listeners.holder(&fault.taken, vassal, &self.realm, &self.context.sources)
        });
        match holder.and_then(|id| self.realm.vassal(id)) {
            Some(holder) => {
                // A path may be secret (the output of a command), and is not shown.
                let place = fault.taken.parse::<SocketAddr>();
                let place = place.map_or("there".to_owned(), |address| format!("on {address}"));
                let name = self.context.sources.label(&holder.key);
                let message = format!(
                    "the vassal {name} listens {place} already; give one of the two another address"
                );
                let why = lives::fault_text(&StageFault { message, ..fault.clone() });
                LifeEvent::AddressTaken(why, Some(holder.id))
            }
            None => LifeEvent::AddressTaken(lives::fault_text(fault), None),
        }
    }

    fn read_pipe(&mut self, life: LifeId) {
        // The end of the status socket reports the exec, and comes before the first byte on the pipe.
        self.read_status(life);
        // One chunk: if there is more, poll reports the pipe again.
        if !self.lives.charge_wake_ups(life, 1, &mut self.context) && self.serve_pipe(life, 1) {
            // A process that ends closes its pipe first, and is reaped by its pidfd a moment later.
            self.lives.raise_eof_later(life, self.context.now);
        }
    }

    /// Reads the emperor pipe and dispatches its messages; true if the pipe is finished.
    fn serve_pipe(&mut self, life: LifeId, limit: usize) -> bool {
        let heard = self.lives.drain_pipe(life, limit, &self.realm, &mut self.context);
        if heard.wants_config {
            self.push_config(life);
        }
        for message in heard.messages {
            self.dispatch(Event::Life(life, LifeEvent::Message(message, Channel::Pipe)));
        }
        if heard.end {
            self.lives.close_pipe(life, &mut self.context);
        }
        heard.end
    }

    fn read_notify_socket(&mut self, life: LifeId) {
        self.read_status(life);
        let cost = self.serve_datagrams(life);
        if cost > 0 {
            self.lives.charge_wake_ups(life, cost, &mut self.context);
        }
    }

    /// Reads datagrams and dispatches their messages; gives how many wake-ups they cost. A life is charged for its
    /// own datagrams only, so that foreign ones cannot exhaust its rate limit. A datagram that is longer than the
    /// buffer is not a valid message, and costs as much as all the buffers that it would fill.
    fn serve_datagrams(&mut self, life: LifeId) -> u32 {
        let mut cost = 0_u32;
        for _ in 0..NOTIFY_PACKETS {
            let read = self.lives.read_datagram(life, &self.realm, &mut self.context);
            let Some(datagram) = read else { break };
            let Some(messages) = datagram.messages else { continue };
            cost = cost.max(1).saturating_add(datagram.extra_cost);
            for message in messages {
                self.dispatch(Event::Life(life, LifeEvent::Message(message, Channel::Notify)));
            }
        }
        cost
    }

    // Answers of a fork server.

    fn continue_talk(&mut self, life: LifeId) {
        let known =
            KnownProcesses { lives: &self.lives, helpers: &self.helpers, realm: &self.realm };
        self.fork_servers.continue_talk(life, known, &mut self.context);
        self.adopt_proved();
        self.settle_raised();
    }

    pub(super) fn check_claims(&mut self) {
        let known =
            KnownProcesses { lives: &self.lives, helpers: &self.helpers, realm: &self.realm };
        self.fork_servers.check_claims(known, &mut self.context);
        self.adopt_proved();
        self.settle_raised();
    }

    /// A child that is in no table has ended; if a server has named it, its claim is checked now.
    fn prove_claim_of(&mut self, child: Pid) {
        let known =
            KnownProcesses { lives: &self.lives, helpers: &self.helpers, realm: &self.realm };
        self.fork_servers.prove_claim_of(child, known, &mut self.context);
        self.adopt_proved();
        self.settle_raised();
    }

    // The end of a life.

    /// Reaps the process of a life, if it has ended: its pidfd was readable at the wake-up.
    pub(super) fn reap(&mut self, life: LifeId) {
        if self.lives.is_listing_children() {
            return;
        }
        let Some(dying) = self.lives.peek_end(life, &self.realm, &mut self.context) else { return };
        // Before it is reaped: until then the number of children is known.
        let known =
            self.lives.unreaped() + self.helpers.unreaped() + self.context.spawner.unreaped();
        let leaves_nothing = self.lives.has_no_child_but(known);
        // Its last messages are read before its exit is raised: after "going idle" it is a clean exit.
        self.serve_final_messages(life);
        // After these messages, which may have changed its record in the state.
        let policy = self.lives.leftover_policy(life, dying, &self.realm, self.context.now);
        // Before it is reaped: until then its pid, and that of its group, cannot be reused.
        if !dying.is_base && !policy.may_finish {
            dying.kill_group();
        }
        // Before it is reaped as well: after that its session cannot be read.
        self.scan_session_of_base(life, dying.pid);
        let Some(event) = self.lives.take_exit(life, &mut self.context) else { return };
        if dying.is_base {
            // The lives that were forked from it go on, so its leftovers are not waited for.
            self.fork_servers.base_ended(life, dying.pid, self.context.now);
            return self.dispatch(Event::Life(life, event));
        }
        if leaves_nothing {
            return self.dispatch(Event::Life(life, event));
        }
        // The end itself is raised when it has no leftovers, which may be now.
        if self.lives.main_ended(life, event, policy, self.context.now) {
            self.lives.list_now();
            self.kill_session_leftovers();
            while self.lives.is_listing_children() {
                self.kill_session_leftovers();
            }
        }
    }

    fn serve_final_messages(&mut self, life: LifeId) {
        for _ in 0..4 {
            self.read_status(life);
        }
        self.serve_pipe(life, FINAL_READ_LIMIT);
        self.serve_datagrams(life);
    }

    /// A process that a base has forked may be in the session of that base, and so are its leftovers.
    fn scan_session_of_base(&mut self, life: LifeId, pid: Pid) {
        if self.lives.base_of(life).is_some()
            && let Some(session) = process::session_of(pid).ok().and_then(Pid::new)
            && session != pid
        {
            let base = self.lives.with_pid(session);
            self.fork_servers.adopted_ended((pid, session), base, self.context.now);
        }
    }

    pub(super) fn kill_session_leftovers(&mut self) {
        let claimed = match self.lives.may_have_leftovers() {
            true => self.fork_servers.claimed(),
            false => Vec::new(),
        };
        self.lives.kill_session_leftovers(&claimed, &self.realm, &mut self.context);
        self.settle_raised();
    }

    // Helper processes, unknown children, watched files.

    fn reap_helper(&mut self, id: HelperId) {
        if self.lives.is_listing_children() {
            return;
        }
        let end = self.helpers.reap(id, &mut self.context);
        self.helper_ended(end);
    }

    pub(super) fn helper_ended(&mut self, end: HelperEnd) {
        match end {
            HelperEnd::StopHook(key) => self.dispatch(Event::HookEnded(key)),
            HelperEnd::Accepts(life) => self.dispatch(Event::Life(life, LifeEvent::SeenAccepting)),
            HelperEnd::SentConfig(life, result) => {
                self.config_sent(life, result.map_err(lives::send_failure));
            }
            HelperEnd::Nothing => {}
        }
    }

    /// SIGCHLD reports that some child has ended. Those that are known have a pidfd, and hide all others from waitid(2)
    /// until they are reaped by that: then this goes on.
    pub(super) fn reap_unknown_children(&mut self) {
        for _ in 0..MAX_UNKNOWN_CHILDREN {
            // A known child may be among them, and effects that are due come before its exit.
            if !self.effects.is_empty() || self.lives.is_listing_children() {
                break;
            }
            let Ok(Children::Ended(pid, _)) = process::wait_any(Reap::Peek) else { return };
            // A process that a fork server has named is our child from the moment it can be seen here.
            self.prove_claim_of(pid);
            // And so is one that the spawner has made.
            if self.is_unknown(pid) && self.context.spawner.may_have_made(pid) {
                self.read_spawner();
                if self.is_unknown(pid) && self.context.spawner.may_have_made(pid) {
                    // Its answer is under way; after it this goes on.
                    return;
                }
            }
            self.context.spawner.end_doubt();
            if self.context.spawner.is_spawner(pid) {
                self.reap_spawner(pid);
            } else if self.is_unknown(pid) {
                self.lives.orphan_reaped(pid);
                self.fork_servers.reap_unknown_child(pid);
            } else {
                break;
            }
        }
        self.unknown_children = true;
    }

    /// Reaps children that are known, in a turn that has failed and in which no pidfd is served.
    pub(super) fn reap_known_children(&mut self) {
        for _ in 0..MAX_UNKNOWN_CHILDREN {
            let Ok(Children::Ended(pid, _)) = process::wait_any(Reap::Peek) else { return };
            // It may have ended since the wake-up.
            self.lives.begin_turn();
            if let Some(life) = self.lives.with_pid(pid) {
                self.reap(life);
            } else if let Some(helper) = self.helpers.with_pid(pid) {
                self.reap_helper(helper);
            } else {
                return self.reap_unknown_children();
            }
        }
    }

    fn is_unknown(&self, child: Pid) -> bool {
        self.lives.with_pid(child).is_none()
            && self.helpers.with_pid(child).is_none()
            && !self.context.spawner.is_spawner(child)
    }

    /// A spawner has ended: what it has made without an answer is killed.
    fn reap_spawner(&mut self, pid: Pid) {
        if self.context.spawner.pid() == Some(pid) {
            // What it has answered before comes first.
            self.read_spawner();
            self.replace_spawner();
            self.settle_raised();
        }
        let _ = process::reap(pid);
        let lives = self.context.spawner.reaped(pid);
        self.lives.abandon(pid, lives);
    }

    /// A file of `touch-reload` may have changed.
    fn read_touches(&mut self) {
        for (vassal, path) in self.vassal_files.read() {
            let text = format!("touch-reload: {} has changed", Path::new(&path).display());
            let record = self.realm.vassal(vassal);
            self.context.log_for(record.map(|record| &record.key), Level::Notice, &text);
            if let Some(record) = record {
                let (key, file) = (record.key.clone(), record.file.clone());
                self.dispatch(Event::Changed { key, file });
            }
        }
    }

    // Orders.

    pub(super) fn read_signals(&mut self) {
        for _ in 0..MAX_SIGNALS {
            match self.signals.next(&mut self.context.log) {
                None => return,
                Some(signal) if signal.order == SignalOrder::ReapChildren => {
                    self.unknown_children = true;
                }
                Some(OrderBySignal { order, from }) => self.order_by_signal(order, &from),
            }
        }
    }

    fn order_by_signal(&mut self, order: SignalOrder, from: &str) {
        match order {
            SignalOrder::ReapChildren | SignalOrder::Ignore => {}
            SignalOrder::Stop | SignalOrder::StopOrKill => self.stop_by_signal(order, from),
            SignalOrder::ReloadAll => {
                self.order(Event::ReloadAll);
                self.context.log.notice(format_args!("{from}: every vassal reloads"));
                let sent = self.manager.reloading(clock::now());
                self.warn_if_failed(sent);
                self.settle_raised();
                self.inspect_soon(Inspection::Ordered);
                let sent = self.manager.ready();
                self.warn_if_failed(sent);
            }
            SignalOrder::ForgetBlacklist => {
                self.order(Event::ForgetBlacklist);
                self.context.log.notice(format_args!("{from}: the blacklist is forgotten"));
                self.settle_raised();
            }
            SignalOrder::LogStatus => self.status_log.request(&self.realm, &mut self.context),
            SignalOrder::ReopenLog => {
                self.context.log.reopen();
                redirect_stdio_to_log(&self.context.log);
                self.servers.check_listeners(&mut self.context);
                self.context.log.notice(format_args!("{from}: the log is reopened"));
            }
            SignalOrder::Rescan => {
                self.context.log.notice(format_args!("{from}: every source is scanned"));
                self.rescan();
            }
        }
    }

    fn stop_by_signal(&mut self, order: SignalOrder, from: &str) {
        if !self.realm.is_ending() {
            return self.begin_ragnarok(&format!("{from}: ragnarok, every vassal is stopped"));
        }
        let what = match order {
            SignalOrder::StopOrKill => "second order to stop: killing every vassal now",
            _ => "ragnarok is under way",
        };
        if order == SignalOrder::StopOrKill {
            self.order(Event::RagnarokNow);
        }
        self.context.log.notice(format_args!("{from}: {what}"));
        self.settle_raised();
    }

    fn read_parent(&mut self) {
        let why = match self.parent.read(&mut self.context) {
            None => return,
            Some(ParentOrder::Reload) => {
                self.order(Event::ReloadAll);
                self.context.log.notice(format_args!(
                    "told to reload by the emperor above: every vassal reloads; options of this emperor itself \
                     change when it is started anew"
                ));
                self.settle_raised();
                return self.parent.tell_ready();
            }
            Some(ParentOrder::Gone) => "the emperor above is gone",
            Some(ParentOrder::Stop) => "told to stop by the emperor above",
        };
        if !self.realm.is_ending() {
            self.begin_ragnarok(&format!("{why}: ragnarok, every vassal is stopped"));
        }
    }

    fn begin_ragnarok(&mut self, line: &str) {
        self.order(Event::Ragnarok);
        self.context.log.notice(format_args!("{line}"));
        let sent = self.manager.stopping();
        self.warn_if_failed(sent);
        self.settle_raised();
    }

    /// The keeper has died: every vassal is killed at once, as the keeper would do after the emperor.
    fn keeper_lost(&mut self) {
        self.context.log.error(format_args!("the keeper has died: every vassal is killed"));
        self.leave = Some(KEEPER_LOST);
    }
}
