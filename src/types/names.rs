//! Which files of a directory are vassals, by their names.

/// The endings of vassal files; each tells the format.
pub const ENDINGS: [&str; 6] = [".ini", ".xml", ".yml", ".yaml", ".js", ".json"];

/// Whether a file of this name is a vassal, where it is a regular file; `extra`: further endings. Hidden names
/// are none: tools write under such names what is not complete.
pub fn is_vassal<'a>(name: &[u8], extra: impl IntoIterator<Item = &'a str>) -> bool {
    let mut endings = ENDINGS.into_iter().chain(extra);
    !name.starts_with(b".") && endings.any(|ending| name.ends_with(ending.as_bytes()))
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
