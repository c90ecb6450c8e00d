//! What is left of a vassal whose row has failed by a fault in liege: nothing is lost, and it comes back.

use super::*;
use crate::state::repair::Truth;

/// Every kind of event that can reach a vassal, whatever its phase.
fn events() -> Vec<(&'static str, Event)> {
    let life = |id, event| Event::Life(LifeId(id), event);
    let said = |said, channel| life(1, LifeEvent::Message(said, channel));
    vec![
        (
            "found again",
            Event::Found { key: key(BLOG), file: file(OnDemand::No), is_initial: true },
        ),
        ("changed", Event::Changed { key: key(BLOG), file: file(OnDemand::No) }),
        ("owner changed", Event::OwnerChanged { key: key(BLOG), file: file(OnDemand::No) }),
        ("lost", Event::Lost(key(BLOG))),
        ("bound", Event::ListenerBound(VassalId(1))),
        ("refused", Event::ListenerRefused(VassalId(1), "in use".to_owned())),
        ("listener lost", Event::ListenerLost(VassalId(1), "shut down".to_owned())),
        ("connection", Event::Connection(VassalId(1))),
        ("spawned", life(1, LifeEvent::Spawned(1))),
        ("answered", life(1, LifeEvent::Answered)),
        ("unreachable", life(1, LifeEvent::Unreachable)),
        ("verdict", life(1, LifeEvent::Verdict(custody(), Fingerprint(SAME)))),
        ("start failed", life(1, LifeEvent::StartFailed("line 3".to_owned()))),
        ("status closed", life(1, LifeEvent::StatusClosed)),
        ("pipe closed", life(1, LifeEvent::PipeClosed)),
        ("ready", said(VassalMessage::Ready, Channel::Pipe)),
        ("beat", said(VassalMessage::Heartbeat, Channel::Notify)),
        ("idle", said(VassalMessage::GoIdle, Channel::Pipe)),
        ("hang-up", Event::ReloadAll),
        ("forgiven", Event::ForgetBlacklist),
    ]
}

impl Scene {
    /// The next row fails when it has done all that it can.
    fn fail(&mut self, event: Event) {
        self.done.clear();
        self.realm.fail_next_row();
        self.faults += 1;
        let before = self.realm.internal_errors();
        let mut out = Vec::new();
        let faults = self.faults;
        self.faults = before;
        self.realm.step(self.now, event, &mut out);
        self.faults = faults.min(self.realm.internal_errors());
        for effect in out {
            if let Some(answer) = self.act(effect) {
                self.send(answer);
            }
        }
    }

    fn lives(&self) -> Vec<u64> {
        let blog = self.blog().expect("it is not lost");
        let lives = [blog.current(), blog.other()].into_iter().flatten();
        let mut lives: Vec<u64> = lives.map(|life| life.id.0).collect();
        lives.sort_unstable();
        lives
    }
}

#[test]
fn whatever_row_fails_its_vassal_is_killed_held_and_started_again() {
    for phase in PHASES {
        for (name, event) in events() {
            let mut scene = Scene::in_phase(phase);
            let lives = scene.lives();
            scene.fail(event);
            let failed = scene.realm.internal_errors();
            if failed == 0 {
                assert!(name.len() > 1 && lives.first() != Some(&1), "{name} in {phase}: no row");
                continue;
            }
            assert_eq!(scene.lives(), lives, "{name} in {phase}: a life is forgotten");
            for life in &lives {
                let kill = format!("kill {life}");
                assert!(scene.done.contains(&kill), "{name} in {phase}: {:?}", scene.done);
            }
            for life in lives {
                scene.exits(life, KILLED);
            }
            assert!(scene.phase().starts_with("held: internal "), "{name}: {}", scene.phase());
            assert_eq!(scene.error(), Some("internal error"));
            scene.wait(2500);
            let phase_now = scene.phase();
            let back = phase_now.starts_with("starting") || phase_now == "listening";
            assert!(back, "{name} in {phase}: {phase_now}");
        }
    }
}

#[test]
fn the_end_of_a_process_is_not_waited_for_twice() {
    let mut scene = Scene::running();
    scene.fail(Event::Life(LifeId(1), LifeEvent::Exited(KILLED)));
    assert_eq!(scene.phase(), "held: internal 1000");
    scene.wait(1000);
    scene.is("starting 2", &["unwatch", "spawn 2"]);
}

#[test]
fn a_start_that_fails_is_not_made() {
    let mut scene = Scene::held();
    scene.wait(999);
    scene.now += Duration::from_millis(1);
    scene.fail(Event::Time);
    assert_eq!(scene.phase(), "held: internal 1000");
    scene.is("held: internal 1000", &["unwatch"]);
}

#[test]
fn a_fault_that_repeats_is_met_with_longer_pauses() {
    let mut scene = Scene::running();
    for pause in [1000, 2000, 4000, 8000] {
        for life in scene.lives() {
            scene.exits(life, KILLED);
        }
        if let Phase::Held(_) = scene.blog().unwrap().phase {
            scene.change();
        }
        let life = scene.lives()[0];
        scene.fail(Event::ReloadAll);
        scene.exits(life, KILLED);
        assert_eq!(scene.phase(), format!("held: internal {pause}"));
    }
}

#[test]
fn others_that_the_same_event_concerns_are_served() {
    let mut scene = Scene::speaker();
    scene.find_as("shop.ini", OnDemand::No, true);
    scene.runs(2, custody());
    scene.says(2, VassalMessage::Ready);
    scene.fail(Event::ReloadAll);
    assert_eq!(scene.phase(), "stopping 1, then internal 1000");
    assert!(scene.done.contains(&"check 3".to_owned()), "{:?}", scene.done);
}

#[test]
fn a_new_vassal_whose_first_row_fails_is_not_lost() {
    let mut scene = Scene::new(Rules::default());
    scene.fail(Event::Found { key: key(BLOG), file: file(OnDemand::No), is_initial: true });
    assert_eq!(scene.phase(), "held: internal 1000");
    scene.wait(1000);
    scene.is("starting 1", &["unwatch", "spawn 1"]);
}

#[test]
fn a_touch_starts_it_at_once_and_a_removal_ends_it() {
    let mut scene = Scene::running();
    scene.fail(Event::Life(LifeId(1), LifeEvent::Exited(KILLED)));
    scene.change();
    assert_eq!(scene.phase(), "starting 2");
    scene.fail(Event::Life(LifeId(2), LifeEvent::Exited(KILLED)));
    scene.lose();
    assert_eq!(scene.phase(), "gone");
}

#[test]
fn ragnarok_ends_though_its_row_fails() {
    for phase in PHASES {
        let mut scene = Scene::in_phase(phase);
        let lives = scene.lives();
        scene.fail(Event::Ragnarok);
        for life in lives {
            scene.exits(life, KILLED);
        }
        assert_eq!(scene.phase(), "gone", "in {phase}");
        assert_eq!(scene.done.last().map(String::as_str), Some("leave 0"), "in {phase}");
    }
}

#[test]
fn an_on_demand_listener_that_the_row_did_not_concern_stays() {
    let mut scene = Scene::woken();
    scene.done.clear();
    scene.fail(Event::ReloadAll);
    scene.exits(1, KILLED);
    scene.wait(2000);
    scene.is("listening", &["unwatch", "kill 1", "watch"]);
}

/// The shell has this, and nothing else.
fn truth(lives: &[u64]) -> Truth {
    Truth { lives: lives.iter().map(|life| LifeId(*life)).collect(), ..Truth::default() }
}

fn repair(scene: &mut Scene, truth: &Truth) {
    let mut out = Vec::new();
    scene.realm.repair(scene.now, truth, &mut out);
    for effect in out {
        if let Some(answer) = scene.act(effect) {
            scene.send(answer);
        }
    }
}

#[test]
fn a_repair_without_a_loss_changes_nothing() {
    for phase in PHASES {
        let mut scene = Scene::in_phase(phase);
        let lives = scene.lives();
        let (before, deadline) = (scene.phase(), scene.realm.deadline());
        let counts = scene.realm.counts();
        repair(&mut scene, &truth(&lives));
        assert_eq!(scene.phase(), before);
        assert_eq!(scene.realm.deadline(), deadline, "in {phase}");
        assert_eq!(scene.realm.counts(), counts, "in {phase}");
        assert_eq!(scene.done, [""; 0], "in {phase}");
    }
}

#[test]
fn a_life_whose_end_was_lost_is_waited_for_no_more() {
    let mut scene = Scene::running();
    repair(&mut scene, &truth(&[]));
    assert_eq!(scene.phase(), "held: internal 1000");
    scene.wait(1000);
    assert_eq!(scene.phase(), "starting 2");
    let mut scene = Scene::handover();
    repair(&mut scene, &truth(&[2]));
    scene.is("stopping 2, then internal 1000", &["unwatch", "kill 2"]);
}

#[test]
fn a_process_that_no_vassal_knows_is_killed() {
    let mut scene = Scene::running();
    repair(&mut scene, &truth(&[1, 7]));
    scene.is("running 1", &["kill 7"]);
}

#[test]
fn what_waits_in_a_queue_or_for_a_hook_waits_on_and_not_in_vain() {
    let mut scene = Scene::new(Rules::default());
    for name in [BLOG, "a.ini", "b.ini"] {
        scene.find_as(name, OnDemand::No, false);
    }
    scene.done.clear();
    repair(&mut scene, &truth(&[1]));
    assert_eq!(scene.phase_of("a.ini"), "held: throttle");
    scene.wait(1000);
    assert_eq!(scene.phase_of("a.ini"), "starting 2");
    scene.wait(1000);
    assert_eq!(scene.phase_of("b.ini"), "starting 3");

    let mut scene = Scene::new(Rules { stop_hook: true, ..Rules::default() });
    scene.find(OnDemand::No);
    scene.runs(1, RunSettings::default());
    scene.wait(20_000);
    scene.exits(1, KILLED);
    assert_eq!(scene.phase(), "held: stop hook");
    repair(&mut scene, &truth(&[]));
    assert_eq!(scene.phase(), "starting 2");
}
