//! What a new process is executed with: argv and environment of a program that is started at once, or what the stage
//! is handed.

use std::cell::Cell;
use std::ffi::{CString, OsStr, OsString, c_char};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::proto::emperor;
use crate::proto::spawner::{StartOrder, Template, VassalName};
use crate::sys::mark::ProcessMark;

use super::handed::Handed;
use super::inheritance::Inheritance;

/// The descriptors that are attached to a start, by what they are for.
pub(super) struct Attached {
    pub pipe: OwnedFd,
    pub status: OwnedFd,
    /// Both ends of the config pipe, the emperor's first.
    pub config: Option<[OwnedFd; 2]>,
    pub on_demand: Option<OwnedFd>,
    pub listeners: Vec<OwnedFd>,
}

/// argv and environment of a program that is started without a stage.
pub(super) struct Plan<'a> {
    /// Tried in this order.
    pub programs: &'a [CString],
    /// The first is set at each try: it is the program that is tried.
    pub argv: Vec<Cell<*const c_char>>,
    pub environment: Vec<*const c_char>,
    /// What the pointers point to, beside what is inherited.
    _own: Vec<CString>,
}

impl Attached {
    /// Takes them by the order of the protocol.
    pub fn of(template: &Template, order: &StartOrder, fds: Vec<OwnedFd>) -> Option<Self> {
        let mut fds = fds.into_iter();
        let (pipe, status) = (fds.next()?, fds.next()?);
        let config = match template.config_pipe {
            true => Some([fds.next()?, fds.next()?]),
            false => None,
        };
        let on_demand = match order.on_demand {
            true => Some(fds.next()?),
            false => None,
        };
        let listeners: Vec<OwnedFd> = fds.collect();
        let is_whole = listeners.len() == usize::from(order.listeners);
        is_whole.then_some(Self { pipe, status, config, on_demand, listeners })
    }
}

impl<'a> Plan<'a> {
    /// Makes the two arrays.
    ///
    /// # Errors
    /// `EINVAL` for a name with a NUL byte.
    pub fn new(
        inherited: &'a Inheritance,
        order: &StartOrder,
        attached: &Attached,
    ) -> io::Result<Self> {
        let template = &inherited.template;
        let file = named(&order.vassal, attached);
        let words = template.arguments(order.vassal.name.as_bytes(), &file);
        let words = [&b""[..]].into_iter().chain(words).map(CString::new);
        let mut own = words.collect::<Result<Vec<_>, _>>()?;
        let count = own.len();
        for (name, number) in own_variables(attached) {
            own.push(CString::new(format!("{name}={number}"))?);
        }
        let end = std::iter::once(std::ptr::null());
        let own_pointers = own.iter().map(|text| text.as_ptr());
        let argv = own_pointers.clone().take(count).chain(end.clone()).map(Cell::new).collect();
        let given = inherited.environment.iter().map(|text| text.as_ptr());
        let environment = given.chain(own_pointers.skip(count)).chain(end).collect();
        Ok(Self { programs: &template.programs, argv, environment, _own: own })
    }
}

/// What the stage of this start is handed.
pub(super) fn handed(inherited: &Inheritance, order: StartOrder, attached: Attached) -> Handed {
    let template = &inherited.template;
    let file = named(&order.vassal, &attached);
    let args = template.arguments(order.vassal.name.as_bytes(), &file);
    let args = args.map(|word| OsStr::from_bytes(word).to_owned()).collect();
    let own =
        own_variables(&attached).map(|(name, number)| (name.into(), number.to_string().into()));
    let env = inherited.variables.iter().cloned().chain(own).collect();
    Handed {
        own_program: template.programs.first().cloned().unwrap_or_default(),
        args,
        env,
        parent: inherited.emperor,
        label: label(inherited, &order.vassal),
        purpose: order.purpose,
        // The other end is the emperor's, who has one of its own.
        config: attached.config.map(|[_, theirs]| theirs),
        pipe: attached.pipe,
        status: attached.status,
        on_demand: attached.on_demand,
        listeners: attached.listeners,
        in_use: order.in_use,
        runtime: order.runtime,
        running: ProcessMark::from_number(order.running),
    }
}

/// What a vassal is told as the name of its file.
fn named(vassal: &VassalName, attached: &Attached) -> Vec<u8> {
    let scheme = attached.config.as_ref().map_or("", |_| emperor::CONFIG_SCHEME);
    [scheme.as_bytes(), vassal.name.as_bytes()].concat()
}

/// The variables of this start alone.
fn own_variables(attached: &Attached) -> impl Iterator<Item = (&'static str, i32)> {
    let pipe = (emperor::PIPE_FD_VARIABLE, attached.pipe.as_raw_fd());
    let config = attached.config.as_ref();
    let config = config.map(|[_, theirs]| (emperor::CONFIG_FD_VARIABLE, theirs.as_raw_fd()));
    [pipe].into_iter().chain(config)
}

/// What a vassal is called in the log: its name, or its path where another source may have the same.
fn label(inherited: &Inheritance, vassal: &VassalName) -> OsString {
    match inherited.directory(vassal) {
        Ok(directory) if inherited.template.directories.len() > 1 => {
            Path::new(OsStr::from_bytes(directory.to_bytes())).join(&vassal.name).into_os_string()
        }
        _ => vassal.name.clone(),
    }
}
