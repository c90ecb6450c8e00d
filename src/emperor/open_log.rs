//! The log of the emperor: where it is written, and that standard output and error follow it.

use std::io;
use std::os::fd::{AsFd, RawFd};
use std::path::Path;

use crate::config::emperor::EmperorConfig;
use crate::log::Log;
use crate::sys::{fd, write};
use crate::types::advice;

use super::process_context::{ProcessContext, absolute};
use super::setup_error::{SetupError, at, cannot};

/// Opens the log: a file if there is one, else standard error.
///
/// # Errors
/// If the file cannot be opened.
pub(super) fn open(config: &EmperorConfig, process: &ProcessContext) -> Result<Log, SetupError> {
    let mut log = open_any_log(config, process)?;
    log.set_threshold(config.log_level);
    Ok(log)
}

fn open_any_log(config: &EmperorConfig, process: &ProcessContext) -> Result<Log, SetupError> {
    match &config.logto {
        Some(path) => {
            if let Some(number) = write::descriptor_named(Path::new(&path.value)) {
                return stream_log(number, process)
                    .map_err(cannot(format!("write to {}", at(path))));
            }
            let absolute = absolute(Path::new(&path.value));
            Log::file(&absolute).map_err(|error| {
                cannot(format!("open the log {}", at(path)))(error)
                    .advised(|kind| advice::write(kind, path.advised(&absolute)))
            })
        }
        None => {
            let journal = process.variable("JOURNAL_STREAM");
            Ok(Log::shared(io::stderr().as_fd(), journal))
        }
    }
}

/// The log on an inherited descriptor, which also becomes standard output and error of the vassals.
fn stream_log(number: RawFd, process: &ProcessContext) -> io::Result<Log> {
    let stream = fd::inherited(number)?;
    for own in [1, 2] {
        fd::set_stdio(own, stream.as_fd())?;
    }
    Ok(Log::shared(io::stderr().as_fd(), process.variable("JOURNAL_STREAM")))
}

/// Vassals write where the emperor does: with a log file, standard output and error are that file.
pub(super) fn redirect_stdio_to_log(log: &Log) {
    if let Some(output) = log.vassal_output() {
        for stream in [1, 2] {
            // It cannot fail for a descriptor that is open.
            let _ = fd::set_stdio(stream, output);
        }
    }
}
