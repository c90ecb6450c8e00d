//! The documents for developers are true: what they name is there, and the table of the rooms is the tree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{code, is_test, rooms, short, source_dir, sources};

/// The documents, and where the paths in each of them count from.
const DOCUMENTS: &[(&str, &str)] =
    &[("CONTRIBUTING.md", ""), ("src/README.md", "src"), ("src/state/EVENTS.md", "src/state")];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap()
}

/// What stands between backticks, but for blocks of examples.
fn quoted(text: &str) -> Vec<String> {
    let prose: String = text.split("```").step_by(2).collect();
    prose.split('`').skip(1).step_by(2).map(|word| word.replace('\n', " ")).collect()
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut faults = Vec::new();
    for (document, base) in DOCUMENTS {
        for word in quoted(&read(document)).iter().flat_map(|text| text.split_whitespace()) {
            let is_path = word.contains('/') && !word.contains("://") && !word.starts_with('/')
                || [".rs", ".md", ".toml"].iter().any(|ending| word.ends_with(ending));
            let word = word.trim_end_matches('/');
            let exists = |base: &str| root().join(base).join(word).exists();
            if is_path && !exists(base) && !exists("") {
                faults.push(format!("{document}: {word}"));
            }
        }
    }
    assert!(faults.is_empty(), "no such file:\n{}", faults.join("\n"));
}

/// All words of the code and of its tests.
fn words() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut texts: Vec<String> = sources().iter().map(|path| code(path)).collect();
    for file in ["tests/support/mod.rs", "tests/apps/vassal.rs", "Cargo.toml"] {
        texts.push(read(file));
    }
    for text in texts {
        let is_sign = |sign: char| sign.is_alphanumeric() || sign == '_';
        all.extend(text.split(|sign| !is_sign(sign)).map(str::to_owned));
    }
    all
}

#[test]
fn every_item_that_a_document_names_is_in_the_code() {
    let known = words();
    let mut faults = Vec::new();
    for (document, _) in DOCUMENTS {
        for word in quoted(&read(document)) {
            let parts: Vec<&str> = word.split("::").collect();
            let is_name = |part: &&str| {
                !part.is_empty() && part.chars().all(|sign| sign.is_alphanumeric() || sign == '_')
            };
            // Of one word alone only a name that no prose has is taken for an item.
            let is_item = parts.iter().all(is_name)
                && (parts.len() > 1 || word.contains(char::is_uppercase) || word.contains('_'))
                && !word.starts_with('_')
                && !word.ends_with('_')
                && word != "NAME";
            if is_item && !parts.iter().all(|part| known.contains(*part)) {
                faults.push(format!("{document}: {word}"));
            }
        }
    }
    assert!(faults.is_empty(), "nothing is called so:\n{}", faults.join("\n"));
}

#[test]
fn the_table_of_the_rooms_lists_every_module_once() {
    let modules: BTreeSet<String> = fs::read_dir(source_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
        .filter(|name| !["main.rs", "lib.rs"].contains(&name.as_str()))
        .filter(|name| name.ends_with(".rs") || !name.contains('.'))
        .map(|name| name.trim_end_matches(".rs").to_owned())
        .collect();
    let listed: Vec<String> = rooms().into_iter().map(|(room, _)| room).collect();
    assert_eq!(listed.len(), modules.len(), "{listed:?}");
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), modules);
}

/// The cells of the story: file and function.
fn story() -> Vec<(String, String)> {
    let text = read("src/README.md");
    let story = text.split("\n## One story").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = story.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    rows.map(|line| {
        let mut quoted = quoted(line).into_iter();
        (quoted.next().unwrap(), quoted.next().unwrap())
    })
    .collect()
}

#[test]
fn every_function_of_the_story_is_in_the_file_that_it_names() {
    let story = story();
    assert!(story.len() > 10, "the story was not found");
    for (file, function) in story {
        let text = fs::read_to_string(source_dir().join(&file)).unwrap();
        let name = format!("fn {function}");
        let is_it = |rest: &str| rest.starts_with(['(', '<']);
        assert!(text.split(&name).skip(1).any(is_it), "{file} has no function {function}");
    }
}

#[test]
fn there_is_a_recipe_for_everything_that_is_added_often() {
    let text = read("CONTRIBUTING.md");
    let recipes = text.lines().filter_map(|line| line.strip_prefix("### Add ")).collect::<Vec<_>>();
    let expected = [
        "a setting",
        "a row to the event table",
        "an action to the stage",
        "a monitor",
        "a service",
        "a promise",
    ];
    assert_eq!(recipes, expected);
    for recipe in text.split("\n### ").skip(1) {
        let files = quoted(recipe).iter().filter(|word| word.contains('/')).count();
        assert!(files >= 2, "it names no files: {recipe}");
    }
}

/// Texts that are not in this repository, which a reader of a comment would look for in vain.
const OUTSIDE: &[&str] = &["the design", "the specification", "the guide", "the spec "];

#[test]
fn no_comment_points_to_a_text_outside_the_repository() {
    let mut faults = Vec::new();
    for path in sources().iter().chain(&test_files(&root().join("tests"))) {
        let text = fs::read_to_string(path).unwrap().to_lowercase();
        for (number, line) in text.lines().enumerate() {
            let Some((_, comment)) = line.split_once("//") else { continue };
            for word in OUTSIDE.iter().filter(|word| comment.contains(**word)) {
                faults.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn test_files(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(test_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            all.push(path);
        }
    }
    all
}

#[test]
fn the_reader_of_quotations_leaves_examples_out() {
    let text = "a `b/c.rs` and\n```sh\n`no`\n```\n`d\ne` f";
    assert_eq!(quoted(text), ["b/c.rs", "d e"]);
    assert!(
        !is_test(&source_dir().join("lib.rs")) && short(&source_dir().join("a/b.rs")) == "a/b.rs"
    );
}
