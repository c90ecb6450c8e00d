//! What every part of the emperor needs: the reactor, the log, the time of this wake-up, the events for the state,
//! the version of the statistics, and the faults that tests cause.
//!
//! A part calls no other one. It raises an event or a request here, or returns a value to the loop. What it must
//! read of other parts it is given as a shared reference.

use std::collections::VecDeque;
use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::rc::Rc;

use crate::log::{Level, Log, escaped};
use crate::proto::spawner::{SpawnerOrder, VassalName};
use crate::reactor::Reactor;
use crate::state::{Event, Key, LifeEvent, LifeId, SourceId};

use crate::types::moment::Moment;

use super::messages;
use super::spawner::{OrderOwner, Spawner};
use super::token::Token;

/// The shared resources that every part is given.
pub(super) struct Context {
    pub reactor: Reactor<Token>,
    pub log: Log,
    /// The time of the wake-up, which is the current time for all work until the next one.
    pub now: Moment,
    /// Events that the state has not taken yet, oldest first.
    pub events: VecDeque<Event>,
    /// Requests of parts to each other, oldest first.
    pub requests: VecDeque<Request>,
    /// Incremented by every event, as it can change what the statistics show.
    pub version: u64,
    pub sources: Sources,
    pub spawner: Spawner,
    pub trips: Trips,
}

impl Context {
    pub fn new(reactor: Reactor<Token>, log: Log, now: Moment, spawner: Spawner) -> Self {
        let (sources, trips) = (Sources::default(), Trips::default());
        Self {
            reactor,
            log,
            now,
            events: VecDeque::new(),
            requests: VecDeque::new(),
            version: 0,
            sources,
            spawner,
            trips,
        }
    }

    /// Queues an event for the state.
    pub fn raise(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Queues an event of one life.
    pub fn raise_for(&mut self, life: LifeId, event: LifeEvent) {
        self.raise(Event::Life(life, event));
    }

    /// Queues a request to another part, which is served before the state takes its next event.
    pub fn request(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    /// Logs a line about a vassal. Its name stands in front, and is left out of the text.
    pub fn log_for(&mut self, key: Option<&Key>, level: Level, text: &str) {
        let text = escaped(text.as_bytes()).to_string();
        match key {
            Some(key) => {
                let (label, text) =
                    (self.sources.label(key), messages::without_name(&text, &key.name));
                self.log.line(level, format_args!("[{label}] {text}"));
            }
            None => self.log.line(level, format_args!("[?] {text}")),
        }
    }

    /// Gives the spawner an order, with these descriptors; the answer comes later.
    ///
    /// # Errors
    /// Some resource is missing.
    pub fn order(
        &mut self,
        owner: OrderOwner,
        order: &SpawnerOrder,
        attached: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let sent = self.spawner.order((owner, order), attached, &mut self.reactor);
        if self.spawner.has_failed_orders() {
            self.request(Request::FailOrders);
        }
        sent
    }

    /// Removes a descriptor from the reactor and closes it.
    pub fn close(&mut self, descriptor: Option<OwnedFd>) {
        if let Some(descriptor) = descriptor {
            self.reactor.remove(descriptor.as_fd());
        }
    }

    /// A point at which tests can cause a fault.
    pub fn trip(&self, point: &str) {
        self.trips.trip(point);
    }
}

/// A request of one part to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// A helper is to send its file to a life.
    SendFile(LifeId),
    /// Orders of a spawner that has ended have failed.
    FailOrders,
}

/// The start directory of the vassals of each source, as an argument of chdir(2); by the number of the source.
#[derive(Debug, Default)]
pub(super) struct Sources(pub Vec<Rc<CStr>>);

impl Sources {
    /// The start directory of the vassals of a source.
    pub fn directory(&self, source: SourceId) -> Option<PathBuf> {
        let start = self.0.get(source.0)?;
        Some(PathBuf::from(OsStr::from_bytes(start.to_bytes())))
    }

    /// A vassal, as the spawner is told.
    pub fn vassal_name(key: &Key) -> VassalName {
        let source = u16::try_from(key.source.0).unwrap_or(u16::MAX);
        VassalName { source, name: OsString::from_vec(key.name.to_vec()) }
    }

    /// What a vassal is called in the log: its name, or its path where another source may have the same.
    pub fn full_name(&self, key: &Key) -> Vec<u8> {
        match self.directory(key.source).filter(|_| self.0.len() > 1) {
            Some(directory) => {
                directory.join(OsStr::from_bytes(&key.name)).into_os_string().into_vec()
            }
            None => key.name.to_vec(),
        }
    }

    /// The full name, as it may be printed.
    pub fn label(&self, key: &Key) -> String {
        messages::name(&self.full_name(key))
    }
}

/// Faults that tests inject: `LIEGE_TEST_FAULT` names a file, and the file names the point that is to panic, after
/// `always` if it is to panic each time. There are none without debug assertions.
#[derive(Debug, Default)]
pub(super) struct Trips {
    #[cfg(debug_assertions)]
    file: Option<std::path::PathBuf>,
}

#[cfg(debug_assertions)]
impl Trips {
    pub fn new(file: Option<&OsStr>) -> Self {
        Self { file: file.map(std::path::PathBuf::from) }
    }

    /// Panics if the file names this point.
    #[expect(clippy::panic, reason = "that is what it is for")]
    fn trip(&self, point: &str) {
        let Some(text) = self.text() else { return };
        let always = text.strip_prefix("always ") == Some(point);
        if always || text == point {
            if !always {
                self.remove();
            }
            std::panic::panic_any(format!("{point} fails, as a test wants it"));
        }
    }

    /// Whether the next row of the state is to fail; once.
    pub fn wants_a_row_to_fail(&self) -> bool {
        let wants = self.text().is_some_and(|text| text == "row");
        if wants {
            self.remove();
        }
        wants
    }

    fn text(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.file.as_ref()?).ok()?;
        Some(text.trim().to_owned())
    }

    fn remove(&self) {
        if let Some(file) = &self.file {
            let _ = std::fs::remove_file(file);
        }
    }
}

#[cfg(not(debug_assertions))]
impl Trips {
    pub fn new(_: Option<&OsStr>) -> Self {
        Self {}
    }

    fn trip(&self, _: &str) {}
}
