//! Lives that a fork server forks: send the request, read the answer, verify the claim, adopt the process.
//!
//! A talk is one request and one answer on a socket of its own. It stays open until the process that the answer
//! names has become our child, or until the state cancels it. The answer is not trusted: the pid is a claim
//! (`claims.rs`), and only a child of ours that runs as the user of the base and is younger than the request is
//! adopted. No other process is ever signalled. Processes that a failed talk has left behind are looked for later
//! (`orphans.rs`).

mod claims;
mod orphans;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::rc::Rc;

use super::context::Context;
use super::helpers::Helpers;
use super::lives::{Lives, Process};
use super::messages;
use super::token::Token;
use crate::proto::emperor;
use crate::proto::fork::{self, ForkError};
use crate::proto::spawner::Template;
use crate::reactor::{Delivery, Interest};
use crate::state::realm::Realm;
use crate::state::vassal::Vassal;
use crate::state::{LifeEvent, LifeId, VassalId};
use crate::sys::process::{self, Pid};
use crate::sys::socket::{self, Address, Connecting, PeerCredentials};
use crate::sys::{clock, creds, pidfd, scm};
use crate::types::moment::Moment;
use claims::{Claim, ExitedChild};
use orphans::{FIRST_SCAN, OrphanScan};

/// Pieces of an answer that are read in one wake-up.
const MAX_PIECES: usize = 16;
/// The fork server, and all talks with it.
pub(super) struct ForkServers {
    server: Option<ForkServer>,
    template: Rc<Template>,
    talks: HashMap<LifeId, OpenTalk>,
    /// Verified processes, until they are added to the lives.
    proved: Vec<(LifeId, Process)>,
    /// Unknown children that have exited while a talk was open.
    exited: Vec<ExitedChild>,
    scans: Vec<OrphanScan>,
}

/// One fork server.
#[derive(Debug)]
struct ForkServer {
    address: Address,
    /// The process that was last found to listen there.
    seen: Option<PeerCredentials>,
    /// The life of the base that listens there, until the address is found to be unreachable.
    base: Option<LifeId>,
}

/// The life that a fork server is asked for.
pub(super) struct ForkRequest<'a> {
    pub life: LifeId,
    /// Vassal of the life.
    pub record: &'a Vassal,
    /// The on-demand listener of its vassal.
    pub listener: Option<BorrowedFd<'a>>,
}

/// The processes that are known already: a claim that names one of them is refused.
#[derive(Clone, Copy)]
pub(super) struct KnownProcesses<'a> {
    pub lives: &'a Lives,
    pub helpers: &'a Helpers,
    pub realm: &'a Realm,
}

/// One request for a life.
#[derive(Debug)]
struct OpenTalk {
    vassal: VassalId,
    socket: OwnedFd,
    /// Our end of the emperor pipe.
    pipe: OwnedFd,
    /// Our end of the config pipe, if there is one.
    config: Option<OwnedFd>,
    state: TalkState,
    /// The process that listens at the other end.
    server: PeerCredentials,
    base: Option<Base>,
    /// Time of the request, in ticks since boot.
    asked_at: u64,
}

#[derive(Debug)]
enum TalkState {
    Talking(fork::ForkTalk),
    Claimed(Claim),
}

/// The base that serves, if it is one of our vassals.
#[derive(Clone, Debug)]
struct Base {
    life: LifeId,
    session: Pid,
    name: Rc<[u8]>,
    uid: u32,
}

/// The result of one call on the socket of a talk.
enum TalkStep {
    /// Some bytes were sent or read; the next call may move more.
    More,
    /// Nothing can be sent or read until the socket is ready again.
    Blocked,
    /// The server has named this pid.
    Answered(i32),
    /// The talk is over.
    Failed(TalkError),
}

/// Why a talk has failed.
enum TalkError {
    /// The base does not take requests yet, or any longer.
    NotReady(String),
    /// Anything else.
    Failed(String),
}

impl From<TalkError> for LifeEvent {
    fn from(trouble: TalkError) -> Self {
        match trouble {
            TalkError::NotReady(why) => Self::BaseNotReady(why),
            TalkError::Failed(why) => Self::SpawnFailed(why),
        }
    }
}

impl OpenTalk {
    /// The user that the forked process must have: that of the base, or else that of the listening process.
    fn user(&self) -> u32 {
        self.base.as_ref().map_or(self.server.uid, |base| base.uid)
    }
}

impl ForkServers {
    /// Knows the server at this address, if there is one; no talk is open.
    pub fn new(address: Option<Address>, template: Rc<Template>) -> Self {
        let server = address.map(|address| ForkServer { address, seen: None, base: None });
        let talks = HashMap::new();
        let (proved, exited, scans) = (Vec::new(), Vec::new(), Vec::new());
        Self { server, template, talks, proved, exited, scans }
    }

    /// When [`ForkServers::check_claims`] is due.
    pub fn deadline(&self) -> Option<Moment> {
        let claims = self.talks.values().filter_map(|talk| match &talk.state {
            TalkState::Claimed(claim) => Some(claim.check_at),
            TalkState::Talking(_) => None,
        });
        claims.chain(self.scans.iter().map(|scan| scan.at)).min()
    }

    /// The lives that are requested and not adopted yet.
    pub fn lives(&self) -> impl Iterator<Item = LifeId> {
        self.talks.keys().copied().chain(self.proved.iter().map(|(life, _)| *life))
    }

    /// Takes out the verified processes.
    pub fn take_proved(&mut self) -> Vec<(LifeId, Process)> {
        std::mem::take(&mut self.proved)
    }

    /// The server, as messages name it.
    fn place(&self) -> String {
        self.server.as_ref().map_or_else(String::new, ForkServer::place)
    }

    /// Removes a talk; with the last one the list of exited children is cleared.
    fn close(&mut self, life: LifeId) -> Option<OpenTalk> {
        let talk = self.talks.remove(&life);
        if self.talks.is_empty() {
            self.exited.clear();
        }
        talk
    }

    // The talk.

    /// Requests a life. A failure is raised as an event at once; an answer comes later.
    pub fn ask(
        &mut self,
        request: &ForkRequest<'_>,
        known: KnownProcesses<'_>,
        context: &mut Context,
    ) {
        if let Err(error) = self.try_ask(request, known, context) {
            context.raise_for(request.life, error.into());
        }
    }

    fn try_ask(
        &mut self,
        request: &ForkRequest<'_>,
        known: KnownProcesses<'_>,
        context: &mut Context,
    ) -> Result<(), TalkError> {
        let ForkRequest { life, record, listener } = *request;
        // It may listen already, and would not be known for one of ours.
        if known.lives.awaits_base() {
            return Err(TalkError::NotReady(format!("{} is being started", self.place())));
        }
        let socket = self.connect(context)?;
        let (server, base) = self.identify_server(&socket, known, context)?;
        let failed =
            |error: io::Error| TalkError::Failed(format!("cannot ask a fork server: {error}"));
        let asked_at = clock::boot_ticks().map_err(failed)?;
        let (pipe, its_pipe) = socket::stream_pair().map_err(failed)?;
        socket::refuse_descriptors(pipe.as_fd()).map_err(failed)?;
        socket::refuse_descriptors(socket.as_fd()).map_err(failed)?;
        let name = &record.key.name;
        let config = self.template.config_pipe.then(socket::stream_pair).transpose();
        let (config, its_config) = config.map_err(failed)?.unzip();
        let scheme = if config.is_some() { emperor::CONFIG_SCHEME } else { "" };
        let file = [scheme.as_bytes(), name].concat();
        let mask = fork::PIPE
            | if config.is_some() { fork::CONFIG } else { 0 }
            | if listener.is_some() { fork::ON_DEMAND } else { 0 };
        let mut words = fork::ForkTalk::new(&self.template.argv(name, &file), mask)
            .map_err(|error| TalkError::Failed(error.to_string()))?;
        let attached: Vec<BorrowedFd<'_>> = [its_pipe.as_fd()]
            .into_iter()
            .chain(its_config.as_ref().map(AsFd::as_fd))
            .chain(listener)
            .collect();
        let sent = scm::send(socket.as_fd(), words.to_send(), &attached);
        words.sent(sent.map_err(|error| self.broken(&error))?);
        let interest = if words.to_send().is_empty() { Interest::Read } else { Interest::Write };
        context.reactor.add(socket.as_fd(), Token::ForkServer(life), interest, Delivery::Direct);
        let (vassal, state) = (record.id, TalkState::Talking(words));
        let talk = OpenTalk { vassal, socket, pipe, config, state, server, base, asked_at };
        self.talks.insert(life, talk);
        Ok(())
    }

    /// Connects to the server; a connection to a unix socket succeeds or fails at once.
    fn connect(&mut self, context: &mut Context) -> Result<OwnedFd, TalkError> {
        let place = self.place();
        let Some(server) = &mut self.server else {
            return Err(TalkError::Failed("there is no fork server".to_owned()));
        };
        let error = match socket::connect(&server.address) {
            Ok(Connecting::Done(socket)) => return Ok(socket),
            Ok(Connecting::Pending(_)) => io::ErrorKind::WouldBlock.into(),
            Err(error) => error,
        };
        Err(match error.kind() {
            io::ErrorKind::ConnectionRefused if is_not_socket(&server.address) => {
                TalkError::NotReady(format!("{place}: this is not a socket"))
            }
            kind @ (io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                if kind == io::ErrorKind::NotFound {
                    server.base_unreachable(context);
                }
                TalkError::NotReady(format!("{place} is not ready: {error}"))
            }
            io::ErrorKind::WouldBlock => {
                TalkError::NotReady(format!("{place} has too many requests in its queue"))
            }
            _ => TalkError::Failed(format!("cannot connect to the {place}: {error}")),
        })
    }

    /// Finds the process that has called listen(2) there. Descriptors are only sent to processes of root and of our
    /// own user, and to the bases among our vassals, whatever user they run as.
    fn identify_server(
        &mut self,
        socket: &OwnedFd,
        known: KnownProcesses<'_>,
        context: &mut Context,
    ) -> Result<(PeerCredentials, Option<Base>), TalkError> {
        let place = self.place();
        let server = socket::peer_credentials(socket.as_fd()).map_err(|error| {
            TalkError::Failed(format!("{place}: cannot tell who listens: {error}"))
        })?;
        let (pid, uid) = (server.pid, server.uid);
        let is_trusted = uid == 0 || uid == creds::effective_uid();
        // The process that has called listen(2) may have ended, and its pid may belong to a base by now. If that
        // base runs as the same user, nothing is given away that this user could not have taken.
        let base = known.base_with(pid).filter(|base| is_trusted || base.uid == uid);
        if base.is_none() && !is_trusted {
            return Err(TalkError::Failed(format!(
                "{place} belongs to the user {uid} (pid {pid}) and is not one of our bases; \
                 name its vassal in vassal-fork-base, or choose a place where only root can listen"
            )));
        }
        if let Some(known_server) = &mut self.server {
            known_server.base = base.as_ref().map(|base| base.life);
        }
        if let Some(known_server) = &mut self.server
            && known_server.seen != Some(server)
        {
            known_server.seen = Some(server);
            let name = base.as_ref().map(|base| messages::name(&base.name));
            let name = name.unwrap_or_else(|| "not one of our bases".to_owned());
            context.log.notice(format_args!("{place} is pid {pid}, uid {uid}: {name}"));
        }
        Ok((server, base))
    }

    /// The socket of a talk is ready.
    pub fn continue_talk(
        &mut self,
        life: LifeId,
        known: KnownProcesses<'_>,
        context: &mut Context,
    ) {
        for _ in 0..MAX_PIECES {
            match self.talk_once(life, context) {
                TalkStep::More => {}
                TalkStep::Blocked => return,
                TalkStep::Answered(pid) => return self.claim((life, pid), known, context),
                TalkStep::Failed(error) => return self.fail(life, error, context),
            }
        }
    }

    /// One call on the socket.
    fn talk_once(&mut self, life: LifeId, context: &mut Context) -> TalkStep {
        let Some(talk) = self.talks.get_mut(&life) else { return TalkStep::Blocked };
        let TalkState::Talking(words) = &mut talk.state else { return TalkStep::Blocked };
        if !words.to_send().is_empty() {
            match socket::send(talk.socket.as_fd(), words.to_send()) {
                Ok(sent) => words.sent(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return TalkStep::Blocked;
                }
                Err(error) => return TalkStep::Failed(self.broken(&error)),
            }
            if words.to_send().is_empty() {
                let token = Token::ForkServer(life);
                context.reactor.remove(talk.socket.as_fd());
                context.reactor.add(talk.socket.as_fd(), token, Interest::Read, Delivery::Direct);
            }
            return TalkStep::More;
        }
        let mut buffer = [0; 512];
        let heard = match scm::receive(talk.socket.as_fd(), &mut buffer) {
            Ok(chunk) => {
                // No descriptors are expected.
                scm::discard(chunk.fds);
                match chunk.length {
                    0 => Err(words.closed()),
                    length => words.receive(buffer.get(..length).unwrap_or_default()),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return TalkStep::Blocked,
            Err(error) => return TalkStep::Failed(self.broken(&error)),
        };
        let place = || self.place();
        match heard {
            Ok(None) => TalkStep::More,
            Ok(Some(pid)) => TalkStep::Answered(pid),
            Err(failure @ ForkError::Closed(_)) => TalkStep::Failed(TalkError::NotReady(format!(
                "{} is not ready: {failure}",
                place()
            ))),
            Err(failure) => TalkStep::Failed(TalkError::Failed(format!("{}: {failure}", place()))),
        }
    }

    /// What an error of the socket means.
    fn broken(&self, error: &io::Error) -> TalkError {
        let place = self.place();
        match error.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::WouldBlock => {
                TalkError::NotReady(format!("{place} is not ready: {error}"))
            }
            _ => TalkError::Failed(format!("{place}: {error}")),
        }
    }

    /// The state cancels the request; the result is raised as an event.
    pub fn end_talk(
        &mut self,
        (life, why): (LifeId, &'static str),
        known: KnownProcesses<'_>,
        context: &mut Context,
    ) {
        // A claimed process is checked once more at the end of its time.
        let was_open = self.talks.contains_key(&life);
        self.prove(life, known, context);
        if was_open && !self.talks.contains_key(&life) {
            return;
        }
        self.close_talk(life, context);
        let why = format!("{why} ({})", self.place());
        context.raise_for(life, LifeEvent::SpawnFailed(why));
    }

    fn fail(&mut self, life: LifeId, error: TalkError, context: &mut Context) {
        self.close_talk(life, context);
        context.raise_for(life, error.into());
    }

    /// Ends a talk that has failed. A process that was forked nevertheless is found by a scan a little later.
    fn close_talk(&mut self, life: LifeId, context: &mut Context) {
        let Some(talk) = self.close(life) else { return };
        context.reactor.remove(talk.socket.as_fd());
        if let Some(base) = talk.base {
            let (life, session, since) = (Some(base.life), base.session, talk.asked_at);
            let at = context.now + FIRST_SCAN;
            self.plan_scan(OrphanScan { at, pause: FIRST_SCAN, life, session, since });
        }
    }
}

impl ForkServer {
    /// The server, as messages name it.
    fn place(&self) -> String {
        format!("fork server at {}", crate::log::escaped(self.address.to_string().as_bytes()))
    }

    /// The socket file has been removed, which the base that listens there cannot notice. This is raised once; the
    /// state tells such a base from one that does not run or is about to listen again.
    fn base_unreachable(&mut self, context: &mut Context) {
        if let Some(life) = self.base.take() {
            context.raise_for(life, LifeEvent::Unreachable);
        }
    }
}

impl KnownProcesses<'_> {
    /// The base among our vassals whose session this process belongs to.
    fn base_with(&self, pid: i32) -> Option<Base> {
        let session = process::session_of(Pid::new(pid)?).ok().and_then(Pid::new)?;
        let life = self.lives.with_pid(session)?;
        let process = self.lives.get(life)?;
        let record = self.realm.vassal(process.vassal)?;
        let name = Rc::clone(&record.key.name);
        let uid = pidfd::info(process.pidfd.as_fd()).ok()?.uid[0];
        record.is_base.then_some(Base { life, session, name, uid })
    }
}

/// connect(2) to a file that is not a socket gives the same error as to a socket without a server.
fn is_not_socket(address: &Address) -> bool {
    match address {
        Address::Path(path) => {
            std::fs::metadata(path).is_ok_and(|meta| !meta.file_type().is_socket())
        }
        Address::Tcp(_) | Address::Abstract(_) => false,
    }
}
