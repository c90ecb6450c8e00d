//! Finds the row of an option by its name, the beginning of its name, or its letter; and the option that a
//! misspelt name resembles most.

use super::uwsgi_only::{
    ALWAYS, ALWAYS_OPTIONAL, IGNORED, IGNORED_BARE, IGNORED_OPTIONAL, LETTERS, REFUSED,
};
use super::{Arg, Class, Opt, OptionKind, Section, table, unsupported};

/// Every name and alias of the described rows, sorted while compiling: nothing is built at start.
static INDEX: [(&str, u16); NAME_COUNT] = sorted_index();

const NAME_COUNT: usize =
    count_names(table::SUPPORTED_OPTIONS) + count_names(unsupported::UNSUPPORTED_OPTIONS);

#[allow(clippy::indexing_slicing)] // in the compiler: cannot fail later
const fn count_names(rows: &[Opt]) -> usize {
    let mut count = 0;
    let mut row = 0;
    while row < rows.len() {
        count += 1 + rows[row].aliases.len();
        row += 1;
    }
    count
}

const fn sorted_index() -> [(&'static str, u16); NAME_COUNT] {
    let mut index = [("", 0); NAME_COUNT];
    let mut used = insert_rows(&mut index, 0, table::SUPPORTED_OPTIONS, 0);
    used = insert_rows(
        &mut index,
        used,
        unsupported::UNSUPPORTED_OPTIONS,
        table::SUPPORTED_OPTIONS.len(),
    );
    assert!(used == NAME_COUNT);
    index
}

/// Insertion sort: a few hundred names, once, in the compiler.
#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation)] // in the compiler: cannot fail later
const fn insert_rows(
    index: &mut [(&'static str, u16); NAME_COUNT],
    mut used: usize,
    rows: &[Opt],
    first: usize,
) -> usize {
    let mut row = 0;
    while row < rows.len() {
        let mut alias = 0;
        while alias <= rows[row].aliases.len() {
            let name = if alias == 0 { rows[row].name } else { rows[row].aliases[alias - 1] };
            let mut at = used;
            while at > 0 && is_before(name, index[at - 1].0) {
                index[at] = index[at - 1];
                at -= 1;
            }
            index[at] = (name, (first + row) as u16);
            used += 1;
            alias += 1;
        }
        row += 1;
    }
    used
}

#[allow(clippy::indexing_slicing)] // in the compiler: cannot fail later
const fn is_before(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut at = 0;
    while at < left.len() && at < right.len() {
        if left[at] != right[at] {
            return left[at] < right[at];
        }
        at += 1;
    }
    left.len() < right.len()
}

fn row(number: u16) -> Option<&'static Opt> {
    let number = usize::from(number);
    table::SUPPORTED_OPTIONS.get(number).or_else(|| {
        unsupported::UNSUPPORTED_OPTIONS.get(number.checked_sub(table::SUPPORTED_OPTIONS.len())?)
    })
}

/// Every described row: obeyed ones first.
pub fn rows() -> impl Iterator<Item = &'static Opt> {
    table::SUPPORTED_OPTIONS.iter().chain(unsupported::UNSUPPORTED_OPTIONS)
}

/// The row of exactly this name or alias.
#[must_use]
pub fn find(name: &str) -> Option<Opt> {
    if let Ok(at) = INDEX.binary_search_by_key(&name, |entry| entry.0) {
        return INDEX.get(at).and_then(|entry| row(entry.1)).copied();
    }
    uwsgi_only(name)
}

fn uwsgi_only(name: &str) -> Option<Opt> {
    let lists = [
        (IGNORED, Arg::Required, Class::Ignored),
        (IGNORED_BARE, Arg::None, Class::Ignored),
        (IGNORED_OPTIONAL, Arg::Optional, Class::Ignored),
        (ALWAYS, Arg::None, Class::Always),
        (ALWAYS_OPTIONAL, Arg::Optional, Class::Always),
    ];
    for (list, arg, class) in lists {
        if let Ok(at) = list.binary_search(&name) {
            return list.get(at).map(|name| uwsgi_row(name, arg, class));
        }
    }
    let at = REFUSED.binary_search_by_key(&name, |entry| entry.0).ok()?;
    REFUSED.get(at).map(|(name, arg, reason)| uwsgi_row(name, *arg, Class::Refused(reason)))
}

fn uwsgi_row(name: &'static str, arg: Arg, class: Class) -> Opt {
    let kind = if arg == Arg::None { OptionKind::Flag } else { OptionKind::Text };
    let mut row = Opt::new(name, kind, class, Section::Program);
    row.arg = arg;
    row
}

/// The row of a letter.
#[must_use]
pub fn letter(letter: char) -> Option<Opt> {
    if let Some(opt) = rows().find(|opt| opt.letter == Some(letter)) {
        return Some(*opt);
    }
    let at = LETTERS.binary_search_by_key(&letter, |entry| entry.0).ok()?;
    LETTERS.get(at).and_then(|(_, name)| find(name))
}

/// All names, sorted within each of their lists.
pub(super) fn all_names() -> impl Iterator<Item = &'static str> {
    let described = INDEX.iter().map(|entry| entry.0);
    let ignored = IGNORED
        .iter()
        .chain(IGNORED_BARE)
        .chain(IGNORED_OPTIONAL)
        .chain(ALWAYS)
        .chain(ALWAYS_OPTIONAL);
    described.chain(ignored.copied()).chain(REFUSED.iter().map(|entry| entry.0))
}

/// The option of a name from a command line, which is exact or the beginning of the names of one option. Gives the
/// full name too.
///
/// # Errors
/// The names that begin so, which are those of several options, or none.
pub fn prefix(text: &str) -> Result<(&'static str, Opt), Vec<&'static str>> {
    if let Some(name) = all_names().find(|name| *name == text)
        && let Some(opt) = find(name)
    {
        return Ok((name, opt));
    }
    let mut names: Vec<&'static str> = all_names().filter(|name| name.starts_with(text)).collect();
    names.sort_unstable();
    let mut options: Vec<Opt> = names.iter().filter_map(|name| find(name)).collect();
    options.sort_unstable_by_key(|opt| opt.name);
    options.dedup_by_key(|opt| opt.name);
    match (options.as_slice(), names.as_slice()) {
        ([opt], [name, ..]) => Ok((name, *opt)),
        _ => Err(names),
    }
}

/// Longest name of an option. A longer text does not resemble any.
const MAX_OPTION_NAME: usize = 60;

/// The name that is most like this one, if any is like it.
#[must_use]
pub fn nearest(text: &str) -> Option<&'static str> {
    let described = INDEX.iter().map(|entry| entry.0);
    nearest_of(described, text).or_else(|| nearest_of(all_names(), text)).map(|found| found.1)
}

/// The one of these names that is most like a text, if any is like it.
pub fn nearest_among(
    names: impl Iterator<Item = &'static str>,
    text: &str,
) -> Option<&'static str> {
    nearest_of(names, text).map(|found| found.1)
}

/// The one of these names that is most like a text, and how many edits lie between them.
pub(super) fn nearest_of(
    names: impl Iterator<Item = &'static str>,
    text: &str,
) -> Option<(usize, &'static str)> {
    // One edit for three letters is allowed, and three at most.
    if text.len() > MAX_OPTION_NAME {
        return None;
    }
    let wanted: String = text.to_ascii_lowercase().replace('_', "-");
    let allowed = (wanted.len() / 3).min(3);
    let letters = letters_of(&wanted);
    // An edit removes one letter and adds another at most.
    let is_near = |name: &&str| {
        name.len().abs_diff(wanted.len()) <= allowed
            && (letters_of(name) ^ letters).count_ones() as usize <= 2 * allowed
    };
    names
        .filter(is_near)
        .map(|name| (distance(name.as_bytes(), wanted.as_bytes()), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
}

/// Which letters a text has, in any number and order: far cheaper to compare than the text.
fn letters_of(text: &str) -> u32 {
    text.bytes().fold(0, |letters, byte| letters | 1 << (byte & 31))
}

/// The number of insertions, deletions, replacements and swaps of two letters side by side that turn one text
/// into the other; both have at most [`MAX_OPTION_NAME`] bytes.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut rows = [[0_u8; MAX_OPTION_NAME + 1]; 3];
    let [before, row, next] = &mut rows;
    let (mut before, mut row, mut next) = (before, row, next);
    let at =
        |row: &[u8; MAX_OPTION_NAME + 1], at: usize| row.get(at).copied().unwrap_or(u8::MAX / 2);
    for (cell, count) in row.iter_mut().zip(0..) {
        *cell = count;
    }
    for (i, a) in left.iter().enumerate() {
        let mut last = u8::try_from(i + 1).unwrap_or(u8::MAX / 2);
        if let Some(cell) = next.first_mut() {
            *cell = last;
        }
        for (j, b) in right.iter().enumerate() {
            let mut cost = (at(row, j) + u8::from(a != b)).min(at(row, j + 1) + 1).min(last + 1);
            let swapped =
                i > 0 && j > 0 && left.get(i - 1) == Some(b) && right.get(j - 1) == Some(a);
            if swapped {
                cost = cost.min(at(before, j - 1) + 1);
            }
            if let Some(cell) = next.get_mut(j + 1) {
                *cell = cost;
            }
            last = cost;
        }
        (before, row, next) = (row, next, before);
    }
    usize::from(at(row, right.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_name_is_unique_and_found() {
        let mut seen = HashSet::new();
        for name in all_names() {
            assert!(seen.insert(name), "{name} stands twice");
            let opt = find(name).unwrap();
            assert!(opt.name == name || opt.aliases.contains(&name), "{name} finds {}", opt.name);
        }
        assert!(seen.len() > 1300);
        assert_eq!(find("no-such-thing"), None);
    }

    #[test]
    fn lists_that_are_searched_are_sorted() {
        for list in [IGNORED, IGNORED_BARE, IGNORED_OPTIONAL, ALWAYS, ALWAYS_OPTIONAL] {
            assert!(list.is_sorted());
        }
        assert!(REFUSED.is_sorted_by_key(|entry| entry.0));
        assert!(LETTERS.is_sorted_by_key(|entry| entry.0));
        assert!(INDEX.is_sorted_by_key(|entry| entry.0));
    }

    #[test]
    fn every_described_option_says_what_it_does_in_one_phrase() {
        let mut letters = HashSet::new();
        assert!(all_names().all(|name| name.len() <= MAX_OPTION_NAME));
        for opt in rows() {
            assert!(!opt.help.is_empty() && !opt.help.ends_with('.'), "{}", opt.name);
            assert!(opt.help.len() < 110, "{}: {}", opt.name, opt.help.len());
            assert_eq!(opt.arg == Arg::None, opt.meta.is_empty(), "{}", opt.name);
            assert!(opt.letter.is_none_or(|letter| letters.insert(letter)), "{}", opt.name);
        }
        for (letter, name) in LETTERS {
            assert!(letters.insert(*letter), "{letter}");
            assert!(find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_beginning_of_a_name_is_enough_if_it_is_of_one_option() {
        assert_eq!(prefix("emperor-use-fork-serve").unwrap().0, "emperor-use-fork-server");
        assert_eq!(prefix("emperor-max-t").unwrap().0, "emperor-max-throttle");
        assert_eq!(prefix("emperor").unwrap().0, "emperor", "an exact name wins over longer ones");
        assert_eq!(prefix("emperor-stat").unwrap().0, "emperor-stats", "aliases are one option");
        let candidates = prefix("emperor-on-demand-").unwrap_err();
        assert!(candidates.contains(&"emperor-on-demand-exec") && candidates.len() > 3);
        assert!(prefix("zork").unwrap_err().is_empty());
    }

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        assert_eq!(nearest("htpp-socket"), Some("http-socket"));
        assert_eq!(nearest("http_socket"), Some("http-socket"));
        assert_eq!(nearest("HTTP-SOCKET"), Some("http-socket"));
        assert_eq!(nearest("procesess"), Some("processes"));
        assert_eq!(nearest("my-domain-name"), None);
        assert_eq!(nearest("x"), None);
        assert_eq!(nearest(&"x".repeat(MAX_OPTION_NAME)), None);
        assert_eq!(nearest(&"x".repeat(1000)), None);
    }

    #[test]
    fn slips_are_counted() {
        for (left, right, slips) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("kitten", "sitting", 3),
            ("ab", "bca", 3),
        ] {
            assert_eq!(distance(left.as_bytes(), right.as_bytes()), slips, "{left} {right}");
        }
    }

    #[test]
    fn letters_are_those_of_uwsgi() {
        for (text, name) in [
            ('s', "socket"),
            ('p', "processes"),
            ('M', "master"),
            ('C', "chmod-socket"),
            ('x', "xml"),
            ('H', "home"),
        ] {
            assert_eq!(letter(text).unwrap().name, name);
        }
        assert_eq!(letter('ß'), None);
    }
}
