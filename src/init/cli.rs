//! The command line of `liege init`.

use std::ffi::{CString, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use lexopt::{Arg, ValueExt};

use super::{Command, InitOptions, OrphanPolicy, SignalForwarding, SignalTarget};
use crate::log::panics;
use crate::sys::process::CStringArray;
use crate::sys::signal::Signal;

/// Our own failure, where any other status could be the command's (as env(1) and timeout(1) do).
const OWN_FAILURE: u8 = 125;

/// How long `--wait` waits, unless told otherwise.
const MERCY: Duration = Duration::from_secs(30);

const HELP: &str = "\
Usage: liege init [-g] [-p SIGNAL] [--wait] [--reload-mercy SECONDS] [--] COMMAND [ARGUMENT...]

Runs one command as the init of a container, or as a subreaper: passes signals
on, reaps every orphan, ends what the command leaves behind. The exit status is
the command's; 128 + number if a signal ended it; 127 if it was not found, 126
if it could not be executed; 125 if liege itself failed.

  -g, --group                    pass signals on to the command's process group
  -p, --parent-death SIGNAL      pass SIGNAL on when the parent dies
      --wait                     let what outlives the command end by itself,
                                 instead of killing it at once
      --reload-mercy SECONDS     how long --wait waits, then kills [30]
  -h, --help                     show this
";

/// `liege init`: reads the arguments behind the word `init`, runs the command, returns the exit
/// status.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    panics::keep();
    let (options, command) = match read(arguments) {
        Ok(Some(order)) => order,
        Ok(None) => return u8::from(io::stdout().write_all(HELP.as_bytes()).is_err()),
        Err(error) => {
            super::say(&format!("liege init: {error}; see liege init --help"));
            return OWN_FAILURE;
        }
    };
    match super::run(&options, Command::Program(command)) {
        Ok(ended) => ended.shell_code(),
        Err(error) => {
            super::say(&format!("liege init: cannot start the command: {error}"));
            OWN_FAILURE
        }
    }
}

/// `None` if help was asked for.
fn read(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Option<(InitOptions, CStringArray)>, lexopt::Error> {
    let mut options = InitOptions {
        target: SignalTarget::Command,
        forwarding: SignalForwarding::AsSent,
        parent_death: None,
        orphans: OrphanPolicy::Kill,
        pid_file: None,
    };
    let mut mercy = MERCY;
    let mut wait = false;
    let mut argv = Vec::new();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('g') | Arg::Long("group") => options.target = SignalTarget::Group,
            Arg::Short('p') | Arg::Long("parent-death") => {
                options.parent_death = Some(parser.value()?.parse_with(signal)?);
            }
            Arg::Long("wait") => wait = true,
            Arg::Long("reload-mercy") => mercy = Duration::from_secs(parser.value()?.parse()?),
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            Arg::Value(program) => {
                // Everything behind the program is the program's.
                argv.push(program);
                argv.extend(parser.raw_args()?);
            }
            other => return Err(other.unexpected()),
        }
    }
    if wait {
        options.orphans = OrphanPolicy::WaitFor(mercy);
    }
    if argv.is_empty() {
        return Err("no command is given".into());
    }
    let strings = argv.into_iter().map(|argument| CString::new(argument.into_vec()));
    let strings =
        strings.collect::<Result<_, _>>().map_err(|error| lexopt::Error::Custom(error.into()))?;
    Ok(Some((options, CStringArray::new(strings))))
}

fn signal(text: &str) -> Result<Signal, &'static str> {
    Signal::parse(text).ok_or("no such signal")
}
