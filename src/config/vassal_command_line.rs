//! The command line by which an emperor has a vassal's file read: options around the name of the file. The start
//! takes it for all vassals; a check reads each file by it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::types::{environment, names};

use super::setting::{Located, Origin};
use super::{EmperorConfig, Invocation, ReadResult, read};

/// An option and its value.
pub type OptionPair = Located<[String; 2]>;

/// What an emperor puts around the name of a vassal's file.
#[derive(Debug, Default)]
pub struct VassalCommandLine {
    /// Before it.
    pub before: Vec<OptionPair>,
    /// Behind it.
    pub after: Vec<OptionPair>,
    extra_extensions: Vec<String>,
}

impl VassalCommandLine {
    /// The command line of this emperor's vassals.
    #[must_use]
    pub fn of(config: &EmperorConfig) -> Self {
        let pairs = |option: &str, values: &[Located<String>]| -> Vec<OptionPair> {
            values.iter().map(|text| text.with([option.to_owned(), text.value.clone()])).collect()
        };
        Self {
            before: [
                pairs("--inherit", &config.vassals_inherit_before),
                pairs("--include", &config.vassals_include_before),
                pairs("--set", &config.vassals_set),
            ]
            .concat(),
            after: [
                pairs("--inherit", &config.vassals_inherit),
                pairs("--include", &config.vassals_include),
            ]
            .concat(),
            extra_extensions: config.extra_extensions.clone(),
        }
    }

    /// Reads a vassal's file, as an emperor in the directory of the file would have it read.
    pub(super) fn read(&self, call: &Invocation, file: &Path) -> ReadResult {
        let mut reading = read(&self.invocation(call, file));
        // The option in front of the file's name was written by nobody.
        for fault in &mut reading.faults.0 {
            if fault.origin == Origin::CommandLine {
                fault.key.clear();
            }
        }
        reading
    }

    /// The invocation that such an emperor would make.
    pub(super) fn invocation(&self, call: &Invocation, file: &Path) -> Invocation {
        let dir = file.parent().unwrap_or_else(|| Path::new(""));
        let name = file.file_name().unwrap_or(file.as_os_str());
        let option = names::option(name.as_bytes(), &self.extra_extensions).unwrap_or(c"--config");
        let option = OsStr::from_bytes(option.to_bytes()).to_owned();
        let texts = |pairs: &[OptionPair]| -> Vec<OsString> {
            pairs.iter().flat_map(|pair| &pair.value).map(OsString::from).collect()
        };
        // A template that is missing is the fault of the line that names it to all vassals.
        let places =
            |pairs: &[OptionPair]| pairs.iter().map(|pair| pair.origin.detached()).collect();
        Invocation {
            args: [texts(&self.before), vec![option, name.to_owned()], texts(&self.after)].concat(),
            written_at: [places(&self.before), vec![Origin::CommandLine], places(&self.after)]
                .concat(),
            env: environment::for_vassals(call.env.iter().cloned()),
            cwd: call.cwd.join(dir),
            shown_prefix: dir.to_owned(),
            uid: call.uid,
            gid: call.gid,
            now: call.now,
            opened: None,
            commands: is_trusted(call, file),
            commands_timeout: call.commands_timeout,
            inherits_files: call.inherits_files,
            run: call.run,
            descriptor: call.descriptor,
        }
    }
}

/// Whether a check may run the commands in a file. A start runs them as the vassal's user; a check would run them as
/// the user who checks, and so only if that user or root has written the file.
fn is_trusted(call: &Invocation, file: &Path) -> bool {
    let owner = |meta: fs::Metadata| meta.uid();
    let path = call.cwd.join(file);
    let link = fs::symlink_metadata(&path).map(owner);
    let target = fs::metadata(&path).map(owner);
    let trusted = |uid: std::io::Result<u32>| uid.is_ok_and(|uid| uid == 0 || uid == call.uid);
    trusted(link) && trusted(target)
}
