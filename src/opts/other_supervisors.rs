//! Names that other supervisors have for settings, and the options of liege that do the same.

/// Lower-case, without dashes and underscores; sorted.
#[rustfmt::skip] // a table
static WORDS: &[(&str, &str)] = &[
    ("account", "uid"),
    ("address", "http-socket = HOST:PORT"),
    ("ambientcapabilities", "cap"),
    ("args", "command, with the arguments behind the program"),
    ("arguments", "command, with the arguments behind the program"),
    ("asuser", "uid"),
    ("autorestart", "restart = always, on-failure or never"),
    ("autostart", "nothing: a vassal runs as long as its file is there"),
    ("bind", "http-socket = HOST:PORT"),
    ("capabilities", "cap"),
    ("capabilityboundingset", "cap"),
    ("chrootdir", "chroot"),
    ("chuid", "uid"),
    ("cmd", "command"),
    ("cwd", "chdir"),
    ("directory", "chdir"),
    ("egid", "gid"),
    ("envfile", "for-readline = FILE with env = %(_)"),
    ("environment", "env = NAME=TEXT, one line for each variable"),
    ("environmentfile", "for-readline = FILE with env = %(_)"),
    ("euid", "uid"),
    ("execreload", "reload-signal, or nothing: a program without it is replaced"),
    ("execstart", "command"),
    ("extragroups", "add-gid, one line for each group"),
    ("gids", "add-gid, one line for each group"),
    ("group", "gid"),
    ("groupid", "gid"),
    ("groupname", "gid"),
    ("groups", "add-gid, one line for each group"),
    ("grp", "gid"),
    ("grpid", "gid"),
    ("killsignal", "stop-signal"),
    ("limitnofile", "max-fd"),
    ("limitnproc", "limit-nproc"),
    ("listenaddress", "http-socket = HOST:PORT"),
    ("listenport", "http-socket = HOST:PORT"),
    ("listenstream", "socket = ADDRESS"),
    ("nice", "prio"),
    ("nonewprivileges", "no-new-privs"),
    ("numprocs", "processes"),
    ("owner", "uid"),
    ("port", "http-socket = :PORT"),
    ("redirectstderr", "nothing: both streams go to logto"),
    ("rootdir", "chroot"),
    ("rootdirectory", "chroot"),
    ("runas", "uid"),
    ("runasgid", "gid"),
    ("runasgroup", "gid"),
    ("runasuid", "uid"),
    ("runasuser", "uid"),
    ("rungroup", "gid"),
    ("runuser", "uid"),
    ("setgid", "gid"),
    ("setgroup", "gid"),
    ("setuid", "uid"),
    ("setuidgid", "uid and gid"),
    ("setuser", "uid"),
    ("sgid", "gid"),
    ("startsecs", "loyal-after"),
    ("stderrlogfile", "logto"),
    ("stdoutlogfile", "logto"),
    ("stopsignal", "stop-signal"),
    ("su", "uid"),
    ("sudo", "uid"),
    ("suid", "uid"),
    ("supplementalgroups", "add-gid, one line for each group"),
    ("supplementarygroups", "add-gid, one line for each group"),
    ("ui", "uid"),
    ("user", "uid"),
    ("usergroup", "gid"),
    ("userid", "uid"),
    ("username", "uid"),
    ("usr", "uid"),
    ("usrid", "uid"),
    ("watchdogsec", "heartbeat = SECONDS with notify = true"),
    ("workdir", "chdir"),
    ("workingdirectory", "chdir"),
];

/// The option to write instead of a name that another supervisor would understand.
#[must_use]
pub fn our_name(name: &str) -> Option<&'static str> {
    // A name may have any length; these words are short.
    if name.len() > 40 {
        return None;
    }
    let plain: String = name.chars().filter(|letter| !matches!(letter, '-' | '_')).collect();
    let plain = plain.to_ascii_lowercase();
    let at = WORDS.binary_search_by_key(&plain.as_str(), |entry| entry.0).ok()?;
    WORDS.get(at).map(|entry| entry.1)
}

#[cfg(test)]
mod tests {
    use super::super::lookup;
    use super::*;

    #[test]
    fn words_of_other_supervisors_are_found_in_every_spelling() {
        assert!(WORDS.is_sorted_by_key(|entry| entry.0));
        for name in ["WorkingDirectory", "working-directory", "working_directory", "cwd"] {
            assert_eq!(our_name(name), Some("chdir"), "{name}");
        }
        for name in ["usr", "userid", "user-id", "setuid", "ui", "owner", "run_as_user"] {
            assert_eq!(our_name(name), Some("uid"), "{name}");
        }
        for name in ["groupid", "group-id", "group_id", "setgid", "GroupName"] {
            assert_eq!(our_name(name), Some("gid"), "{name}");
        }
        assert_eq!(our_name("project"), None);
        assert_eq!(our_name(&"x".repeat(1000)), None);
    }

    #[test]
    fn what_is_named_instead_is_an_option_and_the_word_is_none() {
        for (word, instead) in WORDS {
            assert_eq!(lookup::find(word), None, "{word} is an option");
            let name = instead.split([' ', ',', ':']).next().unwrap();
            assert!(name == "nothing" || lookup::find(name).is_some(), "{word}: {name}");
        }
    }
}
