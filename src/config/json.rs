//! JSON: text to pairs.
//!
//! `serde_json` reads an object into a map, which loses repeated names, the order and the spelling of numbers. So
//! its deserializer is given a list of names with raw values, whose texts and lines are read from there.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::types::quote::cut;

use super::text::{Lines, NO_NAME, Parsed, SyntaxFault, is_wanted, text_of_file};

/// An object as it was written: every name with the raw text of its value.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &RawValue>()? {
                    if members.len() > 100_000 {
                        return Err(M::Error::custom("too many names"));
                    }
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Collect)
    }
}

/// Reads the object of this name: `uwsgi` and `liege` if none was asked for.
pub(super) fn parse(bytes: &[u8], section: Option<&str>) -> Parsed {
    let text = match text_of_file(bytes) {
        Ok(text) => text,
        Err(faults) => return faults,
    };
    let all = match serde_json::from_str::<Members>(text) {
        Ok(Members(all)) => all,
        Err(error) => return Parsed { pairs: Vec::new(), faults: vec![syntax_fault(&error, 0)] },
    };
    let lines = Lines::of(text.as_bytes());
    let mut reading = JsonReader { text, lines, parsed: Parsed::default() };
    let mut found = false;
    for (name, value) in &all {
        if is_wanted(name, section) {
            found = true;
            reading.object(name, value);
        }
    }
    if !found {
        let wanted = section.unwrap_or("uwsgi");
        reading.fault(
            0,
            "",
            format!("has no object \"{wanted}\" (expected {{\"{wanted}\": {{…}}}})"),
        );
    }
    reading.parsed
}

fn syntax_fault(error: &serde_json::Error, lines_before: u32) -> SyntaxFault {
    let line = u32::try_from(error.line()).unwrap_or(0);
    let reason = error.to_string();
    // The line is named in front of the message already.
    let reason = reason.split(" at line ").next().unwrap_or_default();
    SyntaxFault::new(
        line + lines_before,
        "",
        format!("JSON: {} (comments and trailing commas are not JSON)", cut(reason)),
    )
}

struct JsonReader<'t> {
    text: &'t str,
    lines: Lines,
    parsed: Parsed,
}

impl<'t> JsonReader<'t> {
    fn fault(&mut self, line: u32, key: &str, message: impl Into<String>) {
        self.parsed.add_fault(SyntaxFault::new(line, key, message));
    }

    /// The line on which a value begins, found by the offset of its text in the whole text.
    fn line(&self, value: &RawValue) -> u32 {
        let offset = (value.get().as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        self.lines.at(offset)
    }

    fn object(&mut self, name: &str, object: &'t RawValue) {
        match serde_json::from_str::<Members>(object.get()) {
            Ok(Members(members)) => {
                for (key, value) in members {
                    self.member(&key, value);
                }
            }
            Err(_) => {
                let line = self.line(object);
                self.fault(
                    line,
                    "",
                    format!("\"{name}\" is not an object (expected {{NAME: VALUE, …}})"),
                );
            }
        }
    }

    fn member(&mut self, key: &str, value: &'t RawValue) {
        if key.is_empty() {
            return self.fault(self.line(value), key, NO_NAME);
        }
        if !value.get().starts_with('[') {
            return self.scalar(key, value);
        }
        match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
            Ok(elements) => elements.into_iter().for_each(|element| self.scalar(key, element)),
            Err(error) => {
                let line = self.line(value);
                self.parsed.add_fault(syntax_fault(&error, line.saturating_sub(1)));
            }
        }
    }

    fn scalar(&mut self, key: &str, value: &RawValue) {
        let line = self.line(value);
        let raw = value.get();
        let text = match raw.as_bytes().first() {
            Some(b'"') => match serde_json::from_str::<String>(raw) {
                Ok(text) => text,
                Err(error) => {
                    return self.fault(line, key, format!("JSON: {}", cut(&error.to_string())));
                }
            },
            Some(b't') => "1".to_owned(),
            Some(b'f' | b'n') => "0".to_owned(),
            Some(b'{' | b'[') => {
                return self.fault(
                    line,
                    key,
                    "is nested (expected a text, a number, or a list of these)",
                );
            }
            _ => raw.to_owned(),
        };
        if text.contains('\0') || key.contains('\0') {
            return self.fault(line, key, "contains a zero byte; remove it");
        }
        self.parsed.pair(key, text, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_lines_and_keep_their_texts() {
        let text = b"{\"x\": 1,\n\"uwsgi\": {\n \"a\": 0770,\n}}";
        assert_eq!(parse(text, None).faults[0].line, 3);
        let text =
            b"{\"x\": [[]],\n\"uwsgi\": {\n \"a\":\n 1.50, \"b\": [12345678901234567890,\n true]}}";
        let parsed = parse(text, None);
        let got: Vec<_> =
            parsed.pairs.iter().map(|p| (p.key.as_str(), p.value.as_str(), p.line)).collect();
        assert_eq!(got, [("a", "1.50", 4), ("b", "12345678901234567890", 4), ("b", "1", 5)]);
    }

    #[test]
    fn what_has_no_meaning_is_a_fault_in_its_line() {
        let text = b"{\"uwsgi\": {\"a\": [1,\n [2]],\n \"b\": {}, \"c\": \"\\u0000\",\n \"d\": \"\\ud800\"}}";
        let lines: Vec<u32> = parse(text, None).faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [2, 3, 3, 4]);
        assert!(!parse(b"[1]", None).faults.is_empty());
        assert!(!parse(b"{\"uwsgi\": 1}", None).faults.is_empty());
        assert!(!parse(&b"[".repeat(1 << 20), None).faults.is_empty(), "depth costs no stack");
        let deep =
            [&b"{\"uwsgi\":{\"a\":"[..], &b"[".repeat(500_000), &b"]".repeat(500_000), b"}}"]
                .concat();
        assert!(!parse(&deep, None).faults.is_empty(), "depth costs no stack");
    }
}
