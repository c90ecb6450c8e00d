//! What the kernel refuses, loses or hides.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use liege::monitor::{Monitor, OnDemandAddress};

use crate::world::{World, start};

const NOTHING: [&str; 0] = [];
const NOBODY: u32 = 65534;

/// Runs one of the ignored tests of this program in a process of its own, behind a command that
/// changes what it may do. Skips if that command does not work here.
pub fn in_a_world_of_its_own(test: &str, wrapper: &[&str]) {
    let program = std::env::current_exe().unwrap();
    let (first, more) = wrapper.split_first().unwrap();
    let command = |last: &[&OsStr]| {
        let mut command = Command::new(first);
        command.args(more).args(last).env("LIEGE_INNER", "1");
        command
    };
    if !succeeds(&mut command(&[OsStr::new("true")])) {
        return println!("skipped: {wrapper:?} does not work here");
    }
    let arguments = [program.as_os_str(), "--exact".as_ref(), test.as_ref(), "--ignored".as_ref()];
    finish(&mut command(&arguments), test);
}

fn succeeds(command: &mut Command) -> bool {
    let child = start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    child.and_then(|mut child| child.wait()).is_ok_and(|status| status.success())
}

fn finish(command: &mut Command, test: &str) {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = start(command).unwrap().wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{test}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{test} was not run: {text}");
}

/// Runs one of the ignored tests as a user whom rights concern.
fn as_nobody(test: &str) {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(&program);
    command.args(["--exact", test, "--ignored"]).env("LIEGE_INNER", "1").env("TMPDIR", "/tmp");
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
        let mut look = Command::new(&program);
        if !succeeds(look.arg("--list").uid(NOBODY).gid(NOBODY).current_dir("/")) {
            return println!("skipped: an ordinary user may not run this test");
        }
    }
    finish(&mut command, test);
}

fn is_inner() -> bool {
    std::env::var_os("LIEGE_INNER").is_some()
}

#[test]
fn lost_events_end_in_a_scan_that_says_what_was_missed() {
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    if limit > 40_000 {
        return println!("skipped: the queue holds {limit} events");
    }
    let mut world = World::new();
    for name in ["changed.ini", "gone.ini", "same.ini"] {
        world.put(name, "");
    }
    assert_eq!(world.tells().len(), 3);
    let (one, other) = (world.at("one"), world.at("other"));
    fs::write(&one, "").unwrap();
    for _ in 0..limit / 4 + 10 {
        fs::rename(&one, &other).unwrap();
        fs::rename(&other, &one).unwrap();
    }
    world.put("found.ini", "");
    world.put("changed.ini", "new");
    fs::remove_file(world.at("gone.ini")).unwrap();
    let mut told = world.tells();
    told.sort();
    assert_eq!(told, ["changed changed.ini", "found found.ini", "lost gone.ini"]);
    assert_eq!(world.notices_with("events were lost"), 1, "{:?}", world.notices);
    assert!(world.notices_with("inotify missed the change of") >= 1, "{:?}", world.notices);
    world.put("next.ini", "");
    assert_eq!(world.tells(), ["found next.ini"]);
}

#[test]
fn a_flood_is_taken_in_by_pieces() {
    const FILES: usize = 1200;
    let mut world = World::new();
    for n in 0..FILES {
        // Long names make many bytes of few events.
        fs::write(world.at(format!("{n:0250}.ini")), "").unwrap();
    }
    world.read();
    let first = world.told().len();
    assert!((1..FILES / 2).contains(&first), "{first} at once");
    assert!(world.is_readable(Duration::ZERO));
    assert_eq!(first + world.tells().len(), FILES);
    assert_eq!(world.notices, NOTHING);
}

#[test]
fn a_rescan_without_differences_changes_nothing() {
    let mut world = World::new();
    fs::write(world.beside("skeleton"), "").unwrap();
    world.put("a.ini", "");
    world.write("b.ini", "");
    world.write("b.ini.socket", "@b");
    world.link("../skeleton", "c.ini");
    assert_eq!(world.tells().len(), 3);
    for _ in 0..3 {
        world.rescan();
        assert_eq!(world.tells(), NOTHING);
    }
    assert_eq!(world.notices, NOTHING);
}

#[test]
fn a_rescan_finds_and_names_what_no_event_told() {
    let mut world = World::new();
    world.put("a.ini", "");
    world.put("b.ini", "");
    assert_eq!(world.tells().len(), 2);
    world.put("a.ini", "new");
    fs::remove_file(world.at("b.ini")).unwrap();
    world.put("c.ini", "");
    // Nobody reads the events in time.
    world.rescan();
    assert_eq!(world.told(), NOTHING);
    world.pass(Duration::from_millis(100));
    world.expire();
    let mut told = world.told();
    told.sort();
    assert_eq!(told, ["changed a.ini", "found c.ini", "lost b.ini"]);
    assert_eq!(world.notices.len(), 1);
    assert!(
        world.notices[0]
            .contains(r#"vassals: inotify missed the change of "a.ini", "b.ini", "c.ini""#)
    );
    assert_eq!(world.tells(), NOTHING);
}

#[test]
fn with_a_period_everything_is_looked_at_again_and_again() {
    let mut world = World::with(|_| {}, |options| options.freq = Duration::from_secs(7));
    for _ in 0..3 {
        let due = world.monitor.deadline().unwrap();
        assert!(
            due > world.now() + Duration::from_secs(6)
                && due <= world.now() + Duration::from_secs(7)
        );
        world.pass(Duration::from_secs(7));
        world.expire();
    }
    world.put("a.ini", "");
    world.pass(Duration::from_secs(7));
    world.expire();
    world.pass(Duration::from_millis(100));
    world.expire();
    assert_eq!(world.told(), ["found a.ini"]);
}

#[test]
fn without_a_period_a_quiet_directory_asks_for_nothing() {
    let mut world = World::new();
    fs::write(world.beside("skeleton"), "").unwrap();
    world.put("a.ini", "");
    world.link("../skeleton", "b.ini");
    world.link("../nowhere", "c.ini");
    fs::create_dir(world.at("d.ini")).unwrap();
    world.settle();
    assert_eq!(world.monitor.deadline(), None);
    assert!(!world.is_woken(Duration::from_millis(50)));
}

#[test]
fn refused_inotify_means_timed_scans_until_it_is_granted() {
    in_a_world_of_its_own("faults::inner_no_instances", &["unshare", "-Ur"]);
    in_a_world_of_its_own("faults::inner_no_watches", &["unshare", "-Ur"]);
}

#[test]
#[ignore = "run by the test above, in a user namespace of its own"]
fn inner_no_instances() {
    no_inotify("/proc/sys/user/max_inotify_instances");
}

#[test]
#[ignore = "run by the test above, in a user namespace of its own"]
fn inner_no_watches() {
    no_inotify("/proc/sys/user/max_inotify_watches");
}

fn no_inotify(limit: &str) {
    if !is_inner() {
        return;
    }
    let before = fs::read_to_string(limit).unwrap();
    fs::write(limit, "0").unwrap();
    let mut world = World::with(|vassals| fs::write(vassals.join("a.ini"), "").unwrap(), |_| {});
    assert_eq!(world.told(), ["found a.ini"]);
    let scan = |world: &mut World| {
        let due = world.monitor.deadline().unwrap();
        assert!(due <= world.now() + Duration::from_secs(3));
        world.pass(Duration::from_secs(3));
        world.expire();
        world.pass(Duration::from_millis(100));
        world.expire();
        world.told()
    };
    assert_eq!(scan(&mut world), NOTHING);
    world.put("b.ini", "");
    fs::write(world.beside("skeleton"), "").unwrap();
    world.link("../skeleton", "link.ini");
    assert_eq!(scan(&mut world), ["found b.ini", "found link.ini"]);
    fs::write(world.beside("skeleton"), "new").unwrap();
    fs::remove_file(world.at("a.ini")).unwrap();
    let mut told = scan(&mut world);
    told.sort();
    assert_eq!(told, ["changed link.ini", "lost a.ini"]);
    assert_eq!(world.notices.len(), 1, "{:?}", world.notices);
    assert_eq!(world.notices_with("inotify is refused"), 1);
    fs::write(limit, before).unwrap();
    assert_eq!(scan(&mut world), NOTHING);
    assert_eq!(world.notices.len(), 2, "{:?}", world.notices);
    assert_eq!(world.notices_with("works again"), 1);
    assert_eq!(world.monitor.deadline(), None);
    world.put("c.ini", "");
    fs::write(world.beside("skeleton"), "newest").unwrap();
    world.read();
    assert_eq!(world.told(), ["found c.ini", "changed link.ini"]);
}

#[test]
fn without_descriptors_no_vassal_is_lost() {
    in_a_world_of_its_own(
        "faults::inner_no_descriptors",
        &["sh", "-c", "ulimit -Sn 64; exec \"$@\"", "sh"],
    );
}

#[test]
#[ignore = "run by the test above, with a limit of its own"]
fn inner_no_descriptors() {
    if !is_inner() {
        return;
    }
    let mut world = World::with(
        |vassals| {
            for n in 0..20 {
                fs::write(vassals.join(format!("{n}.ini")), "").unwrap();
                fs::write(vassals.join(format!("{n}.ini.socket")), "@x").unwrap();
            }
        },
        |_| {},
    );
    assert_eq!(world.told().len(), 20);
    world.put("new", "");
    for spare in 0..6 {
        let mut hoard: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        hoard.truncate(hoard.len() - spare);
        fs::rename(world.at("new"), world.at("new.ini")).unwrap();
        nix::unistd::truncate(&world.at("1.ini"), spare as i64 + 1).unwrap();
        world.read();
        world.rescan();
        for _ in 0..10 {
            world.pass(Duration::from_secs(4));
            world.expire();
        }
        assert!(!world.told().iter().any(|told| told.starts_with("lost")), "with {spare} spare");
        drop(hoard);
        world.settle();
        assert!(world.known.contains_key(OsStr::new("new.ini")));
        assert_eq!(world.known[OsStr::new("1.ini")].version.size, spare as u64 + 1);
        let addresses = world
            .known
            .values()
            .filter(|file| file.on_demand == OnDemandAddress::Address("@x".into()));
        assert_eq!(addresses.count(), 20);
        fs::rename(world.at("new.ini"), world.at("new")).unwrap();
        world.settle();
        world.told();
    }
    let lines = world.notices.len();
    assert!((1..=24).contains(&lines), "{lines}: {:?}", world.notices);
}

#[test]
fn a_directory_that_may_not_be_read_is_told_and_heals() {
    as_nobody("faults::inner_unreadable");
}

#[test]
#[ignore = "run by the test above, as an ordinary user"]
fn inner_unreadable() {
    if !is_inner() {
        return;
    }
    let mode = |world: &World, mode| {
        fs::set_permissions(world.at(""), Permissions::from_mode(mode)).unwrap()
    };
    let mut world = World::with(
        |vassals| {
            fs::write(vassals.join("a.ini"), "").unwrap();
            fs::set_permissions(vassals, Permissions::from_mode(0o000)).unwrap();
        },
        |_| {},
    );
    assert_eq!(world.told(), NOTHING);
    assert_eq!(world.notices_with("cannot read the directory: Permission denied"), 1);
    for _ in 0..10 {
        world.pass(Duration::from_secs(3));
        world.expire();
    }
    assert_eq!(world.notices.len(), 1);
    mode(&world, 0o755);
    world.pass(Duration::from_secs(3));
    world.expire();
    assert_eq!(world.tells(), ["found a.ini"]);
    assert_eq!(world.notices_with("can be read again"), 1);
    // While it runs: nothing is lost, and the way back is told by an event.
    mode(&world, 0o000);
    for _ in 0..5 {
        world.read();
        world.pass(Duration::from_secs(3));
        world.expire();
    }
    assert_eq!(world.told(), NOTHING);
    mode(&world, 0o755);
    world.write("b.ini", "");
    assert_eq!(world.tells(), ["found b.ini"]);
    assert_eq!(world.monitor.deadline(), None);
}

#[test]
fn a_target_that_may_not_be_reached_loses_nothing() {
    as_nobody("faults::inner_unreachable");
}

#[test]
#[ignore = "run by the test above, as an ordinary user"]
fn inner_unreachable() {
    if !is_inner() {
        return;
    }
    let mut world = World::new();
    let folder = world.beside("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("target"), "").unwrap();
    world.link("../folder/target", "a.ini");
    world.write("b.ini", "");
    world.write("b.ini.socket", "@b");
    world.settle();
    assert_eq!(world.told().len(), 2);
    fs::set_permissions(&folder, Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(world.at("b.ini.socket"), Permissions::from_mode(0o000)).unwrap();
    world.write("c.ini", "");
    world.link("../folder/target", "d.ini");
    world.put("c.ini.socket", "");
    world.rescan();
    world.read();
    for _ in 0..5 {
        world.pass(Duration::from_secs(3));
        world.expire();
    }
    assert_eq!(world.told(), ["found c.ini"]);
    assert_eq!(world.notices_with("[d.ini] cannot be examined: Permission denied"), 1);
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(world.at("b.ini.socket"), Permissions::from_mode(0o644)).unwrap();
    assert_eq!(world.tells(), ["found d.ini"]);
    assert_eq!(world.monitor.deadline(), None);
}

#[test]
fn a_monitor_leaves_no_descriptor_behind() {
    in_a_world_of_its_own("faults::inner_descriptors", &["env"]);
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn inner_descriptors() {
    if !is_inner() {
        return;
    }
    let count = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = count();
    let mut world = World::new();
    let quiet = count();
    for n in 0..50 {
        fs::write(world.beside(format!("{n}")), "").unwrap();
        world.link(format!("../{n}"), &format!("{n}.ini"));
        world.link(format!("../missing/{n}"), &format!("missing-{n}.ini"));
    }
    world.settle();
    assert_eq!(world.known.len(), 50);
    assert_eq!(count(), quiet);
    drop(world);
    assert_eq!(count(), before);
}

#[test]
fn moves_without_end_are_worked_off_in_small_turns() {
    let mut world = World::new();
    let (one, other) = (world.at("one.ini"), world.at("other.ini"));
    fs::write(&one, "").unwrap();
    let mover = std::thread::spawn(move || {
        for _ in 0..10_000 {
            fs::rename(&one, &other).unwrap();
            fs::rename(&other, &one).unwrap();
        }
    });
    while !mover.is_finished() {
        world.read();
    }
    mover.join().unwrap();
    world.settle();
    assert_eq!(world.names(), ["one.ini"]);
    assert!(world.longest() < Duration::from_millis(100), "{:?}", world.longest());
}
