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

/// Takes the pages of our own program that were needed up to now out of this process; what is needed
/// again comes back from the page cache. A start reads far more of it than the loop does afterwards.
pub fn forget_code_pages() {
    // SAFETY: the function below gets a valid pointer for the time of each call, and no data.
    unsafe { libc::dl_iterate_phdr(Some(forget_segments), std::ptr::null_mut()) };
}

/// For the first object, which is the program: each segment that is loaded and never written to.
unsafe extern "C" fn forget_segments(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut libc::c_void,
) -> libc::c_int {
    const PAGE: usize = 4096;
    // SAFETY: the C library hands in an object that is valid for the time of this call.
    let info = unsafe { &*info };
    let (base, count) = (info.dlpi_addr as usize, usize::from(info.dlpi_phnum));
    // SAFETY: it describes its headers, which are never written to, with this pointer and count.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, count) };
    for header in headers {
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let start = (base + header.p_vaddr as usize).next_multiple_of(PAGE);
        let end = (base + header.p_vaddr as usize + header.p_memsz as usize) / PAGE * PAGE;
        if start < end {
            // SAFETY: whole pages of a private file mapping that is never written to: what is dropped
            // is read again from the file, the same, when it is touched next.
            unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
        }
    }
    1
}

#[cfg(test)]
mod tests {
    /// What is in memory of the code of this program, in KiB (proc(5), `smaps`).
    fn resident_code() -> u64 {
        let own = std::env::current_exe().unwrap();
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_code = false;
        let mut sum = 0;
        for line in text.lines() {
            if line.ends_with(own.to_str().unwrap()) {
                is_code = line.contains(" r-xp ");
            } else if is_code && let Some(size) = line.strip_prefix("Rss:") {
                sum += size.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
            }
        }
        sum
    }

    #[test]
    fn code_that_was_forgotten_takes_no_memory_until_it_is_called_again() {
        // The tests beside this one call more of it all the time.
        let is_less = (0..100).any(|_| {
            let before = resident_code();
            super::forget_code_pages();
            resident_code() < before
        });
        assert!(is_less, "{} KiB of code stay in memory", resident_code());
    }

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
