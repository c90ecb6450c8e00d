//! The stage: liege exec'd to start one vassal. It reads the vassal file, binds, drops privileges, gives
//! its verdict on the status socket and execs the application; nothing of it stays.
//!
//! What it does is a list of actions, in [`action`], which is the one place for their order. A start runs the list
//! ([`execution`]); a dry run before a reload goes through it, and so does `liege check` ([`inspect`]). Under a
//! foreign Emperor, or alone, there is no status socket: nothing is received, and what would be a verdict is a line
//! on stderr.

pub mod action;
mod declared_files;
pub mod environment;
mod execution;
pub mod failure;
pub mod files;
mod fingerprint;
mod input;
pub mod inspect;
mod prepare;
pub mod program;
mod settings;
pub mod sockets;
mod status_channel;

use std::ffi::OsString;
use std::path::Path;

use crate::config::command::StartInspector;
use crate::config::{self, EmperorConfig, Faults, Resolved};
use crate::proto::emperor;
use crate::proto::status::ExecVerdict;
use crate::spawn::step::Step;
use crate::types::environment::Variable;
use crate::types::purpose::Purpose;

use action::StartedBy;
use execution::Execution;
use failure::Failure;
use input::StageInput;
use status_channel::{Handoff, StatusChannel};

/// What a stage comes back with, as it has not become a program.
#[derive(Debug)]
pub enum Outcome {
    /// The status to exit with: the program is not started, and whoever takes the verdict knows
    /// why; or it was only to be tried.
    Ended(u8),
    /// The vassal is an emperor itself, which this process is to become, with this environment.
    Emperor(Box<EmperorConfig>, Vec<Variable>),
}

/// Starts one vassal; `args` are the arguments after the program's name, `known` is what they resolve to
/// where that was read already: a pipe can be read only once.
pub fn run(args: Vec<OsString>, known: Option<Resolved>) -> Outcome {
    let env: Vec<Variable> = std::env::vars_os().collect();
    let mut channel = match StatusChannel::open(&env) {
        Ok(channel) => channel,
        Err(failure) => return Outcome::Ended(StatusChannel::stderr().refuse(failure)),
    };
    match start(&mut channel, args, env, known) {
        Ok(outcome) => outcome,
        Err(failure) => Outcome::Ended(channel.refuse(failure)),
    }
}

/// What has to be done before the file is known, then what the file asks for.
fn start(
    channel: &mut StatusChannel,
    args: Vec<OsString>,
    env: Vec<Variable>,
    known: Option<Resolved>,
) -> Result<Outcome, Failure> {
    let input = StageInput::take(args, env)?;
    let handoff = channel.receive()?;
    let resolved = match known {
        Some(resolved) => resolved,
        None => config::load(&input.invocation()).map_err(|faults| Failure::of_faults(&faults))?,
    };
    for message in resolved.messages() {
        channel.print(message);
    }
    if resolved.is_emperors() {
        return become_emperor(channel, input, &handoff, &resolved);
    }
    let started_by =
        StartedBy { takes_verdict: channel.is_emperor(), has_pipe: input.emperor.is_some() };
    let prepared = prepare::prepare(&resolved, &input, started_by)?;
    if handoff.purpose == Purpose::Check {
        // For a start the exec says so.
        let too_long = inspect::too_long(&prepared.config, &input.args);
        if !too_long.is_empty() {
            return Err(Failure::of_faults(&Faults(too_long)));
        }
    }
    let actions = action::plan(&prepared.config, started_by);
    let mut execution = Execution::new(channel, input, handoff.sockets, &prepared);
    for action in &actions {
        match handoff.purpose {
            Purpose::Start => execution.run(action)?,
            Purpose::Check => execution.dry_run(action)?,
        }
    }
    Ok(Outcome::Ended(0))
}

/// The vassal is an emperor: no program is exec'd, this process goes on as one.
fn become_emperor(
    channel: &StatusChannel,
    input: StageInput,
    handoff: &Handoff,
    resolved: &Resolved,
) -> Result<Outcome, Failure> {
    let config = config::emperor::check(resolved)
        .and_then(|config| {
            config.refuse_itself(resolved, (&input.cwd, Path::new(""))).map(|()| config)
        })
        .map_err(|faults| Failure::of_faults(&faults))?;
    if handoff.has_on_demand() {
        let message = "an emperor takes no connections: remove its on-demand address";
        return Err(Failure::new(Step::Read, message));
    }
    let above = input.env.iter().find(|(name, _)| name == emperor::DEPTH_VARIABLE);
    let above = above.and_then(|(_, text)| text.to_str()?.parse().ok()).unwrap_or(0_usize);
    if above >= emperor::MAX_EMPEROR_DEPTH {
        let most = emperor::MAX_EMPEROR_DEPTH;
        let message = format!("{most} emperors one below another: does one govern its own file?");
        return Err(Failure::new(Step::Read, message));
    }
    if handoff.purpose == Purpose::Check {
        let faults = inspect::SystemInspector::default()
            .inspect_emperor(&config, &input.invocation())
            .faults;
        if !faults.is_empty() {
            return Err(Failure::of_faults(&Faults(faults)));
        }
    }
    let argv0 = "liege".to_owned();
    let fingerprint = fingerprint::of_emperor(resolved, &input);
    channel.verdict(ExecVerdict { argv0, fingerprint, ..ExecVerdict::default() }, &[])?;
    if handoff.purpose == Purpose::Check {
        return Ok(Outcome::Ended(0));
    }
    Ok(Outcome::Emperor(Box::new(config), input.env))
}
