//! Files that settings name: each is found, opened once and parsed, and its lines are taken where it is named.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Instant;

use crate::opts;
use crate::opts::key::Format;

use super::super::file::{self, ConfigName, Content, NameTarget};
use super::super::limits::Counted;
use super::super::magic::{DoubtfulPercent, Magic, MagicNames};
use super::super::setting::{Origin, TextSource};
use super::super::text::Parsed;
use super::super::{ini, json, xml, yaml};
use super::{ConfigReader, FileRequest, MAX_FILE_DEPTH, Stop};
use crate::types::quote::{self, NOT_SHOWN};

impl ConfigReader<'_> {
    /// Reads a file, and takes its lines.
    pub(super) fn file(
        &mut self,
        request: &FileRequest<'_>,
        at: &Origin,
        key: &str,
    ) -> Result<(), Stop> {
        let name = match file::parse_name(self.call, request.name, self.last_opened.as_ref()) {
            Ok(name) => name,
            Err(message) => return self.cannot_read(at, key, request, message),
        };
        let format = match request.format.or_else(|| name.format()) {
            Some(format) => format,
            None if request.any_ending || !matches!(name.target, NameTarget::Path(_)) => {
                Format::Ini
            }
            None => {
                let message = "unable to load configuration from it: its ending is not known (expected \
                               .ini .json .js .yml .yaml .xml; --config reads any as INI)";
                return self.cannot_read(at, key, request, message.to_owned());
            }
        };
        let content = match self.content(&name) {
            Ok(content) => content,
            Err(message) => {
                return self.cannot_read(
                    at,
                    key,
                    request,
                    message + &file::hint_for_name(request.name.as_bytes()),
                );
            }
        };
        let source = TextSource {
            path: if self.hidden {
                NOT_SHOWN.into()
            } else {
                self.call.shown_prefix.join(&name.given)
            },
            named_at: Some(at.clone()),
            identity: identity(&name, content.id),
        };
        self.check_nesting(&source, at, key)?;
        let charged = self.limits.charge(Counted::Read, content.bytes.len());
        self.end_if_exceeded(charged, at, key)?;
        let names = MagicNames::new(&name, self.current_file.as_ref());
        let is_named_inside = matches!(at, Origin::File { .. });
        if request.by_typed_option && !is_named_inside && self.first_typed_file.is_none() {
            self.first_typed_file = Some(names.clone());
        }
        let parsed = self.parse(&content.bytes, &name, format, &names);
        self.last_opened = Some(name);
        let source = Arc::new(source);
        if request.is_main_file && !is_named_inside && self.main_file.is_none() {
            let origin = Origin::File { file: Arc::clone(&source), line: 0 };
            self.main_file = Some((origin, names.clone()));
        }
        self.current_file = Some(names);
        self.add_parsed(parsed, &source)
    }

    fn cannot_read(
        &mut self,
        at: &Origin,
        key: &str,
        request: &FileRequest<'_>,
        message: String,
    ) -> Result<(), Stop> {
        let message = message + &file::hint_for_name(request.name.as_bytes());
        if self.hidden {
            // The reason may repeat the name, too.
            self.fault(at, key, format!("{NOT_SHOWN}: cannot be read (expected a file)"));
        } else if request.is_main_file && *at == Origin::CommandLine {
            // The message names the file instead of the command line. A check of many directories adds the
            // directory, which an emperor there would leave out.
            let path = self.call.shown_prefix.join(request.name);
            let file = TextSource { path, named_at: None, identity: String::new() };
            self.fault(&Origin::File { file: Arc::new(file), line: 0 }, "", message);
        } else {
            self.fault(at, key, format!("{}: {message}", quote::path(request.name.as_ref())));
        }
        // Without the main file the rest would not mean what it should.
        if request.is_main_file { Err(Stop) } else { Ok(()) }
    }

    /// The text of a resource, for `@(name)` and `for-readline`.
    pub(in crate::config) fn resource(&mut self, name: &str) -> Result<String, String> {
        self.limits.charge(Counted::Read, 0)?;
        let mut bytes = self.content(&file::parse_resource_name(self.call, name)?)?.bytes;
        self.limits.charge(Counted::Read, bytes.len())?;
        // One line end at the end does not count.
        bytes.pop_if(|last| matches!(last, b'\n' | b'\r'));
        String::from_utf8(bytes)
            .map_err(|_| "is not UTF-8; save the file in that encoding".to_owned())
    }

    /// Reads what a name means; the time that commands take is counted over all of them.
    fn content(&mut self, name: &ConfigName) -> Result<Content, String> {
        let began = Instant::now();
        let content = file::read(self.call, name, self.limits.command_time);
        if let NameTarget::Command(_) = name.target {
            let left = self.limits.command_time.saturating_sub(began.elapsed());
            self.limits.command_time = left;
        }
        content
    }

    /// A file must not include itself, by whatever way, and files must not nest too deeply.
    fn check_nesting(&mut self, source: &TextSource, at: &Origin, key: &str) -> Result<(), Stop> {
        let mut path = vec![source.path.display().to_string()];
        let mut here = at;
        while let Origin::File { file, line } = here {
            path.push(format!("{}:{line}", file.path.display()));
            if file.identity == source.identity {
                path.reverse();
                let message = format!(
                    "{} is already being read; the files name each other: {}",
                    source.path.display(),
                    path.join(" → ")
                );
                self.fault(at, key, message);
                return Err(Stop);
            }
            let Some(up) = &file.named_at else { break };
            here = up;
        }
        if path.len() > MAX_FILE_DEPTH {
            self.fault(at, key, format!("files name files more than {MAX_FILE_DEPTH} deep"));
            return Err(Stop);
        }
        Ok(())
    }

    fn parse(
        &self,
        bytes: &[u8],
        name: &ConfigName,
        format: Format,
        names: &MagicNames,
    ) -> (Parsed, Vec<(u32, DoubtfulPercent)>) {
        let first = self.first_typed_file.as_ref();
        let magic = Magic { call: self.call, current: Some(names), first };
        let replaced = match magic.replace(bytes) {
            Ok(replaced) => replaced,
            Err((line, message)) => return (Parsed::of_fault(line, "", message), Vec::new()),
        };
        let parsed = parse(format, &replaced.bytes, name.section.as_deref());
        (parsed, replaced.doubtful)
    }

    /// Takes the lines of a file.
    fn add_parsed(
        &mut self,
        (parsed, doubtful): (Parsed, Vec<(u32, DoubtfulPercent)>),
        file: &Arc<TextSource>,
    ) -> Result<(), Stop> {
        let at = |line: u32| Origin::File { file: Arc::clone(file), line };
        for (line, doubtful) in doubtful {
            // A percent sign in a comment, or in a section that is not read, does not matter.
            let Some(pair) = parsed.pairs.iter().find(|pair| pair.line == line) else { continue };
            match doubtful {
                DoubtfulPercent::Meaningless(letter) => {
                    let place = match letter {
                        '\n' | '\r' => "at the end of a line".to_owned(),
                        letter => format!("before '{}'", letter.escape_default()),
                    };
                    self.warn(&at(line), "", format!("% {place} has no meaning, write %%"));
                }
                DoubtfulPercent::LikeUrl(one, two) if is_variable(&pair.key) => {
                    let message = format!(
                        "%{one}{two} is read as the magic variable %{one} and {two}; for the percent sign of a \
                         URL or password write %%{one}{two}"
                    );
                    self.warn(&at(line), &pair.key, message);
                }
                DoubtfulPercent::LikeUrl(..) => {}
            }
        }
        let has_faults = !parsed.faults.is_empty();
        for fault in parsed.faults {
            self.fault(&at(fault.line), &fault.key, fault.message);
        }
        let outside = (self.block.take(), std::mem::take(&mut self.hidden));
        for pair in &parsed.pairs {
            self.add(&pair.key, &pair.value, &at(pair.line))?;
        }
        if has_faults {
            // The line that closes the block may be among those that could not be read.
            self.block = None;
        }
        self.expect_no_open_block(&at(0));
        (self.block, self.hidden) = outside;
        Ok(())
    }
}

fn parse(format: Format, bytes: &[u8], section: Option<&str>) -> Parsed {
    match format {
        Format::Ini => ini::parse(bytes, section),
        Format::Json => json::parse(bytes, section),
        Format::Yaml => yaml::parse(bytes, section),
        Format::Xml => xml::parse(bytes, section),
    }
}

/// Whether a setting of this name is a variable for the program.
fn is_variable(key: &str) -> bool {
    opts::find(key).is_some_and(|opt| opt.vassal_key() == Some(opts::VassalOption::Env))
}

fn identity(name: &ConfigName, id: Option<(u64, u64)>) -> String {
    let section = name.section.as_deref().unwrap_or_default();
    match id {
        Some((device, inode)) => format!("{device}:{inode}:{section}"),
        None => name.given.to_string_lossy().into_owned(),
    }
}
