//! What a start does, and in which order: the one place where that is written.
//!
//! The list is made from the vassal file, and is the same for a start, for the dry run before a reload, and for
//! `liege check`. Before it come signals and descriptors, the receipt of what the emperor hands over, and the reading
//! of the file, without which there is no list. The manual shows it as a table.

use crate::config::vassal::Notify;
use crate::config::{Located, VassalConfig};
use crate::spawn::step::Step;

/// One thing that a start does, with what the vassal file says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<'c> {
    /// The file creation mask.
    Umask(u32),
    /// The program's standard output and error.
    Log(&'c Located<String>),
    /// The file with the pid.
    PidFile(&'c Located<String>),
    /// The listening sockets: taken from custody, or bound. Low ports and directories of root need its rights.
    Listeners,
    /// The socket on which the program says that it is ready.
    NotifySocket,
    /// The limit of descriptors; only root may raise it.
    MaxDescriptors(&'c Located<u32>),
    /// The limit of the address space.
    AddressSpace(&'c Located<u64>),
    /// Groups, group and user.
    Identity,
    /// The program's directory, as its user.
    Directory(&'c Located<String>),
    /// Whether the program is there; a start leaves the question to the exec.
    Program,
    /// The numbers that the program's descriptors have. After all that opens some.
    Descriptors,
    /// The program's environment, which names them.
    Environment,
    /// The parent-death signal. After the change of ids, at which the kernel clears it (prctl(2)).
    ParentDeath,
    /// The verdict to the emperor, with what it takes into custody.
    Verdict,
    /// The program.
    Exec,
}

impl Action<'_> {
    /// What the manual calls it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Umask(_) => "umask",
            Self::Log(_) => "log",
            Self::PidFile(_) => "pid file",
            Self::Listeners => "listeners",
            Self::NotifySocket => "notify socket",
            Self::MaxDescriptors(_) => "limit of descriptors",
            Self::AddressSpace(_) => "limit of memory",
            Self::Identity => "identity",
            Self::Directory(_) => "directory",
            Self::Program => "program",
            Self::Descriptors => "descriptors",
            Self::Environment => "environment",
            Self::ParentDeath => "parent death",
            Self::Verdict => "verdict",
            Self::Exec => "exec",
        }
    }

    /// The steps that are named if it fails, in their order.
    #[must_use]
    pub fn steps(&self) -> &'static [Step] {
        match self {
            Self::Umask(_) | Self::Environment => &[],
            Self::Log(_) => &[Step::Log],
            Self::PidFile(_) => &[Step::Pidfile],
            Self::Listeners => &[Step::Bind],
            Self::NotifySocket => &[Step::Notify],
            Self::MaxDescriptors(_) | Self::AddressSpace(_) => &[Step::Limits],
            Self::Identity => &[Step::Groups, Step::Gid, Step::Uid],
            Self::Directory(_) => &[Step::Chdir],
            Self::Program | Self::Exec => &[Step::Exec],
            Self::Descriptors => &[Step::Fds],
            Self::ParentDeath => &[Step::ParentDeath],
            Self::Verdict => &[Step::Verdict],
        }
    }
}

/// Who has started this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartedBy {
    /// An emperor of ours: there is a status socket.
    pub takes_verdict: bool,
    /// Any emperor: there is an emperor pipe.
    pub has_pipe: bool,
}

/// Everything that a start of this vassal does once its file is known, in order.
#[must_use]
pub fn plan(config: &VassalConfig, started_by: StartedBy) -> Vec<Action<'_>> {
    let is_privileged = config.program.as_ref().is_some_and(|place| place.value.privileged);
    let names_identity = config.uid.is_some() || config.gid.is_some() || !config.add_gid.is_empty();
    let is_notified = started_by.takes_verdict && config.notify != Notify::Never;
    let is_supervised = started_by.takes_verdict || started_by.has_pipe;
    let all = [
        config.umask.map(Action::Umask),
        config.logto.as_ref().map(Action::Log),
        config.pidfile.as_ref().map(Action::PidFile),
        Some(Action::Listeners),
        is_notified.then_some(Action::NotifySocket),
        config.max_fd.as_ref().map(Action::MaxDescriptors),
        config.limit_as.as_ref().map(Action::AddressSpace),
        (names_identity && !is_privileged).then_some(Action::Identity),
        config.chdir.as_ref().map(Action::Directory),
        Some(Action::Program),
        Some(Action::Descriptors),
        Some(Action::Environment),
        is_supervised.then_some(Action::ParentDeath),
        Some(Action::Verdict),
        Some(Action::Exec),
    ];
    all.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;
    use crate::config::vassal::{ProgramSpec, VassalProgram};

    fn at<T>(value: T) -> Located<T> {
        Located { value, key: String::new(), origin: Origin::CommandLine, hidden: false }
    }

    fn names(config: &VassalConfig, started_by: StartedBy) -> Vec<&'static str> {
        plan(config, started_by).iter().map(Action::name).collect()
    }

    const OURS: StartedBy = StartedBy { takes_verdict: true, has_pipe: true };

    /// A vassal file that says all that a start obeys.
    fn full() -> VassalConfig {
        VassalConfig {
            umask: Some(0o27),
            logto: Some(at("/log".into())),
            pidfile: Some(at("/pid".into())),
            max_fd: Some(at(100)),
            limit_as: Some(at(1 << 30)),
            uid: Some(at("web".into())),
            chdir: Some(at("/srv".into())),
            ..VassalConfig::default()
        }
    }

    #[test]
    fn a_file_that_names_a_program_only_asks_for_little() {
        let little = ["listeners", "program", "descriptors", "environment", "verdict", "exec"];
        assert_eq!(names(&VassalConfig::default(), StartedBy::default()), little);
    }

    #[test]
    fn a_program_below_a_foreign_emperor_dies_with_it() {
        let foreign = StartedBy { takes_verdict: false, has_pipe: true };
        let all = names(&VassalConfig::default(), foreign);
        assert_eq!(all[all.len() - 3..], ["parent death", "verdict", "exec"]);
        assert!(!all.contains(&"notify socket"));
    }

    #[test]
    fn a_privileged_program_keeps_its_user() {
        let run = ProgramSpec::Path("/bin/x".into());
        let program = Some(at(VassalProgram { privileged: true, run }));
        let config = VassalConfig { program, ..full() };
        assert!(!names(&config, OURS).contains(&"identity"));
        assert!(names(&full(), OURS).contains(&"identity"));
    }

    #[test]
    fn the_steps_of_a_failure_come_in_the_order_of_the_actions() {
        let config = full();
        // These come in the child before the exec of the stage, too.
        let twice = [Step::Limits, Step::Fds];
        let actions = plan(&config, OURS);
        let steps = actions.iter().filter(|action| **action != Action::Program);
        let steps: Vec<Step> = steps
            .flat_map(|action| action.steps().iter().copied())
            .filter(|step| !twice.contains(step))
            .collect();
        assert!(steps.is_sorted(), "{steps:?}");
        let of_child_and_reading =
            [Step::Signals, Step::Session, Step::Cwd, Step::Custody, Step::Read];
        for step in Step::ALL {
            let is_done = steps.contains(&step) || twice.contains(&step);
            assert_ne!(is_done, of_child_and_reading.contains(&step), "{step:?}");
        }
    }

    #[test]
    fn the_manual_shows_every_action_in_order_with_its_steps() {
        let manual = include_str!("../../man/liege.8.in");
        let table = manual.split(".\\\" actions of a start").nth(1).unwrap();
        let table = table.split(".El").next().unwrap();
        let mut shown: Vec<(String, String)> = Vec::new();
        for line in table.lines() {
            if let Some(row) = line.strip_prefix(".It ").filter(|row| !row.starts_with("Sy")) {
                let (name, steps) = row.split_once(" Ta ").unwrap_or((row, ""));
                shown.push((name.to_owned(), steps.split(" Ta ").next().unwrap().to_owned()));
            }
        }
        let config = full();
        let expected: Vec<(String, String)> = plan(&config, OURS)
            .iter()
            .map(|action| {
                let steps: Vec<&str> = action.steps().iter().map(|step| step.name()).collect();
                let steps = if steps.is_empty() { "-".into() } else { steps.join(", ") };
                (action.name().to_owned(), steps)
            })
            .collect();
        assert_eq!(shown, expected);
    }
}
