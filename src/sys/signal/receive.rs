//! Signals that are received and sent, with their sender and their value.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::c_int;

use super::{Signal, SignalMask};
use crate::sys::{check_long, fd};

/// Who has sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// 0: the kernel, or a process outside of our PID namespace.
    pub pid: u32,
    /// Its real uid.
    pub uid: u32,
}

impl Sender {
    /// Packs both into the value that a queued signal carries.
    pub const fn to_value(self) -> u64 {
        (self.uid as u64) << 32 | self.pid as u64
    }

    /// Reads such a value back.
    pub const fn from_value(value: u64) -> Self {
        Self { pid: value as u32, uid: (value >> 32) as u32 }
    }

    /// This process.
    pub fn ourselves() -> Self {
        // SAFETY: no argument, an integer comes back; cannot fail.
        Self { pid: std::process::id(), uid: unsafe { libc::getuid() } }
    }
}

/// One signal that has come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedSignal {
    /// Which one.
    pub signal: Signal,
    /// From where (`SI_USER`, `SI_QUEUE`, `SI_KERNEL` …).
    pub code: i32,
    /// Who has sent it.
    pub sender: Sender,
    /// What came with it, if it was queued.
    pub value: u64,
}

impl ReceivedSignal {
    /// Whether it was sent by sigqueue(3), and so carries a value.
    pub const fn is_queued(&self) -> bool {
        self.code == libc::SI_QUEUE
    }

    /// Who has sent it in the first place: what the keeper passes on carries that in its value,
    /// which is believed from no other process. For the log only: every process that may signal us can forge it.
    pub const fn original_sender(&self, keeper: Option<u32>) -> Sender {
        match keeper {
            Some(keeper) if self.is_queued() && self.sender.pid == keeper => {
                Sender::from_value(self.value)
            }
            _ => self.sender,
        }
    }
}

/// A signal with a value, to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Which one.
    pub signal: Signal,
    /// In whose name.
    pub sender: Sender,
    /// What goes with it.
    pub value: u64,
}

/// The head of the kernel's siginfo_t for a signal that somebody has sent; the `libc` crate does not
/// let one write these fields.
#[repr(C)]
struct QueuedInfo {
    signo: c_int,
    errno: c_int,
    code: c_int,
    _pad: [c_int; (size_of::<usize>() - size_of::<c_int>()) / size_of::<c_int>()],
    pid: u32,
    uid: u32,
    value: usize,
}

impl Queued {
    pub(in crate::sys) fn to_siginfo(self) -> libc::siginfo_t {
        // SAFETY: siginfo_t is integers only; all zero is a value of it.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let head = QueuedInfo {
            signo: self.signal.raw(),
            errno: 0,
            code: libc::SI_QUEUE,
            _pad: Default::default(),
            pid: self.sender.pid,
            uid: self.sender.uid,
            value: self.value as usize,
        };
        const { assert!(size_of::<QueuedInfo>() <= size_of::<libc::siginfo_t>()) };
        const { assert!(align_of::<QueuedInfo>() <= align_of::<libc::siginfo_t>()) };
        // SAFETY: `info` has room for `head` and is aligned for it, as asserted above.
        unsafe { (&raw mut info).cast::<QueuedInfo>().write(head) };
        info
    }
}

/// Waits for one of the blocked signals of `mask` and takes it; without a limit, for ever. Needs no
/// descriptor. `None`: the time is over, or this process was stopped and has been continued.
///
/// # Errors
/// None that can happen here.
pub fn wait(mask: SignalMask, limit: Option<Duration>) -> io::Result<Option<ReceivedSignal>> {
    // SAFETY: siginfo_t is integers only; all zero is a value of it.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let limit = limit.map(|limit| libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(limit.subsec_nanos()),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: a set of 8 bytes, which is the size given; `info` and the limit outlive the call.
    let taken = unsafe {
        let (set, size) = (&raw const mask.0, size_of::<u64>());
        libc::syscall(libc::SYS_rt_sigtimedwait, set, &raw mut info, limit, size)
    };
    match check_long(taken) {
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => Ok(None),
            _ => Err(error),
        },
        Ok(number) => Ok(Signal::new(number).map(|signal| received(signal, &info))),
    }
}

fn received(signal: Signal, info: &libc::siginfo_t) -> ReceivedSignal {
    const { assert!(size_of::<QueuedInfo>() <= size_of::<libc::siginfo_t>()) };
    // SAFETY: integers out of a larger value that the kernel has filled in. Where a signal has no
    // sender or value these bytes are another field or zero, which `code` tells.
    let info = unsafe { std::ptr::from_ref(info).cast::<QueuedInfo>().read() };
    let sender = Sender { pid: info.pid, uid: info.uid };
    ReceivedSignal { signal, code: info.code, sender, value: info.value as u64 }
}

/// A descriptor from which blocked signals are read, instead of handlers that interrupt.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Opens one for the signals of `mask`, which must be blocked; not blocking, close-on-exec.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new(mask: SignalMask) -> io::Result<Self> {
        // SAFETY: a set of 8 bytes, which is the size given; it outlives the call.
        let opened = unsafe {
            libc::syscall(
                libc::SYS_signalfd4,
                -1,
                &raw const mask.0,
                size_of::<u64>(),
                libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
            )
        };
        let opened = check_long(opened)?;
        // SAFETY: the kernel has just handed us `opened`; nothing else owns it yet.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(opened) }))
    }

    /// Takes one signal; `None` if none is pending.
    ///
    /// # Errors
    /// None that can happen here.
    pub fn next(&self) -> io::Result<Option<ReceivedSignal>> {
        let mut record = [0_u8; size_of::<libc::signalfd_siginfo>()];
        match fd::read(self.as_fd(), &mut record) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        // SAFETY: the record is integers only, any bytes are a value of it, and the read fills
        // the whole of it or fails; `read_unaligned`, because bytes have no alignment.
        let info = unsafe { record.as_ptr().cast::<libc::signalfd_siginfo>().read_unaligned() };
        Ok(i32::try_from(info.ssi_signo).ok().and_then(Signal::new).map(|signal| ReceivedSignal {
            signal,
            code: info.ssi_code,
            sender: Sender { pid: info.ssi_pid, uid: info.ssi_uid },
            value: info.ssi_ptr,
        }))
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for SignalFd {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::signal::{block_all, set_mask};

    #[test]
    fn a_blocked_signal_is_read_with_its_sender_and_value() {
        let _alone = crate::sys::test_fork_lock::exclusive();
        use crate::sys::{pidfd, process};
        let sender = Sender { pid: 4242, uid: u32::MAX };
        let signal = Signal::new(33).unwrap();
        let queued = Queued { signal, sender, value: sender.to_value() };
        let old = block_all().unwrap();
        let child = process::fork(|| {
            let first = wait(SignalMask::NONE.with(signal), None).unwrap().unwrap();
            assert_eq!((first.signal, first.sender, first.is_queued()), (signal, sender, true));
            assert_eq!(Sender::from_value(first.value), sender);
            let inbox = SignalFd::new(SignalMask::ALL).unwrap();
            fd::wait_readable([inbox.as_fd()], None).unwrap();
            assert_eq!(
                inbox.next().unwrap().unwrap(),
                ReceivedSignal { signal: Signal::TERM, ..first }
            );
            assert_eq!(inbox.next().unwrap(), None);
            assert_eq!(wait(SignalMask::ALL, Some(Duration::ZERO)).unwrap(), None);
            0
        });
        set_mask(old).unwrap();
        let child = child.unwrap();
        process::queue_to_child(child, &queued).unwrap();
        process::queue_to_child(child, &Queued { signal: Signal::TERM, ..queued }).unwrap();
        let handle = pidfd::open(child).unwrap();
        fd::wait_readable([handle.as_fd()], None).unwrap();
        let ended = pidfd::wait(handle.as_fd(), process::Reap::Take).unwrap();
        assert_eq!(ended, Some(crate::types::exit_status::ExitStatus::Code(0)));
    }
}
