//! Names and numbers of users and groups, from `/etc/passwd` and `/etc/group`.
//!
//! A program that is linked statically cannot load the modules of the name service. Whether an account
//! comes from elsewhere (LDAP, systemd) is asked of `getent`, where there is time for that.

use std::fs;
use std::process::{Command, Stdio};

/// The number of a user's name.
#[must_use]
pub fn user(name: &str) -> Option<u32> {
    number(&fs::read("/etc/passwd").ok()?, name)
}

/// The number of a group's name.
#[must_use]
pub fn group(name: &str) -> Option<u32> {
    number(&fs::read("/etc/group").ok()?, name)
}

/// The name of a user, or the number if there is none.
#[must_use]
pub fn user_name(uid: u32) -> String {
    fs::read("/etc/passwd").ok().and_then(|file| name(&file, uid)).unwrap_or(uid.to_string())
}

/// The name of a group, or the number if there is none.
#[must_use]
pub fn group_name(gid: u32) -> String {
    fs::read("/etc/group").ok().and_then(|file| name(&file, gid)).unwrap_or(gid.to_string())
}

/// Whether the name service knows this name; `database` is `passwd` or `group`. Runs a program.
#[must_use]
pub fn is_listed(database: &str, name: &str) -> bool {
    let mut getent = Command::new("getent");
    getent.args(["--", database, name]).stdin(Stdio::null()).stdout(Stdio::null());
    getent.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn entries(file: &[u8]) -> impl Iterator<Item = (&str, u32)> {
    file.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = std::str::from_utf8(line).ok()?.split(':');
        let name = fields.next()?;
        Some((name, fields.nth(1)?.parse().ok()?))
    })
}

fn number(file: &[u8], name: &str) -> Option<u32> {
    entries(file).find(|entry| entry.0 == name).map(|entry| entry.1)
}

fn name(file: &[u8], number: u32) -> Option<String> {
    entries(file).find(|entry| entry.1 == number).map(|entry| entry.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_both_ways() {
        let file = b"root:x:0:0:root:/root:/bin/sh\nodd\nweb:x:33:33::/:\n\xff:x:1:1\n";
        assert_eq!(number(file, "web"), Some(33));
        assert_eq!(number(file, "we"), None);
        assert_eq!(name(file, 0), Some("root".to_owned()));
        assert_eq!(user("root"), Some(0));
        assert!(!is_listed("passwd", "no-such-user-x"));
        assert_eq!(user_name(4_000_000_000), "4000000000");
    }
}
