//! Who takes the verdict: our emperor on the status socket, or a reader of stderr.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::log::escaped;
use crate::proto::notify;
use crate::proto::status::{
    self, Custody, DeclaredFiles, ExecVerdict, FromStage, MAX_PACKET, Verdict,
};
use crate::spawn::step::Step;
use crate::sys::mark::ProcessMark;
use crate::sys::{fd, scm};
use crate::types::purpose::Purpose;

use super::failure::Failure;
use super::sockets::{ReceivedSockets, Trial};
use crate::types::environment::Variable;

/// How long custody may take; the emperor sends it before it starts the stage.
const CUSTODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The line to whoever takes the verdict.
#[derive(Debug)]
pub struct StatusChannel {
    status: Option<OwnedFd>,
    name: OsString,
    /// Where notify sockets are made.
    runtime: OsString,
}

/// What the emperor hands over.
#[derive(Debug, Default)]
pub struct Handoff {
    /// Start, or only check.
    pub purpose: Purpose,
    /// The sockets.
    pub sockets: ReceivedSockets,
}

impl Handoff {
    /// Whether the vassal has an on-demand address.
    pub fn has_on_demand(&self) -> bool {
        self.sockets.on_demand.is_some()
    }
}

impl StatusChannel {
    /// A line on stderr.
    pub fn stderr() -> Self {
        Self { status: None, name: OsString::new(), runtime: OsString::new() }
    }

    /// The line that the environment names.
    ///
    /// # Errors
    /// The variable is there, but names no open descriptor.
    pub fn open(env: &[Variable]) -> Result<Self, Failure> {
        let Some((_, text)) = env.iter().find(|(name, _)| name == status::STATUS_FD_VARIABLE)
        else {
            return Ok(Self::stderr());
        };
        let number: Option<RawFd> = text.to_str().and_then(|text| text.parse().ok());
        // Taken over, not copied: a vassal that goes on as an emperor must close it, which is how the emperor knows
        // that it runs.
        let socket = number.and_then(|number| fd::take_inherited(number).ok());
        let socket = socket.ok_or_else(|| {
            let text = text.display();
            let message = format!("{}={text} names no open descriptor", status::STATUS_FD_VARIABLE);
            Failure::new(Step::Custody, message)
        })?;
        Ok(Self { status: Some(socket), name: OsString::new(), runtime: OsString::new() })
    }

    /// Whether our own emperor is at the other end.
    pub fn is_emperor(&self) -> bool {
        self.status.is_some()
    }

    /// Receives what the emperor hands over; nothing where there is no emperor of ours.
    ///
    /// # Errors
    /// Nothing came within five seconds, or nothing that can be understood.
    pub fn receive(&mut self) -> Result<Handoff, Failure> {
        let Some(socket) = &self.status else { return Ok(Handoff::default()) };
        let failed = |message: String| Failure::new(Step::Custody, format!("custody: {message}"));
        let mut packet = vec![0; MAX_PACKET];
        let received = match scm::receive(socket.as_fd(), &mut packet) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                fd::wait_readable([socket.as_fd()], Some(CUSTODY_TIMEOUT))
                    .and_then(|_| scm::receive(socket.as_fd(), &mut packet))
            }
            received => received,
        };
        let received = received.map_err(|error| failed(error.to_string()))?;
        let packet = packet.get(..received.length).unwrap_or_default();
        let custody = Custody::decode(packet).map_err(|error| failed(error.to_string()))?;
        if received.fds.len() != custody.descriptors() {
            let (came, said) = (received.fds.len(), custody.descriptors());
            return Err(failed(format!("{came} descriptors came, {said} were announced")));
        }
        let mut fds = received.fds.into_iter();
        let on_demand = if custody.on_demand { fds.next() } else { None };
        let trial = (custody.purpose == Purpose::Check)
            .then(|| Trial { running: ProcessMark::from_number(custody.running) });
        let sockets =
            ReceivedSockets { on_demand, listeners: fds.collect(), in_use: custody.in_use, trial };
        self.name = custody.name;
        self.runtime = custody.runtime;
        Ok(Handoff { purpose: custody.purpose, sockets })
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
