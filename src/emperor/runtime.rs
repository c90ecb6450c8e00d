//! The private directory of the notify sockets: only we make and remove something in it, and the user of a vassal
//! can reach the socket that belongs to it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::proto::notify;
use crate::sys::process::Pid;
use crate::sys::{creds, socket};

/// Left-over sockets that are looked at: those of an emperor that was killed, with so many vassals.
const MAX_LEFT: usize = 10_000;

/// The directory, where there is one.
#[derive(Debug, Default)]
pub(super) struct Runtime(Option<PathBuf>);

impl Runtime {
    /// The first that can be had: `/run/liege` for root, `liege` in the user's own runtime directory, or one for
    /// the user in the directory of temporary files.
    pub fn make(user_dir: Option<&Path>, temporary: Option<&Path>) -> Self {
        let uid = creds::effective_uid();
        let system = (uid == 0).then(|| PathBuf::from("/run/liege"));
        let of_user = user_dir.filter(|dir| dir.is_absolute()).map(|dir| dir.join("liege"));
        let temporary = temporary.filter(|dir| dir.is_absolute()).unwrap_or(Path::new("/tmp"));
        let last = temporary.join(format!("liege-{uid}"));
        let made = [system, of_user, Some(last)].into_iter().flatten().find(|dir| fits(dir, uid));
        if let Some(dir) = &made {
            remove_left(dir);
        }
        Self(made)
    }

    /// Where it is.
    pub fn path(&self) -> Option<&Path> {
        self.0.as_deref()
    }

    /// The process is reaped: its socket goes, if it has one.
    pub fn forget(&self, pid: Pid) {
        if let Some(dir) = &self.0 {
            let _ = fs::remove_file(dir.join(notify::name(std::process::id(), pid.get())));
        }
    }

    /// The end: what is left of ours goes.
    pub fn clear(&self) {
        if let Some(dir) = &self.0 {
            remove_left(dir);
        }
    }
}

/// Makes the directory if it is not there; whether it is one in which nobody else can change anything, and to
/// which everybody can go.
fn fits(dir: &Path, uid: u32) -> bool {
    let made = DirBuilder::new().mode(0o711).create(dir);
    if made.is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists) {
        return false;
    }
    fs::symlink_metadata(dir).is_ok_and(|meta| {
        let is_private = meta.uid() == uid && meta.mode() & 0o022 == 0;
        meta.is_dir() && is_private && meta.mode() & 0o711 == 0o711
    })
}

/// Removes sockets that nobody has any more.
fn remove_left(dir: &Path) {
    let Ok(listing) = fs::read_dir(dir) else { return };
    for entry in listing.flatten().take(MAX_LEFT) {
        let is_ours = entry.file_name().to_str().is_some_and(notify::is_name);
        if is_ours && socket::is_left_over_datagram(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_directory_that_others_can_change_or_that_is_none_does_not_fit() {
        let place = tempfile::tempdir().unwrap();
        let uid = creds::effective_uid();
        let dir = |name: &str| place.path().join(name);
        assert!(fits(&dir("new"), uid));
        assert!(fits(&dir("new"), uid), "it is there already");
        assert_eq!(fs::metadata(dir("new")).unwrap().mode() & 0o777 & 0o022, 0);
        assert!(!fits(&dir("new"), uid + 1), "of another user");
        fs::write(dir("file"), "").unwrap();
        assert!(!fits(&dir("file"), uid));
        symlink(dir("new"), dir("link")).unwrap();
        assert!(!fits(&dir("link"), uid));
        for mode in [0o777, 0o730, 0o700] {
            fs::set_permissions(dir("new"), fs::Permissions::from_mode(mode)).unwrap();
            assert!(!fits(&dir("new"), uid), "{mode:o}");
        }
        assert!(!fits(&dir("missing/new"), uid));
    }

    #[test]
    fn sockets_that_nobody_has_any_more_are_removed() {
        let _quiet = crate::sys::forks::none();
        let place = tempfile::tempdir().unwrap();
        let path = |pid| place.path().join(notify::name(7, pid));
        let kept = std::os::unix::net::UnixDatagram::bind(path(1)).unwrap();
        drop(std::os::unix::net::UnixDatagram::bind(path(2)).unwrap());
        drop(std::os::unix::net::UnixDatagram::bind(place.path().join("other")).unwrap());
        fs::write(path(3), "no socket").unwrap();
        remove_left(place.path());
        let there = |name: PathBuf| fs::symlink_metadata(name).is_ok();
        assert_eq!([path(1), path(2), path(3)].map(there), [true, false, true]);
        assert!(there(place.path().join("other")));
        drop(kept);
    }
}
