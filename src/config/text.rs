//! What every format is turned into: pairs with their lines, and what is wrong with the text.

/// One name and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) line: u32,
}

/// One thing that is wrong with a file; line 0 is the file as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) line: u32,
    pub(super) key: String,
    pub(super) message: String,
}

impl Bad {
    pub(super) fn new(line: u32, key: &str, message: impl Into<String>) -> Self {
        Self { line, key: key.to_owned(), message: message.into() }
    }
}

/// A file that was read: its pairs in order, and all its faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) pairs: Vec<Pair>,
    pub(super) bad: Vec<Bad>,
}

impl Parsed {
    pub(super) fn fault(line: u32, key: &str, message: impl Into<String>) -> Self {
        Self { pairs: Vec::new(), bad: vec![Bad::new(line, key, message)] }
    }
}

/// The text of a line, if it is text that a program can be given.
pub(super) fn utf8<'a>(line: u32, bytes: &'a [u8], bad: &mut Vec<Bad>) -> Option<&'a str> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        bad.push(Bad::new(line, "", "is not UTF-8; save the file in that encoding"));
        return None;
    };
    if text.contains('\0') {
        bad.push(Bad::new(line, "", "contains a zero byte; remove it"));
        return None;
    }
    Some(text)
}

/// The line, counted from 1, in which this offset lies.
pub(super) fn line_of(text: &[u8], offset: usize) -> u32 {
    let newlines = text.iter().take(offset).filter(|byte| **byte == b'\n').count();
    u32::try_from(newlines + 1).unwrap_or(u32::MAX)
}
