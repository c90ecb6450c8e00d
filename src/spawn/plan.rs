//! The plan of one start: strings, descriptors and numbers, complete before the fork.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::proto::{emperor, status};
use crate::sys::limits::DescriptorLimit;
use crate::sys::mark::ProcessMark;
use crate::sys::oom;
use crate::sys::process::{self, Pid};
use crate::sys::signal::{Disposition, Signal, disposition};
use crate::types::names;

use super::child;
use super::hook::Hook;

/// What all starts have in common.
#[derive(Debug)]
pub struct Template {
    /// Tried in this order: the overrides of the wrapper, the wrapper or program, the fallbacks.
    pub programs: Vec<CString>,
    /// How many of them are overrides.
    pub overrides: usize,
    /// Arguments before the one that names the vassal file.
    pub before: Vec<CString>,
    /// Arguments after it.
    pub after: Vec<CString>,
    /// Endings that are read as INI, given as `--config NAME`.
    pub extra_extensions: Vec<String>,
    /// The environment, but for the descriptors.
    pub environment: Vec<CString>,
    /// What the emperor was given, before it raised its own.
    pub descriptor_limit: DescriptorLimit,
    /// What a vassal is worth when memory runs out, where the emperor is worth more.
    pub oom_score: Option<i32>,
    /// The program is liege's own stage, and gets the status socket.
    pub stage: bool,
    /// Run in each new process, before its program.
    pub start_hook: Option<CString>,
    /// Run for each process that has ended.
    pub stop_hook: Option<CString>,
    /// Vassal files travel by the config pipe.
    pub config_pipe: bool,
    /// Signals that do not have their default action here; the child puts that back.
    reset: Vec<Signal>,
}

/// One start.
#[derive(Debug)]
pub struct Start<'a> {
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
    pub(super) start: &'a Start<'a>,
    pub(super) template: &'a Template,
    /// The first is set between fork and exec: it is the program that is tried.
    pub(super) argv: Vec<Cell<*const c_char>>,
    pub(super) environment: Vec<*const c_char>,
    pub(super) parent: i32,
    pub(super) hook: Option<Hook>,
    /// What the pointers point to, beside the template.
    own: Vec<CString>,
}

impl Template {
    /// Fills in what is found out of the process itself; call it once, before signals are set up.
    pub fn new(programs: Vec<CString>, environment: Vec<CString>, limit: DescriptorLimit) -> Self {
        let is_given = |signal: &Signal| matches!(disposition(*signal), Ok(Disposition::Ignored));
        // SIGPIPE is always among them: Rust's start-up code ignores it, whatever we were given.
        let reset: Vec<Signal> = Signal::all().filter(is_given).collect();
        Self {
            programs,
            overrides: 0,
            before: Vec::new(),
            after: Vec::new(),
            extra_extensions: Vec::new(),
            environment,
            descriptor_limit: limit,
            oom_score: None,
            stage: true,
            start_hook: None,
            stop_hook: None,
            config_pipe: false,
            reset,
        }
    }

    /// In a new process: gives up what makes the emperor precious. What cannot be told the kernel stays.
    pub(super) fn be_expendable(&self) {
        if let Some(score) = self.oom_score {
            let _ = oom::set_score(score);
        }
    }

    pub(super) fn reset(&self) -> &[Signal] {
        &self.reset
    }

    /// The option that names a vassal file of this name.
    fn option(&self, name: &[u8]) -> &'static CStr {
        names::option(name, &self.extra_extensions).unwrap_or(c"--inherit")
    }

    /// The arguments of a vassal for a program that runs already; `file` is what it is told as the name of
    /// its file. The first one is the program itself: nothing is started, so no override is tried.
    pub fn argv<'a>(&'a self, name: &[u8], file: &'a [u8]) -> Vec<&'a [u8]> {
        let named = [self.option(name).to_bytes(), file];
        let before = self.programs.get(self.overrides).into_iter().chain(&self.before);
        let before = before.map(|text| text.to_bytes()).chain(named);
        before.chain(self.after.iter().map(|text| text.to_bytes())).collect()
    }

    /// Makes the plan of one start.
    ///
    /// # Errors
    /// `EINVAL` for a name with a NUL byte.
    pub fn plan<'a>(&'a self, start: &'a Start<'a>) -> io::Result<Plan<'a>> {
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let variable = |name: &str, fd: BorrowedFd<'_>| {
            CString::new(format!("{name}={}", fd.as_raw_fd())).map_err(invalid)
        };
        let named = match start.config {
            Some(_) => [emperor::CONFIG_SCHEME.as_bytes(), start.name].concat(),
            None => start.name.to_owned(),
        };
        let mut own = vec![
            CString::new(named).map_err(invalid)?,
            variable(emperor::PIPE_FD_VARIABLE, start.pipe)?,
        ];
        if let Some([_, theirs]) = start.config {
            own.push(variable(emperor::CONFIG_FD_VARIABLE, theirs)?);
        }
        if self.stage {
            own.push(variable(status::STATUS_FD_VARIABLE, start.status)?);
        }
        let mut own_pointers = own.iter().map(|text| text.as_ptr());
        let name = own_pointers.next();
        let program = self.programs.first().map(|program| program.as_ptr());
        let before = self.before.iter().map(|text| text.as_ptr());
        let after = self.after.iter().map(|text| text.as_ptr());
        let named = [self.option(start.name).as_ptr()].into_iter().chain(name);
        let end = std::iter::once(std::ptr::null());
        let argv = program.into_iter().chain(before).chain(named).chain(after).chain(end.clone());
        let argv = argv.map(Cell::new).collect();
        let given = self.environment.iter().map(|text| text.as_ptr());
        let environment = given.chain(own_pointers).chain(end).collect();
        let parent = i32::try_from(std::process::id()).unwrap_or(0);
        let hook = self
            .start_hook
            .as_ref()
            .filter(|_| start.runs)
            .map(|command| Hook::new(self, command, start.name, start.directory));
        let hook = hook.transpose()?;
        Ok(Plan { start, template: self, argv, environment, parent, hook, own })
    }
}

impl Plan<'_> {
    /// The vassal's name, which is the name of its file.
    pub(super) fn file(&self) -> &CStr {
        let named = self.own.first().map_or(c"", CString::as_c_str);
        let scheme = self.start.config.map_or(0, |_| emperor::CONFIG_SCHEME.len());
        let bytes = named.to_bytes_with_nul().get(scheme..).unwrap_or_default();
        CStr::from_bytes_with_nul(bytes).unwrap_or(c"")
    }

    /// Forks; a failure between fork and exec, or of the exec, comes by the status socket.
    ///
    /// # Errors
    /// `EAGAIN`, `ENOMEM`.
    pub fn spawn(&self) -> io::Result<Pid> {
        process::fork(|| child::run(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_that_names_the_file_follows_its_ending() {
        let limit = crate::sys::limits::descriptor_limit().unwrap();
        let mut template = Template::new(vec![c"/bin/x".into()], Vec::new(), limit);
        template.extra_extensions = vec![".vassal".to_owned()];
        let of = |name: &[u8]| template.option(name).to_str().unwrap();
        assert_eq!(of(b"a.ini"), "--ini");
        assert_eq!(of(b"a.xml"), "--xml");
        assert_eq!(of(b"a.yaml"), "--yaml");
        assert_eq!(of(b"a.yml"), "--yaml");
        assert_eq!(of(b"a.js"), "--json");
        assert_eq!(of(b"a.vassal"), "--config");
        assert_eq!(of(b"a.else"), "--inherit");
    }

    #[test]
    fn the_arguments_of_a_vassal_stand_in_the_order_of_uwsgi() {
        let limit = crate::sys::limits::descriptor_limit().unwrap();
        let programs = vec![c"/first".into(), c"/bin/x".into(), c"/last".into()];
        let mut template = Template::new(programs, Vec::new(), limit);
        template.overrides = 1;
        template.before = vec![c"--set".into(), c"a=b".into()];
        template.after = vec![c"--include".into(), c"c".into()];
        let argv = template.argv(b"one.ini", b"emperor://one.ini");
        let expected = ["/bin/x", "--set", "a=b", "--ini", "emperor://one.ini", "--include", "c"];
        assert_eq!(argv, expected.map(str::as_bytes));
    }
}
