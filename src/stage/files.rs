//! Small changes on the way to the program: log file, pid file, limits, working directory.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::config::Located;
use crate::identity::NewIdentity;
use crate::spawn::step::Step;
use crate::sys::{dir, fd, limits, write};
use crate::types::advice;

use super::failure::Failure;

/// Whether uWSGI takes the name of a log for `host:port`, to which it sends datagrams.
pub fn is_remote(log: &str) -> bool {
    log.contains(':') && !log.contains('/')
}

/// Makes the log file the program's stdout and stderr; appends, and makes it 0640, and the program's user's, if it
/// is not there. One of our descriptors is taken as it is.
///
/// # Errors
/// It cannot be opened: a FIFO without a reader is an error too, and nothing to wait for.
pub fn log(
    place: &Located<String>,
    is_given_away: bool,
    identity: &NewIdentity,
    of_emperor: bool,
) -> Result<(), Failure> {
    let place_it = |file: BorrowedFd<'_>| {
        fd::set_stdio(1, file)?;
        fd::set_stdio(2, file)
    };
    let path = Path::new(&place.value);
    let placed = match own_descriptor(place, of_emperor)? {
        Some(number) => fd::inherited(number).and_then(|file| place_it(file.as_fd())),
        None => write::open_log_of(path, identity.uid, identity.gid).and_then(|file| {
            fd::clear_nonblocking(file.as_fd())?;
            if is_given_away {
                std::os::unix::fs::fchown(&file, identity.uid, identity.gid)?;
            }
            place_it(file.as_fd())
        }),
    };
    placed.map_err(|error| failure(Step::Log, place, &error))
}

/// The descriptor that the name of a log means.
fn own_descriptor(place: &Located<String>, of_emperor: bool) -> Result<Option<RawFd>, Failure> {
    let number = write::descriptor_named(place.value.as_ref());
    // Above the standard streams there are only our lines to the emperor.
    if of_emperor && number.is_some_and(|number| number > 2) {
        let message = format!("{} is not open: a vassal has the descriptors 1 and 2", place.value);
        return Err(Failure::at(Step::Log, place, message));
    }
    Ok(number)
}

/// Writes the pid, which stays the same over the exec.
///
/// # Errors
/// It cannot be written.
pub fn pid(place: &Located<String>) -> Result<(), Failure> {
    let mut how = OpenOptions::new();
    how.write(true).create(true).truncate(true).mode(0o644).custom_flags(fd::OPEN_AT_ONCE);
    let written =
        how.open(&place.value).and_then(|mut file| writeln!(file, "{}", std::process::id()));
    written.map_err(|error| failure(Step::Pidfile, place, &error))
}

/// Looks whether a start could open a file for writing, and make it if it is not there. Nothing is opened: the
/// reader of a FIFO would see its end.
///
/// # Errors
/// Why not.
pub fn may_open(path: &Path) -> io::Result<()> {
    // A descriptor of the process, or a device.
    if path.starts_with("/dev") || path.starts_with("/proc") {
        return Ok(());
    }
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => dir::may_write(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => dir::may_make(path),
        Err(error) => Err(error),
    }
}

/// Looks whether the log could be opened.
///
/// # Errors
/// It could not.
pub fn try_log(place: &Located<String>, of_emperor: bool) -> Result<(), Failure> {
    own_descriptor(place, of_emperor)?;
    may_open(place.value.as_ref()).map_err(|error| failure(Step::Log, place, &error))
}

/// Looks whether the pid file could be written.
///
/// # Errors
/// It could not.
pub fn try_pid(place: &Located<String>) -> Result<(), Failure> {
    may_open(place.value.as_ref()).map_err(|error| failure(Step::Pidfile, place, &error))
}

/// Limits the descriptors of the program.
///
/// # Errors
/// The limit is higher than this process may set.
pub fn limit_descriptors(place: &Located<u32>) -> Result<(), Failure> {
    limits::set_descriptors(place.value.into()).map_err(|error| limit(place, &error))
}

/// Limits the address space of the program.
///
/// # Errors
/// The limit is higher than this process may set.
pub fn limit_address_space(place: &Located<u64>) -> Result<(), Failure> {
    limits::set_address_space(place.value).map_err(|error| limit(place, &error))
}

fn limit<T>(place: &Located<T>, error: &io::Error) -> Failure {
    let message = format!(
        "cannot set this limit: {error}; only root may raise what liege was started with, and fs.nr_open is the \
         most for descriptors"
    );
    Failure::at(Step::Limits, place, message)
}

/// Enters the program's directory, as the user it has become.
///
/// # Errors
/// It is not there, or that user may not enter.
pub fn chdir(place: &Located<String>) -> Result<(), Failure> {
    std::env::set_current_dir(&place.value).map_err(|error| {
        let advice = advice::enter(error.kind());
        let message = format!("cannot enter {}: {error}{advice}", place.show(&place.value));
        Failure::at(Step::Chdir, place, message)
    })
}

fn failure(step: Step, place: &Located<String>, error: &io::Error) -> Failure {
    let advice = advice::write(error.kind(), place.advised(place.value.as_ref()));
    Failure::at(step, place, format!("cannot write {}: {error}{advice}", place.show(&place.value)))
}
