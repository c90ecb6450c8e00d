//! What to do about a system call that was refused: the second half of a message, or nothing where nothing is
//! known. Each kind of action has its own advice.

use std::io::ErrorKind as Kind;
use std::path::Path;

use super::address::Address;

/// First port that needs no privilege, as most systems are set up.
pub const FIRST_FREE_PORT: u16 = 1024;

/// An address could not be bound; `call` is the system call.
pub fn bind(address: &Address, kind: Kind, call: &str) -> String {
    match address {
        Address::Tcp(tcp) => bind_tcp(kind, tcp.port()),
        Address::Path(path) => bind_path(kind, path, call),
        Address::Abstract(_) if kind == Kind::AddrInUse => {
            "; stop the program that listens there, or choose another name".into()
        }
        Address::Abstract(_) => String::new(),
    }
}

/// A TCP address could not be bound.
pub fn bind_tcp(kind: Kind, port: u16) -> String {
    match kind {
        Kind::AddrInUse => "; stop the program that listens there, or choose another address".into(),
        Kind::AddrNotAvailable => "; no interface of this machine has that address".into(),
        Kind::PermissionDenied if (1..FIRST_FREE_PORT).contains(&port) => {
            "; only a privileged process may bind a port below 1024: start liege as root (and give the vassal \
             a uid), or as a service with AmbientCapabilities=CAP_NET_BIND_SERVICE, lower the sysctl \
             net.ipv4.ip_unprivileged_port_start, or use a higher port behind a proxy"
                .into()
        }
        _ => String::new(),
    }
}

/// A unix socket could not be bound; `call` is the system call.
pub fn bind_path(kind: Kind, path: &Path, call: &str) -> String {
    match kind {
        Kind::PermissionDenied if call == "chown" => "; only root may give a socket away".into(),
        Kind::AddrInUse => {
            "; somebody listens there, or the file is not a socket: it is not removed".into()
        }
        _ => place(kind, path, "make a socket there"),
    }
}

/// A file (log, pid file) could not be opened or written.
pub fn write(kind: Kind, path: &Path) -> String {
    match kind {
        Kind::IsADirectory => "; name a file, not a directory".into(),
        Kind::StorageFull => "; make room on that file system".into(),
        _ => place(kind, path, "write there"),
    }
}

/// A directory could not be read or watched.
pub fn watch(kind: Kind) -> &'static str {
    match kind {
        Kind::NotFound => "; create the directory first",
        Kind::NotADirectory => "; name a directory",
        Kind::PermissionDenied => {
            "; the emperor's user needs r and x on the directory, and x on those above it"
        }
        Kind::QuotaExceeded | Kind::StorageFull => "; raise the sysctl fs.inotify.max_user_watches",
        _ => "",
    }
}

/// A working directory could not be entered.
pub fn enter(kind: Kind) -> &'static str {
    match kind {
        Kind::NotFound => "; create it first, or correct the path",
        Kind::NotADirectory => "; name a directory",
        Kind::PermissionDenied => "; the program's user needs x on each part of the path",
        _ => "",
    }
}

fn place(kind: Kind, path: &Path, what: &str) -> String {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    match (kind, above) {
        (Kind::NotFound, Some(above)) => format!("; create {} first", above.display()),
        (Kind::NotADirectory, Some(above)) => format!("; {} is not a directory", above.display()),
        (Kind::PermissionDenied, _) => {
            format!("; let the user that liege runs as {what}, or choose another place")
        }
        (Kind::ReadOnlyFilesystem, _) => "; choose a place that can be written to".into(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_port_is_explained_and_a_high_one_is_not() {
        let told = |port: u16| bind_tcp(Kind::PermissionDenied, port);
        assert!(told(80).contains("CAP_NET_BIND_SERVICE"), "{}", told(80));
        assert_eq!(told(0) + &told(1024), "");
    }

    #[test]
    fn advice_is_about_what_was_tried() {
        let path = Path::new("/run/app/x");
        assert_eq!(write(Kind::NotFound, path), "; create /run/app first");
        for told in [write(Kind::PermissionDenied, path), watch(Kind::PermissionDenied).into()] {
            assert!(!told.contains("bind") && !told.contains("socket"), "{told}");
        }
        assert_eq!(
            bind_path(Kind::PermissionDenied, path, "chown"),
            "; only root may give a socket away"
        );
    }
}
