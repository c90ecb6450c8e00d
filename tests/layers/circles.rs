//! No circle: whoever reads a file need not have read another that needs this one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{code, is_test, short, sources, without_tests};

type Module = Vec<String>;

/// The module that a file is.
fn module_of(path: &Path) -> Module {
    let name = short(path);
    let mut parts: Module = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// The paths that a tree of imports names.
fn leaves(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        return vec![tree.split(" as ").next().unwrap().trim().to_owned()];
    };
    let (prefix, body) = (&tree[..open], &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())]);
    let (mut depth, mut item, mut found) = (0, String::new(), Vec::new());
    for sign in body.chars().chain([',']) {
        depth += i32::from(sign == '{') - i32::from(sign == '}');
        if sign == ',' && depth == 0 {
            if !item.trim().is_empty() {
                found.extend(leaves(&item).iter().map(|leaf| format!("{prefix}{leaf}")));
            }
            item.clear();
        } else {
            item.push(sign);
        }
    }
    found
}

/// All paths of a text that may lead to another file: what is imported, and what is named by a whole path.
fn paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((line, more)) = rest.split_once('\n') {
        let words = line.trim_start();
        let is_import =
            words.starts_with("use ") || words.starts_with("pub") && words.contains(" use ");
        if is_import {
            let tree = rest.split_once("use ").unwrap().1.split(';').next().unwrap();
            found.extend(leaves(&tree.replace('\n', " ")));
        }
        rest = more;
    }
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in text.match_indices(start) {
            let is_path = |sign: &char| sign.is_alphanumeric() || *sign == '_' || *sign == ':';
            found.push(text[at..].chars().take_while(is_path).collect());
        }
    }
    found
}

/// The file that a path in a module leads to.
fn target(path: &str, own: &Module, all: &BTreeMap<Module, String>) -> Option<Module> {
    let mut parts: Vec<&str> = path.split("::").map(str::trim).collect();
    let mut whole = own.clone();
    match *parts.first()? {
        "crate" => (whole, _) = (Module::new(), parts.remove(0)),
        "self" => _ = parts.remove(0),
        // A child, or another crate.
        "super" => {}
        _ => whole.push(parts.remove(0).to_owned()),
    }
    let is_named = whole.len() > own.len();
    while parts.first() == Some(&"super") {
        whole.pop();
        parts.remove(0);
    }
    let least = if is_named || whole.is_empty() { whole.len().max(1) } else { 1 };
    whole.extend(parts.into_iter().map(str::to_owned));
    (least..=whole.len())
        .rev()
        .map(|length| whole[..length].to_vec())
        .find(|module| all.contains_key(module))
        .filter(|module| module != own)
}

/// Which files a file needs. A child may know the module that it is a part of, but nobody's uncle.
fn imports() -> BTreeMap<Module, BTreeSet<Module>> {
    let all: BTreeMap<Module, String> = sources()
        .iter()
        .filter(|path| !is_test(path) && !["lib.rs", "main.rs"].contains(&short(path).as_str()))
        .map(|path| (module_of(path), code(path)))
        .collect();
    let of = |own: &Module, text: &str| -> BTreeSet<Module> {
        let text = without_tests(text);
        paths(text)
            .iter()
            .filter_map(|path| target(path, own, &all))
            .filter(|module| !own.starts_with(module))
            .collect()
    };
    all.iter().map(|(own, text)| (own.clone(), of(own, text))).collect()
}

/// All files that a file needs, by itself or by those that it needs.
fn reached(from: &Module, imports: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<Module> {
    let mut found = BTreeSet::new();
    let mut open = vec![from.clone()];
    while let Some(module) = open.pop() {
        let new = imports[&module].iter().filter(|need| found.insert((*need).clone()));
        open.extend(new.cloned());
    }
    found
}

#[test]
fn imports_make_no_circle() {
    let imports = imports();
    let mut circles = Vec::new();
    for (module, needs) in &imports {
        let back = |need: &&Module| reached(need, &imports).contains(module);
        let needs: Vec<String> = needs.iter().filter(back).map(|need| need.join("::")).collect();
        if !needs.is_empty() {
            circles.push(format!("{} needs {}", module.join("::"), needs.join(", ")));
        }
    }
    assert!(circles.is_empty(), "these need each other:\n{}", circles.join("\n"));
}

/// Parts own what they do; the emperor only passes them on. A type whose methods stand everywhere is a circle
/// that no import shows.
#[test]
fn the_emperor_is_implemented_in_few_files() {
    let implement: Vec<String> = sources()
        .iter()
        .filter(|path| code(path).lines().any(|line| line.trim() == "impl Emperor {"))
        .map(|path| short(path))
        .collect();
    assert!((1..=4).contains(&implement.len()), "{} files: {implement:?}", implement.len());
}

#[test]
fn the_reader_of_paths_opens_groups_and_follows_parents() {
    let text =
        "use super::{\n    b,\n    c::{D, e as f},\n};\nlet x = crate::state::life::new();\n";
    let found = paths(text);
    for path in ["super::b", "super::c::D", "super::c::e", "crate::state::life::new"] {
        assert!(found.iter().any(|found| found == path), "{path} in {found:?}");
    }
    let module = |name: &str| -> Module { name.split("::").map(str::to_owned).collect() };
    let all: BTreeMap<Module, String> =
        ["a", "a::b", "a::c"].map(|name| (module(name), String::new())).into();
    assert_eq!(target("super::b::X", &module("a::c"), &all), Some(module("a::b")));
    assert_eq!(target("crate::a::c", &module("a::b"), &all), Some(module("a::c")));
    assert_eq!(target("std::fs", &module("a::b"), &all), None);
}
