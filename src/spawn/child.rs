//! What a child of the spawner does: the order in it, step by step. A start ends in the exec of the program, or in
//! the stage; a failure is one packet on the status socket.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use crate::proto::spawner::{SpawnerOrder, StartOrder, VassalName};
use crate::proto::status;
use crate::sys::mark::{self, ProcessMark};
use crate::sys::process::{self, Pid};
use crate::sys::signal::{SignalMask, set_mask};
use crate::sys::{arena, fd, waiters};
use crate::types::exit_status::NOT_EXECUTABLE;
use crate::types::purpose::Purpose;

use super::hook::Hook;
use super::inheritance::Inheritance;
use super::plan::{self, Attached, Plan};
use super::push;
use super::step::Step;

/// Does what an order says; comes back only with the status to end with.
pub(super) fn run(inherited: &Inheritance, packet: &[u8], attached: Vec<OwnedFd>) -> u8 {
    arena::enter();
    match SpawnerOrder::decode(packet) {
        Ok(SpawnerOrder::Start(order)) => start(inherited, order, attached),
        Ok(SpawnerOrder::StopHook(vassal)) => stop_hook(inherited, &vassal),
        Ok(SpawnerOrder::SendConfig(vassal)) => send_config(inherited, &vassal, &attached),
        Ok(SpawnerOrder::Probe { pid, inodes }) => probe(inherited, pid, &inodes),
        Err(_) => NOT_EXECUTABLE,
    }
}

fn start(inherited: &Inheritance, order: StartOrder, attached: Vec<OwnedFd>) -> u8 {
    let Some(attached) = Attached::of(&inherited.template, &order, attached) else {
        return NOT_EXECUTABLE;
    };
    let failed = |to: BorrowedFd<'_>, step: Step, error: &io::Error| {
        let packet = status::failed_packet(step as u8, error.raw_os_error().unwrap_or(0));
        // If the emperor is gone, no process reads this; the exit status says the same.
        let _ = fd::write(to, &packet);
        NOT_EXECUTABLE
    };
    if let Err((step, error)) = prepare(inherited, &order, &attached) {
        return failed(attached.status.as_fd(), step, &error);
    }
    if inherited.template.stage {
        return (inherited.stage)(plan::handed(inherited, order, attached));
    }
    let error = match Plan::new(inherited, &order, &attached) {
        Ok(plan) => exec(&plan),
        Err(error) => error,
    };
    failed(attached.status.as_fd(), Step::Exec, &error)
}

/// What the process of every start is to be.
fn prepare(
    inherited: &Inheritance,
    order: &StartOrder,
    attached: &Attached,
) -> Result<(), (Step, io::Error)> {
    let at = |step| move |error| (step, error);
    // Before it leaves the session of the spawner, so that it can always be told whose it is.
    if let Some(mark) = ProcessMark::from_number(order.mark) {
        // Without a mark only the leftovers in its session are found at its end.
        let _ = mark::set_own(mark);
    }
    process::setsid().map_err(at(Step::Session))?;
    inherited.be_expendable();
    let input = attached.on_demand.as_ref().unwrap_or(&inherited.null);
    fd::set_stdio(0, input.as_fd()).map_err(at(Step::Fds))?;
    if !inherited.template.stage {
        fd::clear_cloexec(attached.pipe.as_fd()).map_err(at(Step::Fds))?;
    }
    let directory = inherited.directory(&order.vassal).map_err(at(Step::Cwd))?;
    process::chdir(directory).map_err(at(Step::Cwd))?;
    inherited.die_with_emperor().map_err(at(Step::ParentDeath))?;
    if let Some(command) = &inherited.template.start_hook
        && order.purpose == Purpose::Start
    {
        let hook = Hook::new(inherited, command, &order.vassal).map_err(at(Step::Exec))?;
        let ended = hook.attend();
        let _ = fd::write(attached.status.as_fd(), &status::hook_packet(ended));
    }
    // Before anything of the vassal's own is read.
    close_strangers(attached);
    if let Some([ours, theirs]) = &attached.config {
        let file = file_of(&order.vassal).map_err(at(Step::Read))?;
        push::push(ours.as_fd(), &file).map_err(at(Step::Read))?;
        if !inherited.template.stage {
            fd::clear_cloexec(theirs.as_fd()).map_err(at(Step::Fds))?;
        }
    }
    set_mask(SignalMask::NONE).map_err(at(Step::Signals))?;
    Ok(())
}

/// Closes what is not the new process's own: `/dev/null` of the spawner, and whatever else it may have.
fn close_strangers(attached: &Attached) {
    let Attached { pipe, status, config, on_demand, listeners } = attached;
    let config = config.iter().flatten();
    // The kernel has given them their numbers in this order.
    fd::close_all_but_stdio_and(
        [pipe, status].into_iter().chain(config).chain(on_demand).chain(listeners),
    );
}

/// The vassal's file, as it is named in its directory.
fn file_of(vassal: &VassalName) -> io::Result<CString> {
    Ok(CString::new(vassal.name.as_bytes())?)
}

/// Tries each program in turn; gives the error of the last one.
fn exec(plan: &Plan<'_>) -> io::Error {
    let mut error = io::Error::from_raw_os_error(libc::ENOENT);
    for program in plan.programs {
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

/// Becomes a stop hook, in a session of its own.
fn stop_hook(inherited: &Inheritance, vassal: &VassalName) -> u8 {
    let Some(command) = &inherited.template.stop_hook else { return NOT_EXECUTABLE };
    inherited.be_expendable();
    let prepared = process::setsid()
        .and_then(|()| fd::set_stdio(0, inherited.null.as_fd()))
        .and_then(|()| process::chdir(inherited.directory(vassal)?))
        .and_then(|()| Hook::new(inherited, command, vassal));
    match prepared {
        Ok(hook) => hook.run(inherited.emperor),
        Err(_) => NOT_EXECUTABLE,
    }
}

/// Sends the file of a vassal on the config pipe; the status is the errno of a failure.
fn send_config(inherited: &Inheritance, vassal: &VassalName, attached: &[OwnedFd]) -> u8 {
    let sent = inherited
        .die_with_emperor()
        .and_then(|()| set_mask(SignalMask::NONE))
        .and_then(|_| process::chdir(inherited.directory(vassal)?))
        .and_then(|()| match attached.first() {
            Some(pipe) => push::push(pipe.as_fd(), &file_of(vassal)?),
            None => Err(io::ErrorKind::InvalidInput.into()),
        });
    let errno = sent.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
    u8::try_from(errno).unwrap_or(u8::MAX)
}

/// Looks whether a process waits for connections; the status is 0 if it does.
fn probe(inherited: &Inheritance, pid: i32, inodes: &[u64]) -> u8 {
    let armed = inherited.die_with_emperor().and_then(|()| set_mask(SignalMask::NONE));
    let waits = Pid::new(pid).is_some_and(|pid| waiters::is_awaited(pid, inodes));
    u8::from(armed.is_err() || !waits)
}
