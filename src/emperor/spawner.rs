//! The emperor's end of the spawner, the small process that forks in its place (`spawn/spawner.rs`): orders that are
//! sent, and answers that are awaited.
//!
//! Nothing is known of a new process before its answer, though it is our child already and may have ended. A spawner
//! that has ended, or that does not answer in time, is replaced, and its open orders have failed.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::proto::spawner::{SpawnerAnswer, SpawnerOrder, Template};
use crate::reactor::{Delivery, Interest, Reactor};
use crate::spawn::spawner as process;
use crate::state::LifeId;
use crate::sys::process::{CStringArray, Pid, Reap, kill_child};
use crate::sys::signal::Signal;
use crate::sys::{pidfd, scm};

use super::token::{HelperId, Token};

/// Answers that are read in one wake-up: each may be followed by a fork.
pub(super) const MAX_ANSWERS: usize = 32;

/// Who has given an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderOwner {
    Life(LifeId),
    Helper(HelperId),
}

/// A new process, or why there is none.
pub(super) type Made = io::Result<(Pid, OwnedFd)>;

/// What was read from the spawner.
pub(super) enum SpawnerRead {
    /// There is nothing more to read now.
    Blocked,
    /// The answer to an order.
    Answered(OrderOwner, Made),
    /// It has ended.
    Ended,
}

/// The spawner and its orders.
#[derive(Debug)]
pub(super) struct Spawner {
    own_program: CString,
    environment: CStringArray,
    template: Vec<u8>,
    running: Option<RunningSpawner>,
    /// Orders that are not answered, by their numbers.
    open: BTreeMap<u64, OrderOwner>,
    last_order: u64,
    /// Orders of spawners that have ended, until their failure is raised.
    failed: Vec<OrderOwner>,
    /// Spawners that were replaced and are not reaped yet, with the lives that they may have started.
    replaced: Vec<(Pid, Vec<LifeId>)>,
    /// A child that is known by nobody, with the last order that may still be answered with it.
    doubtful: Option<(Pid, u64)>,
}

#[derive(Debug)]
struct RunningSpawner {
    pid: Pid,
    socket: OwnedFd,
}

impl Spawner {
    /// Does not run yet.
    pub fn new(template: &Template, own_program: CString, environment: Vec<CString>) -> Self {
        Self {
            own_program,
            environment: CStringArray::new(environment),
            template: template.encode(),
            running: None,
            open: BTreeMap::new(),
            last_order: 0,
            failed: Vec::new(),
            replaced: Vec::new(),
            doubtful: None,
        }
    }

    /// Makes the process.
    ///
    /// # Errors
    /// Some resource is missing.
    pub fn start(&mut self, reactor: &mut Reactor<Token>) -> io::Result<()> {
        let (pid, socket) = process::start(&self.own_program, &self.environment, &self.template)?;
        reactor.add(socket.as_fd(), Token::Spawner, Interest::Read, Delivery::Direct);
        self.running = Some(RunningSpawner { pid, socket });
        Ok(())
    }

    /// Its pid, while it runs.
    pub fn pid(&self) -> Option<Pid> {
        self.running.as_ref().map(|running| running.pid)
    }

    /// Gives it an order; the answer comes later. A spawner that has ended is replaced first.
    ///
    /// # Errors
    /// Some resource is missing.
    pub fn order(
        &mut self,
        (owner, order): (OrderOwner, &SpawnerOrder),
        attached: &[BorrowedFd<'_>],
        reactor: &mut Reactor<Token>,
    ) -> io::Result<()> {
        self.last_order += 1;
        let packet = order.encode(self.last_order);
        if self.running.is_none() {
            self.start(reactor)?;
        }
        let sent = match self.send(&packet, attached) {
            Err(error) if has_ended(&error) => {
                self.replace(reactor);
                self.start(reactor)?;
                self.send(&packet, attached)
            }
            sent => sent,
        };
        sent?;
        self.open.insert(self.last_order, owner);
        Ok(())
    }

    fn send(&self, packet: &[u8], attached: &[BorrowedFd<'_>]) -> io::Result<()> {
        let running = self.running.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        scm::send(running.socket.as_fd(), packet, attached).map(drop)
    }

    /// Reads one answer.
    pub fn read(&mut self) -> SpawnerRead {
        let Some(running) = &self.running else { return SpawnerRead::Blocked };
        let mut buffer = [0; 64];
        let mut received = match scm::receive(running.socket.as_fd(), &mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return SpawnerRead::Blocked,
            Ok(received) if received.length > 0 => received,
            // A handle that found no place among our descriptors: which life it was cannot be told any more.
            Ok(_) | Err(_) => return SpawnerRead::Ended,
        };
        let packet = buffer.get(..received.length).unwrap_or_default();
        let Ok(answer) = SpawnerAnswer::decode(packet) else { return SpawnerRead::Ended };
        let Some(owner) = self.open.remove(&answer.order) else { return SpawnerRead::Ended };
        let made = match answer.made {
            Ok(number) => prove(number, received.fds.pop()),
            Err(errno) => Err(io::Error::from_raw_os_error(errno)),
        };
        SpawnerRead::Answered(owner, made)
    }

    /// Ends the spawner; its open orders have failed. The next order makes another one.
    pub fn replace(&mut self, reactor: &mut Reactor<Token>) {
        let Some(running) = self.running.take() else { return };
        reactor.remove(running.socket.as_fd());
        // If it has ended already it is not reaped yet.
        let _ = kill_child(running.pid, Signal::KILL);
        let open = std::mem::take(&mut self.open).into_values();
        let before = self.failed.len();
        self.failed.extend(open);
        let lives = self.failed.iter().skip(before).filter_map(|owner| match owner {
            OrderOwner::Life(life) => Some(*life),
            OrderOwner::Helper(_) => None,
        });
        self.replaced.push((running.pid, lives.collect()));
    }

    /// Whether [`Spawner::take_failed`] has something.
    pub fn has_failed_orders(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Takes out the owners of failed orders.
    pub fn take_failed(&mut self) -> Vec<OrderOwner> {
        std::mem::take(&mut self.failed)
    }

    /// How many processes there are that are it, or were, and are not reaped.
    pub fn unreaped(&self) -> usize {
        usize::from(self.running.is_some()) + self.replaced.len()
    }

    /// Whether this process is the spawner, or was.
    pub fn is_spawner(&self, pid: Pid) -> bool {
        self.pid() == Some(pid) || self.replaced.iter().any(|(replaced, _)| *replaced == pid)
    }

    /// A spawner is reaped: gives the lives that it may have started without an answer.
    pub fn reaped(&mut self, pid: Pid) -> Vec<LifeId> {
        let at = self.replaced.iter().position(|(replaced, _)| *replaced == pid);
        at.map(|at| self.replaced.swap_remove(at).1).unwrap_or_default()
    }

    /// Whether a child that has ended, and that nobody knows, may be what an open order has made.
    pub fn may_have_made(&mut self, pid: Pid) -> bool {
        let Some((&oldest, _)) = self.open.first_key_value() else { return false };
        match self.doubtful {
            // The orders that were open when it was found are answered.
            Some((known, last)) if known == pid => oldest <= last,
            _ => {
                self.doubtful = Some((pid, self.last_order));
                true
            }
        }
    }

    /// Whether a child that has ended waits for an answer.
    pub fn is_in_doubt(&self) -> bool {
        self.doubtful.is_some()
    }

    /// It is known whose child it is.
    pub fn end_doubt(&mut self) {
        self.doubtful = None;
    }
}

/// Proves that an answer has named a child of ours.
fn prove(number: i32, handle: Option<OwnedFd>) -> Made {
    let foreign = || io::Error::other("the spawner has named no child of the emperor");
    let (pid, handle) = Pid::new(number).zip(handle).ok_or_else(foreign)?;
    pidfd::wait(handle.as_fd(), Reap::Peek).map_err(|_| foreign())?;
    Ok((pid, handle))
}

fn has_ended(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}
