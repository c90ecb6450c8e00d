//! Blocks: a test or a loop, the lines under it, and what `%(_)` means in them.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::rc::Rc;

use crate::opts::key::{Block, Test};
use crate::types::quote::quoted;

use super::super::magic::hostname;
use super::super::setting::Origin;
use super::super::{file, pattern};
use super::ConfigReader;

/// Most repetitions of a line.
const MAX_WORDS: usize = 10_000;

type Words = Rc<[Option<String>]>;

/// How often a line of the block is taken, and how.
pub(super) struct Repetition {
    /// The line is taken once for each, with this text for `%(_)`. `None`: it has none, and `%(_)` stays as it is.
    pub(super) words: Words,
    /// The block is a loop and not a test.
    pub(super) is_loop: bool,
    /// The words come from a file or the environment: no message repeats them.
    pub(super) is_hidden: bool,
}

/// An open block.
pub(super) struct OpenBlock {
    pub(super) key: String,
    pub(super) origin: Origin,
    /// As in [`Repetition`].
    words: Words,
    /// What an if-opt asks, and whether it is negated: each line of the block may change the answer.
    asked_again: Option<(String, bool)>,
    /// The words for the lines behind `else`, of a test that has not met it yet.
    else_words: Option<Words>,
    is_loop: bool,
    is_hidden: bool,
}

impl OpenBlock {
    /// Goes on with the lines behind `else`; false if the block has no such half, or it was begun already.
    pub(super) fn switch_to_else(&mut self) -> bool {
        let Some(words) = self.else_words.take() else { return false };
        self.words = words;
        self.asked_again = None;
        true
    }
}

impl ConfigReader<'_> {
    /// Opens a block. A block with a fault takes none of its lines, so that the rest of the file is still read
    /// as it was meant.
    pub(super) fn open_block(&mut self, block: Block, key: &str, value: &str, at: &Origin) {
        if let Some(mark) = file::placeholder(value) {
            let message = format!("{mark} is not replaced here, and taken as it is written");
            self.warn(at, key, message);
        }
        let words = match block {
            Block::For => Ok(each(value.split(' ').filter(|w| !w.is_empty()).map(str::to_owned))),
            Block::ForTimes => times(value),
            Block::ForGlob => self.matching_names(value),
            Block::ForReadline => self.lines_of(value),
            Block::If(test, not) => Ok(self.words_of_test(test, not, value.trim())),
        };
        let words: Words = match words {
            Ok(words) if words.len() <= MAX_WORDS => words.into(),
            Ok(_) => {
                self.fault(at, key, format!("repeats its lines more than {MAX_WORDS} times"));
                Rc::default()
            }
            Err(message) => {
                self.fault(at, key, message);
                Rc::default()
            }
        };
        let else_words: Option<Words> = matches!(block, Block::If(..))
            .then(|| if words.is_empty() { [None].into() } else { Rc::default() });
        let asked_again = match block {
            Block::If(Test::Opt, not) => Some((value.trim().to_owned(), not)),
            _ => None,
        };
        let is_hidden = matches!(block, Block::ForReadline | Block::If(Test::Env, _));
        let is_loop = !matches!(block, Block::If(..));
        let (key, origin) = (key.to_owned(), at.clone());
        self.block =
            Some(OpenBlock { key, origin, words, asked_again, else_words, is_loop, is_hidden });
    }

    /// How often the next line of the block is taken, and with which words.
    pub(super) fn repetition(&mut self) -> Repetition {
        let Some(block) = &self.block else {
            return Repetition { words: Rc::default(), is_loop: false, is_hidden: false };
        };
        let (is_loop, is_hidden) = (block.is_loop, block.is_hidden);
        let words = match block.asked_again.clone() {
            None => Rc::clone(&block.words),
            Some((text, not)) => self.words_of_test(Test::Opt, not, &text).into(),
        };
        Repetition { words, is_loop, is_hidden }
    }

    fn words_of_test(&mut self, test: Test, not: bool, text: &str) -> Vec<Option<String>> {
        let (is_true, word) = self.test(test, text);
        if is_true == not { Vec::new() } else { vec![word] }
    }

    /// Whether a test is true, and the text that `%(_)` has in the lines of its block, or of the block of its
    /// negation; none where a value is tested that is not there.
    fn test(&mut self, test: Test, text: &str) -> (bool, Option<String>) {
        let path = || self.call.cwd.join(text);
        let (name, wanted) = name_and_value(text);
        let value = match test {
            Test::Env => self.call.variable(name).map(|value| value.to_string_lossy().into_owned()),
            Test::Opt => {
                self.used_names.insert(name.to_owned());
                let found = self.list.iter().find(|entry| entry.setting.key == name);
                found.map(|entry| entry.setting.value.clone())
            }
            Test::Exists => return (is_readable(&path()), Some(text.to_owned())),
            Test::File => return (path().is_file(), Some(text.to_owned())),
            Test::Dir => return (path().is_dir(), Some(text.to_owned())),
            Test::Hostname => return (hostname() == text, Some(text.to_owned())),
            // liege never re-executes itself in place, and has no plugins.
            Test::Reload => return (false, None),
            Test::Plugin => return (false, Some(text.to_owned())),
        };
        let is_equal = |value: &String| wanted.is_none_or(|wanted| value == wanted);
        (value.as_ref().is_some_and(is_equal), value)
    }

    fn matching_names(&mut self, pattern: &str) -> Result<Vec<Option<String>>, String> {
        let names = pattern::names(&self.call.cwd, pattern, &mut self.limits)?;
        // As in the shell, a pattern without matches stands for itself.
        let names = if names.is_empty() { vec![pattern.to_owned()] } else { names };
        Ok(each(names.into_iter()))
    }

    fn lines_of(&mut self, name: &str) -> Result<Vec<Option<String>>, String> {
        let text = self.resource(name).map_err(|message| {
            format!("{}: {message}{}", quoted(name), file::hint_for_name(name.as_bytes()))
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        Ok(each(text.lines().map(str::to_owned)))
    }
}

fn each(words: impl Iterator<Item = String>) -> Vec<Option<String>> {
    words.map(Some).collect()
}

fn times(text: &str) -> Result<Vec<Option<String>>, String> {
    let count: usize = text.trim().parse().map_err(|_| {
        format!("{} is not a number (expected how often the lines are repeated)", quoted(text))
    })?;
    Ok(each((1..=count.min(MAX_WORDS + 1)).map(|number| number.to_string())))
}

fn name_and_value(text: &str) -> (&str, Option<&str>) {
    text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)))
}

fn is_readable(path: &std::path::Path) -> bool {
    let opened =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    // A socket cannot be opened, but it exists.
    opened.map_or_else(|error| error.raw_os_error() == Some(libc::ENXIO), |_| true)
}
