//! The clocks.

use std::io;

use super::check;
use crate::types::moment::Moment;

/// The time by CLOCK_MONOTONIC.
pub fn now() -> Moment {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, which is ours; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let part = |count: i64| u64::try_from(count).unwrap_or(0);
    Moment::from_nanos(part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec))
}

/// The time since boot, suspension included, in the ticks of `/proc/PID/stat`: what
/// [`super::process::start_ticks`] compares with. Rounded down, as there.
///
/// # Errors
/// None that can happen here.
pub fn boot_ticks() -> io::Result<u64> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is ours and outlives the call, which fills it in.
    check(unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) })?;
    // SAFETY: an integer goes in, an integer comes back.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1);
    let ticks = now.tv_sec * per_second + now.tv_nsec / (1_000_000_000 / per_second);
    u64::try_from(ticks).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use crate::sys::process::{Pid, start_ticks};

    #[test]
    fn a_process_has_not_started_after_now() {
        let own = Pid::new(i32::try_from(std::process::id()).unwrap()).unwrap();
        let started = start_ticks(own).unwrap();
        let now = super::boot_ticks().unwrap();
        assert!(started <= now && now - started < 100 * 600, "{started} {now}");
    }
}
