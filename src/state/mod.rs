//! What should happen. Pure: events and the time go in, effects come out; no I/O, no clock, no log.
//!
//! Three levels: a [`life`] is one process, a [`vassal`] is one file, the [`realm`] is all of them with
//! what they share. The event table is `EVENTS.md`, and in code `rows`: one function a row, one arm a column.

use std::rc::Rc;
use std::time::Duration;

pub mod announced;
pub mod backoff;
pub mod context;
pub mod deadline_queue;
pub mod life;
pub mod penalty;
pub mod realm;
mod reload;
pub mod repair;
mod restart;
mod rows;
pub mod run_state;
pub mod stale;
pub mod start_queue;
mod throttle;
pub mod vassal;

pub use reload::ReloadWay;

use crate::types::exit_status::ExitStatus;
use crate::types::purpose::Purpose;
use crate::types::run_settings::{RunSettings, StopTo};

#[cfg(test)]
mod tests;

/// The number of a life. It is never used again, so a late event of a life that has ended is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LifeId(pub u64);

/// The number of a vassal, from the time its file is found until it is forgotten. It is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VassalId(pub u64);

/// Of all that the exec of a program has fixed: a file with the same one would start the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint(pub u64);

/// Which monitor found a vassal: its place on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub usize);

/// The name of a vassal. The same file name in two sources means two vassals.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The source in which its file was found.
    pub source: SourceId,
    /// The name of the file, as bytes; all records of the vassal share it.
    pub name: Rc<[u8]>,
}

/// The numbers and switches that the administrator has set for all vassals.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The step of the penalty, and of the level of the throttle.
    pub throttle: Duration,
    /// The longest penalty, and the highest level of the throttle.
    pub max_throttle: Duration,
    /// Queued starts in one second that do not wait.
    pub throttle_burst: usize,
    /// Lives between fork and verdict at one time.
    pub max_starting: usize,
    /// Whether deaths earn a penalty.
    pub blacklist: bool,
    /// The longest time from one heartbeat to the next.
    pub required_heartbeat: Duration,
    /// The time from a polite stop to SIGKILL, and from one SIGKILL to the next.
    pub curse_tolerance: Duration,
    /// The time from the begin of ragnarok to SIGKILL for all.
    pub reload_mercy: Duration,
    /// The age at which a program that does not use the protocol counts as loyal.
    pub loyal_after: Duration,
    /// The age at which a program that announces nothing counts as accepting.
    pub ready_after: Duration,
    /// The time limit from the start of a stage to its exec.
    pub stage_timeout: Duration,
    /// The time limit from exec to readiness, for programs that announce it.
    pub start_timeout: Duration,
    /// Whether vassals are stopped by byte 2 instead of byte 0.
    pub graceful_shutdown: bool,
    /// Whether vassals start through the stage; else `binary-path` is started directly.
    pub stage: bool,
    /// Whether a command is run for each life that has ended.
    pub stop_hook: bool,
    /// Whether a fork server is asked for each vassal that is not a base.
    pub fork_server: bool,
    /// Names of vassals that serve others as fork servers, and are started normally themselves.
    pub bases: Vec<Vec<u8>>,
    /// The time limit from the request for a process to its answer.
    pub answer_timeout: Duration,
    /// The time limit from the answer of a fork server until the process that it names is our child.
    pub claim_timeout: Duration,
    /// How many vassals one event may concern; the others follow at once.
    pub max_swept: usize,
    /// The settings of a vassal whose file says nothing else; all of these vassals share them.
    pub settings: Rc<RunSettings>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            throttle: Duration::from_secs(1),
            max_throttle: Duration::from_secs(180),
            throttle_burst: 1,
            max_starting: 8,
            blacklist: true,
            required_heartbeat: Duration::from_secs(30),
            curse_tolerance: Duration::from_secs(30),
            reload_mercy: Duration::from_secs(30),
            loyal_after: Duration::from_secs(10),
            ready_after: Duration::from_secs(10),
            stage_timeout: Duration::from_secs(10),
            start_timeout: Duration::from_secs(90),
            graceful_shutdown: false,
            stage: true,
            stop_hook: false,
            fork_server: false,
            bases: Vec::new(),
            answer_timeout: Duration::from_secs(5),
            claim_timeout: Duration::from_secs(1),
            max_swept: 256,
            settings: Rc::default(),
        }
    }
}

/// The attributes of a vassal file that its monitor has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Modification time, seconds since the epoch.
    pub modified: i64,
    /// User id of the owner.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// The address at which the emperor listens before the vassal runs.
    pub on_demand: OnDemand,
}

/// Whether a vassal waits for its first connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnDemand {
    /// The vassal runs at once.
    #[default]
    No,
    /// The vassal waits for its first connection at this address.
    Address(Rc<str>),
    /// The address cannot be read, for this reason; the vassal must not start without it.
    Fault(Rc<str>),
}

/// A message of a running vassal, by a byte or by its notify socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VassalMessage {
    /// "I have started."
    Ready,
    /// "I take requests."
    Accepting,
    /// "I have served a request."
    Loyal,
    /// "Stop me until a client connects."
    GoIdle,
    /// "I am alive."
    Heartbeat,
}

/// The channel by which a message came: a byte on the pipe shows that a program uses the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The emperor pipe.
    Pipe,
    /// The notify socket of systemd's protocol.
    Notify,
}

/// An event of one life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LifeEvent {
    /// Its process is there: made by the spawner, or forked by a fork server and proved to be our child. The pid is
    /// only to be shown.
    Spawned(i32),
    /// No process was made, or it is reaped before it could become the vassal, for want of something
    /// that is ours to give: the reason. The vassal is not to blame.
    SpawnFailed(String),
    /// The base takes no requests yet, or no more: the reason. No process was made.
    BaseNotReady(String),
    /// The socket file of this base was removed, so it cannot be asked for processes any more.
    Unreachable,
    /// The fork server has named a process; whether that is ours is being proved.
    Answered,
    /// The stage has prepared everything.
    Verdict(RunSettings, Fingerprint),
    /// The start has failed for this reason; the process is about to end.
    StartFailed(String),
    /// The start has failed for this reason: an address is taken, by this vassal if it is one of ours.
    AddressTaken(String, Option<VassalId>),
    /// End-of-file on the status socket.
    StatusClosed,
    /// A message of the vassal.
    Message(VassalMessage, Channel),
    /// One of its processes waits for connections on a listener of ours.
    SeenAccepting,
    /// End-of-file on the emperor pipe.
    PipeClosed,
    /// Its program has gone to the background, and the process is about to end; with the reason to show.
    Daemonized(String),
    /// It has ended and is reaped.
    Exited(ExitStatus),
}

/// An event for the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A vassal file was found.
    Found {
        /// Name of the vassal.
        key: Key,
        /// Attributes of the file.
        file: File,
        /// Whether the first look at its directory has found it, at the start or when the directory has come back.
        is_initial: bool,
    },
    /// A vassal file has changed.
    Changed {
        /// Name of the vassal.
        key: Key,
        /// New attributes of the file.
        file: File,
    },
    /// A vassal file is the same, but has another owner.
    OwnerChanged {
        /// Name of the vassal.
        key: Key,
        /// New attributes of the file.
        file: File,
    },
    /// A vassal file was removed.
    Lost(Key),
    /// The on-demand address is bound.
    ListenerBound(VassalId),
    /// The on-demand address cannot be bound, for this reason.
    ListenerRefused(VassalId, String),
    /// The on-demand listener is of no use any more, for this reason.
    ListenerLost(VassalId, String),
    /// The listeners of this vassal were bound anew. Its lives hold the old ones, which clients cannot reach; the
    /// next life is given the new ones.
    ListenersRenewed(VassalId),
    /// A client has connected to the on-demand listener of this vassal.
    Connection(VassalId),
    /// An event of one life.
    Life(LifeId, LifeEvent),
    /// The stop hook of an ended life of this vassal is over, or could not be started.
    HookEnded(Key),
    /// SIGHUP: reload all.
    ReloadAll,
    /// SIGURG: forget the blacklist.
    ForgetBlacklist,
    /// TERM, INT, QUIT: stop all, then leave.
    Ragnarok,
    /// A second INT or QUIT: no mercy.
    RagnarokNow,
    /// Some deadline has passed.
    Time,
}

/// A command to a vassal on its emperor pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Byte 0.
    Stop,
    /// Byte 1.
    Reload,
    /// Byte 2.
    StopGracefully,
}

/// An action that the emperor must carry out, in the order of the list. Each action that can fail is answered by an
/// event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Bind the on-demand address; answered by `ListenerBound` or `ListenerRefused`.
    Bind(VassalId, String),
    /// Close the on-demand listener.
    Unbind(VassalId),
    /// Poll the on-demand listener for connections.
    Watch(VassalId),
    /// Stop polling the on-demand listener.
    Unwatch(VassalId),
    /// Have the spawner make a process; answered later by `Spawned` or `SpawnFailed`.
    Spawn(VassalId, LifeId, Purpose),
    /// Ask the fork server; answered at once by `BaseNotReady` or `SpawnFailed`, or later by one of
    /// these, or by `Answered` and `Spawned`.
    Ask(VassalId, LifeId),
    /// Give the request for this life up, for this reason; answered by `SpawnFailed`.
    EndRequest(LifeId, &'static str),
    /// Probe whether this life waits for connections on a listener of ours; answered by `SeenAccepting` if so.
    ProbeAccepting(VassalId, LifeId),
    /// Send this order on the emperor pipe of this life.
    Tell(LifeId, Order),
    /// Send this signal to the main process of this life or to its group, as the last value says.
    Signal(LifeId, i32, StopTo),
    /// Send SIGKILL to the process group of this life.
    Kill(LifeId),
    /// Run the stop hook for a life that has ended; answered by `HookEnded`. It has the key as well,
    /// because the vassal may be forgotten in the same turn.
    StopHook(VassalId, Key),
    /// Send SIGKILL to all stop hooks; those that wait for their turn are not started.
    KillHooks,
    /// Move the listeners that the stage of this life has sent to the custody of this vassal.
    TakeCustody(VassalId, LifeId),
    /// The vassal is forgotten: close what belongs to it.
    Forget(VassalId),
    /// Log this transition of a vassal. It has the key for the same reason as [`Effect::StopHook`].
    Note(VassalId, Key, Note),
    /// Log a wait that many vassals share.
    Notice(WaitNotice),
    /// Leave with this exit status, because nothing is left.
    Leave(u8),
}

/// A wait that many share, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitNotice {
    /// Starts come too fast.
    ThrottleBegins {
        /// The number of vassals that wait.
        waiting: usize,
        /// The time until the last of them starts.
        last: Duration,
    },
    /// No vassal waits in the queue of the throttle any more.
    ThrottleEnds,
    /// Vassals have been waiting for their turn to start.
    BudgetBegins {
        /// The number of vassals that wait.
        waiting: usize,
        /// The longest time until the last of them starts.
        last: Duration,
        /// The number of vassals that start at one time.
        at_once: usize,
    },
    /// No vassal waits for its turn any more.
    BudgetEnds,
    /// Ragnarok waits for vassals that have not ended yet.
    Ending {
        /// The time until all processes that are left are killed.
        left: Duration,
    },
}

impl Event {
    /// Whether it is an order to the emperor as a whole: it comes only once, and must not be lost.
    pub fn is_order(&self) -> bool {
        match self {
            Self::ReloadAll | Self::ForgetBlacklist | Self::Ragnarok | Self::RagnarokNow => true,
            Self::Found { .. }
            | Self::Changed { .. }
            | Self::OwnerChanged { .. }
            | Self::Lost(_)
            | Self::ListenerBound(_)
            | Self::ListenerRefused(..)
            | Self::ListenerLost(..)
            | Self::ListenersRenewed(_)
            | Self::Connection(_)
            | Self::Life(..)
            | Self::HookEnded(_)
            | Self::Time => false,
        }
    }
}

/// A transition, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The program runs.
    Running {
        /// Process id.
        pid: Option<i32>,
    },
    /// The vassal has the process that a base has forked.
    Adopted {
        /// Process id.
        pid: i32,
    },
    /// The program has announced, or is assumed by its age, to have started.
    Ready,
    /// The program takes requests.
    Accepting,
    /// The program is loyal; the penalty is forgotten.
    Loyal,
    /// The on-demand listener waits for the first connection.
    Listening {
        /// The on-demand address.
        address: String,
    },
    /// The vassal is held.
    Held {
        /// The reason.
        why: String,
        /// The time to the next attempt, if it is known.
        wait: Option<Duration>,
    },
    /// The vassal takes a new configuration.
    Reloading {
        /// The way in which it does.
        by: ReloadWay,
    },
    /// The replacement takes over.
    Replaced {
        /// Process id.
        pid: Option<i32>,
    },
    /// The life that had taken over has ended; the one before it serves on as far as it still can.
    FallBack {
        /// Process id.
        pid: i32,
    },
    /// The replacement, or its check, has failed; the running one goes on.
    ReplacementFailed {
        /// The reason.
        why: String,
    },
    /// The start has failed.
    StartFailed {
        /// The reason.
        why: String,
    },
    /// The lives are told to stop.
    Stopping {
        /// The reason.
        why: &'static str,
    },
    /// A life that was told to stop a second ago has not ended.
    StopsSlowly {
        /// The time until it is killed.
        left: Duration,
    },
    /// The lives are killed.
    Killed {
        /// The reason.
        why: &'static str,
    },
    /// A life has ended as it was told to.
    Stopped {
        /// The exit status.
        exit: ExitStatus,
        /// The time from fork to end.
        lived: Duration,
        /// The reason for the order.
        why: &'static str,
    },
    /// A life has ended without an order.
    Died {
        /// The exit status.
        exit: ExitStatus,
        /// The time from fork to end.
        lived: Duration,
        /// Whether it was loyal.
        loyal: bool,
        /// The penalty before the next start.
        wait: Duration,
        /// The number of deaths that are not forgiven.
        attempt: u32,
        /// Whether the start has failed, which the log says already.
        failed: bool,
        /// Advice for the administrator, if it was not given before; or empty.
        hint: String,
    },
    /// A life has ended, and the restart setting says that no other follows.
    Finished {
        /// The exit status.
        exit: ExitStatus,
    },
    /// The heartbeat has not come in time.
    Silent,
    /// The file is gone, and so is the vassal.
    Gone,
}
