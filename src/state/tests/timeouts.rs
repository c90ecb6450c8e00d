//! Rows of deadlines: start, readiness, heartbeat, kill; and the mercy of ragnarok.

use super::*;
use crate::types::exit_status::ExitStatus;

// start deadline

#[test]
fn a_stage_without_a_verdict_in_time_is_killed_and_that_is_a_death() {
    let mut scene = Scene::starting();
    scene.wait(9999);
    scene.is("starting 1", &[]);
    scene.wait(1);
    scene.is("stopping 1, then judge", &["kill 1"]);
    scene.exits(1, KILLED);
    scene.is("held: penalty 1000", &[]);
    assert_eq!(scene.error(), Some("its program does not run in time"));
}

#[test]
fn an_exec_that_hangs_after_the_verdict_is_killed_too() {
    let mut scene = Scene::starting();
    scene.verdict(1, custody());
    scene.wait(10_000);
    scene.is("stopping 1, then judge", &["kill 1"]);
}

#[test]
fn a_failed_start_that_does_not_end_is_killed() {
    let mut scene = Scene::starting();
    scene.fails(1);
    scene.wait(10_000);
    scene.is("stopping 1, then judge", &["kill 1"]);
    scene.exits(1, KILLED);
    assert_eq!(scene.error(), Some("line 3: no such option"));
}

#[test]
fn a_program_that_does_not_announce_its_readiness_in_time_is_killed() {
    for (start_timeout, limit) in [(None, 90_000), (Some(Duration::from_secs(5)), 5000)] {
        let mut scene = Scene::running_with(RunSettings { start_timeout, ..notifying() });
        scene.wait(limit - 1);
        scene.is("running 1", &[]);
        scene.wait(1);
        scene.is("stopping 1, then judge", &["kill 1"]);
        scene.exits(1, KILLED);
        scene.is("held: penalty 1000", &[]);
    }
}

#[test]
fn a_program_that_announces_nothing_may_be_silent_for_ever() {
    let mut scene = Scene::running();
    scene.wait(10_000_000);
    scene.is("running 1", &[]);
    assert_eq!(scene.realm.deadline(), None);
}

// heartbeat overdue

#[test]
fn a_missing_heartbeat_reloads_gracefully_then_kills() {
    let mut scene = Scene::speaker();
    scene.says(1, VassalMessage::Heartbeat);
    scene.wait(29_000);
    scene.says(1, VassalMessage::Heartbeat);
    scene.wait(29_999);
    scene.is("running 1", &[]);
    scene.wait(1);
    scene.is("running 1", &["tell 1 Reload"]);
    scene.wait(29_999);
    scene.is("running 1", &[]);
    scene.wait(1);
    scene.is("stopping 1, then judge", &["kill 1"]);
    scene.exits(1, KILLED);
    scene.is("held: penalty 1000", &[]);
}

#[test]
fn any_word_after_the_reload_saves_it_and_the_next_beat_is_watched_again() {
    let mut scene = Scene::speaker();
    scene.says(1, VassalMessage::Heartbeat);
    scene.wait(59_999);
    scene.is("running 1", &["tell 1 Reload"]);
    scene.says(1, VassalMessage::Ready);
    scene.wait(1_000_000);
    scene.is("running 1", &[]);
    scene.says(1, VassalMessage::Heartbeat);
    scene.wait(30_000);
    scene.is("running 1", &["tell 1 Reload"]);
}

#[test]
fn a_silent_program_that_speaks_no_protocol_is_replaced() {
    let mut scene = Scene::running();
    scene.notifies(1, VassalMessage::Heartbeat);
    scene.wait(30_000);
    scene.is("replacing 1 by 2", &["spawn 2"]);
    scene.fails(2);
    scene.exits(2, ExitStatus::Code(1));
    scene.is("running 1", &[]);
    scene.wait(30_000);
    scene.is("stopping 1, then judge", &["kill 1"]);
}

#[test]
fn a_slow_reload_is_never_punished_for_its_silence() {
    let mut scene = Scene::speaker();
    scene.says(1, VassalMessage::Heartbeat);
    scene.wait(10_000);
    scene.change();
    scene.is("replacing 1 by 2", &["check 2"]);
    scene.checks(2, SAME);
    scene.is("running 1", &["tell 1 Reload"]);
    scene.wait(1_000_000);
    scene.is("running 1", &[]);
}

#[test]
fn a_promised_watchdog_is_due_from_the_start() {
    let heartbeat = Some(Duration::from_secs(5));
    let mut scene = Scene::running_with(RunSettings { heartbeat, ..notifying() });
    scene.notifies(1, VassalMessage::Ready);
    scene.wait(34_999);
    scene.is("running 1", &[]);
    scene.wait(1);
    scene.is("replacing 1 by 2", &["spawn 2"]);
}

#[test]
fn who_never_beats_is_never_watched() {
    let mut scene = Scene::speaker();
    scene.wait(10_000_000);
    scene.is("running 1", &[]);
}

// kill deadline

#[test]
fn a_deaf_life_is_killed_after_the_curse_tolerance_and_again() {
    let mut scene = Scene::stopping();
    for _ in 0..3 {
        scene.wait(29_999);
        scene.is("stopping 1, then gone", &[]);
        scene.wait(1);
        scene.is("stopping 1, then gone", &["kill 1"]);
    }
}

#[test]
fn a_speaker_is_stopped_by_byte_alone_and_others_by_signal_too() {
    let mut scene = Scene::speaker();
    scene.lose();
    scene.is("stopping 1, then gone", &["tell 1 Stop"]);
    let mut scene = Scene::running_with(RunSettings { stop_signal: Some(3), ..custody() });
    scene.lose();
    scene.is("stopping 1, then gone", &["tell 1 Stop", "signal 1 3"]);
}

#[test]
fn a_graceful_shutdown_is_byte_2_and_the_graceful_signal() {
    let mut scene = Scene::new(Rules { graceful_shutdown: true, ..Rules::default() });
    scene.find(OnDemand::No);
    scene.runs(1, RunSettings { graceful_signal: Some(10), ..custody() });
    scene.done.clear();
    scene.lose();
    scene.is("stopping 1, then gone", &["tell 1 StopGracefully", "signal 1 10"]);
}

// ragnarok

#[test]
fn ragnarok_kills_after_the_mercy_and_leaves_what_does_not_die() {
    let rules = Rules {
        reload_mercy: Duration::from_secs(5),
        curse_tolerance: Duration::from_secs(60),
        ..Rules::default()
    };
    let mut scene = Scene::new(rules);
    scene.find(OnDemand::No);
    scene.runs(1, custody());
    scene.send(Event::Ragnarok);
    scene.done.clear();
    scene.wait(4999);
    scene.is("stopping 1, then gone", &[]);
    scene.wait(1);
    scene.is("stopping 1, then gone", &["kill 1"]);
    assert_eq!(scene.notes.last(), Some(&Note::Killed { why: "reload-mercy has passed" }));
    scene.wait(999);
    scene.is("stopping 1, then gone", &[]);
    scene.wait(1);
    scene.is("stopping 1, then gone", &["leave 1"]);
    scene.exits(1, KILLED);
    scene.is("gone", &["forget"]);
}

#[test]
fn a_second_term_changes_nothing() {
    let mut scene = Scene::running();
    scene.send(Event::Ragnarok);
    scene.done.clear();
    scene.wait(20_000);
    scene.send(Event::Ragnarok);
    scene.is("stopping 1, then gone", &[]);
    scene.wait(10_000);
    scene.is("stopping 1, then gone", &["kill 1", "kill 1"]);
}

#[test]
fn a_second_int_means_now_and_a_third_does_not_leave_early() {
    let mut scene = Scene::running();
    scene.send(Event::Ragnarok);
    scene.done.clear();
    scene.send(Event::RagnarokNow);
    scene.is("stopping 1, then gone", &["kill 1"]);
    scene.send(Event::RagnarokNow);
    scene.send(Event::Ragnarok);
    scene.is("stopping 1, then gone", &[]);
    scene.exits(1, KILLED);
    scene.is("gone", &["forget", "leave 0"]);
}

#[test]
fn a_late_wake_up_serves_all_deadlines_once() {
    let mut scene = Scene::starting();
    scene.jump(1_000_000);
    scene.is("stopping 1, then judge", &["kill 1"]);
    let mut scene = Scene::running();
    scene.jump(1_000_000);
    scene.is("running 1", &[]);
    assert!(scene.current().is_accepting() && scene.current().is_loyal());
}
