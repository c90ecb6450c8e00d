//! Symbolic links: the link, the way, the target.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use liege::monitor::Monitor;
use liege::sys::dir::Links;

use crate::world::World;

const NOTHING: [&str; 0] = [];

/// A world with a link in it; all is quiet, and the link is found.
fn linked(target: &str) -> World {
    let mut world = World::new();
    fs::create_dir_all(world.beside("over/there")).unwrap();
    fs::write(world.beside("over/there/skeleton"), "1").unwrap();
    let target =
        if target.starts_with('/') { world.beside("over/there/skeleton") } else { target.into() };
    world.link(target, "a.ini");
    assert_eq!(world.tells(), ["found a.ini"]);
    assert_eq!(world.monitor.deadline(), None);
    world
}

fn both(test: impl Fn(World)) {
    test(linked("/"));
    test(linked("../over/there/skeleton"));
}

fn touch(path: &Path) {
    let later = fs::metadata(path).unwrap().modified().unwrap() + Duration::from_secs(1);
    File::options().append(true).open(path).unwrap().set_modified(later).unwrap();
}

/// Points a link elsewhere in one step, as `ln -sfn` does.
fn point(link: &Path, target: impl AsRef<Path>) {
    let new = link.with_extension("next");
    symlink(target, &new).unwrap();
    fs::rename(new, link).unwrap();
}

#[test]
fn a_link_is_found_after_a_moment() {
    let mut world = World::new();
    fs::write(world.beside("skeleton"), "").unwrap();
    world.link("../skeleton", "a.ini");
    world.read();
    assert_eq!(world.told(), NOTHING);
    world.pass(Duration::from_millis(100));
    world.expire();
    assert_eq!(world.told(), ["found a.ini"]);
    assert_eq!(world.monitor.deadline(), None);
}

#[test]
fn a_touched_target_is_a_change() {
    both(|mut world| {
        touch(&world.beside("over/there/skeleton"));
        world.read();
        assert_eq!(world.told(), ["changed a.ini"]);
        assert_eq!(world.tells(), NOTHING);
    });
}

#[test]
fn a_rewritten_target_is_one_change_when_it_is_closed() {
    both(|mut world| {
        let mut file = File::create(world.beside("over/there/skeleton")).unwrap();
        world.read();
        file.write_all(b"new").unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        world.read();
        assert_eq!(world.told(), NOTHING);
        drop(file);
        assert_eq!(world.tells(), ["changed a.ini"]);
    });
}

#[test]
fn a_replaced_target_is_one_change_again_and_again() {
    both(|mut world| {
        for _ in 0..3 {
            fs::write(world.beside("over/there/new"), "1").unwrap();
            fs::rename(world.beside("over/there/new"), world.beside("over/there/skeleton"))
                .unwrap();
            assert_eq!(world.tells(), ["changed a.ini"]);
        }
        touch(&world.beside("over/there/skeleton"));
        assert_eq!(world.tells(), ["changed a.ini"]);
    });
}

#[test]
fn a_target_that_is_removed_and_written_anew_is_one_change() {
    both(|mut world| {
        let path = world.beside("over/there/skeleton");
        fs::remove_file(&path).unwrap();
        world.read();
        let mut file = File::create_new(&path).unwrap();
        world.read();
        file.write_all(b"1").unwrap();
        world.read();
        drop(file);
        assert_eq!(world.tells(), ["changed a.ini"]);
        touch(&path);
        assert_eq!(world.tells(), ["changed a.ini"]);
    });
}

#[test]
fn a_target_that_an_editor_backs_up_is_one_change() {
    both(|mut world| {
        let path = world.beside("over/there/skeleton");
        fs::rename(&path, world.beside("over/there/skeleton~")).unwrap();
        world.read();
        world.pass(Duration::from_millis(20));
        world.expire();
        fs::write(&path, "12").unwrap();
        fs::remove_file(world.beside("over/there/skeleton~")).unwrap();
        assert_eq!(world.tells(), ["changed a.ini"]);
    });
}

#[test]
fn a_link_that_is_pointed_elsewhere_is_one_change() {
    both(|mut world| {
        fs::write(world.beside("other"), "").unwrap();
        point(&world.at("a.ini"), "../other");
        assert_eq!(world.tells(), ["changed a.ini"]);
        touch(&world.beside("over/there/skeleton"));
        assert_eq!(world.tells(), NOTHING);
        touch(&world.beside("other"));
        assert_eq!(world.tells(), ["changed a.ini"]);
    });
}

#[test]
fn a_removed_link_is_lost_and_its_target_forgotten() {
    both(|mut world| {
        fs::remove_file(world.at("a.ini")).unwrap();
        assert_eq!(world.tells(), ["lost a.ini"]);
        touch(&world.beside("over/there/skeleton"));
        assert!(!world.is_woken(Duration::ZERO));
    });
}

#[test]
fn a_target_that_goes_away_loses_the_vassal_until_it_returns() {
    both(|mut world| {
        let path = world.beside("over/there/skeleton");
        fs::remove_file(&path).unwrap();
        assert_eq!(world.tells(), ["lost a.ini"]);
        assert_eq!(world.notices_with("is a dangling link"), 1);
        assert_eq!(world.monitor.refused().len(), 1);
        fs::remove_dir_all(world.beside("over")).unwrap();
        fs::create_dir_all(world.beside("over/there")).unwrap();
        assert_eq!(world.tells(), NOTHING);
        fs::write(&path, "").unwrap();
        assert_eq!(world.tells(), ["found a.ini"]);
        assert_eq!(world.monitor.refused(), []);
    });
}

#[test]
fn a_target_is_waited_for_although_somebody_sits_in_its_removed_directory() {
    both(|mut world| {
        let _sitting = File::open(world.beside("over/there")).unwrap();
        fs::remove_dir_all(world.beside("over/there")).unwrap();
        assert_eq!(world.tells(), ["lost a.ini"]);
        fs::create_dir(world.beside("over/there")).unwrap();
        fs::write(world.beside("over/there/skeleton"), "").unwrap();
        assert_eq!(world.tells(), ["found a.ini"]);
    });
}

#[test]
fn a_missing_target_that_is_being_written_is_taken_when_it_is_closed() {
    let mut world = World::new();
    world.link("../missing", "a.ini");
    assert_eq!(world.tells(), NOTHING);
    let mut file = File::create(world.beside("missing")).unwrap();
    world.read();
    file.write_all(b"all").unwrap();
    world.read();
    assert_eq!(world.told(), NOTHING);
    drop(file);
    assert_eq!(world.tells(), ["found a.ini"]);
    assert_eq!(world.known[OsStr::new("a.ini")].version.size, 3);
}

#[test]
fn a_missing_target_may_be_a_link_itself() {
    let mut world = World::new();
    world.link("../missing", "a.ini");
    fs::write(world.beside("real"), "").unwrap();
    assert_eq!(world.tells(), NOTHING);
    symlink("real", world.beside("missing")).unwrap();
    assert_eq!(world.tells(), ["found a.ini"]);
    touch(&world.beside("real"));
    assert_eq!(world.tells(), ["changed a.ini"]);
}

#[test]
fn a_missing_target_may_become_a_link_to_something_missing() {
    let mut world = World::new();
    world.link("../missing", "a.ini");
    assert_eq!(world.tells(), NOTHING);
    symlink("real", world.beside("missing")).unwrap();
    assert_eq!(world.tells(), NOTHING);
    fs::write(world.beside("real"), "").unwrap();
    assert_eq!(world.tells(), ["found a.ini"]);
}

#[test]
fn every_link_of_a_chain_is_followed() {
    let mut world = World::new();
    for folder in ["one", "two", "three"] {
        fs::create_dir(world.beside(folder)).unwrap();
        fs::write(world.beside(folder).join("real"), folder).unwrap();
    }
    symlink("../two/link", world.beside("one/link")).unwrap();
    symlink(world.beside("three/real"), world.beside("two/link")).unwrap();
    world.link("../one/link", "a.ini");
    assert_eq!(world.tells(), ["found a.ini"]);
    touch(&world.beside("three/real"));
    assert_eq!(world.tells(), ["changed a.ini"]);
    point(&world.beside("two/link"), "real");
    assert_eq!(world.tells(), ["changed a.ini"]);
    point(&world.beside("one/link"), "real");
    assert_eq!(world.tells(), ["changed a.ini"]);
    touch(&world.beside("one/real"));
    assert_eq!(world.tells(), ["changed a.ini"]);
    touch(&world.beside("two/real"));
    assert_eq!(world.tells(), NOTHING);
}

#[test]
fn a_release_that_is_switched_by_a_link_on_the_way_is_one_change() {
    let mut world = World::new();
    for release in ["1", "2"] {
        fs::create_dir_all(world.beside("releases").join(release)).unwrap();
        fs::write(world.beside("releases").join(release).join("app.ini"), release).unwrap();
    }
    symlink("releases/1", world.beside("current")).unwrap();
    world.link("../current/app.ini", "a.ini");
    assert_eq!(world.tells(), ["found a.ini"]);
    for release in ["2", "1", "2"] {
        point(&world.beside("current"), Path::new("releases").join(release));
        assert_eq!(world.tells(), ["changed a.ini"]);
    }
}

#[test]
fn a_directory_on_the_way_may_be_moved_and_replaced() {
    both(|mut world| {
        fs::rename(world.beside("over"), world.beside("under")).unwrap();
        assert_eq!(world.tells(), ["lost a.ini"]);
        fs::rename(world.beside("under"), world.beside("over")).unwrap();
        assert_eq!(world.tells(), ["found a.ini"]);
        fs::rename(world.beside("over"), world.beside("under")).unwrap();
        world.read();
        fs::create_dir_all(world.beside("over/there")).unwrap();
        fs::write(world.beside("over/there/skeleton"), "1").unwrap();
        assert_eq!(world.tells(), ["changed a.ini"]);
    });
}

#[test]
fn one_skeleton_serves_many() {
    let mut world = World::new();
    fs::write(world.beside("skeleton"), "").unwrap();
    for n in 0..1000 {
        world.link("../skeleton", &format!("{n:03}.ini"));
    }
    assert_eq!(world.tells().len(), 1000);
    touch(&world.beside("skeleton"));
    world.read();
    let told = world.tells();
    assert_eq!(told.len(), 1000);
    assert!(told.iter().all(|told| told.starts_with("changed")));
    fs::write(world.beside("new"), "").unwrap();
    fs::rename(world.beside("new"), world.beside("skeleton")).unwrap();
    assert_eq!(world.tells().len(), 1000);
    fs::remove_file(world.beside("skeleton")).unwrap();
    let told = world.tells();
    assert_eq!(told.len(), 1000);
    assert!(told.iter().all(|told| told.starts_with("lost")));
}

#[test]
fn links_in_a_circle_are_refused_until_the_circle_is_broken() {
    let mut world = World::new();
    symlink("one", world.beside("two")).unwrap();
    symlink("two", world.beside("one")).unwrap();
    world.link("../one", "a.ini");
    world.link("b.ini", "b.ini");
    assert_eq!(world.tells(), NOTHING);
    assert_eq!(world.notices_with("is a dangling link"), 2);
    fs::write(world.beside("real"), "").unwrap();
    point(&world.beside("two"), "real");
    assert_eq!(world.tells(), ["found a.ini"]);
}

#[test]
fn a_path_without_end_costs_little_and_leads_nowhere() {
    let mut world = World::new();
    let detour = "../out/".repeat(60);
    fs::create_dir(world.beside("out")).unwrap();
    fs::write(world.beside("out/end"), "").unwrap();
    for n in 0..30 {
        let next = if n == 29 { "end".to_owned() } else { (n + 1).to_string() };
        symlink(format!("{detour}{next}"), world.beside(format!("out/{n}"))).unwrap();
    }
    assert!(fs::metadata(world.beside("out/0")).unwrap().is_file());
    world.link("../out/0", "long.ini");
    world.link("../out/28", "short.ini");
    assert_eq!(world.tells(), ["found short.ini"]);
    assert_eq!(world.notices_with("[long.ini] is a dangling link"), 1);
    fs::remove_file(world.beside("out/3")).unwrap();
    symlink("end", world.beside("out/3")).unwrap();
    assert_eq!(world.tells(), ["found long.ini"]);
}

#[test]
fn links_within_the_directory_are_followed_too() {
    let mut world = World::new();
    world.write("app.skel", "");
    world.link("app.skel", "a.ini");
    world.link("./app.skel", "b.ini");
    assert_eq!(world.tells(), ["found a.ini", "found b.ini"]);
    touch(&world.at("app.skel"));
    let mut told = world.tells();
    told.sort();
    assert_eq!(told, ["changed a.ini", "changed b.ini"]);
}

#[test]
fn a_busy_directory_of_a_target_wakes_nobody() {
    both(|mut world| {
        for n in 0..1000 {
            let path = world.beside("over/there").join(n.to_string());
            fs::write(&path, "").unwrap();
            fs::rename(&path, world.beside("over/there/x")).unwrap();
        }
        assert!(!world.is_woken(Duration::ZERO));
    });
}

#[test]
fn a_flood_beside_a_missing_target_loses_no_event_of_the_directory() {
    let mut world = World::new();
    fs::create_dir(world.beside("home")).unwrap();
    world.link("../home/missing", "a.ini");
    assert_eq!(world.tells(), NOTHING);
    let (one, other) = (world.beside("home/one"), world.beside("home/other"));
    fs::write(&one, "").unwrap();
    for _ in 0..20_000 {
        fs::rename(&one, &other).unwrap();
        fs::rename(&other, &one).unwrap();
    }
    world.put("b.ini", "");
    world.read();
    assert_eq!(world.told(), ["found b.ini"]);
    fs::write(world.beside("home/missing"), "").unwrap();
    assert_eq!(world.tells(), ["found a.ini"]);
    assert_eq!(world.notices_with("events were lost"), 1);
}

#[test]
fn with_nofollow_a_link_stands_for_itself() {
    let mut world = World::with(|_| {}, |options| options.links = Links::Stay);
    fs::write(world.beside("skeleton"), "").unwrap();
    world.link("../skeleton", "a.ini");
    world.link("../nowhere", "broken.ini");
    assert_eq!(world.tells(), ["found a.ini", "found broken.ini"]);
    assert!(world.known[OsStr::new("broken.ini")].is_link);
    touch(&world.beside("skeleton"));
    assert_eq!(world.tells(), NOTHING);
    point(&world.at("a.ini"), "../skeleton");
    assert_eq!(world.tells(), ["changed a.ini"]);
}

#[test]
fn a_link_to_something_else_than_a_file_is_refused_until_it_leads_to_one() {
    let mut world = World::new();
    fs::create_dir(world.beside("thing")).unwrap();
    world.link("../thing", "a.ini");
    world.link("/dev/null", "b.ini");
    assert_eq!(world.tells(), NOTHING);
    assert_eq!(world.notices_with("[a.ini] is a directory"), 1);
    assert_eq!(world.notices_with("[b.ini] is a device"), 1);
    fs::remove_dir(world.beside("thing")).unwrap();
    fs::write(world.beside("thing"), "").unwrap();
    assert_eq!(world.tells(), ["found a.ini"]);
}

/// How long the loop may be away, with room for an unoptimized build.
const A_MOMENT: Duration = Duration::from_millis(100);

#[test]
fn hundreds_of_links_through_a_deep_directory_do_not_hold_the_loop() {
    let mut world = World::new();
    let deep: PathBuf = std::iter::repeat_n("deep", 60).collect();
    fs::create_dir_all(world.beside(&deep)).unwrap();
    for n in 0..300 {
        world.link(Path::new("..").join(&deep).join(n.to_string()), &format!("{n}.ini"));
    }
    world.settle();
    assert_eq!(world.notices.len(), 300, "each is looked at in the end");
    world.rescan();
    world.settle();
    fs::rename(world.at(""), world.beside("elsewhere")).unwrap();
    world.settle();
    fs::rename(world.beside("elsewhere"), world.at("")).unwrap();
    world.settle();
    for n in 0..300 {
        fs::remove_file(world.at(format!("{n}.ini"))).unwrap();
    }
    world.settle();
    assert!(world.longest() < A_MOMENT, "{:?}", world.longest());
}

#[test]
fn a_thousand_links_in_a_circle_do_not_hold_the_loop() {
    let mut world = World::new();
    for n in 0..1000 {
        world.link(format!("{}.ini", (n + 1) % 1000), &format!("{n}.ini"));
    }
    world.settle();
    assert_eq!(world.notices.len(), 1000, "each is looked at in the end");
    assert!(world.longest() < A_MOMENT, "{:?}", world.longest());
}
