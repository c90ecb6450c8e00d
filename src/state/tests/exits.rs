//! Rows of one life: verdict, status, spawn, exit.

use super::*;
use crate::types::exit_status::ExitStatus;

// verdict `exec`, status EOF

#[test]
fn a_verdict_is_noted_and_the_end_of_the_status_socket_means_running() {
    let mut scene = Scene::starting();
    scene.verdict(1, RunSettings { stop_signal: Some(3), ..custody() });
    scene.is("starting 1", &[]);
    assert_eq!(scene.current().settings.stop_signal, Some(3));
    scene.status_closes(1);
    scene.is("running 1", &["custody 1"]);
}

#[test]
fn without_a_stage_the_end_of_the_status_socket_alone_means_running() {
    let mut scene = Scene::new(Rules { stage: false, ..Rules::default() });
    scene.find(OnDemand::No);
    scene.status_closes(1);
    scene.is("running 1", &["spawn 1", "custody 1"]);
}

#[test]
fn a_verdict_and_the_end_of_the_status_socket_mean_nothing_later() {
    let phases = ["held", "listening", "running", "draining", "stopping"];
    means_nothing(&phases, |scene| {
        for life in [1, 2] {
            scene.verdict(life, notifying());
            scene.status_closes(life);
            scene.fails(life);
        }
    });
}

// verdict `error`, errno of an exec, EOF without verdict

#[test]
fn a_failed_start_keeps_its_reason_and_is_one_death() {
    let mut scene = Scene::starting();
    scene.fails(1);
    scene.status_closes(1);
    scene.is("starting 1", &[]);
    scene.exits(1, ExitStatus::Code(1));
    scene.is("held: penalty 1000", &[]);
    assert_eq!((scene.error(), scene.deaths()), (Some("line 3: no such option"), 1));
}

#[test]
fn an_exec_that_fails_after_the_verdict_is_one_death() {
    let mut scene = Scene::starting();
    scene.verdict(1, custody());
    scene.fails(1);
    scene.status_closes(1);
    scene.is("starting 1", &[]);
    scene.exits(1, ExitStatus::Code(0));
    scene.is("held: penalty 1000", &[]);
}

#[test]
fn a_stage_that_ends_without_a_verdict_has_failed() {
    let mut scene = Scene::starting();
    scene.status_closes(1);
    scene.exits(1, ExitStatus::Code(0));
    scene.is("held: penalty 1000", &[]);
    assert_eq!(scene.error(), Some("the stage has ended without a verdict"));
}

#[test]
fn a_failed_start_of_an_on_demand_vassal_is_a_death_even_with_status_0() {
    let mut scene = Scene::listening();
    scene.connect();
    scene.fails(1);
    scene.exits(1, ExitStatus::Code(0));
    scene.is("held: penalty 1000", &["unwatch", "spawn 1"]);
}

#[test]
fn a_program_that_runs_clears_the_last_error() {
    let mut scene = Scene::held();
    scene.change();
    scene.fails(2);
    scene.exits(2, ExitStatus::Code(1));
    scene.wait(1000);
    scene.runs(3, custody());
    assert_eq!((scene.phase().as_str(), scene.error()), ("running 3", None));
}

// spawn failed

#[test]
fn a_fork_that_fails_is_tried_again_with_longer_pauses_and_nobody_is_blamed() {
    let mut scene = Scene::new(Rules::default());
    scene.forks = false;
    scene.find(OnDemand::No);
    for (life, pause) in [1, 2, 4, 8, 16, 30, 30].into_iter().enumerate() {
        let pause = pause * 1000;
        scene.is(&format!("held: resource {pause}"), &[&format!("spawn {}", life + 1)]);
        assert_eq!((scene.deaths(), scene.blog().unwrap().history.starts), (0, 0));
        scene.wait(pause);
    }
    scene.done.clear();
    scene.forks = true;
    scene.wait(30_000);
    scene.runs(9, custody());
    scene.is("running 9", &["spawn 9", "custody 9"]);
    scene.forks = false;
    scene.change();
    scene.is("running 9, due: resource 1000", &["spawn 10"]);
}

#[test]
fn a_replacement_that_cannot_fork_is_due_again_after_the_same_pauses() {
    for (mut scene, what) in [(Scene::running(), "spawn"), (Scene::alone(), "check")] {
        scene.forks = false;
        scene.change();
        scene.is("running 1, due: resource 1000", &[&format!("{what} 2")]);
        scene.wait(1000);
        scene.is("running 1, due: resource 2000", &[&format!("{what} 3")]);
        assert_eq!(scene.blog().unwrap().history.starts, 1);
    }
}

#[test]
fn an_on_demand_vassal_that_cannot_fork_keeps_its_connection_waiting() {
    let mut scene = Scene::listening();
    scene.forks = false;
    scene.connect();
    scene.is("held: resource 1000", &["unwatch", "spawn 1"]);
    scene.wait(1000);
    scene.is("listening", &["watch"]);
}

// exit

#[test]
fn an_exit_in_a_start_is_a_death() {
    let mut scene = Scene::starting();
    scene.exits(1, ExitStatus::Signal(11));
    scene.is("held: penalty 1000", &[]);
}

#[test]
fn an_exit_is_a_death_whatever_the_status() {
    let mut scene = Scene::running();
    scene.wait(1500);
    scene.exits(1, ExitStatus::Code(0));
    scene.is("held: penalty 1000", &[]);
    assert_eq!(scene.blog().unwrap().history.last_exit, Some(ExitStatus::Code(0)));
}

#[test]
fn an_on_demand_vassal_that_exits_with_0_waits_again() {
    let mut scene = Scene::woken();
    scene.exits(1, ExitStatus::Code(0));
    scene.is("listening", &["watch"]);
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn a_death_is_the_last_error_until_a_program_runs_again() {
    for speaks in [false, true] {
        let mut scene = Scene::running();
        if speaks {
            scene.says(1, VassalMessage::Ready);
        }
        scene.wait(2000);
        scene.exits(1, ExitStatus::Code(3));
        let error = scene.error().unwrap_or_default();
        assert!(error.starts_with("its program has ended (exit 3) before it was loyal"), "{error}");
        scene.wait(1000);
        scene.runs(2, custody());
        assert_eq!(scene.error(), None);
    }
}

#[test]
fn a_program_that_fails_with_sockets_of_ours_is_told_where_they_are() {
    let hint =
        "liege holds :8000 (a.ini:2) and passes it as descriptor 3; let the program use that";
    let places = ":8000 (a.ini:2) and passes it as descriptor 3";
    let given = || RunSettings { places: places.into(), ..custody() };
    let error_of = |settings: RunSettings, exit: ExitStatus| {
        let mut scene = Scene::starting();
        scene.runs(1, settings);
        scene.wait(500);
        scene.exits(1, exit);
        scene.error().unwrap_or_default().to_owned()
    };
    assert!(error_of(given(), ExitStatus::Code(1)).contains(hint));
    assert!(!error_of(given(), KILLED).contains(hint));
    assert!(!error_of(RunSettings::default(), ExitStatus::Code(1)).contains(hint));
}

#[test]
fn who_was_killed_has_the_reason_for_its_last_error() {
    let mut scene = Scene::speaker();
    scene.closes_pipe(1);
    scene.wait(30_000);
    scene.exits(1, KILLED);
    assert_eq!(scene.error(), Some("its emperor pipe is closed"));
}

#[test]
fn a_loyal_life_comes_back_at_once() {
    let mut scene = Scene::running();
    scene.says(1, VassalMessage::Loyal);
    scene.wait(100);
    scene.exits(1, ExitStatus::Signal(9));
    scene.is("starting 2", &["spawn 2"]);
}

#[test]
fn what_is_not_to_come_back_is_held_until_its_file_changes() {
    use crate::types::run_settings::Restart::{Never, OnFailure};
    for (restart, exit) in [
        (Never, ExitStatus::Code(1)),
        (Never, ExitStatus::Code(0)),
        (OnFailure, ExitStatus::Code(0)),
    ] {
        let mut scene = Scene::running_with(RunSettings { restart, ..custody() });
        scene.exits(1, exit);
        scene.wait(1_000_000);
        scene.is("held: finished", &[]);
        scene.change();
        scene.is("starting 2", &["spawn 2"]);
    }
}

#[test]
fn what_comes_back_on_failure_comes_back_on_failure() {
    let restart = crate::types::run_settings::Restart::OnFailure;
    let mut scene = Scene::running_with(RunSettings { restart, ..custody() });
    scene.wait(1500);
    scene.exits(1, ExitStatus::Signal(11));
    scene.is("held: penalty 1000", &[]);
}

#[test]
fn a_start_that_fails_is_tried_again_whatever_the_restart_setting() {
    let mut scene = Scene::starting();
    scene.verdict(
        1,
        RunSettings { restart: crate::types::run_settings::Restart::Never, ..custody() },
    );
    scene.fails(1);
    scene.exits(1, ExitStatus::Code(0));
    scene.is("held: penalty 1000", &[]);
}

#[test]
fn an_event_of_a_dead_life_finds_nobody() {
    means_nothing(&PHASES, |scene| {
        for life in [0, 99] {
            scene.verdict(life, notifying());
            scene.status_closes(life);
            scene.fails(life);
            scene.says(life, VassalMessage::Loyal);
            scene.says(life, VassalMessage::GoIdle);
            scene.closes_pipe(life);
            scene.exits(life, KILLED);
            scene.life(life, LifeEvent::SpawnFailed("EAGAIN".to_owned()));
        }
    });
    let mut scene = Scene::held();
    scene.exits(1, KILLED);
    scene.says(1, VassalMessage::Loyal);
    scene.is("held: penalty 1000", &[]);
    assert_eq!(scene.deaths(), 1);
}

// An address that another vassal has.

const OTHER_NAME: &str = "old.ini";

/// The first vassal serves under an old name, the second one wants its address.
fn renamed() -> Scene {
    let mut scene = Scene::new(Rules::default());
    scene.find_as(OTHER_NAME, OnDemand::No, true);
    scene.runs(1, custody());
    scene.find_as(BLOG, OnDemand::No, true);
    scene.life(2, LifeEvent::AddressTaken("bind: in use".to_owned(), Some(VassalId(1))));
    scene.done.clear();
    scene.exits(2, ExitStatus::Code(1));
    scene
}

#[test]
fn who_wants_the_address_of_another_waits_without_penalty_and_is_tried_now_and_then() {
    let mut scene = renamed();
    scene.is("held: taken 50", &[]);
    assert_eq!((scene.deaths(), scene.error()), (0, Some("bind: in use")));
    scene.wait(50);
    scene.is("starting 3", &["spawn 3"]);
    scene.life(3, LifeEvent::AddressTaken("bind: in use".to_owned(), Some(VassalId(1))));
    scene.exits(3, ExitStatus::Code(1));
    scene.is("held: taken 100", &[]);
    let held = |note: &&Note| matches!(note, Note::Held { .. });
    assert_eq!(scene.notes.iter().filter(held).count(), 1, "said once");
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn it_starts_the_moment_the_other_is_gone() {
    let mut scene = renamed();
    scene.send(Event::Lost(key(OTHER_NAME)));
    scene.is("held: taken 50", &["tell 1 Stop", "signal 1 15"]);
    scene.exits(1, TERMINATED);
    scene.is("starting 3", &["forget", "spawn 3"]);
    scene.runs(3, custody());
    assert_eq!((scene.deaths(), scene.error()), (0, None));
}

#[test]
fn it_starts_the_moment_the_other_has_other_listeners() {
    let mut scene = renamed();
    scene.send(Event::Changed { key: key(OTHER_NAME), file: file(OnDemand::No) });
    scene.runs(3, custody());
    scene.says(3, VassalMessage::Accepting);
    scene.is("starting 4", &["spawn 3", "custody 3", "tell 1 Stop", "signal 1 15", "spawn 4"]);
}

#[test]
fn a_replacement_that_wants_the_address_of_another_is_due_when_that_is_gone() {
    let mut scene = Scene::new(Rules::default());
    scene.find_as(OTHER_NAME, OnDemand::No, true);
    scene.runs(1, custody());
    scene.find_as(BLOG, OnDemand::No, true);
    scene.runs(2, custody());
    scene.change();
    scene.life(3, LifeEvent::AddressTaken("bind: in use".to_owned(), Some(VassalId(1))));
    scene.exits(3, ExitStatus::Code(1));
    scene.done.clear();
    scene.is("running 2, due: taken 50", &[]);
    scene.send(Event::Lost(key(OTHER_NAME)));
    scene.exits(1, TERMINATED);
    scene.is("replacing 2 by 4", &["tell 1 Stop", "signal 1 15", "forget", "spawn 4"]);
}
