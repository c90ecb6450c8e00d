//! Cost of resolving one ordinary vassal file: 20 lines and one include, read, expanded and checked.
//!
//! `cargo bench --bench config` prints time and memory, and fails if a limit of the manual is exceeded:
//! 0.2 ms (median) and 2 MiB of heap at the worst moment.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::panic)] // a benchmark talks and may fail
#![allow(unsafe_code)] // an allocator that counts is unsafe by its nature

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use liege::config::{self, Invocation};

/// Counts what is allocated now, and the most there ever was.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator unchanged; only sizes are counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the pointer came from `System`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const VASSAL: &str = "\
[uwsgi]
; an ordinary vassal
include = base.ini
name = shop
chdir = /srv/%n
http-socket = 127.0.0.1:8080
socket = /run/%(name)/app.sock
chmod-socket = 660
uid = www-data
gid = www-data
umask = 027
env = DJANGO_SETTINGS_MODULE=%(name).settings
env = HOME=$(HOME)
unenv = LANG
processes = 4
threads = 2
master = true
vacuum = true
stop-signal = TERM
if-env = STAGING
env = STAGE=%(_)
endif =
unprivileged-binary-patch-arg = /usr/bin/gunicorn -w %(processes) %(name).wsgi
";

const BASE: &str = "\
[uwsgi]
logto = /var/log/vassals/%N.log
notify = true
loyal-after = 5
harakiri = 30
buffer-size = 8192
";

fn main() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("shop.ini"), VASSAL).unwrap();
    fs::write(folder.path().join("base.ini"), BASE).unwrap();
    let call = Invocation::new(
        vec!["--ini".into(), "shop.ini".into()],
        std::env::vars_os().collect(),
        folder.path().canonicalize().unwrap(),
    );
    let resolve = || {
        let resolved = config::load(&call).unwrap();
        config::vassal::check(black_box(&resolved)).unwrap()
    };

    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    black_box(resolve());
    let peak = PEAK.load(Relaxed) - before;

    let mut times: Vec<Duration> = (0..2000)
        .map(|_| {
            let start = Instant::now();
            black_box(resolve());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap();
    let slow = times.get(times.len() * 99 / 100).copied().unwrap();

    println!("vassal file of 23 lines with one include of 6: read, expanded, checked");
    println!(
        "  median {median:?} (limit 200µs), 99 % {slow:?}, heap at most {} KiB (limit 2048)",
        peak / 1024
    );
    assert!(median < Duration::from_micros(200), "too slow");
    assert!(peak < 2 << 20, "too much memory");
}
