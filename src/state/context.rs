//! What a row of the event table may use: the time, the rules, and lists for its effects and requests.

use super::start_queue::{Queue, Ticket};
use super::{Effect, Rules, VassalId};
use crate::types::moment::Moment;

/// A request of a vassal to the realm.
#[derive(Debug, PartialEq, Eq)]
pub enum RealmRequest {
    /// A start, in its turn.
    Start(VassalId, Ticket, Queue),
    /// The removal of the vassal.
    Forget(VassalId),
}

/// The input and the output of one row.
pub struct StepContext<'a> {
    /// The time of this wake-up.
    pub now: Moment,
    /// Rules of the administrator.
    pub rules: &'a Rules,
    /// Whether ragnarok has begun.
    pub ending: bool,
    /// Effects for the emperor, in order.
    pub out: &'a mut Vec<Effect>,
    /// Requests to the realm.
    pub requests: &'a mut Vec<RealmRequest>,
    /// The number of the last life.
    pub last_life: &'a mut u64,
}

/// The effects and requests of one step of the realm.
pub(super) struct Outbox<'a> {
    pub(super) now: Moment,
    pub(super) out: &'a mut Vec<Effect>,
    pub(super) requests: Vec<RealmRequest>,
    pub(super) ending: bool,
}

impl Outbox<'_> {
    pub(super) fn context<'b>(
        &'b mut self,
        rules: &'b Rules,
        last_life: &'b mut u64,
    ) -> StepContext<'b> {
        let (now, ending) = (self.now, self.ending);
        StepContext { now, ending, rules, out: self.out, requests: &mut self.requests, last_life }
    }
}
