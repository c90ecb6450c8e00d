//! The names that a pattern matches, for `for-glob`.
//!
//! The crate `glob` would walk directories without a limit, so it only compares names here; the directories are read
//! level by level, and each name is counted.

use std::fs;
use std::path::Path;

use glob::{MatchOptions, Pattern};

use super::limits::{Counted, Limits};
use crate::types::quote::quoted;

/// As in the shell: no wildcard stands for a slash, or for a dot at the beginning.
const GLOB_OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Finds the names below `cwd`, or from the root, sorted; `limits` counts those that are compared.
///
/// # Errors
/// What is wrong with the pattern, or with a name that it matches.
pub(super) fn names(cwd: &Path, pattern: &str, limits: &mut Limits) -> Result<Vec<String>, String> {
    let root = if pattern.starts_with('/') { "/" } else { "" };
    let mut walk = GlobWalk { cwd, pattern, found: vec![root.to_owned()], limits };
    let mut parts = pattern.split('/').filter(|part| !part.is_empty()).peekable();
    while let Some(part) = parts.next() {
        walk.step(part)?;
        if parts.peek().is_some() || pattern.ends_with('/') {
            walk.found.retain_mut(|name| {
                name.push('/');
                cwd.join(&*name).is_dir()
            });
        }
    }
    let mut found = walk.found;
    found.retain(|name| !name.is_empty());
    found.sort_unstable();
    Ok(found)
}

struct GlobWalk<'w> {
    cwd: &'w Path,
    pattern: &'w str,
    /// The names that match so far.
    found: Vec<String>,
    limits: &'w mut Limits,
}

impl GlobWalk<'_> {
    /// Extends every name by the entries that match this part of the pattern.
    fn step(&mut self, part: &str) -> Result<(), String> {
        let before = std::mem::take(&mut self.found);
        if !part.contains(['*', '?', '[']) {
            for name in before {
                let name = name + part;
                self.count(name.len())?;
                if fs::symlink_metadata(self.cwd.join(&name)).is_ok() {
                    self.found.push(name);
                }
            }
            return Ok(());
        }
        // To glob(3) two stars are the same as one; to the crate they mean all directories below.
        let mut signs: Vec<char> = part.chars().collect();
        signs.dedup_by(|sign, before| (*sign, *before) == ('*', '*'));
        let part = Pattern::new(&signs.into_iter().collect::<String>())
            .map_err(|error| format!("{} is not a pattern: {}", quoted(self.pattern), error.msg))?;
        for dir in before {
            // What is not a directory, or cannot be read, has no entries.
            let Ok(entries) = fs::read_dir(self.cwd.join(&dir)) else { continue };
            for entry in entries.map_while(Result::ok) {
                let name = entry.file_name();
                self.count(dir.len() + name.len())?;
                if !part.matches_with(&name.to_string_lossy(), GLOB_OPTIONS) {
                    continue;
                }
                let Some(name) = name.to_str() else {
                    return Err(format!("'{}' matches {name:?}, which is not UTF-8", self.pattern));
                };
                self.found.push(format!("{dir}{name}"));
            }
        }
        Ok(())
    }

    fn count(&mut self, length: usize) -> Result<(), String> {
        // A long name takes longer to compare.
        let charged = self.limits.charge(Counted::GlobNames, 1 + length / 64);
        charged.map_err(|message| format!("'{}': {message}", self.pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits::new(std::time::Duration::ZERO)
    }

    fn found(cwd: &Path, pattern: &str) -> Vec<String> {
        names(cwd, pattern, &mut limits()).unwrap()
    }

    #[test]
    fn patterns_match_as_in_the_shell() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b/x.conf", "a/x.conf", "a/.hidden", "a/y", "z[1]", "é"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        for (pattern, expected) in [
            ("*", &["a", "b", "z[1]", "é"][..]),
            ("**", &["a", "b", "z[1]", "é"]),
            ("*/", &["a/", "b/"]),
            ("*/*.conf", &["a/x.conf", "b/x.conf"]),
            ("**/y", &["a/y"]),
            ("**/x.c**f", &["a/x.conf", "b/x.conf"]),
            ("a/.h*", &["a/.hidden"]),
            ("a//[!x]", &["a/y"]),
            ("./?/y", &["./a/y"]),
            ("z[[]1]", &["z[1]"]),
            ("a", &["a"]),
            ("a/none", &[]),
            ("y/*", &[]),
            ("", &[]),
        ] {
            assert_eq!(found(dir.path(), pattern), expected, "{pattern}");
        }
        let absolute = format!("{}/a/*", dir.path().display());
        assert_eq!(found(Path::new("/"), &absolute).len(), 2);
        assert_eq!(found(dir.path(), "/"), ["/"]);
        assert!(names(dir.path(), "[", &mut limits()).unwrap_err().contains("not a pattern"));
    }

    #[test]
    fn a_pattern_without_bound_is_a_fault() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(".", dir.path().join("a")).unwrap();
        std::os::unix::fs::symlink(".", dir.path().join("b")).unwrap();
        let told = names(dir.path(), &"*/".repeat(30), &mut limits()).unwrap_err();
        assert!(told.contains("narrower"), "{told}");
    }
}
