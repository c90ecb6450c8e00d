//! Small changes on the way to the program: umask, log file, pid file, working directory.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::config::{Located, VassalConfig};
use crate::identity::NewIdentity;
use crate::spawn::step::Step;
use crate::sys::{dir, fd, limits, process, write};
use crate::types::advice;

use super::failure::Failure;

/// Sets the file creation mask.
pub fn umask(config: &VassalConfig) {
    if let Some(mask) = config.umask {
        process::set_umask(mask);
    }
}

/// Whether uWSGI takes the name of a log for `host:port`, to which it sends datagrams.
pub fn is_remote(log: &str) -> bool {
    log.contains(':') && !log.contains('/')
}

/// Makes the log file the program's stdout and stderr; appends, and makes it 0640, and the program's user's, if it
/// is not there. One of our descriptors is taken as it is.
///
/// # Errors
/// It cannot be opened: a FIFO without a reader is an error too, and nothing to wait for.
pub fn log(config: &VassalConfig, wanted: &NewIdentity, of_emperor: bool) -> Result<(), Failure> {
    let Some(place) = &config.logto else { return Ok(()) };
    let place_it = |file: BorrowedFd<'_>| {
        fd::set_stdio(1, file)?;
        fd::set_stdio(2, file)
    };
    let path = Path::new(&place.value);
    let placed = match own_descriptor(place, of_emperor)? {
        Some(number) => fd::inherited(number).and_then(|file| place_it(file.as_fd())),
        None => write::open_log_of(path, wanted.uid, wanted.gid).and_then(|file| {
            fd::clear_nonblocking(file.as_fd())?;
            if config.logfile_chown {
                std::os::unix::fs::fchown(&file, wanted.uid, wanted.gid)?;
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
pub fn pid(config: &VassalConfig) -> Result<(), Failure> {
    let Some(place) = &config.pidfile else { return Ok(()) };
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

/// Looks at all that a start would write to.
///
/// # Errors
/// The first that could not be written.
pub fn try_all(config: &VassalConfig, of_emperor: bool) -> Result<(), Failure> {
    if let Some(place) = &config.logto {
        own_descriptor(place, of_emperor)?;
    }
    let all = [(Step::Log, &config.logto), (Step::Pidfile, &config.pidfile)];
    for (step, place) in all.into_iter().filter_map(|(step, place)| Some((step, place.as_ref()?))) {
        may_open(place.value.as_ref()).map_err(|error| failure(step, place, &error))?;
    }
    Ok(())
}

/// Sets the limits of the program.
///
/// # Errors
/// A limit is higher than this process may set.
pub fn limits(config: &VassalConfig) -> Result<(), Failure> {
    if let Some(place) = &config.max_fd {
        limits::set_descriptors(place.value.into()).map_err(|error| limit(place, &error))?;
    }
    if let Some(place) = &config.limit_as {
        limits::set_address_space(place.value).map_err(|error| limit(place, &error))?;
    }
    Ok(())
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
pub fn chdir(config: &VassalConfig) -> Result<(), Failure> {
    let Some(place) = &config.chdir else { return Ok(()) };
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
