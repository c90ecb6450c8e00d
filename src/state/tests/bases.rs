//! Lives that are asked from a base.

use super::*;
use crate::types::exit_status::ExitStatus;

const BASE: &str = "base.ini";

fn rules() -> Rules {
    let bases = vec![BASE.as_bytes().to_vec()];
    Rules { fork_server: true, bases, ..Rules::default() }
}

fn asking() -> Scene {
    let mut scene = Scene::new(rules());
    scene.find(OnDemand::No);
    scene.is("starting 1", &["ask 1"]);
    scene
}

fn adopted() -> Scene {
    let mut scene = asking();
    scene.wait(20);
    scene.adopts(1);
    scene.is("running 1", &[]);
    scene
}

/// An adopted vassal that speaks the Emperor protocol.
fn speaking() -> Scene {
    let mut scene = adopted();
    scene.says(1, VassalMessage::Ready);
    scene.is("running 1", &[]);
    scene
}

fn waiting_for_base() -> Scene {
    let mut scene = Scene::new(rules());
    scene.serves = false;
    scene.find(OnDemand::No);
    scene.is("held: base 50", &["ask 1"]);
    scene
}

impl Scene {
    fn adopts(&mut self, life: u64) {
        self.life(life, LifeEvent::Answered);
        self.life(life, LifeEvent::Spawned(i32::try_from(life).unwrap()));
    }
}

#[test]
fn a_base_is_forked_and_everybody_else_is_asked_for() {
    let mut scene = asking();
    scene.find_as(BASE, OnDemand::No, true);
    scene.is("starting 1", &["spawn 2"]);
    assert_eq!(scene.current().pid, None);
    scene.adopts(1);
    assert_eq!((scene.current().pid, scene.current().is_adopted), (Some(1), true));
    assert_eq!(scene.error(), None);
    assert_eq!(scene.phase_of(BASE), "starting 2");
}

#[test]
fn without_a_fork_server_nobody_is_asked() {
    let mut scene = Scene::new(Rules { fork_server: false, ..rules() });
    scene.find(OnDemand::No);
    scene.is("starting 1", &["spawn 1"]);
}

// the base is not ready

#[test]
fn a_base_that_is_not_ready_is_asked_again_without_penalty_at_most_each_second() {
    let mut scene = waiting_for_base();
    let mut life = 1;
    for wait in [50, 100, 200, 400, 800, 1000, 1000] {
        assert_eq!(scene.phase(), format!("held: base {wait}"));
        scene.wait(wait - 1);
        scene.is("held: base 1", &[]);
        scene.wait(1);
        life += 1;
        assert_eq!(scene.done, [format!("ask {life}")]);
        scene.done.clear();
    }
    assert_eq!((scene.deaths(), scene.error()), (0, Some("no such file")));
    let held = scene.notes.iter().filter(|note| matches!(note, Note::Held { .. })).count();
    assert_eq!(held, 1, "told once, not each second");
    scene.serves = true;
    scene.wait(1000);
    scene.adopts(life + 1);
    assert_eq!((scene.error(), scene.blog().unwrap().history.starts), (None, 1));
}

#[test]
fn whoever_waits_for_a_base_asks_at_its_byte_5() {
    let mut scene = waiting_for_base();
    scene.find_as(BASE, OnDemand::No, true);
    scene.runs(2, RunSettings::default());
    scene.wait(40);
    scene.done.clear();
    scene.serves = true;
    scene.says(2, VassalMessage::Ready);
    scene.is("held: base 10", &[]);
    scene.says(2, VassalMessage::Accepting);
    scene.is("starting 3", &["ask 3"]);
    scene.life(3, LifeEvent::BaseNotReady("reset".to_owned()));
    scene.says(2, VassalMessage::Accepting);
    scene.is("held: base 50", &[]);
}

#[test]
fn the_byte_5_of_an_ordinary_vassal_wakes_nobody() {
    let mut scene = waiting_for_base();
    scene.serves = true;
    scene.find_as("other.ini", OnDemand::No, true);
    scene.done.clear();
    scene.adopts(2);
    scene.says(2, VassalMessage::Accepting);
    scene.is("held: base 50", &[]);
}

#[test]
fn a_touch_asks_at_once_and_a_lost_file_ends_the_waiting() {
    let mut scene = waiting_for_base();
    scene.wait(50 + 100);
    scene.done.clear();
    scene.serves = true;
    scene.change();
    scene.is("starting 4", &["ask 4"]);
    let mut scene = waiting_for_base();
    scene.lose();
    scene.is("gone", &["forget"]);
}

#[test]
fn an_on_demand_vassal_keeps_its_clients_while_its_base_is_away() {
    let mut scene = Scene::new(rules());
    scene.serves = false;
    scene.find(on_demand());
    scene.is("listening", &["bind /run/blog.sock", "watch"]);
    scene.connect();
    scene.is("held: base 50", &["unwatch", "ask 1"]);
    scene.wait(50);
    scene.is("listening", &["watch"]);
    scene.serves = true;
    scene.wait(100);
    scene.connect();
    scene.adopts(2);
    scene.is("running 2", &["unwatch", "ask 2"]);
    scene.exits(2, ExitStatus::Code(0));
    scene.is("listening", &["watch"]);
}

// the talk

#[test]
fn a_talk_that_fails_holds_without_penalty_and_longer_each_time() {
    let mut scene = asking();
    scene.life(1, LifeEvent::SpawnFailed("no pid".to_owned()));
    scene.is("held: resource 1000", &[]);
    scene.wait(1000);
    scene.life(2, LifeEvent::SpawnFailed("no pid".to_owned()));
    scene.is("held: resource 2000", &["ask 2"]);
    assert_eq!((scene.deaths(), scene.error()), (0, Some("no pid")));
}

#[test]
fn a_vassal_that_waits_says_so_once_whatever_its_base_says_at_each_try() {
    let held = |scene: &mut Scene, first: u64| {
        for (life, why) in (first..).zip(["refused", "end of file", "reset", "end of file"]) {
            scene.life(life, LifeEvent::BaseNotReady(why.to_owned()));
            assert_eq!(scene.error(), Some(why));
            scene.wait(1000);
        }
        let notes = std::mem::take(&mut scene.notes).into_iter();
        notes.filter(|note| matches!(note, Note::Held { .. })).count()
    };
    let mut scene = asking();
    assert_eq!(held(&mut scene, 1), 1);
    scene.adopts(5);
    scene.wait(2000);
    scene.exits(5, ExitStatus::Code(1));
    scene.wait(1000);
    assert_eq!(held(&mut scene, 6), 1, "it has run in the meantime");
}

#[test]
fn a_talk_that_fails_is_told_once_for_each_reason() {
    let mut scene = asking();
    for (life, why) in [(1, "no pid"), (2, "no pid"), (3, "rubbish"), (4, "rubbish")] {
        scene.life(life, LifeEvent::SpawnFailed(why.to_owned()));
        scene.wait(30_000);
    }
    let held = scene.notes.iter().filter(|note| matches!(note, Note::Held { .. })).count();
    assert_eq!(held, 2);
}

#[test]
fn an_answer_has_five_seconds_and_its_proof_one() {
    let mut scene = asking();
    scene.wait(4999);
    scene.is("starting 1", &[]);
    scene.wait(1);
    scene.is("held: resource 1000", &["end request 1"]);
    assert_eq!(scene.error(), Some("the fork server has not answered in time"));
    let mut scene = asking();
    scene.wait(4999);
    scene.life(1, LifeEvent::Answered);
    scene.wait(999);
    scene.is("starting 1", &[]);
    scene.wait(1);
    scene.is("held: resource 1000", &["end request 1"]);
    assert!(scene.error().unwrap().contains("not become our child"));
}

#[test]
fn a_touch_does_not_cut_a_talk_short_and_what_is_born_is_stopped() {
    let mut scene = asking();
    scene.change();
    scene.is("stopping 1, then begin", &[]);
    scene.wait(4000);
    scene.adopts(1);
    scene.is("stopping 1, then begin", &["tell 1 Stop", "signal 1 15"]);
    scene.wait(30_000);
    scene.is("stopping 1, then begin", &["kill 1"]);
    scene.exits(1, KILLED);
    scene.is("starting 2", &["ask 2"]);
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn a_removal_does_not_cut_a_talk_short_and_what_is_born_is_stopped() {
    let mut scene = asking();
    scene.lose();
    scene.is("stopping 1, then gone", &[]);
    scene.adopts(1);
    scene.is("stopping 1, then gone", &["tell 1 Stop", "signal 1 15"]);
    scene.exits(1, TERMINATED);
    scene.is("gone", &["forget"]);
}

#[test]
fn a_talk_that_nobody_wants_any_more_ends_by_its_own_deadline() {
    let mut scene = asking();
    scene.lose();
    scene.wait(5000);
    scene.is("gone", &["end request 1", "forget"]);
    let mut scene = asking();
    scene.change();
    scene.life(1, LifeEvent::BaseNotReady("reset".to_owned()));
    scene.is("starting 2", &["ask 2"]);
}

#[test]
fn ragnarok_waits_for_what_a_talk_brings() {
    let mut scene = asking();
    scene.send(Event::Ragnarok);
    scene.is("stopping 1, then gone", &[]);
    scene.adopts(1);
    scene.is("stopping 1, then gone", &["tell 1 Stop", "signal 1 15"]);
    scene.exits(1, TERMINATED);
    scene.is("gone", &["forget", "leave 0"]);
}

#[test]
fn what_is_born_when_the_mercy_is_over_is_killed_at_once() {
    let mut scene = asking();
    scene.send(Event::Ragnarok);
    scene.send(Event::RagnarokNow);
    scene.is("stopping 1, then gone", &[]);
    scene.adopts(1);
    scene.is("stopping 1, then gone", &["tell 1 Stop", "signal 1 15", "kill 1"]);
    scene.exits(1, KILLED);
    scene.is("gone", &["forget", "leave 0"]);
}

#[test]
fn what_has_died_before_its_answer_was_read_is_born_and_dead() {
    let mut scene = asking();
    scene.adopts(1);
    scene.exits(1, ExitStatus::Code(3));
    assert_eq!(scene.deaths(), 1);
    assert_eq!(scene.blog().unwrap().history.last_exit, Some(ExitStatus::Code(3)));
    scene.is("held: penalty 1000", &[]);
}

// afterwards

#[test]
fn the_death_of_a_base_is_not_that_of_its_vassals() {
    let mut scene = adopted();
    scene.find_as(BASE, OnDemand::No, true);
    scene.runs(2, RunSettings::default());
    scene.wait(12_000);
    scene.done.clear();
    scene.exits(2, KILLED);
    scene.is("running 1", &["spawn 3"]);
}

#[test]
fn a_silent_adopted_vassal_is_reloaded_by_stopping_it_and_asking_again() {
    for reload in [Scene::change, |scene: &mut Scene| scene.send(Event::ReloadAll)] {
        let mut scene = adopted();
        reload(&mut scene);
        scene.is("stopping 1, then begin", &["tell 1 Stop", "signal 1 15"]);
        scene.exits(1, TERMINATED);
        scene.is("starting 2", &["ask 2"]);
        assert_eq!(scene.deaths(), 0);
    }
}

#[test]
fn an_adopted_speaker_is_told_to_reload() {
    let mut scene = speaking();
    scene.change();
    scene.is("running 1", &["tell 1 Reload"]);
    scene.says(1, VassalMessage::Ready);
    scene.exits(1, ExitStatus::Code(0));
    assert_eq!(scene.deaths(), 1, "it had reloaded, so this is another matter");
}

#[test]
fn one_that_exits_instead_of_reloading_is_a_new_fork() {
    let mut scene = speaking();
    scene.change();
    scene.done.clear();
    scene.exits(1, ExitStatus::Code(0));
    scene.is("starting 2", &["ask 2"]);
    assert_eq!(scene.deaths(), 0);
    let mut scene = speaking();
    scene.change();
    scene.done.clear();
    scene.closes_pipe(1);
    scene.exits(1, ExitStatus::Code(17));
    scene.is("starting 2", &["ask 2"]);
    let mut scene = speaking();
    scene.change();
    scene.exits(1, ExitStatus::Signal(11));
    assert_eq!(scene.deaths(), 1);
}

#[test]
fn a_talk_holds_its_place_in_the_start_budget_until_its_end() {
    let mut scene = Scene::new(Rules { max_starting: 1, ..rules() });
    scene.find(OnDemand::No);
    scene.find_as("other.ini", OnDemand::No, true);
    scene.is("starting 1", &["ask 1"]);
    scene.adopts(1);
    scene.is("running 1", &["ask 2"]);
    scene.life(2, LifeEvent::BaseNotReady("reset".to_owned()));
    assert_eq!(scene.realm.starting(), 0);
}

#[test]
fn an_answer_for_a_life_that_is_gone_means_nothing_but_a_process_of_it_is_killed() {
    let mut scene = asking();
    scene.life(1, LifeEvent::SpawnFailed("rubbish".to_owned()));
    scene.life(1, LifeEvent::BaseNotReady("late".to_owned()));
    scene.is("held: resource 1000", &[]);
    scene.adopts(1);
    scene.is("held: resource 1000", &["kill 1"]);
}

// its address has vanished

fn base_that_runs() -> Scene {
    let mut scene = Scene::new(rules());
    scene.find_as(BASE, OnDemand::No, true);
    scene.runs(1, RunSettings::default());
    scene.done.clear();
    scene
}

#[test]
fn a_base_that_nobody_can_reach_is_stopped_and_started() {
    let mut scene = base_that_runs();
    scene.life(1, LifeEvent::Unreachable);
    assert_eq!(scene.done, ["tell 1 Stop", "signal 1 15"]);
    scene.exits(1, ExitStatus::Signal(15));
    assert_eq!(scene.phase_of(BASE), "starting 2");
}

#[test]
fn a_base_that_is_about_to_say_that_it_listens_is_left_alone() {
    let mut scene = base_that_runs();
    scene.says(1, VassalMessage::Ready);
    scene.life(1, LifeEvent::Unreachable);
    assert_eq!(scene.phase_of(BASE), "running 1");
    scene.says(1, VassalMessage::Accepting);
    scene.life(1, LifeEvent::Unreachable);
    assert_eq!(scene.phase_of(BASE), "stopping 1, then begin");
}
