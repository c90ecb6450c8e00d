//! The tests themselves: one that fails says so in few lines, however much its emperor has said.

use crate::support::{Liege, brief};
use std::process::Command;

const NAME: &str = "brief::a_failing_test_prints_at_most_forty_lines";
const FAILS: &str = "LIEGE_TEST_FAILS";

#[test]
fn a_failing_test_prints_at_most_forty_lines() {
    if std::env::var_os(FAILS).is_some() {
        return fail();
    }
    let mut own = Command::new(std::env::current_exe().unwrap());
    let own = own.args(["--exact", NAME]).env(FAILS, "1").env("RUST_BACKTRACE", "1");
    let output = own.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "it has failed");
    let start = said.find(&format!("---- {NAME} stdout")).unwrap();
    let end = said.rfind("\nfailures:").unwrap();
    let report = &said[start..end];
    let lines = report.trim_end().lines().count();
    assert!(lines <= 40, "{lines} lines:\n{report}");
    assert!(report.lines().all(|line| line.len() < 1000), "no endless line");
    for told in ["tests/promises/brief.rs:", "the reason\n", "the end of the log", "id=\"ill.ini\""]
    {
        assert!(report.contains(told), "{told} is missing in:\n{report}");
    }
}

/// A failure with a long log, many vassals and a long message.
fn fail() {
    let mut setup = Liege::in_temp_dir();
    for number in 0..30 {
        setup = setup.on_demand(&format!("{number}.ini"), &format!("{number}.sock"));
        setup = setup.app(&format!("{number}.ini"), "do=serve");
    }
    let ill = "[uwsgi]\nunprivileged-binary-patch-arg = $DIR/missing\n";
    let emperor = setup.vassal("ill.ini", ill).start();
    emperor.wait_until("its fault is known", || {
        emperor.stats().find("ill.ini").is_some_and(|vassal| !vassal.0["last_error"].is_null())
    });
    let log = emperor.path("log");
    let long = format!("{}the end of the log\n", "one more line\n".repeat(1000));
    std::fs::write(log, long).unwrap();
    let stats = emperor.stats().0;
    panic!("the reason\n{stats:#}\n{stats}");
}

#[test]
fn a_message_is_cut_in_the_middle_and_a_line_at_its_end() {
    assert_eq!(brief::message_of("one\ntwo"), "one\ntwo");
    let long: Vec<String> = (1..=100).map(|number| number.to_string()).collect();
    let cut = brief::message_of(&long.join("\n"));
    assert!(cut.starts_with("1\n2\n") && cut.ends_with("99\n100"), "{cut}");
    assert!(cut.contains("… 89 lines …"), "{cut}");
    let cut = brief::message_of(&"x".repeat(5000));
    assert!(cut.len() < 400 && cut.ends_with("(5000 bytes)"), "{cut}");
    assert_eq!(brief::last_lines("1\n2\n3", 2), "… 1 lines …\n2\n3");
}
