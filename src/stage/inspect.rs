//! What `liege check` finds out beyond the text of a configuration: everything that would make a start
//! fail, examined without changing anything. Nothing is bound, written or connected to, and no program is started
//! but a shell that only reads (`sh -n`) and `getent`.
//!
//! If root runs the check, a child that has become the user of the program examines what the program needs.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::command::{Findings, StartInspector};
use crate::config::vassal::{EnvChange, VassalProgram};
use crate::config::{self, EmperorConfig, Fault, Invocation, Located, SocketSpec, VassalConfig};
use crate::identity::{self, NewIdentity};
use crate::proto::status::MAX_LISTENERS;
use crate::spawn::step::Step;
use crate::sys::creds::{self, Accounts, Identity, LookupError};
use crate::sys::listeners::{self, ListenerInfo};
use crate::sys::process::{self, Reap};
use crate::sys::signal::Signal;
use crate::sys::socket::Address;
use crate::sys::{command, dir, pidfd};
use crate::types::advice;
use crate::types::quote::cut;

use super::action::{self, Action, StartedBy};
use super::environment::{self, StartInfo};
use super::failure::Failure;
use super::files;
use super::program::Program;

/// Longest argument or variable that the kernel hands to a program, its end included (`MAX_ARG_STRLEN`).
const MAX_STRING: usize = 128 << 10;
/// How long the look as another user may take: a directory may be on a server that does not answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a shell may take to read a command line.
const SHELL_TIMEOUT: Duration = Duration::from_secs(3);
/// How much of what a shell says is shown.
const MAX_ECHO: usize = 64;
/// The capability to bind ports below 1024.
const NET_BIND_SERVICE: u32 = 10;

/// The system as the check sees it.
#[derive(Debug, Default)]
pub struct SystemInspector {
    accounts: Accounts<'static>,
    /// The name service did not answer once, and is not asked again.
    no_answer: bool,
    listeners: Option<Vec<ListenerInfo>>,
    /// Whom the emperor above what is looked at becomes, if it says so.
    above: Option<Identity>,
}

impl StartInspector for SystemInspector {
    fn find_user(&mut self, name: &str) -> Result<(), String> {
        self.account(|accounts| accounts.user(name).map(drop))
    }

    fn find_group(&mut self, name: &str) -> Result<(), String> {
        self.account(|accounts| accounts.group(name).map(drop))
    }

    fn inspect_vassal(&mut self, config: &VassalConfig, call: &Invocation) -> Findings {
        let mut look = Look { system: self, call, found: Findings::default(), is_able: true };
        look.vassal(config);
        look.found
    }

    fn as_user_of(
        &mut self,
        config: &EmperorConfig,
        call: &Invocation,
        look: &mut dyn FnMut(&Invocation, &mut dyn StartInspector),
    ) {
        let wanted = identity::look_up(&config.own_process, &mut self.accounts, &mut Vec::new());
        // Unknown names are reported elsewhere.
        let wanted = wanted.unwrap_or_default();
        let env = identity::environment::below_emperor(
            call.env.clone(),
            &config.own_process.env,
            &wanted,
        );
        let now = Identity::current().unwrap_or_default();
        let theirs = Identity {
            uid: wanted.uid.unwrap_or(now.uid),
            gid: wanted.gid.unwrap_or(now.gid),
            groups: wanted.groups.unwrap_or_else(|| now.groups.clone()),
        };
        let call = call.of(theirs.uid, theirs.gid, env);
        let above = std::mem::replace(&mut self.above, wanted.uid.map(|_| theirs.clone()));
        let mut is_done = false;
        if now.uid == 0 && now != theirs {
            let Identity { uid, gid, groups } = &theirs;
            let _ = creds::lend(*uid, *gid, groups, || {
                look(&call, self);
                is_done = true;
            });
        }
        if !is_done {
            look(&call, self);
        }
        self.above = above;
    }

    fn inspect_emperor(&mut self, config: &EmperorConfig, call: &Invocation) -> Findings {
        let mut look = Look { system: self, call, found: Findings::default(), is_able: true };
        look.emperor(config);
        look.found
    }
}

impl SystemInspector {
    fn account(
        &mut self,
        ask: impl FnOnce(&mut Accounts<'static>) -> Result<(), LookupError>,
    ) -> Result<(), String> {
        if self.no_answer {
            self.accounts = Accounts::new(Path::new("/etc"), None);
        }
        let answer = ask(&mut self.accounts);
        self.no_answer |= matches!(answer, Err(LookupError::Failed { .. }));
        answer.map_err(|error| match error {
            LookupError::Unknown if self.no_answer => {
                "not found, and the name service does not answer".to_owned()
            }
            error => error.to_string(),
        })
    }
}

/// One look at one configuration.
struct Look<'a> {
    system: &'a mut SystemInspector,
    call: &'a Invocation,
    found: Findings,
    /// Whether this process may do what the start would do as another user; a refusal means nothing otherwise.
    is_able: bool,
}

impl Look<'_> {
    fn fault<T>(&mut self, place: &Located<T>, message: String) {
        self.found.faults.push(place.fault(message));
    }

    fn vassal(&mut self, config: &VassalConfig) {
        let mut warnings = Vec::new();
        let wanted = identity::look_up(config, &mut self.system.accounts, &mut warnings);
        // Unknown names are reported elsewhere.
        let Ok(wanted) = wanted else { return };
        let is_root = creds::effective_uid() == 0;
        let same = |wanted: Option<u32>, now: u32| wanted.is_none_or(|id| id == now);
        self.is_able = is_root
            || (same(wanted.uid, creds::effective_uid())
                && same(wanted.gid, creds::effective_gid()));
        let privileged = config.program.as_ref().is_some_and(|place| place.value.privileged);
        if let Some(above) = self.system.above.as_ref().filter(|above| above.uid != 0) {
            self.is_able &= above.uid == creds::effective_uid();
            if !privileged
                && let Err(faults) = identity::check_current_identity(config, &wanted, above)
            {
                self.found.faults.extend(faults);
            }
        }
        let actions = action::plan(config, StartedBy::default());
        for action in &actions {
            self.look_at(action, config);
        }
        let wanted = if is_root && !privileged { wanted } else { NewIdentity::default() };
        for failure in as_user(config, self.call, (&wanted, &actions)) {
            let is_refusal = failure.message.contains("Permission denied");
            if self.is_able || !is_refusal {
                self.found.faults.push(placed(config, &failure));
            }
        }
    }

    /// Looks at what one action of a start would stumble over here.
    fn look_at(&mut self, action: &Action<'_>, config: &VassalConfig) {
        match action {
            Action::Log(place) if files::is_remote(&place.value) => {}
            Action::Log(place) | Action::PidFile(place) => self.file(place),
            Action::Listeners => self.sockets(config),
            Action::Program => self.found.faults.extend(too_long(config, &self.call.args)),
            // A child looks at these, which may become the program's user: `look_as_user`.
            Action::Identity | Action::Directory(_) => {}
            // Only a start can find out: they depend on where and by whom it is started.
            Action::Umask(_)
            | Action::NotifySocket
            | Action::MaxDescriptors(_)
            | Action::AddressSpace(_)
            | Action::Descriptors
            | Action::Environment
            | Action::ParentDeath
            | Action::Verdict
            | Action::Exec => {}
        }
    }

    fn emperor(&mut self, config: &EmperorConfig) {
        if let Some(place) = &config.own_process.chdir
            && let Err(error) = fs::metadata(self.call.cwd.join(&place.value))
        {
            let remedy = advice::enter(error.kind());
            let shown = place.show(&place.value);
            return self.fault(place, format!("cannot enter {shown}: {error}{remedy}"));
        }
        for place in config.logto.iter().chain(&config.pidfile) {
            self.file(place);
        }
        let base = config.own_process.chdir.as_ref().map(|place| self.call.cwd.join(&place.value));
        for (_, place) in &config.served {
            self.address(place, base.as_deref(), false);
        }
        let programs = [&config.binary_path, &config.wrapper].into_iter().flatten();
        for place in programs {
            let program = Program::Direct(vec![place.value.clone().into()]);
            if let Err(error) = program.look_up(&self.call.env) {
                let message = format!(
                    "cannot execute {}: {error}; install it, or correct the path",
                    place.show(&place.value)
                );
                self.fault(place, message);
            }
        }
    }

    /// A file that is made if it is not there, and written to.
    fn file(&mut self, place: &Located<String>) {
        let path = self.call.cwd.join(&place.value);
        if let Err(error) = files::may_open(&path) {
            self.refused(place, &error, |kind| {
                let remedy = advice::write(kind, place.advised(&path));
                format!("cannot write {}: {error}{remedy}", place.show(&place.value))
            });
        }
    }

    fn refused<T>(
        &mut self,
        place: &Located<T>,
        error: &io::Error,
        message: impl FnOnce(io::ErrorKind) -> String,
    ) {
        if self.is_able || error.kind() != io::ErrorKind::PermissionDenied {
            self.fault(place, message(error.kind()));
        }
    }

    fn sockets(&mut self, config: &VassalConfig) {
        let bound = |place: &&Located<SocketSpec>| place.value.address().is_some();
        if let Some(place) = config.sockets.iter().filter(bound).nth(MAX_LISTENERS) {
            let message = format!(
                "too many sockets: a vassal can have {MAX_LISTENERS}; start several vassals"
            );
            self.fault(place, message);
        }
        for place in &config.sockets {
            self.address(place, None, config.reuse_port);
        }
    }

    /// An address that is bound at the start; relative paths count from `base`, or from where the vassal starts.
    fn address(&mut self, place: &Located<SocketSpec>, base: Option<&Path>, is_shared: bool) {
        let Some(address) = place.value.address() else { return };
        let address = address.relative_to(base.unwrap_or(&self.call.cwd));
        match &address {
            Address::Path(path) => self.path(place, path),
            Address::Tcp(tcp) => self.port(place, *tcp),
            Address::Abstract(_) => {}
        }
        if is_shared {
            return;
        }
        let listeners = self.system.listeners.get_or_insert_with(listeners::all);
        let taken = listeners.iter().find(|listener| listener.address.conflicts_with(&address));
        let Some(taken) = taken else { return };
        let holders = listeners::holders(taken.inode);
        // Its emperor has it: this is how a running vassal looks.
        let is_ours = |holder: &listeners::Holder| {
            holder
                .program
                .as_ref()
                .and_then(|it| it.file_name())
                .is_some_and(|name| name.as_bytes().starts_with(b"liege"))
        };
        let message = match holders.first() {
            _ if holders.iter().any(is_ours) => return,
            Some(holder) => format!(
                "process {} ({}) listens there already; stop it, or choose another address",
                holder.pid,
                holder.program.as_deref().unwrap_or(Path::new("?")).display()
            ),
            None => "a process that this user cannot see listens there already; if it is this vassal, all is well"
                .to_owned(),
        };
        self.found.warnings.push(place.fault(message));
    }

    fn path(&mut self, place: &Located<SocketSpec>, path: &Path) {
        let refused = match fs::symlink_metadata(path) {
            Ok(meta) if !meta.file_type().is_socket() => {
                let message = format!(
                    "{} is there already and not a socket: it is not removed; remove it, or choose another path",
                    place.show(path.display())
                );
                return self.fault(place, message);
            }
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => dir::may_make(path),
            Err(error) => Err(error),
        };
        if let Err(error) = refused {
            self.refused(place, &error, |kind| {
                let remedy = advice::bind_path(kind, place.advised(path), "bind");
                format!("cannot bind {}: {error}{remedy}", place.show(path.display()))
            });
        }
    }

    fn port(&mut self, place: &Located<SocketSpec>, address: SocketAddr) {
        let first_free = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
        let first_free = first_free.ok().and_then(|text| text.trim().parse().ok());
        let is_low = (1..first_free.unwrap_or(advice::FIRST_FREE_PORT)).contains(&address.port());
        if is_low && self.is_able && !may_bind_low_ports() {
            let kind = io::ErrorKind::PermissionDenied;
            let remedy = advice::bind_tcp(kind, address.port());
            self.fault(place, format!("cannot bind {address}: permission denied{remedy}"));
        }
    }
}

/// What the kernel would not hand to the program.
pub(super) fn too_long(config: &VassalConfig, args: &[OsString]) -> Vec<Fault> {
    let is_long = |length: usize| length >= MAX_STRING;
    let remedy = "is longer than the 128 KiB that the kernel hands to a program in one piece; put it into a file \
                  that the program reads";
    let argument = config.program.iter().filter(|place| {
        let program = Program::new(&place.value, &config.binsh, args);
        program.strings().any(|text| is_long(text.len()))
    });
    let variable = config.env.iter().filter(|place| match &place.value {
        EnvChange::Set(name, value) => is_long(name.len() + 1 + value.len()),
        EnvChange::Unset(_) => false,
    });
    let argument = argument.map(|place| place.fault(format!("an argument {remedy}")));
    argument.chain(variable.map(|place| place.fault(format!("the variable {remedy}")))).collect()
}

fn may_bind_low_ports() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = bits.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    bits.unwrap_or(0) >> NET_BIND_SERVICE & 1 == 1
}

/// The fault of a step, at the line that the step is about.
fn placed(config: &VassalConfig, failure: &Failure) -> Fault {
    let message = failure.message.clone();
    let place = match failure.step {
        Step::Chdir => config.chdir.as_ref(),
        Step::Groups => config.add_gid.first().or(config.uid.as_ref()).or(config.gid.as_ref()),
        Step::Gid => config.gid.as_ref().or(config.uid.as_ref()),
        Step::Uid => config.uid.as_ref(),
        _ => None,
    };
    match (place, &config.program) {
        (Some(place), _) => place.fault(message),
        (None, Some(program)) => program.fault(message),
        (None, None) => Fault::new(&config::Origin::CommandLine, "", message),
    }
}

/// Looks at directory and program in a child, which becomes the user that is wanted.
fn as_user(
    config: &VassalConfig,
    call: &Invocation,
    (wanted, actions): (&NewIdentity, &[Action<'_>]),
) -> Vec<Failure> {
    let failed = |what: &str| vec![Failure::new(Step::Exec, format!("cannot be checked: {what}"))];
    let Ok((mut ours, mut theirs)) = UnixStream::pair() else {
        return failed("no descriptor is left");
    };
    let child = process::fork(|| {
        for failure in look_as_user(config, call, (wanted, actions)) {
            let message = failure.message.replace('\n', " ");
            let _ = writeln!(theirs, "{}\t{message}", failure.step as u8);
        }
        0
    });
    let Ok(child) = child else { return failed("no process can be made") };
    drop(theirs);
    let text = read_to_end(&mut ours, Instant::now() + LOOK_TIMEOUT);
    if text.is_none() {
        let _ = process::kill_child(child, Signal::KILL);
    }
    if let Ok(child) = pidfd::open(child) {
        // It has closed its end, or is killed: it ends now.
        while pidfd::wait(child.as_fd(), Reap::Take).is_ok_and(|ended| ended.is_none()) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let Some(text) = text else {
        return failed("its directory or program does not answer within 10 s");
    };
    let failures = text.lines().filter_map(|line| {
        let (step, message) = line.split_once('\t')?;
        Some(Failure::new(Step::from_u8(step.parse().ok()?)?, message))
    });
    failures.collect()
}

fn read_to_end(stream: &mut UnixStream, end_at: Instant) -> Option<String> {
    let mut text = Vec::new();
    let mut part = [0; 4096];
    loop {
        let left = end_at.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left).filter(|left| !left.is_zero())?.into()).ok()?;
        match stream.read(&mut part) {
            Ok(0) => return Some(String::from_utf8_lossy(&text).into_owned()),
            Ok(count) => text.extend_from_slice(part.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// In the child: the actions that are done as the program's user, but for the exec.
fn look_as_user(
    config: &VassalConfig,
    call: &Invocation,
    (wanted, actions): (&NewIdentity, &[Action<'_>]),
) -> Vec<Failure> {
    if let Err(error) = std::env::set_current_dir(&call.cwd) {
        return vec![Failure::new(Step::Cwd, format!("cannot enter its directory: {error}"))];
    }
    for action in actions {
        let done = match action {
            Action::Identity => identity::drop_privileges(config, wanted).map_err(Failure::from),
            Action::Directory(place) => files::chdir(place),
            Action::Program => return look_at_program(config, call),
            _ => Ok(()),
        };
        if let Err(failure) = done {
            return vec![failure];
        }
    }
    Vec::new()
}

fn look_at_program(config: &VassalConfig, call: &Invocation) -> Vec<Failure> {
    let Some(vassal_program) = &config.program else { return Vec::new() };
    let program = Program::new(&vassal_program.value, &config.binsh, &call.args);
    let env = environment::build(call.env.clone(), &StartInfo::default(), &config.env);
    let mut failures = Vec::new();
    match program.look_up(&env) {
        Err(error) => failures.push(Failure::not_executed(config, &program, &error)),
        Ok(path) => failures.extend(interpreter(Path::new(&path), vassal_program).err()),
    }
    failures.extend(syntax(&program, vassal_program).err());
    failures
}

/// A script runs if its interpreter does.
pub(super) fn interpreter(script: &Path, place: &Located<VassalProgram>) -> Result<(), Failure> {
    let mut start = [0; 256];
    let length = File::open(script).and_then(|mut file| file.read(&mut start)).unwrap_or(0);
    let Some(line) = start.get(..length).and_then(|start| start.strip_prefix(b"#!")) else {
        return Ok(());
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_start();
    let name = line.split(|byte| matches!(byte, b' ' | b'\t')).next().unwrap_or_default();
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(name));
    let found = process::check_executable(&std::ffi::CString::new(name).unwrap_or_default());
    found.map_err(|error| {
        let hint =
            if name.ends_with(b"\r") { "; write the script with plain line ends" } else { "" };
        let message = format!(
            "cannot execute {}: its interpreter {}: {error}{hint}",
            place.show(script.display()),
            cut(&path.display().to_string()).escape_debug()
        );
        Failure::new(Step::Exec, message)
    })
}

/// A command line that a shell runs is read by that shell.
pub(super) fn syntax(program: &Program, place: &Located<VassalProgram>) -> Result<(), Failure> {
    let Program::Shell { shells, text } = program else { return Ok(()) };
    let runs = |shell: &&std::ffi::OsString| {
        let name = std::ffi::CString::new(shell.as_bytes()).unwrap_or_default();
        process::check_executable(&name).is_ok()
    };
    let Some(shell) = shells.iter().find(runs) else { return Ok(()) };
    let mut reader = std::process::Command::new("/bin/sh");
    // -n: it reads, and obeys nothing.
    reader.args(["-c", "exec \"$0\" -n -c \"$1\" 2>&1"]).arg(shell).arg(text);
    reader.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    match command::output(&mut reader, MAX_STRING, SHELL_TIMEOUT) {
        Ok((said, status)) if !status.success() => {
            let said = String::from_utf8_lossy(&said);
            let said = said.lines().next().unwrap_or_default();
            let said: String =
                said.chars().filter(|sign| !sign.is_control()).take(MAX_ECHO).collect();
            // It repeats the word that it does not understand.
            let said = place.show(said);
            Err(Failure::new(Step::Exec, format!("the shell cannot read this command: {said}")))
        }
        // One that is too long for an argument is reported elsewhere; a shell without -n says nothing.
        _ => Ok(()),
    }
}
