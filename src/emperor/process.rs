//! The processes of the emperor: spawn, listen to them, reap them.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;

use crate::proto::emperor::FromVassal;
use crate::proto::status::{Custody, Files, FromStage, MAX_PACKET, Purpose, StageFault, Verdict};
use crate::reactor::{Interest, Kind};
use crate::spawn::plan::Start;
use crate::state::{
    Channel, Event, Exit, Fingerprint, LifeEvent, LifeId, Order, Role, VassalId, VassalMessage,
};
use crate::sys::mark::ProcessMark;
use crate::sys::process::{self, Ended, Pid, Reap};
use crate::sys::signal::Signal;
use crate::sys::socket::PeerCredentials;
use crate::sys::{pidfd, scm, socket};
use crate::types::moment::Moment;
use crate::types::run_settings::{RunSettings, StopTo};

use super::pauses::{ConfigPipe, Share};
use super::token::Token;
use super::{Emperor, messages, settings};

/// Bytes read from one emperor pipe at once, and in one wake-up.
const PIPE_CHUNK: usize = 64;
/// Bytes read from the pipe of a life that has ended, before its end is believed.
const LAST_WORDS: usize = 256 * 1024;
/// Packets read from one status socket in one wake-up.
const STATUS_PACKETS: usize = 8;
/// Datagrams read from one notify socket in one wake-up.
const NOTIFY_PACKETS: usize = 16;
/// The longest datagram that is read on a notify socket.
const NOTIFY_LENGTH: usize = 4096;

/// One life, as the kernel knows it.
#[derive(Debug)]
pub(super) struct Process {
    pub vassal: VassalId,
    pub pid: Pid,
    pub pidfd: OwnedFd,
    /// Our end of the emperor pipe, until the other end is closed.
    pub pipe: Option<OwnedFd>,
    /// Our end of the status socket, until the program runs.
    pub status: Option<OwnedFd>,
    /// Its notify socket, if it has one.
    pub notify: Option<OwnedFd>,
    /// Its config pipe, if it has one.
    pub config: Option<Box<ConfigPipe>>,
    /// The listeners that its stage has sent, until they become the vassal's.
    pub custody: Vec<OwnedFd>,
    /// The files that its stage has named, until they are the vassal's.
    pub files: Option<Box<Files>>,
    /// Who is forked from this one may sit in its group: it is signalled alone.
    pub alone: bool,
    /// The base that it was forked from.
    pub base: Option<Rc<[u8]>>,
    /// Somebody else has spoken on its notify socket, and that was said.
    heard_stranger: bool,
    /// It was told to stop or to reload with all its group.
    told_group: bool,
    /// Its verdict could not be taken in.
    is_cut_off: bool,
    /// Of our wake-ups.
    pub share: Share,
}

impl Process {
    /// A process that has said nothing yet, with our end of its emperor pipe.
    pub fn new(vassal: VassalId, (pid, pidfd): (Pid, OwnedFd), pipe: OwnedFd, now: Moment) -> Self {
        Self {
            vassal,
            pid,
            pidfd,
            pipe: Some(pipe),
            status: None,
            notify: None,
            config: None,
            custody: Vec::new(),
            files: None,
            heard_stranger: false,
            told_group: false,
            is_cut_off: false,
            alone: false,
            base: None,
            share: Share::new(now),
        }
    }
}

impl Emperor {
    /// Forks a life; answers with an event.
    pub(super) fn spawn(&mut self, vassal: VassalId, life: LifeId, role: Role) {
        let answer = match self.try_spawn(vassal, life, role) {
            Ok(pid) => LifeEvent::Spawned(pid.get()),
            Err(error) => LifeEvent::SpawnFailed(format!("cannot make a process: {error}")),
        };
        self.context.raise_for(life, answer);
    }

    fn try_spawn(&mut self, vassal: VassalId, life: LifeId, role: Role) -> io::Result<Pid> {
        self.room_to_start(vassal)?;
        self.renew_runtime();
        let record = self.realm.vassal(vassal).ok_or(io::ErrorKind::NotFound)?;
        let directory =
            self.context.sources.start(record.key.source).ok_or(io::ErrorKind::NotFound)?;
        let (name, hall) = (&record.key.name, self.halls.get(&vassal));
        let listener = hall.and_then(|hall| hall.listener.as_ref());
        let place = self.directory_of(vassal).unwrap_or_default();
        let custody = hall.map_or(&[][..], |hall| &hall.custody);
        let custody: Vec<_> = custody.iter().filter(|one| one.is_of_use(&place)).collect();
        let (pipe, its_pipe) = socket::stream_pair()?;
        let (status, its_status) = socket::packet_pair()?;
        socket::refuse_descriptors(pipe.as_fd())?;
        if self.template.stage {
            let all = listener.into_iter().chain(custody.iter().copied());
            let sockets: Vec<_> = all.map(AsFd::as_fd).collect();
            let before = record.current().filter(|current| current.id != life);
            let running = before.and_then(|current| self.strays.mark(current.id));
            let custody = Custody {
                name: OsString::from_vec(self.context.sources.full_name(&record.key)),
                purpose: if role == Role::Check { Purpose::Check } else { Purpose::Start },
                on_demand: listener.is_some(),
                in_use: before.is_some(),
                listeners: u8::try_from(custody.len()).unwrap_or(0),
                runtime: self.runtime_dir.path().map(OsString::from).unwrap_or_default(),
                running: running.map_or(0, ProcessMark::to_number),
            };
            scm::send(status.as_fd(), &custody.encode(), &sockets)?;
        }
        let config = self.template.config_pipe.then(socket::stream_pair).transpose()?;
        let start = Start {
            name,
            directory: &directory,
            input: listener.map_or(self.null.as_fd(), AsFd::as_fd),
            pipe: its_pipe.as_fd(),
            status: its_status.as_fd(),
            config: config.as_ref().map(|(ours, theirs)| [ours.as_fd(), theirs.as_fd()]),
            null: self.null.as_fd(),
            runs: role == Role::Vassal,
            mark: self.strays.mark(life),
        };
        let pid = self.template.plan(&start)?.spawn()?;
        let pid = self.adopt_child(pid, vassal, life, (pipe, status))?;
        if let Some(process) = self.processes.get_mut(&life) {
            process.config = config.map(|(ours, _)| ConfigPipe::new(ours));
        }
        Ok(pid)
    }

    /// Takes a new child into the tables; if that fails it is ended, as nobody would ever see it.
    fn adopt_child(
        &mut self,
        pid: Pid,
        vassal: VassalId,
        life: LifeId,
        (pipe, status): (OwnedFd, OwnedFd),
    ) -> io::Result<Pid> {
        let pidfd = pidfd::open(pid).inspect_err(|_| {
            let _ = process::kill_child(pid, Signal::KILL);
        })?;
        let process = Process {
            status: Some(status),
            ..Process::new(vassal, (pid, pidfd), pipe, self.context.now)
        };
        // First of all: what is in the tables is ended if something fails after this.
        self.processes.insert(life, Box::new(process));
        self.pids.insert(pid, life);
        self.context.trip("birth");
        self.strays.is_new(pid);
        let alone = self.is_base(vassal);
        let Some(process) = self.processes.get_mut(&life) else { return Ok(pid) };
        process.alone = alone;
        let channels = [
            (process.status.as_ref(), Token::Status(life), Kind::Busy),
            (process.pipe.as_ref(), Token::Pipe(life), Kind::Quiet),
            (Some(&process.pidfd), Token::Pidfd(life), Kind::Quiet),
        ];
        for (fd, token, kind) in channels {
            if let Some(fd) = fd {
                self.context.reactor.add(fd.as_fd(), token, Interest::Read, kind);
            }
        }
        Ok(pid)
    }

    // What it says.

    pub(super) fn read_status(&mut self, life: LifeId) {
        let mut buffer = [0_u8; MAX_PACKET];
        for _ in 0..STATUS_PACKETS {
            let Some(status) = self.processes.get(&life).and_then(|p| p.status.as_ref()) else {
                return;
            };
            match scm::receive(status.as_fd(), &mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(packet) if packet.length > 0 => {
                    let bytes = buffer.get(..packet.length).unwrap_or_default();
                    self.status_packet(life, bytes, packet.fds);
                }
                Err(error) if scm::is_cut_off(&error) => return self.cut_off(life),
                // It has ended without reading what it was sent, which is told once, before the
                // packets that it has left behind.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Ok(_) | Err(_) => {
                    let status = self.processes.get_mut(&life).and_then(|p| p.status.take());
                    self.context.close(status);
                    return self.happen(Event::Life(life, LifeEvent::StatusClosed));
                }
            }
        }
    }

    /// There was no descriptor left for the listeners of its verdict, which is no fault of the vassal's: the
    /// life is ended, and its end tells of a spawn that has failed.
    fn cut_off(&mut self, life: LifeId) {
        let Some(process) = self.processes.get_mut(&life) else { return };
        process.is_cut_off = true;
        let status = process.status.take();
        self.context.close(status);
        self.kill(life);
    }

    fn status_packet(&mut self, life: LifeId, bytes: &[u8], mut fds: Vec<OwnedFd>) {
        let event = match FromStage::decode(bytes) {
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
                self.warn(life, &told.warnings);
                if let Some(process) = self.processes.get_mut(&life) {
                    process.custody = listeners;
                }
                self.watch_notify(life, notify.flatten());
                LifeEvent::Verdict(run, Fingerprint(told.fingerprint))
            }
            Ok(FromStage::Verdict(Verdict::Error(fault))) => {
                for more in &fault.more {
                    self.say(life, crate::log::Level::Error, more);
                }
                self.start_refused(life, &fault)
            }
            Ok(FromStage::Files(files)) => {
                scm::discard(fds);
                if let Some(process) = self.processes.get_mut(&life) {
                    process.files = Some(Box::new(files));
                }
                return;
            }
            Ok(FromStage::Hook(end)) => {
                scm::discard(fds);
                let (level, text) = messages::start_hook(end);
                return self.say(life, level, &text);
            }
            Ok(FromStage::Failed { step, errno }) => {
                let programs = self.template.programs.iter().map(|p| p.to_string_lossy());
                let programs = programs.collect::<Vec<_>>().join(" or ");
                LifeEvent::StartFailed(settings::failure(step, errno, &programs))
            }
            Err(malformed) => LifeEvent::StartFailed(malformed.to_string()),
        };
        scm::discard(fds);
        self.happen(Event::Life(life, event));
    }

    /// A start that the stage has refused, or that another vassal of ours is in the way of.
    fn start_refused(&self, life: LifeId, fault: &StageFault) -> LifeEvent {
        if fault.taken.is_empty() {
            return LifeEvent::StartFailed(settings::fault(fault));
        }
        let vassal = self.processes.get(&life).map(|process| process.vassal);
        let holder = vassal.and_then(|vassal| self.holder(&fault.taken, vassal));
        match holder.and_then(|id| self.realm.vassal(id)) {
            Some(holder) => {
                // A path may be the output of a command, which is nobody's business.
                let place = fault.taken.parse::<SocketAddr>();
                let place = place.map_or("there".to_owned(), |address| format!("on {address}"));
                let name = self.context.sources.label(&holder.key);
                let message = format!(
                    "the vassal {name} listens {place} already; give one of the two another address"
                );
                let why = settings::fault(&StageFault { message, ..fault.clone() });
                LifeEvent::AddressTaken(why, Some(holder.id))
            }
            None => LifeEvent::AddressTaken(settings::fault(fault), None),
        }
    }

    /// What is odd about its file; once until that changes, however often it starts.
    fn warn(&mut self, life: LifeId, warnings: &[String]) {
        let Some(process) = self.processes.get(&life) else { return };
        let vassal = process.vassal;
        if self.warned.get(&vassal).is_some_and(|said| said == warnings) {
            return;
        }
        for warning in warnings {
            self.say(life, crate::log::Level::Warning, warning);
        }
        if warnings.is_empty() {
            self.warned.remove(&vassal);
        } else {
            self.warned.insert(vassal, warnings.to_vec());
        }
    }

    fn watch_notify(&mut self, life: LifeId, notify: Option<OwnedFd>) {
        let Some(notify) = notify else { return };
        self.context.reactor.add(notify.as_fd(), Token::Notify(life), Interest::Read, Kind::Quiet);
        if let Some(process) = self.processes.get_mut(&life) {
            process.notify = Some(notify);
        }
    }

    pub(super) fn read_pipe(&mut self, life: LifeId) {
        // The exec is told by the end of the status socket, which comes before the first byte.
        self.read_status(life);
        // One chunk: if there is more, poll says so again.
        if !self.is_too_loud(life, 1) && self.read_bytes(life, 1) {
            self.hung_up(life);
        }
    }

    /// Reads the emperor pipe until there have been `most` bytes; what is said twice in them is heard once.
    /// True if that was the last of it, and the pipe is closed here, too.
    fn read_bytes(&mut self, life: LifeId, most: usize) -> bool {
        let mut said: Vec<VassalMessage> = Vec::new();
        let (mut closed, mut flooded) = (false, false);
        let mut total = 0;
        let mut asks = false;
        while total < most && !closed {
            let mut buffer = [0_u8; PIPE_CHUNK];
            let Some(process) = self.processes.get_mut(&life) else { return false };
            let Some(pipe) = &process.pipe else { return false };
            match scm::receive_text(pipe.as_fd(), &mut buffer) {
                Ok(chunk) if chunk.length > 0 => {
                    total += chunk.length;
                    flooded = process.share.is_flood(self.context.now, chunk.length);
                    closed = flooded;
                    let bytes = buffer.get(..chunk.length).unwrap_or_default();
                    for word in bytes.iter().filter_map(|byte| FromVassal::from_byte(*byte)) {
                        asks |= word == FromVassal::SendConfig;
                        said.extend(settings::said(word).filter(|word| !said.contains(word)));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => closed = true,
            }
        }
        if flooded {
            let why = "protocol flood (over 10000 B/s for 10 s): its pipe is closed";
            self.say(life, crate::log::Level::Warning, why);
        }
        if asks {
            self.push_config(life);
        }
        for word in said {
            self.happen(Event::Life(life, LifeEvent::Message(word, Channel::Pipe)));
        }
        if closed {
            let pipe = self.processes.get_mut(&life).and_then(|process| process.pipe.take());
            self.context.close(pipe);
        }
        closed
    }

    pub(super) fn read_notify(&mut self, life: LifeId) {
        self.read_status(life);
        // A life pays for its own words only: those of others must not make it unheard.
        let cost = self.read_datagrams(life);
        if cost > 0 {
            self.is_too_loud(life, cost);
        }
    }

    /// Reads what was sent to its notify socket; how many wake-ups its own part of that is worth. One that is
    /// longer than the buffer is not for us and costs as much as all the buffers that it would fill.
    fn read_datagrams(&mut self, life: LifeId) -> u32 {
        let mut cost = 0_u32;
        for _ in 0..NOTIFY_PACKETS {
            let mut buffer = [0_u8; NOTIFY_LENGTH];
            let Some(process) = self.processes.get(&life) else { break };
            let Some(notify) = &process.notify else { break };
            let packet = match scm::receive_text(notify.as_fd(), &mut buffer) {
                Ok(packet) => packet,
                Err(_) => break,
            };
            // Nothing is believed of one that is cut off.
            let text = buffer.get(..packet.length).unwrap_or_default();
            let is = |line: &[u8]| text.split(|byte| *byte == b'\n').any(|found| found == line);
            let words = [
                (&b"READY=1"[..], VassalMessage::Ready),
                (b"WATCHDOG=1", VassalMessage::Heartbeat),
            ];
            let said: Vec<VassalMessage> =
                words.into_iter().filter(|(line, _)| is(line)).map(|(_, word)| word).collect();
            let Some(sender) = packet.sender else { continue };
            if !self.speaks_for(process, &sender) {
                if !said.is_empty() {
                    self.stranger(life, &sender);
                }
                continue;
            }
            let more = packet.length.saturating_sub(1) / NOTIFY_LENGTH;
            cost = cost.max(1).saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
            for word in said {
                self.happen(Event::Life(life, LifeEvent::Message(word, Channel::Notify)));
            }
        }
        cost
    }

    /// Whether a sender belongs to this life: its process, or one of its session that is no life itself.
    /// One that has ended since is believed by its user, who could do anything to this life anyway.
    fn speaks_for(&self, process: &Process, sender: &PeerCredentials) -> bool {
        let Some(pid) = Pid::new(sender.pid) else { return false };
        if pid == process.pid {
            return true;
        }
        match process::session_of(pid) {
            Ok(session) => session == process.pid.get() && !self.pids.contains_key(&pid),
            Err(_) => {
                let user = pidfd::info(process.pidfd.as_fd()).map(|info| info.uid);
                user.is_ok_and(|[_, effective]| effective == sender.uid)
            }
        }
    }

    /// Whoever else can reach the socket cannot speak for this life; it is said once.
    fn stranger(&mut self, life: LifeId, sender: &PeerCredentials) {
        let Some(process) = self.processes.get_mut(&life) else { return };
        if std::mem::replace(&mut process.heard_stranger, true) {
            return;
        }
        let (pid, uid) = (sender.pid, sender.uid);
        let why = format!(
            "READY=1 or WATCHDOG=1 of pid {pid} (user {uid}) is not counted: it is not of the session of this \
             vassal; let the program itself, or what it starts, send it"
        );
        self.say(life, crate::log::Level::Warning, &why);
    }

    // What is said to it.

    /// One byte on its pipe. A vassal that does not read has 278 of them waiting at most, all of them
    /// reloads: one more that does not fit is not needed, but the stop is, as soon as it reads.
    pub(super) fn tell(&mut self, life: LifeId, order: Order) {
        let pipe = self.processes.get(&life).and_then(|process| process.pipe.as_ref());
        let sent = pipe.map(|pipe| socket::send(pipe.as_fd(), &[settings::byte(order)]));
        if let Some(Err(error)) = sent
            && error.kind() == io::ErrorKind::WouldBlock
            && order != Order::Reload
        {
            self.tell_later(life, order);
        }
    }

    /// SIGKILL to its process group.
    pub(super) fn kill(&mut self, life: LifeId) {
        self.strays.kill(life, self.context.now);
        self.send(life, Signal::KILL, StopTo::Group);
        if let Some(process) = self.processes.get_mut(&life) {
            process.told_group = false;
        }
    }

    /// A signal of a polite stop, or of a reload.
    ///
    /// Whoever is told by a server's main process what to do must not be told by us as well: QUIT, which means
    /// "finish, then leave" to that one, may mean "leave now" to its workers. But a shell passes nothing on.
    pub(super) fn signal(&mut self, life: LifeId, number: i32, to: StopTo) {
        let Some(signal) = Signal::new(number) else { return };
        let alone = self.send(life, signal, to);
        if let Some(process) = self.processes.get_mut(&life) {
            process.told_group = !alone;
        }
    }

    /// A signal to a process, or to its group, whose leader is our own child that is not reaped. One that
    /// leads no group, because it still sits in that of its base, gets it alone; true if one does.
    fn send(&mut self, life: LifeId, signal: Signal, to: StopTo) -> bool {
        let Some(process) = self.processes.get(&life) else { return true };
        // Before its setsid the group does not exist yet; the process does.
        let alone = || pidfd::send(process.pidfd.as_fd(), signal);
        let is_alone = process.alone
            || match to {
                StopTo::Main => true,
                StopTo::Group => false,
                StopTo::Auto => !process::is_shell(process.pid),
            };
        let sent = match is_alone {
            true => alone(),
            false => process::kill_group(process.pid, signal).or_else(|_| alone()),
        };
        if let Err(error) = sent {
            let why = format!("cannot be sent {}: {error}", messages::signal_name(signal.raw()));
            self.say(life, crate::log::Level::Error, &why);
        }
        is_alone
    }

    // Its end.

    /// A pidfd is readable, or the process was met among the dead.
    pub(super) fn reap(&mut self, life: LifeId) {
        let Some(process) = self.processes.get(&life) else { return };
        let (pid, alone, told_group) = (process.pid, process.alone, process.told_group);
        match pidfd::wait(process.pidfd.as_fd(), Reap::Peek) {
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(error) => {
                let why = format!("cannot be waited for: {error}");
                self.say(life, crate::log::Level::Error, &why);
            }
        }
        // Its last words come before its death, whatever poll has said.
        for _ in 0..4 {
            self.read_status(life);
        }
        self.read_bytes(life, LAST_WORDS);
        self.read_datagrams(life);
        // The leader is not reaped yet, so its number, and that of its group, can be nobody else's.
        let leaving = self.leaving(life, pid, told_group);
        if !alone && !leaving.spared {
            let _ = process::kill_group(pid, Signal::KILL);
        }
        // One that a base has forked may sit in that one's session.
        if self.base_of(life).is_some()
            && let Some(session) = process::session_of(pid).ok().and_then(Pid::new)
            && session != pid
        {
            self.adopted_ended(pid, session);
        }
        let Some(process) = self.processes.get(&life) else { return };
        let ended = match pidfd::wait(process.pidfd.as_fd(), Reap::Take) {
            Ok(Some(ended)) => ended,
            Ok(None) | Err(_) => Ended::Exited(255),
        };
        let mut event = LifeEvent::Exited(exit(ended));
        if let Some(process) = self.processes.remove(&life) {
            self.pids.remove(&process.pid);
            self.runtime_dir.forget(process.pid);
            if process.is_cut_off {
                let why = "no descriptor is left for its listeners";
                event = LifeEvent::SpawnFailed(why.to_owned());
            }
            for fd in [process.status, process.pipe, process.notify, Some(process.pidfd)] {
                self.context.close(fd);
            }
        }
        if alone {
            self.base_ended(life, pid);
            return self.happen(Event::Life(life, event));
        }
        self.main_ended(life, event, leaving);
    }

    /// A line about the vassal of this life.
    pub(super) fn say(&mut self, life: LifeId, level: crate::log::Level, text: &str) {
        let record = self.processes.get(&life).and_then(|it| self.realm.vassal(it.vassal));
        let label =
            record.map_or_else(|| "?".to_owned(), |record| self.context.sources.label(&record.key));
        let text = crate::log::escaped(text.as_bytes()).to_string();
        let text = match record {
            Some(record) => messages::without_name(&text, &record.key.name),
            None => text,
        };
        self.context.log.line(level, format_args!("[{label}] {text}"));
    }
}

pub(super) fn exit(ended: Ended) -> Exit {
    match ended {
        Ended::Exited(code) => Exit::Code(i32::from(code)),
        Ended::Killed { signal, .. } => Exit::Signal(signal.raw()),
    }
}
