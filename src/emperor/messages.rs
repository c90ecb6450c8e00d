//! The messages of the log: one line for each transition.

use std::fmt;
use std::time::Duration;

use crate::log::{Level, escaped};
use crate::proto::status::HookEnd;
use crate::spawn::HOOK_TIMEOUT;
use crate::state::{Note, ReloadWay, WaitNotice};
use crate::sys::signal::Signal;
use crate::types::exit_status::ExitStatus;

/// Names in one line.
const MAX_NAMES: usize = 10;

/// A name from outside, as it may be printed.
pub(super) fn name(bytes: &[u8]) -> String {
    escaped(bytes).to_string()
}

/// The text with `line 3` for `blog.ini:3`, as the name stands in front of it already.
pub(super) fn without_name(text: &str, own: &[u8]) -> String {
    let place = format!("{}:", name(own));
    let (mut short, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once(&place) {
        // Another file may end like this one.
        let is_whole = before.ends_with([' ', '(']) || before.is_empty();
        let is_place = is_whole && after.starts_with(|digit: char| digit.is_ascii_digit());
        short.push_str(before);
        short.push_str(if is_place { "line " } else { &place });
        rest = after;
    }
    short.push_str(rest);
    short
}

/// How severe a transition is.
pub(super) fn severity(note: &Note) -> Level {
    match note {
        Note::StartFailed { .. } | Note::ReplacementFailed { .. } => Level::Error,
        Note::Held { .. }
        | Note::Killed { .. }
        | Note::Silent
        | Note::StopsSlowly { .. }
        | Note::FallBack { .. } => Level::Warning,
        Note::Died { loyal: false, .. } => Level::Warning,
        Note::Running { .. }
        | Note::Adopted { .. }
        | Note::Listening { .. }
        | Note::Reloading { .. }
        | Note::Replaced { .. }
        | Note::Stopped { .. }
        | Note::Died { .. }
        | Note::Finished { .. }
        | Note::Gone => Level::Notice,
        // A start is one line, and an end is one.
        Note::Ready | Note::Accepting | Note::Loyal | Note::Stopping { .. } => Level::Debug,
    }
}

/// A transition in words, without the vassal's name.
pub(super) struct Message<'a>(pub &'a Note);

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Note::Running { pid: Some(pid) } => write!(f, "runs with pid {pid}"),
            Note::Running { pid: None } => f.write_str("runs"),
            Note::Adopted { pid } => write!(f, "is adopted with pid {pid}"),
            Note::Ready => f.write_str("has been spawned"),
            Note::Accepting => f.write_str("is ready to accept requests"),
            Note::Loyal => f.write_str("is now loyal"),
            Note::Listening { address } => {
                write!(
                    f,
                    "listening on {}, started by the first connection",
                    escaped(address.as_bytes())
                )
            }
            Note::Held { why, wait } => {
                write!(f, "not started: {}{}", escaped(why.as_bytes()), Retry(*wait))
            }
            Note::Reloading { by } => Reload(by).fmt(f),
            Note::Replaced { pid: Some(pid) } => write!(f, "is replaced by pid {pid}"),
            Note::Replaced { pid: None } => f.write_str("is replaced"),
            Note::FallBack { pid } => write!(
                f,
                "the new process has ended: pid {pid}, which was told to stop, is not killed before another takes \
                 requests"
            ),
            Note::ReplacementFailed { why } => {
                write!(f, "reload failed, the running process stays: {}", escaped(why.as_bytes()))
            }
            Note::StartFailed { why } => write!(f, "cannot start: {}", escaped(why.as_bytes())),
            Note::Stopping { why } => write!(f, "stopping {why}"),
            Note::StopsSlowly { left } => {
                write!(f, "told to stop, but still running: SIGKILL in {}", Time(*left))
            }
            Note::Killed { why } => write!(f, "SIGKILL: {why}"),
            Note::Stopped { exit, lived, why } => {
                write!(f, "stopped after {} ({}) {why}", Time(*lived), exit)
            }
            Note::Died { exit, lived, loyal: true, .. } => {
                write!(f, "exited after {} ({}); starting again", Time(*lived), exit)
            }
            Note::Died { wait, attempt, failed: true, .. } => NextStart(*wait, *attempt).fmt(f),
            Note::Died { exit, lived, wait, attempt, hint, .. } => {
                let (lived, end) = (Time(*lived), exit);
                let (next, hint) = (NextStart(*wait, *attempt), escaped(hint.as_bytes()));
                write!(f, "exited after {lived} before it was loyal ({end}); {next}{hint}")
            }
            Note::Finished { exit } => {
                write!(f, "exited ({}); not started again before its file changes", exit)
            }
            Note::Silent => f.write_str("no heartbeat in time: told to reload"),
            Note::Gone => f.write_str("is gone"),
        }
    }
}

/// The way in which a vassal takes a new configuration.
struct Reload<'a>(&'a ReloadWay);

impl fmt::Display for Reload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            ReloadWay::Signal(signal) => {
                return write!(f, "is told to reload by {}", signal_name(*signal));
            }
            ReloadWay::Byte => "is told to reload",
            ReloadWay::Replacement => "checking the file before a replacement on the same listeners",
            ReloadWay::ReplacementAfterCheck => {
                "starting a replacement on the same listeners: the file starts something else than what runs"
            }
            ReloadWay::OnNewListeners => "starting a replacement on new listeners",
            ReloadWay::Restart => "checking the new file before a restart",
            ReloadWay::RestartAfterCheck => "restarting: the file starts something else than what runs",
        })
    }
}

/// How a start hook has ended, in words.
pub(super) fn start_hook(end: HookEnd) -> (Level, String) {
    let (level, how) = match end {
        HookEnd::Ended(ExitStatus::Code(0)) => {
            return (Level::Info, "start hook returned 0".to_owned());
        }
        HookEnd::Ended(ended) => (Level::Warning, hook_result(ended)),
        HookEnd::Overdue => (Level::Error, format!("killed after {} s", HOOK_TIMEOUT.as_secs())),
        HookEnd::Refused(errno) => {
            let error = std::io::Error::from_raw_os_error(errno);
            (Level::Error, format!("cannot be run: {error}"))
        }
    };
    (level, format!("start hook {how}; the vassal is started anyway"))
}

/// How a stop hook has ended, in words.
pub(super) fn hook_result(ended: ExitStatus) -> String {
    match ended {
        ExitStatus::Code(status) => format!("returned {status}"),
        ExitStatus::Signal(signal) | ExitStatus::CoreDump(signal) => {
            format!("was killed by {}", signal_name(signal))
        }
    }
}

/// What follows a death: the wait, and how many deaths are not forgiven.
struct NextStart(Duration, u32);

impl fmt::Display for NextStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            0 => f.write_str("starting again"),
            attempt => {
                let wait = Time(self.0);
                write!(f, "blacklisted, next start in {wait} (attempt {attempt})")
            }
        }
    }
}

/// A wait that many share.
pub(super) struct SharedWait(pub WaitNotice);

impl fmt::Display for SharedWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            WaitNotice::ThrottleBegins { waiting, last } => write!(
                f,
                "{} for the throttle (too many starts at once); the last one starts in about {}; \
                 emperor-throttle-burst allows more at once",
                waits(waiting),
                Time(last)
            ),
            WaitNotice::ThrottleEnds => f.write_str("no vassal waits for the throttle any more"),
            WaitNotice::BudgetBegins { waiting, last, at_once } => write!(
                f,
                "{} to start, as at most {at_once} start at one time; the last one starts in {} or \
                 before; emperor-max-starting allows more",
                waits(waiting),
                Time(last)
            ),
            WaitNotice::BudgetEnds => f.write_str("no vassal waits for its turn to start any more"),
            WaitNotice::Ending { left } => write!(f, "ragnarok is over in {}", Time(left)),
        }
    }
}

fn waits(count: usize) -> String {
    let verb = if count == 1 { "waits" } else { "wait" };
    format!("{} {verb}", vassals(count))
}

/// A number of vassals, in words.
pub(super) fn vassals(count: usize) -> String {
    format!("{count} {}", if count == 1 { "vassal" } else { "vassals" })
}

/// The first of so many names, and how many there are more.
pub(super) fn names(names: impl Iterator<Item = String>, count: usize) -> String {
    let shown = names.take(MAX_NAMES).collect::<Vec<_>>().join(", ");
    match count.saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// To the next try, where it is known; each pause of this kind is longer than the one before.
pub(super) struct Retry(pub Option<Duration>);

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(wait) => write!(f, "; next attempt in {}, then less often", Time(wait)),
            None => Ok(()),
        }
    }
}

/// A length of time as people say it, in two units at most.
pub(super) struct Time(pub Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0.as_secs(), self.0.as_millis());
        match seconds {
            0 => write!(f, "{millis} ms"),
            1..10 if !millis.is_multiple_of(1000) => {
                write!(f, "{seconds}.{} s", millis % 1000 / 100)
            }
            1..60 => write!(f, "{seconds} s"),
            60..3600 => write!(f, "{} min {} s", seconds / 60, seconds % 60),
            3600..86_400 => write!(f, "{} h {} min", seconds / 3600, seconds / 60 % 60),
            _ => write!(f, "{} d {} h", seconds / 86_400, seconds / 3600 % 24),
        }
    }
}

/// `SIGTERM`, or the number of a signal that has no name.
pub(super) fn signal_name(number: i32) -> String {
    let named = Signal::new(number).and_then(Signal::name);
    named.map_or_else(|| format!("signal {number}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{Time, without_name};
    use std::time::Duration;

    #[test]
    fn a_vassal_is_named_once_in_a_line() {
        let shown = |text| without_name(text, b"x.ini");
        assert_eq!(shown("x.ini:3 socket: cannot bind /x"), "line 3 socket: cannot bind /x");
        assert_eq!(shown("read: x.ini:7: no such (x.ini:12)"), "read: line 7: no such (line 12)");
        for other in ["max.ini:3: no", "x.ini: no", "/etc/x.ini:3", "none"] {
            assert_eq!(shown(other), other);
        }
    }

    #[test]
    fn lengths_of_time_are_readable() {
        let shown = |millis| Time(Duration::from_millis(millis)).to_string();
        for (millis, text) in [
            (0, "0 ms"),
            (412, "412 ms"),
            (1000, "1 s"),
            (2345, "2.3 s"),
            (30_000, "30 s"),
            (443_613, "7 min 23 s"),
            (7_260_000, "2 h 1 min"),
            (180_000_000, "2 d 2 h"),
        ] {
            assert_eq!(shown(millis), text);
        }
    }
}
