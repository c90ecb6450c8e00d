//! Why the emperor cannot start, with the place of the setting and what to do about it.

use std::fmt;
use std::io;

use crate::config::setting::Located;

/// Why the emperor cannot start.
#[derive(Debug)]
pub struct SetupError {
    doing: String,
    source: Option<io::Error>,
    advice: String,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "cannot {}: {source}{}", self.doing, self.advice),
            None => f.write_str(&self.doing),
        }
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|error| error as _)
    }
}

/// Gives an error of the kernel its sentence.
pub(super) fn cannot(doing: impl Into<String>) -> impl FnOnce(io::Error) -> SetupError {
    let doing = doing.into();
    move |source| SetupError { doing, advice: String::new(), source: Some(source) }
}

impl SetupError {
    /// An error with this text.
    pub(super) fn said(text: String) -> Self {
        Self { doing: text, source: None, advice: String::new() }
    }

    /// The error with advice for its kind.
    pub(super) fn advised(self, advice: impl FnOnce(io::ErrorKind) -> String) -> Self {
        let advice = self.source.as_ref().map(|source| advice(source.kind())).unwrap_or_default();
        Self { advice, ..self }
    }
}

/// Names the place of a setting, and its value.
pub(super) fn at(setting: &Located<impl fmt::Display>) -> String {
    format!("{} ({setting})", setting.show(&setting.value))
}
