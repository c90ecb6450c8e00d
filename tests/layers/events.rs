//! The event table is the code, and the code is the table.

use std::collections::BTreeSet;
use std::fs;

use super::source_dir;

fn table() -> String {
    fs::read_to_string(source_dir().join("state/EVENTS.md")).unwrap()
}

/// The cells of a line of a table.
fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

/// `group::function` of each row of the table.
fn rows() -> Vec<String> {
    let table = table();
    let last = table.lines().filter(|line| line.starts_with('|')).filter_map(|line| {
        let name = cells(line).last()?.strip_prefix('`')?.strip_suffix('`')?.to_owned();
        name.contains("::").then_some(name)
    });
    last.collect()
}

#[test]
fn every_row_of_the_event_table_is_a_function_and_every_function_a_row() {
    let mut functions = BTreeSet::new();
    for entry in fs::read_dir(source_dir().join("state/rows")).unwrap() {
        let path = entry.unwrap().path();
        let group = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // It only says which function an event belongs to.
        if group == "mod" {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let names = text.lines().filter_map(|line| line.trim_start().strip_prefix("pub fn "));
        let name = |rest: &str| rest.split('(').next().unwrap().to_owned();
        functions.extend(names.map(|rest| format!("{group}::{}", name(rest))));
    }
    assert!(functions.len() > 30, "the rows were not found");
    let rows: BTreeSet<String> = rows().into_iter().collect();
    let missing: Vec<_> = functions.difference(&rows).collect();
    let unknown: Vec<_> = rows.difference(&functions).collect();
    assert!(missing.is_empty(), "without a row in EVENTS.md: {missing:?}");
    assert!(unknown.is_empty(), "no public function under rows/: {unknown:?}");
}

#[test]
fn the_groups_stand_in_the_order_of_the_table_and_its_columns_are_the_phases() {
    let code = fs::read_to_string(source_dir().join("state/vassal.rs")).unwrap();
    let phases = code.split("pub enum Phase {").nth(1).unwrap().split("\n}\n").next().unwrap();
    let names = phases.lines().filter_map(|line| {
        let name = line.strip_prefix("    ")?.split(['(', ' ', ',']).next()?;
        name.starts_with(char::is_uppercase).then(|| name.to_owned())
    });
    let mut columns = vec!["event".to_owned()];
    columns.extend(names);
    columns.push("row".to_owned());
    let table = table();
    let heads: Vec<_> = table.lines().filter(|line| line.starts_with("| event")).collect();
    assert!(heads.len() > 5, "the table was not found");
    for head in heads {
        assert_eq!(cells(head), columns);
    }
    let mut groups: Vec<String> =
        rows().iter().map(|row| row.split("::").next().unwrap().to_owned()).collect();
    groups.dedup();
    let titles = table.lines().filter_map(|line| line.strip_prefix("## "));
    let titles = titles.map(|title| title.to_lowercase().replace(' ', "_"));
    assert_eq!(groups, titles.filter(|title| title != "phases").collect::<Vec<_>>());
}

#[test]
fn every_row_has_a_cell_for_each_phase() {
    let table = table();
    let mut width = 0;
    for line in table.lines().filter(|line| line.starts_with('|')) {
        if line.starts_with("| event") || line.starts_with("| phase") {
            width = cells(line).len();
        }
        assert_eq!(cells(line).len(), width, "{line}");
    }
}
