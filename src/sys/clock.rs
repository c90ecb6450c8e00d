//! The clocks.

use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

use crate::types::moment::Moment;

/// The time by CLOCK_MONOTONIC.
pub fn now() -> Moment {
    // The clock exists on every Linux.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    Moment::from_nanos(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

/// The processor time that this thread has used.
pub fn thread_cpu() -> Duration {
    // The clock exists on every Linux.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The time since boot, suspension included, in the ticks of `/proc/PID/stat`: what
/// [`super::process::start_ticks`] compares with. Rounded down, as there.
///
/// # Errors
/// None that can happen here.
pub fn boot_ticks() -> io::Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100).max(1);
    let ticks = now.tv_sec() * per_second + now.tv_nsec() / (1_000_000_000 / per_second);
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
