//! The process of a stage as it was started, and what its configuration may know of it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::process::parent_id;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::config::Invocation;
use crate::proto::emperor;
use crate::spawn::step::Step;
use crate::sys::signal::SignalMask;
use crate::sys::{command, creds, fd, signal};
use crate::types::environment::Variable;

use super::failure::Failure;

/// How long the first byte of a configuration that is read from a descriptor may take.
const READ_TIMEOUT: Duration = Duration::from_secs(8);

/// The process as it was started.
pub(super) struct StageInput {
    /// Without the program's name.
    pub args: Vec<OsString>,
    pub env: Vec<Variable>,
    pub cwd: PathBuf,
    pub parent: u32,
    /// The emperor pipe.
    pub emperor: Option<OwnedFd>,
}

impl StageInput {
    /// Takes it over: signals and descriptors are then as a program expects them.
    ///
    /// # Errors
    /// The kernel refuses; the working directory is gone.
    pub fn take(args: Vec<OsString>, env: Vec<Variable>) -> Result<Self, Failure> {
        let parent = parent_id();
        signal::set_all_default();
        let unblocked = signal::set_mask(SignalMask::NONE);
        unblocked
            .map_err(|error| Failure::new(Step::Signals, format!("cannot unblock: {error}")))?;
        fd::cloexec_from(3).map_err(|error| {
            let message = format!("cannot close inherited descriptors at exec: {error}");
            Failure::new(Step::Fds, message)
        })?;
        let pipe = env.iter().find(|(name, _)| name == emperor::PIPE_FD_VARIABLE);
        let pipe = pipe.and_then(|(_, text)| text.to_str()?.parse().ok());
        // One that is not open is as good as none: the program must not take another file for it.
        let emperor = pipe.and_then(|number: RawFd| fd::inherited(number).ok());
        let cwd = std::env::current_dir().map_err(|error| {
            Failure::new(
                Step::Cwd,
                format!("the working directory is gone or cannot be named: {error}"),
            )
        })?;
        Ok(Self { args, env, cwd, parent, emperor })
    }

    /// What the configuration may know.
    pub fn invocation(&self) -> Invocation {
        Invocation {
            uid: creds::effective_uid(),
            gid: creds::effective_gid(),
            now: SystemTime::now(),
            run: command::output,
            descriptor: readable,
            ..Invocation::new(self.args.clone(), self.env.clone(), self.cwd.clone())
        }
    }
}

/// A descriptor to read a configuration from, which must not keep the start waiting.
fn readable(number: RawFd) -> io::Result<File> {
    let file = File::from(fd::inherited(number)?);
    if file.is_terminal() {
        return Err(io::Error::other("it is a terminal; name a file"));
    }
    if fd::wait_readable([file.as_fd()], Some(READ_TIMEOUT))? == [false] {
        return Err(io::Error::other("nothing came from it within 8 s; name a file"));
    }
    Ok(file)
}
