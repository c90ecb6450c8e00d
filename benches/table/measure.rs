//! What is measured.

use crate::world::{Contender, Running, World, median, millis};
use crate::{Programs, sys};
use std::fs::{self, File, FileTimes};
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime};

/// What was seen of one supervisor and its vassals; times in milliseconds, medians.
pub struct Figures {
    pub rename: f64,
    pub touch: f64,
    pub remove: f64,
    pub kill: f64,
    pub storm: f64,
    pub idle: f64,
    pub memory: f64,
    /// Of one more vassal, bytes.
    pub further: f64,
    pub term: f64,
    /// The longest turn of the loop at the cold start, and in all that followed.
    pub turns: [f64; 2],
}

/// From the start of the supervisor to the last exec; the contenders take turns, so that a slow moment of the
/// machine hits all of them.
pub fn cold(
    programs: &Programs,
    contenders: &[Contender],
    count: usize,
    rounds: usize,
) -> Vec<f64> {
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds {
        for (at, &contender) in contenders.iter().enumerate() {
            // What the one before has left to the kernel to tidy up is not this one's.
            std::thread::sleep(Duration::from_secs(1));
            let running =
                World::new(programs, contender).with_vassals(count).start(programs, contender);
            running.wait(count);
            let last = running.records(0).iter().map(|it| it.ns).max().unwrap();
            times[at].push(millis(running.since, last));
        }
    }
    times.into_iter().map(median).collect()
}

/// Everything that happens to vassals that run.
pub fn life(programs: &Programs, contender: Contender, count: usize) -> Figures {
    let mut running =
        World::new(programs, contender).with_vassals(count).start(programs, contender);
    running.wait(count);
    // uWSGI's Emperor needs up to three seconds for each sample.
    let samples = if contender.is_uwsgi() { 3 } else { 15 };
    // Lives shorter than a second, and files closer together than one, are throttled, and should be.
    let pause = || std::thread::sleep(Duration::from_millis(1100));
    pause();
    let (memory, cold_turn) = (memory(&running), running.longest_turn());
    let rename = (0..samples).map(|number| {
        let (from, name) = (running.count(), format!("new{number}.ini"));
        let before = running.world.bring(&name);
        let time = millis(before, running.next(from, b'S', &name));
        pause();
        time
    });
    let rename = median(rename.collect());
    let touch =
        median((0..samples).map(|number| touch(&running, &format!("{number}.ini"))).collect());
    let kill = median(
        (0..samples).map(|number| kill(&running, &format!("{}.ini", number + 20))).collect(),
    );
    pause();
    let storm = storm(&running);
    let remove = median(
        (0..samples).map(|number| remove(&running, &format!("{}.ini", number + 40))).collect(),
    );
    let idle = idle(&running);
    let term = running.end();
    let turns = [cold_turn, running.longest_turn_logged()];
    let further = further(programs, contender, (count, memory));
    Figures { rename, touch, remove, kill, storm, idle, memory, further, term, turns }
}

fn memory(running: &Running) -> f64 {
    sys::supervisor(running.pid()).into_iter().map(sys::pss_kib).sum()
}

/// What each vassal costs beyond the first few, against the memory of many.
fn further(programs: &Programs, contender: Contender, (count, many): (usize, f64)) -> f64 {
    let few = (count / 10).max(1);
    let running = World::new(programs, contender).with_vassals(few).start(programs, contender);
    running.wait(few);
    std::thread::sleep(Duration::from_millis(1100));
    (many - memory(&running)) * 1024.0 / (count - few).max(1) as f64
}

fn touch(running: &Running, name: &str) -> f64 {
    let file = File::options().append(true).open(running.world.file(name)).unwrap();
    let from = running.count();
    // uWSGI compares whole seconds, and only forward.
    let future = SystemTime::now() + Duration::from_secs(5);
    let before = sys::now();
    // Both times, as touch(1) does: the kernel calls a change of one of them a write, or a read.
    file.set_times(FileTimes::new().set_accessed(future).set_modified(future)).unwrap();
    millis(before, running.next(from, b'R', name))
}

fn kill(running: &Running, name: &str) -> f64 {
    let (pid, from) = (running.pids()[name], running.count());
    let before = sys::now();
    sys::kill(pid, libc::SIGKILL);
    millis(before, running.next(from, b'S', name))
}

fn remove(running: &Running, name: &str) -> f64 {
    let handle = sys::pidfd(running.pids()[name]);
    let before = sys::now();
    fs::remove_file(running.world.file(name)).unwrap();
    millis(before, sys::ended(&handle))
}

fn storm(running: &Running) -> f64 {
    let (pids, from) = (running.pids(), running.count());
    let before = sys::now();
    pids.values().for_each(|&pid| sys::kill(pid, libc::SIGKILL));
    running.wait(from + pids.len());
    millis(before, running.records(from).iter().map(|it| it.ns).max().unwrap())
}

/// Wake-ups in ten seconds, when the last deadline has passed.
fn idle(running: &Running) -> f64 {
    let pids = sys::supervisor(running.pid());
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

/// From the first connection to the exec.
pub fn demand(programs: &Programs, contender: Contender, sockets: usize) -> f64 {
    let world = World::new(programs, contender).with_vassals(sockets).with_sockets(sockets);
    let running = world.start(programs, contender);
    for number in 0..sockets {
        while !running.world.socket(number).exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    let samples = if contender.is_uwsgi() { 5 } else { 15 };
    let times = (0..samples).map(|sample: usize| {
        // Spread over all of them, each once: 7 divides neither 20 nor 1,000.
        let number = (sample * 7) % sockets;
        let (from, name) = (running.count(), format!("{number}.ini"));
        let before = sys::now();
        let client = UnixStream::connect(running.world.socket(number)).unwrap();
        let time = millis(before, running.next(from, b'S', &name));
        drop(client);
        std::thread::sleep(Duration::from_millis(50));
        time
    });
    median(times.collect())
}
