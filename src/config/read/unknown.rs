//! Names that are not options.

use std::collections::HashSet;

use crate::opts;
use crate::types::quote::cut;

use super::super::setting::{Fault, Origin, Setting};
use super::{ConfigReader, Entry};

/// Most unknown names that are reported.
pub(super) const MAX_UNKNOWN: usize = 20;

impl ConfigReader<'_> {
    /// Reports names that are neither an option nor used as a placeholder: most of them are misspelt options.
    /// That is a fault where the name resembles a security setting, or is one that another supervisor
    /// understands; else it is a warning.
    pub(in crate::config) fn judge_unknown_names(&mut self) {
        let mut seen = HashSet::new();
        let mut warned = 0;
        let mut refused = 0;
        let mut security = None;
        for Entry { setting: Setting { key, origin, .. }, literal, from_set } in &self.list {
            let is_placeholder = *from_set && *literal;
            if is_placeholder || self.used_names.contains(key) {
                continue;
            }
            // Finding the most similar option takes far longer than reading the line.
            if opts::find(key).is_some() || refused >= MAX_UNKNOWN || !seen.insert((key, *from_set))
            {
                continue;
            }
            let security = security.get_or_insert_with(opts::security::Names::collect);
            // Variables with this prefix may be meant for other programs.
            if let Origin::Environment(_) = origin {
                if let Some(meant) = security.resembled_by(key).filter(|_| warned < MAX_UNKNOWN) {
                    let message =
                        format!("is not an option; it resembles {meant}, a security setting");
                    self.warnings.push(Fault::new(origin, "", message));
                    warned += 1;
                }
                continue;
            }
            if let Some(message) = refusal(key, *from_set, security) {
                self.faults.push(Fault::new(origin, key, message));
                refused += 1;
                continue;
            }
            let is_file = matches!(origin, Origin::File { .. });
            if *from_set || !is_file || warned >= MAX_UNKNOWN {
                continue;
            }
            warned += 1;
            let message = format!("unknown option \"{}\"{}", cut(key), did_you_mean(key));
            self.warnings.push(Fault::new(origin, "", message));
        }
    }
}

/// Why an unknown name is a fault; `None`: it is not.
fn refusal(key: &str, from_set: bool, security: &opts::security::Names) -> Option<String> {
    // What `set` appends may have any name; a misspelt security setting is one all the same.
    let word = if from_set { None } else { opts::other_supervisors::our_name(key) };
    let (why, ours) = match word {
        Some(ours) => ("Other supervisors have one of this name".to_owned(), ours),
        None => {
            let meant = security.resembled_by(key)?;
            (format!("It resembles {meant}, {}", opts::security::effect_of_lack(meant)), meant)
        }
    };
    let instead = format!(
        "Write {ours} instead, or for a placeholder that no %( ) uses: set-ph = {}=TEXT",
        cut(key)
    );
    let refusal = opts::Refusal { what: opts::refusal::NO_OPTION, why: &why, instead: &instead };
    Some(refusal.to_string())
}

pub(super) fn did_you_mean(key: &str) -> String {
    opts::nearest(key).map(|name| format!(" (did you mean \"{name}\"?)")).unwrap_or_default()
}
