//! The fingerprint of a start: one number for all that an exec would fix, so that the emperor can tell
//! whether a changed file would start something else than what runs.
//!
//! FNV-1a with 64 bits over this serialisation: a number is 8 bytes, little endian; a text is its length
//! as a number, then its bytes; a list is its count, then its items; what may be missing is 0, or 1 and
//! then itself. Two starts are compared by stages of one emperor's binary, so the order of the fields needs
//! no promise; but it is fixed, and no address, no clock and no random key enters.
//!
//! Left out is what differs from start to start without any doing of the file (the pid, numbers of
//! descriptors, the name of the notify socket), and what only the emperor obeys (`stop-signal`, `restart`
//! …), which a running life takes over without an exec.

use crate::config::vassal::{EnvChange, Notify};
use crate::config::{Located, Resolved, SocketSpec, VassalConfig};
use crate::identity::NewIdentity;
use crate::sys::creds;
use crate::types::address::Address;
use crate::types::run_settings::RunSettings;

use super::environment::{self, StartInfo};
use super::input::StageInput;
use super::prepare::Prepared;
use super::program::Program;
use crate::types::environment::Variable;

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// What the exec of a vassal's program would fix.
pub(super) fn of_program(prepared: &Prepared, input: &StageInput) -> u64 {
    let Prepared { config, program, identity, owner, warnings: _ } = prepared;
    let mut print = Print::new();
    print.program(program);
    print.config(config);
    print.identity(identity);
    print.numbers([owner.uid, owner.gid]);
    print.environment(&input.env, config);
    print.text(input.cwd.as_os_str().as_encoded_bytes());
    print.0
}

/// The same of a vassal that is an emperor.
pub(super) fn of_emperor(resolved: &Resolved, input: &StageInput) -> u64 {
    let mut print = Print::new();
    print.number(resolved.settings.len());
    for setting in &resolved.settings {
        print.text(setting.key.as_bytes());
        print.text(setting.value.as_bytes());
    }
    print.environment(&input.env, &VassalConfig::default());
    print.text(input.cwd.as_os_str().as_encoded_bytes());
    print.0
}

/// The number so far.
struct Print(u64);

impl Print {
    fn new() -> Self {
        Self(OFFSET)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }

    fn number(&mut self, number: impl TryInto<u64>) {
        self.bytes(&number.try_into().unwrap_or(u64::MAX).to_le_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.number(text.len());
        self.bytes(text);
    }

    fn flag(&mut self, flag: bool) {
        self.number(u8::from(flag));
    }

    fn option<T>(&mut self, value: Option<T>, some: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            some(self, value);
        }
    }

    fn numbers<const N: usize>(&mut self, numbers: [Option<u32>; N]) {
        for number in numbers {
            self.option(number, Self::number);
        }
    }

    fn place(&mut self, place: Option<&Located<String>>) {
        self.option(place, |print, place| print.text(place.value.as_bytes()));
    }

    fn program(&mut self, program: &Program) {
        let (kind, words) = match program {
            Program::Direct(argv) => (0_u8, argv),
            Program::Shell { shells, text } => {
                self.text(text.as_encoded_bytes());
                (1, shells)
            }
        };
        self.number(kind);
        self.number(words.len());
        for word in words {
            self.text(word.as_encoded_bytes());
        }
    }

    /// A field that is new here says whether a running program has to be exec'd anew for it.
    fn config(&mut self, config: &VassalConfig) {
        let VassalConfig {
            // The program, its identity and its environment are resolved, and enter as such.
            program,
            binsh: _,
            uid: _,
            gid: _,
            add_gid: _,
            no_initgroups: _,
            chown_socket: _,
            env: _,
            processes: _,
            threads: _,
            sockets,
            shared,
            chmod_socket,
            listen,
            reuse_port,
            honour_stdin,
            skip_zero,
            abstract_socket: _,
            chdir,
            umask,
            logto,
            pidfile,
            notify,
            logfile_chown,
            limit_as,
            max_fd,
            // What the emperor does with these is fixed by the start.
            vacuum,
            touch_reload,
            // Refused in a vassal.
            cap: _,
            // What the emperor obeys enters only as far as the exec fixes it.
            run: RunSettings { heartbeat, .. },
            for_emperor: _,
            warnings: _,
        } = config;
        self.flag(program.as_ref().is_some_and(|place| place.value.privileged));
        self.listeners(sockets, shared);
        self.numbers([*chmod_socket, Some(*listen), *umask]);
        for flag in [*reuse_port, *honour_stdin, *skip_zero, *vacuum, *logfile_chown] {
            self.flag(flag);
        }
        self.number(match notify {
            Notify::Auto => 0_u8,
            Notify::Demanded => 1,
            Notify::Never => 2,
        });
        for place in [chdir, logto, pidfile] {
            self.place(place.as_ref());
        }
        self.number(touch_reload.len());
        touch_reload.iter().for_each(|place| self.text(place.value.as_bytes()));
        self.option(limit_as.as_ref(), |print, limit| print.number(limit.value));
        self.option(max_fd.as_ref(), |print, limit| print.number(limit.value));
        self.option(*heartbeat, |print, period| print.number(period.as_millis()));
    }

    fn listeners(&mut self, sockets: &[Located<SocketSpec>], shared: &[usize]) {
        self.number(sockets.len());
        for place in sockets {
            // The option gives the socket its name.
            self.text(place.key.as_bytes());
            self.address(&place.value);
        }
        self.number(shared.len());
        shared.iter().for_each(|index| self.number(*index));
    }

    fn address(&mut self, address: &SocketSpec) {
        match address {
            SocketSpec::Bind(Address::Tcp(address)) => {
                self.number(0_u8);
                self.text(address.to_string().as_bytes());
            }
            SocketSpec::Bind(Address::Path(path)) => {
                self.number(1_u8);
                self.text(path.as_os_str().as_encoded_bytes());
            }
            SocketSpec::Bind(Address::Abstract(name)) => {
                self.number(2_u8);
                self.text(name);
            }
            SocketSpec::Fd(number) => {
                self.number(3_u8);
                self.number(*number);
            }
            SocketSpec::Shared(index) => {
                self.number(4_u8);
                self.number(*index);
            }
            SocketSpec::Stdin => self.number(5_u8),
        }
    }

    /// Whom the program would run as: what the file does not say is what this process is.
    fn identity(&mut self, identity: &NewIdentity) {
        let NewIdentity { uid, gid, groups, added, account } = identity;
        // In the environment of the program where it becomes this user.
        self.option(account.as_ref(), |print, account| {
            print.text(account.name.as_bytes());
            print.text(account.home.as_bytes());
        });
        self.number(uid.unwrap_or_else(creds::effective_uid));
        self.number(gid.unwrap_or_else(creds::effective_gid));
        for list in [groups.as_ref(), Some(added)] {
            self.option(list, |print, list| {
                print.number(list.len());
                list.iter().for_each(|group| print.number(*group));
            });
        }
    }

    /// As the program would get it, but for what tells it of its own start.
    fn environment(&mut self, given: &[Variable], config: &VassalConfig) {
        let (processes, threads) = (config.processes, config.threads);
        let info = StartInfo { processes, threads, ..StartInfo::default() };
        let env = environment::build(given.to_vec(), &info, &config.env);
        self.number(env.len());
        for (name, value) in &env {
            self.text(name.as_encoded_bytes());
            self.text(value.as_encoded_bytes());
        }
        // One that takes away what the start itself tells is not seen above.
        for change in &config.env {
            if let EnvChange::Unset(name) = &change.value {
                self.text(name.as_bytes());
            }
        }
    }
}
