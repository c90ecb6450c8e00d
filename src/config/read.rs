//! Reading: environment, command line and files to one ordered list.
//!
//! Options that directive act at once, in the order in which they are met; everything else is appended. A
//! fault of one line does not end the reading, so that all faults are told; one that would make the
//! rest meaningless, or the reading endless, does.

mod block;
mod nested;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use crate::opts::cli::CliArgument;
use crate::opts::key::{Directive, Format};
use crate::opts::{self, Class};
use crate::types::quote::cut;

use super::file::{self, FileName, FilePlace};
use super::magic::{FileNames, Magic};
use super::setting::{Fault, Origin, Setting, show};
use super::{Invocation, values};

use block::Open;

/// Deepest nesting of files that name files.
const MAX_FILE_DEPTH: usize = 64;
/// Longest list.
const MAX_SETTINGS: usize = 10_000;
/// Longest list, in bytes of names and texts.
pub(super) const MAX_TEXT: usize = 1 << 20;
/// Most bytes that all files and resources together may have: a block can name one file thousands of times.
const MAX_READ: usize = 8 << 20;

/// Most names that are told to be unknown.
const MAX_UNKNOWN: usize = 20;

/// Ends the reading; the fault has been noted.
pub(super) struct Stop;

/// One place of the list.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) setting: Setting,
    /// Never expanded.
    pub(super) literal: bool,
    /// Made by `set`: known not to be a slip of the pen.
    pub(super) made: bool,
}

/// Which file is wanted, and how it is to be taken.
#[derive(Clone, Copy)]
struct FileRequest<'a> {
    name: &'a OsStr,
    format: Option<Format>,
    /// Not a template but what is configured: without it nothing that follows means what it should.
    own: bool,
    /// Named by an option that is for such files: the upper-case magic variables speak of the first one
    /// that no other file has named.
    typed: bool,
    /// An unknown ending is INI.
    any_ending: bool,
}

impl<'a> FileRequest<'a> {
    const fn template(name: &'a OsStr) -> Self {
        Self { name, format: None, own: false, typed: false, any_ending: false }
    }
}

/// The list, and what must be known to lengthen it.
pub(super) struct ConfigReader<'a> {
    pub(super) call: &'a Invocation,
    pub(super) list: Vec<Entry>,
    pub(super) warnings: Vec<Fault>,
    pub(super) faults: Vec<Fault>,
    /// Names that some `%( )` or `if-opt` has asked for.
    pub(super) used: HashSet<String>,
    pub(super) block: Option<Open>,
    /// The first file that a typed option has named.
    first: Option<FileNames>,
    /// The first file that is not a template, and its names.
    pub(super) own: Option<(Origin, FileNames)>,
    now: Option<FileNames>,
    last: Option<FileName>,
    strict: bool,
    literal: bool,
    /// The line that is taken holds a word of a loop over a file, or the value of a variable.
    pub(super) hidden: bool,
    /// FilePlace was taken for a variable with a default, and looks like a command of the shell.
    pub(super) perhaps_commands: Vec<String>,
    text: usize,
    /// How many variables and resources were put in.
    pub(super) put_in: usize,
    /// How many bytes of variables were put in.
    pub(super) put_text: usize,
    /// How many bytes were read.
    read: usize,
    /// How long commands have taken.
    waited: Duration,
    /// How many names `for-glob` has looked at.
    pub(super) looked_at: usize,
}

impl<'a> ConfigReader<'a> {
    pub(super) fn new(call: &'a Invocation) -> Self {
        Self {
            call,
            list: Vec::with_capacity(64),
            warnings: Vec::new(),
            faults: Vec::new(),
            used: HashSet::new(),
            block: None,
            first: None,
            own: None,
            now: None,
            last: None,
            strict: false,
            literal: false,
            hidden: false,
            perhaps_commands: Vec::new(),
            text: 0,
            put_in: 0,
            put_text: 0,
            read: 0,
            waited: Duration::ZERO,
            looked_at: 0,
        }
    }

    pub(super) fn fault(&mut self, origin: &Origin, key: &str, message: impl Into<String>) {
        self.faults.push(Fault::new(origin, key, message));
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
    pub(super) fn command_line(&mut self, said: Vec<CliArgument>) -> Result<(), Stop> {
        let origin = Origin::CommandLine;
        let mut files = Vec::new();
        // FilePlace cannot be understood is told even if the reading has to end.
        for one in &said {
            if let CliArgument::Bad(name, reason) = one {
                self.fault(&origin, name, reason.as_str());
            }
        }
        let written_at = self.call.written_at.iter().chain(std::iter::repeat(&origin));
        for (one, origin) in said.into_iter().zip(written_at) {
            match one {
                CliArgument::File(name) => files.push(name),
                CliArgument::Option { opt, .. } if opt.section == opts::Section::Mode => {}
                CliArgument::Option { name, opt, value } => {
                    self.option(name, &opt, &value, origin)?
                }
                CliArgument::Bad(..) => {}
            }
        }
        for name in files.iter().filter(|name| !name.as_bytes().starts_with(b"[")) {
            let wanted = FileRequest { own: true, ..FileRequest::template(name) };
            self.file(&wanted, &origin, "")?;
        }
        self.closed(&origin);
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
            && let Some(wanted) = wanted(directive, value)
        {
            self.push(name, value.to_string_lossy().into_owned(), origin, false)?;
            return self.file(&wanted, origin, name);
        }
        self.fault(origin, name, "is not UTF-8");
        Ok(())
    }

    /// Takes one line: inside a block it is tested or repeated.
    pub(super) fn add(&mut self, key: &str, value: &str, origin: &Origin) -> Result<(), Stop> {
        let class = opts::find(key).map(|opt| opt.class);
        let block = match (&self.block, class) {
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
            (Some(_), _) => self.words(),
        };
        let has_word = value.contains("%(_)");
        for word in block.words.iter() {
            match word {
                Some(word) if has_word => {
                    let value = value.replace("%(_)", word);
                    // An empty line of a file is not a setting.
                    if block.is_loop && value.trim().is_empty() {
                        continue;
                    }
                    self.hidden = block.is_hidden;
                    let taken = self.line(key, &value, origin, class);
                    self.hidden = false;
                    taken?;
                }
                _ => self.line(key, value, origin, class)?,
            }
        }
        Ok(())
    }

    /// Appends one line, and obeys it if it steers.
    fn line(
        &mut self,
        key: &str,
        value: &str,
        origin: &Origin,
        class: Option<Class>,
    ) -> Result<(), Stop> {
        if class.is_none() && self.strict && matches!(origin, Origin::File { .. }) {
            // As many as anybody reads; see `unknown`.
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

    fn push(&mut self, key: &str, value: String, origin: &Origin, made: bool) -> Result<(), Stop> {
        self.text += key.len() + value.len();
        if self.list.len() >= MAX_SETTINGS || self.text > MAX_TEXT {
            let message = format!(
                "more than {MAX_SETTINGS} settings or 1 MiB of text (the limit of one configuration)"
            );
            self.fault(origin, key, message);
            return Err(Stop);
        }
        let (key, origin, hidden) = (key.to_owned(), origin.clone(), self.hidden);
        let setting = Setting { key, value, origin, hidden };
        self.list.push(Entry { setting, literal: self.literal, made });
        Ok(())
    }

    fn directive(
        &mut self,
        directive: Directive,
        key: &str,
        value: &str,
        at: &Origin,
    ) -> Result<(), Stop> {
        match directive {
            Directive::Read(_) | Directive::Include | Directive::Config => {
                if matches!(directive, Directive::Read(Format::Json | Format::Xml)) {
                    self.cut_section();
                }
                match wanted(directive, value.as_ref()) {
                    Some(wanted) => self.file(&wanted, at, key),
                    None => Ok(()),
                }
            }
            Directive::Set => self.set(key, value, at, false),
            Directive::SetPlaceholder => self.set(key, value, at, true),
            Directive::Strict => {
                self.strict = values::flag(value);
                Ok(())
            }
            Directive::Exit => self.exit(key, value, at),
            Directive::Open(block) => {
                self.open_block(block, key, value, at);
                Ok(())
            }
            Directive::Else => {
                if !self.block.as_mut().is_some_and(Open::turn) {
                    self.fault(at, key, "stands in no block that an if- has opened");
                }
                Ok(())
            }
            Directive::Close => {
                self.warn(at, key, "closes no block");
                Ok(())
            }
            Directive::NotYet => {
                let help = opts::find(key).map_or("", |opt| opt.help);
                let (why, instead) = help.split_once("; ").unwrap_or((help, "remove it"));
                let refusal = opts::Refusal {
                    what: opts::refusal::NOT_SUPPORTED,
                    why: &sentence(why),
                    instead: &sentence(instead),
                };
                self.fault(at, key, refusal.to_string());
                Ok(())
            }
            Directive::ShowConfig
            | Directive::ShowConfigJson
            | Directive::Get
            | Directive::Check
            | Directive::Version
            | Directive::Help
            | Directive::HelpAll
            | Directive::Man => {
                self.warn(at, key, "has an effect on the command line only");
                Ok(())
            }
            // Later: inherit when all is expanded, print when the configuration is obeyed.
            Directive::Inherit | Directive::Print => Ok(()),
        }
    }

    /// uWSGI shows the names of JSON and XML files without their section, and only those.
    fn cut_section(&mut self) {
        let Some(entry) = self.list.last_mut() else { return };
        let value = &mut entry.setting.value;
        let name = file::name(self.call, OsStr::new(value.as_str()), self.last.as_ref());
        if let Ok(FileName { what: FilePlace::Path(_), section: Some(section), .. }) = name {
            value.truncate(value.len().saturating_sub(section.len() + 1));
        }
    }

    fn set(&mut self, key: &str, text: &str, at: &Origin, placeholder: bool) -> Result<(), Stop> {
        let Some((name, value)) = text.split_once('=') else {
            let shown = show(text, self.hidden);
            self.fault(at, key, format!("{shown} has no '=' (expected NAME=TEXT)"));
            return Ok(());
        };
        if name.is_empty() {
            let shown = show(text, self.hidden);
            self.fault(at, key, format!("{shown} has no name before '=' (expected NAME=TEXT)"));
            return Ok(());
        }
        let class = opts::find(name).map(|opt| opt.class);
        if placeholder && class.is_some() {
            let message = format!("'{name}' is an option, not a placeholder; write set instead");
            self.fault(at, key, message);
            return Ok(());
        }
        self.push(name, value.to_owned(), at, true)?;
        if let Some(entry) = self.list.last_mut() {
            entry.literal |= placeholder;
        }
        match class {
            Some(Class::Directive(Directive::Open(_) | Directive::Else | Directive::Close)) => {
                self.fault(at, key, format!("'{name}' cannot be made by set; write it as a line"));
                Ok(())
            }
            Some(Class::Directive(directive)) => self.directive(directive, name, value, at),
            _ => Ok(()),
        }
    }

    fn exit(&mut self, key: &str, value: &str, at: &Origin) -> Result<(), Stop> {
        let status = match value.trim() {
            "" | "true" => Ok(1),
            text => text.parse::<u8>(),
        };
        let mut fault = match status {
            Ok(status) => {
                Fault::new(at, key, format!("the configuration ends here, status {status}"))
            }
            Err(_) => {
                let shown = show(value, self.hidden);
                Fault::new(at, key, format!("{shown} is not a status (expected 0 to 255)"))
            }
        };
        fault.status = status.unwrap_or(1);
        self.faults.insert(0, fault);
        Err(Stop)
    }

    /// A block must end where it began.
    fn closed(&mut self, at: &Origin) {
        if let Some(open) = self.block.take() {
            let message = format!("this block is not closed before the end of {}", end_of(at));
            self.fault(&open.origin, &open.key, message);
        }
    }

    /// Magic variables in values from the environment are those of the vassal's file.
    pub(super) fn environment_magic(&mut self) {
        let Some((_, own)) = self.own.clone() else { return };
        let magic = Magic { call: self.call, now: Some(&own), first: Some(&own) };
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

    /// Names that are no option, and that nothing has asked for, are slips of the pen more often than not.
    /// Where the program would run with more rights than meant, or the author has another supervisor in
    /// mind, that is a fault; else a warning.
    pub(super) fn unknown(&mut self) {
        let mut seen = HashSet::new();
        let mut warned = 0;
        let mut refused = 0;
        let mut security = None;
        for Entry { setting: Setting { key, origin, .. }, literal, made } in &self.list {
            let is_placeholder = *made && *literal;
            if is_placeholder || self.used.contains(key) {
                continue;
            }
            // Looking for the nearest option costs far more than reading the line.
            if opts::find(key).is_some() || refused >= MAX_UNKNOWN || !seen.insert((key, *made)) {
                continue;
            }
            let security = security.get_or_insert_with(opts::security::Names::collect);
            // Many variables begin like ours and are meant for other programs.
            if let Origin::Environment(_) = origin {
                if let Some(meant) = security.slip(key).filter(|_| warned < MAX_UNKNOWN) {
                    let message =
                        format!("is not an option; it resembles {meant}, a security setting");
                    self.warnings.push(Fault::new(origin, "", message));
                    warned += 1;
                }
                continue;
            }
            if let Some(message) = misunderstood(key, *made, security) {
                self.faults.push(Fault::new(origin, key, message));
                refused += 1;
                continue;
            }
            let is_file = matches!(origin, Origin::File { .. });
            if *made || !is_file || warned >= MAX_UNKNOWN {
                continue;
            }
            warned += 1;
            let message = format!("unknown option \"{}\"{}", cut(key), did_you_mean(key));
            self.warnings.push(Fault::new(origin, "", message));
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

fn wanted(directive: Directive, name: &OsStr) -> Option<FileRequest<'_>> {
    let template = FileRequest::template(name);
    let typed = FileRequest { own: true, typed: true, ..template };
    match directive {
        Directive::Read(format) => Some(FileRequest { format: Some(format), ..typed }),
        Directive::Config => Some(FileRequest { any_ending: true, ..typed }),
        Directive::Include => Some(template),
        _ => None,
    }
}

/// Why a name that is no option must not be passed over; none: it may.
fn misunderstood(key: &str, made: bool, security: &opts::security::Names) -> Option<String> {
    // FilePlace `set` makes may have any name; a misspelt security setting is one all the same.
    let word = if made { None } else { opts::neighbours::ours(key) };
    let (why, ours) = match word {
        Some(ours) => ("Other supervisors have one of this name".to_owned(), ours),
        None => {
            let meant = security.slip(key)?;
            (format!("It resembles {meant}, {}", opts::security::without(meant)), meant)
        }
    };
    let instead = format!(
        "Write {ours} instead, or for a placeholder that no %( ) uses: set-ph = {}=TEXT",
        cut(key)
    );
    let refusal = opts::Refusal { what: opts::refusal::NO_OPTION, why: &why, instead: &instead };
    Some(refusal.to_string())
}

fn did_you_mean(key: &str) -> String {
    opts::nearest(key).map(|name| format!(" (did you mean \"{name}\"?)")).unwrap_or_default()
}

/// With a capital letter.
fn sentence(phrase: &str) -> String {
    let mut letters = phrase.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

fn end_of(at: &Origin) -> String {
    match at {
        Origin::File { file, .. } => file.path.display().to_string(),
        other => format!("the {other}"),
    }
}

/// Variables of the protocol between emperor and vassal, which are no options.
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
