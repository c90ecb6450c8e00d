//! Writes the state of all vassals into the log, on SIGUSR1.

use std::time::Duration;

use crate::log::escaped;
use crate::state::realm::Realm;
use crate::types::moment::Moment;

use super::context::Context;
use super::state_words;

/// The shortest interval between two of these reports.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// The schedule of the reports about all vassals in the log.
#[derive(Debug, Default)]
pub(super) struct StatusLog {
    /// Time of the last report.
    written: Option<Moment>,
    /// Time of the report for a request that came too early.
    due: Option<Moment>,
}

impl StatusLog {
    /// Writes the state of all vassals into the log, now or as soon as the interval is over.
    pub fn request(&mut self, realm: &Realm, context: &mut Context) {
        let next = self.written.map(|last| last + STATUS_INTERVAL);
        match next.filter(|next| *next > context.now) {
            Some(later) => self.due = Some(later),
            None => self.expire(realm, context),
        }
    }
}

impl StatusLog {
    /// The time at which [`StatusLog::expire`] is due.
    pub fn deadline(&self) -> Option<Moment> {
        self.due
    }

    /// Writes one line for each vassal, in the words of uWSGI and of liege.
    pub fn expire(&mut self, realm: &Realm, context: &mut Context) {
        *self = Self { written: Some(context.now), due: None };
        for vassal in realm.vassals() {
            let name = context.sources.label(&vassal.key);
            let life = vassal.current();
            let loyal = i32::from(life.is_some_and(|life| life.is_loyal()));
            let pid = life.and_then(|life| life.pid).unwrap_or(-1);
            let status = state_words::uwsgi_status(vassal);
            let state = state_words::state_name(vassal);
            let reason = state_words::reason(vassal);
            let reason =
                reason.map(|why| format!(" {}", escaped(why.as_bytes()))).unwrap_or_default();
            context.log.notice(format_args!(
                "vassal instance {name} (last modified {}) status {status} loyal {loyal} zerg 0 \
                 pid {pid} {state}{reason}",
                vassal.file.modified,
            ));
        }
    }
}
