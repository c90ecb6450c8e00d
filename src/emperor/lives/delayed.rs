//! Delayed actions for a life: its pipe is polled again after the rate limit was reached, its file is sent again
//! when it asks for it too often, an order is repeated when its pipe was full, and the end of its pipe is raised
//! as an event when the process has not ended with it.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::super::context::{Context, Request};
use super::super::token::Token;
use super::Lives;
use crate::reactor::{Delivery, Interest};
use crate::state::{LifeEvent, LifeId, Order};
use crate::types::moment::Moment;

/// Most wake-ups for the messages of one life in one second; beyond that it is not polled until the next second.
const MAX_WAKE_UPS: u32 = 200;
/// The pipe of a vassal that sends more bytes per second than this, for [`MAX_LOUD_SECONDS`], is closed.
const MAX_BYTES_PER_SECOND: u32 = 10_000;
const MAX_LOUD_SECONDS: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);
/// How long after the end of its pipe a process may end for both to count as one exit.
const EOF_GRACE: Duration = Duration::from_millis(500);
/// The shortest interval between two sendings of a file to one life, as each of them starts a process.
pub(in crate::emperor) const FILE_INTERVAL: Duration = Duration::from_millis(100);

/// The interval at which an order to a life that does not read is repeated.
const ORDER_INTERVAL: Duration = Duration::from_millis(100);

/// The delayed actions in order of time; at most one of each kind for each life.
#[derive(Debug, Default)]
pub(in crate::emperor) struct DelayedActions(BTreeSet<(Moment, LifeId, DelayedAction)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum DelayedAction {
    /// Poll its pipe and notify socket again.
    Listen,
    /// Send its file.
    SendFile,
    /// Send the order again.
    SendOrder(Order),
    /// Raise the end of its pipe as an event.
    PipeEof,
}

/// How much a life has sent in the current second, and for how many seconds in a row it has sent too much.
#[derive(Debug)]
pub(in crate::emperor) struct RateLimit {
    since: Moment,
    wake_ups: u32,
    bytes: u32,
    loud_seconds: u32,
}

/// The config pipe of a life, and what was sent on it.
#[derive(Debug)]
pub(in crate::emperor) struct ConfigPipe {
    /// Our end of the pipe.
    pub pipe: OwnedFd,
    /// Time at which the file was sent last.
    pub last: Option<Moment>,
    /// Whether the file is sent when the interval is over, because the life has asked for it too early.
    pub is_due: bool,
    /// Error of the last sending, if it has failed.
    pub failed: Option<String>,
}

impl RateLimit {
    /// Counters of a life that has sent nothing.
    pub fn new(now: Moment) -> Self {
        Self { since: now, wake_ups: 0, bytes: 0, loud_seconds: 0 }
    }

    fn begin_second(&mut self, now: Moment) {
        if now.saturating_duration_since(self.since) >= SECOND {
            let loud_seconds =
                if self.bytes > MAX_BYTES_PER_SECOND { self.loud_seconds + 1 } else { 0 };
            *self = Self { loud_seconds, ..Self::new(now) };
        }
    }

    /// Counts wake-ups; gives the end of the second if the limit is exceeded.
    fn used_up(&mut self, now: Moment, wake_ups: u32) -> Option<Moment> {
        self.begin_second(now);
        self.wake_ups = self.wake_ups.saturating_add(wake_ups);
        (self.wake_ups > MAX_WAKE_UPS).then(|| self.since + SECOND)
    }

    /// Counts received bytes. True if the limit was exceeded for too many seconds: then it is a flood.
    pub fn count_bytes(&mut self, now: Moment, bytes: usize) -> bool {
        self.begin_second(now);
        self.bytes = self.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.loud_seconds >= MAX_LOUD_SECONDS
    }
}

impl ConfigPipe {
    /// A pipe on which nothing was sent.
    pub fn new(pipe: OwnedFd) -> Box<Self> {
        Box::new(Self { pipe, last: None, is_due: false, failed: None })
    }
}

impl Lives {
    /// Counts so many wake-ups for a life. True if it has reached its rate limit: then it is not polled until the
    /// current second is over. Nothing is lost, as the kernel keeps what it has written and its pidfd tells its end.
    pub fn charge_wake_ups(&mut self, life: LifeId, wake_ups: u32, context: &mut Context) -> bool {
        let Some(process) = self.get_mut(life) else { return true };
        let Some(until) = process.rate_limit.used_up(context.now, wake_ups) else { return false };
        for channel in [&process.pipe, &process.notify].into_iter().flatten() {
            context.reactor.remove(channel.as_fd());
        }
        self.delayed.0.insert((until, life, DelayedAction::Listen));
        true
    }

    /// A life has asked for its file too early: the file is sent once, when the interval is over.
    pub fn send_file_later(&mut self, life: LifeId, now: Moment) {
        if let Some(config) = self.config_pipe(life)
            && !std::mem::replace(&mut config.is_due, true)
        {
            self.delayed.0.insert((now + FILE_INTERVAL, life, DelayedAction::SendFile));
        }
    }

    /// The pipe of a life is full: the order is sent again later.
    pub fn send_order_later(&mut self, life: LifeId, order: Order, now: Moment) {
        self.delayed.0.insert((now + ORDER_INTERVAL, life, DelayedAction::SendOrder(order)));
    }

    /// The other end of its pipe is closed, and the process has not ended. A process that exits closes its pipe a
    /// moment before it can be reaped: in that case only the exit is raised.
    pub fn raise_eof_later(&mut self, life: LifeId, now: Moment) {
        if self.processes.contains_key(&life) {
            self.delayed.0.insert((now + EOF_GRACE, life, DelayedAction::PipeEof));
        }
    }

    fn listen_again(&self, life: LifeId, context: &mut Context) {
        let Some(process) = self.get(life) else { return };
        let channels = [(&process.pipe, Token::Pipe(life)), (&process.notify, Token::Notify(life))];
        for (channel, token) in channels {
            if let Some(channel) = channel {
                context.reactor.add(channel.as_fd(), token, Interest::Read, Delivery::Direct);
            }
        }
    }
}

impl Lives {
    /// When [`Lives::expire`] is due.
    pub fn deadline(&self) -> Option<Moment> {
        self.delayed.0.first().map(|(at, ..)| *at)
    }

    /// Performs the delayed actions whose time has come.
    pub fn expire(&mut self, context: &mut Context) {
        while let Some(&(at, life, action)) = self.delayed.0.first()
            && at <= context.now
        {
            self.delayed.0.pop_first();
            match action {
                DelayedAction::PipeEof => context.raise_for(life, LifeEvent::PipeClosed),
                DelayedAction::SendFile => {
                    if let Some(config) = self.config_pipe(life) {
                        config.is_due = false;
                        context.request(Request::SendFile(life));
                    }
                }
                DelayedAction::SendOrder(order) => self.send_order(life, order, context.now),
                DelayedAction::Listen => self.listen_again(life, context),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    #[test]
    fn a_life_that_talks_without_end_is_heard_in_each_second_but_not_all_the_time() {
        let zero = clock::now();
        let mut rate_limit = RateLimit::new(zero);
        assert!((0..MAX_WAKE_UPS).all(|_| rate_limit.used_up(zero, 1).is_none()));
        let half = zero + SECOND / 2;
        assert_eq!(rate_limit.used_up(half, 1), Some(zero + SECOND));
        assert!((0..MAX_WAKE_UPS).all(|_| rate_limit.used_up(zero + SECOND, 1).is_none()));
        assert_eq!(rate_limit.used_up(zero + SECOND, 1), Some(zero + 2 * SECOND));
        assert_eq!(
            rate_limit.used_up(zero + 2 * SECOND, MAX_WAKE_UPS + 1),
            Some(zero + 3 * SECOND)
        );
    }
}
