//! argv to mode, error to exit status; nothing more.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use liege::config::Invocation;
use liege::config::command::{self, Accounts, Output};
use liege::sys::creds;
use liege::{emperor, init, proto, stage};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // The stage comes first: it is started once for each start of a vassal.
    if std::env::var_os(proto::status::FD_VARIABLE).is_some() {
        return ExitCode::from(stage::run(arguments));
    }
    let mode = arguments.first().and_then(|mode| mode.to_str());
    let rest = || arguments.iter().skip(1).cloned();
    match mode {
        Some("init") => return ExitCode::from(init::main(rest())),
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
    // Without sources of vassals it is one itself: under another emperor, or alone.
    let call = invocation(arguments.clone());
    match emperor::start::configuration(&call) {
        Ok(Some(config)) => ExitCode::from(emperor::start::start(config, call.env)),
        Ok(None) => ExitCode::from(stage::run(arguments)),
        Err(faults) => {
            let err = faults.0.iter().map(|fault| format!("liege: {fault}\n")).collect();
            say(&Output { err, status: faults.status(), ..Output::default() })
        }
    }
}

fn invocation(args: Vec<OsString>) -> Invocation {
    let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let mut call = Invocation::new(args, std::env::vars_os().collect(), cwd);
    call.uid = creds::effective_uid();
    call.gid = creds::effective_gid();
    call.now = std::time::SystemTime::now();
    call
}

/// Prints what a command has to say; a reader that has gone away is no fault.
fn say(output: &Output) -> ExitCode {
    let _ = std::io::stdout().write_all(output.out.as_bytes());
    let _ = std::io::stderr().write_all(output.err.as_bytes());
    ExitCode::from(output.status)
}
