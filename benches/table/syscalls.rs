//! The system calls of one start in each process of liege, as strace(1) sees them.

use crate::contender::{Contender, Linking, Programs, Way};
use crate::sys;
use crate::world::World;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Counts by name, of emperor, spawner and child.
type Calls = BTreeMap<&'static str, BTreeMap<String, usize>>;

const VASSALS: usize = 20;
/// So long after the start the emperor has heard everything of it.
const SETTLE: Duration = Duration::from_millis(500);

/// Lists the calls of one start by a new file, those of all contenders of one way side by side.
pub fn run(programs: &Programs, contenders: &[Contender]) {
    for way in [Way::Direct, Way::Stage, Way::StageAsUser] {
        let ours = contenders.iter().filter(|it| it.is_liege() && it.way() == Some(way));
        let calls: Vec<_> = ours.map(|it| (&it.name, of(programs, it))).collect();
        let processes: BTreeSet<_> = calls.iter().flat_map(|(_, calls)| calls.keys()).collect();
        for process in processes {
            let of = |calls: &Calls| calls.get(process).cloned().unwrap_or_default();
            let names: BTreeSet<_> = calls.iter().flat_map(|(_, it)| of(it).into_keys()).collect();
            let heads: String = calls.iter().map(|(name, _)| format!("{name:>22}")).collect();
            println!("{process:<20}{heads}");
            let sum = |calls: &Calls| of(calls).values().sum();
            println!("{}", line("in all", calls.iter().map(|(_, calls)| sum(calls))));
            for name in names {
                let count = |calls: &Calls| of(calls).get(&name).copied().unwrap_or(0);
                println!("{}", line(&name, calls.iter().map(|(_, calls)| count(calls))));
            }
            println!();
        }
    }
}

fn line(name: &str, counts: impl Iterator<Item = usize>) -> String {
    format!("  {name:<18}{}", counts.map(|count| format!("{count:>22}")).collect::<String>())
}

fn of(programs: &Programs, contender: &Contender) -> Calls {
    let running = World::new(programs, contender, Linking::Bare).with_vassals(VASSALS).start();
    running.wait(0, VASSALS);
    // The last start is loyal by then, and its timers are over.
    std::thread::sleep(Duration::from_secs(2));
    let roles = sys::Roles::of(&running.supervisor(), running.statistic("pid"));
    let dir = TempDir::new().unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-ff", "-o"]).arg(dir.path().join("calls"));
    let parents = std::iter::once(roles.emperor).chain(roles.spawner);
    strace.args(parents.map(|pid| format!("-p{pid}")));
    let mut strace = strace.stderr(Stdio::null()).spawn().expect("strace is not installed");
    let traced = |pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        !status.contains("TracerPid:\t0\n")
    };
    let start = Instant::now();
    while !std::iter::once(roles.emperor).chain(roles.spawner).all(traced) {
        assert!(start.elapsed() < Duration::from_secs(10), "strace does not trace");
        std::thread::sleep(Duration::from_millis(10));
    }
    // It lets the traced go on after it has attached to all of them.
    std::thread::sleep(SETTLE);
    running.world.bring("new.ini");
    running.wait(VASSALS, 1);
    std::thread::sleep(SETTLE);
    sys::kill(strace.id() as i32, libc::SIGTERM);
    strace.wait().unwrap();
    let mut calls = Calls::new();
    for file in fs::read_dir(dir.path()).unwrap() {
        let path = file.unwrap().path();
        let pid = path.extension().and_then(|it| it.to_str()?.parse().ok());
        let process = match pid {
            Some(pid) if pid == roles.emperor => "emperor",
            pid if pid.is_some() && pid == roles.spawner => "spawner",
            _ => "child",
        };
        let program = running.world.started();
        calls.insert(
            process,
            counted(&fs::read_to_string(path).unwrap(), &program.to_string_lossy()),
        );
    }
    calls
}

/// The calls of a trace up to the exec of the program.
fn counted(trace: &str, program: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    // The call that strace found a process in was not begun by this start.
    for call in trace.lines().filter(|it| !it.contains("resuming interrupted")) {
        let Some((name, arguments)) = call.split_once('(') else { continue };
        if !name.is_empty() && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_') {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
        if name == "execve" && arguments.starts_with(&format!("\"{program}\"")) {
            break;
        }
    }
    counts
}
