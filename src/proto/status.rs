//! The status socket: the private line between the emperor and the stage of one life.
//!
//! A `SOCK_SEQPACKET` pair; every message is one packet. The emperor speaks first: custody, with the
//! vassal's listening sockets attached. The stage answers with one verdict; end-of-file after it means
//! that the program was exec'd, a failure after it that it was not. The child between fork and exec uses
//! the same socket, so a failure can also come without a verdict.

use std::time::Duration;

/// Names the descriptor of the status socket in the stage's environment.
pub const FD_VARIABLE: &str = "LIEGE_STATUS_FD";

/// Most listening sockets that one vassal can leave in custody.
pub const MAX_LISTENERS: usize = 16;

/// Longest packet, both ways.
pub const MAX_PACKET: usize = 8192;

/// When a vassal that has ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// Whatever the reason; the default, as the documents of uWSGI promise.
    #[default]
    Always,
    /// Unless its exit status was 0.
    OnFailure,
    /// Only by a change of its file.
    Never,
}

/// What a vassal file says about the running of its program; all of it concerns this vassal only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecSettings {
    /// Sent to the process group for a stop; 0 = the default (TERM).
    pub stop_signal: u8,
    /// Sent for a reload; 0 = none, the vassal is replaced.
    pub reload_signal: u8,
    /// Sent for a graceful stop; 0 = as `stop_signal`.
    pub graceful_signal: u8,
    /// Whether it comes back when it ends.
    pub restart: Restart,
    /// It announces readiness on a notify socket.
    pub notify: bool,
    /// Without traffic for this long it goes back to waiting.
    pub idle: Option<Duration>,
    /// It was promised a watchdog with this period.
    pub heartbeat: Option<Duration>,
    /// Alive this long = loyal; `None` = the emperor's rule.
    pub loyal_after: Option<Duration>,
    /// Alive this long = accepting, where nothing is announced; `None` = the emperor's rule.
    pub ready_after: Option<Duration>,
    /// From exec to readiness, where it is announced; `None` = the emperor's rule.
    pub start_timeout: Option<Duration>,
    /// How many of the attached descriptors, from the first, are listening sockets for custody.
    pub listeners: u8,
    /// The program, for the log.
    pub argv0: String,
}

/// A fault found by the stage: one step of the start, the place in the configuration, the sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The named point of the start (`style.md`, *Words*).
    pub step: String,
    /// `file:line option`, or empty.
    pub origin: String,
    /// What is wrong, and the remedy.
    pub message: String,
}

/// One packet from the child or the stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromStage {
    /// The verdict `exec`: everything is prepared, the program is exec'd next.
    Exec(ExecSettings),
    /// The verdict `error`.
    Error(Fault),
    /// A system call failed between fork and exec, or the exec itself.
    Failed {
        /// Which step: the number of a `spawn::step::Step`.
        step: u8,
        /// The reason.
        errno: i32,
    },
}
