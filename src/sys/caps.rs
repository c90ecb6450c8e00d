//! Capabilities that outlive a change of the user.

use std::io;

/// Version 3 of the interface: 64 capabilities in two halves.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
struct CapabilityHalf {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Has the kernel keep the permitted capabilities when this process changes its user; until the next exec.
///
/// # Errors
/// None that can happen here.
pub fn keep_over_a_change_of_user() -> io::Result<()> {
    Ok(nix::sys::prctl::set_keepcaps(true)?)
}

/// Leaves this process these capabilities, and no others. A program that it executes does not get them.
///
/// # Errors
/// `EPERM` for one that is not permitted now.
///
/// # Source
/// capset(2), capabilities(7).
pub fn keep_only(bits: u64) -> io::Result<()> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let [low, high] = [bits & u64::from(u32::MAX), bits >> 32].map(|half| {
        let half = u32::try_from(half).unwrap_or_default();
        CapabilityHalf { effective: half, permitted: half, inheritable: 0 }
    });
    let halves = [low, high];
    // SAFETY: nix does not know this call; the kernel reads one header and, for this version, two halves; both outlive the call.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
