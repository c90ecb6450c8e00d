//! A directory in a temporary place, its monitor, and what that has told so far.

#[path = "../../src/sys/test_fork_lock.rs"]
mod test_fork_lock;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use liege::monitor::Options;
use liege::monitor::dir_source::DirSource;
use liege::monitor::{ChangeKind, Changes, Monitor, VassalFile};
use liege::sys::clock;
use liege::sys::dir::Links;
use liege::sys::mounts::Mounts;
use liege::types::moment::Moment;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tempfile::TempDir;
use test_fork_lock::NoForks;

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a program, in a moment without worlds.
pub fn start(command: &mut Command) -> std::io::Result<Child> {
    let _alone = test_fork_lock::exclusive();
    command.spawn()
}

/// The monitor of `vassals` in a temporary directory, unless it is told another one.
pub struct World {
    pub monitor: DirSource,
    pub known: BTreeMap<OsString, VassalFile>,
    pub notices: Vec<String>,
    /// What was there when its directory was first looked at.
    pub were_there: Vec<OsString>,
    told: Vec<String>,
    clock: Moment,
    longest: Duration,
    mounts: Mounts,
    root: Option<TempDir>,
    _quiet: NoForks,
}

/// What this thread has cost so far, whoever else is on the machine; a test may have no descriptor left.
fn processor_time() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

/// The ordinary way to watch a directory.
pub fn options(path: &Path) -> Watched {
    let options = Options {
        shown: path.display().to_string(),
        extensions: Vec::new(),
        on_demand_extension: Some(".socket".into()),
        links: Links::Follow,
        freq: Duration::ZERO,
        grace: Duration::ZERO,
    };
    Watched { path: path.to_owned(), options }
}

/// A directory and how it is watched.
pub struct Watched {
    pub path: PathBuf,
    options: Options,
}

impl Deref for Watched {
    type Target = Options;

    fn deref(&self) -> &Options {
        &self.options
    }
}

impl DerefMut for Watched {
    fn deref_mut(&mut self) -> &mut Options {
        &mut self.options
    }
}

impl World {
    /// An empty directory, watched.
    pub fn new() -> Self {
        Self::with(|_| {}, |_| {})
    }

    /// A directory that is prepared before it is watched, in some other way than the ordinary one.
    pub fn with(prepare: impl FnOnce(&Path), adjust: impl FnOnce(&mut Watched)) -> Self {
        crate::brief::cut_panics();
        let _quiet = test_fork_lock::none();
        let root = TempDir::new().unwrap();
        let vassals = root.path().join("vassals");
        fs::create_dir(&vassals).unwrap();
        prepare(&vassals);
        let mut options = options(&vassals);
        adjust(&mut options);
        let mut world = Self::of(options);
        world.root = Some(root);
        world.rescan();
        world.longest = Duration::ZERO;
        world
    }

    /// Any directory; nothing has been looked at.
    pub fn of(watched: Watched) -> Self {
        Self {
            monitor: DirSource::new(&watched.path, watched.options).unwrap(),
            known: BTreeMap::new(),
            notices: Vec::new(),
            were_there: Vec::new(),
            told: Vec::new(),
            clock: clock::now(),
            longest: Duration::ZERO,
            mounts: Mounts::open().unwrap(),
            root: None,
            _quiet: test_fork_lock::none(),
        }
    }

    /// A path beside the watched directory.
    pub fn beside(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.as_ref().unwrap().path().join(name)
    }

    /// A path in the watched directory.
    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.beside("vassals").join(name)
    }

    /// Writes a file, in place.
    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.at(name), content).unwrap();
    }

    /// Puts a complete file in place by rename.
    pub fn put(&self, name: &str, content: &str) {
        fs::write(self.beside("new"), content).unwrap();
        fs::rename(self.beside("new"), self.at(name)).unwrap();
    }

    /// Makes a link in the watched directory.
    pub fn link(&self, to: impl AsRef<Path>, name: &str) {
        symlink(to, self.at(name)).unwrap();
    }

    /// The time of this world. It stands still unless it is moved, so that a test that has to wait for a
    /// processor is not late.
    pub fn now(&self) -> Moment {
        self.clock
    }

    /// Moves the clock.
    pub fn pass(&mut self, time: Duration) {
        self.clock += time;
    }

    pub fn rescan(&mut self) {
        self.call(DirSource::rescan);
    }

    pub fn read(&mut self) {
        self.call(DirSource::read);
    }

    pub fn expire(&mut self) {
        self.call(DirSource::expire);
    }

    fn call(&mut self, what: fn(&mut DirSource, Moment, &mut Changes)) {
        let (mut out, now) = (Changes::default(), self.now());
        let before = processor_time();
        what(&mut self.monitor, now, &mut out);
        if let (Some(before), Some(after)) = (before, processor_time()) {
            self.longest = self.longest.max(after - before);
        }
        self.take_in(out);
    }

    /// The processor time of the longest call after the first look.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// Whether the descriptor is readable within a time.
    pub fn is_readable(&self, within: Duration) -> bool {
        let mut set = [PollFd::new(self.monitor.descriptor(), PollFlags::POLLIN)];
        let millis = within.as_micros().div_ceil(1000) as u16;
        poll(&mut set, PollTimeout::from(millis)).unwrap() > 0
    }

    /// Whether something wakes the monitor within a time. What others mount or unmount meanwhile, anywhere on
    /// the machine, is taken in and does not count.
    pub fn is_woken(&mut self, within: Duration) -> bool {
        while self.is_readable(within) {
            if !self.mounts.changed() {
                return true;
            }
            self.read();
        }
        false
    }

    /// Goes on until nothing is left to do, moving the clock to what is due.
    pub fn settle(&mut self) {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.is_readable(Duration::ZERO) {
                self.read();
            } else if let Some(due) = self.monitor.deadline() {
                self.clock = due.max(self.clock);
                self.expire();
            } else {
                return;
            }
        }
        panic!("never quiet: {:?} {:?}", self.told, self.notices);
    }

    /// Goes on in real time until a condition holds.
    pub fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        let began = self.clock;
        while !holds(self) {
            self.clock = self.clock.max(began + start.elapsed());
            assert!(
                start.elapsed() < PATIENCE,
                "waited for: {what}; {:?} {:?}",
                self.told,
                self.notices
            );
            let due = self.monitor.deadline().map(|due| due.saturating_duration_since(self.now()));
            if self.is_readable(due.unwrap_or(PATIENCE).min(Duration::from_millis(200))) {
                self.read();
            }
            if self.monitor.deadline().is_some_and(|due| due <= self.now()) {
                self.expire();
            }
        }
    }

    /// What has been told since this was asked last.
    pub fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// What is told until all is quiet.
    pub fn tells(&mut self) -> Vec<String> {
        self.settle();
        self.told()
    }

    /// The names that are known now.
    pub fn names(&self) -> Vec<&OsStr> {
        self.known.keys().map(OsString::as_os_str).collect()
    }

    /// How many lines of the log contain a text.
    pub fn notices_with(&self, text: &str) -> usize {
        self.notices.iter().filter(|notice| notice.contains(text)).count()
    }

    fn take_in(&mut self, out: Changes) {
        for notice in out.notices {
            let name = notice.name.map(|name| format!("[{}] ", name.display())).unwrap_or_default();
            self.notices.push(format!("{name}{}", notice.text));
        }
        for change in out.changes {
            let name = change.name;
            if change.is_initial {
                self.were_there.push(name.clone());
            }
            let old = self.known.get(&name).cloned();
            let (word, new) = match change.kind {
                ChangeKind::Found(file) => {
                    assert_eq!(old, None, "{name:?} found twice");
                    ("found", Some(file))
                }
                ChangeKind::Changed(file) => {
                    let old = old.unwrap();
                    let (old, new) =
                        ((old.version, old.on_demand), (file.version, &file.on_demand));
                    assert_ne!((old.0, &old.1), new, "{name:?} changed, but is the same");
                    ("changed", Some(file))
                }
                ChangeKind::OwnerChanged(file) => {
                    let old = old.unwrap();
                    assert_eq!(old.version, file.version);
                    assert_ne!((old.uid, old.gid), (file.uid, file.gid));
                    ("chowned", Some(file))
                }
                ChangeKind::Lost => {
                    assert!(old.is_some(), "{name:?} lost, but never found");
                    ("lost", None)
                }
            };
            self.told.push(format!("{word} {}", name.display()));
            match new {
                Some(file) => drop(self.known.insert(name, file)),
                None => drop(self.known.remove(&name)),
            }
        }
    }
}
