//! The servers of the emperor, which answer the clients that connect to it.
//!
//! A server is sockets and clients ([`server`]) and a service ([`service::Service`]) that answers them. A new
//! service is a file with that trait, and a line in [`service`].

mod client;
pub(super) mod ids;
mod listener;
mod server;
pub(super) mod service;
mod statistics;

use std::path::Path;

use crate::config::SocketSpec;
use crate::config::emperor::{EmperorConfig, Served};
use crate::config::setting::Located;
use crate::sys::socket::{ListenOptions, SocketOwner};
use crate::types::advice;
use crate::types::moment::Moment;

use super::context::Context;
use super::setup_error::{SetupError, cannot};

use ids::{ServerId, ServerSocket};
use listener::{BindPlace, ServerListener};
use server::Server;
use service::{Access, Service};
use statistics::{Form, Statistics};

/// Mode of the sockets, which show what runs and with which errors; anybody's by `chmod-socket`.
const SERVER_SOCKET_MODE: u32 = 0o660;

/// The service behind addresses of this kind.
fn service(served: Served, config: &EmperorConfig) -> Box<dyn Service> {
    match served {
        Served::Statistics => {
            let form = if config.stats_http { Form::Http } else { Form::Json };
            Box::new(Statistics::new(form))
        }
    }
}

/// All servers.
pub(super) struct Servers(Vec<Server>);

impl Servers {
    /// Binds what the configuration asks for; relative paths count from `directory`.
    ///
    /// # Errors
    /// The first address that is refused, with its place in the configuration.
    pub fn open(
        config: &EmperorConfig,
        owner: SocketOwner,
        directory: &Path,
    ) -> Result<Self, SetupError> {
        let options = ListenOptions {
            owner,
            backlog: config.listen,
            mode: Some(config.chmod_socket.unwrap_or(SERVER_SOCKET_MODE)),
            ..ListenOptions::default()
        };
        let mut servers = Vec::new();
        let mut kinds: Vec<Served> = Vec::new();
        kinds.extend(config.served.iter().map(|(served, _)| *served));
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            let service = service(kind, config);
            let addresses = config.served.iter().filter(|(served, _)| *served == kind);
            let bind = |(_, address): &_| bind(service.name(), address, (directory, &options));
            let listeners = addresses.map(bind).collect::<Result<Vec<_>, _>>()?;
            let id = ServerId(u8::try_from(servers.len()).unwrap_or(u8::MAX));
            servers.push(Server::new(id, service, listeners));
        }
        Ok(Self(servers))
    }

    /// Serves a descriptor that is ready.
    pub fn serve(&mut self, socket: ServerSocket, access: &mut Access<'_>) {
        let (ServerSocket::Listener(id, _) | ServerSocket::Client(id, _)) = socket;
        let Some(server) = self.0.get_mut(usize::from(id.0)) else { return };
        match socket {
            ServerSocket::Listener(_, index) => server.accept(index, access),
            ServerSocket::Client(_, client) => server.serve(client, access),
        }
        server.update_reactor(&mut access.context.reactor);
    }

    /// Whether [`Servers::go_on`] is due.
    pub fn are_busy(&self) -> bool {
        self.0.iter().any(Server::is_busy)
    }

    /// Goes on with answers that are made in parts.
    pub fn go_on(&mut self, access: &mut Access<'_>) {
        for server in self.0.iter_mut().filter(|server| server.is_busy()) {
            server.go_on(access);
            server.update_reactor(&mut access.context.reactor);
        }
    }

    /// When [`Servers::expire`] is due.
    pub fn deadline(&self) -> Option<Moment> {
        self.0.iter().filter_map(Server::deadline).min()
    }

    /// Drops the clients whose time is over, and polls the listeners again whose pause is over.
    pub fn expire(&mut self, context: &mut Context) {
        for server in &mut self.0 {
            server.expire(context.now);
        }
        self.update_reactor(context);
    }

    /// Binds listeners again that clients cannot reach any more.
    pub fn check_listeners(&mut self, context: &mut Context) {
        for server in &mut self.0 {
            server.check_listeners(context);
        }
        self.update_reactor(context);
    }

    /// Passes the changes of all servers on to the reactor.
    pub fn update_reactor(&mut self, context: &mut Context) {
        for server in &mut self.0 {
            server.update_reactor(&mut context.reactor);
        }
    }
}

fn bind(
    name: &str,
    address: &Located<SocketSpec>,
    (directory, options): (&Path, &ListenOptions),
) -> Result<ServerListener, SetupError> {
    let doing = format!("serve {name} at {} ({address})", address.show(&address.value));
    let place = address.value.address().map(|address| address.relative_to(directory));
    let place =
        place.ok_or_else(|| cannot(doing.clone())(std::io::ErrorKind::InvalidInput.into()))?;
    let wanted = BindPlace { address: place.clone(), options: options.clone() };
    ServerListener::bind(wanted).map_err(|error| {
        let remedy = match address.hidden {
            true => String::new(),
            false => advice::bind(&place, error.source.kind(), error.call),
        };
        cannot(doing)(error.source).advised(|_| remedy)
    })
}
