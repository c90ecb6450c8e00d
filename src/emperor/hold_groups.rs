//! Groups log lines about vassals that are not started for the same reason at the same time (a limit, a fork
//! server): one line for the first vassal, and one for all others.

use std::time::Duration;

use crate::log::escaped;
use crate::state::Note;
use crate::types::moment::Moment;

use super::context::Context;
use super::messages::{self, Message};

/// From the line about the first vassal to that about the others.
const GROUP_WINDOW: Duration = Duration::from_secs(1);
/// Most reasons at one time; for a further one each vassal gets a line of its own.
const MAX_HOLD_GROUPS: usize = 8;

/// The reasons that were logged a moment ago.
#[derive(Debug, Default)]
pub(super) struct HoldGroups(Vec<HoldGroup>);

#[derive(Debug)]
struct HoldGroup {
    why: String,
    /// The time until the next attempt of the last vassal.
    wait: Option<Duration>,
    until: Moment,
    /// The vassals that were held for this reason since.
    names: Vec<String>,
}

impl HoldGroups {
    /// Adds the vassal to the group of its reason, if that was logged a moment ago: its message is logged later,
    /// with those of the others. True if so.
    pub fn absorb_note(&mut self, label: &str, note: &Note, now: Moment) -> bool {
        let Note::Held { why, wait } = note else { return false };
        self.absorb(label, why, *wait, now)
    }

    /// When [`HoldGroups::log_due`] is due.
    pub fn deadline(&self) -> Option<Moment> {
        self.0.iter().filter(|group| !group.names.is_empty()).map(|group| group.until).min()
    }

    fn absorb(&mut self, name: &str, why: &str, wait: Option<Duration>, now: Moment) -> bool {
        self.0.retain(|group| group.until > now || !group.names.is_empty());
        if let Some(group) = self.0.iter_mut().find(|group| group.why == why) {
            group.names.push(name.to_owned());
            group.wait = wait;
            return true;
        }
        if self.0.len() < MAX_HOLD_GROUPS {
            let (why, names) = (why.to_owned(), Vec::new());
            self.0.push(HoldGroup { why, wait, until: now + GROUP_WINDOW, names });
        }
        false
    }

    /// Logs the other vassals of each reason whose time is over.
    pub fn log_due(&mut self, context: &mut Context) {
        for HoldGroup { why, wait, names, .. } in self.due(context.now) {
            if let [name] = &names[..] {
                let note = Note::Held { why, wait };
                let message = Message(&note);
                context.log.line(messages::severity(&note), format_args!("[{name}] {message}"));
                continue;
            }
            let (count, why) = (names.len(), escaped(why.as_bytes()));
            let (retry, names) = (messages::Retry(wait), messages::names(names.into_iter(), count));
            context.log.warning(format_args!(
                "{count} more vassals are not started: {why}{retry}: {names}"
            ));
        }
    }

    /// Takes out the groups whose time is over.
    fn due(&mut self, now: Moment) -> Vec<HoldGroup> {
        let due: Vec<HoldGroup> = self.0.extract_if(.., |group| group.until <= now).collect();
        due.into_iter().filter(|group| !group.names.is_empty()).collect()
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
        assert!(!hold_groups.absorb("a.ini", "no room", wait, zero));
        assert!(!hold_groups.absorb("b.ini", "something else", wait, zero));
        assert_eq!(hold_groups.deadline(), None);
        assert!(hold_groups.absorb("c.ini", "no room", wait, zero));
        assert!(hold_groups.absorb("d.ini", "no room", wait, zero + GROUP_WINDOW / 2));
        assert_eq!(hold_groups.deadline(), Some(zero + GROUP_WINDOW));
        let told = hold_groups.due(zero + GROUP_WINDOW);
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].why.as_str(), &told[0].names[..]),
            ("no room", &["c.ini".to_owned(), "d.ini".to_owned()][..])
        );
        assert!(!hold_groups.absorb("e.ini", "no room", wait, zero + GROUP_WINDOW));
    }
}
