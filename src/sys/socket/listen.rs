//! Listening: a name or a port is bound, given its mode and its owner, and replaced if it is left over.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use libc::c_int;

use super::raw::{bind, connect_raw, set_option, socket};
use crate::sys::address::{Address, Raw};
use crate::sys::{check, check_long, dir};

/// Whether `accept` on a listener waits; it is a property that all who share the listener see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accept {
    /// At once, with `EAGAIN`: for listeners that we accept on.
    #[default]
    Returns,
    /// Until a client comes: for listeners that are passed to a program.
    Waits,
}

/// Who owns the name of a unix socket; `None` leaves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOwner {
    /// The user.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
}

/// How to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// How many connections wait; the kernel cuts it to `net.core.somaxconn` ([`somaxconn`]).
    pub backlog: u32,
    /// Mode of a unix socket's file; `None` leaves what the umask made of 0777.
    pub mode: Option<u32>,
    /// The owner of a unix socket's file.
    pub owner: SocketOwner,
    /// Let other sockets listen at the same TCP address (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Whether `accept` waits.
    pub accept: Accept,
    /// Replace a unix socket too that is held by somebody but refuses connections, because it was shut down.
    /// Finding out means to connect: it would wake a program that waits there.
    pub replace_refusing: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: 100,
            mode: None,
            owner: SocketOwner::default(),
            reuse_port: false,
            accept: Accept::Returns,
            replace_refusing: false,
        }
    }
}

/// A call that failed while a socket was made.
#[derive(Debug)]
pub struct SocketError {
    /// The call.
    pub call: &'static str,
    /// Its errno.
    pub source: io::Error,
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.source)
    }
}

impl std::error::Error for SocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Gives a failure the name of its call.
fn failed(call: &'static str) -> impl FnOnce(io::Error) -> SocketError {
    move |source| SocketError { call, source }
}

/// Binds and listens.
///
/// A unix socket that is left over (nobody holds it any more) is removed first; anything else with that
/// name is never removed. Mode and owner are set between bind and listen, so nobody can connect
/// before they hold, and on the very file that was made, so nobody can swap another in.
///
/// # Errors
/// Which call failed and why; `EADDRINUSE` also where a file that is no left-over socket is in the way.
pub fn listen(address: &Address, options: &ListenOptions) -> Result<OwnedFd, SocketError> {
    let raw = Raw::of(address).map_err(failed("bind"))?;
    let socket = unbound(address, &raw, options)?;
    match (bind(socket.as_fd(), &raw), address) {
        (Err(error), Address::Path(path)) if error.raw_os_error() == Some(libc::EADDRINUSE) => {
            remove_stale(path, &raw, options)?;
            bind(socket.as_fd(), &raw).map_err(failed("bind"))?;
        }
        (bound, _) => bound.map_err(failed("bind"))?,
    }
    if let Address::Path(path) = address {
        set_attributes(path, options.mode, options.owner)?;
    }
    set_backlog(socket.as_fd(), options.backlog).map_err(failed("listen"))?;
    Ok(socket)
}

/// A socket that is not bound yet.
fn unbound(address: &Address, raw: &Raw, options: &ListenOptions) -> Result<OwnedFd, SocketError> {
    let wait = match options.accept {
        Accept::Returns => libc::SOCK_NONBLOCK,
        Accept::Waits => 0,
    };
    let socket = socket(raw.family(), libc::SOCK_STREAM | wait).map_err(failed("socket"))?;
    if matches!(address, Address::Tcp(_)) {
        set_option(socket.as_fd(), libc::SO_REUSEADDR, &[1]).map_err(failed("setsockopt"))?;
        if options.reuse_port {
            set_option(socket.as_fd(), libc::SO_REUSEPORT, &[1]).map_err(failed("setsockopt"))?;
        }
    }
    Ok(socket)
}

/// Whether [`listen`] would do, as far as that is seen without leaving anything behind; gives a socket that is
/// bound nowhere. A port or an abstract name is bound for a moment, and never listened on; where a unix socket
/// is to be made is only looked at.
///
/// # Errors
/// Those of [`listen`].
pub fn try_listen(address: &Address, options: &ListenOptions) -> Result<OwnedFd, SocketError> {
    let raw = Raw::of(address).map_err(failed("bind"))?;
    let stand_in = unbound(address, &raw, options)?;
    match address {
        Address::Path(path) => {
            try_path(path, options).map_err(failed("bind"))?;
            try_owner(options.owner)?;
        }
        Address::Tcp(_) | Address::Abstract(_) => {
            let bound = unbound(address, &raw, options)?;
            bind(bound.as_fd(), &raw).map_err(failed("bind"))?;
        }
    }
    Ok(stand_in)
}

fn try_path(path: &Path, options: &ListenOptions) -> io::Result<()> {
    let in_use = || Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
    match std::fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => in_use(),
        Ok(_) if !options.replace_refusing && is_held(path) => in_use(),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        // It is made, or made anew.
        Ok(_) | Err(_) => dir::may_make(path),
    }
}

/// Whether a file of ours may be given to this owner.
///
/// # Errors
/// `EPERM`.
pub fn try_owner(owner: SocketOwner) -> Result<(), SocketError> {
    if owner == SocketOwner::default() {
        return Ok(());
    }
    // The kernel has one rule for all that a process has made.
    let own = socket(libc::AF_UNIX, libc::SOCK_STREAM).map_err(failed("socket"))?;
    std::os::unix::fs::fchown(own, owner.uid, owner.gid).map_err(failed("chown"))
}

/// listen(2); on a socket that listens already only the length of the queue changes.
///
/// # Errors
/// `EADDRINUSE` if another socket listens there, `EINVAL` if it is not bound.
pub fn set_backlog(socket: BorrowedFd<'_>, backlog: u32) -> io::Result<()> {
    let backlog = c_int::try_from(backlog).unwrap_or(c_int::MAX);
    // SAFETY: two integers; no memory of ours is touched.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) })?;
    Ok(())
}

/// Whether somebody holds the unix socket at `path`, or there is something else; nobody is woken by it.
pub fn is_held(path: &Path) -> bool {
    let Ok(raw) = Raw::of(&Address::Path(path.to_owned())) else { return false };
    let probe = socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK);
    let answer = probe.and_then(|probe| connect_raw(probe.as_fd(), &raw));
    let nobody = [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound];
    !answer.is_err_and(|error| nobody.contains(&error.kind()))
}

/// Removes the socket at `path` if it is left over.
///
/// A datagram socket is refused as any other where nobody holds the socket any more, and else told that it has
/// the wrong type (`EPROTOTYPE`), without ever standing in the queue of connections.
fn remove_stale(path: &Path, raw: &Raw, options: &ListenOptions) -> Result<(), SocketError> {
    let in_use = || failed("bind")(io::Error::from_raw_os_error(libc::EADDRINUSE));
    let meta = std::fs::symlink_metadata(path).map_err(failed("lstat"))?;
    if !meta.file_type().is_socket() {
        return Err(in_use());
    }
    let kind = if options.replace_refusing { libc::SOCK_STREAM } else { libc::SOCK_DGRAM };
    let probe = socket(libc::AF_UNIX, kind | libc::SOCK_NONBLOCK).map_err(failed("socket"))?;
    match connect_raw(probe.as_fd(), raw) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed("unlink"))
        }
        _ => Err(in_use()),
    }
}

/// Sets mode and owner of the unix socket at `path`.
///
/// The file is opened without following a link and looked at before anything is changed, so a name that
/// somebody has swapped meanwhile is left alone.
///
/// # Errors
/// `EADDRINUSE` if it is no socket; `EPERM` if the owner may not be changed.
pub fn set_attributes(
    path: &Path,
    mode: Option<u32>,
    owner: SocketOwner,
) -> Result<(), SocketError> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    if mode.is_none() && owner == SocketOwner::default() {
        return Ok(());
    }
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
        .open(path)
        .map_err(failed("open"))?;
    if !file.metadata().map_err(failed("fstat"))?.file_type().is_socket() {
        return Err(failed("chmod")(io::Error::from_raw_os_error(libc::EADDRINUSE)));
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    if owner != SocketOwner::default() {
        std::os::unix::fs::chown(&path, owner.uid, owner.gid).map_err(failed("chown"))?;
    }
    match mode {
        Some(mode) if change_mode(file.as_fd(), mode).is_err() => {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, mode).map_err(failed("chmod"))
        }
        _ => Ok(()),
    }
}

/// fchmodat2(2) of an `O_PATH` descriptor, which needs no `/proc`.
///
/// # Errors
/// `ENOSYS` before Linux 6.6.
fn change_mode(object: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    /// The same on every architecture that is built for; libc does not name it for all of them.
    const FCHMODAT2: libc::c_long = 452;
    let (name, flags) = (c"", libc::AT_EMPTY_PATH);
    // SAFETY: the name is a string that lives for ever, the rest are integers; nothing of ours is written.
    let done = unsafe { libc::syscall(FCHMODAT2, object.as_raw_fd(), name.as_ptr(), mode, flags) };
    check_long(done).map(drop)
}

/// Longest queue of connections that the kernel grants (`net.core.somaxconn`).
///
/// # Errors
/// Those of reading `/proc`, and `EINVAL` if it holds no number.
pub fn somaxconn() -> io::Result<u32> {
    let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn")?;
    text.trim().parse().map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::{Connecting, accept, connect, is_listening, local_address};
    use std::net::SocketAddr;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixListener;

    fn loopback() -> Address {
        Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    fn errno(result: Result<OwnedFd, SocketError>) -> Option<i32> {
        result.err().and_then(|error| error.source.raw_os_error())
    }

    #[test]
    fn a_left_over_socket_is_replaced_a_living_one_is_not() {
        let _quiet = crate::sys::test_fork_lock::none();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let address = Address::Path(path.clone());
        drop(UnixListener::bind(&path).unwrap());
        let living = listen(&address, &ListenOptions::default()).unwrap();
        assert!(is_listening(living.as_fd()));
        let again = listen(&address, &ListenOptions::default());
        assert_eq!(errno(again), Some(libc::EADDRINUSE));
        assert!(matches!(connect(&address), Ok(Connecting::Done(_))));
    }

    #[test]
    fn nobody_who_waits_at_a_socket_is_woken_by_the_question_whether_it_is_left_over() {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::Path(dir.path().join("a.sock"));
        let living = listen(&address, &ListenOptions::default()).unwrap();
        let again = listen(&address, &ListenOptions::default());
        assert_eq!(errno(again), Some(libc::EADDRINUSE));
        assert_eq!(accept(living.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_socket_that_its_holder_has_shut_down_is_replaced_by_who_asks_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::Path(dir.path().join("a.sock"));
        let dead = listen(&address, &ListenOptions::default()).unwrap();
        let options = ListenOptions { replace_refusing: true, ..Default::default() };
        assert_eq!(errno(listen(&address, &options)), Some(libc::EADDRINUSE));
        // SAFETY: two integers; no memory of ours is touched.
        assert_eq!(unsafe { libc::shutdown(dead.as_raw_fd(), libc::SHUT_RD) }, 0);
        assert_eq!(errno(listen(&address, &ListenOptions::default())), Some(libc::EADDRINUSE));
        let _anew = listen(&address, &options).unwrap();
        assert!(matches!(connect(&address), Ok(Connecting::Done(_))));
    }

    #[test]
    fn a_living_socket_with_a_full_queue_is_not_taken_for_left_over() {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::Path(dir.path().join("a.sock"));
        let options = ListenOptions { backlog: 0, ..Default::default() };
        let _listener = listen(&address, &options).unwrap();
        let mut clients = Vec::new();
        while let Ok(Connecting::Done(client)) = connect(&address) {
            clients.push(client);
        }
        assert_eq!(errno(listen(&address, &options)), Some(libc::EADDRINUSE));
    }

    #[test]
    fn a_file_or_a_link_in_the_way_of_a_socket_stays() {
        let _quiet = crate::sys::test_fork_lock::none();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("precious");
        std::fs::write(&file, "data").unwrap();
        let link = dir.path().join("link");
        let stale = dir.path().join("stale");
        drop(UnixListener::bind(&stale).unwrap());
        std::os::unix::fs::symlink(&stale, &link).unwrap();
        for path in [&file, &link] {
            let refused = listen(&Address::Path(path.clone()), &ListenOptions::default());
            assert_eq!(errno(refused), Some(libc::EADDRINUSE));
            assert!(std::fs::symlink_metadata(path).is_ok());
        }
        assert_eq!(std::fs::read(&file).unwrap(), b"data");
    }

    #[test]
    fn mode_of_a_socket_is_the_one_asked_for() {
        let _quiet = crate::sys::test_fork_lock::none();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        for mode in [0o600, 0o666, 0o660] {
            let options = ListenOptions { mode: Some(mode), ..Default::default() };
            drop(listen(&Address::Path(path.clone()), &options).unwrap());
            assert_eq!(std::fs::symlink_metadata(&path).unwrap().mode() & 0o7777, mode);
        }
    }

    #[test]
    fn attributes_are_never_set_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let before = std::fs::metadata(&file).unwrap().mode();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            assert!(set_attributes(path, Some(0o777), SocketOwner::default()).is_err());
        }
        assert_eq!(std::fs::metadata(&file).unwrap().mode(), before);
    }

    #[test]
    fn impossible_names_are_refused() {
        let options = ListenOptions::default();
        let refused = |address| errno(listen(&address, &options));
        assert_eq!(refused(Address::Path("".into())), Some(libc::EINVAL));
        assert_eq!(refused(Address::Path("a\0b".into())), Some(libc::EINVAL));
        assert_eq!(refused(Address::Path("x".repeat(108).into())), Some(libc::ENAMETOOLONG));
        assert_eq!(refused(Address::Abstract(vec![b'x'; 108])), Some(libc::ENAMETOOLONG));
        assert_eq!(refused(Address::Path("/no/such/dir/s".into())), Some(libc::ENOENT));
    }

    #[test]
    fn two_listen_at_one_address_only_by_consent() {
        let first = ListenOptions { reuse_port: true, ..Default::default() };
        let holder = listen(&loopback(), &first).unwrap();
        let address = local_address(holder.as_fd()).unwrap().unwrap();
        assert_eq!(errno(listen(&address, &ListenOptions::default())), Some(libc::EADDRINUSE));
        listen(&address, &first).unwrap();
    }
}
