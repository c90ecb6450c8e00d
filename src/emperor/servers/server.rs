//! The statistics server: whoever connects gets one JSON object at once, and the end of the stream.
//!
//! Nothing is read from a client but to throw it away, no write waits, and nobody can make the emperor
//! grow: at most [`MAX_CLIENTS`] clients for [`PATIENCE`] each, and [`MAX_KEPT`] bytes kept for them. Clients
//! share a snapshot for up to [`REUSE`], and no more than [`MAX_ACCEPTS`] are let in within that time, so that
//! one who storms costs little and keeps nobody else out: who waits is served in its turn. When no descriptor is left, a spare one is given up for as
//! long as it takes to answer.
//!
//! A client that has got everything is waited for until it closes: closing first, with a request of
//! its own unread, would reset the connection and take back what is under way (RFC 1122, 4.2.2.13).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::reactor::{Interest, Kind, Reactor, Token};
use crate::sys::accept::{self, Accepted};
use crate::sys::socket::{Address, ListenOptions, SocketError};
use crate::sys::{fd, socket, write};
use crate::types::moment::Moment;

use crate::emperor::listening_socket;

/// Most clients at one time; one more, and one that has got nothing for longest is dropped.
pub const MAX_CLIENTS: usize = 32;

/// From connect to close, however slow the client is.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Most bytes of snapshots kept for clients; one snapshot may be larger.
pub const MAX_KEPT: usize = 8 * 1024 * 1024;

/// How long a snapshot is good while nothing happens; and the time in which a listener lets [`MAX_ACCEPTS`] in.
const REUSE: Duration = Duration::from_millis(20);

/// How long it is good though something has happened, for each byte: about ten times what it has cost.
const REUSE_PER_BYTE: Duration = Duration::from_nanos(15);

/// Most connections accepted at one listener within [`REUSE`].
const MAX_ACCEPTS: usize = 32;

/// How long a listener that cannot be served is not polled.
const DEAFNESS: Duration = Duration::from_secs(1);

/// Most bytes that a client may send before it is taken for a flood.
const MAX_IGNORED: usize = 64 * 1024;

/// One connection; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(u64);

/// What the reactor waits for here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The listener at this place: then [`Stats::accept`].
    Listener(usize),
    /// A client: then [`Stats::serve`].
    Client(ClientId),
}

/// How an answer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// With the object itself.
    #[default]
    Json,
    /// With the header of an HTTP/1.0 answer (`stats-http`).
    Http,
}

/// Listeners and clients.
#[derive(Debug, Default)]
pub struct Stats {
    form: Form,
    listeners: Vec<Listener>,
    /// In the order of their coming.
    clients: Vec<Client>,
    last_id: u64,
    /// Given up when there is no other descriptor for a client.
    spare: Option<OwnedFd>,
    changes: Vec<Change>,
    snapshot: Option<Snapshot>,
}

/// A place where statistics are served.
#[derive(Clone, Debug)]
pub struct Place {
    /// The address; a path is absolute.
    pub address: Address,
    /// How to listen there.
    pub options: ListenOptions,
}

/// A listening socket, and where it is bound.
#[derive(Debug)]
pub struct Bound {
    socket: listening_socket::ListeningSocket,
    place: Option<Place>,
}

#[derive(Debug)]
struct Listener {
    bound: Bound,
    deaf_until: Option<Moment>,
    /// How many it has let in since then.
    share: (Moment, usize),
}

/// What the clients of a moment get.
#[derive(Debug)]
struct Snapshot {
    made: Moment,
    /// What the state was when it was made.
    version: u64,
    answer: Rc<Vec<u8>>,
}

impl Bound {
    /// Listens at a place.
    ///
    /// # Errors
    /// Those of [`socket::listen`].
    pub fn new(place: Place) -> Result<Self, SocketError> {
        let socket = socket::listen(&place.address, &place.options)?;
        Ok(Self {
            socket: listening_socket::ListeningSocket::new(socket, Path::new("/")),
            place: Some(place),
        })
    }
}

impl From<OwnedFd> for Bound {
    /// A socket that others have bound; it is never bound anew.
    fn from(socket: OwnedFd) -> Self {
        Self { socket: listening_socket::ListeningSocket::new(socket, Path::new("/")), place: None }
    }
}

#[derive(Debug)]
struct Client {
    id: ClientId,
    socket: OwnedFd,
    /// What is still to be sent; `None`: all was, and the client is to close.
    rest: Option<Rest>,
    ignored: usize,
    /// When it last took something.
    moved: Moment,
    deadline: Moment,
}

#[derive(Debug)]
struct Rest {
    snapshot: Rc<Vec<u8>>,
    sent: usize,
}

/// What the reactor must hear of.
#[derive(Debug)]
enum Change {
    Listen(usize),
    Deafen(usize),
    Watch(ClientId, Interest),
    /// It may be closed only when it is not polled any more.
    Forget(OwnedFd),
}

/// What is to be done with a client.
enum Fate {
    Keep,
    Drop,
}

/// What is to be done with a listener.
enum Next {
    GoOn,
    Stop,
    Deafen,
}

impl Stats {
    /// Serves these listening sockets, which are made non-blocking.
    pub fn new(listeners: Vec<Bound>, form: Form, now: Moment) -> Self {
        let heard = |bound| Listener { bound, deaf_until: None, share: (now, 0) };
        let listeners: Vec<Listener> = listeners.into_iter().map(heard).collect();
        for listener in &listeners {
            // It cannot fail for an open descriptor; a poll before each accept would still protect.
            let _ = fd::set_nonblocking(listener.bound.socket.as_fd());
        }
        Self {
            form,
            changes: (0..listeners.len()).map(Change::Listen).collect(),
            listeners,
            clients: Vec::new(),
            last_id: 0,
            spare: fd::open_null().ok(),
            snapshot: None,
        }
    }

    /// Whether there is a snapshot that can still be given to who comes now; `version` tells whether anything
    /// has happened since it was made.
    pub fn is_fresh(&self, version: u64, now: Moment) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| {
            let bytes = u32::try_from(snapshot.answer.len()).unwrap_or(u32::MAX);
            let good = match snapshot.version == version {
                true => REUSE,
                false => REUSE.min(REUSE_PER_BYTE.saturating_mul(bytes)),
            };
            now.saturating_duration_since(snapshot.made) < good
        })
    }

    /// Takes a new snapshot, in JSON.
    pub fn renew(&mut self, report: Vec<u8>, version: u64, now: Moment) {
        let answer = self.form.dress(report);
        self.snapshot = Some(Snapshot { made: now, version, answer });
    }

    /// Takes the connections that wait at a listener and writes to each what fits of the snapshot.
    pub fn accept(&mut self, index: usize, now: Moment) {
        let Some(snapshot) = self.snapshot.as_ref().map(|it| Rc::clone(&it.answer)) else { return };
        while let Some(until) = self.may_let_in(index, now) {
            if until > now {
                self.deafen(index, until);
                break;
            }
            match self.take_one(index, now, &snapshot) {
                Next::GoOn => {}
                Next::Stop => break,
                Next::Deafen => {
                    self.deafen(index, now + DEAFNESS);
                    break;
                }
            }
        }
        if self.spare.is_none() {
            self.spare = fd::open_null().ok();
        }
    }

    /// When a listener may let the next one in, which is counted if it may now.
    fn may_let_in(&mut self, index: usize, now: Moment) -> Option<Moment> {
        let share = &mut self.listeners.get_mut(index)?.share;
        if now.saturating_duration_since(share.0) >= REUSE {
            *share = (now, 0);
        }
        if share.1 >= MAX_ACCEPTS {
            return Some(share.0 + REUSE);
        }
        share.1 += 1;
        Some(now)
    }

    /// Looks whether clients still find the listeners, and binds those anew that they do not. What is to be said
    /// of it.
    pub fn look(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            let Some(place) = listener.bound.place.clone() else { continue };
            let Some(lost) = listener.bound.socket.lost(Path::new("/")) else { continue };
            let address = place.address.clone();
            let replace_refusing = lost == listening_socket::SocketLoss::ShutDown;
            let options = ListenOptions { replace_refusing, ..place.options.clone() };
            let anew = Bound::new(Place { options, ..place.clone() });
            lines.push(match anew {
                Ok(bound) => {
                    let _ = fd::set_nonblocking(bound.socket.as_fd());
                    let bound = Bound { place: Some(place), ..bound };
                    let old = std::mem::replace(&mut listener.bound, bound);
                    listener.deaf_until = None;
                    self.changes.push(Change::Forget(old.socket.socket));
                    self.changes.push(Change::Listen(index));
                    format!("the socket of the statistics, {address}, {lost}; it is bound again")
                }
                Err(error) => format!(
                    "the socket of the statistics, {address}, {lost}; it cannot be bound again: {error}"
                ),
            });
        }
        lines
    }

    /// Goes on with a client that is ready.
    pub fn serve(&mut self, id: ClientId, now: Moment) {
        let Some(place) = self.clients.iter().position(|client| client.id == id) else { return };
        let Some(client) = self.clients.get_mut(place) else { return };
        let was_writing = client.rest.is_some();
        match client.go_on(now) {
            Fate::Drop => self.drop_client(place),
            Fate::Keep if was_writing && client.rest.is_none() => {
                self.changes.push(Change::Watch(id, Interest::Read));
            }
            Fate::Keep => {}
        }
    }

    /// When [`Stats::expire`] is due.
    pub fn deadline(&self) -> Option<Moment> {
        let clients = self.clients.iter().map(|client| client.deadline);
        clients.chain(self.listeners.iter().filter_map(|listener| listener.deaf_until)).min()
    }

    /// Drops the clients that have had their time, and hears again what was deaf.
    pub fn expire(&mut self, now: Moment) {
        while let Some(place) = self.clients.iter().position(|client| client.deadline <= now) {
            self.drop_client(place);
        }
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if listener.deaf_until.is_some_and(|until| until <= now) {
                listener.deaf_until = None;
                self.changes.push(Change::Listen(index));
            }
        }
    }

    /// Tells the reactor what has changed; due after each other call, and once at the start.
    pub fn settle<T: Token>(&mut self, reactor: &mut Reactor<T>, token: impl Fn(Source) -> T) {
        for change in std::mem::take(&mut self.changes) {
            match change {
                Change::Listen(index) => {
                    let Some(listener) = self.listeners.get(index) else { continue };
                    let token = token(Source::Listener(index));
                    let socket = listener.bound.socket.as_fd();
                    reactor.add(socket, token, Interest::Read, Kind::Busy);
                }
                Change::Deafen(index) => {
                    let Some(listener) = self.listeners.get(index) else { continue };
                    reactor.remove(listener.bound.socket.as_fd());
                }
                Change::Watch(id, interest) => {
                    // It may be gone already: then its end follows in this list.
                    let Some(socket) = self.client(id) else { continue };
                    reactor.add(socket, token(Source::Client(id)), interest, Kind::Busy);
                }
                Change::Forget(closed_here) => reactor.remove(closed_here.as_fd()),
            }
        }
    }

    fn client(&self, id: ClientId) -> Option<BorrowedFd<'_>> {
        self.clients.iter().find(|client| client.id == id).map(|client| client.socket.as_fd())
    }

    fn welcome(&mut self, socket: OwnedFd, snapshot: Rc<Vec<u8>>, now: Moment) {
        self.last_id += 1;
        let id = ClientId(self.last_id);
        let mut client = Client {
            id,
            socket,
            rest: Some(Rest { snapshot, sent: 0 }),
            ignored: 0,
            moved: now,
            deadline: now + PATIENCE,
        };
        if let Fate::Drop = client.go_on(now) {
            return;
        }
        let interest = if client.rest.is_some() { Interest::Write } else { Interest::Read };
        self.clients.push(client);
        self.changes.push(Change::Watch(id, interest));
        while self.clients.len() > MAX_CLIENTS || (self.kept() > MAX_KEPT && self.clients.len() > 1)
        {
            self.drop_the_least_worthy();
        }
    }

    /// Drops a client that has everything, or else the one that has taken nothing for longest; never
    /// the newest.
    fn drop_the_least_worthy(&mut self) {
        let Some((_newest, older)) = self.clients.split_last() else { return };
        let worth = |(_, client): &(usize, &Client)| (client.rest.is_some(), client.moved);
        let least = older.iter().enumerate().min_by_key(worth);
        if let Some((place, _)) = least {
            self.drop_client(place);
        }
    }

    fn drop_client(&mut self, place: usize) {
        let client = self.clients.remove(place);
        self.changes.push(Change::Forget(client.socket));
    }

    /// Bytes of all snapshots that somebody still needs; neighbours share theirs.
    fn kept(&self) -> usize {
        let mut last: Option<&Rc<Vec<u8>>> = None;
        let mut sum = 0;
        for rest in self.clients.iter().filter_map(|client| client.rest.as_ref()) {
            if !last.is_some_and(|last| Rc::ptr_eq(last, &rest.snapshot)) {
                sum += rest.snapshot.len();
            }
            last = Some(&rest.snapshot);
        }
        sum
    }

    fn take_one(&mut self, listener: usize, now: Moment, snapshot: &Rc<Vec<u8>>) -> Next {
        let Some(entry) = self.listeners.get(listener) else { return Next::Stop };
        match accept::next(entry.bound.socket.as_fd()) {
            Accepted::Connection(socket) => {
                self.welcome(socket, Rc::clone(snapshot), now);
                Next::GoOn
            }
            Accepted::Nobody => Next::Stop,
            Accepted::Failed => Next::GoOn,
            Accepted::Broken(_) => Next::Deafen,
            Accepted::NoDescriptor => {
                // The spare one makes room for one client, which gets what fits at once.
                if self.spare.take().is_none() {
                    return Next::Deafen;
                }
                let next = match accept::next(entry.bound.socket.as_fd()) {
                    Accepted::Connection(client) => {
                        answer_at_once(&client, snapshot);
                        Next::GoOn
                    }
                    Accepted::Nobody => Next::Stop,
                    Accepted::Failed => Next::GoOn,
                    Accepted::NoDescriptor | Accepted::Broken(_) => Next::Deafen,
                };
                self.spare = fd::open_null().ok();
                next
            }
        }
    }

    fn deafen(&mut self, index: usize, until: Moment) {
        if let Some(listener) = self.listeners.get_mut(index) {
            listener.deaf_until = Some(until);
            self.changes.push(Change::Deafen(index));
        }
    }
}

/// Best effort: this client cannot be waited for.
fn answer_at_once(client: &OwnedFd, snapshot: &[u8]) {
    let _ = socket::send(client.as_fd(), snapshot);
    let _ = write::shutdown_write(client.as_fd());
    let _ = socket::receive(client.as_fd(), &mut [0; 4096]);
}

impl Client {
    /// Sends what fits, or, when all is sent, throws away what has come, until the end.
    fn go_on(&mut self, now: Moment) -> Fate {
        while let Some(rest) = &mut self.rest {
            let tail = rest.snapshot.get(rest.sent..).unwrap_or_default();
            if tail.is_empty() {
                self.rest = None;
                if write::shutdown_write(self.socket.as_fd()).is_err() {
                    return Fate::Drop;
                }
                break;
            }
            match socket::send(self.socket.as_fd(), tail) {
                Ok(sent) => {
                    rest.sent += sent;
                    self.moved = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Fate::Keep,
                Err(_gone) => return Fate::Drop,
            }
        }
        self.throw_away_input()
    }

    fn throw_away_input(&mut self) -> Fate {
        let mut buffer = [0; 4096];
        while self.ignored <= MAX_IGNORED {
            match socket::receive(self.socket.as_fd(), &mut buffer) {
                Ok(0) => return Fate::Drop,
                Ok(length) => self.ignored += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Fate::Keep,
                Err(_gone) => return Fate::Drop,
            }
        }
        Fate::Drop
    }
}

impl Form {
    fn dress(self, mut answer: Vec<u8>) -> Rc<Vec<u8>> {
        if self == Self::Http {
            let header = format!(
                "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                 Cache-Control: no-store\r\nConnection: close\r\n\r\n",
                answer.len()
            );
            answer.splice(..0, header.into_bytes());
        }
        Rc::new(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        ClientId, DEAFNESS, Form, MAX_ACCEPTS, MAX_CLIENTS, MAX_KEPT, PATIENCE, REUSE, Source,
        Stats,
    };
    use crate::reactor::{Reactor, Token};
    use crate::sys::clock;
    use crate::sys::{socket, test_fork_lock};
    use std::fs::File;
    use std::io::{self, Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;
    use std::process::{Command, Stdio};
    use std::thread::{self, JoinHandle};
    use std::time::Duration;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Name {
        Listener(usize),
        Client(ClientId),
    }

    impl Token for Name {
        fn rank(self) -> u8 {
            0
        }
    }

    /// The server in a loop like the emperor's, on a unix and a TCP socket.
    struct World {
        stats: Stats,
        reactor: Reactor<Name>,
        text: Vec<u8>,
        /// How often the report was asked for.
        asked: usize,
        /// How much has happened.
        version: u64,
        /// Added to the clock.
        later: Duration,
        path: PathBuf,
        port: u16,
        _dir: tempfile::TempDir,
        _quiet: test_fork_lock::NoForks,
    }

    impl World {
        fn new(length: usize, form: Form) -> Self {
            let _quiet = test_fork_lock::none();
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("stats.sock");
            let unix = UnixListener::bind(&path).unwrap();
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = tcp.local_addr().unwrap().port();
            let mut world = Self {
                stats: Stats::new(
                    vec![OwnedFd::from(unix).into(), OwnedFd::from(tcp).into()],
                    form,
                    clock::now(),
                ),
                reactor: Reactor::new().unwrap(),
                text: (0..length).map(|index| b'a' + (index % 23) as u8).collect(),
                asked: 0,
                version: 0,
                later: Duration::ZERO,
                path,
                port,
                _dir: dir,
                _quiet,
            };
            world.settle();
            world
        }

        fn settle(&mut self) {
            self.stats.settle(&mut self.reactor, |source| match source {
                Source::Listener(index) => Name::Listener(index),
                Source::Client(id) => Name::Client(id),
            });
        }

        /// One wake-up, or none after 20 ms.
        fn turn(&mut self) -> usize {
            let mut ready = Vec::new();
            let soon = clock::now() + Duration::from_millis(20);
            let now = self.reactor.wait(Some(soon), &mut ready).unwrap() + self.later;
            for name in &ready {
                match *name {
                    Name::Listener(index) => {
                        if !self.stats.is_fresh(self.version, now) {
                            self.asked += 1;
                            self.stats.renew(self.text.clone(), self.version, now);
                        }
                        self.stats.accept(index, now);
                    }
                    Name::Client(id) => self.stats.serve(id, now),
                }
            }
            self.stats.expire(now);
            self.settle();
            assert!(self.stats.clients.len() <= MAX_CLIENTS);
            ready.len()
        }

        fn turn_until(&mut self, mut is_done: impl FnMut(&mut Self) -> bool) {
            let deadline = clock::now() + Duration::from_secs(30);
            while !is_done(self) {
                assert!(clock::now() < deadline, "nothing came");
                self.turn();
            }
        }

        fn join<T>(&mut self, client: JoinHandle<T>) -> T {
            self.turn_until(|_| client.is_finished());
            client.join().unwrap()
        }

        fn connect(&self) -> UnixStream {
            UnixStream::connect(&self.path).unwrap()
        }
    }

    /// Reads what is there.
    fn take(client: &mut UnixStream, part: &mut [u8]) -> usize {
        client.set_nonblocking(true).unwrap();
        match client.read(part) {
            Ok(0) => panic!("it was dropped"),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    }

    fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
        thread::spawn(move || {
            let mut text = Vec::new();
            from.read_to_end(&mut text).unwrap();
            text
        })
    }

    #[test]
    fn whoever_connects_gets_the_report_and_the_end() {
        let mut world = World::new(640_000, Form::Json);
        let unix = read_all(world.connect());
        let tcp = read_all(TcpStream::connect(("127.0.0.1", world.port)).unwrap());
        assert!(world.join(unix) == world.text);
        assert!(world.join(tcp) == world.text);
        world.turn_until(|world| world.stats.clients.is_empty());
        assert_eq!(world.stats.deadline(), None, "nothing to wake up for");
    }

    #[test]
    fn a_browser_gets_a_header_and_all_of_the_body_whatever_it_has_sent() {
        let mut world = World::new(3_000_000, Form::Http);
        let mut client = TcpStream::connect(("127.0.0.1", world.port)).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let client = thread::spawn(move || {
            let (mut text, mut part) = (Vec::new(), [0; 65_536]);
            loop {
                match client.read(&mut part).unwrap() {
                    0 => return text,
                    length => text.extend_from_slice(&part[..length]),
                }
                let _ = client.write(b"more\r\n");
            }
        });
        let answer = world.join(client);
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let header = str::from_utf8(&answer[..end]).unwrap();
        assert!(header.starts_with("HTTP/1.0 200 OK\r\n"), "{header}");
        assert!(header.contains("\r\nContent-Length: 3000000\r\n"), "{header}");
        assert!(answer[end..] == world.text);
    }

    #[test]
    fn a_slow_reader_gets_all_and_nobody_waits_for_it() {
        let mut world = World::new(640_000, Form::Json);
        let mut slow = world.connect();
        world.turn_until(|world| world.stats.clients.len() == 1);
        let mut got = Vec::new();
        let mut part = [0; 10_000];
        while got.len() < world.text.len() {
            let other = read_all(world.connect());
            assert!(world.join(other) == world.text);
            let burst = world.text.len().min(got.len() + 80_000);
            let mut length = 1;
            while got.len() < burst && length > 0 {
                length = take(&mut slow, &mut part);
                got.extend_from_slice(&part[..length]);
            }
            world.turn();
        }
        assert!(got == world.text);
        slow.set_nonblocking(false).unwrap();
        assert_eq!(slow.read(&mut part).unwrap(), 0);
    }

    #[test]
    fn a_silent_client_has_five_seconds() {
        let mut world = World::new(640_000, Form::Json);
        let mut silent = world.connect();
        world.turn_until(|world| world.stats.clients.len() == 1);
        let due = world.stats.deadline().unwrap();
        assert!(due <= clock::now() + PATIENCE);
        world.turn();
        assert_eq!(world.turn(), 0, "asleep until then");
        world.later = PATIENCE;
        world.turn();
        assert_eq!(world.stats.deadline(), None);
        let mut got = Vec::new();
        silent.read_to_end(&mut got).unwrap();
        assert!(got.len() < world.text.len());
        assert!(world.text.starts_with(&got));
    }

    #[test]
    fn a_client_that_never_closes_has_five_seconds() {
        let mut world = World::new(100, Form::Json);
        let mut client = world.connect();
        world.turn_until(|world| world.stats.clients.len() == 1);
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got, world.text);
        assert_eq!(world.turn(), 0, "asleep until then");
        world.later = PATIENCE;
        world.turn();
        assert!(world.stats.clients.is_empty());
    }

    #[test]
    fn a_thousand_clients_take_no_more_than_their_slots() {
        let mut world = World::new(640_000, Form::Json);
        let mut held = Vec::new();
        for number in 0..1000 {
            held.push(world.connect());
            if number % 50 == 49 {
                world.turn_until(|world| world.turn() == 0);
                assert!(world.stats.kept() <= MAX_KEPT);
                held.truncate(100);
            }
        }
        // One that reads is served all the same.
        let reader = read_all(world.connect());
        assert!(world.join(reader) == world.text);
        assert!(world.stats.clients.len() <= MAX_CLIENTS);
    }

    #[test]
    fn clients_of_one_wake_up_share_one_report() {
        let mut world = World::new(1_000_000, Form::Json);
        let clients: Vec<_> = (0..20).map(|_| world.connect()).collect();
        world.turn_until(|world| world.stats.clients.len() == clients.len());
        assert_eq!(world.asked, 1);
        assert_eq!(world.stats.kept(), 1_000_000);
    }

    #[test]
    fn a_report_is_good_for_a_moment_and_shorter_when_something_has_happened() {
        let now = clock::now();
        let mut stats = Stats::new(Vec::new(), Form::Json, now);
        assert!(!stats.is_fresh(0, now));
        stats.renew(vec![0; 1000], 7, now);
        let just_before = now + REUSE - Duration::from_nanos(1);
        assert!(stats.is_fresh(7, just_before) && !stats.is_fresh(7, now + REUSE));
        // A small one costs nothing, and shows at once what has happened; a large one does after a while.
        assert!(!stats.is_fresh(8, now + Duration::from_micros(15)));
        stats.renew(vec![0; 600_000], 8, now);
        assert!(stats.is_fresh(9, now + Duration::from_millis(8)));
        assert!(!stats.is_fresh(9, now + Duration::from_millis(9)));
        stats.renew(vec![0; 60_000_000], 9, now);
        assert!(stats.is_fresh(10, just_before) && !stats.is_fresh(10, now + REUSE));
    }

    #[test]
    fn one_who_storms_costs_few_reports_and_keeps_nobody_out() {
        let mut world = World::new(100_000, Form::Json);
        // As long a queue as the emperor asks for.
        for listener in &world.stats.listeners {
            socket::set_backlog(listener.bound.socket.as_fd(), 100).unwrap();
        }
        let path = world.path.clone();
        let storm = thread::spawn(move || {
            let start = clock::now();
            while clock::now().saturating_duration_since(start) < Duration::from_secs(1) {
                drop(UnixStream::connect(&path));
            }
        });
        let mut turns = 0;
        let mut honest = 0;
        let start = clock::now();
        while !storm.is_finished() {
            let path = world.path.clone();
            let reader = thread::spawn(move || {
                let mut answer = Vec::new();
                UnixStream::connect(path).unwrap().read_to_end(&mut answer).unwrap();
                answer
            });
            while !reader.is_finished() {
                world.turn();
                turns += 1;
                assert!(
                    clock::now().saturating_duration_since(start) < Duration::from_secs(30),
                    "it is kept out"
                );
            }
            assert!(reader.join().unwrap() == world.text);
            honest += 1;
        }
        let moments =
            clock::now().saturating_duration_since(start).as_millis() / REUSE.as_millis() + 2;
        assert!(honest >= 3, "{honest}");
        println!("{turns} turns, {honest} answers, {} reports, {moments} moments", world.asked);
        assert!(world.asked as u128 <= moments);
        assert!(world.stats.last_id as u128 <= moments * MAX_ACCEPTS as u128);
    }

    #[test]
    fn reports_of_many_wake_ups_are_kept_for_the_youngest_only() {
        let mut world = World::new(1_000_000, Form::Json);
        let mut clients = Vec::new();
        for number in 1..=20 {
            world.later += REUSE;
            clients.push(world.connect());
            world.turn_until(|world| world.asked == number);
            assert!(world.stats.kept() <= MAX_KEPT, "{}", world.stats.kept());
        }
        assert_eq!(world.stats.clients.len(), 8);
        let huge = World::new(2 * MAX_KEPT, Form::Json);
        let mut world = huge;
        let reader = read_all(world.connect());
        assert!(world.join(reader) == world.text, "one may be larger");
    }

    #[test]
    fn who_has_got_everything_gives_way_first_and_then_who_takes_nothing() {
        let mut world = World::new(640_000, Form::Json);
        let mut reader = world.connect();
        world.turn_until(|world| world.stats.clients.len() == 1);
        let mut got = 0;
        let mut part = [0; 20_000];
        let mut silent = Vec::new();
        for number in 1..100 {
            world.later = Duration::from_millis(number);
            silent.push(world.connect());
            world.turn_until(|world| world.stats.last_id == number + 1);
            if got < world.text.len() {
                got += take(&mut reader, &mut part);
            }
        }
        while got < world.text.len() {
            got += take(&mut reader, &mut part);
            world.turn();
        }
        assert_eq!(got, world.text.len(), "it was not dropped though it was the oldest");
    }

    #[test]
    fn clients_that_leave_early_or_flood_are_dropped() {
        let mut world = World::new(640_000, Form::Json);
        drop(world.connect());
        let half = world.connect();
        half.shutdown(Shutdown::Read).unwrap();
        let reset = TcpStream::connect(("127.0.0.1", world.port)).unwrap();
        world.turn_until(|world| world.stats.last_id == 3);
        drop(reset);
        world.turn_until(|world| world.stats.clients.is_empty());

        let mut world = World::new(100, Form::Json);
        let mut flood = world.connect();
        let writer = thread::spawn(move || {
            loop {
                if let Err(error) = flood.write_all(&[b'x'; 4096]) {
                    return error.kind();
                }
            }
        });
        let end = world.join(writer);
        assert!(matches!(end, io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset), "{end}");
        assert!(world.stats.clients.is_empty());
    }

    #[test]
    fn a_listener_that_is_broken_is_left_alone_for_a_second() {
        let broken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let now = clock::now();
        let mut stats = Stats::new(vec![OwnedFd::from(broken).into()], Form::Json, now);
        stats.renew(Vec::new(), 0, now);
        stats.accept(0, now);
        assert_eq!(stats.deadline(), Some(now + DEAFNESS));
        stats.expire(now + DEAFNESS);
        assert_eq!(stats.deadline(), None);
        stats.accept(7, now);
        assert_eq!(stats.deadline(), None);
    }

    /// In a process of its own, because the limit is of the whole process.
    #[test]
    fn without_descriptors_clients_are_answered_or_left_waiting_and_the_loop_sleeps() {
        const ROLE: &str = "LIEGE_TEST_NO_DESCRIPTORS";
        if std::env::var_os(ROLE).is_some() {
            return no_descriptors();
        }
        let name = "emperor::servers::server::tests::without_descriptors_clients_are_answered_or_left_waiting_and_the_loop_sleeps";
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", "ulimit -n 64; exec \"$0\" --exact \"$1\" --nocapture 2>&1"])
            .arg(std::env::current_exe().unwrap())
            .arg(name)
            .env(ROLE, "1")
            .stdout(Stdio::piped());
        let started = {
            let _alone = test_fork_lock::alone();
            shell.spawn()
        };
        let output = started.unwrap().wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }

    fn exhaust() -> Vec<File> {
        std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
    }

    fn no_descriptors() {
        let mut world = World::new(1000, Form::Json);
        let clients: Vec<_> = (0..8).map(|_| world.connect()).collect();
        let full = exhaust();
        world.turn_until(|world| world.turn() == 0);
        assert!(world.stats.clients.is_empty(), "there was no room for them");
        for mut client in clients {
            let mut text = Vec::new();
            client.read_to_end(&mut text).unwrap();
            assert!(text == world.text, "answered in the place of the spare descriptor");
        }
        assert!(world.stats.spare.is_some());

        // Without even a spare one: the loop sleeps, and the client is served later.
        drop(full);
        let client = world.connect();
        world.stats.spare = None;
        let full = exhaust();
        world.turn();
        assert_eq!(world.turn(), 0, "a listener that cannot be served is not polled");
        assert!(world.stats.deadline().is_some());
        drop(full);
        world.later = DEAFNESS;
        let client = read_all(client);
        assert!(world.join(client) == world.text);
        world.later += DEAFNESS;
        world.turn();
        assert!(world.stats.spare.is_some(), "taken back when there was room");
    }
}
