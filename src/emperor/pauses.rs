//! What is done for a life a moment later: it is heard again when it has talked too much, it is sent its
//! file once more when it asks for it all the time, it is told to stop when its pipe was full, and the end of
//! its pipe is told when that was not the beginning of its own end.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::Emperor;
use super::token::Token;
use crate::reactor::{Interest, Kind};
use crate::state::{Event, LifeEvent, LifeId, Order};
use crate::types::moment::Moment;

/// Wake-ups for the words of one life in one second; more, and it waits for the next one.
const MOST_WAKE_UPS: u32 = 200;
/// A vassal that sends more bytes than this in a second, for [`MOST_LOUD_SECONDS`], is heard no more.
const MOST_BYTES: u32 = 10_000;
const MOST_LOUD_SECONDS: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);
/// From the end of a pipe to that of its process, at most, where one is a part of the other.
const LAST_BREATH: Duration = Duration::from_millis(500);
/// Between two pushes of a file to one life: each of them is a process.
pub(super) const PUSH_PACE: Duration = Duration::from_millis(100);

/// Between two tries to tell a life that does not read.
const TELL_PACE: Duration = Duration::from_millis(100);

/// Moments, at most one of each kind for each life.
#[derive(Debug, Default)]
pub(super) struct Pauses(BTreeSet<(Moment, LifeId, What)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// Its words are polled again.
    Listen,
    /// It is sent its file.
    Push,
    /// It is told this once more.
    Tell(Order),
    /// The other end of its pipe is closed.
    HungUp,
}

/// How much a life has talked in the present second, and for how many seconds it has talked too much.
#[derive(Debug)]
pub(super) struct Share {
    since: Moment,
    wake_ups: u32,
    bytes: u32,
    loud_seconds: u32,
}

/// The config pipe of a life, and what was sent on it.
#[derive(Debug)]
pub(super) struct ConfigPipe {
    /// Our end.
    pub pipe: OwnedFd,
    /// When its file was last sent.
    pub last: Option<Moment>,
    /// It has asked too early, and is sent it when it is time.
    pub is_due: bool,
    /// Why that has failed, where it has.
    pub failed: Option<String>,
}

impl Share {
    /// Nothing so far.
    pub fn new(now: Moment) -> Self {
        Self { since: now, wake_ups: 0, bytes: 0, loud_seconds: 0 }
    }

    fn go_on(&mut self, now: Moment) {
        if now.saturating_duration_since(self.since) >= SECOND {
            let loud_seconds = if self.bytes > MOST_BYTES { self.loud_seconds + 1 } else { 0 };
            *self = Self { loud_seconds, ..Self::new(now) };
        }
    }

    /// Counts wake-ups; the end of the second if it was one too many.
    fn used_up(&mut self, now: Moment, wake_ups: u32) -> Option<Moment> {
        self.go_on(now);
        self.wake_ups = self.wake_ups.saturating_add(wake_ups);
        (self.wake_ups > MOST_WAKE_UPS).then(|| self.since + SECOND)
    }

    /// Counts bytes; true if it has been too many for too long.
    pub fn is_flood(&mut self, now: Moment, bytes: usize) -> bool {
        self.go_on(now);
        self.bytes = self.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.loud_seconds >= MOST_LOUD_SECONDS
    }
}

impl ConfigPipe {
    /// Nothing was sent yet.
    pub fn new(pipe: OwnedFd) -> Box<Self> {
        Box::new(Self { pipe, last: None, is_due: false, failed: None })
    }
}

impl Pauses {
    /// When [`Emperor::end_pauses`] is due.
    pub fn deadline(&self) -> Option<Moment> {
        self.0.first().map(|(at, ..)| *at)
    }
}

impl Emperor {
    /// Whether it may not speak now, as it has said so much in this second; then it is polled no more until
    /// that is over. Nothing is lost: what it has written waits for us, and its end is seen by its pidfd.
    /// What it has said now has cost as much as so many wake-ups.
    pub(super) fn is_too_loud(&mut self, life: LifeId, wake_ups: u32) -> bool {
        let Some(process) = self.processes.get_mut(&life) else { return true };
        let Some(until) = process.share.used_up(self.context.now, wake_ups) else { return false };
        for channel in [&process.pipe, &process.notify].into_iter().flatten() {
            self.context.reactor.remove(channel.as_fd());
        }
        self.pauses.0.insert((until, life, What::Listen));
        true
    }

    /// It asks for its file too early; once, however often it asks.
    pub(super) fn push_later(&mut self, life: LifeId) {
        let config = self.processes.get_mut(&life).and_then(|process| process.config.as_mut());
        if config.is_some_and(|config| !std::mem::replace(&mut config.is_due, true)) {
            self.pauses.0.insert((self.context.now + PUSH_PACE, life, What::Push));
        }
    }

    /// Its pipe is full.
    pub(super) fn tell_later(&mut self, life: LifeId, order: Order) {
        self.pauses.0.insert((self.context.now + TELL_PACE, life, What::Tell(order)));
    }

    /// The other end of its pipe is closed. A process that ends closes it a moment before it can be reaped:
    /// then its end alone is told.
    pub(super) fn hung_up(&mut self, life: LifeId) {
        self.reap(life);
        if self.processes.contains_key(&life) {
            self.pauses.0.insert((self.context.now + LAST_BREATH, life, What::HungUp));
        }
    }

    /// Does what is due.
    pub(super) fn end_pauses(&mut self) {
        while let Some(&(at, life, what)) = self.pauses.0.first()
            && at <= self.context.now
        {
            self.pauses.0.pop_first();
            match what {
                What::HungUp => self.happen(Event::Life(life, LifeEvent::PipeClosed)),
                What::Push => self.push_after_pause(life),
                What::Tell(order) => self.tell(life, order),
                What::Listen => self.listen_again(life),
            }
        }
    }

    fn push_after_pause(&mut self, life: LifeId) {
        let config = self.processes.get_mut(&life).and_then(|process| process.config.as_mut());
        if let Some(config) = config {
            config.is_due = false;
            self.push_config(life);
        }
    }

    fn listen_again(&mut self, life: LifeId) {
        let Some(process) = self.processes.get(&life) else { return };
        let channels = [(&process.pipe, Token::Pipe(life)), (&process.notify, Token::Notify(life))];
        for (channel, token) in channels {
            if let Some(channel) = channel {
                self.context.reactor.add(channel.as_fd(), token, Interest::Read, Kind::Busy);
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
        let mut share = Share::new(zero);
        assert!((0..MOST_WAKE_UPS).all(|_| share.used_up(zero, 1).is_none()));
        let half = zero + SECOND / 2;
        assert_eq!(share.used_up(half, 1), Some(zero + SECOND));
        assert!((0..MOST_WAKE_UPS).all(|_| share.used_up(zero + SECOND, 1).is_none()));
        assert_eq!(share.used_up(zero + SECOND, 1), Some(zero + 2 * SECOND));
        assert_eq!(share.used_up(zero + 2 * SECOND, MOST_WAKE_UPS + 1), Some(zero + 3 * SECOND));
    }
}
