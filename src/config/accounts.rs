//! The names of users and groups, for magic variables. A program that is linked statically cannot load the
//! modules of the name service, so only `/etc/passwd` and `/etc/group` are read.

use std::fs;

use crate::types::accounts::{parse_group, parse_user};

/// The name of a user, or the number if there is none.
#[must_use]
pub fn user_name(uid: u32) -> String {
    let name = |line: &[u8]| parse_user(line).filter(|user| user.uid == uid).map(|user| user.name);
    found("/etc/passwd", name).unwrap_or_else(|| uid.to_string())
}

/// The name of a group, or the number if there is none.
#[must_use]
pub fn group_name(gid: u32) -> String {
    let name = |line: &[u8]| {
        let group = parse_group(line).filter(|group| group.gid == gid)?;
        String::from_utf8(group.name.to_vec()).ok()
    };
    found("/etc/group", name).unwrap_or_else(|| gid.to_string())
}

fn found(path: &str, name: impl Fn(&[u8]) -> Option<String>) -> Option<String> {
    fs::read(path).ok()?.split(|byte| *byte == b'\n').find_map(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_without_a_name_stays_one() {
        assert_eq!((user_name(0), group_name(0)), ("root".to_owned(), "root".to_owned()));
        assert_eq!(user_name(4_000_000_000), "4000000000");
    }
}
