//! What is said of those who wait, and when they are shown to start.

use super::*;
use crate::types::exit_status::ExitStatus;

impl Scene {
    fn copied(rules: Rules, count: u64) -> Self {
        let mut scene = Self::new(rules);
        for number in 0..count {
            scene.find_as(&format!("{number:02}.ini"), OnDemand::No, false);
        }
        scene
    }

    /// When this vassal is shown to start.
    fn next_start(&self, name: &str) -> Option<u64> {
        let id = self.realm.named_id(&key(name))?;
        let at = *self.realm.next_starts().get(&id)?;
        Some(u64::try_from(at.saturating_duration_since(self.zero).as_millis()).unwrap())
    }
}

#[test]
fn the_throttle_is_told_when_it_begins_and_when_it_ends() {
    let mut scene = Scene::copied(Rules::default(), 30);
    scene.wait(500);
    let begins = WaitNotice::ThrottleBegins { waiting: 29, last: Duration::from_millis(28_700) };
    assert_eq!(scene.notices, [begins]);
    scene.wait(28_500);
    assert_eq!(scene.notices, [begins, WaitNotice::ThrottleEnds]);
    assert_eq!(scene.phase_of("29.ini"), "starting 30");
}

#[test]
fn a_wait_of_less_than_a_second_is_not_told() {
    let rules = Rules { throttle: Duration::from_millis(200), ..Rules::default() };
    let mut scene = Scene::copied(rules, 3);
    scene.wait(5000);
    assert_eq!(scene.notices, []);
}

#[test]
fn everybody_who_waits_is_shown_with_the_time_of_its_start() {
    let scene = Scene::copied(Rules::default(), 5);
    let starts: Vec<_> =
        (0..5).map(|number| scene.next_start(&format!("{number:02}.ini"))).collect();
    assert_eq!(starts, [None, Some(1000), Some(2000), Some(3000), Some(4000)]);
    let rules = Rules { max_starting: 2, ..Rules::default() };
    let mut scene = Scene::new(rules);
    for name in ["a.ini", "b.ini", "c.ini", "d.ini", "e.ini"] {
        scene.find_as(name, OnDemand::No, true);
    }
    assert_eq!(scene.next_start("c.ini"), Some(1000));
    assert_eq!(scene.next_start("e.ini"), Some(2000));
    let mut scene = Scene::held();
    assert_eq!(scene.next_start(BLOG), Some(scene.elapsed() + 1000));
    scene.wait(1000);
    assert_eq!(scene.next_start(BLOG), None);
}

#[test]
fn a_full_start_budget_is_told_after_a_second_and_when_it_is_over() {
    let rules = Rules { max_starting: 1, ..Rules::default() };
    let mut scene = Scene::new(rules);
    for name in ["a.ini", "b.ini", "c.ini", "d.ini"] {
        scene.find_as(name, OnDemand::No, true);
    }
    scene.wait(999);
    assert_eq!(scene.notices, []);
    scene.wait(5000);
    let [WaitNotice::BudgetBegins { waiting: 2, at_once: 1, .. }, WaitNotice::BudgetEnds] =
        scene.notices[..]
    else {
        panic!("{:?}", scene.notices)
    };
}

#[test]
fn a_stop_that_takes_more_than_a_second_is_told_with_its_end() {
    let mut scene = Scene::stopping();
    scene.notes.clear();
    scene.wait(999);
    assert_eq!(scene.notes, []);
    scene.wait(2);
    assert_eq!(scene.notes, [Note::StopsSlowly { left: Duration::from_secs(29) }]);
    scene.wait(30_000);
    assert_eq!(scene.notes.len(), 2, "{:?}", scene.notes);
}

#[test]
fn ragnarok_tells_at_once_what_it_waits_for_and_again_each_ten_seconds() {
    let mut scene = Scene::running();
    scene.send(Event::Ragnarok);
    scene.wait(25_000);
    let left = |seconds| WaitNotice::Ending { left: Duration::from_secs(seconds) };
    assert_eq!(scene.notices, [left(30), left(20), left(10)]);
    let mut scene = Scene::listening();
    scene.send(Event::Ragnarok);
    assert_eq!(scene.notices, []);
    // What is told to stop is killed by its own limit, if that comes first.
    for (tolerance, mercy, least) in [(5, 14, 5), (14, 5, 5)] {
        let (curse_tolerance, reload_mercy) =
            (Duration::from_secs(tolerance), Duration::from_secs(mercy));
        let mut scene = Scene::new(Rules { curse_tolerance, reload_mercy, ..Rules::default() });
        scene.find(OnDemand::No);
        scene.runs(1, custody());
        scene.send(Event::Ragnarok);
        assert_eq!(scene.notices, [left(least)]);
    }
}

#[test]
fn the_counts_are_those_of_a_walk_through_all() {
    for phase in PHASES {
        let scene = Scene::in_phase(phase);
        let counts = scene.realm.counts();
        let vassals: Vec<&Vassal> = scene.realm.vassals().collect();
        let running = vassals.iter().filter(|vassal| vassal.current().is_some()).count();
        let failing = vassals.iter().filter(|v| v.history.last_error.is_some()).count();
        assert_eq!((counts.running, counts.failing), (running, failing), "in {phase}");
    }
}

#[test]
fn a_start_that_fails_again_and_again_does_not_change_the_counts() {
    let mut scene = Scene::starting();
    scene.fails(1);
    scene.exits(1, ExitStatus::Code(1));
    let counts = scene.realm.counts();
    assert_eq!((counts.running, counts.failing), (0, 1));
    scene.wait(1000);
    assert_eq!(scene.phase_of(BLOG), "starting 2");
    assert_eq!(scene.realm.counts(), counts);
    scene.runs(2, RunSettings::default());
    let counts = scene.realm.counts();
    assert_eq!((counts.running, counts.failing), (1, 0));
}

#[test]
fn vassals_that_wait_again_and_again_are_told_at_most_once_in_ten_seconds() {
    let mut scene = Scene::copied(Rules::default(), 0);
    let mut found = 0;
    let mut burst = |scene: &mut Scene, count| {
        for _ in 0..count {
            found += 1;
            scene.find_as(&format!("{found:02}.ini"), OnDemand::No, false);
        }
        scene.wait(4500);
    };
    let told = |scene: &Scene| scene.notices.len();
    // Each of them is over before the next.
    burst(&mut scene, 3);
    assert_eq!(told(&scene), 2, "{:?}", scene.notices);
    burst(&mut scene, 3);
    assert_eq!(told(&scene), 2, "{:?}", scene.notices);
    // More than were told are news.
    burst(&mut scene, 4);
    scene.wait(10_000);
    assert_eq!(told(&scene), 4, "{:?}", scene.notices);
    burst(&mut scene, 3);
    scene.wait(5000);
    assert_eq!(told(&scene), 6, "{:?}", scene.notices);
}
