//! A source of vassals, as the option `emperor` names it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where vassals come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSpec {
    /// The vassal files of one directory: its path as written, without `dir://`.
    Dir(PathBuf),
}

impl SourceSpec {
    /// The directory in which its vassals start.
    #[must_use]
    pub fn directory(&self) -> &Path {
        match self {
            Self::Dir(path) => path,
        }
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir(path) => path.display().fmt(f),
        }
    }
}
