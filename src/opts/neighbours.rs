//! Words that other supervisors use for settings, and what stands for them here.

/// Lower-case, without dashes and underscores; sorted.
#[rustfmt::skip] // a table
static WORDS: &[(&str, &str)] = &[
    ("address", "http-socket = HOST:PORT"),
    ("ambientcapabilities", "cap"),
    ("args", "command, with the arguments behind the program"),
    ("arguments", "command, with the arguments behind the program"),
    ("autorestart", "restart = always, on-failure or never"),
    ("autostart", "nothing: a vassal runs as long as its file is there"),
    ("bind", "http-socket = HOST:PORT"),
    ("capabilities", "cap"),
    ("capabilityboundingset", "cap"),
    ("cmd", "command"),
    ("cwd", "chdir"),
    ("directory", "chdir"),
    ("envfile", "for-readline = FILE with env = %(_)"),
    ("environment", "env = NAME=TEXT, one line for each variable"),
    ("environmentfile", "for-readline = FILE with env = %(_)"),
    ("execreload", "reload-signal, or nothing: a program without it is replaced"),
    ("execstart", "command"),
    ("group", "gid"),
    ("killsignal", "stop-signal"),
    ("limitnofile", "max-fd"),
    ("limitnproc", "limit-nproc"),
    ("listenaddress", "http-socket = HOST:PORT"),
    ("listenport", "http-socket = HOST:PORT"),
    ("listenstream", "socket = ADDRESS"),
    ("nice", "prio"),
    ("nonewprivileges", "no-new-privs"),
    ("numprocs", "processes"),
    ("port", "http-socket = :PORT"),
    ("redirectstderr", "nothing: both streams go to logto"),
    ("rootdirectory", "chroot"),
    ("runas", "uid"),
    ("startsecs", "loyal-after"),
    ("stderrlogfile", "logto"),
    ("stdoutlogfile", "logto"),
    ("stopsignal", "stop-signal"),
    ("supplementarygroups", "add-gid, one line for each group"),
    ("user", "uid"),
    ("username", "uid"),
    ("watchdogsec", "heartbeat = SECONDS with notify = true"),
    ("workdir", "chdir"),
    ("workingdirectory", "chdir"),
];

/// What to write instead of a word that another supervisor would understand.
#[must_use]
pub fn ours(name: &str) -> Option<&'static str> {
    // No word is longer than this by much; a name may be anything.
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
            assert_eq!(ours(name), Some("chdir"), "{name}");
        }
        assert_eq!(ours("project"), None);
        assert_eq!(ours(&"x".repeat(1000)), None);
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
