//! From the text of a binary-patch option to an exec.
//!
//! `…-binary-patch = P` runs P with the vassal's own arguments behind it. `…-binary-patch-arg = TEXT` is a
//! command line, which uWSGI gives to a shell. The shell of many systems then stays as the parent of the
//! program, and signals, the parent-death signal and `LISTEN_PID` name the shell; so a text that needs no
//! shell is split into words here and exec'd directly. Crates that split words cannot say whether a text needs a
//! shell.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::config::vassal::{ProgramSpec, VassalProgram};
use crate::sys::process::{self, CStringArray};

/// The shell, unless `binsh` names others.
const SHELL: &str = "/bin/sh";

/// Where programs are looked for if the environment has no `PATH`, as execvp(3) does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Characters that mean something to a shell outside quotes.
const SPECIAL: &[char] =
    &['|', '&', ';', '<', '>', '(', ')', '$', '`', '*', '?', '[', '#', '~', '{', '}'];

/// First words that a shell obeys itself: built-ins (POSIX, dash, and those of bash that people use) and
/// reserved words. Giving a text to the shell that does not need it costs a process, never the meaning.
#[rustfmt::skip]
const BUILT_IN: &[&str] = &[
    "!", ".", ":", "[[", "alias", "bg", "break", "builtin", "case", "cd", "chdir", "command", "continue",
    "declare", "do", "done", "echo", "elif", "else", "enable", "esac", "eval", "exit", "export", "false",
    "fc", "fg", "fi", "for", "function", "getopts", "hash", "if", "in", "jobs", "kill", "let", "local",
    "mapfile", "popd", "printf", "pushd", "pwd", "read", "readonly", "return", "select", "set", "shift",
    "shopt", "source", "suspend", "test", "then", "time", "times", "trap", "true", "type", "typeset",
    "ulimit", "umask", "unalias", "unset", "until", "wait", "while",
];

/// What will be exec'd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A program with its arguments; argv\[0\] is looked up in `PATH` unless it has a slash.
    Direct(Vec<OsString>),
    /// A command line for the first of these shells that can be executed.
    Shell {
        /// The shells.
        shells: Vec<OsString>,
        /// The command line.
        text: OsString,
    },
}

impl Program {
    /// The program that a vassal file names; `args` are the vassal's own arguments, without argv\[0\].
    pub fn new(vassal_program: &VassalProgram, binsh: &[String], args: &[OsString]) -> Self {
        match &vassal_program.run {
            ProgramSpec::Path(path) => Self::Direct(
                [OsString::from(path)].into_iter().chain(args.iter().cloned()).collect(),
            ),
            ProgramSpec::Command(text) => match words(text) {
                Some(words) => Self::Direct(words.into_iter().map(OsString::from).collect()),
                None => {
                    let shells = if binsh.is_empty() { &[SHELL.to_owned()] } else { binsh };
                    let shells = shells.iter().map(OsString::from).collect();
                    Self::Shell { shells, text: text.into() }
                }
            },
        }
    }

    /// A short name for log lines.
    pub fn name(&self) -> String {
        match self {
            Self::Direct(argv) => argv.first().map_or_else(String::new, |argv0| lossy(argv0)),
            Self::Shell { shells, text } => {
                format!(
                    "{} -c {}",
                    shells.first().map_or_else(String::new, |s| lossy(s)),
                    lossy(text)
                )
            }
        }
    }

    /// Whether a shell may stay as the parent of the program, so that our pid is not the program's.
    pub fn may_fork(&self) -> bool {
        match self {
            Self::Direct(_) => false,
            Self::Shell { text, .. } => !text.as_bytes().trim_ascii_start().starts_with(b"exec "),
        }
    }

    /// Replaces this process; comes back only with the reason why that failed.
    pub fn exec(&self, env: &[(OsString, OsString)]) -> io::Error {
        let block = env.iter().map(|(name, value)| {
            let bytes = [name.as_bytes(), b"=", value.as_bytes()].concat();
            CString::new(bytes).map_err(io::Error::from)
        });
        let block = match block.collect::<io::Result<_>>() {
            Ok(block) => CStringArray::new(block),
            Err(error) => return error,
        };
        let argv = |program: &OsStr| match self {
            Self::Direct(argv) => argv.clone(),
            Self::Shell { text, .. } => vec![program.to_owned(), "-c".into(), text.clone()],
        };
        let exec = |program: &OsStr| {
            let words = argv(program).into_iter().map(|word| CString::new(word.into_vec()));
            let words = words.collect::<Result<Vec<_>, _>>().map(CStringArray::new)?;
            let name = CString::new(program.as_bytes())?;
            Err::<Infallible, _>(process::execve(&name, &words, &block))
        };
        match first_that_runs(self.candidates(env), exec) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    /// Looks it up as [`Program::exec`] does, and executes nothing; gives where it is.
    ///
    /// # Errors
    /// Why it cannot be executed, as far as that can be seen without trying.
    pub fn look_up(&self, env: &[(OsString, OsString)]) -> io::Result<OsString> {
        first_that_runs(self.candidates(env), |program| {
            process::check_executable(&CString::new(program.as_bytes())?)?;
            Ok(program.to_owned())
        })
    }

    /// The arguments that the file gives to the program, or to the shell.
    pub fn strings(&self) -> impl Iterator<Item = &OsStr> {
        let (argv, text) = match self {
            Self::Direct(argv) => (argv.as_slice(), None),
            Self::Shell { text, .. } => (&[][..], Some(text)),
        };
        argv.iter().chain(text).map(OsString::as_os_str)
    }

    /// Where the program may be.
    fn candidates(&self, env: &[(OsString, OsString)]) -> Vec<OsString> {
        match self {
            Self::Direct(argv) => {
                candidates(argv.first().map_or(OsStr::new(""), OsString::as_os_str), env)
            }
            Self::Shell { shells, .. } => shells.clone(),
        }
    }
}

fn lossy(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}

/// Where the program may be: itself if it has a slash, else that name in every directory of `PATH`.
fn candidates(argv0: &OsStr, env: &[(OsString, OsString)]) -> Vec<OsString> {
    // The kernel says ENOENT to an empty name; PATH would find the directories themselves.
    if argv0.is_empty() || argv0.as_bytes().contains(&b'/') {
        return vec![argv0.to_owned()];
    }
    let path = env.iter().find(|(name, _)| name == "PATH");
    let path = path.map_or(OsStr::new(DEFAULT_PATH), |(_, path)| path);
    path.as_bytes()
        .split(|&byte| byte == b':')
        // An empty entry is the working directory.
        .map(|dir| if dir.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(dir)) })
        .map(|dir| dir.join(argv0).into_os_string())
        .collect()
}

/// Tries one after the other, as execvp(3): a name that does not exist there is passed over, and "not
/// executable" is remembered, because it says more than "not found". A directory of `PATH` that may not
/// be searched says less.
fn first_that_runs<T>(
    programs: Vec<OsString>,
    run: impl Fn(&OsStr) -> io::Result<T>,
) -> io::Result<T> {
    let (mut not_executable, mut not_found, mut not_searched) = (None, None, None);
    for program in programs {
        let is_there = || Path::new(&program).symlink_metadata().is_ok();
        let error = match run(&program) {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => not_found = Some(error),
            io::ErrorKind::PermissionDenied if is_there() => not_executable = Some(error),
            io::ErrorKind::PermissionDenied => not_searched = Some(error),
            _ => return Err(error),
        }
    }
    let reason = not_executable.or(not_found).or(not_searched);
    Err(reason.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// The words of a command line, or `None` if it needs a shell (or is for the shell to refuse).
pub fn words(text: &str) -> Option<Vec<String>> {
    let mut words = split(text)?;
    if words.first().is_some_and(|word| word == "exec") {
        words.remove(0);
        // `exec -a NAME` and the like are options of the shell's exec.
        if words.first().is_none_or(|word| word.starts_with('-')) {
            return None;
        }
    } else if words.first().is_some_and(|word| BUILT_IN.contains(&word.as_str())) {
        return None;
    }
    let first = words.first()?;
    (!first.is_empty() && !first.contains('=')).then_some(words)
}

/// Splits by the quoting rules of the shell; `None` if anything but quotes has a meaning.
fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    if text.contains(['\n', '\r', '\0']) {
        return None;
    }
    while let Some(char) = chars.next() {
        match char {
            ' ' | '\t' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                let rest = chars.as_str();
                let (quoted, rest) = rest.split_once('\'')?;
                word.push_str(quoted);
                chars = rest.chars();
            }
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(chars.next()?),
            special if SPECIAL.contains(&special) => return None,
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

/// Reads up to the closing quote; a backslash quotes only what has a meaning there (POSIX 2.2.3).
fn double_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        match chars.next()? {
            '"' => return Some(()),
            '$' | '`' => return None,
            '\\' => match chars.next()? {
                quoted @ ('$' | '`' | '"' | '\\') => word.push(quoted),
                other => word.extend(['\\', other]),
            },
            other => word.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    #[test]
    fn a_text_that_needs_no_shell_is_split_as_a_shell_would() {
        #[rustfmt::skip]
        let table: &[(&str, &[&str])] = &[
            ("sleep 1", &["sleep", "1"]),
            ("  sleep \t 1  ", &["sleep", "1"]),
            ("exec sleep 1", &["sleep", "1"]),
            (r#"nginx -g "daemon off;""#, &["nginx", "-g", "daemon off;"]),
            ("app 'a b'c", &["app", "a bc"]),
            (r#"app '' """#, &["app", "", ""]),
            (r#"app 'it'\''s'"#, &["app", "it's"]),
            (r"app a\ b \$HOME \\ \'", &["app", "a b", "$HOME", "\\", "'"]),
            (r#"app "\$HOME \"x\" \n \\""#, &["app", r#"$HOME "x" \n \"#]),
            (r#"app '$HOME `x` *' "* ? ~ # | 'q'""#, &["app", "$HOME `x` *", "* ? ~ # | 'q'"]),
            ("app --bind=1.2.3.4:80 x=y", &["app", "--bind=1.2.3.4:80", "x=y"]),
            ("./app %h é ü!", &["./app", "%h", "é", "ü!"]),
            (r#""my app" x"#, &["my app", "x"]),
            ("/bin/echo x", &["/bin/echo", "x"]),
            ("exec cd", &["cd"]),
            ("env A=b app", &["env", "A=b", "app"]),
            ("app a]b", &["app", "a]b"]),
        ];
        for (text, expected) in table {
            assert_eq!(words(text).unwrap(), *expected, "{text}");
        }
    }

    #[test]
    fn a_text_that_means_something_to_a_shell_goes_to_the_shell() {
        #[rustfmt::skip]
        let table = [
            "a | b", "a & b", "a &", "a; b", "a < b", "a > b", "(a)", "a $HOME", "a `b`", "a *", "a ?", "a [b",
            "a # b", "a ~/b", "a {b,c}", "a }", "a \"$HOME\"", "a \"`b`\"", "a\nb", "a \\\nb", "A=b app", "exec A=b",
            "cd /srv", "ulimit -n 4", ". ./env", "exec", "exec -a x app", "\"cd\" x", "echo x", "if", "! app",
            "a 'b", "a \"b", "a \\", "", "  ", "''", "a\rb", "umask 022", "exec ''",
        ];
        for text in table {
            assert_eq!(words(text), None, "{text:?}");
        }
    }

    /// What the shell makes of these words as arguments.
    fn shell_words(text: &str) -> Vec<String> {
        let script = format!("f() {{ for w; do printf '%s\\0' \"$w\"; done; }}; f {text}");
        let mut shell = std::process::Command::new(SHELL);
        shell.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped());
        let started = {
            let _alone = crate::sys::test_fork_lock::exclusive();
            shell.spawn()
        };
        let output = started.unwrap().wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        said.split_terminator('\0').map(str::to_owned).collect()
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

        /// Operators that would run or write something are left out: what is split has none of them.
        #[test]
        fn the_shell_agrees_with_every_split(text in "[ab \\t'\"\\\\aab=!%é$-]{0,16}") {
            if let Some(split) = split(&text) {
                proptest::prop_assert_eq!(shell_words(&text), split);
            }
        }
    }

    #[test]
    fn the_shell_agrees_with_what_people_write() {
        for text in [
            r#"nginx -g "daemon off;" 'it'\''s' a\ b"#,
            r#"app "\$HOME \"x\" \n \\" '' x"#,
            r"app a\b\\c 'a\b' %s x=y ]",
        ] {
            assert_eq!(shell_words(text), words(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn a_patch_gives_the_words_of_the_program() {
        let args = ["--ini".into(), "one.ini".into()];
        let program = |run| Program::new(&VassalProgram { privileged: false, run }, &[], &args);
        let path = program(ProgramSpec::Path("/srv/app".into()));
        let expected = ["/srv/app", "--ini", "one.ini"].map(OsString::from);
        assert_eq!(path, Program::Direct(expected.to_vec()));
        assert_eq!((path.name().as_str(), path.may_fork()), ("/srv/app", false));
        let shell = program(ProgramSpec::Command("a | b".into()));
        let text = "a | b".into();
        assert_eq!(shell, Program::Shell { shells: vec![SHELL.into()], text });
        assert_eq!((shell.name().as_str(), shell.may_fork()), ("/bin/sh -c a | b", true));
        assert!(!program(ProgramSpec::Command("exec a $B".into())).may_fork());
        let bash = ["/no/bash".to_owned(), "/bin/sh".to_owned()];
        let vassal_program =
            VassalProgram { privileged: true, run: ProgramSpec::Command("a | b".into()) };
        let Program::Shell { shells, .. } = Program::new(&vassal_program, &bash, &args) else {
            panic!()
        };
        assert_eq!(shells, bash.map(OsString::from));
    }

    #[test]
    fn programs_are_looked_for_where_the_vassal_says() {
        let env = [("PATH".into(), "/a::b".into())];
        let found = |name: &str, env: &[(OsString, OsString)]| candidates(name.as_ref(), env);
        assert_eq!(found("x", &env), ["/a/x", "./x", "b/x"]);
        assert_eq!(found("./x", &env), ["./x"]);
        assert_eq!(found("x", &[]), ["/bin/x", "/usr/bin/x"]);
        assert_eq!(found("", &env), [""]);
    }

    #[test]
    fn a_program_that_cannot_run_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plain");
        std::fs::write(&file, "text").unwrap();
        let exec = |argv0: &OsStr| {
            let program = Program::Direct(vec![argv0.to_owned()]);
            let looked_up = program.look_up(&[]).unwrap_err().kind();
            assert_eq!(looked_up, program.exec(&[]).kind(), "{argv0:?}");
            looked_up
        };
        assert_eq!(exec("/no/such/program".as_ref()), io::ErrorKind::NotFound);
        assert_eq!(exec("no-such-program-here".as_ref()), io::ErrorKind::NotFound);
        assert_eq!(exec(file.as_os_str()), io::ErrorKind::PermissionDenied);
        assert_eq!(exec(dir.path().as_os_str()), io::ErrorKind::PermissionDenied);
        assert_eq!(exec("a\0b".as_ref()), io::ErrorKind::InvalidInput);
        let path = [("PATH".into(), format!("{}:/no/such", dir.path().display()).into())];
        let error = Program::Direct(vec!["plain".into()]).exec(&path);
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
