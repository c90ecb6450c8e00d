//! The emperor above this one, where this one is itself a vassal: what it is told, what it orders.
//!
//! It is told that this one has started (1), that it governs (5), and that it is loyal (17), after the first
//! scan. It orders to stop (0, 2), which is ragnarok, and to reload (1), which is what SIGHUP is. When its end
//! of the pipe is closed it is lost: ragnarok.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::proto::emperor::{self, FromVassal, ToVassal};
use crate::state::Event;
use crate::sys::{fd, scm, socket};

use super::Emperor;
use super::process_context::ProcessContext;

/// Orders read in one wake-up.
const CHUNK: usize = 64;

/// Our end of the pipe to the emperor above, if there is one.
///
/// # Errors
/// The variable is there, but names no open socket.
pub(super) fn pipe(process: &ProcessContext) -> Result<Option<OwnedFd>, String> {
    let name = emperor::FD_VARIABLE;
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
    process.variable(emperor::FD_VARIABLE)?;
    let above = process.variable(emperor::DEPTH_VARIABLE);
    let above = above.and_then(|text| text.to_str()?.parse().ok());
    Some(format!("{}={}", emperor::DEPTH_VARIABLE, above.unwrap_or(0_usize).saturating_add(1)))
}

impl Emperor {
    /// It reads the words that are known to it; one that does not read must not hold us.
    fn tell_parent(&self, words: &[FromVassal]) {
        if let Some(pipe) = &self.parent {
            let bytes: Vec<u8> = words.iter().map(|word| word.byte()).collect();
            let _ = socket::send(pipe.as_fd(), &bytes);
        }
    }

    /// All that there is to govern is known.
    pub(super) fn tell_parent_ready(&self) {
        self.tell_parent(&[FromVassal::Ready, FromVassal::Accepting, FromVassal::Loyal]);
    }

    pub(super) fn read_parent(&mut self) {
        let mut orders = [0_u8; CHUNK];
        let Some(pipe) = &self.parent else { return };
        let length = match scm::receive(pipe.as_fd(), &mut orders) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Ok(received) => {
                scm::discard(received.fds);
                received.length
            }
            Err(_) => 0,
        };
        if length == 0 {
            self.begin_ragnarok("the emperor above is gone");
            let parent = self.parent.take();
            return self.context.close(parent);
        }
        let orders = orders.get(..length).unwrap_or_default();
        let told = |order: ToVassal| orders.contains(&order.byte());
        if told(ToVassal::Stop) || told(ToVassal::StopGracefully) {
            self.begin_ragnarok("told to stop by the emperor above");
        } else if told(ToVassal::Reload) {
            self.order(Event::ReloadAll);
            self.context.log.notice(format_args!(
                "told to reload by the emperor above: every vassal reloads; options of this emperor itself \
                 change when it is started anew"
            ));
            self.obey();
            self.tell_parent_ready();
        }
    }

    fn begin_ragnarok(&mut self, why: &str) {
        if self.realm.is_ending() {
            return;
        }
        self.order(Event::Ragnarok);
        self.context.log.notice(format_args!("{why}: ragnarok, every vassal is stopped"));
        let sent = self.manager.stopping();
        self.told(sent);
        self.obey();
    }
}
