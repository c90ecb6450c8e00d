//! What the shell holds for a vassal as long as its file exists: its listeners.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::log::escaped;
use crate::monitor;
use crate::state::life::Life;
use crate::state::vassal::{Phase, Vassal};
use crate::state::{Event, File, LifeId, OnDemand, VassalId};
use crate::sys::socket::{self, Address};

use super::Emperor;
use super::listening_socket::{ListeningSocket, SocketLoss};

/// Most vassals whose listeners are looked at in one turn.
const MAX_INSPECTIONS: usize = 256;
/// A life that is younger is not replaced for listeners that it has lost, unless somebody asks for it.
const SETTLED: Duration = Duration::from_secs(60);

/// One vassal's listeners. Who has none has no entry.
#[derive(Debug, Default)]
pub(super) struct VassalSockets {
    /// On-demand; blocking, as programs expect it.
    pub listener: Option<ListeningSocket>,
    /// The listening sockets that its stage has bound.
    pub custody: Vec<ListeningSocket>,
    /// The last on-demand listener was shut down, and who has done so may still hold it.
    pub was_shut_down: bool,
}

/// What the listeners of all are looked at for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inspection {
    /// An administrator wants it.
    Ordered,
    /// It is time. A program that loses its listener at each start is replaced once in a minute at most.
    Regular,
}

impl Emperor {
    /// Which other vassal has a listener that is in the way of this address.
    pub(super) fn holder(&self, address: &str, not: VassalId) -> Option<VassalId> {
        let wanted: Option<SocketAddr> = address.parse().ok();
        let is_same = |id: VassalId, socket: &OwnedFd| {
            match socket::local_address(socket.as_fd()).ok().flatten() {
                Some(Address::Tcp(have)) => wanted.is_some_and(|wanted| {
                    let any = wanted.ip().is_unspecified() || have.ip().is_unspecified();
                    wanted.port() == have.port() && (any || wanted.ip() == have.ip())
                }),
                // A relative one counts from where its stage has started.
                Some(Address::Path(path)) => {
                    let start = self.directory_of(id).unwrap_or_default();
                    start.join(path).display().to_string() == address
                }
                Some(abstract_name @ Address::Abstract(_)) => abstract_name.to_string() == address,
                None => false,
            }
        };
        if address.is_empty() {
            return None;
        }
        let mut halls = self.halls.iter().filter(|(id, _)| **id != not);
        let found = halls.find(|(id, hall)| {
            let all = hall.custody.iter().chain(&hall.listener);
            all.map(|listener| &listener.socket).any(|socket| is_same(**id, socket))
        });
        found.map(|(id, _)| *id)
    }

    /// The listeners of a vassal, to be changed.
    pub(super) fn hall(&mut self, id: VassalId) -> &mut VassalSockets {
        self.halls.entry(id).or_default()
    }

    /// The set of listeners that the stage of this life has sent is the vassal's from now on.
    pub(super) fn take_custody(&mut self, vassal: VassalId, life: LifeId) {
        self.mind(vassal, life);
        let Some(set) = self.lives.take_listeners(life) else { return };
        if !set.is_empty() || self.halls.contains_key(&vassal) {
            let directory = self.directory_of(vassal).unwrap_or_default();
            let listeners = set.into_iter().map(|socket| ListeningSocket::new(socket, &directory));
            self.hall(vassal).custody = listeners.collect();
        }
    }

    /// Where a vassal starts.
    pub(super) fn directory_of(&self, vassal: VassalId) -> Option<PathBuf> {
        self.context.sources.directory(self.realm.vassal(vassal)?.key.source)
    }

    /// Looks whether clients still come to the listeners of a vassal, and makes new ones where they do not. What
    /// runs keeps the old ones, and so is replaced.
    pub(super) fn look_at_listeners(&mut self, vassal: VassalId) {
        let Some(directory) = self.directory_of(vassal) else { return };
        let Some(hall) = self.halls.get(&vassal) else { return };
        let lost = hall.listener.as_ref().and_then(|listener| {
            let lost = listener.lost(&directory)?;
            Some((lost, listener.has_successor(lost, &directory)))
        });
        let waits = |emperor: &Self| {
            emperor.realm.vassal(vassal).is_some_and(|v| matches!(v.phase, Phase::Listening))
        };
        match lost {
            Some((lost, _)) if waits(self) => self.lose_listener(vassal, lost),
            Some((lost, false)) => self.renew_listener(vassal, lost),
            Some((_, true)) => {}
            None => {
                let mut custody = hall.custody.iter();
                let lost = custody.find_map(|one| {
                    one.lost(&directory).filter(|lost| !one.has_successor(*lost, &directory))
                });
                let runs = self
                    .realm
                    .vassal(vassal)
                    .is_some_and(|record| record.current().is_some_and(Life::is_running));
                if let Some(lost) = lost.filter(|_| runs) {
                    let line = format_args!("one of its sockets {lost}; it is bound again");
                    self.log_of(vassal, line);
                    self.happen(Event::ListenersRenewed(vassal));
                }
            }
        }
    }

    /// Looks at the listeners of all vassals in the next turns.
    pub(super) fn inspect_soon(&mut self, why: Inspection) {
        let now = self.context.now;
        let is_due = |vassal: &&Vassal| match why {
            Inspection::Ordered => true,
            Inspection::Regular => vassal.current().is_none_or(|life| life.age(now) >= SETTLED),
        };
        self.inspections = self.realm.vassals().filter(is_due).map(|vassal| vassal.id).collect();
        self.servers.check_listeners(&mut self.context);
    }

    /// Looks at some of them.
    pub(super) fn inspect(&mut self) {
        for _ in 0..MAX_INSPECTIONS {
            let Some(vassal) = self.inspections.pop_front() else { return };
            self.look_at_listeners(vassal);
        }
    }

    /// A listener that is polled is of no use any more.
    pub(super) fn lose_listener(&mut self, vassal: VassalId, lost: SocketLoss) {
        self.hall(vassal).was_shut_down = lost == SocketLoss::ShutDown;
        let why = format!("its on-demand socket {lost}");
        self.happen(Event::ListenerLost(vassal, why));
    }

    fn renew_listener(&mut self, vassal: VassalId, lost: SocketLoss) {
        let address = self.realm.vassal(vassal).and_then(Vassal::address).map(str::to_owned);
        let Some(address) = address else { return };
        self.hall(vassal).was_shut_down = lost == SocketLoss::ShutDown;
        match self.try_bind(vassal, &address) {
            Ok(listener) => {
                let line = format_args!("its on-demand socket {lost}; it is bound again");
                self.log_of(vassal, line);
                let hall = self.hall(vassal);
                (hall.listener, hall.was_shut_down) = (Some(listener), false);
                self.happen(Event::ListenersRenewed(vassal));
            }
            Err(why) => self.log_of(vassal, format_args!("its on-demand socket {lost}; {why}")),
        }
    }

    fn log_of(&mut self, vassal: VassalId, line: fmt::Arguments<'_>) {
        let Some(record) = self.realm.vassal(vassal) else { return };
        let label = self.context.sources.label(&record.key);
        self.context
            .log
            .warning(format_args!("[{label}] {}", escaped(line.to_string().as_bytes())));
    }
}

/// What the state wants to know of a file.
pub(super) fn file(seen: &monitor::VassalFile) -> File {
    File {
        modified: seen.version.mtime.0,
        uid: seen.uid,
        gid: seen.gid,
        on_demand: match &seen.on_demand {
            monitor::OnDemandAddress::No => OnDemand::No,
            monitor::OnDemandAddress::Address(text) => super::ondemand::on_demand(text),
            monitor::OnDemandAddress::Fault(why) => OnDemand::Fault(Rc::clone(why)),
        },
    }
}
