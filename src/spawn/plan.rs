//! The plan of one start: strings, descriptors and numbers, complete before the fork.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::proto::{emperor, status};
use crate::sys::mark::ProcessMark;

use super::hook::Hook;
use super::template::Template;

/// What one new process is given.
#[derive(Debug)]
pub struct ChildSetup<'a> {
    /// The vassal, as its program is told.
    pub name: &'a [u8],
    /// Where it starts.
    pub directory: &'a CStr,
    /// Its standard input: the on-demand listener, or `/dev/null`.
    pub input: BorrowedFd<'a>,
    /// Its end of the emperor pipe.
    pub pipe: BorrowedFd<'a>,
    /// Its end of the status socket.
    pub status: BorrowedFd<'a>,
    /// Both ends of the config pipe, ours first, if there is one.
    pub config: Option<[BorrowedFd<'a>; 2]>,
    /// `/dev/null`, for a hook.
    pub null: BorrowedFd<'a>,
    /// The program is to run; else its file is only checked.
    pub runs: bool,
    /// What all that it starts is known by.
    pub mark: Option<ProcessMark>,
}

/// A start, ready to be forked.
#[derive(Debug)]
pub struct Plan<'a> {
    pub(super) setup: &'a ChildSetup<'a>,
    pub(super) template: &'a Template,
    /// The first is set between fork and exec: it is the program that is tried.
    pub(super) argv: Vec<Cell<*const c_char>>,
    pub(super) environment: Vec<*const c_char>,
    pub(super) parent: i32,
    pub(super) hook: Option<Hook>,
    /// What the pointers point to, beside the template.
    own: Vec<CString>,
}

impl<'a> Plan<'a> {
    /// Makes the plan of one start.
    ///
    /// # Errors
    /// `EINVAL` for a name with a NUL byte.
    pub fn new(template: &'a Template, setup: &'a ChildSetup<'a>) -> io::Result<Self> {
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let variable = |name: &str, fd: BorrowedFd<'_>| {
            CString::new(format!("{name}={}", fd.as_raw_fd())).map_err(invalid)
        };
        let named = match setup.config {
            Some(_) => [emperor::CONFIG_SCHEME.as_bytes(), setup.name].concat(),
            None => setup.name.to_owned(),
        };
        let mut own = vec![
            CString::new(named).map_err(invalid)?,
            variable(emperor::PIPE_FD_VARIABLE, setup.pipe)?,
        ];
        if let Some([_, theirs]) = setup.config {
            own.push(variable(emperor::CONFIG_FD_VARIABLE, theirs)?);
        }
        if template.stage {
            own.push(variable(status::STATUS_FD_VARIABLE, setup.status)?);
        }
        let mut own_pointers = own.iter().map(|text| text.as_ptr());
        let name = own_pointers.next();
        let program = template.programs.first().map(|program| program.as_ptr());
        let before = template.before.iter().map(|text| text.as_ptr());
        let after = template.after.iter().map(|text| text.as_ptr());
        let named = [template.option(setup.name).as_ptr()].into_iter().chain(name);
        let end = std::iter::once(std::ptr::null());
        let argv = program.into_iter().chain(before).chain(named).chain(after).chain(end.clone());
        let argv = argv.map(Cell::new).collect();
        let given = template.environment.iter().map(|text| text.as_ptr());
        let environment = given.chain(own_pointers).chain(end).collect();
        let parent = i32::try_from(std::process::id()).unwrap_or(0);
        let hook = template
            .start_hook
            .as_ref()
            .filter(|_| setup.runs)
            .map(|command| Hook::new(template, command, setup.name, setup.directory));
        let hook = hook.transpose()?;
        Ok(Self { setup, template, argv, environment, parent, hook, own })
    }

    /// The vassal's name, which is the name of its file.
    pub(super) fn file(&self) -> &CStr {
        let named = self.own.first().map_or(c"", CString::as_c_str);
        let scheme = self.setup.config.map_or(0, |_| emperor::CONFIG_SCHEME.len());
        let bytes = named.to_bytes_with_nul().get(scheme..).unwrap_or_default();
        CStr::from_bytes_with_nul(bytes).unwrap_or(c"")
    }
}
