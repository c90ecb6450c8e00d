//! The fork server of the tests: double-forks as uWSGI's does, and misbehaves as its words say. These are
//! its arguments or, when it is started as `PROGRAM --ini FILE`, the line `base = WORDS` of that file.
//!
//! - `sock=PATH`, `sock=@NAME`: wait there for requests.
//! - `record=PATH`: append one JSON object for each start and each request.
//! - `say`: announce ready and accepting on its own emperor pipe, which uWSGI's does not.
//! - `deaf`: ignore SIGTERM.
//! - `as:N`: the process that serves is another one of this session, with this user.
//! - `group`: each newborn begins a session of its own; else it stays in that of the base.
//! - `do=HOW`, `do=HOW,HOW…`: how the first requests are served; all further ones are served well:
//!   `good`, `bytes` (byte by byte), `rubbish`, `oversize`, `pid:N` (names this pid and forks nobody),
//!   `pid-in:PATH` (names the one in this file), `own-pid`, `parent-pid`, `silent`, `die-before`,
//!   `die-between`, `die-after` (the end of the base before, in the middle of and after the answer), `lost` (forks, and answers with rubbish), `stillborn` (the newborn
//!   has ended when its answer comes), `linger:MS` (the process between ends late), `rights` (descriptors
//!   come with the answer), `setuid:N` (the newborn has another user), `old` (names an orphan that was there
//!   before), `old-dead` (one that has died since it was asked), `gate:PATH` (forks and answers when the file exists).
//!
//! A newborn writes down the file that comes by its config pipe, if it has one, and becomes the program in
//! the variable `NEWBORN`, with the arguments that were asked for.
#![allow(unsafe_code, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::undocumented_unsafe_blocks, clippy::multiple_unsafe_ops_per_block)]

use serde_json::{Value, json};
use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

struct Request {
    header: [u8; 4],
    argv: Vec<Vec<u8>>,
    fds: Vec<RawFd>,
}

fn main() {
    let words = words();
    let word = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
    let sock = word("sock=").unwrap();
    let record = word("record=");
    let hows: Vec<&str> = word("do=").unwrap_or_default().split(',').collect();
    let own_session = words.iter().any(|word| word == "group");
    let pipe: Option<RawFd> = std::env::var("UWSGI_EMPEROR_FD").ok().map(|fd| fd.parse().unwrap());
    if let Some(uid) = word("as:") {
        serve_as(uid.parse().unwrap(), pipe);
    }
    // Before anybody can connect, and so before anybody can ask.
    let has_orphan = hows.contains(&"old") || hows.contains(&"old-dead");
    let orphan = has_orphan.then(orphan).unwrap_or_default();
    let listener = match sock.strip_prefix('@') {
        Some(name) => UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()),
        None => {
            let _ = fs::remove_file(sock);
            UnixListener::bind(sock)
        }
    };
    let listener = listener.unwrap();
    note(record, json!({ "event": "start", "sid": unsafe { libc::getsid(0) } }));
    if words.iter().any(|word| word == "say") {
        unsafe { libc::write(pipe.unwrap(), [1u8, 5].as_ptr().cast(), 2) };
    }
    if words.iter().any(|word| word == "deaf") {
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    }
    for number in served(record).. {
        wait_for_client(&listener, pipe);
        let (client, _) = listener.accept().unwrap();
        // Who does not trust us goes away without a word.
        let Some(request) = read_request(&client) else { continue };
        let argv: Vec<_> = request.argv.iter().map(|arg| String::from_utf8_lossy(arg)).collect();
        let (header, fds) = (request.header, request.fds.len());
        note(record, json!({ "event": "request", "header": header, "argv": argv, "fds": fds }));
        let how = hows.get(number).copied().unwrap_or("good");
        if how == "old-dead" {
            unsafe { libc::kill(orphan.parse().unwrap(), libc::SIGKILL) };
            while fs::exists(format!("/proc/{orphan}")).unwrap() {
                wait(2);
            }
        }
        if how.starts_with("old") {
            (&client).write_all(&answer(&orphan)).unwrap();
            continue;
        }
        serve(client, &request, pipe, (how, own_session));
        for fd in request.fds {
            unsafe { libc::close(fd) };
        }
    }
}

/// Goes on in a child with this user; the base itself does nothing more.
fn serve_as(uid: u32, pipe: Option<RawFd>) {
    unsafe {
        if libc::fork() == 0 {
            assert_eq!(libc::setuid(uid), 0);
            return;
        }
    }
    let mut end = libc::pollfd { fd: pipe.unwrap(), events: libc::POLLIN, revents: 0 };
    unsafe {
        libc::poll(&raw mut end, 1, -1);
        libc::_exit(0)
    }
}

/// A child of the emperor, long before anybody asks for one; gives its pid.
fn orphan() -> String {
    let (mut told, mut tells) = std::io::pipe().unwrap();
    unsafe {
        let middle = libc::fork();
        if middle == 0 {
            if libc::fork() == 0 {
                tells.write_all(std::process::id().to_string().as_bytes()).unwrap();
                drop((told, tells));
                loop {
                    libc::pause();
                }
            }
            libc::_exit(0);
        }
        libc::waitpid(middle, std::ptr::null_mut(), 0);
    }
    drop(tells);
    let mut pid = String::new();
    std::io::Read::read_to_string(&mut told, &mut pid).unwrap();
    wait(50);
    pid
}

fn words() -> Vec<String> {
    let args: Vec<String> = std::env::args().collect();
    let Some(at) = args.iter().position(|arg| arg == "--ini") else { return args };
    let text = fs::read_to_string(&args[at + 1]).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("base = ")).unwrap_or_default();
    line.split_whitespace().map(str::to_owned).collect()
}

/// How many requests were served, by bases before this one, too.
fn served(record: Option<&str>) -> usize {
    let text = record.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    text.lines().filter(|line| line.contains("\"request\"")).count()
}

fn note(record: Option<&str>, mut what: Value) {
    let Some(path) = record else { return };
    what["pid"] = json!(std::process::id());
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(format!("{what}\n").as_bytes()).unwrap();
}

/// Any byte from the emperor, or the end of its pipe, ends a base.
fn wait_for_client(listener: &UnixListener, pipe: Option<RawFd>) {
    let entry = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut set = [entry(pipe.unwrap_or(-1)), entry(listener.as_raw_fd())];
    unsafe { libc::poll(set.as_mut_ptr(), 2, -1) };
    if set[0].revents != 0 {
        unsafe { libc::_exit(0) };
    }
}

fn read_request(client: &UnixStream) -> Option<Request> {
    let mut bytes = vec![0u8; 70_000];
    let mut control = [0u64; 64];
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut fds = Vec::new();
    let length = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        let length = libc::recvmsg(client.as_raw_fd(), &raw mut message, 0);
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if !header.is_null() && (*header).cmsg_type == libc::SCM_RIGHTS {
            let count = ((*header).cmsg_len - libc::CMSG_LEN(0) as usize) / 4;
            let data = libc::CMSG_DATA(header).cast::<RawFd>();
            fds = (0..count).map(|at| data.add(at).read_unaligned()).collect();
        }
        length
    };
    bytes.truncate(usize::try_from(length).unwrap());
    if bytes.is_empty() {
        return None;
    }
    let header: [u8; 4] = bytes[..4].try_into().unwrap();
    assert_eq!(usize::from(u16::from_le_bytes([header[1], header[2]])), bytes.len() - 4);
    let (mut rest, mut argv) = (&bytes[4..], Vec::new());
    while !rest.is_empty() {
        let (string, more) =
            rest[2..].split_at(usize::from(u16::from_le_bytes([rest[0], rest[1]])));
        argv.push(string.to_vec());
        rest = more;
    }
    Some(Request { header, argv, fds })
}

fn answer(pid: &str) -> Vec<u8> {
    let mut packet = vec![35, u8::try_from(pid.len() + 7).unwrap(), 0, 0, 3, 0];
    packet.extend(b"pid");
    packet.extend([u8::try_from(pid.len()).unwrap(), 0]);
    packet.extend(pid.as_bytes());
    packet
}

fn serve(
    mut client: UnixStream,
    request: &Request,
    pipe: Option<RawFd>,
    (how, own_session): (&str, bool),
) {
    let (name, value) = how.split_once(':').unwrap_or((how, ""));
    match name {
        "rubbish" => return client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap(),
        "oversize" => return client.write_all(&[35, 255, 255, 0]).unwrap(),
        "pid" => return client.write_all(&answer(value)).unwrap(),
        "pid-in" => {
            let pid = fs::read_to_string(value).unwrap_or_default();
            return client.write_all(&answer(pid.trim())).unwrap();
        }
        "own-pid" => {
            return client.write_all(&answer(&std::process::id().to_string())).unwrap();
        }
        "parent-pid" => {
            let parent = std::os::unix::process::parent_id();
            return client.write_all(&answer(&parent.to_string())).unwrap();
        }
        "silent" => return std::mem::forget(client),
        "die-before" => unsafe { libc::_exit(3) },
        "gate" => {
            while !fs::exists(value).unwrap() {
                wait(5);
            }
        }
        _ => {}
    }
    let (mut told, tells) = std::io::pipe().unwrap();
    unsafe {
        let middle = libc::fork();
        if middle == 0 {
            if libc::fork() != 0 {
                drop(tells);
                let pause = if name == "linger" { value.parse().unwrap() } else { 0 };
                wait(pause);
                libc::_exit(0);
            }
            newborn(client, request, pipe, (how, own_session), tells);
        }
        drop(tells);
        if name != "linger" {
            libc::waitpid(middle, std::ptr::null_mut(), 0);
        }
        if name == "die-after" {
            // Not before it has answered.
            let _ = std::io::Read::read_to_end(&mut told, &mut Vec::new());
            libc::_exit(3);
        }
        if name == "die-between" {
            libc::_exit(3);
        }
    }
    if name == "stillborn" {
        let mut pid = String::new();
        std::io::Read::read_to_string(&mut told, &mut pid).unwrap();
        while fs::exists(format!("/proc/{pid}")).unwrap() {
            wait(2);
        }
        client.write_all(&answer(&pid)).unwrap();
    }
}

/// In the grandchild: answers, and becomes what was asked for.
fn newborn(
    mut client: UnixStream,
    request: &Request,
    pipe: Option<RawFd>,
    (how, own_session): (&str, bool),
    mut tells: std::io::PipeWriter,
) -> ! {
    let pid = std::process::id().to_string();
    let packet = answer(&pid);
    unsafe {
        libc::signal(libc::SIGTERM, libc::SIG_DFL);
        if own_session {
            libc::setsid();
        }
        if let Some(pipe) = pipe {
            libc::close(pipe);
        }
    }
    let (how, value) = how.split_once(':').unwrap_or((how, ""));
    match how {
        "setuid" => {
            unsafe { libc::setuid(value.parse().unwrap()) };
            client.write_all(&packet).unwrap();
        }
        "bytes" => packet.iter().for_each(|byte| {
            client.write_all(&[*byte]).unwrap();
            wait(3);
        }),
        "die-between" => client.write_all(&packet[..6]).unwrap(),
        "lost" => client.write_all(b"rubbish").unwrap(),
        "stillborn" => {
            tells.write_all(pid.as_bytes()).unwrap();
            unsafe { libc::_exit(9) };
        }
        "rights" if send_with_descriptors(&client, &packet) => {}
        _ => client.write_all(&packet).unwrap(),
    }
    drop((client, tells));
    let mask = request.header[3];
    if mask & 4 != 0 {
        let listener = *request.fds.last().unwrap();
        unsafe {
            libc::dup2(listener, 0);
            libc::close(listener);
        }
    }
    if mask & 2 != 0 {
        let record =
            words().iter().find_map(|word| word.strip_prefix("record=").map(str::to_owned));
        let config = read_config(request.fds[1]);
        note(record.as_deref(), json!({ "event": "config", "text": config }));
    }
    let c_string = |bytes: &[u8]| CString::new(bytes).unwrap();
    let program = c_string(std::env::var("NEWBORN").unwrap().as_bytes());
    let argv: Vec<CString> = request.argv.iter().map(|arg| c_string(arg)).collect();
    let variables = std::env::vars().filter(|(name, _)| name != "UWSGI_EMPEROR_FD");
    let own = ("UWSGI_EMPEROR_FD".to_owned(), request.fds[0].to_string());
    let environment: Vec<CString> =
        variables.chain([own]).map(|(k, v)| c_string(format!("{k}={v}").as_bytes())).collect();
    let pointers = |list: &[CString]| {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (argv, environment) = (pointers(&argv), pointers(&environment));
    unsafe {
        libc::execve(program.as_ptr(), argv.as_ptr(), environment.as_ptr());
        libc::_exit(126)
    }
}

/// A vassal file, as it comes by the config pipe.
fn read_config(pipe: RawFd) -> String {
    use std::os::fd::FromRawFd;
    let mut pipe = unsafe { fs::File::from_raw_fd(pipe) };
    let mut header = [0; 4];
    std::io::Read::read_exact(&mut pipe, &mut header).unwrap();
    let mut text = vec![0; usize::from(u16::from_le_bytes([header[1], header[2]]))];
    std::io::Read::read_exact(&mut pipe, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// False where the kernel lets the receiver refuse descriptors, as it does from Linux 6.16 on.
fn send_with_descriptors(client: &UnixStream, packet: &[u8]) -> bool {
    unsafe {
        let mut vector =
            libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
        let mut control = [0u64; 8];
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(8) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(8) as usize;
        libc::CMSG_DATA(header).cast::<[i32; 2]>().write_unaligned([1, 2]);
        libc::sendmsg(client.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) > 0
    }
}

fn wait(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}
