//! What this process was given at its start: environment, program, keeper.

use std::ffi::{OsStr, OsString};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Environment, program and keeper of the process, read once at its start.
#[derive(Clone, Debug)]
pub struct ProcessContext {
    /// Environment variables.
    pub environment: Vec<(OsString, OsString)>,
    /// The program that is started as the stage.
    pub own_program: PathBuf,
    /// Process id of the keeper, which is our parent.
    pub keeper: Option<u32>,
    /// `oom_score_adj` that vassals get, if this process has lowered its own.
    pub oom_score: Option<i32>,
    /// Socket to the keeper, which passes messages on to the service manager.
    pub relay: Option<Rc<UnixDatagram>>,
}

impl ProcessContext {
    /// The value of a variable of the environment.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        variable(&self.environment, name)
    }
}

/// The value of a variable in an environment.
pub(super) fn variable<'a>(
    environment: &'a [(OsString, OsString)],
    name: &str,
) -> Option<&'a OsStr> {
    environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
}

/// A path that still names the same file when this process has changed its directory.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
