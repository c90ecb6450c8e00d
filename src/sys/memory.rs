//! Memory: what is given back to the kernel.

/// Memory of this size or more is asked of the kernel by itself, and given back when it is freed.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 64 * 1024;

/// As much unused memory stays at the end of the heap.
#[cfg(target_env = "gnu")]
const SPARE: libc::c_int = 16 * 1024;

/// Keeps the heap of a process that lives for months as small as what it holds: a snapshot of the
/// statistics of thousands of vassals must not stay behind as a hole in it, nor what their start has
/// needed at its end. The C library would raise the first of these limits by itself with each large
/// buffer that is freed, and keeps 128 KiB at the end.
pub fn give_back_what_is_free() {
    #[cfg(target_env = "gnu")]
    for (limit, bytes) in
        [(libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, LARGE), (libc::M_TOP_PAD, SPARE)]
    {
        // SAFETY: two integers; the allocator is told, nothing of ours is touched.
        unsafe { libc::mallopt(limit, bytes) };
    }
}

#[cfg(test)]
mod tests {
    /// Resident memory of this process, in KiB.
    #[cfg(target_env = "gnu")]
    fn resident() -> u64 {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        size.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn a_large_buffer_is_given_back_when_it_is_freed() {
        // Without the limit the C library keeps the second of two equal ones in its heap, behind the first.
        super::give_back_what_is_free();
        let buffer = || std::hint::black_box(vec![1_u8; 30 << 20]);
        drop(buffer());
        let before = resident();
        let (one, behind) = (buffer(), std::hint::black_box(Box::new([1_u8; 1024])));
        drop(one);
        let after = resident();
        drop(behind);
        assert!(after < before + 15 * 1024, "{before} KiB, then {after} KiB");
    }
}
