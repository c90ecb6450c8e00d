//! argv to mode, error to exit status; nothing more.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|mode| mode == "init") {
        return ExitCode::from(liege::init::main(arguments));
    }
    ExitCode::SUCCESS
}
