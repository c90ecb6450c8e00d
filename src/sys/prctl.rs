//! prctl(2): parent death, subreaper, core dumps and tracing, no new privileges.

use std::ffi::{c_int, c_ulong};
use std::io;

use super::check;
use super::signal::Signal;

/// Has the kernel send this process a signal when its parent dies (`None`: nothing).
///
/// Done last, in each image: every change of uid or gid and the exec of a set-user-ID program clear
/// it, and a fork does not pass it on. The parent may have died before: whoever calls this compares
/// `parent_id()` with what it must be right afterwards.
///
/// # Errors
/// None that can happen here.
pub fn set_parent_death(signal: Option<Signal>) -> io::Result<()> {
    set(libc::PR_SET_PDEATHSIG, c_ulong::from(signal.map_or(0, Signal::get)))
}

/// Makes this process the new parent of every orphan below it; not inherited by a fork, kept over
/// an exec.
///
/// # Errors
/// None that can happen here.
pub fn become_subreaper() -> io::Result<()> {
    set(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Puts back what a change of the user has taken away: the files of this process in /proc belong to its user,
/// and those of its children too.
///
/// # Errors
/// None that can happen here.
pub fn set_dumpable() -> io::Result<()> {
    set(libc::PR_SET_DUMPABLE, 1)
}

fn set(what: c_int, value: c_ulong) -> io::Result<()> {
    let none: c_ulong = 0;
    // SAFETY: the callers above pass only requests that take a number and touch no memory; the
    // unused arguments are zero, as the kernel demands.
    check(unsafe { libc::prctl(what, value, none, none, none) }).map(drop)
}
