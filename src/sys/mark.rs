//! A mark that a process does not lose by chance: every descendant has it, whatever it does to its parent, session, group,
//! user, environment or descriptors.
//!
//! It is the hard limit of file locks (`RLIMIT_LOCKS`), which no Linux since 2.4.25 looks at, but which fork and
//! exec keep as any other. A process that lowers its limit hides from us: it belongs to no life then, so it goes on as
//! an orphan when its life ends, until the emperor ends. It cannot raise the limit again without privileges. It
//! may choose the mark of a later life, but that harms only itself: only the marks of orphans that have become our
//! own children are read, and an orphan is killed only if its mark is that of a life that we have started and
//! that has ended.

use std::io;

use super::check_long;
use super::process::Pid;

/// Marks begin below this, where nobody has set a limit.
const HIGHEST: u64 = 1 << 62;

/// Marks of an emperor are this far apart (as a shift), so that those of an emperor below fit between two.
const SPACE: u32 = 31;

/// A limit as prlimit64(2) has it on every architecture: soft, then hard.
type Limit = [u64; 2];

/// The marks that this process can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessMarks {
    highest: u64,
    space: u32,
}

/// One mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessMark(u64);

impl ProcessMarks {
    /// Those below our own limit, which may be a mark itself.
    pub fn new() -> Self {
        let own = limit(0, None).map_or(0, |[_, hard]| hard);
        Self::below(own)
    }

    fn below(own: u64) -> Self {
        match own >= HIGHEST {
            true => Self { highest: HIGHEST, space: SPACE },
            false => Self { highest: own, space: 0 },
        }
    }

    /// The mark of this number; `None` if there are not so many.
    pub fn mark(self, number: u64) -> Option<ProcessMark> {
        let below = number.checked_add(1)?.checked_mul(1 << self.space)?;
        self.highest.checked_sub(below).map(ProcessMark)
    }

    /// The number of the mark that a process has; `None` if it has none, or is gone.
    pub fn number_of(self, pid: Pid) -> Option<u64> {
        self.number(hard_limit(pid)?)
    }

    fn number(self, hard: u64) -> Option<u64> {
        (self.highest.checked_sub(hard)? >> self.space).checked_sub(1)
    }
}

impl ProcessMark {
    /// For another process of the same emperor; never 0.
    pub fn to_number(self) -> u64 {
        self.0
    }

    /// The mark that another process of the same emperor has named.
    pub fn from_number(number: u64) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }

    /// Whether a process has it.
    pub fn is_of(self, pid: Pid) -> bool {
        hard_limit(pid) == Some(self.0)
    }
}

impl Default for ProcessMarks {
    fn default() -> Self {
        Self::new()
    }
}

/// Marks this process, for good.
///
/// # Errors
/// `EPERM` if it has a lower one already.
pub fn set_own(mark: ProcessMark) -> io::Result<()> {
    limit(0, Some([mark.0; 2])).map(drop)
}

/// Marks another process; those that it has forked already keep what they have.
///
/// # Errors
/// `EPERM` if it has another user and we lack CAP_SYS_RESOURCE; `ESRCH` if it is gone.
pub fn set(pid: Pid, mark: ProcessMark) -> io::Result<()> {
    limit(pid.get(), Some([mark.0; 2])).map(drop)
}

/// Asks for the limit of a process (0: our own), and sets it if a new one is given.
fn limit(pid: i32, new: Option<Limit>) -> io::Result<Limit> {
    let mut old: Limit = [0; 2];
    let new = new.as_ref().map_or(std::ptr::null(), |new| &raw const *new);
    // SAFETY: `new` is null or points to two integers of 64 bits, and so does `old`; both outlive the call.
    let asked =
        unsafe { libc::syscall(libc::SYS_prlimit64, pid, libc::RLIMIT_LOCKS, new, &raw mut old) };
    check_long(asked).map(|_| old)
}

/// The hard limit of a process; `None` if it is gone.
fn hard_limit(pid: Pid) -> Option<u64> {
    match limit(pid.get(), None) {
        Ok([_, hard]) => Some(hard),
        // prlimit64(2) on a process of another user needs CAP_SYS_RESOURCE, but every user may read /proc.
        Err(_) => read_limit(pid),
    }
}

/// The hard limit, from `/proc/PID/limits`.
fn read_limit(pid: Pid) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max file locks"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::{self, Reap};

    #[test]
    fn each_number_has_a_mark_that_leads_back_to_it() {
        for own in [u64::MAX, HIGHEST - 1, HIGHEST - (5 << SPACE)] {
            let marks = ProcessMarks::below(own);
            for number in [0, 1, 2, 77, 1 << 20, (1 << SPACE) - 2] {
                let ProcessMark(hard) = marks.mark(number).unwrap();
                assert!(hard < own);
                assert_eq!(marks.number(hard), Some(number), "{own} {number}");
            }
            assert_eq!(marks.number(u64::MAX), None);
            assert_eq!(marks.number(marks.highest), None);
        }
        assert_eq!(ProcessMarks::below(3).mark(3), None);
    }

    #[test]
    fn what_an_emperor_below_has_marked_is_of_its_own_life_for_the_one_above() {
        let above = ProcessMarks::below(u64::MAX);
        let ProcessMark(own) = above.mark(6).unwrap();
        let below = ProcessMarks::below(own);
        for number in [0, 1, 50_000] {
            let ProcessMark(hard) = below.mark(number).unwrap();
            assert_eq!(above.number(hard), Some(6));
        }
    }

    #[test]
    fn a_child_has_the_mark_of_its_parent_and_can_be_asked_for_it_in_both_ways() {
        let _alone = crate::sys::test_fork_lock::exclusive();
        let marks = ProcessMarks::new();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let child = process::fork(|| {
            if let Some(mark) = marks.mark(41) {
                let _ = set_own(mark);
            }
            drop(writer);
            loop {
                process::stop_self();
            }
        })
        .unwrap();
        std::io::Read::read_to_end(&mut reader, &mut Vec::new()).unwrap();
        assert_eq!(marks.number_of(child), Some(41));
        assert_eq!(read_limit(child).and_then(|hard| marks.number(hard)), Some(41));
        set(child, marks.mark(42).unwrap()).unwrap();
        assert_eq!(marks.number_of(child), Some(42));
        process::kill_child(child, crate::sys::signal::Signal::KILL).unwrap();
        while !matches!(process::wait_any(Reap::Peek), Ok(process::Children::Ended(pid, _)) if pid == child)
        {
        }
        process::reap(child).unwrap();
    }
}
