//! prctl(2): parent death, subreaper, core dumps and tracing.

use std::ffi::{CStr, c_ulong};
use std::io;

use nix::sys::prctl;

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
    let (signal, none) = (c_ulong::from(signal.map_or(0, Signal::get)), 0 as c_ulong);
    // SAFETY: this request takes a number and touches no memory; the unused arguments are zero, as the kernel
    // demands. The signals of nix are without the real-time signals.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, none, none, none) }).map(drop)
}

/// Makes this process the new parent of every orphan below it; not inherited by a fork, kept over
/// an exec.
///
/// # Errors
/// None that can happen here.
pub fn become_subreaper() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// Whether this process may be traced by others of its user and leaves a core file. An exec puts that back to "yes",
/// a change of user to "no".
///
/// # Errors
/// None that can happen here.
pub fn set_dumpable(is_dumpable: bool) -> io::Result<()> {
    Ok(prctl::set_dumpable(is_dumpable)?)
}

/// Names this process, in 15 bytes.
///
/// # Errors
/// None that can happen here.
pub fn set_name(name: &CStr) -> io::Result<()> {
    Ok(prctl::set_name(name)?)
}
