//! The rules of the house, kept: the direction of imports, the places of `unsafe`, names, sizes and documents, as `src/README.md` and `CONTRIBUTING.md` draw them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod circles;
mod documents;
mod events;
mod names;
mod sizes;

use std::fs;
use std::path::{Path, PathBuf};

/// Each module of this crate with those that it may name besides `types`: the table of the rooms.
fn rooms() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(source_dir().join("README.md")).unwrap();
    let table = text.split("\n| room |").nth(1).unwrap().split("\n\n").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let rows: Vec<_> = rows
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let names = cells[2].split(',').map(|name| name.trim().to_owned());
            (cells[0].trim_matches('`').to_owned(), names.filter(|name| !name.is_empty()).collect())
        })
        .collect();
    assert!(rows.len() > 10, "the table of the rooms was not found");
    rows
}

/// What a pure module must not ask the world for; time comes in as an argument.
const IMPURE: &[&str] = &["fs", "net", "env", "process", "thread", "os::fd", "time::SystemTime"];
/// Of these, what is plain data.
const PURE: &[&str] = &["net::IpAddr", "net::SocketAddr"];

fn sources() -> Vec<PathBuf> {
    fn collect(dir: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                into.push(path);
            }
        }
    }
    let mut all = Vec::new();
    collect(&source_dir(), &mut all);
    all.sort();
    assert!(all.len() > 10, "the sources were not found");
    all
}

fn source_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// `src/emperor/act.rs` as `emperor/act.rs`.
fn short(path: &Path) -> String {
    path.strip_prefix(source_dir()).unwrap().to_str().unwrap().to_owned()
}

/// The module of a file, as the table names it.
fn module(path: &Path) -> String {
    let name = short(path);
    name.split('/').next().unwrap().trim_end_matches(".rs").to_owned()
}

/// A file of unit tests only; they may ask the world for a start of their time, and be long.
fn is_test(path: &Path) -> bool {
    short(path).contains("/tests/") || short(path).ends_with("/tests.rs")
}

/// The text without its module of unit tests, which stands at its end.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

/// The text without comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let without = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    text.lines().map(without).collect::<Vec<_>>().join("\n")
}

/// Every path that follows `prefix` in a text, with two components where it has them; groups are opened.
fn paths_after(prefix: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|sign| sign.is_alphanumeric() || sign == '_' || sign == '$') {
            continue;
        }
        let rest = &text[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => found.push(two_components(rest)),
            Some(group) => {
                let mut depth = 1;
                let mut item = String::new();
                for sign in group.chars() {
                    depth += i32::from(sign == '{') - i32::from(sign == '}');
                    if depth == 0 || (depth == 1 && sign == ',') {
                        found.push(two_components(item.trim()));
                        item.clear();
                        if depth == 0 {
                            break;
                        }
                    } else {
                        item.push(sign);
                    }
                }
            }
        }
    }
    found.retain(|path| !path.is_empty());
    found
}

fn two_components(text: &str) -> String {
    let word = |text: &str| -> String {
        text.chars().take_while(|sign| sign.is_alphanumeric() || *sign == '_').collect()
    };
    let first = word(text);
    match text[first.len()..].strip_prefix("::").map(word) {
        Some(second) if !second.is_empty() => format!("{first}::{second}"),
        _ => first,
    }
}

fn allowed(list: &[impl AsRef<str>], path: &str) -> bool {
    let covers = |entry: &str| path == entry || path.starts_with(&format!("{entry}::"));
    list.iter().any(|entry| covers(entry.as_ref()))
}

#[test]
fn imports_go_one_way() {
    let mut faults = Vec::new();
    let rooms = rooms();
    for path in sources() {
        let (name, module) = (short(&path), module(&path));
        if name == "main.rs" || name == "lib.rs" {
            continue;
        }
        let Some((_, list)) = rooms.iter().find(|(known, _)| *known == module) else {
            faults.push(format!("{name}: the module {module} is not in the table"));
            continue;
        };
        for used in paths_after("crate::", &code(&path)) {
            let own = used == module || allowed(&[module.as_str(), "types"], &used);
            // A macro of the crate has no module in its path.
            if !own && !allowed(list, &used) {
                faults.push(format!("{name}: crate::{used}"));
            }
        }
    }
    assert!(faults.is_empty(), "against the direction of imports:\n{}", faults.join("\n"));
}

#[test]
fn main_leaves_state_and_kernel_to_the_others() {
    let text = code(&source_dir().join("main.rs"));
    let used = paths_after("liege::", &text);
    let wrong: Vec<_> =
        used.iter().filter(|path| allowed(&["state", "sys", "reactor"], path)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn what_is_pure_asks_the_world_for_nothing() {
    let mut faults = Vec::new();
    for path in sources() {
        if is_test(&path) || !["state", "proto", "types"].contains(&module(&path).as_str()) {
            continue;
        }
        let text = code(&path);
        let text = without_tests(&text);
        let used = paths_after("std::", text);
        faults.extend(
            used.iter()
                .filter(|path| allowed(IMPURE, path) && !allowed(PURE, path))
                .map(|used| format!("{}: std::{used}", short(&path))),
        );
        for word in ["Instant::now", "clock::now", "use libc", "use nix"]
            .iter()
            .filter(|word| text.contains(**word))
        {
            faults.push(format!("{}: {word}", short(&path)));
        }
    }
    assert!(faults.is_empty(), "not pure:\n{}", faults.join("\n"));
}

/// Who reads the clock, how often: the end of a wait is the time of all that is done until the next, which
/// begins by looking again; there is no wait before the start; a service manager compares the time of a
/// reload with its own clock; and statistics that have taken long are given to more clients.
const CLOCKS: &[(&str, usize)] = &[
    ("reactor.rs", 2),
    ("emperor/setup.rs", 1),
    ("emperor/faults.rs", 1),
    ("emperor/serve.rs", 1),
    ("emperor/servers/statistics/mod.rs", 2),
];

#[test]
fn the_loop_never_sleeps_and_reads_the_clock_in_one_place() {
    let mut faults = Vec::new();
    for path in sources() {
        if is_test(&path) || !["emperor", "monitor", "reactor"].contains(&module(&path).as_str()) {
            continue;
        }
        let text = code(&path);
        let text = without_tests(&text);
        for word in ["thread::sleep", "Instant"] {
            if text.contains(word) {
                faults.push(format!("{}: {word}", short(&path)));
            }
        }
        let (reads, name) = (text.matches("clock::now").count(), short(&path));
        let may = CLOCKS.iter().find(|clock| clock.0 == name).map_or(0, |clock| clock.1);
        if reads != may {
            faults.push(format!("{name}: reads the clock {reads} times and not {may}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// "'x' is no number" is understood by nobody who has not learned to speak so; and one form is enough.
#[test]
fn a_message_says_what_something_is_not() {
    let mut faults = Vec::new();
    for path in sources() {
        let text = code(&path);
        for (at, _) in text.match_indices("is no ") {
            let line = text[..at].rsplit('\n').next().unwrap_or_default();
            // The second of two quotation marks ends a text.
            let is_in_text = line.matches('"').count() % 2 == 1 || line.trim().is_empty();
            if is_in_text && !line.ends_with("there ") && !line.ends_with("There ") {
                let number = text[..at].matches('\n').count() + 1;
                faults.push(format!("{}:{number}", short(&path)));
            }
        }
    }
    assert!(faults.is_empty(), "write \"is not a\":\n{}", faults.join("\n"));
}

#[test]
fn unsafe_is_in_sys_and_in_the_child_only() {
    let mut faults = Vec::new();
    for path in sources() {
        let name = short(&path);
        if name.starts_with("sys/") || name == "spawn/child.rs" {
            continue;
        }
        let text = code(&path);
        for word in ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "allow(unsafe_code"] {
            if text.contains(word) {
                faults.push(format!("{name}: {word}"));
            }
        }
    }
    assert!(faults.is_empty(), "unsafe outside sys and spawn/child.rs:\n{}", faults.join("\n"));
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    let mut faults = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            if !line.contains("unsafe {") || line.trim_start().starts_with("//") {
                continue;
            }
            let above = &lines[number.saturating_sub(6)..number];
            if !above.iter().any(|line| line.contains("SAFETY:")) {
                faults.push(format!("{}:{}", short(&path), number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "no SAFETY comment:\n{}", faults.join("\n"));
}

#[test]
fn the_reader_of_imports_reads_all_their_forms() {
    let text = "use crate::sys::fd; use crate::{log, state::{Life, Vassal}, proto::emperor::X};\n\
                let x = crate::config::load(); mycrate::no; $crate::no;";
    let found = paths_after("crate::", text);
    assert_eq!(
        found,
        ["sys::fd", "log", "state::_", "proto::emperor", "config::load"]
            .map(|path| { if path == "state::_" { "state".to_owned() } else { path.to_owned() } })
    );
    assert!(allowed(&["spawn::step"], "spawn::step") && !allowed(&["spawn::step"], "spawn::plan"));
}
