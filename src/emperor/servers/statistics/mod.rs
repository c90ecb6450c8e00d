//! The statistics: each client gets one JSON object as soon as it has connected, and the end of the stream.
//!
//! Clients share a snapshot for a moment, so that a storm of them costs little. It is made a part at a time, so that
//! thousands of vassals keep nobody waiting: each of them is shown as it was when its turn came.

mod json;
mod report;
mod view;

use std::collections::HashMap;
use std::time::Duration;

use crate::state::VassalId;
use crate::sys::clock;
use crate::types::moment::Moment;

use view::Totals;

use super::client::CLIENT_TIMEOUT;
use super::service::{Access, Answer, Bytes, Service};

/// The shortest lifetime of a snapshot while nothing happens.
const SNAPSHOT_LIFETIME: Duration = Duration::from_millis(20);

/// The lifetime of a snapshot while nothing happens, as a multiple of the time that it took to make it, so that many
/// clients cost only a part of a processor on a slow machine too.
const LIFETIME_PER_COST: u32 = 4;

/// The lifetime of a snapshot for each byte of it when something has happened: about ten times what it has cost.
const LIFETIME_PER_BYTE: Duration = Duration::from_nanos(15);

/// Vassals that are added to a snapshot in one turn: 5 us each.
const MAX_SHOWN: usize = 256;

/// How an answer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    /// With the object itself.
    #[default]
    Json,
    /// With the header of an HTTP/1.0 answer (`stats-http`).
    Http,
}

/// The service.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    form: Form,
    snapshot: Option<Snapshot>,
    draft: Option<Draft>,
}

/// A snapshot that is being made.
#[derive(Debug)]
struct Draft {
    begun: Moment,
    /// The last turn in which something was added.
    added: Option<Moment>,
    cost: Duration,
    version: u64,
    /// The vassal that is shown next.
    next: VassalId,
    starts: HashMap<VassalId, Moment>,
    totals: Totals,
    text: Vec<u8>,
}

/// An answer that all clients get for a short time.
#[derive(Debug)]
struct Snapshot {
    made: Moment,
    /// Time that it took to make it.
    cost: Duration,
    /// Version of the context when it was made.
    version: u64,
    answer: Bytes,
}

impl Statistics {
    /// Without a snapshot.
    pub fn new(form: Form) -> Self {
        Self { form, snapshot: None, draft: None }
    }
}

impl Service for Statistics {
    fn name(&self) -> &'static str {
        "statistics"
    }

    fn answer(&mut self, _request: &[u8], access: &mut Access<'_>) -> Answer {
        let (version, now) = (access.context.version, access.context.now);
        if let Some(snapshot) = self.snapshot.as_ref().filter(|it| it.is_fresh(version, now)) {
            return Answer::Last(Bytes::clone(&snapshot.answer));
        }
        let draft = self.draft.take().filter(|draft| draft.is_young(now));
        let mut draft = draft.unwrap_or_else(|| Draft::begin(access));
        if draft.added == Some(now) || !draft.add(access) {
            self.draft = Some(draft);
            return Answer::Later;
        }
        let (cost, version) = (draft.cost, draft.version);
        let mut text = draft.end(access);
        if self.form == Form::Http {
            text = with_http_header(text);
        }
        let answer = Bytes::new(text);
        self.snapshot = Some(Snapshot { made: now, cost, version, answer: Bytes::clone(&answer) });
        Answer::Last(answer)
    }
}

impl Draft {
    fn begin(access: &Access<'_>) -> Self {
        Self {
            begun: access.context.now,
            added: None,
            cost: Duration::ZERO,
            version: access.context.version,
            next: VassalId(0),
            starts: access.realm.next_starts(),
            totals: Totals::default(),
            text: json::head(&view::frame(access, Totals::default())),
        }
    }

    /// Whether somebody has waited for it lately.
    fn is_young(&self, now: Moment) -> bool {
        now.saturating_duration_since(self.begun) < CLIENT_TIMEOUT
    }

    /// Adds some vassals; true if all are there.
    fn add(&mut self, access: &Access<'_>) -> bool {
        let begin = clock::now();
        let mut ids: Vec<VassalId> = access
            .realm
            .vassals_from(self.next)
            .map(|vassal| vassal.id)
            .take(MAX_SHOWN + 1)
            .collect();
        let next = if ids.len() > MAX_SHOWN { ids.pop() } else { None };
        for vassal in view::vassals(access, ids.into_iter(), &self.starts, &mut self.totals) {
            json::append_vassal(&mut self.text, &vassal);
        }
        self.next = next.unwrap_or(self.next);
        self.added = Some(access.context.now);
        self.cost += clock::now().saturating_duration_since(begin);
        next.is_none()
    }

    fn end(mut self, access: &Access<'_>) -> Vec<u8> {
        let tail = json::tail(&view::frame(access, self.totals));
        self.text.extend_from_slice(&tail);
        self.text
    }
}

impl Snapshot {
    /// Whether it can still be given to a client; `version` tells whether anything has happened after it was
    /// made.
    fn is_fresh(&self, version: u64, now: Moment) -> bool {
        let bytes = u32::try_from(self.answer.len()).unwrap_or(u32::MAX);
        let lifetime = match self.version == version {
            true => SNAPSHOT_LIFETIME.max(self.cost.saturating_mul(LIFETIME_PER_COST)),
            false => SNAPSHOT_LIFETIME.min(LIFETIME_PER_BYTE.saturating_mul(bytes)),
        };
        now.saturating_duration_since(self.made) < lifetime
    }
}

pub(super) fn with_http_header(mut answer: Vec<u8>) -> Vec<u8> {
    let header = format!(
        "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    answer.splice(..0, header.into_bytes());
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_good_for_a_moment_and_shorter_when_something_has_happened() {
        let now = Moment::from_nanos(1_000_000_000);
        let cost = Duration::from_millis(1);
        let of =
            |bytes: usize| Snapshot { made: now, cost, version: 7, answer: vec![0; bytes].into() };
        let just_before = now + SNAPSHOT_LIFETIME - Duration::from_nanos(1);
        let small = of(1000);
        assert!(small.is_fresh(7, just_before) && !small.is_fresh(7, now + SNAPSHOT_LIFETIME));
        // A small one costs nothing, and shows at once what has happened; a large one does after a while.
        assert!(!small.is_fresh(8, now + Duration::from_micros(15)));
        let large = of(600_000);
        assert!(large.is_fresh(9, now + Duration::from_millis(8)));
        assert!(!large.is_fresh(9, now + Duration::from_millis(9)));
        let huge = of(60_000_000);
        assert!(huge.is_fresh(10, just_before) && !huge.is_fresh(10, now + SNAPSHOT_LIFETIME));
        let costly = Snapshot { cost: Duration::from_millis(50), ..of(600_000) };
        assert!(costly.is_fresh(7, now + Duration::from_millis(199)));
        assert!(!costly.is_fresh(7, now + Duration::from_millis(200)));
    }
}
