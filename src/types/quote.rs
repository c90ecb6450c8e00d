//! How a message repeats a text that somebody else wrote.
//!
//! What a file or a variable has put into a setting is not repeated at all: it may be a secret, and it was
//! read with more rights than those who read the log have.

use std::fmt;
use std::path::Path;

/// Longest text that is repeated, in characters.
pub const MAX_QUOTED: usize = 64;

/// Longest path that the kernel takes.
const MAX_QUOTED_PATH: usize = 4096;

/// In the place of a text that is not repeated.
pub const NOT_SHOWN: &str = "[not shown: put in by $( ) or @( )]";

/// The text in quotes, cut where it is too long for a message.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("'{}'", cut(text))
}

/// The text, cut where it is too long for a message.
#[must_use]
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A path, whole as long as it can be one: its end says more than its beginning.
#[must_use]
pub fn path(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.len() > MAX_QUOTED_PATH { cut(&text) } else { text.into_owned() }
}

/// What is wrong with a text, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadText {
    /// The text, if it is to be repeated.
    text: Option<String>,
    /// The rest of the sentence: `is not a number (expected …)`.
    what: String,
}

impl BadText {
    /// A text that is to be repeated, and what is wrong with it.
    pub fn new(text: &str, what: impl Into<String>) -> Self {
        Self { text: Some(quoted(text)), what: what.into() }
    }

    /// What is wrong with a text that tells nothing.
    pub fn without_text(what: impl Into<String>) -> Self {
        Self { text: None, what: what.into() }
    }

    /// The sentence, without the text if that is hidden.
    #[must_use]
    pub fn message(&self, hidden: bool) -> String {
        match &self.text {
            Some(_) if hidden => format!("{NOT_SHOWN} {}", self.what),
            Some(text) => format!("{text} {}", self.what),
            None => self.what.clone(),
        }
    }
}

impl fmt::Display for BadText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_is_cut_at_64_characters() {
        assert_eq!(quoted(&"ä".repeat(64)), format!("'{}'", "ä".repeat(64)));
        assert_eq!(quoted(&"ä".repeat(65)), format!("'{}…'", "ä".repeat(64)));
    }

    #[test]
    fn a_hidden_text_is_not_repeated() {
        let bad = BadText::new("secret", "is not a number");
        assert_eq!(bad.message(false), "'secret' is not a number");
        assert_eq!(bad.message(true), format!("{NOT_SHOWN} is not a number"));
        assert_eq!(BadText::without_text("is empty").message(true), "is empty");
    }
}
