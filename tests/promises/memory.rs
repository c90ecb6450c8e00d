//! Memory: the emperor outlives all that it starts, so what it keeps for each vassal is counted.

use crate::support::{Liege, Setup};
use std::fs;
use std::os::unix::fs::PermissionsExt;

const FEW: usize = 50;
const MANY: usize = 450;
/// What one more vassal may cost. It is 970 bytes with a short name; the end of the heap may be free.
const MOST_BYTES: usize = 1250;

/// An emperor whose vassals only sleep, and are settled at once.
fn sleepers() -> Setup {
    let setup = Liege::in_temp_dir();
    let program = setup.path("sleeper");
    fs::write(&program, "#!/bin/sh\nexec sleep 1000\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
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
fn one_more_vassal_costs_about_a_kibibyte() {
    let liege = sleepers().start();
    let govern = |from: usize, to: usize| {
        for number in from..to {
            fs::write(liege.file(&format!("{number}.ini")), "[uwsgi]\n").unwrap();
        }
        liege.wait_until("all of them are loyal", || {
            liege.try_stats().is_some_and(|stats| {
                let loyal = stats.vassals().iter().filter(|vassal| vassal["loyal"] == 1);
                loyal.count() == to
            })
        });
        anonymous(liege.emperor_pid())
    };
    let few = govern(0, FEW);
    let many = govern(FEW, MANY);
    let each = many.saturating_sub(few) / (MANY - FEW);
    assert!(each <= MOST_BYTES, "{each} bytes for each further vassal");
}
