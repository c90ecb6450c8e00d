//! Supervisors of other kinds: how each is told what to start, started and ended.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Runit,
    S6,
    Supervisord,
    /// systemd-socket-activate: one socket, whose first connection it becomes.
    SocketActivate,
}

impl Peer {
    pub const ALL: [Self; 4] = [Self::Runit, Self::S6, Self::Supervisord, Self::SocketActivate];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Runit => "runit",
            Self::S6 => "s6",
            Self::Supervisord => "supervisord",
            Self::SocketActivate => "socket-activate",
        }
    }

    pub const fn binary(self) -> &'static str {
        match self {
            Self::Runit => "runsvdir",
            Self::S6 => "s6-svscan",
            Self::Supervisord => "supervisord",
            Self::SocketActivate => "systemd-socket-activate",
        }
    }

    /// Has it end with all that it supervises.
    pub const fn stop_signal(self) -> i32 {
        match self {
            Self::Runit => libc::SIGHUP,
            _ => libc::SIGTERM,
        }
    }

    /// Writes down that the program is to run under a name.
    pub fn add(self, vassals: &Path, name: &str, program: &Path) {
        match self {
            Self::Runit | Self::S6 => {
                fs::create_dir(vassals.join(name)).unwrap();
                symlink(program, vassals.join(name).join("run")).unwrap();
            }
            Self::Supervisord => {
                let (name, program) = (name.trim_end_matches(".ini"), program.display());
                let text = format!(
                    "[program:{name}]\ncommand = {program} --ini {name}.ini\nstartsecs = 0\n\
                     stdout_logfile = NONE\nstderr_logfile = NONE\nautorestart = true\n"
                );
                fs::write(vassals.join(name).with_extension("conf"), text).unwrap();
            }
            Self::SocketActivate => {}
        }
    }

    /// `dir` is for what it needs besides; there the first socket is to be, and the records.
    pub fn command(self, binary: &Path, (dir, vassals): (&Path, &Path), program: &Path) -> Command {
        let mut command = Command::new(binary);
        match self {
            Self::Runit => {
                command.arg(vassals);
            }
            Self::S6 => {
                command.args(["-c", "4000"]).arg(vassals);
            }
            Self::Supervisord => {
                let (dir, files) = (dir.display(), vassals.join("*.conf"));
                let text = format!(
                    "[supervisord]\nnodaemon = true\nlogfile = {dir}/supervisord.log\npidfile = {dir}/pid\n\
                     minfds = 8000\n[include]\nfiles = {}\n",
                    files.display()
                );
                let configuration = format!("{dir}/supervisord.conf");
                fs::write(&configuration, text).unwrap();
                command.arg("-c").arg(configuration);
            }
            Self::SocketActivate => {
                command.arg("-E").arg(format!("BENCH_RECORD={}/record", dir.display()));
                command.arg("-l").arg(dir.join("0.sock"));
                command.arg(program).args(["--ini", "0.ini"]);
            }
        }
        command
    }
}
