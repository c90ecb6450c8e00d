//! The signals that the loop reads, and what each of them orders.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::log::Log;
use crate::reactor::{Delivery, Interest, Reactor};
use crate::sys::signal::{Signal, SignalFd, SignalMask, set_default, set_mask};

use super::token::Token;

/// What a signal orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignalOrder {
    /// A child has ended: unknown children, which have no pidfd, are reaped.
    ReapChildren,
    /// Ragnarok.
    Stop,
    /// Ragnarok; the second time every vassal is killed.
    StopOrKill,
    ReloadAll,
    ForgetBlacklist,
    /// The state of all vassals is written into the log.
    LogStatus,
    ReopenLog,
    /// Every source is scanned.
    Rescan,
    /// Ignored: a write has failed, which its error number reports too; the default action would end the emperor.
    Ignore,
}

/// Signals that the loop reads; all others keep their default action.
const ORDERS: [(&str, SignalOrder); 12] = [
    ("SIGCHLD", SignalOrder::ReapChildren),
    ("SIGTERM", SignalOrder::Stop),
    ("SIGINT", SignalOrder::StopOrKill),
    ("SIGQUIT", SignalOrder::StopOrKill),
    ("SIGHUP", SignalOrder::ReloadAll),
    ("SIGURG", SignalOrder::ForgetBlacklist),
    ("SIGUSR1", SignalOrder::LogStatus),
    ("SIGUSR2", SignalOrder::ReopenLog),
    ("SIGWINCH", SignalOrder::Rescan),
    ("SIGALRM", SignalOrder::Rescan),
    ("SIGPIPE", SignalOrder::Ignore),
    ("SIGXFSZ", SignalOrder::Ignore),
];

/// The signalfd.
#[derive(Debug)]
pub(super) struct Signals {
    fd: SignalFd,
    /// The pid of the keeper, which forwards signals together with their senders.
    keeper: Option<u32>,
}

/// A signal that was received.
#[derive(Debug)]
pub(super) struct OrderBySignal {
    pub order: SignalOrder,
    /// The name of the signal and who has sent it, for the log.
    pub from: String,
}

impl Signals {
    /// Has the signals of the table read by the loop.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn open(keeper: Option<u32>) -> io::Result<Self> {
        let wanted = ORDERS.iter().filter_map(|(name, _)| Signal::parse(name));
        let mask = wanted.fold(SignalMask::NONE, SignalMask::with);
        let fd = SignalFd::new(mask)?;
        set_mask(mask)?;
        // The start-up code of Rust has handlers for these two, to report a stack overflow; such a handler ignores
        // the first signal that another process sends.
        for name in ["SIGSEGV", "SIGBUS"] {
            Signal::parse(name).map_or(Ok(()), set_default)?;
        }
        Ok(Self { fd, keeper })
    }

    /// Has the reactor wait for them.
    pub fn watch(&self, reactor: &mut Reactor<Token>) {
        reactor.add(self.fd.as_fd(), Token::Signals, Interest::Read, Delivery::Direct);
    }

    /// The next signal that was received, if there is one.
    pub fn next(&mut self, log: &mut Log) -> Option<OrderBySignal> {
        let received = match self.fd.next() {
            Ok(received) => received?,
            Err(error) => {
                log.error(format_args!("cannot read signals: {error}"));
                return None;
            }
        };
        let name = received.signal.name().unwrap_or("?");
        let order = ORDERS.iter().find(|(known, _)| *known == name);
        let order = order.map_or(SignalOrder::Ignore, |(_, order)| *order);
        // The keeper forwards the sender of a signal; such a claim is accepted from the keeper alone.
        let sender = received.original_sender(self.keeper);
        let from = format!("{name} from pid {} (uid {})", sender.pid, sender.uid);
        Some(OrderBySignal { order, from })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
