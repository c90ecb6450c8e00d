//! Descriptors and credentials over unix sockets (`SCM_RIGHTS`, `SCM_CREDENTIALS`; unix(7), cmsg(3)).
//!
//! All received descriptors are taken out and owned at once, so none can leak. Those that are not used are closed by
//! [`discard`], because the last close of a socket with `SO_LINGER` would block.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use libc::c_int;

use super::{retry, socket};

/// Most descriptors in one message (`SCM_MAX_FD` of the kernel).
pub const MAX_ATTACHED: usize = 253;

const CONTROL_HEADER: usize = size_of::<libc::cmsghdr>();
const ALIGN: usize = size_of::<usize>();
/// Room for the most descriptors, for credentials and for a pidfd, each with its header.
const CONTROL: usize = 3 * CONTROL_HEADER + MAX_ATTACHED * size_of::<RawFd>() + 64;

/// Room for credentials alone, with their header.
const CREDENTIALS: usize = (CONTROL_HEADER + size_of::<libc::ucred>()).next_multiple_of(ALIGN);

/// Control data of this size, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Credentials([u8; CREDENTIALS]);

/// The control data of a message, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// One message.
#[derive(Debug)]
pub struct ReceivedMessage {
    /// How many bytes of the buffer were filled; 0 with no descriptor is the end.
    pub length: usize,
    /// The descriptors that came along, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// Sends one message with descriptors; never waits, never raises SIGPIPE.
///
/// # Errors
/// `EAGAIN` if it does not fit now, `EPIPE` if the other end is gone, `EMSGSIZE` if it never fits,
/// `EINVAL` with more than [`MAX_ATTACHED`] descriptors, `EPERM` if the receiver refuses descriptors.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    send_with(socket, bytes, fds, libc::MSG_DONTWAIT)
}

/// The same, but waits until there is room.
///
/// # Errors
/// As [`send`], but for `EAGAIN`.
pub fn send_waiting(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    send_with(socket, bytes, fds, 0)
}

fn send_with(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    wait: c_int,
) -> io::Result<usize> {
    let mut control = Control([0; CONTROL]);
    let used = write_rights(&mut control, fds)?;
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut message = empty_message(&mut part);
    if used > 0 {
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = used as _;
    }
    let flags = wait | libc::MSG_NOSIGNAL;
    let sent = retry(|| {
        // SAFETY: `message` points to `part` and `control`, and `part` to `bytes`; all outlive the call
        // and the kernel only reads them.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
        if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(sent) }
    })?;
    Ok(sent.cast_unsigned())
}

/// Receives one message with all that is attached; never waits.
///
/// # Errors
/// `EAGAIN` if there is none; `EMSGSIZE` if bytes, descriptors or credentials did not fit: what had come
/// is closed then.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<ReceivedMessage> {
    receive_with(socket, buffer, libc::MSG_DONTWAIT)
}

/// The same, but waits until there is one.
///
/// # Errors
/// As [`receive`], but for `EAGAIN`.
pub fn receive_waiting(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<ReceivedMessage> {
    receive_with(socket, buffer, 0)
}

fn receive_with(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    wait: c_int,
) -> io::Result<ReceivedMessage> {
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message = empty_message(&mut part);
    let flags = wait | libc::MSG_CMSG_CLOEXEC;
    let length = retry(|| {
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL as _;
        // SAFETY: `message` points to `part` and `control`, and `part` to `buffer`; all are ours alone
        // during the call, and each length is that of the memory behind it.
        let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
        if length == -1 { Err(io::Error::last_os_error()) } else { Ok(length.cast_unsigned()) }
    })?;
    #[allow(clippy::unnecessary_cast, reason = "it has 32 bits in musl")]
    let used = message.msg_controllen as usize;
    let used = control.0.get(..used).unwrap_or(&control.0);
    let (fds, _) = read_control(used);
    if message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        discard(fds);
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    Ok(ReceivedMessage { length, fds })
}

/// Bytes and their sender.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedBytes {
    /// How many bytes it has: 0 is the end, more than the buffer has if the rest is lost.
    pub length: usize,
    /// Who sent them, as the kernel vouches, if the socket asks for credentials (`SO_PASSCRED`).
    pub sender: Option<socket::PeerCredentials>,
}

/// Receives one message and nothing that is attached: for descriptors there is no room, so that the kernel
/// drops them before they cost us anything; never waits.
///
/// # Errors
/// `EAGAIN` if there is none.
pub fn receive_text(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<ReceivedBytes> {
    let mut control = Credentials([0; CREDENTIALS]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message = empty_message(&mut part);
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC | libc::MSG_TRUNC;
    let length = retry(|| {
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CREDENTIALS as _;
        // SAFETY: as in `receive`.
        let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
        if length == -1 { Err(io::Error::last_os_error()) } else { Ok(length.cast_unsigned()) }
    })?;
    #[allow(clippy::unnecessary_cast, reason = "it has 32 bits in musl")]
    let used = message.msg_controllen as usize;
    // If credentials were not asked for, there is room for some descriptors.
    let (fds, sender) = read_control(control.0.get(..used).unwrap_or(&control.0));
    discard(fds);
    Ok(ReceivedBytes { length, sender })
}

/// Whether [`receive`] has failed because not all of a message could be taken in.
pub fn is_cut_off(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

/// Closes descriptors of a stranger without waiting for a socket that lingers.
pub fn discard(fds: impl IntoIterator<Item = OwnedFd>) {
    for fd in fds {
        // It fails where there is nothing to switch off: the descriptor is no socket.
        let _ = socket::linger_off(fd.as_fd());
    }
}

fn empty_message(part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: a `msghdr` is integers and pointers, for all of which zero is a valid value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message
}

/// Writes one `SCM_RIGHTS` message; the number of bytes used, 0 without descriptors.
fn write_rights(control: &mut Control, fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if fds.is_empty() {
        return Ok(0);
    }
    if fds.len() > MAX_ATTACHED {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut bytes = Vec::with_capacity(CONTROL_HEADER + size_of_val(fds));
    bytes.extend((CONTROL_HEADER + fds.len() * size_of::<RawFd>()).to_ne_bytes());
    bytes.extend(libc::SOL_SOCKET.to_ne_bytes());
    bytes.extend(libc::SCM_RIGHTS.to_ne_bytes());
    bytes.extend(fds.iter().flat_map(|fd| fd.as_raw_fd().to_ne_bytes()));
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
    for (to, from) in control.0.iter_mut().zip(&bytes) {
        *to = *from;
    }
    Ok(bytes.len())
}

/// Takes every descriptor and the credentials out of control data that the kernel has written.
fn read_control(mut control: &[u8]) -> (Vec<OwnedFd>, Option<socket::PeerCredentials>) {
    let (mut fds, mut sender) = (Vec::new(), None);
    while let Some((level, kind, data, rest)) = next_control(control) {
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                for number in data.as_chunks().0.iter().map(|&bytes| RawFd::from_ne_bytes(bytes)) {
                    // SAFETY: the kernel has just installed this descriptor for us (the numbers come
                    // from its control data, not from the sender's bytes); nothing else owns it.
                    fds.push(unsafe { OwnedFd::from_raw_fd(number) });
                }
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                if let [pid, uid, gid] = *data.as_chunks().0 {
                    sender = Some(socket::PeerCredentials {
                        pid: i32::from_ne_bytes(pid),
                        uid: u32::from_ne_bytes(uid),
                        gid: u32::from_ne_bytes(gid),
                    });
                }
            }
            _ => {}
        }
        control = rest;
    }
    (fds, sender)
}

/// The first control message: level, type, data, and what follows it.
fn next_control(control: &[u8]) -> Option<(c_int, c_int, &[u8], &[u8])> {
    let (length, rest) = control.split_first_chunk()?;
    let length = usize::from_ne_bytes(*length);
    let (level, rest) = rest.split_first_chunk()?;
    let (kind, _) = rest.split_first_chunk()?;
    let data = control.get(CONTROL_HEADER..length)?;
    let next = control.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
    Some((c_int::from_ne_bytes(*level), c_int::from_ne_bytes(*kind), data, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn open() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn a_text_is_received_without_what_is_attached() {
        let _quiet = crate::sys::test_fork_lock::none();
        let (ours, theirs) = socket::packet_pair().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        send(theirs.as_fd(), b"hello", &vec![writer.as_fd(); MAX_ATTACHED]).unwrap();
        drop(writer);
        let mut buffer = [0; 16];
        let text = receive_text(ours.as_fd(), &mut buffer).unwrap();
        assert_eq!((text.length, text.sender), (5, None));
        // Nobody has the other end of the pipe any more.
        assert_eq!(std::io::Read::read(&mut { reader }, &mut [0; 1]).unwrap(), 0);
        send(theirs.as_fd(), b"too long for this", &[]).unwrap();
        assert_eq!(receive_text(ours.as_fd(), &mut [0; 4]).unwrap().length, 17);
    }

    #[test]
    fn descriptors_arrive_in_order_and_close_on_exec() {
        let _quiet = crate::sys::test_fork_lock::none();
        let (ours, theirs) = socket::packet_pair().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let (null, writer) = (open(), OwnedFd::from(writer));
        assert_eq!(send(theirs.as_fd(), b"hello", &[null.as_fd(), writer.as_fd()]).unwrap(), 5);
        drop(writer);
        let mut buffer = [0; 16];
        let received = receive(ours.as_fd(), &mut buffer).unwrap();
        assert_eq!((received.length, received.fds.len()), (5, 2));
        for fd in &received.fds {
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
            let flags = info
                .unwrap()
                .lines()
                .find_map(|line| i32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
            assert_ne!(flags.unwrap() & libc::O_CLOEXEC, 0);
        }
        let mut fds = received.fds.into_iter();
        assert!(fds.next().is_some());
        std::io::Write::write_all(&mut std::fs::File::from(fds.next().unwrap()), b"x").unwrap();
        let mut text = String::new();
        { reader }.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn as_many_descriptors_as_the_kernel_allows_are_received() {
        let (ours, theirs) = socket::packet_pair().unwrap();
        let null = open();
        let many = vec![null.as_fd(); MAX_ATTACHED];
        send(theirs.as_fd(), b"x", &many).unwrap();
        let received = receive(ours.as_fd(), &mut [0; 4]).unwrap();
        assert_eq!(received.fds.len(), MAX_ATTACHED);
        discard(received.fds);
        let too_many = vec![null.as_fd(); MAX_ATTACHED + 1];
        assert!(send(theirs.as_fd(), b"x", &too_many).is_err());
    }

    #[test]
    fn a_packet_that_does_not_fit_is_an_error_and_leaks_nothing() {
        let _quiet = crate::sys::test_fork_lock::none();
        let (ours, theirs) = socket::packet_pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        send(theirs.as_fd(), b"too long", &[writer.as_fd()]).unwrap();
        drop(writer);
        let error = receive(ours.as_fd(), &mut [0; 4]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
        // The end of the pipe comes only when every copy of its other end is closed.
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn the_kernel_says_who_sent_a_datagram() {
        let (socket, name) = socket::notify_socket(None).unwrap();
        let socket::Address::Abstract(name) = name else { panic!("not abstract") };
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
        let client = std::os::unix::net::UnixDatagram::unbound().unwrap();
        client.send_to_addr(b"READY=1", &address).unwrap();
        let received = receive_text(socket.as_fd(), &mut [0; 64]).unwrap();
        assert_eq!(received.sender.unwrap().pid.unsigned_abs(), std::process::id());
    }

    #[test]
    fn a_socket_that_refuses_descriptors_gets_none() {
        let (ours, theirs) = socket::stream_pair().unwrap();
        socket::refuse_descriptors(ours.as_fd()).unwrap();
        let null = open();
        match send(theirs.as_fd(), b"x", &[null.as_fd()]) {
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EPERM)),
            Ok(_) => println!("skipped: this kernel has no SO_PASSRIGHTS"),
        }
    }

    #[test]
    fn closing_a_lingering_socket_of_a_stranger_does_not_wait() {
        let _quiet = crate::sys::test_fork_lock::none();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nonblocking(true).unwrap();
        while std::io::Write::write(&mut &client, &[0; 65536]).is_ok() {}
        client.set_nonblocking(false).unwrap();
        let (ours, theirs) = socket::packet_pair().unwrap();
        let linger = [1, 600];
        // SAFETY: pointer and length describe two integers that outlive the call.
        let set = unsafe {
            let level = libc::SOL_SOCKET;
            let length = size_of_val(&linger) as u32;
            libc::setsockopt(
                client.as_raw_fd(),
                level,
                libc::SO_LINGER,
                linger.as_ptr().cast(),
                length,
            )
        };
        assert_eq!(set, 0);
        send(theirs.as_fd(), b"x", &[client.as_fd()]).unwrap();
        let received = receive(ours.as_fd(), &mut [0; 4]).unwrap();
        // The sender's copy goes first, so that ours is the last.
        drop(client);
        let begun = std::time::Instant::now();
        discard(received.fds);
        assert!(begun.elapsed() < std::time::Duration::from_secs(10));
    }
}
