//! How much one configuration may use, whatever its files say: what is read and expanded is counted here.

use std::time::Duration;

/// Longest list, in bytes of names and texts.
pub(super) const MAX_TEXT: usize = 1 << 20;
/// Longest list.
const MAX_SETTINGS: usize = 10_000;
/// Most bytes of all files and resources together: a block can name one file thousands of times.
const MAX_READ: usize = 8 << 20;
/// Most variables and resources that are replaced by their texts: if each contains two others, few of them expand to
/// an exponential number.
const MAX_REPLACED: usize = 10_000;
/// Most bytes of these texts: nested defaults are copied once for each level.
const MAX_REPLACED_TEXT: usize = 4 * MAX_TEXT;
/// Most names that all patterns of `for-glob` are compared with; long ones count more.
const MAX_GLOB_NAMES: usize = 50_000;

/// The message about a list that is too long when it is expanded.
pub(super) const EXPANSION_TOO_LONG: &str =
    "the configuration becomes longer than 1 MiB when it is expanded";

/// What is counted.
#[derive(Clone, Copy)]
pub(super) enum Counted {
    /// Settings of the list.
    Settings,
    /// Bytes of their names and texts, before they are expanded.
    Text,
    /// Bytes of files and resources.
    Read,
    /// Variables and resources that are replaced by their texts.
    Replaced,
    /// Bytes of the texts of variables.
    ReplacedText,
    /// Names that a pattern is compared with.
    GlobNames,
}

/// What one configuration has used so far.
pub(super) struct Limits {
    used: [usize; 6],
    /// How long the commands may still take, all of them together.
    pub(super) command_time: Duration,
}

impl Limits {
    pub(super) fn new(command_time: Duration) -> Self {
        Self { used: [0; 6], command_time }
    }

    /// Adds to a counter.
    ///
    /// # Errors
    /// The message about the limit that is exceeded.
    pub(super) fn charge(&mut self, counted: Counted, number: usize) -> Result<(), String> {
        let Some(used) = self.used.get_mut(counted as usize) else { return Ok(()) };
        *used = used.saturating_add(number);
        if *used > counted.limit() { Err(counted.exceeded()) } else { Ok(()) }
    }
}

impl Counted {
    const fn limit(self) -> usize {
        match self {
            Self::Settings => MAX_SETTINGS,
            Self::Text => MAX_TEXT,
            Self::Read => MAX_READ,
            Self::Replaced => MAX_REPLACED,
            Self::ReplacedText => MAX_REPLACED_TEXT,
            Self::GlobNames => MAX_GLOB_NAMES,
        }
    }

    fn exceeded(self) -> String {
        match self {
            Self::Settings | Self::Text => format!(
                "more than {MAX_SETTINGS} settings or 1 MiB of text (the limit of one configuration)"
            ),
            Self::Read => {
                "more than 8 MiB are read in all (the limit of one configuration)".to_owned()
            }
            Self::Replaced => {
                format!("more than {MAX_REPLACED} variables and resources are put in")
            }
            Self::ReplacedText => EXPANSION_TOO_LONG.to_owned(),
            Self::GlobNames => format!(
                "more than {MAX_GLOB_NAMES} names are looked at (the limit of one configuration); write a narrower \
                 pattern"
            ),
        }
    }
}
