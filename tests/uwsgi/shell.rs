//! Lines for a shell, as both programs read them: what is not a variable is left to the shell.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::UWSGI;

/// What stands in the parentheses of a substitution.
const COMMANDS: [&str; 20] = [
    "id -un",
    "nproc --all",
    "hostname -f",
    "cat /run/secrets/db-password",
    "date +%%Y-%%m-%%d",
    "ls -1 *.ini | wc -l",
    "./bin/print-port --of web",
    "/usr/bin/env -u A printenv B",
    "grep -c '^processor' /proc/cpuinfo",
    "test -e x && echo y || echo n",
    "awk '{print $1}' < f",
    "printf '%%s-%%s' a b",
    "A=1 B-2",
    "cd - ; pwd",
    "x.y-z",
    "1-2",
    "-",
    "<file",
    "echo a:b:-c",
    "basename $PWD -x",
];

/// Where a substitution stands; `X` is its inside.
const PLACES: [&str; 10] = [
    "$(X)",
    "echo $(X) done",
    "sh -c 'exec server --name \"$(X)\"'",
    "server --threads $((7-1)) $(X)",
    "$(dirname $(X))/run",
    "$(HOME)/$(X)",
    "server ${A:-b} `X` $(X)",
    "$(X | tr a-z A-Z)-$(NOPE)",
    "a$(X)b$(WORD)c$( X )",
    "$(( $(X) - 1 )) $((2*(3-1)))",
];

/// Lines that liege reads as a variable with a default, as uWSGI 2.1 does, and 2.0 does not.
const DEFAULTS: [(&str, &str); 5] = [
    ("$(NOPE-text)", "text"),
    ("$(NOPE:-text)", "text"),
    ("$(HOME-text)", "/home/x"),
    ("$(NOPE-)", ""),
    ("$(NOPE-$(WORD))", "word"),
];

fn lines() -> Vec<String> {
    let lines = PLACES.iter().flat_map(|place| COMMANDS.map(|command| place.replace('X', command)));
    lines.collect()
}

/// The lines as a program shows them.
fn shown(program: &str, lines: &[String]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let text = lines.iter().enumerate().map(|(number, line)| format!("line{number} = {line}\n"));
    let text = format!("[uwsgi]\n{}", text.collect::<String>());
    fs::write(dir.path().join("a.ini"), text).unwrap();
    let output = Command::new(Path::new(program))
        .args(["--ini", "a.ini", "--show-config"])
        .current_dir(dir.path())
        .env_clear()
        .envs([("HOME", "/home/x"), ("WORD", "word"), ("PATH", "/usr/bin:/bin")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let both = [output.stdout, output.stderr].concat();
    let both = String::from_utf8(both).unwrap();
    let value = |number: usize| {
        let start = format!("line{number} =");
        let line = both.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("{program} does not show line{number}:\n{both:.2000}"))
            .trim()
            .to_owned()
    };
    (0..lines.len()).map(value).collect()
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn two_hundred_lines_for_a_shell_are_read_as_uwsgi_reads_them() {
    let lines = lines();
    assert_eq!(lines.len(), 200);
    let (theirs, ours) = (shown(UWSGI, &lines), shown(env!("CARGO_BIN_EXE_liege"), &lines));
    for ((line, theirs), ours) in lines.iter().zip(theirs).zip(ours) {
        assert_eq!(ours, theirs, "{line}");
    }
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn only_defaults_of_variables_are_read_otherwise() {
    let lines = DEFAULTS.map(|(line, _)| line.to_owned());
    let (theirs, ours) = (shown(UWSGI, &lines), shown(env!("CARGO_BIN_EXE_liege"), &lines));
    for (((line, wanted), theirs), ours) in DEFAULTS.iter().zip(theirs).zip(ours) {
        assert_eq!(ours, *wanted, "{line}");
        assert_ne!(ours, theirs, "{line}");
    }
}
