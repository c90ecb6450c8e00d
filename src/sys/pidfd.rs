//! Handles of processes: open, signal, wait, ask. Linux 5.4 (pidfd_open(2), waitid(2) on one).

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::process::{self, Pid, Reap};
use super::signal::Signal;
use super::{check, check_long};
use crate::types::exit_status::ExitStatus;

/// What the kernel tells of a process by its pidfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidfdInfo {
    /// Its number, as we see it.
    pub pid: u32,
    /// Its parent's; 0 if that is outside of our PID namespace.
    pub parent: u32,
    /// Real and effective user.
    pub uid: [u32; 2],
    /// Real and effective group.
    pub gid: [u32; 2],
}

/// Opens a close-on-exec handle that turns readable when `pid` exits.
///
/// # Errors
/// `ESRCH` if there is no such process (any more), `EMFILE` if we have no descriptor left.
pub fn open(pid: Pid) -> io::Result<OwnedFd> {
    open_number(pid.get())
}

/// Opens a handle on our parent, which must be `expected`: its pid as it was known before the fork.
///
/// # Errors
/// `ESRCH` if that parent has died.
pub fn open_parent(expected: u32) -> io::Result<OwnedFd> {
    let gone = || io::Error::from_raw_os_error(libc::ESRCH);
    let number = c_int::try_from(expected).ok().filter(|&number| number > 0).ok_or_else(gone)?;
    let handle = open_number(number)?;
    // Looked at afterwards: if it is still our parent, its number was not another's before.
    if std::os::unix::process::parent_id() == expected { Ok(handle) } else { Err(gone()) }
}

fn open_number(number: c_int) -> io::Result<OwnedFd> {
    // SAFETY: two integers go in, an integer comes out; no memory of ours is touched.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, number, 0) };
    let opened = check_long(opened)?;
    // SAFETY: the kernel has just handed us `opened`; nothing else owns it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(opened) })
}

/// Sends a signal, as kill(2) does.
///
/// # Errors
/// `ESRCH` if the process is reaped, `EPERM` if it has another identity than ours.
pub fn send(process: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    send_number(process, signal.raw())
}

/// Whether the process is there at all: running, stopped or a zombie.
pub fn is_there(process: BorrowedFd<'_>) -> bool {
    match send_number(process, 0) {
        Ok(()) => true,
        Err(error) => error.raw_os_error() == Some(libc::EPERM),
    }
}

fn send_number(process: BorrowedFd<'_>, signal: c_int) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: an open descriptor's number and integers go in, and a null pointer that the kernel
    // takes for "as kill(2) would fill it in".
    let sent = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, no_info, 0)
    };
    check_long(sent).map(drop)
}

/// Looks whether this child has ended.
///
/// # Errors
/// `ECHILD` if it is not our child (not yet, or not any more).
pub fn wait(child: BorrowedFd<'_>, reap: Reap) -> io::Result<Option<ExitStatus>> {
    let id = libc::id_t::try_from(child.as_raw_fd()).map_err(io::Error::other)?;
    Ok(process::waitid(libc::P_PIDFD, id, reap)?.map(|(_, ended)| ended))
}

/// Asks for pid, parent, user and group.
///
/// # Errors
/// `ESRCH` if it is reaped, and from Linux 6.13 on also if it has ended.
pub fn info(process: BorrowedFd<'_>) -> io::Result<PidfdInfo> {
    match ask_kernel(process) {
        // Before Linux 6.13 the handle is no file of the pid file system, or knows no such question.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL)) => {
            ask_proc(process)
        }
        answer => answer,
    }
}

fn ask_kernel(process: BorrowedFd<'_>) -> io::Result<PidfdInfo> {
    // SAFETY: pidfd_info is integers only; all zero is a value of it.
    let mut info: libc::pidfd_info = unsafe { std::mem::zeroed() };
    info.mask = u64::from(libc::PIDFD_INFO_PID | libc::PIDFD_INFO_CREDS);
    // SAFETY: the number of the request holds the size of `info`, so the kernel writes no byte
    // beyond it; it is ours and outlives the call.
    check(unsafe { libc::ioctl(process.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) })?;
    Ok(PidfdInfo {
        pid: info.pid,
        parent: info.ppid,
        uid: [info.ruid, info.euid],
        gid: [info.rgid, info.egid],
    })
}

/// The same from `/proc`, for older kernels; the handle tells before and after that the number is
/// still this process's.
fn ask_proc(process: BorrowedFd<'_>) -> io::Result<PidfdInfo> {
    let gone = || io::Error::from_raw_os_error(libc::ESRCH);
    let known = std::fs::read(format!("/proc/self/fdinfo/{}", process.as_raw_fd()))?;
    let pid = numbers(&known, "Pid:").and_then(|[pid, _]| i32::try_from(pid?).ok());
    let pid = pid.and_then(Pid::new).ok_or_else(gone)?;
    let status = std::fs::read(format!("/proc/{pid}/status")).map_err(|_| gone())?;
    if !is_there(process.as_fd()) {
        return Err(gone());
    }
    info_of(pid, &status).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

fn info_of(pid: Pid, status: &[u8]) -> Option<PidfdInfo> {
    let both = |[real, effective]: [Option<u32>; 2]| Some([real?, effective?]);
    Some(PidfdInfo {
        pid: u32::try_from(pid.get()).ok()?,
        parent: numbers(status, "PPid:").and_then(|[parent, _]| parent)?,
        uid: numbers(status, "Uid:").and_then(both)?,
        gid: numbers(status, "Gid:").and_then(both)?,
    })
}

/// The first two numbers of the line that starts with `key`.
fn numbers(text: &[u8], key: &str) -> Option<[Option<u32>; 2]> {
    let line =
        text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(key.as_bytes()))?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let mut next = || words.next().and_then(|word| word.parse().ok());
    Some([next(), next()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_exited(process: BorrowedFd<'_>) -> bool {
        crate::sys::fd::wait_readable([process], Some(std::time::Duration::ZERO)).unwrap() == [true]
    }

    fn sleeper() -> (Pid, OwnedFd) {
        let pid = process::fork(|| {
            loop {
                std::thread::park();
            }
        })
        .unwrap();
        (pid, open(pid).unwrap())
    }

    #[test]
    fn kernel_and_proc_agree_who_a_child_is() {
        let _alone = crate::sys::test_fork_lock::exclusive();
        let (pid, handle) = sleeper();
        let from_proc = ask_proc(handle.as_fd()).unwrap();
        assert_eq!(from_proc.pid, u32::try_from(pid.get()).unwrap());
        assert_eq!(from_proc.parent, std::process::id());
        match ask_kernel(handle.as_fd()) {
            Ok(answer) => assert_eq!(answer, from_proc),
            Err(error) => eprintln!("not compared, PIDFD_GET_INFO: {error}"),
        }
        send(handle.as_fd(), Signal::KILL).unwrap();
        while wait(handle.as_fd(), Reap::Take).unwrap().is_none() {
            std::thread::yield_now();
        }
        assert!(!is_there(handle.as_fd()));
        assert_eq!(info(handle.as_fd()).unwrap_err().raw_os_error(), Some(libc::ESRCH));
        assert_eq!(ask_proc(handle.as_fd()).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn a_handle_tells_the_end_once_more_after_a_peek_and_never_after_the_reaping() {
        let _alone = crate::sys::test_fork_lock::exclusive();
        let (_, handle) = sleeper();
        assert_eq!(wait(handle.as_fd(), Reap::Take).unwrap(), None);
        assert!(!has_exited(handle.as_fd()));
        send(handle.as_fd(), Signal::KILL).unwrap();
        let peeked = loop {
            if let Some(ended) = wait(handle.as_fd(), Reap::Peek).unwrap() {
                break ended;
            }
        };
        assert_eq!(peeked, ExitStatus::Signal(libc::SIGKILL));
        assert!(has_exited(handle.as_fd()));
        assert_eq!(wait(handle.as_fd(), Reap::Take).unwrap(), Some(peeked));
        let refused = wait(handle.as_fd(), Reap::Take).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ECHILD));
        let refused = send(handle.as_fd(), Signal::TERM).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn the_parent_and_nobody_else_is_opened_as_the_parent() {
        let parent = std::os::unix::process::parent_id();
        assert!(!has_exited(open_parent(parent).unwrap().as_fd()));
        for other in [0, std::process::id(), u32::MAX] {
            assert_eq!(open_parent(other).unwrap_err().raw_os_error(), Some(libc::ESRCH));
        }
    }
}
