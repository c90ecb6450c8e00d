//! How long the parts of the directory monitor take on this machine, for people: `cargo bench --bench monitor`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "../tests/support/brief.rs"]
#[allow(dead_code, reason = "for failing tests")]
mod brief;
#[path = "../tests/monitor/world.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod world;

use std::fs::{self, File};
use std::time::{Duration, Instant};

use liege::monitor::{Changes, Monitor};

use world::World;

const ROUNDS: usize = 30;

/// The shortest of several rounds: on a busy machine the others measure the neighbours.
fn shortest(what: &str, mut round: impl FnMut() -> Duration) {
    let shortest = (0..ROUNDS).map(|_| round()).min().unwrap();
    println!("{what}: {shortest:?}");
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn main() {
    let mut world = World::with(
        |vassals| (0..1000).for_each(|n| fs::write(vassals.join(format!("{n}.ini")), "").unwrap()),
        |_| {},
    );
    shortest("first look at 1,000 files", || {
        let mut options = world::options(&world.at(""));
        options.on_demand_extension = None;
        let mut fresh = World::of(options);
        timed(|| fresh.rescan())
    });
    shortest("first look at 1,000 files, any of them may be on demand", || {
        let mut fresh = World::of(world::options(&world.at("")));
        timed(|| fresh.rescan())
    });
    shortest("rescan of 1,000 files", || timed(|| world.rescan()));
    shortest("rename to found, beside 1,000", || {
        fs::write(world.beside("new"), "").unwrap();
        fs::rename(world.beside("new"), world.at("new.ini")).unwrap();
        let mut out = Changes::default();
        let now = world.now();
        let took = timed(|| world.monitor.read(now, &mut out));
        assert_eq!(out.changes.len(), 1);
        fs::remove_file(world.at("new.ini")).unwrap();
        let mut lost = Changes::default();
        world.monitor.read(now, &mut lost);
        world.monitor.expire(now + Duration::from_secs(1), &mut lost);
        took
    });

    let mut world = World::new();
    fs::write(world.beside("skeleton"), "").unwrap();
    for n in 0..1000 {
        world.link("../skeleton", &format!("{n}.ini"));
    }
    world.settle();
    shortest("first look at 1,000 links to one file", || {
        let mut fresh = World::of(world::options(&world.at("")));
        timed(|| fresh.rescan())
    });
    let mut second = 0;
    shortest("touch of the file behind 1,000 links", || {
        second += 1;
        let time = std::time::UNIX_EPOCH + Duration::from_secs(second);
        File::options()
            .append(true)
            .open(world.beside("skeleton"))
            .unwrap()
            .set_modified(time)
            .unwrap();
        timed(|| world.read())
    });

    let mut world = World::new();
    fs::create_dir(world.beside("home")).unwrap();
    world.link("../home/missing", "a.ini");
    world.settle();
    let (one, other) = (world.beside("home/one"), world.beside("home/other"));
    fs::write(&one, "").unwrap();
    let churn = std::thread::spawn(move || {
        for _ in 0..500_000 {
            fs::rename(&one, &other).unwrap();
            fs::rename(&other, &one).unwrap();
        }
    });
    let (mut turns, mut busy, mut longest) = (0, Duration::ZERO, Duration::ZERO);
    let mut worst = Duration::ZERO;
    let mut next = 0;
    while !churn.is_finished() {
        if world.is_readable(Duration::from_millis(50)) {
            let took = timed(|| world.read());
            (turns, busy, longest) = (turns + 1, busy + took, longest.max(took));
        }
        if turns % 1000 == 999 {
            world.put(&format!("{next}.ini"), "");
            next += 1;
            let took = timed(|| world.until("it", |world| world.known.len() == next));
            worst = worst.max(took);
        }
    }
    churn.join().unwrap();
    println!(
        "a million moves beside a missing target: {turns} turns, {busy:?}, longest {longest:?}"
    );
    println!("slowest of {next} files found meanwhile: {worst:?}");
}
