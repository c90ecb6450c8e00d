//! The keeper: the parent of the emperor, which ends every vassal when the emperor has died.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};

use crate::config::emperor::EmperorConfig;
use crate::reactor::{Delivery, Interest, Reactor};
use crate::sys::pidfd;
use crate::types::keeper_mode::KeeperMode;

use super::process_context::{ProcessContext, variable};
use super::setup_error::{SetupError, cannot};
use super::token::Token;

/// Whether this emperor is to run under a keeper. By default it does not as PID 1, because there the kernel kills
/// all processes, nor under a service manager that kills the whole control group.
pub(super) fn wants_keeper(config: &EmperorConfig, environment: &[(OsString, OsString)]) -> bool {
    let own = std::process::id();
    let managed = variable(environment, "SYSTEMD_EXEC_PID")
        .and_then(OsStr::to_str)
        .is_some_and(|pid| pid.parse() == Ok(own));
    match config.keeper {
        KeeperMode::On => true,
        KeeperMode::Off => false,
        KeeperMode::Auto => own != 1 && !managed,
    }
}

/// The running keeper, watched by the emperor.
#[derive(Debug)]
pub(super) struct KeeperHandle {
    pub pid: u32,
    pidfd: OwnedFd,
}

impl KeeperHandle {
    /// Opens a pidfd of the keeper that is our parent, if there is one.
    pub(super) fn open(process: &ProcessContext) -> Result<Option<Self>, SetupError> {
        let Some(pid) = process.keeper else { return Ok(None) };
        let pidfd = pidfd::open_parent(pid).map_err(cannot("watch the keeper"))?;
        Ok(Some(Self { pid, pidfd }))
    }

    /// Has the reactor wait for the end of the keeper.
    pub(super) fn watch(&self, reactor: &mut Reactor<Token>) {
        reactor.add(self.pidfd.as_fd(), Token::Keeper, Interest::Read, Delivery::Direct);
    }
}
