//! What is done with a configuration besides obeying it: `check`, `config`, `--show-config`, `--help`.
//!
//! Nothing here prints: an [`Output`] says what goes where, and the status.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::opts::{self, Kind, help, roff};

use super::setting::{Fault, Faults, Located, Origin, Setting};
use super::{
    EmperorConfig, Invocation, Mode, Reading, Resolved, accounts, emperor, read, values, vassal,
};

/// Most faults that a start tells.
const MAX_AT_START: usize = 20;

/// What a command prints, and its exit status: 0 good, 1 faults, 2 wrong use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// For standard output.
    pub out: String,
    /// For standard error.
    pub err: String,
    /// The exit status.
    pub status: u8,
}

impl Output {
    fn good(out: impl Into<String>) -> Self {
        Self { out: out.into(), ..Self::default() }
    }

    fn usage(message: &str) -> Self {
        Self { err: format!("liege: {message}\n"), status: 2, ..Self::default() }
    }
}

/// How accounts are looked up, so that a check finds what the start would stumble over.
#[derive(Clone, Copy, Debug)]
pub struct Accounts {
    /// Whether there is a user of this name.
    pub has_user: fn(&str) -> bool,
    /// Whether there is a group of this name.
    pub has_group: fn(&str) -> bool,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            has_user: |name| accounts::user(name).is_some() || accounts::is_listed("passwd", name),
            has_group: |name| accounts::group(name).is_some() || accounts::is_listed("group", name),
        }
    }
}

/// Does what the command line asks for instead of the program's work; `None`: it asks for the work.
#[must_use]
pub fn instead(call: &Invocation, accounts: &Accounts) -> Option<Output> {
    // Most starts ask for nothing of this kind, and must not pay for it.
    let asks = |mode: &Mode| !matches!(mode, Mode::Run);
    let mode = super::mode(&opts::cli::read(&call.args));
    if !asks(&mode) {
        return None;
    }
    Some(match &mode {
        Mode::Version => Output::good(concat!("liege ", env!("CARGO_PKG_VERSION"), "\n")),
        Mode::Help => Output::good(help::short()),
        Mode::HelpAll => Output::good(help::all()),
        Mode::Man(template) => manual(&call.cwd.join(template)),
        Mode::Check => check_emperor(call, accounts),
        Mode::Run | Mode::ShowConfig | Mode::ShowConfigJson | Mode::Get(_) => show(call, &mode),
    })
}

/// What a start says that the configuration does not allow.
#[must_use]
pub fn refused(faults: &Faults) -> Output {
    let (said, rest) = faults.0.split_at(faults.0.len().min(MAX_AT_START));
    let mut err = lines(said, "");
    if !rest.is_empty() {
        let _ = writeln!(err, "liege: {} more faults; liege check tells all", rest.len());
    }
    Output { err, status: faults.status(), ..Output::default() }
}

fn manual(template: &Path) -> Output {
    match fs::read_to_string(template) {
        Ok(text) => Output::good(roff::page(&text)),
        Err(error) => Output::usage(&format!("{}: {error}", template.display())),
    }
}

fn show(call: &Invocation, mode: &Mode) -> Output {
    shown(call, |resolved| match mode {
        Mode::Get(name) => resolved.first(name).map(|text| format!("{text}\n")).unwrap_or_default(),
        Mode::ShowConfigJson => {
            let pairs = resolved.settings.iter().map(|s| json!([s.key, s.value])).collect();
            format!("{}\n", Value::Array(pairs))
        }
        _ => listed(&resolved.settings),
    })
}

/// The list in some form, or its faults.
fn shown(call: &Invocation, form: impl Fn(&Resolved) -> String) -> Output {
    let Reading { resolved, mut faults, is_whole } = read(call);
    if is_whole {
        faults.0.extend(resolved.text_faults().0);
    }
    if !faults.0.is_empty() {
        return Output { err: lines(&faults.0, ""), status: faults.status(), ..Output::default() };
    }
    Output { out: form(&resolved), err: lines(&resolved.warnings, "warning: "), status: 0 }
}

fn listed(settings: &[Setting]) -> String {
    let mut out = String::from("[uwsgi]\n");
    for Setting { key, value, .. } in settings {
        let blank = if value.is_empty() { "" } else { " " };
        let _ = writeln!(out, "{key} ={blank}{value}");
    }
    out.push_str(";end of configuration\n");
    out
}

fn lines(faults: &[Fault], what: &str) -> String {
    faults.iter().fold(String::new(), |mut text, fault| {
        let _ = writeln!(text, "liege: {what}{fault}");
        text
    })
}

/// `liege config FILE [--json]`: the list that a vassal's file becomes.
#[must_use]
pub fn config(args: &[OsString], call: &Invocation) -> Output {
    let Ok((names, json)) = names(args) else {
        return Output::usage("config: usage: liege config FILE [--json]");
    };
    let [name] = names.as_slice() else {
        return Output::usage("config: usage: liege config FILE [--json]");
    };
    let call = as_vassal(call, name, &Around::default());
    shown(
        &call,
        |resolved| {
            if json { with_places(&resolved.settings) } else { listed(&resolved.settings) }
        },
    )
}

fn with_places(settings: &[Setting]) -> String {
    let all = settings.iter().map(|s| {
        let mut place = place(&s.origin);
        place.insert("name".to_owned(), s.key.as_str().into());
        place.insert("value".to_owned(), s.value.as_str().into());
        Value::Object(place)
    });
    format!("{}\n", Value::Array(all.collect()))
}

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
    let mut reports = Vec::new();
    for name in names {
        if call.cwd.join(name).is_dir() {
            match vassal_files(&call.cwd.join(name), &[]) {
                Ok(files) => {
                    for file in files {
                        let file = name.join(file);
                        let call = as_vassal(call, &file, &Around::default());
                        reports.push(one_vassal(&file, &read(&call), accounts));
                    }
                }
                Err(fault) => reports.push(Report::of_fault(name, fault)),
            }
            continue;
        }
        // Where an emperor is started decides what its relative names mean: here, as for the vassals
        // of a file, its own directory.
        reports.extend(one(&as_vassal(call, name, &Around::default()), name, accounts));
    }
    told(&reports, json)
}

/// `--check`: the emperor of this command line, and all vassals that it would start.
fn check_emperor(call: &Invocation, accounts: &Accounts) -> Output {
    told(&one_emperor(call, Path::new("command line"), (read(call), accounts)), false)
}

fn names(args: &[OsString]) -> Result<(Vec<&Path>, bool), ()> {
    let mut json = false;
    let mut names = Vec::new();
    let mut options = true;
    for arg in args {
        match arg.to_str() {
            Some("--") if options => options = false,
            Some("--json") if options => json = true,
            Some(text) if options && text.starts_with("--") => return Err(()),
            _ => names.push(Path::new(arg)),
        }
    }
    Ok((names, json))
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

fn place(origin: &Origin) -> serde_json::Map<String, Value> {
    let mut map = serde_json::Map::new();
    match origin {
        Origin::File { file, line } => {
            map.insert("file".to_owned(), file.path.to_string_lossy().into());
            map.insert("line".to_owned(), (*line).into());
        }
        Origin::CommandLine => drop(map.insert("source".to_owned(), "command line".into())),
        Origin::Environment(name) => {
            map.insert("source".to_owned(), "environment".into());
            map.insert("variable".to_owned(), name.as_str().into());
        }
    }
    map
}

/// The invocation that an emperor in the file's directory would make.
fn as_vassal(call: &Invocation, file: &Path, around: &Around) -> Invocation {
    let dir = file.parent().unwrap_or_else(|| Path::new(""));
    let name = file.file_name().unwrap_or(file.as_os_str());
    let option = match file.extension().and_then(OsStr::to_str) {
        Some("json" | "js") => "--json",
        Some("yaml" | "yml") => "--yaml",
        Some("xml") => "--xml",
        Some("ini") => "--ini",
        _ => "--config",
    };
    let itself = Located {
        value: [OsString::from(option), OsString::from(name)],
        key: String::new(),
        origin: Origin::CommandLine,
    };
    let all = || around.before.iter().chain([&itself]).chain(&around.after);
    Invocation {
        args: all().flat_map(|said| said.value.iter().cloned()).collect(),
        // A template that is missing is the fault of the line that names it to all vassals.
        written_at: all().map(|said| said.origin.apart()).collect(),
        env: call.env.iter().filter_map(as_inherited).collect(),
        cwd: call.cwd.join(dir),
        shown: dir.to_owned(),
        uid: call.uid,
        gid: call.gid,
        now: call.now,
        opened: None,
        commands: is_trusted(call, file),
        patience: call.patience,
        run: call.run,
        descriptor: call.descriptor,
    }
}

/// A start runs the commands in a vassal's file as the vassal's user; whoever only looks must not run
/// those of somebody else as himself.
fn is_trusted(call: &Invocation, file: &Path) -> bool {
    let owner = |meta: fs::Metadata| meta.uid();
    let path = call.cwd.join(file);
    let link = fs::symlink_metadata(&path).map(owner);
    let target = fs::metadata(&path).map(owner);
    let trusted = |uid: std::io::Result<u32>| uid.is_ok_and(|uid| uid == 0 || uid == call.uid);
    trusted(link) && trusted(target)
}

/// A variable of the emperor as its vassals see it: what is theirs loses the mark, what makes an emperor
/// goes.
fn as_inherited((name, value): &(OsString, OsString)) -> Option<(OsString, OsString)> {
    let text = name.to_string_lossy();
    if text.starts_with("UWSGI_EMPEROR") || text.starts_with("UWSGI_VASSALS_") {
        return None;
    }
    let name = match text.strip_prefix("UWSGI_VASSAL_") {
        Some(own) => OsString::from(format!("UWSGI_{own}")),
        None => name.clone(),
    };
    Some((name, value.clone()))
}

/// Checks one configuration, of a vassal or an emperor, as its settings tell.
fn one(call: &Invocation, name: &Path, accounts: &Accounts) -> Vec<Report> {
    let reading = read(call);
    if reading.resolved.is_emperors() {
        one_emperor(call, name, (reading, accounts))
    } else {
        vec![one_vassal(name, &reading, accounts)]
    }
}

fn one_vassal(name: &Path, reading: &Reading, accounts: &Accounts) -> Report {
    let mut report = judged(name, reading, |resolved| Ok(vassal::check(resolved)?.warnings));
    report.faults.extend(unknown_accounts(reading, accounts));
    report
}

/// An emperor, and all its vassals as far as its own faults let them be known.
fn one_emperor(
    call: &Invocation,
    name: &Path,
    (reading, accounts): (Reading, &Accounts),
) -> Vec<Report> {
    let mut reports = vec![of_emperor(name, &reading)];
    if reading.is_whole {
        let config = emperor::as_far_as_right(&reading.resolved);
        reports.extend(vassals(call, &config, accounts));
    }
    reports
}

/// An emperor, without its vassals: it may be one of them.
fn of_emperor(name: &Path, reading: &Reading) -> Report {
    judged(name, reading, |resolved| Ok(emperor::check(resolved)?.warnings))
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
    for Setting { key, value, origin } in &reading.resolved.settings {
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
            faults.push(Fault::new(origin, key, format!("there is no user named '{name}'")));
        }
        if let Some(name) = group.filter(|name| !is_number(name) && !(accounts.has_group)(name)) {
            faults.push(Fault::new(origin, key, format!("there is no group named '{name}'")));
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
                for file in files {
                    let file = Path::new(dir).join(file);
                    let reading = read(&as_vassal(call, &file, &around));
                    reports.push(match reading.resolved.is_emperors() {
                        true => of_emperor(&file, &reading),
                        false => one_vassal(&file, &reading, accounts),
                    });
                }
            }
            Err(fault) => {
                reports.push(Report::of_fault(Path::new(dir), source.fault(fault.message)))
            }
        }
    }
    reports
}

/// What an emperor puts around the name of a vassal on its command line: pairs of option and value.
#[derive(Default)]
struct Around {
    before: Vec<Located<[OsString; 2]>>,
    after: Vec<Located<[OsString; 2]>>,
}

impl Around {
    fn of(config: &EmperorConfig) -> Self {
        let pairs = |option: &str, values: &[Located<String>]| -> Vec<_> {
            values
                .iter()
                .map(|place| place.with([option.into(), place.value.as_str().into()]))
                .collect()
        };
        Self {
            before: [
                pairs("--inherit", &config.vassals_inherit_before),
                pairs("--include", &config.vassals_include_before),
                pairs("--set", &config.vassals_set),
            ]
            .concat(),
            after: [
                pairs("--inherit", &config.vassals_inherit),
                pairs("--include", &config.vassals_include),
            ]
            .concat(),
        }
    }
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
