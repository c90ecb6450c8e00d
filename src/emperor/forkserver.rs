//! Lives that a fork server makes: ask, hear, prove, adopt.
//!
//! A talk is one request and one answer on a socket of its own; it is open until the process that the
//! answer names has become ours, or until the state gives it up. Nothing is believed: the pid is a claim,
//! and only our own child, of the base's user and younger than the request, is adopted. A stranger is
//! never signalled.

mod sweeps;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::rc::Rc;
use std::time::Duration;

use super::Emperor;
use super::lives::{ConfigPipe, Process, exit};
use super::token::Token;
use crate::proto::emperor;
use crate::proto::fork::{self, ForkError};
use crate::reactor::{Interest, Kind};
use crate::state::{Event, LifeEvent, LifeId, VassalId};
use crate::sys::process::{self, Ended, Pid, Reap};
use crate::sys::signal::Signal;
use crate::sys::socket::{self, Address, Connecting, PeerCredentials};
use crate::sys::{clock, creds, pidfd, scm};
use crate::types::moment::Moment;
use sweeps::{SWEEP, Sweep};

/// Pieces of an answer that are read in one wake-up.
const MAX_PIECES: usize = 16;
/// Dead strangers that are remembered while a talk is open.
const MAX_DEAD: usize = 1024;
/// From the first look at the parent of a claimed process to the second; then doubled.
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// The longest pause between two looks: else the last one would come long before the end of the proof.
const LAST_LOOK: Duration = Duration::from_millis(64);

/// The fork server, and all talks with it.
#[derive(Debug, Default)]
pub(super) struct Forks {
    server: Option<Address>,
    talks: HashMap<LifeId, Talk>,
    /// Unknown children that have died while a talk was open.
    dead: Vec<Dead>,
    sweeps: Vec<Sweep>,
    /// Who was last seen to listen there.
    seen: Option<PeerCredentials>,
    /// The life of a base that has served there since it was last found to be unreachable.
    serves: Option<LifeId>,
}

/// One life that is asked for.
#[derive(Debug)]
struct Talk {
    vassal: VassalId,
    socket: OwnedFd,
    /// Our end of the emperor pipe.
    pipe: OwnedFd,
    /// Our end of the config pipe, if there is one.
    config: Option<OwnedFd>,
    state: State,
    /// Who listens.
    server: PeerCredentials,
    base: Option<Base>,
    /// When it was asked for, in ticks since boot.
    asked_at: u64,
}

#[derive(Debug)]
enum State {
    Talking(fork::ForkTalk),
    Claimed(Claim),
}

/// A process that was named, and is not ours yet.
#[derive(Debug)]
struct Claim {
    pid: Pid,
    pidfd: OwnedFd,
    /// When it is looked at next.
    look_at: Moment,
    pause: Duration,
}

/// The base that serves, if it is one of our vassals.
#[derive(Clone, Debug)]
struct Base {
    life: LifeId,
    session: Pid,
    name: Rc<[u8]>,
    uid: u32,
}

#[derive(Debug)]
struct Dead {
    pid: Pid,
    uid: u32,
    /// When it was born, in ticks since boot: its number may be another's by now.
    born_at: u64,
    ended: Ended,
}

/// What one call on the socket of a talk has brought.
enum Progress {
    /// Something; the next call may bring more.
    More,
    /// Nothing can be sent or read now: the reactor says when.
    Blocked,
    /// The server has named this pid.
    Answered(i32),
    /// The talk is over.
    Failed(Trouble),
}

/// Why a talk has come to nothing.
enum Trouble {
    /// The base takes no requests yet, or no more.
    NotReady(String),
    /// Anything else.
    Failed(String),
}

impl From<Trouble> for LifeEvent {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NotReady(why) => Self::BaseNotReady(why),
            Trouble::Failed(why) => Self::SpawnFailed(why),
        }
    }
}

impl Forks {
    /// With the server at this address.
    pub fn at(server: Address) -> Self {
        Self { server: Some(server), ..Self::default() }
    }

    /// When [`Emperor::look_at_forks`] is due.
    pub fn deadline(&self) -> Option<Moment> {
        let looks = self.talks.values().filter_map(|talk| match &talk.state {
            State::Claimed(claim) => Some(claim.look_at),
            State::Talking(_) => None,
        });
        looks.chain(self.sweeps.iter().map(|sweep| sweep.at)).min()
    }

    /// The lives that are asked for.
    pub fn lives(&self) -> impl Iterator<Item = LifeId> {
        self.talks.keys().copied()
    }

    /// The processes that a server has named and that are not proved yet.
    pub fn claimed(&self) -> Vec<Pid> {
        let claimed = |talk: &Talk| match &talk.state {
            State::Claimed(claim) => Some(claim.pid),
            State::Talking(_) => None,
        };
        self.talks.values().filter_map(claimed).collect()
    }

    /// The server, as messages name it.
    fn place(&self) -> String {
        self.server.as_ref().map_or_else(String::new, |server| {
            format!("fork server at {}", crate::log::escaped(server.to_string().as_bytes()))
        })
    }

    /// Takes out the dead process that this talk may have named: none that was there before.
    fn find_dead(&mut self, life: LifeId, number: i32) -> Option<Dead> {
        let talk = self.talks.get(&life)?;
        let is_it = |dead: &Dead| {
            (dead.pid.get(), dead.uid) == (number, talk.user()) && dead.born_at >= talk.asked_at
        };
        let at = self.dead.iter().rposition(is_it)?;
        Some(self.dead.swap_remove(at))
    }

    /// Takes a talk out; the last one takes the memory of the dead along.
    fn close(&mut self, life: LifeId) -> Option<Talk> {
        let talk = self.talks.remove(&life);
        if self.talks.is_empty() {
            self.dead.clear();
        }
        talk
    }
}

impl Talk {
    /// The user that a newborn must have: that of the base, or else of who listens.
    fn user(&self) -> u32 {
        self.base.as_ref().map_or(self.server.uid, |base| base.uid)
    }
}

impl Emperor {
    // The talk.

    /// Asks for a life; answers with an event, unless the server takes its time.
    pub(super) fn ask(&mut self, vassal: VassalId, life: LifeId) {
        if let Err(trouble) = self.try_ask(vassal, life) {
            self.context.raise_for(life, trouble.into());
        }
    }

    fn try_ask(&mut self, vassal: VassalId, life: LifeId) -> Result<(), Trouble> {
        let socket = self.connect()?;
        let (server, base) = self.who_serves(&socket)?;
        let failed =
            |error: io::Error| Trouble::Failed(format!("cannot ask a fork server: {error}"));
        let asked_at = clock::boot_ticks().map_err(failed)?;
        let (pipe, its_pipe) = socket::stream_pair().map_err(failed)?;
        socket::refuse_descriptors(pipe.as_fd()).map_err(failed)?;
        socket::refuse_descriptors(socket.as_fd()).map_err(failed)?;
        let record = self.realm.vassal(vassal).ok_or_else(|| io::ErrorKind::NotFound.into());
        let name = &record.map_err(failed)?.key.name;
        let listener = self.listeners.on_demand(vassal).map(AsFd::as_fd);
        let config = self.template.config_pipe.then(socket::stream_pair).transpose();
        let (config, its_config) = config.map_err(failed)?.unzip();
        let scheme = if config.is_some() { emperor::CONFIG_SCHEME } else { "" };
        let file = [scheme.as_bytes(), name].concat();
        let mask = fork::PIPE
            | if config.is_some() { fork::CONFIG } else { 0 }
            | if listener.is_some() { fork::ON_DEMAND } else { 0 };
        let mut talk = fork::ForkTalk::new(&self.template.argv(name, &file), mask)
            .map_err(|error| Trouble::Failed(error.to_string()))?;
        let attached: Vec<BorrowedFd<'_>> = [its_pipe.as_fd()]
            .into_iter()
            .chain(its_config.as_ref().map(AsFd::as_fd))
            .chain(listener)
            .collect();
        let sent = scm::send(socket.as_fd(), talk.to_send(), &attached);
        talk.sent(sent.map_err(|error| self.broken(&error))?);
        let interest = if talk.to_send().is_empty() { Interest::Read } else { Interest::Write };
        let token = Token::ForkServer(life);
        self.context.reactor.add(socket.as_fd(), token, interest, Kind::Busy);
        let state = State::Talking(talk);
        let talk = Talk { vassal, socket, pipe, config, state, server, base, asked_at };
        self.forks.talks.insert(life, talk);
        Ok(())
    }

    /// A connection; that to a unix socket is made at once or not at all.
    fn connect(&mut self) -> Result<OwnedFd, Trouble> {
        let place = self.forks.place();
        let Some(server) = &self.forks.server else {
            return Err(Trouble::Failed("there is no fork server".to_owned()));
        };
        let error = match socket::connect(server) {
            Ok(Connecting::Done(socket)) => return Ok(socket),
            Ok(Connecting::Pending(_)) => io::ErrorKind::WouldBlock.into(),
            Err(error) => error,
        };
        Err(match error.kind() {
            io::ErrorKind::ConnectionRefused if is_no_socket(server) => {
                Trouble::NotReady(format!("{place}: this is not a socket"))
            }
            kind @ (io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                if kind == io::ErrorKind::NotFound {
                    self.base_unreachable();
                }
                Trouble::NotReady(format!("{place} is not ready: {error}"))
            }
            io::ErrorKind::WouldBlock => {
                Trouble::NotReady(format!("{place} has too many requests in its queue"))
            }
            _ => Trouble::Failed(format!("cannot connect to the {place}: {error}")),
        })
    }

    /// The socket file is gone; a base that has served there has no way to know. It is told once to the
    /// state, for which a base that is not running, or is about to listen anew, is another matter.
    fn base_unreachable(&mut self) {
        if let Some(life) = self.forks.serves.take() {
            self.context.raise_for(life, LifeEvent::Unreachable);
        }
    }

    /// Who has called listen(2) there. Descriptors are given to nobody but root, our own user, and
    /// the bases among our vassals, whoever they run as.
    fn who_serves(&mut self, socket: &OwnedFd) -> Result<(PeerCredentials, Option<Base>), Trouble> {
        let place = self.forks.place();
        let server = socket::peer_credentials(socket.as_fd()).map_err(|error| {
            Trouble::Failed(format!("{place}: cannot tell who listens: {error}"))
        })?;
        let (pid, uid) = (server.pid, server.uid);
        let is_trusted = uid == 0 || uid == creds::effective_uid();
        // The process that has called listen(2) may be gone and its number another's, of any base; but
        // what a user could do to its base it may be given.
        let base = self.base_with(pid).filter(|base| is_trusted || base.uid == uid);
        if base.is_none() && !is_trusted {
            return Err(Trouble::Failed(format!(
                "{place} belongs to the user {uid} (pid {pid}) and is not one of our bases; \
                 name its vassal in vassal-fork-base, or choose a place where only root can listen"
            )));
        }
        self.forks.serves = base.as_ref().map(|base| base.life);
        if self.forks.seen != Some(server) {
            self.forks.seen = Some(server);
            let name = base.as_ref().map(|base| super::messages::name(&base.name));
            let name = name.unwrap_or_else(|| "not one of our bases".to_owned());
            self.context.log.notice(format_args!("{place} is pid {pid}, uid {uid}: {name}"));
        }
        Ok((server, base))
    }

    /// The base among our vassals in whose session this process sits.
    fn base_with(&self, pid: i32) -> Option<Base> {
        let session = process::session_of(Pid::new(pid)?).ok().and_then(Pid::new)?;
        let life = self.lives.with_pid(session)?;
        let process = self.lives.get(life)?;
        let vassal = process.vassal;
        let name = Rc::clone(&self.realm.vassal(vassal)?.key.name);
        let uid = pidfd::info(process.pidfd.as_fd()).ok()?.uid[0];
        self.is_base(vassal).then_some(Base { life, session, name, uid })
    }

    /// Whether others are forked from this vassal.
    pub(super) fn is_base(&self, vassal: VassalId) -> bool {
        self.realm.vassal(vassal).is_some_and(|vassal| vassal.is_base)
    }

    /// The socket of a talk is ready.
    pub(super) fn go_on_talking(&mut self, life: LifeId) {
        for _ in 0..MAX_PIECES {
            match self.talk_once(life) {
                Progress::More => {}
                Progress::Blocked => return,
                Progress::Answered(pid) => return self.claim(life, pid),
                Progress::Failed(trouble) => return self.fail(life, trouble),
            }
        }
    }

    /// One call on the socket.
    fn talk_once(&mut self, life: LifeId) -> Progress {
        let Some(talk) = self.forks.talks.get_mut(&life) else { return Progress::Blocked };
        let State::Talking(words) = &mut talk.state else { return Progress::Blocked };
        if !words.to_send().is_empty() {
            match socket::send(talk.socket.as_fd(), words.to_send()) {
                Ok(sent) => words.sent(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Progress::Blocked;
                }
                Err(error) => return Progress::Failed(self.broken(&error)),
            }
            if words.to_send().is_empty() {
                let token = Token::ForkServer(life);
                self.context.reactor.remove(talk.socket.as_fd());
                // A busy entry is a place in an array: nothing can fail.
                self.context.reactor.add(talk.socket.as_fd(), token, Interest::Read, Kind::Busy);
            }
            return Progress::More;
        }
        let mut buffer = [0; 512];
        let heard = match scm::receive(talk.socket.as_fd(), &mut buffer) {
            Ok(chunk) => {
                // Nobody has asked for descriptors.
                scm::discard(chunk.fds);
                match chunk.length {
                    0 => Err(words.closed()),
                    length => words.hear(buffer.get(..length).unwrap_or_default()),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Progress::Blocked,
            Err(error) => return Progress::Failed(self.broken(&error)),
        };
        let place = || self.forks.place();
        match heard {
            Ok(None) => Progress::More,
            Ok(Some(pid)) => Progress::Answered(pid),
            Err(failure @ ForkError::Closed(_)) => {
                Progress::Failed(Trouble::NotReady(format!("{} is not ready: {failure}", place())))
            }
            Err(failure) => Progress::Failed(Trouble::Failed(format!("{}: {failure}", place()))),
        }
    }

    /// What an error of the socket means.
    fn broken(&self, error: &io::Error) -> Trouble {
        let place = self.forks.place();
        match error.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::WouldBlock => {
                Trouble::NotReady(format!("{place} is not ready: {error}"))
            }
            _ => Trouble::Failed(format!("{place}: {error}")),
        }
    }

    /// The state has waited long enough; answers with an event.
    pub(super) fn end_talk(&mut self, life: LifeId, why: &'static str) {
        // The last look at who was named is that at the end of its time.
        let was_open = self.forks.talks.contains_key(&life);
        self.prove(life);
        if was_open && !self.forks.talks.contains_key(&life) {
            return;
        }
        self.close_talk(life);
        let why = format!("{why} ({})", self.forks.place());
        self.context.raise_for(life, LifeEvent::SpawnFailed(why));
    }

    fn fail(&mut self, life: LifeId, trouble: Trouble) {
        self.close_talk(life);
        self.happen(Event::Life(life, trouble.into()));
    }

    /// Ends a talk that has failed; what was born of it all the same is looked for a little later.
    fn close_talk(&mut self, life: LifeId) {
        let Some(talk) = self.forks.close(life) else { return };
        self.context.reactor.remove(talk.socket.as_fd());
        if let Some(base) = talk.base {
            let (life, session, since) = (Some(base.life), base.session, talk.asked_at);
            let at = self.context.now + SWEEP;
            self.forks.look_later(Sweep { at, pause: SWEEP, life, session, since });
        }
    }

    // The claim.

    /// The server has named a process.
    fn claim(&mut self, life: LifeId, number: i32) {
        let Some(talk) = self.forks.talks.get(&life) else { return };
        self.context.reactor.remove(talk.socket.as_fd());
        let opened = Pid::new(number)
            .ok_or_else(|| io::ErrorKind::InvalidInput.into())
            .and_then(|pid| pidfd::open(pid).map(|pidfd| (pid, pidfd)));
        // A child of ours that has the number now is meant, and not one that had it before.
        let is_there = opened.as_ref().is_ok_and(|(pid, fd)| user_of_child(*pid, fd).is_some());
        if !is_there && let Some(dead) = self.forks.find_dead(life, number) {
            self.forks.close(life);
            self.happen(Event::Life(life, LifeEvent::Adopted(number)));
            return self.happen(Event::Life(life, LifeEvent::Exited(exit(dead.ended))));
        }
        match opened {
            Ok((pid, pidfd)) => {
                let look_at = self.context.now;
                if let Some(talk) = self.forks.talks.get_mut(&life) {
                    let claim = Claim { pid, pidfd, look_at, pause: FIRST_LOOK };
                    talk.state = State::Claimed(claim);
                }
                self.happen(Event::Life(life, LifeEvent::Answered));
                self.prove(life);
            }
            Err(error) => self.fail_claim(life, &format!("pid {number}: {error}")),
        }
    }

    fn fail_claim(&mut self, life: LifeId, what: &str) {
        let why = format!("{} has answered with {what}", self.forks.place());
        self.fail(life, Trouble::Failed(why));
    }

    /// Looks whether the named process is our child by now, and if so, whether it can be what was
    /// asked for.
    fn prove(&mut self, life: LifeId) {
        let Some(talk) = self.forks.talks.get_mut(&life) else { return };
        let wanted = talk.user();
        let State::Claimed(claim) = &mut talk.state else { return };
        let pid = claim.pid;
        if self.lives.with_pid(pid).is_some() {
            return self.fail_claim(life, &format!("pid {pid}, which is that of another vassal"));
        }
        if self.helpers.with_pid(pid).is_some() {
            return self.fail_claim(life, &format!("pid {pid}, which is that of a hook"));
        }
        let Some(uid) = user_of_child(pid, &claim.pidfd) else {
            // It is given to us when the process between has ended, which may be a moment later.
            claim.look_at = self.context.now + claim.pause;
            claim.pause = (claim.pause * 2).min(LAST_LOOK);
            return;
        };
        let too_old = process::start_ticks(pid).is_ok_and(|start| start < talk.asked_at);
        if too_old || uid != wanted {
            // No base has us kill for it whom it could not kill itself.
            let may = wanted == 0 || uid == wanted;
            if may {
                let _ = pidfd::send(claim.pidfd.as_fd(), Signal::KILL);
            }
            let what = match uid == wanted {
                true => "which is older than the request".to_owned(),
                false => format!("which runs as user {uid}"),
            };
            let fate = if may { ": it is killed" } else { "" };
            let what = format!("pid {pid}, {what}{fate}");
            return self.fail_claim(life, &what);
        }
        self.adopt(life, pid);
    }

    /// Takes a proved process into the tables.
    fn adopt(&mut self, life: LifeId, pid: Pid) {
        let Some(talk) = self.forks.close(life) else { return };
        let Talk { vassal, pipe, config, state: State::Claimed(claim), base, .. } = talk else {
            return;
        };
        let pidfd = claim.pidfd;
        let base = base.map(|base| base.name);
        let mut process = Process::new(vassal, (pid, pidfd), pipe, self.context.now);
        process.base = base;
        process.config = config.map(ConfigPipe::new);
        self.lives.adopt(life, process, &mut self.context);
        self.push_config(life);
        self.happen(Event::Life(life, LifeEvent::Adopted(pid.get())));
    }

    // Those whom nobody knows.

    /// A child has ended that is not in the tables; if a server has named it, it comes into them.
    pub(super) fn prove_claim_of(&mut self, child: Pid) {
        let claims =
            |talk: &Talk| matches!(&talk.state, State::Claimed(claim) if claim.pid == child);
        let found = self.forks.talks.iter().find(|(_, talk)| claims(talk)).map(|(life, _)| *life);
        if let Some(life) = found {
            self.prove(life);
        }
    }

    /// Reaps a child that nobody knows; while a talk is open it may yet be named.
    pub(super) fn reap_stranger(&mut self, pid: Pid) {
        self.lives.orphan_reaped(pid);
        let wanted = !self.forks.talks.is_empty() && self.forks.dead.len() < MAX_DEAD;
        // Asked before it is reaped: after that its number may be another's.
        let uid = process::user_of_ended(pid).ok().filter(|_| wanted);
        let born_at = uid.and_then(|_| process::start_ticks(pid).ok());
        if let (Ok(Some(ended)), Some(uid), Some(born_at)) = (process::reap(pid), uid, born_at) {
            self.forks.dead.push(Dead { pid, uid, born_at, ended });
        }
    }

    /// Serves the deadlines of claims and sweeps.
    pub(super) fn look_at_forks(&mut self) {
        let now = self.context.now;
        let is_due = |talk: &Talk| match &talk.state {
            State::Claimed(claim) => claim.look_at <= now,
            State::Talking(_) => false,
        };
        let due = self.forks.talks.iter().filter(|(_, talk)| is_due(talk));
        let due: Vec<LifeId> = due.map(|(life, _)| *life).collect();
        for life in due {
            self.prove(life);
        }
        let sweeps: Vec<Sweep> = self.forks.sweeps.extract_if(.., |s| s.at <= now).collect();
        for sweep in sweeps {
            self.sweep(sweep);
        }
    }
}

/// The real user of a process that is our child; `None` if it is not, or not yet.
fn user_of_child(pid: Pid, pidfd: &OwnedFd) -> Option<u32> {
    match pidfd::info(pidfd.as_fd()) {
        Ok(who) => (who.parent == std::process::id()).then_some(who.uid[0]),
        // It has ended already, and only its parent still sees it.
        Err(_) => match pidfd::wait(pidfd.as_fd(), Reap::Peek) {
            Ok(Some(_)) => process::user_of_ended(pid).ok(),
            Ok(None) | Err(_) => None,
        },
    }
}

/// Connecting to a file that is no socket is refused like one to a socket without a server.
fn is_no_socket(address: &Address) -> bool {
    match address {
        Address::Path(path) => {
            std::fs::metadata(path).is_ok_and(|meta| !meta.file_type().is_socket())
        }
        Address::Tcp(_) | Address::Abstract(_) => false,
    }
}
