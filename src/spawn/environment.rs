//! The environment that all vassals share, made once from the emperor's own.

use std::collections::HashMap;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;

/// What is about the emperor itself, and must not reach a vassal: it would make it an emperor, tell it
/// to listen on sockets that it does not have, or let it speak to the service manager in our name.
const OURS: [&[u8]; 7] = [
    b"UWSGI_RELOADS",
    b"UWSGI_ORIGINAL_PROC_NAME",
    b"NOTIFY_SOCKET",
    b"WATCHDOG_PID",
    b"WATCHDOG_USEC",
    b"SERVER_STARTER_PORT",
    b"SERVER_STARTER_GENERATION",
];
const OUR_FAMILIES: [&[u8]; 5] =
    [b"UWSGI_EMPEROR", b"UWSGI_VASSALS_", b"UWSGI_IMPERIAL_", b"LISTEN_", b"LIEGE_"];
const FOR_VASSALS: &[u8] = b"UWSGI_VASSAL_";

/// The emperor's environment as its vassals get it: `UWSGI_VASSAL_X` is `UWSGI_X` there, in the place of
/// one that may be there already; what is the emperor's own is left out.
pub fn for_vassals(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<CString> {
    let mut order: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut places: HashMap<Vec<u8>, (usize, bool)> = HashMap::new();
    for (name, value) in variables {
        let (name, value) = (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let renamed = name.strip_prefix(FOR_VASSALS).filter(|rest| !rest.is_empty());
        let for_vassals = renamed.is_some();
        let name = match renamed {
            Some(rest) => [b"UWSGI_", rest].concat(),
            None if is_ours(&name) => continue,
            None => name,
        };
        match places.get_mut(&name) {
            None => {
                places.insert(name.clone(), (order.len(), for_vassals));
                order.push((name, value));
            }
            Some((index, is_for_vassals)) if for_vassals || !*is_for_vassals => {
                *is_for_vassals |= for_vassals;
                if let Some((_, old)) = order.get_mut(*index) {
                    *old = value;
                }
            }
            Some(_) => {}
        }
    }
    let lines = order.into_iter().map(|(name, value)| [&name[..], b"=", &value[..]].concat());
    lines.filter_map(|line| CString::new(line).ok()).collect()
}

/// The options of uWSGI that stand in the environment and reach every vassal, for a warning.
pub fn inherited_options(for_vassals: &[CString]) -> Vec<String> {
    let name = |line: &CString| {
        let text = line.to_string_lossy();
        text.split_once('=').map(|(name, _)| name.to_owned())
    };
    for_vassals.iter().filter_map(name).filter(|name| name.starts_with("UWSGI_")).collect()
}

fn is_ours(name: &[u8]) -> bool {
    OURS.contains(&name) || OUR_FAMILIES.iter().any(|family| name.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(given: &[(&str, &str)]) -> Vec<String> {
        let given = given.iter().map(|(n, v)| (OsString::from(n), OsString::from(v)));
        for_vassals(given).into_iter().map(|line| line.into_string().unwrap()).collect()
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
            ("UWSGI_RELOADS", "1"),
            ("LIEGE_STATUS_FD", "9"),
        ];
        assert_eq!(seen(&given), ["PATH=/bin"]);
    }
}
