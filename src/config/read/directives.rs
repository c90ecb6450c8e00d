//! Directives: options that act on the reading itself, as soon as they are met.

use std::ffi::OsStr;

use crate::opts::key::{Directive, Format};
use crate::opts::{self, Class};

use super::super::file::{self, ConfigName, NameTarget};
use super::super::setting::{Fault, Origin, show};
use super::super::values;
use super::block::OpenBlock;
use super::{ConfigReader, FileRequest, Stop};

impl ConfigReader<'_> {
    pub(super) fn directive(
        &mut self,
        directive: Directive,
        key: &str,
        value: &str,
        at: &Origin,
    ) -> Result<(), Stop> {
        match directive {
            Directive::Read(_) | Directive::Include | Directive::Config => {
                if matches!(directive, Directive::Read(Format::Json | Format::Xml)) {
                    self.cut_section();
                }
                match file_request(directive, value.as_ref()) {
                    Some(request) => self.file(&request, at, key),
                    None => Ok(()),
                }
            }
            Directive::Set => self.set(key, value, at, false),
            Directive::SetPlaceholder => self.set(key, value, at, true),
            Directive::Strict => {
                self.strict = values::flag(value);
                Ok(())
            }
            Directive::Exit => self.exit(key, value, at),
            Directive::Open(block) => {
                self.open_block(block, key, value, at);
                Ok(())
            }
            Directive::Else => {
                if !self.block.as_mut().is_some_and(OpenBlock::switch_to_else) {
                    self.fault(at, key, "stands in no block that an if- has opened");
                }
                Ok(())
            }
            Directive::Close => {
                self.warn(at, key, "closes no block");
                Ok(())
            }
            Directive::NotYet => {
                self.fault(at, key, not_supported(key));
                Ok(())
            }
            Directive::ShowConfig
            | Directive::ShowConfigJson
            | Directive::Get
            | Directive::Check
            | Directive::Version
            | Directive::Help
            | Directive::HelpAll
            | Directive::Man => {
                self.warn(at, key, "has an effect on the command line only");
                Ok(())
            }
            // These act later: `inherit` when all is expanded, `print` when the configuration is obeyed.
            Directive::Inherit | Directive::Print => Ok(()),
        }
    }

    /// uWSGI shows the names of JSON and XML files without their section, and only those.
    fn cut_section(&mut self) {
        let Some(entry) = self.list.last_mut() else { return };
        let value = &mut entry.setting.value;
        let name =
            file::parse_name(self.call, OsStr::new(value.as_str()), self.last_opened.as_ref());
        if let Ok(ConfigName { target: NameTarget::Path(_), section: Some(section), .. }) = name {
            value.truncate(value.len().saturating_sub(section.len() + 1));
        }
    }

    fn set(&mut self, key: &str, text: &str, at: &Origin, placeholder: bool) -> Result<(), Stop> {
        let Some((name, value)) = text.split_once('=') else {
            let shown = show(text, self.hidden);
            self.fault(at, key, format!("{shown} has no '=' (expected NAME=TEXT)"));
            return Ok(());
        };
        if name.is_empty() {
            let shown = show(text, self.hidden);
            self.fault(at, key, format!("{shown} has no name before '=' (expected NAME=TEXT)"));
            return Ok(());
        }
        let class = opts::find(name).map(|opt| opt.class);
        if placeholder && class.is_some() {
            let message = format!("'{name}' is an option, not a placeholder; write set instead");
            self.fault(at, key, message);
            return Ok(());
        }
        self.push(name, value.to_owned(), at, true)?;
        if let Some(entry) = self.list.last_mut() {
            entry.literal |= placeholder;
        }
        match class {
            Some(Class::Directive(Directive::Open(_) | Directive::Else | Directive::Close)) => {
                self.fault(at, key, format!("'{name}' cannot be made by set; write it as a line"));
                Ok(())
            }
            Some(Class::Directive(directive)) => self.directive(directive, name, value, at),
            _ => Ok(()),
        }
    }

    fn exit(&mut self, key: &str, value: &str, at: &Origin) -> Result<(), Stop> {
        let status = match value.trim() {
            "" | "true" => Ok(1),
            text => text.parse::<u8>(),
        };
        let mut fault = match status {
            Ok(status) => {
                Fault::new(at, key, format!("the configuration ends here, status {status}"))
            }
            Err(_) => {
                let shown = show(value, self.hidden);
                Fault::new(at, key, format!("{shown} is not a status (expected 0 to 255)"))
            }
        };
        fault.status = status.unwrap_or(1);
        self.faults.insert(0, fault);
        Err(Stop)
    }
}

/// Which file a directive names.
pub(super) fn file_request(directive: Directive, name: &OsStr) -> Option<FileRequest<'_>> {
    let template = FileRequest::template(name);
    let typed = FileRequest { is_main_file: true, by_typed_option: true, ..template };
    match directive {
        Directive::Read(format) => Some(FileRequest { format: Some(format), ..typed }),
        Directive::Config => Some(FileRequest { any_ending: true, ..typed }),
        Directive::Include => Some(template),
        _ => None,
    }
}

/// The message about a construct that is not supported: its help says what it is, and behind a semicolon what to do
/// instead.
fn not_supported(key: &str) -> String {
    let help = opts::find(key).map_or("", |opt| opt.help);
    let (why, instead) = help.split_once("; ").unwrap_or((help, "remove it"));
    let (why, instead) = (&sentence(why), &sentence(instead));
    opts::Refusal { what: opts::refusal::NOT_SUPPORTED, why, instead }.to_string()
}

/// The phrase with a capital letter.
fn sentence(phrase: &str) -> String {
    let mut letters = phrase.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}
