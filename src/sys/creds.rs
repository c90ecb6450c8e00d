//! Users and groups: look-up and change.
//!
//! The binary is linked statically, and a static C library would load the modules of the name service at
//! run time, so its look-ups are not used: `/etc/passwd` and `/etc/group` are read here, and for a name
//! that is not in them `getent` is asked (a directory service, systemd's dynamic users), where it exists
//! and within [`GETENT_TIMEOUT`]. Groups that only a directory service gives to a user of `/etc/passwd` are not
//! seen; `add-gid` names them.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::{self, Gid, Uid};

use super::{call, command};
use crate::types::accounts::{parse_group, parse_user};

pub use crate::types::accounts::User;

/// How long `getent` may take.
pub const GETENT_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest `/etc/passwd`, `/etc/group` or answer that is read.
const MAX_FILE: u64 = 64 << 20;

/// Most supplementary groups of a process (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65536;

/// A user or group that could not be looked up.
#[derive(Debug)]
pub enum LookupError {
    /// There is none of that name.
    Unknown,
    /// The look-up failed, so nobody knows.
    Failed {
        /// What was asked.
        source: String,
        /// Why it did not answer.
        error: io::Error,
    },
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not found"),
            Self::Failed { source, error } => write!(f, "{source}: {error}"),
        }
    }
}

impl std::error::Error for LookupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unknown => None,
            Self::Failed { error, .. } => Some(error),
        }
    }
}

/// Where accounts are looked up; everything is read when it is first needed, and once.
#[derive(Debug)]
pub struct Accounts<'a> {
    etc: &'a Path,
    getent: Option<&'a Path>,
    passwd: Option<Vec<u8>>,
    group: Option<Vec<u8>>,
}

impl Default for Accounts<'_> {
    fn default() -> Self {
        Self::new(Path::new("/etc"), Some(Path::new("/usr/bin/getent")))
    }
}

impl<'a> Accounts<'a> {
    /// Accounts of the files in `etc`, and of this `getent`, if it is there.
    pub fn new(etc: &'a Path, getent: Option<&'a Path>) -> Self {
        Self { etc, getent, passwd: None, group: None }
    }

    /// The account of that name.
    ///
    /// # Errors
    /// Unknown, or the look-up failed.
    pub fn user(&mut self, name: &str) -> Result<User, LookupError> {
        self.passwd_entry(name, |user| user.name == name)
    }

    /// The account with that number.
    ///
    /// # Errors
    /// Unknown, or the look-up failed.
    pub fn user_of(&mut self, uid: u32) -> Result<User, LookupError> {
        self.passwd_entry(&uid.to_string(), |user| user.uid == uid)
    }

    /// The number of the group of that name.
    ///
    /// # Errors
    /// Unknown, or the look-up failed.
    pub fn group(&mut self, name: &str) -> Result<u32, LookupError> {
        let wanted = |line: &[u8]| {
            let group = parse_group(line)?;
            (group.name == name.as_bytes()).then_some(group.gid)
        };
        match read_once(&mut self.group, &self.etc.join("group"))?
            .split(is_line_end)
            .find_map(wanted)
        {
            Some(gid) => Ok(gid),
            None => self
                .ask(&["group", name])?
                .split(is_line_end)
                .find_map(wanted)
                .ok_or(LookupError::Unknown),
        }
    }

    /// The supplementary groups of a user, as `initgroups` would set them; `gid` is among them.
    ///
    /// # Errors
    /// The look-up failed.
    pub fn groups_of(&mut self, user: &User, gid: u32) -> Result<Vec<u32>, LookupError> {
        let local = self.is_local(user)?;
        let mut groups = vec![gid];
        let files = read_once(&mut self.group, &self.etc.join("group"))?;
        groups.extend(files.split(is_line_end).filter_map(parse_group).filter_map(|group| {
            let member = |name: &[u8]| name == user.name.as_bytes();
            group.members.split(|&byte| byte == b',').any(member).then_some(group.gid)
        }));
        if !local {
            let answer = self.ask(&["initgroups", &user.name]);
            let answer = answer.map(|text| String::from_utf8_lossy(&text).into_owned());
            let numbers = answer.unwrap_or_default();
            // One line: the name, then the numbers.
            groups.extend(
                numbers.split_whitespace().skip(1).filter_map(|gid| gid.parse::<u32>().ok()),
            );
        }
        groups.truncate(MAX_GROUPS);
        let (first, rest) = groups.split_first_mut().map_or((gid, &mut [][..]), |(f, r)| (*f, r));
        rest.sort_unstable();
        let mut unique = vec![first];
        unique.extend(rest.iter().filter(|&&other| other != first));
        unique.dedup();
        Ok(unique)
    }

    fn is_local(&mut self, user: &User) -> Result<bool, LookupError> {
        let text = read_once(&mut self.passwd, &self.etc.join("passwd"))?;
        Ok(text.split(is_line_end).filter_map(parse_user).any(|entry| entry.name == user.name))
    }

    fn passwd_entry(
        &mut self,
        key: &str,
        wanted: impl Fn(&User) -> bool,
    ) -> Result<User, LookupError> {
        let text = read_once(&mut self.passwd, &self.etc.join("passwd"))?;
        let find =
            |text: &[u8]| text.split(is_line_end).filter_map(parse_user).find(|user| wanted(user));
        match find(text) {
            Some(user) => Ok(user),
            None => find(&self.ask(&["passwd", key])?).ok_or(LookupError::Unknown),
        }
    }

    /// The answer of `getent`; nothing where there is none, or it knows nothing.
    fn ask(&self, words: &[&str]) -> Result<Vec<u8>, LookupError> {
        let Some(getent) = self.getent else { return Ok(Vec::new()) };
        let failed =
            |error| LookupError::Failed { source: format!("getent {}", words.join(" ")), error };
        let mut command = Command::new(getent);
        command.env_clear().arg("--").args(words).stdin(Stdio::null()).stderr(Stdio::null());
        match command::output(&mut command, MAX_FILE as usize, GETENT_TIMEOUT) {
            // A failure means that the name is unknown; the output is dropped.
            Ok((text, status)) => Ok(if status.success() { text } else { Vec::new() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed(error)),
        }
    }
}

fn is_line_end(byte: &u8) -> bool {
    *byte == b'\n'
}

/// Reads a file the first time; one that does not exist is empty.
fn read_once<'b>(cache: &'b mut Option<Vec<u8>>, path: &Path) -> Result<&'b [u8], LookupError> {
    if cache.is_none() {
        // Room for most machines' files: a vector that grows from nothing reads them in small bits.
        let mut text = Vec::with_capacity(8192);
        let read =
            std::fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut text));
        match read {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(LookupError::Failed { source: path.display().to_string(), error });
            }
            _ => *cache = Some(text),
        }
    }
    Ok(cache.as_deref().unwrap_or_default())
}

/// User and groups of a process, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
}

impl Identity {
    /// Who we are now.
    ///
    /// # Errors
    /// Those of getgroups(2).
    pub fn current() -> io::Result<Self> {
        let (uid, gid) = (effective_uid(), effective_gid());
        Ok(Self { uid, gid, groups: groups()? })
    }
}

/// The effective user of this process.
pub fn effective_uid() -> u32 {
    unistd::geteuid().as_raw()
}

/// The effective group of this process.
pub fn effective_gid() -> u32 {
    unistd::getegid().as_raw()
}

/// The supplementary groups of this process.
///
/// # Errors
/// None that is known.
pub fn groups() -> io::Result<Vec<u32>> {
    Ok(call(unistd::getgroups)?.into_iter().map(Gid::as_raw).collect())
}

/// Replaces the supplementary groups.
///
/// # Errors
/// `EPERM` without the privilege, `EINVAL` if there are too many.
pub fn set_groups(list: &[u32]) -> io::Result<()> {
    let list: Vec<Gid> = list.iter().copied().map(Gid::from_raw).collect();
    call(|| unistd::setgroups(&list))
}

/// Sets the real, effective and saved group.
///
/// # Errors
/// `EPERM` without the privilege.
pub fn set_gid(gid: u32) -> io::Result<()> {
    set_gids(gid, gid)
}

/// Sets the real, effective and saved user.
///
/// # Errors
/// `EPERM` without the privilege; `EAGAIN` before Linux 3.1 at the user's limit of processes.
pub fn set_uid(uid: u32) -> io::Result<()> {
    set_uids(uid, uid)
}

/// Sets the real and effective group to one, the saved group to another.
fn set_gids(gid: u32, saved: u32) -> io::Result<()> {
    refuse_minus_one(gid)?;
    let [gid, saved] = [gid, saved].map(Gid::from_raw);
    call(|| unistd::setresgid(gid, gid, saved))
}

/// Sets the real and effective user to one, the saved user to another.
fn set_uids(uid: u32, saved: u32) -> io::Result<()> {
    refuse_minus_one(uid)?;
    let [uid, saved] = [uid, saved].map(Uid::from_raw);
    call(|| unistd::setresuid(uid, uid, saved))
}

/// Does something as another user, groups included, and comes back. The real ids change too, so that a program
/// that is started meanwhile is that user and nobody else; only this process keeps the way back.
///
/// # Errors
/// `EPERM` without the privilege; it was not done then, or the way back was refused.
pub fn lend<T>(uid: u32, gid: u32, groups: &[u32], work: impl FnOnce() -> T) -> io::Result<T> {
    refuse_minus_one(uid)?;
    refuse_minus_one(gid)?;
    let (own_uid, own_gid, own_groups) = (effective_uid(), effective_gid(), self::groups()?);
    let back = || {
        set_uids(own_uid, own_uid)?;
        set_gids(own_gid, own_gid)?;
        set_groups(&own_groups)
    };
    set_groups(groups)?;
    let done = set_gids(gid, own_gid).and_then(|()| set_uids(uid, own_uid)).map(|()| work());
    back()?;
    done
}

/// -1 means "leave it" to the kernel, which would leave root.
fn refuse_minus_one(id: u32) -> io::Result<()> {
    if id == u32::MAX { Err(io::Error::from_raw_os_error(libc::EINVAL)) } else { Ok(()) }
}

/// Checks that this process is that user in all three ways, and cannot become root again.
///
/// # Errors
/// `EPERM` if it is not, or could.
pub fn verify_uid(uid: u32) -> io::Result<()> {
    let ids = call(unistd::getresuid)?;
    // It is meant to fail.
    let root_again = uid != 0 && unistd::setuid(Uid::from_raw(0)).is_ok();
    if root_again || [ids.real, ids.effective, ids.saved] != [Uid::from_raw(uid); 3] {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment:x:7:7\n+nis::::::\nbroken:x:one:2\n\
                          web:x:33:34:Web:/srv:/bin/sh\nshort:x:5\nodd:x:4294967296:1\nlast:x:40:41";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nmedia:x:50:other,web\nlog:x:9:web\nlogs:x:10:webber\n\
                         twice:x:9:web\n";

    fn etc() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("passwd"), PASSWD).unwrap();
        std::fs::write(dir.path().join("group"), GROUP).unwrap();
        dir
    }

    fn script(dir: &Path, text: &str) -> std::path::PathBuf {
        let path = dir.join("getent");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn users_and_groups_are_found_in_the_files() {
        let dir = etc();
        let mut accounts = Accounts::new(dir.path(), None);
        let web = User { name: "web".into(), uid: 33, gid: 34, home: "/srv".into() };
        assert_eq!(accounts.user("web").unwrap(), web);
        assert_eq!(accounts.user_of(33).unwrap(), web);
        assert_eq!(accounts.user("last").unwrap().gid, 41);
        assert_eq!(accounts.group("media").unwrap(), 50);
        assert_eq!(accounts.groups_of(&web, 34).unwrap(), [34, 9, 50]);
        assert_eq!(accounts.groups_of(&web, 9).unwrap(), [9, 50]);
    }

    #[test]
    fn odd_names_and_broken_lines_are_nobody() {
        let dir = etc();
        let mut accounts = Accounts::new(dir.path(), None);
        for name in [
            "",
            "nobody-here",
            "+nis",
            "broken",
            "short",
            "odd",
            "# comment",
            "root ",
            "web:x",
            "0x0",
        ] {
            assert!(matches!(accounts.user(name), Err(LookupError::Unknown)), "{name:?}");
            assert!(matches!(accounts.group(name), Err(LookupError::Unknown)), "{name:?}");
        }
    }

    #[test]
    fn a_machine_without_account_files_knows_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let mut accounts = Accounts::new(dir.path(), None);
        assert!(matches!(accounts.user("root"), Err(LookupError::Unknown)));
        std::fs::create_dir(dir.path().join("group")).unwrap();
        assert!(matches!(accounts.group("root"), Err(LookupError::Failed { .. })));
    }

    #[test]
    fn a_directory_service_is_asked_for_names_that_the_files_do_not_know() {
        let _alone = crate::sys::test_fork_lock::exclusive();
        let dir = etc();
        let getent = script(
            dir.path(),
            r#"case "$2 $3" in
                "passwd far" | "passwd 900") echo far:x:900:901:Far:/home/far:/bin/sh ;;
                "group team") echo team:x:902:far ;;
                "initgroups far") echo "far                   902 903" ;;
                *) echo web:x:0:0:wrong:/:/bin/sh; exit 2 ;;
            esac"#,
        );
        let mut accounts = Accounts::new(dir.path(), Some(&getent));
        let far = accounts.user("far").unwrap();
        assert_eq!((far.uid, far.gid, far.home.as_str()), (900, 901, "/home/far"));
        assert_eq!(accounts.user_of(900).unwrap(), far);
        assert_eq!(accounts.group("team").unwrap(), 902);
        assert_eq!(accounts.groups_of(&far, 901).unwrap(), [901, 902, 903]);
        assert!(matches!(accounts.user("nobody"), Err(LookupError::Unknown)));
        assert_eq!(accounts.user("web").unwrap().uid, 33);
    }

    #[test]
    fn minus_one_is_never_an_identity() {
        assert_eq!(set_uid(u32::MAX).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(set_gid(u32::MAX).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert!(verify_uid(effective_uid().wrapping_add(1)).is_err());
        assert!(groups().is_ok());
        let _ = effective_gid();
    }
}
