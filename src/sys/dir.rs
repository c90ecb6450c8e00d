//! Directories and what is in them, by descriptor: nothing is resolved twice, nothing depends on the
//! working directory, nothing opened here can block on a FIFO or a device.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode};

use super::call;

/// What kind of object a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A named pipe.
    Fifo,
    /// A unix socket.
    Socket,
    /// A character or block device.
    Device,
}

/// What stat(2) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The kind of object.
    pub kind: FileKind,
    /// The device of its file system.
    pub dev: u64,
    /// Its number there.
    pub ino: u64,
    /// How many names it has.
    pub links: u64,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its length in bytes.
    pub size: u64,
    /// When its content was last changed: seconds, nanoseconds.
    pub mtime: (i64, u32),
}

/// Whether a link stands for its target or for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// For its target.
    Follow,
    /// For itself.
    Stay,
}

impl Stat {
    #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, reason = "types differ by machine")]
    fn from(raw: &FileStat) -> Self {
        let kind = match raw.st_mode & libc::S_IFMT {
            libc::S_IFREG => FileKind::File,
            libc::S_IFDIR => FileKind::Directory,
            libc::S_IFLNK => FileKind::Link,
            libc::S_IFIFO => FileKind::Fifo,
            libc::S_IFSOCK => FileKind::Socket,
            _ => FileKind::Device,
        };
        Self {
            kind,
            dev: raw.st_dev as u64,
            ino: raw.st_ino as u64,
            links: raw.st_nlink as u64,
            uid: raw.st_uid,
            gid: raw.st_gid,
            size: raw.st_size as u64,
            mtime: (raw.st_mtime as i64, raw.st_mtime_nsec as u32),
        }
    }

    /// Device and number: which object this is, as long as it exists.
    pub fn inode(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }
}

/// Whether an error is an answer: there is no such thing, for sure.
pub fn is_not_found(error: &io::Error) -> bool {
    let nowhere = [libc::ENOENT, libc::ENOTDIR, libc::ELOOP, libc::ENAMETOOLONG];
    error.raw_os_error().is_some_and(|errno| nowhere.contains(&errno))
}

/// Opens a directory for reading, following links.
///
/// # Errors
/// `ENOENT`, `ENOTDIR`, `EACCES`, `ELOOP`, `EMFILE` and the rest of open(2).
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    open_at(AT_FDCWD, path.as_os_str(), OFlag::O_RDONLY | OFlag::O_DIRECTORY)
}

/// Opens a directory that is held by an `O_PATH` descriptor, for reading.
///
/// # Errors
/// `EACCES` if it cannot be read, `EMFILE`.
pub fn open_again(directory: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    open_at(directory, OsStr::new("."), OFlag::O_RDONLY | OFlag::O_DIRECTORY)
}

/// Takes hold of the root directory without opening it.
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub fn root() -> io::Result<OwnedFd> {
    open_path_at(AT_FDCWD, OsStr::new("/"))
}

/// Takes hold of one name in a directory without opening what it stands for (`O_PATH`); a link is
/// not followed.
///
/// # Errors
/// Those of [`open`].
pub fn open_path_at(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    open_at(directory, name, OFlag::O_PATH | OFlag::O_NOFOLLOW)
}

/// Opens what should be a regular file, without ever waiting for it.
///
/// # Errors
/// Those of [`open`]; `ENXIO` for a socket.
pub fn open_file(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    open_at(directory, name, flags).map(File::from)
}

fn open_at(from: impl AsFd, name: &OsStr, flags: OFlag) -> io::Result<OwnedFd> {
    call(|| nix::fcntl::openat(from.as_fd(), name, flags | OFlag::O_CLOEXEC, Mode::empty()))
}

/// Asks for the state of one name.
///
/// # Errors
/// `ENOENT` if there is no such name or the link leads nowhere, `ELOOP`, `ENOTDIR`, `EACCES`.
pub fn stat_at(directory: BorrowedFd<'_>, name: &OsStr, links: Links) -> io::Result<Stat> {
    let flags = match links {
        Links::Follow => AtFlags::empty(),
        Links::Stay => AtFlags::AT_SYMLINK_NOFOLLOW,
    };
    call(|| nix::sys::stat::fstatat(directory, name, flags)).map(|raw| Stat::from(&raw))
}

/// Asks for the state of an absolute path, following links.
///
/// # Errors
/// Those of [`stat_at`].
pub fn stat_path(path: &Path) -> io::Result<Stat> {
    stat_at(AT_FDCWD, path.as_os_str(), Links::Follow)
}

/// Asks for the state of an open object.
///
/// # Errors
/// `EIO` at most; `ESTALE` on a network.
pub fn stat(object: BorrowedFd<'_>) -> io::Result<Stat> {
    call(|| nix::sys::stat::fstat(object)).map(|raw| Stat::from(&raw))
}

/// The text of a link; an empty name stands for a link that is held by `directory` itself.
///
/// # Errors
/// `EINVAL` if it is no link, and those of [`stat_at`].
pub fn link_text(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<OsString> {
    call(|| nix::fcntl::readlinkat(directory, name))
}

/// The names in a directory that `keep` accepts, in no order; without `.` and `..`.
///
/// # Errors
/// `EMFILE`, `ENOMEM`, `EACCES`, `EIO`: then nothing is known, not even that a name is missing.
pub fn names(
    directory: BorrowedFd<'_>,
    keep: impl Fn(&OsStr) -> bool,
) -> io::Result<Vec<OsString>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = call(|| nix::dir::Dir::openat(directory, ".", flags, Mode::empty()))?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        let entry = entry.map_err(io::Error::from)?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." && keep(name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Looks whether this process may write to a file, or make files in a directory.
///
/// # Errors
/// As faccessat(2): `EACCES`, `EROFS`, `ENOENT`.
pub fn may_write(path: &Path) -> io::Result<()> {
    use nix::unistd::{AccessFlags, faccessat};
    let mut how = AccessFlags::W_OK;
    how.set(AccessFlags::X_OK, path.is_dir());
    call(|| faccessat(AT_FDCWD, path, how, AtFlags::AT_EACCESS))
}

/// Looks whether a file can be made under this name, as far as its directory tells.
///
/// # Errors
/// As stat(2) and faccessat(2) of the directory; `ENOTDIR` if it is none.
pub fn may_make(path: &Path) -> io::Result<()> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    let above = above.unwrap_or(Path::new(if path.is_absolute() { "/" } else { "." }));
    match std::fs::metadata(above)?.is_dir() {
        true => may_write(above),
        false => Err(io::ErrorKind::NotADirectory.into()),
    }
}

/// Removes the file of a directory, not a directory, if it is still the one that is meant. Tells whether it was.
///
/// # Errors
/// As unlinkat(2); `ENOENT` if there is none.
pub fn remove_if(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    is_meant: impl FnOnce(&Stat) -> bool,
) -> io::Result<bool> {
    if !is_meant(&stat_at(directory, name, Links::Stay)?) {
        return Ok(false);
    }
    let flags = nix::unistd::UnlinkatFlags::NoRemoveDir;
    call(|| nix::unistd::unlinkat(directory, name, flags)).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn every_kind_of_object_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::write(at.join("file"), "12345").unwrap();
        fs::create_dir(at.join("directory")).unwrap();
        symlink("file", at.join("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at.join("socket")).unwrap();
        nix::sys::stat::mknodat(
            open(at).unwrap(),
            "fifo",
            nix::sys::stat::SFlag::S_IFIFO,
            Mode::S_IRUSR,
            0,
        )
        .unwrap();
        let above = open(at).unwrap();
        let kind =
            |name: &str, links| stat_at(above.as_fd(), OsStr::new(name), links).unwrap().kind;
        assert_eq!(kind("file", Links::Stay), FileKind::File);
        assert_eq!(kind("directory", Links::Stay), FileKind::Directory);
        assert_eq!(kind("link", Links::Stay), FileKind::Link);
        assert_eq!(kind("link", Links::Follow), FileKind::File);
        assert_eq!(kind("socket", Links::Stay), FileKind::Socket);
        assert_eq!(kind("fifo", Links::Stay), FileKind::Fifo);
        assert_eq!(stat_path(Path::new("/dev/null")).unwrap().kind, FileKind::Device);
        assert_eq!(
            open_file(above.as_fd(), OsStr::new("fifo")).unwrap().metadata().unwrap().len(),
            0
        );
    }

    #[test]
    fn the_state_is_that_of_the_standard_library() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "12345").unwrap();
        let ours = stat_path(&folder.path().join("file")).unwrap();
        let theirs = fs::metadata(folder.path().join("file")).unwrap();
        assert_eq!(ours.inode(), (theirs.dev(), theirs.ino()));
        assert_eq!((ours.size, ours.links), (5, 1));
        assert_eq!(ours.mtime, (theirs.mtime(), theirs.mtime_nsec() as u32));
        assert_eq!((ours.uid, ours.gid), (theirs.uid(), theirs.gid()));
    }

    #[test]
    fn a_link_is_read_by_name_and_by_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        symlink("over/there", folder.path().join("link")).unwrap();
        let above = open(folder.path()).unwrap();
        assert_eq!(link_text(above.as_fd(), OsStr::new("link")).unwrap(), "over/there");
        let held = open_path_at(above.as_fd(), OsStr::new("link")).unwrap();
        assert_eq!(link_text(held.as_fd(), OsStr::new("")).unwrap(), "over/there");
        assert_eq!(stat(held.as_fd()).unwrap().kind, FileKind::Link);
    }

    #[test]
    fn a_directory_is_listed_as_often_as_wanted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "skip"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let above = open(folder.path()).unwrap();
        for _ in 0..2 {
            let mut seen = names(above.as_fd(), |name| name != "skip").unwrap();
            seen.sort();
            assert_eq!(seen, ["a", "b"]);
        }
    }
}
