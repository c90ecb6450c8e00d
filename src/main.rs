//! argv to mode, error to exit status; nothing more.

use std::ffi::OsString;
use std::process::ExitCode;

use liege::proto::{emperor, status};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(mode) = arguments.next() else { return ExitCode::SUCCESS };
    if mode == "init" {
        return ExitCode::from(liege::init::main(arguments));
    }
    let arguments: Vec<OsString> = std::iter::once(mode).chain(arguments).collect();
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
    has(status::FD_VARIABLE) || (!says("--emperor") && (has(emperor::FD_VARIABLE) || says("--")))
}
