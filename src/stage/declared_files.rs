//! The files of a vassal that the emperor looks after: those that it removes at the end, and those whose change is
//! a reload.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::{Located, VassalConfig};
use crate::proto::status::{DeclaredFiles, FileMark, MAX_FILE_PATH, MAX_TOUCH};
use crate::spawn::step::Step;
use crate::sys::socket::Address;

use super::failure::Failure;
use super::sockets::Sockets;

/// Refuses what the emperor could not look after.
///
/// # Errors
/// More files than it watches, or a path that is too long.
pub fn check(config: &VassalConfig, cwd: &Path, warnings: &mut Vec<String>) -> Result<(), Failure> {
    if let Some(place) = config.touch_reload.get(MAX_TOUCH) {
        let message = format!(
            "at most {MAX_TOUCH} files are watched: let several deployments touch one file"
        );
        return Err(Failure::at(Step::Read, place, message));
    }
    let too_long = |path: &Path| cwd.join(path).as_os_str().as_bytes().len() > MAX_FILE_PATH;
    let long = |place: &&Located<String>| too_long(Path::new(&place.value));
    let vacuumed = config.pidfile.iter().filter(|_| config.vacuum);
    if let Some(place) = config.touch_reload.iter().chain(vacuumed).find(long) {
        let message =
            format!("the whole path is longer than {MAX_FILE_PATH} bytes: choose a shorter one");
        return Err(Failure::at(Step::Read, place, message));
    }
    for place in config.touch_reload.iter().filter(|place| is_lost(place, cwd)) {
        let shown = place.show("");
        let message = format!("{shown} cannot be watched; its directory must be there");
        warnings.push(place.fault(message).to_string());
    }
    Ok(())
}

/// Whether the emperor would say that it cannot watch a file, by a name that is not to be said.
fn is_lost(place: &Located<String>, cwd: &Path) -> bool {
    place.hidden && !cwd.join(&place.value).parent().is_some_and(Path::is_dir)
}

/// The files, as they are now that all is made; `None` where the vassal file asks for nothing of the kind.
pub fn files(config: &VassalConfig, sockets: &Sockets, cwd: &Path) -> Option<DeclaredFiles> {
    let touch = config.touch_reload.iter().filter(|place| !is_lost(place, cwd));
    let touch = touch.map(|place| cwd.join(&place.value).into_os_string());
    let mut files = DeclaredFiles { vacuum: Vec::new(), touch: touch.collect() };
    if config.vacuum {
        let paths = sockets.bound().filter_map(|address| match address {
            Address::Path(path) => Some(cwd.join(path)),
            Address::Tcp(_) | Address::Abstract(_) => None,
        });
        let pid = config.pidfile.iter().map(|place| cwd.join(&place.value));
        files.vacuum = paths.chain(pid).filter_map(mark).collect();
    }
    (files != DeclaredFiles::default()).then_some(files)
}

/// A link is not ours: it was there before.
fn mark(path: PathBuf) -> Option<FileMark> {
    let meta = fs::symlink_metadata(&path).ok().filter(|meta| !meta.is_symlink())?;
    let modified = FileMark::time((meta.mtime(), meta.mtime_nsec()));
    Some(FileMark { path: path.into_os_string(), dev: meta.dev(), ino: meta.ino(), modified })
}
