//! Orders to a life: bytes on its pipe, and signals.

use std::io;
use std::os::fd::AsFd;

use crate::log::Level;
use crate::state::realm::Realm;
use crate::state::{LifeId, Order};
use crate::sys::process;
use crate::sys::signal::Signal;
use crate::sys::{pidfd, socket};
use crate::types::moment::Moment;
use crate::types::run_settings::StopTo;

use super::super::context::Context;
use super::super::messages;
use super::{Lives, wire};

impl Lives {
    /// Sends one byte on its pipe. The pipe of a vassal that does not read can only be full of reloads: a further
    /// reload is not needed then, but a stop is sent as soon as the vassal reads again.
    pub fn send_order(&mut self, life: LifeId, order: Order, now: Moment) {
        let pipe = self.get(life).and_then(|process| process.pipe.as_ref());
        let sent = pipe.map(|pipe| socket::send(pipe.as_fd(), &[wire::order_byte(order)]));
        if let Some(Err(error)) = sent
            && error.kind() == io::ErrorKind::WouldBlock
            && order != Order::Reload
        {
            self.send_order_later(life, order, now);
        }
    }

    /// SIGKILL to its process group.
    pub fn kill(&mut self, life: LifeId, realm: &Realm, context: &mut Context) {
        self.leftovers.kill(life, context.now);
        self.send_signal(life, (Signal::KILL, StopTo::Group), realm, context);
        if let Some(process) = self.get_mut(life) {
            process.group_signalled = false;
        }
    }

    /// Sends a signal for a polite stop or for a reload.
    ///
    /// Workers that a main process controls must not get the signal from us as well: SIGQUIT, which means "finish,
    /// then exit" to the main process, may mean "exit now" to its workers. A shell, however, does not forward
    /// signals.
    pub fn signal(
        &mut self,
        life: LifeId,
        (signal, to): (i32, StopTo),
        realm: &Realm,
        context: &mut Context,
    ) {
        let Some(signal) = Signal::new(signal) else { return };
        let is_alone = self.send_signal(life, (signal, to), realm, context);
        if let Some(process) = self.get_mut(life) {
            process.group_signalled = !is_alone;
        }
    }

    /// Sends a signal to a process, or to the process group that it leads. A process that does not lead a group,
    /// because it is still in that of its base, gets the signal alone. True if only the process was addressed.
    fn send_signal(
        &self,
        life: LifeId,
        (signal, to): (Signal, StopTo),
        realm: &Realm,
        context: &mut Context,
    ) -> bool {
        let Some(process) = self.get(life) else { return true };
        // Before its setsid(2) the group does not exist yet, but the process does.
        let signal_pid_only = || pidfd::send(process.pidfd.as_fd(), signal);
        let is_alone = process.is_base
            || match to {
                StopTo::Main => true,
                StopTo::Group => false,
                StopTo::Auto => !process::is_shell(process.pid),
            };
        let sent = match is_alone {
            true => signal_pid_only(),
            false => process::kill_group(process.pid, signal).or_else(|_| signal_pid_only()),
        };
        if let Err(error) = sent {
            let why = format!("cannot be sent {}: {error}", messages::signal_name(signal.raw()));
            self.log_for((life, Level::Error), &why, realm, context);
        }
        is_alone
    }
}
