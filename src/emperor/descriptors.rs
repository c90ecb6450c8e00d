//! The budget of descriptors: how many are left, and what they are reserved for.
//!
//! An on-demand vassal that waits for its first connection has one descriptor, and needs more when it is started:
//! its address is bound only as long as enough are left for all that wait. A vassal without room is held for that
//! reason, and tried again later.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::state::VassalId;
use crate::state::realm::Realm;
use crate::sys::{fd, limits};

use super::listeners::Listeners;

/// Descriptors of a running life: pipe, pidfd, notify socket.
const PER_LIFE: u64 = 3;
/// Descriptors that are reserved for everything but vassals; where the limit is low, a part of it.
const RESERVE: (u64, u64) = (64, 4);
/// Descriptors that must be free when one more vassal starts, for its start and for other work.
const START_RESERVE: (u64, u64) = (16, 8);

/// How many descriptors there are for vassals.
#[derive(Debug)]
pub(super) struct DescriptorBudget {
    /// `/dev/null`, which is duplicated to find the lowest unused number.
    null: OwnedFd,
    /// How many vassals the limit allows, each with a pipe, a pidfd and one socket: to be notified, or a listener.
    pub max_vassals: usize,
}

/// The part of a limit that is reserved.
fn kept(limit: u64, (most, part): (u64, u64)) -> u64 {
    most.min(limit / part)
}

impl DescriptorBudget {
    /// The budget for the descriptor limit of this process.
    ///
    /// # Errors
    /// `/dev/null` cannot be opened.
    pub fn open() -> io::Result<Self> {
        let null = fd::open_null()?;
        let limit = limit();
        let most = limit.saturating_sub(kept(limit, RESERVE)) / PER_LIFE;
        Ok(Self { null, max_vassals: usize::try_from(most).unwrap_or(usize::MAX) })
    }

    /// Whether one more on-demand vassal can be given a listener.
    ///
    /// # Errors
    /// The reason, and what to do about it.
    pub fn room_to_listen(&self, listeners: &Listeners, realm: &Realm) -> Result<(), String> {
        let limit = limit();
        let used = self.used().unwrap_or(limit);
        let rest = limit.saturating_sub(used + 1 + kept(limit, RESERVE));
        let most = rest / PER_LIFE;
        // On-demand vassals without a life are only counted when the budget is tight.
        if most > count(listeners.vassals().len()) || most > waiting_on_demand(listeners, realm) {
            return Ok(());
        }
        Err(format!(
            "no descriptor is left for the on-demand socket and a start; {}",
            remedy(limit)
        ))
    }

    /// Whether one more life can be started beside so many that the spawner was ordered to make, which have not got all
    /// their descriptors yet; `has_room`: those of the vassal are counted already, as it has a process or a listener.
    ///
    /// # Errors
    /// The reason, and what to do about it.
    pub fn room_to_start(&self, ordered: usize, has_room: impl FnOnce() -> bool) -> io::Result<()> {
        let limit = limit();
        let refused = |why: &str| Err(io::Error::other(format!("{why}; {}", remedy(limit))));
        let reserve = kept(limit, START_RESERVE) + PER_LIFE * count(ordered);
        let Some(used) = self.used().filter(|used| used + reserve <= limit) else {
            return refused("no descriptor is left for it");
        };
        // One more vassal leaves what the replacement of another needs.
        if used + PER_LIFE + reserve > limit && !has_room() {
            return refused("no descriptor is left for another vassal");
        }
        Ok(())
    }

    /// The lowest unused descriptor number; `None` if all are used.
    fn used(&self) -> Option<u64> {
        u64::try_from(self.null.try_clone().ok()?.as_raw_fd()).ok()
    }
}

/// How many on-demand vassals have a listener and no life.
fn waiting_on_demand(listeners: &Listeners, realm: &Realm) -> u64 {
    let bound = listeners.vassals().filter(|id| listeners.on_demand(*id).is_some());
    let waiting_on_demand =
        |id: &VassalId| realm.vassal(*id).is_some_and(|it| it.current().is_none());
    count(bound.filter(waiting_on_demand).count())
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn limit() -> u64 {
    limits::descriptor_limit().map_or(1024, |limit| limit.soft)
}

fn remedy(limit: u64) -> String {
    format!(
        "the emperor may have {limit} (LimitNOFILE= of its unit, ulimit -n, or max-fd); raise that, or run fewer vassals"
    )
}
