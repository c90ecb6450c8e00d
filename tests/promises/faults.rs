//! A fault in liege itself takes nothing with it: tests cause some at chosen points, which only a build with
//! debug assertions knows.

use std::fs;

use super::support::{Liege, PATIENCE, Setup, code, full_pipe, proc};

/// Where something may fail: in a row of the event table, beside it, when something is done for a vassal, told
/// by a monitor, due, or ready; and between all these.
const POINTS: [&str; 8] = ["row", "step", "act", "serve", "sighting", "deadline", "turn", "repair"];

fn setup() -> Setup {
    let setup = Liege::in_temp_dir();
    let trap = setup.path("fault");
    setup
        .env("LIEGE_TEST_FAULT", trap.to_str().unwrap())
        .app("one.ini", "do=ready,accepting,loyal")
        .app("two.ini", "do=ready,accepting,loyal")
}

impl Liege {
    fn fail(&self, point: &str) {
        let draft = self.path("fault.new");
        fs::write(&draft, point).unwrap();
        fs::rename(draft, self.path("fault")).unwrap();
    }

    fn internal_errors(&self) -> i64 {
        self.stats().top("internal_errors").as_i64().unwrap()
    }
}

#[test]
fn wherever_liege_fails_no_vassal_is_lost_and_the_end_is_orderly() {
    if !cfg!(debug_assertions) {
        return;
    }
    for point in POINTS {
        let (_reader, writer) = full_pipe();
        let emperor = setup().stderr(writer.into()).start();
        emperor.spoken("one.ini");
        emperor.spoken("two.ini");
        if point == "repair" {
            emperor.fail("act");
            emperor.touch("one.ini");
            emperor.wait_until("it has failed", || emperor.internal_errors() > 0);
        }
        emperor.fail(point);
        emperor.touch("one.ini");
        // The second of them has to wait, until a deadline.
        for name in ["three.ini", "four.ini"] {
            emperor.put_app(name, "do=ready,accepting,loyal");
        }
        emperor.wait_until(&format!("{point} has failed"), || emperor.internal_errors() > 0);
        for name in ["one.ini", "two.ini", "three.ini", "four.ini"] {
            emperor.running(name);
        }
        for name in ["one.ini", "three.ini"] {
            let pid = emperor.running(name);
            emperor.remove(name);
            emperor.wait_until(&format!("{point}: {name} is gone"), || !proc::lives(pid));
        }
        emperor.wait_until("two are left", || emperor.stats().vassals().len() == 2);
        assert_eq!(code(emperor.end()), 0, "after a fault in {point}");
    }
}

#[test]
fn a_fault_is_told_in_the_log_and_costs_its_vassal_one_restart() {
    if !cfg!(debug_assertions) {
        return;
    }
    let emperor = setup().start();
    let (one, two) = (emperor.spoken("one.ini"), emperor.spoken("two.ini"));
    emperor.fail("row");
    emperor.touch("one.ini");
    emperor.logged("[one.ini] not started: internal error; next attempt in 1 s");
    emperor.logged("a row fails, as a test wants it (src/state/repair.rs:");
    emperor.logged("please report it");
    emperor.running_anew("one.ini", one);
    assert_eq!(emperor.pid("two.ini"), Some(two));
    assert_eq!(emperor.internal_errors(), 1);
    assert!(!emperor.log().contains("panicked at"), "{}", emperor.log());
}

#[test]
fn what_was_seen_together_with_the_fault_is_not_lost() {
    if !cfg!(debug_assertions) {
        return;
    }
    let emperor = setup().option("--emperor-throttle-burst", "100").start();
    emperor.spoken("one.ini");
    for point in ["sighting", "step", "act"] {
        let pid = emperor.emperor_pid();
        proc::kill(pid, libc::SIGSTOP);
        let name = |number: usize| format!("{point}{number}.ini");
        for number in 0..5 {
            emperor.put_app(&name(number), "do=ready,accepting,loyal");
        }
        emperor.fail(point);
        proc::kill(pid, libc::SIGCONT);
        for number in 0..5 {
            emperor.running(&name(number));
        }
        assert!(emperor.internal_errors() > 0);
    }
}

#[test]
fn a_fault_at_each_turn_leaves_the_processor_to_others_and_lets_sigterm_in() {
    if !cfg!(debug_assertions) {
        return;
    }
    for point in ["turn", "serve"] {
        let (_reader, writer) = full_pipe();
        let mut emperor = setup().stderr(writer.into()).start();
        emperor.spoken("one.ini");
        let pid = emperor.emperor_pid();
        emperor.fail(&format!("always {point}"));
        emperor.touch("one.ini");
        let before = proc::ticks(pid);
        emperor.stays("it does not run hot", || proc::ticks(pid) - before < 30);
        proc::kill(emperor.first_pid(), libc::SIGTERM);
        let start = std::time::Instant::now();
        if point == "serve" {
            fs::remove_file(emperor.path("fault")).unwrap();
        }
        assert_eq!(code(emperor.wait_for_end()), 0, "after a fault in each {point}");
        assert!(start.elapsed() < PATIENCE);
        emperor.all_gone();
    }
}

#[test]
fn the_first_look_and_the_last_words_may_fail_too() {
    if !cfg!(debug_assertions) {
        return;
    }
    for point in ["sighting", "bury"] {
        let prepared = setup();
        fs::write(prepared.path("fault"), point).unwrap();
        let emperor = prepared.start();
        emperor.running("one.ini");
        emperor.running("two.ini");
        assert_eq!(code(emperor.end()), 0, "after a fault in {point}");
    }
}

/// Causes a fault when an order is taken in, and when the state is to follow it.
const POINTS_OF_ORDERS: [&str; 2] = ["order", "step of an order"];

#[test]
fn an_order_is_given_once_and_followed_though_liege_fails_at_it() {
    if !cfg!(debug_assertions) {
        return;
    }
    for point in POINTS_OF_ORDERS {
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
            let mut emperor = setup().start();
            emperor.spoken("one.ini");
            emperor.fail(point);
            proc::kill(emperor.first_pid(), signal);
            assert_eq!(code(emperor.wait_for_end()), 0, "{signal} after a fault in {point}");
            assert!(emperor.log().contains(&format!("{point} fails")), "{}", emperor.log());
            emperor.all_gone();
        }
        let emperor =
            setup().app("dies.ini", "do=exit:3").option("--emperor-throttle", "60000").start();
        let one = emperor.spoken("one.ini");
        emperor.fail(point);
        emperor.signal(libc::SIGHUP);
        emperor.wait_until("it has failed", || emperor.internal_errors() > 0);
        emperor.logged("[one.ini] is told to reload");
        assert_eq!(emperor.pid("one.ini"), Some(one));
        emperor
            .wait_until("one is blacklisted", || emperor.stats().blacklisted("dies.ini").is_some());
        emperor.fail(point);
        emperor.signal(libc::SIGURG);
        emperor.life("dies.ini", 2);
        assert_eq!(code(emperor.end()), 0);
    }
}

#[test]
fn the_end_comes_even_if_liege_fails_at_each_step_of_it() {
    if !cfg!(debug_assertions) {
        return;
    }
    for point in ["always step of an order", "always step"] {
        let mut emperor = setup().option("--reload-mercy", "1").start();
        emperor.spoken("one.ini");
        emperor.fail(point);
        proc::kill(emperor.first_pid(), libc::SIGTERM);
        assert_eq!(code(emperor.wait_for_end()), 1, "after a fault in {point}");
        emperor.logged("what is left is killed");
        emperor.all_gone();
    }
}

#[test]
fn a_process_at_whose_birth_liege_fails_is_ended_and_started_again() {
    if !cfg!(debug_assertions) {
        return;
    }
    // The stage would end by itself when its emperor knows nothing of it; a program that is started directly
    // and has closed its pipe would not.
    let cases = [(setup(), "do=ready,accepting,loyal"), (setup().direct(), "do=close")];
    for (prepared, words) in cases {
        let emperor = prepared.start();
        emperor.spoken("one.ini");
        emperor.fail("birth");
        emperor.put_app("new.ini", words);
        emperor.wait_until("it has failed", || emperor.internal_errors() > 0);
        let pid = emperor.running("new.ini");
        let starts = emperor.events("new.ini", "start");
        let mut pids = starts.into_iter().filter_map(|event| event["pid"].as_i64());
        assert!(pids.all(|old| old == i64::from(pid) || !proc::lives(old as i32)));
        assert_eq!(code(emperor.end()), 0);
    }
}
