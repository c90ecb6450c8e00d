//! Lives that the spawner is asked for, and that it answers for later, never, or too late.

use super::*;

/// The spawner is asked for life 1, and has not answered.
fn asking() -> Scene {
    let mut scene = Scene::new(Rules::default());
    scene.answers = false;
    scene.find(OnDemand::No);
    scene.is("starting 1", &["spawn 1"]);
    scene
}

/// The same for the replacement of a life that runs.
fn replacing() -> Scene {
    let mut scene = Scene::running();
    scene.answers = false;
    scene.change();
    scene.is("replacing 1 by 2", &["spawn 2"]);
    scene
}

impl Scene {
    fn born(&mut self, life: u64) {
        self.life(life, LifeEvent::Spawned(i32::try_from(life).unwrap()));
    }

    fn spawner_ends(&mut self, lives: &[u64]) {
        for life in lives {
            self.life(*life, LifeEvent::SpawnFailed("the spawner has ended".to_owned()));
        }
    }
}

#[test]
fn a_life_has_a_pid_and_the_time_for_its_start_when_the_answer_is_there() {
    let mut scene = asking();
    scene.wait(4000);
    assert_eq!((scene.current().pid, scene.current().is_starting()), (None, false));
    scene.born(1);
    assert_eq!((scene.current().pid, scene.current().is_starting()), (Some(1), true));
    scene.wait(9999);
    scene.is("starting 1", &[]);
    scene.wait(1);
    scene.is("stopping 1, then judge", &["kill 1"]);
}

#[test]
fn a_life_that_is_lost_before_the_answer_is_killed_at_its_birth_and_not_before() {
    let mut scene = asking();
    scene.lose();
    scene.is("stopping 1, then gone", &[]);
    scene.wait(4000);
    scene.is("stopping 1, then gone", &[]);
    scene.born(1);
    scene.is("stopping 1, then gone", &["kill 1"]);
    scene.exits(1, KILLED);
    scene.is("gone", &["forget"]);
}

#[test]
fn a_touch_before_the_answer_starts_anew_when_the_life_of_the_old_file_is_gone() {
    let mut scene = asking();
    scene.change();
    scene.is("stopping 1, then begin", &[]);
    scene.born(1);
    scene.is("stopping 1, then begin", &["kill 1"]);
    scene.exits(1, KILLED);
    scene.is("starting 2", &["spawn 2"]);
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn a_life_that_was_cancelled_and_is_never_made_leaves_nothing_to_wait_for() {
    let mut scene = asking();
    scene.lose();
    scene.spawner_ends(&[1]);
    scene.is("gone", &["forget"]);
    let mut scene = asking();
    scene.change();
    scene.spawner_ends(&[1]);
    scene.is("starting 2", &["spawn 2"]);
}

#[test]
fn a_replacement_that_is_cancelled_before_the_answer_is_killed_at_its_birth() {
    let mut scene = replacing();
    scene.change();
    scene.is("replacing 1 by 2, again", &[]);
    scene.born(2);
    scene.is("replacing 1 by 2, again", &["kill 2"]);
    scene.exits(2, KILLED);
    scene.is("replacing 1 by 3", &["spawn 3"]);
}

#[test]
fn a_replacement_that_is_not_made_leaves_the_running_one_alone_and_is_due_again() {
    let mut scene = replacing();
    scene.spawner_ends(&[2]);
    scene.is("running 1, due: resource 1000", &[]);
    scene.wait(1000);
    scene.is("replacing 1 by 3", &["spawn 3"]);
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn a_spawner_that_does_not_answer_for_five_seconds_is_given_up_and_nobody_is_blamed() {
    let mut scene = asking();
    scene.wait(4999);
    scene.is("starting 1", &[]);
    scene.wait(1);
    scene.is("held: resource 1000", &["end request 1"]);
    assert_eq!(scene.error(), Some("the spawner has not answered in time"));
    let history = &scene.blog().unwrap().history;
    assert_eq!((history.deaths, history.starts), (0, 0));
    assert_eq!(scene.deaths(), 0);
    scene.wait(1000);
    scene.is("starting 2", &["spawn 2"]);
}

#[test]
fn all_that_a_spawner_was_asked_for_when_it_ends_is_asked_for_again_without_throttle() {
    let mut scene = asking();
    let names = ["2.ini", "3.ini", "4.ini"];
    names.iter().for_each(|name| scene.find_as(name, OnDemand::No, true));
    scene.is("starting 1", &["spawn 2", "spawn 3", "spawn 4"]);
    let level = scene.realm.throttle_level();
    scene.spawner_ends(&[1, 2, 3, 4]);
    scene.is("held: resource 1000", &[]);
    for name in names {
        assert_eq!(scene.phase_of(name), "held: resource 1000");
    }
    scene.wait(1000);
    scene.is("starting 5", &["spawn 5", "spawn 6", "spawn 7", "spawn 8"]);
    assert_eq!(scene.realm.throttle_level(), level);
}

#[test]
fn a_life_that_has_died_before_its_answer_was_read_is_born_and_judged() {
    let mut scene = asking();
    scene.born(1);
    scene.status_closes(1);
    scene.exits(1, ExitStatus::Code(3));
    scene.is("held: penalty 1000", &[]);
    assert_eq!(scene.deaths(), 1);
    assert_eq!(scene.blog().unwrap().history.last_exit, Some(ExitStatus::Code(3)));
}

#[test]
fn ragnarok_waits_for_the_answer_and_kills_what_is_born() {
    let mut scene = asking();
    scene.send(Event::Ragnarok);
    scene.is("stopping 1, then gone", &[]);
    scene.born(1);
    scene.is("stopping 1, then gone", &["kill 1"]);
    scene.exits(1, KILLED);
    scene.is("gone", &["forget", "leave 0"]);
}

#[test]
fn what_the_spawner_makes_after_the_mercy_is_killed_once() {
    let mut scene = asking();
    scene.send(Event::RagnarokNow);
    scene.is("stopping 1, then gone", &[]);
    scene.born(1);
    scene.is("stopping 1, then gone", &["kill 1"]);
}

#[test]
fn what_is_made_after_the_mercy_is_killed_before_its_vassal_knows_of_the_end() {
    let mut scene = Scene::new(Rules { max_swept: 1, ..Rules::default() });
    scene.answers = false;
    scene.find_as("first.ini", OnDemand::No, true);
    scene.find(OnDemand::No);
    scene.is("starting 2", &["spawn 1", "spawn 2"]);
    scene.send(Event::RagnarokNow);
    scene.is("starting 2", &[]);
    scene.born(2);
    scene.is("starting 2", &["kill 2"]);
    scene.exits(2, KILLED);
    scene.wait(1);
    scene.is("gone", &["forget"]);
}

#[test]
fn a_process_of_a_life_that_nobody_knows_any_more_is_killed() {
    let mut scene = asking();
    scene.spawner_ends(&[1]);
    scene.is("held: resource 1000", &[]);
    scene.born(1);
    scene.is("held: resource 1000", &["kill 1"]);
}

#[test]
fn a_second_answer_changes_nothing() {
    for phase in PHASES {
        let mut scene = Scene::in_phase(phase);
        let Some(life) = scene.blog().and_then(Vassal::current).map(|life| life.id.0) else {
            continue;
        };
        let before = scene.phase();
        scene.born(life);
        scene.is(&before, &[]);
    }
}
