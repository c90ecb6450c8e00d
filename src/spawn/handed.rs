//! What a stage gets from the process that it runs in: nothing else of the spawner is within its reach.

use std::ffi::{CString, OsString};
use std::os::fd::OwnedFd;

use crate::sys::mark::ProcessMark;
use crate::types::environment::Variable;
use crate::types::purpose::Purpose;

/// A stage: becomes the program, or comes back with the status to end with.
pub type Stage = fn(Handed) -> u8;

/// What one stage is given.
#[derive(Debug)]
pub struct Handed {
    /// liege itself.
    pub own_program: CString,
    /// The arguments, without the program's name.
    pub args: Vec<OsString>,
    /// The environment.
    pub env: Vec<Variable>,
    /// The pid of the emperor, which is the parent.
    pub parent: u32,
    /// What the vassal is called in the log.
    pub label: OsString,
    /// Start, or only check.
    pub purpose: Purpose,
    /// Its end of the emperor pipe.
    pub pipe: OwnedFd,
    /// Its end of the config pipe, which has a text that was not read yet.
    pub config: Option<OwnedFd>,
    /// Its end of the status socket.
    pub status: OwnedFd,
    /// The on-demand listener.
    pub on_demand: Option<OwnedFd>,
    /// The sockets in custody.
    pub listeners: Vec<OwnedFd>,
    /// A program that is to be replaced is using these sockets.
    pub in_use: bool,
    /// The directory for its notify socket; empty: there is none.
    pub runtime: OsString,
    /// The mark of the running program, which ends before the start that is checked.
    pub running: Option<ProcessMark>,
}
