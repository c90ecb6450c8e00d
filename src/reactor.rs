//! One ppoll(2): which descriptors are waited for, and which are ready, by token.
//!
//! It owns no descriptor and knows no vassal. There are two ways to wait for one. A *direct* descriptor is an
//! entry of the poll array, and is told at each wake-up at which it is ready. *Batched* ones (a pipe and a pidfd
//! of each life) are in an epoll set, which is one entry of that array: a wake-up then costs what is ready, not
//! what there is (1 µs instead of 0.7 ms at 10,000 descriptors), and at most [`MAX_BATCH`] of them are told.
//!
//! All of them in the epoll set would save the second way, and lose an order: where 1,000 lives end at once,
//! 2,000 descriptors are ready, and a signal or the words of a stage would wait behind them for up to 60
//! wake-ups of 3 ms. Told at each wake-up, they are served first, by rank.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use crate::sys::clock;
use crate::types::moment::Moment;

pub use crate::sys::poll::Interest;
use crate::sys::poll::{Epoll, PollSet};

/// Batched descriptors that are told in one wake-up; the rest comes in the next. A death and the fork of a
/// successor take some 100 µs, and nobody is to wait for more than a few milliseconds.
const MAX_BATCH: usize = 16;

/// A token: it names what is waited for, and is never used for something else, so an event that is left over from
/// something that is gone finds nobody.
pub trait Ranked: Copy {
    /// The order within one wake-up, lowest first.
    fn rank(self) -> u8;
}

/// When a descriptor that is ready is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// At each wake-up. For the few, and for those that are not waited for long.
    Direct,
    /// With at most [`MAX_BATCH`] others. For the many; only [`Interest::Read`].
    Batched,
}

/// The poll set.
#[derive(Debug)]
pub struct Reactor<T> {
    direct: PollSet,
    /// Number and token of each entry of `direct`; the first entry is the epoll set, which has none.
    direct_tokens: Vec<Option<(RawFd, T)>>,
    batched: Epoll,
    /// The tokens of the batched ones, by the number of the descriptor, which is the key in the set.
    batched_tokens: Vec<Option<T>>,
    /// When the last wait was over, if there was one, and the processor time that was used before it.
    woken: Option<(Moment, Duration)>,
    longest_turn: LongestTurn,
}

/// The longest time from the end of one wait to the start of the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LongestTurn {
    /// The most processor time that a turn has used: what the work costs.
    pub cpu: Duration,
    /// The most time that has passed in a turn, also while others had the processor: how long nobody was heard.
    pub wall: Duration,
}

impl<T: Ranked> Reactor<T> {
    /// Waits for nothing yet.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        let batched = Epoll::new(MAX_BATCH)?;
        let mut direct = PollSet::default();
        direct.push(batched.as_fd(), Interest::Read);
        Ok(Self {
            direct,
            direct_tokens: vec![None],
            batched,
            batched_tokens: Vec::new(),
            woken: None,
            longest_turn: LongestTurn::default(),
        })
    }

    /// Waits for this descriptor under this token. The caller owns it, and must [`Reactor::remove`] it
    /// before it closes it.
    ///
    /// This cannot fail: one that the kernel does not take into the epoll set (`fs.epoll.max_user_watches`,
    /// no memory) becomes an entry of the poll array, which costs a little more at each wake-up.
    pub fn add(
        &mut self,
        descriptor: BorrowedFd<'_>,
        token: T,
        interest: Interest,
        delivery: Delivery,
    ) {
        self.remove(descriptor);
        let number = descriptor.as_raw_fd();
        let place = usize::try_from(number).unwrap_or(0);
        let is_batched = delivery == Delivery::Batched
            && interest == Interest::Read
            && self.batched.add(descriptor, Interest::Read, place as u64).is_ok();
        if !is_batched {
            self.direct.push(descriptor, interest);
            self.direct_tokens.push(Some((number, token)));
            return;
        }
        if self.batched_tokens.len() <= place {
            self.batched_tokens.resize(place + 1, None);
        }
        if let Some(slot) = self.batched_tokens.get_mut(place) {
            *slot = Some(token);
        }
    }

    /// Waits for it no more.
    pub fn remove(&mut self, descriptor: BorrowedFd<'_>) {
        let number = descriptor.as_raw_fd();
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        if self.batched_tokens.get_mut(place).and_then(Option::take).is_some() {
            // Whatever is wrong with it, it is in the set no more.
            let _ = self.batched.remove(descriptor);
        }
        let is_it = |entry: &Option<(RawFd, T)>| entry.is_some_and(|(fd, _)| fd == number);
        if let Some(index) = self.direct_tokens.iter().position(is_it) {
            self.direct.swap_remove(index);
            self.direct_tokens.swap_remove(index);
        }
    }

    /// The longest turn so far, by either time.
    pub fn longest_turn(&self) -> LongestTurn {
        self.longest_turn
    }

    /// Sleeps until a descriptor is ready or the deadline has passed; fills `ready` in the order in which
    /// it is to be served, and gives the time of the wake-up, the only one that this wake-up knows.
    ///
    /// # Errors
    /// `ENOMEM`, `EINVAL` if there are more descriptors than the limit allows.
    pub fn wait(&mut self, deadline: Option<Moment>, ready: &mut Vec<T>) -> io::Result<Moment> {
        ready.clear();
        let now = clock::now();
        // A wait costs next to nothing, and counts as part of the turn behind it.
        let used = clock::thread_cpu();
        if let Some((woken, before)) = self.woken {
            let LongestTurn { cpu, wall } = &mut self.longest_turn;
            *cpu = used.saturating_sub(before).max(*cpu);
            *wall = now.saturating_duration_since(woken).max(*wall);
        }
        let limit = deadline.map(|at| at.saturating_duration_since(now));
        let waited = self.direct.wait(limit);
        let now = clock::now();
        self.woken = Some((now, used));
        waited?;
        let mut batched_is_ready = false;
        for index in self.direct.ready() {
            match self.direct_tokens.get(index) {
                Some(Some((_, token))) => ready.push(*token),
                Some(None) => batched_is_ready = true,
                None => {}
            }
        }
        // Closed before it was removed, by an error in the caller: it would be ready for ever.
        while let Some(index) = self.direct.last_closed() {
            self.direct.swap_remove(index);
            self.direct_tokens.swap_remove(index);
        }
        if batched_is_ready {
            // Read off at once: a number that is closed and used again in this turn is another's.
            let tokens = &self.batched_tokens;
            let token = |key| tokens.get(usize::try_from(key).ok()?).copied().flatten();
            ready.extend(self.batched.ready()?.filter_map(token));
        }
        ready.sort_by_key(|token| token.rank());
        Ok(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Name(u8);

    impl Ranked for Name {
        fn rank(self) -> u8 {
            self.0
        }
    }

    fn now_ready(reactor: &mut Reactor<Name>) -> Vec<u8> {
        let mut ready = Vec::new();
        let soon = clock::now() + Duration::from_millis(1);
        reactor.wait(Some(soon), &mut ready).unwrap();
        ready.into_iter().map(|name| name.0).collect()
    }

    #[test]
    fn who_is_ready_is_served_by_rank_wherever_it_is_kept() {
        let mut reactor = Reactor::new().unwrap();
        let mut pairs: Vec<_> = (0..6).map(|_| UnixStream::pair().unwrap()).collect();
        for (index, (near, _)) in pairs.iter().enumerate() {
            let delivery = if index % 2 == 0 { Delivery::Direct } else { Delivery::Batched };
            let name = Name(u8::try_from(5 - index).unwrap());
            reactor.add(near.as_fd(), name, Interest::Read, delivery);
        }
        assert!(now_ready(&mut reactor).is_empty());
        for (_, far) in &mut pairs {
            far.write_all(b"x").unwrap();
        }
        assert_eq!(now_ready(&mut reactor), [0, 1, 2, 3, 4, 5]);
        for gone in [5, 2] {
            reactor.remove(pairs[gone].0.as_fd());
        }
        assert_eq!(now_ready(&mut reactor), [1, 2, 4, 5]);
    }

    #[test]
    fn one_that_the_epoll_set_refuses_is_waited_for_all_the_same() {
        let mut reactor = Reactor::new().unwrap();
        // epoll_ctl(2) refuses a regular file, as it refuses all when its limit is reached.
        let file = tempfile::tempfile().unwrap();
        reactor.add(file.as_fd(), Name(3), Interest::Read, Delivery::Batched);
        assert_eq!(now_ready(&mut reactor), [3]);
        reactor.remove(file.as_fd());
        assert!(now_ready(&mut reactor).is_empty());
    }

    #[test]
    fn a_hang_up_counts_as_readable() {
        let _quiet = crate::sys::test_fork_lock::none();
        let mut reactor = Reactor::new().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        reactor.add(near.as_fd(), Name(7), Interest::Read, Delivery::Batched);
        drop(far);
        assert_eq!(now_ready(&mut reactor), [7]);
    }

    #[test]
    fn a_descriptor_that_was_closed_without_a_word_is_waited_for_no_more() {
        let mut reactor = Reactor::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        // A number that no other test gets meanwhile.
        let lost = crate::sys::fd::duplicate(near.as_fd(), 900).unwrap();
        for (descriptor, name) in [(lost.as_fd(), Name(1)), (near.as_fd(), Name(2))] {
            reactor.add(descriptor, name, Interest::Read, Delivery::Direct);
        }
        drop(lost);
        assert!(now_ready(&mut reactor).is_empty());
        assert_eq!(reactor.direct_tokens.len(), 2, "the epoll set, and the other one");
        far.write_all(b"x").unwrap();
        assert_eq!(now_ready(&mut reactor), [2]);
    }

    #[test]
    fn the_longest_turn_is_counted_without_the_waits() {
        let mut reactor = Reactor::<Name>::new().unwrap();
        assert!(now_ready(&mut reactor).is_empty());
        let turn = Duration::from_millis(20);
        std::thread::sleep(turn);
        assert!(now_ready(&mut reactor).is_empty());
        let longest = reactor.longest_turn();
        assert!(longest.wall >= turn, "{longest:?}");
        assert!(longest.cpu < turn, "sleep is not work: {longest:?}");
        let wait = clock::now() + longest.wall * 2;
        reactor.wait(Some(wait), &mut Vec::new()).unwrap();
        assert_eq!(reactor.longest_turn().wall, longest.wall);
        while clock::thread_cpu() < turn * 3 {}
        assert!(now_ready(&mut reactor).is_empty());
        assert!(reactor.longest_turn().cpu >= turn, "{:?}", reactor.longest_turn());
    }

    #[test]
    fn a_deadline_that_has_passed_does_not_sleep() {
        let mut reactor = Reactor::<Name>::new().unwrap();
        let before = clock::now();
        let now = reactor.wait(Some(before), &mut Vec::new()).unwrap();
        assert!(now >= before);
    }
}
