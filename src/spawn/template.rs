//! What all starts have in common, made once.

use std::ffi::{CStr, CString};

use crate::sys::limits::DescriptorLimit;
use crate::sys::oom;
use crate::sys::signal::{Disposition, Signal, disposition};
use crate::types::names;

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

    /// Signals whose default action the child puts back.
    pub(super) fn reset(&self) -> &[Signal] {
        &self.reset
    }

    /// The option that names a vassal file of this name.
    pub(super) fn option(&self, name: &[u8]) -> &'static CStr {
        // As uWSGI does for a name with any other ending.
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
