//! The named points of a start: what failed, in a packet, a log line and the statistics.

/// One point of a start, in the order in which they come: first in the child between fork and exec, then in the
/// stage, whose part is the order of its actions (`stage/action.rs`).
///
/// Some come in both: `Signals`, `Fds` and `Limits` stand where the child has them, `ParentDeath` and `Exec` where the
/// stage has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Step {
    /// Dispositions and mask of signals.
    Signals,
    /// The new session.
    Session,
    /// Descriptors put in their places.
    Fds,
    /// Resource limits.
    Limits,
    /// The vassal's directory.
    Cwd,
    /// What the emperor hands over on the status socket.
    Custody,
    /// The configuration read, expanded and checked; users and groups looked up.
    Read,
    /// The log file.
    Log,
    /// The file with the pid.
    Pidfile,
    /// The listening sockets.
    Bind,
    /// The notify socket.
    Notify,
    /// Additional groups.
    Groups,
    /// The group.
    Gid,
    /// The user.
    Uid,
    /// The program's directory.
    Chdir,
    /// The parent-death signal.
    ParentDeath,
    /// The verdict to the emperor.
    Verdict,
    /// The program (or the stage) itself.
    Exec,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 18] = [
        Self::Signals,
        Self::Session,
        Self::Fds,
        Self::Limits,
        Self::Cwd,
        Self::Custody,
        Self::Read,
        Self::Log,
        Self::Pidfile,
        Self::Bind,
        Self::Notify,
        Self::Groups,
        Self::Gid,
        Self::Uid,
        Self::Chdir,
        Self::ParentDeath,
        Self::Verdict,
        Self::Exec,
    ];

    /// The step with this number, as a packet of the status socket carries it.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its name in log lines and statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signals => "signals",
            Self::Session => "session",
            Self::Fds => "descriptors",
            Self::Limits => "limits",
            Self::Cwd => "cwd",
            Self::Custody => "custody",
            Self::Read => "read",
            Self::Log => "log",
            Self::Pidfile => "pidfile",
            Self::Bind => "bind",
            Self::Groups => "groups",
            Self::Gid => "gid",
            Self::Uid => "uid",
            Self::Chdir => "chdir",
            Self::Notify => "notify",
            Self::ParentDeath => "parent death",
            Self::Verdict => "verdict",
            Self::Exec => "exec",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Step;

    #[test]
    fn every_step_is_found_again_by_its_number_and_has_a_name_of_its_own() {
        let mut names: Vec<_> = Step::ALL.iter().map(|step| step.name()).collect();
        for step in Step::ALL {
            assert_eq!(Step::from_u8(step as u8), Some(step));
        }
        assert_eq!(Step::from_u8(Step::ALL.len() as u8), None);
        assert!(Step::ALL.is_sorted());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Step::ALL.len());
    }
}
