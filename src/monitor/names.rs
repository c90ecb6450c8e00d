//! Which names in a directory count, by nothing but the name.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::types::names::endings;

/// A vassal file's name is shorter than this.
const VASSAL_NAME_LIMIT: usize = 255;

/// The endings of files that have their reasons to be in a directory of vassals; the manual shows the same list.
const IGNORED_SUFFIXES: &str = concat!(
    // uWSGI's own, and what its documents put there.
    ".pid .log .sock .socket .skel .template .fifo .lock .touch .stats ",
    // Editors and hands.
    "~ .swp .swo .bak .backup .orig .rej .old .new .save .tmp .part ",
    ".off .disabled .inactive .example .sample .md ",
    // Package managers and deployment.
    ".dpkg-old .dpkg-new .dpkg-dist .dpkg-tmp .dpkg-bak .ucf-old .ucf-new .ucf-dist ",
    ".rpmsave .rpmnew .rpmorig .pacnew .pacsave .pacorig .apk-new .j2 .dist",
);

/// And those that are so by what their name begins with.
const IGNORED_PREFIXES: &str = "README #";

/// What the name of a directory entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameKind<'a> {
    /// A vassal, if it is a regular file.
    Vassal,
    /// It ends like a vassal file, and yet it cannot be one.
    Refused(&'static str),
    /// The on-demand address of this vassal.
    AddressFile(&'a OsStr),
    /// Somebody may take it for a vassal, but its name does not end like that of one.
    Unrecognized,
    /// Nothing of ours.
    Other,
}

/// The rules for names.
pub(super) struct NameRules {
    endings: Vec<OsString>,
    address_ending: Option<OsString>,
}

impl NameRules {
    /// The ordinary endings and `extra` ones; `address_ending` is what follows a vassal's name in the name
    /// of the file that holds its on-demand address.
    pub(super) fn new(extra: &[OsString], address_ending: Option<OsString>) -> Self {
        let endings = endings().map(OsString::from).chain(extra.iter().cloned());
        Self {
            endings: endings.filter(|ending| !ending.is_empty()).collect(),
            address_ending: address_ending.filter(|address_ending| !address_ending.is_empty()),
        }
    }

    /// Says what a name means. A name that is both is a vassal; a hidden one is nothing, as tools write under
    /// such names what is not complete yet.
    pub(super) fn classify<'a>(&self, name: &'a OsStr) -> NameKind<'a> {
        if name.as_bytes().starts_with(b".") {
            return NameKind::Other;
        }
        if self.ends_like_a_vassal(name) {
            return fault_of(name).map_or(NameKind::Vassal, NameKind::Refused);
        }
        let ending = self.address_ending.as_ref().map(|ending| ending.as_bytes());
        match ending.and_then(|ending| name.as_bytes().strip_suffix(ending)) {
            Some(vassal) if self.ends_like_a_vassal(OsStr::from_bytes(vassal)) => {
                NameKind::AddressFile(OsStr::from_bytes(vassal))
            }
            Some(_) => NameKind::Other,
            None if is_ignored(name) => NameKind::Other,
            None => NameKind::Unrecognized,
        }
    }

    /// The name of the file that may hold the on-demand address of `vassal`.
    pub(super) fn address_file_of(&self, vassal: &OsStr) -> Option<OsString> {
        let ending = self.address_ending.as_ref()?;
        let mut name = vassal.to_owned();
        name.push(ending);
        Some(name)
    }

    fn ends_like_a_vassal(&self, name: &OsStr) -> bool {
        self.endings.iter().any(|ending| name.as_bytes().ends_with(ending.as_bytes()))
    }
}

/// Whether a name is no business of ours, though it could be a file that somebody takes for a vassal.
fn is_ignored(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b".")
        || IGNORED_SUFFIXES.split_whitespace().any(|end| name.ends_with(end.as_bytes()))
        || IGNORED_PREFIXES.split_whitespace().any(|begin| name.starts_with(begin.as_bytes()))
}

fn fault_of(name: &OsStr) -> Option<&'static str> {
    let bytes = name.as_bytes();
    if bytes.iter().any(u8::is_ascii_control) {
        Some("its name has control characters; rename it")
    } else if bytes.len() >= VASSAL_NAME_LIMIT {
        Some("its name is 255 bytes long or more; rename it")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter() -> NameRules {
        NameRules::new(&[".conf".into(), "".into()], Some(".socket".into()))
    }

    fn classify(name: &[u8]) -> NameKind<'_> {
        filter().classify(OsStr::from_bytes(name))
    }

    #[test]
    fn vassals_are_told_by_their_endings() {
        for name in
            ["a.ini", "a.xml", "a.yml", "a.yaml", "a.js", "a.json", "a.conf", "-a b%'\".ini"]
        {
            assert_eq!(classify(name.as_bytes()), NameKind::Vassal, "{name}");
        }
        for name in ["a.skel", "a.ini~", "a.ini.bak", "a.ini.dpkg-new", "README", "x.socket"] {
            assert_eq!(classify(name.as_bytes()), NameKind::Other, "{name}");
        }
        for name in ["a.INI", "ini", "socket", "a.cfg", "a.ini.txt2", "a"] {
            assert_eq!(classify(name.as_bytes()), NameKind::Unrecognized, "{name}");
        }
    }

    #[test]
    fn a_hidden_name_is_nothing() {
        for name in
            [".ini", ".a.ini", ".a.ini.swp", ".a.ini.socket", ".ansible_tmp7x9a.ini", ".conf"]
        {
            assert_eq!(classify(name.as_bytes()), NameKind::Other, "{name}");
        }
    }

    #[test]
    fn names_are_bytes_but_control_characters_are_refused() {
        assert_eq!(classify(b"\xff\xfe.ini"), NameKind::Vassal);
        for name in [&b"a\nb.ini"[..], b"\x1b[31m.ini", b"\x7f.ini", b"a\t.ini"] {
            assert!(matches!(classify(name), NameKind::Refused(_)), "{name:?}");
        }
    }

    #[test]
    fn a_name_of_255_bytes_is_one_too_long() {
        let name = |length: usize| [vec![b'a'; length - 4], b".ini".to_vec()].concat();
        assert_eq!(classify(&name(254)), NameKind::Vassal);
        assert!(matches!(classify(&name(255)), NameKind::Refused(_)));
    }

    #[test]
    fn a_companion_belongs_to_a_vassal() {
        assert_eq!(classify(b"a.ini.socket"), NameKind::AddressFile(OsStr::new("a.ini")));
        assert_eq!(classify(b"a.txt.socket"), NameKind::Other);
        assert_eq!(filter().address_file_of(OsStr::new("a.ini")), Some("a.ini.socket".into()));
        assert_eq!(NameRules::new(&[], None).classify(OsStr::new("a.ini.socket")), NameKind::Other);
        assert_eq!(NameRules::new(&[], Some("".into())).address_file_of(OsStr::new("a.ini")), None);
    }

    #[test]
    fn the_manual_names_all_that_is_left_alone() {
        let manual = include_str!("../../man/liege.8.in");
        let begin = manual.find("Files that are passed over").expect("the list");
        let list: Vec<&str> = manual[begin..]
            .split_whitespace()
            .map(|word| word.trim_start_matches("\\&").trim_end_matches(','))
            .take(150)
            .collect();
        for part in IGNORED_SUFFIXES.split_whitespace().chain(IGNORED_PREFIXES.split_whitespace()) {
            assert!(list.contains(&part), "{part}");
        }
    }
}
