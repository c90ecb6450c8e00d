//! The OPTIONS part of the manual, as mdoc.
//!
//! A page is written by hand, with lines such as `.\\" @OPTIONS emperor@` where the table is to stand.

use std::fmt::Write as _;

use super::{Class, Opt, Section, table, unsupported, uwsgi_only};

/// Replaces the marks of a page by parts of the table.
#[must_use]
pub fn page(template: &str) -> String {
    let mut page = String::with_capacity(template.len() * 2);
    for line in template.lines() {
        let mark = line.strip_prefix(".\\\" @OPTIONS").and_then(|rest| rest.strip_suffix('@'));
        match mark.and_then(|name| part(name.trim_start())) {
            Some(text) => page.push_str(&text),
            None => {
                page.push_str(line);
                page.push('\n');
            }
        }
    }
    page
}

/// One part of the table, by its name in a page.
fn part(name: &str) -> Option<String> {
    let sections = |wanted: fn(Section) -> bool| {
        let all = Section::ALL.into_iter().filter(|section| wanted(*section));
        all.map(|section| list(section.title(), |opt| opt.section == section)).collect::<String>()
    };
    Some(match name {
        // Without a name: all options of an emperor's command line.
        "" => part("mode")? + &part("emperor")?,
        "mode" => sections(|section| section == Section::Mode),
        "language" => sections(|section| section == Section::Language),
        "emperor" => sections(|section| {
            !section.is_vassals() && !matches!(section, Section::Mode | Section::Language)
        }),
        "vassal" => {
            let shared = |opt: &Opt| matches!(opt.class, Class::Both(..));
            sections(Section::is_vassals) + &list("Vassal: as for the emperor", shared)
        }
        "later" => names(unsupported::UNSUPPORTED_OPTIONS.iter().map(|opt| opt.name)),
        "refused" => names(uwsgi_only::REFUSED.iter().map(|entry| entry.0)),
        _ => return None,
    })
}

/// The obeyed rows that are wanted, under a heading; empty if there are none.
fn list(title: &str, is_wanted: impl Fn(&Opt) -> bool) -> String {
    let mut items = String::new();
    for opt in table::SUPPORTED_OPTIONS {
        if is_wanted(opt) && opt.is_obeyed() {
            let _ = writeln!(items, "{}\n{}", item(opt), sentence(opt));
        }
    }
    if items.is_empty() {
        return items;
    }
    format!(".Ss {title}\n.Bl -tag -width Ds\n{items}.El\n")
}

fn item(opt: &Opt) -> String {
    let mut item = String::from(".It");
    if let Some(letter) = opt.letter {
        let _ = write!(item, " Fl {letter} ,");
    }
    let _ = write!(item, " Fl Fl {}", opt.name);
    for alias in opt.aliases {
        let _ = write!(item, " , Fl Fl {alias}");
    }
    if !opt.meta.is_empty() {
        // A name of a macro, or a character of punctuation, would be taken for one.
        let _ = write!(item, " Ar {}", escaped(opt.meta).replace('|', "\\*(Ba"));
    }
    item
}

fn sentence(opt: &Opt) -> String {
    let mut letters = opt.help.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let mut text = escaped(&format!("{first}{}.", letters.as_str()));
    if !opt.default.is_empty() {
        let _ = write!(text, "\nThe default is {}.", opt.default);
    }
    if opt.repeats {
        text.push_str("\nMay be given several times.");
    }
    text
}

fn names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut all: Vec<&str> = names.collect();
    all.sort_unstable();
    let mut text = String::new();
    for (number, name) in all.iter().enumerate() {
        let end = if number + 1 == all.len() { " ." } else { " ," };
        let _ = writeln!(text, ".Cm {name}{end}");
    }
    text
}

/// The text with its characters escaped that have a meaning in mdoc.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marks_are_replaced() {
        let text = ".Sh A\n.\\\" @OPTIONS language@\n.\\\" @OPTIONS zork@\ntext\n";
        let page = page(text);
        assert!(page.starts_with(".Sh A\n.Ss Configuration language\n"));
        assert!(page.ends_with(".\\\" @OPTIONS zork@\ntext\n"));
        assert!(page.contains(".It Fl S , Fl Fl set Ar NAME=TEXT"));
    }

    #[test]
    fn the_manual_describes_every_option_that_is_obeyed() {
        let all =
            ["mode", "language", "emperor", "vassal"].map(|name| part(name).unwrap()).concat();
        for opt in table::SUPPORTED_OPTIONS {
            let is_there = all.contains(&format!(" Fl Fl {}\n", opt.name))
                || all.contains(&format!(" Fl Fl {} ", opt.name));
            assert_eq!(is_there, opt.is_obeyed(), "{}", opt.name);
        }
    }
}
