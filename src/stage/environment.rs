//! The environment of the program: what was inherited, what it has to know about its start, and the words of the
//! vassal file, which come last and win.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Located;
use crate::config::vassal::EnvChange;
use crate::identity::environment::{NewUser, become_user, put};
use crate::proto::emperor;
use crate::sys::socket::Address;
use crate::types::environment::Variable;

use super::sockets::Socket;

/// What speaks of another process than the program: of this stage, or of the service that liege itself is.
const NEVER_INHERITED: &[&str] = &[
    emperor::PIPE_FD_VARIABLE,
    emperor::CONFIG_FD_VARIABLE,
    emperor::DEPTH_VARIABLE,
    "UWSGI_RELOADS",
    "UWSGI_ORIGINAL_PROC_NAME",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDNAMES",
    "SERVER_STARTER_PORT",
    "SERVER_STARTER_GENERATION",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

/// What the program has to know about its start.
#[derive(Debug, Default)]
pub struct StartInfo<'a> {
    /// Its pid.
    pub pid: u32,
    /// Its sockets, from descriptor 3 on.
    pub sockets: &'a [Socket],
    /// Where relative paths of sockets count from.
    pub cwd: PathBuf,
    /// The descriptor of the emperor pipe.
    pub emperor: Option<RawFd>,
    /// Whom it has become, if the stage has changed its user.
    pub user: Option<NewUser<'a>>,
    /// Where it announces that it is ready.
    pub notify: Option<&'a Address>,
    /// How often it has promised a sign of life.
    pub watchdog: Option<Duration>,
    /// `processes`.
    pub processes: Option<u32>,
    /// `threads`.
    pub threads: Option<u32>,
}

/// Puts the environment together.
pub fn build(
    mut env: Vec<Variable>,
    info: &StartInfo<'_>,
    changes: &[Located<EnvChange>],
) -> Vec<Variable> {
    env.retain(|(name, _)| !NEVER_INHERITED.iter().any(|never| name == never));
    if let Some(user) = info.user {
        become_user(&mut env, user);
    }
    let mut set = |name: &str, value: String| put(&mut env, name.as_ref(), value.into());
    if let Some(number) = info.emperor {
        set(emperor::PIPE_FD_VARIABLE, number.to_string());
    }
    if !info.sockets.is_empty() {
        let names: Vec<_> = info.sockets.iter().map(|socket| socket.name.as_str()).collect();
        set("LISTEN_FDS", info.sockets.len().to_string());
        set("LISTEN_PID", info.pid.to_string());
        set("LISTEN_FDNAMES", names.join(":"));
    }
    if let Some(count) = info.processes {
        set("WEB_CONCURRENCY", count.to_string());
        set("LIEGE_PROCESSES", count.to_string());
    }
    if let Some(count) = info.threads {
        set("LIEGE_THREADS", count.to_string());
    }
    if let Some(address) = info.notify {
        set("NOTIFY_SOCKET", address.to_string());
    }
    if let Some(period) = info.watchdog {
        set("WATCHDOG_USEC", period.as_micros().to_string());
    }
    let starter = server_starter(info);
    if !starter.is_empty() {
        put(&mut env, OsStr::new("SERVER_STARTER_PORT"), starter);
    }
    for change in changes {
        match &change.value {
            EnvChange::Set(name, value) => put(&mut env, name.as_ref(), value.into()),
            EnvChange::Unset(name) => env.retain(|(known, _)| known != name.as_str()),
        }
    }
    env
}

/// `host:port=fd;/path=fd`, for the Server::Starter family; it has no form for abstract names.
fn server_starter(info: &StartInfo<'_>) -> OsString {
    let mut text = OsString::new();
    for (number, socket) in (3..).zip(info.sockets) {
        let place = match &socket.address {
            Some(Address::Tcp(address)) => address.to_string().into(),
            Some(Address::Path(path)) => info.cwd.join(path).into_os_string(),
            Some(Address::Abstract(_)) | None => continue,
        };
        if !text.is_empty() {
            text.push(";");
        }
        text.push(place);
        text.push(format!("={number}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;
    use crate::types::accounts::User;

    fn env(pairs: &[(&str, &str)]) -> Vec<Variable> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn changes(list: Vec<EnvChange>) -> Vec<Located<EnvChange>> {
        let at = |value| Located {
            value,
            key: "env".into(),
            origin: Origin::CommandLine,
            hidden: false,
        };
        list.into_iter().map(at).collect()
    }

    fn set(name: &str, value: &str) -> EnvChange {
        EnvChange::Set(name.into(), value.into())
    }

    #[test]
    fn nothing_that_was_meant_for_liege_itself_reaches_the_program() {
        let mut poison: Vec<_> = NEVER_INHERITED.iter().map(|name| (*name, "poison")).collect();
        poison.push(("HOME", "/srv"));
        assert_eq!(build(env(&poison), &StartInfo::default(), &[]), env(&[("HOME", "/srv")]));
    }

    #[test]
    fn home_and_name_follow_a_change_of_user_unless_the_file_says_otherwise() {
        let root = [("HOME", "/root"), ("USER", "root"), ("LOGNAME", "root"), ("SHELL", "/bin/sh")];
        let build_as = |user, list| {
            let info = StartInfo { user, ..Default::default() };
            build(env(&root), &info, &changes(list))
        };
        assert_eq!(build_as(None, vec![]), env(&root));
        let web = User { name: "web".into(), uid: 33, gid: 33, home: "/srv/web".into() };
        let user = Some(NewUser::Account(&web));
        let own = [("HOME", "/srv/web"), ("USER", "web"), ("LOGNAME", "web"), ("SHELL", "/bin/sh")];
        assert_eq!(build_as(user, vec![]), env(&own));
        let list = vec![set("HOME", "/tmp"), EnvChange::Unset("USER".into())];
        let expected = [("HOME", "/tmp"), ("LOGNAME", "web"), ("SHELL", "/bin/sh")];
        assert_eq!(build_as(user, list), env(&expected));
        let nobody = build_as(Some(NewUser::Number), vec![]);
        assert_eq!(nobody, env(&[("HOME", "/"), ("SHELL", "/bin/sh")]));
        let homeless = User { home: String::new(), ..web.clone() };
        let built = build_as(Some(NewUser::Account(&homeless)), vec![]);
        assert_eq!(built[0], ("HOME".into(), "/".into()));
    }

    #[test]
    fn the_words_of_the_vassal_file_act_in_order_and_win() {
        let info = StartInfo { processes: Some(4), threads: Some(2), ..Default::default() };
        let list = changes(vec![
            set("A", "1"),
            set("A", "2"),
            EnvChange::Unset("B".into()),
            set("C", "x=y"),
            EnvChange::Unset("C".into()),
            set("C", ""),
            set("WEB_CONCURRENCY", "9"),
            EnvChange::Unset("LIEGE_THREADS".into()),
        ]);
        let built = build(env(&[("A", "0"), ("B", "0")]), &info, &list);
        let expected = [("A", "2"), ("WEB_CONCURRENCY", "9"), ("LIEGE_PROCESSES", "4"), ("C", "")];
        assert_eq!(built, env(&expected));
    }

    #[test]
    fn sockets_are_told_in_every_dialect() {
        let socket = |address, name: &str| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            Socket::for_test(listener.into(), name, address)
        };
        let sockets = [
            socket(Some(Address::Tcp(([127, 0, 0, 1], 80).into())), "on-demand"),
            socket(Some(Address::Abstract(b"x".to_vec())), "socket"),
            socket(Some(Address::Path("run/a.sock".into())), "socket.1"),
            socket(Some(Address::Path("/run/b.sock".into())), "http-socket"),
            socket(None, "raw-socket"),
        ];
        let notify = Address::Abstract(b"0a1b2".to_vec());
        let info = StartInfo {
            pid: 77,
            sockets: &sockets,
            cwd: "/srv/vassals".into(),
            emperor: Some(8),
            notify: Some(&notify),
            watchdog: Some(Duration::from_secs(30)),
            ..Default::default()
        };
        let expected = [
            ("UWSGI_EMPEROR_FD", "8"),
            ("LISTEN_FDS", "5"),
            ("LISTEN_PID", "77"),
            ("LISTEN_FDNAMES", "on-demand:socket:socket.1:http-socket:raw-socket"),
            ("NOTIFY_SOCKET", "@0a1b2"),
            ("WATCHDOG_USEC", "30000000"),
            ("SERVER_STARTER_PORT", "127.0.0.1:80=3;/srv/vassals/run/a.sock=5;/run/b.sock=6"),
        ];
        assert_eq!(build(Vec::new(), &info, &[]), env(&expected));
    }
}
