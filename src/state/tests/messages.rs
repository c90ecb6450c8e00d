//! Rows of what a vassal says, and of its emperor pipe.

use super::*;
use crate::types::exit_status::ExitStatus;

#[test]
fn ready_accepting_and_loyal_are_flags_of_what_runs() {
    let mut scene = Scene::running();
    scene.says(1, VassalMessage::Ready);
    scene.says(1, VassalMessage::Accepting);
    scene.says(1, VassalMessage::Loyal);
    let life = scene.current();
    assert!(
        life.uses_protocol
            && life.announced.ready.holds()
            && life.is_accepting()
            && life.is_loyal()
    );
    scene.is("running 1", &[]);
}

#[test]
fn words_mean_nothing_before_the_program_runs_and_after_the_curse() {
    let words = [
        VassalMessage::Ready,
        VassalMessage::Accepting,
        VassalMessage::Loyal,
        VassalMessage::GoIdle,
        VassalMessage::Heartbeat,
    ];
    means_nothing(&["held", "listening", "starting", "stopping"], |scene| {
        for word in words {
            scene.says(1, word);
            scene.notifies(1, word);
        }
        assert!(
            scene
                .blog()
                .unwrap()
                .current()
                .is_none_or(|life| !life.is_loyal() && !life.uses_protocol)
        );
    });
}

#[test]
fn loyalty_forgets_the_penalty() {
    let mut scene = Scene::held();
    scene.wait(1000);
    scene.runs(2, custody());
    assert_eq!(scene.deaths(), 1);
    scene.says(2, VassalMessage::Loyal);
    assert_eq!(scene.deaths(), 0);
    let mut scene = Scene::handover();
    scene.exits(1, ExitStatus::Code(1));
    assert_eq!(scene.deaths(), 1);
    scene.says(2, VassalMessage::Loyal);
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn a_program_that_speaks_no_protocol_is_loyal_by_its_age() {
    let mut scene = Scene::held();
    scene.wait(1000);
    scene.runs(2, custody());
    scene.wait(9999);
    assert!(!scene.current().is_loyal());
    scene.wait(1);
    assert!(scene.current().is_loyal() && scene.current().is_accepting());
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn a_vassal_file_says_when_its_program_is_loyal_and_ready() {
    let seconds = |s| Some(Duration::from_secs(s));
    let settings = RunSettings { loyal_after: seconds(2), ready_after: seconds(1), ..custody() };
    let mut scene = Scene::running_with(settings);
    scene.wait(1000);
    assert!(scene.current().is_accepting() && !scene.current().is_loyal());
    scene.wait(1000);
    assert!(scene.current().is_loyal());
}

#[test]
fn a_speaker_is_loyal_by_byte_17_alone() {
    let mut scene = Scene::speaker();
    scene.wait(1_000_000);
    assert!(!scene.current().is_loyal() && !scene.current().is_accepting());
    scene.notifies(1, VassalMessage::Ready);
    assert!(!scene.current().is_loyal());
    scene.says(1, VassalMessage::Loyal);
    assert!(scene.current().is_loyal());
}

#[test]
fn a_program_that_announces_its_readiness_is_loyal_by_it() {
    let mut scene = Scene::running_with(notifying());
    scene.wait(20_000);
    assert!(!scene.current().is_loyal() && !scene.current().is_accepting());
    scene.notifies(1, VassalMessage::Ready);
    let life = scene.current();
    assert!(
        life.announced.ready.holds()
            && life.is_accepting()
            && life.is_loyal()
            && !life.uses_protocol
    );
}

// byte 22

#[test]
fn an_on_demand_vassal_that_goes_idle_is_stopped_and_waits() {
    let mut scene = Scene::woken();
    scene.says(1, VassalMessage::GoIdle);
    scene.is("stopping 1, then begin", &["tell 1 Stop"]);
    scene.exits(1, ExitStatus::Signal(11));
    scene.is("listening", &["watch"]);
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn another_vassal_that_goes_idle_is_stopped_and_started() {
    let mut scene = Scene::running();
    scene.wait(1500);
    scene.says(1, VassalMessage::GoIdle);
    scene.exits(1, ExitStatus::Code(0));
    scene.is("starting 2", &["tell 1 Stop", "spawn 2"]);
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn a_vassal_that_goes_idle_at_once_is_slowed_by_the_throttle() {
    let mut scene = Scene::running();
    for life in 1..4 {
        scene.says(life, VassalMessage::GoIdle);
        scene.exits(life, ExitStatus::Code(0));
        scene.wait(3000);
        scene.runs(life + 1, custody());
    }
    let mut scene = Scene::running();
    scene.wait(100);
    scene.says(1, VassalMessage::GoIdle);
    scene.exits(1, ExitStatus::Code(0));
    scene.runs(2, custody());
    scene.wait(100);
    scene.says(2, VassalMessage::GoIdle);
    scene.exits(2, ExitStatus::Code(0));
    assert_eq!(scene.phase(), "held: throttle");
    scene.wait(900);
    assert_eq!(scene.phase(), "starting 3");
}

#[test]
fn a_loyal_vassal_that_goes_idle_at_once_is_not_started_again_at_once() {
    let mut scene = Scene::running();
    scene.says(1, VassalMessage::Loyal);
    scene.wait(10);
    scene.says(1, VassalMessage::GoIdle);
    scene.wait(20);
    scene.exits(1, ExitStatus::Code(0));
    scene.is("held: pace 70", &["tell 1 Stop"]);
    scene.wait(70);
    scene.is("starting 2", &["spawn 2"]);
}

// pipe EOF

#[test]
fn a_speaker_that_closes_its_pipe_is_cursed_and_its_end_is_a_death() {
    let mut scene = Scene::speaker();
    scene.closes_pipe(1);
    scene.is("stopping 1, then judge", &[]);
    scene.wait(29_999);
    scene.is("stopping 1, then judge", &[]);
    scene.wait(1);
    scene.is("stopping 1, then judge", &["kill 1"]);
    scene.exits(1, KILLED);
    scene.is("held: penalty 1000", &[]);
}

#[test]
fn a_loyal_speaker_that_closes_its_pipe_and_exits_is_back_at_once() {
    let mut scene = Scene::speaker();
    scene.says(1, VassalMessage::Loyal);
    scene.wait(100);
    scene.closes_pipe(1);
    scene.exits(1, ExitStatus::Code(1));
    scene.is("starting 2", &["spawn 2"]);
}

#[test]
fn an_on_demand_speaker_that_closes_its_pipe_and_exits_with_0_waits_again() {
    let mut scene = Scene::woken();
    scene.says(1, VassalMessage::Ready);
    scene.closes_pipe(1);
    scene.exits(1, ExitStatus::Code(0));
    scene.is("listening", &["watch"]);
}

#[test]
fn who_never_spoke_may_close_what_it_likes() {
    means_nothing(&PHASES, |scene| scene.closes_pipe(1));
}

#[test]
fn the_end_of_the_pipe_means_nothing_to_who_stops_already() {
    let mut scene = Scene::speaker();
    scene.lose();
    scene.closes_pipe(1);
    scene.is("stopping 1, then gone", &["tell 1 Stop"]);
    let mut scene = Scene::draining();
    scene.closes_pipe(1);
    scene.is("draining 1 for 2", &[]);
}
