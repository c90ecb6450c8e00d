//! Rows of the on-demand address, of connections and of holds that end.

use super::*;
use crate::types::exit_status::ExitStatus;

#[test]
fn an_address_that_cannot_be_bound_is_tried_again_with_longer_pauses() {
    let mut scene = Scene::new(Rules::default());
    scene.binds = false;
    scene.find(on_demand());
    for pause in [50, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
        scene.is(&format!("held: address {pause}"), &["bind /run/blog.sock"]);
        assert_eq!(scene.error(), Some("address in use"));
        scene.wait(pause - 1);
        scene.is("held: address 1", &[]);
        scene.wait(1);
    }
    scene.done.clear();
    scene.binds = true;
    scene.wait(10_000);
    scene.is("listening", &["bind /run/blog.sock", "watch"]);
    assert_eq!(scene.error(), None);
    scene.binds = false;
    scene.change_to(OnDemand::Address("/run/new".into()));
    scene.is("held: address 50", &["unwatch", "unbind", "bind /run/new"]);
}

#[test]
fn a_refused_address_is_logged_once_for_each_reason() {
    let mut scene = Scene::new(Rules::default());
    scene.binds = false;
    scene.find(on_demand());
    scene.wait(5000);
    let held = scene.notes.iter().filter(|note| matches!(note, Note::Held { .. })).count();
    assert_eq!(held, 1);
}

#[test]
fn an_answer_about_a_listener_means_nothing_but_to_who_has_asked() {
    means_nothing(&PHASES, |scene| scene.send(Event::ListenerBound(VassalId(1))));
    means_nothing(&PHASES, |scene| {
        scene.send(Event::ListenerRefused(VassalId(1), "in use".to_owned()));
    });
}

#[test]
fn a_lost_listener_is_bound_anew_after_a_pause_that_grows_until_somebody_connects() {
    let mut scene = Scene::listening();
    let lost = || Event::ListenerLost(VassalId(1), "it is shut down".to_owned());
    for pause in [50, 100, 200] {
        scene.send(lost());
        scene.is(&format!("held: address {pause}"), &["unwatch", "unbind"]);
        assert_eq!(scene.error(), Some("it is shut down"));
        scene.wait(pause);
        scene.is("listening", &["bind /run/blog.sock", "watch"]);
    }
    scene.connect();
    scene.runs(1, RunSettings::default());
    scene.exits(1, ExitStatus::Code(0));
    scene.done.clear();
    scene.send(lost());
    scene.is("held: address 50", &["unwatch", "unbind"]);
}

#[test]
fn a_listener_that_is_not_polled_is_not_lost() {
    let phases = ["held", "starting", "running", "replacing", "draining", "stopping"];
    means_nothing(&phases, |scene| {
        scene.send(Event::ListenerLost(VassalId(1), "it is shut down".to_owned()));
    });
}

#[test]
fn who_runs_on_a_listener_where_nobody_comes_any_more_is_replaced_on_the_new_one() {
    let renewed = || Event::ListenersRenewed(VassalId(1));
    let mut scene = Scene::woken();
    // However it is told to reload: it would keep the old one.
    scene.says(1, VassalMessage::Accepting);
    scene.send(renewed());
    scene.is("replacing 1 by 2", &["spawn 2"]);
    scene.send(renewed());
    scene.is("replacing 1 by 2, again", &["kill 2"]);
    scene.exits(2, ExitStatus::Signal(9));
    scene.is("replacing 1 by 3", &["check 3"]);
    let mut scene = Scene::starting();
    scene.send(renewed());
    scene.is("stopping 1, then begin", &["kill 1"]);
    let mut scene = Scene::draining();
    scene.send(renewed());
    scene.exits(1, ExitStatus::Code(0));
    scene.is("replacing 2 by 3", &["check 3"]);
}

#[test]
fn new_listeners_mean_nothing_to_who_has_no_life_or_shares_none() {
    means_nothing(&["held", "listening", "stopping"], |scene| {
        scene.send(Event::ListenersRenewed(VassalId(1)));
    });
    let mut scene = Scene::alone();
    scene.send(Event::ListenersRenewed(VassalId(1)));
    scene.is("running 1", &[]);
}

// hold ends

#[test]
fn a_served_penalty_ends_in_a_start() {
    let mut scene = Scene::held();
    scene.wait(999);
    scene.is("held: penalty 1", &[]);
    scene.wait(1);
    scene.is("starting 2", &["spawn 2"]);
}

#[test]
fn a_served_penalty_of_an_on_demand_vassal_ends_in_waiting() {
    let mut scene = Scene::woken();
    scene.wait(2000);
    scene.exits(1, ExitStatus::Code(1));
    scene.is("held: penalty 1000", &[]);
    scene.wait(1000);
    scene.is("listening", &["watch"]);
}

#[test]
fn a_due_replacement_starts_when_its_pause_ends() {
    let mut scene = Scene::running();
    scene.forks = false;
    scene.change();
    scene.is("running 1, due: resource 1000", &["spawn 2"]);
    scene.forks = true;
    scene.wait(1000);
    scene.is("replacing 1 by 3", &["spawn 3"]);
}

// connection

#[test]
fn the_first_connection_starts_a_waiting_vassal() {
    let mut scene = Scene::listening();
    scene.connect();
    scene.is("starting 1", &["unwatch", "spawn 1"]);
}

#[test]
fn a_connection_waits_in_the_backlog_in_every_other_phase() {
    let phases = ["held", "starting", "running", "replacing", "draining", "stopping"];
    means_nothing(&phases, Scene::connect);
}

#[test]
fn a_program_that_ends_without_taking_its_connection_is_not_started_at_once_again() {
    let mut scene = Scene::woken();
    scene.wait(30);
    scene.exits(1, ExitStatus::Code(0));
    scene.is("listening", &["watch"]);
    scene.connect();
    scene.is("held: pace 70", &["unwatch"]);
    scene.wait(70);
    scene.is("listening", &["watch"]);
    scene.connect();
    scene.is("starting 2", &["unwatch", "spawn 2"]);
}

#[test]
fn a_crash_touches_no_listener() {
    let mut scene = Scene::woken();
    scene.wait(1500);
    scene.exits(1, ExitStatus::Signal(11));
    scene.wait(1000);
    scene.connect();
    scene.is("starting 2", &["watch", "unwatch", "spawn 2"]);
}
