//! The stage: it reads one vassal file, binds, drops privileges, gives its verdict on the status socket and execs
//! the application; nothing of it stays. It runs in a child of the spawner ([`run_forked`]), or as liege executed by a
//! foreign Emperor or by hand ([`run`]).
//!
//! What it does is a list of actions, in [`action`], which is the one place for their order. A start runs the list
//! ([`execution`]); a dry run before a reload goes through it, and so does `liege check` ([`inspect`]). Under a
//! foreign Emperor, or alone, there is no status socket: nothing is handed over, and what would be a verdict is a line
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

use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::config::command::StartInspector;
use crate::config::{self, EmperorConfig, Faults, Resolved};
use crate::log::panics;
use crate::proto::emperor::{self, FromVassal};
use crate::proto::status::ExecVerdict;
use crate::spawn::handed::Handed;
use crate::spawn::step::Step;
use crate::sys::{fd, socket};
use crate::types::environment::Variable;
use crate::types::purpose::Purpose;

use action::StartedBy;
use execution::Execution;
use failure::Failure;
use input::{Given, StageInput};
use program::Program;
use sockets::{ReceivedSockets, Trial};
use status_channel::StatusChannel;

/// What a stage comes back with, as it has not become a program.
#[derive(Debug)]
pub enum Outcome {
    /// The status to exit with: the program is not started, and whoever takes the verdict knows
    /// why; or it was only to be tried.
    Ended(u8),
    /// The vassal is an emperor itself, which this process is to become, with this environment and emperor pipe.
    Emperor(Box<EmperorConfig>, Vec<Variable>, Option<OwnedFd>),
}

/// What a stage starts from.
struct Beginning {
    input: StageInput,
    purpose: Purpose,
    sockets: ReceivedSockets,
    /// What the configuration is, where it was read already: a pipe can be read only once.
    known: Option<Resolved>,
}

/// Starts one vassal without an emperor of ours; `args` are the arguments after the program's name, `known` is what
/// they resolve to where that was read already.
pub fn run(args: Vec<OsString>, known: Option<Resolved>) -> Outcome {
    let mut channel = StatusChannel::stderr();
    let started = StageInput::of_image(args, std::env::vars_os().collect()).and_then(|input| {
        let (purpose, sockets) = (Purpose::Start, ReceivedSockets::default());
        start(&mut channel, Beginning { input, purpose, sockets, known })
    });
    started.unwrap_or_else(|failure| Outcome::Ended(channel.refuse(failure)))
}

/// Starts one vassal in a child of the spawner; comes back with the status to exit with.
pub fn run_forked(handed: Handed) -> u8 {
    run_with(handed, start)
}

/// The same with this for what a stage does.
fn run_with(
    handed: Handed,
    act: impl FnOnce(&mut StatusChannel, Beginning) -> Result<Outcome, Failure>,
) -> u8 {
    let Handed { args, env, parent, pipe, status, label, runtime, purpose, .. } = handed;
    let mut channel = StatusChannel::to_emperor(status, label, runtime);
    let trial = (purpose == Purpose::Check).then_some(Trial { running: handed.running });
    let sockets = ReceivedSockets {
        on_demand: handed.on_demand,
        listeners: handed.listeners,
        in_use: handed.in_use,
        trial,
    };
    let (own_program, config) = (handed.own_program, handed.config);
    let ended = caught(|| {
        let input = StageInput::of_fork(Given { args: args.clone(), env, parent, pipe })?;
        act(&mut channel, Beginning { input, purpose, sockets, known: None })
    });
    let failure = match ended {
        Ok(Outcome::Ended(status)) => return status,
        Ok(Outcome::Emperor(_, env, pipe)) => {
            let error = become_liege(&own_program, args, &env, [pipe, config]);
            Failure::new(Step::Exec, format!("cannot run liege: {error}"))
        }
        Err(failure) => failure,
    };
    channel.refuse(failure)
}

/// A panic ends in a verdict like any other fault.
fn caught(act: impl FnOnce() -> Result<Outcome, Failure>) -> Result<Outcome, Failure> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| {
        let what = panics::last();
        let message = format!("internal error (a bug in liege): {what}; please report it");
        Err(Failure::new(Step::Read, message))
    })
}

/// Executes liege again, which becomes an emperor that is a vassal; comes back only with the reason why that failed.
///
/// It is a new image, as an emperor is to have nothing of the spawner. It reads its configuration anew, so the text of
/// the config pipe, which this process has read, is asked for again.
fn become_liege(
    own_program: &CStr,
    args: Vec<OsString>,
    env: &[Variable],
    [pipe, config]: [Option<OwnedFd>; 2],
) -> io::Error {
    for descriptor in pipe.iter().chain(&config) {
        if let Err(error) = fd::clear_cloexec(descriptor.as_fd()) {
            return error;
        }
    }
    if let (Some(pipe), Some(_)) = (&pipe, &config)
        && let Err(error) = socket::send(pipe.as_fd(), &[FromVassal::SendConfig.byte()])
    {
        return error;
    }
    let own_program = OsStr::from_bytes(own_program.to_bytes()).to_owned();
    Program::Direct([own_program].into_iter().chain(args).collect()).exec(env)
}

/// What has to be done before the file is known, then what the file asks for.
fn start(channel: &mut StatusChannel, beginning: Beginning) -> Result<Outcome, Failure> {
    let Beginning { input, purpose, sockets, known } = beginning;
    let resolved = match known {
        Some(resolved) => resolved,
        None => config::load(&input.invocation()).map_err(|faults| Failure::of_faults(&faults))?,
    };
    for message in resolved.messages() {
        channel.print(message);
    }
    if resolved.is_emperors() {
        return become_emperor(channel, input, (purpose, sockets.on_demand.is_some()), &resolved);
    }
    let started_by =
        StartedBy { takes_verdict: channel.is_emperor(), has_pipe: input.emperor.is_some() };
    let prepared = prepare::prepare(&resolved, &input, started_by)?;
    if purpose == Purpose::Check {
        // For a start the exec says so.
        let too_long = inspect::too_long(&prepared.config, &input.args);
        if !too_long.is_empty() {
            return Err(Failure::of_faults(&Faults(too_long)));
        }
    }
    let actions = action::plan(&prepared.config, started_by);
    let mut execution = Execution::new(channel, input, sockets, &prepared);
    for action in &actions {
        match purpose {
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
    (purpose, has_on_demand): (Purpose, bool),
    resolved: &Resolved,
) -> Result<Outcome, Failure> {
    let config = config::emperor::check(resolved)
        .and_then(|config| {
            config.refuse_itself(resolved, (&input.cwd, Path::new(""))).map(|()| config)
        })
        .map_err(|faults| Failure::of_faults(&faults))?;
    if has_on_demand {
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
    if purpose == Purpose::Check {
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
    if purpose == Purpose::Check {
        return Ok(Outcome::Ended(0));
    }
    Ok(Outcome::Emperor(Box::new(config), input.env, input.emperor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::status::{FromStage, MAX_PACKET, Verdict};
    use crate::sys::scm;

    #[test]
    #[allow(clippy::panic, reason = "it is what is tested")]
    fn a_panic_in_the_stage_becomes_the_verdict_error() {
        let _quiet = crate::sys::test_fork_lock::none();
        let (pipe, _) = socket::stream_pair().unwrap();
        let (verdicts, status) = socket::packet_pair().unwrap();
        let handed = Handed {
            own_program: c"liege".into(),
            args: vec!["--ini".into(), "a.ini".into()],
            env: Vec::new(),
            parent: 1,
            label: "a.ini".into(),
            purpose: Purpose::Start,
            pipe,
            config: None,
            status,
            on_demand: None,
            listeners: Vec::new(),
            in_use: false,
            runtime: OsString::new(),
            running: None,
        };
        assert_ne!(run_with(handed, |_, _| panic!("as a test wants it")), 0);
        let mut packet = [0; MAX_PACKET];
        let length = scm::receive(verdicts.as_fd(), &mut packet).unwrap().length;
        let Ok(FromStage::Verdict(Verdict::Error(fault))) = FromStage::decode(&packet[..length])
        else {
            panic!("no verdict in {length} bytes");
        };
        assert!(fault.message.contains("internal error"), "{fault:?}");
        // That was all.
        assert_eq!(scm::receive(verdicts.as_fd(), &mut packet).unwrap().length, 0);
    }
}
