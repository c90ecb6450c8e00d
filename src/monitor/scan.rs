//! One call of a monitor, and the reasons for which it looks at everything.

use super::change::Changes;
use crate::types::moment::Moment;

/// One call of a monitor: when it is made, and where the changes go.
pub(super) struct ScanContext<'a> {
    pub(super) now: Moment,
    pub(super) out: &'a mut Changes,
}

/// Why a whole directory is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// It was there from the beginning: everything is taken as it is.
    Initial,
    /// It has come, or come back: the same, but for what differs after a moment.
    Appeared,
    /// There are no events for it: differences must stay for a moment.
    Polling,
    /// There were events for everything: a difference that they have missed is logged.
    Verify,
}
