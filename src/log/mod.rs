//! The log: it never blocks. A line that does not fit at once is dropped and counted, and the count is written as
//! soon as a line fits again.
//!
//! A line is `2026-11-21T18:03:00.123Z notice [blog.ini] …`, or, when the journal of systemd reads it,
//! `<5>[blog.ini] …` (sd-daemon(3)). A line that is equal to the one before is only counted; the count is written
//! when another line comes, when the same line comes again after [`REPEAT_WINDOW`], or at [`Log::flush`]. There
//! is no timer, so an idle emperor stays asleep.
//!
//! SIGPIPE must be ignored, as Rust's runtime does before `main`; sockets do not raise it here.

mod line;
mod output;
pub mod panics;

use std::ffi::OsStr;
use std::fmt::{self, Display};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use line::{LineBuffer, MAX_LOG_LINE, Timestamp};
use output::LogOutput;

pub use crate::types::log_level::Level;
pub use line::{escaped, is_deceptive};

/// The count of a line that keeps coming is written at least this often.
pub const REPEAT_WINDOW: Duration = Duration::from_secs(10);

/// Room for the lines that the log writes about itself.
const MAX_NOTE: usize = 256;

/// The log of one process. It owns its descriptor, and buffers that never grow.
pub struct Log {
    target: Target,
    path: Option<PathBuf>,
    threshold: Level,
    current: LineBuffer,
    last: LineBuffer,
    /// How `last` was written; `None` if it was not.
    last_line: Option<LastLine>,
}

/// The line that was written last.
struct LastLine {
    level: Level,
    /// When it, or the count of its repeats, was written.
    written: Duration,
    /// How often the same came since then.
    repeats: u64,
    /// When the same came last.
    repeated: Duration,
}

impl Log {
    /// Writes to a shared descriptor, usually standard error, which stays as it is for all others
    /// that hold it. `journal_stream` is the value of `$JOURNAL_STREAM`. If the descriptor is closed,
    /// all lines are lost, and nothing else happens.
    pub fn shared(fd: BorrowedFd<'_>, journal_stream: Option<&OsStr>) -> Self {
        let output = LogOutput::shared(fd).ok();
        let is_journal = output
            .as_ref()
            .zip(journal_stream)
            .is_some_and(|(output, stream)| output.is_journal(stream));
        Self::new(output, is_journal, None)
    }

    /// Appends to a file, which is created with mode 0640 less the umask.
    ///
    /// # Errors
    /// Those of open(2); `ENXIO` for a named pipe that nobody reads.
    pub fn file(path: &Path) -> io::Result<Self> {
        Ok(Self::new(Some(LogOutput::append(path)?), false, Some(path.to_owned())))
    }

    fn new(output: Option<LogOutput>, is_journal: bool, path: Option<PathBuf>) -> Self {
        let note = LineBuffer::with_room(MAX_NOTE);
        Self {
            target: Target { stream: Stream::new(output), is_journal, losses: None, lost: 0, note },
            path,
            threshold: Level::Info,
            current: LineBuffer::with_room(MAX_LOG_LINE),
            last: LineBuffer::with_room(MAX_LOG_LINE),
            last_line: None,
        }
    }

    /// Writes lines up to this level; [`Level::Info`] unless it was called.
    pub fn set_threshold(&mut self, threshold: Level) {
        self.threshold = threshold;
    }

    /// Opens the log file anew after it was renamed. If that fails, the old one stays in use and gets
    /// a line about it. Standard error has no name to open.
    pub fn reopen(&mut self) {
        self.flush();
        let Some(path) = &self.path else { return };
        match LogOutput::append(path) {
            Ok(output) => self.target.stream = Stream::new(Some(output)),
            Err(error) => {
                let path = path.clone();
                self.error(format_args!(
                    "cannot open the log {}: {error}; the old one stays in use",
                    escaped(path.as_os_str().as_encoded_bytes())
                ));
            }
        }
    }

    /// The log file, if there is one and it is a file on disk: what vassals get as their standard
    /// output and error. Otherwise they inherit ours.
    pub fn vassal_output(&self) -> Option<BorrowedFd<'_>> {
        self.path.as_ref()?;
        self.target.stream.output.as_ref()?.on_disk()
    }

    /// How many lines have been lost since the start.
    pub fn lost(&self) -> u64 {
        self.target.lost
    }

    /// Writes a pending count of repeats or losses, as far as it fits.
    pub fn flush(&mut self) {
        let now = since_1970();
        self.log_repeats(now);
        self.last_line = None;
        let _still_full = self.target.log_losses(now);
    }

    /// An error: something was refused or lost.
    pub fn error(&mut self, text: fmt::Arguments<'_>) {
        self.line(Level::Error, text);
    }

    /// A warning: something works less well than it was meant to.
    pub fn warning(&mut self, text: fmt::Arguments<'_>) {
        self.line(Level::Warning, text);
    }

    /// A transition; the ordinary line.
    pub fn notice(&mut self, text: fmt::Arguments<'_>) {
        self.line(Level::Notice, text);
    }

    /// Something for developers.
    pub fn debug(&mut self, text: fmt::Arguments<'_>) {
        self.line(Level::Debug, text);
    }

    /// Writes one line, or counts it: as a repeat, or as lost.
    pub fn line(&mut self, level: Level, text: fmt::Arguments<'_>) {
        self.line_at(since_1970(), level, text);
    }

    fn line_at(&mut self, now: Duration, level: Level, text: fmt::Arguments<'_>) {
        if level > self.threshold {
            return;
        }
        Target::start(&mut self.current, self.target.is_journal, now, level);
        self.current.finish(text);
        if let Some(last) = &mut self.last_line
            && last.level == level
            && self.last.text() == self.current.text()
        {
            last.repeats += 1;
            last.repeated = now;
            // A clock that was set back counts as a window that has passed.
            if now.checked_sub(last.written).is_none_or(|passed| passed >= REPEAT_WINDOW) {
                self.log_repeats(now);
            }
            return;
        }
        self.log_repeats(now);
        let is_written = self.target.put(now, &self.current);
        // A lost line must not be called "the last line" later.
        self.last_line =
            is_written.then_some(LastLine { level, written: now, repeats: 0, repeated: now });
        std::mem::swap(&mut self.last, &mut self.current);
    }

    fn log_repeats(&mut self, now: Duration) {
        let Some(last) = &mut self.last_line else { return };
        let (level, repeats) = (last.level, std::mem::take(&mut last.repeats));
        let repeated = last.repeated;
        last.written = now;
        let text = str::from_utf8(self.last.text()).unwrap_or_default().trim_end();
        // The vassal it is about, if it begins with one.
        let name = text.split_once("] ").map_or("", |(name, _)| name);
        let (name, end) = if name.starts_with('[') { (name, "] ") } else { ("", "") };
        match repeats {
            0 => {}
            1 if text.len() < MAX_NOTE / 2 => {
                self.target.put_note(repeated, level, format_args!("{text}"));
            }
            _ => {
                let text = format_args!("{name}{end}last message repeated {repeats} times");
                self.target.put_note(repeated, level, text);
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Where lines go, and what was lost on the way.
struct Target {
    stream: Stream,
    is_journal: bool,
    losses: Option<LostLines>,
    lost: u64,
    note: LineBuffer,
}

/// Lines lost since the last one that was written.
struct LostLines {
    lines: u64,
    /// Of the first of them.
    reason: io::Error,
}

impl Target {
    fn start(line: &mut LineBuffer, is_journal: bool, now: Duration, level: Level) {
        if is_journal {
            line.start(format_args!("<{}>", level as u8));
        } else {
            line.start(format_args!("{} {level} ", Timestamp(now)));
        }
    }

    /// Writes a line, after the count of earlier losses; true if it was written whole.
    fn put(&mut self, now: Duration, line: &LineBuffer) -> bool {
        let result = self.log_losses(now).and_then(|()| self.stream.write(line));
        self.count(result)
    }

    /// Writes a line of the log about itself.
    fn put_note(&mut self, now: Duration, level: Level, text: fmt::Arguments<'_>) {
        let result = self.log_losses(now).and_then(|()| {
            Self::start(&mut self.note, self.is_journal, now, level);
            self.note.finish(text);
            self.stream.write(&self.note)
        });
        self.count(result);
    }

    fn log_losses(&mut self, now: Duration) -> io::Result<()> {
        let Some(LostLines { lines, reason }) = &self.losses else { return Ok(()) };
        let were = if *lines == 1 { "line was" } else { "lines were" };
        let slow = reason.kind() == io::ErrorKind::WouldBlock;
        let reason: &dyn Display = if slow { &"the reader is too slow" } else { reason };
        Self::start(&mut self.note, self.is_journal, now, Level::Warning);
        self.note.finish(format_args!("{lines} {were} lost here: {reason}"));
        self.stream.write(&self.note)?;
        self.losses = None;
        Ok(())
    }

    fn count(&mut self, result: io::Result<()>) -> bool {
        let Err(reason) = result else { return true };
        self.lost += 1;
        self.losses.get_or_insert(LostLines { lines: 0, reason }).lines += 1;
        false
    }
}

/// The open file, pipe, terminal or socket.
struct Stream {
    output: Option<LogOutput>,
    /// The reader was given the beginning of a line without its end.
    is_torn: bool,
}

impl Stream {
    const fn new(output: Option<LogOutput>) -> Self {
        Self { output, is_torn: false }
    }

    /// Writes the line whole, in one call as a rule.
    fn write(&mut self, line: &LineBuffer) -> io::Result<()> {
        let bytes = if self.is_torn { line.after_a_torn_one() } else { line.whole() };
        let Some(output) = &mut self.output else { return Err(io::ErrorKind::NotConnected.into()) };
        let mut written = output.write(bytes)?;
        let mut reason = io::ErrorKind::WouldBlock.into();
        if let Some(rest @ [_, ..]) = bytes.get(written..) {
            // Only the rest can tell why it was not all: a slow reader, or a disk that is full.
            match output.write(rest) {
                Ok(more) => written += more,
                Err(error) => reason = error,
            }
        }
        let is_whole = written == bytes.len();
        self.is_torn = !is_whole && (self.is_torn || written > 0);
        if is_whole { Ok(()) } else { Err(reason) }
    }
}

/// The wall clock, which only lines of the log need.
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::output::{LogOutput, Way};
    use super::{Level, Log, REPEAT_WINDOW};
    use crate::sys::write::terminal;
    use std::fs::{self, File, OpenOptions};
    use std::io::{self, BufRead, BufReader, Read, Write};
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::UnixStream;
    use std::process::Command;
    use std::time::Duration;

    const WAYS: [Way; 3] = [Way::Plain, Way::AtOnce, Way::Polled];

    /// A log on a pipe or terminal, made to use one of the ways.
    fn log_by(way: Way, fd: BorrowedFd<'_>) -> Log {
        let mut output = LogOutput::shared(fd).unwrap();
        assert_eq!(output.way, Way::Plain, "the stream could not be opened again");
        if way != Way::Plain {
            let file = File::from(fd.try_clone_to_owned().unwrap());
            output = LogOutput { file, way, is_on_disk: false };
        }
        Log::new(Some(output), false, None)
    }

    fn say(log: &mut Log, text: &str) {
        log.notice(format_args!("{text}"));
    }

    /// Writes numbered lines until one is lost; gives how many were written.
    fn fill(log: &mut Log, width: usize) -> u64 {
        let lost = log.lost();
        (0_u64..1_000_000)
            .find(|number| {
                say(log, &format!("{number:0width$}"));
                log.lost() > lost
            })
            .unwrap()
    }

    /// What is in the pipe, without time stamps and levels.
    fn texts(reader: &mut impl Read) -> Vec<String> {
        let lines = BufReader::new(reader).lines();
        lines
            .map(|line| line.unwrap().splitn(3, ' ').nth(2).unwrap_or_default().to_owned())
            .collect()
    }

    /// The flags of the open file description, as the kernel shows them.
    fn flags(fd: BorrowedFd<'_>) -> String {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
        info.lines().find(|line| line.starts_with("flags:")).unwrap().to_owned()
    }

    #[test]
    fn a_full_pipe_does_not_block_and_the_loss_is_told() {
        let _quiet = crate::sys::test_fork_lock::none();
        for way in WAYS {
            let (mut reader, writer) = io::pipe().unwrap();
            let before = flags(writer.as_fd());
            let mut log = log_by(way, writer.as_fd());
            // A line shorter than the note about losses: where it does not fit, the note does not.
            let written = fill(&mut log, 20);
            say(&mut log, "lost as well");
            assert_eq!(log.lost(), 2);
            assert_eq!(flags(writer.as_fd()), before, "others share this description");

            // Half of the pipe becomes free: the loss is told, and the next line follows.
            reader.read_exact(&mut vec![0; 40_000]).unwrap();
            say(&mut log, "there is space again");
            drop((log, writer));
            let got = texts(&mut reader);
            let [.., loss, line] = &got[..] else { panic!("{written} written, {got:?}") };
            assert_eq!(loss, "2 lines were lost here: the reader is too slow");
            assert_eq!(line, "there is space again");
        }
    }

    #[test]
    fn a_line_that_fits_only_in_part_does_not_spoil_the_next() {
        let _quiet = crate::sys::test_fork_lock::none();
        for way in WAYS {
            let (mut reader, writer) = io::pipe().unwrap();
            let mut log = log_by(way, writer.as_fd());
            // Above PIPE_BUF (4096) a pipe takes parts.
            let written = fill(&mut log, 5000);
            assert_eq!(log.lost(), 1);
            reader.read_exact(&mut vec![0; 20_000]).unwrap();
            say(&mut log, "whole");
            drop((log, writer));
            let mut rest = String::new();
            reader.read_to_string(&mut rest).unwrap();
            let lines: Vec<&str> = rest.lines().collect();
            let [.., loss, whole] = &lines[..] else { panic!("{} written", written) };
            assert!(loss.contains(" warning 1 line was lost here: "), "{loss}");
            assert!(whole.ends_with("Z notice whole"), "{whole}");
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_survived() {
        let _quiet = crate::sys::test_fork_lock::none();
        for way in WAYS {
            let (reader, writer) = io::pipe().unwrap();
            let mut log = log_by(way, writer.as_fd());
            drop(reader);
            say(&mut log, "one");
            say(&mut log, "two");
            assert_eq!(log.lost(), 2);
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut log = Log::shared(ours.as_fd(), None);
        drop(theirs);
        say(&mut log, "one");
        assert_eq!(log.lost(), 1);
    }

    #[test]
    fn a_terminal_that_nobody_reads_does_not_block() {
        for way in WAYS {
            let (outer, inner) = terminal();
            let before = flags(inner.as_fd());
            let mut log = log_by(way, inner.as_fd());
            say(&mut log, "hello");
            let mut got = String::new();
            BufReader::new(&outer).read_line(&mut got).unwrap();
            assert!(got.ends_with(" notice hello\r\n"), "{way:?}: {got}");
            fill(&mut log, 77);
            assert_eq!(flags(inner.as_fd()), before);
        }
    }

    #[test]
    fn a_full_device_is_survived() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut log = Log::shared(full.as_fd(), None);
        say(&mut log, "one");
        say(&mut log, "one");
        assert_eq!(log.lost(), 2, "a lost line is not called a repeat");
    }

    #[test]
    fn a_socket_is_never_waited_for() {
        let _quiet = crate::sys::test_fork_lock::none();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut log = Log::shared(ours.as_fd(), None);
        fill(&mut log, 100);
        let mut part = vec![0; 100_000];
        let length = theirs.read(&mut part).unwrap();
        assert!(part[..length].starts_with(b"20"));
        // The buffer is freed packet by packet; read all that is there.
        theirs.set_nonblocking(true).unwrap();
        while theirs.read(&mut part).is_ok() {}
        theirs.set_nonblocking(false).unwrap();
        say(&mut log, "there is space again");
        drop((log, ours));
        let got = texts(&mut theirs);
        assert!(got[0].starts_with("1 line was lost here: "), "{got:?}");
        assert_eq!(got[1..], ["there is space again"]);
    }

    #[test]
    fn a_closed_standard_error_is_survived() {
        const ROLE: &str = "LIEGE_TEST_CLOSED_STDERR";
        if std::env::var_os(ROLE).is_some() {
            let mut log = Log::shared(io::stderr().as_fd(), None);
            say(&mut log, "into the void");
            return;
        }
        let name = "log::tests::a_closed_standard_error_is_survived";
        let status = Command::new("/bin/sh")
            .args(["-c", "exec \"$0\" --exact \"$1\" >/dev/null 2>&-"])
            .arg(std::env::current_exe().unwrap())
            .arg(name)
            .env(ROLE, "1")
            .status()
            .unwrap();
        assert!(status.success());

        let mut nowhere = Log::new(None, false, None);
        say(&mut nowhere, "into the void");
        assert_eq!(nowhere.lost(), 1);
    }

    #[test]
    fn a_file_is_appended_to_and_opened_anew_after_a_rename() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("liege.log"), dir.path().join("liege.log.1"));
        fs::write(&path, "earlier\n").unwrap();
        let mut log = Log::file(&path).unwrap();
        say(&mut log, "one");
        fs::rename(&path, &old).unwrap();
        say(&mut log, "two");
        log.reopen();
        say(&mut log, "two");
        let text = |path| fs::read_to_string(path).unwrap();
        assert!(text(&old).starts_with("earlier\n20"));
        assert!(text(&old).ends_with(" notice two\n"), "{}", text(&old));
        assert_eq!(text(&path).lines().count(), 1, "no repeat of a line in another file");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
        assert!(log.vassal_output().is_some());
    }

    #[test]
    fn a_file_that_cannot_be_opened_anew_stays_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("log"), dir.path().join("old"));
        let mut log = Log::file(&path).unwrap();
        fs::rename(&path, &old).unwrap();
        fs::create_dir(&path).unwrap();
        log.reopen();
        say(&mut log, "still here");
        let text = fs::read_to_string(&old).unwrap();
        assert!(text.contains(" error cannot open the log "), "{text}");
        assert!(text.ends_with("the old one stays in use\n") || text.ends_with("still here\n"));
        assert!(Log::file(dir.path()).is_err());
    }

    #[test]
    fn a_redirected_standard_error_shares_its_position_with_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut shared = File::create(&path).unwrap();
        let mut log = Log::shared(shared.as_fd(), None);
        say(&mut log, "one");
        shared.write_all(b"vassal\n").unwrap();
        say(&mut log, "two");
        let text = fs::read_to_string(&path).unwrap();
        let ends: Vec<_> = text.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert_eq!(ends, ["one", "vassal", "two"]);
        assert!(log.vassal_output().is_none(), "vassals inherit it as it is");
    }

    #[test]
    fn repeats_are_counted_and_told_when_another_line_comes() {
        let _quiet = crate::sys::test_fork_lock::none();
        let (mut reader, writer) = io::pipe().unwrap();
        let mut log = log_by(Way::Plain, writer.as_fd());
        let at = |seconds: u64| Duration::from_secs(1_000_000 + seconds);
        for _ in 0..3 {
            log.line_at(at(0), Level::Notice, format_args!("a"));
        }
        log.line_at(at(1), Level::Error, format_args!("a"));
        log.line_at(at(1), Level::Error, format_args!("a"));
        log.flush();
        log.line_at(at(2), Level::Error, format_args!("a"));
        drop((log, writer));
        assert_eq!(texts(&mut reader), ["a", "last message repeated 2 times", "a", "a", "a"]);
    }

    #[test]
    fn a_count_names_the_vassal_and_has_the_time_of_the_last_repeat() {
        let _quiet = crate::sys::test_fork_lock::none();
        let (mut reader, writer) = io::pipe().unwrap();
        let mut log = log_by(Way::Plain, writer.as_fd());
        let at = |seconds: u64| Duration::from_secs(seconds);
        for second in [0, 1, 2] {
            log.line_at(at(second), Level::Notice, format_args!("[x.ini] is held: [a] b"));
        }
        for second in [7, 8, 9] {
            log.line_at(at(second), Level::Notice, format_args!("b"));
        }
        drop((log, writer));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let second = text.lines().nth(1).unwrap();
        assert_eq!(second, "1970-01-01T00:00:02.000Z notice [x.ini] last message repeated 2 times");
    }

    #[test]
    fn a_line_that_keeps_coming_is_told_again_and_again_but_seldom() {
        let _quiet = crate::sys::test_fork_lock::none();
        let (mut reader, writer) = io::pipe().unwrap();
        let mut log = log_by(Way::Plain, writer.as_fd());
        for tenth in 0..250 {
            let now = Duration::from_millis(5_000_000 + tenth * 100);
            log.line_at(now, Level::Notice, format_args!("busy"));
        }
        log.line_at(Duration::from_secs(3), Level::Notice, format_args!("busy"));
        drop((log, writer));
        let window = REPEAT_WINDOW.as_secs() * 10;
        let full = format!("last message repeated {window} times");
        assert_eq!(texts(&mut reader), ["busy", &full, &full, "last message repeated 50 times"]);
    }

    #[test]
    fn under_systemd_a_line_carries_its_level_and_no_time() {
        let _quiet = crate::sys::test_fork_lock::none();
        let (mut reader, writer) = io::pipe().unwrap();
        let metadata = File::from(OwnedFd::from(writer.try_clone().unwrap())).metadata().unwrap();
        let ours = format!("{}:{}", metadata.dev(), metadata.ino());
        let other = format!("{}:{}", metadata.dev(), metadata.ino() + 1);
        let mut log = Log::shared(writer.as_fd(), Some(ours.as_ref()));
        log.error(format_args!("[{}] failed", super::escaped(b"a\n<0>.ini")));
        log.debug(format_args!("not asked for"));
        log.set_threshold(Level::Debug);
        log.debug(format_args!("asked for"));
        for stream in [other.as_str(), "", ":", "8:x", "\u{663}:1"] {
            Log::shared(writer.as_fd(), Some(stream.as_ref())).notice(format_args!("dated"));
        }
        drop((log, writer));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let (journal, dated) = text.split_at(text.find("20").unwrap());
        assert_eq!(journal, "<3>[a\\x0a<0>.ini] failed\n<7>asked for\n");
        assert!(dated.lines().all(|line| line.ends_with("Z notice dated")), "{dated}");
    }
}
