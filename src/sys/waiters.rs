//! Whether a process waits for connections on a socket, as far as `/proc` shows it.
//!
//! A process is seen to wait that has the socket in an epoll set, or a task of which blocks in accept(2),
//! poll(2) or select(2) on it. What cannot be looked at (another user's without `CAP_SYS_PTRACE`, a limit of
//! the Yama module, no `/proc`) is not seen.
//!
//! This may block as long as the processes want it to: a set that holds a file of a file system in user space
//! is locked while that one thinks, and so may be the memory with the arguments of poll(2). So it is called
//! in a process of its own, with a limit. Every list is read up to a number only, as it is a stranger's.
//!
//! # Source
//! proc(5), `fs/eventpoll.c` for the lines `tfd:` of an epoll set (with inode since Linux 4.15).

use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::process::Pid;

const MAX_PROCESSES: usize = 64;
const MAX_TASKS: usize = 64;
const MAX_HELD_DESCRIPTORS: usize = 1024;
/// Of one call of poll(2) or select(2).
const MAX_WATCHED: u64 = 1024;

/// Whether this process or one below it waits for connections on one of the sockets with these inodes.
pub fn is_awaited(leader: Pid, sockets: &[u64]) -> bool {
    let mut queue = VecDeque::from([leader.get()]);
    for _ in 0..MAX_PROCESSES {
        let Some(pid) = queue.pop_front() else { return false };
        let home = format!("/proc/{pid}");
        if waits(Path::new(&home), sockets) {
            return true;
        }
        for task in numbers(&Path::new(&home).join("task"), MAX_TASKS) {
            let list = fs::read_to_string(format!("{home}/task/{task}/children"));
            let list = list.unwrap_or_default();
            let children = list.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
            queue.extend(children.take(MAX_PROCESSES));
        }
    }
    false
}

/// The names in a directory that are numbers.
fn numbers(directory: &Path, most: usize) -> Vec<i32> {
    let Ok(list) = fs::read_dir(directory) else { return Vec::new() };
    let names = list.take(most).filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    names.collect()
}

/// Whether one process waits for connections on one of the sockets.
fn waits(home: &Path, sockets: &[u64]) -> bool {
    let (mut held, mut sets) = (Vec::new(), Vec::new());
    for number in numbers(&home.join("fd"), MAX_HELD_DESCRIPTORS) {
        let Ok(target) = fs::read_link(home.join("fd").join(number.to_string())) else { continue };
        match target.to_str() {
            Some("anon_inode:[eventpoll]") => sets.push(number),
            Some(text) if inode(text).is_some_and(|inode| sockets.contains(&inode)) => {
                held.push(number);
            }
            Some(_) | None => {}
        }
    }
    // An epoll set may hold a socket that is closed already, but then the process does not accept from it.
    if held.is_empty() {
        return false;
    }
    let set = |number: &i32| {
        let text = fs::read_to_string(home.join("fdinfo").join(number.to_string()));
        text.is_ok_and(|text| is_in_set(&text, sockets))
    };
    let task = |number: i32| {
        let text = fs::read_to_string(home.join("task").join(number.to_string()).join("syscall"));
        let call = text.ok().and_then(|text| Call::parse(&text));
        call.is_some_and(|call| call.waits_for(&held, &home.join("mem")))
    };
    sets.iter().any(set) || numbers(&home.join("task"), MAX_TASKS).into_iter().any(task)
}

/// `socket:[123]`
fn inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// `tfd: 7 events: 19 data: 7 pos:0 ino:1234 sdev:8`, all but the first in hexadecimal digits.
fn is_in_set(text: &str, sockets: &[u64]) -> bool {
    text.lines().take(MAX_HELD_DESCRIPTORS).any(|line| {
        let mut words = line.split_ascii_whitespace();
        let is_target = words.next() == Some("tfd:");
        let events = words.nth(2).and_then(|word| u32::from_str_radix(word, 16).ok());
        let inode = words.find_map(|word| u64::from_str_radix(word.strip_prefix("ino:")?, 16).ok());
        let reads = events.is_some_and(|events| events & libc::EPOLLIN.cast_unsigned() != 0);
        is_target && reads && inode.is_some_and(|inode| sockets.contains(&inode))
    })
}

/// A system call in which a task blocks.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    number: i64,
    arguments: [u64; 2],
}

impl Call {
    /// `43 0x3 0x0 …`; `running` and `-1 …` are none.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let number = words.next()?.parse().ok().filter(|number| *number >= 0)?;
        let mut next = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
        Some(Self { number, arguments: [next()?, next()?] })
    }

    /// Whether it waits for one of these descriptors of its process, whose memory is that file.
    fn waits_for(&self, held: &[i32], memory: &Path) -> bool {
        let [first, second] = self.arguments;
        match self.number {
            libc::SYS_accept | libc::SYS_accept4 => {
                i32::try_from(first).is_ok_and(|number| held.contains(&number))
            }
            number if is_poll(number) => {
                polled(memory, first, second.min(MAX_WATCHED)).any(|number| held.contains(&number))
            }
            number if is_select(number) => {
                let bits = read(memory, second, first.min(MAX_WATCHED).div_ceil(8));
                held.iter().any(|number| {
                    let number = usize::try_from(*number).unwrap_or(usize::MAX);
                    bits.get(number / 8).is_some_and(|byte| byte >> (number % 8) & 1 == 1)
                })
            }
            _ => false,
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn is_poll(number: i64) -> bool {
    matches!(number, libc::SYS_poll | libc::SYS_ppoll)
}

#[cfg(not(target_arch = "x86_64"))]
fn is_poll(number: i64) -> bool {
    number == libc::SYS_ppoll
}

#[cfg(target_arch = "x86_64")]
fn is_select(number: i64) -> bool {
    matches!(number, libc::SYS_select | libc::SYS_pselect6)
}

#[cfg(not(target_arch = "x86_64"))]
fn is_select(number: i64) -> bool {
    number == libc::SYS_pselect6
}

/// The descriptors of an array of `pollfd` that are waited for to be readable.
fn polled(memory: &Path, address: u64, count: u64) -> impl Iterator<Item = i32> {
    let array = read(memory, address, count * 8);
    let entries: Vec<_> = array.as_chunks::<8>().0.to_vec();
    entries.into_iter().filter_map(|[a, b, c, d, low, high, ..]| {
        let events = i16::from_ne_bytes([low, high]);
        (events & libc::POLLIN != 0).then(|| i32::from_ne_bytes([a, b, c, d]))
    })
}

/// So much of a process's memory; nothing if it cannot be read.
fn read(memory: &Path, address: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let done = File::open(memory).and_then(|memory| memory.read_exact_at(&mut bytes, address));
    if done.is_ok() { bytes } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixListener;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    /// A process with the listener as its standard input, and what it says when it is where it was to be.
    fn python(listener: impl Into<OwnedFd>, script: &str) -> Option<(Child, u64)> {
        let listener = listener.into();
        let inode = fs::metadata(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap().ino();
        let script =
            format!("import socket, select, os, time\nl = socket.socket(fileno=0)\n{script}");
        let mut command = Command::new("python3");
        command.args(["-c", &script]).stdin(listener).stdout(Stdio::piped()).stderr(Stdio::null());
        let started = {
            let _alone = crate::sys::test_fork_lock::exclusive();
            command.spawn()
        };
        let mut child = started.inspect_err(|_| eprintln!("skipped: there is no python3")).ok()?;
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Some((child, inode))
    }

    fn pid(child: &Child) -> Pid {
        Pid::new(i32::try_from(child.id()).unwrap()).unwrap()
    }

    const SAY: &str = "os.write(1, b'x')\n";

    #[test]
    fn whoever_waits_for_connections_is_seen_however_it_waits() {
        for (what, script) in [
            ("accept", format!("{SAY}l.accept()")),
            (
                "epoll",
                format!("e = select.epoll()\ne.register(l, select.EPOLLIN)\n{SAY}time.sleep(600)"),
            ),
            ("select", format!("{SAY}select.select([l], [], [])")),
            ("poll", format!("p = select.poll()\np.register(l)\n{SAY}p.poll()")),
            ("a child", format!("{SAY}\nif os.fork() == 0: l.accept()\nos.wait()")),
            (
                "a thread",
                format!("import threading\n{SAY}threading.Thread(target=l.accept).start()"),
            ),
        ] {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = tcp.local_addr().unwrap();
            let Some((mut child, inode)) = python(tcp, &script) else { return };
            let until = Instant::now() + Duration::from_secs(30);
            let mut seen = false;
            while !seen && Instant::now() < until {
                seen = is_awaited(pid(&child), &[inode]);
                std::thread::sleep(Duration::from_millis(5));
            }
            let other = is_awaited(pid(&child), &[inode + 1]);
            // A child of it ends when it has a client.
            drop(std::net::TcpStream::connect(address));
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(seen && !other, "{what}: {seen} {other}");
        }
    }

    #[test]
    fn whoever_only_has_the_socket_does_not_wait_for_it() {
        let dir = tempfile::tempdir().unwrap();
        for (number, script) in [
            format!("{SAY}time.sleep(600)"),
            format!("r, w = os.pipe()\n{SAY}select.select([r], [], [])"),
            format!("r, w = os.pipe()\ne = select.epoll()\ne.register(r)\n{SAY}e.poll()"),
            format!("e = select.epoll()\ne.register(l, 0)\n{SAY}e.poll()"),
        ]
        .into_iter()
        .enumerate()
        {
            let unix = UnixListener::bind(dir.path().join(number.to_string())).unwrap();
            let Some((mut child, inode)) = python(unix, &script) else { return };
            for _ in 0..20 {
                assert!(!is_awaited(pid(&child), &[inode]), "{script}");
                std::thread::sleep(Duration::from_millis(5));
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn what_proc_says_is_read_and_nonsense_is_nothing() {
        let set = "pos:\t0\nflags:\t02\ntfd:        4 events:       19 data:                4  pos:0 ino:2a sdev:8\n";
        assert!(is_in_set(set, &[7, 42]));
        assert!(!is_in_set(set, &[4]));
        assert!(!is_in_set(&set.replace("      19", "80000018"), &[42]), "not for reading");
        let call = Call { number: 43, arguments: [3, 0] };
        assert_eq!(Call::parse("43 0x3 0x0 0x0 0x1 0x2 0x3 0x7ffd 0x7f11\n"), Some(call));
        for nonsense in ["running", "-1 0x7ffd 0x7f11", "", "43", "43 3 0", "x 0x1 0x2"] {
            assert_eq!(Call::parse(nonsense), None, "{nonsense}");
        }
        assert_eq!(inode("socket:[12]"), Some(12));
        for nonsense in ["socket:[]", "socket:12", "pipe:[12]", ""] {
            assert_eq!(inode(nonsense), None);
        }
    }
}
