//! Which names in a directory count, by nothing but the name.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::unrecognized;

use crate::types::names::ENDINGS;

/// A vassal file's name is shorter than this.
const TOO_LONG: usize = 255;

/// What the name of a directory entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name<'a> {
    /// A vassal, if it is a regular file.
    Vassal,
    /// It ends like a vassal file, and yet it cannot be one.
    Refused(&'static str),
    /// The on-demand address of this vassal.
    Companion(&'a OsStr),
    /// Somebody may take it for a vassal, but its name does not end like that of one.
    Stranger,
    /// Nothing of ours.
    Other,
}

/// The rules for names.
pub(super) struct Filter {
    endings: Vec<OsString>,
    companion: Option<OsString>,
}

impl Filter {
    /// The ordinary endings and `extra` ones; `companion` is what follows a vassal's name in the name
    /// of the file that holds its on-demand address.
    pub(super) fn new(extra: &[OsString], companion: Option<OsString>) -> Self {
        let endings = ENDINGS.iter().map(OsString::from).chain(extra.iter().cloned());
        Self {
            endings: endings.filter(|ending| !ending.is_empty()).collect(),
            companion: companion.filter(|companion| !companion.is_empty()),
        }
    }

    /// Says what a name means. A name that is both is a vassal; a hidden one is nothing, as tools write under
    /// such names what is not complete yet.
    pub(super) fn judge<'a>(&self, name: &'a OsStr) -> Name<'a> {
        if name.as_bytes().starts_with(b".") {
            return Name::Other;
        }
        if self.ends_like_a_vassal(name) {
            return fault_of(name).map_or(Name::Vassal, Name::Refused);
        }
        let ending = self.companion.as_ref().map(|ending| ending.as_bytes());
        match ending.and_then(|ending| name.as_bytes().strip_suffix(ending)) {
            Some(vassal) if self.ends_like_a_vassal(OsStr::from_bytes(vassal)) => {
                Name::Companion(OsStr::from_bytes(vassal))
            }
            Some(_) => Name::Other,
            None if unrecognized::is_left_alone(name) => Name::Other,
            None => Name::Stranger,
        }
    }

    /// The name of the file that may hold the on-demand address of `vassal`.
    pub(super) fn companion_of(&self, vassal: &OsStr) -> Option<OsString> {
        let ending = self.companion.as_ref()?;
        let mut name = vassal.to_owned();
        name.push(ending);
        Some(name)
    }

    fn ends_like_a_vassal(&self, name: &OsStr) -> bool {
        self.endings.iter().any(|ending| name.as_bytes().ends_with(ending.as_bytes()))
    }
}

fn fault_of(name: &OsStr) -> Option<&'static str> {
    let bytes = name.as_bytes();
    if bytes.iter().any(u8::is_ascii_control) {
        Some("its name has control characters; rename it")
    } else if bytes.len() >= TOO_LONG {
        Some("its name is 255 bytes long or more; rename it")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter() -> Filter {
        Filter::new(&[".conf".into(), "".into()], Some(".socket".into()))
    }

    fn judge(name: &[u8]) -> Name<'_> {
        filter().judge(OsStr::from_bytes(name))
    }

    #[test]
    fn vassals_are_told_by_their_endings() {
        for name in
            ["a.ini", "a.xml", "a.yml", "a.yaml", "a.js", "a.json", "a.conf", "-a b%'\".ini"]
        {
            assert_eq!(judge(name.as_bytes()), Name::Vassal, "{name}");
        }
        for name in ["a.skel", "a.ini~", "a.ini.bak", "a.ini.dpkg-new", "README", "x.socket"] {
            assert_eq!(judge(name.as_bytes()), Name::Other, "{name}");
        }
        for name in ["a.INI", "ini", "socket", "a.cfg", "a.ini.txt2", "a"] {
            assert_eq!(judge(name.as_bytes()), Name::Stranger, "{name}");
        }
    }

    #[test]
    fn a_hidden_name_is_nothing() {
        for name in
            [".ini", ".a.ini", ".a.ini.swp", ".a.ini.socket", ".ansible_tmp7x9a.ini", ".conf"]
        {
            assert_eq!(judge(name.as_bytes()), Name::Other, "{name}");
        }
    }

    #[test]
    fn names_are_bytes_but_control_characters_are_refused() {
        assert_eq!(judge(b"\xff\xfe.ini"), Name::Vassal);
        for name in [&b"a\nb.ini"[..], b"\x1b[31m.ini", b"\x7f.ini", b"a\t.ini"] {
            assert!(matches!(judge(name), Name::Refused(_)), "{name:?}");
        }
    }

    #[test]
    fn a_name_of_255_bytes_is_one_too_long() {
        let name = |length: usize| [vec![b'a'; length - 4], b".ini".to_vec()].concat();
        assert_eq!(judge(&name(254)), Name::Vassal);
        assert!(matches!(judge(&name(255)), Name::Refused(_)));
    }

    #[test]
    fn a_companion_belongs_to_a_vassal() {
        assert_eq!(judge(b"a.ini.socket"), Name::Companion(OsStr::new("a.ini")));
        assert_eq!(judge(b"a.txt.socket"), Name::Other);
        assert_eq!(filter().companion_of(OsStr::new("a.ini")), Some("a.ini.socket".into()));
        assert_eq!(Filter::new(&[], None).judge(OsStr::new("a.ini.socket")), Name::Other);
        assert_eq!(Filter::new(&[], Some("".into())).companion_of(OsStr::new("a.ini")), None);
    }
}
