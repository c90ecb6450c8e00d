//! `--help` and `--help-all`: the table for people at a terminal.

use std::fmt::Write as _;

use super::{Opt, Section, lookup, table};

/// Columns of a usual terminal.
const WIDTH: usize = 80;
/// Where the descriptions begin.
const INDENT: usize = 34;

const USAGE: &str = "\
liege: a process supervisor; a file in a directory is a running instance

usage: liege --emperor DIR [OPTIONS]        govern the vassal files in DIR
       liege [OPTIONS] FILE                 the same, with the options in a file
       liege check FILE... [--json]         check vassal files, and emperors with all their vassals
       liege config FILE [--json]           show what a vassal file resolves to
       liege init [-g] [-p SIGNAL] [--] CMD...
                                            run one command as a container's init does
";

/// The options that most vassal files consist of.
const USUAL: [&str; 10] = [
    "command",
    "chdir",
    "uid",
    "gid",
    "env",
    "http-socket",
    "logto",
    "processes",
    "stop-signal",
    "notify",
];

/// The options of an emperor, and the usual ones of vassals.
#[must_use]
pub fn short() -> String {
    let mut text = USAGE.to_owned();
    let sections = Section::ALL
        .into_iter()
        .filter(|section| !section.is_vassals() && *section != Section::Language);
    for section in sections {
        self::section(&mut text, section);
    }
    text.push_str("\nIn a vassal file, one a line below [uwsgi], most often:\n");
    let usual = USUAL.iter().filter_map(|name| lookup::find(name));
    for opt in usual {
        let value = if opt.meta.is_empty() { "true" } else { opt.meta };
        row(&mut text, &format!("  {} = {value}", opt.name), &opt);
    }
    text.push_str("\nAll of them, and the configuration language: liege --help-all; in full: liege(8),\nliege-config(5).\n");
    text
}

/// Every option that is obeyed.
#[must_use]
pub fn all() -> String {
    let mut text = USAGE.to_owned();
    for section in Section::ALL {
        self::section(&mut text, section);
    }
    text
}

fn section(text: &mut String, section: Section) {
    let rows =
        table::SUPPORTED_OPTIONS.iter().filter(|opt| opt.section == section && opt.is_obeyed());
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    let _ = writeln!(text, "\n{}:", section.title());
    for opt in rows {
        let letter = opt.letter.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
        let blank = if opt.meta.is_empty() { "" } else { " " };
        row(text, &format!("  {letter}--{}{blank}{}", opt.name, opt.meta), opt);
    }
}

/// One option: how it is written, and what it does.
fn row(text: &mut String, head: &str, opt: &Opt) {
    let _ = write!(text, "{head:INDENT$}");
    let mut column = head.len().max(INDENT);
    if head.len() >= INDENT {
        text.push('\n');
        text.push_str(&" ".repeat(INDENT));
        column = INDENT;
    }
    let default =
        if opt.default.is_empty() { String::new() } else { format!(" (default {})", opt.default) };
    let words = format!("{}{default}", opt.help);
    for (number, word) in words.split(' ').enumerate() {
        if number > 0 && column + 1 + word.len() > WIDTH {
            text.push('\n');
            text.push_str(&" ".repeat(INDENT));
            column = INDENT;
        } else if number > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_shows_every_option_that_is_obeyed_and_no_other() {
        let all = all();
        for opt in super::super::lookup::rows() {
            let head = format!("--{}{}", opt.name, if opt.meta.is_empty() { "" } else { " " });
            let is_there = all.lines().any(|line| line.contains(&format!("{head}{}", opt.meta)));
            assert_eq!(is_there, opt.is_obeyed(), "{}", opt.name);
        }
        assert!(short().len() < all.len());
        assert!(USUAL.iter().all(|name| short().contains(&format!("\n  {name} = "))));
        assert!(all.lines().all(|line| line.len() <= 100 && !line.ends_with(' ')));
    }
}
