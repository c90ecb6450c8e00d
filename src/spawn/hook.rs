//! Commands of the administrator around a life: `vassals-start-hook` and `vassals-stop-hook`.
//!
//! Each is given the vassal's name as its one argument, and where the vassal files are in its environment.
//! A start hook is a child of the process that is about to become the program, which waits for it; a stop
//! hook is a child of the emperor, which does not.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::parent_id;
use std::time::{Duration, Instant};

use crate::proto::emperor::DIRECTORY_VARIABLE;
use crate::proto::spawner::VassalName;
use crate::proto::status::HookEnd;
use crate::sys::process::{self, CStringArray, Pid, Reap};
use crate::sys::signal::{Signal, SignalMask, set_mask};
use crate::sys::{fd, pidfd, prctl};
use crate::types::exit_status::{NOT_EXECUTABLE, NOT_FOUND};

use super::inheritance::Inheritance;

/// A hook that runs longer than this is killed, with its process group.
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// One run of a hook.
pub(super) struct Hook<'a> {
    argv: CStringArray,
    environment: CStringArray,
    null: BorrowedFd<'a>,
}

impl<'a> Hook<'a> {
    /// Prepares `command` for a vassal.
    ///
    /// # Errors
    /// `EINVAL` for a name with a NUL byte.
    pub fn new(
        inherited: &'a Inheritance,
        command: &CStr,
        vassal: &VassalName,
    ) -> io::Result<Self> {
        let directory = inherited.directory(vassal)?.to_bytes();
        let told = CString::new([DIRECTORY_VARIABLE.as_bytes(), b"=", directory].concat())?;
        let environment = inherited.environment.iter().cloned().chain([told]).collect();
        let argv = vec![command.to_owned(), CString::new(vassal.name.as_bytes())?];
        Ok(Self {
            argv: CStringArray::new(argv),
            environment: CStringArray::new(environment),
            null: inherited.null.as_fd(),
        })
    }

    /// Runs a start hook and waits for it; called by a process that has its session and directory already, and
    /// `/dev/null` still open.
    pub fn attend(&self) -> HookEnd {
        let refused = |error: io::Error| HookEnd::Refused(error.raw_os_error().unwrap_or(0));
        let parent = std::process::id();
        let child = process::fork(|| {
            // A group of its own, so that it can be killed alone.
            let _ = process::new_own_group();
            self.run(parent)
        });
        let child = match child {
            Ok(child) => child,
            Err(error) => return refused(error),
        };
        let _ = process::new_group_of(child);
        let until = Instant::now() + HOOK_TIMEOUT;
        let ended = wait(child, until).unwrap_or_else(|error| Some(refused(error)));
        // What it has left running in its group is let run; what took too long is not.
        ended.unwrap_or_else(|| {
            let _ = process::kill_group(child, Signal::KILL);
            let _ = wait(child, Instant::now() + HOOK_TIMEOUT);
            HookEnd::Overdue
        })
    }

    /// Becomes the hook; dies with its parent.
    pub fn run(&self, parent: u32) -> u8 {
        let prepared = prctl::set_parent_death(Some(Signal::KILL))
            .and_then(|()| fd::set_stdio(0, self.null))
            .and_then(|()| fd::cloexec_from(3))
            .and_then(|()| set_mask(SignalMask::NONE));
        let Some(program) = self.argv.strings().first().filter(|_| parent_id() == parent) else {
            return NOT_EXECUTABLE;
        };
        match prepared {
            Ok(_) => match process::execvpe(program, &self.argv, &self.environment).kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => NOT_FOUND,
                _ => NOT_EXECUTABLE,
            },
            Err(_) => NOT_EXECUTABLE,
        }
    }
}

/// How a child has ended; `None` if it has not, by then.
fn wait(child: Pid, until: Instant) -> io::Result<Option<HookEnd>> {
    let handle = pidfd::open(child)?;
    loop {
        if let Some(ended) = pidfd::wait(handle.as_fd(), Reap::Take)? {
            return Ok(Some(HookEnd::Ended(ended)));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        fd::wait_readable([handle.as_fd()], Some(left))?;
    }
}
