//! A lock on forking for unit tests, which are threads of one process.
//!
//! A process that is forked has all that the other tests have open, until its exec or its end. Meanwhile a
//! stream that was closed has not ended, a listener still listens, and a program that was being written
//! cannot be executed.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static FORKS: RwLock<()> = RwLock::new(());

/// No test forks as long as this exists.
pub(crate) type NoForks = Rc<RwLockReadGuard<'static, ()>>;

thread_local! {
    /// A second guard of the same test must not wait behind a test that waits for the first guard to be dropped.
    static HELD: RefCell<Weak<RwLockReadGuard<'static, ()>>> = const { RefCell::new(Weak::new()) };
}

/// For a test that forks or starts a program: until the guard is dropped, no other test forks, and none
/// holds [`none`].
pub(crate) fn exclusive() -> RwLockWriteGuard<'static, ()> {
    FORKS.write().unwrap_or_else(PoisonError::into_inner)
}

/// For a test that closes a descriptor and needs it closed at once: until the guard is dropped, no test forks.
pub(crate) fn none() -> NoForks {
    HELD.with_borrow_mut(|held| {
        held.upgrade().unwrap_or_else(|| {
            let new = Rc::new(FORKS.read().unwrap_or_else(PoisonError::into_inner));
            *held = Rc::downgrade(&new);
            new
        })
    })
}
