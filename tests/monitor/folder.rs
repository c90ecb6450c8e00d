//! The directory itself: missing, removed, moved, swapped, mounted over.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use liege::monitor::Monitor;
use liege::sys::mounts::Mounts;
use tempfile::TempDir;

use crate::faults::in_a_world_of_its_own;
use crate::world::{World, options};

const NOTHING: [&str; 0] = [];

fn point(link: &Path, target: &Path) {
    let new = link.with_extension("next");
    symlink(target, &new).unwrap();
    fs::rename(new, link).unwrap();
}

/// A world whose directory has two vassals that have been found.
fn settled() -> World {
    let mut world = World::new();
    world.put("a.ini", "");
    world.put("b.ini", "");
    assert_eq!(world.tells(), ["found a.ini", "found b.ini"]);
    world
}

#[test]
fn a_directory_that_is_missing_at_first_is_waited_for() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("etc/liege/vassals");
    let mut world = World::of(options(&path));
    world.rescan();
    assert_eq!(world.tells(), NOTHING);
    assert_eq!(world.notices_with("no such directory"), 1);
    assert_eq!(world.monitor.deadline(), None);
    assert_eq!(world.monitor.source(), path);
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("a.ini"), "").unwrap();
    assert_eq!(world.tells(), ["found a.ini"]);
    assert_eq!(world.notices_with("is there now"), 1);
    fs::write(path.join("b.ini"), "").unwrap();
    assert_eq!(world.tells(), ["found b.ini"]);
}

#[test]
fn a_directory_that_comes_step_by_step_is_met_at_each_step() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("etc/liege/vassals");
    let mut world = World::of(options(&path));
    world.rescan();
    for step in ["etc", "etc/liege"] {
        fs::create_dir(root.path().join(step)).unwrap();
        assert_eq!(world.tells(), NOTHING);
    }
    symlink("../real", root.path().join("etc/liege/vassals")).unwrap();
    assert_eq!(world.tells(), NOTHING);
    fs::create_dir(root.path().join("etc/real")).unwrap();
    fs::write(root.path().join("etc/real/a.ini"), "").unwrap();
    assert_eq!(world.tells(), ["found a.ini"]);
    let real = fs::canonicalize(root.path()).unwrap().join("etc/real");
    assert_eq!(world.monitor.source(), real);
}

#[test]
fn something_else_at_the_path_is_no_directory() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("vassals");
    fs::write(&path, "").unwrap();
    let mut world = World::of(options(&path));
    world.rescan();
    assert_eq!(world.notices_with("this is not a directory"), 1, "{:?}", world.notices);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.ini"), "").unwrap();
    assert_eq!(world.tells(), ["found a.ini"]);
}

#[test]
fn a_removed_directory_loses_its_vassals_and_is_waited_for() {
    let mut world = settled();
    // Vassals have it as their working directory, and then its end is not told on itself.
    let _sitting = File::open(world.at("")).unwrap();
    for _ in 0..3 {
        fs::remove_dir_all(world.at("")).unwrap();
        assert_eq!(world.tells(), ["lost a.ini", "lost b.ini"]);
        fs::create_dir(world.at("")).unwrap();
        world.write("b.ini", "");
        world.write("a.ini", "");
        let mut told = world.tells();
        told.sort();
        assert_eq!(told, ["found a.ini", "found b.ini"]);
    }
    assert_eq!(world.notices_with("is gone"), 3);
}

#[test]
fn a_directory_that_is_removed_and_made_anew_at_once_is_the_new_one() {
    let mut world = settled();
    fs::remove_dir_all(world.at("")).unwrap();
    fs::create_dir(world.at("")).unwrap();
    world.write("a.ini", "new");
    let told = world.tells();
    assert_eq!(world.names(), ["a.ini"], "{told:?}");
    world.write("c.ini", "");
    assert_eq!(world.tells(), ["found c.ini"]);
}

#[test]
fn a_directory_that_is_deployed_anew_loses_nobody_who_is_in_both() {
    let mut world = settled();
    // As git checkout and rm -r with cp -r do it; we are awake at the worst moments.
    for round in 0..3 {
        fs::remove_file(world.at("a.ini")).unwrap();
        world.read();
        fs::remove_file(world.at("b.ini")).unwrap();
        fs::remove_dir(world.at("")).unwrap();
        world.read();
        world.pass(Duration::from_millis(50));
        world.expire();
        fs::create_dir(world.at("")).unwrap();
        world.read();
        world.pass(Duration::from_millis(50));
        world.expire();
        world.write("a.ini", &format!("deployed {round}"));
        world.read();
        world.write("b.ini", &format!("deployed {round}"));
        let mut told = world.tells();
        told.sort();
        assert_eq!(told, ["changed a.ini", "changed b.ini"]);
    }
}

#[test]
fn a_moved_directory_loses_its_vassals_and_what_comes_in_its_place_counts() {
    let mut world = settled();
    fs::rename(world.at(""), world.beside("old")).unwrap();
    world.read();
    world.pass(Duration::from_millis(100));
    world.expire();
    assert_eq!(world.told(), ["lost a.ini", "lost b.ini"]);
    fs::write(world.beside("old/c.ini"), "").unwrap();
    assert_eq!(world.tells(), NOTHING);
    fs::create_dir(world.at("")).unwrap();
    world.write("d.ini", "");
    assert_eq!(world.tells(), ["found d.ini"]);
    fs::write(world.beside("old/e.ini"), "").unwrap();
    assert_eq!(world.tells(), NOTHING);
    fs::remove_dir_all(world.at("")).unwrap();
    fs::rename(world.beside("old"), world.at("")).unwrap();
    world.settle();
    assert_eq!(world.names(), ["a.ini", "b.ini", "c.ini", "e.ini"]);
}

#[test]
fn what_comes_with_its_directory_was_there_and_what_is_put_into_it_was_not() {
    let start = World::with(|at| fs::write(at.join("a.ini"), "").unwrap(), |_| {});
    assert_eq!(start.were_there, ["a.ini"]);
    let mut world = settled();
    world.write("c.ini", "");
    world.settle();
    assert_eq!(world.were_there, [""; 0], "all were put into it");
    for round in ["first", "second"] {
        world.were_there.clear();
        fs::rename(world.at(""), world.beside("old")).unwrap();
        world.settle();
        fs::rename(world.beside("old"), world.at("")).unwrap();
        world.settle();
        assert_eq!(world.were_there, ["a.ini", "b.ini", "c.ini"], "{round}");
    }
    world.put("d.ini", "");
    world.write("e.ini", "");
    world.settle();
    assert_eq!((world.names().len(), world.were_there.len()), (5, 3));
    // Another one in its place has what it has from before, too.
    let other = world.beside("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("f.ini"), "").unwrap();
    fs::rename(world.at(""), world.beside("old")).unwrap();
    fs::rename(other, world.at("")).unwrap();
    world.settle();
    assert_eq!(world.were_there.last().unwrap(), "f.ini");
    world.write("g.ini", "");
    world.settle();
    assert_eq!(world.were_there.last().unwrap(), "f.ini");
}

#[test]
fn what_comes_with_its_directory_was_there_although_a_scan_is_asked_for_meanwhile() {
    let mut world = settled();
    world.were_there.clear();
    let other = world.beside("other");
    fs::create_dir(&other).unwrap();
    for number in 0..600 {
        fs::write(other.join(format!("{number}.ini")), "").unwrap();
    }
    fs::rename(world.at(""), world.beside("old")).unwrap();
    world.settle();
    fs::rename(other, world.at("")).unwrap();
    // The first of them; that is as much as one call may do.
    world.read();
    world.rescan();
    world.settle();
    assert_eq!((world.names().len(), world.were_there.len()), (600, 600));
    assert!(!world.notices.iter().any(|notice| notice.contains("inotify missed")));
}

#[test]
fn a_moved_directory_above_counts_too() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("etc/liege/vassals");
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("a.ini"), "").unwrap();
    let mut world = World::of(options(&path));
    world.rescan();
    assert_eq!(world.tells(), ["found a.ini"]);
    fs::rename(root.path().join("etc"), root.path().join("cte")).unwrap();
    assert_eq!(world.tells(), ["lost a.ini"]);
    fs::rename(root.path().join("cte"), root.path().join("etc")).unwrap();
    assert_eq!(world.tells(), ["found a.ini"]);
}

#[test]
fn a_directory_that_is_swapped_by_a_link_changes_what_both_have() {
    let root = TempDir::new().unwrap();
    for (release, names) in [("1", ["a.ini", "b.ini"]), ("2", ["b.ini", "c.ini"])] {
        fs::create_dir_all(root.path().join(release).join("vassals")).unwrap();
        for name in names {
            fs::write(root.path().join(release).join("vassals").join(name), "").unwrap();
        }
    }
    let current = root.path().join("current");
    symlink("1", &current).unwrap();
    let mut world = World::of(options(&current.join("vassals")));
    world.rescan();
    assert_eq!(world.told(), ["found a.ini", "found b.ini"]);
    point(&current, Path::new("2"));
    let mut told = world.tells();
    told.sort();
    assert_eq!(told, ["changed b.ini", "found c.ini", "lost a.ini"]);
    assert!(world.monitor.source().ends_with("2/vassals"));
    fs::write(root.path().join("1/vassals/d.ini"), "").unwrap();
    assert_eq!(world.tells(), NOTHING);
    fs::write(root.path().join("2/vassals/d.ini"), "").unwrap();
    assert_eq!(world.tells(), ["found d.ini"]);
    assert_eq!(world.notices, NOTHING);
}

#[test]
fn links_of_a_swapped_directory_start_from_the_new_one() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("shared"), "").unwrap();
    for release in ["1", "2"] {
        let release = root.path().join(release);
        fs::create_dir_all(release.join("vassals")).unwrap();
        fs::write(release.join("skeleton"), "").unwrap();
        symlink("../skeleton", release.join("vassals/a.ini")).unwrap();
        symlink("../../shared", release.join("vassals/b.ini")).unwrap();
    }
    let current = root.path().join("current");
    symlink("1", &current).unwrap();
    let mut world = World::of(options(&current.join("vassals")));
    world.rescan();
    assert_eq!(world.told(), ["found a.ini", "found b.ini"]);
    point(&current, Path::new("2"));
    assert_eq!(world.tells(), ["changed a.ini"]);
    fs::write(root.path().join("1/skeleton"), "new").unwrap();
    assert_eq!(world.tells(), NOTHING);
    fs::write(root.path().join("2/skeleton"), "new").unwrap();
    assert_eq!(world.tells(), ["changed a.ini"]);
    fs::write(root.path().join("shared"), "new").unwrap();
    assert_eq!(world.tells(), ["changed b.ini"]);
}

#[test]
fn vassals_outlive_their_directory_for_the_time_of_grace() {
    let mut world = World::with(|_| {}, |options| options.grace = Duration::from_secs(5));
    for name in ["a.ini", "b.ini"] {
        world.put(name, "");
    }
    assert_eq!(world.tells().len(), 2);
    fs::rename(world.at(""), world.beside("old")).unwrap();
    world.read();
    world.pass(Duration::from_secs(4));
    world.expire();
    assert_eq!(world.told(), NOTHING);
    // Deployed anew in time: one is another file, one is the same, none was stopped.
    fs::create_dir(world.beside("next")).unwrap();
    fs::rename(world.beside("old/a.ini"), world.beside("next/a.ini")).unwrap();
    fs::write(world.beside("next/b.ini"), "new").unwrap();
    fs::rename(world.beside("next"), world.at("")).unwrap();
    assert_eq!(world.tells(), ["changed b.ini"]);
    fs::rename(world.at(""), world.beside("gone")).unwrap();
    world.read();
    world.pass(Duration::from_secs(6));
    world.expire();
    assert_eq!(world.told(), ["lost a.ini", "lost b.ini"]);
    assert_eq!(world.monitor.deadline(), None);
}

#[test]
fn a_relative_path_counts_from_where_the_monitor_was_made() {
    let world = World::of(options(Path::new("src")));
    assert_eq!(world.monitor.source(), std::env::current_dir().unwrap().join("src"));
}

#[test]
fn what_happens_beside_the_directory_wakes_nobody() {
    let mut world = settled();
    for n in 0..100 {
        let (one, other) = (world.beside(format!("{n}")), world.beside(format!("{n}~")));
        fs::write(&one, "").unwrap();
        fs::rename(&one, &other).unwrap();
    }
    assert!(!world.is_woken(Duration::ZERO));
    fs::remove_file(world.beside("0~")).unwrap();
    assert_eq!(world.tells(), NOTHING);
}

#[test]
fn a_directory_that_is_moved_over_the_empty_one_counts() {
    let mut world = World::new();
    let _sitting = File::open(world.at("")).unwrap();
    fs::create_dir(world.beside("full")).unwrap();
    fs::write(world.beside("full/a.ini"), "").unwrap();
    fs::rename(world.beside("full"), world.at("")).unwrap();
    assert_eq!(world.tells(), ["found a.ini"]);
    world.write("b.ini", "");
    assert_eq!(world.tells(), ["found b.ini"]);
}

#[test]
fn a_mount_is_news_once() {
    in_a_world_of_its_own("folder::inner_news", &["unshare", "-Urm"]);
}

#[test]
#[ignore = "run by the test above, in namespaces of its own"]
fn inner_news() {
    if std::env::var_os("LIEGE_INNER").is_none() {
        return;
    }
    let place = TempDir::new().unwrap();
    let mounts = Mounts::open().unwrap();
    assert!(!mounts.changed(), "nothing has happened yet");
    run("mount", &["-t", "tmpfs", "none"].map(OsStr::new), place.path());
    assert!(mounts.changed());
    assert!(!mounts.changed(), "it was told");
    run("umount", &[], place.path());
    assert!(mounts.changed());
    assert!(!mounts.changed(), "it was told");
}

/// Runs a command on a directory.
fn run(command: &str, arguments: &[&OsStr], at: &Path) {
    let status = std::process::Command::new(command).args(arguments).arg(at).status().unwrap();
    assert!(status.success(), "{command} {arguments:?} {}: {status}", at.display());
}

#[test]
fn what_is_mounted_over_the_directory_counts() {
    in_a_world_of_its_own("folder::inner_mounts", &["unshare", "-Urm"]);
}

#[test]
#[ignore = "run by the test above, in namespaces of its own"]
fn inner_mounts() {
    if std::env::var_os("LIEGE_INNER").is_none() {
        return;
    }
    let mut world = settled();
    fs::create_dir(world.beside("elsewhere")).unwrap();
    fs::write(world.beside("elsewhere/target"), "").unwrap();
    world.link("../elsewhere/target", "link.ini");
    assert_eq!(world.tells(), ["found link.ini"]);
    let (at, elsewhere) = (world.at(""), world.beside("elsewhere"));
    let tmpfs = ["-t", "tmpfs", "none"].map(OsStr::new);

    run("mount", &tmpfs, &elsewhere);
    assert_eq!(world.tells(), ["lost link.ini"]);
    fs::write(world.beside("elsewhere/target"), "new").unwrap();
    assert_eq!(world.tells(), ["found link.ini"]);
    run("umount", &[], &elsewhere);
    let start = Instant::now();
    let mut told = Vec::new();
    while told.is_empty() && start.elapsed() < Duration::from_secs(10) {
        told = world.tells();
    }
    assert_eq!(told, ["changed link.ini"]);

    run("mount", &tmpfs, &at);
    assert_eq!(world.tells(), ["lost a.ini", "lost b.ini", "lost link.ini"]);
    world.write("c.ini", "");
    assert_eq!(world.tells(), ["found c.ini"]);
    run("umount", &[], &at);
    world.until("the directory below", |world| world.names() == ["a.ini", "b.ini", "link.ini"]);
}
