//! The environment that all vassals share, made once from the emperor's own: the spawner is executed with it.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use crate::types::environment::{self, Variable};

/// The emperor's environment as its vassals get it, as execve(2) wants it.
pub fn for_vassals(variables: impl IntoIterator<Item = Variable>) -> Vec<CString> {
    lines(&environment::for_vassals(variables))
}

/// Variables as execve(2) wants them.
pub(super) fn lines(variables: &[Variable]) -> Vec<CString> {
    let line = |(name, value): &Variable| [name.as_bytes(), b"=", value.as_bytes()].concat();
    variables.iter().filter_map(|variable| CString::new(line(variable)).ok()).collect()
}
