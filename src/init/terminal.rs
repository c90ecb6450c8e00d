//! The terminal of the command: who has the foreground.
//!
//! Opened anew each time, since nothing but the standard streams is held. Without a terminal, or
//! when it has hung up, nothing happens. All signals are blocked, so SIGTTOU cannot stop us.

use std::os::fd::AsFd;

use crate::sys::process::{self, Pid};
use crate::sys::tty;

/// Called in the child, which leads a group of its own by now: takes the foreground if the group
/// that it came from has it.
pub(super) fn enter_foreground(former_group: i32) {
    pass(former_group, process::own_group());
}

/// Gives the foreground to the command's group if we have it.
pub(super) fn hand_over(command: Pid) {
    pass(process::own_group(), command.get());
}

/// Takes the foreground back from the command's group: the next program of a script would be
/// stopped at its first read.
pub(super) fn take_back(command: Pid) {
    pass(command.get(), process::own_group());
}

fn pass(from: i32, to: i32) {
    let Ok(terminal) = tty::open() else { return };
    if tty::foreground(terminal.as_fd()).is_ok_and(|group| group == from) {
        let _ = tty::set_foreground(terminal.as_fd(), to);
    }
}
