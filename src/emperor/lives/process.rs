//! The main process of a life, with its descriptors.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use crate::proto::status::DeclaredFiles;
use crate::state::VassalId;
use crate::sys::process::Pid;
use crate::types::moment::Moment;

use super::delayed::{ConfigPipe, RateLimit};

/// The main process of a life, and the descriptors that belong to it.
#[derive(Debug)]
pub(in crate::emperor) struct Process {
    pub vassal: VassalId,
    pub pid: Pid,
    pub pidfd: OwnedFd,
    /// Our end of the emperor pipe, until the other end is closed.
    pub pipe: Option<OwnedFd>,
    /// Our end of the status socket, until the program runs.
    pub status: Option<OwnedFd>,
    /// Its notify socket, if it has one.
    pub notify: Option<OwnedFd>,
    /// Its config pipe, if it has one.
    pub config: Option<Box<ConfigPipe>>,
    /// The listeners that its stage has sent, until they are moved to its vassal.
    pub listeners: Vec<OwnedFd>,
    /// The files that its stage has declared, until they are moved to its vassal.
    pub files: Option<Box<DeclaredFiles>>,
    /// Whether it is a base: lives that are forked from it may be in its process group, so signals go to its pid alone.
    pub is_base: bool,
    /// Name of the base that has forked it.
    pub base: Option<Rc<[u8]>>,
    /// Whether a message of a foreign process on its notify socket was logged.
    pub has_logged_foreign_sender: bool,
    /// Whether the last signal for a stop or a reload went to its whole process group.
    pub group_signalled: bool,
    /// Whether its verdict was received without the listeners, because no descriptor was left for them.
    pub has_truncated_verdict: bool,
    /// Counters of its messages.
    pub rate_limit: RateLimit,
}

impl Process {
    /// A new process, with our end of its emperor pipe.
    pub fn new(vassal: VassalId, (pid, pidfd): (Pid, OwnedFd), pipe: OwnedFd, now: Moment) -> Self {
        Self {
            vassal,
            pid,
            pidfd,
            pipe: Some(pipe),
            status: None,
            notify: None,
            config: None,
            listeners: Vec::new(),
            files: None,
            is_base: false,
            base: None,
            has_logged_foreign_sender: false,
            group_signalled: false,
            has_truncated_verdict: false,
            rate_limit: RateLimit::new(now),
        }
    }
}
