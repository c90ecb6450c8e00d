//! The file with the on-demand address beside a vassal file.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::Duration;

use liege::monitor::{Monitor, OnDemandAddress};

use crate::files::make_fifo;
use crate::world::World;

const NOTHING: [&str; 0] = [];

fn address(text: &str) -> OnDemandAddress {
    OnDemandAddress::Address(text.into())
}

impl World {
    fn address(&self) -> OnDemandAddress {
        self.known[OsStr::new("a.ini")].on_demand.clone()
    }
}

/// A world with a vassal on demand.
fn on_demand() -> World {
    let mut world = World::new();
    world.write("a.ini.socket", "127.0.0.1:8000\n");
    world.write("a.ini", "");
    assert_eq!(world.tells(), ["found a.ini"]);
    assert_eq!(world.address(), address("127.0.0.1:8000"));
    world
}

#[test]
fn the_first_look_knows_the_addresses() {
    let mut world = World::with(
        |vassals| {
            for (name, content) in
                [("a.ini", ""), ("a.ini.socket", "@a"), ("b.ini", ""), ("x.socket", "@x")]
            {
                fs::write(vassals.join(name), content).unwrap();
            }
        },
        |_| {},
    );
    assert_eq!(world.told(), ["found a.ini", "found b.ini"]);
    assert_eq!(world.address(), address("@a"));
    assert_eq!(world.known[OsStr::new("b.ini")].on_demand, OnDemandAddress::No);
}

#[test]
fn another_address_is_another_vassal() {
    let mut world = on_demand();
    for replace in [World::write, World::put] {
        for text in ["@one", "@two"] {
            replace(&world, "a.ini.socket", text);
            assert_eq!(world.tells(), ["changed a.ini"]);
            assert_eq!(world.address(), address(text));
        }
    }
}

#[test]
fn the_same_address_written_anew_is_nothing() {
    let mut world = on_demand();
    world.write("a.ini.socket", "127.0.0.1:8000\r\n# comment\n");
    assert_eq!(world.tells(), NOTHING);
    world.put("a.ini.socket", " 127.0.0.1:8000");
    assert_eq!(world.tells(), NOTHING);
}

#[test]
fn an_address_that_is_added_or_removed_counts() {
    let mut world = on_demand();
    fs::remove_file(world.at("a.ini.socket")).unwrap();
    assert_eq!(world.tells(), ["changed a.ini"]);
    assert_eq!(world.address(), OnDemandAddress::No);
    world.write("a.ini.socket", "@new");
    assert_eq!(world.tells(), ["changed a.ini"]);
    assert_eq!(world.address(), address("@new"));
    world.write("a.ini.socket", "");
    assert_eq!(world.tells(), ["changed a.ini"]);
    assert!(matches!(world.address(), OnDemandAddress::Fault(_)));
}

#[test]
fn an_address_that_is_written_slowly_counts_at_its_end() {
    let mut world = World::new();
    world.write("a.ini", "");
    assert_eq!(world.tells(), ["found a.ini"]);
    let mut file = File::create_new(world.at("a.ini.socket")).unwrap();
    world.read();
    file.write_all(b"@slow").unwrap();
    world.read();
    assert_eq!(world.told(), NOTHING);
    drop(file);
    world.read();
    assert_eq!(world.told(), ["changed a.ini"], "at the end of writing, not when time has passed");
    assert_eq!(world.address(), address("@slow"));
}

#[test]
fn an_address_without_its_vassal_is_nothing() {
    let mut world = World::new();
    world.write("a.ini.socket", "@a");
    assert_eq!(world.tells(), NOTHING);
    assert_eq!(world.monitor.deadline(), None);
}

#[test]
fn an_address_that_an_editor_saves_does_not_disturb_until_it_is_whole() {
    let mut world = on_demand();
    fs::rename(world.at("a.ini.socket"), world.at("a.ini.socket~")).unwrap();
    world.read();
    let mut file = File::create_new(world.at("a.ini.socket")).unwrap();
    world.read();
    file.write_all(b"127.0.0.1:9").unwrap();
    world.read();
    assert_eq!(world.told(), NOTHING);
    file.write_all(b"000").unwrap();
    drop(file);
    assert_eq!(world.tells(), ["changed a.ini"]);
    assert_eq!(world.address(), address("127.0.0.1:9000"));
}

#[test]
fn a_removed_vassal_and_its_address_are_one_loss() {
    for names in [["a.ini", "a.ini.socket"], ["a.ini.socket", "a.ini"]] {
        let mut world = on_demand();
        for name in names {
            fs::remove_file(world.at(name)).unwrap();
        }
        assert_eq!(world.tells(), ["lost a.ini"]);
    }
}

#[test]
fn a_fifo_as_address_blocks_nothing_and_is_a_fault() {
    let mut world = World::new();
    make_fifo(&world.at("a.ini.socket"));
    world.write("a.ini", "");
    assert_eq!(world.tells(), ["found a.ini"]);
    let why = "its address file a.ini.socket is not a regular file; write the address into one";
    assert_eq!(world.address(), OnDemandAddress::Fault(why.into()));
    assert_eq!(world.monitor.deadline(), None);
    world.put("a.ini.socket", "@good");
    assert_eq!(world.tells(), ["changed a.ini"]);
    assert_eq!(world.address(), address("@good"));
}

#[test]
fn an_address_behind_a_link_is_followed() {
    let mut world = on_demand();
    fs::write(world.beside("shared"), "@shared").unwrap();
    fs::remove_file(world.at("a.ini.socket")).unwrap();
    symlink("../shared", world.at("a.ini.socket")).unwrap();
    assert_eq!(world.tells(), ["changed a.ini"]);
    assert_eq!(world.address(), address("@shared"));
    fs::write(world.beside("shared"), "@other").unwrap();
    assert_eq!(world.tells(), ["changed a.ini"]);
    assert_eq!(world.address(), address("@other"));
    fs::remove_file(world.beside("shared")).unwrap();
    assert_eq!(world.tells(), ["changed a.ini"]);
    assert!(matches!(world.address(), OnDemandAddress::Fault(_)));
    fs::write(world.beside("shared"), "@again").unwrap();
    assert_eq!(world.tells(), ["changed a.ini"]);
    assert_eq!(world.address(), address("@again"));
}

#[test]
fn no_byte_of_a_secret_is_told() {
    let mut world = World::new();
    fs::write(world.beside("secret"), [b"hunter2".to_vec(), vec![0xff; 10]].concat()).unwrap();
    world.link("../secret", "a.ini.socket");
    world.write("a.ini", "");
    assert_eq!(world.tells(), ["found a.ini"]);
    assert!(matches!(world.address(), OnDemandAddress::Fault(_)));
    assert!(!format!("{:?} {:?}", world.address(), world.notices).contains("hunter"));
}

#[test]
fn a_touched_vassal_on_demand_is_changed_and_keeps_its_address() {
    let mut world = on_demand();
    world.put("a.ini", "new");
    assert_eq!(world.tells(), ["changed a.ini"]);
    assert_eq!(world.address(), address("127.0.0.1:8000"));
}

#[test]
fn a_slow_link_to_an_address_is_looked_at_after_a_moment() {
    let mut world = World::new();
    world.write("a.ini", "");
    assert_eq!(world.tells(), ["found a.ini"]);
    fs::write(world.beside("shared"), "@shared").unwrap();
    symlink("../shared", world.at("a.ini.socket")).unwrap();
    world.read();
    world.pass(Duration::from_millis(100));
    world.expire();
    assert_eq!(world.told(), ["changed a.ini"]);
}

#[test]
fn an_address_that_is_made_anew_at_once_disturbs_nobody_whatever_else_is_told_meanwhile() {
    let mut world = on_demand();
    // As git checkout writes both, one after the other; we are awake while the second is away.
    fs::remove_file(world.at("a.ini")).unwrap();
    world.write("a.ini", "new text");
    fs::remove_file(world.at("a.ini.socket")).unwrap();
    world.read();
    assert_eq!(world.told(), ["changed a.ini"]);
    assert_eq!(world.address(), address("127.0.0.1:8000"));
    world.write("a.ini.socket", "127.0.0.1:8000\n");
    assert_eq!(world.tells(), NOTHING);
    fs::remove_file(world.at("a.ini.socket")).unwrap();
    world.read();
    world.put("a.ini", "newer text");
    world.read();
    assert_eq!(world.told(), ["changed a.ini"]);
    assert_eq!(world.address(), address("127.0.0.1:8000"));
    symlink("../nowhere", world.at("a.ini.socket")).unwrap();
    fs::write(world.beside("nowhere"), "127.0.0.1:8000").unwrap();
    assert_eq!(world.tells(), NOTHING);
}

#[test]
fn an_address_that_stays_away_is_gone_after_a_tenth_of_a_second_however_often_its_vassal_is_touched()
 {
    let mut world = on_demand();
    fs::remove_file(world.at("a.ini.socket")).unwrap();
    world.read();
    for touch in 0..4 {
        world.pass(Duration::from_millis(24));
        world.put("a.ini", &format!("touched {touch}"));
        world.read();
        world.expire();
        assert_eq!(world.told(), ["changed a.ini"]);
        assert_eq!(world.address(), address("127.0.0.1:8000"));
    }
    world.pass(Duration::from_millis(4));
    world.expire();
    assert_eq!(world.told(), ["changed a.ini"]);
    assert_eq!(world.address(), OnDemandAddress::No);
}
