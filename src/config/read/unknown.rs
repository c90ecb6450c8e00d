//! Names that are not options.

use std::collections::HashSet;

use crate::opts;
use crate::types::quote::cut;

use super::super::setting::{Fault, Origin, Setting};
use super::{ConfigReader, Entry};

/// Most names that are told to be unknown.
pub(super) const MAX_UNKNOWN: usize = 20;

impl ConfigReader<'_> {
    /// Names that are no option, and that nothing has asked for, are slips of the pen more often than not.
    /// Where the program would run with more rights than meant, or the author has another supervisor in
    /// mind, that is a fault; else a warning.
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
            // Looking for the nearest option costs far more than reading the line.
            if opts::find(key).is_some() || refused >= MAX_UNKNOWN || !seen.insert((key, *from_set))
            {
                continue;
            }
            let security = security.get_or_insert_with(opts::security::Names::collect);
            // Many variables begin like ours and are meant for other programs.
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

/// Why a name that is no option must not be passed over; `None`: it may.
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
