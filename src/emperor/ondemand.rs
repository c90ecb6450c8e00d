//! On-demand listeners: bind, watch, hand over.

use std::os::fd::AsFd;
use std::rc::Rc;

use crate::config::address;
use crate::reactor::{Interest, Kind};
use crate::state::vassal::Vassal;
use crate::state::{Event, OnDemand, VassalId};
use crate::sys::socket::{self, Accept, ListenOptions};
use crate::types::advice;

use super::Emperor;
use super::listening_socket::{ListeningSocket, SocketLoss};
use super::token::Token;

/// How on-demand sockets are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// How many connections wait.
    pub backlog: u32,
    /// Mode of a unix socket.
    pub mode: u32,
}

impl Emperor {
    /// Binds a vassal's address; answers with an event.
    pub(super) fn bind(&mut self, vassal: VassalId, address: &str) {
        // Its file may have been changed again since this was asked for; then that asks for another one.
        if self.realm.vassal(vassal).and_then(Vassal::address) != Some(address) {
            return;
        }
        let bound = self.room_to_listen().and_then(|()| self.try_bind(vassal, address));
        let answer = match bound {
            Ok(listener) => {
                let hall = self.hall(vassal);
                (hall.listener, hall.was_shut_down) = (Some(listener), false);
                Event::ListenerBound(vassal)
            }
            Err(why) => Event::ListenerRefused(vassal, why),
        };
        self.context.raise(answer);
    }

    /// Makes a listener at an address.
    ///
    /// # Errors
    /// Why there can be none, with the way out.
    pub(super) fn try_bind(
        &self,
        vassal: VassalId,
        address: &str,
    ) -> Result<ListeningSocket, String> {
        let parsed = address::of_file(address)?;
        let directory = self.directory_of(vassal).ok_or("its source is gone")?;
        let place = parsed.within(&directory);
        let options = ListenOptions {
            backlog: self.ondemand.backlog,
            mode: Some(self.ondemand.mode),
            accept: Accept::Waits,
            replace_refusing: self.halls.get(&vassal).is_some_and(|hall| hall.was_shut_down),
            ..ListenOptions::default()
        };
        let listener = socket::listen(&place, &options).map_err(|error| {
            match self.bound_by_another(vassal, address) {
                Some(other) => format!(
                    "the vassal {other} listens on {place} already; give one of the two another address"
                ),
                None => format!("cannot listen on {place}: {error}{}", advice::bind(&place, error.source.kind(), error.call)),
            }
        })?;
        Ok(ListeningSocket::new(listener, &directory))
    }

    /// Names another vassal of ours that has bound the same address.
    fn bound_by_another(&self, vassal: VassalId, address: &str) -> Option<String> {
        let mut others = self.realm.vassals().filter(|other| {
            let bound = self.halls.get(&other.id).is_some_and(|hall| hall.listener.is_some());
            other.id != vassal && bound && other.address() == Some(address)
        });
        others.next().map(|other| self.context.sources.label(&other.key))
    }

    pub(super) fn unbind(&mut self, vassal: VassalId) {
        self.unwatch(vassal);
        if let Some(hall) = self.halls.get_mut(&vassal) {
            hall.listener = None;
        }
    }

    pub(super) fn watch(&mut self, vassal: VassalId) {
        let Some(hall) = self.halls.get(&vassal) else { return };
        let Some(listener) = &hall.listener else { return };
        let directory = self.directory_of(vassal).unwrap_or_default();
        if let Some(lost) = listener.lost(&directory) {
            let why = format!("its on-demand socket {lost}");
            self.hall(vassal).was_shut_down = lost == SocketLoss::ShutDown;
            return self.context.raise(Event::ListenerLost(vassal, why));
        }
        let token = Token::OnDemand(vassal);
        self.context.reactor.add(listener.as_fd(), token, Interest::Read, Kind::Quiet);
    }

    pub(super) fn unwatch(&mut self, vassal: VassalId) {
        if let Some(listener) = self.halls.get(&vassal).and_then(|hall| hall.listener.as_ref()) {
            self.context.reactor.remove(listener.as_fd());
        }
    }

    /// Somebody has connected; or a program has shut the listener down, for all who hold it.
    pub(super) fn connection(&mut self, vassal: VassalId) {
        let listener = self.halls.get(&vassal).and_then(|hall| hall.listener.as_ref());
        let Some(listener) = listener else { return };
        match socket::is_shut_down(listener.as_fd()) {
            true => self.lose_listener(vassal, SocketLoss::ShutDown),
            false => self.happen(Event::Connection(vassal)),
        }
    }
}

/// What an on-demand address means for the state: one at which nobody can ever listen is a fault, which
/// only a change of its file mends.
pub(super) fn on_demand(address: &Rc<str>) -> OnDemand {
    match address::of_file(address) {
        Ok(_) => OnDemand::Address(Rc::clone(address)),
        Err(why) => OnDemand::Fault(why.into()),
    }
}
