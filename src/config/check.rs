//! What the checks of a vassal's and an emperor's configuration have in common: whether a text is right for the
//! kind of its option, and what follows from the class of an option.

use crate::opts::{self, Class, Missing, Opt, OptionKind};
use crate::types::choice::Choice;

use super::setting::{Fault, Faults, Located, Origin, Setting};
use super::{Resolved, values};

/// Most names in the one warning about ignored options.
const MAX_IGNORED_NAMES: usize = 40;

/// Whose configuration is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConfigRole {
    Vassal,
    Emperor,
}

/// A check in progress.
pub(super) struct Check {
    role: ConfigRole,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

/// The texts that are wrong for their options, in a vassal and in an emperor.
pub(super) fn check_texts(resolved: &Resolved) -> Vec<Fault> {
    let mut faults = Vec::new();
    for setting in &resolved.settings {
        let Some(opt) = opts::find(&setting.key) else { continue };
        faults.extend(check_text(setting, &opt));
    }
    faults
}

fn check_text(setting: &Setting, opt: &Opt) -> Option<Fault> {
    if matches!(opt.class, Class::Directive(_)) {
        return None;
    }
    let bad = values::check(opt.kind, &setting.value).err()?;
    let hint =
        doubt_about(setting, opt).map(|doubt| format!("; {}", doubt.hint)).unwrap_or_default();
    let message = format!("{}{hint}", bad.message(setting.hidden));
    Some(Fault::new(&setting.origin, &setting.key, message))
}

/// A part of a text that its author may not have meant as one.
struct Doubt {
    /// What the text is read as.
    reading: String,
    /// The rule, for somebody whose text is wrong.
    hint: &'static str,
}

/// A comment behind a value, and quotes around it: both are parts of the text here.
fn doubt_about(setting: &Setting, opt: &Opt) -> Option<Doubt> {
    // A shell understands comments and quotes, and has already removed them from a command line.
    let is_command = opt.meta == "COMMAND";
    if is_command || !matches!(setting.origin, Origin::File { .. }) {
        return None;
    }
    let text = setting.value.trim();
    let is_comment = |pair: &[u8]| matches!(pair, [b' ' | b'\t', b'#' | b';']);
    if text.as_bytes().windows(2).any(is_comment) {
        return Some(Doubt {
            reading: format!("is read with all that stands behind it: {}", setting.show(text)),
            hint: "a comment needs a line of its own",
        });
    }
    let text = match (opt.kind, text.split_once('=')) {
        (OptionKind::Variable | OptionKind::Pair, Some((_, text))) => text,
        _ => text,
    };
    let is_quoted = |quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    (is_quoted('"') || is_quoted('\'')).then(|| Doubt {
        reading: format!("is read with its quotes: {}", setting.show(text)),
        hint: "quotes are part of a value: leave them out if they are not meant",
    })
}

impl Check {
    pub(super) fn new(role: ConfigRole) -> Self {
        Self { role, faults: Vec::new(), warnings: Vec::new() }
    }

    /// The settings that this version obeys, in order. Settings of every other class are warned of or refused here.
    pub(super) fn settings<'r>(&mut self, resolved: &'r Resolved) -> Vec<(&'r Setting, Opt)> {
        let mut obeyed = Vec::with_capacity(resolved.settings.len());
        let mut ignored = Vec::new();
        for setting in &resolved.settings {
            let Some(opt) = opts::find(&setting.key) else { continue };
            if let Some(fault) = check_text(setting, &opt) {
                self.faults.push(fault);
                continue;
            }
            match opt.class {
                Class::Vassal(_) | Class::Emperor(_) | Class::Both(..) => {
                    let doubt = doubt_about(setting, &opt);
                    let is_auto = opt.kind == OptionKind::AutoFlag && setting.value == values::AUTO;
                    let is_flag = matches!(opt.kind, OptionKind::Flag | OptionKind::AutoFlag);
                    if is_flag && !is_auto && !values::is_usual_flag(&setting.value) {
                        let hint = doubt.map(|doubt| format!("; {}", doubt.hint));
                        let shown = setting.show(&setting.value);
                        let hint = hint.unwrap_or_default();
                        let message = format!("{shown} means true (false is written false){hint}");
                        self.warn(setting, message);
                    } else if let Some(Doubt { reading, hint }) = doubt {
                        self.warn(setting, format!("{reading}; {hint}"));
                    }
                    obeyed.push((setting, opt));
                }
                Class::Unsupported(missing) => self.unsupported(setting, &opt, missing),
                Class::Refused(refusal) => self.refuse(setting, refusal),
                Class::Ignored if self.role == ConfigRole::Emperor && opt.name == "stats" => {
                    self.warn(
                        setting,
                        "is ignored: the statistics of the emperor are emperor-stats",
                    );
                }
                Class::Ignored => ignored.push(setting),
                Class::Directive(_) | Class::Always => {}
            }
        }
        self.ignored(&ignored);
        obeyed
    }

    fn unsupported(&mut self, setting: &Setting, opt: &Opt, missing: Missing) {
        if opt.kind == OptionKind::Flag && !values::flag(&setting.value) {
            return;
        }
        if self.role == ConfigRole::Vassal && opt.section.is_emperors() {
            self.warn(setting, "is an option of the emperor and has no effect in a vassal");
            return;
        }
        if self.role == ConfigRole::Emperor && opt.name == "logger" {
            self.warn(
                setting,
                "is ignored: the emperor logs to standard error, or to the file of logto",
            );
            return;
        }
        let fault = opts::Refusal {
            what: opts::refusal::NOT_SUPPORTED,
            why: &format!(
                "It means: {}, and a start without it would not be what was asked for",
                opt.help
            ),
            instead: opts::refusal::alternative(opt),
        };
        match missing {
            Missing::Fault => self.refuse(setting, &fault),
            Missing::Warning => {
                let what = format!("{} and has no effect", fault.what);
                let why = format!("It means: {}, and the vassal runs as well without it", opt.help);
                let warning = opts::Refusal { what: &what, why: &why, ..fault };
                self.warn(setting, warning.to_string());
            }
        }
    }

    fn ignored(&mut self, settings: &[&Setting]) {
        let Some(first) = settings.first() else { return };
        let mut names: Vec<&str> = settings.iter().map(|setting| setting.key.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let more = if names.len() > MAX_IGNORED_NAMES { " …" } else { "" };
        names.truncate(MAX_IGNORED_NAMES);
        let message = format!(
            "ignored, because only uWSGI's own application server knows what to do with it: {}{more}",
            names.join(", ")
        );
        self.warnings.push(Fault::new(&first.origin, "", message));
    }

    pub(super) fn fault(&mut self, setting: &Setting, message: impl Into<String>) {
        self.faults.push(Fault::new(&setting.origin, &setting.key, message));
    }

    /// A fault in three sentences.
    pub(super) fn refuse(&mut self, setting: &Setting, refusal: &opts::Refusal<'_>) {
        self.fault(setting, refusal.to_string());
    }

    pub(super) fn warn(&mut self, setting: &Setting, message: impl Into<String>) {
        self.warnings.push(Fault::new(&setting.origin, &setting.key, message));
    }

    pub(super) fn fault_at<T>(&mut self, place: &Located<T>, message: impl Into<String>) {
        self.faults.push(place.fault(message));
    }

    pub(super) fn warn_at<T>(&mut self, place: &Located<T>, message: impl Into<String>) {
        self.warnings.push(place.fault(message));
    }

    /// A fault of the configuration as a whole.
    pub(super) fn fault_of_whole(&mut self, message: &str) {
        self.faults.push(Fault::new(&Origin::CommandLine, "", message));
    }

    /// A warning about the configuration as a whole.
    pub(super) fn warn_of_whole(&mut self, message: &str) {
        self.warnings.push(Fault::new(&Origin::CommandLine, "", message));
    }

    /// The warnings, those of the reading first, or the faults.
    pub(super) fn finish(self, resolved: &Resolved) -> Result<Vec<Fault>, Faults> {
        let (faults, warnings) = self.parts(resolved);
        if faults.0.is_empty() { Ok(warnings) } else { Err(faults) }
    }

    /// The faults, and the warnings, those of the reading first.
    pub(super) fn parts(self, resolved: &Resolved) -> (Faults, Vec<Fault>) {
        let Self { mut faults, mut warnings, .. } = self;
        // A fault of the whole configuration is reported at the main file.
        let own = resolved.main_file.as_ref().unwrap_or(&Origin::CommandLine);
        for found in faults.iter_mut().chain(&mut warnings) {
            if found.origin == Origin::CommandLine && found.key.is_empty() {
                found.origin = own.clone();
            }
        }
        let mut all = resolved.warnings.clone();
        all.append(&mut warnings);
        (Faults(faults), all)
    }
}

pub(super) fn located<T>(setting: &Setting, value: T) -> Located<T> {
    let Setting { key, origin, hidden, .. } = setting;
    Located { value, key: key.clone(), origin: origin.clone(), hidden: *hidden }
}

/// The number of a setting whose text has been checked.
pub(super) fn number(setting: &Setting) -> u32 {
    values::number(&setting.value).unwrap_or_default()
}

/// The signal of a setting whose text has been checked.
pub(super) fn signal(setting: &Setting) -> Option<u8> {
    values::signal(&setting.value).ok()
}

/// The value of a setting that is one of a few words.
pub(super) fn choice<T: Choice + Default>(setting: &Setting) -> T {
    T::from_word(&setting.value).unwrap_or_default()
}
