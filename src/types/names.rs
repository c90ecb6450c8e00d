//! Which files of a directory are vassals, and by which option a command line names them.

use std::ffi::CStr;

/// The endings of vassal files, with the option that names such a file to liege, or to uWSGI.
const ENDINGS: [(&str, &CStr); 6] = [
    (".ini", c"--ini"),
    (".xml", c"--xml"),
    (".yml", c"--yaml"),
    (".yaml", c"--yaml"),
    (".js", c"--json"),
    (".json", c"--json"),
];

/// The endings of vassal files; each tells the format.
pub fn endings() -> impl Iterator<Item = &'static str> {
    ENDINGS.iter().map(|entry| entry.0)
}

/// The option that names a file of this name; `extra`: further endings. `None`: the name ends in none of them.
#[must_use]
pub fn option(name: &[u8], extra: &[String]) -> Option<&'static CStr> {
    if extra.iter().any(|ending| name.ends_with(ending.as_bytes())) {
        return Some(c"--config");
    }
    let found = ENDINGS.iter().find(|entry| name.ends_with(entry.0.as_bytes()));
    found.map(|entry| entry.1)
}

/// Whether a regular file of this name is a vassal; `extra`: further endings. Files with hidden names are not: tools
/// write incomplete files under such names.
pub fn is_vassal<'a>(name: &[u8], extra: impl IntoIterator<Item = &'a str>) -> bool {
    let is_end = |ending: &str| name.ends_with(ending.as_bytes());
    !name.starts_with(b".") && (endings().any(is_end) || extra.into_iter().any(is_end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vassal_has_a_known_ending_and_is_not_hidden() {
        for (name, is) in [("a.ini", true), ("a.conf", false), ("a.skel", true), (".a.ini", false)]
        {
            assert_eq!(is_vassal(name.as_bytes(), [".skel"]), is, "{name}");
        }
    }
}
