//! Carries out the actions of a start, or tries them in a dry run.
//!
//! A dry run goes through the same list before a running program is stopped for this start. It carries out the
//! actions that have no effect outside this process, and only examines whether the others would succeed.

use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::process::parent_id;
use std::path::Path;

use crate::config::vassal::Notify;
use crate::identity::{self, environment::NewUser};
use crate::proto::status::{DeclaredFiles, ExecVerdict};
use crate::spawn::step::Step;
use crate::sys::signal::Signal;
use crate::sys::socket::{self, Address, SocketOwner};
use crate::sys::{fd, prctl, process};
use crate::types::environment::Variable;

use super::action::Action;
use super::environment::{self, StartInfo};
use super::failure::Failure;
use super::input::StageInput;
use super::prepare::Prepared;
use super::sockets::{ReceivedSockets, Sockets};
use super::status_channel::StatusChannel;
use super::{declared_files, files, fingerprint, inspect, settings, sockets};

/// A socket, and where it is bound.
type Bound = (OwnedFd, Address);

/// A start that is being done or tried.
pub(super) struct Execution<'p> {
    channel: &'p mut StatusChannel,
    prepared: &'p Prepared,
    input: StageInput,
    /// Of the environment and the settings as they were before the first action.
    fingerprint: u64,
    warnings: Vec<String>,
    received: Option<ReceivedSockets>,
    sockets: Sockets,
    notify: Option<Bound>,
    /// Whom this process has become.
    user: Option<NewUser<'p>>,
    /// For the emperor to mind.
    declared: Option<DeclaredFiles>,
    /// The number that the emperor pipe has in the program.
    emperor: Option<RawFd>,
    /// That of the program.
    environment: Vec<Variable>,
}

impl<'p> Execution<'p> {
    /// Nothing has been done yet.
    pub fn new(
        channel: &'p mut StatusChannel,
        input: StageInput,
        received: ReceivedSockets,
        prepared: &'p Prepared,
    ) -> Self {
        Self {
            channel,
            prepared,
            fingerprint: fingerprint::of_program(prepared, &input),
            input,
            warnings: prepared.warnings.clone(),
            received: Some(received),
            sockets: Sockets::default(),
            notify: None,
            user: None,
            declared: None,
            emperor: None,
            environment: Vec::new(),
        }
    }

    /// Does one action. The last one comes back only if it fails.
    ///
    /// # Errors
    /// Why the program cannot be started.
    pub fn run(&mut self, action: &Action<'_>) -> Result<(), Failure> {
        let Prepared { config, program, identity, .. } = self.prepared;
        match action {
            Action::Umask(mask) => {
                process::set_umask(*mask);
                Ok(())
            }
            Action::Log(place) => {
                files::log(place, config.logfile_chown, identity, self.channel.is_emperor())
            }
            Action::PidFile(place) => files::pid(place),
            Action::Listeners => self.open_listeners(),
            Action::NotifySocket => self.make_notify_socket(),
            Action::MaxDescriptors(place) => files::limit_descriptors(place),
            Action::AddressSpace(place) => files::limit_address_space(place),
            Action::Identity => {
                self.user = NewUser::of(identity);
                identity::drop_privileges(config, identity)?;
                // As before: what the kernel makes of a change of user is a setting of the machine.
                let _ = prctl::set_dumpable(false);
                Ok(())
            }
            Action::Directory(place) => files::chdir(place),
            // The exec says whether it is there.
            Action::Program => Ok(()),
            Action::Descriptors => self.place_descriptors().map_err(sockets::descriptors),
            Action::Environment => {
                self.make_environment();
                Ok(())
            }
            Action::ParentDeath => die_with_parent(self.input.parent),
            Action::Verdict => self.give_verdict(),
            Action::Exec => {
                let error = program.exec(&self.environment);
                Err(Failure::not_executed(config, program, &error))
            }
        }
    }

    /// Tries one action.
    ///
    /// # Errors
    /// Why the program could not be started.
    pub fn dry_run(&mut self, action: &Action<'_>) -> Result<(), Failure> {
        match action {
            // Not needed for the check, or visible outside.
            Action::Umask(_) | Action::NotifySocket | Action::Environment | Action::ParentDeath => {
                Ok(())
            }
            Action::Log(place) => files::try_log(place, self.channel.is_emperor()),
            Action::PidFile(place) => files::try_pid(place),
            // Safe in a dry run: they change only this process, or (listeners) the sockets were sent for a check.
            Action::Listeners
            | Action::MaxDescriptors(_)
            | Action::AddressSpace(_)
            | Action::Identity
            | Action::Directory(_)
            | Action::Descriptors => self.run(action),
            Action::Program => self.look_up_program(),
            Action::Verdict => {
                let verdict = self.verdict();
                self.channel.verdict(verdict, &[])
            }
            Action::Exec => Ok(()),
        }
    }

    fn open_listeners(&mut self) -> Result<(), Failure> {
        let Prepared { config, program, owner, .. } = self.prepared;
        let received = self.received.take().unwrap_or_default();
        self.sockets = sockets::open(config, *owner, received, &mut self.warnings)?;
        settings::warn_of_shell(program, &self.sockets, &mut self.warnings);
        Ok(())
    }

    /// Makes the socket on which the program says that it is ready; the emperor keeps it, the program has its name.
    fn make_notify_socket(&mut self) -> Result<(), Failure> {
        match self.prepared.config.notify {
            Notify::Demanded => self.notify = Some(self.notify_socket()?),
            // It does without, if there is none to be had.
            Notify::Auto if !self.sockets.list().is_empty() => {
                self.notify = self.notify_socket().ok();
            }
            Notify::Auto | Notify::Never => {}
        }
        Ok(())
    }

    /// Made before the drop, in a directory in which the program's user can change nothing, and for that user alone.
    fn notify_socket(&self) -> Result<Bound, Failure> {
        let identity = &self.prepared.identity;
        let owner = SocketOwner { uid: identity.uid, gid: identity.gid };
        let in_directory = self.channel.notify_path(self.input.parent);
        let in_directory =
            in_directory.map(|path| socket::notify_socket(Some((path.as_path(), owner))));
        let made = match in_directory {
            Some(Ok(made)) => Ok(made),
            // Any user can fill the queue of an abstract one: better than none.
            Some(Err(_)) | None => socket::notify_socket(None),
        };
        made.map_err(|error| Failure::new(Step::Notify, format!("notify socket: {error}")))
    }

    /// Looks the program up as the exec would, and reads what a shell or an interpreter would read.
    fn look_up_program(&self) -> Result<(), Failure> {
        let Prepared { config, program, .. } = self.prepared;
        let env = environment::build(self.input.env.clone(), &StartInfo::default(), &config.env);
        let path = program
            .look_up(&env)
            .map_err(|error| Failure::not_executed(config, program, &error))?;
        let Some(vassal_program) = &config.program else { return Ok(()) };
        let place = |failure: Failure| Failure::at(failure.step, vassal_program, failure.message);
        inspect::interpreter(Path::new(&path), vassal_program).map_err(place)?;
        inspect::syntax(program, vassal_program).map_err(place)
    }

    /// Puts the sockets and the emperor pipe where the program finds them.
    fn place_descriptors(&mut self) -> io::Result<()> {
        let config = &self.prepared.config;
        self.move_descriptors()?;
        self.sockets.place_stdin(config, self.channel.is_emperor())?;
        self.declared = declared_files::files(config, &self.sockets, &self.input.cwd);
        self.emperor = self.sockets.place(self.input.emperor.as_ref())?;
        Ok(())
    }

    /// Moves everything that this stage still needs above the numbers that the program's descriptors get.
    fn move_descriptors(&mut self) -> io::Result<()> {
        let lowest = self.sockets.make_room(self.input.emperor.as_ref())?;
        self.channel.move_above(lowest)?;
        let pipe = self.input.emperor.take();
        self.input.emperor = pipe.map(|pipe| fd::move_above(pipe, lowest)).transpose()?;
        if let Some((socket, address)) = self.notify.take() {
            self.notify = Some((fd::move_above(socket, lowest)?, address));
        }
        Ok(())
    }

    fn make_environment(&mut self) {
        let config = &self.prepared.config;
        let is_promised = config.run.notify && self.notify.is_some();
        let info = StartInfo {
            pid: std::process::id(),
            sockets: self.sockets.list(),
            cwd: self.input.cwd.clone(),
            emperor: self.emperor,
            user: self.user,
            notify: self.notify.as_ref().map(|(_, address)| address),
            watchdog: config.run.heartbeat.filter(|_| is_promised),
            processes: config.processes,
            threads: config.threads,
        };
        let env = std::mem::take(&mut self.input.env);
        self.environment = environment::build(env, &info, &config.env);
    }

    /// The verdict without what only a program that runs has.
    fn verdict(&mut self) -> ExecVerdict {
        let Prepared { config, program, .. } = self.prepared;
        let warnings = std::mem::take(&mut self.warnings);
        settings::exec_verdict(config, program, self.fingerprint, warnings)
    }

    fn give_verdict(&mut self) -> Result<(), Failure> {
        let mut verdict = self.verdict();
        let mut fds = self.sockets.custody();
        verdict.notify_socket = self.notify.is_some();
        verdict.run.places = self.sockets.places().into();
        verdict.run.listeners = u8::try_from(fds.len()).unwrap_or(u8::MAX);
        fds.extend(self.notify.as_ref().map(|(socket, _)| socket.as_fd()));
        self.channel.files(self.declared.take())?;
        self.channel.verdict(verdict, &fds)
    }
}

/// Arms the parent-death signal, which every change of ids has cleared, and makes sure that the parent is
/// still the one that started us.
fn die_with_parent(parent: u32) -> Result<(), Failure> {
    let failed = |message: String| Failure::new(Step::ParentDeath, message);
    prctl::set_parent_death(Some(Signal::KILL)).map_err(|error| failed(error.to_string()))?;
    if parent_id() == parent { Ok(()) } else { Err(failed("the emperor is gone".to_owned())) }
}
