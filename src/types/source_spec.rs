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

    /// The same source, its relative names counted from `base`, which is absolute.
    #[must_use]
    pub fn relative_to(&self, base: &Path) -> Self {
        match self {
            Self::Dir(path) => {
                let path = base.join(path);
                Self::Dir(std::path::absolute(&path).unwrap_or(path))
            }
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
