//! What goes wrong in a stage: the step, the place in the configuration, the sentence.

use std::fmt;
use std::io;

use crate::config::{Faults, Located, VassalConfig};
use crate::identity::{IdentityPart, IdentityRefused};
use crate::proto::status::StageFault;
use crate::spawn::step::Step;
use crate::types::exit_status::{NOT_EXECUTABLE, NOT_FOUND};
use crate::types::quote::cut;

use super::program::Program;

/// Why the program is not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where in the start.
    pub step: Step,
    /// `file:line option`, or empty.
    pub origin: String,
    /// What is wrong, and the remedy.
    pub message: String,
    /// Further faults, each a whole line.
    pub more: Vec<String>,
    /// The address that somebody else has, where that is the reason.
    pub taken: String,
    /// The exit status.
    pub status: u8,
}

impl Failure {
    /// A failure that no line of the configuration is to blame for.
    pub fn new(step: Step, message: impl Into<String>) -> Self {
        let (origin, more, taken) = (String::new(), Vec::new(), String::new());
        Self { step, origin, message: message.into(), more, taken, status: 1 }
    }

    /// A failure of what is written at `place`.
    pub fn at<T>(step: Step, place: &Located<T>, message: impl Into<String>) -> Self {
        Self { origin: place.to_string(), ..Self::new(step, message) }
    }

    /// What the reader or the checker of the configuration has found.
    pub fn of_faults(faults: &Faults) -> Self {
        let mut lines = faults.0.iter();
        let Some(first) = lines.next() else {
            return Self::new(Step::Read, "the configuration is refused");
        };
        let (key, origin) = (first.key.clone(), first.origin.clone());
        let place = Located { value: (), key, origin, hidden: false };
        let origin =
            if first.key.is_empty() { first.origin.to_string() } else { place.to_string() };
        Self {
            step: Step::Read,
            origin,
            message: format!("{}{}", first.message, first.origin.chain()),
            more: lines.map(ToString::to_string).collect(),
            taken: String::new(),
            status: faults.status(),
        }
    }

    /// Why the program does not run, and what to do about it.
    pub fn not_executed(config: &VassalConfig, program: &Program, error: &io::Error) -> Self {
        let (status, advice) = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                (NOT_FOUND, "install it, or correct the path")
            }
            io::ErrorKind::PermissionDenied => (NOT_EXECUTABLE, "make it executable for this user"),
            _ => (NOT_EXECUTABLE, "it must be a program, or a script that names its interpreter"),
        };
        let name = match &config.program {
            Some(place) => place.show(cut(&program.name())),
            None => program.name(),
        };
        let message = format!("cannot execute {name}: {error}; {advice}");
        let failure = match &config.program {
            Some(place) => Self::at(Step::Exec, place, message),
            None => Self::new(Step::Exec, message),
        };
        Self { status, ..failure }
    }

    /// As the verdict says it.
    pub fn into_fault(self) -> StageFault {
        let step = self.step.name().to_owned();
        let Self { origin, message, more, taken, .. } = self;
        StageFault { step, origin, message, more, taken }
    }
}

impl From<IdentityRefused> for Failure {
    fn from(refused: IdentityRefused) -> Self {
        let step = match refused.part {
            IdentityPart::Groups => Step::Groups,
            IdentityPart::Group => Step::Gid,
            IdentityPart::User => Step::Uid,
        };
        Self { origin: refused.origin, ..Self::new(step, refused.message) }
    }
}

/// As it is printed where nobody takes a verdict: `file:line option: what is wrong`.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.origin.is_empty() {
            write!(f, "{}: ", self.origin)?;
        }
        f.write_str(&self.message)
    }
}
