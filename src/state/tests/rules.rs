//! The rules that vassals share: blacklist, throttle, start budget.

use super::*;
use crate::types::exit_status::ExitStatus;

/// Finds so many always-on vassals, `v1.ini` and on; gives when each was forked, in milliseconds.
fn starts(rules: Rules, count: u64, is_initial: bool) -> Vec<u64> {
    let mut scene = Scene::new(rules);
    for n in 1..=count {
        scene.find_as(&format!("v{n}.ini"), OnDemand::No, is_initial);
    }
    let mut times = Vec::new();
    while times.len() < usize::try_from(count).unwrap() {
        for line in std::mem::take(&mut scene.done) {
            let life = line.strip_prefix("spawn ").expect("only spawns").parse().unwrap();
            times.push(scene.elapsed());
            scene.verdict(life, custody());
        }
        if scene.done.is_empty() && times.len() < usize::try_from(count).unwrap() {
            let next = scene.realm.deadline().expect("somebody still waits");
            scene.now = next;
            scene.send(Event::Time);
        }
    }
    times
}

// blacklist

#[test]
fn each_death_adds_a_step_to_the_penalty_up_to_the_maximum() {
    let rules = Rules { max_throttle: Duration::from_secs(3), ..Rules::default() };
    let mut scene = Scene::new(rules);
    scene.find(OnDemand::No);
    for (life, penalty) in [1000, 2000, 3000, 3000].into_iter().enumerate() {
        let life = u64::try_from(life).unwrap() + 1;
        scene.runs(life, custody());
        scene.wait(2000);
        scene.exits(life, ExitStatus::Code(1));
        assert_eq!(scene.phase(), format!("held: penalty {penalty}"));
        scene.wait(penalty);
        assert_eq!(scene.phase(), format!("starting {}", life + 1));
    }
}

#[test]
fn without_a_blacklist_a_death_waits_for_nothing() {
    let mut scene = Scene::new(Rules { blacklist: false, ..Rules::default() });
    scene.find(OnDemand::No);
    scene.runs(1, custody());
    scene.wait(1500);
    scene.exits(1, ExitStatus::Code(1));
    assert_eq!(scene.phase(), "starting 2");
}

#[test]
fn no_life_that_ends_by_itself_is_followed_by_another_within_100_ms_of_its_start() {
    let rules =
        |blacklist| Rules { blacklist, throttle: Duration::from_millis(3), ..Rules::default() };
    for (blacklist, loyal) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut scene = Scene::new(rules(blacklist));
        scene.find(OnDemand::No);
        for life in 1..=10 {
            assert_eq!(scene.phase(), format!("starting {life}"));
            scene.runs(life, custody());
            if loyal {
                scene.says(life, VassalMessage::Loyal);
            }
            scene.wait(1);
            scene.exits(life, ExitStatus::Code(0));
            scene.wait(98);
            assert!(scene.phase().starts_with("held: "), "{}", scene.phase());
            scene.wait(1);
        }
    }
}

#[test]
fn a_loyal_life_that_somebody_kills_comes_back_at_once_however_short_it_was() {
    let mut scene = Scene::running();
    for life in 1..=3 {
        scene.says(life, VassalMessage::Loyal);
        scene.wait(1);
        scene.exits(life, ExitStatus::Signal(9));
        assert_eq!(scene.phase(), format!("starting {}", life + 1));
        scene.runs(life + 1, custody());
    }
}

#[test]
fn a_changed_file_starts_at_once_however_short_its_last_life_was() {
    let mut scene = Scene::running();
    scene.says(1, VassalMessage::Loyal);
    scene.exits(1, ExitStatus::Code(0));
    scene.is("held: pace 100", &[]);
    scene.change();
    scene.is("starting 2", &["spawn 2"]);
}

// throttle

#[test]
fn a_single_new_file_starts_at_once() {
    assert_eq!(starts(Rules::default(), 1, false), [0]);
}

#[test]
fn files_copied_all_at_once_start_about_one_a_second() {
    let rules = |ms| Rules { throttle: Duration::from_millis(ms), ..Rules::default() };
    assert_eq!(starts(rules(600), 4, false), [0, 600, 1200, 1800]);
    assert_eq!(starts(rules(1000), 5, false), [0, 1000, 2000, 3000, 4000]);
}

#[test]
fn a_burst_is_free() {
    let rules = Rules { throttle_burst: 3, ..Rules::default() };
    assert_eq!(starts(rules, 7, false), [0, 0, 0, 1000, 1000, 1000, 2000]);
}

#[test]
fn what_is_there_at_boot_is_not_throttled() {
    assert_eq!(starts(Rules::default(), 50, true), [0; 50]);
}

#[test]
fn who_leaves_the_throttle_costs_the_others_nothing() {
    let mut scene = Scene::new(Rules::default());
    for n in 1..=4 {
        scene.find_as(&format!("v{n}.ini"), OnDemand::No, false);
    }
    scene.send(Event::Lost(key("v2.ini")));
    let moved = OnDemand::Address("/run/v3".into());
    scene.send(Event::Changed { key: key("v3.ini"), file: file(moved) });
    assert_eq!(scene.phase_of("v4.ini"), "held: throttle");
    scene.wait(1000);
    assert_eq!(scene.phase_of("v4.ini"), "starting 2");
}

#[test]
fn a_change_keeps_its_place_in_the_throttle() {
    let mut scene = Scene::new(Rules::default());
    scene.find_as("v1.ini", OnDemand::No, false);
    scene.find_as(BLOG, OnDemand::No, false);
    scene.change();
    assert_eq!(scene.phase(), "held: throttle");
    scene.wait(1000);
    assert_eq!(scene.phase(), "starting 2");
}

#[test]
fn on_demand_vassals_do_not_wait_in_the_throttle() {
    let mut scene = Scene::new(Rules::default());
    for n in 1..=4 {
        let name = format!("v{n}.ini");
        scene.find_as(&name, OnDemand::Address(format!("/run/{name}").into()), false);
        assert_eq!(scene.phase_of(&name), "listening");
    }
    for n in 1..=4 {
        scene.send(Event::Connection(VassalId(n)));
        assert_eq!(scene.phase_of(&format!("v{n}.ini")), format!("starting {n}"));
    }
}

#[test]
fn the_respawn_of_a_short_life_waits_in_the_throttle_after_its_penalty() {
    let rules = || Rules { blacklist: false, ..Rules::default() };
    for (lived, loyal, then) in
        [(999, false, "held: throttle"), (1000, false, "starting 3"), (100, true, "starting 3")]
    {
        let mut scene = Scene::new(rules());
        scene.find(OnDemand::No);
        scene.runs(1, custody());
        scene.wait(lived);
        scene.find_as("new.ini", OnDemand::No, false);
        if loyal {
            scene.says(1, VassalMessage::Loyal);
        }
        scene.exits(1, ExitStatus::Code(1));
        assert_eq!(scene.phase(), then);
    }
}

// start budget

#[test]
fn no_more_lives_start_at_once_than_the_budget_allows() {
    let mut scene = Scene::new(Rules { max_starting: 2, ..Rules::default() });
    for n in 1..=5 {
        scene.find_as(&format!("v{n}.ini"), OnDemand::No, true);
    }
    assert_eq!(scene.done, ["spawn 1", "spawn 2"]);
    assert_eq!(scene.phase_of("v3.ini"), "held: budget");
    scene.verdict(2, custody());
    assert_eq!(scene.done.last().unwrap(), "spawn 3");
    scene.fails(1);
    assert_eq!(scene.done.last().unwrap(), "spawn 4");
    scene.exits(3, ExitStatus::Code(1));
    assert_eq!(scene.done.last().unwrap(), "spawn 5");
}

#[test]
fn a_slot_is_free_after_a_second_whatever_the_stage_does() {
    let mut scene = Scene::new(Rules { max_starting: 2, ..Rules::default() });
    for n in 1..=5 {
        scene.find_as(&format!("v{n}.ini"), OnDemand::No, true);
    }
    scene.wait(999);
    assert_eq!(scene.done.len(), 2);
    scene.wait(1);
    assert_eq!(scene.done.len(), 4);
    scene.wait(1000);
    assert_eq!(scene.done.len(), 5);
}

#[test]
fn a_replacement_waits_for_its_slot_too() {
    let mut scene = Scene::new(Rules { max_starting: 1, ..Rules::default() });
    scene.find(OnDemand::No);
    scene.runs(1, custody());
    scene.find_as("slow.ini", OnDemand::No, true);
    scene.change();
    scene.is("running 1, due: budget", &["spawn 1", "custody 1", "spawn 2"]);
    scene.wait(1000);
    scene.is("replacing 1 by 3", &["spawn 3"]);
}

#[test]
fn a_fork_that_fails_frees_its_slot() {
    let mut scene = Scene::new(Rules { max_starting: 1, ..Rules::default() });
    scene.forks = false;
    for n in 1..=20 {
        scene.find_as(&format!("v{n}.ini"), OnDemand::No, true);
        assert_eq!(scene.phase_of(&format!("v{n}.ini")), "held: resource 1000");
    }
}

#[test]
fn a_storm_of_touches_leaves_no_more_places_in_the_queue_than_vassals() {
    let mut scene = Scene::new(Rules { max_starting: 1, ..Rules::default() });
    scene.find(OnDemand::No);
    scene.runs(1, custody());
    scene.find_as("slow.ini", OnDemand::No, true);
    for _ in 0..1000 {
        scene.change();
    }
    let queue = format!("{:?}", scene.realm);
    assert!(queue.len() < 20_000, "{} bytes", queue.len());
    scene.wait(1000);
    assert_eq!(scene.phase(), "replacing 1 by 3");
}
