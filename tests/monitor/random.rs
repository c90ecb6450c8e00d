//! Anything in any order: when all is quiet, what is known is what is there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use liege::monitor::{FileVersion, OnDemandAddress};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::files::make_fifo;
use crate::world::{World, options};

/// A small generator (xorshift): the same seed, the same run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

// All are one folder deep, so that no link leads out of the world.
const NAMES: [&str; 9] = [
    "vassals/a.ini",
    "vassals/b.ini",
    "vassals/c.ini",
    "vassals/a.ini.socket",
    "vassals/x.skel",
    "out/one",
    "out/deep/two",
    "two/one",
    "store/three",
];
const TARGETS: [&str; 9] = [
    "a.ini",
    "x.skel",
    "../out/one",
    "../out/deep/two",
    "../two/one",
    "one",
    "deep/two",
    "/proc/nowhere",
    "../store/three",
];

/// Does one thing, which may fail: then it does nothing.
fn act(world: &World, random: &mut Random, open: &mut Vec<File>) -> String {
    let what = random.below(17);
    let (name, other) = (random.one(&NAMES), random.one(&NAMES));
    let (path, to) = (world.beside(name), world.beside(other));
    let done = match what {
        0 | 1 => {
            let content = vec![b'x'; random.below(5)];
            writer().truncate(true).open(&path).and_then(|mut file| file.write_all(&content))
        }
        2 => fs::write(world.beside("new"), "new")
            .and_then(|()| fs::rename(world.beside("new"), &path)),
        3 => fs::rename(&path, &to),
        // What is done through a name that a known file gets elsewhere later is not told.
        4 if name.ends_with(".ini") || name.ends_with(".socket") => Ok(()),
        4 => fs::hard_link(&path, &to),
        5 | 6 => symlink(random.one(&TARGETS), &path),
        7 => symlink(random.one(&TARGETS), world.beside("link"))
            .and_then(|()| fs::rename(world.beside("link"), &path)),
        8 => writer().create(false).open(&path).and_then(|file| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(random.below(1000) as u64);
            file.set_modified(time)
        }),
        9 | 10 => fs::remove_file(&path),
        11 => fs::set_permissions(&path, Permissions::from_mode(0o600 + random.below(8) as u32)),
        12 => renameat2(AT_FDCWD, &path, AT_FDCWD, &to, RenameFlags::RENAME_EXCHANGE)
            .map_err(Into::into),
        13 => {
            let (one, other) =
                (random.one(&["out", "two", "out/deep"]), random.one(&["out", "two", "gone"]));
            fs::rename(world.beside(one), world.beside(other))
        }
        14 => fs::create_dir_all(world.beside(random.one(&["out/deep", "two", "vassals/c.ini"]))),
        15 => {
            if !path.exists() {
                make_fifo_in(&path);
            }
            Ok(())
        }
        _ => writer().open(&path).and_then(|mut file| {
            file.write_all(b"slow")?;
            open.push(file);
            Ok(())
        }),
    };
    format!(
        "{what} {name} {other}: {}",
        done.err().map_or("done".to_owned(), |error| error.to_string())
    )
}

/// Opens for writing without waiting for the reader of a FIFO.
fn writer() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).custom_flags(nix::libc::O_NONBLOCK);
    options
}

fn make_fifo_in(path: &PathBuf) {
    if path.parent().is_some_and(|parent| parent.exists()) && fs::symlink_metadata(path).is_err() {
        make_fifo(path);
    }
}

/// What a monitor that is made now finds.
fn fresh(world: &World) -> BTreeMap<OsString, (FileVersion, OnDemandAddress)> {
    let mut fresh = World::of(options(&world.at("")));
    fresh.rescan();
    known(&fresh)
}

fn known(world: &World) -> BTreeMap<OsString, (FileVersion, OnDemandAddress)> {
    let files = world.known.iter();
    files.map(|(name, file)| (name.clone(), (file.version, file.on_demand.clone()))).collect()
}

fn run(seed: u64) {
    println!("seed {seed}");
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut world = World::new();
    let mut open = Vec::new();
    for folder in ["out/deep", "two", "store"] {
        fs::create_dir_all(world.beside(folder)).unwrap();
    }
    let mut history = Vec::new();
    for step in 0..300 {
        history.push(act(&world, &mut random, &mut open));
        match random.below(6) {
            0 => world.read(),
            1 => {
                world.pass(Duration::from_millis(random.below(200) as u64));
                world.read();
                world.expire();
            }
            2 => open.truncate(random.below(3)),
            _ => {}
        }
        if step % 20 == 19 {
            open.clear();
            world.settle();
            let recent = &history[history.len().saturating_sub(20)..];
            assert_eq!(known(&world), fresh(&world), "seed {seed}, step {step}: {recent:#?}");
        }
    }
    assert_eq!(world.notices_with("events were lost"), 0);
}

#[test]
fn whatever_happens_what_is_known_is_what_is_there() {
    match std::env::var("LIEGE_SEED") {
        Ok(seed) => run(seed.parse().unwrap()),
        Err(_) => (1..=25).for_each(run),
    }
}

#[test]
#[ignore = "takes minutes"]
fn whatever_happens_for_a_long_time() {
    (1000..=4000).for_each(run);
}
