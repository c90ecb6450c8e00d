//! Limits of a process, for itself and what it executes.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Limits the address space to so many bytes.
///
/// # Errors
/// `EPERM` above the present hard limit without the privilege.
pub fn set_address_space(bytes: u64) -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_AS, bytes, bytes)?)
}

/// Limits the number of descriptors.
///
/// # Errors
/// `EPERM` above the present hard limit without the privilege, or above the sysctl `fs.nr_open`.
pub fn set_descriptors(count: u64) -> io::Result<()> {
    set_descriptor_limit(DescriptorLimit { soft: count, hard: count })
}

/// How many descriptors this process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// What counts now.
    pub soft: u64,
    /// Up to which it may be raised.
    pub hard: u64,
}

/// Asks for RLIMIT_NOFILE.
///
/// # Errors
/// None that can happen here.
pub fn descriptor_limit() -> io::Result<DescriptorLimit> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(DescriptorLimit { soft, hard })
}

/// Sets RLIMIT_NOFILE, both numbers.
///
/// # Errors
/// `EPERM` above the present hard limit, `EINVAL` for soft above hard.
pub fn set_descriptor_limit(limit: DescriptorLimit) -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_NOFILE, limit.soft, limit.hard)?)
}

/// Lowers the soft limit of descriptors to this, for what is executed.
///
/// # Errors
/// None that can happen here.
pub fn lower_descriptors(soft: u64) -> io::Result<()> {
    let now = descriptor_limit()?;
    set_descriptor_limit(DescriptorLimit { soft: soft.min(now.hard), ..now })
}

/// Raises the soft descriptor limit to the hard one and returns what it was, for the children.
///
/// # Errors
/// None that can happen here.
pub fn raise_descriptor_limit() -> io::Result<DescriptorLimit> {
    let before = descriptor_limit()?;
    set_descriptor_limit(DescriptorLimit { soft: before.hard, ..before })?;
    Ok(before)
}
