//! What the kernel says about processes.
#![allow(unsafe_code)]

use std::fs;
use std::os::fd::AsRawFd;

/// Sends a signal to a process; one that is gone is no fault.
pub fn kill(pid: i32, signal: i32) {
    assert!(pid > 1, "a pid of one process, not {pid}");
    // SAFETY: two integers go in; the assertion keeps it from meaning a group or everybody.
    unsafe { libc::kill(pid, signal) };
}

pub fn uid() -> u32 {
    // SAFETY: no argument, cannot fail.
    unsafe { libc::getuid() }
}

/// Lives, and is not a zombie.
pub fn lives(pid: i32) -> bool {
    state(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

/// The letter of `/proc/PID/stat`.
pub fn state(pid: i32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

pub fn parent(pid: i32) -> Option<i32> {
    stat(pid)?.get(1)?.parse().ok()
}

pub fn group(pid: i32) -> Option<i32> {
    stat(pid)?.get(2)?.parse().ok()
}

pub fn session(pid: i32) -> Option<i32> {
    stat(pid)?.get(3)?.parse().ok()
}

/// The fields of `/proc/PID/stat` behind the name, from the state on.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// Children of a process.
pub fn children_of(pid: i32) -> Vec<i32> {
    all().filter(|&it| parent(it) == Some(pid)).collect()
}

/// Children of a process that are dead and not reaped.
pub fn zombies_of(pid: i32) -> Vec<i32> {
    all().filter(|&it| parent(it) == Some(pid) && state(it) == Some('Z')).collect()
}

/// A line of `/proc/PID/status`.
pub fn status(pid: i32, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.map(|value| value.trim().to_owned())
}

/// How often a process has gone to sleep: as long as this stands still, it made no system call.
pub fn sleeps(pid: i32) -> Option<u64> {
    status(pid, "voluntary_ctxt_switches")?.parse().ok()
}

/// The processor time that it has used, in ticks of ten milliseconds.
pub fn ticks(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// What its open descriptors lead to.
pub fn descriptors(pid: i32) -> Vec<String> {
    let Ok(listing) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let targets = listing.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.map(|target| target.to_string_lossy().into_owned()).collect()
}

/// Every living process that has this text (`NAME=value`) in its environment.
pub fn marked(variable: &str) -> Vec<i32> {
    let has_it = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry == variable.as_bytes())
    };
    all().filter(has_it).filter(|&pid| lives(pid)).collect()
}

/// Whoever runs the tests may keep files to themselves; other users have to read some of ours.
pub fn set_usual_umask() {
    // SAFETY: an integer goes in, and it cannot fail.
    unsafe { libc::umask(0o022) };
}

/// Has a program start as if nobody ignored a signal: who runs the tests may do so (nohup(1)), and hands it on.
pub fn with_default_signals(command: &mut std::process::Command) -> &mut std::process::Command {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec there are system calls only.
    unsafe {
        command.pre_exec(|| {
            liege::sys::signal::set_all_default();
            Ok(())
        })
    }
}

/// Leaves a descriptor open in programs that are started from now on.
pub fn inherit(fd: &impl AsRawFd) {
    // SAFETY: sets a flag of a descriptor that is borrowed for the call.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) };
}

pub fn set_nonblocking(fd: &impl AsRawFd, on: bool) {
    // SAFETY: reads the flags of a descriptor that is borrowed for the call.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    let flags = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    // SAFETY: sets them on the same descriptor.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) };
}

/// Sets the modification time alone, by name, as rsync(1) does: the kernel reports that as a write without a close.
pub fn set_modified_only(path: &std::path::Path, seconds: i64) {
    let path =
        std::ffi::CString::new(path.to_str().expect("paths of tests are text")).expect("no NUL");
    let omit = libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT };
    let times = [omit, libc::timespec { tv_sec: seconds, tv_nsec: 0 }];
    // SAFETY: a NUL-terminated path and two times that outlive the call.
    let done = unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), 0) };
    assert_eq!(done, 0, "utimensat");
}

/// A FIFO in the place of a file.
pub fn make_fifo(path: &std::path::Path) {
    let path =
        std::ffi::CString::new(path.to_str().expect("paths of tests are text")).expect("no NUL");
    // SAFETY: a NUL-terminated path that outlives the call.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o644) }, 0, "mkfifo");
}

/// A socket without a server. A listener that is closed would not do: a test beside this one may be about to
/// start something, which has it open until its exec.
pub fn make_left_over_socket(path: &std::path::Path) {
    let path =
        std::ffi::CString::new(path.to_str().expect("paths of tests are text")).expect("no NUL");
    // SAFETY: a NUL-terminated path that outlives the call.
    assert_eq!(unsafe { libc::mknod(path.as_ptr(), libc::S_IFSOCK | 0o755, 0) }, 0, "mknod");
}

/// Sets the soft limit of open files of a running process.
pub fn limit_files(pid: i32, limit: u64) {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes one struct, which outlives the call.
    let read =
        unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limits) };
    limits.rlim_cur = limit;
    // SAFETY: reads one struct, which outlives the call.
    let set =
        unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limits, std::ptr::null_mut()) };
    assert_eq!((read, set), (0, 0), "prlimit");
}

fn all() -> impl Iterator<Item = i32> {
    let listing = fs::read_dir("/proc").into_iter().flatten();
    listing.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}
