//! Signals to events, and the dead whom nobody knows.

use std::io;
use std::time::Duration;

use crate::log::escaped;
use crate::state::Event;
use crate::sys::clock;
use crate::sys::process::{self, Children, Reap};
use crate::sys::signal::{ReceivedSignal, Signal, SignalFd, SignalMask, set_default, set_mask};
use crate::types::moment::Moment;

use super::open_log::redirect_stdio_to_log;
use super::{Emperor, listeners};

/// Signals that the loop reads; all others keep their default action.
/// The last two tell of a write that has failed, as its errno does, and would end us.
const SIGNALS: [&str; 12] = [
    "SIGCHLD", "SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGURG",
    "SIGWINCH", "SIGALRM", "SIGPIPE", "SIGXFSZ",
];
/// Strangers reaped in one wake-up; the rest comes in the next.
const MAX_STRANGERS: usize = 256;
/// Signals read in one wake-up; each kind is queued once, but real-time ones.
const MAX_SIGNALS: usize = 64;
/// The state of all vassals is written no more often than this, however many ask for it.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// When the state of all vassals is written into the log.
#[derive(Debug, Default)]
pub(super) struct StatusLog {
    written: Option<Moment>,
    /// Somebody has asked for it too soon.
    pub due: Option<Moment>,
}

/// Has the signals of [`SIGNALS`] read by the loop.
pub(super) fn open() -> io::Result<SignalFd> {
    let wanted = SIGNALS.iter().filter_map(|name| Signal::parse(name));
    let mask = wanted.fold(SignalMask::NONE, SignalMask::with);
    let signals = SignalFd::new(mask)?;
    set_mask(mask)?;
    // Rust's start-up code handles these two, to tell of a stack that has overflown; a handler makes
    // the first one that somebody sends vanish.
    for name in ["SIGSEGV", "SIGBUS"] {
        Signal::parse(name).map_or(Ok(()), set_default)?;
    }
    Ok(signals)
}

impl Emperor {
    pub(super) fn read_signals(&mut self) {
        let mut children = false;
        for _ in 0..MAX_SIGNALS {
            match self.signals.next() {
                Ok(Some(received)) => match received.signal.name() {
                    Some("SIGCHLD") => children = true,
                    name => self.signal_came(name.unwrap_or("?"), &received),
                },
                Ok(None) => break,
                Err(error) => {
                    self.context.log.error(format_args!("cannot read signals: {error}"));
                    break;
                }
            }
        }
        if children {
            self.reap_strangers();
        }
    }

    fn signal_came(&mut self, name: &str, received: &ReceivedSignal) {
        // The keeper passes on whom it got it from, and nobody else is believed that.
        let sender = received.original_sender(self.keeper.as_ref().map(|keeper| keeper.pid));
        let from = format!("pid {} (uid {})", sender.pid, sender.uid);
        match name {
            "SIGTERM" | "SIGINT" | "SIGQUIT" => self.ragnarok(name, &from),
            "SIGHUP" => {
                self.order(Event::ReloadAll);
                self.context.log.notice(format_args!("{name} from {from}: every vassal reloads"));
                let sent = self.manager.reloading(clock::now());
                self.told(sent);
                self.obey();
                self.inspect_soon(listeners::Inspection::Ordered);
                let sent = self.manager.ready();
                self.told(sent);
            }
            "SIGURG" => {
                self.order(Event::ForgetBlacklist);
                self.context
                    .log
                    .notice(format_args!("{name} from {from}: the blacklist is forgotten"));
                self.obey();
            }
            "SIGUSR1" => self.status_is_wanted(),
            "SIGUSR2" => {
                self.context.log.reopen();
                redirect_stdio_to_log(&self.context.log);
                self.servers.check_listeners(&mut self.context);
                self.context.log.notice(format_args!("{name} from {from}: the log is reopened"));
            }
            "SIGWINCH" | "SIGALRM" => {
                self.context
                    .log
                    .notice(format_args!("{name} from {from}: every source is scanned"));
                self.rescan();
            }
            _ => {}
        }
    }

    fn ragnarok(&mut self, name: &str, from: &str) {
        let again = self.realm.is_ending();
        let now = again && name != "SIGTERM";
        let what = match (again, now) {
            (false, _) => "ragnarok, every vassal is stopped",
            (true, true) => "second order to stop: killing every vassal now",
            (true, false) => "ragnarok is under way",
        };
        match (again, now) {
            (false, _) => self.order(Event::Ragnarok),
            (true, true) => self.order(Event::RagnarokNow),
            (true, false) => {}
        }
        self.context.log.notice(format_args!("{name} from {from}: {what}"));
        if !again {
            let sent = self.manager.stopping();
            self.told(sent);
        }
        self.obey();
    }

    /// SIGCHLD says that some child has ended. Those we know are told of by their pidfd; if one of
    /// them is met here it is served at once, or it would hide all others.
    pub(super) fn reap_strangers(&mut self) {
        for _ in 0..MAX_STRANGERS {
            // One that we know may be among them, and what was decided for it comes first.
            if !self.effects.is_empty() {
                break;
            }
            let Ok(Children::Ended(pid, _)) = process::wait_any(Reap::Peek) else { return };
            // One that a fork server has named is ours from the moment it can be seen here.
            self.prove_claim_of(pid);
            if let Some(life) = self.lives.with_pid(pid) {
                self.reap(life);
                continue;
            }
            if let Some(helper) = self.helpers.with_pid(pid) {
                self.reap_helper(helper);
                continue;
            }
            self.reap_stranger(pid);
        }
        self.more_strangers = true;
    }

    fn status_is_wanted(&mut self) {
        let next = self.status_log.written.map(|last| last + STATUS_PAUSE);
        match next.filter(|next| *next > self.context.now) {
            Some(later) => self.status_log.due = Some(later),
            None => self.log_status(),
        }
    }

    /// One line for each vassal, in uWSGI's words and ours.
    pub(super) fn log_status(&mut self) {
        self.status_log = StatusLog { written: Some(self.context.now), due: None };
        let names: Vec<String> =
            self.realm.vassals().map(|vassal| self.context.sources.label(&vassal.key)).collect();
        for (vassal, name) in self.realm.vassals().zip(names) {
            let life = vassal.current();
            let loyal = i32::from(life.is_some_and(|life| life.is_loyal()));
            let pid = life.and_then(|life| life.pid).unwrap_or(-1);
            let status = super::state_words::uwsgi_status(vassal);
            let state = super::state_words::state_name(vassal);
            let reason = super::state_words::reason(vassal);
            let reason =
                reason.map(|why| format!(" {}", escaped(why.as_bytes()))).unwrap_or_default();
            self.context.log.notice(format_args!(
                "vassal instance {name} (last modified {}) status {status} loyal {loyal} zerg 0 \
                 pid {pid} {state}{reason}",
                vassal.file.modified,
            ));
        }
    }
}
