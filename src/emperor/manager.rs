//! What the service manager is told: sd_notify(3), outwards.
//!
//! The crate sd-notify sends on a blocking socket, and a manager that does not read would stop the
//! emperor with all its vassals; hence these few lines of our own. Here a message that does not fit is
//! kept and tried again after [`RETRY`]; of each kind only the last is kept, so nothing grows.
//!
//! Messages are datagrams to the address in `$NOTIFY_SOCKET`, one assignment each: `READY=1`,
//! `STATUS=…`, `RELOADING=1` with `MONOTONIC_USEC=…`, `STOPPING=1`, `WATCHDOG=1`.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::init::relay;
use crate::log::Log;
use crate::types::moment::Moment;

use super::process_context::ProcessContext;

/// The time until a message that did not fit is sent again.
pub const RETRY: Duration = Duration::from_secs(1);

/// The last status line: no vassal is left.
pub const BURIED: &str = "The Emperor is buried.";

/// What the service manager has told this process by environment variables.
#[derive(Clone, Copy, Debug, Default)]
pub struct ManagerEnvironment<'a> {
    /// `$NOTIFY_SOCKET`: a path, or `@` and an abstract name.
    pub socket: Option<&'a OsStr>,
    /// `$WATCHDOG_USEC`.
    pub watchdog_usec: Option<&'a OsStr>,
    /// `$WATCHDOG_PID`: the process that must send the heartbeats; if it is not set, it is this one.
    pub watchdog_pid: Option<&'a OsStr>,
    /// The process id by which the manager knows this service.
    pub pid: u32,
    /// The socket to the keeper, which passes messages on to the manager, if there is a keeper.
    pub relay: Option<&'a UnixDatagram>,
}

/// A message to the service manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagerMessage {
    /// The first scan is done.
    Ready,
    /// A status line for administrators.
    Status(String),
    /// All vassals have been reloading since this time. `Ready` ends the reload.
    Reloading(Moment),
    /// Ragnarok has begun.
    Stopping,
    /// The heartbeat of the loop.
    Watchdog,
}

impl ManagerMessage {
    /// The text of the datagram.
    pub fn text(&self) -> String {
        match self {
            Self::Ready => "READY=1\n".to_owned(),
            Self::Status(line) => format!("STATUS={line}\n"),
            Self::Reloading(since) => {
                format!("RELOADING=1\nMONOTONIC_USEC={}\n", since.as_nanos() / 1000)
            }
            Self::Stopping => "STOPPING=1\n".to_owned(),
            Self::Watchdog => "WATCHDOG=1\n".to_owned(),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// The status line of uWSGI, followed by the number of vassals that fail, if some do.
pub fn governing(running: usize, failing: usize) -> String {
    let line = format!("The Emperor is governing {running} vassals");
    if failing == 0 { line } else { format!("{line}, {failing} failing") }
}

/// The connection to the service manager. Without a manager it sends nothing.
#[derive(Debug, Default)]
pub struct ServiceManager {
    manager: Option<ManagerSocket>,
    /// Messages that are not sent yet, the oldest first; at most one of each kind.
    pending: Vec<ManagerMessage>,
    status: String,
    /// Half of the watchdog's period, and the time of the next heartbeat.
    watchdog: Option<(Duration, Moment)>,
    /// Whether the last message did not fit.
    is_full: bool,
    retry_at: Option<Moment>,
    /// Whether the last message has failed, and the log says so.
    has_complained: bool,
}

#[derive(Debug)]
struct ManagerSocket {
    socket: UnixDatagram,
    /// Address of the manager; `None` for a socket to the keeper, which passes everything on.
    address: Option<SocketAddr>,
}

impl ManagerSocket {
    fn send(&self, text: &[u8]) -> io::Result<usize> {
        match &self.address {
            Some(address) => self.socket.send_to_addr(text, address),
            None => self.socket.send(text),
        }
    }
}

impl ServiceManager {
    /// Prepares the connection to the manager that the environment names, if it names one.
    ///
    /// # Errors
    /// A sentence for the log: the kind of the address is not known, or there is no descriptor left.
    pub fn new(environment: &ManagerEnvironment<'_>, now: Moment) -> Result<Self, String> {
        let Some(name) = environment.socket else { return Ok(Self::default()) };
        let cannot = |why: io::Error| format!("cannot use NOTIFY_SOCKET: {why}");
        let (socket, address) = match environment.relay {
            Some(relay) => (relay.try_clone().map_err(cannot)?, None),
            None => {
                let address = relay::address(name).map_err(cannot)?;
                (UnixDatagram::unbound().map_err(cannot)?, Some(address))
            }
        };
        socket.set_nonblocking(true).map_err(cannot)?;
        Ok(Self {
            manager: Some(ManagerSocket { socket, address }),
            watchdog: half_period(environment).map(|half| (half, now + half)),
            ..Self::default()
        })
    }

    /// Opens the connection of this process. Without a manager, or with an address that cannot be used, it sends
    /// nothing.
    pub(super) fn open(process: &ProcessContext, now: Moment, log: &mut Log) -> Self {
        let environment = ManagerEnvironment {
            socket: process.variable("NOTIFY_SOCKET"),
            watchdog_usec: process.variable("WATCHDOG_USEC"),
            watchdog_pid: process.variable("WATCHDOG_PID"),
            // The manager knows the keeper alone.
            pid: process.keeper.unwrap_or_else(std::process::id),
            relay: process.relay.as_deref(),
        };
        Self::new(&environment, now).unwrap_or_else(|why| {
            log.warning(format_args!("{why}"));
            Self::default()
        })
    }

    /// Whether there is no manager.
    pub fn is_idle(&self) -> bool {
        self.manager.is_none()
    }

    /// Tells that the first scan, or a reload, is complete.
    ///
    /// # Errors
    /// A sentence for the log if the message cannot be sent; only once, until a message is sent again.
    pub fn ready(&mut self) -> Result<(), String> {
        self.tell(ManagerMessage::Ready)
    }

    /// Tells that all vassals have been reloading since this time on CLOCK_MONOTONIC. [`ServiceManager::ready`] ends the
    /// reload.
    ///
    /// # Errors
    /// As [`ServiceManager::ready`].
    pub fn reloading(&mut self, since: Moment) -> Result<(), String> {
        self.tell(ManagerMessage::Reloading(since))
    }

    /// Tells that ragnarok has begun.
    ///
    /// # Errors
    /// As [`ServiceManager::ready`].
    pub fn stopping(&mut self) -> Result<(), String> {
        self.tell(ManagerMessage::Stopping)
    }

    /// Tells that no vassal is left.
    ///
    /// # Errors
    /// As [`ServiceManager::ready`].
    pub fn buried(&mut self) -> Result<(), String> {
        self.tell(ManagerMessage::Status(BURIED.to_owned()))
    }

    /// Tells how many vassals run and how many fail, if that has changed. Also sends what is due: the heartbeat of the
    /// watchdog, and messages that did not fit before. The loop calls this at the end of each turn.
    ///
    /// # Errors
    /// As [`ServiceManager::ready`].
    pub fn status(&mut self, running: usize, failing: usize, now: Moment) -> Result<(), String> {
        if self.is_idle() {
            return Ok(());
        }
        let is_due = |at: Moment| at <= now;
        let mut must_send = self.retry_at.is_some_and(is_due);
        if let Some((half, beat_at)) = &mut self.watchdog
            && is_due(*beat_at)
        {
            *beat_at = now + *half;
            self.keep(ManagerMessage::Watchdog);
            must_send = true;
        }
        let line = governing(running, failing);
        if line != self.status {
            self.status.clone_from(&line);
            self.keep(ManagerMessage::Status(line));
            must_send = true;
        }
        let result = if must_send { self.send() } else { Ok(()) };
        let waits = self.retry_at.filter(|&at| !is_due(at));
        self.retry_at = self.is_full.then(|| waits.unwrap_or(now + RETRY));
        result
    }

    /// The latest time at which [`ServiceManager::status`] must be called.
    pub fn deadline(&self) -> Option<Moment> {
        self.watchdog.map(|(_, beat_at)| beat_at).into_iter().chain(self.retry_at).min()
    }

    fn tell(&mut self, message: ManagerMessage) -> Result<(), String> {
        if self.is_idle() {
            return Ok(());
        }
        self.keep(message);
        self.send()
    }

    fn keep(&mut self, message: ManagerMessage) {
        self.pending.retain(|older| !older.is_like(&message));
        self.pending.push(message);
    }
    /// Sends the pending messages in order, until one cannot be sent.
    fn send(&mut self) -> Result<(), String> {
        self.is_full = false;
        let Some(manager) = &self.manager else { return Ok(()) };
        while let Some(first) = self.pending.first() {
            let text = first.text();
            if let Err(error) = manager.send(text.as_bytes()) {
                // If the manager is gone, the next message tries again; there is no timer for it.
                self.is_full =
                    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::OutOfMemory);
                let was_said = std::mem::replace(&mut self.has_complained, true);
                let what = text.lines().next().unwrap_or_default();
                let line = format!("cannot tell the service manager {what}: {error}");
                return if was_said { Ok(()) } else { Err(line) };
            }
            self.has_complained = false;
            self.pending.remove(0);
        }
        Ok(())
    }
}

/// The interval of heartbeats. The manager wants one in each period; sd_watchdog_enabled(3) advises to send two.
fn half_period(environment: &ManagerEnvironment<'_>) -> Option<Duration> {
    let number = |text: &OsStr| text.to_str()?.parse::<u64>().ok();
    if let Some(pid) = environment.watchdog_pid
        && number(pid) != Some(u64::from(environment.pid))
    {
        return None;
    }
    let period = environment.watchdog_usec.and_then(number).filter(|&period| period > 0)?;
    Some(Duration::from_micros(period.div_ceil(2)))
}

#[cfg(test)]
mod tests {
    use super::{BURIED, ManagerEnvironment, ManagerMessage, RETRY, ServiceManager, governing};
    use crate::sys::clock;
    use crate::types::moment::Moment;
    use std::ffi::OsStr;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::path::PathBuf;
    use std::time::Duration;

    /// A service manager that reads when it is asked to.
    struct Manager {
        socket: UnixDatagram,
        path: PathBuf,
        _dir: tempfile::TempDir,
    }

    impl Manager {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("notify");
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            Self { socket, path, _dir: dir }
        }

        fn environment(&self) -> ManagerEnvironment<'_> {
            ManagerEnvironment {
                socket: Some(self.path.as_os_str()),
                pid: 42,
                ..ManagerEnvironment::default()
            }
        }

        fn heard(&self) -> Vec<String> {
            heard(&self.socket)
        }

        /// Sends until nothing fits; gives the number.
        fn fill(&self) -> usize {
            let other = UnixDatagram::unbound().unwrap();
            other.set_nonblocking(true).unwrap();
            (0..100_000).find(|_| other.send_to(b"noise", &self.path).is_err()).unwrap()
        }
    }

    fn heard(socket: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 4096];
        std::iter::from_fn(|| {
            let length = socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
        })
        .collect()
    }

    #[test]
    fn messages_are_those_of_sd_notify() {
        let since = Moment::from_nanos(12_345_678_900);
        for (message, text) in [
            (
                ManagerMessage::Ready,
                "READY=1
",
            ),
            (
                ManagerMessage::Status(governing(3, 0)),
                "STATUS=The Emperor is governing 3 vassals
",
            ),
            (
                ManagerMessage::Status(governing(3, 1)),
                "STATUS=The Emperor is governing 3 vassals, 1 failing
",
            ),
            (
                ManagerMessage::Reloading(since),
                "RELOADING=1
MONOTONIC_USEC=12345678
",
            ),
            (
                ManagerMessage::Stopping,
                "STOPPING=1
",
            ),
            (
                ManagerMessage::Watchdog,
                "WATCHDOG=1
",
            ),
        ] {
            assert_eq!(message.text(), text);
        }
    }

    #[test]
    fn the_manager_hears_of_the_whole_life_and_of_each_change_once() {
        let (manager, now) = (Manager::new(), clock::now());
        let mut notifier = ServiceManager::new(&manager.environment(), now).unwrap();
        notifier.ready().unwrap();
        for (running, failing) in [(0, 0), (2, 0), (2, 0), (2, 1)] {
            notifier.status(running, failing, now).unwrap();
        }
        notifier.reloading(Moment::from_nanos(1_000_000_000)).unwrap();
        notifier.ready().unwrap();
        notifier.stopping().unwrap();
        notifier.buried().unwrap();
        let buried = format!(
            "STATUS={BURIED}
"
        );
        assert_eq!(
            manager.heard(),
            [
                "READY=1
",
                "STATUS=The Emperor is governing 0 vassals
",
                "STATUS=The Emperor is governing 2 vassals
",
                "STATUS=The Emperor is governing 2 vassals, 1 failing
",
                "RELOADING=1
MONOTONIC_USEC=1000000
",
                "READY=1
",
                "STOPPING=1
",
                &buried,
            ]
        );
        assert_eq!(notifier.deadline(), None, "nothing to wake up for");
    }

    #[test]
    fn an_abstract_address_is_understood() {
        let name = format!("liege-test-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let name = format!("@{name}");
        let environment =
            ManagerEnvironment { socket: Some(OsStr::new(&name)), ..ManagerEnvironment::default() };
        ServiceManager::new(&environment, clock::now()).unwrap().ready().unwrap();
        assert_eq!(
            heard(&socket),
            ["READY=1
"]
        );
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let now = clock::now();
        let mut notifier = ServiceManager::new(&ManagerEnvironment::default(), now).unwrap();
        assert!(notifier.is_idle());
        notifier.ready().unwrap();
        notifier.status(1, 0, now).unwrap();
        assert_eq!(notifier.deadline(), None);
        let strange = ManagerEnvironment {
            socket: Some(OsStr::new("vsock:2:9")),
            ..ManagerEnvironment::default()
        };
        let why = ServiceManager::new(&strange, now).unwrap_err();
        assert!(why.starts_with("cannot use NOTIFY_SOCKET: "), "{why}");
    }

    #[test]
    fn a_manager_that_does_not_read_is_told_later_and_never_waited_for() {
        let (manager, start) = (Manager::new(), clock::now());
        let mut notifier = ServiceManager::new(&manager.environment(), start).unwrap();
        let noise = manager.fill();
        let why = notifier.ready().unwrap_err();
        assert!(why.starts_with("cannot tell the service manager READY=1: "), "{why}");
        for number in 0..100 {
            notifier.status(number, 0, start).unwrap();
        }
        assert_eq!(notifier.deadline(), Some(start + RETRY));
        assert_eq!(notifier.pending.len(), 2, "of each kind the last");
        notifier.status(99, 0, start + RETRY).unwrap();
        assert_eq!(notifier.deadline(), Some(start + 2 * RETRY), "said once, tried again");

        assert_eq!(manager.heard().len(), noise);
        notifier.status(99, 0, start + 2 * RETRY).unwrap();
        let last = "STATUS=The Emperor is governing 99 vassals
";
        assert_eq!(
            manager.heard(),
            [
                "READY=1
", last
            ]
        );
        assert_eq!(notifier.deadline(), None);
        manager.fill();
        notifier.stopping().unwrap_err();
    }

    #[test]
    fn a_manager_that_is_gone_is_mentioned_once_and_wakes_nobody() {
        let (manager, now) = (Manager::new(), clock::now());
        let mut notifier = ServiceManager::new(&manager.environment(), now).unwrap();
        std::fs::remove_file(&manager.path).unwrap();
        notifier.ready().unwrap_err();
        notifier.status(1, 0, now).unwrap();
        assert_eq!(notifier.deadline(), None);
        // A new one at the same address hears what the old one has missed.
        let back = UnixDatagram::bind(&manager.path).unwrap();
        back.set_nonblocking(true).unwrap();
        notifier.status(2, 0, now).unwrap();
        assert_eq!(
            heard(&back),
            [
                "READY=1
",
                "STATUS=The Emperor is governing 2 vassals
"
            ]
        );
    }

    #[test]
    fn the_watchdog_hears_two_beats_in_each_period_if_it_means_us() {
        let (manager, start) = (Manager::new(), clock::now());
        let half = Duration::from_secs(15);
        let period = Some(OsStr::new("30000000"));
        let environment = ManagerEnvironment { watchdog_usec: period, ..manager.environment() };
        let mut notifier = ServiceManager::new(&environment, start).unwrap();
        notifier.status(0, 0, start).unwrap();
        assert_eq!(notifier.deadline(), Some(start + half));
        notifier.status(0, 0, start + half).unwrap();
        assert_eq!(notifier.deadline(), Some(start + 2 * half));
        assert_eq!(
            manager.heard()[1..],
            ["WATCHDOG=1
"]
        );

        let for_pid = |pid| {
            let watchdog_pid = Some(OsStr::new(pid));
            let notifier =
                ServiceManager::new(&ManagerEnvironment { watchdog_pid, ..environment }, start);
            notifier.unwrap().deadline()
        };
        assert_eq!(for_pid("42"), Some(start + half));
        assert_eq!(for_pid("43"), None);
        assert_eq!(for_pid("x"), None);
        for usec in ["0", "", "-1", "x", "99999999999999999999999"] {
            let watchdog_usec = Some(OsStr::new(usec));
            let notifier =
                ServiceManager::new(&ManagerEnvironment { watchdog_usec, ..environment }, start);
            assert_eq!(notifier.unwrap().deadline(), None, "{usec}");
        }
        // The longest period that can be written does not overflow the clock.
        let longest = u64::MAX.to_string();
        let watchdog_usec = Some(OsStr::new(&longest));
        let _ = ServiceManager::new(&ManagerEnvironment { watchdog_usec, ..environment }, start)
            .unwrap();
    }
}
