//! The columns replacing and retiring: two lives of one vassal.

use super::*;

// How a reload is done.

#[test]
fn a_speaker_is_told_to_reload_and_is_ready_when_it_says_so_again() {
    let mut scene = Scene::speaker();
    scene.says(1, Said::Accepting);
    scene.change();
    scene.is("running 1", &["tell 1 Reload"]);
    assert!(!scene.current().ready && !scene.current().accepting);
    scene.wait(1_000_000);
    scene.is("running 1", &[]);
    scene.says(1, Said::Ready);
    scene.says(1, Said::Accepting);
    assert!(scene.current().ready && scene.current().accepting);
}

#[test]
fn a_reload_signal_reloads_in_place() {
    let mut scene = Scene::running_with(Settings { reload_signal: Some(1), ..custody() });
    scene.change();
    scene.is("running 1", &["signal 1 1"]);
}

#[test]
fn a_vassal_without_listeners_is_checked_then_stopped_and_started() {
    let mut scene = Scene::checking();
    scene.verdict(2, custody());
    scene.status_closes(2);
    scene.is("replacing 1 by 2", &[]);
    scene.exits(2, Exit::Code(0));
    scene.is("stopping 1, then begin", &["tell 1 Stop", "signal 1 15"]);
    assert_eq!(scene.notes.last(), Some(&Note::Stopping { why: "it is to begin anew" }));
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
        scene.exits(2, Exit::Code(1));
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
        scene.exits(2, Exit::Code(0));
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
    scene.wait(2999);
    scene.is("replacing 1 by 2", &[]);
    scene.wait(1);
    scene.is("retiring 1 for 2", &["custody 2", "tell 1 Stop", "signal 1 15"]);
    scene.exits(1, TERMINATED);
    scene.is("running 2", &[]);
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn next_takes_over_when_it_says_that_it_is_accepting() {
    let mut scene = Scene::handover();
    scene.says(2, Said::Ready);
    scene.is("replacing 1 by 2", &[]);
    scene.wait(20_000);
    scene.is("replacing 1 by 2", &[]);
    scene.says(2, Said::Accepting);
    scene.is("retiring 1 for 2", &["custody 2", "tell 1 Stop", "signal 1 15"]);
}

#[test]
fn next_takes_over_when_it_announces_its_readiness() {
    let mut scene = Scene::replacing();
    scene.runs(2, notifying());
    scene.wait(20_000);
    scene.is("replacing 1 by 2", &[]);
    scene.notifies(2, Said::Ready);
    scene.is("retiring 1 for 2", &["custody 2", "tell 1 Stop", "signal 1 15"]);
}

#[test]
fn a_word_of_next_before_its_program_runs_means_nothing() {
    let mut scene = Scene::replacing();
    scene.says(2, Said::Accepting);
    scene.is("replacing 1 by 2", &[]);
}

#[test]
fn a_word_of_current_replaces_nobody() {
    let mut scene = Scene::handover();
    scene.says(1, Said::Accepting);
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
    for word in [Said::Ready, Said::Loyal, Said::GoIdle, Said::Beat] {
        let mut scene = Scene::handover();
        scene.wait(1000);
        scene.says(2, word);
        for _ in 0..8 {
            scene.wait(11_000);
            scene.says(2, Said::Ready);
            scene.says(2, Said::Beat);
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
    for word in [Said::Ready, Said::Loyal, Said::GoIdle] {
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
    scene.exits(2, Exit::Code(3));
    scene.is("running 1", &[]);
    assert!(scene.error().unwrap().contains("exit 3"));
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn a_next_that_closes_its_pipe_is_cursed_and_current_goes_on() {
    let mut scene = Scene::handover();
    scene.says(2, Said::Ready);
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
    scene.exits(1, Exit::Signal(11));
    scene.is("running 2", &["custody 2"]);
    assert_eq!(scene.deaths(), 1);
    let mut scene = Scene::replacing();
    scene.exits(1, Exit::Signal(11));
    scene.is("starting 2", &[]);
    scene.runs(2, custody());
    scene.is("running 2", &["custody 2"]);
    assert_eq!(scene.deaths(), 1);
}

#[test]
fn a_speaker_that_replaces_nobody_any_more_need_not_accept() {
    let mut scene = Scene::handover();
    scene.says(2, Said::Ready);
    scene.exits(1, Exit::Signal(11));
    scene.wait(1_000_000);
    scene.is("running 2", &["custody 2"]);
}

#[test]
fn when_current_dies_during_a_check_it_is_a_death() {
    let mut scene = Scene::checking();
    scene.wait(2000);
    scene.exits(1, Exit::Code(1));
    scene.is("stopping 2, then penalty 1000", &["kill 2"]);
    scene.exits(2, KILLED);
    scene.is("held: penalty 1000", &[]);
}

#[test]
fn when_current_dies_while_next_is_killed_for_a_newer_file_it_starts_afterwards() {
    let mut scene = Scene::replacing();
    scene.change();
    scene.exits(1, Exit::Code(1));
    scene.is("stopping 2, then begin", &["kill 2"]);
    scene.exits(2, KILLED);
    scene.is("starting 3", &["spawn 3"]);
}

#[test]
fn a_current_that_goes_idle_while_it_is_replaced_stops_both() {
    let mut scene = Scene::handover();
    scene.wait(100);
    scene.says(1, Said::GoIdle);
    let both = ["tell 1 Stop", "tell 2 Stop", "signal 2 15"];
    scene.is("stopping 1 and 2, then begin", &both);
}

#[test]
fn a_current_that_closes_its_pipe_while_it_is_replaced_is_cursed() {
    let mut scene = Scene::replacing();
    scene.says(1, Said::Ready);
    scene.closes_pipe(1);
    scene.is("replacing 1 by 2", &[]);
    scene.runs(2, custody());
    scene.exits(1, Exit::Code(1));
    scene.is("running 2", &["custody 2"]);
    assert_eq!(scene.deaths(), 1);
}

#[test]
fn a_cursed_current_whose_next_fails_is_judged() {
    let mut scene = Scene::replacing();
    scene.says(1, Said::Ready);
    scene.closes_pipe(1);
    scene.fails(2);
    scene.exits(2, Exit::Code(1));
    scene.is("stopping 1, then judge", &[]);
    scene.wait(2000);
    scene.exits(1, Exit::Code(1));
    scene.is("held: penalty 1000", &[]);
}

#[test]
fn a_silent_current_is_killed_and_next_goes_on() {
    let mut scene = Scene::running();
    scene.notifies(1, Said::Beat);
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
    let mut scene = Scene::retiring();
    scene.exits(1, Exit::Code(1));
    scene.is("running 2", &[]);
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn a_deaf_old_life_is_killed_again_and_again() {
    let mut scene = Scene::retiring();
    for _ in 0..3 {
        scene.wait(29_999);
        scene.is("retiring 1 for 2", &[]);
        scene.wait(1);
        scene.is("retiring 1 for 2", &["kill 1"]);
    }
}

#[test]
fn when_current_dies_old_goes_on_stopping_and_the_death_is_served_afterwards() {
    let mut scene = Scene::retiring();
    scene.wait(2000);
    scene.exits(2, Exit::Code(1));
    scene.is("stopping 1, then penalty 1000", &[]);
    scene.wait(400);
    scene.exits(1, TERMINATED);
    scene.is("held: penalty 600", &[]);
    scene.wait(600);
    scene.is("starting 3", &["spawn 3"]);
    assert_eq!(scene.deaths(), 1);
}

#[test]
fn a_penalty_that_old_has_outlived_is_served() {
    let mut scene = Scene::retiring();
    scene.wait(2000);
    scene.exits(2, Exit::Code(1));
    scene.wait(5000);
    scene.exits(1, TERMINATED);
    scene.is("starting 3", &["spawn 3"]);
}

#[test]
fn a_current_that_goes_idle_while_old_retires_stops_both() {
    let mut scene = Scene::retiring();
    scene.wait(100);
    scene.says(2, Said::GoIdle);
    scene.is("stopping 2 and 1, then begin", &["tell 2 Stop"]);
}

#[test]
fn a_current_that_closes_its_pipe_while_old_retires_is_judged_by_its_own_end() {
    let mut scene = Scene::retiring();
    scene.wait(2000);
    scene.closes_pipe(2);
    scene.is("stopping 2 and 1, then judge", &[]);
    scene.exits(1, TERMINATED);
    scene.is("stopping 2, then judge", &[]);
    assert_eq!(scene.deaths(), 0);
    scene.exits(2, Exit::Code(1));
    scene.is("held: penalty 1000", &[]);
}

#[test]
fn a_failed_current_that_ends_before_old_is_judged_at_its_end() {
    let mut scene = Scene::retiring();
    scene.wait(2000);
    scene.closes_pipe(2);
    scene.exits(2, Exit::Code(1));
    scene.is("stopping 1, then penalty 1000", &[]);
}

#[test]
fn a_silent_current_is_told_to_reload_while_old_retires() {
    let mut scene = Scene::retiring();
    scene.says(2, Said::Beat);
    scene.wait(29_000);
    scene.is("retiring 1 for 2", &[]);
    scene.wait(1000);
    scene.is("retiring 1 for 2", &["tell 2 Reload", "kill 1"]);
    scene.wait(30_000);
    scene.is("stopping 2 and 1, then judge", &["kill 2", "kill 1"]);
}

#[test]
fn words_of_current_are_heard_while_old_retires() {
    let mut scene = Scene::retiring();
    scene.exits(1, TERMINATED);
    scene.exits(2, Exit::Code(1));
    assert_eq!(scene.deaths(), 1);
    let mut scene = Scene::retiring();
    scene.says(2, Said::Loyal);
    assert!(scene.current().loyal);
    scene.says(1, Said::GoIdle);
    scene.says(1, Said::Accepting);
    scene.is("retiring 1 for 2", &[]);
}
