//! The fork, and what follows it before the exec: prepared data and system calls, nothing else. No allocation, no
//! lock, no log; a failure is one packet on the status socket.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::parent_id;

use crate::proto::status;
use crate::sys::process::Pid;
use crate::sys::signal::{Signal, SignalMask, set_default, set_mask};
use crate::sys::{fd, limits, mark, prctl, process};

use crate::types::exit_status::NOT_EXECUTABLE;

use super::plan::Plan;
use super::push;
use super::step::Step;

/// Forks; a failure between fork and exec, or of the exec, comes by the status socket.
///
/// # Errors
/// `EAGAIN`, `ENOMEM`.
pub fn spawn(plan: &Plan<'_>) -> io::Result<Pid> {
    process::fork(|| run(plan))
}

/// Prepares this process and execs the program; comes back only with the status to end with.
fn run(plan: &Plan<'_>) -> u8 {
    let (step, error) = match prepare(plan) {
        Ok(()) => (Step::Exec, exec(plan)),
        Err((step, error)) => (step, error),
    };
    let packet = status::failed_packet(step as u8, error.raw_os_error().unwrap_or(0));
    // If the emperor is gone, no process reads this; the exit status says the same.
    let _ = fd::write(plan.setup.status, &packet);
    NOT_EXECUTABLE
}

fn prepare(plan: &Plan<'_>) -> Result<(), (Step, io::Error)> {
    let at = |step| move |error| (step, error);
    for signal in plan.template.reset() {
        set_default(*signal).map_err(at(Step::Signals))?;
    }
    process::setsid().map_err(at(Step::Session))?;
    plan.template.be_expendable();
    fd::set_stdio(0, plan.setup.input).map_err(at(Step::Fds))?;
    fd::clear_cloexec(plan.setup.pipe).map_err(at(Step::Fds))?;
    if plan.template.stage {
        fd::clear_cloexec(plan.setup.status).map_err(at(Step::Fds))?;
    }
    limits::lower_descriptor_limit(plan.template.descriptor_limit).map_err(at(Step::Limits))?;
    if let Some(mark) = plan.setup.mark {
        // Without a mark only the leftovers in its session are found at its end.
        let _ = mark::set_own(mark);
    }
    process::chdir(plan.setup.directory).map_err(at(Step::Cwd))?;
    prctl::set_parent_death(Signal::new(libc::SIGKILL)).map_err(at(Step::ParentDeath))?;
    // The emperor may have died before the signal was armed; then it would never be sent.
    if i32::try_from(parent_id()).ok() != Some(plan.parent) {
        return Err((Step::ParentDeath, io::Error::from_raw_os_error(libc::ESRCH)));
    }
    if let Some(hook) = &plan.hook {
        let ended = hook.attend(plan.setup.null);
        let _ = fd::write(plan.setup.status, &status::hook_packet(ended));
    }
    if let Some([ours, theirs]) = plan.setup.config {
        push::push(ours, plan.file()).map_err(at(Step::Read))?;
        fd::clear_cloexec(theirs).map_err(at(Step::Fds))?;
    }
    set_mask(SignalMask::NONE).map_err(at(Step::Signals))?;
    Ok(())
}

/// Tries each program in turn; gives the error of the last one.
fn exec(plan: &Plan<'_>) -> io::Error {
    let mut error = io::Error::from_raw_os_error(libc::ENOENT);
    for program in &plan.template.programs {
        if let Some(first) = plan.argv.first() {
            first.set(program.as_ptr());
        }
        // SAFETY: the strings and the two arrays live in the plan, each array ends with a null
        // pointer, a `Cell` is laid out as what is in it, and nobody else touches any of them: this
        // process has one thread.
        unsafe {
            libc::execvpe(program.as_ptr(), plan.argv.as_ptr().cast(), plan.environment.as_ptr());
        }
        error = io::Error::last_os_error();
    }
    error
}
