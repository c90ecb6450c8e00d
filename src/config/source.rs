//! How a source of vassals is written, and which files it would name.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::opts::{self, Refusal};
use crate::types::names;
use crate::types::source_spec::SourceSpec;

use super::setting::Setting;

/// Reads `DIR`, or `SCHEME://…`.
///
/// # Errors
/// What is wrong, or that such a source is not supported.
pub(super) fn parse(setting: &Setting) -> Result<SourceSpec, String> {
    let text = &setting.value;
    let not_supported = opts::refusal::NOT_SUPPORTED;
    let refused = |what: &str, instead| {
        Err(Refusal { what, why: "Its vassals would never start", instead }.to_string())
    };
    match text.split_once("://") {
        Some(("dir", "")) => Err("names no directory (expected dir://DIR)".to_owned()),
        Some(("dir", directory)) => Ok(SourceSpec::Dir(directory.into())),
        Some((scheme, _)) => {
            let what = format!("{} {not_supported}", setting.show(&format!("{scheme}://")));
            refused(&what, "Name a directory, or dir://DIR")
        }
        None if text.contains(['*', '?', '[']) => {
            refused(&format!("with a pattern {not_supported}"), "Name each directory")
        }
        None => Ok(SourceSpec::Dir(text.into())),
    }
}

/// The vassal files of a source, sorted; `extra`: further endings. Their paths begin with that of the source;
/// relative ones count from `cwd`.
///
/// # Errors
/// The source cannot be read.
pub(super) fn vassal_files(
    source: &SourceSpec,
    cwd: &Path,
    extra: &[String],
) -> io::Result<Vec<PathBuf>> {
    match source {
        SourceSpec::Dir(dir) => {
            let names = names_in(&cwd.join(dir), extra)?;
            Ok(names.into_iter().map(|name| dir.join(name)).collect())
        }
    }
}

fn names_in(dir: &Path, extra: &[String]) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let extra = extra.iter().map(String::as_str);
        if names::is_vassal(name.as_bytes(), extra) && dir.join(&name).is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
