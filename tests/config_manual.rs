//! Every example in liege-config(5) is run, and shows what it says.
//!
//! In the source of the page a comment stands before each block of an example: `@FILE name@` (the block is
//! that file), `@LINK name -> target@` (no block), `@RUN@` (the block is a command and what it prints).
//! Files stay until the next section of the page begins.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use liege::opts::{self, Class, Directive};

const PAGE: &str = include_str!("../man/liege-config.5.in");

/// The text of a literal block as the reader sees it.
fn block<'a>(lines: &mut impl Iterator<Item = &'a str>) -> String {
    assert!(lines.next().unwrap().starts_with(".Bd -literal"));
    let mut text = String::new();
    for line in lines.take_while(|line| *line != ".Ed") {
        let line = line.strip_prefix("\\&").unwrap_or(line).replace("\\e", "\\");
        writeln!(text, "{line}").unwrap();
    }
    text
}

fn clear(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
    }
}

fn run(dir: &Path, example: &str) {
    let (command, expected) = example.split_once('\n').unwrap();
    let command = command.strip_prefix("$ liege ").unwrap();
    let (args, only_values) = match command.split_once(" | ") {
        Some((args, _)) => (args, true),
        None => (command, false),
    };
    let output = Command::new(env!("CARGO_BIN_EXE_liege"))
        .args(args.split(' '))
        .current_dir(dir)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let mut got = String::from_utf8(output.stdout).unwrap();
    if only_values {
        got = values(&got);
    }
    got += &String::from_utf8(output.stderr).unwrap();
    // The page speaks of /srv where a working directory is shown.
    let got = got.replace(dir.to_str().unwrap(), "/srv");
    assert_eq!(got, expected, "liege {args}");
}

/// `name = value` lines of what was not said to steer the reading.
fn values(json: &str) -> String {
    let all: Vec<serde_json::Value> = serde_json::from_str(json).unwrap();
    let mut text = String::new();
    for setting in all {
        let name = setting["name"].as_str().unwrap();
        if !opts::find(name).is_some_and(|opt| matches!(opt.class, Class::Directive(_))) {
            writeln!(text, "{name} = {}", setting["value"].as_str().unwrap()).unwrap();
        }
    }
    text
}

#[test]
fn every_example_of_the_manual_does_what_it_shows() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().canonicalize().unwrap();
    let mut lines = PAGE.lines();
    let mut count = 0;
    while let Some(line) = lines.next() {
        if line.starts_with(".Sh") || line.starts_with(".Ss") {
            clear(&dir);
        }
        let Some(mark) = line.strip_prefix(".\\\" @").and_then(|rest| rest.strip_suffix('@'))
        else {
            continue;
        };
        if let Some(name) = mark.strip_prefix("FILE ") {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let _ = fs::remove_file(&path);
            fs::write(path, block(&mut lines)).unwrap();
        } else if let Some(link) = mark.strip_prefix("LINK ") {
            let (name, target) = link.split_once(" -> ").unwrap();
            symlink(target, dir.join(name)).unwrap();
        } else if mark == "RUN" {
            run(&dir, &block(&mut lines));
            count += 1;
        }
    }
    assert!(count >= 14, "only {count} examples were found");
}

#[test]
fn the_manual_mentions_every_word_that_steers() {
    for opt in opts::lookup::rows() {
        let is_said =
            matches!(opt.class, Class::Directive(directive) if directive != Directive::NotYet);
        if is_said && opt.section == opts::Section::Language {
            let page = opts::roff::page(PAGE);
            assert!(page.contains(opt.name), "{}", opt.name);
        }
    }
}
