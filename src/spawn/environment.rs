//! The environment that all vassals share, made once from the emperor's own.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use crate::types::environment::{self, Variable};

/// The emperor's environment as its vassals get it, as execve(2) wants it.
pub fn for_vassals(variables: impl IntoIterator<Item = Variable>) -> Vec<CString> {
    let kept = environment::for_vassals(variables);
    let lines = kept.iter().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    lines.filter_map(|line| CString::new(line).ok()).collect()
}
