//! argv to mode, error to exit status; nothing more.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use liege::config::Invocation;
use liege::config::command::{self, Accounts, Output};
use liege::proto::{emperor, status};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // The stage comes first: it is started once for each start of a vassal.
    if std::env::var_os(status::FD_VARIABLE).is_some() {
        return ExitCode::from(liege::stage::run(arguments));
    }
    let mode = arguments.first().and_then(|mode| mode.to_str());
    let rest = || arguments.iter().skip(1).cloned();
    match mode {
        Some("init") => return ExitCode::from(liege::init::main(rest())),
        Some("check") => {
            let args: Vec<OsString> = rest().collect();
            return say(&command::check(&args, &invocation(Vec::new()), &Accounts::default()));
        }
        Some("config") => {
            let args: Vec<OsString> = rest().collect();
            return say(&command::config(&args, &invocation(Vec::new())));
        }
        _ => {}
    }
    if let Some(output) = command::instead(&invocation(arguments.clone()), &Accounts::default()) {
        return say(&output);
    }
    if is_vassal(&arguments) {
        return ExitCode::from(liege::stage::run(arguments));
    }
    ExitCode::SUCCESS
}

/// Whether this process is to start one vassal: our emperor says so, or a foreign one, unless it wants
/// an emperor below itself; or the command line does.
fn is_vassal(arguments: &[OsString]) -> bool {
    let has = |name: &str| std::env::var_os(name).is_some();
    let says = |word: &str| {
        arguments
            .iter()
            .any(|argument| argument.to_str().is_some_and(|text| text.starts_with(word)))
    };
    !says("--emperor") && (has(emperor::FD_VARIABLE) || says("--"))
}

fn invocation(args: Vec<OsString>) -> Invocation {
    let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let mut call = Invocation::new(args, std::env::vars_os().collect(), cwd);
    call.now = std::time::SystemTime::now();
    call
}

/// Prints what a command has to say; a reader that has gone away is no fault.
fn say(output: &Output) -> ExitCode {
    let _ = std::io::stdout().write_all(output.out.as_bytes());
    let _ = std::io::stderr().write_all(output.err.as_bytes());
    ExitCode::from(output.status)
}
