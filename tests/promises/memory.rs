//! Memory: the emperor outlives all that it starts, so what it keeps for a vassal goes with the vassal.
//!
//! What one vassal costs is a figure and no promise: `benches/run` prints it.

use crate::support::{Liege, Setup, executable};
use std::fs;

const VASSALS: usize = 200;
const ROUNDS: usize = 8;

/// An emperor whose vassals only sleep, and are settled at once.
fn sleepers() -> Setup {
    let setup = Liege::in_temp_dir();
    let program = setup.path("sleeper");
    executable(&program, "#!/bin/sh\nexec sleep 1000\n");
    let setup = setup.option("--binary-path", program.to_str().unwrap());
    let setup = setup.option("--emperor-throttle", "0").option("--emperor-loyal-after", "0");
    setup.option("--ready-after", "0")
}

/// Bytes of memory that are the process's own.
fn anonymous(pid: i32) -> usize {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn vassals_that_come_and_go_leave_no_memory_behind() {
    let emperor = sleepers().start();
    let pid = emperor.emperor_pid();
    let mut sizes = vec![anonymous(pid)];
    for round in 0..ROUNDS {
        let name = |number: usize| format!("{round}-{number}.ini");
        for number in 0..VASSALS {
            fs::write(emperor.file(&name(number)), "[uwsgi]\n").unwrap();
        }
        emperor.wait_until("all of them are loyal", || {
            emperor.try_stats().is_some_and(|stats| {
                let loyal = stats.vassals().iter().filter(|vassal| vassal["loyal"] == 1);
                loyal.count() == VASSALS
            })
        });
        for number in 0..VASSALS {
            emperor.remove(&name(number));
        }
        emperor.wait_until("all of them are gone", || {
            emperor.try_stats().is_some_and(|stats| stats.vassals().is_empty())
        });
        sizes.push(anonymous(pid));
        // The first rounds make room for as many at a time, and holes come and go. But what is kept for each
        // that has gone is added in every round.
        let grown = |from: usize| sizes[from + 1].saturating_sub(sizes[from]);
        if round > 0 && grown(round) < grown(0) / 10 {
            return;
        }
    }
    panic!("it grows with each round: {sizes:?}");
}
