//! The emperor above this one, where this one is itself a vassal: what it is told, what it orders.
//!
//! It is told that this one has started (1), that it governs (5), and that it is loyal (17), after the first
//! scan. It orders to stop (0, 2), which is ragnarok, and to reload (1), which is what SIGHUP is. When its end
//! of the pipe is closed it is lost: ragnarok.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::log::Log;
use crate::proto::emperor::{self, FromVassal, ToVassal};
use crate::reactor::{Delivery, Interest, Reactor};
use crate::sys::{fd, scm, socket};

use super::context::Context;
use super::process_context::ProcessContext;
use super::token::Token;

/// Orders read in one wake-up.
const MAX_ORDERS: usize = 64;

/// The line to the emperor above, if there is one.
#[derive(Debug)]
pub(super) struct Parent {
    pipe: Option<OwnedFd>,
}

/// What the emperor above wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParentOrder {
    Stop,
    Reload,
    /// Nothing any more: it is gone.
    Gone,
}

impl Parent {
    /// The line of this process; a variable that names no open socket is told in the log.
    pub fn open(process: &ProcessContext, log: &mut Log) -> Self {
        let pipe = pipe(process).unwrap_or_else(|why| {
            log.warning(format_args!("{why}"));
            None
        });
        Self { pipe }
    }

    /// Has the reactor wait for its orders.
    pub fn watch(&self, reactor: &mut Reactor<Token>) {
        if let Some(pipe) = &self.pipe {
            reactor.add(pipe.as_fd(), Token::Parent, Interest::Read, Delivery::Direct);
        }
    }

    /// Tells it that all vassals of this emperor are known. It skips words that it does not know; an emperor that
    /// does not read its pipe must not block this one.
    pub fn tell_ready(&self) {
        if let Some(pipe) = &self.pipe {
            let words = [FromVassal::Ready, FromVassal::Accepting, FromVassal::Loyal];
            let _ = socket::send(pipe.as_fd(), &words.map(|word| word.byte()));
        }
    }

    /// Reads its orders; gives the one that counts.
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
/// The variable is there, but names no open socket.
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

/// What tells the vassals of an emperor that is a vassal how deep they are.
pub(super) fn depth(process: &ProcessContext) -> Option<String> {
    process.variable(emperor::PIPE_FD_VARIABLE)?;
    let above = process.variable(emperor::DEPTH_VARIABLE);
    let above = above.and_then(|text| text.to_str()?.parse().ok());
    Some(format!("{}={}", emperor::DEPTH_VARIABLE, above.unwrap_or(0_usize).saturating_add(1)))
}
