//! The private directory of the notify sockets: only we make and remove something in it, and the user of a vassal
//! can reach the socket that belongs to it.

use std::fs::{self, DirBuilder};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::log::{Log, escaped};
use crate::proto::notify;
use crate::sys::process::Pid;
use crate::sys::{creds, socket};

use super::process_context::ProcessContext;

/// Every user may reach a socket in it by name; only we may list it.
const DIR_MODE: u32 = 0o711;
/// Most left-over sockets that are examined, which an emperor that was killed has left.
const MAX_LEFT_OVER_SOCKETS: usize = 10_000;

/// The consequence of a missing directory, for the log.
const NO_DIRECTORY: &str = "those of the vassals have abstract names, which every user can reach; make \
     /run/liege, or set XDG_RUNTIME_DIR";

/// The directory, where there is one.
#[derive(Debug, Default)]
pub(super) struct RuntimeDir(Option<PrivateDir>);

/// A directory that was created here, or that existed before.
#[derive(Debug, PartialEq, Eq)]
struct PrivateDir {
    path: PathBuf,
    /// We have created it, so it is removed at the end if it is empty.
    is_ours: bool,
}

impl RuntimeDir {
    /// The directory for this process; there is none where no stage offers notify sockets.
    pub fn open(process: &ProcessContext, has_stage: bool, log: &mut Log) -> Self {
        if !has_stage {
            return Self::default();
        }
        let path = |name| process.variable(name).map(Path::new);
        let found = Self::make(path("XDG_RUNTIME_DIR"), path("TMPDIR"));
        if found.path().is_none() {
            log.warning(format_args!(
                "cannot make a private directory for notify sockets: {NO_DIRECTORY}"
            ));
        }
        found
    }

    /// The first that can be used: `/run/liege` for root, `liege` in the runtime directory of the user, or one for the
    /// user in the directory of temporary files, where another user may have taken the name.
    fn make(user_dir: Option<&Path>, temporary: Option<&Path>) -> Self {
        let uid = creds::effective_uid();
        let system = (uid == 0).then(|| PathBuf::from("/run/liege"));
        let of_user = user_dir.filter(|dir| dir.is_absolute()).map(|dir| dir.join("liege"));
        let temporary = temporary.filter(|dir| dir.is_absolute()).unwrap_or(Path::new("/tmp"));
        let mut given = [system, of_user].into_iter().flatten();
        let place = given
            .find_map(|dir| private_dir(&dir, uid))
            .or_else(|| in_temporary_dir(temporary, uid));
        if let Some(place) = &place {
            remove_left_over_sockets(&place.path);
        }
        Self(place)
    }

    pub fn path(&self) -> Option<&Path> {
        self.0.as_ref().map(|place| place.path.as_path())
    }

    /// Creates it again if it was removed, by another unit that owns the directory or by a cleaner of `/tmp`.
    ///
    /// # Errors
    /// What is there now cannot be used, or the directory cannot be created; it is not used any more.
    fn renew(&mut self) -> Result<(), PathBuf> {
        let Some(place) = &mut self.0 else { return Ok(()) };
        if fs::symlink_metadata(&place.path).is_ok() {
            return Ok(());
        }
        match private_dir(&place.path, creds::effective_uid()) {
            Some(again) => {
                place.is_ours |= again.is_ours;
                Ok(())
            }
            None => self.0.take().map_or(Ok(()), |place| Err(place.path)),
        }
    }

    /// The process is reaped: removes its socket, if it has one.
    pub fn forget(&self, pid: Pid) {
        if let Some(dir) = self.path() {
            let _ = fs::remove_file(dir.join(notify::name(std::process::id(), pid.get())));
        }
    }

    /// The end of the emperor: removes the sockets and the directory. Another emperor of this user creates it again.
    pub fn clear(&self) {
        if let Some(place) = &self.0 {
            remove_left_over_sockets(&place.path);
            if place.is_ours {
                let _ = fs::remove_dir(&place.path);
            }
        }
    }

    /// Calls [`RuntimeDir::renew`] before a start that may need the directory, and logs a failure.
    pub fn renew_or_warn(&mut self, log: &mut Log) {
        if let Err(path) = self.renew() {
            let path = escaped(path.as_os_str().as_bytes());
            log.warning(format_args!(
                "the directory of notify sockets, {path}, is gone and cannot be made again: {NO_DIRECTORY}"
            ));
        }
    }
}

/// A directory for this user in that of temporary files, where every user can create files: if the usual name is
/// taken by another user, it gets a name that cannot be guessed.
fn in_temporary_dir(temporary: &Path, uid: u32) -> Option<PrivateDir> {
    let usual = temporary.join(format!("liege-{uid}"));
    let chance = || RandomState::new().build_hasher().finish();
    let rare = || temporary.join(format!("liege-{uid}-{:016x}", chance()));
    let place = private_dir(&usual, uid).or_else(|| private_dir(&rare(), uid))?;
    // A service manager does not create this one.
    Some(PrivateDir { is_ours: true, ..place })
}

/// Creates the directory if it is missing. Gives it if no other user can change anything in it and every user can
/// reach it; a mode without that right, which a umask has left, is corrected.
fn private_dir(dir: &Path, uid: u32) -> Option<PrivateDir> {
    let made = DirBuilder::new().mode(DIR_MODE).create(dir);
    let is_ours = made.is_ok();
    if made.is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists) {
        return None;
    }
    let meta = fs::symlink_metadata(dir).ok()?;
    let mode = meta.mode() & 0o7777;
    if !meta.is_dir() || meta.uid() != uid || mode & 0o022 != 0 {
        return None;
    }
    if mode & DIR_MODE != DIR_MODE {
        // Another user cannot have replaced it: it is ours, and its parent is ours too, or is sticky.
        fs::set_permissions(dir, fs::Permissions::from_mode(mode | DIR_MODE)).ok()?;
    }
    Some(PrivateDir { path: dir.to_owned(), is_ours })
}

/// Removes sockets that no process has open any more.
fn remove_left_over_sockets(dir: &Path) {
    let Ok(listing) = fs::read_dir(dir) else { return };
    for entry in listing.flatten().take(MAX_LEFT_OVER_SOCKETS) {
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

    fn mode(dir: &Path) -> u32 {
        fs::metadata(dir).unwrap().mode() & 0o777
    }

    fn set_mode(dir: &Path, mode: u32) {
        fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_directory_that_others_can_change_or_that_is_none_does_not_fit() {
        let place = tempfile::tempdir().unwrap();
        let uid = creds::effective_uid();
        let dir = |name: &str| place.path().join(name);
        assert!(private_dir(&dir("new"), uid).unwrap().is_ours);
        assert!(!private_dir(&dir("new"), uid).unwrap().is_ours, "it is there already");
        assert_eq!(private_dir(&dir("new"), uid + 1), None, "of another user");
        fs::write(dir("file"), "").unwrap();
        assert_eq!(private_dir(&dir("file"), uid), None);
        symlink(dir("new"), dir("link")).unwrap();
        assert_eq!(private_dir(&dir("link"), uid), None);
        for bad in [0o777, 0o730] {
            set_mode(&dir("new"), bad);
            assert_eq!(private_dir(&dir("new"), uid), None, "{bad:o}");
        }
        assert_eq!(private_dir(&dir("missing/new"), uid), None);
    }

    #[test]
    fn a_mode_that_a_umask_has_left_is_mended() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("old");
        fs::create_dir(&dir).unwrap();
        for (bad, good) in [(0o700, 0o711), (0o710, 0o711), (0o750, 0o751), (0o711, 0o711)] {
            set_mode(&dir, bad);
            assert!(private_dir(&dir, creds::effective_uid()).is_some(), "{bad:o}");
            assert_eq!(mode(&dir), good);
        }
    }

    #[test]
    fn a_name_that_somebody_else_has_taken_is_not_the_last_one() {
        let place = tempfile::tempdir().unwrap();
        let uid = creds::effective_uid();
        fs::write(place.path().join(format!("liege-{uid}")), "taken").unwrap();
        let first = in_temporary_dir(place.path(), uid).unwrap();
        assert_eq!(mode(&first.path), DIR_MODE);
        assert_ne!(in_temporary_dir(place.path(), uid).unwrap().path, first.path);
    }

    #[test]
    fn what_was_removed_is_made_again_and_goes_at_the_end_if_it_is_ours_and_empty() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("dir");
        fs::create_dir(&path).unwrap();
        let mut runtime = RuntimeDir(private_dir(&path, creds::effective_uid()));
        runtime.clear();
        assert!(path.exists(), "somebody has made it for us");
        fs::remove_dir(&path).unwrap();
        runtime.renew().unwrap();
        assert_eq!(mode(&path), DIR_MODE);
        fs::write(path.join("other"), "").unwrap();
        runtime.clear();
        assert!(path.join("other").exists());
        fs::remove_file(path.join("other")).unwrap();
        runtime.clear();
        assert!(!path.exists());
        fs::remove_dir(place.path()).unwrap();
        assert_eq!(runtime.renew(), Err(path));
        assert_eq!(runtime.path(), None);
    }

    #[test]
    fn sockets_that_nobody_has_any_more_are_removed() {
        let _quiet = crate::sys::test_fork_lock::none();
        let place = tempfile::tempdir().unwrap();
        let path = |pid| place.path().join(notify::name(7, pid));
        let kept = std::os::unix::net::UnixDatagram::bind(path(1)).unwrap();
        drop(std::os::unix::net::UnixDatagram::bind(path(2)).unwrap());
        drop(std::os::unix::net::UnixDatagram::bind(place.path().join("other")).unwrap());
        fs::write(path(3), "no socket").unwrap();
        remove_left_over_sockets(place.path());
        let there = |name: PathBuf| fs::symlink_metadata(name).is_ok();
        assert_eq!([path(1), path(2), path(3)].map(there), [true, false, true]);
        assert!(there(place.path().join("other")));
        drop(kept);
    }
}
