//! What the log says: one line for each transition.

use std::fmt;
use std::time::Duration;

use crate::log::{Level, escaped};
use crate::monitor;
use crate::proto::status::HookEnd;
use crate::spawn::hook;
use crate::state::{Exit, Note, ReloadWay};
use crate::sys::process::Ended;
use crate::sys::signal::Signal;

/// A name from outside, as it may be printed.
pub(super) fn name(bytes: &[u8]) -> String {
    escaped(bytes).to_string()
}

/// How loud a transition is.
pub(super) fn loudness(note: &Note) -> Level {
    match note {
        Note::StartFailed { .. } | Note::ReplacementFailed { .. } => Level::Error,
        Note::Held { .. } | Note::Killed { .. } | Note::Silent => Level::Warning,
        Note::Died { loyal: false, .. } => Level::Warning,
        Note::Running { .. }
        | Note::Adopted { .. }
        | Note::Loyal
        | Note::Waiting { .. }
        | Note::Reloading { .. }
        | Note::Replaced { .. }
        | Note::Stopping { .. }
        | Note::Stopped { .. }
        | Note::Died { .. }
        | Note::Finished { .. }
        | Note::Gone => Level::Notice,
        Note::Ready | Note::Accepting => Level::Info,
    }
}

/// The level of what a monitor has to say.
pub(super) fn level(level: monitor::Level) -> Level {
    match level {
        monitor::Level::Warning => Level::Warning,
        monitor::Level::Notice => Level::Notice,
    }
}

/// A transition in words, without the vassal's name.
pub(super) struct Line<'a>(pub &'a Note);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Note::Running { pid } => write!(f, "runs with pid {pid}"),
            Note::Adopted { pid } => write!(f, "is adopted with pid {pid}"),
            Note::Ready => f.write_str("has been spawned"),
            Note::Accepting => f.write_str("is ready to accept requests"),
            Note::Loyal => f.write_str("is now loyal"),
            Note::Waiting { address } => {
                write!(f, "waits for connections on {}", escaped(address.as_bytes()))
            }
            Note::Held { why, wait } => {
                write!(f, "is held: {}", escaped(why.as_bytes()))?;
                wait.map_or(Ok(()), |wait| write!(f, ": next try in {}", Millis(wait)))
            }
            Note::Reloading { by } => match by {
                ReloadWay::Byte => f.write_str("is told to reload"),
                ReloadWay::Signal(signal) => {
                    write!(f, "is told to reload by {}", signal_name(*signal))
                }
                ReloadWay::Replacement => f.write_str("is being replaced on its own listeners"),
                ReloadWay::Restart => f.write_str("is restarted if its new file is good"),
                ReloadWay::Anew => {
                    f.write_str("is restarted: its file starts something else than what runs")
                }
            },
            Note::Replaced { pid } => write!(f, "is replaced by pid {pid}"),
            Note::ReplacementFailed { why } => {
                write!(f, "goes on as it is: {}", escaped(why.as_bytes()))
            }
            Note::StartFailed { why } => write!(f, "cannot start: {}", escaped(why.as_bytes())),
            Note::Stopping { why } => write!(f, "is stopped: {why}"),
            Note::Killed { why } => write!(f, "is killed: {why}"),
            Note::Stopped { exit, lived } => {
                write!(f, "stopped after {} ({})", Millis(*lived), Ending(*exit))
            }
            Note::Died { exit, lived, loyal: true, .. } => {
                write!(f, "died after {} ({}): starts again", Millis(*lived), Ending(*exit))
            }
            Note::Died { exit, lived, loyal: false, wait, attempt } => {
                write!(f, "died unloyal after {} ({})", Millis(*lived), Ending(*exit))?;
                match attempt {
                    0 => f.write_str(": starts again"),
                    _ => write!(
                        f,
                        ", blacklisted: next start in {} (attempt {attempt})",
                        Millis(*wait)
                    ),
                }
            }
            Note::Finished { exit } => {
                write!(
                    f,
                    "has ended ({}): not started again before its file changes",
                    Ending(*exit)
                )
            }
            Note::Silent => f.write_str("has sent no heartbeat in time: is told to reload"),
            Note::Gone => f.write_str("is gone"),
        }
    }
}

/// How a hook has ended, in words.
pub(super) fn start_hook(end: HookEnd) -> (Level, String) {
    match end {
        HookEnd::Exited(0) => (Level::Info, "start hook returned 0".to_owned()),
        HookEnd::Exited(status) => {
            (Level::Warning, format!("start hook returned {status}; it starts all the same"))
        }
        HookEnd::Killed(signal) => {
            let signal = signal_name(i32::from(signal));
            (Level::Warning, format!("start hook was killed by {signal}; it starts all the same"))
        }
        HookEnd::Overdue => {
            let limit = hook::LIMIT.as_secs();
            (Level::Error, format!("start hook killed after {limit} s; it starts all the same"))
        }
        HookEnd::Refused(errno) => {
            let error = std::io::Error::from_raw_os_error(errno);
            (Level::Error, format!("start hook cannot be run: {error}; it starts all the same"))
        }
    }
}

/// How a stop hook has ended, in words.
pub(super) fn result(ended: Ended) -> String {
    match ended {
        Ended::Exited(status) => format!("returned {status}"),
        Ended::Killed { signal, .. } => format!("was killed by {}", signal_name(signal.raw())),
    }
}

struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0.as_millis())
    }
}

struct Ending(Exit);

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Exit::Code(code) => write!(f, "exit {code}"),
            Exit::Signal(number) => f.write_str(&signal_name(number)),
        }
    }
}

/// `SIGTERM`, or the number of a signal that has no name.
pub(super) fn signal_name(number: i32) -> String {
    let named = Signal::new(number).and_then(Signal::name);
    named.map_or_else(|| format!("signal {number}"), str::to_owned)
}
