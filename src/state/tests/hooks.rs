//! Stop hooks: a command for each life that has ended.

use super::*;
use crate::types::exit_status::ExitStatus;

fn rules() -> Rules {
    Rules { stop_hook: true, ..Rules::default() }
}

/// A loyal vassal with a stop hook.
fn running() -> Scene {
    let mut scene = Scene::new(rules());
    scene.find(OnDemand::No);
    scene.runs(1, custody());
    scene.says(1, VassalMessage::Loyal);
    scene.is("running 1", &["spawn 1", "custody 1"]);
    scene
}

fn hook_ends(scene: &mut Scene) {
    scene.send(Event::HookEnded(key(BLOG)));
}

#[test]
fn the_next_life_waits_for_the_stop_hook_of_the_last_one() {
    let mut scene = running();
    scene.wait(100);
    scene.exits(1, ExitStatus::Code(1));
    scene.is("held: stop hook", &["hook"]);
    scene.wait(60_000);
    scene.is("held: stop hook", &[]);
    hook_ends(&mut scene);
    scene.is("starting 2", &["spawn 2"]);
}

#[test]
fn a_file_that_comes_back_waits_for_the_stop_hook_of_its_last_life_too() {
    let mut scene = running();
    scene.lose();
    scene.exits(1, TERMINATED);
    scene.is("gone", &["tell 1 Stop", "hook", "forget"]);
    scene.find(OnDemand::No);
    scene.is("held: stop hook", &[]);
    hook_ends(&mut scene);
    scene.is("starting 2", &["spawn 2"]);
}

#[test]
fn a_change_does_not_start_it_before_its_stop_hook_is_over() {
    let mut scene = running();
    scene.exits(1, ExitStatus::Code(1));
    scene.change();
    scene.is("held: stop hook", &["hook"]);
    hook_ends(&mut scene);
    scene.is("starting 2", &["spawn 2"]);
}

#[test]
fn an_on_demand_vassal_waits_at_once_and_starts_when_the_stop_hook_is_over() {
    let mut scene = Scene::new(rules());
    scene.find(on_demand());
    scene.connect();
    scene.runs(1, RunSettings::default());
    scene.wait(1000);
    scene.exits(1, ExitStatus::Code(0));
    scene.is(
        "listening",
        &["bind /run/blog.sock", "watch", "unwatch", "spawn 1", "custody 1", "hook", "watch"],
    );
    scene.connect();
    scene.is("held: stop hook", &["unwatch"]);
    hook_ends(&mut scene);
    scene.is("listening", &["watch"]);
    scene.connect();
    scene.is("starting 2", &["unwatch", "spawn 2"]);
}

#[test]
fn a_replacement_is_not_held_back_and_both_lives_have_their_hook() {
    let mut scene = Scene::new(rules());
    scene.find(OnDemand::No);
    scene.runs(1, custody());
    scene.change();
    scene.runs(2, custody());
    scene.says(2, VassalMessage::Accepting);
    scene.done.clear();
    scene.exits(1, TERMINATED);
    scene.is("running 2", &["hook"]);
    scene.says(2, VassalMessage::Loyal);
    scene.wait(100);
    scene.exits(2, ExitStatus::Code(1));
    scene.is("held: stop hook", &["hook"]);
    hook_ends(&mut scene);
    scene.is("held: stop hook", &[]);
    hook_ends(&mut scene);
    scene.is("starting 3", &["spawn 3"]);
}

#[test]
fn a_check_of_the_file_and_a_fork_that_failed_have_no_hook() {
    let mut scene = Scene::new(rules());
    scene.find(OnDemand::No);
    scene.runs(1, RunSettings::default());
    scene.change();
    scene.is("replacing 1 by 2", &["spawn 1", "custody 1", "check 2"]);
    scene.fails(2);
    scene.exits(2, ExitStatus::Code(1));
    scene.is("running 1", &[]);
    let mut scene = Scene::new(rules());
    scene.forks = false;
    scene.find(OnDemand::No);
    scene.lose();
    scene.is("gone", &["spawn 1", "forget"]);
}

#[test]
fn ragnarok_ends_with_the_last_stop_hook() {
    let mut scene = running();
    scene.send(Event::Ragnarok);
    scene.exits(1, TERMINATED);
    scene.is("gone", &["tell 1 Stop", "hook", "forget"]);
    hook_ends(&mut scene);
    scene.is("gone", &["leave 0"]);
}

#[test]
fn after_the_mercy_stop_hooks_are_killed() {
    let mut scene = running();
    scene.send(Event::Ragnarok);
    scene.exits(1, TERMINATED);
    scene.done.clear();
    scene.wait(29_999);
    scene.is("gone", &[]);
    scene.wait(1);
    scene.is("gone", &["kill hooks"]);
    hook_ends(&mut scene);
    scene.is("gone", &["leave 0"]);
}
