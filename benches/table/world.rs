//! A directory of vassals, a supervisor on it, and what the started programs have written down.

use crate::contender::{Contender, Kind, Linking, Programs, Way};
use crate::peers::Peer;
use crate::sys;
use std::collections::HashMap;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const RECORD: usize = 40;
/// The user of vassals that have one: nobody.
const TENANT: u32 = 65534;
/// Longer than the next record lets wait for itself.
const RECORD_TIMEOUT: Duration = Duration::from_secs(30);
/// After that a supervisor that does not end, and its vassals, are killed.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// One start or reload, as `started.c` writes it.
pub struct Record {
    pub ns: u64,
    pub pid: i32,
    pub kind: u8,
    pub name: String,
}

pub struct World<'a> {
    programs: &'a Programs,
    pub contender: &'a Contender,
    linking: Linking,
    /// Of the supervisor's environment, beside what all have.
    pub variable: Option<(&'static str, &'static str)>,
    dir: TempDir,
    record: File,
}

pub struct Running<'a> {
    pub world: World<'a>,
    child: Child,
    /// When it was started.
    pub since: u64,
}

impl<'a> World<'a> {
    pub fn new(programs: &'a Programs, contender: &'a Contender, linking: Linking) -> Self {
        // The same length of all paths on every machine.
        let dir = TempDir::new_in("/tmp").unwrap();
        let open = |path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        open(dir.path().to_owned(), 0o755);
        fs::create_dir(dir.path().join("vassals")).unwrap();
        File::create(dir.path().join("record")).unwrap();
        open(dir.path().join("record"), 0o666);
        let record = File::open(dir.path().join("record")).unwrap();
        Self { programs, contender, linking, variable: None, dir, record }
    }

    pub fn with_vassals(self, count: usize) -> Self {
        for number in 0..count {
            let name = format!("{number}.ini");
            match self.contender.peer() {
                Some(peer) => peer.add(&self.dir.path().join("vassals"), &name, &self.started()),
                None => self.write(self.file(&name)),
            }
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

    pub fn started(&self) -> PathBuf {
        self.programs.started(self.linking)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("vassals").join(name)
    }

    pub fn socket(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("{number}.sock"))
    }

    fn write(&self, file: PathBuf) {
        let mut text = "[uwsgi]\n".to_owned();
        if let Some(Way::Stage | Way::StageAsUser) = self.contender.way() {
            let started = self.started();
            text.push_str(&format!("unprivileged-binary-patch = {}\n", started.display()));
        }
        if self.contender.way() == Some(Way::StageAsUser) {
            text.push_str(&format!("uid = {TENANT}\ngid = {TENANT}\n"));
        }
        fs::write(file, text).unwrap();
    }

    /// Brings a new vassal file in; gives the moment before the rename.
    pub fn bring(&self, name: &str) -> u64 {
        let draft = self.dir.path().join("draft");
        self.write(draft.clone());
        let before = sys::now();
        fs::rename(draft, self.file(name)).unwrap();
        before
    }

    pub fn start(self) -> Running<'a> {
        let mut command = self.command();
        command.env_clear().env("PATH", "/usr/bin:/bin");
        if self.contender.peer().is_some() {
            // They look for their own programs.
            command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        }
        command.env("BENCH_RECORD", self.dir.path().join("record"));
        command.envs(self.variable);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(self.dir.path().join("log")).unwrap());
        // SAFETY: prctl is all that is called between fork and exec.
        unsafe { command.pre_exec(sys::end_with_parent) };
        let since = sys::now();
        Running { child: command.spawn().unwrap(), world: self, since }
    }

    fn command(&self) -> Command {
        let vassals = self.dir.path().join("vassals");
        let started = self.started();
        let (binary, way) = match &self.contender.kind {
            Kind::Limit => {
                let mut limit = Command::new(self.programs.limit());
                limit.arg(vassals).arg(started);
                return limit;
            }
            Kind::Peer { binary, peer } => {
                return peer.command(binary, (self.dir.path(), &vassals), &started);
            }
            Kind::Liege { binary, way } | Kind::Uwsgi { binary, way } => (binary, way),
        };
        let mut command = Command::new(binary);
        command.arg("--emperor").arg(vassals);
        command.arg("--emperor-stats").arg(self.dir.path().join("stats"));
        command.args(["--emperor-on-demand-extension", ".socket"]);
        if *way == Way::Direct {
            command.arg("--binary-path").arg(started);
        }
        command
    }
}

impl Running<'_> {
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

    /// Waits until there are that many records, and gives the time of the last one from `from` on.
    pub fn wait(&self, from: usize, count: usize) -> u64 {
        let (mut seen, mut since) = (from, Instant::now());
        while self.count() < from + count {
            if self.count() > seen {
                (seen, since) = (self.count(), Instant::now());
            }
            let ended = fs::read_link(format!("/proc/{}/exe", self.pid())).is_err();
            if ended || since.elapsed() > RECORD_TIMEOUT {
                let log = fs::read_to_string(self.world.dir.path().join("log")).unwrap_or_default();
                let last: Vec<_> = log.lines().rev().take(5).collect();
                let (name, seen) = (&self.world.contender.name, seen - from);
                panic!("{name}: {seen} of {count} records, ended: {ended}; log: {last:#?}");
            }
            // Coarse where nothing is timed by it; the times are in the records.
            std::thread::sleep(Duration::from_micros(500));
        }
        self.records(from).iter().map(|it| it.ns).max().unwrap()
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
            assert!(start.elapsed() < RECORD_TIMEOUT, "no record of {name}");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// The newest process of each vassal that has one. A number may be somebody else's by now, so what it
    /// executes is looked at.
    pub fn pids(&self) -> HashMap<String, i32> {
        let started = self.world.started();
        let ours = |pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|it| it == started);
        let starts = self.records(0).into_iter().filter(|it| it.kind == b'S');
        let newest: HashMap<_, _> = starts.map(|it| (it.name, it.pid)).collect();
        newest.into_iter().filter(|&(_, pid)| ours(pid)).collect()
    }

    /// The processes of the supervisor: all below it but the vassals.
    pub fn supervisor(&self) -> Vec<i32> {
        sys::tree(self.pid(), &self.world.started())
    }

    /// A number of liege's statistics.
    pub fn statistic(&self, key: &str) -> Option<f64> {
        let mut text = String::new();
        let mut stats = UnixStream::connect(self.world.dir.path().join("stats")).ok()?;
        stats.read_to_string(&mut text).ok()?;
        let rest = text.split(&format!("\"{key}\":")).nth(1)?.trim_start();
        rest.split(|sign: char| !sign.is_ascii_digit()).next()?.parse().ok()
    }

    /// Ends it and all its vassals; gives the milliseconds until nothing is left.
    pub fn end(&mut self) -> f64 {
        let vassals: Vec<_> = self.pids().into_values().filter_map(sys::pidfd).collect();
        let handle = sys::pidfd(self.pid()).unwrap();
        let before = sys::now();
        let signal = self.world.contender.peer().map_or(libc::SIGTERM, Peer::stop_signal);
        sys::kill(self.pid(), signal);
        for process in std::iter::once(&handle).chain(&vassals) {
            if sys::ended(process, END_TIMEOUT).is_none() {
                sys::kill_by(process);
            }
        }
        let after = sys::now();
        self.child.wait().unwrap();
        millis(before, after)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.end();
        }
    }
}

pub fn millis(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}
