//! The monitors of this emperor: one for each source of vassals.

use std::collections::HashMap;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use crate::config::address;
use crate::config::emperor::EmperorConfig;
use crate::log::Log;
use crate::monitor::{self, Changes, LogLine, Monitor, OnDemandAddress, VassalFile};
use crate::reactor::{Delivery, Interest, Reactor};
use crate::state::{File, Key, OnDemand, SourceId};
use crate::sys::dir::Links;
use crate::types::advice;
use crate::types::moment::Moment;
use crate::types::source_spec::SourceSpec;

use super::context::{Context, Sources};
use super::setup_error::{SetupError, at, cannot};
use super::token::Token;

/// All monitors, by the number of their source.
pub(super) struct Monitors {
    monitors: Vec<Box<dyn Monitor>>,
    /// Changes that a monitor has found; empty between two calls, except after a fault.
    found: Changes,
}

impl Monitors {
    /// Opens a monitor for each source of the configuration; gives where the vassals of each start as well.
    ///
    /// # Errors
    /// The first source that cannot be watched.
    pub fn open(config: &EmperorConfig, log: &mut Log) -> Result<(Self, Sources), SetupError> {
        let mut monitors = Vec::new();
        let mut specs: Vec<SourceSpec> = Vec::new();
        // A relative name still names the same when this process has changed its directory.
        let cwd = std::env::current_dir().unwrap_or_default();
        for setting in &config.emperors {
            let spec = setting.value.relative_to(&cwd);
            if specs.contains(&spec) {
                log.warning(format_args!("{} is given twice; the second is ignored", at(setting)));
                continue;
            }
            let options = monitor::Options {
                shown: setting.show(spec.directory().display()),
                extensions: config.extra_extensions.iter().map(OsString::from).collect(),
                on_demand_extension: config.on_demand_extension.as_ref().map(OsString::from),
                links: if config.nofollow { Links::Stay } else { Links::Follow },
                freq: config.freq,
                grace: config.dir_grace,
            };
            let monitor = monitor::open(&spec, options).map_err(|error| {
                cannot(format!("watch {}", at(setting)))(error)
                    .advised(|kind| advice::watch(kind).to_owned())
            })?;
            monitors.push(monitor);
            specs.push(spec);
        }
        let start = |spec: &SourceSpec| {
            CString::new(spec.directory().as_os_str().as_bytes()).unwrap_or_default().into()
        };
        let sources = Sources(specs.iter().map(start).collect());
        Ok((Self { monitors, found: Changes::default() }, sources))
    }

    /// Has the reactor wait for all of them.
    pub fn watch(&self, reactor: &mut Reactor<Token>) {
        for (source, monitor) in self.ids().zip(&self.monitors) {
            let token = Token::Monitor(source);
            reactor.add(monitor.descriptor(), token, Interest::Read, Delivery::Direct);
        }
    }

    /// The numbers of all sources.
    pub fn ids(&self) -> impl Iterator<Item = SourceId> + use<> {
        (0..self.monitors.len()).map(SourceId)
    }

    /// When the first monitor wants to be called.
    pub fn deadline(&self) -> Option<Moment> {
        self.monitors.iter().filter_map(|monitor| monitor.deadline()).min()
    }

    /// Whether the time of this monitor has come.
    pub fn is_due(&self, source: SourceId, now: Moment) -> bool {
        let deadline = self.monitors.get(source.0).and_then(|monitor| monitor.deadline());
        deadline.is_some_and(|at| at <= now)
    }

    /// Calls a monitor; gives what it has found.
    pub fn poll(
        &mut self,
        source: SourceId,
        call: impl FnOnce(&mut dyn Monitor, Moment, &mut Changes),
        context: &mut Context,
    ) -> Changes {
        let Some(monitor) = self.monitors.get_mut(source.0) else { return Changes::default() };
        call(monitor.as_mut(), context.now, &mut self.found);
        context.version += 1;
        std::mem::take(&mut self.found)
    }

    /// The vassal files that a monitor knows, if there is such a monitor.
    pub fn known(&self, source: SourceId) -> Option<HashMap<OsString, VassalFile>> {
        let known = self.monitors.get(source.0)?.known().into_iter();
        Some(known.map(|(name, file)| (name.to_owned(), file.clone())).collect())
    }

    /// All monitors, by the number of their source.
    pub fn all(&self) -> Vec<&dyn Monitor> {
        self.monitors.iter().map(AsRef::as_ref).collect()
    }
}

/// Writes what a monitor has to say into the log.
pub(super) fn log_notices(source: SourceId, notices: Vec<LogLine>, context: &mut Context) {
    for notice in notices {
        match notice.name {
            Some(name) => {
                let name = name.as_encoded_bytes().into();
                let name = context.sources.label(&Key { source, name });
                context.log.line(notice.level, format_args!("[{name}] {}", notice.text));
            }
            None => context.log.line(notice.level, format_args!("{}", notice.text)),
        }
    }
}

/// The part of what a monitor knows about a file that the state uses.
pub(super) fn to_state_file(found: &VassalFile) -> File {
    File {
        modified: found.version.mtime.0,
        uid: found.uid,
        gid: found.gid,
        on_demand: match &found.on_demand {
            OnDemandAddress::No => OnDemand::No,
            // An address at which no process can ever listen is a fault, which only a change of its file mends.
            OnDemandAddress::Address(text) => match address::of_file(text) {
                Ok(_) => OnDemand::Address(Rc::clone(text)),
                Err(why) => OnDemand::Fault(why.into()),
            },
            OnDemandAddress::Fault(why) => OnDemand::Fault(Rc::clone(why)),
        },
    }
}
