//! The kernel calls of the benchmark.

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

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

pub fn pidfd(pid: i32) -> OwnedFd {
    // SAFETY: integers go in, a new descriptor or -1 comes out.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    assert!(fd >= 0, "pidfd_open({pid})");
    // SAFETY: the kernel has just made it for us.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// Waits until a process has ended and gives the time.
pub fn ended(handle: &OwnedFd) -> u64 {
    let mut entry = libc::pollfd { fd: handle.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    let ready = unsafe { libc::poll(&raw mut entry, 1, 60_000) };
    assert_eq!(ready, 1, "it does not end");
    now()
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

/// The process and those of its children that run the same program: a keeper and its emperor.
pub fn supervisor(pid: i32) -> Vec<i32> {
    let program = |pid: i32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let children =
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    let same = children.filter(|&child| program(child) == program(pid));
    std::iter::once(pid).chain(same).collect()
}
