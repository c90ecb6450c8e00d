//! Files and functions that fit into a head.

use std::fs;

use super::{code, is_test, short, sources, without_tests};

#[test]
fn no_file_has_grown_too_long() {
    let mut faults = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let lines = without_tests(&text).lines().count();
        // A list of names, one row each, is no code.
        let is_list = short(&path) == "opts/uwsgi_only.rs";
        if lines > 600 && !is_test(&path) && !is_list {
            faults.push(format!("{}: {lines} lines without tests", short(&path)));
        }
    }
    assert!(faults.is_empty(), "split by reason to change:\n{}", faults.join("\n"));
}

/// Where a function begins in a formatted text, how many lines it has, and what it is called.
fn functions(text: &str) -> Vec<(usize, usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let words = line.trim_start();
        let indent = &line[..line.len() - words.len()];
        let mut words = words.split_whitespace().skip_while(|word| {
            ["const", "unsafe", "extern", "\"C\""].contains(word) || word.starts_with("pub")
        });
        if words.next() != Some("fn") {
            continue;
        }
        let name = words.next().unwrap_or_default();
        let name = name.split(['(', '<']).next().unwrap_or_default().to_owned();
        let end = format!("{indent}}}");
        let is_end =
            |line: &&str| **line == *end || line.ends_with(';') && line.starts_with(indent);
        let rest = &lines[start..];
        // A body in one line, or a declaration without one.
        let length = if line.ends_with('}') || line.ends_with(';') {
            1
        } else {
            rest.iter()
                .position(|line| {
                    line.strip_prefix(indent).is_some_and(|rest| rest == "}" || rest == ");")
                        && is_end(line)
                })
                .map_or(rest.len(), |at| at + 1)
        };
        found.push((start + 1, length, name));
    }
    found
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let mut faults = Vec::new();
    for path in sources() {
        if is_test(&path) {
            continue;
        }
        let text = code(&path);
        let text = without_tests(&text);
        for (line, length, name) in functions(text) {
            if length > 60 {
                faults.push(format!("{}:{line}: {name}: {length} lines", short(&path)));
            }
        }
    }
    assert!(faults.is_empty(), "leave the match, move the work:\n{}", faults.join("\n"));
}

#[test]
fn the_reader_of_functions_counts_their_lines() {
    let text = "pub fn one() {}\n\npub(super) const fn two(\n    a: u8,\n) {\n    a;\n}\n\nimpl X {\n    fn three() {\n        }\n    }\n}\n";
    let found = functions(text);
    let found: Vec<_> =
        found.iter().map(|(line, length, name)| (*line, *length, name.as_str())).collect();
    assert_eq!(found, [(1, 1, "one"), (3, 5, "two"), (10, 3, "three")]);
}
