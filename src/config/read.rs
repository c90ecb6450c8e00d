//! Reading: environment, command line and files to one ordered list.
//!
//! Directives act at once, in the order in which they are met; every other setting is appended. A fault of one
//! line does not end the reading, so that all faults are told; a fault that would make the rest meaningless, or
//! the reading endless, does.

mod block;
mod directives;
mod nested;
mod unknown;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::opts::cli::CliArgument;
use crate::opts::key::{Directive, Format};
use crate::opts::{self, Class};

use super::Invocation;
use super::file::ConfigName;
use super::limits::{Counted, Limits};
use super::magic::{Magic, MagicNames};
use super::setting::{Fault, Origin, Setting};

use block::OpenBlock;
use directives::file_request;
use unknown::{MAX_UNKNOWN, did_you_mean};

/// Deepest nesting of files that name files.
const MAX_FILE_DEPTH: usize = 64;

/// The reading ends here; its fault is in the list.
pub(super) struct Stop;

/// An entry of the list.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) setting: Setting,
    /// Never expanded.
    pub(super) literal: bool,
    /// Its name was written in `set`, and so is no misspelt option.
    pub(super) from_set: bool,
}

/// Which file is wanted, and how it is to be taken.
#[derive(Clone, Copy)]
struct FileRequest<'a> {
    name: &'a OsStr,
    format: Option<Format>,
    /// Not a template but what is configured: without it nothing that follows means what it should.
    is_main_file: bool,
    /// Named by an option that is for such files: the upper-case magic variables speak of the first one
    /// that no other file has named.
    by_typed_option: bool,
    /// An unknown ending is INI.
    any_ending: bool,
}

impl<'a> FileRequest<'a> {
    const fn template(name: &'a OsStr) -> Self {
        Self { name, format: None, is_main_file: false, by_typed_option: false, any_ending: false }
    }
}

/// The list of settings, and the state of its reading.
pub(super) struct ConfigReader<'a> {
    pub(super) call: &'a Invocation,
    pub(super) list: Vec<Entry>,
    pub(super) warnings: Vec<Fault>,
    pub(super) faults: Vec<Fault>,
    /// Names that some `%( )` or `if-opt` has asked for.
    pub(super) used_names: HashSet<String>,
    block: Option<OpenBlock>,
    /// The first file that a typed option has named.
    first_typed_file: Option<MagicNames>,
    /// The first file that is not a template, and its names.
    pub(super) main_file: Option<(Origin, MagicNames)>,
    current_file: Option<MagicNames>,
    last_opened: Option<ConfigName>,
    strict: bool,
    /// What is read now is never expanded.
    literal: bool,
    /// The current line contains a word of a loop over a file, or the value of a variable: no message repeats it.
    pub(super) hidden: bool,
    /// What was taken for a variable with a default, and looks like a command of the shell.
    pub(super) possible_commands: Vec<String>,
    pub(super) limits: Limits,
}

impl<'a> ConfigReader<'a> {
    pub(super) fn new(call: &'a Invocation) -> Self {
        Self {
            call,
            list: Vec::with_capacity(64),
            warnings: Vec::new(),
            faults: Vec::new(),
            used_names: HashSet::new(),
            block: None,
            first_typed_file: None,
            main_file: None,
            current_file: None,
            last_opened: None,
            strict: false,
            literal: false,
            hidden: false,
            possible_commands: Vec::new(),
            limits: Limits::new(call.commands_timeout),
        }
    }

    pub(super) fn fault(&mut self, origin: &Origin, key: &str, message: impl Into<String>) {
        self.faults.push(Fault::new(origin, key, message));
    }

    /// Ends the reading where a limit is exceeded.
    fn end_if_exceeded(
        &mut self,
        charged: Result<(), String>,
        at: &Origin,
        key: &str,
    ) -> Result<(), Stop> {
        charged.map_err(|message| {
            self.fault(at, key, message);
            Stop
        })
    }

    pub(super) fn warn(&mut self, origin: &Origin, key: &str, message: impl Into<String>) {
        self.warnings.push(Fault::new(origin, key, message));
    }

    /// `UWSGI_NAME=text`, in the order of the environment.
    pub(super) fn environment(&mut self) -> Result<(), Stop> {
        let mut seen = HashSet::new();
        for (variable, value) in &self.call.env {
            let Some(name) = variable.to_str().and_then(|name| name.strip_prefix("UWSGI_")) else {
                continue;
            };
            if name.is_empty() || is_protocols(name) || !seen.insert(name) {
                continue;
            }
            let origin = Origin::Environment(format!("UWSGI_{name}"));
            let key = name.to_ascii_lowercase().replace('_', "-");
            match value.to_str() {
                Some(value) => self.add(&key, value, &origin)?,
                None => self.fault(&origin, &key, "is not UTF-8"),
            }
        }
        Ok(())
    }

    /// Options from left to right, then the files that stand alone.
    pub(super) fn command_line(&mut self, arguments: Vec<CliArgument>) -> Result<(), Stop> {
        let origin = Origin::CommandLine;
        let mut files = Vec::new();
        // Arguments that cannot be understood are reported even if the reading ends early.
        for argument in &arguments {
            if let CliArgument::Bad(name, reason) = argument {
                self.fault(&origin, name, reason.as_str());
            }
        }
        let written_at = self.call.written_at.iter().chain(std::iter::repeat(&origin));
        for (argument, origin) in arguments.into_iter().zip(written_at) {
            match argument {
                CliArgument::File(name) => files.push(name),
                CliArgument::Option { opt, .. } if opt.section == opts::Section::Mode => {}
                CliArgument::Option { name, opt, value } => {
                    self.option(name, &opt, &value, origin)?
                }
                CliArgument::Bad(..) => {}
            }
        }
        for name in files.iter().filter(|name| !name.as_bytes().starts_with(b"[")) {
            let request = FileRequest { is_main_file: true, ..FileRequest::template(name) };
            self.file(&request, &origin, "")?;
        }
        self.expect_no_open_block(&origin);
        Ok(())
    }

    /// A file's name may be any bytes; every other value must be text.
    fn option(
        &mut self,
        name: &str,
        opt: &opts::Opt,
        value: &OsStr,
        origin: &Origin,
    ) -> Result<(), Stop> {
        if let Some(text) = value.to_str() {
            return self.add(name, text, origin);
        }
        if let Class::Directive(directive) = opt.class
            && let Some(request) = file_request(directive, value)
        {
            self.push(name, value.to_string_lossy().into_owned(), origin, false)?;
            return self.file(&request, origin, name);
        }
        self.fault(origin, name, "is not UTF-8");
        Ok(())
    }

    /// Takes one line; inside a block it is taken once for each word, or not at all.
    pub(super) fn add(&mut self, key: &str, value: &str, origin: &Origin) -> Result<(), Stop> {
        let class = opts::find(key).map(|opt| opt.class);
        let repetition = match (&self.block, class) {
            (None, _) => return self.line(key, value, origin, class),
            (_, Some(Class::Directive(Directive::Close))) => {
                self.block = None;
                return self.push(key, value.to_owned(), origin, false);
            }
            (_, Some(Class::Directive(Directive::Else))) => {
                return self.line(key, value, origin, class);
            }
            (Some(block), Some(Class::Directive(Directive::Open(_)))) => {
                let message = format!(
                    "recursive logic in options is not supported: the block {} at {} is still open; \
                     close it with endif or endfor first",
                    block.key, block.origin
                );
                self.fault(origin, key, message);
                return Ok(());
            }
            (Some(_), _) => self.repetition(),
        };
        let has_word = value.contains("%(_)");
        for word in repetition.words.iter() {
            match word {
                Some(word) if has_word => {
                    let value = value.replace("%(_)", word);
                    // An empty line of a file is not a setting.
                    if repetition.is_loop && value.trim().is_empty() {
                        continue;
                    }
                    self.hidden = repetition.is_hidden;
                    let taken = self.line(key, &value, origin, class);
                    self.hidden = false;
                    taken?;
                }
                _ => self.line(key, value, origin, class)?,
            }
        }
        Ok(())
    }

    /// Appends one line, and obeys it if it is a directive.
    fn line(
        &mut self,
        key: &str,
        value: &str,
        origin: &Origin,
        class: Option<Class>,
    ) -> Result<(), Stop> {
        if class.is_none() && self.strict && matches!(origin, Origin::File { .. }) {
            // A suggestion takes time, and few people read more of them.
            let hint =
                if self.faults.len() < MAX_UNKNOWN { did_you_mean(key) } else { String::new() };
            self.fault(origin, key, format!("unknown option, and strict is set{hint}"));
        }
        self.push(key, value.to_owned(), origin, false)?;
        match class {
            Some(Class::Directive(directive)) => self.directive(directive, key, value, origin),
            _ => Ok(()),
        }
    }

    fn push(
        &mut self,
        key: &str,
        value: String,
        origin: &Origin,
        from_set: bool,
    ) -> Result<(), Stop> {
        let text = key.len() + value.len();
        let limits = &mut self.limits;
        let charged = limits.charge(Counted::Settings, 1);
        let charged = charged.and_then(|()| limits.charge(Counted::Text, text));
        self.end_if_exceeded(charged, origin, key)?;
        let (key, origin, hidden) = (key.to_owned(), origin.clone(), self.hidden);
        let setting = Setting { key, value, origin, hidden };
        self.list.push(Entry { setting, literal: self.literal, from_set });
        Ok(())
    }

    /// A block must be closed in the file that opens it.
    fn expect_no_open_block(&mut self, at: &Origin) {
        if let Some(open) = self.block.take() {
            let message = format!("this block is not closed before the end of {}", end_of(at));
            self.fault(&open.origin, &open.key, message);
        }
    }

    /// Magic variables in values from the environment are those of the vassal's file.
    pub(super) fn replace_magic_in_environment(&mut self) {
        let Some((_, names)) = self.main_file.clone() else { return };
        let magic = Magic { call: self.call, current: Some(&names), first: Some(&names) };
        for entry in &mut self.list {
            let Origin::Environment(_) = entry.setting.origin else { continue };
            let text = &mut entry.setting.value;
            let replaced =
                magic.replace(text.as_bytes()).map(|replaced| replaced.bytes.into_owned());
            let replaced = replaced.map_err(|(_, message)| message).and_then(|bytes| {
                String::from_utf8(bytes).map_err(|_| {
                    "its magic variables stand for a name that is not UTF-8".to_owned()
                })
            });
            match replaced {
                Ok(value) => *text = value,
                Err(message) => {
                    let Setting { key, origin, .. } = &entry.setting;
                    self.faults.push(Fault::new(origin, key, message));
                }
            }
        }
    }

    /// Reads the files that `inherit` names, each at the end of the list, and those that they name.
    pub(super) fn inherit(&mut self) -> Result<(), Stop> {
        self.literal = true;
        let mut next = 0;
        while let Some(entry) = self.list.get(next) {
            next += 1;
            let directive = opts::find(&entry.setting.key).map(|opt| opt.class);
            if directive != Some(Class::Directive(Directive::Inherit)) {
                continue;
            }
            let Setting { key, value, origin, hidden } = entry.setting.clone();
            self.hidden = hidden;
            let read = self.file(&FileRequest::template(OsStr::new(&value)), &origin, &key);
            self.hidden = false;
            read?;
        }
        Ok(())
    }
}

fn end_of(at: &Origin) -> String {
    match at {
        Origin::File { file, .. } => file.path.display().to_string(),
        other => format!("the {other}"),
    }
}

/// Whether a variable belongs to the protocol between emperor and vassal, and so is not an option.
fn is_protocols(name: &str) -> bool {
    const PROTOCOL: [&str; 8] = [
        "RELOADS",
        "VASSALS_DIR",
        "EMPEROR_FD",
        "EMPEROR_FD_CONFIG",
        "EMPEROR_PROXY",
        "BROODLORD_NUM",
        "JAIL_PID",
        "ORIGINAL_PROC_NAME",
    ];
    name.starts_with("VASSAL_") || PROTOCOL.contains(&name)
}
