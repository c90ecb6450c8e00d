//! Counts the instructions that processes execute in user space, one step at a time, by ptrace(2).
//!
//! Slow and exact: unlike a counter of the processor it is there on every virtual machine, and unlike valgrind it
//! follows a process from its fork to its exec.

use crate::sys;
use std::collections::HashMap;
use std::ffi::c_void;
use std::io;
use std::os::raw::c_int;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Whose instructions are counted. One process at a time, so that the others are done with their part whenever it
/// waits for them, however fast the machine is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Process(i32),
    /// The next child of any of the traced processes, until it executes the program.
    NextChild,
}

/// So long before a wait for the rest of the world: what can be there at the wait is there.
const SETTLE: Duration = Duration::from_millis(20);
/// Nothing has moved for so long: it is over.
const QUIET: Duration = Duration::from_millis(300);
const TIMEOUT: Duration = Duration::from_secs(60);

pub struct Stepper {
    /// The traced processes; true: stepped.
    traced: HashMap<i32, bool>,
    program: PathBuf,
    count: u64,
}

impl Stepper {
    /// Traces the parents: of them the subject or the mother of the subject.
    pub fn attach(subject: Subject, parents: &[i32], program: PathBuf) -> io::Result<Self> {
        let mut stepper = Self { traced: HashMap::new(), program, count: 0 };
        let options = match subject {
            Subject::Process(_) => 0,
            Subject::NextChild => {
                libc::PTRACE_O_TRACEFORK
                    | libc::PTRACE_O_TRACEVFORK
                    | libc::PTRACE_O_TRACECLONE
                    | libc::PTRACE_O_TRACEEXEC
            }
        };
        for &pid in parents {
            if subject != Subject::NextChild && subject != Subject::Process(pid) {
                continue;
            }
            ptrace(libc::PTRACE_SEIZE, pid, options as usize)?;
            stepper.traced.insert(pid, subject == Subject::Process(pid));
            ptrace(libc::PTRACE_INTERRUPT, pid, 0)?;
        }
        Ok(stepper)
    }

    /// Steps until nothing moves any more, and lets go of all; gives the number of instructions.
    pub fn run(mut self) -> io::Result<u64> {
        let (start, mut moved) = (Instant::now(), Instant::now());
        while moved.elapsed() < QUIET {
            if start.elapsed() > TIMEOUT {
                return Err(io::Error::other("the processes do not come to rest"));
            }
            if self.turn()? {
                moved = Instant::now();
            } else if moved.elapsed() > SETTLE {
                std::thread::sleep(Duration::from_micros(500));
            } else {
                std::thread::yield_now();
            }
        }
        // Not out of a step: its trap, come late, would kill a process that nobody traces any more.
        for _ in 0..2 {
            for (&pid, stepped) in &mut self.traced {
                ptrace(libc::PTRACE_INTERRUPT, pid, 0)?;
                let status = wait(pid, libc::__WALL).unwrap_or_default();
                *stepped = false;
                ptrace(libc::PTRACE_CONT, pid, signal_of(status))?;
            }
            std::thread::sleep(SETTLE);
            while self.turn()? {}
        }
        for &pid in self.traced.keys() {
            ptrace(libc::PTRACE_INTERRUPT, pid, 0)?;
            let status = wait(pid, libc::__WALL).unwrap_or_default();
            ptrace(libc::PTRACE_DETACH, pid, signal_of(status))?;
        }
        Ok(self.count)
    }

    /// Looks at each process once; true if one had stopped.
    fn turn(&mut self) -> io::Result<bool> {
        let mut any = false;
        let pids: Vec<_> = self.traced.keys().copied().collect();
        for pid in pids {
            if let Some(status) = wait(pid, libc::__WALL | libc::WNOHANG) {
                any = true;
                self.stopped(pid, status)?;
            }
        }
        Ok(any)
    }

    fn stopped(&mut self, pid: i32, status: c_int) -> io::Result<()> {
        if !libc::WIFSTOPPED(status) {
            self.traced.remove(&pid);
            return Ok(());
        }
        let stepped = self.traced[&pid];
        match status >> 16 {
            0 if stepped && libc::WSTOPSIG(status) == libc::SIGTRAP => {
                self.count += 1;
                if sys::waits_next(pid) {
                    std::thread::sleep(SETTLE);
                }
            }
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                let mut child: libc::c_ulong = 0;
                ptrace(libc::PTRACE_GETEVENTMSG, pid, (&raw mut child).expose_provenance())?;
                self.traced.insert(child as i32, true);
            }
            libc::PTRACE_EVENT_EXEC
                if stepped
                    && std::fs::read_link(format!("/proc/{pid}/exe"))
                        .is_ok_and(|it| it == self.program) =>
            {
                self.traced.remove(&pid);
                return ptrace(libc::PTRACE_DETACH, pid, 0);
            }
            _ => {}
        }
        let how = if stepped { libc::PTRACE_SINGLESTEP } else { libc::PTRACE_CONT };
        ptrace(how, pid, signal_of(status))
    }
}

/// The signal that a stop holds back, if it is one of somebody else's.
fn signal_of(status: c_int) -> usize {
    let signal = libc::WSTOPSIG(status);
    if status >> 16 != 0 || signal == libc::SIGTRAP { 0 } else { signal as usize }
}

fn wait(pid: i32, flags: c_int) -> Option<c_int> {
    let mut status = 0;
    // SAFETY: the number outlives the call.
    (unsafe { libc::waitpid(pid, &raw mut status, flags) } == pid).then_some(status)
}

fn ptrace(request: libc::c_uint, pid: i32, data: usize) -> io::Result<()> {
    let (none, data) =
        (std::ptr::null_mut::<c_void>(), std::ptr::with_exposed_provenance_mut::<c_void>(data));
    // SAFETY: of the requests here one writes, and its data is the address of a number of ours.
    match unsafe { libc::ptrace(request, pid, none, data) } {
        -1 => {
            let error = io::Error::last_os_error();
            Err(io::Error::other(format!("ptrace {request} of {pid}: {error}")))
        }
        _ => Ok(()),
    }
}
