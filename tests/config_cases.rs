//! The golden cases of the configuration language: one folder each, described in `cases/README.md`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

#[path = "support/brief.rs"]
#[allow(dead_code, reason = "there is no emperor here")]
mod brief;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use liege::config::{self, Invocation, Resolved, SocketSpec, values};
use liege::sys::creds::Accounts;
use liege::types::address::Address;
use liege::types::quote::BadText;
use serde_json::Value;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Replaces `{root}` and `{djb33x:TEXT}`.
fn filled(text: &str, root: &str) -> String {
    let text = text.replace("{root}", root);
    let Some(rest) = text.strip_prefix("{djb33x:") else { return text };
    let path = rest.strip_suffix('}').unwrap();
    let hash = path.bytes().fold(5381_u32, |h, b| (h << 5).wrapping_add(h) ^ u32::from(b));
    hash.to_le_bytes().iter().map(|byte| format!("{byte:02X}")).collect()
}

/// What a run that only reads the configuration gives: the list, or the texts of all faults.
fn run(call: &Invocation) -> Result<Resolved, String> {
    let resolved = config::load(call).map_err(|faults| faults.to_string())?;
    let faults = resolved.text_faults();
    if faults.0.is_empty() { Ok(resolved) } else { Err(faults.to_string()) }
}

fn check_case(name: &str, problems: &mut Vec<String>) {
    let folder = cases().join(name);
    let case: Value = serde_json::from_slice(&fs::read(folder.join("case.json")).unwrap()).unwrap();
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().canonicalize().unwrap();
    copy(&folder.join("files"), &root);
    let root_text = root.to_str().unwrap();
    for (link, target) in case["links"].as_object().unwrap() {
        symlink(filled(target.as_str().unwrap(), root_text), root.join(link)).unwrap();
    }
    let args = case["args"].as_array().unwrap().iter();
    let args = args.map(|arg| OsString::from(filled(arg.as_str().unwrap(), root_text))).collect();
    let env = case["env"].as_object().unwrap().iter();
    let mut env: Vec<(OsString, OsString)> = env
        .map(|(name, value)| (name.into(), filled(value.as_str().unwrap(), root_text).into()))
        .collect();
    env.push(("PATH".into(), "/usr/bin:/bin".into()));
    env.push(("HOME".into(), "/nonexistent".into()));
    let cwd = root.join(case["cwd"].as_str().unwrap()).canonicalize().unwrap();
    let expect = &case["expect"];
    let call = Invocation { run: liege::sys::command::output, ..Invocation::new(args, env, cwd) };
    match (run(&call), expect["status"].as_u64().unwrap()) {
        (Ok(resolved), 0) => {
            let got: Vec<(String, String)> =
                resolved.settings.into_iter().map(|s| (s.key, s.value)).collect();
            let pair = |pair: &Value| {
                let text = |index: usize| pair[index].as_str().unwrap().to_owned();
                (text(0), filled(&text(1), root_text))
            };
            let wanted: Vec<_> = expect["options"].as_array().unwrap().iter().map(pair).collect();
            if got != wanted {
                problems.push(format!("{name}: got {got:?}\n  wanted {wanted:?}"));
            }
            for (key, value) in case["effective"].as_object().into_iter().flatten() {
                let last = got.iter().rev().find(|pair| pair.0 == *key).unwrap();
                assert_eq!(last.1, value.as_str().unwrap(), "{name}");
            }
        }
        (Err(faults), 1) => {
            for text in expect["stderr"].as_array().unwrap() {
                if !faults.contains(text.as_str().unwrap()) {
                    problems.push(format!("{name}: {text} is not in: {faults}"));
                }
            }
        }
        (Ok(resolved), _) => problems.push(format!("{name}: no fault: {resolved:?}")),
        (Err(faults), _) => problems.push(format!("{name}: {faults}")),
    }
}

#[test]
fn every_golden_case_reads_as_in_uwsgi_or_as_liege_promises() {
    brief::cut_panics();
    let mut names: Vec<String> = fs::read_dir(cases())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    names.sort();
    assert!(names.len() >= 94);
    let mut problems = Vec::new();
    for name in &names {
        check_case(name, &mut problems);
    }
    assert!(problems.is_empty(), "{} of {}\n{}", problems.len(), names.len(), problems.join("\n"));
}

/// The value of one text, as JSON, or the fault.
fn typed(kind: &str, text: &str) -> Result<Value, BadText> {
    let strings = |names: Vec<&str>| Value::from(names);
    Ok(match kind {
        "bool" => values::flag(text).into(),
        "int" => values::number(text)?.into(),
        "rawint" => values::signed(text)?.into(),
        "megabytes" => values::megabytes(text)?.into(),
        "chmod" => values::mode(text)?.into(),
        "umask" => values::umask(text)?.into(),
        "uid" => {
            account(text, |name| Accounts::default().user(name).ok().map(|user| user.uid))?.into()
        }
        "gid" => account(text, |name| Accounts::default().group(name).ok())?.into(),
        "namespaces" => strings(values::namespaces(text)?),
        "caps" => strings(values::capabilities(text)?),
        "socket" => match config::address::parse(text)? {
            SocketSpec::Bind(Address::Tcp(address)) => {
                serde_json::json!({ "tcp": address.to_string() })
            }
            SocketSpec::Bind(Address::Path(path)) => serde_json::json!({ "unix": path }),
            SocketSpec::Bind(Address::Abstract(name)) => {
                serde_json::json!({ "abstract": String::from_utf8(name).unwrap() })
            }
            SocketSpec::Fd(number) => serde_json::json!({ "fd": number }),
            SocketSpec::Shared(index) => serde_json::json!({ "shared": index }),
            SocketSpec::Stdin => "stdin".into(),
        },
        "hook" => {
            let (action, arg) = values::hook(text)?;
            serde_json::json!({ "action": action, "arg": arg })
        }
        "env" => match values::variable(text)? {
            (name, Some(value)) => serde_json::json!({ "set": [name, value] }),
            (name, None) => serde_json::json!({ "unset": name }),
        },
        other => panic!("kind {other}"),
    })
}

fn account(text: &str, by_name: fn(&str) -> Option<u32>) -> Result<u32, BadText> {
    let text = values::account(text)?;
    text.parse().ok().or_else(|| by_name(text)).ok_or_else(|| BadText::new(text, "is not known"))
}

#[test]
fn every_text_means_the_typed_value_it_should() {
    let table = fs::read(cases().join("typed.json")).unwrap();
    let table: Vec<Value> = serde_json::from_slice(&table).unwrap();
    assert!(table.len() > 70);
    for row in &table {
        let option = liege::opts::find(row["option"].as_str().unwrap()).unwrap();
        // A command line flag without a value stands for the option's bare text.
        let text = row["text"].as_str().unwrap_or(option.bare_value());
        let got = typed(row["kind"].as_str().unwrap(), text);
        if row["error"] == true {
            assert!(got.is_err(), "{row}: {got:?}");
        } else {
            assert_eq!(got.as_ref(), Ok(&row["value"]), "{row}");
        }
    }
}
