//! The lines of `/etc/passwd` and `/etc/group`.

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// Its home directory; may be empty.
    pub home: String,
}

/// Reads `name:password:uid:gid:…`. Lines of the old network syntax (`+`, `-`) and malformed lines are not users.
pub fn parse_user(line: &[u8]) -> Option<User> {
    let line = std::str::from_utf8(line).ok()?;
    let mut fields = line.split(':');
    let name =
        fields.next().filter(|name| !name.is_empty() && !name.starts_with(['+', '-', '#']))?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = fields.nth(1).unwrap_or_default().to_owned();
    Some(User { name: name.to_owned(), uid, gid, home })
}

/// A group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    pub name: &'a [u8],
    pub gid: u32,
    /// The names of its members, with commas between them.
    pub members: &'a [u8],
}

/// Reads `name:password:gid:member,member`.
pub fn parse_group(line: &[u8]) -> Option<Group<'_>> {
    let mut fields = line.split(|&byte| byte == b':');
    let name = fields.next().filter(|name| !matches!(name, [] | [b'+' | b'-' | b'#', ..]))?;
    let gid = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
    Some(Group { name, gid, members: fields.next().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_account_is_passed_over() {
        let user = parse_user(b"web:x:33:34::/:").unwrap();
        assert_eq!((user.name.as_str(), user.uid, user.gid), ("web", 33, 34));
        let group = parse_group(b"media:x:50:a,b").unwrap();
        assert_eq!((group.name, group.gid, group.members), (&b"media"[..], 50, &b"a,b"[..]));
        for line in
            [&b"odd"[..], b"\xff:x:1:1", b"+:x:1:1", b"-web:x:1:1", b"#web:x:1:1", b":x:1:1"]
        {
            assert_eq!(parse_user(line), None);
        }
        assert!(parse_group(b"+media:x:1:").is_none());
    }
}
