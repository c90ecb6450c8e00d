//! A server: its listeners, its clients, their time-outs, and the service that answers all clients.
//!
//! No write blocks, and clients cannot make the memory of the emperor grow: at most [`MAX_CLIENTS`] clients for
//! [`CLIENT_TIMEOUT`](super::client::CLIENT_TIMEOUT) each, and [`MAX_KEPT_ANSWERS`] bytes of answers kept for them. No more than
//! [`MAX_ACCEPTS`](super::listener::MAX_ACCEPTS) are let in within 20 ms, so that a storm of
//! connections costs little and blocks no other client: waiting connections are served in turn. When no descriptor
//! is left, a spare one is given up for as long as an answer takes.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::emperor::context::Context;
use crate::emperor::token::Token;
use crate::reactor::{Delivery, Interest, Reactor};
use crate::sys::accept::{self, Accepted};
use crate::sys::fd;
use crate::types::moment::Moment;

use super::client::{self, Client, Connection};
use super::ids::{ClientId, ServerId, ServerSocket};
use super::listener::ServerListener;
use super::service::{Access, Answer, Bytes, Service};

/// Most clients at one time; for one more, the client that has taken nothing for the longest time is dropped.
const MAX_CLIENTS: usize = 32;

/// Most bytes of answers kept for clients; one answer may be larger.
const MAX_KEPT_ANSWERS: usize = 8 * 1024 * 1024;

/// How long a listener that cannot be served is not polled.
const ACCEPT_BACKOFF: Duration = Duration::from_secs(1);

/// Listeners and clients of one service.
pub(super) struct Server {
    id: ServerId,
    service: Box<dyn Service>,
    listeners: Vec<ServerListener>,
    /// Clients, in the order in which they have connected.
    clients: Vec<Client>,
    last_client: u64,
    /// Spare descriptor, which is closed to make room for a client when no other descriptor is left.
    spare: Option<OwnedFd>,
    changes: Vec<PollChange>,
}

/// A change of what the reactor polls.
#[derive(Debug)]
enum PollChange {
    Listen(usize),
    Pause(usize),
    Client(ClientId, Interest),
    /// The descriptor is not polled any more, and may be closed only then.
    Forget(OwnedFd),
}

/// How to go on with a listener after an attempt to accept.
enum AcceptNext {
    Continue,
    Stop,
    Pause,
}

impl Server {
    /// Serves at these listeners.
    pub fn new(id: ServerId, service: Box<dyn Service>, listeners: Vec<ServerListener>) -> Self {
        Self {
            id,
            service,
            changes: (0..listeners.len()).map(PollChange::Listen).collect(),
            listeners,
            clients: Vec::new(),
            last_client: 0,
            spare: fd::open_null().ok(),
        }
    }

    /// Accepts the connections that wait at a listener, and sends them as much of the answer as fits at once.
    pub fn accept(&mut self, index: usize, access: &mut Access<'_>) {
        let now = access.context.now;
        while let Some(listener) = self.listeners.get_mut(index) {
            let next_accept = listener.next_accept(now);
            if next_accept > now {
                self.pause_listener(index, next_accept);
                break;
            }
            match self.accept_one(index, access) {
                AcceptNext::Continue => {}
                AcceptNext::Stop => break,
                AcceptNext::Pause => {
                    self.pause_listener(index, now + ACCEPT_BACKOFF);
                    break;
                }
            }
        }
        if self.spare.is_none() {
            self.spare = fd::open_null().ok();
        }
    }

    /// Goes on with a client that is ready.
    pub fn serve(&mut self, id: ClientId, access: &mut Access<'_>) {
        let Some(place) = self.clients.iter().position(|client| client.id == id) else { return };
        let Some(client) = self.clients.get_mut(place) else { return };
        let before = client.interest();
        let now = access.context.now;
        match client.advance(now, |request| self.service.answer(request, access)) {
            Connection::Close => self.drop_client(place),
            Connection::Keep if client.interest() != before => {
                self.changes.push(PollChange::Client(id, client.interest()));
            }
            Connection::Keep => {}
        }
        self.keep_limits();
    }

    /// Whether a client waits for an answer that is being made.
    pub fn is_busy(&self) -> bool {
        self.clients.iter().any(|client| client.is_waiting)
    }

    /// Goes on with the clients that wait for an answer which is being made.
    pub fn go_on(&mut self, access: &mut Access<'_>) {
        let waiting = self.clients.iter().filter(|client| client.is_waiting);
        let waiting: Vec<ClientId> = waiting.map(|client| client.id).collect();
        for id in waiting {
            self.serve(id, access);
        }
    }

    /// When [`Server::expire`] is due.
    pub fn deadline(&self) -> Option<Moment> {
        let clients = self.clients.iter().map(|client| client.deadline);
        clients.chain(self.listeners.iter().filter_map(|listener| listener.paused_until)).min()
    }

    /// Drops the clients whose time is over, and polls the listeners again whose pause is over.
    pub fn expire(&mut self, now: Moment) {
        while let Some(place) = self.clients.iter().position(|client| client.deadline <= now) {
            self.drop_client(place);
        }
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if listener.paused_until.is_some_and(|until| until <= now) {
                listener.paused_until = None;
                self.changes.push(PollChange::Listen(index));
            }
        }
    }

    /// Binds listeners again that clients cannot reach any more.
    pub fn check_listeners(&mut self, context: &mut Context) {
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            let Some((old, message)) = listener.bind_again_if_lost(self.service.name()) else {
                continue;
            };
            context.log.warning(format_args!("{message}"));
            if let Some(old) = old {
                self.changes.push(PollChange::Forget(old));
                self.changes.push(PollChange::Listen(index));
            }
        }
    }

    /// Passes the changes on to the reactor; due after each other call, and once at the start.
    pub fn update_reactor(&mut self, reactor: &mut Reactor<Token>) {
        for change in std::mem::take(&mut self.changes) {
            match change {
                PollChange::Listen(index) => {
                    let Some(listener) = self.listeners.get(index) else { continue };
                    let token = Token::Server(ServerSocket::Listener(self.id, index));
                    reactor.add(listener.as_fd(), token, Interest::Read, Delivery::Direct);
                }
                PollChange::Pause(index) => {
                    let Some(listener) = self.listeners.get(index) else { continue };
                    reactor.remove(listener.as_fd());
                }
                PollChange::Client(id, interest) => {
                    // It may be gone already: then its end follows in this list.
                    let found = self.clients.iter().find(|client| client.id == id);
                    let Some(client) = found else { continue };
                    let token = Token::Server(ServerSocket::Client(self.id, id));
                    reactor.add(client.socket.as_fd(), token, interest, Delivery::Direct);
                }
                PollChange::Forget(closed_here) => reactor.remove(closed_here.as_fd()),
            }
        }
    }

    fn accept_one(&mut self, listener: usize, access: &mut Access<'_>) -> AcceptNext {
        let Some(entry) = self.listeners.get(listener) else { return AcceptNext::Stop };
        match accept::next(entry.as_fd()) {
            Accepted::Connection(socket) => {
                self.add_client(socket, access);
                AcceptNext::Continue
            }
            Accepted::Nobody => AcceptNext::Stop,
            Accepted::Failed => AcceptNext::Continue,
            Accepted::Broken => AcceptNext::Pause,
            Accepted::NoDescriptor => {
                // The spare descriptor makes room for one client, which gets as much as fits at once.
                if self.spare.take().is_none() {
                    return AcceptNext::Pause;
                }
                let next = match accept::next(entry.as_fd()) {
                    Accepted::Connection(socket) => {
                        if let Answer::Last(bytes) = self.service.answer(&[], access) {
                            client::answer_at_once(&socket, &bytes);
                        }
                        AcceptNext::Continue
                    }
                    Accepted::Nobody => AcceptNext::Stop,
                    Accepted::Failed => AcceptNext::Continue,
                    Accepted::NoDescriptor | Accepted::Broken => AcceptNext::Pause,
                };
                self.spare = fd::open_null().ok();
                next
            }
        }
    }

    fn add_client(&mut self, socket: OwnedFd, access: &mut Access<'_>) {
        self.last_client += 1;
        let id = ClientId(self.last_client);
        let now = access.context.now;
        let mut client = Client::new(id, socket, now);
        let answer = |request: &[u8]| self.service.answer(request, access);
        if client.advance(now, answer) == Connection::Close {
            return;
        }
        self.changes.push(PollChange::Client(id, client.interest()));
        self.clients.push(client);
        self.keep_limits();
    }

    fn keep_limits(&mut self) {
        while self.clients.len() > MAX_CLIENTS
            || (self.kept() > MAX_KEPT_ANSWERS && self.clients.len() > 1)
        {
            self.evict_one();
        }
    }

    /// Drops a client that has got its whole answer, or else the one that has taken nothing for the longest time;
    /// never the newest.
    fn evict_one(&mut self) {
        let Some((_newest, older)) = self.clients.split_last() else { return };
        let worth = |(_, client): &(usize, &Client)| (!client.is_closing(), client.last_progress);
        let least = older.iter().enumerate().min_by_key(worth);
        if let Some((place, _)) = least {
            self.drop_client(place);
        }
    }

    fn drop_client(&mut self, place: usize) {
        let client = self.clients.remove(place);
        self.changes.push(PollChange::Forget(client.socket));
    }

    fn pause_listener(&mut self, index: usize, until: Moment) {
        if let Some(listener) = self.listeners.get_mut(index) {
            listener.paused_until = Some(until);
            self.changes.push(PollChange::Pause(index));
        }
    }

    /// Bytes of all answers that are not sent completely; adjacent clients share theirs.
    fn kept(&self) -> usize {
        let mut last: Option<&Bytes> = None;
        let mut sum = 0;
        for answer in self.clients.iter().filter_map(Client::unsent) {
            if !last.is_some_and(|last| Bytes::ptr_eq(last, answer)) {
                sum += answer.len();
            }
            last = Some(answer);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emperor::own_process::OwnProcess;
    use crate::emperor::servers::client::{CLIENT_TIMEOUT, MAX_REQUEST};
    use crate::emperor::servers::listener::{ACCEPT_WINDOW, BindPlace, MAX_ACCEPTS};
    use crate::emperor::servers::statistics::with_http_header;
    use crate::log::Log;
    use crate::state::Rules;
    use crate::state::realm::Realm;
    use crate::sys::socket::ListenOptions;
    use crate::sys::{clock, socket, test_fork_lock};
    use crate::types::address::Address;
    use std::cell::Cell;
    use std::ffi::CString;
    use std::fs::File;
    use std::io::{self, Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;
    use std::process::{Command, Stdio};
    use std::rc::Rc;
    use std::thread::{self, JoinHandle};
    use std::time::Duration;

    use crate::emperor::spawner::Spawner;
    use crate::proto::spawner::Template;

    fn context() -> Context {
        let log = Log::shared(io::stderr().as_fd(), None);
        let spawner = Spawner::new(&Template::default(), CString::default(), Vec::new());
        Context::new(Reactor::new().unwrap(), log, clock::now(), spawner)
    }

    fn access<'a>(context: &'a mut Context, realm: &'a Realm) -> Access<'a> {
        Access {
            context,
            realm,
            monitors: Vec::new(),
            process: Box::leak(Box::new(OwnProcess::current())),
            keeper_pid: None,
            started: Moment::from_nanos(1),
            max_vassals: 0,
            internal_errors: 0,
            base_of: &|_| None,
        }
    }

    fn listener(socket: OwnedFd) -> ServerListener {
        let address = Address::Path("/unused".into());
        ServerListener::new(socket, BindPlace { address, options: ListenOptions::default() })
    }

    /// A text for every client, made anew as often as the statistics are.
    struct Text {
        text: Vec<u8>,
        made: Option<(Moment, Bytes)>,
        asked: Rc<Cell<usize>>,
    }

    impl Service for Text {
        fn name(&self) -> &'static str {
            "text"
        }

        fn answer(&mut self, _: &[u8], access: &mut Access<'_>) -> Answer {
            let now = access.context.now;
            let fresh =
                |(made, _): &&(Moment, Bytes)| now.saturating_duration_since(*made) < ACCEPT_WINDOW;
            if let Some((_, bytes)) = self.made.as_ref().filter(fresh) {
                return Answer::Last(Rc::clone(bytes));
            }
            self.asked.set(self.asked.get() + 1);
            let bytes = Rc::new(self.text.clone());
            self.made = Some((now, Rc::clone(&bytes)));
            Answer::Last(bytes)
        }
    }

    /// As a control socket would: one line in, one line out, as often as the client wants.
    struct LineService;

    impl Service for LineService {
        fn name(&self) -> &'static str {
            "lines"
        }

        fn answer(&mut self, request: &[u8], _: &mut Access<'_>) -> Answer {
            match request.iter().position(|byte| *byte == b'\n') {
                None => Answer::Incomplete,
                Some(0) => Answer::Last(Rc::new(b"bye\n".to_vec())),
                Some(end) => {
                    let bytes = [b"you said ", &request[..=end]].concat();
                    Answer::Next { taken: end + 1, bytes: Rc::new(bytes) }
                }
            }
        }
    }

    /// The server in a loop like the emperor's, on a unix and a TCP socket.
    struct Fixture {
        server: Server,
        context: Context,
        realm: Realm,
        text: Vec<u8>,
        /// How often the answer was made.
        asked: Rc<Cell<usize>>,
        /// Added to the clock.
        later: Duration,
        path: PathBuf,
        port: u16,
        _dir: tempfile::TempDir,
        _quiet: test_fork_lock::NoForks,
    }

    impl Fixture {
        fn new(length: usize) -> Self {
            Self::with_text((0..length).map(|index| b'a' + (index % 23) as u8).collect())
        }

        fn with_text(text: Vec<u8>) -> Self {
            let asked = Rc::new(Cell::new(0));
            let service = Text { text: text.clone(), made: None, asked: Rc::clone(&asked) };
            Self { text, asked, ..Self::with(Box::new(service)) }
        }

        fn with(service: Box<dyn Service>) -> Self {
            let _quiet = test_fork_lock::none();
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("test.sock");
            let unix = UnixListener::bind(&path).unwrap();
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = tcp.local_addr().unwrap().port();
            let listeners = [OwnedFd::from(unix), OwnedFd::from(tcp)].map(listener).into();
            let mut fixture = Self {
                server: Server::new(ServerId(0), service, listeners),
                context: context(),
                realm: Realm::new(Rules::default()),
                text: Vec::new(),
                asked: Rc::default(),
                later: Duration::ZERO,
                path,
                port,
                _dir: dir,
                _quiet,
            };
            fixture.server.update_reactor(&mut fixture.context.reactor);
            fixture
        }

        /// One wake-up, or none after 20 ms.
        fn turn(&mut self) -> usize {
            let mut ready = Vec::new();
            let soon = clock::now() + Duration::from_millis(20);
            self.context.now =
                self.context.reactor.wait(Some(soon), &mut ready).unwrap() + self.later;
            for token in &ready {
                let Token::Server(socket) = *token else { panic!("{token:?}") };
                let mut access = access(&mut self.context, &self.realm);
                match socket {
                    ServerSocket::Listener(_, index) => self.server.accept(index, &mut access),
                    ServerSocket::Client(_, id) => self.server.serve(id, &mut access),
                }
            }
            self.server.expire(self.context.now);
            self.server.update_reactor(&mut self.context.reactor);
            assert!(self.server.clients.len() <= MAX_CLIENTS);
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
        let mut fixture = Fixture::new(640_000);
        let unix = read_all(fixture.connect());
        let tcp = read_all(TcpStream::connect(("127.0.0.1", fixture.port)).unwrap());
        assert!(fixture.join(unix) == fixture.text);
        assert!(fixture.join(tcp) == fixture.text);
        fixture.turn_until(|fixture| fixture.server.clients.is_empty());
        assert_eq!(fixture.server.deadline(), None, "nothing to wake up for");
    }

    #[test]
    fn a_browser_gets_a_header_and_all_of_the_body_whatever_it_has_sent() {
        let mut fixture = Fixture::with_text(with_http_header(vec![b'x'; 3_000_000]));
        let mut client = TcpStream::connect(("127.0.0.1", fixture.port)).unwrap();
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
        let answer = fixture.join(client);
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let header = str::from_utf8(&answer[..end]).unwrap();
        assert!(header.starts_with("HTTP/1.0 200 OK\r\n"), "{header}");
        assert!(header.contains("\r\nContent-Length: 3000000\r\n"), "{header}");
        assert!(answer == fixture.text);
    }

    #[test]
    fn a_slow_reader_gets_all_and_nobody_waits_for_it() {
        let mut fixture = Fixture::new(640_000);
        let mut slow = fixture.connect();
        fixture.turn_until(|fixture| fixture.server.clients.len() == 1);
        let mut got = Vec::new();
        let mut part = [0; 10_000];
        while got.len() < fixture.text.len() {
            let other = read_all(fixture.connect());
            assert!(fixture.join(other) == fixture.text);
            let burst = fixture.text.len().min(got.len() + 80_000);
            let mut length = 1;
            while got.len() < burst && length > 0 {
                length = take(&mut slow, &mut part);
                got.extend_from_slice(&part[..length]);
            }
            fixture.turn();
        }
        assert!(got == fixture.text);
        slow.set_nonblocking(false).unwrap();
        assert_eq!(slow.read(&mut part).unwrap(), 0);
    }

    #[test]
    fn a_silent_client_has_five_seconds() {
        let mut fixture = Fixture::new(640_000);
        let mut silent = fixture.connect();
        fixture.turn_until(|fixture| fixture.server.clients.len() == 1);
        let due = fixture.server.deadline().unwrap();
        assert!(due <= clock::now() + CLIENT_TIMEOUT);
        fixture.turn();
        assert_eq!(fixture.turn(), 0, "asleep until then");
        fixture.later = CLIENT_TIMEOUT;
        fixture.turn();
        assert_eq!(fixture.server.deadline(), None);
        let mut got = Vec::new();
        silent.read_to_end(&mut got).unwrap();
        assert!(got.len() < fixture.text.len());
        assert!(fixture.text.starts_with(&got));
    }

    #[test]
    fn a_client_that_never_closes_has_five_seconds() {
        let mut fixture = Fixture::new(100);
        let mut client = fixture.connect();
        fixture.turn_until(|fixture| fixture.server.clients.len() == 1);
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got, fixture.text);
        assert_eq!(fixture.turn(), 0, "asleep until then");
        fixture.later = CLIENT_TIMEOUT;
        fixture.turn();
        assert!(fixture.server.clients.is_empty());
    }

    #[test]
    fn a_thousand_clients_take_no_more_than_their_slots() {
        let mut fixture = Fixture::new(640_000);
        let mut held = Vec::new();
        for number in 0..1000 {
            held.push(fixture.connect());
            if number % 50 == 49 {
                fixture.turn_until(|fixture| fixture.turn() == 0);
                assert!(fixture.server.kept() <= MAX_KEPT_ANSWERS);
                held.truncate(100);
            }
        }
        // One that reads is served all the same.
        let reader = read_all(fixture.connect());
        assert!(fixture.join(reader) == fixture.text);
        assert!(fixture.server.clients.len() <= MAX_CLIENTS);
    }

    #[test]
    fn clients_of_one_wake_up_share_one_report() {
        let mut fixture = Fixture::new(1_000_000);
        let clients: Vec<_> = (0..20).map(|_| fixture.connect()).collect();
        fixture.turn_until(|fixture| fixture.server.clients.len() == clients.len());
        assert_eq!(fixture.asked.get(), 1);
        assert_eq!(fixture.server.kept(), 1_000_000);
    }

    #[test]
    fn one_who_storms_costs_few_reports_and_keeps_nobody_out() {
        let mut fixture = Fixture::new(100_000);
        // As long a queue as the emperor asks for.
        for listener in &fixture.server.listeners {
            socket::set_backlog(listener.as_fd(), 100).unwrap();
        }
        let path = fixture.path.clone();
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
            let path = fixture.path.clone();
            let reader = thread::spawn(move || {
                let mut answer = Vec::new();
                UnixStream::connect(path).unwrap().read_to_end(&mut answer).unwrap();
                answer
            });
            while !reader.is_finished() {
                fixture.turn();
                turns += 1;
                assert!(
                    clock::now().saturating_duration_since(start) < Duration::from_secs(30),
                    "it is kept out"
                );
            }
            assert!(reader.join().unwrap() == fixture.text);
            honest += 1;
        }
        let moments = clock::now().saturating_duration_since(start).as_millis()
            / ACCEPT_WINDOW.as_millis()
            + 2;
        assert!(honest >= 3, "{honest}");
        println!(
            "{turns} turns, {honest} answers, {} reports, {moments} moments",
            fixture.asked.get()
        );
        assert!(fixture.asked.get() as u128 <= moments);
        assert!(fixture.server.last_client as u128 <= moments * MAX_ACCEPTS as u128);
    }

    #[test]
    fn reports_of_many_wake_ups_are_kept_for_the_youngest_only() {
        let mut fixture = Fixture::new(1_000_000);
        let mut clients = Vec::new();
        for number in 1..=20 {
            fixture.later += ACCEPT_WINDOW;
            clients.push(fixture.connect());
            fixture.turn_until(|fixture| fixture.asked.get() == number);
            assert!(fixture.server.kept() <= MAX_KEPT_ANSWERS, "{}", fixture.server.kept());
        }
        assert_eq!(fixture.server.clients.len(), 8);
        let huge = Fixture::new(2 * MAX_KEPT_ANSWERS);
        let mut fixture = huge;
        let reader = read_all(fixture.connect());
        assert!(fixture.join(reader) == fixture.text, "one may be larger");
    }

    #[test]
    fn who_has_got_everything_gives_way_first_and_then_who_takes_nothing() {
        let mut fixture = Fixture::new(640_000);
        let mut reader = fixture.connect();
        fixture.turn_until(|fixture| fixture.server.clients.len() == 1);
        let mut got = 0;
        let mut part = [0; 20_000];
        let mut silent = Vec::new();
        for number in 1..100 {
            fixture.later = Duration::from_millis(number);
            silent.push(fixture.connect());
            fixture.turn_until(|fixture| fixture.server.last_client == number + 1);
            if got < fixture.text.len() {
                got += take(&mut reader, &mut part);
            }
        }
        while got < fixture.text.len() {
            got += take(&mut reader, &mut part);
            fixture.turn();
        }
        assert_eq!(got, fixture.text.len(), "it was not dropped though it was the oldest");
    }

    #[test]
    fn clients_that_leave_early_or_flood_are_dropped() {
        let mut fixture = Fixture::new(640_000);
        drop(fixture.connect());
        let half = fixture.connect();
        half.shutdown(Shutdown::Read).unwrap();
        let reset = TcpStream::connect(("127.0.0.1", fixture.port)).unwrap();
        fixture.turn_until(|fixture| fixture.server.last_client == 3);
        drop(reset);
        fixture.turn_until(|fixture| fixture.server.clients.is_empty());

        let mut fixture = Fixture::new(100);
        let mut flood = fixture.connect();
        let writer = thread::spawn(move || {
            loop {
                if let Err(error) = flood.write_all(&[b'x'; 4096]) {
                    return error.kind();
                }
            }
        });
        let end = fixture.join(writer);
        assert!(matches!(end, io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset), "{end}");
        assert!(fixture.server.clients.is_empty());
    }

    #[test]
    fn a_listener_that_is_broken_is_left_alone_for_a_second() {
        let broken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let listeners = vec![listener(OwnedFd::from(broken))];
        let mut server = Server::new(ServerId(0), Box::new(LineService), listeners);
        let (mut context, realm) = (context(), Realm::new(Rules::default()));
        let now = context.now;
        server.accept(0, &mut access(&mut context, &realm));
        assert_eq!(server.deadline(), Some(now + ACCEPT_BACKOFF));
        server.expire(now + ACCEPT_BACKOFF);
        assert_eq!(server.deadline(), None);
        server.accept(7, &mut access(&mut context, &realm));
        assert_eq!(server.deadline(), None);
    }

    #[test]
    fn a_service_that_reads_answers_each_request_and_ends_when_it_wants_to() {
        let mut fixture = Fixture::with(Box::new(LineService));
        let mut client = fixture.connect();
        // In pieces, and two at once.
        for (piece, wanted) in [
            (&b"he"[..], &b""[..]),
            (
                b"llo
and",
                b"you said hello
",
            ),
            (
                b" this
one more
",
                b"you said and this
you said one more
",
            ),
            (
                b"
", b"bye
",
            ),
        ] {
            client.write_all(piece).unwrap();
            fixture.turn_until(|fixture| fixture.turn() == 0);
            let mut got = vec![0; wanted.len()];
            client.read_exact(&mut got).unwrap();
            assert_eq!(got, wanted);
        }
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
        drop(client);
        fixture.turn_until(|fixture| fixture.server.clients.is_empty());
    }

    #[test]
    fn a_request_that_is_too_long_or_never_complete_ends_the_connection() {
        let mut fixture = Fixture::with(Box::new(LineService));
        let mut long = fixture.connect();
        long.write_all(&[b'x'; MAX_REQUEST + 1]).unwrap();
        fixture.turn_until(|fixture| fixture.server.last_client == 1);
        fixture.turn_until(|fixture| fixture.server.clients.is_empty());

        let half = fixture.connect();
        fixture.turn_until(|fixture| fixture.server.last_client == 2);
        half.shutdown(Shutdown::Write).unwrap();
        fixture.turn_until(|fixture| fixture.server.clients.is_empty());

        let _silent = fixture.connect();
        fixture.turn_until(|fixture| fixture.server.clients.len() == 1);
        fixture.later = CLIENT_TIMEOUT;
        fixture.turn();
        assert!(fixture.server.clients.is_empty());
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
            let _alone = test_fork_lock::exclusive();
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
        let mut fixture = Fixture::new(1000);
        let clients: Vec<_> = (0..8).map(|_| fixture.connect()).collect();
        let full = exhaust();
        fixture.turn_until(|fixture| fixture.turn() == 0);
        assert!(fixture.server.clients.is_empty(), "there was no room for them");
        for mut client in clients {
            let mut text = Vec::new();
            client.read_to_end(&mut text).unwrap();
            assert!(text == fixture.text, "answered in the place of the spare descriptor");
        }
        assert!(fixture.server.spare.is_some());

        // Without even a spare one: the loop sleeps, and the client is served later.
        drop(full);
        let client = fixture.connect();
        fixture.server.spare = None;
        let full = exhaust();
        fixture.turn();
        assert_eq!(fixture.turn(), 0, "a listener that cannot be served is not polled");
        assert!(fixture.server.deadline().is_some());
        drop(full);
        fixture.later = ACCEPT_BACKOFF;
        let client = read_all(client);
        assert!(fixture.join(client) == fixture.text);
        fixture.later += ACCEPT_BACKOFF;
        fixture.turn();
        assert!(fixture.server.spare.is_some(), "taken back when there was room");
    }
}
