//! `emperor-wrapper`, what is tried before and after it, and the arguments that every vassal gets.

use serde_json::json;

use crate::support::{Liege, app_path, executable};

/// A name for the test vassal, so that it can be told which of several programs was started.
fn link(setup: &crate::support::Setup, name: &str) -> String {
    let path = setup.path(name);
    std::os::unix::fs::symlink(app_path(), &path).unwrap();
    path.to_str().unwrap().to_owned()
}

const WORDS: &str = "[uwsgi]\napp = record=$DIR/record/$NAME do=ready\n";

#[test]
fn templates_and_settings_stand_around_the_file_in_the_order_of_uwsgi() {
    let mut setup = Liege::in_temp_dir().direct().app("one.ini", "do=ready");
    for (option, value) in [
        ("--vassals-include", "ia1"),
        ("--vassals-inherit", "ha1"),
        ("--vassals-set", "s1=a b"),
        ("--vassals-include-before", "ib1"),
        ("--vassals-inherit-before", "hb1"),
        ("--vassal-set", "s2=%n"),
        ("--vassals-inherit-before", "hb2"),
        ("--vassals-include-before", "ib2"),
        ("--vassals-inherit", "ha2"),
        ("--vassals-include", "ia2"),
    ] {
        setup = setup.option(option, value);
    }
    let emperor = setup.start();
    #[rustfmt::skip]
    let expected = json!([
        app_path().to_str(),
        "--inherit", "hb1", "--inherit", "hb2", "--include", "ib1", "--include", "ib2",
        "--set", "s1=a b", "--set", "s2=%n",
        "--ini", "one.ini",
        "--inherit", "ha1", "--inherit", "ha2", "--include", "ia1", "--include", "ia2",
    ]);
    assert_eq!(emperor.life("one.ini", 1)["argv"], expected);
}

#[test]
fn a_wrapper_is_started_instead_of_the_program_with_its_arguments() {
    let setup = Liege::in_temp_dir().vassal("one.ini", WORDS);
    let (wrapper, program) = (link(&setup, "wrapper"), link(&setup, "program"));
    let setup = setup.option("--emperor-wrapper", &wrapper).option("--binary-path", &program);
    let emperor = setup.start();
    assert_eq!(emperor.life("one.ini", 1)["argv"], json!([wrapper, "--ini", "one.ini"]));
    emperor.running("one.ini");
}

#[test]
fn a_wrapper_without_a_program_gets_no_status_socket_and_may_exec_liege_itself() {
    let setup = Liege::in_temp_dir().app("one.ini", "do=ready");
    let wrapper = setup.path("wrapper");
    let liege = env!("CARGO_BIN_EXE_liege");
    let text = format!("#!/bin/sh\nenv > $0.env\nexec {liege} \"$@\"\n");
    executable(&wrapper, &text);
    let emperor = setup.option("--emperor-wrapper", wrapper.to_str().unwrap()).start();
    let start = emperor.life("one.ini", 1);
    assert_eq!(emperor.running("one.ini"), start["pid"]);
    let environment = std::fs::read_to_string(emperor.path("wrapper.env")).unwrap();
    assert!(environment.contains("UWSGI_EMPEROR_FD="), "{environment}");
    assert!(!environment.contains("LIEGE_STATUS_FD="), "{environment}");
}

#[test]
fn overrides_are_tried_in_order_before_the_program_and_know_their_name() {
    let setup = Liege::in_temp_dir().vassal("one.ini", WORDS);
    let (second, program) = (link(&setup, "second"), link(&setup, "program"));
    let emperor = setup
        .option("--emperor-wrapper-override", "/nonexistent/first")
        .option("--emperor-wrapper-override", &second)
        .option("--binary-path", &program)
        .start();
    assert_eq!(emperor.life("one.ini", 1)["argv"], json!([second, "--ini", "one.ini"]));
    let log = emperor.log();
    assert!(!log.contains("cannot"), "what is tried in vain is no fault: {log}");
}

#[test]
fn fallbacks_are_tried_in_order_after_the_program_has_failed() {
    let setup = Liege::in_temp_dir().vassal("one.ini", WORDS);
    let last = link(&setup, "last");
    let emperor = setup
        .option("--binary-path", "/nonexistent/program")
        .option("--emperor-wrapper-fallback", "/nonexistent/fallback")
        .option("--emperor-wrapper-fallback", &last)
        .start();
    assert_eq!(emperor.life("one.ini", 1)["argv"], json!([last, "--ini", "one.ini"]));
}

#[test]
fn when_all_fail_each_is_named_with_the_last_reason_and_all_are_tried_again() {
    let setup = Liege::in_temp_dir().vassal("one.ini", WORDS);
    let program = setup.path("program").to_str().unwrap().to_owned();
    let emperor = setup
        .option("--emperor-wrapper-override", "/nonexistent/first")
        .option("--binary-path", &program)
        .option("--emperor-wrapper-fallback", "/nonexistent/last")
        .option("--emperor-throttle", "100")
        .start();
    emperor.wait_until("the reason is shown", || {
        let error = emperor.stats().vassal("one.ini").0["last_error"].to_string();
        let all = ["/nonexistent/first", &program, "/nonexistent/last", "No such file"];
        all.iter().all(|part| error.contains(part))
    });
    std::os::unix::fs::symlink(app_path(), &program).unwrap();
    emperor.running("one.ini");
}
