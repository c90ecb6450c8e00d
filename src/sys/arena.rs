//! The memory of a process that lives for a moment: a child of the spawner, from its fork to its exec.
//!
//! The heap that it has inherited is shared with the spawner page by page, and the kernel copies each page at the first
//! write to it, which costs more than all that is written. So it gets memory of its own in one call, from which
//! everything is taken in a row, and nothing is given back but what was taken last: the exec frees it all. The emperor
//! and every other process use the C library's heap.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The first piece: most starts need half of it. The kernel provides it at once.
const FIRST_PIECE: usize = 64 * 1024;
/// Each further piece, if no more is wanted at once.
const NEXT_PIECE: usize = 1024 * 1024;
/// All pieces together: a file that wants more than that is not a configuration.
const MAX_MEMORY: usize = 256 * 1024 * 1024;
/// In front of a piece, so that nothing else ends where the first of it begins.
const MARGIN: usize = 16;

/// The allocator of the program; where it is another one, [`enter`] is of no effect.
#[derive(Debug)]
pub struct Allocator;

/// The first free byte of the piece.
static NEXT: AtomicUsize = AtomicUsize::new(0);
/// The end of the piece; 0: there is no arena.
static END: AtomicUsize = AtomicUsize::new(0);
/// The sizes of all pieces.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// From here on this process takes its memory from an arena. It must have one thread, and soon end or execute a
/// program. If the kernel refuses, everything stays as it is.
pub fn enter() {
    let _ = add_piece(FIRST_PIECE, libc::MAP_POPULATE);
}

/// Makes a piece the one that is taken from.
fn add_piece(size: usize, flags: libc::c_int) -> Option<()> {
    let taken = TAKEN.load(Ordering::Relaxed).checked_add(size)?;
    if taken > MAX_MEMORY {
        return None;
    }
    let (access, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags);
    // SAFETY: no address is asked for, so no mapping that is there is touched.
    let piece = unsafe { libc::mmap(ptr::null_mut(), size, access, flags, -1, 0) };
    if piece == libc::MAP_FAILED {
        return None;
    }
    let start = piece.expose_provenance();
    TAKEN.store(taken, Ordering::Relaxed);
    NEXT.store(start + MARGIN, Ordering::Relaxed);
    END.store(start + size, Ordering::Relaxed);
    Some(())
}

/// Takes memory from the piece, or from a new one.
fn take(layout: Layout) -> *mut u8 {
    let fits = || {
        let start = NEXT.load(Ordering::Relaxed).checked_next_multiple_of(layout.align())?;
        let end = start.checked_add(layout.size())?;
        (end <= END.load(Ordering::Relaxed)).then_some((start, end))
    };
    let found = fits().or_else(|| {
        let wanted = layout.size().checked_add(layout.align())?.checked_add(MARGIN)?;
        add_piece(wanted.max(NEXT_PIECE), 0)?;
        fits()
    });
    let Some((start, end)) = found else { return ptr::null_mut() };
    NEXT.store(end, Ordering::Relaxed);
    ptr::with_exposed_provenance_mut(start)
}

/// Whether this was taken last.
fn is_last(pointer: *mut u8, size: usize) -> bool {
    pointer.addr().checked_add(size) == Some(NEXT.load(Ordering::Relaxed))
}

// SAFETY: without an arena all calls are the system allocator's. With one there is one thread (see `enter`), each
// allocation is a part of a piece that nothing else has, of its size and alignment, and pieces stay until the end. What
// the system allocator has given before is never given back then. What was taken last ends at `NEXT`; nothing foreign
// does, as pieces have a margin.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match END.load(Ordering::Relaxed) {
            // SAFETY: the caller keeps the rules of this call.
            0 => unsafe { System.alloc(layout) },
            _ => take(layout),
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if END.load(Ordering::Relaxed) == 0 {
            // SAFETY: the caller keeps the rules of this call, and without an arena all is the system's.
            unsafe { System.dealloc(pointer, layout) }
        } else if is_last(pointer, layout.size()) {
            NEXT.store(pointer.addr(), Ordering::Relaxed);
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if END.load(Ordering::Relaxed) == 0 {
            // SAFETY: as for `dealloc`.
            return unsafe { System.realloc(pointer, layout, size) };
        }
        if is_last(pointer, layout.size()) {
            let end = pointer.addr().checked_add(size);
            if let Some(end) = end.filter(|end| *end <= END.load(Ordering::Relaxed)) {
                NEXT.store(end, Ordering::Relaxed);
                return pointer;
            }
        } else if size <= layout.size() {
            return pointer;
        }
        let Ok(new_layout) = Layout::from_size_align(size, layout.align()) else {
            return ptr::null_mut();
        };
        let new = take(new_layout);
        if !new.is_null() {
            // SAFETY: the old one has so many bytes by the caller's word, the new one by `take`, which gives what
            // nobody has.
            unsafe { ptr::copy_nonoverlapping(pointer, new, layout.size().min(size)) };
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process;

    #[global_allocator]
    static ALLOCATOR: Allocator = Allocator;

    /// What holds in a process with an arena, which a test cannot be.
    fn in_arena(holds: fn() -> bool) -> bool {
        let _alone = crate::sys::test_fork_lock::exclusive();
        let child = process::fork(|| {
            enter();
            u8::from(!holds())
        })
        .unwrap();
        loop {
            if let Some(ended) = process::reap(child).unwrap() {
                return ended == crate::types::exit_status::ExitStatus::Code(0);
            }
            std::thread::yield_now();
        }
    }

    fn used() -> usize {
        NEXT.load(Ordering::Relaxed)
    }

    #[test]
    fn what_was_taken_last_is_given_back_and_grows_where_it_is() {
        assert!(in_arena(|| {
            let before = used();
            let mut text = Vec::with_capacity(10);
            text.resize(10_000, b'x');
            let place = text.as_ptr();
            text.resize(20_000, b'y');
            let grown = text.as_ptr() == place && used() == before + text.capacity();
            drop(text);
            grown && used() == before
        }));
    }

    #[test]
    fn much_is_taken_from_further_pieces_and_stays_what_it_was() {
        assert!(in_arena(|| {
            let texts: Vec<Vec<usize>> = (0..3000).map(|number| vec![number; 100]).collect();
            let large = vec![7_u8; 20 * NEXT_PIECE];
            texts.iter().enumerate().all(|(number, text)| text.iter().all(|it| *it == number))
                && large.iter().all(|byte| *byte == 7)
                && Box::new(1_u128).as_ref() == &1
        }));
    }

    #[test]
    fn too_much_is_refused() {
        assert!(in_arena(|| Vec::<u8>::new().try_reserve_exact(MAX_MEMORY).is_err()));
        assert!(in_arena(|| Vec::<u8>::new().try_reserve_exact(MAX_MEMORY / 2).is_ok()));
    }

    #[test]
    fn what_is_from_before_can_be_used_and_dropped() {
        let _alone = crate::sys::test_fork_lock::exclusive();
        let mut inherited = vec![1_u8; 1000];
        let child = process::fork(|| {
            enter();
            inherited.extend([2_u8; 100_000]);
            let is_whole = inherited.get(999..1001) == Some(&[1, 2]);
            drop(std::mem::take(&mut inherited));
            u8::from(!is_whole)
        })
        .unwrap();
        while process::reap(child).unwrap().is_none_or(|ended| {
            assert_eq!(ended, crate::types::exit_status::ExitStatus::Code(0));
            false
        }) {}
    }
}
