//! What is done with a configuration besides obeying it: `check`, `config`, `--show-config`, `--help`.
//!
//! Nothing here prints: a [`QueryOutput`] holds the text for each stream, and the exit status.

mod check;
mod words;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::opts::{self, help, roff};

use super::setting::{Fault, Faults, Origin, Setting};
use super::vassal_command_line::VassalCommandLine;
use super::{EmperorConfig, Invocation, Mode, ReadResult, Resolved, VassalConfig, read};

pub use check::check;
pub use words::answer_command;

/// Most faults that a start reports.
const MAX_AT_START: usize = 20;

/// What a command prints, and its exit status: 0 good, 1 faults, 2 wrong use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryOutput {
    pub out: String,
    pub err: String,
    pub status: u8,
}

impl QueryOutput {
    fn good(out: impl Into<String>) -> Self {
        Self { out: out.into(), ..Self::default() }
    }

    fn usage(message: &str) -> Self {
        Self { err: format!("liege: {message}\n"), status: 2, ..Self::default() }
    }
}

/// What a check asks of the system, so that it finds the faults at which a start would fail. The questions change
/// nothing.
pub trait StartInspector {
    /// Looks up the user of this name.
    ///
    /// # Errors
    /// Why it was not found.
    fn find_user(&mut self, name: &str) -> Result<(), String>;

    /// Looks up the group of this name.
    ///
    /// # Errors
    /// Why it was not found.
    fn find_group(&mut self, name: &str) -> Result<(), String>;

    /// What the start of a vassal by `call` would find.
    fn inspect_vassal(&mut self, config: &VassalConfig, call: &Invocation) -> Findings;

    /// Looks at the vassals of an emperor as the user that it becomes, as far as this process may; `look` gets
    /// an invocation of that user.
    fn as_user_of(
        &mut self,
        config: &EmperorConfig,
        call: &Invocation,
        look: &mut dyn FnMut(&Invocation, &mut dyn StartInspector),
    );

    /// What the start of an emperor would find.
    fn inspect_emperor(&mut self, config: &EmperorConfig, call: &Invocation) -> Findings;
}

/// What such a start would find.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The start would fail.
    pub faults: Vec<Fault>,
    /// It may fail, or not do what is meant.
    pub warnings: Vec<Fault>,
}

/// Answers a command line that asks for something about the program or its configuration. `None`: it asks to run the
/// program.
#[must_use]
pub fn run_query(call: &Invocation, inspector: &mut dyn StartInspector) -> Option<QueryOutput> {
    // Most command lines ask to run the program: that must not take time here.
    let asks = |mode: &Mode| !matches!(mode, Mode::Run);
    let mode = super::mode(&opts::cli::read(&call.args));
    if !asks(&mode) {
        return None;
    }
    Some(match &mode {
        Mode::Version => version(),
        Mode::Help => QueryOutput::good(help::short()),
        Mode::HelpAll => QueryOutput::good(help::all()),
        Mode::Man(template) => manual(&call.cwd.join(template)),
        Mode::Check => check::emperor(call, inspector),
        Mode::Run | Mode::ShowConfig | Mode::ShowConfigJson | Mode::Get(_) => {
            show(read(call), &mode)
        }
    })
}

/// The output of a start that is refused because its configuration has faults.
#[must_use]
pub fn refusal(faults: &Faults) -> QueryOutput {
    let (first, rest) = faults.0.split_at(faults.0.len().min(MAX_AT_START));
    let mut err = fault_lines(first, "");
    if !rest.is_empty() {
        let _ = writeln!(err, "liege: {} more faults; liege check tells all", rest.len());
    }
    QueryOutput { err, status: faults.status(), ..QueryOutput::default() }
}

fn version() -> QueryOutput {
    QueryOutput::good(concat!("liege ", env!("CARGO_PKG_VERSION"), "\n"))
}

fn manual(template: &Path) -> QueryOutput {
    match fs::read_to_string(template) {
        Ok(text) => QueryOutput::good(roff::page(&text)),
        Err(error) => QueryOutput::usage(&format!("{}: {error}", template.display())),
    }
}

fn show(reading: ReadResult, mode: &Mode) -> QueryOutput {
    list_output(reading, |resolved| match mode {
        Mode::Get(name) => resolved.first(name).map(|text| format!("{text}\n")).unwrap_or_default(),
        Mode::ShowConfigJson => {
            let pairs = resolved.settings.iter().map(|s| json!([s.key, s.value])).collect();
            format!("{}\n", Value::Array(pairs))
        }
        _ => list_text(&resolved.settings),
    })
}

/// The list of settings in a form, or the faults.
fn list_output(reading: ReadResult, form: impl Fn(&Resolved) -> String) -> QueryOutput {
    let ReadResult { resolved, mut faults, is_complete } = reading;
    if is_complete {
        faults.0.extend(resolved.text_faults().0);
    }
    if !faults.0.is_empty() {
        return QueryOutput {
            err: fault_lines(&faults.0, ""),
            status: faults.status(),
            ..QueryOutput::default()
        };
    }
    QueryOutput {
        out: form(&resolved),
        err: fault_lines(&resolved.warnings, "warning: "),
        status: 0,
    }
}

fn list_text(settings: &[Setting]) -> String {
    let mut out = String::from("[uwsgi]\n");
    for Setting { key, value, .. } in settings {
        let blank = if value.is_empty() { "" } else { " " };
        let _ = writeln!(out, "{key} ={blank}{value}");
    }
    out.push_str(";end of configuration\n");
    out
}

fn fault_lines(faults: &[Fault], what: &str) -> String {
    faults.iter().fold(String::new(), |mut text, fault| {
        let _ = writeln!(text, "liege: {what}{fault}");
        text
    })
}

/// `liege config FILE [--json]`: the list that a vassal's file becomes.
#[must_use]
pub fn config(args: &[OsString], call: &Invocation) -> QueryOutput {
    let Ok((names, json)) = file_names(args) else {
        return QueryOutput::usage("config: usage: liege config FILE [--json]");
    };
    let [name] = names.as_slice() else {
        return QueryOutput::usage("config: usage: liege config FILE [--json]");
    };
    list_output(VassalCommandLine::default().read(call, name), |resolved| {
        if json { list_json(&resolved.settings) } else { list_text(&resolved.settings) }
    })
}

fn list_json(settings: &[Setting]) -> String {
    let all = settings.iter().map(|s| {
        let mut place = place_json(&s.origin);
        place.insert("name".to_owned(), s.key.as_str().into());
        place.insert("value".to_owned(), s.value.as_str().into());
        Value::Object(place)
    });
    format!("{}\n", Value::Array(all.collect()))
}

fn file_names(args: &[OsString]) -> Result<(Vec<&Path>, bool), ()> {
    let mut json = false;
    let mut names = Vec::new();
    let mut options = true;
    for arg in args {
        match arg.to_str() {
            Some("--") if options => options = false,
            Some("--json") if options => json = true,
            Some(text) if options && text.len() > 1 && text.starts_with('-') => return Err(()),
            _ => names.push(Path::new(arg)),
        }
    }
    Ok((names, json))
}

fn place_json(origin: &Origin) -> serde_json::Map<String, Value> {
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
