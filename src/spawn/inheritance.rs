//! What the spawner holds, and each child of it from the fork on.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::parent_id;

use crate::proto::spawner::{Template, VassalName};
use crate::sys::signal::Signal;
use crate::sys::{creds, oom, prctl};
use crate::types::environment::Variable;

use super::handed::Stage;

/// What the spawner knows, and its children with it.
pub(super) struct Inheritance {
    pub template: Template,
    /// The environment of the vassals.
    pub variables: Vec<Variable>,
    /// The same, as execve(2) wants it.
    pub environment: Vec<CString>,
    /// The pid of the emperor, which is the parent of all of them.
    pub emperor: u32,
    /// `/dev/null`.
    pub null: OwnedFd,
    pub stage: Stage,
}

impl Inheritance {
    /// Where the vassals of this source start.
    pub fn directory(&self, vassal: &VassalName) -> io::Result<&CStr> {
        let directory = self.template.directories.get(usize::from(vassal.source));
        directory.map(CString::as_c_str).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// In a new process: gives up what makes the emperor precious. What cannot be told the kernel stays.
    pub fn be_expendable(&self) {
        let Some(score) = self.template.oom_score else { return };
        // The file belongs to root as long as the process is not dumpable.
        let is_root = creds::effective_uid() == 0;
        if !is_root {
            let _ = prctl::set_dumpable(true);
        }
        let _ = oom::set_score(score);
        if !is_root {
            let _ = prctl::set_dumpable(false);
        }
    }

    /// Arms the parent-death signal, and makes sure that the emperor is still there to send it.
    pub fn die_with_emperor(&self) -> io::Result<()> {
        prctl::set_parent_death(Some(Signal::KILL))?;
        match parent_id() == self.emperor {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    }
}
