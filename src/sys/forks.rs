//! Who may fork when, in unit tests: they are threads of one process.
//!
//! A process that is forked has all that the other tests have open, until its exec or its end. Meanwhile a
//! stream that was closed has not ended, a listener still listens, and a program that was being written
//! cannot be executed.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static FORKS: RwLock<()> = RwLock::new(());

/// For a test that forks, or starts a program: until the guard goes, nobody else does, nor minds.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    FORKS.write().unwrap_or_else(PoisonError::into_inner)
}

/// For a test that closes something and wants it closed: until the guard goes, nobody forks. One guard in a
/// test: whoever waits to be alone lets no second one pass.
pub(crate) fn none() -> RwLockReadGuard<'static, ()> {
    FORKS.read().unwrap_or_else(PoisonError::into_inner)
}
