//! Signals: numbers and names, masks, dispositions; what is received is in a file of its own.
//!
//! Masks and dispositions go to the kernel as it knows them: the C library hides signals 32 and 33
//! (it wants them for its threads). A process that cannot block those dies by them; and posix_spawn(3) leaves
//! them ignored in every program that it starts.

mod receive;

use std::ffi::c_int;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::check_long;
use crate::types;

pub use receive::{Queued, ReceivedSignal, Sender, SignalFd, wait};

/// A signal that exists: 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

macro_rules! named {
    ($($name:ident = $number:ident),* $(,)?) => {
        $(#[doc = stringify!($number)] pub const $name: Self = Self(libc::$number as u8);)*
    };
}

impl Signal {
    named! {
        CHLD = SIGCHLD, CONT = SIGCONT, HUP = SIGHUP, IO = SIGIO, KILL = SIGKILL, PIPE = SIGPIPE,
        STOP = SIGSTOP, TERM = SIGTERM, TSTP = SIGTSTP, TTIN = SIGTTIN, TTOU = SIGTTOU,
        USR1 = SIGUSR1,
    }

    /// Takes a number; `None` if the kernel has no such signal.
    pub fn new(number: i32) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| (1..=64).contains(number)).map(Self)
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The number, as the C library wants it.
    pub fn raw(self) -> c_int {
        c_int::from(self.0)
    }

    /// All 64.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=64).map(Self)
    }

    /// Reads `TERM`, `SIGTERM`, `15`, `RTMIN+3` or `RTMAX-1`, in either case of letters.
    pub fn parse(text: &str) -> Option<Self> {
        types::signal::number(text).map(Self)
    }

    /// `SIGTERM` and the like; `None` for those that have only numbers.
    pub fn name(self) -> Option<&'static str> {
        // It leaves two out.
        signal_hook::low_level::signal_name(self.raw()).or_else(|| types::signal::name(self.0))
    }

    /// Whether several of it queue up, each with its value.
    pub fn is_real_time(self) -> bool {
        (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&self.raw())
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None if self.is_real_time() => write!(f, "SIGRTMIN+{}", self.raw() - libc::SIGRTMIN()),
            None => write!(f, "signal {}", self.0),
        }
    }
}

/// A set of signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalMask(u64);

impl SignalMask {
    /// No signal.
    pub const NONE: Self = Self(0);
    /// Every signal; the kernel leaves KILL and STOP out by itself.
    pub const ALL: Self = Self(u64::MAX);

    /// This set and one signal more.
    #[must_use]
    pub const fn with(self, signal: Signal) -> Self {
        Self(self.0 | 1 << (signal.0 - 1))
    }
}

/// Sets the mask of blocked signals; returns the old one, to be put back later.
///
/// # Errors
/// None that can happen here.
pub fn set_mask(mask: SignalMask) -> io::Result<SignalMask> {
    let mut old = SignalMask::NONE;
    // SAFETY: two sets of 8 bytes, which is the size given; both outlive the call.
    let set = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask.0,
            &raw mut old.0,
            size_of::<u64>(),
        )
    };
    check_long(set)?;
    Ok(old)
}

/// Blocks every signal; returns the old mask, to be put back later.
///
/// # Errors
/// None that can happen here.
pub fn block_all() -> io::Result<SignalMask> {
    set_mask(SignalMask::ALL)
}

/// What happens to this process when a signal comes that is not blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The signal's own default.
    Default,
    /// Nothing.
    Ignored,
    /// A function is called; exec turns this into the default.
    Handled,
}

/// The kernel's `struct sigaction`, with room for that of every architecture whose first word is the
/// action. The rest (flags, a way back from a handler, a mask) means nothing without a handler.
type RawAction = [usize; 8];

/// Asks for a disposition.
///
/// # Errors
/// None that can happen here.
pub fn disposition(signal: Signal) -> io::Result<Disposition> {
    let mut action: RawAction = [0; 8];
    let (number, size) = (signal.raw(), size_of::<u64>());
    let no_new = std::ptr::null::<RawAction>();
    // SAFETY: `action` is larger than the kernel's struct, ours, and outlives the call, which fills
    // it in; nothing is changed. The size is that of a set of signals.
    let asked =
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, no_new, &raw mut action, size) };
    check_long(asked)?;
    Ok(match action[0] {
        libc::SIG_DFL => Disposition::Default,
        libc::SIG_IGN => Disposition::Ignored,
        _ => Disposition::Handled,
    })
}

/// Gives a signal its default effect.
///
/// # Errors
/// `EINVAL` for KILL and STOP.
pub fn set_default(signal: Signal) -> io::Result<()> {
    set_action(signal, libc::SIG_DFL)
}

/// Ignores a signal.
///
/// # Errors
/// As [`set_default`].
pub fn set_ignored(signal: Signal) -> io::Result<()> {
    set_action(signal, libc::SIG_IGN)
}

fn set_action(signal: Signal, action: libc::sighandler_t) -> io::Result<()> {
    let action: RawAction = [action, 0, 0, 0, 0, 0, 0, 0];
    let (number, size) = (signal.raw(), size_of::<u64>());
    let no_old = std::ptr::null_mut::<RawAction>();
    // SAFETY: `action` is larger than the kernel's struct and outlives the call, which only reads
    // it; the action is one of the two that call no function. The size is that of a set of signals.
    let set =
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, &raw const action, no_old, size) };
    check_long(set).map(drop)
}

/// Gives every signal its default effect, before an exec: an ignored signal stays ignored over it.
/// System calls only.
pub fn set_all_default() {
    for signal in Signal::all() {
        // KILL and STOP are refused, and cannot have been changed.
        let _ = set_default(signal);
    }
}

/// Whether SIGPIPE was ignored when this program was exec'd.
static PIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

/// The disposition of SIGPIPE that this program was given: Rust ignores it before `main` runs.
pub fn given_sigpipe() -> Disposition {
    if PIPE_WAS_IGNORED.load(Ordering::Relaxed) {
        Disposition::Ignored
    } else {
        Disposition::Default
    }
}

/// Runs before Rust's own start-up code, which would leave nothing to see.
extern "C" fn note_sigpipe() {
    let ignored = disposition(Signal::PIPE).is_ok_and(|it| it == Disposition::Ignored);
    PIPE_WAS_IGNORED.store(ignored, Ordering::Relaxed);
}

// SAFETY: the C library calls each function of this section once, before `main`, in the only
// thread; the function makes one system call and stores one atomic, and needs nothing of Rust's
// run time.
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE_SIGPIPE: extern "C" fn() = note_sigpipe;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn every_signal_is_found_again_by_what_it_is_called() {
        for signal in
            Signal::all().filter(|signal| signal.name().is_some() || signal.is_real_time())
        {
            let shown = signal.to_string();
            assert_eq!(Signal::parse(&shown), Some(signal), "{shown}");
            assert_eq!(Signal::parse(&shown.to_lowercase()[3..]), Some(signal), "{shown}");
            assert_eq!(Signal::parse(&signal.get().to_string()), Some(signal));
        }
        assert_eq!((1..=31).find(|&it| Signal::new(it).unwrap().name().is_none()), None);
        for signal in Signal::all() {
            // Two names are of one signal; which is the usual one is a matter of taste.
            assert_eq!(signal.name().and_then(Signal::parse), signal.name().map(|_| signal));
        }
    }

    #[test]
    fn every_disposition_can_be_read_and_put_back() {
        let _alone = crate::sys::test_fork_lock::exclusive();
        let child = crate::sys::process::fork(|| {
            for signal in Signal::all().filter(|it| !matches!(*it, Signal::KILL | Signal::STOP)) {
                set_ignored(signal).unwrap();
                assert_eq!(disposition(signal).unwrap(), Disposition::Ignored, "{signal}");
            }
            set_all_default();
            for signal in Signal::all() {
                assert_eq!(disposition(signal).unwrap(), Disposition::Default, "{signal}");
            }
            0
        });
        let handle = crate::sys::pidfd::open(child.unwrap()).unwrap();
        crate::sys::fd::wait_readable([handle.as_fd()], None).unwrap();
        let ended = crate::sys::pidfd::wait(handle.as_fd(), crate::sys::process::Reap::Take);
        assert_eq!(ended.unwrap(), Some(crate::types::exit_status::ExitStatus::Code(0)));
    }
}
