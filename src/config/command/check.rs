//! `liege check` and `--check`: all that is wrong with vassals and emperors, without starting any.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::config;
use crate::opts::{self, Kind};

use super::super::setting::{Fault, Faults, Origin, Setting};
use super::super::{EmperorConfig, Invocation, Reading, Resolved, read, values, vassal};
use super::around::Around;
use super::{Accounts, Output, lines, names, place};

/// `liege check FILE… [--json]`: reads each as a start would, and tells all that is wrong. A directory
/// stands for the vassal files in it; a file that names emperors is checked with all their vassals.
#[must_use]
pub fn check(args: &[OsString], call: &Invocation, accounts: &Accounts) -> Output {
    let Ok((names, json)) = names(args) else {
        return Output::usage("check: usage: liege check FILE... [--json]");
    };
    if names.is_empty() {
        return Output::usage("check: usage: liege check FILE... [--json]");
    }
    let around = Around::default();
    let mut reports = Vec::new();
    for name in names {
        if call.cwd.join(name).is_dir() {
            match vassal_files(&call.cwd.join(name), &[]) {
                Ok(files) => {
                    let files = files.iter().map(|file| name.join(file));
                    reports
                        .extend(files.map(|file| in_directory(call, &file, (&around, accounts))));
                }
                Err(fault) => reports.push(Report::of_fault(name, fault)),
            }
            continue;
        }
        let reading = around.read(call, name);
        if reading.resolved.is_emperors() {
            // Where an emperor is started decides what its relative names mean: here, as for the vassals
            // of a file, its own directory.
            let call = around.invocation(call, name);
            reports.extend(one_emperor(&call, name, (reading, accounts)));
        } else {
            reports.push(one_vassal(name, &reading, accounts));
        }
    }
    told(&reports, json)
}

/// `--check`: the emperor of this command line, and all vassals that it would start.
pub(super) fn emperor(call: &Invocation, accounts: &Accounts) -> Output {
    told(&one_emperor(call, Path::new("command line"), (read(call), accounts)), false)
}

/// What was found out about one configuration.
struct Report {
    name: PathBuf,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Report {
    fn of_fault(name: &Path, fault: Fault) -> Self {
        Self { name: name.to_owned(), faults: vec![fault], warnings: Vec::new() }
    }
}

fn told(reports: &[Report], as_json: bool) -> Output {
    let bad = reports.iter().filter(|report| !report.faults.is_empty()).count();
    let status = u8::from(bad > 0);
    if as_json {
        let files: Vec<Value> = reports
            .iter()
            .map(|report| {
                json!({
                    "file": report.name.to_string_lossy(),
                    "good": report.faults.is_empty(),
                    "faults": report.faults.iter().map(as_value).collect::<Vec<_>>(),
                    "warnings": report.warnings.iter().map(as_value).collect::<Vec<_>>(),
                })
            })
            .collect();
        return Output {
            out: format!("{}\n", json!({ "files": files })),
            err: String::new(),
            status,
        };
    }
    // What is wrong with a template is wrong in every vassal, and told once.
    let mut told = HashSet::new();
    let mut err = String::new();
    for report in reports {
        let all = lines(&report.faults, "") + &lines(&report.warnings, "warning: ");
        for line in all.lines().filter(|line| told.insert((*line).to_owned())) {
            err.push_str(line);
            err.push('\n');
        }
    }
    let out = format!("{} checked, {bad} with faults\n", reports.len());
    Output { out, err, status }
}

fn as_value(fault: &Fault) -> Value {
    let mut place = place(&fault.origin);
    place.insert("option".to_owned(), fault.key.as_str().into());
    place.insert("message".to_owned(), fault.message.as_str().into());
    Value::Object(place)
}

fn one_vassal(name: &Path, reading: &Reading, accounts: &Accounts) -> Report {
    let mut report = judged(name, reading, |resolved| Ok(vassal::check(resolved)?.warnings));
    report.faults.extend(unknown_accounts(reading, accounts));
    report
}

/// A file among others: of an emperor that is a vassal only itself is checked, because it may be its own.
fn in_directory(
    call: &Invocation,
    file: &Path,
    (around, accounts): (&Around, &Accounts),
) -> Report {
    let reading = around.read(call, file);
    if reading.resolved.is_emperors() {
        of_emperor(file, &reading)
    } else {
        one_vassal(file, &reading, accounts)
    }
}

/// An emperor, and all its vassals as far as its own faults let them be known.
fn one_emperor(
    call: &Invocation,
    name: &Path,
    (reading, accounts): (Reading, &Accounts),
) -> Vec<Report> {
    let mut reports = vec![of_emperor(name, &reading)];
    if reading.is_whole {
        let config = config::emperor::as_far_as_right(&reading.resolved);
        reports.extend(vassals(call, &config, accounts));
    }
    reports
}

/// An emperor, without its vassals.
fn of_emperor(name: &Path, reading: &Reading) -> Report {
    judged(name, reading, |resolved| Ok(config::emperor::check(resolved)?.warnings))
}

fn judged(
    name: &Path,
    reading: &Reading,
    check: fn(&Resolved) -> Result<Vec<Fault>, Faults>,
) -> Report {
    let warnings = reading.resolved.warnings.clone();
    if reading.faults.0.is_empty() {
        return match check(&reading.resolved) {
            Ok(warnings) => Report { name: name.to_owned(), faults: Vec::new(), warnings },
            Err(faults) => Report { name: name.to_owned(), faults: faults.0, warnings },
        };
    }
    Report { name: name.to_owned(), faults: reading.faults_with(check).0, warnings }
}

/// Names of users and groups that nobody has, wherever they stand.
fn unknown_accounts(reading: &Reading, accounts: &Accounts) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !reading.is_whole {
        return faults;
    }
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    for setting in &reading.resolved.settings {
        let Setting { key, value, origin, .. } = setting;
        let Some(opt) = opts::find(key).filter(|opt| opt.vassal_key().is_some()) else { continue };
        if values::check(opt.kind, value).is_err() {
            continue;
        }
        let (user, group) = match opt.kind {
            Kind::User => (Some(value.as_str()), None),
            Kind::Group => (None, Some(value.as_str())),
            Kind::Owner => match value.split_once(':') {
                Some((user, group)) => (Some(user), Some(group)),
                None => (Some(value.as_str()), None),
            },
            _ => continue,
        };
        if let Some(name) = user.filter(|name| !is_number(name) && !(accounts.has_user)(name)) {
            faults.push(Fault::new(
                origin,
                key,
                format!("there is no user named {}", setting.show(name)),
            ));
        }
        if let Some(name) = group.filter(|name| !is_number(name) && !(accounts.has_group)(name)) {
            faults.push(Fault::new(
                origin,
                key,
                format!("there is no group named {}", setting.show(name)),
            ));
        }
    }
    faults
}

/// Checks every vassal of an emperor's directories.
fn vassals(call: &Invocation, config: &EmperorConfig, accounts: &Accounts) -> Vec<Report> {
    let mut reports = Vec::new();
    let around = Around::of(config);
    for source in &config.emperors {
        let dir = source.value.strip_prefix("dir://").unwrap_or(&source.value);
        match vassal_files(&call.cwd.join(dir), &config.extra_extensions) {
            Ok(files) => {
                let files = files.iter().map(|file| Path::new(dir).join(file));
                reports.extend(files.map(|file| in_directory(call, &file, (&around, accounts))));
            }
            Err(fault) => {
                reports.push(Report::of_fault(Path::new(dir), source.fault(fault.message)))
            }
        }
    }
    reports
}

/// The names in a directory that an emperor takes for vassals, sorted.
fn vassal_files(dir: &Path, extra: &[String]) -> Result<Vec<OsString>, Fault> {
    const ENDINGS: [&str; 6] = [".ini", ".xml", ".yml", ".yaml", ".js", ".json"];
    let unreadable = |error: std::io::Error| {
        Fault::new(&Origin::CommandLine, "", format!("{}: {error}", dir.display()))
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let ends = |ending: &str| name.as_bytes().ends_with(ending.as_bytes());
        let is_named = ENDINGS.iter().any(|e| ends(e)) || extra.iter().any(|e| ends(e));
        if is_named && dir.join(&name).is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
