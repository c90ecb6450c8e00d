//! One name, one thing.

use std::collections::BTreeMap;

use super::{code, is_test, short, sources, without_tests};

/// Names of a kind of item that more than one place defines, with these places; associated types do not count.
fn defined_twice(is_item: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in sources() {
        if is_test(&path) {
            continue;
        }
        let text = code(&path);
        let text = without_tests(&text);
        for (number, line) in text.lines().enumerate() {
            if let Some(name) = is_item(line) {
                places.entry(name).or_default().push(format!("{}:{}", short(&path), number + 1));
            }
        }
    }
    places.retain(|_, places| places.len() > 1);
    places.iter().map(|(name, places)| format!("{name}: {}", places.join(", "))).collect()
}

/// The word behind one of these words, with whatever is said about who may see it.
fn item(line: &str, kinds: &[&str]) -> Option<String> {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
    // `pub(in path)` is two words.
    let kind = words.find(|word| !word.ends_with(')'))?;
    let name = kinds.contains(&kind).then(|| words.next()).flatten()?;
    let name: String =
        name.chars().take_while(|sign| sign.is_alphanumeric() || *sign == '_').collect();
    (!name.is_empty() && name != "_").then_some(name)
}

#[test]
fn no_two_types_bear_the_same_name() {
    let found = defined_twice(|line| {
        let is_associated = line.starts_with(' ') && line.trim_start().starts_with("type ");
        item(line, &["struct", "enum", "trait", "union", "type"]).filter(|_| !is_associated)
    });
    assert!(found.is_empty(), "a reader finds the wrong one:\n{}", found.join("\n"));
}

#[test]
fn no_two_constants_bear_the_same_name() {
    // What belongs to a type bears its name in front.
    let found = defined_twice(|line| {
        let is_free = !line.starts_with(' ');
        item(line, &["const", "static"]).filter(|name| is_free && name != "fn")
    });
    assert!(found.is_empty(), "say of what:\n{}", found.join("\n"));
}

#[test]
fn limits_are_called_max_and_min() {
    let wrong = ["MOST_", "FEWEST_", "PATIENCE", "LONGEST_", "LEAST_", "LIMIT_OF_"];
    let mut faults = Vec::new();
    for path in sources() {
        for (number, line) in code(&path).lines().enumerate() {
            if let Some(name) = item(line, &["const", "static"])
                && wrong.iter().any(|word| name.contains(word))
            {
                faults.push(format!("{}:{}: {name}", short(&path), number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "write MAX_, MIN_, or _TIMEOUT:\n{}", faults.join("\n"));
}

#[test]
fn the_reader_of_items_reads_their_forms() {
    let types = |line| item(line, &["struct", "enum"]);
    assert_eq!(types("pub(super) struct Line<'a>(u8);").as_deref(), Some("Line"));
    assert_eq!(types("pub(in crate::emperor) enum What {").as_deref(), Some("What"));
    assert_eq!(types("    struct Inner;").as_deref(), Some("Inner"));
    assert_eq!(types("fn of_struct(a: u8) {"), None);
    assert_eq!(item("pub const fn x() {", &["const"]).as_deref(), Some("fn"));
}
