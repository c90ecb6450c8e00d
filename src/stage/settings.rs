//! What the vassal file says about the running of its program, as the verdict carries it; and what is odd
//! about it.

use crate::config::VassalConfig;
use crate::config::vassal::{self, Notify, RestartRule};
use crate::proto::status::{ExecSettings, Restart, StopTo};

use super::patch::Program;
use super::sockets::Sockets;

/// `LISTEN_PID` is the shell's.
const SHELL_STAYS: &str = "a shell runs the program and may stay as its parent: signals reach both, but \
     LISTEN_PID is the shell's; begin the text with exec";

/// The settings; sockets are counted by whoever attaches them, and a notify socket and the fingerprint are added with them.
pub fn exec_settings(
    config: &VassalConfig,
    program: &Program,
    warnings: Vec<String>,
) -> ExecSettings {
    ExecSettings {
        stop_signal: config.stop_signal.unwrap_or(0),
        reload_signal: config.reload_signal.unwrap_or(0),
        graceful_signal: config.graceful_signal.unwrap_or(0),
        stop_to: match config.stop_to {
            None => StopTo::Unsaid,
            Some(vassal::StopTo::Main) => StopTo::Main,
            Some(vassal::StopTo::Group) => StopTo::Group,
        },
        restart: match config.restart.unwrap_or_default() {
            RestartRule::Always => Restart::Always,
            RestartRule::OnFailure => Restart::OnFailure,
            RestartRule::Never => Restart::Never,
        },
        notify: false,
        must_notify: config.notify == Notify::Demanded,
        heartbeat: config.heartbeat.filter(|_| config.notify == Notify::Demanded),
        loyal_after: config.loyal_after,
        ready_after: config.ready_after,
        start_timeout: config.start_timeout,
        listeners: 0,
        fingerprint: 0,
        argv0: program.name(),
        places: String::new(),
        warnings,
    }
}

/// Adds what is odd about the settings here, though it is no fault of the file.
pub fn warn(config: &VassalConfig, is_emperor: bool, warnings: &mut Vec<String>) {
    if !is_emperor {
        let ours = [
            ("stop-signal", config.stop_signal.is_some()),
            ("reload-signal", config.reload_signal.is_some()),
            ("graceful-signal", config.graceful_signal.is_some()),
            ("stop-to", config.stop_to.is_some()),
            ("restart", config.restart.is_some()),
            ("notify", config.notify == Notify::Demanded),
            ("loyal-after", config.loyal_after.is_some()),
            ("ready-after", config.ready_after.is_some()),
            ("start-timeout", config.start_timeout.is_some()),
            ("vacuum", config.vacuum),
            ("touch-reload", !config.touch_reload.is_empty()),
        ];
        let named = named(&ours);
        if !named.is_empty() {
            warnings.push(format!("{named} has no effect: this is not started by liege's emperor"));
        }
    }
}

/// Adds that the program may be another process than the one that gets the sockets.
pub fn warn_of_shell(program: &Program, sockets: &Sockets, warnings: &mut Vec<String>) {
    if !sockets.list().is_empty() && program.may_fork() {
        warnings.push(SHELL_STAYS.to_owned());
    }
}

/// The names of what is set.
fn named(options: &[(&str, bool)]) -> String {
    let set: Vec<_> = options.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
    set.join(", ")
}
