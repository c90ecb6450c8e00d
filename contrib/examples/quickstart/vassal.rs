//! The smallest vassal that speaks the Emperor protocol: an HTTP server with one page.
//!
//! It takes its listening socket as standard input, which is where a supervisor puts the only socket of a
//! vassal and the socket of an on-demand one. Its end of the emperor pipe is named by `UWSGI_EMPEROR_FD`:
//!
//! - it says 1 (ready), 5 (accepting), 17 (loyal: a request was served) and 26 (a heartbeat, each second);
//! - it says 22 (I go idle) when it was given `--idle SECONDS` and nobody asked for so long;
//! - it is told 0 (stop), 1 (reload the configuration) and 2 (stop gracefully).
#![allow(unsafe_code, reason = "descriptors that were inherited have to be believed once")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const READY: u8 = 1;
const ACCEPTING: u8 = 5;
const LOYAL: u8 = 17;
const IDLE: u8 = 22;
const HEARTBEAT: u8 = 26;

/// Seconds between the start and the last request.
static LAST_REQUEST: AtomicU64 = AtomicU64::new(0);

fn main() -> ExitCode {
    let start = Instant::now();
    let Some(pipe) = emperor_pipe() else {
        let _ = writeln!(
            std::io::stderr(),
            "no UWSGI_EMPEROR_FD: this program is started by an emperor"
        );
        return ExitCode::FAILURE;
    };
    let (Ok(voice), Ok(pulse)) = (pipe.try_clone(), pipe.try_clone()) else {
        return ExitCode::FAILURE;
    };
    std::thread::spawn(move || obey(pipe));
    std::thread::spawn(move || stay_alive(pulse, start));

    // SAFETY: standard input was opened for us before the exec, and nothing else here uses it.
    let listener = unsafe { TcpListener::from_raw_fd(0) };
    say(&voice, READY);
    say(&voice, ACCEPTING);
    let mut served = 0;
    for client in listener.incoming() {
        let Ok(client) = client else { return ExitCode::FAILURE };
        served += 1;
        if answer(client, served).is_ok() {
            LAST_REQUEST.store(start.elapsed().as_secs(), Ordering::Relaxed);
            say(&voice, LOYAL);
        }
    }
    ExitCode::SUCCESS
}

fn emperor_pipe() -> Option<UnixStream> {
    let fd = std::env::var("UWSGI_EMPEROR_FD").ok()?.parse().ok()?;
    // SAFETY: the emperor has opened this descriptor for us and told its number; nothing else here uses it.
    Some(unsafe { UnixStream::from_raw_fd(fd) })
}

fn say(mut pipe: &UnixStream, byte: u8) {
    // An emperor that is gone is noticed in `obey`.
    let _ = pipe.write_all(&[byte]);
}

/// Does what the emperor says, and leaves when the emperor has gone.
fn obey(mut pipe: UnixStream) {
    let mut byte = [0];
    loop {
        match pipe.read(&mut byte) {
            Ok(1) if byte == [1] => {
                // A real server reads its configuration again here.
                say(&pipe, READY);
                say(&pipe, ACCEPTING);
            }
            Ok(1) if byte != [0] && byte != [2] => {}
            _ => std::process::exit(0),
        }
    }
}

/// One heartbeat each second; asks for rest when nobody came for a while.
fn stay_alive(pipe: UnixStream, start: Instant) {
    let rest_after = argument("--idle").and_then(|seconds| seconds.parse::<u64>().ok());
    loop {
        say(&pipe, HEARTBEAT);
        let quiet = start.elapsed().as_secs() - LAST_REQUEST.load(Ordering::Relaxed);
        if rest_after.is_some_and(|limit| quiet >= limit) {
            say(&pipe, IDLE);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn answer(client: TcpStream, served: u32) -> std::io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(2)))?;
    // To the empty line: a socket closed with unread bytes in it would reset the connection.
    for line in BufReader::new(&client).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let name = argument("--name").unwrap_or_else(|| "a vassal".to_owned());
    let body = format!("This is {name}, pid {}, request {served}.\n", std::process::id());
    write!(
        &client,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|word| word != name).nth(1)
}
