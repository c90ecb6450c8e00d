//! Which process the kernel ends first when memory runs out: `/proc/self/oom_score_adj`.
//!
//! From -1000 (never) to 1000 (first). It is inherited by children, and a process needs CAP_SYS_RESOURCE to go
//! below what it was once given with that right.

use std::io;
use std::os::fd::AsFd;

use super::fd;

/// What the supervisor itself wants: everything else is worth less.
pub const PRECIOUS: i32 = -900;

/// The score of this process.
///
/// # Errors
/// `ENOENT` without /proc.
pub fn score() -> io::Result<i32> {
    let mut text = [0; 16];
    let length = fd::read(fd::open_read(c"/proc/self/oom_score_adj")?.as_fd(), &mut text)?;
    let text = str::from_utf8(text.get(..length).unwrap_or_default()).unwrap_or_default();
    text.trim().parse().map_err(io::Error::other)
}

/// Sets it. Needs no memory from the heap: it is called between fork and exec.
///
/// # Errors
/// `EACCES` for a lower one without the right; `ENOENT` without /proc.
pub fn set_score(score: i32) -> io::Result<()> {
    let mut text = [0; 16];
    let length = {
        let mut rest = &mut text[..];
        io::Write::write_fmt(&mut rest, format_args!("{score}"))?;
        16 - rest.len()
    };
    let file = fd::open_both(c"/proc/self/oom_score_adj")?;
    fd::write(file.as_fd(), text.get(..length).unwrap_or_default()).map(drop)
}

/// Makes this process precious, as far as that is permitted; gives the score that its children are to have,
/// if that is another one: what this process was given, and not below 0.
pub fn become_precious() -> Option<i32> {
    let given = score().ok()?;
    // Without the right it may still come down to where it began.
    for wanted in [PRECIOUS, 0] {
        if wanted >= given || set_score(wanted).is_ok() {
            break;
        }
    }
    let wanted = given.max(0);
    (score().ok()? != wanted).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::{self};
    use crate::types::exit_status::ExitStatus;

    #[test]
    fn a_child_gets_back_what_the_precious_parent_was_given() {
        for given in [0, 300] {
            let child = process::fork(move || {
                let before = score().unwrap();
                set_score(given.max(before)).unwrap();
                let Some(theirs) = become_precious() else { return u8::from(given > before) };
                let own = score().unwrap();
                set_score(theirs).unwrap();
                u8::from(own > 0 || theirs != given.max(before) || score().unwrap() != theirs)
            })
            .unwrap();
            let ended = std::iter::repeat_with(|| process::reap(child).unwrap()).flatten().next();
            assert_eq!(ended, Some(ExitStatus::Code(0)), "given {given}");
        }
    }
}
