//! The result of every parser: pairs with their lines, and the faults of the text.

/// One more than a list may have, so that the reader sees that there are too many.
pub(super) const MAX_PAIRS: usize = 10_001;
/// Most faults of one file that are reported.
pub(super) const MAX_SYNTAX_FAULTS: usize = 1000;

/// What some editors write at the beginning of a file.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The message about a text without a name.
pub(super) const NO_NAME: &str = "has no name before its text (expected NAME and VALUE)";

/// One name and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParsedPair {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) line: u32,
}

/// One thing that is wrong with a file; line 0 is the file as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxFault {
    pub(super) line: u32,
    pub(super) key: String,
    pub(super) message: String,
}

impl SyntaxFault {
    pub(super) fn new(line: u32, key: &str, message: impl Into<String>) -> Self {
        Self { line, key: key.to_owned(), message: message.into() }
    }
}

/// A file that was read: its pairs in order, and all its faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) pairs: Vec<ParsedPair>,
    pub(super) faults: Vec<SyntaxFault>,
}

impl Parsed {
    /// Adds a pair, unless there are more than any list may hold.
    pub(super) fn pair(&mut self, key: &str, value: impl Into<String>, line: u32) {
        if self.pairs.len() < MAX_PAIRS {
            self.pairs.push(ParsedPair { key: key.to_owned(), value: value.into(), line });
        }
    }

    /// Adds a fault, unless there are too many already.
    pub(super) fn add_fault(&mut self, fault: SyntaxFault) {
        if self.faults.len() < MAX_SYNTAX_FAULTS {
            self.faults.push(fault);
        }
    }

    pub(super) fn of_fault(line: u32, key: &str, message: impl Into<String>) -> Self {
        Self { pairs: Vec::new(), faults: vec![SyntaxFault::new(line, key, message)] }
    }
}

/// Whether a section of this name is read; `section`: the one that was asked for.
pub(super) fn is_wanted(name: &str, section: Option<&str>) -> bool {
    section.map_or(name == "uwsgi" || name == "liege", |wanted| name == wanted)
}

/// The text of a file without its byte order mark.
///
/// # Errors
/// As [`text_of_line`], for the file as a whole.
pub(super) fn text_of_file(bytes: &[u8]) -> Result<&str, Parsed> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    text_of_line(0, bytes).map_err(|fault| Parsed { pairs: Vec::new(), faults: vec![fault] })
}

/// The text of a line.
///
/// # Errors
/// It is not UTF-8, or has a zero byte: nothing else can be passed on to a program.
pub(super) fn text_of_line(line: u32, bytes: &[u8]) -> Result<&str, SyntaxFault> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        Ok(_) => Err(SyntaxFault::new(line, "", "contains a zero byte; remove it")),
        Err(_) => Err(SyntaxFault::new(line, "", "is not UTF-8; save the file in that encoding")),
    }
}

/// Where the lines of a text begin, so that many offsets can be turned into lines.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &[u8]) -> Self {
        let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        Self(ends.map(|(at, _)| at).collect())
    }

    /// The line, counted from 1, in which this offset lies.
    pub(super) fn at(&self, offset: usize) -> u32 {
        let before = self.0.partition_point(|end| *end < offset);
        u32::try_from(before + 1).unwrap_or(u32::MAX)
    }
}
