//! The instructions of one start in each process of liege: the only figures that another machine repeats, so that
//! they can be compared with those that are committed.

use crate::contender::{Contender, Linking, Programs, Way};
use crate::stepper::{Stepper, Subject};
use crate::sys;
use crate::world::{Running, World};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// As many vassals run while the start is watched.
const VASSALS: usize = 20;
const REPEATS: usize = 3;
/// More than this above the committed figure is a failure.
const TOLERANCE: f64 = 1.05;
/// The C library is to take the same functions on all processors.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-BMI2,-ERMS,-FSRM,-SSSE3,-SSE4_1,-SSE4_2,-RTM,-MOVBE";

/// What begins the start that is watched.
#[derive(Clone, Copy)]
enum Event {
    NewFile,
    Death,
}

/// By way and process.
type Figures = BTreeMap<(String, &'static str), u64>;

/// Prints the figures of all contenders; false if ours are above the committed ones. `renew` commits to them.
pub fn run(programs: &Programs, contenders: &[Contender], renew: bool) -> io::Result<bool> {
    let mut ours = Figures::new();
    // A start as a user reads the machine's users.
    let repeatable = |it: &&Contender| it.is_liege() && it.way() != Some(Way::StageAsUser);
    println!("instructions in user space of one start");
    for contender in contenders.iter().filter(repeatable) {
        let figures = of(programs, contender)?;
        if contender.other_of.is_none() {
            ours.extend(figures);
        } else {
            figures.iter().for_each(|(key, &count)| println!("{}", line(key, count)));
        }
    }
    if renew {
        std::fs::write(file(), text(&ours))?;
    }
    Ok(check(&ours, &std::fs::read_to_string(file())?))
}

fn line((name, process): &(String, &str), count: u64) -> String {
    format!("  {name:<14}{process:<30}{count:>8}")
}

fn file() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.tsv").into()
}

fn of(programs: &Programs, contender: &Contender) -> io::Result<Figures> {
    let mut world = World::new(programs, contender, Linking::Bare).with_vassals(VASSALS);
    world.variable = Some(("GLIBC_TUNABLES", TUNABLES));
    let running = world.start();
    running.wait(0, VASSALS);
    let roles = sys::Roles::of(&running.supervisor(), running.statistic("pid"));
    let mut parents = vec![roles.emperor];
    parents.extend(roles.spawner);
    let emperor = Subject::Process(roles.emperor);
    let mut watched = vec![
        ("emperor, new file", emperor, Event::NewFile),
        ("emperor, death and successor", emperor, Event::Death),
        ("child", Subject::NextChild, Event::Death),
    ];
    watched.extend(roles.spawner.map(|pid| ("spawner", Subject::Process(pid), Event::Death)));
    let mut figures = Figures::new();
    let mut number = 0;
    for (process, subject, event) in watched {
        let mut counts = Vec::new();
        for _ in 0..REPEATS {
            number += 1;
            counts.push(one(&running, (subject, event), &parents, number)?);
        }
        counts.sort_unstable();
        figures.insert((contender.name.clone(), process), counts[REPEATS / 2]);
    }
    Ok(figures)
}

fn one(
    running: &Running<'_>,
    (subject, event): (Subject, Event),
    parents: &[i32],
    number: usize,
) -> io::Result<u64> {
    // The last start is loyal, its throttle and its timers are over.
    std::thread::sleep(Duration::from_secs(2));
    let (name, from) = (format!("{}.ini", 10 + number % 10), running.count());
    let stepper = Stepper::attach(subject, parents, running.world.started())?;
    match event {
        Event::NewFile => drop(running.world.bring(&format!("n{number:03}.ini"))),
        Event::Death => sys::kill(running.pids()[&name], libc::SIGKILL),
    }
    let count = stepper.run()?;
    running.wait(from, 1);
    Ok(count)
}

fn text(figures: &Figures) -> String {
    let mut text = "# Instructions in user space of one start; `benches/run --instructions --renew` writes this file.\n"
        .to_owned();
    for ((name, process), count) in figures {
        let _ = writeln!(text, "{name}\t{process}\t{count}");
    }
    text
}

fn check(figures: &Figures, committed: &str) -> bool {
    let mut good = true;
    for (key, &count) in figures {
        let start = format!("{}\t{}\t", key.0, key.1);
        let before = committed.lines().find_map(|it| it.strip_prefix(&start)?.parse::<f64>().ok());
        let grown = before.map_or(f64::INFINITY, |before| count as f64 / before);
        let verdict = if grown > TOLERANCE { "TOO MANY" } else { "good" };
        println!("{} {grown:>6.3} x the committed figure   {verdict}", line(key, count));
        good &= grown <= TOLERANCE;
    }
    if !good {
        println!(
            "A start has become dearer than benches/instructions.tsv says. Make it cheaper; or, if it is worth it \
             or the compiler is another, write the file anew by `benches/run --instructions --renew`, and say why \
             in the commit."
        );
    }
    good
}
