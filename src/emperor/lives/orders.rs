//! What a life is told: bytes on its pipe, and signals.

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
    /// One byte on its pipe. When the pipe of a vassal that does not read is full, all that waits in it are
    /// reloads: one reload more is not needed, but a stop is, as soon as the vassal reads again.
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

    /// A signal of a polite stop, or of a reload.
    ///
    /// A process that is told by a server's main process what to do must not be told by us as well: QUIT, which
    /// means "finish, then leave" to the main process, may mean "leave now" to its workers. But a shell passes
    /// nothing on.
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

    /// A signal to a process, or to its group, whose leader is our own child that is not reaped. One that
    /// leads no group, because it still sits in that of its base, gets it alone; true if one does.
    fn send_signal(
        &self,
        life: LifeId,
        (signal, to): (Signal, StopTo),
        realm: &Realm,
        context: &mut Context,
    ) -> bool {
        let Some(process) = self.get(life) else { return true };
        // Before its setsid the group does not exist yet; the process does.
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
