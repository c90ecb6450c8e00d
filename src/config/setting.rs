//! A setting and where it came from; a fault and where it is.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::types::quote::{NOT_SHOWN, cut, quoted};

/// One name and its text, with the place it was written at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The name as it was written (a shortened command line name is completed).
    pub key: String,
    /// The text, expanded if the list is.
    pub value: String,
    pub origin: Origin,
    /// The text contains something from a file, a command or a variable: no message repeats it.
    pub hidden: bool,
}

impl Setting {
    /// A part of the text for a message: quoted, or not shown if it is hidden.
    #[must_use]
    pub fn show(&self, part: &str) -> String {
        show(part, self.hidden)
    }
}

/// A text for a message: quoted, or not shown if it is hidden.
pub(super) fn show(text: &str, hidden: bool) -> String {
    if hidden { NOT_SHOWN.to_owned() } else { quoted(text) }
}

/// Where a setting is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An argument of the program.
    CommandLine,
    /// The environment variable of this name.
    Environment(String),
    /// A line of a file; line 0 means the file as a whole.
    File {
        /// The file, with the place that named it.
        file: Arc<TextSource>,
        /// The line, counted from 1.
        line: u32,
    },
}

/// A file, command or other source of text that was read as configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextSource {
    /// The name as it was given, without its section.
    pub path: PathBuf,
    /// The place that named it.
    pub named_at: Option<Origin>,
    /// Equal for two names of the same section of the same file.
    pub(super) identity: String,
}

impl TextSource {
    /// A file that no setting has named, and that is not being read.
    pub(super) fn named(path: PathBuf) -> Self {
        Self { path, named_at: None, identity: String::new() }
    }
}

impl Origin {
    /// The same place, for the invocation of another reading, in which the file is not being read.
    pub(super) fn detached(&self) -> Self {
        let Self::File { file, line } = self else { return self.clone() };
        let file = TextSource { identity: String::new(), ..TextSource::clone(file) };
        Self::File { file: Arc::new(file), line: *line }
    }

    /// The places that led here, the nearest first: ` (included from a.ini:3)`, or nothing.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = String::new();
        let mut here = self;
        // Files may be nested more deeply; the nearest few are enough for a message.
        for _ in 0..8 {
            let Self::File { file, .. } = here else { break };
            let Some(up) = &file.named_at else { break };
            // There may be thousands of faults, and each name may have thousands of bytes.
            if text.len() > 500 {
                text.push_str(", …");
                break;
            }
            if matches!(up, Self::File { .. }) {
                text.push_str(if text.is_empty() { " (included from " } else { ", from " });
                text.push_str(&up.to_string());
            }
            here = up;
        }
        if !text.is_empty() {
            text.push(')');
        }
        text
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::Environment(_) => f.write_str("environment"),
            Self::File { file, line: 0 } => write!(f, "{}", file.path.display()),
            Self::File { file, line } => write!(f, "{}:{line}", file.path.display()),
        }
    }
}

/// A checked value that remembers its place, so that a fault found later can name it.
///
/// Displayed as the place: `blog.ini:7 http-socket`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    pub value: T,
    /// The option that has set it.
    pub key: String,
    pub origin: Origin,
    /// As in [`Setting::hidden`].
    pub hidden: bool,
}

impl<T> Located<T> {
    /// The same place with another value.
    pub fn with<U>(&self, value: U) -> Located<U> {
        Located { value, key: self.key.clone(), origin: self.origin.clone(), hidden: self.hidden }
    }

    /// A part of the text for a message: quoted, or not shown if it is hidden.
    #[must_use]
    pub fn show(&self, part: impl fmt::Display) -> String {
        if self.hidden { NOT_SHOWN.to_owned() } else { part.to_string() }
    }

    /// The path of the text as advice may name it: none if it is hidden.
    #[must_use]
    pub fn advised<'p>(&self, path: &'p Path) -> &'p Path {
        if self.hidden { Path::new("") } else { path }
    }

    /// A fault at this place.
    #[must_use]
    pub fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(&self.origin, &self.key, message)
    }
}

impl<T> fmt::Display for Located<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::CommandLine => write!(f, "command line --{}", self.key),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::File { .. } => write!(f, "{} {}", self.origin, self.key),
        }
    }
}

/// One thing that is wrong: where, what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub origin: Origin,
    /// The option, or empty if the fault is not in one.
    pub key: String,
    /// What is wrong, and what was expected.
    pub message: String,
    /// What the program exits with; 1 unless the configuration says `exit = N`.
    pub status: u8,
}

impl Fault {
    /// A fault with the usual exit status 1.
    pub fn new(origin: &Origin, key: &str, message: impl Into<String>) -> Self {
        Self { origin: origin.clone(), key: cut(key), message: message.into(), status: 1 }
    }
}

/// Escapes control characters, so that names and texts from files cannot begin a new line, or change colours.
struct OneLine<'f, 't>(&'f mut fmt::Formatter<'t>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            let plain = part.trim_end_matches(char::is_control);
            self.0.write_str(plain)?;
            write!(self.0, "{}", part.get(plain.len()..).unwrap_or_default().escape_default())?;
        }
        Ok(())
    }
}

/// One line, whatever its parts contain.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = OneLine(f);
        match &self.origin {
            Origin::CommandLine if self.key.is_empty() => f.write_str("command line: ")?,
            Origin::CommandLine => write!(f, "command line: --{}: ", self.key)?,
            Origin::Environment(name) => write!(f, "environment: {name}: ")?,
            file if self.key.is_empty() => write!(f, "{file}: ")?,
            file => write!(f, "{file}: {}: ", self.key)?,
        }
        write!(f, "{}{}", self.message, self.origin.chain())
    }
}

/// All faults of one reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Adds what a check has found in a list whose reading had these faults.
    pub(super) fn add(&mut self, more: Self) {
        let more = self.still_certain(more.0);
        self.0.extend(more);
    }

    /// The findings of a check that hold in spite of these faults. If there are any, a setting that is missing
    /// from the whole list may stand in a line that could not be read.
    pub(super) fn still_certain(&self, mut found: Vec<Fault>) -> Vec<Fault> {
        if !self.0.is_empty() {
            let of_a_line = |origin: &Origin| matches!(origin, Origin::File { line: 1.., .. });
            found.retain(|fault| !fault.key.is_empty() || of_a_line(&fault.origin));
        }
        found
    }

    /// The exit status: that of the first fault, or 1 if there is none.
    #[must_use]
    pub fn status(&self) -> u8 {
        self.0.first().map_or(1, |fault| fault.status)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
