//! The columns replacing and draining: two lives of one vassal.

use super::*;
use crate::state::ReloadWay;
use crate::types::exit_status::ExitStatus;

// How a reload is done.

#[test]
fn a_speaker_whose_file_starts_the_same_is_told_to_reload_and_is_ready_when_it_says_so_again() {
    let mut scene = Scene::speaker();
    scene.says(1, VassalMessage::Accepting);
    scene.change();
    scene.is("replacing 1 by 2", &["check 2"]);
    assert_eq!(scene.stale(), Some(Stale::Replacing));
    scene.checks(2, SAME);
    scene.is("running 1", &["tell 1 Reload"]);
    assert!(!scene.current().announced.ready.holds() && !scene.current().is_accepting());
    assert_eq!(scene.stale(), None);
    scene.wait(1_000_000);
    scene.is("running 1", &[]);
    scene.says(1, VassalMessage::Ready);
    scene.says(1, VassalMessage::Accepting);
    assert!(scene.current().announced.ready.holds() && scene.current().is_accepting());
}

#[test]
fn a_speaker_whose_file_starts_something_else_is_replaced() {
    let mut scene = Scene::speaker();
    scene.change();
    scene.checks(2, OTHER);
    scene.is("replacing 1 by 3", &["check 2", "spawn 3"]);
    assert_eq!(scene.stale(), Some(Stale::Replacing));
    scene.runs(3, custody());
    scene.says(3, VassalMessage::Accepting);
    scene.is("draining 1 for 3", &["custody 3", "tell 1 Stop"]);
    assert_eq!(scene.stale(), None);
}

#[test]
fn a_speaker_without_listeners_whose_file_starts_something_else_is_stopped_and_started() {
    let mut scene = Scene::alone();
    scene.says(1, VassalMessage::Ready);
    scene.change();
    scene.checks(2, OTHER);
    scene.is("stopping 1, then begin", &["check 2", "tell 1 Stop"]);
    scene.exits(1, ExitStatus::Code(0));
    scene.is("starting 3", &["spawn 3"]);
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn a_reload_signal_reloads_in_place_what_starts_the_same() {
    let settings = RunSettings { reload_signal: Some(1), ..custody() };
    let mut scene = Scene::running_with(settings.clone());
    scene.change();
    scene.checks_with(2, settings.clone(), SAME);
    scene.is("running 1", &["check 2", "signal 1 1"]);
    scene.change();
    scene.checks_with(3, settings, OTHER);
    scene.is("replacing 1 by 4", &["check 3", "spawn 4"]);
}

#[test]
fn a_hang_up_reloads_in_place_and_brings_what_has_failed_to_be_read() {
    let mut scene = Scene::speaker();
    scene.send(Event::ReloadAll);
    scene.checks(2, SAME);
    scene.is("running 1", &["check 2", "tell 1 Reload"]);
}

#[test]
fn without_a_stage_the_program_reads_its_file_itself() {
    let mut scene = Scene::new(Rules { stage: false, ..Rules::default() });
    scene.find(OnDemand::No);
    scene.status_closes(1);
    scene.says(1, VassalMessage::Ready);
    scene.done.clear();
    scene.change();
    scene.is("running 1", &["tell 1 Reload"]);
    assert_eq!(scene.stale(), None);
}

#[test]
fn what_only_the_emperor_obeys_is_obeyed_without_an_exec() {
    let mut scene = Scene::speaker();
    scene.change();
    let restart = Restart::Never;
    let heartbeat = Some(Duration::from_secs(1));
    let newer = RunSettings {
        stop_signal: Some(3),
        reload_signal: Some(10),
        restart,
        heartbeat,
        ..custody()
    };
    scene.checks_with(2, RunSettings { listeners: 0, ..newer }, SAME);
    let settings = &scene.current().settings;
    assert_eq!(
        (settings.stop_signal, settings.reload_signal, settings.restart),
        (Some(3), Some(10), restart)
    );
    assert_eq!((settings.listeners, settings.heartbeat), (1, None), "its own exec has fixed them");
}

#[test]
fn a_newer_age_counts_from_the_begin_of_the_program() {
    let signal = RunSettings { reload_signal: Some(1), ..custody() };
    let mut scene = Scene::running_with(signal.clone());
    scene.wait(1000);
    scene.change();
    let (ready, loyal) = (Some(Duration::from_secs(2)), Some(Duration::from_secs(4)));
    scene.checks_with(2, RunSettings { ready_after: ready, loyal_after: loyal, ..signal }, SAME);
    scene.wait(999);
    assert!(!scene.current().is_accepting());
    scene.wait(1);
    assert!(scene.current().is_accepting() && !scene.current().is_loyal());
    scene.wait(2000);
    assert!(scene.current().is_loyal());
}

#[test]
fn a_faulty_file_leaves_a_speaker_alone_and_is_shown() {
    let mut scene = Scene::speaker();
    scene.change();
    scene.fails(2);
    scene.status_closes(2);
    scene.exits(2, ExitStatus::Code(1));
    scene.is("running 1", &["check 2"]);
    assert_eq!(scene.stale(), Some(Stale::Refused("line 3: no such option")));
    scene.change();
    assert_eq!(scene.stale(), Some(Stale::Replacing), "the next change is the next attempt");
    scene.checks(3, SAME);
    assert_eq!(scene.stale(), None);
}

#[test]
fn a_replacement_that_fails_leaves_what_runs_stale_if_it_would_have_been_another() {
    for (print, stale) in [(OTHER, true), (SAME, false)] {
        let mut scene = Scene::replacing();
        scene.life(2, LifeEvent::Verdict(custody(), Fingerprint(print)));
        scene.status_closes(2);
        scene.exits(2, ExitStatus::Code(3));
        scene.is("running 1", &[]);
        assert_eq!(scene.stale().is_some(), stale, "{:?}", scene.stale());
    }
}

#[test]
fn a_replacement_that_waits_is_shown() {
    let mut scene = Scene::running();
    scene.forks = false;
    scene.change();
    assert!(
        matches!(scene.stale(), Some(Stale::Held(hold)) if matches!(hold.reason, HoldReason::Resource(_)))
    );
}

#[test]
fn an_address_that_cannot_be_read_is_shown_while_what_runs_goes_on() {
    for mut scene in [Scene::woken(), Scene::speaker()] {
        scene.done.clear();
        scene.change_to(fault());
        scene.is("running 1", &[]);
        assert!(matches!(scene.stale(), Some(Stale::Address(_))));
    }
}

#[test]
fn a_silent_heart_during_a_check_has_the_curse_tolerance_for_a_word() {
    let mut scene = Scene::speaker();
    scene.says(1, VassalMessage::Heartbeat);
    scene.wait(29_000);
    scene.change();
    scene.wait(1000);
    scene.is("replacing 1 by 2", &["check 2"]);
    scene.checks(2, SAME);
    scene.is("running 1", &["tell 1 Reload"]);
    scene.wait(30_000);
    scene.is("stopping 1, then judge", &["kill 1"]);
}

#[test]
fn a_vassal_without_listeners_is_checked_then_stopped_and_started() {
    let mut scene = Scene::checking();
    scene.verdict(2, custody());
    scene.status_closes(2);
    scene.is("replacing 1 by 2", &[]);
    scene.exits(2, ExitStatus::Code(0));
    scene.is("stopping 1, then begin", &["tell 1 Stop", "signal 1 15"]);
    assert_eq!(scene.notes.last(), Some(&Note::Stopping { why: "for a restart" }));
    scene.exits(1, TERMINATED);
    scene.is("starting 3", &["spawn 3"]);
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn a_bad_file_never_stops_what_runs() {
    for mut scene in [Scene::replacing(), Scene::checking()] {
        scene.fails(2);
        scene.status_closes(2);
        scene.is("replacing 1 by 2", &[]);
        scene.exits(2, ExitStatus::Code(1));
        scene.is("running 1", &[]);
        assert_eq!((scene.error(), scene.deaths()), (Some("line 3: no such option"), 0));
        scene.wait(1_000_000);
        scene.is("running 1", &[]);
    }
}

#[test]
fn a_check_that_ends_without_a_verdict_stops_nothing() {
    for closes in [true, false] {
        let mut scene = Scene::checking();
        if closes {
            scene.status_closes(2);
        }
        scene.exits(2, ExitStatus::Code(0));
        scene.is("running 1", &[]);
        assert!(scene.error().is_some());
    }
}

#[test]
fn a_check_that_hangs_is_killed_and_stops_nothing() {
    let mut scene = Scene::checking();
    scene.verdict(2, custody());
    scene.wait(10_000);
    scene.is("replacing 1 by 2", &["kill 2"]);
    scene.exits(2, KILLED);
    scene.is("running 1", &[]);
}

#[test]
fn without_stage_and_listeners_a_reload_is_a_stop_and_a_start() {
    let mut scene = Scene::new(Rules { stage: false, ..Rules::default() });
    scene.find(OnDemand::No);
    scene.status_closes(1);
    scene.done.clear();
    scene.change();
    scene.is("stopping 1, then begin", &["tell 1 Stop", "signal 1 15"]);
    scene.exits(1, TERMINATED);
    scene.is("starting 2", &["spawn 2"]);
}

#[test]
fn an_on_demand_vassal_is_replaced_on_its_own_listener() {
    let mut scene = Scene::woken();
    scene.change();
    scene.is("replacing 1 by 2", &["spawn 2"]);
}

// Next.

#[test]
fn next_runs_and_takes_over_when_it_has_run_long_enough() {
    let mut scene = Scene::handover();
    scene.wait(9999);
    scene.is("replacing 1 by 2", &[]);
    scene.wait(1);
    scene.is("draining 1 for 2", &["custody 2", "tell 1 Stop", "signal 1 15"]);
    scene.exits(1, TERMINATED);
    scene.is("running 2", &[]);
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn next_takes_over_when_it_is_seen_to_accept() {
    let mut scene = Scene::handover();
    scene.wait(2000);
    let looks: Vec<u64> =
        scene.looks.iter().filter(|(life, _)| *life == 2).map(|look| look.1).collect();
    assert_eq!(looks, [20, 40, 80, 160, 320, 640, 1280]);
    scene.life(2, LifeEvent::SeenAccepting);
    scene.is("draining 1 for 2", &["custody 2", "tell 1 Stop", "signal 1 15"]);
    assert!(scene.current().is_accepting() && !scene.current().is_loyal());
    scene.looks.clear();
    scene.wait(1_000_000);
    assert_eq!(scene.looks, [], "what is known is not looked at");
}

#[test]
fn nobody_is_looked_at_who_has_no_listeners_or_has_said_a_word() {
    let mut scene = Scene::alone();
    scene.wait(20_000);
    assert_eq!(scene.looks, []);
    let mut scene = Scene::handover();
    scene.says(2, VassalMessage::Ready);
    scene.life(2, LifeEvent::SeenAccepting);
    scene.is("replacing 1 by 2", &[]);
    scene.looks.clear();
    scene.wait(9000);
    assert!(scene.looks.iter().all(|(life, _)| *life == 1));
}

#[test]
fn who_replaces_nobody_is_looked_at_now_and_then_until_it_is_believed_by_its_age() {
    let mut scene = Scene::running();
    scene.wait(60_000);
    let looks: Vec<u64> = scene.looks.iter().map(|look| look.1).collect();
    assert_eq!(looks, [500, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000]);
}

#[test]
fn next_takes_over_when_it_says_that_it_is_accepting() {
    let mut scene = Scene::handover();
    scene.says(2, VassalMessage::Ready);
    scene.is("replacing 1 by 2", &[]);
    scene.wait(20_000);
    scene.is("replacing 1 by 2", &[]);
    scene.says(2, VassalMessage::Accepting);
    scene.is("draining 1 for 2", &["custody 2", "tell 1 Stop", "signal 1 15"]);
}

#[test]
fn next_takes_over_when_it_announces_its_readiness() {
    let mut scene = Scene::replacing();
    scene.runs(2, notifying());
    scene.wait(20_000);
    scene.is("replacing 1 by 2", &[]);
    scene.notifies(2, VassalMessage::Ready);
    scene.is("draining 1 for 2", &["custody 2", "tell 1 Stop", "signal 1 15"]);
}

#[test]
fn a_word_of_next_before_its_program_runs_means_nothing() {
    let mut scene = Scene::replacing();
    scene.says(2, VassalMessage::Accepting);
    scene.is("replacing 1 by 2", &[]);
}

#[test]
fn a_word_of_current_replaces_nobody() {
    let mut scene = Scene::handover();
    scene.says(1, VassalMessage::Accepting);
    scene.is("replacing 1 by 2", &[]);
}

#[test]
fn a_next_that_is_late_with_its_start_is_killed_and_current_goes_on() {
    let mut scene = Scene::replacing();
    scene.wait(10_000);
    scene.is("replacing 1 by 2", &["kill 2"]);
    scene.exits(2, KILLED);
    scene.is("running 1", &[]);
    assert_eq!((scene.error(), scene.deaths()), (Some("its program does not run in time"), 0));
}

#[test]
fn a_next_that_never_accepts_is_killed_and_current_goes_on() {
    for word in [
        VassalMessage::Ready,
        VassalMessage::Loyal,
        VassalMessage::GoIdle,
        VassalMessage::Heartbeat,
    ] {
        let mut scene = Scene::handover();
        scene.wait(1000);
        scene.says(2, word);
        for _ in 0..8 {
            scene.wait(11_000);
            scene.says(2, VassalMessage::Ready);
            scene.says(2, VassalMessage::Heartbeat);
        }
        scene.wait(999);
        scene.is("replacing 1 by 2", &[]);
        scene.wait(1);
        scene.is("replacing 1 by 2", &["kill 2"]);
        scene.exits(2, KILLED);
        scene.is("running 1", &[]);
        assert_eq!(scene.error(), Some("it is not ready in time"));
    }
}

#[test]
fn a_next_that_says_one_word_and_no_more_is_killed_in_time() {
    for word in [VassalMessage::Ready, VassalMessage::Loyal, VassalMessage::GoIdle] {
        let mut scene = Scene::handover();
        scene.says(2, word);
        scene.wait(89_999);
        scene.is("replacing 1 by 2", &[]);
        scene.wait(1);
        scene.is("replacing 1 by 2", &["kill 2"]);
    }
}

#[test]
fn a_next_that_dies_is_dropped_and_its_error_shown() {
    let mut scene = Scene::handover();
    scene.exits(2, ExitStatus::Code(3));
    scene.is("running 1", &[]);
    assert!(scene.error().unwrap().contains("exit 3"));
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn a_next_that_closes_its_pipe_is_cursed_and_current_goes_on() {
    let mut scene = Scene::handover();
    scene.says(2, VassalMessage::Ready);
    scene.closes_pipe(2);
    scene.is("replacing 1 by 2", &[]);
    scene.wait(30_000);
    scene.is("replacing 1 by 2", &["kill 2"]);
    scene.exits(2, KILLED);
    scene.is("running 1", &[]);
    assert!(scene.error().unwrap().contains("pipe"));
}

// Current, while it is being replaced.

#[test]
fn when_current_dies_next_becomes_current_and_the_penalty_is_noted() {
    let mut scene = Scene::handover();
    scene.exits(1, ExitStatus::Signal(11));
    scene.is("running 2", &["custody 2"]);
    assert_eq!(scene.deaths(), 1);
    let mut scene = Scene::replacing();
    scene.exits(1, ExitStatus::Signal(11));
    scene.is("starting 2", &[]);
    scene.runs(2, custody());
    scene.is("running 2", &["custody 2"]);
    assert_eq!(scene.deaths(), 1);
}

#[test]
fn a_speaker_that_replaces_nobody_any_more_need_not_accept() {
    let mut scene = Scene::handover();
    scene.says(2, VassalMessage::Ready);
    scene.exits(1, ExitStatus::Signal(11));
    scene.wait(1_000_000);
    scene.is("running 2", &["custody 2"]);
}

#[test]
fn when_current_dies_during_a_check_it_is_a_death() {
    let mut scene = Scene::checking();
    scene.wait(2000);
    scene.exits(1, ExitStatus::Code(1));
    scene.is("stopping 2, then penalty 1000", &["kill 2"]);
    scene.exits(2, KILLED);
    scene.is("held: penalty 1000", &[]);
}

#[test]
fn when_current_dies_while_next_is_killed_for_a_newer_file_it_starts_afterwards() {
    let mut scene = Scene::replacing();
    scene.change();
    scene.exits(1, ExitStatus::Code(1));
    scene.is("stopping 2, then begin", &["kill 2"]);
    scene.exits(2, KILLED);
    scene.is("starting 3", &["spawn 3"]);
}

#[test]
fn a_current_that_goes_idle_while_it_is_replaced_stops_both() {
    let mut scene = Scene::handover();
    scene.wait(100);
    scene.says(1, VassalMessage::GoIdle);
    let both = ["tell 1 Stop", "tell 2 Stop", "signal 2 15"];
    scene.is("stopping 1 and 2, then begin", &both);
}

#[test]
fn a_current_that_closes_its_pipe_while_it_is_replaced_is_cursed() {
    let mut scene = Scene::replacing();
    scene.says(1, VassalMessage::Ready);
    scene.closes_pipe(1);
    scene.is("replacing 1 by 2", &[]);
    scene.runs(2, custody());
    scene.exits(1, ExitStatus::Code(1));
    scene.is("running 2", &["custody 2"]);
    assert_eq!(scene.deaths(), 1);
}

#[test]
fn a_cursed_current_whose_next_fails_is_judged() {
    let mut scene = Scene::replacing();
    scene.says(1, VassalMessage::Ready);
    scene.closes_pipe(1);
    scene.fails(2);
    scene.exits(2, ExitStatus::Code(1));
    scene.is("stopping 1, then judge", &[]);
    scene.wait(2000);
    scene.exits(1, ExitStatus::Code(1));
    scene.is("held: penalty 1000", &[]);
}

#[test]
fn a_silent_current_is_killed_and_next_goes_on() {
    let mut scene = Scene::running();
    scene.notifies(1, VassalMessage::Heartbeat);
    scene.wait(25_000);
    scene.change();
    scene.runs(2, notifying());
    scene.is("replacing 1 by 2", &["spawn 2"]);
    scene.wait(5000);
    scene.is("replacing 1 by 2", &["kill 1"]);
    scene.exits(1, KILLED);
    scene.is("running 2", &["custody 2"]);
}

// Retiring.

#[test]
fn old_is_gone_and_current_runs() {
    let mut scene = Scene::draining();
    scene.exits(1, ExitStatus::Code(1));
    scene.is("running 2", &[]);
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn a_deaf_old_life_is_killed_again_and_again() {
    let mut scene = Scene::draining();
    for _ in 0..3 {
        scene.wait(29_999);
        scene.is("draining 1 for 2", &[]);
        scene.wait(1);
        scene.is("draining 1 for 2", &["kill 1"]);
    }
}

#[test]
fn when_current_dies_old_serves_on_and_the_next_is_started_beside_it() {
    let mut scene = Scene::draining();
    scene.wait(2000);
    scene.exits(2, ExitStatus::Code(1));
    scene.is("running 1, due: penalty 1000", &[]);
    assert!(scene.error().unwrap().contains("exit 1"), "{:?}", scene.error());
    assert!(scene.notes.iter().any(|note| matches!(note, Note::FallBack { pid: 1 })));
    scene.wait(1000);
    scene.is("replacing 1 by 3", &["spawn 3"]);
    scene.runs(3, custody());
    scene.wait(9000);
    scene.is("replacing 1 by 3", &[]);
    scene.says(3, VassalMessage::Accepting);
    scene.is("draining 1 for 3", &["custody 3"]);
    scene.wait(30_000);
    scene.is("draining 1 for 3", &["kill 1"]);
    assert_eq!(scene.deaths(), 1);
}

#[test]
fn old_that_serves_on_is_not_what_its_file_says() {
    let mut scene = Scene::replacing();
    scene.life(2, LifeEvent::Verdict(custody(), Fingerprint(OTHER)));
    scene.status_closes(2);
    scene.says(2, VassalMessage::Accepting);
    scene.is("draining 1 for 2", &["custody 2", "tell 1 Stop", "signal 1 15"]);
    assert_eq!(scene.stale(), None);
    scene.exits(2, ExitStatus::Code(1));
    assert!(matches!(scene.stale(), Some(Stale::Refused(why)) if why.contains("exit 1")));
}

#[test]
fn old_is_not_killed_as_long_as_nobody_takes_its_place() {
    let mut scene = Scene::draining();
    for life in 2..8 {
        scene.exits(life, ExitStatus::Code(1));
        assert!(scene.phase().starts_with("running 1, due: "), "{}", scene.phase());
        scene.wait(8000);
        scene.is(&format!("replacing 1 by {}", life + 1), &[&format!("spawn {}", life + 1)]);
        scene.runs(life + 1, custody());
    }
}

#[test]
fn when_old_has_left_before_there_is_another_the_penalty_is_served() {
    let mut scene = Scene::draining();
    scene.wait(2000);
    scene.exits(2, ExitStatus::Code(1));
    scene.wait(400);
    scene.exits(1, TERMINATED);
    scene.is("held: penalty 600", &[]);
    scene.wait(600);
    scene.is("starting 3", &["spawn 3"]);
    assert_eq!(scene.deaths(), 1);
}

#[test]
fn when_old_leaves_beside_its_next_successor_that_goes_on() {
    let mut scene = Scene::draining();
    scene.wait(2000);
    scene.exits(2, ExitStatus::Code(1));
    scene.wait(1000);
    scene.exits(1, TERMINATED);
    scene.is("starting 3", &["spawn 3"]);
    assert_eq!(scene.deaths(), 1);
}

#[test]
fn a_change_or_forgiveness_brings_the_successor_of_a_dead_one_at_once() {
    for change in [true, false] {
        let mut scene = Scene::draining();
        scene.wait(2000);
        scene.exits(2, ExitStatus::Code(1));
        if change {
            scene.change()
        } else {
            scene.send(Event::ForgetBlacklist)
        }
        scene.is("replacing 1 by 3", &["spawn 3"]);
    }
    let mut scene = Scene::draining();
    scene.wait(2000);
    scene.exits(2, ExitStatus::Code(1));
    scene.send(Event::ReloadAll);
    scene.is("running 1, due: penalty 1000", &[]);
}

#[test]
fn a_faulty_file_does_not_end_the_old_one_that_serves_on() {
    let mut scene = Scene::draining();
    scene.wait(2000);
    scene.exits(2, ExitStatus::Code(1));
    scene.change();
    scene.fails(3);
    scene.exits(3, ExitStatus::Code(1));
    scene.is("running 1, due: penalty 1000", &["spawn 3"]);
    scene.change_to(fault());
    scene.wait(1_000_000);
    scene.is("running 1", &[]);
    scene.exits(1, TERMINATED);
    scene.is("held: address", &[]);
}

#[test]
fn a_removed_file_ends_also_one_that_was_to_take_its_time() {
    let mut scene = Scene::draining();
    scene.wait(2000);
    scene.exits(2, ExitStatus::Code(1));
    scene.wait(900);
    scene.lose();
    scene.is("stopping 1, then gone", &[]);
    scene.wait(30_000);
    scene.is("stopping 1, then gone", &["kill 1"]);
}

#[test]
fn a_current_that_goes_idle_while_old_retires_stops_both() {
    let mut scene = Scene::draining();
    scene.wait(100);
    scene.says(2, VassalMessage::GoIdle);
    scene.is("stopping 2 and 1, then begin", &["tell 2 Stop"]);
}

#[test]
fn a_current_that_closes_its_pipe_while_old_retires_is_judged_by_its_own_end() {
    let mut scene = Scene::draining();
    scene.wait(2000);
    scene.closes_pipe(2);
    scene.is("stopping 2 and 1, then judge", &[]);
    scene.exits(1, TERMINATED);
    scene.is("stopping 2, then judge", &[]);
    assert_eq!(scene.deaths(), 0);
    scene.exits(2, ExitStatus::Code(1));
    scene.is("held: penalty 1000", &[]);
}

#[test]
fn a_failed_current_that_ends_before_old_is_judged_at_its_end() {
    let mut scene = Scene::draining();
    scene.wait(2000);
    scene.closes_pipe(2);
    scene.exits(2, ExitStatus::Code(1));
    scene.is("running 1, due: penalty 1000", &[]);
}

#[test]
fn a_silent_current_is_told_to_reload_while_old_retires() {
    let mut scene = Scene::draining();
    scene.says(2, VassalMessage::Heartbeat);
    scene.wait(29_000);
    scene.is("draining 1 for 2", &[]);
    scene.wait(1000);
    scene.is("draining 1 for 2", &["tell 2 Reload", "kill 1"]);
    scene.wait(30_000);
    scene.is("stopping 2 and 1, then judge", &["kill 2", "kill 1"]);
}

#[test]
fn words_of_current_are_heard_while_old_retires() {
    let mut scene = Scene::draining();
    scene.exits(1, TERMINATED);
    scene.exits(2, ExitStatus::Code(1));
    assert_eq!(scene.deaths(), 1);
    let mut scene = Scene::draining();
    scene.says(2, VassalMessage::Loyal);
    assert!(scene.current().is_loyal());
    scene.says(1, VassalMessage::GoIdle);
    scene.says(1, VassalMessage::Accepting);
    scene.is("draining 1 for 2", &[]);
}

#[test]
fn new_listeners_start_nobody_whose_address_cannot_be_read() {
    let mut scene = Scene::woken();
    scene.change_to(fault());
    scene.send(Event::ListenersRenewed(VassalId(1)));
    scene.wait(10_000);
    scene.is("running 1", &[]);
}

#[test]
fn an_address_that_a_stranger_has_is_tried_again_while_what_runs_goes_on() {
    for mut scene in [Scene::checking(), Scene::replacing()] {
        let taken = || LifeEvent::AddressTaken("bind: in use".to_owned(), None);
        scene.life(2, taken());
        scene.exits(2, ExitStatus::Code(1));
        scene.is("running 1, due: address 50", &[]);
        assert_eq!(scene.stale(), Some(Stale::Refused("bind: in use")));
        let said = scene.notes.len();
        scene.wait(50);
        scene.done.clear();
        scene.life(3, taken());
        scene.exits(3, ExitStatus::Code(1));
        scene.is("running 1, due: address 100", &[]);
        assert_eq!((scene.deaths(), scene.notes.len()), (0, said), "{:?}", scene.notes);
        scene.change();
        assert_eq!(scene.notes.len(), said + 1, "a change is a reason to speak");
    }
    let mut scene = Scene::starting();
    scene.life(1, LifeEvent::AddressTaken("bind: in use".to_owned(), None));
    scene.exits(1, ExitStatus::Code(1));
    scene.is("held: penalty 1000", &[]);
}

#[test]
fn a_replacement_that_is_begun_anew_is_told_once() {
    let told = |scene: &Scene| {
        let is_told = |note: &&Note| matches!(note, Note::Reloading { .. });
        scene.notes.iter().filter(is_told).cloned().collect::<Vec<_>>()
    };
    let mut scene = Scene::running();
    scene.notes.clear();
    scene.send(Event::ListenersRenewed(VassalId(1)));
    scene.change();
    scene.exits(2, ExitStatus::Signal(9));
    scene.done.clear();
    scene.is("replacing 1 by 3", &[]);
    assert_eq!(told(&scene), [Note::Reloading { by: ReloadWay::OnNewListeners }]);
    scene.runs(3, custody());
    scene.wait(10_000);
    scene.exits(1, TERMINATED);
    scene.notes.clear();
    scene.change();
    assert_eq!(told(&scene), [Note::Reloading { by: ReloadWay::Replacement }]);
}

#[test]
fn a_stage_that_is_killed_before_its_program_ran_is_not_told_as_an_end() {
    for mut scene in [Scene::checking(), Scene::replacing()] {
        scene.lose();
        for life in [1, 2] {
            scene.exits(life, KILLED);
        }
        let ends = scene.notes.iter().filter(|note| matches!(note, Note::Stopped { .. }));
        assert_eq!(ends.count(), 1, "{:?}", scene.notes);
    }
}
