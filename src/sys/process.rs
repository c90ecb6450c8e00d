//! Processes: fork, exec, sessions, groups, children, the end.
//!
//! liege has one thread. [`fork`] relies on it (a lock held by another thread would stay locked in
//! the child), and so do [`kill_child`] and [`kill_group`]: no other thread can reap a child between the proof
//! that the number is that of our child and the signal.
//!
//! Raw calls stay where nix does not fit: kill and waitid (its `Signal` knows no real-time signals), fork and
//! exec (it allocates the arrays, and its `fork` is unsafe as well), setpriority and rt_sigqueueinfo (it has
//! neither).

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::io;
use std::num::NonZeroI32;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::signal::{Queued, Signal};
use crate::types::exit_status::ExitStatus;
use nix::fcntl;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{self, AccessFlags};

use super::{call, check, check_long, retry};

/// A process that may be waited for or signalled: above 1, so never "everybody" (-1), "our group"
/// (0) or the init of the system (1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(NonZeroI32);

impl Pid {
    /// Takes a number from outside; `None` if no process that we may touch can have it.
    pub const fn new(number: i32) -> Option<Self> {
        if number <= 1 {
            return None;
        }
        match NonZeroI32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number, for logs and statistics.
    pub const fn get(self) -> i32 {
        self.0.get()
    }
}

impl std::fmt::Display for Pid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a look at an ended child leaves it a zombie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reap {
    /// It stays one (`WNOWAIT`), and so its pid stays its own.
    Peek,
    /// It is reaped.
    Take,
}

/// What a look at all children has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Children {
    /// There is no child at all.
    None,
    /// There are some, and none of them has ended.
    Running,
    /// This one has ended.
    Ended(Pid, ExitStatus),
}

/// Ends this process at once: no destructors, no `atexit`, nothing flushed twice.
pub fn exit_now(status: u8) -> ! {
    // SAFETY: an integer goes in and nothing returns; no memory is touched.
    unsafe { libc::_exit(c_int::from(status)) }
}

/// Forks; the child runs `child` and ends with the status that it returns.
///
/// The child never comes back into the caller's stack: a panic in it is caught and ends it with 70.
///
/// # Errors
/// `EAGAIN` (process limit of the user or the control group), `ENOMEM`.
pub fn fork(child: impl FnOnce() -> u8) -> io::Result<Pid> {
    // SAFETY: what is unsafe about fork is the state of other threads, and there are none (see
    // above); the child leaves through `exit_now` and never unwinds into the caller.
    let forked = check(unsafe { libc::fork() })?;
    if forked == 0 {
        exit_now(catch_unwind(AssertUnwindSafe(child)).unwrap_or(70));
    }
    // As init of a PID namespace we have number 1, so a child's is above it.
    Pid::new(forked).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Forks a child of our *parent*, which gets its SIGCHLD and must reap it; gives its number and a close-on-exec
/// handle. The child runs `child` as in [`fork`].
///
/// A whole copy, and not a vfork: a child that changes its user, is stopped, or hangs before its exec must not do
/// that to the caller. The caller is meant to be small, which makes the copy cheap.
///
/// # Errors
/// As [`fork`]; `EMFILE`; `EINVAL` for the init of a PID namespace, and before Linux 5.2.
pub fn fork_sibling(child: impl FnOnce() -> u8) -> io::Result<(Pid, OwnedFd)> {
    let mut handle: c_int = -1;
    let flags = libc::CLONE_PARENT | libc::CLONE_PIDFD;
    let (null, handle_at) = (std::ptr::null_mut::<c_void>(), &raw mut handle);
    // SAFETY: without CLONE_VM the child has a copy of this memory, so it goes on on its own copy of this stack,
    // and the state of other threads is no question, as for `fork`; the C library's own fork would do no more
    // than call its handlers of atfork, of which there are none. The third argument is where the kernel writes
    // the handle (on all architectures but s390 and two others, to which liege is not ported), the others are
    // not used with these flags. The child leaves through `exit_now`.
    let made = unsafe { libc::syscall(libc::SYS_clone, flags, null, handle_at, null, null) };
    let made = check_long(made)?;
    if made == 0 {
        exit_now(catch_unwind(AssertUnwindSafe(child)).unwrap_or(70));
    }
    // SAFETY: the kernel has just handed us `handle`; nothing else owns it yet.
    let handle = unsafe { OwnedFd::from_raw_fd(handle) };
    let pid = Pid::new(made).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((pid, handle))
}

/// An array of C strings as execve(2) wants it, built before the fork.
#[derive(Debug)]
pub struct CStringArray {
    pointers: Vec<*const c_char>,
    strings: Vec<CString>,
}

impl CStringArray {
    /// Takes over the strings.
    pub fn new(strings: Vec<CString>) -> Self {
        let pointers =
            strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect();
        Self { pointers, strings }
    }

    /// The strings.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }

    fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// Replaces this program; returns only the reason why that failed.
pub fn execve(program: &CStr, argv: &CStringArray, env: &CStringArray) -> io::Error {
    // SAFETY: the three point to NUL-terminated strings and NULL-terminated arrays, alive until
    // the call returns, because the arrays own their strings.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces this program by one that is looked for in `PATH`, with our own environment; a text file
/// without `#!` is given to `/bin/sh`, as the shells do.
///
/// Returns only the reason why that failed: `ENOENT` or `ENOTDIR` for "not found".
pub fn execvp(program: &CStr, argv: &CStringArray) -> io::Error {
    // SAFETY: as for `execve`; `environ` is read and nothing changes it at the same time, as
    // there is one thread.
    unsafe { libc::execvp(program.as_ptr(), argv.as_ptr()) };
    io::Error::last_os_error()
}

/// The same with this environment; the program is looked for in our own `PATH`.
pub fn execvpe(program: &CStr, argv: &CStringArray, env: &CStringArray) -> io::Error {
    // SAFETY: as for `execve`; `environ` is read for `PATH`, as for `execvp`.
    unsafe { libc::execvpe(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Becomes the leader of a new session and group, without controlling terminal.
///
/// # Errors
/// `EPERM` if this process leads a group already.
pub fn setsid() -> io::Result<()> {
    Ok(unistd::setsid().map(drop)?)
}

/// Puts this process into a new group of its own.
///
/// # Errors
/// `EPERM` if it leads a session.
pub fn new_own_group() -> io::Result<()> {
    let this = unistd::Pid::from_raw(0);
    Ok(unistd::setpgid(this, this)?)
}

/// Puts a child into a new group of its own; done on both sides of a fork, so that it is true
/// whoever runs first.
///
/// # Errors
/// `EACCES` after the child's exec (it has done it itself by then), `ESRCH` if it is not our child.
pub fn new_group_of(child: Pid) -> io::Result<()> {
    let child = unistd::Pid::from_raw(child.get());
    Ok(unistd::setpgid(child, child)?)
}

/// The session of a process.
///
/// # Errors
/// `ESRCH` if there is no such process.
pub fn session_of(pid: Pid) -> io::Result<i32> {
    Ok(unistd::getsid(Some(unistd::Pid::from_raw(pid.get())))?.as_raw())
}

/// Whether a process runs a shell, which waits for others and passes no signal on to them.
pub fn is_shell(pid: Pid) -> bool {
    const SHELLS: &[&str] =
        &["sh", "ash", "bash", "busybox", "dash", "ksh", "ksh93", "mksh", "posh", "yash", "zsh"];
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let name = program.file_name().and_then(OsStr::to_str).unwrap_or_default();
    SHELLS.contains(&name.trim_end_matches(" (deleted)"))
}

/// Our own process group.
pub fn own_group() -> i32 {
    unistd::getpgrp().as_raw()
}

/// Whether this process leads its session, so that no shell above it does job control.
pub fn leads_session() -> bool {
    unistd::getsid(None) == Ok(unistd::getpid())
}

/// Sends a signal to a child of ours; a number that is not the pid of one is refused.
///
/// Needs neither a descriptor nor memory, which is what may be missing when everything has to end.
/// While the child is unreaped (and only we can reap it) its number cannot be another's.
///
/// # Errors
/// `ECHILD` if it is no child of ours, `EPERM` if it has changed its identity.
pub fn kill_child(child: Pid, signal: Signal) -> io::Result<()> {
    prove_child(child)?;
    // SAFETY: two integers go in.
    check(unsafe { libc::kill(child.get(), signal.raw()) }).map(drop)
}

/// Sends a signal with a value to a child of ours, as sigqueue(3) does, but in the name of
/// `queued.sender`; proof and reason as for [`kill_child`].
///
/// # Errors
/// As [`kill_child`]; `EAGAIN` if too many real-time signals are queued already.
pub fn queue_to_child(child: Pid, queued: &Queued) -> io::Result<()> {
    prove_child(child)?;
    let info = queued.to_siginfo();
    let (number, signal) = (child.get(), queued.signal.raw());
    // SAFETY: `info` outlives the call, which only reads it.
    let sent = unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, number, signal, &raw const info) };
    check_long(sent).map(drop)
}

/// Runs before everybody of ordinary priority, as far as we may (root may).
pub fn raise_priority() {
    // SAFETY: integers go in; 0 means the caller.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
}

/// Stops this process until it is sent SIGCONT; does nothing in the init of a PID namespace.
pub fn stop_self() {
    // SAFETY: an integer goes in; nothing of ours is touched.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Sends a signal to the process group that a child of ours leads; the child may have ended, but
/// must not be reaped. That is the proof that the number is still the group's.
///
/// # Errors
/// `ECHILD` if `leader` is no child of ours, `ESRCH` if it leads no group.
pub fn kill_group(leader: Pid, signal: Signal) -> io::Result<()> {
    prove_child(leader)?;
    // SAFETY: two integers go in; `leader` is above 1, so this is never "everybody".
    check(unsafe { libc::kill(-leader.get(), signal.raw()) }).map(drop)
}

/// `ECHILD` unless `pid` is an unreaped child of ours.
fn prove_child(pid: Pid) -> io::Result<()> {
    let id = libc::id_t::try_from(pid.get()).map_err(io::Error::other)?;
    waitid(libc::P_PID, id, Reap::Peek).map(drop)
}

/// Looks whether any child has ended, in no order.
///
/// # Errors
/// None that can happen here; "no children" is an answer.
pub fn wait_any(reap: Reap) -> io::Result<Children> {
    match waitid(libc::P_ALL, 0, reap) {
        Ok(Some((pid, ended))) => Ok(Children::Ended(pid, ended)),
        Ok(None) => Ok(Children::Running),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(Children::None),
        Err(error) => Err(error),
    }
}

/// Reaps one child if it has ended; as long as that is not done its number is its own.
///
/// # Errors
/// `ECHILD` if it is no child of ours.
pub fn reap(child: Pid) -> io::Result<Option<ExitStatus>> {
    let id = libc::id_t::try_from(child.get()).map_err(io::Error::other)?;
    Ok(waitid(libc::P_PID, id, Reap::Take)?.map(|(_, ended)| ended))
}

/// The real user of a child that has ended and is not reaped; it stays a zombie.
///
/// # Errors
/// `ECHILD` if it is no child of ours; `EAGAIN` if it has not ended.
pub fn user_of_ended(child: Pid) -> io::Result<u32> {
    let id = libc::id_t::try_from(child.get()).map_err(io::Error::other)?;
    let info = waitid_raw(libc::P_PID, id, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)?;
    parse_siginfo(&info).0.ok_or_else(|| io::Error::from(io::ErrorKind::WouldBlock))?;
    // SAFETY: waitid(2) has filled in the fields of SIGCHLD, as there is a pid.
    Ok(unsafe { info.si_uid() })
}

/// The signal that has stopped `child` since the last time this was asked.
///
/// # Errors
/// `ECHILD` if it is no child of ours.
pub fn stopped_by(child: Pid) -> io::Result<Option<Signal>> {
    let id = libc::id_t::try_from(child.get()).map_err(io::Error::other)?;
    let info = waitid_raw(libc::P_PID, id, libc::WSTOPPED | libc::WNOHANG)?;
    let (pid, status) = parse_siginfo(&info);
    Ok(pid.and_then(|_| Signal::new(status)))
}

/// Who of the named has ended, if anybody has; used with a pidfd, too.
pub(super) fn waitid(
    kind: libc::idtype_t,
    id: libc::id_t,
    reap: Reap,
) -> io::Result<Option<(Pid, ExitStatus)>> {
    let peek = if reap == Reap::Peek { libc::WNOWAIT } else { 0 };
    let info = waitid_raw(kind, id, libc::WEXITED | libc::WNOHANG | peek)?;
    let (Some(pid), status) = parse_siginfo(&info) else { return Ok(None) };
    let ended = match info.si_code {
        libc::CLD_KILLED => ExitStatus::Signal(status),
        libc::CLD_DUMPED => ExitStatus::CoreDump(status),
        _ => ExitStatus::Code(status & 0xff),
    };
    Ok(Some((pid, ended)))
}

/// What waitid(2) has told; `None` if there was nothing to tell.
fn parse_siginfo(info: &libc::siginfo_t) -> (Option<Pid>, c_int) {
    // SAFETY: waitid(2) has filled in the fields of SIGCHLD, or left them zero.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    (Pid::new(pid), status)
}

fn waitid_raw(kind: libc::idtype_t, id: libc::id_t, options: c_int) -> io::Result<libc::siginfo_t> {
    // SAFETY: siginfo_t is integers only; all zero is a value of it.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    retry(|| {
        // SAFETY: `info` is ours, of the size the call expects, and outlives it.
        check(unsafe { libc::waitid(kind, id, &raw mut info, options) })
    })?;
    Ok(info)
}

/// The path by which this program was executed, where `/proc` cannot tell; a relative one counts from
/// where that was.
///
/// # Source
/// getauxval(3), `AT_EXECFN`.
pub fn executed_as() -> Option<PathBuf> {
    // SAFETY: a number goes in, a number comes out.
    let address = unsafe { libc::getauxval(libc::AT_EXECFN) };
    let name: *const c_char = std::ptr::with_exposed_provenance(usize::try_from(address).ok()?);
    if name.is_null() {
        return None;
    }
    // SAFETY: for this key it is the address of a string that the kernel has put above the first stack, where
    // it stays, and is not written to, for as long as the process has this program.
    let name = unsafe { CStr::from_ptr(name) };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

/// When a process was started, in clock ticks since boot; with the pid it names one process for
/// ever. Compare with [`super::clock::boot_ticks`].
///
/// # Errors
/// `ENOENT` or `ESRCH` if there is no such process; `InvalidData` if the line makes no sense.
pub fn start_ticks(pid: Pid) -> io::Result<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat"))?;
    start_of(&stat).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Field 22 of `/proc/PID/stat`; counted from the last `)`, as the name before it may hold any byte.
fn start_of(stat: &[u8]) -> Option<u64> {
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Changes the working directory.
///
/// # Errors
/// `ENOENT`, `ENOTDIR`, `EACCES`.
pub fn chdir(path: &CStr) -> io::Result<()> {
    call(|| unistd::chdir(path))
}

/// Looks whether this process may execute a file, as execve(2) would before it reads it.
///
/// # Errors
/// `ENOENT`, `ENOTDIR`; `EACCES`, also if it is a directory or its file system is mounted noexec.
pub fn check_executable(path: &CStr) -> io::Result<()> {
    call(|| {
        unistd::faccessat(fcntl::AT_FDCWD, path, AccessFlags::X_OK, fcntl::AtFlags::AT_EACCESS)
    })?;
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    match std::fs::metadata(path)?.is_file() {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::EACCES)),
    }
}

/// Sets the mask of permissions that new files do not get; returns the old one.
pub fn set_umask(mask: u32) -> u32 {
    umask(Mode::from_bits_truncate(mask & 0o777)).bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_mean_more_than_one_process_are_no_pid() {
        for number in [i32::MIN, -2, -1, 0, 1] {
            assert_eq!(Pid::new(number), None);
        }
        assert_eq!(Pid::new(2).map(Pid::get), Some(2));
    }

    #[test]
    fn a_strange_process_name_does_not_hide_the_start_time() {
        let line = b"7 (a) R 1 \xff(b) ) S 1 7 7 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9";
        assert_eq!(start_of(line), Some(4242));
        assert_eq!(start_of(b"7 (a"), None);
    }

    #[test]
    fn a_child_is_listed_peeked_at_and_signalled_only_until_it_is_reaped() {
        let _alone = crate::sys::test_fork_lock::exclusive();
        let child = fork(|| {
            loop {
                std::thread::park();
            }
        })
        .unwrap();
        let mut seen = false;
        crate::sys::descendants::each_child(|pid| seen |= pid == child).unwrap();
        assert!(seen);
        kill_child(child, Signal::KILL).unwrap();
        let id = libc::id_t::try_from(child.get()).unwrap();
        let peeked = loop {
            if let Some((_, ended)) = waitid(libc::P_PID, id, Reap::Peek).unwrap() {
                break ended;
            }
            std::thread::yield_now();
        };
        assert_eq!(peeked, ExitStatus::Signal(libc::SIGKILL));
        assert_eq!(peeked.shell_code(), 137);
        assert!(kill_child(child, Signal::TERM).is_ok(), "a zombie is still ours");
        assert_eq!(waitid(libc::P_PID, id, Reap::Take).unwrap().map(|it| it.1), Some(peeked));
        let refused = kill_child(child, Signal::TERM).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ECHILD));
    }

    #[test]
    fn a_panic_in_the_child_of_a_fork_ends_only_that_child() {
        let _alone = crate::sys::test_fork_lock::exclusive();
        let child = fork(|| panic!("told to")).unwrap();
        let id = libc::id_t::try_from(child.get()).unwrap();
        let ended = loop {
            if let Some((_, ended)) = waitid(libc::P_PID, id, Reap::Take).unwrap() {
                break ended;
            }
            std::thread::yield_now();
        };
        assert_eq!(ended, ExitStatus::Code(70));
    }
}
