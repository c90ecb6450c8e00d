//! As many vassals as the descriptors of most machines allow: everything works with them, and costs no more for each.

use crate::support::stats::Stats;
use crate::support::{Liege, Setup, proc, program};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

const MOST: usize = 6000;
const LEAST: usize = 500;
/// How long all of them may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// The first number in a file, if it has one.
fn number_in(path: &str) -> Option<usize> {
    fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

/// How many vassals this machine has room for: descriptors, processes and memory.
fn room() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let hard = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line[name.len().min(line.len())..].split_whitespace().nth(1)?.parse::<usize>().ok()
    };
    let descriptors =
        hard("Max open files").map_or(usize::MAX, |limit| (limit - limit.min(500)) / 3);
    let processes = [
        hard("Max processes"),
        number_in("/proc/sys/kernel/pid_max"),
        number_in("/proc/sys/kernel/threads-max"),
        number_in("/sys/fs/cgroup/pids.max"),
    ];
    let processes = processes.into_iter().flatten().min().map_or(usize::MAX, |limit| limit / 3);
    let memory = fs::read_to_string("/proc/meminfo").unwrap();
    let free = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap_or("0");
    // A program that sleeps needs 200 KiB of its own with its page tables.
    let memory = free.trim().trim_end_matches(" kB").parse::<usize>().unwrap_or(0) / 600;
    MOST.min(descriptors).min(processes).min(memory)
}

/// The pids of all vassals that run, by name.
fn pids(stats: &Stats) -> BTreeMap<String, i64> {
    let vassals = stats.vassals().iter();
    let running = vassals.filter(|vassal| vassal["state"] == "running" && vassal["pid"] != -1);
    running.map(|it| (it["id"].as_str().unwrap().to_owned(), it["pid"].as_i64().unwrap())).collect()
}

/// Waits until so many run, and gives their pids.
fn all_run(
    emperor: &Liege,
    what: &str,
    wanted: impl Fn(&BTreeMap<String, i64>) -> bool,
) -> BTreeMap<String, i64> {
    let begin = Instant::now();
    let pids = emperor.wait_for_within(PATIENCE, what, || {
        // To ask is no small thing with so many.
        std::thread::sleep(Duration::from_millis(500));
        let pids = pids(&emperor.try_stats()?);
        wanted(&pids).then_some(pids)
    });
    eprintln!("{what}: {:?}", begin.elapsed());
    pids
}

/// Those whose process is another one.
fn changed(before: &BTreeMap<String, i64>, after: &BTreeMap<String, i64>) -> Vec<String> {
    let moved = |(name, pid): &(&String, &i64)| after.get(*name) != Some(*pid);
    before.iter().filter(moved).map(|(name, _)| name.clone()).collect()
}

fn own_kib(pid: i32) -> usize {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn sleepers(count: usize) -> Setup {
    let mut setup = Liege::in_temp_dir().option("--emperor-throttle", "0");
    for (name, value) in [("--emperor-loyal-after", "0"), ("--ready-after", "0")] {
        setup = setup.option(name, value);
    }
    let text = program("/bin/sleep 100000");
    for number in 0..count {
        setup = setup.vassal(&format!("{number}.ini"), &text);
    }
    setup.app("waits.ini", "do=ready,accepting,loyal,serve").on_demand("waits.ini", "waits.sock")
}

#[test]
#[ignore = "takes a minute: tests/run --apps"]
fn thousands_of_vassals_are_governed_like_a_few() {
    let count = room();
    if count < LEAST {
        crate::skip!("there is room for {count} vassals only: descriptors, processes or memory");
    }
    eprintln!("{count} vassals");
    let mut emperor = sleepers(count).start();
    let all = |pids: &BTreeMap<String, i64>| pids.len() >= count;
    let first = all_run(&emperor, "all run", all);
    let names: BTreeSet<String> = (0..count).map(|number| format!("{number}.ini")).collect();
    assert!(names.iter().all(|name| first.contains_key(name)), "the statistics are whole");
    assert_eq!(first.values().collect::<BTreeSet<_>>().len(), first.len(), "each has its own");
    let pid = emperor.emperor_pid();
    let kib = own_kib(pid);
    assert!(kib * 1024 / count < 2048, "{kib} KiB for {count} vassals");

    // One event concerns one vassal.
    emperor.touch("7.ini");
    let touched = all_run(&emperor, "the touched one runs anew", |pids| {
        all(pids) && pids["7.ini"] != first["7.ini"]
    });
    assert_eq!(changed(&first, &touched), ["7.ini"]);
    proc::kill(touched["8.ini"] as i32, libc::SIGKILL);
    let crashed = all_run(&emperor, "the killed one runs anew", |pids| {
        all(pids) && pids.get("8.ini").is_some_and(|pid| *pid != touched["8.ini"])
    });
    assert_eq!(changed(&touched, &crashed), ["8.ini"]);
    drop(emperor.connect("waits.sock"));
    emperor.running("waits.ini");

    // An idle emperor does nothing, whatever it governs.
    let spawner = emperor.spawner_pid();
    emperor.wait_until("it has nothing to do", || {
        let before = proc::ticks(pid) + proc::ticks(spawner);
        std::thread::sleep(Duration::from_secs(2));
        proc::ticks(pid) + proc::ticks(spawner) == before
    });

    // Events that concern all.
    emperor.signal(libc::SIGHUP);
    let anew = |old: BTreeMap<String, i64>| {
        move |pids: &BTreeMap<String, i64>| {
            all(pids) && old.iter().all(|(name, pid)| pids.get(name).is_some_and(|new| new != pid))
        }
    };
    let sleeping = |pids: BTreeMap<String, i64>| {
        pids.into_iter().filter(|(name, _)| name != "waits.ini").collect::<BTreeMap<_, _>>()
    };
    let reloaded = all_run(&emperor, "all have reloaded", anew(sleeping(crashed)));
    let reloaded = sleeping(reloaded);
    reloaded.values().for_each(|pid| proc::kill(*pid as i32, libc::SIGKILL));
    all_run(&emperor, "all killed ones run again", anew(reloaded));
    let stats = emperor.stats();
    assert_eq!(stats.top("internal_errors"), 0, "{}", emperor.log());
    eprintln!("longest turn: {} us", stats.top("longest_turn_us"));
    let begin = Instant::now();
    emperor.signal(libc::SIGTERM);
    assert_eq!(emperor.wait_for_end().code(), Some(0));
    eprintln!("all are gone: {:?}", begin.elapsed());
    emperor.all_gone();
}
