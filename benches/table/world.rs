//! A directory of vassals, a supervisor on it, and what the started programs have written down.

use crate::{Programs, sys};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const RECORD: usize = 40;

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    /// `limit.c`.
    Limit,
    /// liege as the README shows it: a vassal file that names the program.
    Stage,
    /// liege with `binary-path`.
    Direct,
    /// uWSGI's Emperor with the same vassal files.
    UwsgiStage,
    /// uWSGI's Emperor with `binary-path`.
    UwsgiDirect,
}

impl Contender {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Stage => "liege",
            Self::Direct => "liege direct",
            Self::UwsgiStage => "uwsgi",
            Self::UwsgiDirect => "uwsgi direct",
        }
    }

    pub const fn is_uwsgi(self) -> bool {
        matches!(self, Self::UwsgiStage | Self::UwsgiDirect)
    }
}

/// One start or reload, as `started.c` writes it.
pub struct Record {
    pub ns: u64,
    pub pid: i32,
    pub kind: u8,
    pub name: String,
}

pub struct World {
    dir: TempDir,
    text: String,
    record: File,
}

pub struct Running {
    pub world: World,
    pub child: Child,
    /// When it was started.
    pub since: u64,
}

impl World {
    pub fn new(programs: &Programs, contender: Contender) -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("vassals")).unwrap();
        File::create(dir.path().join("record")).unwrap();
        let record = File::open(dir.path().join("record")).unwrap();
        let text = match contender {
            Contender::Stage | Contender::UwsgiStage => {
                format!("[uwsgi]\nunprivileged-binary-patch = {}\n", programs.started.display())
            }
            _ => "[uwsgi]\n".to_owned(),
        };
        Self { dir, text, record }
    }

    pub fn with_vassals(self, count: usize) -> Self {
        for number in 0..count {
            fs::write(self.file(&format!("{number}.ini")), &self.text).unwrap();
        }
        self
    }

    pub fn with_sockets(self, count: usize) -> Self {
        for number in 0..count {
            let address = format!("{}\n", self.socket(number).display());
            fs::write(self.file(&format!("{number}.ini.socket")), address).unwrap();
        }
        self
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("vassals").join(name)
    }

    pub fn socket(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("{number}.sock"))
    }

    /// Brings a new vassal file in; gives the moment before the rename.
    pub fn bring(&self, name: &str) -> u64 {
        let draft = self.dir.path().join("draft");
        fs::write(&draft, &self.text).unwrap();
        let before = sys::now();
        fs::rename(draft, self.file(name)).unwrap();
        before
    }

    pub fn start(self, programs: &Programs, contender: Contender) -> Running {
        let vassals = self.dir.path().join("vassals");
        let mut command = match contender {
            Contender::Limit => {
                let mut limit = Command::new(&programs.limit);
                limit.arg(&vassals).arg(&programs.started);
                limit
            }
            Contender::Stage | Contender::Direct => {
                let mut liege = Command::new(&programs.liege);
                liege.arg("--emperor").arg(&vassals);
                liege.arg("--emperor-stats").arg(self.dir.path().join("stats"));
                liege
            }
            Contender::UwsgiStage | Contender::UwsgiDirect => {
                let mut uwsgi = Command::new(programs.uwsgi.as_ref().unwrap());
                uwsgi.arg("--emperor").arg(&vassals);
                uwsgi.arg("--emperor-stats").arg(self.dir.path().join("stats"));
                uwsgi
            }
        };
        if contender != Contender::Limit {
            command.args(["--emperor-on-demand-extension", ".socket"]);
        }
        if matches!(contender, Contender::Direct | Contender::UwsgiDirect) {
            command.arg("--binary-path").arg(&programs.started);
        }
        command.env_clear().env("PATH", "/usr/bin:/bin");
        command.env("BENCH_RECORD", self.dir.path().join("record"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(self.dir.path().join("log")).unwrap());
        let since = sys::now();
        Running { child: command.spawn().unwrap(), world: self, since }
    }
}

impl Running {
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// How many records there are.
    pub fn count(&self) -> usize {
        self.world.record.metadata().unwrap().len() as usize / RECORD
    }

    /// The records from this number on.
    pub fn records(&self, from: usize) -> Vec<Record> {
        let mut bytes = vec![0; (self.count() - from) * RECORD];
        self.world.record.read_exact_at(&mut bytes, (from * RECORD) as u64).unwrap();
        let number = |bytes: &[u8]| u32::from_ne_bytes(bytes.try_into().unwrap());
        bytes
            .chunks(RECORD)
            .map(|bytes| Record {
                ns: u64::from_ne_bytes(bytes[..8].try_into().unwrap()),
                pid: number(&bytes[8..12]) as i32,
                kind: number(&bytes[12..16]) as u8,
                name: String::from_utf8_lossy(&bytes[16..]).trim_end_matches('\0').to_owned(),
            })
            .collect()
    }

    /// Waits until there are that many records.
    pub fn wait(&self, count: usize) {
        let start = Instant::now();
        while self.count() < count {
            if start.elapsed() > Duration::from_secs(180) {
                let log = fs::read_to_string(self.world.dir.path().join("log")).unwrap_or_default();
                let end: Vec<_> = log.lines().rev().take(5).collect();
                panic!("{} of {count} records; log: {end:#?}", self.count());
            }
            // Coarse where nothing is timed by it; the times are in the records.
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Waits for the next record of a vassal and gives its time.
    pub fn next(&self, from: usize, kind: u8, name: &str) -> u64 {
        let start = Instant::now();
        loop {
            let found =
                self.records(from).into_iter().find(|it| it.kind == kind && it.name == name);
            if let Some(found) = found {
                return found.ns;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "no record of {name}");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// The newest process of each vassal.
    pub fn pids(&self) -> HashMap<String, i32> {
        let starts = self.records(0).into_iter().filter(|it| it.kind == b'S');
        starts.map(|it| (it.name, it.pid)).collect()
    }

    /// The longest turn of liege's loop so far, milliseconds.
    pub fn longest_turn(&self) -> f64 {
        let mut text = String::new();
        if let Ok(mut stats) = UnixStream::connect(self.world.dir.path().join("stats")) {
            let _ = stats.read_to_string(&mut text);
        }
        micros_after(&text, "\"longest_loop_us\":")
    }

    /// The same, as the log says it at the end.
    pub fn longest_turn_logged(&self) -> f64 {
        let log = fs::read_to_string(self.world.dir.path().join("log")).unwrap_or_default();
        micros_after(&log, "the longest turn of the event loop took ")
    }

    /// Ends it and gives the milliseconds.
    pub fn end(&mut self) -> f64 {
        let before = sys::now();
        sys::kill(self.pid(), libc::SIGTERM);
        self.child.wait().unwrap();
        millis(before, sys::now())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.end();
        }
    }
}

/// A number of microseconds in a text as milliseconds; not a number if it is not there.
fn micros_after(text: &str, words: &str) -> f64 {
    let rest = text.split(words).nth(1).unwrap_or_default().trim_start();
    let digits = rest.split(|sign: char| !sign.is_ascii_digit()).next().unwrap_or_default();
    digits.parse::<f64>().map_or(f64::NAN, |micros| micros / 1e3)
}

pub fn millis(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
