//! Vassals that are held for one reason at one time (a limit, a fork server): a line for the first of them, and
//! one for all others.

use std::time::Duration;

use crate::log::{Level, escaped};
use crate::state::{Key, Note};
use crate::types::moment::Moment;

use super::{Emperor, messages};

/// From the first to the line about the others.
const GATHER: Duration = Duration::from_secs(1);
/// Most reasons that are gathered at one time; one more is told by each vassal.
const MAX_GROUPS: usize = 8;

/// Reasons that were told a moment ago.
#[derive(Debug, Default)]
pub(super) struct HoldGroups(Vec<HoldGroup>);

#[derive(Debug)]
struct HoldGroup {
    why: String,
    /// To the next try of the last one.
    wait: Option<Duration>,
    until: Moment,
    /// Who was held for it since.
    names: Vec<String>,
}

impl HoldGroups {
    /// When [`Emperor::log_hold_groups`] is due.
    pub fn deadline(&self) -> Option<Moment> {
        self.0.iter().filter(|group| !group.names.is_empty()).map(|group| group.until).min()
    }

    /// Whether others are held for this reason too, so that it is told with them.
    fn takes(&mut self, name: &str, why: &str, wait: Option<Duration>, now: Moment) -> bool {
        self.0.retain(|group| group.until > now || !group.names.is_empty());
        if let Some(group) = self.0.iter_mut().find(|group| group.why == why) {
            group.names.push(name.to_owned());
            group.wait = wait;
            return true;
        }
        if self.0.len() < MAX_GROUPS {
            let (why, names) = (why.to_owned(), Vec::new());
            self.0.push(HoldGroup { why, wait, until: now + GATHER, names });
        }
        false
    }

    /// Those whose time is over.
    fn due(&mut self, now: Moment) -> Vec<HoldGroup> {
        let due: Vec<HoldGroup> = self.0.extract_if(.., |group| group.until <= now).collect();
        due.into_iter().filter(|group| !group.names.is_empty()).collect()
    }
}

impl Emperor {
    /// Whether this is told a moment later, with what others have to say of the same kind.
    pub(super) fn is_told_with_others(&mut self, key: &Key, note: &Note) -> bool {
        let Note::Held { why, wait } = note else { return false };
        self.hold_groups.takes(&self.context.sources.label(key), why, *wait, self.context.now)
    }

    /// Tells who else is held for a reason that was told a moment ago.
    pub(super) fn log_hold_groups(&mut self) {
        for HoldGroup { why, wait, names, .. } in self.hold_groups.due(self.context.now) {
            if let [name] = &names[..] {
                let line = Note::Held { why, wait };
                self.context.log.line(
                    messages::severity(&line),
                    format_args!("[{name}] {}", messages::Message(&line)),
                );
                continue;
            }
            let (count, why) = (names.len(), escaped(why.as_bytes()));
            self.context.log.line(
                Level::Warning,
                format_args!(
                    "{count} more vassals are not started: {why}{}: {}",
                    messages::Retry(wait),
                    messages::names(&names)
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    #[test]
    fn the_first_of_a_reason_is_told_at_once_and_all_others_together() {
        let (zero, mut hold_groups) = (clock::now(), HoldGroups::default());
        let wait = Some(Duration::from_millis(50));
        assert!(!hold_groups.takes("a.ini", "no room", wait, zero));
        assert!(!hold_groups.takes("b.ini", "something else", wait, zero));
        assert_eq!(hold_groups.deadline(), None);
        assert!(hold_groups.takes("c.ini", "no room", wait, zero));
        assert!(hold_groups.takes("d.ini", "no room", wait, zero + GATHER / 2));
        assert_eq!(hold_groups.deadline(), Some(zero + GATHER));
        let told = hold_groups.due(zero + GATHER);
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].why.as_str(), &told[0].names[..]),
            ("no room", &["c.ini".to_owned(), "d.ini".to_owned()][..])
        );
        assert!(!hold_groups.takes("e.ini", "no room", wait, zero + GATHER));
    }
}
