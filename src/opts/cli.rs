//! A command line: options and file names.
//!
//! The table says which option takes a value; any beginning of a name that only one option has will do.

use std::ffi::OsString;

use lexopt::{Arg as Token, Parser};

use crate::types::quote::quoted;

use super::{Arg, Opt, lookup};

/// One argument of a command line, together with its value.
#[derive(Debug)]
pub enum CliArgument {
    /// An option, with its full name and its value.
    Option {
        /// The full name, or alias, that was meant.
        name: &'static str,
        opt: Opt,
        /// Its value; for a bare option the text that stands for it.
        value: OsString,
    },
    /// A name without an option in front: a configuration file.
    File(OsString),
    /// What cannot be understood: the name, and the reason.
    Bad(String, String),
}

/// Reads the arguments, without the program's name, from left to right.
#[must_use]
pub fn read(args: &[OsString]) -> Vec<CliArgument> {
    let mut parser = Parser::from_args(args);
    let mut arguments = Vec::with_capacity(args.len());
    loop {
        match parser.next() {
            Ok(Some(Token::Value(value))) => arguments.push(CliArgument::File(value)),
            Ok(Some(Token::Long(name))) => {
                let found = long(name);
                arguments.push(option(&mut parser, found));
            }
            Ok(Some(Token::Short(letter))) => arguments.push(match lookup::letter(letter) {
                // A letter without a value may be followed by further letters.
                Some(opt) if opt.arg == Arg::None => {
                    CliArgument::Option { name: opt.name, opt, value: opt.bare_value().into() }
                }
                Some(opt) => option(&mut parser, Ok((opt.name, opt))),
                None => {
                    let _ = parser.optional_value();
                    CliArgument::Bad(
                        String::new(),
                        format!("-{letter} is not the letter of an option"),
                    )
                }
            }),
            Ok(None) => return arguments,
            Err(error) => {
                arguments.push(CliArgument::Bad(String::new(), error.to_string()));
                return arguments;
            }
        }
    }
}

fn long(text: &str) -> Result<(&'static str, Opt), (String, String)> {
    lookup::prefix(text).map_err(|candidates| {
        let reason = if candidates.is_empty() {
            let hint = lookup::nearest(text).map(|name| format!(" (did you mean --{name}?)"));
            format!("is not an option{}", hint.unwrap_or_default())
        } else {
            let shown: Vec<String> = candidates.iter().take(8).map(|n| format!("--{n}")).collect();
            let more = if candidates.len() > 8 { " …" } else { "" };
            format!("is ambiguous: {}{more}", shown.join(" "))
        };
        (text.to_owned(), reason)
    })
}

fn option(
    parser: &mut Parser,
    found: Result<(&'static str, Opt), (String, String)>,
) -> CliArgument {
    let (name, opt) = match found {
        Ok(found) => found,
        Err((name, reason)) => {
            let _ = parser.optional_value();
            return CliArgument::Bad(name, reason);
        }
    };
    let value = match opt.arg {
        Arg::Required => parser.value().map_err(|_| "needs a value".to_owned()),
        Arg::Optional => Ok(parser.optional_value().unwrap_or_else(|| opt.bare_value().into())),
        Arg::None => match parser.optional_value() {
            None => Ok(opt.bare_value().into()),
            Some(value) => {
                let value = quoted(&value.to_string_lossy());
                Err(format!(
                    "is a flag and takes no value here ({value}); leave it out, or set it in a file"
                ))
            }
        },
    };
    match value {
        Ok(value) => CliArgument::Option { name, opt, value },
        Err(reason) => CliArgument::Bad(name.to_owned(), reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(args: &[&str]) -> Vec<String> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let show = |said: &CliArgument| match said {
            CliArgument::Option { name, value, .. } => {
                format!("{name}={}", value.to_string_lossy())
            }
            CliArgument::File(name) => name.to_string_lossy().into_owned(),
            CliArgument::Bad(name, reason) => format!("!{name} {reason}"),
        };
        read(&args).iter().map(show).collect()
    }

    #[test]
    fn options_are_read_in_every_form() {
        assert_eq!(
            said(&[
                "-s",
                "/a",
                "-p4",
                "--processes",
                "-5",
                "--procname=x=y",
                "-M",
                "a.ini",
                "--chmod-socket"
            ]),
            [
                "socket=/a",
                "processes=4",
                "processes=-5",
                "procname=x=y",
                "master=true",
                "a.ini",
                "chmod-socket=1"
            ]
        );
        assert_eq!(said(&["--", "--ini"]), ["--ini"]);
        assert_eq!(
            said(&["-Mp2", "-MC", "-MC600", "-Ms", ":1"]),
            [
                "master=true",
                "processes=2",
                "master=true",
                "chmod-socket=1",
                "master=true",
                "chmod-socket=600",
                "master=true",
                "socket=:1"
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named_and_the_rest_is_still_read() {
        assert_eq!(said(&["-MZx"]), ["master=true", "! -Z is not the letter of an option"]);
        assert!(said(&["-M=1"])[1].starts_with('!'));
        let said = said(&[
            "--zork=1",
            "--master=false",
            "--emperor-on-demand-=x",
            "--http-sokket=:1",
            "-M",
            "--ini",
        ]);
        assert_eq!(said[0], "!zork is not an option");
        assert!(said[1].starts_with("!master is a flag"));
        assert!(said[2].contains("ambiguous: --emperor-on-demand-dir"));
        assert!(said[3].contains("did you mean --http-socket?"));
        assert_eq!(said[4..], ["master=true", "!ini needs a value"]);
    }
}
