//! The meaning of single texts, by kind of option.

use std::time::Duration;

use crate::opts::OptionKind;
use crate::types::quote::BadText;
use crate::types::signal as signals;

use super::address;

/// Whether a flag's text is true: everything is, but for `false`, `off`, `no` and `0`.
#[must_use]
pub fn flag(text: &str) -> bool {
    !["false", "off", "no"].iter().any(|word| text.eq_ignore_ascii_case(word)) && text != "0"
}

/// The value of a flag that leaves the decision to liege.
pub const AUTO: &str = "auto";

/// Whether a flag's text is one of the usual words for true and false.
#[must_use]
pub fn is_usual_flag(text: &str) -> bool {
    let words = ["", "true", "on", "yes", "1", "false", "off", "no", "0"];
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// A number from 0 to 2^31 - 1.
pub fn number(text: &str) -> Result<u32, BadText> {
    count(text, "number")
}

fn count(text: &str, what: &str) -> Result<u32, BadText> {
    let digits = text.trim();
    let number = digits.parse::<u32>().ok().filter(|number| i32::try_from(*number).is_ok());
    number
        .filter(|_| !digits.starts_with('+'))
        .ok_or_else(|| BadText::new(text, format!("is not a {what} (expected 0 to 2147483647)")))
}

/// A number with a sign.
pub fn signed(text: &str) -> Result<i32, BadText> {
    text.trim()
        .parse()
        .map_err(|_| BadText::new(text, "is not a number (expected for example 5 or -5)"))
}

/// A number of mebibytes, as bytes; as in uWSGI 2.1 it may have decimal places.
pub fn megabytes(text: &str) -> Result<u64, BadText> {
    let (whole, part) = text.trim().split_once('.').unwrap_or((text, "0"));
    let is_digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let part = format!("0.{part}").parse::<f64>().ok().filter(|_| is_digits);
    let whole = number(whole).ok().map(|number| u64::from(number) << 20);
    match (whole, part) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // below 2^20, rounded down
        (Some(whole), Some(part)) => Ok(whole + (part * f64::from(1 << 20)) as u64),
        _ => Err(BadText::new(
            text,
            "is not a number of megabytes (expected for example 512 or 0.5)",
        )),
    }
}

/// A number of seconds.
pub fn seconds(text: &str) -> Result<Duration, BadText> {
    count(text, "number of seconds").map(|number| Duration::from_secs(number.into()))
}

/// A number of milliseconds.
pub fn millis(text: &str) -> Result<Duration, BadText> {
    count(text, "number of milliseconds").map(|number| Duration::from_millis(number.into()))
}

/// The mode of a socket: three octal digits, or 1 for 666.
pub fn mode(text: &str) -> Result<u32, BadText> {
    if text == "1" {
        return Ok(0o666);
    }
    octal(text, 3).ok_or_else(|| {
        BadText::new(text, "is not a mode (expected three octal digits, such as 660)")
    })
}

/// A file creation mask: three octal digits, or four of which the first does not count.
pub fn umask(text: &str) -> Result<u32, BadText> {
    octal(text, 3).or_else(|| octal(text, 4).map(|mode| mode & 0o777)).ok_or_else(|| {
        BadText::new(text, "is not a umask (expected three octal digits, such as 022)")
    })
}

fn octal(text: &str, digits: usize) -> Option<u32> {
    let all = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    all.then(|| u32::from_str_radix(text, 8).ok()).flatten()
}

/// Namespaces by the kernel's short names, each once.
///
/// # Errors
/// The word that is not one.
pub fn namespaces(text: &str) -> Result<Vec<&'static str>, BadText> {
    const NAMES: [(&str, &str); 13] = [
        ("files", "files"),
        ("ipc", "ipc"),
        ("net", "net"),
        ("io", "io"),
        ("parent", "parent"),
        ("pid", "pid"),
        ("ns", "ns"),
        ("fs", "ns"),
        ("mount", "ns"),
        ("mnt", "ns"),
        ("sysvsem", "sysvsem"),
        ("uts", "uts"),
        ("user", "user"),
    ];
    let mut found = Vec::new();
    for word in text.split(',') {
        let Some((_, name)) = NAMES.iter().find(|entry| entry.0 == word) else {
            return Err(BadText::new(
                word,
                "is not a namespace (expected a comma list without blanks of ipc net pid ns uts user …)",
            ));
        };
        if !found.contains(name) {
            found.push(*name);
        }
    }
    Ok(found)
}

/// Capabilities by name, each once.
///
/// # Errors
/// The word that is not one.
pub fn capabilities(text: &str) -> Result<Vec<&'static str>, BadText> {
    // capabilities(7), in the order of their numbers.
    const NAMES: [&str; 41] = [
        "chown",
        "dac_override",
        "dac_read_search",
        "fowner",
        "fsetid",
        "kill",
        "setgid",
        "setuid",
        "setpcap",
        "linux_immutable",
        "net_bind_service",
        "net_broadcast",
        "net_admin",
        "net_raw",
        "ipc_lock",
        "ipc_owner",
        "sys_module",
        "sys_rawio",
        "sys_chroot",
        "sys_ptrace",
        "sys_pacct",
        "sys_admin",
        "sys_boot",
        "sys_nice",
        "sys_resource",
        "sys_time",
        "sys_tty_config",
        "mknod",
        "lease",
        "audit_write",
        "audit_control",
        "setfcap",
        "mac_override",
        "mac_admin",
        "syslog",
        "wake_alarm",
        "block_suspend",
        "audit_read",
        "perfmon",
        "bpf",
        "checkpoint_restore",
    ];
    let mut found = Vec::new();
    for word in text.split(',') {
        let by_number = word.parse().ok().and_then(|number: usize| NAMES.get(number));
        let Some(name) = by_number.or_else(|| NAMES.iter().find(|name| **name == word)) else {
            return Err(BadText::new(
                word,
                "is not a capability (expected a comma list of lower-case names without cap_, or numbers)",
            ));
        };
        if !found.contains(name) {
            found.push(*name);
        }
    }
    Ok(found)
}

/// The bits of these capabilities, as the kernel numbers them.
pub fn capability_bits(text: &str) -> Result<u64, BadText> {
    let wanted = capabilities(text)?;
    let is_wanted = |number: &u32| {
        capabilities(&number.to_string()).is_ok_and(|one| one.iter().all(|it| wanted.contains(it)))
    };
    Ok((0..u64::BITS).filter(is_wanted).fold(0, |bits, number| bits | 1 << number))
}

/// The number of a signal.
pub fn signal(text: &str) -> Result<u8, BadText> {
    signals::number(text.trim()).ok_or_else(|| {
        BadText::new(text, "is not a signal (expected a name such as TERM or RTMIN+3, or 1 to 64)")
    })
}

/// A hook: its action and the text for it.
pub fn hook(text: &str) -> Result<(&str, &str), BadText> {
    #[rustfmt::skip] // a list of words
    const ACTIONS: [&str; 28] = [
        "append", "appendn", "cd", "chdir", "chmod", "chown", "chown2", "creat", "create", "exec", "exit",
        "hostname", "log", "mkdir", "mount", "print", "putenv", "safeexec", "sticky", "umount", "unlink",
        "wait_for_dir", "wait_for_file", "wait_for_fs", "wait_for_socket", "write", "writefifo", "writen",
    ];
    let silent = text.strip_prefix('!').unwrap_or(text);
    let Some((action, rest)) = silent.split_once(':') else {
        return Err(BadText::new(text, "is not a hook (expected ACTION:TEXT)"));
    };
    if ACTIONS.contains(&action) {
        Ok((action, rest))
    } else {
        Err(BadText::new(
            action,
            "is not an action of hooks (expected exec, mkdir, write, mount …)",
        ))
    }
}

/// A change of the environment: the name, and the text if it is set.
pub fn variable(text: &str) -> Result<(&str, Option<&str>), BadText> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    if name.is_empty() {
        return Err(BadText::new(text, "has no name before '=' (expected NAME=TEXT)"));
    }
    Ok((name, value))
}

/// A user or group: a number that can be one, or a name.
///
/// # Errors
/// The number that means "none" to the kernel, or a text that cannot be a name.
pub fn account(text: &str) -> Result<&str, BadText> {
    let is_malformed = text.is_empty() || text.contains([':', '/', ' ', '\t', '\n']);
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let too_large = is_number && text.parse::<u32>().ok().is_none_or(|number| number == u32::MAX);
    if is_malformed || too_large || text.starts_with(['-', '+']) {
        return Err(BadText::new(
            text,
            "is not an account (expected a name, or a number up to 4294967294)",
        ));
    }
    Ok(text)
}

/// Whether a text is right for an option of this kind.
pub fn check(kind: OptionKind, text: &str) -> Result<(), BadText> {
    match kind {
        OptionKind::Flag | OptionKind::AutoFlag | OptionKind::Text => Ok(()),
        OptionKind::Number => number(text).map(drop),
        OptionKind::Signed => signed(text).map(drop),
        OptionKind::Megabytes => megabytes(text).map(drop),
        OptionKind::Seconds => seconds(text).map(drop),
        OptionKind::Millis => millis(text).map(drop),
        OptionKind::Word if text.is_empty() => {
            Err(BadText::without_text("is empty (expected a text)"))
        }
        OptionKind::Word => Ok(()),
        OptionKind::User | OptionKind::Group => account(text).map(drop),
        OptionKind::Owner => {
            let (user, group) = text.split_once(':').unwrap_or((text, "0"));
            account(user).and(account(group)).map(drop)
        }
        OptionKind::Mode => mode(text).map(drop),
        OptionKind::Umask => umask(text).map(drop),
        OptionKind::Namespaces => namespaces(text).map(drop),
        OptionKind::Capabilities => capabilities(text).map(drop),
        OptionKind::Hook => hook(text).map(drop),
        OptionKind::Socket => address::parse(text).map(drop),
        OptionKind::SocketOrNone if text == "none" => Ok(()),
        OptionKind::SocketOrNone => address::parse(text).map(drop),
        OptionKind::Signal => signal(text).map(drop),
        OptionKind::Variable => variable(text).map(drop),
        OptionKind::Pair if text.contains('=') => Ok(()),
        OptionKind::Pair => Err(BadText::new(text, "has no '=' (expected NAME=TEXT)")),
        OptionKind::Choice(words) if words.contains(&text) => Ok(()),
        OptionKind::Choice(words) => {
            Err(BadText::new(text, format!("is not one of {}", words.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_the_numbers_of_the_kernel() {
        assert_eq!(capability_bits("chown,net_bind_service,40"), Ok(1 | 1 << 10 | 1 << 40));
        assert!(capability_bits("cap_chown").is_err() && capability_bits("41").is_err());
    }

    #[test]
    fn megabytes_may_have_decimal_places() {
        for (text, bytes) in [("512", 512 << 20), ("0.5", 1 << 19), (" 1.25 ", 5 << 18), ("0", 0)] {
            assert_eq!(megabytes(text), Ok(bytes), "{text}");
        }
        for text in ["", ".", "1.", ".5", "1.2.3", "-1", "1.-5", "10M", "1e3", "inf", "0.5 0"] {
            assert!(megabytes(text).unwrap_err().to_string().contains("0.5"), "{text}");
        }
    }

    #[test]
    fn a_time_that_is_none_says_its_unit() {
        let told = seconds("1 number").unwrap_err().to_string();
        assert_eq!(told, "'1 number' is not a number of seconds (expected 0 to 2147483647)");
        assert!(millis("-1").unwrap_err().to_string().contains("is not a number of milliseconds"));
    }
}
