//! Who takes the verdict: our emperor on the status socket, or a reader of stderr.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::log::escaped;
use crate::proto::notify;
use crate::proto::status::{DeclaredFiles, ExecVerdict, FromStage, Verdict};
use crate::spawn::step::Step;
use crate::sys::{fd, scm};

use super::failure::Failure;

/// The line to whoever takes the verdict.
#[derive(Debug)]
pub struct StatusChannel {
    status: Option<OwnedFd>,
    name: OsString,
    /// Where notify sockets are made.
    runtime: OsString,
}

impl StatusChannel {
    /// A line on stderr.
    pub fn stderr() -> Self {
        Self { status: None, name: OsString::new(), runtime: OsString::new() }
    }

    /// The line to our emperor; `name` is what the vassal is called in the log, `runtime` where notify sockets are
    /// made.
    pub fn to_emperor(status: OwnedFd, name: OsString, runtime: OsString) -> Self {
        Self { status: Some(status), name, runtime }
    }

    /// Whether our own emperor is at the other end.
    pub fn is_emperor(&self) -> bool {
        self.status.is_some()
    }

    /// Where the notify socket is made, if there is a directory for it.
    pub fn notify_path(&self, emperor: u32) -> Option<PathBuf> {
        let pid = i32::try_from(std::process::id()).ok()?;
        let dir = Some(Path::new(&self.runtime)).filter(|dir| dir.is_absolute());
        dir.map(|dir| dir.join(notify::name(emperor, pid)))
    }

    /// Moves the status socket out of the way of what the program gets.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn move_above(&mut self, lowest: RawFd) -> io::Result<()> {
        self.status =
            self.status.take().map(|socket| fd::move_above(socket, lowest)).transpose()?;
        Ok(())
    }

    /// Writes a line to standard error with one call, so that it is not mixed with other output. An error is ignored,
    /// as there is no place to report it.
    pub fn print(&self, text: &str) {
        let text = escaped(text.as_bytes());
        let line = if self.name.is_empty() {
            format!("liege: {text}\n")
        } else {
            format!("liege: [{}] {text}\n", escaped(self.name.as_bytes()))
        };
        let _ = io::stderr().write_all(line.as_bytes());
    }

    /// The verdict `exec`.
    ///
    /// # Errors
    /// The emperor is gone.
    pub fn verdict(&self, verdict: ExecVerdict, fds: &[BorrowedFd<'_>]) -> Result<(), Failure> {
        let Some(socket) = &self.status else {
            for warning in &verdict.warnings {
                self.print(warning);
            }
            return Ok(());
        };
        let packet = FromStage::Verdict(Verdict::Exec(verdict)).encode();
        let sent = scm::send(socket.as_fd(), &packet, fds);
        sent.map(drop).map_err(|error| Failure::new(Step::Verdict, error.to_string()))
    }

    /// The files that the emperor is to mind; said before the verdict.
    ///
    /// # Errors
    /// The emperor is gone.
    pub fn files(&self, files: Option<DeclaredFiles>) -> Result<(), Failure> {
        let (Some(socket), Some(files)) = (&self.status, files) else { return Ok(()) };
        let sent = scm::send(socket.as_fd(), &FromStage::Files(files).encode(), &[]);
        sent.map(drop).map_err(|error| Failure::new(Step::Verdict, error.to_string()))
    }

    /// The verdict `error`; gives the status to exit with.
    pub fn refuse(&self, failure: Failure) -> u8 {
        let status = failure.status;
        let said = match &self.status {
            None => Err(failure),
            Some(socket) => {
                let verdict = Verdict::Error(failure.clone().into_fault());
                let packet = FromStage::Verdict(verdict).encode();
                scm::send(socket.as_fd(), &packet, &[]).map_err(|_| failure)
            }
        };
        if let Err(failure) = said {
            self.print(&failure.to_string());
            for fault in &failure.more {
                self.print(fault);
            }
        }
        status
    }
}
