//! YAML: text to pairs.
//!
//! The events of the crate are read and not its values, which would turn `0770` into a number and `no` into false,
//! and have no lines.

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};

use crate::types::quote::cut;

use super::text::{NO_NAME, Parsed, SyntaxFault, is_wanted, text_of_file};

/// Reads the mapping of this name: `uwsgi` and `liege` if none was asked for.
pub(super) fn parse(bytes: &[u8], section: Option<&str>) -> Parsed {
    let text = match text_of_file(bytes) {
        Ok(text) => text,
        Err(faults) => return faults,
    };
    let events = Parser::new_from_str(text);
    let mut reader = YamlReader {
        events,
        line: 0,
        section,
        key: String::new(),
        found: false,
        parsed: Parsed::default(),
    };
    // `None` is the end of the text, or a fault that ends the reading.
    let _ = reader.stream();
    if !reader.found && reader.parsed.faults.is_empty() {
        let wanted = section.unwrap_or("uwsgi");
        reader.line = 0;
        reader.fault(format!("has no mapping '{wanted}' (expected a line {wanted}: at the top)"));
    }
    reader.parsed
}

/// Each method reads one part of the document to its end.
struct YamlReader<'t> {
    events: Parser<'t, StrInput<'t>>,
    /// Where the last event begins.
    line: u32,
    section: Option<&'t str>,
    /// The name whose value is read; empty: there is none, and the value is dropped.
    key: String,
    found: bool,
    parsed: Parsed,
}

impl<'t> YamlReader<'t> {
    fn fault(&mut self, message: impl Into<String>) {
        self.parsed.add_fault(SyntaxFault::new(self.line, &self.key, message));
    }

    fn next(&mut self) -> Option<Event<'t>> {
        let line = |line| u32::try_from(line).unwrap_or(u32::MAX);
        match self.events.next()? {
            Ok((event, span)) => {
                self.line = line(span.start.line());
                Some(event)
            }
            Err(error) => {
                self.line = line(error.marker().line());
                self.fault(format!("YAML: {}", cut(error.info())));
                None
            }
        }
    }

    fn stream(&mut self) -> Option<()> {
        let mut documents = 0;
        loop {
            match self.next()? {
                Event::DocumentStart(_) if documents > 0 => {
                    self.fault("a second document begins; put everything into one");
                    return None;
                }
                Event::DocumentStart(_) => documents += 1,
                Event::MappingStart(..) => self.top()?,
                Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Nothing => {}
                _ => {
                    self.fault("YAML: expected 'uwsgi:' at the top, and settings below it");
                    return None;
                }
            }
        }
    }

    /// The mapping of sections.
    fn top(&mut self) -> Option<()> {
        loop {
            match self.next()? {
                Event::Scalar(name, ..) => {
                    let is_wanted = is_wanted(&name, self.section);
                    self.found |= is_wanted;
                    self.section(is_wanted)?;
                }
                Event::MappingEnd => return Some(()),
                event => {
                    self.fault("YAML: a name at the top is not plain text");
                    self.skip(&event)?;
                    self.section(false)?;
                }
            }
        }
    }

    fn section(&mut self, is_wanted: bool) -> Option<()> {
        match self.next()? {
            Event::MappingStart(..) if is_wanted => self.settings(),
            // An empty section is fine.
            Event::Scalar(text, ScalarStyle::Plain, ..) if text.is_empty() => Some(()),
            event => {
                if is_wanted {
                    self.fault("YAML: expected settings (NAME: VALUE) below the section");
                }
                self.skip(&event)
            }
        }
    }

    fn settings(&mut self) -> Option<()> {
        loop {
            match self.next()? {
                Event::Scalar(name, ..) => {
                    if name.is_empty() {
                        self.fault(NO_NAME);
                    }
                    self.key = name.into_owned();
                }
                Event::MappingEnd => return Some(()),
                event => {
                    self.fault("YAML: a name is not plain text");
                    self.skip(&event)?;
                }
            }
            self.value()?;
            self.key.clear();
        }
    }

    fn value(&mut self) -> Option<()> {
        // A block text begins below its name; the name is where people look.
        let line_of_name = self.line;
        match self.next()? {
            // uWSGI drops a key without a value.
            Event::Scalar(text, ScalarStyle::Plain, ..) if text.is_empty() => {}
            Event::Scalar(text, ..) => {
                self.line = line_of_name;
                self.pair(&text);
            }
            Event::SequenceStart(..) => self.list()?,
            event => self.nested(&event)?,
        }
        Some(())
    }

    fn list(&mut self) -> Option<()> {
        loop {
            match self.next()? {
                Event::Scalar(text, ..) => self.pair(&text),
                Event::SequenceEnd => return Some(()),
                event => self.nested(&event)?,
            }
        }
    }

    fn nested(&mut self, event: &Event<'_>) -> Option<()> {
        self.fault(match event {
            Event::Alias(_) => "is an alias; write the text itself",
            _ => "is nested (expected a text, or a list of texts)",
        });
        self.skip(event)
    }

    /// Reads what this event has opened to its end, without recursion: it may be nested in any depth.
    fn skip(&mut self, event: &Event<'_>) -> Option<()> {
        let change = |event: &Event<'_>| match event {
            Event::MappingStart(..) | Event::SequenceStart(..) => 1,
            Event::MappingEnd | Event::SequenceEnd => -1,
            _ => 0,
        };
        let mut depth = change(event);
        while depth > 0 {
            depth += change(&self.next()?);
        }
        Some(())
    }

    fn pair(&mut self, value: &str) {
        if self.key.is_empty() {
            return;
        }
        if value.contains('\0') || self.key.contains('\0') {
            return self.fault("contains a zero byte; remove it");
        }
        self.parsed.pair(&self.key, value, self.line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_keep_their_texts_and_lines() {
        let text = "a: [1, {b: 2}]\nuwsgi:\n  x: 0770\n  y: ~\n  none:\n  e: \"\"\n  l:\n  - p\n  -\n  t: |\n    a\n    b\nz: 1\n";
        let parsed = parse(text.as_bytes(), None);
        assert_eq!(parsed.faults, []);
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
        assert_eq!(parse(b"uwsgi:\n", None).faults, []);
    }

    #[test]
    fn what_has_no_meaning_is_a_fault_in_its_line() {
        let text = "uwsgi:\n  a: &x 1\n  b: *x\n  c:\n    d: 1\n  e:\n  - [1]\n  - 2\n  ? [k]\n  : v\n  f: 1\n";
        let parsed = parse(text.as_bytes(), None);
        let lines: Vec<u32> = parsed.faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [3, 5, 7, 9], "{:?}", parsed.faults);
        assert_eq!(parsed.pairs.last().unwrap().value, "1");
        for text in [
            "- a\n",
            "uwsgi: x\n",
            "uwsgi:\n  a: 1\n---\nuwsgi:\n  b: 1\n",
            "uwsgi:\n\ta: 1\n",
            ": [\n",
            "",
        ] {
            assert!(!parse(text.as_bytes(), None).faults.is_empty(), "{text}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = [&b"uwsgi: "[..], &b"[".repeat(200_000)].concat();
        assert!(!parse(&deep, None).faults.is_empty());
        let deep = [&b"uwsgi: "[..], &b"- ".repeat(100_000)].concat();
        assert!(!parse(&deep, None).faults.is_empty());
    }
}
