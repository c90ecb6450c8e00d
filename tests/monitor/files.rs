//! Ordinary files: made, written, replaced, moved, removed.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use liege::monitor::{Monitor, OnDemandAddress};
use liege::sys::dir::stat_path;

use crate::world::World;

const NOTHING: [&str; 0] = [];

fn set_mtime(path: &Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

pub fn make_fifo(path: &Path) {
    use nix::sys::stat::{Mode, SFlag, mknodat};
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    mknodat(nix::fcntl::AT_FDCWD, path, SFlag::S_IFIFO, mode, 0).unwrap();
}

#[test]
fn what_is_there_from_the_beginning_is_found_by_the_first_look() {
    let mut world = World::with(
        |vassals| {
            for name in ["b.ini", "a.yaml", "c.json", "x.skel", "d.ini~", "a.conf"] {
                fs::write(vassals.join(name), "").unwrap();
            }
        },
        |options| options.extensions.push(".conf".into()),
    );
    assert_eq!(world.told(), ["found a.conf", "found a.yaml", "found b.ini", "found c.json"]);
    assert!(!world.is_woken(Duration::ZERO));
    assert_eq!(world.monitor.deadline(), None);
    let file = &world.known[OsStr::new("b.ini")];
    let stat = stat_path(&world.at("b.ini")).unwrap();
    assert_eq!((file.version.dev, file.version.ino), stat.inode());
    assert_eq!((file.version.mtime, file.version.size), (stat.mtime, stat.size));
    assert_eq!((file.uid, file.gid, file.is_link), (stat.uid, stat.gid, false));
    assert_eq!(file.on_demand, OnDemandAddress::No);
}

#[test]
fn the_source_is_the_real_path() {
    let world = World::with(|_| {}, |options| options.path = options.path.join("../vassals/."));
    assert_eq!(world.monitor.source(), fs::canonicalize(world.at("")).unwrap());
}

#[test]
fn a_new_file_is_found_when_it_has_been_written() {
    let mut world = World::new();
    let mut file = File::create(world.at("a.ini")).unwrap();
    file.write_all(b"half").unwrap();
    world.read();
    assert_eq!(world.told(), NOTHING);
    file.write_all(b" and half").unwrap();
    drop(file);
    world.read();
    assert_eq!(world.told(), ["found a.ini"]);
    assert_eq!(world.known[OsStr::new("a.ini")].version.size, 13);
    assert_eq!(world.tells(), NOTHING);
}

#[test]
fn a_slow_writer_gives_one_sighting_of_the_whole_file() {
    let mut world = World::new();
    let path = world.at("slow.ini");
    let writer = thread::spawn(move || {
        let mut file = File::create(path).unwrap();
        for _ in 0..20 {
            file.write_all(b"x").unwrap();
            thread::sleep(Duration::from_millis(50));
        }
    });
    world.until("the file", |world| world.known.contains_key(OsStr::new("slow.ini")));
    writer.join().unwrap();
    assert_eq!(world.known[OsStr::new("slow.ini")].version.size, 20);
    assert_eq!(world.tells(), ["found slow.ini"]);
}

#[test]
fn a_writer_that_falls_silent_is_not_waited_for_longer_than_two_looks() {
    let mut world = World::new();
    let mut file = File::create(world.at("a.ini")).unwrap();
    world.read();
    let mut waited = Duration::ZERO;
    for _ in 0..5 {
        file.write_all(b"x").unwrap();
        world.pass(Duration::from_secs(2));
        waited += Duration::from_secs(2);
        world.read();
        world.expire();
        assert_eq!(world.told(), NOTHING, "after {waited:?}");
    }
    for _ in 0..2 {
        world.pass(Duration::from_secs(3));
        world.expire();
    }
    assert_eq!(world.told(), ["found a.ini"]);
    drop(file);
    assert_eq!(world.tells(), NOTHING);
}

#[test]
fn a_file_that_is_written_again_is_changed_once_when_it_is_closed() {
    let mut world = World::new();
    world.put("a.ini", "old");
    assert_eq!(world.tells(), ["found a.ini"]);
    // As cp -p does it: in place, with mode and times before the end.
    let mut file = File::create(world.at("a.ini")).unwrap();
    file.write_all(b"new content").unwrap();
    file.set_permissions(Permissions::from_mode(0o640)).unwrap();
    world.read();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    world.read();
    assert_eq!(world.told(), NOTHING);
    drop(file);
    assert_eq!(world.tells(), ["changed a.ini"]);
}

#[test]
fn a_file_that_is_moved_in_is_found_at_once() {
    let mut world = World::new();
    world.put("a.ini", "");
    world.read();
    assert_eq!(world.told(), ["found a.ini"]);
    assert_eq!(world.monitor.deadline(), None);
}

#[test]
fn a_replaced_file_is_changed_once() {
    let mut world = World::new();
    world.put("a.ini", "same");
    assert_eq!(world.tells(), ["found a.ini"]);
    world.put("a.ini", "same");
    world.read();
    assert_eq!(world.told(), ["changed a.ini"]);
    assert_eq!(world.tells(), NOTHING);
}

#[test]
fn a_touch_in_either_direction_is_a_change() {
    let mut world = World::new();
    world.put("a.ini", "");
    let found = SystemTime::now();
    assert_eq!(world.tells(), ["found a.ini"]);
    for time in [
        found + Duration::from_secs(3600),
        found - Duration::from_secs(3600),
        SystemTime::UNIX_EPOCH,
    ] {
        set_mtime(&world.at("a.ini"), time);
        assert_eq!(world.tells(), ["changed a.ini"]);
    }
    set_mtime(&world.at("a.ini"), SystemTime::UNIX_EPOCH);
    assert_eq!(world.tells(), NOTHING);
}

#[test]
fn edits_within_one_second_are_all_seen() {
    let mut world = World::new();
    world.write("a.ini", "1");
    assert_eq!(world.tells(), ["found a.ini"]);
    for content in ["2", "3", "22"] {
        world.write("a.ini", content);
        // The time of the file is coarser on old kernels; what matters is less than a second.
        set_mtime(
            &world.at("a.ini"),
            fs::metadata(world.at("a.ini")).unwrap().modified().unwrap() + Duration::from_nanos(1),
        );
        assert_eq!(world.tells(), ["changed a.ini"]);
    }
}

#[test]
fn an_older_file_that_is_put_back_is_a_change() {
    let mut world = World::new();
    world.put("a.ini", "new");
    assert_eq!(world.tells(), ["found a.ini"]);
    fs::write(world.beside("old"), "old").unwrap();
    set_mtime(&world.beside("old"), SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    fs::rename(world.beside("old"), world.at("a.ini")).unwrap();
    assert_eq!(world.tells(), ["changed a.ini"]);
}

#[test]
fn a_chmod_is_no_change() {
    let mut world = World::new();
    world.put("a.ini", "");
    assert_eq!(world.tells(), ["found a.ini"]);
    fs::set_permissions(world.at("a.ini"), Permissions::from_mode(0o600)).unwrap();
    assert!(world.is_readable(Duration::ZERO));
    assert_eq!(world.tells(), NOTHING);
}

#[test]
fn a_chown_is_told_as_what_it_is() {
    let mut world = World::new();
    world.put("a.ini", "");
    assert_eq!(world.tells(), ["found a.ini"]);
    if std::os::unix::fs::chown(world.at("a.ini"), Some(12345), None).is_err() {
        return println!("skipped: only root may chown");
    }
    assert_eq!(world.tells(), ["chowned a.ini"]);
    assert_eq!(world.known[OsStr::new("a.ini")].uid, 12345);
}

#[test]
fn truncate_is_seen_although_nobody_opens_the_file() {
    let mut world = World::new();
    world.put("a.ini", "something");
    assert_eq!(world.tells(), ["found a.ini"]);
    nix::unistd::truncate(&world.at("a.ini"), 2).unwrap();
    assert_eq!(world.tells(), ["changed a.ini"]);
}

#[test]
fn a_removed_file_is_lost_when_nobody_has_made_it_anew_for_a_tenth_of_a_second() {
    let mut world = World::new();
    world.put("a.ini", "");
    assert_eq!(world.tells(), ["found a.ini"]);
    fs::remove_file(world.at("a.ini")).unwrap();
    world.read();
    world.pass(Duration::from_millis(99));
    world.expire();
    assert_eq!(world.told(), NOTHING);
    world.pass(Duration::from_millis(1));
    world.expire();
    assert_eq!(world.told(), ["lost a.ini"]);
    assert_eq!(world.monitor.deadline(), None);
}

#[test]
fn a_file_that_comes_back_within_a_tenth_of_a_second_is_changed_however_it_comes() {
    let mut world = World::new();
    for name in ["skeleton", "twin"] {
        fs::write(world.beside(name), "").unwrap();
    }
    world.put("a.ini", "old");
    assert_eq!(world.tells(), ["found a.ini"]);
    let ways: [fn(&World); 4] = [
        |world| world.write("a.ini", "written"),
        |world| world.put("a.ini", "moved in"),
        |world| world.link("../skeleton", "a.ini"),
        |world| fs::hard_link(world.beside("twin"), world.at("a.ini")).unwrap(),
    ];
    for way in ways {
        fs::remove_file(world.at("a.ini")).unwrap();
        world.read();
        world.pass(Duration::from_millis(90));
        world.expire();
        way(&world);
        assert_eq!(world.tells(), ["changed a.ini"]);
    }
}

#[test]
fn a_file_that_vanishes_while_it_is_waited_for_something_else_has_its_time_to_come_back() {
    let mut world = World::new();
    for name in ["one", "two"] {
        fs::write(world.beside(name), "").unwrap();
    }
    world.link("../one", "a.ini");
    assert_eq!(world.tells(), ["found a.ini"]);
    // A new target must stay for a moment; the link goes before that is over, and nobody has read it yet.
    fs::remove_file(world.beside("one")).unwrap();
    fs::hard_link(world.beside("two"), world.beside("one")).unwrap();
    world.read();
    world.pass(Duration::from_millis(100));
    fs::remove_file(world.at("a.ini")).unwrap();
    world.expire();
    world.link("../two", "a.ini");
    assert_eq!(world.tells(), ["changed a.ini"]);
}

#[test]
fn a_file_that_is_removed_and_made_anew_at_once_is_changed_once() {
    let mut world = World::new();
    for name in ["a.ini", "b.ini"] {
        world.put(name, "old");
    }
    assert_eq!(world.tells(), ["found a.ini", "found b.ini"]);
    // As git checkout does it; we are awake at the worst moments.
    fs::remove_file(world.at("a.ini")).unwrap();
    world.read();
    let mut file = File::create_new(world.at("a.ini")).unwrap();
    world.read();
    world.pass(Duration::from_secs(1));
    world.expire();
    assert_eq!(world.told(), NOTHING);
    file.write_all(b"newer").unwrap();
    world.read();
    drop(file);
    assert_eq!(world.tells(), ["changed a.ini"]);
    fs::remove_file(world.at("b.ini")).unwrap();
    world.write("b.ini", "newer");
    assert_eq!(world.tells(), ["changed b.ini"]);
}

#[test]
fn an_editor_that_keeps_a_backup_gives_one_change() {
    let mut world = World::new();
    world.put("a.ini", "old");
    assert_eq!(world.tells(), ["found a.ini"]);
    fs::rename(world.at("a.ini"), world.at("a.ini~")).unwrap();
    world.read();
    world.pass(Duration::from_millis(20));
    world.expire();
    let mut file = File::create_new(world.at("a.ini")).unwrap();
    world.read();
    file.write_all(b"newer").unwrap();
    file.set_permissions(Permissions::from_mode(0o644)).unwrap();
    drop(file);
    fs::remove_file(world.at("a.ini~")).unwrap();
    assert_eq!(world.tells(), ["changed a.ini"]);
}

#[test]
fn a_renamed_vassal_is_lost_before_its_successor_is_found() {
    let mut world = World::new();
    world.put("a.ini", "");
    assert_eq!(world.tells(), ["found a.ini"]);
    fs::rename(world.at("a.ini"), world.at("b.ini")).unwrap();
    world.read();
    assert_eq!(world.told(), ["lost a.ini", "found b.ini"]);
    assert_eq!(world.tells(), NOTHING);
}

#[test]
fn a_vassal_that_is_moved_away_is_lost_soon() {
    let mut world = World::new();
    for name in ["a.ini", "b.ini"] {
        world.put(name, "");
    }
    assert_eq!(world.tells(), ["found a.ini", "found b.ini"]);
    fs::rename(world.at("a.ini"), world.at("a.ini.off")).unwrap();
    fs::rename(world.at("b.ini"), world.beside("b.ini")).unwrap();
    world.read();
    world.pass(Duration::from_millis(100));
    world.expire();
    assert_eq!(world.told(), ["lost a.ini", "lost b.ini"]);
    fs::rename(world.beside("b.ini"), world.at("b.ini")).unwrap();
    assert_eq!(world.tells(), ["found b.ini"]);
}

#[test]
fn two_files_that_change_places_are_both_changed() {
    let mut world = World::new();
    for name in ["a.ini", "b.ini"] {
        world.put(name, "");
    }
    assert_eq!(world.tells(), ["found a.ini", "found b.ini"]);
    nix::fcntl::renameat2(
        nix::fcntl::AT_FDCWD,
        &world.at("a.ini"),
        nix::fcntl::AT_FDCWD,
        &world.at("b.ini"),
        nix::fcntl::RenameFlags::RENAME_EXCHANGE,
    )
    .unwrap();
    assert_eq!(world.tells(), ["changed a.ini", "changed b.ini"]);
}

#[test]
fn a_hard_link_is_found_and_changes_with_its_other_name() {
    let mut world = World::new();
    fs::write(world.beside("skeleton"), "1").unwrap();
    fs::hard_link(world.beside("skeleton"), world.at("a.ini")).unwrap();
    world.read();
    world.pass(Duration::from_millis(100));
    world.expire();
    assert_eq!(world.told(), ["found a.ini"]);
    set_mtime(&world.beside("skeleton"), SystemTime::UNIX_EPOCH);
    assert_eq!(world.tells(), ["changed a.ini"]);
    fs::write(world.beside("skeleton"), "12").unwrap();
    assert_eq!(world.tells(), ["changed a.ini"]);
    fs::remove_file(world.beside("skeleton")).unwrap();
    assert_eq!(world.tells(), NOTHING);
}

#[test]
fn two_names_of_one_file_change_together() {
    let mut world = World::new();
    world.put("a.ini", "1");
    assert_eq!(world.tells(), ["found a.ini"]);
    fs::hard_link(world.at("a.ini"), world.at("b.ini")).unwrap();
    assert_eq!(world.tells(), ["found b.ini"]);
    for (name, content) in [("a.ini", "12"), ("b.ini", "123")] {
        world.write(name, content);
        let mut told = world.tells();
        told.sort();
        assert_eq!(told, ["changed a.ini", "changed b.ini"]);
    }
}

#[test]
fn many_touches_are_one_change() {
    let mut world = World::new();
    world.put("a.ini", "");
    world.put("b.ini", "");
    assert_eq!(world.tells(), ["found a.ini", "found b.ini"]);
    for second in 1..1000 {
        set_mtime(&world.at("a.ini"), SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        set_mtime(&world.at("b.ini"), SystemTime::UNIX_EPOCH + Duration::from_secs(second));
    }
    world.read();
    assert_eq!(world.told(), ["changed a.ini", "changed b.ini"]);
}

#[test]
fn names_may_be_any_bytes_but_control_characters() {
    let mut world = World::new();
    let odd = ["-a.ini", "a b.ini", "%n.ini", "a'\"$(x).ini", "ä.ini", "a:zerg.ini"];
    for name in odd {
        world.put(name, "");
    }
    let bytes = OsStr::from_bytes(b"\xff\xfe.ini");
    fs::write(world.at(bytes), "").unwrap();
    world.settle();
    assert!(odd.iter().all(|name| world.known.contains_key(OsStr::new(name))));
    assert!(world.known.contains_key(bytes));
    assert_eq!(world.notices, NOTHING);
    for name in ["a\nb.ini", "\x1b[31m.ini"] {
        world.put(name, "");
        world.put(name, "");
    }
    world.settle();
    assert_eq!(world.known.len(), odd.len() + 1);
    assert_eq!(world.notices_with("control characters"), 2);
    assert_eq!(world.monitor.refused().len(), 2);
    fs::remove_file(world.at("a\nb.ini")).unwrap();
    world.settle();
    assert_eq!(world.monitor.refused().len(), 1);
}

#[test]
fn what_is_no_regular_file_is_refused_with_one_line_and_heals() {
    let mut world = World::new();
    make_fifo(&world.at("fifo.ini"));
    fs::create_dir(world.at("folder.ini")).unwrap();
    let socket = UnixListener::bind(world.at("socket.ini")).unwrap();
    world.link("/dev/zero", "device.ini");
    assert_eq!(world.tells(), NOTHING);
    for (name, what) in
        [("fifo", "FIFO"), ("folder", "directory"), ("socket", "socket"), ("device", "device")]
    {
        assert_eq!(
            world.notices_with(&format!("[{name}.ini] is a {what}")),
            1,
            "{:?}",
            world.notices
        );
    }
    world.rescan();
    assert_eq!(world.tells(), NOTHING);
    assert_eq!(world.notices.len(), 4);
    assert_eq!(world.monitor.refused().len(), 4);
    drop(socket);
    for name in ["fifo.ini", "socket.ini", "device.ini"] {
        world.put(name, "");
    }
    fs::remove_dir(world.at("folder.ini")).unwrap();
    assert_eq!(world.tells(), ["found fifo.ini", "found socket.ini", "found device.ini"]);
    assert_eq!(world.monitor.refused(), []);
}

#[test]
fn a_vassal_that_becomes_something_else_is_lost() {
    let mut world = World::new();
    world.put("a.ini", "");
    assert_eq!(world.tells(), ["found a.ini"]);
    fs::remove_file(world.at("a.ini")).unwrap();
    make_fifo(&world.at("a.ini"));
    assert_eq!(world.tells(), ["lost a.ini"]);
    assert_eq!(world.notices_with("is a FIFO"), 1);
}

#[test]
fn the_same_name_in_two_directories_is_two_vassals() {
    let (mut one, mut other) = (World::new(), World::new());
    one.put("a.ini", "");
    assert_eq!((one.tells(), other.tells()), (vec!["found a.ini".to_owned()], vec![]));
    other.put("a.ini", "");
    fs::remove_file(one.at("a.ini")).unwrap();
    assert_eq!(
        (one.tells(), other.tells()),
        (vec!["lost a.ini".to_owned()], vec!["found a.ini".to_owned()])
    );
}

#[test]
fn a_thousand_files_are_found_at_the_first_look() {
    let mut world = World::with(
        |vassals| {
            for n in 0..1000 {
                fs::write(vassals.join(format!("{n}.ini")), "").unwrap();
            }
        },
        |_| {},
    );
    assert_eq!(world.told().len(), 1000);
    world.put("new.ini", "");
    world.read();
    assert_eq!(world.told(), ["found new.ini"]);
}

#[test]
fn a_hidden_file_is_never_a_vassal_and_nothing_is_said_of_it() {
    let mut world = World::with(|at| fs::write(at.join(".left.ini"), "").unwrap(), |_| {});
    world.write(".ansible_tmp7x9aw.ini", "half");
    fs::rename(world.at(".ansible_tmp7x9aw.ini"), world.at("w.ini")).unwrap();
    assert_eq!(world.tells(), ["found w.ini"]);
    world.write(".ansible_tmpb2w.ini", "half");
    fs::rename(world.at(".ansible_tmpb2w.ini"), world.at("w.ini")).unwrap();
    assert_eq!(world.tells(), ["changed w.ini"]);
    fs::rename(world.at("w.ini"), world.at(".w.ini")).unwrap();
    assert_eq!(world.tells(), ["lost w.ini"]);
    assert_eq!((world.notices.as_slice(), world.monitor.refused()), (&[][..], vec![]));
}

#[test]
fn a_file_that_is_not_taken_is_named_once_and_refused() {
    let mut world = World::with(
        |at| {
            for name in
                ["blog.conf", "UPPER.INI", "plain", "a.ini", "a.ini.socket", "a.ini.dpkg-old"]
            {
                fs::write(at.join(name), "").unwrap();
            }
            for name in ["README.rst", "b.ini~", "uwsgi.log", "#c.ini#", ".hidden"] {
                fs::write(at.join(name), "").unwrap();
            }
            fs::create_dir(at.join("folder")).unwrap();
        },
        |_| {},
    );
    assert_eq!(world.told(), ["found a.ini"]);
    let refused = |world: &World| -> Vec<_> {
        world
            .monitor
            .refused()
            .iter()
            .map(|(name, _)| name.to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(refused(&world), ["UPPER.INI", "blog.conf", "plain"]);
    assert_eq!(world.notices.len(), 1, "{:?}", world.notices);
    assert!(world.notices[0].contains(r#""UPPER.INI", "blog.conf", "plain" are not taken"#));
    assert!(!world.is_woken(Duration::ZERO));
    assert_eq!(world.monitor.deadline(), None);
    world.write("blog.conf", "again");
    world.rescan();
    assert_eq!(world.tells(), NOTHING);
    assert_eq!(world.notices.len(), 1, "{:?}", world.notices);
    fs::rename(world.at("blog.conf"), world.at("blog.ini")).unwrap();
    assert_eq!(world.tells(), ["found blog.ini"]);
    fs::remove_file(world.at("plain")).unwrap();
    world.settle();
    assert_eq!(refused(&world), ["UPPER.INI"]);
    world.put("late.cfg", "");
    world.settle();
    assert_eq!(refused(&world), ["UPPER.INI", "late.cfg"]);
    assert_eq!(world.notices_with(r#""late.cfg" is not taken"#), 1, "{:?}", world.notices);
}

#[test]
fn a_temporary_file_without_an_ending_is_not_worth_a_word() {
    let mut world = World::new();
    world.put("a.ini", "");
    assert_eq!(world.tells(), ["found a.ini"]);
    // As sed -i and rsync --inplace's neighbours do it.
    world.write("sedX1b2c3", "new text");
    world.read();
    world.pass(Duration::from_secs(1));
    world.expire();
    fs::rename(world.at("sedX1b2c3"), world.at("a.ini")).unwrap();
    assert_eq!(world.tells(), ["changed a.ini"]);
    assert_eq!((world.notices.as_slice(), world.monitor.refused()), (&[][..], vec![]));
}

#[test]
fn a_vassal_that_is_renamed_to_a_backup_without_a_known_ending_has_its_time_to_be_written_anew() {
    let mut world = World::new();
    world.put("a.ini", "old");
    assert_eq!(world.tells(), ["found a.ini"]);
    fs::rename(world.at("a.ini"), world.at("a.ini.20261130")).unwrap();
    world.read();
    world.write("a.ini", "newer");
    assert_eq!(world.tells(), ["changed a.ini"]);
}
