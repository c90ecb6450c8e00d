//! What the emperor's own process becomes: mask, limits, user, directory, title.
//!
//! The order is uWSGI's as far as it can be seen: the mask first, then what may need privileges (log,
//! statistics, pid file, limits), then groups, group and user, then the directory. The keeper above stays who
//! it was: it ends what a set-user-ID program has made of a vassal, and removes the pid file.

use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::fchown;
use std::path::PathBuf;

use crate::config::{EmperorConfig, Located};
use crate::identity::{self, NewIdentity};
use crate::log::Log;
use crate::sys::creds::{self, Accounts, Identity};
use crate::sys::socket::SocketOwner;
use crate::sys::{limits, prctl, process, title};
use crate::types::advice;

use super::setup_error::{SetupError, cannot};

/// Sets the file creation mask, before the first file is made.
pub(super) fn set_mask(config: &EmperorConfig) {
    if let Some(mask) = config.own_process.umask {
        process::set_umask(mask);
    }
}

/// Sets the limit of descriptors, which vassals inherit.
pub(super) fn set_limits(config: &EmperorConfig) -> Result<(), SetupError> {
    let Some(limit) = &config.own_process.max_fd else { return Ok(()) };
    limits::set_descriptors(limit.value.into()).map_err(|error| {
        let doing = format!("set the limit of descriptors to {} ({limit})", limit.value);
        cannot(doing)(error).advised(|_| {
            "; start liege as root or with that limit (LimitNOFILE= of its service), and see the sysctl fs.nr_open"
                .to_owned()
        })
    })
}

/// Looks up who the emperor is to be, and whether it can be that.
pub(super) fn wanted(config: &EmperorConfig, log: &mut Log) -> Result<NewIdentity, SetupError> {
    let mut warnings = Vec::new();
    let found = identity::look_up(&config.own_process, &mut Accounts::default(), &mut warnings);
    let found = found.and_then(|wanted| {
        if creds::effective_uid() == 0 {
            return Ok(wanted);
        }
        let now = Identity::current().unwrap_or_default();
        identity::check_current_identity(&config.own_process, &wanted, &now)
            .map(|()| NewIdentity::default())
    });
    for warning in warnings {
        log.warning(format_args!("{warning}"));
    }
    found.map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        SetupError::said(lines.join("\nliege: "))
    })
}

/// The owner of the files and sockets of the emperor.
pub(super) fn owner(wanted: &NewIdentity) -> SocketOwner {
    SocketOwner { uid: wanted.uid, gid: wanted.gid }
}

/// Gives the log file to the user that the emperor becomes, as it could not be opened again otherwise.
pub(super) fn give_log(log: BorrowedFd<'_>, wanted: &NewIdentity) -> std::io::Result<()> {
    fchown(log, wanted.uid, wanted.gid)
}

/// Becomes the user of the configuration, for good.
pub(super) fn become_user(config: &EmperorConfig, wanted: &NewIdentity) -> Result<(), SetupError> {
    identity::drop_privileges(&config.own_process, wanted)
        .map_err(|refused| SetupError::said(refused.to_string()))?;
    if wanted.uid.is_some() {
        // Otherwise the files of our children in /proc would belong to root until their exec.
        let _ = prctl::set_dumpable(true);
    }
    Ok(())
}

/// The directory from which relative paths count.
///
/// # Errors
/// The directory is missing.
pub(super) fn directory(config: &EmperorConfig) -> Result<PathBuf, SetupError> {
    let here = std::env::current_dir().unwrap_or_default();
    let Some(chdir) = &config.own_process.chdir else { return Ok(here) };
    let path = here.join(&chdir.value);
    std::fs::metadata(&path).map_err(|error| not_entered(chdir, error))?;
    Ok(path)
}

/// Enters the directory of `chdir`, if the configuration has it.
pub(super) fn enter(config: &EmperorConfig) -> Result<(), SetupError> {
    let Some(chdir) = &config.own_process.chdir else { return Ok(()) };
    std::env::set_current_dir(&chdir.value).map_err(|error| not_entered(chdir, error))
}

fn not_entered(chdir: &Located<String>, error: std::io::Error) -> SetupError {
    let doing = format!("enter {} ({chdir})", chdir.show(&chdir.value));
    cannot(doing)(error).advised(|kind| advice::enter(kind).to_owned())
}

/// Sets the title of the process, if the configuration has one.
pub(super) fn set_title(config: &EmperorConfig, log: &mut Log) {
    if let Some(text) = &config.procname
        && let Err(error) = title::set(text)
    {
        log.warning(format_args!("cannot set the title of the process: {error}"));
    }
}

/// The process of the emperor as statistics show it.
#[derive(Clone, Debug)]
pub(super) struct OwnProcess {
    pub pid: u32,
    pub uid: u32,
    pub gid: u32,
    pub cwd: Vec<u8>,
}

impl OwnProcess {
    /// This process as it is now.
    pub fn current() -> Self {
        let cwd = std::env::current_dir().unwrap_or_default();
        Self {
            pid: std::process::id(),
            uid: creds::effective_uid(),
            gid: creds::effective_gid(),
            cwd: cwd.into_os_string().into_vec(),
        }
    }
}
