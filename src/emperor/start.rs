//! The mode *emperor*: reads the configuration from the arguments and runs the emperor, under a keeper where one
//! is needed.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use crate::config::{self, EmperorConfig, Faults, Invocation, Resolved};
use crate::init::relay::Relay;
use crate::init::{
    self, Command, InitOptions, KeeperOptions, OrphanPolicy, SignalForwarding, SignalTarget,
};

use crate::log::panics;
use crate::sys::{command, creds, oom, process, write};

use super::process_context::{ProcessContext, absolute};
use super::{keeper, open_log, own_process, setup};

/// Exit status for a fault in the configuration or at the start.
const FAULT: u8 = 1;

/// What the reading of the configuration needs from this process: identity, time, arguments and environment.
pub fn invocation(args: Vec<OsString>) -> Invocation {
    let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
    Invocation {
        uid: creds::effective_uid(),
        gid: creds::effective_gid(),
        now: SystemTime::now(),
        run: command::output,
        ..Invocation::new(args, std::env::vars_os().collect(), cwd)
    }
}

/// The role that an invocation gives this process.
#[derive(Debug)]
pub enum StartMode {
    /// An emperor: it names a source of vassals.
    Emperor(Box<EmperorConfig>),
    /// A vassal without an emperor above it; not checked yet.
    Vassal(Box<Resolved>),
}

/// Reads the configuration, and finds out which role it asks for.
///
/// # Errors
/// All faults of the configuration.
pub fn configuration(call: &Invocation) -> Result<StartMode, Faults> {
    let resolved = config::load(call)?;
    if resolved.is_emperors() {
        let config = config::emperor::check(&resolved)?;
        config.refuse_itself(&resolved, (&call.cwd, &call.shown_prefix))?;
        Ok(StartMode::Emperor(Box::new(config)))
    } else {
        Ok(StartMode::Vassal(Box::new(resolved)))
    }
}

/// Runs an emperor with this configuration until it is over; gives the exit status.
pub fn start(config: EmperorConfig, environment: Vec<(OsString, OsString)>) -> u8 {
    panics::keep();
    let own_program = own_program();
    // The keeper is this process, the emperor its child.
    let keeper = keeper::wants_keeper(&config, &environment).then(std::process::id);
    // Before the fork, so that the keeper has the score as well.
    let oom_score = oom::become_precious();
    let mut process = ProcessContext { environment, own_program, keeper, oom_score, relay: None };
    if keeper.is_none() {
        return run_emperor(&config, &process);
    }
    let log = config.logto.as_ref().map(|path| absolute(Path::new(&path.value)));
    let manager = process.variable("NOTIFY_SOCKET");
    // The emperor reports a name that cannot be used.
    let relay = manager.and_then(|name| Relay::new(name).ok()).map(|(relay, its_end)| {
        process.relay = Some(Rc::new(its_end));
        relay
    });
    let pid_file = config.pidfile.as_ref().map(|path| absolute_c(&path.value));
    let duties = InitOptions {
        target: SignalTarget::Command,
        forwarding: SignalForwarding::WithSender,
        parent_death: None,
        orphans: OrphanPolicy::Kill,
        pid_file: pid_file.flatten(),
    };
    let emperor = Command::Function(Box::new(move || run_emperor(&config, &process)));
    match init::keep(&duties, emperor, Some(KeeperOptions { relay, log })) {
        Ok(ended) => ended.shell_code(),
        Err(error) => print_error(&format!("cannot start under a keeper: {error}")),
    }
}

/// The path of this program, which is executed again as the stage. Without `/proc` the path by which it was
/// started is used.
fn own_program() -> PathBuf {
    let started_as = || std::path::absolute(process::executed_as()?).ok();
    let found = std::env::current_exe().ok().or_else(started_as);
    found.unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

/// An absolute path for the keeper, which has no working directory of its own.
fn absolute_c(path: &str) -> Option<CString> {
    CString::new(absolute(Path::new(path)).into_os_string().into_vec()).ok()
}

fn run_emperor(config: &EmperorConfig, process: &ProcessContext) -> u8 {
    own_process::set_mask(config);
    let prepare =
        || open_log::open(config, process).and_then(|log| setup::build(config, process, log));
    // No vassal runs yet, so a panic costs no more than the start.
    match catch_unwind(AssertUnwindSafe(prepare)) {
        Ok(Ok(mut emperor)) => emperor.run(),
        Ok(Err(error)) => print_error(&error.to_string()),
        Err(_) => print_error(&format!(
            "internal error (a bug in liege): {}; please report it",
            panics::last()
        )),
    }
}

/// Writes one line to standard error, without waiting for a reader, and gives the exit status.
fn print_error(text: &str) -> u8 {
    write::say(io::stderr().as_fd(), format_args!("liege: {text}"));
    FAULT
}
