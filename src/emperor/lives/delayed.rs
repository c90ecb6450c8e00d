//! What is done for a life a moment later: its pipe is polled again when it has reached its rate limit, it is
//! sent its file once more when it asks for it all the time, it is told to stop when its pipe was full, and the
//! end of its pipe is raised as an event when the process has not ended with it.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::super::context::{Context, Request};
use super::super::token::Token;
use super::Lives;
use crate::reactor::{Delivery, Interest};
use crate::state::{LifeEvent, LifeId, Order};
use crate::types::moment::Moment;

/// Wake-ups for the words of one life in one second; more, and it waits for the next one.
const MAX_WAKE_UPS: u32 = 200;
/// A vassal that sends more bytes than this in a second, for [`MAX_LOUD_SECONDS`], is heard no more.
const MAX_BYTES_PER_SECOND: u32 = 10_000;
const MAX_LOUD_SECONDS: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);
/// From the end of a pipe to that of its process, at most, where one is a part of the other.
const EOF_GRACE: Duration = Duration::from_millis(500);
/// Between two pushes of a file to one life: each of them is a process.
pub(in crate::emperor) const FILE_INTERVAL: Duration = Duration::from_millis(100);

/// Between two tries to tell a life that does not read.
const ORDER_INTERVAL: Duration = Duration::from_millis(100);

/// Moments, at most one of each kind for each life.
#[derive(Debug, Default)]
pub(in crate::emperor) struct DelayedActions(BTreeSet<(Moment, LifeId, DelayedAction)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum DelayedAction {
    /// Its words are polled again.
    Listen,
    /// It is sent its file.
    SendFile,
    /// It is told this once more.
    SendOrder(Order),
    /// The other end of its pipe is closed, and the state hears of that.
    PipeEof,
}

/// How much a life has talked in the present second, and for how many seconds it has talked too much.
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
    /// Our end.
    pub pipe: OwnedFd,
    /// When its file was last sent.
    pub last: Option<Moment>,
    /// It has asked too early, and is sent it when it is time.
    pub is_due: bool,
    /// Why that has failed, where it has.
    pub failed: Option<String>,
}

impl RateLimit {
    /// Nothing so far.
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

    /// Counts wake-ups; the end of the second if it was one too many.
    fn used_up(&mut self, now: Moment, wake_ups: u32) -> Option<Moment> {
        self.begin_second(now);
        self.wake_ups = self.wake_ups.saturating_add(wake_ups);
        (self.wake_ups > MAX_WAKE_UPS).then(|| self.since + SECOND)
    }

    /// Counts bytes; true if it has been too many for too long.
    pub fn is_flood(&mut self, now: Moment, bytes: usize) -> bool {
        self.begin_second(now);
        self.bytes = self.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.loud_seconds >= MAX_LOUD_SECONDS
    }
}

impl ConfigPipe {
    /// Nothing was sent yet.
    pub fn new(pipe: OwnedFd) -> Box<Self> {
        Box::new(Self { pipe, last: None, is_due: false, failed: None })
    }
}

impl Lives {
    /// Whether it may not speak now, as it has said so much in this second; then it is not polled until that is
    /// over. Nothing is lost: what it has written waits in the kernel, and its end is seen by its pidfd. What it
    /// has said now has cost as much as so many wake-ups.
    pub fn is_rate_limited(&mut self, life: LifeId, wake_ups: u32, context: &mut Context) -> bool {
        let Some(process) = self.get_mut(life) else { return true };
        let Some(until) = process.rate_limit.used_up(context.now, wake_ups) else { return false };
        for channel in [&process.pipe, &process.notify].into_iter().flatten() {
            context.reactor.remove(channel.as_fd());
        }
        self.delayed.0.insert((until, life, DelayedAction::Listen));
        true
    }

    /// It asks for its file too early: it is sent it when it is time; once, however often it asks.
    pub fn send_file_later(&mut self, life: LifeId, now: Moment) {
        if let Some(config) = self.config_pipe(life)
            && !std::mem::replace(&mut config.is_due, true)
        {
            self.delayed.0.insert((now + FILE_INTERVAL, life, DelayedAction::SendFile));
        }
    }

    /// Its pipe is full.
    pub fn send_order_later(&mut self, life: LifeId, order: Order, now: Moment) {
        self.delayed.0.insert((now + ORDER_INTERVAL, life, DelayedAction::SendOrder(order)));
    }

    /// The other end of its pipe is closed, and the process has not ended. A process that ends closes it a
    /// moment before it can be reaped: then its end alone is raised.
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

    /// Does the delayed actions whose time has come.
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
