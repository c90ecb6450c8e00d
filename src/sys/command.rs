//! A command that is run for its output, which must come soon and be short.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::pidfd;
use super::poll::{Interest, PollSet};
use super::process::{self, Pid};
use super::signal::Signal;

/// Runs a command, as the leader of a group of its own, and gives what it prints. A command that takes
/// too long or prints too much is killed with its group.
///
/// # Errors
/// `TimedOut` if it has not ended after `patience`; `FileTooLarge` if it prints more than `most` bytes;
/// what fork(2), exec(3), pidfd_open(2) and read(2) give.
pub fn output(
    command: &mut Command,
    most: usize,
    patience: Duration,
) -> io::Result<(Vec<u8>, ExitStatus)> {
    let end_at = Instant::now() + patience;
    let mut child = command.process_group(0).stdout(Stdio::piped()).spawn()?;
    let text = printed(&mut child, most, end_at);
    if text.is_err() {
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::new) {
            let _ = process::kill_group(pid, Signal::KILL);
        }
        let _ = child.kill();
    }
    let status = child.wait()?;
    Ok((text?, status))
}

/// Reads to the end of the output, and waits for the end of the process.
fn printed(child: &mut Child, most: usize, end_at: Instant) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut part = [0; 4096];
    if let Some(mut out) = child.stdout.take() {
        loop {
            await_readable(&out, end_at)?;
            let count = super::retry(|| out.read(&mut part))?;
            if count == 0 {
                break;
            }
            text.extend_from_slice(part.get(..count).unwrap_or_default());
            if text.len() > most {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
    }
    let pid = i32::try_from(child.id()).ok().and_then(Pid::new);
    // It is not reaped yet, so that the number is still its own.
    await_readable(&pidfd::open(pid.ok_or(io::ErrorKind::InvalidInput)?)?, end_at)?;
    Ok(text)
}

fn await_readable(descriptor: &impl AsFd, end_at: Instant) -> io::Result<()> {
    let mut set = PollSet::default();
    set.push(descriptor.as_fd(), Interest::Read);
    loop {
        let left = end_at.saturating_duration_since(Instant::now());
        set.wait(Some(left))?;
        if set.ready().next().is_some() {
            return Ok(());
        }
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str, patience: Duration) -> io::Result<(Vec<u8>, ExitStatus)> {
        output(Command::new("/bin/sh").args(["-c", text]), 10_000, patience)
    }

    #[test]
    fn the_output_and_the_status_of_a_command_are_told() {
        let (text, status) = shell("echo a; exit 3", Duration::from_secs(30)).unwrap();
        assert_eq!((text.as_slice(), status.code()), (&b"a\n"[..], Some(3)));
    }

    #[test]
    fn a_command_that_takes_too_long_is_killed_with_all_that_it_has_started() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("pids");
        for last in ["sleep 1000", "exec >&-; sleep 1000", "true"] {
            let text = format!("sleep 1000 & echo $$ $! > {}; {last}", note.display());
            let began = Instant::now();
            let error = shell(&text, Duration::from_millis(500)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{last}");
            assert!(began.elapsed() < Duration::from_secs(30), "{last}");
            // The shell is reaped, the other is init's: gone, or about to be.
            let pids = std::fs::read_to_string(&note).unwrap();
            let other = pids.split_whitespace().nth(1).unwrap();
            let state = || std::fs::read_to_string(format!("/proc/{other}/stat"));
            while state().is_ok_and(|stat| !stat.contains(") Z ")) {
                assert!(began.elapsed() < Duration::from_secs(30), "{last} leaves {other}");
            }
        }
    }

    #[test]
    fn a_command_that_prints_too_much_is_killed() {
        let error = shell("yes", Duration::from_secs(30)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
