//! What uWSGI 2.0.21 was seen to do with small texts, beyond the golden cases: the lists are the same.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::ffi::OsString;
use std::fs;

use liege::config::{self, Invocation, Resolved};

/// Reads `a.ini` with this text, by these arguments, where `FOO` is `foo`.
fn read(text: &str, args: &[&str]) -> Result<Resolved, String> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.ini"), format!("[uwsgi]\n{text}")).unwrap();
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    let env = vec![("FOO".into(), "foo".into()), ("UWSGI_SOCKET".into(), "/%n.sock".into())];
    let call = Invocation::new(args, env, dir.path().canonicalize().unwrap());
    config::load(&call).map_err(|faults| faults.to_string())
}

/// All texts of the name `x`, in order.
fn texts(text: &str) -> Vec<String> {
    let resolved = read(text, &["--ini", "a.ini"]).unwrap_or_else(|faults| panic!("{faults}"));
    resolved.settings.into_iter().filter(|s| s.key == "x").map(|s| s.value).collect()
}

#[test]
fn the_word_of_a_block_is_what_was_tested_also_in_the_opposites() {
    for (opening, word) in [
        ("if-opt = a", "1"),
        ("if-opt = a=1", "1"),
        ("if-not-opt = a=2", "1"),
        ("if-not-opt = b", "%(_)"),
        ("if-not-opt = b=1", "%(_)"),
        ("if-env = FOO", "foo"),
        ("if-not-env = FOO=bar", "foo"),
        ("if-not-env = NOPE", "%(_)"),
        ("if-not-env = NOPE=bar", "%(_)"),
        ("if-exists = a.ini", "a.ini"),
        ("if-not-exists = gone", "gone"),
        ("if-not-file = .", "."),
        ("if-not-dir = a.ini", "a.ini"),
        ("if-not-hostname = no.such.host", "no.such.host"),
        ("if-not-plugin = python", "python"),
        ("if-not-reload =", "%(_)"),
    ] {
        assert_eq!(texts(&format!("a = 1\n{opening}\nx = %(_)\nend =\n")), [word], "{opening}");
    }
    for opening in ["if-opt = b", "if-not-opt = a", "if-not-opt = a=1", "if-env = FOO=bar", "for ="]
    {
        assert!(texts(&format!("a = 1\n{opening}\nx = 1\nend =\n")).is_empty(), "{opening}");
    }
}

#[test]
fn each_line_of_an_if_opt_block_is_tested_on_its_own() {
    assert_eq!(texts("if-not-opt = a\nx = 1\na = 1\nx = 2\nend =\n"), ["1"]);
    assert_eq!(texts("if-not-opt = a=1\na = 2\nx = %(_)\nend =\n"), ["2"]);
    assert_eq!(texts("if-opt = x\nx = 1\nelse =\nx = 2\nx = 3\nend =\n"), ["2", "3"]);
    assert_eq!(texts("if-not-opt = x\nx = 1\nelse =\nx = 2\nend =\n"), ["1"]);
}

#[test]
fn words_of_a_loop_are_between_blanks_and_nothing_else() {
    assert_eq!(texts("for = a  b\tc \nx = %(_)%(_)\nend =\n"), ["aa", "b\tcb\tc"]);
}

#[test]
fn upper_case_variables_speak_of_the_first_file_of_a_typed_option() {
    let text = "x = <%n %N %O>\n";
    let x = |args: &[&str]| read(text, args).unwrap().first("x").unwrap().to_owned();
    assert_eq!(x(&["--ini", "a.ini"]), "<a a a.ini>");
    assert_eq!(x(&["a.ini"]), "<a  >");
    assert_eq!(x(&["--include", "a.ini"]), "<a  >");
    // A file that another one names does not count.
    let named = "ini = :other\n[other]\nx = <%N>\n";
    assert_eq!(read(named, &["a.ini"]).unwrap().first("x"), Some("<>"));
    assert_eq!(read(named, &["--include", "a.ini"]).unwrap().first("x"), Some("<>"));
    assert_eq!(read(named, &["--ini", "a.ini"]).unwrap().first("x"), Some("<a>"));
    // What the environment says is about the vassal's file, however it was named.
    for args in [&["--ini", "a.ini"][..], &["a.ini"]] {
        assert_eq!(read(text, args).unwrap().first("socket"), Some("/a.sock"));
    }
}

#[test]
fn arithmetic_with_a_word_that_means_nothing_is_a_fault_that_names_it() {
    assert_eq!(texts("a = 5\nx = %(a + 1) %(b) %(a +)\n"), ["6 %(b) 5"]);
    for text in ["x = %(b + 1)\n", "a = 1\nx = %(a b)\n", "x = %(two words)\n"] {
        let told = read(text, &["a.ini"]).unwrap_err();
        assert!(told.contains(": x: '") && told.contains("in an arithmetic placeholder"), "{told}");
    }
}
