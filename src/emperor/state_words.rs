//! The words for what a vassal does and what it waits for, as the statistics and the log show them.

use crate::state::vassal::{Hold, HoldReason, Phase, Vassal};

/// The name of the phase of a vassal.
pub(super) fn state_name(vassal: &Vassal) -> &'static str {
    match &vassal.phase {
        Phase::Held(hold) => hold_name(&hold.reason),
        Phase::Listening => "listening",
        Phase::Starting(_) => "starting",
        Phase::Running { .. } => "running",
        Phase::Replacing { .. } => "replacing",
        Phase::Draining { .. } => "draining",
        Phase::Stopping { .. } => "stopping",
    }
}

/// What a vassal that is not started waits for: its turn, the end of a pause after something has failed, or
/// a change of its file.
fn hold_name(why: &HoldReason) -> &'static str {
    match why {
        HoldReason::Throttle | HoldReason::Budget | HoldReason::Base(_) | HoldReason::StopHook => {
            "queued"
        }
        HoldReason::Penalty
        | HoldReason::RestartInterval
        | HoldReason::Resource(_)
        | HoldReason::Address(_)
        | HoldReason::AddressTaken(..)
        | HoldReason::InternalError => "backoff",
        HoldReason::Finished(_) => "finished",
    }
}

/// The number of uWSGI for the status of a vassal: 0 is normal, 1 is stopping.
pub(super) fn uwsgi_status(vassal: &Vassal) -> u8 {
    u8::from(matches!(vassal.phase, Phase::Stopping { .. }))
}

/// The reason why a vassal does not run, or why its replacement is held.
pub(super) fn reason(vassal: &Vassal) -> Option<String> {
    let hold = match &vassal.phase {
        Phase::Held(hold) => hold,
        Phase::Running { due, .. } => due.as_ref()?,
        Phase::Listening
        | Phase::Starting(_)
        | Phase::Replacing { .. }
        | Phase::Draining { .. }
        | Phase::Stopping { .. } => return None,
    };
    Some(hold_reason(vassal, hold))
}

/// The reason why a vassal is held.
pub(super) fn hold_reason(vassal: &Vassal, hold: &Hold) -> String {
    match &hold.reason {
        HoldReason::Throttle => "throttled: too many starts in one second".to_owned(),
        HoldReason::Budget => "waits for its turn to start".to_owned(),
        HoldReason::Penalty => match vassal.penalty.deaths() {
            1 => "blacklisted after 1 death".to_owned(),
            deaths => format!("blacklisted after {deaths} deaths"),
        },
        HoldReason::Resource(why) | HoldReason::Address(why) | HoldReason::AddressTaken(why, _) => {
            why.to_string()
        }
        HoldReason::StopHook => "waits for the end of its stop hook".to_owned(),
        HoldReason::Base(why) => format!("waits for its base: {why}"),
        HoldReason::RestartInterval => "restart rate limit (100 ms)".to_owned(),
        HoldReason::InternalError => "an internal error (a bug in liege)".to_owned(),
        HoldReason::Finished(exit) => format!("has ended ({exit}), as its restart setting says"),
    }
}
