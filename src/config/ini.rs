//! INI, in the dialect of uWSGI: text to pairs.
//!
//! The crate `rust-ini` reads another dialect: it splits at `:`, joins lines at a backslash, swallows a
//! key without `=`, trims more than blanks, and knows no line numbers. So a pass before it finds the
//! wanted sections, completes bare keys, hides what the crate would interpret, and notes the line of
//! each pair, in the order in which the crate gives them back.

use ini::{Ini, ParseOption};

use super::text::{
    BYTE_ORDER_MARK, MAX_PAIRS, MAX_SYNTAX_FAULTS, NO_NAME, Parsed, ParsedPair, SyntaxFault,
    is_wanted, text_of_line,
};

/// Introduces a hidden character. It cannot be typed by accident, and is itself hidden where it occurs.
const HIDE: char = '\u{1a}';
const HIDDEN: [(char, char); 4] = [('\\', 'b'), (':', 'c'), ('\r', 'r'), (HIDE, 's')];
/// Hides nothing, but keeps an odd blank away from the edge.
const EDGE: char = 'e';

/// Reads the pairs of the wanted section: `[uwsgi]` and `[liege]` if none was asked for.
pub(super) fn parse(bytes: &[u8], section: Option<&str>) -> Parsed {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let mut pass =
        Pass { section, canon: String::with_capacity(bytes.len() + 64), ..Pass::default() };
    pass.canon.push_str("[x]\n");
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        pass.line(u32::try_from(index + 1).unwrap_or(u32::MAX), trim(line));
    }
    let Pass { canon, lines, mut faults, found, .. } = pass;
    if !found {
        let wanted = section.unwrap_or("uwsgi");
        faults.push(SyntaxFault::new(
            0,
            "",
            format!("has no section [{wanted}]; add that line above the settings"),
        ));
    }
    let options = ParseOption {
        enabled_quote: false,
        enabled_escape: false,
        enabled_indented_mutiline_value: false,
        enabled_preserve_key_leading_whitespace: false,
    };
    let pairs = match Ini::load_from_str_opt(&canon, options) {
        Ok(ini) => ini
            .section(Some("x"))
            .into_iter()
            .flat_map(ini::Properties::iter)
            .zip(&lines)
            .map(|((key, value), line)| ParsedPair {
                key: reveal(key),
                value: reveal(value),
                line: *line,
            })
            .collect::<Vec<_>>(),
        Err(error) => {
            let line = lines.get(error.line.saturating_sub(2)).copied().unwrap_or(0);
            faults.push(SyntaxFault::new(
                line,
                "",
                format!("cannot be read as INI: {}", error.msg),
            ));
            Vec::new()
        }
    };
    if faults.is_empty() && pairs.len() != lines.len() {
        // Rather no start than a file that means something else than it says.
        faults.push(SyntaxFault::new(0, "", "cannot be read as INI: a line was lost on the way"));
    }
    Parsed { pairs, faults }
}

#[derive(Default)]
struct Pass<'a> {
    section: Option<&'a str>,
    canon: String,
    lines: Vec<u32>,
    faults: Vec<SyntaxFault>,
    found: bool,
    inside: bool,
}

impl Pass<'_> {
    fn line(&mut self, number: u32, line: &[u8]) {
        match line.first() {
            None | Some(b';' | b'#') => {}
            // The rest would not be told or taken.
            _ if self.lines.len() >= MAX_PAIRS || self.faults.len() >= MAX_SYNTAX_FAULTS => {}
            Some(b'[') => self.header(number, line),
            Some(_) if self.inside => self.pair(number, line),
            Some(_) => {}
        }
    }

    fn header(&mut self, number: u32, line: &[u8]) {
        let Some(name) = line.get(1..).and_then(|rest| rest.strip_suffix(b"]")) else {
            self.inside = false;
            self.faults.push(SyntaxFault::new(
                number,
                "",
                "a section line must end in ']' (comments need a line of their own)",
            ));
            return;
        };
        self.inside = str::from_utf8(name).is_ok_and(|name| is_wanted(name, self.section));
        self.found |= self.inside;
    }

    fn pair(&mut self, number: u32, line: &[u8]) {
        let line = match text_of_line(number, line) {
            Ok(line) => line,
            Err(fault) => return self.faults.push(fault),
        };
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let (key, value) = (key.trim_matches(BLANKS), value.trim_matches(BLANKS));
        if key.is_empty() {
            self.faults.push(SyntaxFault::new(number, "", NO_NAME));
            return;
        }
        self.lines.push(number);
        hide(key, &mut self.canon);
        self.canon.push('=');
        hide(value, &mut self.canon);
        self.canon.push('\n');
    }
}

const BLANKS: [char; 3] = [' ', '\t', '\r'];

fn trim(line: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
    let start = line.iter().position(|byte| !blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    line.get(start..end).unwrap_or_default()
}

fn hide(text: &str, out: &mut String) {
    let is_blank = |c: Option<char>| c.is_some_and(char::is_whitespace);
    let edges = is_blank(text.chars().next()) || is_blank(text.chars().next_back());
    if edges {
        out.extend([HIDE, EDGE]);
    }
    if text.contains(HIDDEN.map(|pair| pair.0)) {
        for c in text.chars() {
            match HIDDEN.iter().find(|pair| pair.0 == c) {
                Some((_, code)) => out.extend([HIDE, *code]),
                None => out.push(c),
            }
        }
    } else {
        out.push_str(text);
    }
    if edges {
        out.extend([HIDE, EDGE]);
    }
}

fn reveal(text: &str) -> String {
    if !text.contains(HIDE) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == HIDE {
            let code = chars.next();
            out.extend(HIDDEN.iter().find(|pair| Some(pair.1) == code).map(|pair| pair.0));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, String, u32)> {
        let parsed = parse(text.as_bytes(), None);
        assert!(parsed.faults.is_empty(), "{:?}", parsed.faults);
        parsed.pairs.into_iter().map(|p| (p.key, p.value, p.line)).collect()
    }

    #[test]
    fn nothing_in_a_value_is_special() {
        let text = "[uwsgi]\na = c:\\x \\\nb: c\nd = 'q' ; x # y\ne = \"\\n\"\n\u{a0}f = \u{a0}\n[other]\n= bad\n[uwsgi]\ng=1";
        let expected = [
            ("a", "c:\\x \\", 2),
            ("b: c", "", 3),
            ("d", "'q' ; x # y", 4),
            ("e", "\"\\n\"", 5),
            ("\u{a0}f", "\u{a0}", 6),
            ("g", "1", 10),
        ];
        let expected = expected.map(|(k, v, l)| (k.to_owned(), v.to_owned(), l));
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn every_fault_of_a_file_is_found_with_its_line() {
        let parsed = parse(b"[uwsgi]\n= x\na = \xff\n; \xff\nb = 1\n[uwsgi] ; x\nc = \0\n", None);
        let lines: Vec<u32> = parsed.faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [2, 3, 6]);
        assert_eq!(parsed.pairs.len(), 1);
    }

    proptest! {
        /// A plain reader of the dialect, written down once more, agrees with the pass and the crate.
        #[test]
        fn the_crate_gives_back_what_the_dialect_means(
            body in proptest::collection::vec("[a-c=:;#\\[\\]\\\\'\" \t\r\u{1a}\u{a0}é]{0,12}", 0..12)
        ) {
            let text = format!("[uwsgi]\n{}", body.join("\n"));
            let mut expected = Vec::new();
            let mut inside = true;
            for (index, line) in text.split('\n').enumerate().skip(1) {
                let line = line.trim_matches(BLANKS);
                if line.is_empty() || line.starts_with([';', '#']) { continue; }
                if line.starts_with('[') {
                    inside = line == "[uwsgi]" || line == "[liege]";
                    continue;
                }
                let (key, value) = line.split_once('=').unwrap_or((line, ""));
                let (key, value) = (key.trim_matches(BLANKS), value.trim_matches(BLANKS));
                if inside && !key.is_empty() {
                    expected.push((key.to_owned(), value.to_owned(), index as u32 + 1));
                }
            }
            let parsed = parse(text.as_bytes(), None);
            let got: Vec<_> = parsed.pairs.into_iter().map(|p| (p.key, p.value, p.line)).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
