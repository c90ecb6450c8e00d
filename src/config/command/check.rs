//! `liege check` and `--check`: all that is wrong with vassals and emperors, without starting any.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::config;
use crate::config::address;
use crate::opts::{self, OptionKind};
use crate::types::address::Address;
use crate::types::address_file::{MAX_ADDRESS_FILE, address_in};
use crate::types::advice;
use crate::types::source_spec::SourceSpec;

use super::super::setting::{Fault, Faults, Located, Origin, Setting, TextSource};
use super::super::source::vassal_files;
use super::super::vassal_command_line::VassalCommandLine;
use super::super::{EmperorConfig, Invocation, ReadResult, Resolved, read, values, vassal};
use super::{QueryOutput, StartInspector, fault_lines, place_json};

/// `liege check FILE… [--json]`: reads each as a start would, and tells all that is wrong. A directory
/// stands for the vassal files in it; a file that names emperors is checked with all their vassals.
#[must_use]
pub fn check(
    args: &[OsString],
    call: &Invocation,
    inspector: &mut dyn StartInspector,
) -> QueryOutput {
    let Ok((names, json)) = super::file_names(args) else {
        return QueryOutput::usage("check: usage: liege check FILE... [--json]");
    };
    if names.is_empty() {
        return QueryOutput::usage("check: usage: liege check FILE... [--json]");
    }
    let command_line = VassalCommandLine::default();
    let mut reports = Vec::new();
    for name in names {
        if call.cwd.join(name).is_dir() {
            match vassal_files(&SourceSpec::Dir(name.to_owned()), &call.cwd, &[]) {
                Ok(files) => reports.extend(
                    files.iter().map(|file| check_file(call, file, (&command_line, inspector))),
                ),
                Err(error) => {
                    let message = unreadable(&call.cwd.join(name).display().to_string(), &error);
                    let fault = Fault::new(&Origin::CommandLine, "", message);
                    reports.push(CheckReport::of_fault(name, fault));
                }
            }
            continue;
        }
        let reading = command_line.read(call, name);
        if reading.resolved.is_emperors() {
            // The working directory of an emperor decides what its relative names mean. Here it is the directory
            // of its file, as for a vassal.
            let call = command_line.invocation(call, name);
            reports.extend(check_emperor_and_vassals(&call, name, (reading, inspector)));
        } else {
            reports.push(check_vassal(
                name,
                &reading,
                (&command_line.invocation(call, name), inspector),
            ));
        }
    }
    report_output(reports, json)
}

/// `--check`: the emperor of this command line, and all vassals that it would start.
pub(super) fn emperor(call: &Invocation, inspector: &mut dyn StartInspector) -> QueryOutput {
    report_output(
        check_emperor_and_vassals(call, Path::new("command line"), (read(call), inspector)),
        false,
    )
}

/// What was found out about one configuration.
struct CheckReport {
    name: PathBuf,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
    /// The addresses where it listens; their paths are absolute.
    addresses: Vec<Located<Address>>,
}

impl CheckReport {
    fn new(name: &Path, faults: Vec<Fault>, warnings: Vec<Fault>) -> Self {
        Self { name: name.to_owned(), faults, warnings, addresses: Vec::new() }
    }

    fn of_fault(name: &Path, fault: Fault) -> Self {
        Self::new(name, vec![fault], Vec::new())
    }

    /// Adds the address where the emperor would listen for this vassal, if there is an address file.
    fn add_address_file(&mut self, call: &Invocation, file: &Path, ending: &str) {
        let mut name = file.as_os_str().to_owned();
        name.push(ending);
        let path = call.cwd.join(&name);
        let Some(text) = regular_file(&path, call.uid) else { return };
        let source = TextSource::named(name.into());
        let origin = Origin::File { file: Arc::new(source), line: 0 };
        match address_in(&text).and_then(address::of_file) {
            Ok(address) => {
                let value = address.relative_to(&call.cwd.join(file).with_file_name(""));
                self.addresses.push(Located { value, key: String::new(), origin, hidden: false });
            }
            Err(why) => self.faults.push(Fault::new(&origin, "", why)),
        }
    }
}

/// The beginning of a file, if an emperor would read it as an address file. A link must not lead to a file of another
/// user, which the owner of the link may not be able to read.
fn regular_file(path: &Path, uid: u32) -> Option<Vec<u8>> {
    let (link, file) = (fs::symlink_metadata(path).ok()?, fs::metadata(path).ok()?);
    let may_lead = !link.is_symlink() || [0, uid, file.uid()].contains(&link.uid());
    if !may_lead || !file.is_file() {
        return None;
    }
    let mut text = Vec::new();
    fs::File::open(path).ok()?.take(MAX_ADDRESS_FILE).read_to_end(&mut text).ok()?;
    Some(text)
}

/// Reports vassals that want the same address: the one that starts later would not get it.
fn find_collisions(reports: &mut [CheckReport]) {
    let mut seen: Vec<(Located<Address>, PathBuf)> = Vec::new();
    for report in reports {
        for place in std::mem::take(&mut report.addresses) {
            let same = |(other, name): &&(Located<Address>, PathBuf)| {
                *name != report.name && other.value.conflicts_with(&place.value)
            };
            if let Some((other, name)) = seen.iter().find(same) {
                let message = format!(
                    "{} has this address already ({}): only one of the two can start",
                    name.display(),
                    other.to_string().trim_end()
                );
                report.faults.push(place.fault(message));
            }
            seen.push((place, report.name.clone()));
        }
    }
}

fn report_output(mut reports: Vec<CheckReport>, as_json: bool) -> QueryOutput {
    find_collisions(&mut reports);
    let reports = &reports;
    let bad = reports.iter().filter(|report| !report.faults.is_empty()).count();
    let status = u8::from(bad > 0);
    if as_json {
        let files: Vec<Value> = reports
            .iter()
            .map(|report| {
                json!({
                    "file": report.name.to_string_lossy(),
                    "good": report.faults.is_empty(),
                    "faults": report.faults.iter().map(fault_json).collect::<Vec<_>>(),
                    "warnings": report.warnings.iter().map(fault_json).collect::<Vec<_>>(),
                })
            })
            .collect();
        return QueryOutput {
            out: format!("{}\n", json!({ "files": files })),
            err: String::new(),
            status,
        };
    }
    // A fault of a template occurs in each vassal that includes it, and is reported once.
    let mut printed = HashSet::new();
    let mut err = String::new();
    for report in reports {
        let all = fault_lines(&report.faults, "") + &fault_lines(&report.warnings, "warning: ");
        for line in all.lines().filter(|line| printed.insert((*line).to_owned())) {
            err.push_str(line);
            err.push('\n');
        }
    }
    let out = format!("{} checked, {bad} with faults\n", reports.len());
    QueryOutput { out, err, status }
}

fn fault_json(fault: &Fault) -> Value {
    let mut place = place_json(&fault.origin);
    place.insert("option".to_owned(), fault.key.as_str().into());
    place.insert("message".to_owned(), fault.message.as_str().into());
    Value::Object(place)
}

/// Checks a vassal that `call` would start.
fn check_vassal(
    name: &Path,
    reading: &ReadResult,
    (call, inspector): (&Invocation, &mut dyn StartInspector),
) -> CheckReport {
    let mut report = report_of_reading(name, reading, vassal::judge);
    let names_no_program = |fault: &&mut Fault| fault.message.starts_with("nothing to run");
    if let Some(fault) = report.faults.iter_mut().find(names_no_program) {
        fault.message.push_str(
            "; where the emperor has a binary-path this line is not needed: check the emperor's own file",
        );
    }
    report.faults.extend(unknown_accounts(reading, inspector));
    if !report.faults.is_empty() {
        return report;
    }
    if let Ok(config) = vassal::check(&reading.resolved) {
        let found = inspector.inspect_vassal(&config, call);
        report.faults.extend(found.faults);
        report.warnings.extend(found.warnings);
        let bound = config.sockets.into_iter().filter_map(|place| {
            let address = place.value.address()?.relative_to(&call.cwd);
            Some(place.with(address))
        });
        report.addresses = bound.filter(|_| !config.reuse_port).collect();
    }
    report
}

/// Checks a file of a directory. Of an emperor that is a vassal there, its own vassals are left out: it may be one of
/// them itself.
fn check_file(
    call: &Invocation,
    file: &Path,
    (command_line, inspector): (&VassalCommandLine, &mut dyn StartInspector),
) -> CheckReport {
    let reading = command_line.read(call, file);
    let call = command_line.invocation(call, file);
    if reading.resolved.is_emperors() {
        check_emperor(file, &reading, (&call, inspector))
    } else {
        check_vassal(file, &reading, (&call, inspector))
    }
}

/// Reports on a file that another program reads by its own rules: what liege does not understand may be right
/// for that program.
fn report_on_foreign_file(
    call: &Invocation,
    file: &Path,
    command_line: &VassalCommandLine,
) -> CheckReport {
    let reading = command_line.read(call, file);
    let mut warnings = reading.faults.0;
    warnings.extend(reading.resolved.warnings);
    CheckReport::new(file, Vec::new(), warnings)
}

/// Checks an emperor, and its vassals as far as they can be found in spite of its own faults.
fn check_emperor_and_vassals(
    call: &Invocation,
    name: &Path,
    (reading, inspector): (ReadResult, &mut dyn StartInspector),
) -> Vec<CheckReport> {
    let mut reports = vec![check_emperor(name, &reading, (call, inspector))];
    if reading.is_complete {
        let config = config::emperor::without_faulty_settings(&reading.resolved);
        inspector.as_user_of(&config, call, &mut |call, inspector| {
            reports.extend(check_vassals(call, &config, inspector));
        });
    }
    reports
}

/// Checks an emperor without its vassals.
fn check_emperor(
    name: &Path,
    reading: &ReadResult,
    (call, inspector): (&Invocation, &mut dyn StartInspector),
) -> CheckReport {
    let mut report = report_of_reading(name, reading, config::emperor::judge);
    report.faults.extend(unknown_accounts(reading, inspector));
    if report.faults.is_empty()
        && let Ok(config) = config::emperor::check(&reading.resolved)
    {
        let itself = config.refuse_itself(&reading.resolved, (&call.cwd, &call.shown_prefix)).err();
        report.faults.extend(itself.into_iter().flat_map(|faults| faults.0));
        let found = inspector.inspect_emperor(&config, call);
        report.faults.extend(found.faults);
        report.warnings.extend(found.warnings);
    }
    report
}

fn report_of_reading(
    name: &Path,
    reading: &ReadResult,
    judge: fn(&Resolved) -> (Faults, Vec<Fault>),
) -> CheckReport {
    let mut faults = reading.faults.clone();
    if !reading.is_complete {
        return CheckReport::new(name, faults.0, reading.resolved.warnings.clone());
    }
    let (more, warnings) = judge(&reading.resolved);
    let warnings = faults.still_certain(warnings);
    faults.add(more);
    CheckReport::new(name, faults.0, warnings)
}

/// Faults for the names of users and groups that do not exist, in whatever option.
fn unknown_accounts(reading: &ReadResult, inspector: &mut dyn StartInspector) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !reading.is_complete {
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
            OptionKind::User => (Some(value.as_str()), None),
            OptionKind::Group => (None, Some(value.as_str())),
            OptionKind::Owner => match value.split_once(':') {
                Some((user, group)) => (Some(user), Some(group)),
                None => (Some(value.as_str()), None),
            },
            _ => continue,
        };
        let user =
            user.filter(|name| !is_number(name)).map(|name| (name, inspector.find_user(name)));
        if let Some((name, Err(why))) = user {
            faults.push(Fault::new(origin, key, no_account("user", &setting.show(name), &why)));
        }
        let group =
            group.filter(|name| !is_number(name)).map(|name| (name, inspector.find_group(name)));
        if let Some((name, Err(why))) = group {
            faults.push(Fault::new(origin, key, no_account("group", &setting.show(name), &why)));
        }
    }
    faults
}

fn no_account(what: &str, name: &str, why: &str) -> String {
    match why {
        "not found" => format!("there is no {what} named {name}"),
        why => format!("whether there is a {what} named {name} cannot be found out: {why}"),
    }
}

/// Checks every vassal of an emperor's sources.
fn check_vassals(
    call: &Invocation,
    config: &EmperorConfig,
    inspector: &mut dyn StartInspector,
) -> Vec<CheckReport> {
    let mut reports = Vec::new();
    let command_line = VassalCommandLine::of(config);
    // Its relative names count from the directory that it changes to.
    let mut call = call.of(call.uid, call.gid, call.env.clone());
    call.cwd.extend(config.own_process.chdir.as_ref().map(|chdir| &chdir.value));
    for source in &config.emperors {
        match vassal_files(&source.value, &call.cwd, &config.extra_extensions) {
            Ok(files) => {
                for file in files {
                    let mut report = if config.starts_others() {
                        report_on_foreign_file(&call, &file, &command_line)
                    } else {
                        check_file(&call, &file, (&command_line, inspector))
                    };
                    if let Some(ending) = &config.on_demand_extension {
                        report.add_address_file(&call, &file, ending);
                    }
                    reports.push(report);
                }
            }
            Err(error) => {
                let dir = source.value.directory();
                let shown = source.show(call.cwd.join(dir).display());
                let fault = source.fault(unreadable(&shown, &error));
                reports.push(CheckReport::of_fault(Path::new(&source.show(dir.display())), fault));
            }
        }
    }
    reports
}

fn unreadable(dir: &str, error: &io::Error) -> String {
    format!("{dir}: {error}{}", advice::watch(error.kind()))
}
