//! YAML: text to pairs.
//!
//! The events of the crate are read and not its values, which would turn `0770` into a number and `no` into false,
//! and have no lines.

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::types::quote::cut;

use super::text::{NO_NAME, Parsed, SyntaxFault, utf8};

/// Reads the mapping of this name: `uwsgi` and `liege` if none was asked for.
pub(super) fn parse(bytes: &[u8], section: Option<&str>) -> Parsed {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut bad = Vec::new();
    let Some(text) = utf8(0, bytes, &mut bad) else { return Parsed { pairs: Vec::new(), bad } };
    let mut reading = YamlReader { section, ..YamlReader::default() };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => {
                let line = u32::try_from(span.start.line()).unwrap_or(u32::MAX);
                if !reading.event(&event, line) {
                    break;
                }
            }
            Err(error) => {
                let line = u32::try_from(error.marker().line()).unwrap_or(u32::MAX);
                reading.bad(line, format!("YAML: {}", cut(error.info())));
                break;
            }
        }
    }
    if !reading.found && reading.parsed.bad.is_empty() {
        let wanted = section.unwrap_or("uwsgi");
        reading.bad(0, format!("has no mapping '{wanted}' (expected a line {wanted}: at the top)"));
    }
    reading.parsed
}

/// Where in the document the reading is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum YamlPlace {
    /// Before the first document.
    #[default]
    Outside,
    /// In the mapping at the top, where a name is next.
    Top,
    /// The value of a name at the top comes next; true: the wanted one.
    TopValue(bool),
    /// In the wanted mapping, where a name is next.
    Inside,
    /// The value of a name comes next.
    Value,
    /// In a list of values.
    List,
    /// In something that is not read: how deep, and where it goes on.
    Skip(usize, Back),
}

/// Where the reading goes on after something that is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Back {
    Top,
    Inside,
    Value,
    List,
}

#[derive(Default)]
struct YamlReader<'s> {
    section: Option<&'s str>,
    place: YamlPlace,
    key: String,
    key_line: u32,
    found: bool,
    documents: usize,
    parsed: Parsed,
}

impl YamlReader<'_> {
    fn bad(&mut self, line: u32, message: impl Into<String>) {
        let key =
            if matches!(self.place, YamlPlace::Value | YamlPlace::List) { &self.key } else { "" };
        self.parsed.fault_at(SyntaxFault::new(line, key, message));
    }

    /// Takes one event; false ends the reading.
    fn event(&mut self, event: &Event<'_>, line: u32) -> bool {
        if let Event::DocumentStart(_) = event {
            self.documents += 1;
            if self.documents > 1 {
                self.bad(line, "a second document begins; put everything into one");
                return false;
            }
            return true;
        }
        self.place = match self.place {
            YamlPlace::Outside => return self.start(event, line),
            YamlPlace::Top => self.top(event, line),
            YamlPlace::TopValue(wanted) => self.top_value(event, line, wanted),
            YamlPlace::Inside => self.name(event, line),
            YamlPlace::Value => self.value(event, line),
            YamlPlace::List => self.element(event, line),
            YamlPlace::Skip(depth, back) => skipped(event, depth, back),
        };
        true
    }

    fn start(&mut self, event: &Event<'_>, line: u32) -> bool {
        match event {
            Event::MappingStart(..) => {
                self.place = YamlPlace::Top;
                true
            }
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Nothing => true,
            _ => {
                self.bad(line, "YAML: expected 'uwsgi:' at the top, and settings below it");
                false
            }
        }
    }

    fn top(&mut self, event: &Event<'_>, line: u32) -> YamlPlace {
        match event {
            Event::Scalar(name, ..) => {
                let wanted = match self.section {
                    Some(wanted) => name == wanted,
                    None => name == "uwsgi" || name == "liege",
                };
                self.found |= wanted;
                YamlPlace::TopValue(wanted)
            }
            Event::MappingEnd => YamlPlace::Outside,
            _ => {
                self.bad(line, "YAML: a name at the top is not plain text");
                opened(event, Back::Top)
            }
        }
    }

    fn top_value(&mut self, event: &Event<'_>, line: u32, wanted: bool) -> YamlPlace {
        match event {
            Event::MappingStart(..) if wanted => YamlPlace::Inside,
            // An empty section is fine.
            Event::Scalar(text, ScalarStyle::Plain, ..) if wanted && text.is_empty() => {
                YamlPlace::Top
            }
            _ => {
                if wanted {
                    self.bad(line, "YAML: expected settings (NAME: VALUE) below the section");
                }
                opened(event, Back::Top)
            }
        }
    }

    fn name(&mut self, event: &Event<'_>, line: u32) -> YamlPlace {
        match event {
            Event::Scalar(name, ..) => {
                self.key = name.clone().into_owned();
                self.key_line = line;
                if self.key.is_empty() {
                    self.bad(line, NO_NAME);
                }
                YamlPlace::Value
            }
            Event::MappingEnd => YamlPlace::Top,
            _ => {
                self.bad(line, "YAML: a name is not plain text");
                // Its value follows, and is nobody's.
                self.key.clear();
                opened(event, Back::Value)
            }
        }
    }

    fn value(&mut self, event: &Event<'_>, line: u32) -> YamlPlace {
        match event {
            // uWSGI drops a key without a value.
            Event::Scalar(text, ScalarStyle::Plain, ..) if text.is_empty() => YamlPlace::Inside,
            Event::Scalar(text, ..) => {
                // A block text begins below its name; the name is where people look.
                self.pair(text, self.key_line);
                YamlPlace::Inside
            }
            Event::SequenceStart(..) => YamlPlace::List,
            _ => {
                self.nested(event, line);
                opened(event, Back::Inside)
            }
        }
    }

    fn element(&mut self, event: &Event<'_>, line: u32) -> YamlPlace {
        match event {
            Event::Scalar(text, ..) => {
                self.pair(text, line);
                YamlPlace::List
            }
            Event::SequenceEnd => YamlPlace::Inside,
            _ => {
                self.nested(event, line);
                opened(event, Back::List)
            }
        }
    }

    fn nested(&mut self, event: &Event<'_>, line: u32) {
        let message = if matches!(event, Event::Alias(_)) {
            "is an alias; write the text itself"
        } else {
            "is nested (expected a text, or a list of texts)"
        };
        self.bad(line, message);
    }

    fn pair(&mut self, value: &str, line: u32) {
        if self.key.is_empty() {
            return;
        }
        if value.contains('\0') || self.key.contains('\0') {
            return self.bad(line, "contains a zero byte; remove it");
        }
        self.parsed.pair(&self.key, value, line);
    }
}

/// Skips a value, if this event opens one.
fn opened(event: &Event<'_>, back: Back) -> YamlPlace {
    match event {
        Event::MappingStart(..) | Event::SequenceStart(..) => YamlPlace::Skip(1, back),
        _ => back.place(),
    }
}

fn skipped(event: &Event<'_>, depth: usize, back: Back) -> YamlPlace {
    let depth = match event {
        Event::MappingStart(..) | Event::SequenceStart(..) => depth + 1,
        Event::MappingEnd | Event::SequenceEnd => depth - 1,
        _ => depth,
    };
    if depth == 0 { back.place() } else { YamlPlace::Skip(depth, back) }
}

impl Back {
    const fn place(self) -> YamlPlace {
        match self {
            Self::Top => YamlPlace::Top,
            Self::Inside => YamlPlace::Inside,
            Self::Value => YamlPlace::Value,
            Self::List => YamlPlace::List,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_keep_their_texts_and_lines() {
        let text = "a: [1, {b: 2}]\nuwsgi:\n  x: 0770\n  y: ~\n  none:\n  e: \"\"\n  l:\n  - p\n  -\n  t: |\n    a\n    b\nz: 1\n";
        let parsed = parse(text.as_bytes(), None);
        assert_eq!(parsed.bad, []);
        let got: Vec<_> =
            parsed.pairs.iter().map(|p| (p.key.as_str(), p.value.as_str(), p.line)).collect();
        assert_eq!(
            got,
            [
                ("x", "0770", 3),
                ("y", "~", 4),
                ("e", "", 6),
                ("l", "p", 8),
                ("l", "", 9),
                ("t", "a\nb\n", 10)
            ]
        );
        assert_eq!(parse(b"uwsgi:\n", None).bad, []);
    }

    #[test]
    fn what_has_no_meaning_is_a_fault_in_its_line() {
        let text = "uwsgi:\n  a: &x 1\n  b: *x\n  c:\n    d: 1\n  e:\n  - [1]\n  - 2\n  ? [k]\n  : v\n  f: 1\n";
        let parsed = parse(text.as_bytes(), None);
        let lines: Vec<u32> = parsed.bad.iter().map(|bad| bad.line).collect();
        assert_eq!(lines, [3, 5, 7, 9], "{:?}", parsed.bad);
        assert_eq!(parsed.pairs.last().unwrap().value, "1");
        for text in [
            "- a\n",
            "uwsgi: x\n",
            "uwsgi:\n  a: 1\n---\nuwsgi:\n  b: 1\n",
            "uwsgi:\n\ta: 1\n",
            ": [\n",
            "",
        ] {
            assert!(!parse(text.as_bytes(), None).bad.is_empty(), "{text}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = [&b"uwsgi: "[..], &b"[".repeat(200_000)].concat();
        assert!(!parse(&deep, None).bad.is_empty());
        let deep = [&b"uwsgi: "[..], &b"- ".repeat(100_000)].concat();
        assert!(!parse(&deep, None).bad.is_empty());
    }
}
