//! All descendants of this process: listed, signalled, killed.
//!
//! The caller is a subreaper (or the init of its PID namespace), so that each orphan below
//! becomes its child: killing children until there is none ends all descendants, whatever they did
//! to their uid, group or session. Neither memory nor, if need be, a descriptor is needed, since
//! those may be what is missing at the end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::fd;
use super::process::{self, Children, Pid, Reap};
use super::signal::{self, Signal, SignalMask};
use crate::types::exit_status::ExitStatus;

/// How long [`clear`] goes on although no process ends.
const CLEAR_IDLE_LIMIT: Duration = Duration::from_secs(1);

/// How many looks must have found nothing by then: time alone may have passed while this process was stopped, or
/// had no processor.
const CLEAR_IDLE_LOOKS: u32 = 50;

/// How long [`clear`] goes on at most: some fork bombs fork faster than they can be killed.
const CLEAR_LIMIT: Duration = Duration::from_secs(30);

/// The longest sleep between two looks; the end of a child wakes earlier.
const CLEAR_INTERVAL: Duration = Duration::from_millis(10);

/// Pieces that are read of a list of children at one time.
const MAX_CHUNKS: usize = 2;

/// The highest pid that any 64-bit Linux gives (`PID_MAX_LIMIT`).
const MAX_PID: i32 = 4 * 1024 * 1024;

/// Whether everything is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleared {
    /// Nothing is left, and every zombie is reaped.
    All,
    /// Something could not be ended in time: it hangs in the kernel, or is not ours to kill.
    NotAll,
}

/// Whether a list was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// To its end, after so many places: there are no more children than that.
    All(usize),
    /// There is more.
    Part,
}

/// The children of this process as `/proc` lists them, which can be read on from where the last look has ended.
///
/// The list is in the order in which they became ours, by birth or as orphans, and a place in it is a number: to read on
/// costs a tenth of reading it all (0.2 ms at 5,000 children), and shows those alone that stand behind all places that
/// were seen. As long as no child is reaped, these are the new ones.
#[derive(Debug, Default)]
pub struct ChildList {
    file: Option<OwnedFd>,
    seen: usize,
}

impl ChildList {
    /// Begins anew.
    pub fn rewind(&mut self) {
        *self = Self::default();
    }

    /// Calls `visit` for children behind those that were seen, zombies included, for some thousand at most.
    ///
    /// A snapshot of a moving thing: children that come and go while it is read may be left out, so
    /// whoever needs all repeats this. Where `/proc` is that of another PID namespace the numbers are
    /// not ours; [`process::kill_child`] refuses those.
    ///
    /// # Errors
    /// `ENOENT` where `/proc` is missing or the kernel has no list of children, `EMFILE`.
    pub fn read_on(&mut self, mut visit: impl FnMut(Pid)) -> io::Result<Listed> {
        let list = match self.file.take() {
            Some(list) => list,
            // Of the calling thread; it is the only one.
            None => fd::open_read(c"/proc/thread-self/children")?,
        };
        let mut chunk = [0_u8; 4096];
        let mut number: i32 = 0;
        for _ in 0..MAX_CHUNKS {
            // The kernel gives whole numbers only, as long as there is room for one.
            let length = fd::read(list.as_fd(), &mut chunk)?;
            if length == 0 {
                self.file = Some(list);
                return Ok(Listed::All(self.seen));
            }
            for &byte in chunk.iter().take(length) {
                if byte.is_ascii_digit() {
                    number = number.saturating_mul(10).saturating_add(i32::from(byte - b'0'));
                    continue;
                }
                self.seen += 1;
                if let Some(pid) = Pid::new(std::mem::take(&mut number)) {
                    visit(pid);
                }
            }
        }
        self.file = Some(list);
        Ok(Listed::Part)
    }
}

/// Calls `visit` for each child, as [`ChildList::read_on`] from the first one does.
///
/// # Errors
/// The same.
pub fn each_child(mut visit: impl FnMut(Pid)) -> io::Result<()> {
    let mut list = ChildList::default();
    while list.read_on(&mut visit)? == Listed::Part {}
    Ok(())
}

/// Sends a signal to every child.
///
/// Where `/proc` cannot tell who they are, every number there is is tried (half a second or more).
pub fn signal_children(signal: Signal) {
    let mut found = false;
    let _ = each_child(|child| found |= reach(child, signal));
    if !found {
        for child in (2..=MAX_PID).filter_map(Pid::new) {
            reach(child, signal);
        }
    }
}

/// Sends a signal; tells whether there is such a child, be it one that we may not signal.
fn reach(child: Pid, signal: Signal) -> bool {
    match process::kill_child(child, signal) {
        Ok(()) => true,
        Err(error) => error.raw_os_error() == Some(libc::EPERM),
    }
}

/// Kills and reaps all descendants of this process until none is left, also children whose exit status is
/// still wanted. SIGCHLD should be blocked, so that it wakes this function.
///
/// `each` is called for each that has ended. Gives up when no process has ended for one second, or after thirty
/// seconds. It needs one free descriptor: a caller that may have none left closes some first.
pub fn clear(mut each: impl FnMut()) -> Cleared {
    process::raise_priority();
    let started = Instant::now();
    let (mut last_end, mut in_vain) = (started, 0_u32);
    loop {
        // Not all at once: the more often we kill, the sooner processes are caught that fork and exit as fast as
        // they can (60 of them were gone after 0.6 s).
        let pause = match reap_some(|_, _| each()) {
            Reaped::All => return Cleared::All,
            Reaped::Nobody => {
                in_vain += 1;
                CLEAR_INTERVAL
            }
            // What has just ended may have left its children to us.
            Reaped::Some => {
                (last_end, in_vain) = (Instant::now(), 0);
                Duration::ZERO
            }
        };
        let has_no_effect = last_end.elapsed() > CLEAR_IDLE_LIMIT && in_vain > CLEAR_IDLE_LOOKS;
        if has_no_effect || started.elapsed() > CLEAR_LIMIT {
            return Cleared::NotAll;
        }
        signal_children(Signal::KILL);
        let _ = signal::wait(SignalMask::NONE.with(Signal::CHLD), Some(pause));
    }
}

/// What one round of reaping has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaped {
    /// There is no child left.
    All,
    /// Some had ended, and maybe more have.
    Some,
    /// All are running.
    Nobody,
}

/// Reaps children that have ended, at most 256, and shows each: other things want to be done between
/// two rounds.
pub fn reap_some(mut each: impl FnMut(Pid, ExitStatus)) -> Reaped {
    for round in 0..256 {
        match process::wait_any(Reap::Take) {
            Ok(Children::None) => return Reaped::All,
            Ok(Children::Ended(pid, ended)) => each(pid, ended),
            Ok(Children::Running) | Err(_) if round == 0 => return Reaped::Nobody,
            Ok(Children::Running) | Err(_) => return Reaped::Some,
        }
    }
    Reaped::Some
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn sleeper() -> Child {
        Command::new("sleep").arg("100").spawn().unwrap()
    }

    #[test]
    fn the_list_of_children_is_read_on_from_where_it_was_left() {
        let _quiet = crate::sys::test_fork_lock::none();
        let mut list = ChildList::default();
        let look = |list: &mut ChildList| {
            let mut new = Vec::new();
            let seen = list.read_on(|pid| new.push(pid.get().unsigned_abs())).unwrap();
            (seen, new)
        };
        let mut children: Vec<Child> = (0..3).map(|_| sleeper()).collect();
        let ids = |children: &[Child]| children.iter().map(Child::id).collect::<Vec<_>>();
        assert_eq!(look(&mut list), (Listed::All(3), ids(&children)));
        assert_eq!(look(&mut list), (Listed::All(3), Vec::new()));
        children.push(sleeper());
        assert_eq!(look(&mut list), (Listed::All(4), ids(&children[3..])));
        // A zombie keeps its place, and one that is reaped gives it to those behind it.
        let mut gone = children.remove(0);
        gone.kill().unwrap();
        assert_eq!(look(&mut list), (Listed::All(4), Vec::new()));
        gone.wait().unwrap();
        children.push(sleeper());
        assert_eq!(look(&mut list), (Listed::All(4), Vec::new()));
        list.rewind();
        assert_eq!(look(&mut list), (Listed::All(4), ids(&children)));
        for mut child in children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
