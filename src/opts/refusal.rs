//! Why an option is refused: one form for all, three sentences.

use std::fmt;

use super::{Opt, Section};

/// What cannot be obeyed, why that matters, and what to do instead.
///
/// Shown behind the name of the option, so the first sentence has no subject: `is not … . It … . Use …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'t> {
    /// What is wrong with the option, without its name.
    pub what: &'t str,
    /// What follows from that.
    pub why: &'t str,
    /// What to do instead.
    pub instead: &'t str,
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}. {}", self.what, self.why, self.instead)
    }
}

/// Of a name that is not an option: another program's, or a misspelt one.
pub const NO_OPTION: &str = "is not an option of liege";

/// Of an option that is known and not obeyed yet.
pub const NOT_SUPPORTED: &str = "is not supported by this version of liege";

/// What to do instead of an option that is known and not obeyed yet.
#[must_use]
pub fn alternative(opt: &Opt) -> &'static str {
    let prefix = |prefixes: &[&str]| prefixes.iter().any(|prefix| opt.name.starts_with(prefix));
    match opt.name {
        "chroot" | "pivot-root" | "namespace" => {
            "Use privileged-binary-patch-arg = chroot --userspec=USER:GROUP DIR PROGRAM"
        }
        "unshare" | "unshare2" | "namespace-net" | "setns" | "emperor-use-clone" => {
            "Use unshare(1) or nsenter(1) in front of the program, in privileged-binary-patch-arg"
        }
        "emperor-cap" | "no-new-privs" => {
            "Use setpriv(1) in front of the program, in privileged-binary-patch-arg"
        }
        "limit-nproc" => {
            "Use prlimit(1) in front of the program, as in command = prlimit --nproc=100 PROGRAM"
        }
        "prio" => "Use nice(1) in front of the program, as in command = nice -n 5 PROGRAM",
        "cpu-affinity" => {
            "Use taskset(1) in front of the program, as in command = taskset -c 0 PROGRAM"
        }
        "cgroup" | "cgroup-opt" | "cgroup-dir-mode" => {
            "Set it for the whole of liege, by its service manager"
        }
        "immediate-uid" => "Use uid",
        "immediate-gid" => "Use gid",
        "emperor-tyrant" | "emperor-tyrant-nofollow" | "emperor-tyrant-initgroups" => {
            "Write uid and gid into each vassal file"
        }
        "emperor-on-demand-directory" | "emperor-on-demand-exec" => {
            "Use emperor-on-demand-extension"
        }
        "emperor-http" | "emperor-control" | "emperor-command-socket" => {
            "Use emperor-stats to look, and touch or remove vassal files to act"
        }
        "ienv" => "Use env",
        "envdir" | "early-envdir" => "Use for-readline = FILE with env = %(_), or env",
        "force-cwd" => "Use chdir",
        "logto2" | "log-socket" | "log-syslog" | "logger" => {
            "Use logto, or leave the output to what has started liege"
        }
        "pidfile2" | "safe-pidfile" | "safe-pidfile2" => "Use pidfile",
        "daemonize2" => "Use logto; a vassal stays in the foreground",
        "attach-daemon" | "attach-daemon2" | "smart-attach-daemon" | "smart-attach-daemon2" => {
            "Give it a vassal file of its own"
        }
        "worker-exec" | "worker-exec2" => "Use command",
        "flock" | "flock2" | "flock-wait" | "flock-wait2" => {
            "Use flock(1) in front of the program, as in command = flock FILE PROGRAM"
        }
        _ if prefix(&["wait-for-"]) => {
            "Wait in the command, as in command = sh -c 'until test -e PATH; do sleep 1; done; exec PROGRAM'"
        }
        _ if opt.section == Section::Hooks && prefix(&["hook-", "exec-", "mount-", "umount-"]) => {
            "Do it in the command, as in command = sh -c 'mkdir -p DIR && exec PROGRAM'"
        }
        _ => "Remove the line",
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Class, lookup};
    use super::*;

    fn is_sentence(text: &str) -> bool {
        text.starts_with(|letter: char| letter.is_ascii_uppercase()) && !text.ends_with('.')
    }

    #[test]
    fn every_refusal_says_what_why_and_what_to_do_instead() {
        for name in lookup::all_names() {
            let opt = lookup::find(name).unwrap();
            if let Class::Refused(refusal) = opt.class {
                assert!(refusal.what.starts_with(|letter: char| letter.is_lowercase()), "{name}");
                assert!(is_sentence(refusal.why) && is_sentence(refusal.instead), "{name}");
            }
            assert!(is_sentence(alternative(&opt)), "{name}");
        }
    }
}
