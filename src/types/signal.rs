//! Names and numbers of signals, as Linux has them on every machine that liege runs on. The table of `nix` has no
//! real-time signals, and that of `signal-hook` gives only names for numbers.

/// The numbers that a name can stand for.
const FIRST: u8 = 1;
/// The last signal.
const LAST: u8 = 64;
/// `RTMIN` as the C library of most programs counts: it keeps two signals for its threads. Another library
/// may keep another number, but what a vassal file says is meant for the program.
const RTMIN: u8 = 34;

/// Those that have names.
#[rustfmt::skip] // a table
const SIGNAL_NAMES: [(&str, u8); 35] = [
    ("SIGHUP", 1), ("SIGINT", 2), ("SIGQUIT", 3), ("SIGILL", 4), ("SIGTRAP", 5), ("SIGABRT", 6), ("SIGIOT", 6), ("SIGBUS", 7),
    ("SIGFPE", 8), ("SIGKILL", 9), ("SIGUSR1", 10), ("SIGSEGV", 11), ("SIGUSR2", 12), ("SIGPIPE", 13), ("SIGALRM", 14),
    ("SIGTERM", 15), ("SIGSTKFLT", 16), ("SIGCHLD", 17), ("SIGCLD", 17), ("SIGCONT", 18), ("SIGSTOP", 19), ("SIGTSTP", 20),
    ("SIGTTIN", 21), ("SIGTTOU", 22), ("SIGURG", 23), ("SIGXCPU", 24), ("SIGXFSZ", 25), ("SIGVTALRM", 26), ("SIGPROF", 27),
    ("SIGWINCH", 28), ("SIGIO", 29), ("SIGPOLL", 29), ("SIGPWR", 30), ("SIGSYS", 31), ("SIGUNUSED", 31),
];

/// The number of `TERM`, `SIGTERM`, `15`, `RTMIN+3` or `RTMAX-1`, in either case of letters.
#[must_use]
pub fn number(text: &str) -> Option<u8> {
    let is_signal = |number: &u8| (FIRST..=LAST).contains(number);
    if let Ok(number) = text.parse::<u8>() {
        // parse() takes a plus sign.
        return Some(number).filter(|number| is_signal(number) && !text.starts_with('+'));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str, sign: char| match rest.strip_prefix(sign) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        Some(_) => None,
        None => rest.is_empty().then_some(0),
    };
    let is_real_time = |number: &u8| (RTMIN..=LAST).contains(number);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return RTMIN.checked_add(offset(rest, '+')?).filter(is_real_time);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return LAST.checked_sub(offset(rest, '-')?).filter(is_real_time);
    }
    SIGNAL_NAMES.iter().find(|entry| entry.0.strip_prefix("SIG") == Some(name)).map(|entry| entry.1)
}

/// The usual name of a signal, such as `SIGTERM`; `None` for those that have only numbers.
#[must_use]
pub fn name(number: u8) -> Option<&'static str> {
    SIGNAL_NAMES.iter().find(|entry| entry.1 == number).map(|entry| entry.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_found_by_name_or_number_in_every_spelling() {
        for (text, wanted) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("term", 15),
            ("15", 15),
            ("Quit", 3),
            ("RTMIN", 34),
            ("RTMIN+3", 37),
            ("sigrtmin+3", 37),
            ("RTMAX", 64),
            ("RTMAX-1", 63),
            ("RTMAX-30", 34),
            ("64", 64),
            ("STKFLT", 16),
        ] {
            assert_eq!(number(text), Some(wanted), "{text}");
        }
        for text in [
            "",
            "SIG",
            "0",
            "65",
            "-1",
            "+5",
            "4294967297",
            "TER",
            "RTMIN+31",
            "RTMIN-1",
            "RTMAX+1",
            "RTMAX-31",
            "RTMINx",
            "RTMIN++1",
            "RTMIN+",
            "TERM ",
        ] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn every_standard_signal_has_a_name_and_is_found_by_it() {
        for signal in 1..=31 {
            assert_eq!(number(name(signal).unwrap()), Some(signal));
        }
        assert_eq!((name(0), name(32), name(34)), (None, None, None));
    }
}
