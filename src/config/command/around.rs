//! A vassal's file as an emperor has it read: with templates, environment and directory of its own.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::types::environment;

use super::super::setting::{Located, Origin};
use super::super::{EmperorConfig, Invocation, ReadResult, read};

/// What an emperor puts around the name of a vassal on its command line: pairs of option and value.
#[derive(Default)]
pub(super) struct Around {
    before: Vec<Located<[OsString; 2]>>,
    after: Vec<Located<[OsString; 2]>>,
}

impl Around {
    pub(super) fn of(config: &EmperorConfig) -> Self {
        let pairs = |option: &str, values: &[Located<String>]| -> Vec<_> {
            values
                .iter()
                .map(|place| place.with([option.into(), place.value.as_str().into()]))
                .collect()
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
        }
    }

    /// Reads a vassal's file, as an emperor in the directory of the file would have it read.
    pub(super) fn read(&self, call: &Invocation, file: &Path) -> ReadResult {
        let mut reading = read(&self.invocation(call, file));
        // Nobody has written the option in front of the file's name.
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
        let option = match file.extension().and_then(OsStr::to_str) {
            Some("json" | "js") => "--json",
            Some("yaml" | "yml") => "--yaml",
            Some("xml") => "--xml",
            Some("ini") => "--ini",
            _ => "--config",
        };
        let itself = Located {
            value: [OsString::from(option), OsString::from(name)],
            key: String::new(),
            origin: Origin::CommandLine,
            hidden: false,
        };
        let all = || self.before.iter().chain([&itself]).chain(&self.after);
        Invocation {
            args: all().flat_map(|said| said.value.iter().cloned()).collect(),
            // A template that is missing is the fault of the line that names it to all vassals.
            written_at: all().map(|said| said.origin.apart()).collect(),
            env: environment::for_vassals(call.env.iter().cloned()),
            cwd: call.cwd.join(dir),
            shown: dir.to_owned(),
            uid: call.uid,
            gid: call.gid,
            now: call.now,
            opened: None,
            commands: is_trusted(call, file),
            commands_timeout: call.commands_timeout,
            run: call.run,
            descriptor: call.descriptor,
        }
    }
}

/// A start runs the commands in a vassal's file as the vassal's user; whoever only looks must not run
/// those of somebody else as himself.
fn is_trusted(call: &Invocation, file: &Path) -> bool {
    let owner = |meta: fs::Metadata| meta.uid();
    let path = call.cwd.join(file);
    let link = fs::symlink_metadata(&path).map(owner);
    let target = fs::metadata(&path).map(owner);
    let trusted = |uid: std::io::Result<u32>| uid.is_ok_and(|uid| uid == 0 || uid == call.uid);
    trusted(link) && trusted(target)
}
