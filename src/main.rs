//! argv to mode, error to exit status; nothing more.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::process::ExitCode;

use liege::config::command::{self, QueryOutput};
use liege::config::{Invocation, Resolved};
use liege::emperor::start::{StartMode, configuration, invocation, start};
use liege::spawn::{Allocator, spawner};
use liege::stage::Outcome;
use liege::{init, proto, stage};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (mode, rest) = match arguments.split_first() {
        Some((mode, rest)) => (mode.to_str(), rest),
        None => (None, &arguments[..]),
    };
    let mut inspector = stage::inspect::SystemInspector::default();
    match mode {
        Some("spawner") => ExitCode::from(spawner::run(stage::run_forked)),
        Some("init") => ExitCode::from(init::main(rest.iter().cloned())),
        Some("check") => print(&command::check(rest, &invocation(Vec::new()), &mut inspector)),
        Some("config") => print(&command::config(rest, &invocation(Vec::new()))),
        _ => {
            let call = invocation(arguments);
            match command::answer_command(&call)
                .or_else(|| command::run_query(&call, &mut inspector))
            {
                Some(output) => print(&output),
                None => govern(call),
            }
        }
    }
}

/// Governs; without sources of vassals it is one itself, under another emperor or alone.
fn govern(call: Invocation) -> ExitCode {
    // A vassal's file may come by a pipe, which is read once.
    if std::env::var_os(proto::emperor::PIPE_FD_VARIABLE).is_some() {
        return vassal(call.args, None);
    }
    match configuration(&call) {
        Ok(StartMode::Emperor(config)) => ExitCode::from(start(*config, call.env)),
        Ok(StartMode::Vassal(known)) => vassal(call.args, Some(*known)),
        Err(faults) => print(&command::refusal(&faults)),
    }
}

/// Becomes the program of a vassal, or an emperor that is one.
fn vassal(arguments: Vec<OsString>, known: Option<Resolved>) -> ExitCode {
    ExitCode::from(match stage::run(arguments, known) {
        Outcome::Ended(status) => status,
        Outcome::Emperor(config, environment, pipe) => {
            // From here on it is the emperor's, which finds it by its number.
            let _ = pipe.map(OwnedFd::into_raw_fd);
            start(*config, environment)
        }
    })
}

/// Prints what a command has to say; a reader that has gone away is no fault.
fn print(output: &QueryOutput) -> ExitCode {
    let _ = std::io::stdout().write_all(output.out.as_bytes());
    let _ = std::io::stderr().write_all(output.err.as_bytes());
    ExitCode::from(output.status)
}
