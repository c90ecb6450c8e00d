//! The throttle: files that come all at once start one after the other.

use crate::support::{Liege, proc};

/// When each of these vassals was started, in milliseconds after the first, in order.
fn starts(emperor: &Liege, names: &[String]) -> Vec<i64> {
    let mut at: Vec<i64> =
        names.iter().map(|name| emperor.life(name, 1)["at_ms"].as_i64().unwrap()).collect();
    at.sort_unstable();
    let first = at[0];
    at.iter().map(|time| time - first).collect()
}

/// Brings files in, all of which are found at the same time.
fn bring(emperor: &Liege, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("new{number}.ini")).collect();
    let pid = emperor.emperor_pid();
    proc::kill(pid, libc::SIGSTOP);
    for name in &names {
        emperor.put_app(name, "do=ready");
    }
    proc::kill(pid, libc::SIGCONT);
    names
}

#[test]
fn files_copied_at_once_start_one_step_apart() {
    let emperor = Liege::in_temp_dir().option("--emperor-throttle", "600").start();
    let names = bring(&emperor, 4);
    let starts = starts(&emperor, &names);
    // What is written down is when the programs began, each of them maybe late; their order in the queue,
    // to the millisecond, is a test of the queue.
    assert!((900..6800).contains(&starts[3]), "{starts:?}");
}

#[test]
fn one_new_file_starts_at_once() {
    let emperor = Liege::in_temp_dir().option("--emperor-throttle", "20000").start();
    let names = bring(&emperor, 1);
    emperor.running(&names[0]);
}

#[test]
fn what_is_there_at_the_start_is_not_throttled() {
    let mut setup = Liege::in_temp_dir().option("--emperor-throttle", "20000");
    for number in 0..20 {
        setup = setup.app(&format!("{number}.ini"), "do=ready");
    }
    let emperor = setup.start();
    emperor.wait_until("all run", || emperor.stats().up() == 20);
}

#[test]
fn a_burst_is_free_for_those_who_deploy_hundreds() {
    let setup = Liege::in_temp_dir().option("--emperor-throttle", "20000");
    let emperor = setup.option("--emperor-throttle-burst", "30").start();
    let names = bring(&emperor, 30);
    starts(&emperor, &names);
}

#[test]
fn who_waits_in_the_throttle_is_shown_with_the_time() {
    let emperor = Liege::in_temp_dir().option("--emperor-throttle", "20000").start();
    let names = bring(&emperor, 3);
    emperor.wait_until("two of three are held, both with their times", || {
        let stats = emperor.stats();
        let held = |vassal: &&serde_json::Value| {
            vassal["state"] == "queued" && vassal["reason"].as_str().unwrap().contains("throttle")
        };
        let timed = |vassal: &&serde_json::Value| vassal["next_start_ms"].as_i64() > Some(0);
        let all = stats.vassals();
        all.iter().filter(held).count() == 2 && all.iter().filter(timed).count() == 2
    });
    emperor.logged(
        "2 vassals wait for the throttle (too many starts at once); the last one starts in",
    );
    emperor.logged("emperor-throttle-burst allows more at once");
    assert!(emperor.stats().top("throttle_level").as_i64() > Some(0));
    // A removed one has nothing left to wait for.
    for name in &names {
        emperor.remove(name);
    }
    emperor.wait_until("all are gone", || emperor.stats().vassals().is_empty());
    emperor.logged("no vassal waits for the throttle any more");
}

#[test]
fn an_on_demand_vassal_is_not_throttled() {
    let setup = Liege::in_temp_dir().option("--emperor-throttle", "20000");
    let emperor = setup.app("one.ini", "do=serve").on_demand("one.ini", "one.sock").start();
    bring(&emperor, 3);
    assert!(emperor.ask("one.sock").ends_with(" 1\n"));
}

#[test]
fn vassals_that_come_back_with_their_directory_do_not_wait() {
    let mut setup = Liege::in_temp_dir().option("--emperor-throttle", "100000");
    for number in 0..6 {
        setup = setup.app(&format!("v{number}.ini"), "do=ready");
    }
    let emperor = setup.start();
    emperor.wait_until("all run", || emperor.stats().up() == 6);
    let (here, away) = (emperor.path("vassals"), emperor.path("away"));
    std::fs::rename(&here, &away).unwrap();
    emperor.wait_until("all are gone", || emperor.stats().vassals().is_empty());
    std::fs::rename(&away, &here).unwrap();
    emperor.wait_until("all run again", || emperor.stats().up() == 6);
}
