//! Reads the messages of a life: packets of its stage on the status socket, bytes on the emperor pipe, datagrams
//! on its notify socket.

use std::hash::BuildHasher;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::log::Level;
use crate::proto::emperor::FromVassal;
use crate::proto::status::{FromStage, MAX_PACKET, StageFault, Verdict};
use crate::reactor::{Delivery, Interest};
use crate::state::realm::Realm;
use crate::state::{Fingerprint, LifeEvent, LifeId, VassalId, VassalMessage};
use crate::sys::process::{self, Pid};
use crate::sys::socket::PeerCredentials;
use crate::sys::{pidfd, scm, socket};

use crate::types::run_settings::RunSettings;

use super::super::context::Context;
use super::super::messages;
use super::super::token::Token;
use super::{Lives, Process, wire};

/// Bytes read from one emperor pipe at once, and in one wake-up.
const PIPE_CHUNK: usize = 64;
/// Most bytes that are read from the pipe of a life that has ended, before its exit is raised.
pub(in crate::emperor) const FINAL_READ_LIMIT: usize = 256 * 1024;
/// Packets read from one status socket in one wake-up.
pub(in crate::emperor) const STATUS_PACKETS: usize = 8;
/// Datagrams read from one notify socket in one wake-up.
pub(in crate::emperor) const NOTIFY_PACKETS: usize = 16;
/// The longest datagram that is read on a notify socket.
const MAX_DATAGRAM: usize = 4096;

/// The result of one read of a status socket.
pub(in crate::emperor) enum StatusRead {
    /// There is nothing more to read now.
    Blocked,
    /// A packet that needs no event.
    Noted,
    /// A packet that is an event for the state.
    Event(LifeEvent),
    /// The stage has refused the start.
    Refused(Box<StageFault>),
    /// The other end is closed: the program runs, or the process has ended.
    Closed,
}

/// What was read from an emperor pipe.
#[derive(Debug, Default)]
pub(in crate::emperor) struct Heard {
    /// Messages, each kind once, in the order in which they came.
    pub messages: Vec<VassalMessage>,
    /// Whether the vassal asks for its file.
    pub wants_config: bool,
    /// Whether the pipe is finished: the other end is closed, or has exceeded the rate limit for too long.
    pub end: bool,
}

/// One datagram of a notify socket.
pub(in crate::emperor) struct Datagram {
    /// Its messages; `None` if the sender does not belong to the life.
    pub messages: Option<Vec<VassalMessage>>,
    /// How many further buffers it would fill; each costs as much as a wake-up.
    pub extra_cost: u32,
}

impl Lives {
    // The status socket.

    /// Reads one packet of a stage.
    pub fn read_status(
        &mut self,
        life: LifeId,
        realm: &Realm,
        context: &mut Context,
    ) -> StatusRead {
        let mut buffer = [0_u8; MAX_PACKET];
        let Some(status) = self.get(life).and_then(|process| process.status.as_ref()) else {
            return StatusRead::Blocked;
        };
        match scm::receive(status.as_fd(), &mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => StatusRead::Blocked,
            Ok(packet) if packet.length > 0 => {
                let bytes = buffer.get(..packet.length).unwrap_or_default();
                self.status_packet(life, (bytes, packet.fds), realm, context)
            }
            Err(error) if scm::is_cut_off(&error) => {
                self.truncated_verdict(life, realm, context);
                StatusRead::Blocked
            }
            // The process has ended without reading what it was sent. The kernel reports that once, before the
            // packets that the process has left behind.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => StatusRead::Noted,
            Ok(_) | Err(_) => {
                context.close(self.get_mut(life).and_then(|process| process.status.take()));
                StatusRead::Closed
            }
        }
    }

    /// There was no descriptor left for the listeners of its verdict, which is not a fault of the vassal: the life
    /// is killed, and its exit is raised as a failed spawn.
    fn truncated_verdict(&mut self, life: LifeId, realm: &Realm, context: &mut Context) {
        let Some(process) = self.get_mut(life) else { return };
        process.has_truncated_verdict = true;
        context.close(process.status.take());
        self.kill(life, realm, context);
    }

    fn status_packet(
        &mut self,
        life: LifeId,
        (bytes, mut fds): (&[u8], Vec<OwnedFd>),
        realm: &Realm,
        context: &mut Context,
    ) -> StatusRead {
        let read = match FromStage::decode(bytes) {
            Ok(FromStage::Verdict(Verdict::Exec(told))) => {
                let notify =
                    (told.notify_socket && fds.len() == told.descriptors()).then(|| fds.pop());
                let mut listeners: Vec<OwnedFd> =
                    fds.drain(..fds.len().min(usize::from(told.run.listeners))).collect();
                let strange = listeners.extract_if(.., |fd| !socket::is_listening(fd.as_fd()));
                scm::discard(strange.collect::<Vec<_>>());
                // As many as were really taken into custody.
                let taken = u8::try_from(listeners.len()).unwrap_or(u8::MAX);
                let run = RunSettings { listeners: taken, ..told.run };
                self.log_warnings(life, &told.warnings, realm, context);
                if let Some(process) = self.get_mut(life) {
                    process.listeners = listeners;
                }
                self.watch_notify_socket(life, notify.flatten(), context);
                StatusRead::Event(LifeEvent::Verdict(run, Fingerprint(told.fingerprint)))
            }
            Ok(FromStage::Verdict(Verdict::Error(fault))) => {
                for more in &fault.more {
                    self.log_for((life, Level::Error), more, realm, context);
                }
                StatusRead::Refused(Box::new(fault))
            }
            Ok(FromStage::Files(files)) => {
                if let Some(process) = self.get_mut(life) {
                    process.files = Some(Box::new(files));
                }
                StatusRead::Noted
            }
            Ok(FromStage::Hook(end)) => {
                let (level, text) = messages::start_hook(end);
                self.log_for((life, level), &text, realm, context);
                StatusRead::Noted
            }
            Ok(FromStage::Failed { step, errno }) => {
                let programs = self.template.programs.iter().map(|p| p.to_string_lossy());
                let programs = programs.collect::<Vec<_>>().join(" or ");
                let why = wire::step_failure(step, errno, &programs);
                StatusRead::Event(LifeEvent::StartFailed(why))
            }
            Err(malformed) => StatusRead::Event(LifeEvent::StartFailed(malformed.to_string())),
        };
        scm::discard(fds);
        read
    }

    /// Logs the warnings about the file of its vassal; the same warnings are logged once, however often it starts.
    fn log_warnings(
        &mut self,
        life: LifeId,
        warnings: &[String],
        realm: &Realm,
        context: &mut Context,
    ) {
        let Some(vassal) = self.vassal_of(life) else { return };
        let hash = self.warning_hasher.hash_one(warnings);
        if self.warned.get(&vassal) == Some(&hash) {
            return;
        }
        for warning in warnings {
            self.log_for((life, Level::Warning), warning, realm, context);
        }
        if warnings.is_empty() {
            self.warned.remove(&vassal);
        } else {
            self.warned.insert(vassal, hash);
        }
    }

    pub fn vassal_of(&self, life: LifeId) -> Option<VassalId> {
        self.get(life).map(|process| process.vassal)
    }

    // The emperor pipe.

    /// Reads at least `limit` bytes from the emperor pipe, if they are there; a repeated message counts once.
    pub fn drain_pipe(
        &mut self,
        life: LifeId,
        limit: usize,
        realm: &Realm,
        context: &mut Context,
    ) -> Heard {
        let mut heard = Heard::default();
        let Some(process) = self.get_mut(life) else { return heard };
        let (mut total, mut is_flood) = (0, false);
        while total < limit && !heard.end {
            let mut buffer = [0_u8; PIPE_CHUNK];
            let Some(pipe) = &process.pipe else { return heard };
            match scm::receive_text(pipe.as_fd(), &mut buffer) {
                Ok(chunk) if chunk.length > 0 => {
                    total += chunk.length;
                    is_flood = process.rate_limit.count_bytes(context.now, chunk.length);
                    heard.end = is_flood;
                    heard.note(buffer.get(..chunk.length).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => heard.end = true,
            }
        }
        if is_flood {
            let why = "protocol flood (over 10000 B/s for 10 s): its pipe is closed";
            self.log_for((life, Level::Warning), why, realm, context);
        }
        heard
    }

    /// Closes our end of the emperor pipe.
    pub fn close_pipe(&mut self, life: LifeId, context: &mut Context) {
        context.close(self.get_mut(life).and_then(|process| process.pipe.take()));
    }

    // The notify socket.

    fn watch_notify_socket(
        &mut self,
        life: LifeId,
        notify: Option<OwnedFd>,
        context: &mut Context,
    ) {
        let Some(notify) = notify else { return };
        context.reactor.add(notify.as_fd(), Token::Notify(life), Interest::Read, Delivery::Batched);
        if let Some(process) = self.get_mut(life) {
            process.notify = Some(notify);
        }
    }

    /// Reads one datagram that was sent to its notify socket, if there is one.
    pub fn read_datagram(
        &mut self,
        life: LifeId,
        realm: &Realm,
        context: &mut Context,
    ) -> Option<Datagram> {
        let mut buffer = [0_u8; MAX_DATAGRAM];
        let process = self.get(life)?;
        let packet = scm::receive_text(process.notify.as_ref()?.as_fd(), &mut buffer).ok()?;
        // A datagram that is cut off is not counted.
        let text = buffer.get(..packet.length).unwrap_or_default();
        let is = |line: &[u8]| text.split(|byte| *byte == b'\n').any(|found| found == line);
        let words =
            [(&b"READY=1"[..], VassalMessage::Ready), (b"WATCHDOG=1", VassalMessage::Heartbeat)];
        let messages: Vec<VassalMessage> =
            words.into_iter().filter(|(line, _)| is(line)).map(|(_, word)| word).collect();
        let extra = packet.length.saturating_sub(1) / MAX_DATAGRAM;
        let extra_cost = u32::try_from(extra).unwrap_or(u32::MAX);
        match packet.sender {
            Some(sender) if self.speaks_for(process, &sender) => {
                Some(Datagram { messages: Some(messages), extra_cost })
            }
            sender => {
                if let Some(sender) = sender.filter(|_| !messages.is_empty()) {
                    self.log_foreign_sender(life, &sender, realm, context);
                }
                Some(Datagram { messages: None, extra_cost })
            }
        }
    }

    /// Whether a sender belongs to this life: it is its main process, or one of its session that is not a life itself.
    /// A sender that has ended since is judged by its user: one that runs as the user of this life could signal it
    /// anyway.
    fn speaks_for(&self, process: &Process, sender: &PeerCredentials) -> bool {
        let Some(pid) = Pid::new(sender.pid) else { return false };
        if pid == process.pid {
            return true;
        }
        match process::session_of(pid) {
            Ok(session) => session == process.pid.get() && !self.by_pid.contains_key(&pid),
            Err(_) => {
                let user = pidfd::info(process.pidfd.as_fd()).map(|info| info.uid);
                user.is_ok_and(|[_, effective]| effective == sender.uid)
            }
        }
    }

    /// Logs, once for each life, that a foreign process has sent to its notify socket.
    fn log_foreign_sender(
        &mut self,
        life: LifeId,
        sender: &PeerCredentials,
        realm: &Realm,
        context: &mut Context,
    ) {
        let Some(process) = self.get_mut(life) else { return };
        if std::mem::replace(&mut process.has_logged_foreign_sender, true) {
            return;
        }
        let (pid, uid) = (sender.pid, sender.uid);
        let why = format!(
            "READY=1 or WATCHDOG=1 of pid {pid} (user {uid}) is not counted: it is not of the session of this \
             vassal; let the program itself, or what it starts, send it"
        );
        self.log_for((life, Level::Warning), &why, realm, context);
    }
}

impl Heard {
    fn note(&mut self, bytes: &[u8]) {
        for word in bytes.iter().filter_map(|byte| FromVassal::from_byte(*byte)) {
            self.wants_config |= word == FromVassal::SendConfig;
            let message = wire::message_of(word).filter(|message| !self.messages.contains(message));
            self.messages.extend(message);
        }
    }
}
