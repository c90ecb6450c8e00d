//! The listening sockets that the emperor keeps for vassals, as long as their files exist: bind them, have them
//! polled, and see whether clients still reach them.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::address;
use crate::config::emperor::EmperorConfig;
use crate::log::Level;
use crate::reactor::{Delivery, Interest};
use crate::state::life::Life;
use crate::state::realm::Realm;
use crate::state::vassal::{Phase, Vassal};
use crate::state::{Event, VassalId};
use crate::sys::socket::{self, Accept, ListenOptions};
use crate::types::address::Address;
use crate::types::advice;
use crate::types::moment::Moment;

use super::context::{Context, Sources};
use super::listening_socket::{ListeningSocket, SocketLoss};
use super::token::Token;

/// Most vassals whose listeners are inspected in one turn.
pub(super) const MAX_INSPECTIONS: usize = 256;
/// A younger life is not replaced for listeners that it has lost, unless an administrator orders it.
const MIN_AGE: Duration = Duration::from_secs(60);
/// Mode of an on-demand socket, unless `chmod-socket` says another one.
const SOCKET_MODE: u32 = 0o666;

/// The listeners of all vassals.
#[derive(Debug)]
pub(super) struct Listeners {
    /// The listeners of each vassal; a vassal without listeners has no entry.
    sockets: HashMap<VassalId, VassalSockets>,
    /// Vassals whose listeners are to be inspected, some of them in each turn.
    inspections: VecDeque<VassalId>,
    /// How many connections may wait at an on-demand socket.
    backlog: u32,
    /// Mode of a new on-demand socket.
    mode: u32,
}

/// One vassal's listeners.
#[derive(Debug, Default)]
pub(super) struct VassalSockets {
    /// The on-demand listener; it is in blocking mode, as programs expect.
    pub listener: Option<ListeningSocket>,
    /// The listening sockets that its stage has bound.
    pub custody: Vec<ListeningSocket>,
    /// The last on-demand listener was shut down by a program, which may still hold it.
    was_shut_down: bool,
}

impl VassalSockets {
    /// The sockets that wait for connections.
    pub fn all(&self) -> impl Iterator<Item = &OwnedFd> {
        self.custody.iter().chain(&self.listener).map(|listener| &listener.socket)
    }
}

/// Why the listeners of all vassals are inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inspection {
    /// An order of the administrator.
    Ordered,
    /// The regular scan. A program that loses its listener at each start is replaced once in a minute at most.
    Regular,
}

impl Listeners {
    /// Without listeners.
    pub fn new(config: &EmperorConfig) -> Self {
        Self {
            sockets: HashMap::new(),
            inspections: VecDeque::new(),
            backlog: config.listen,
            mode: config.chmod_socket.unwrap_or(SOCKET_MODE),
        }
    }

    /// The listeners of a vassal, if it has some.
    pub fn get(&self, vassal: VassalId) -> Option<&VassalSockets> {
        self.sockets.get(&vassal)
    }

    /// The vassals that have an entry.
    pub fn vassals(&self) -> impl ExactSizeIterator<Item = VassalId> {
        self.sockets.keys().copied()
    }

    /// The on-demand listener of a vassal, if it has one.
    pub fn on_demand(&self, vassal: VassalId) -> Option<&ListeningSocket> {
        self.get(vassal)?.listener.as_ref()
    }

    fn entry(&mut self, vassal: VassalId) -> &mut VassalSockets {
        self.sockets.entry(vassal).or_default()
    }

    /// The other vassal that has a listener at this address, or at one that excludes it.
    pub fn holder(
        &self,
        address: &str,
        not: VassalId,
        realm: &Realm,
        sources: &Sources,
    ) -> Option<VassalId> {
        let wanted: Option<SocketAddr> = address.parse().ok();
        let is_same = |id: VassalId, socket: &OwnedFd| {
            match socket::local_address(socket.as_fd()).ok().flatten() {
                Some(Address::Tcp(have)) => wanted.is_some_and(|wanted| {
                    let any = wanted.ip().is_unspecified() || have.ip().is_unspecified();
                    wanted.port() == have.port() && (any || wanted.ip() == have.ip())
                }),
                // A relative path counts from the directory in which its stage has started.
                Some(Address::Path(path)) => {
                    let start = directory(id, realm, sources).unwrap_or_default();
                    start.join(path).display().to_string() == address
                }
                Some(abstract_name @ Address::Abstract(_)) => abstract_name.to_string() == address,
                None => false,
            }
        };
        if address.is_empty() {
            return None;
        }
        let mut others = self.sockets.iter().filter(|(id, _)| **id != not);
        let found = others.find(|(id, sockets)| sockets.all().any(|socket| is_same(**id, socket)));
        found.map(|(id, _)| *id)
    }

    /// Moves the listeners that the stage of a life has sent to the custody of its vassal.
    pub fn take_custody(
        &mut self,
        vassal: VassalId,
        set: Vec<OwnedFd>,
        realm: &Realm,
        sources: &Sources,
    ) {
        if !set.is_empty() || self.sockets.contains_key(&vassal) {
            let directory = directory(vassal, realm, sources).unwrap_or_default();
            let listeners = set.into_iter().map(|socket| ListeningSocket::new(socket, &directory));
            self.entry(vassal).custody = listeners.collect();
        }
    }

    // On-demand listeners.

    /// Binds a vassal's address.
    ///
    /// # Errors
    /// Why the address cannot be bound, and what to do about it.
    pub fn bind(
        &mut self,
        vassal: VassalId,
        address: &str,
        realm: &Realm,
        sources: &Sources,
    ) -> Result<(), String> {
        let parsed = address::of_file(address)?;
        let directory = directory(vassal, realm, sources).ok_or("its source is gone")?;
        let place = parsed.relative_to(&directory);
        let options = ListenOptions {
            backlog: self.backlog,
            mode: Some(self.mode),
            accept: Accept::Waits,
            replace_refusing: self.get(vassal).is_some_and(|sockets| sockets.was_shut_down),
            ..ListenOptions::default()
        };
        let listener = socket::listen(&place, &options).map_err(|error| {
            match self.bound_by_another(vassal, address, realm) {
                Some(other) => {
                    let other = sources.label(&other.key);
                    format!(
                        "the vassal {other} listens on {place} already; give one of the two another address"
                    )
                }
                None => {
                    let remedy = advice::bind(&place, error.source.kind(), error.call);
                    format!("cannot listen on {place}: {error}{remedy}")
                }
            }
        })?;
        let sockets = self.entry(vassal);
        sockets.listener = Some(ListeningSocket::new(listener, &directory));
        sockets.was_shut_down = false;
        Ok(())
    }

    /// Another vassal of ours that has bound the same address.
    fn bound_by_another<'a>(
        &self,
        vassal: VassalId,
        address: &str,
        realm: &'a Realm,
    ) -> Option<&'a Vassal> {
        realm.vassals().find(|other| {
            let bound = self.on_demand(other.id).is_some();
            other.id != vassal && bound && other.address() == Some(address)
        })
    }

    /// Closes the on-demand listener of a vassal.
    pub fn unbind(&mut self, vassal: VassalId, context: &mut Context) {
        self.unwatch(vassal, context);
        if let Some(sockets) = self.sockets.get_mut(&vassal) {
            sockets.listener = None;
        }
    }

    /// Has the on-demand listener of a vassal polled for its first connection.
    pub fn watch(&mut self, vassal: VassalId, realm: &Realm, context: &mut Context) {
        let Some(listener) = self.on_demand(vassal) else { return };
        let directory = directory(vassal, realm, &context.sources).unwrap_or_default();
        if let Some(lost) = listener.lost(&directory) {
            return self.raise_lost(vassal, lost, context);
        }
        let token = Token::OnDemand(vassal);
        context.reactor.add(listener.as_fd(), token, Interest::Read, Delivery::Batched);
    }

    /// Stops polling the on-demand listener of a vassal.
    pub fn unwatch(&self, vassal: VassalId, context: &mut Context) {
        if let Some(listener) = self.on_demand(vassal) {
            context.reactor.remove(listener.as_fd());
        }
    }

    /// The polled listener of a vassal is readable: a client has connected, or a program has shut the listener down,
    /// for all processes that hold it.
    pub fn on_readable(&mut self, vassal: VassalId, context: &mut Context) {
        let Some(listener) = self.on_demand(vassal) else { return };
        match socket::is_shut_down(listener.as_fd()) {
            true => self.raise_lost(vassal, SocketLoss::ShutDown, context),
            false => context.raise(Event::Connection(vassal)),
        }
    }

    fn raise_lost(&mut self, vassal: VassalId, lost: SocketLoss, context: &mut Context) {
        self.entry(vassal).was_shut_down = lost == SocketLoss::ShutDown;
        let why = format!("its on-demand socket {lost}");
        context.raise(Event::ListenerLost(vassal, why));
    }

    /// Closes all listeners of a vassal that is gone.
    pub fn forget(&mut self, vassal: VassalId, context: &mut Context) {
        self.unwatch(vassal, context);
        self.sockets.remove(&vassal);
    }

    // Inspections.

    /// Has the listeners of all vassals inspected in the next turns.
    pub fn inspect_soon(&mut self, why: Inspection, realm: &Realm, now: Moment) {
        let is_due = |vassal: &&Vassal| match why {
            Inspection::Ordered => true,
            Inspection::Regular => vassal.current().is_none_or(|life| life.age(now) >= MIN_AGE),
        };
        self.inspections = realm.vassals().filter(is_due).map(|vassal| vassal.id).collect();
    }

    /// Cancels all inspections that are still due.
    pub fn cancel_inspections(&mut self) {
        self.inspections.clear();
    }

    /// Whether listeners of some vassals are still to be inspected.
    pub fn has_inspections(&self) -> bool {
        !self.inspections.is_empty()
    }

    /// The vassal whose listeners are to be inspected now.
    pub fn next_inspection(&mut self) -> Option<VassalId> {
        self.inspections.pop_front()
    }

    /// Checks whether clients still reach the listeners of a vassal, and binds new ones where they do not. A running
    /// life keeps the old listeners, and is therefore replaced.
    pub fn inspect(&mut self, vassal: VassalId, realm: &Realm, context: &mut Context) {
        let Some(directory) = directory(vassal, realm, &context.sources) else { return };
        let Some(sockets) = self.get(vassal) else { return };
        let lost = sockets.listener.as_ref().and_then(|listener| {
            let lost = listener.lost(&directory)?;
            Some((lost, listener.has_successor(lost, &directory)))
        });
        let record = realm.vassal(vassal);
        let waits = record.is_some_and(|record| matches!(record.phase, Phase::Listening));
        match lost {
            Some((lost, _)) if waits => self.raise_lost(vassal, lost, context),
            Some((lost, false)) => self.renew_on_demand(vassal, lost, realm, context),
            Some((_, true)) => {}
            None => {
                let lost = sockets.custody.iter().find_map(|one| {
                    one.lost(&directory).filter(|lost| !one.has_successor(*lost, &directory))
                });
                let runs = record.is_some_and(|it| it.current().is_some_and(Life::is_running));
                if let Some(lost) = lost.filter(|_| runs) {
                    let line = format_args!("one of its sockets {lost}; it is bound again");
                    warn_of(vassal, line, realm, context);
                    context.raise(Event::ListenersRenewed(vassal));
                }
            }
        }
    }

    fn renew_on_demand(
        &mut self,
        vassal: VassalId,
        lost: SocketLoss,
        realm: &Realm,
        context: &mut Context,
    ) {
        let Some(address) = realm.vassal(vassal).and_then(Vassal::address) else { return };
        self.entry(vassal).was_shut_down = lost == SocketLoss::ShutDown;
        match self.bind(vassal, address, realm, &context.sources) {
            Ok(()) => {
                let line = format_args!("its on-demand socket {lost}; it is bound again");
                warn_of(vassal, line, realm, context);
                context.raise(Event::ListenersRenewed(vassal));
            }
            Err(why) => {
                let line = format_args!("its on-demand socket {lost}; {why}");
                warn_of(vassal, line, realm, context);
            }
        }
    }
}

fn warn_of(vassal: VassalId, line: fmt::Arguments<'_>, realm: &Realm, context: &mut Context) {
    if let Some(record) = realm.vassal(vassal) {
        context.log_for(Some(&record.key), Level::Warning, &line.to_string());
    }
}

/// The start directory of a vassal.
fn directory(vassal: VassalId, realm: &Realm, sources: &Sources) -> Option<PathBuf> {
    sources.directory(realm.vassal(vassal)?.key.source)
}
