//! Which variables of an emperor reach its vassals, and under which names: the one filter for the start,
//! for `liege check` and for the warning at the start.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Variables that concern the emperor itself, and must not reach a vassal: they would make it an emperor, make it
/// listen on sockets that it does not have, or let it speak to the service manager in the emperor's name.
const EMPEROR_VARIABLES: [&[u8]; 7] = [
    b"UWSGI_RELOADS",
    b"UWSGI_ORIGINAL_PROC_NAME",
    b"NOTIFY_SOCKET",
    b"WATCHDOG_PID",
    b"WATCHDOG_USEC",
    b"SERVER_STARTER_PORT",
    b"SERVER_STARTER_GENERATION",
];
const EMPEROR_PREFIXES: [&[u8]; 5] =
    [b"UWSGI_EMPEROR", b"UWSGI_VASSALS_", b"UWSGI_IMPERIAL_", b"LISTEN_", b"LIEGE_"];
/// Names the descriptor of the emperor pipe in the environment of a vassal.
pub const PIPE_FD_VARIABLE: &str = "UWSGI_EMPEROR_FD";
/// Names the descriptor of the config pipe in the environment of a vassal.
pub const CONFIG_FD_VARIABLE: &str = "UWSGI_EMPEROR_FD_CONFIG";
const PROTOCOL_VARIABLES: [&str; 2] = [PIPE_FD_VARIABLE, CONFIG_FD_VARIABLE];
const VASSAL_PREFIX: &[u8] = b"UWSGI_VASSAL_";
const OPTION_PREFIX: &[u8] = b"UWSGI_";

/// The name and the value of a variable.
pub type Variable = (OsString, OsString);

/// The environment of the emperor as its vassals get it: `UWSGI_VASSAL_X` becomes `UWSGI_X`, and replaces a variable
/// of that name; variables that concern the emperor itself are left out.
pub fn for_vassals(variables: impl IntoIterator<Item = Variable>) -> Vec<Variable> {
    let mut kept: Vec<(Variable, bool)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (name, value) in variables {
        let renamed = name.as_bytes().strip_prefix(VASSAL_PREFIX).filter(|rest| !rest.is_empty());
        let for_vassals = renamed.is_some();
        let name = match renamed {
            Some(rest) => OsString::from_vec([OPTION_PREFIX, rest].concat()),
            None if is_emperors(&name) => continue,
            None => name,
        };
        match places.get(&name).and_then(|place: &usize| kept.get_mut(*place)) {
            None => {
                places.insert(name.clone(), kept.len());
                kept.push(((name, value), for_vassals));
            }
            Some((variable, was_for_vassals)) if for_vassals || !*was_for_vassals => {
                *was_for_vassals |= for_vassals;
                variable.1 = value;
            }
            Some(_) => {}
        }
    }
    kept.into_iter().map(|(variable, _)| variable).collect()
}

/// Whether vassals get a variable of the emperor under the same name.
pub fn is_inherited(name: &OsStr) -> bool {
    !is_emperors(name) && !name.as_bytes().starts_with(VASSAL_PREFIX)
}

/// Whether a variable names a descriptor on which emperor and vassal speak. Commands do not get such variables,
/// and no configuration is read from such a descriptor.
pub fn names_protocol_descriptor(name: &OsStr) -> bool {
    PROTOCOL_VARIABLES.iter().any(|line| name == *line)
}

fn is_emperors(name: &OsStr) -> bool {
    let name = name.as_bytes();
    EMPEROR_VARIABLES.contains(&name)
        || EMPEROR_PREFIXES.iter().any(|family| name.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(given: &[(&str, &str)]) -> Vec<String> {
        let given = given.iter().map(|(n, v)| (OsString::from(n), OsString::from(v)));
        let line = |(name, value): &Variable| format!("{}={}", name.display(), value.display());
        for_vassals(given).iter().map(line).collect()
    }

    #[test]
    fn variables_for_vassals_lose_their_prefix_and_keep_their_value() {
        let given =
            [("A", "1"), ("UWSGI_VASSAL_SOCKET", "/tmp/%n.sock"), ("UWSGI_VASSAL_B", "=x=")];
        assert_eq!(seen(&given), ["A=1", "UWSGI_SOCKET=/tmp/%n.sock", "UWSGI_B==x="]);
    }

    #[test]
    fn a_variable_for_vassals_beats_one_of_the_same_name_wherever_it_stands() {
        let after = [("UWSGI_X", "theirs"), ("UWSGI_VASSAL_X", "ours")];
        let before = [("UWSGI_VASSAL_X", "ours"), ("UWSGI_X", "theirs")];
        assert_eq!(seen(&after), ["UWSGI_X=ours"]);
        assert_eq!(seen(&before), ["UWSGI_X=ours"]);
    }

    #[test]
    fn what_is_about_the_emperor_stays_with_it() {
        let given = [
            ("PATH", "/bin"),
            ("NOTIFY_SOCKET", "/run/x"),
            ("LISTEN_FDS", "1"),
            ("UWSGI_EMPEROR", "/etc/vassals"),
            ("UWSGI_EMPEROR_FD", "7"),
            ("UWSGI_VASSALS_SET", "a=b"),
            ("UWSGI_IMPERIAL_MONITOR_LIST", "true"),
            ("UWSGI_RELOADS", "1"),
            ("LIEGE_STATUS_FD", "9"),
        ];
        assert_eq!(seen(&given), ["PATH=/bin"]);
    }

    #[test]
    fn what_is_meant_for_vassals_only_is_not_inherited() {
        let inherited = |name: &str| is_inherited(OsStr::new(name));
        assert!(inherited("UWSGI_B") && inherited("PATH"));
        assert!(!inherited("UWSGI_VASSAL_A") && !inherited("UWSGI_IMPERIAL_MONITOR_LIST"));
    }
}
