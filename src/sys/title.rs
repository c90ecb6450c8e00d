//! The title of this process, as ps(1) and top(1) show it.

use std::ffi::CString;
use std::io;

/// Gives this process another title: its name (15 bytes of it), and its command line as far as the one that
/// it was started with is long. Arguments are not to be read afterwards.
///
/// # Errors
/// `InvalidData` if /proc does not tell where the command line is; those of open(2) without /proc.
pub fn set(title: &str) -> io::Result<()> {
    let name = CString::new(title.replace('\0', " "))?;
    nix::sys::prctl::set_name(&name)?;
    let stat = std::fs::read("/proc/self/stat")?;
    let (start, end) = arguments(&stat).ok_or(io::ErrorKind::InvalidData)?;
    let place = std::ptr::with_exposed_provenance_mut::<u8>(start);
    let room = end.saturating_sub(start);
    // SAFETY: the kernel has put the arguments there, `room` bytes of this process's own writable stack. No
    // reference to them is held, because all readers have copied them. The written text ends with NUL, so the
    // pointers to the arguments still point to strings.
    let place = unsafe { std::slice::from_raw_parts_mut(place, room) };
    place.fill(0);
    let text = name.as_bytes();
    let length = text.len().min(room.saturating_sub(1));
    for (to, from) in place.iter_mut().zip(text).take(length) {
        *to = *from;
    }
    Ok(())
}

/// Fields 48 and 49 of `/proc/PID/stat`, counted from the last `)`.
fn arguments(stat: &[u8]) -> Option<(usize, usize)> {
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace().skip(45).map(str::parse);
    Some((fields.next()?.ok().filter(|start| *start > 0)?, fields.next()?.ok()?))
}
