//! Magic variables: `%n`, `%d` and the like, replaced in the raw bytes of a file before it is parsed.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::file::{ConfigName, NameTarget};
use super::text::Lines;
use super::{Invocation, accounts};

/// Most warnings about one file.
const MAX_PERCENT_WARNINGS: usize = 100;

/// The names that the variables of one file stand for. They are looked up when a variable is used.
#[derive(Clone, Debug)]
pub(super) struct MagicNames {
    given: Vec<u8>,
    section: Option<String>,
    path: Option<PathBuf>,
    shown: OnceCell<Vec<u8>>,
}

impl MagicNames {
    /// The names of a file. Anything but a file has only its own `%o`, and the other names of `before`.
    pub(super) fn new(name: &ConfigName, before: Option<&Self>) -> Self {
        let given = name.given.as_bytes().to_vec();
        match &name.target {
            NameTarget::Path(path) => Self {
                given,
                section: name.section.clone(),
                path: Some(path.clone()),
                shown: OnceCell::new(),
            },
            _ => match before {
                Some(before) => Self { given, ..before.clone() },
                None => Self { given, section: None, path: None, shown: OnceCell::new() },
            },
        }
    }

    /// `%p`: the real path of a file; of a link, its name as it was given.
    fn shown(&self, cwd: &Path) -> &[u8] {
        self.shown.get_or_init(|| {
            let Some(path) = &self.path else { return Vec::new() };
            let is_link = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
            if is_link {
                if self.given.starts_with(b"/") {
                    return self.given.clone();
                }
                return [cwd.as_os_str().as_bytes(), b"/", &self.given].concat();
            }
            let real = std::fs::canonicalize(path);
            real.as_deref().unwrap_or(path).as_os_str().as_bytes().to_vec()
        })
    }

    fn inode(&self) -> u64 {
        let path = self.path.as_deref().unwrap_or_else(|| Path::new(""));
        std::fs::symlink_metadata(path).map_or(0, |meta| meta.ino())
    }
}

/// A `%` whose meaning may not be the one that the author had in mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DoubtfulPercent {
    /// It has no meaning before this character.
    Meaningless(char),
    /// This magic variable and the character behind it look like an escaped byte of a URL.
    LikeUrl(char, char),
}

impl DoubtfulPercent {
    /// Whether two characters after a percent sign are doubtful; `is_variable`: the first one is a magic variable.
    fn of(first: u8, second: u8, is_variable: bool) -> Option<Self> {
        if is_variable {
            let like = Self::LikeUrl(char::from(first), char::from(second));
            return is_like_url(first, second).then_some(like);
        }
        (!matches!(first, b'%' | b'(')).then(|| Self::Meaningless(char::from(first)))
    }
}

/// Whether two characters after a percent sign look like an escaped byte of a URL. Names such as `%dapp` are usual:
/// their letters are not followed by digits.
fn is_like_url(first: u8, second: u8) -> bool {
    match first {
        b'0'..=b'9' => second.is_ascii_hexdigit(),
        b'c'..=b'e' | b'C'..=b'E' => second.is_ascii_digit(),
        _ => false,
    }
}

/// A text whose variables are replaced.
pub(super) struct Replaced<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    /// Percent signs to warn of, each with its line.
    pub(super) doubtful: Vec<(u32, DoubtfulPercent)>,
}

/// The variables of one file, in one process.
pub(super) struct Magic<'a> {
    pub(super) call: &'a Invocation,
    /// The file that is read.
    pub(super) current: Option<&'a MagicNames>,
    /// The first file that is not a template, for the upper-case names.
    pub(super) first: Option<&'a MagicNames>,
}

impl Magic<'_> {
    /// Replaces every variable in a text.
    ///
    /// # Errors
    /// The line, and what is wrong there: a name with a line feed would add lines to the file.
    pub(super) fn replace<'t>(&self, text: &'t [u8]) -> Result<Replaced<'t>, (u32, String)> {
        let mut doubtful = Vec::new();
        let Some(mut at) = text.iter().position(|byte| *byte == b'%') else {
            return Ok(Replaced { bytes: Cow::Borrowed(text), doubtful });
        };
        let mut out = Vec::with_capacity(text.len() + 256);
        // Some variables need a system call, and a file may use them half a million times.
        let mut values = HashMap::new();
        let lines = OnceCell::new();
        let line = |rest: &[u8]| lines.get_or_init(|| Lines::of(text)).at(text.len() - rest.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_at_checked(at) {
            out.extend_from_slice(before);
            let letter = after.get(1).copied().unwrap_or(b'\n');
            let value = values.entry(letter).or_insert_with(|| self.value(letter));
            let length = match value {
                Some(value) if is_unprintable(letter, value) => {
                    return Err((line(after), unprintable(letter)));
                }
                Some(value) => {
                    out.extend_from_slice(value);
                    2
                }
                None => {
                    out.push(b'%');
                    if letter == b'%' { 2 } else { 1 }
                }
            };
            let second = after.get(2).copied().unwrap_or_default();
            if let Some(doubt) = DoubtfulPercent::of(letter, second, value.is_some())
                .filter(|_| doubtful.len() < MAX_PERCENT_WARNINGS)
            {
                doubtful.push((line(after), doubt));
            }
            rest = after.get(length..).unwrap_or_default();
            if out.len() > super::file::MAX_BYTES {
                return Err((
                    0,
                    "becomes longer than 1 MiB when its variables are replaced".to_owned(),
                ));
            }
            match rest.iter().position(|byte| *byte == b'%') {
                Some(next) => at = next,
                None => break,
            }
        }
        out.extend_from_slice(rest);
        Ok(Replaced { bytes: Cow::Owned(out), doubtful })
    }

    fn value(&self, letter: u8) -> Option<Cow<'_, [u8]>> {
        let of_file = |letter: u8| {
            matches!(letter, b'o' | b'p' | b's' | b'd' | b'c' | b'n' | b'e' | b'x' | b'i' | b'j')
        };
        if letter.is_ascii_digit() || of_file(letter) {
            return Some(self.current.map_or(Cow::Borrowed(b""), |names| self.of(names, letter)));
        }
        let lower = letter.to_ascii_lowercase();
        if letter.is_ascii_uppercase() && of_file(lower) {
            return Some(self.first.map_or(Cow::Borrowed(b""), |names| self.of(names, lower)));
        }
        let since = || self.call.now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let owned = |text: String| Some(Cow::Owned(text.into_bytes()));
        match letter {
            b'v' => Some(Cow::Borrowed(self.call.cwd.as_os_str().as_bytes())),
            b'V' => Some(Cow::Borrowed(env!("CARGO_PKG_VERSION").as_bytes())),
            b'h' => owned(hostname()),
            b'k' => owned(std::thread::available_parallelism().map_or(1, usize::from).to_string()),
            b't' => owned(since().as_secs().to_string()),
            b'T' => owned(since().as_micros().to_string()),
            b'u' => owned(self.call.uid.to_string()),
            b'g' => owned(self.call.gid.to_string()),
            b'U' => owned(accounts::user_name(self.call.uid)),
            b'G' => owned(accounts::group_name(self.call.gid)),
            b'b' => {
                let path = std::fs::read_link("/proc/self/exe").unwrap_or_default();
                Some(Cow::Owned(path.as_os_str().as_bytes().to_vec()))
            }
            b'[' => Some(Cow::Borrowed(b"\x1b")),
            _ => None,
        }
    }

    fn of<'n>(&self, names: &'n MagicNames, letter: u8) -> Cow<'n, [u8]> {
        let path = || names.shown(&self.call.cwd);
        let dir_end = || path().iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let dir = || path().get(..dir_end()).unwrap_or_default();
        let base = || path().get(dir_end()..).unwrap_or_default();
        let dot = || base().iter().rposition(|byte| *byte == b'.');
        match letter {
            b'o' => Cow::Borrowed(&names.given),
            b'p' => Cow::Borrowed(path()),
            b's' => Cow::Borrowed(base()),
            b'd' => Cow::Borrowed(dir()),
            b'c' => Cow::Borrowed(parts(dir()).last().unwrap_or_default()),
            b'n' => Cow::Borrowed(base().get(..dot().unwrap_or(base().len())).unwrap_or_default()),
            b'e' => Cow::Borrowed(dot().and_then(|dot| base().get(dot + 1..)).unwrap_or_default()),
            b'x' => Cow::Borrowed(names.section.as_deref().unwrap_or_default().as_bytes()),
            b'i' => Cow::Owned(names.inode().to_string().into_bytes()),
            b'j' => Cow::Owned(djb33x(path()).into_bytes()),
            digit => {
                let number = usize::from(digit.saturating_sub(b'0'));
                Cow::Borrowed(parts(dir()).nth(number).unwrap_or_default())
            }
        }
    }
}

/// Whether a value has a control character that its variable does not stand for; `%[` is ESC.
fn is_unprintable(letter: u8, value: &[u8]) -> bool {
    letter != b'[' && value.iter().any(u8::is_ascii_control)
}

fn unprintable(letter: u8) -> String {
    let letter = char::from(letter);
    format!("%{letter} stands for a name with a control character; rename the file")
}

fn parts(dir: &[u8]) -> impl Iterator<Item = &[u8]> {
    dir.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
}

/// A hash of 32 bits as uWSGI prints it: hexadecimal, low byte first.
fn djb33x(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(5381_u32, |hash, byte| hash.wrapping_mul(33) ^ u32::from(*byte));
    format!("{:08X}", hash.swap_bytes())
}

/// The name of this host.
pub(super) fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim_end().to_owned()
}
