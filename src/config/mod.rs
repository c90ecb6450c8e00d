//! From files, environment and command line to one ordered list, and from that to checked structs.
//!
//! Four steps, four functions: *read* and *expand* are [`load`]; *check* is `vassal::check` and
//! `emperor::check`; to act is the affair of others. Nothing here reads the globals of the process: all
//! that counts comes in with an [`Invocation`].

pub mod address;
pub mod emperor;
pub mod setting;
pub mod vassal;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

pub use address::Address;
pub use emperor::EmperorConfig;
pub use setting::{Fault, Faults, Located, Origin, Setting, Source};
pub use vassal::VassalConfig;

/// What the reader may know of the process that asks.
#[derive(Debug)]
pub struct Invocation {
    /// The arguments after the program's name.
    pub args: Vec<OsString>,
    /// The environment.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory, absolute; relative names count from here.
    pub cwd: PathBuf,
    /// User id, for `%u` and `%U`.
    pub uid: u32,
    /// Group id, for `%g` and `%G`.
    pub gid: u32,
    /// The time of the start, for `%t` and `%T`.
    pub now: SystemTime,
    /// A file that is already open: where this name is to be read, this descriptor is read instead.
    pub opened: Option<(OsString, File)>,
    /// Turns a descriptor number of `fd://N` or the config pipe into a file to read from.
    pub descriptor: fn(i32) -> io::Result<File>,
}

impl Invocation {
    /// An invocation by user 0 at the epoch, without an opened file, that opens descriptors by way of
    /// `/proc` (which sockets refuse).
    #[must_use]
    pub fn new(args: Vec<OsString>, env: Vec<(OsString, OsString)>, cwd: PathBuf) -> Self {
        Self {
            args,
            env,
            cwd,
            uid: 0,
            gid: 0,
            now: SystemTime::UNIX_EPOCH,
            opened: None,
            descriptor: |number| File::open(format!("/proc/self/fd/{number}")),
        }
    }
}

/// The one ordered list, read and expanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Every setting in the order in which it takes effect, steering ones included.
    pub settings: Vec<Setting>,
    /// What is odd but no fault.
    pub warnings: Vec<Fault>,
}
