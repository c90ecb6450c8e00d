//! The emperor above this one, where this one is itself a vassal.
//!
//! After the first scan this emperor tells the one above that it has started (1), that it is accepting (5), and
//! that it is loyal (17). The one above can order a stop (0, 2), which begins ragnarok, and a reload (1), which has
//! the effect of SIGHUP. When its end of the pipe is closed, it is gone, and ragnarok begins.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::log::Log;
use crate::proto::emperor::{self, FromVassal, ToVassal};
use crate::reactor::{Delivery, Interest, Reactor};
use crate::sys::{fd, scm, socket};

use super::context::Context;
use super::process_context::ProcessContext;
use super::token::Token;

/// Most orders that are read in one wake-up.
const MAX_ORDERS: usize = 64;

/// The connection to the emperor above, if there is one.
#[derive(Debug)]
pub(super) struct Parent {
    pipe: Option<OwnedFd>,
}

/// An order of the emperor above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParentOrder {
    Stop,
    Reload,
    /// Not an order: the emperor above is gone.
    Gone,
}

impl Parent {
    /// Opens the connection of this process. A variable that does not name an open socket is logged.
    pub fn open(process: &ProcessContext, log: &mut Log) -> Self {
        let pipe = pipe(process).unwrap_or_else(|why| {
            log.warning(format_args!("{why}"));
            None
        });
        Self { pipe }
    }

    /// Has the reactor wait for orders of the emperor above.
    pub fn watch(&self, reactor: &mut Reactor<Token>) {
        if let Some(pipe) = &self.pipe {
            reactor.add(pipe.as_fd(), Token::Parent, Interest::Read, Delivery::Direct);
        }
    }

    /// Tells the emperor above that all vassals of this emperor are known. It ignores bytes that it does not know. The
    /// send does not block, as the emperor above may not read its pipe.
    pub fn tell_ready(&self) {
        if let Some(pipe) = &self.pipe {
            let words = [FromVassal::Ready, FromVassal::Accepting, FromVassal::Loyal];
            let _ = socket::send(pipe.as_fd(), &words.map(|word| word.byte()));
        }
    }

    /// Reads orders of the emperor above; gives the one that takes effect: a stop wins over a reload.
    pub fn read(&mut self, context: &mut Context) -> Option<ParentOrder> {
        let mut orders = [0_u8; MAX_ORDERS];
        let length = match scm::receive(self.pipe.as_ref()?.as_fd(), &mut orders) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Ok(received) => {
                scm::discard(received.fds);
                received.length
            }
            Err(_) => 0,
        };
        if length == 0 {
            context.close(self.pipe.take());
            return Some(ParentOrder::Gone);
        }
        let orders = orders.get(..length).unwrap_or_default();
        let has = |order: ToVassal| orders.contains(&order.byte());
        if has(ToVassal::Stop) || has(ToVassal::StopGracefully) {
            return Some(ParentOrder::Stop);
        }
        has(ToVassal::Reload).then_some(ParentOrder::Reload)
    }
}

/// Our end of the pipe to the emperor above, if there is one.
///
/// # Errors
/// The variable is set, but does not name an open socket.
fn pipe(process: &ProcessContext) -> Result<Option<OwnedFd>, String> {
    let name = emperor::PIPE_FD_VARIABLE;
    let Some(text) = process.variable(name) else { return Ok(None) };
    let number = text.to_str().and_then(|text| text.parse().ok()).filter(|number| *number > 2);
    let pipe = number.and_then(|number| fd::inherited(number).ok());
    let pipe = pipe.filter(|pipe| socket::is_stream(pipe.as_fd()));
    let text = text.display();
    pipe.map(Some)
        .ok_or_else(|| format!("{name}={text} is not an emperor pipe: this is not a vassal"))
}

/// The environment variable with the depth of nested emperors for the vassals; only if this emperor is a vassal.
pub(super) fn depth(process: &ProcessContext) -> Option<String> {
    process.variable(emperor::PIPE_FD_VARIABLE)?;
    let above = process.variable(emperor::DEPTH_VARIABLE);
    let above = above.and_then(|text| text.to_str()?.parse().ok());
    Some(format!("{}={}", emperor::DEPTH_VARIABLE, above.unwrap_or(0_usize).saturating_add(1)))
}
