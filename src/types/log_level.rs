//! How much a line of the log matters.

use std::fmt;

use super::choice::Choice;

/// The numbers are those of syslog(3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something was refused or lost.
    Error = 3,
    /// Something works less well than it was meant to.
    Warning = 4,
    /// A transition; the ordinary line.
    Notice = 5,
    /// What an administrator asked for (status, help in passing).
    #[default]
    Info = 6,
    /// Details for developers; not written unless the threshold is lowered.
    Debug = 7,
}

impl Choice for Level {
    const ALL: &'static [Self] =
        &[Self::Error, Self::Warning, Self::Notice, Self::Info, Self::Debug];
    const WORDS: &'static [&'static str] = &["error", "warning", "notice", "info", "debug"];
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = Self::ALL.iter().position(|level| level == self);
        f.write_str(index.and_then(|index| Self::WORDS.get(index)).unwrap_or(&""))
    }
}
