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

/// What a child of the spawner was given of this.
pub(super) struct Given {
    pub args: Vec<OsString>,
    pub env: Vec<Variable>,
    pub parent: u32,
    pub pipe: OwnedFd,
}

/// The process as it was started.
pub(super) struct StageInput {
    /// Without the program's name.
    pub args: Vec<OsString>,
    pub env: Vec<Variable>,
    pub cwd: PathBuf,
    pub parent: u32,
    /// Whether files may have been left open for it.
    inherits_files: bool,
    /// The emperor pipe.
    pub emperor: Option<OwnedFd>,
}

impl StageInput {
    /// Takes over a process that was executed as liege: signals and descriptors are then as a program expects them.
    ///
    /// # Errors
    /// The kernel refuses; the working directory is gone.
    pub fn of_image(args: Vec<OsString>, env: Vec<Variable>) -> Result<Self, Failure> {
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
        Ok(Self { args, env, cwd: working_directory()?, parent, inherits_files: true, emperor })
    }

    /// Takes over a child of the spawner, which has prepared all this.
    ///
    /// # Errors
    /// The working directory is gone.
    pub fn of_fork(given: Given) -> Result<Self, Failure> {
        let Given { args, env, parent, pipe } = given;
        let (cwd, emperor) = (working_directory()?, Some(pipe));
        Ok(Self { args, env, cwd, parent, inherits_files: false, emperor })
    }

    /// What the configuration may know.
    pub fn invocation(&self) -> Invocation {
        Invocation {
            uid: creds::effective_uid(),
            gid: creds::effective_gid(),
            now: SystemTime::now(),
            run: command::output,
            descriptor: readable,
            inherits_files: self.inherits_files,
            ..Invocation::new(self.args.clone(), self.env.clone(), self.cwd.clone())
        }
    }
}

fn working_directory() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|error| {
        let message = format!("the working directory is gone or cannot be named: {error}");
        Failure::new(Step::Cwd, message)
    })
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
