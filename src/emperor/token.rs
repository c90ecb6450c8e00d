//! What the reactor waits for, and in which order it is served.

use crate::state::{LifeId, SourceId, VassalId};

use super::servers::ids::ServerSocket;

/// The number of a helper process; it is never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct HelperId(pub u64);

/// One descriptor that is polled. A token is never used again for another descriptor, so a late
/// event of a closed descriptor is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Answers of the spawner.
    Spawner,
    /// Status socket of a start.
    Status(LifeId),
    /// Emperor pipe.
    Pipe(LifeId),
    /// Talk with the fork server.
    ForkServer(LifeId),
    /// Notify socket.
    Notify(LifeId),
    /// End of a process.
    Pidfd(LifeId),
    /// A monitor.
    Monitor(SourceId),
    /// On-demand listener.
    OnDemand(VassalId),
    /// A listener or a client of a server.
    Server(ServerSocket),
    /// Files whose change is a reload.
    Touches,
    /// End of a helper process.
    Helper(HelperId),
    /// The signalfd.
    Signals,
    /// End of the keeper.
    Keeper,
    /// The pipe to the emperor above.
    Parent,
}

/// Status sockets, pipes, notify sockets and ends of processes have this rank or a lower one.
pub(super) const LAST_RANK_OF_LIVES: u8 = 2;
/// Signals, the keeper and the emperor above: served last.
pub(super) const RANK_OF_ORDERS: u8 = 4;

impl Token {
    /// Whether it is served even while effects are left over: clients of servers change nothing, and the end of the
    /// keeper cannot wait.
    pub(super) fn bypasses_backpressure(self) -> bool {
        matches!(self, Self::Server(_) | Self::Keeper)
    }
}

impl crate::reactor::Ranked for Token {
    fn rank(self) -> u8 {
        match self {
            // A process is known before what it says, and "exec failed" comes before "it exited".
            Self::Spawner | Self::Status(_) => 0,
            // Last messages before the end of a process; answers of fork servers before ends as well.
            Self::Pipe(_) | Self::Notify(_) | Self::ForkServer(_) => 1,
            Self::Pidfd(_) | Self::Helper(_) => LAST_RANK_OF_LIVES,
            Self::Monitor(_) | Self::OnDemand(_) | Self::Touches | Self::Server(_) => 3,
            // SIGCHLD among them: the ends of children that we know are reported by their pidfds.
            Self::Signals | Self::Keeper | Self::Parent => RANK_OF_ORDERS,
        }
    }
}
