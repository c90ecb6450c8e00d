//! The spawner: a small process that forks in the emperor's place.
//!
//! It is liege, executed once when the configuration is known, with the environment of the vassals and the order
//! socket as standard input. Nothing grows in it: it keeps the template and no order, so a fork costs the same at any
//! number of vassals, the emperor never waits for one, and a child of it knows of no other vassal. Each child is the
//! *emperor's* (`CLONE_PARENT`).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::parent_id;

use crate::log::panics;
use crate::proto::spawner::{MAX_ORDER, MAX_TEMPLATE, SpawnerAnswer, SpawnerOrder, Template};
use crate::sys::process::{self, CStringArray, Pid};
use crate::sys::signal::{self, Signal};
use crate::sys::{fd, limits, prctl, scm, socket};
use crate::types::exit_status::NOT_EXECUTABLE;

use super::handed::Stage;
use super::inheritance::Inheritance;
use super::{child, environment};

/// The argument by which liege is told that it is the spawner.
pub const MODE: &CStr = c"spawner";
/// Its name, as ps(1) shows it.
const NAME: &CStr = c"liege-spawner";
/// Status of a spawner that cannot work; the emperor makes another one when it has an order.
const CANNOT_WORK: u8 = 71;

/// Starts a spawner with this environment and sends it its template; gives its pid and our end of its order socket.
///
/// # Errors
/// Some resource is missing; `EMSGSIZE` if the template is longer than a packet.
pub fn start(
    own_program: &CStr,
    environment: &CStringArray,
    template: &[u8],
) -> io::Result<(Pid, OwnedFd)> {
    let (ours, theirs) = socket::packet_pair()?;
    if template.len() > MAX_TEMPLATE {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    scm::send(ours.as_fd(), template, &[])?;
    let argv = CStringArray::new(vec![own_program.to_owned(), MODE.to_owned()]);
    let emperor = std::process::id();
    let pid = process::fork(|| {
        let armed = prctl::set_parent_death(Some(Signal::KILL));
        // From here on nobody sends a signal to its session or group.
        let prepared = armed.and_then(|()| process::setsid()).and_then(|()| {
            // The emperor may have died before the signal was armed; then it would never be sent.
            if parent_id() != emperor {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            fd::set_stdio(0, theirs.as_fd())
        });
        if prepared.is_ok() {
            // The file that runs, even if another version of liege has replaced it.
            process::execve(c"/proc/self/exe", &argv, environment);
            process::execve(own_program, &argv, environment);
        }
        NOT_EXECUTABLE
    })?;
    Ok((pid, ours))
}

/// The spawner as a process: serves orders until the emperor is gone; gives the status to exit with.
pub fn run(stage: Stage) -> u8 {
    panics::keep();
    match serve(stage) {
        // The socket has ended with the emperor.
        Ok(()) => 0,
        Err(_) => CANNOT_WORK,
    }
}

fn serve(stage: Stage) -> io::Result<()> {
    let orders = io::stdin();
    let inheritance = prepare(stage)?;
    let mut buffer = vec![0; MAX_ORDER];
    loop {
        let received = scm::receive_waiting(orders.as_fd(), &mut buffer)?;
        if received.length == 0 {
            return Ok(());
        }
        let packet = buffer.get(..received.length).unwrap_or_default();
        let number = SpawnerOrder::number(packet).map_err(io::Error::other)?;
        let fds = received.fds;
        let made = process::fork_sibling(|| child::run(&inheritance, packet, fds));
        // A later child is to find nothing of this one.
        buffer.get_mut(..received.length).unwrap_or_default().fill(0);
        let (answer, handle) = match made {
            Ok((pid, handle)) => (Ok(pid.get()), Some(handle)),
            Err(error) => (Err(error.raw_os_error().unwrap_or(libc::EIO)), None),
        };
        let handle: Vec<_> = handle.iter().map(AsFd::as_fd).collect();
        let answer = SpawnerAnswer { order: number, made: answer };
        scm::send_waiting(orders.as_fd(), &answer.encode(), &handle)?;
    }
}

/// Makes this process what its children are to be at their start, and reads the template.
fn prepare(stage: Stage) -> io::Result<Inheritance> {
    let mut packet = vec![0; MAX_TEMPLATE];
    let received = scm::receive_waiting(io::stdin().as_fd(), &mut packet)?;
    let packet = packet.get(..received.length).unwrap_or_default();
    let template = Template::decode(packet).map_err(io::Error::other)?;
    signal::set_all_default();
    prctl::set_name(NAME)?;
    // No core file and no tracer of a child before its exec, which makes it dumpable again.
    prctl::set_dumpable(false)?;
    limits::lower_descriptors(template.descriptor_limit)?;
    // Before the first fork, so that the children need not ask the kernel for random keys.
    let _ = std::hash::RandomState::new();
    let variables: Vec<_> = std::env::vars_os().collect();
    Ok(Inheritance {
        environment: environment::lines(&variables),
        variables,
        emperor: parent_id(),
        null: fd::open_null()?,
        template,
        stage,
    })
}
