//! What the vassal file says about the running of its program, as the verdict carries it; and what is odd
//! about it.

use crate::config::VassalConfig;
use crate::proto::status::ExecVerdict;
use crate::types::run_settings::RunSettings;

use super::program::Program;
use super::sockets::Sockets;

/// `LISTEN_PID` is the shell's.
const SHELL_STAYS: &str = "a shell runs the program and may stay as its parent: signals reach both, but \
     LISTEN_PID is the shell's; begin the text with exec";

/// The verdict; a notify socket and the sockets are added by whoever attaches them.
pub fn exec_verdict(
    config: &VassalConfig,
    program: &Program,
    fingerprint: u64,
    warnings: Vec<String>,
) -> ExecVerdict {
    let heartbeat = config.run.heartbeat.filter(|_| config.run.notify);
    let run = RunSettings { heartbeat, ..config.run.clone() };
    ExecVerdict { run, notify_socket: false, fingerprint, argv0: program.name(), warnings }
}

/// Adds what is odd about the settings here, although the file is not faulty.
pub fn warn(config: &VassalConfig, is_emperor: bool, warnings: &mut Vec<String>) {
    if !is_emperor && !config.for_emperor.is_empty() {
        let named = config.for_emperor.join(", ");
        warnings.push(format!("{named} has no effect: this is not started by liege's emperor"));
    }
}

/// Adds that the program may be another process than the one that gets the sockets.
pub fn warn_of_shell(program: &Program, sockets: &Sockets, warnings: &mut Vec<String>) {
    if !sockets.list().is_empty() && program.may_fork() {
        warnings.push(SHELL_STAYS.to_owned());
    }
}
