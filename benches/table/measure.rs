//! What is measured.

use crate::contender::{Contender, Kind, Way};
use crate::peers::Peer;
use crate::sys;
use crate::table::{Row, Samples};
use crate::world::{Running, World, millis};
use std::fs::{self, File, FileTimes};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime};

/// What one start of a supervisor is used for.
#[derive(Clone, Copy)]
pub enum Measurement {
    /// Only the start of that many vassals.
    Cold(usize),
    /// The start of that many vassals, and everything that happens to them then.
    Life(usize),
    /// The start of a thousand vassals and of that many, and what that makes of one start.
    Boot(usize),
}

/// Times are in milliseconds.
pub type Sample = Vec<(Row, f64)>;

/// Not everybody takes part in everything.
pub fn takes_part(contender: &Contender, measurement: Measurement) -> bool {
    match measurement {
        Measurement::Cold(_) | Measurement::Boot(_) => contender.is_limit() || contender.is_liege(),
        Measurement::Life(_) => contender.peer() != Some(Peer::SocketActivate),
    }
}

pub fn sample<'a>(
    measurement: Measurement,
    world: impl Fn() -> World<'a>,
    repeat: usize,
) -> Sample {
    // What the one before has left to the kernel to tidy up is not this one's.
    std::thread::sleep(Duration::from_secs(1));
    match measurement {
        Measurement::Cold(count) => cold(&boot(world(), count), count),
        Measurement::Life(count) => life(world(), count, repeat),
        Measurement::Boot(count) => {
            let few = cold(&boot(world(), 1000), 1000);
            std::thread::sleep(Duration::from_secs(1));
            let mut many = cold(&boot(world(), count), count);
            let per_start = [few[0].1 / 1000.0, many[0].1 / count as f64];
            many.push((Row::Growth(count), per_start[1] / per_start[0]));
            many
        }
    }
}

fn boot(world: World<'_>, count: usize) -> Running<'_> {
    let running = world.with_vassals(count).start();
    running.wait(0, count);
    running
}

/// From the start of the supervisor to the last exec.
fn cold(running: &Running<'_>, count: usize) -> Sample {
    let mut sample = vec![(Row::Cold(count), millis(running.since, running.wait(0, count)))];
    std::thread::sleep(Duration::from_millis(100));
    if running.world.contender.peer().is_some() {
        return sample;
    }
    let per_start = |pids: &[i32]| {
        pids.iter().map(|&pid| sys::cpu_ns(pid)).sum::<u64>() as f64 / 1e3 / count as f64
    };
    let roles = sys::Roles::of(&running.supervisor(), running.statistic("pid"));
    sample.push((Row::EmperorCpu(count), per_start(&[roles.emperor])));
    sample.extend(roles.spawner.map(|pid| (Row::SpawnerCpu(count), per_start(&[pid]))));
    let vassals: Vec<_> = running.pids().into_values().collect();
    sample.push((Row::VassalCpu(count), per_start(&vassals)));
    sample.extend(turns(running).into_iter().map(|(wall, ms)| (Row::ColdTurn(count, wall), ms)));
    sample
}

/// The longest turns of liege's loop so far, in its own processor time and (`true`) by the clock.
fn turns(running: &Running<'_>) -> Vec<(bool, f64)> {
    if !running.world.contender.is_liege() {
        return Vec::new();
    }
    let own = running.statistic("longest_turn_us");
    // The name of the second in versions that had no other.
    let wall =
        running.statistic("longest_turn_wall_us").or_else(|| running.statistic("longest_loop_us"));
    let turns = [(false, own), (true, wall)];
    turns.into_iter().filter_map(|(wall, us)| Some((wall, us? / 1e3))).collect()
}

/// Everything that happens to vassals that run.
fn life(world: World<'_>, count: usize, repeat: usize) -> Sample {
    let mut running = boot(world, count);
    let mut sample = cold(&running, count);
    // uWSGI's Emperor needs up to three seconds for each sample.
    let samples = if matches!(running.world.contender.kind, Kind::Uwsgi { .. }) { 1 } else { 4 };
    let numbers = |from: usize| (from..from + samples).map(|number| format!("{number}.ini"));
    pause();
    sample.push((Row::Memory(count), memory(&running)));
    sample.extend(numbers(20).map(|name| (Row::Kill, kill(&running, &name))));
    if running.world.contender.peer().is_none() {
        sample.extend(files(&running, samples));
    }
    pause();
    sample.push((Row::Storm(count), storm(&running)));
    if running.world.contender.is_liege() {
        hang_up(&running);
    }
    if repeat == 0 && running.world.contender.is_liege() {
        sample.push((Row::Idle, idle(&running)));
    }
    sample.extend(turns(&running).into_iter().map(|(wall, ms)| (Row::LifeTurn(count, wall), ms)));
    sample.push((Row::Term(count), running.end()));
    sample
}

/// Lives shorter than a second, and files closer together than one, are throttled, and should be.
fn pause() {
    std::thread::sleep(Duration::from_millis(1100));
}

/// What happens to vassal files.
fn files(running: &Running<'_>, samples: usize) -> Sample {
    let mut sample = Vec::new();
    for number in 0..samples {
        if !running.world.contender.is_limit() {
            sample.push((Row::Touch, touch(running, &format!("{number}.ini"))));
        }
        sample.push((Row::Remove, remove(running, &format!("{}.ini", number + 40))));
        pause();
        let (from, name) = (running.count(), format!("new{number}.ini"));
        let before = running.world.bring(&name);
        sample.push((Row::Rename, millis(before, running.next(from, b'S', &name))));
    }
    sample
}

/// All processes of the supervisor, KiB.
fn memory(running: &Running<'_>) -> f64 {
    running.supervisor().into_iter().map(sys::pss_kib).sum()
}

fn touch(running: &Running<'_>, name: &str) -> f64 {
    let file = File::options().append(true).open(running.world.file(name)).unwrap();
    let from = running.count();
    // uWSGI compares whole seconds, and only forward.
    let future = SystemTime::now() + Duration::from_secs(5);
    let before = sys::now();
    // Both times, as touch(1) does: the kernel calls a change of one of them a write, or a read.
    file.set_times(FileTimes::new().set_accessed(future).set_modified(future)).unwrap();
    millis(before, running.next(from, b'R', name))
}

fn kill(running: &Running<'_>, name: &str) -> f64 {
    let (pid, from) = (running.pids()[name], running.count());
    let before = sys::now();
    sys::kill(pid, libc::SIGKILL);
    millis(before, running.next(from, b'S', name))
}

fn remove(running: &Running<'_>, name: &str) -> f64 {
    let handle = sys::pidfd(running.pids()[name]).unwrap();
    let before = sys::now();
    fs::remove_file(running.world.file(name)).unwrap();
    millis(before, sys::ended(&handle, Duration::from_secs(60)).unwrap())
}

/// From the death of all vassals at once to the last exec of a successor.
fn storm(running: &Running<'_>) -> f64 {
    let pids: Vec<_> = running.pids().into_values().collect();
    let from = running.count();
    let before = sys::now();
    pids.iter().for_each(|&pid| sys::kill(pid, libc::SIGKILL));
    millis(before, running.wait(from, pids.len()))
}

/// Has all vassals reload, for the turn of the loop that this takes.
fn hang_up(running: &Running<'_>) {
    let (vassals, from) = (running.pids().len(), running.count());
    sys::kill(running.pid(), libc::SIGHUP);
    running.wait(from, vassals);
}

/// Wake-ups in ten seconds, when the last deadline has passed.
fn idle(running: &Running<'_>) -> f64 {
    let pids = running.supervisor();
    let sleeps = || pids.iter().map(|&pid| sys::sleeps(pid)).sum::<u64>();
    for _ in 0..10 {
        let before = sleeps();
        std::thread::sleep(Duration::from_secs(1));
        if sleeps() == before {
            break;
        }
    }
    let before = sleeps();
    std::thread::sleep(Duration::from_secs(10));
    (sleeps() - before) as f64
}

/// From first connections to the exec. All contenders are there at once and take turns, connection by connection.
pub fn demand<'a>(
    world: impl Fn(&'a Contender) -> World<'a>,
    contenders: &'a [Contender],
    (sockets, samples): (usize, usize),
) -> Samples {
    let taking_part =
        contenders.iter().enumerate().filter(|(_, it)| takes_part_on_demand(it, sockets));
    let mut waiting: Vec<_> =
        taking_part.map(|(at, it)| (at, listening(world(it), sockets))).collect();
    std::thread::sleep(Duration::from_secs(1));
    let mut seen = Samples::default();
    for sample in 0..samples {
        // Spread over all of them: 7 divides none of their numbers.
        let number = (sample * 7) % sockets;
        waiting.rotate_left(1);
        for (at, running) in &mut waiting {
            if contenders[*at].peer().is_some() {
                // It has become the program of its connection.
                *running = listening(world(&contenders[*at]), 1);
                seen.add(Row::Demand(sockets), *at, connect(running, 0));
            } else {
                seen.add(Row::Demand(sockets), *at, connect(running, number));
            }
        }
    }
    seen
}

/// Not everybody takes part: as a user a start is that of the stage, and uWSGI needs very long for thousands.
fn takes_part_on_demand(contender: &Contender, sockets: usize) -> bool {
    match contender.way() {
        Some(Way::StageAsUser) => false,
        Some(_) => contender.is_liege() || sockets <= 1000,
        None if contender.is_limit() => true,
        None => contender.peer() == Some(Peer::SocketActivate) && sockets == 20,
    }
}

fn listening(world: World<'_>, sockets: usize) -> Running<'_> {
    let sockets = if world.contender.peer().is_some() { 1 } else { sockets };
    let running = world.with_vassals(sockets).with_sockets(sockets).start();
    let start = Instant::now();
    for number in 0..sockets {
        while !running.world.socket(number).exists() {
            assert!(start.elapsed() < Duration::from_secs(120), "not all sockets are bound");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    std::thread::sleep(Duration::from_millis(50));
    running
}

fn connect(running: &Running<'_>, number: usize) -> f64 {
    let (from, name) = (running.count(), format!("{number}.ini"));
    let before = sys::now();
    let client = UnixStream::connect(running.world.socket(number)).unwrap();
    let time = millis(before, running.next(from, b'S', &name));
    drop(client);
    std::thread::sleep(Duration::from_millis(30));
    time
}
