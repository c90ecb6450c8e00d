//! The sources of text: names with sections and schemes, opened once and read up to a limit.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::opts::key::Format;
use crate::types::environment;

use super::Invocation;
use crate::types::quote::{self, cut};

/// Largest file, command output or pushed text that is read.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// Announces a pushed configuration on the config pipe (uwsgi packet header).
const CONFIG_MODIFIER: u8 = 115;

/// The name of a configuration, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConfigName {
    /// What is to be read.
    pub(super) target: NameTarget,
    /// As given, without the section.
    pub(super) given: OsString,
    /// The section after the last colon.
    pub(super) section: Option<String>,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NameTarget {
    /// A file, by its absolute path.
    Path(PathBuf),
    /// A descriptor, read to its end.
    Descriptor(i32),
    /// The output of a shell command.
    Command(String),
    /// The text that the emperor sends on the config pipe.
    Pushed,
}

/// What was read.
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    /// Device and inode, of a file.
    pub(super) id: Option<(u64, u64)>,
}

/// Parses a name. `last` is the file that was opened last, for a name that is only `:section`.
///
/// # Errors
/// A scheme that is not read here, or a descriptor that is not a number.
pub(super) fn parse_name(
    call: &Invocation,
    text: &OsStr,
    last: Option<&ConfigName>,
) -> Result<ConfigName, String> {
    let bytes = text.as_bytes();
    if let Some((scheme, rest)) = scheme(bytes) {
        return with_scheme(text, scheme, rest);
    }
    if bytes == b"-" {
        return Ok(ConfigName {
            target: NameTarget::Descriptor(0),
            given: text.to_owned(),
            section: None,
        });
    }
    let (path, section) = match bytes.iter().rposition(|byte| *byte == b':') {
        Some(at) if at == 0 || !exists(&call.cwd.join(text)) => {
            (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..))
        }
        _ => (bytes, None),
    };
    let section = section.map(|name| String::from_utf8_lossy(name).into_owned());
    if path.is_empty() {
        let Some(last) = last else {
            return Err("names a section of the file opened last, but none was opened".to_owned());
        };
        return Ok(ConfigName { section, ..last.clone() });
    }
    let given = OsString::from_vec(path.to_vec());
    Ok(ConfigName { target: NameTarget::Path(call.cwd.join(&given)), given, section })
}

fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

fn scheme(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.windows(3).position(|three| three == b"://")?;
    Some((bytes.get(..at)?, bytes.get(at + 3..)?))
}

fn with_scheme(text: &OsStr, scheme: &[u8], rest: &[u8]) -> Result<ConfigName, String> {
    let rest_text = String::from_utf8_lossy(rest).into_owned();
    let target = match scheme {
        b"exec" => NameTarget::Command(rest_text),
        b"fd" => NameTarget::Descriptor(rest_text.parse().ok().filter(|fd| *fd >= 0).ok_or_else(
            || format!("'{}' is not a descriptor (expected fd://N)", cut(&rest_text)),
        )?),
        b"emperor" => NameTarget::Pushed,
        b"http" | b"https" => {
            return Err(
                "configuration is not fetched over the network; use exec://curl …".to_owned()
            );
        }
        b"data" => {
            return Err(
                "nothing is appended to the liege program; put the text in a file".to_owned()
            );
        }
        b"sym" | b"section" | b"call" | b"callint" => {
            return Err("names a symbol of the uWSGI program; put the text in a file".to_owned());
        }
        other => {
            let other = String::from_utf8_lossy(other);
            return Err(format!(
                "scheme '{}' is not known (expected exec, fd or emperor)",
                cut(&other)
            ));
        }
    };
    Ok(ConfigName { target, given: text.to_owned(), section: None })
}

impl ConfigName {
    /// The format that the ending tells.
    pub(super) fn format(&self) -> Option<Format> {
        let bytes = self.given.as_bytes();
        let ending = bytes.rsplit(|byte| *byte == b'.').next().filter(|e| e.len() < bytes.len())?;
        match ending {
            b"ini" => Some(Format::Ini),
            b"json" | b"js" => Some(Format::Json),
            b"yaml" | b"yml" => Some(Format::Yaml),
            b"xml" => Some(Format::Xml),
            _ => None,
        }
    }
}

/// Reads what a name stands for; a command may take as long as `timeout` says.
///
/// # Errors
/// What is wrong, and what to do about it.
pub(super) fn read(
    call: &Invocation,
    name: &ConfigName,
    timeout: Duration,
) -> Result<Content, String> {
    match &name.target {
        NameTarget::Path(path) => match &call.opened {
            Some((given, file)) if *given == name.given => read_file(file),
            _ => read_file(&open(path)?),
        },
        NameTarget::Descriptor(number) => refuse_protocol_descriptor(call, *number)
            .and_then(|()| open_descriptor(call, *number))
            .and_then(|file| read_bounded(file, "the input"))
            .map(|bytes| Content { bytes, id: None }),
        NameTarget::Command(command) => {
            command_output(call, command, timeout).map(|bytes| Content { bytes, id: None })
        }
        NameTarget::Pushed => read_config_pipe(call).map(|bytes| Content { bytes, id: None }),
    }
}

/// Opens a file without waiting for the writer of a FIFO, and without acquiring a controlling terminal.
fn open(path: &Path) -> Result<File, String> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| format!("cannot open {}: {}", quote::path(path), reason(&error)))
}

fn read_file(file: &File) -> Result<Content, String> {
    let meta = file.metadata().map_err(|error| format!("cannot look at it: {error}"))?;
    let kind = meta.file_type();
    let other_kind = if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else {
        ""
    };
    if !other_kind.is_empty() {
        return Err(format!("is {other_kind} (expected a regular file)"));
    }
    // The size is only a hint: a file of /proc has the size 0, and any file may grow while it is read.
    let hint = usize::try_from(meta.len()).unwrap_or(usize::MAX).min(MAX_BYTES);
    let mut bytes = vec![0; hint + 1];
    let mut used = 0;
    loop {
        if used == bytes.len() {
            bytes.resize((used * 2).clamp(4096, MAX_BYTES + 1), 0);
        }
        let room = bytes.get_mut(used..).unwrap_or_default();
        match file.read_at(room, used as u64) {
            Ok(0) => break,
            Ok(count) => used += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("cannot be read: {error}")),
        }
        if used > MAX_BYTES {
            return Err(too_long("the file"));
        }
    }
    bytes.truncate(used);
    Ok(Content { bytes, id: Some((meta.dev(), meta.ino())) })
}

fn too_long(what: &str) -> String {
    format!(
        "{what} is longer than 1 MiB (the limit of one file); what it needs of that may be in files that it includes"
    )
}

fn read_bounded(from: impl Read, what: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{what} cannot be read: {error}"))?;
    if bytes.len() > MAX_BYTES { Err(too_long(what)) } else { Ok(bytes) }
}

fn open_descriptor(call: &Invocation, number: i32) -> Result<File, String> {
    (call.descriptor)(number).map_err(|error| format!("descriptor {number}: {error}"))
}

/// Refuses a descriptor of the emperor's: what emperor and vassal tell each other is not configuration, and
/// reading it would take it from the one that it is meant for. A second descriptor of such a socket is refused
/// as well.
fn refuse_protocol_descriptor(call: &Invocation, number: i32) -> Result<(), String> {
    let is_same = |other: i32| {
        let file = |number: i32| std::fs::read_link(format!("/proc/self/fd/{number}")).ok();
        let is_pair = |path: &PathBuf| !path.is_absolute();
        other == number || file(number).filter(is_pair).is_some_and(|it| Some(it) == file(other))
    };
    let is_number =
        |text: &OsString| text.to_str().and_then(|text| text.parse().ok()).is_some_and(is_same);
    let line = call
        .env
        .iter()
        .find(|(name, value)| environment::names_protocol_descriptor(name) && is_number(value));
    if let Some((name, _)) = line {
        return Err(format!(
            "descriptor {number} is the line between this vassal and its emperor ({}), not a file; name another \
             one, or emperor:// for the text that the emperor sends",
            name.display()
        ));
    }
    if number > 2 && !call.inherits_files {
        return Err(format!(
            "descriptor {number} is liege's own or not open: a vassal gets none from its emperor that is a file; name \
             the file itself"
        ));
    }
    Ok(())
}

/// Reads the config pipe: a header of four bytes, then a text of the length in it.
fn read_config_pipe(call: &Invocation) -> Result<Vec<u8>, String> {
    let number = call
        .variable(environment::CONFIG_FD_VARIABLE)
        .and_then(|text| text.to_str()?.parse().ok())
        .ok_or("no emperor has given this process a configuration pipe")?;
    let mut pipe = open_descriptor(call, number)?;
    let broken = |error: io::Error| format!("the configuration pipe: {error}");
    let mut header = [0; 4];
    pipe.read_exact(&mut header).map_err(broken)?;
    let [modifier, low, high, _] = header;
    if modifier != CONFIG_MODIFIER {
        return Err(format!("the configuration pipe: packet of kind {modifier} (expected 115)"));
    }
    let mut text = vec![0; usize::from(u16::from_le_bytes([low, high]))];
    pipe.read_exact(&mut text).map_err(broken)?;
    Ok(text)
}

/// The output of a shell command.
fn command_output(call: &Invocation, command: &str, timeout: Duration) -> Result<Vec<u8>, String> {
    if !call.commands {
        return Err(
            "is a command in the file of another user, and is not run here; do this as that \
                    user"
                .to_owned(),
        );
    }
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).current_dir(&call.cwd).stdin(Stdio::null());
    // The command does not get the descriptors of the protocol, so it must not see their numbers either.
    let variables =
        call.env.iter().filter(|(name, _)| !environment::names_protocol_descriptor(name));
    shell.env_clear().envs(variables.map(|(name, value)| (name, value)));
    let (text, status) =
        (call.run)(&mut shell, MAX_BYTES, timeout).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => too_slow(call.commands_timeout),
            io::ErrorKind::FileTooLarge => too_long("the output"),
            _ => format!("/bin/sh: {error}"),
        })?;
    if status.success() { Ok(text) } else { Err(format!("the command failed ({status})")) }
}

fn too_slow(timeout: Duration) -> String {
    format!(
        "the commands of this configuration take longer than {} s in all (the limit); have them run before, \
         and read a file",
        timeout.as_secs_f32()
    )
}

/// Parses the name in `@(name)`, which has no section and never means standard input.
///
/// # Errors
/// As [`parse_name`].
pub(super) fn parse_resource_name(call: &Invocation, text: &str) -> Result<ConfigName, String> {
    match scheme(text.as_bytes()) {
        Some((scheme, rest)) => with_scheme(OsStr::new(text), scheme, rest),
        None => Ok(ConfigName {
            target: NameTarget::Path(call.cwd.join(text)),
            given: text.into(),
            section: None,
        }),
    }
}

/// The reason of the system without its error number.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ if error.raw_os_error() == Some(libc::ENXIO) => {
            "it is a socket (expected a regular file)".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The first mark that looks like a placeholder, in a text where none is replaced. In a shell command such marks have
/// their own meaning.
pub(super) fn placeholder(text: &str) -> Option<String> {
    if text.starts_with("exec://") {
        return None;
    }
    let marks = ["%(", "$(", "@("].iter().filter_map(|mark| text.find(mark));
    let rest = text.get(marks.min()?..)?;
    let end = rest.find(')').map_or(rest.len(), |at| at + 1);
    // In a block this is the word, which was replaced already.
    rest.get(..end).filter(|mark| *mark != "%(_)").map(cut)
}

/// A hint for a name that cannot be read, if it seems to contain a placeholder, a comment or quotes.
pub(super) fn hint_for_name(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    match placeholder(&name) {
        Some(mark) => format!("; {mark} is not replaced in the name of what is read"),
        None if name.contains(" #") || name.contains(" ;") => {
            "; a comment needs a line of its own".to_owned()
        }
        None if name.starts_with(['"', '\'']) => "; quotes are part of a value".to_owned(),
        None => String::new(),
    }
}
