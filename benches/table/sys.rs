//! The kernel calls of the benchmark.

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Nanoseconds of CLOCK_MONOTONIC, which the started program reads too.
pub fn now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the struct outlives the call that fills it.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

pub fn kill(pid: i32, signal: i32) {
    assert!(pid > 1);
    // SAFETY: two integers; the assertion keeps it from meaning a group or everybody.
    unsafe { libc::kill(pid, signal) };
}

/// A handle of a process, if it is still there.
pub fn pidfd(pid: i32) -> Option<OwnedFd> {
    // SAFETY: integers go in, a new descriptor or -1 comes out.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: the kernel has just made it for us.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

pub fn kill_by(handle: &OwnedFd) {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a handle, a number, and no information to read.
    unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, handle.as_raw_fd(), libc::SIGKILL, no_info, 0)
    };
}

/// Waits until a process has ended and gives the time.
pub fn ended(handle: &OwnedFd, timeout: Duration) -> Option<u64> {
    let mut entry = libc::pollfd { fd: handle.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    let ready = unsafe { libc::poll(&raw mut entry, 1, timeout.as_millis() as i32) };
    (ready == 1).then(now)
}

/// Has the kernel end this process when the benchmark ends, however it ends.
pub fn end_with_parent() -> std::io::Result<()> {
    // SAFETY: integers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) };
    Ok(())
}

/// How many descriptors a process may have that raises its limit.
pub fn descriptor_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct outlives the call that fills it.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_max as usize
}

/// The processor time that a process has used.
pub fn cpu_ns(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

pub fn sleeps(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

pub fn pss_kib(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0.0)
}

/// The process and those below it that do not execute the program.
pub fn tree(pid: i32, program: &Path) -> Vec<i32> {
    let children =
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    let executes = |pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|it| it == program);
    let below = children.filter(|&child| !executes(child)).flat_map(|child| tree(child, program));
    std::iter::once(pid).chain(below).collect()
}

/// Which process of a supervisor does what.
pub struct Roles {
    pub emperor: i32,
    pub spawner: Option<i32>,
}

impl Roles {
    /// The emperor is the one that names itself in the statistics; without any, the first of the processes.
    pub fn of(processes: &[i32], emperor: Option<f64>) -> Self {
        let name = |pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let spawner = processes.iter().copied().find(|&pid| name(pid).trim() == "liege-spawner");
        Self { emperor: emperor.map_or(processes[0], |pid| pid as i32), spawner }
    }
}

/// Whether a stopped process is about to wait for descriptors.
#[cfg(target_arch = "x86_64")]
pub fn waits_next(pid: i32) -> bool {
    const SYSCALL: libc::c_long = 0x050f;
    const WAITS: [libc::c_long; 5] = [
        libc::SYS_poll,
        libc::SYS_ppoll,
        libc::SYS_epoll_wait,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
    ];
    // SAFETY: all zeros are a value of this struct of numbers.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    // SAFETY: the struct outlives the call that fills it.
    unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, 0, &raw mut registers) };
    // SAFETY: reads the memory of the traced process, and none of ours.
    let code = unsafe { libc::ptrace(libc::PTRACE_PEEKTEXT, pid, registers.rip, 0) };
    code & 0xffff == SYSCALL && WAITS.contains(&(registers.rax as libc::c_long))
}

#[cfg(not(target_arch = "x86_64"))]
pub fn waits_next(_: i32) -> bool {
    false
}
