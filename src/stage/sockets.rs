//! The listening sockets of a vassal: taken from custody, bound, and put where the program finds them.
//!
//! The program gets them blocking and in configuration order from descriptor 3 on, the on-demand listener
//! first; a single one also as descriptor 0. Behind them comes the emperor pipe. The emperor gets copies of
//! those that were bound here, so they outlive the program.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::config::{Located, SocketSpec, VassalConfig};
use crate::proto::status::{MAX_LISTENERS, MAX_PLACES};
use crate::spawn::step::Step;
use crate::sys::listeners::{self, Holder, ListenerInfo};
use crate::sys::mark::ProcessMark;
use crate::sys::process::Pid;
use crate::sys::socket::{self, Accept, Address, ListenOptions, SocketError, SocketOwner};
use crate::sys::{creds, fd};
use crate::types::advice;

use super::failure::Failure;

/// The queue that every kernel grants unless the administrator has lowered it.
const USUAL_BACKLOG: u32 = 128;

/// After the places that have room.
const AND_MORE: &str = ", and more";

/// What the stage was given.
#[derive(Debug, Default)]
pub struct ReceivedSockets {
    /// The on-demand listener.
    pub on_demand: Option<OwnedFd>,
    /// Listeners of the same vassal's last program.
    pub listeners: Vec<OwnedFd>,
    /// A running program uses them; their flags are left alone.
    pub in_use: bool,
    /// Nothing is bound or changed, only tried.
    pub trial: Option<Trial>,
}

/// A start that is only tried.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// What the processes with this mark hold is given back before the start.
    pub running: Option<ProcessMark>,
}

/// One socket for the program.
#[derive(Debug)]
pub struct Socket {
    /// The socket itself, close-on-exec.
    pub fd: OwnedFd,
    /// For `LISTEN_FDNAMES`: the option, with an index from its second socket on; or `on-demand`.
    pub name: String,
    /// Where it listens.
    pub address: Option<Address>,
    /// The address and the line that asked for it, for messages; empty if no line has.
    place: String,
    /// It goes into custody.
    custody: bool,
}

#[cfg(test)]
impl Socket {
    /// A socket that somebody else has made.
    pub fn for_test(fd: OwnedFd, name: &str, address: Option<Address>) -> Self {
        Self { fd, name: name.into(), address, place: String::new(), custody: false }
    }
}

/// All sockets of a vassal, in the order in which the program gets them.
#[derive(Debug, Default)]
pub struct Sockets {
    list: Vec<Socket>,
    on_demand: bool,
}

/// Takes, binds and checks the sockets of the configuration; what is not wanted any more is closed.
///
/// # Errors
/// The first socket that cannot be had.
pub fn open(
    config: &VassalConfig,
    owner: SocketOwner,
    held: ReceivedSockets,
    warnings: &mut Vec<String>,
) -> Result<Sockets, Failure> {
    let mut sockets = Sockets::default();
    let (in_use, trial) = (held.in_use, held.trial);
    if let Some(fd) = on_demand(config, held.on_demand)? {
        let address = socket::local_address(fd.as_fd()).unwrap_or_default();
        unblock(fd.as_fd(), in_use)?;
        let (name, place) = ("on-demand".into(), String::new());
        sockets.list.push(Socket { fd, name, address, place, custody: false });
        sockets.on_demand = true;
    }
    let held = held.listeners.into_iter().filter_map(|fd| {
        let address = socket::local_address(fd.as_fd()).ok().flatten()?;
        Some((fd, address))
    });
    // A program can shut down a socket that it shares with us; then no client can connect any more.
    let (dead, held): (Vec<_>, Vec<_>) = held.partition(|(fd, _)| socket::is_shut_down(fd.as_fd()));
    let dead: Vec<Address> = dead.into_iter().map(|(_, address)| address).collect();
    let mut claimed = claim(config, held);
    let options = ListenOptions {
        backlog: config.listen,
        mode: config.chmod_socket,
        owner,
        reuse_port: config.reuse_port,
        accept: Accept::Waits,
        replace_refusing: false,
    };
    for (index, place) in config.sockets.iter().enumerate() {
        let claimed = claimed.get_mut(index).and_then(Option::take);
        let is_dead = place.value.address().is_some_and(|address| dead.contains(address));
        let options = ListenOptions { replace_refusing: is_dead, ..options.clone() };
        let claimed = claimed.map(|fd| (fd, in_use));
        let before = config.sockets.get(..index).unwrap_or_default();
        let how = How { options: &options, trial, before };
        sockets.add(place, claimed, how)?;
    }
    warn_of_backlog(config, warnings);
    Ok(sockets)
}

/// The on-demand listener: handed over by our emperor, or on descriptor 0, where a foreign one puts it.
fn on_demand(config: &VassalConfig, given: Option<OwnedFd>) -> Result<Option<OwnedFd>, Failure> {
    if given.is_some() {
        return Ok(given);
    }
    let stdin = io::stdin();
    if config.skip_zero || !socket::is_listening(stdin.as_fd()) {
        return Ok(None);
    }
    stdin.as_fd().try_clone_to_owned().map(Some).map_err(descriptors)
}

/// A failure to move descriptors about.
pub fn descriptors(error: io::Error) -> Failure {
    Failure::new(Step::Fds, format!("cannot put the descriptors in their places: {error}"))
}

/// Programs expect an `accept` that waits. While another program uses the socket it stays as that one has
/// set it: an event loop whose `accept` suddenly waits stands still.
fn unblock(fd: BorrowedFd<'_>, in_use: bool) -> Result<(), Failure> {
    if in_use { Ok(()) } else { fd::clear_nonblocking(fd).map_err(descriptors) }
}

/// Gives every configured socket the listener in custody with its address; the rest is closed.
///
/// Exact addresses come first, so that "any free port" only gets what nobody else asked for.
fn claim(config: &VassalConfig, mut held: Vec<(OwnedFd, Address)>) -> Vec<Option<OwnedFd>> {
    let mut claimed: Vec<Option<OwnedFd>> = Vec::new();
    claimed.resize_with(config.sockets.len(), || None);
    for fits in [same as fn(&Address, &Address) -> bool, some_port] {
        for (slot, place) in claimed.iter_mut().zip(&config.sockets) {
            let wanted = place.value.address().filter(|_| slot.is_none());
            let found =
                wanted.and_then(|wanted| held.iter().position(|(_, have)| fits(wanted, have)));
            if let Some(at) = found {
                *slot = Some(held.swap_remove(at).0);
            }
        }
    }
    claimed
}

/// The same address; a unix socket whose file is gone or replaced cannot be reached, so it does not match.
fn same(wanted: &Address, have: &Address) -> bool {
    let reachable = |path: &Path| {
        std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
    };
    wanted == have && if let Address::Path(path) = have { reachable(path) } else { true }
}

/// Port 0, and a listener that got its port that way.
fn some_port(wanted: &Address, have: &Address) -> bool {
    match (wanted, have) {
        (Address::Tcp(wanted), Address::Tcp(have)) => {
            wanted.port() == 0 && wanted.ip() == have.ip()
        }
        _ => false,
    }
}

impl Sockets {
    fn add(
        &mut self,
        place: &Located<SocketSpec>,
        claimed: Option<(OwnedFd, bool)>,
        how: How<'_>,
    ) -> Result<(), Failure> {
        let (fd, custody) = match &place.value {
            SocketSpec::Stdin if self.on_demand => return Ok(()),
            SocketSpec::Stdin => {
                return Err(Failure::at(
                    Step::Bind,
                    place,
                    "descriptor 0 is not a listening socket",
                ));
            }
            // The program has a shared socket at its own place; `check` knows that it is there.
            SocketSpec::Shared(_) => return Ok(()),
            SocketSpec::Fd(number) => {
                let fd = inherited(place, *number)?;
                unblock(fd.as_fd(), how.trial.is_some())?;
                (fd, false)
            }
            SocketSpec::Bind(address) => {
                // As in uWSGI, the listener that is there already serves the line that names it.
                let first = self.list.first_mut().filter(|_| self.on_demand);
                if let Some(first) = first.filter(|s| s.address.as_ref() == Some(address)) {
                    first.place = shown(place, Some(address));
                    return Ok(());
                }
                if let Some(other) = how.same(address) {
                    let message =
                        format!("{other} has this address already; remove one of the two lines");
                    return Err(Failure::at(Step::Bind, place, message));
                }
                (bound(place, address, claimed, how)?, true)
            }
        };
        if self.list.iter().filter(|socket| socket.custody).count() >= MAX_LISTENERS && custody {
            let message = format!("too many sockets: a vassal can have {MAX_LISTENERS}");
            return Err(Failure::at(Step::Bind, place, message));
        }
        let name = self.name(&place.key);
        let address = socket::local_address(fd.as_fd()).unwrap_or_default();
        let place = shown(place, address.as_ref());
        self.list.push(Socket { fd, name, address, place, custody });
        Ok(())
    }

    /// In words: where each socket is that a line has asked for, and as which descriptor it is passed. As many as
    /// have room.
    pub fn places(&self) -> String {
        let mut text = String::new();
        let mut has_more = false;
        for (socket, number) in self.list.iter().zip(3..).filter(|(s, _)| !s.place.is_empty()) {
            let place = &socket.place;
            if text.is_empty() {
                text = format!("{place} and passes it as descriptor {number}");
                continue;
            }
            let next = format!(", {place} as descriptor {number}");
            if has_more || text.len() + next.len() + AND_MORE.len() > MAX_PLACES {
                has_more = true;
            } else {
                text += &next;
            }
        }
        if has_more { format!("{text}{AND_MORE}") } else { text }
    }

    /// `http-socket` for the first socket of this option, then `http-socket.1`.
    fn name(&self, key: &str) -> String {
        let is_same = |socket: &&Socket| socket.name.split('.').next() == Some(key);
        match self.list.iter().filter(is_same).count() {
            0 => key.to_owned(),
            count => format!("{key}.{count}"),
        }
    }

    /// The sockets, in the order of their descriptors from 3 on.
    pub fn list(&self) -> &[Socket] {
        &self.list
    }

    /// Those that go into custody.
    pub fn custody(&self) -> Vec<BorrowedFd<'_>> {
        self.list.iter().filter(|socket| socket.custody).map(|socket| socket.fd.as_fd()).collect()
    }

    /// Where those are that go into custody.
    pub fn bound(&self) -> impl Iterator<Item = &Address> {
        self.list
            .iter()
            .filter(|socket| socket.custody)
            .filter_map(|socket| socket.address.as_ref())
    }

    /// Gives descriptor 0 to the on-demand listener or the only socket; without either to `/dev/null`,
    /// unless the vassal file says that it stays, or it is there already (`null_there`).
    ///
    /// # Errors
    /// `EMFILE`; no `/dev/null`.
    pub fn place_stdin(&self, config: &VassalConfig, null_there: bool) -> io::Result<()> {
        let only = match self.list.as_slice() {
            [first, ..] if self.on_demand => Some(first),
            _ if config.honour_stdin || config.skip_zero => return Ok(()),
            [only] => Some(only),
            _ => None,
        };
        match only {
            Some(socket) => fd::set_stdio(0, socket.fd.as_fd()),
            None if null_there => Ok(()),
            None => {
                let null = fd::open_null()?;
                fd::clear_nonblocking(null.as_fd())?;
                fd::set_stdio(0, null.as_fd())
            }
        }
    }

    /// How many descriptors from 3 on the program gets, with this emperor pipe; lifts the sockets above
    /// them. Whatever else the stage still needs must be lifted too.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn make_room(&mut self, emperor: Option<&OwnedFd>) -> io::Result<RawFd> {
        let count = self.list.len() + usize::from(emperor.is_some());
        let lowest = RawFd::try_from(count).map_err(io::Error::other)?.saturating_add(3);
        for socket in std::mem::take(&mut self.list) {
            let fd = fd::move_above(socket.fd, lowest)?;
            self.list.push(Socket { fd, ..socket });
        }
        Ok(lowest)
    }

    /// Puts the sockets, and the emperor pipe behind them, in their places; tells the pipe's number.
    ///
    /// # Errors
    /// `EBADF` if [`Sockets::make_room`] was forgotten.
    pub fn place(&self, emperor: Option<&OwnedFd>) -> io::Result<Option<RawFd>> {
        let sockets = self.list.iter().map(|socket| socket.fd.as_fd());
        let all: Vec<_> = sockets.chain(emperor.map(AsFd::as_fd)).collect();
        fd::place_from_three(&all)?;
        let number = RawFd::try_from(self.list.len()).map_err(io::Error::other)?.saturating_add(3);
        Ok(emperor.map(|_| number))
    }
}

/// Where a socket is, and which line has asked for it.
fn shown(place: &Located<SocketSpec>, address: Option<&Address>) -> String {
    let address = address.map_or_else(|| place.key.clone(), ToString::to_string);
    format!("{} ({})", place.show(address), place.origin)
}

/// `fd://N`: a listening socket that our parent left open.
fn inherited(place: &Located<SocketSpec>, number: RawFd) -> Result<OwnedFd, Failure> {
    let failed = |message| Failure::at(Step::Bind, place, message);
    let fd =
        fd::inherited(number).map_err(|error| failed(format!("descriptor {number}: {error}")))?;
    if !socket::is_listening(fd.as_fd()) {
        return Err(failed(format!("descriptor {number} is not a listening socket")));
    }
    Ok(fd)
}

/// How a socket is bound.
#[derive(Clone, Copy)]
struct How<'a> {
    options: &'a ListenOptions,
    trial: Option<Trial>,
    /// The lines before this one.
    before: &'a [Located<SocketSpec>],
}

impl How<'_> {
    /// The line before this one that has its address.
    fn same(&self, address: &Address) -> Option<&Located<SocketSpec>> {
        self.before.iter().find(|other| match (other.value.address(), address) {
            (Some(other @ Address::Tcp(one)), Address::Tcp(two)) => {
                // Whether the families exclude each other is for the kernel to say.
                !self.options.reuse_port
                    && one.is_ipv4() == two.is_ipv4()
                    && other.conflicts_with(address)
            }
            (other, _) => other.is_some_and(|other| other.conflicts_with(address)),
        })
    }
}

/// Binds a socket, or renews the settings of the one from custody.
fn bound(
    place: &Located<SocketSpec>,
    address: &Address,
    claimed: Option<(OwnedFd, bool)>,
    How { options, trial, before: _ }: How<'_>,
) -> Result<OwnedFd, Failure> {
    let failed = |error: &SocketError| {
        // An address of the network is numbers; a path may be anything.
        let (shown, advice) = match address {
            Address::Tcp(_) => {
                (address.to_string(), advice::bind(address, error.source.kind(), error.call))
            }
            _ if place.hidden => (place.show(""), String::new()),
            _ => (address.to_string(), advice::bind(address, error.source.kind(), error.call)),
        };
        let why = match error.call {
            "bind" => error.source.to_string(),
            _ => error.to_string(),
        };
        let message = format!("cannot bind {shown}: {why}{advice}");
        let failure = Failure::at(Step::Bind, place, message);
        let is_taken = error.source.kind() == io::ErrorKind::AddrInUse;
        Failure { taken: if is_taken { whole(address) } else { String::new() }, ..failure }
    };
    if let Some(trial) = trial {
        return tried(address, claimed, (options, trial)).map_err(|error| failed(&error));
    }
    let Some((fd, in_use)) = claimed else {
        return socket::listen(address, options).map_err(|error| failed(&error));
    };
    unblock(fd.as_fd(), in_use)?;
    if let Address::Path(path) = address {
        let owner = renewed(path, options.owner);
        socket::set_attributes(path, options.mode, owner).map_err(|error| failed(&error))?;
    }
    socket::set_backlog(fd.as_fd(), options.backlog)
        .map_err(|source| failed(&SocketError { call: "listen", source }))?;
    Ok(fd)
}

/// A socket that could be bound, or a stand-in for it. What the running program has bound for itself is free
/// as soon as that has been stopped.
fn tried(
    address: &Address,
    claimed: Option<(OwnedFd, bool)>,
    (options, trial): (&ListenOptions, Trial),
) -> Result<OwnedFd, SocketError> {
    if let Some((fd, _)) = claimed {
        if let Address::Path(_) = address {
            socket::try_owner(options.owner)?;
        }
        return Ok(fd);
    }
    match socket::try_listen(address, options) {
        Err(error)
            if error.source.kind() == io::ErrorKind::AddrInUse && trial.gives_back(address) =>
        {
            // Its file, too, can be made anew: the program that runs has made it.
            Ok(socket::stream_pair().map_err(|source| SocketError { call: "socket", source })?.0)
        }
        tried => tried,
    }
}

impl Trial {
    /// Whether nobody but the running program listens at an address.
    fn gives_back(self, address: &Address) -> bool {
        let Some(running) = self.running else { return false };
        let whole = |address: &Address| match address {
            Address::Path(path) => Address::Path(std::path::absolute(path).unwrap_or_default()),
            other => other.clone(),
        };
        let wanted = whole(address);
        let is_running = |holder: &Holder| {
            i32::try_from(holder.pid).ok().and_then(Pid::new).is_some_and(|pid| running.is_of(pid))
        };
        let all = listeners::all();
        let mut in_the_way = all.iter().filter(|it| it.address.conflicts_with(&wanted));
        let gives = |listener: &ListenerInfo| {
            let holders = listeners::holders(listener.inode);
            !holders.is_empty() && holders.iter().all(is_running)
        };
        in_the_way.clone().next().is_some() && in_the_way.all(gives)
    }
}

/// The same address, wherever it is read.
fn whole(address: &Address) -> String {
    match address {
        Address::Path(path) => std::path::absolute(path)
            .map_or_else(|_| address.to_string(), |path| path.display().to_string()),
        Address::Tcp(_) | Address::Abstract(_) => address.to_string(),
    }
}

/// Whose a socket from custody is to be: as if it was bound now, also where the last program had another user.
fn renewed(path: &Path, owner: SocketOwner) -> SocketOwner {
    let uid = owner.uid.unwrap_or_else(creds::effective_uid);
    let is_others = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.uid() != uid);
    let gid = owner.gid.or_else(|| is_others.then(creds::effective_gid));
    SocketOwner { uid: is_others.then_some(uid), gid }
}

fn warn_of_backlog(config: &VassalConfig, warnings: &mut Vec<String>) {
    if config.listen <= USUAL_BACKLOG || config.sockets.is_empty() {
        return;
    }
    if let Ok(most) = socket::somaxconn()
        && most < config.listen
    {
        let listen = config.listen;
        warnings.push(format!(
            "listen = {listen} is more than the kernel grants: {most} (sysctl net.core.somaxconn)"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Origin, address};

    fn config(sockets: &[(&str, &str)]) -> VassalConfig {
        let at = |&(key, text): &(&str, &str)| Located {
            value: address::parse(text).unwrap(),
            key: key.into(),
            origin: Origin::CommandLine,
            hidden: false,
        };
        VassalConfig {
            sockets: sockets.iter().map(at).collect(),
            listen: 100,
            ..Default::default()
        }
    }

    fn opened(config: &VassalConfig, held: ReceivedSockets) -> Result<Sockets, Failure> {
        open(config, SocketOwner::default(), held, &mut Vec::new())
    }

    fn addresses(sockets: &Sockets) -> Vec<String> {
        sockets.list.iter().map(|s| s.address.as_ref().unwrap().to_string()).collect()
    }

    fn names(sockets: &Sockets) -> Vec<&str> {
        sockets.list.iter().map(|s| s.name.as_str()).collect()
    }

    fn custody(sockets: Sockets) -> ReceivedSockets {
        let listeners = sockets.list.into_iter().filter(|s| s.custody).map(|s| s.fd).collect();
        ReceivedSockets { listeners, ..Default::default() }
    }

    #[test]
    fn sockets_keep_the_order_of_the_file_and_are_named_by_their_option() {
        let local = "127.0.0.1:0";
        let config = config(&[("http-socket", local), ("socket", local), ("http-socket", local)]);
        let sockets = opened(&config, ReceivedSockets::default()).unwrap();
        assert_eq!(names(&sockets), ["http-socket", "socket", "http-socket.1"]);
        assert_eq!(sockets.custody().len(), 3);
    }

    #[test]
    fn a_restart_finds_its_sockets_in_custody_and_closes_what_is_gone() {
        let first = config(&[
            ("socket", "127.0.0.1:0"),
            ("socket", "127.0.0.1:0"),
            ("socket", "127.0.0.1:0"),
        ]);
        let before = opened(&first, ReceivedSockets::default()).unwrap();
        let old = addresses(&before);
        let second = config(&[("socket", &old[2]), ("socket", "127.0.0.1:0"), ("socket", &old[0])]);
        let after = opened(&second, custody(before)).unwrap();
        // "Any free port" gets what no other line asks for.
        assert_eq!(addresses(&after), [&*old[2], &old[1], &old[0]]);
        let third = config(&[("socket", &old[0])]);
        let last = opened(&third, custody(after)).unwrap();
        assert_eq!(addresses(&last), [&*old[0]]);
        // Some other test may be between fork and exec just now, and hold a copy for a moment.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while let Err(error) = std::net::TcpListener::bind(&old[1]) {
            assert!(std::time::Instant::now() < deadline, "what is gone is not free: {error}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_unix_socket_without_its_file_is_bound_anew() {
        let _quiet = crate::sys::test_fork_lock::none();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let config = config(&[("socket", path.to_str().unwrap())]);
        let first = opened(&config, ReceivedSockets::default()).unwrap();
        let again = opened(&config, custody(first)).unwrap();
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let anew = opened(&config, custody(again)).unwrap();
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        drop(anew);
    }

    #[test]
    fn an_on_demand_listener_comes_first_and_serves_the_line_that_names_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let config =
            config(&[("http-socket", "127.0.0.1:0"), ("socket", &address), ("socket", "::")]);
        let held = ReceivedSockets { on_demand: Some(listener.into()), ..Default::default() };
        let sockets = opened(&config, held).unwrap();
        assert_eq!(names(&sockets), ["on-demand", "http-socket"]);
        assert_eq!(addresses(&sockets)[0], address);
        assert_eq!(sockets.custody().len(), 1);
    }

    #[test]
    fn flags_of_a_socket_in_use_are_left_alone() {
        let is_nonblocking = |sockets: &Sockets| {
            let fd = sockets.list[0].fd.try_clone().unwrap();
            let listener = std::net::TcpListener::from(fd);
            // A client makes sure that an accept that waits comes back.
            let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            listener.accept().unwrap();
            let path = format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&listener));
            let info = std::fs::read_to_string(path).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            i32::from_str_radix(flags.trim(), 8).unwrap() & 0o4000 != 0
        };
        let config = config(&[("socket", "127.0.0.1:0")]);
        let first = opened(&config, ReceivedSockets::default()).unwrap();
        assert!(!is_nonblocking(&first));
        fd::set_nonblocking(first.list[0].fd.as_fd()).unwrap();
        let next = opened(&config, ReceivedSockets { in_use: true, ..custody(first) }).unwrap();
        assert!(is_nonblocking(&next));
        let restarted = opened(&config, custody(next)).unwrap();
        assert!(!is_nonblocking(&restarted));
    }

    #[test]
    fn a_socket_that_cannot_be_had_names_the_line_the_call_and_the_way_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap().to_string();
        let many = vec![("socket", "127.0.0.1:0"); MAX_LISTENERS + 1];
        let table: &[(&[(&str, &str)], &str)] = &[
            (
                &[("socket", &taken)],
                "Address already in use (os error 98); stop the program that listens there",
            ),
            (&[("socket", "/no/such/dir/a.sock")], "create /no/such/dir first"),
            (&[("socket", "192.0.2.1:0")], "no interface"),
            (&[("socket", "fd://999")], "descriptor 999: Bad file descriptor"),
            (&[("socket", "fd://1")], "descriptor 1 is not a listening socket"),
            (&[("socket", "::")], "descriptor 0 is not a listening socket"),
            (&many, "too many sockets"),
        ];
        for (sockets, expected) in table {
            let failure = opened(&config(sockets), ReceivedSockets::default()).unwrap_err();
            assert_eq!((failure.step, failure.status), (Step::Bind, 1));
            assert!(failure.origin.ends_with("socket"), "{failure}");
            assert!(failure.message.contains(expected), "{failure}");
        }
    }

    #[test]
    fn a_shared_socket_is_passed_once() {
        let config = config(&[("shared-socket", "127.0.0.1:0"), ("http-socket", "=0")]);
        assert_eq!(names(&opened(&config, ReceivedSockets::default()).unwrap()), ["shared-socket"]);
    }

    #[test]
    fn the_places_of_the_sockets_are_named_as_far_as_there_is_room() {
        let many = [("socket", "127.0.0.1:0"); 9];
        for (count, has_more) in [(0, false), (1, false), (2, false), (9, true)] {
            let sockets = opened(&config(&many[..count]), ReceivedSockets::default()).unwrap();
            let (places, addresses) = (sockets.places(), addresses(&sockets));
            assert!(
                places.len() <= MAX_PLACES && places.ends_with(AND_MORE) == has_more,
                "{places}"
            );
            for (number, address) in addresses.iter().enumerate().take(2) {
                assert!(places.contains(&format!("{address} (command line)")), "{places}");
                assert!(places.contains(&format!("as descriptor {}", number + 3)), "{places}");
            }
        }
        let mut hidden = config(&many[..1]);
        hidden.sockets[0].hidden = true;
        let sockets = opened(&hidden, ReceivedSockets::default()).unwrap();
        assert!(!sockets.places().contains("127.0.0.1"), "{}", sockets.places());
    }
}
