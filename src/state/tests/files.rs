//! Rows of the file: found, changed, lost, found again; SIGHUP, SIGURG and ragnarok with them.

use super::*;
use crate::types::exit_status::ExitStatus;

// found (new)

#[test]
fn a_found_vassal_starts_in_its_turn() {
    let mut scene = Scene::new(Rules::default());
    scene.find(OnDemand::No);
    scene.is("starting 1", &["spawn 1"]);
}

#[test]
fn a_found_on_demand_vassal_binds_its_address_and_waits() {
    let mut scene = Scene::new(Rules::default());
    scene.find(on_demand());
    scene.is("listening", &["bind /run/blog.sock", "watch"]);
}

#[test]
fn the_same_name_in_two_sources_is_two_vassals() {
    let mut scene = Scene::starting();
    let other = Key { source: SourceId(1), ..key(BLOG) };
    scene.send(Event::Found { key: other, file: file(OnDemand::No), is_initial: true });
    scene.is("starting 1", &["spawn 2"]);
    assert_eq!(scene.realm.len(), 2);
}

#[test]
fn what_is_found_or_changed_in_ragnarok_comes_too_late() {
    let mut scene = Scene::running();
    scene.send(Event::Ragnarok);
    scene.find_as("other.ini", OnDemand::No, false);
    scene.find(OnDemand::No);
    scene.change();
    scene.is("stopping 1, then gone", &["tell 1 Stop", "signal 1 15"]);
    assert_eq!(scene.realm.len(), 1);
}

// file changed

#[test]
fn a_touch_forgives_and_starts_what_is_held() {
    let mut scene = Scene::held();
    scene.change();
    scene.is("starting 2", &["spawn 2"]);
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn a_touch_of_a_waiting_vassal_renews_its_stamp() {
    let mut scene = Scene::listening();
    scene.send(Event::Changed { key: key(BLOG), file: File { modified: 77, ..file(on_demand()) } });
    scene.is("listening", &[]);
    assert_eq!(scene.blog().unwrap().file.modified, 77);
}

#[test]
fn a_waiting_vassal_moves_to_its_new_address() {
    let mut scene = Scene::listening();
    scene.change_to(OnDemand::Address("/run/new".into()));
    scene.is("listening", &["unwatch", "unbind", "bind /run/new", "watch"]);
}

#[test]
fn a_waiting_vassal_that_is_on_demand_no_more_starts() {
    let mut scene = Scene::listening();
    scene.change_to(OnDemand::No);
    scene.is("starting 1", &["unwatch", "unbind", "spawn 1"]);
}

#[test]
fn a_change_kills_a_start_and_begins_anew() {
    let mut scene = Scene::starting();
    scene.change();
    scene.is("stopping 1, then begin", &["kill 1"]);
    scene.exits(1, KILLED);
    scene.is("starting 2", &["spawn 2"]);
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn a_change_reloads_what_runs() {
    let mut scene = Scene::running();
    scene.change();
    scene.is("replacing 1 by 2", &["spawn 2"]);
}

#[test]
fn another_address_needs_another_life() {
    let mut scene = Scene::woken();
    scene.change_to(OnDemand::Address("/run/new".into()));
    scene.is("stopping 1, then begin", &["unbind", "tell 1 Stop", "signal 1 15"]);
    scene.exits(1, TERMINATED);
    scene.is("listening", &["bind /run/new", "watch"]);
}

#[test]
fn a_change_while_replacing_kills_next_for_a_new_next() {
    let mut scene = Scene::replacing();
    scene.change();
    scene.is("replacing 1 by 2, again", &["kill 2"]);
    scene.change();
    scene.is("replacing 1 by 2, again", &[]);
    scene.exits(2, KILLED);
    scene.is("replacing 1 by 3", &["spawn 3"]);
}

#[test]
fn a_change_while_retiring_reloads_when_old_is_gone() {
    let mut scene = Scene::draining();
    scene.change();
    scene.is("draining 1 for 2, then reload", &[]);
    assert_eq!(scene.stale(), Some(Stale::Draining));
    scene.exits(1, TERMINATED);
    scene.is("replacing 2 by 3", &["check 3"]);
    scene.checks(3, SAME);
    scene.is("running 2", &["tell 2 Reload"]);
    assert_eq!(scene.stale(), None);
}

#[test]
fn a_change_while_stopping_starts_afterwards() {
    let mut scene = Scene::woken();
    scene.says(1, VassalMessage::Ready);
    scene.closes_pipe(1);
    scene.is("stopping 1, then judge", &[]);
    scene.change_to(OnDemand::No);
    scene.is("stopping 1, then begin", &["unbind"]);
    scene.exits(1, ExitStatus::Code(1));
    scene.is("starting 2", &["spawn 2"]);
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn an_unreadable_address_holds_what_does_not_run() {
    let mut scene = Scene::new(Rules::default());
    scene.find(fault());
    scene.is("held: address", &[]);
    assert!(scene.error().unwrap().contains("permission denied"));
    scene.change_to(on_demand());
    scene.is("listening", &["bind /run/blog.sock", "watch"]);
    scene.change_to(fault());
    scene.is("held: address", &["unwatch"]);
    scene.change_to(on_demand());
    scene.is("listening", &["watch"]);
    scene.change_to(fault());
    scene.change_to(OnDemand::No);
    scene.is("starting 1", &["unwatch", "unbind", "spawn 1"]);
}

#[test]
fn an_unreadable_address_never_stops_what_runs() {
    for mut scene in [Scene::running(), Scene::alone(), Scene::woken()] {
        scene.change_to(fault());
        scene.send(Event::ReloadAll);
        scene.is("running 1", &[]);
        assert!(scene.error().unwrap().contains("permission denied"));
        scene.exits(1, ExitStatus::Code(1));
        scene.wait(5000);
        scene.is("held: address", &[]);
    }
}

// file lost, found again

#[test]
fn a_lost_file_ends_what_does_not_run_at_once() {
    for mut scene in [Scene::held(), Scene::listening()] {
        scene.lose();
        scene.is("gone", &["forget"]);
    }
}

#[test]
fn a_lost_file_kills_a_start() {
    let mut scene = Scene::starting();
    scene.lose();
    scene.is("stopping 1, then gone", &["kill 1"]);
    scene.exits(1, KILLED);
    scene.is("gone", &["forget"]);
}

#[test]
fn a_lost_file_stops_what_runs() {
    let mut scene = Scene::stopping();
    scene.exits(1, TERMINATED);
    scene.is("gone", &["forget"]);
}

#[test]
fn a_lost_file_stops_both_lives_of_a_replacement() {
    let mut scene = Scene::handover();
    scene.lose();
    let both = ["tell 1 Stop", "signal 1 15", "tell 2 Stop", "signal 2 15"];
    scene.is("stopping 1 and 2, then gone", &both);
    scene.exits(1, TERMINATED);
    scene.is("stopping 2, then gone", &[]);
    scene.exits(2, TERMINATED);
    scene.is("gone", &["forget"]);
}

#[test]
fn a_lost_file_kills_a_replacement_that_does_not_run_yet() {
    let mut scene = Scene::replacing();
    scene.lose();
    let both = ["tell 1 Stop", "signal 1 15", "kill 2"];
    scene.is("stopping 1 and 2, then gone", &both);
}

#[test]
fn a_lost_file_stops_both_lives_while_one_retires() {
    let mut scene = Scene::draining();
    scene.lose();
    scene.is("stopping 2 and 1, then gone", &["tell 2 Stop"]);
    scene.exits(1, TERMINATED);
    scene.exits(2, ExitStatus::Code(0));
    scene.is("gone", &["forget"]);
}

#[test]
fn a_file_lost_while_stopping_goes_afterwards() {
    let mut scene = Scene::speaker();
    scene.wait(100);
    scene.says(1, VassalMessage::GoIdle);
    scene.is("stopping 1, then begin", &["tell 1 Stop"]);
    scene.lose();
    scene.is("stopping 1, then gone", &[]);
    scene.exits(1, ExitStatus::Code(0));
    scene.is("gone", &["forget"]);
}

#[test]
fn a_file_found_again_while_stopping_starts_afterwards() {
    let mut scene = Scene::stopping();
    scene.find_as(BLOG, OnDemand::No, false);
    scene.is("stopping 1, then begin", &[]);
    scene.exits(1, TERMINATED);
    scene.is("starting 2", &["spawn 2"]);
}

#[test]
fn a_listener_is_kept_when_its_file_is_found_again_in_time() {
    let mut scene = Scene::woken();
    scene.lose();
    scene.is("stopping 1, then gone", &["tell 1 Stop", "signal 1 15"]);
    scene.find(on_demand());
    scene.exits(1, TERMINATED);
    scene.is("listening", &["watch"]);
}

#[test]
fn a_file_found_twice_is_a_change() {
    let mut scene = Scene::running();
    scene.find(OnDemand::No);
    scene.is("replacing 1 by 2", &["spawn 2"]);
}

// SIGHUP, SIGURG

#[test]
fn a_hang_up_reloads_what_runs() {
    let mut scene = Scene::running();
    scene.send(Event::ReloadAll);
    scene.is("replacing 1 by 2", &["spawn 2"]);
}

#[test]
fn a_hang_up_while_retiring_reloads_when_old_is_gone() {
    let mut scene = Scene::draining();
    scene.send(Event::ReloadAll);
    scene.exits(1, TERMINATED);
    scene.is("replacing 2 by 3", &["check 3"]);
    scene.checks(3, SAME);
    scene.is("running 2", &["tell 2 Reload"]);
}

#[test]
fn a_hang_up_means_nothing_in_other_phases() {
    let phases = ["held", "listening", "starting", "replacing", "stopping"];
    means_nothing(&phases, |scene| scene.send(Event::ReloadAll));
}

#[test]
fn forgetting_the_blacklist_ends_a_penalty() {
    let mut scene = Scene::held();
    scene.send(Event::ForgetBlacklist);
    scene.is("starting 2", &["spawn 2"]);
    assert_eq!(scene.deaths(), 0);
}

#[test]
fn forgetting_the_blacklist_ends_a_penalty_that_has_not_begun() {
    let mut scene = Scene::checking();
    scene.wait(2000);
    scene.exits(1, ExitStatus::Code(1));
    scene.is("stopping 2, then penalty 1000", &["kill 2"]);
    scene.send(Event::ForgetBlacklist);
    scene.exits(2, KILLED);
    scene.is("starting 3", &["spawn 3"]);
}

// ragnarok

#[test]
fn ragnarok_ends_what_does_not_run_at_once() {
    for mut scene in [Scene::held(), Scene::listening()] {
        scene.send(Event::Ragnarok);
        scene.is("gone", &["forget", "leave 0"]);
    }
}

#[test]
fn ragnarok_kills_a_start() {
    let mut scene = Scene::starting();
    scene.send(Event::Ragnarok);
    scene.is("stopping 1, then gone", &["kill 1"]);
    scene.exits(1, KILLED);
    scene.is("gone", &["forget", "leave 0"]);
}

#[test]
fn ragnarok_stops_what_runs_and_leaves_when_nothing_is_left() {
    let mut scene = Scene::running();
    scene.send(Event::Ragnarok);
    scene.is("stopping 1, then gone", &["tell 1 Stop", "signal 1 15"]);
    scene.exits(1, TERMINATED);
    scene.is("gone", &["forget", "leave 0"]);
    scene.wait(60_000);
    scene.is("gone", &[]);
}

#[test]
fn ragnarok_stops_both_lives() {
    let mut scene = Scene::handover();
    scene.send(Event::Ragnarok);
    let both = ["tell 1 Stop", "signal 1 15", "tell 2 Stop", "signal 2 15"];
    scene.is("stopping 1 and 2, then gone", &both);
    let mut scene = Scene::draining();
    scene.send(Event::Ragnarok);
    scene.is("stopping 2 and 1, then gone", &["tell 2 Stop"]);
}

#[test]
fn ragnarok_overrides_what_was_due_after_a_stop() {
    let mut scene = Scene::speaker();
    scene.says(1, VassalMessage::GoIdle);
    scene.send(Event::Ragnarok);
    scene.is("stopping 1, then gone", &["tell 1 Stop"]);
}

#[test]
fn ragnarok_without_vassals_leaves_at_once() {
    let mut scene = Scene::new(Rules::default());
    scene.send(Event::Ragnarok);
    scene.is("gone", &["leave 0"]);
}
