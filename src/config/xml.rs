//! XML: text to pairs. `<uwsgi>` at the root, or the child of any root with the wanted id.

use roxmltree::{Document, Node, ParsingOptions};

use crate::types::quote::cut;

use super::text::{Lines, Parsed, SyntaxFault, text_of_file};

/// Most nodes of a document.
const MAX_NODES: u32 = 100_000;

/// Most attributes of one tag: the crate compares each with all before it.
const MAX_ATTRIBUTES: usize = 1000;

/// Whether some tag may have too many attributes, judged by the equals signs up to the next tag (a `>` may
/// stand in an attribute, so that the text counts too).
fn has_crowded_tag(bytes: &[u8]) -> bool {
    let tags = bytes.split(|byte| *byte == b'<').filter(|tag| !tag.starts_with(b"!"));
    let mut inside = tags.map(|tag| tag.iter().filter(|byte| **byte == b'=').count());
    inside.any(|count| count > MAX_ATTRIBUTES)
}

/// Reads the stanza with this id, or the first.
pub(super) fn parse(bytes: &[u8], section: Option<&str>) -> Parsed {
    let text = match text_of_file(bytes) {
        Ok(text) => text,
        Err(faults) => return faults,
    };
    if has_crowded_tag(text.as_bytes()) {
        return Parsed::of_fault(
            0,
            "",
            format!("XML: a tag has more than {MAX_ATTRIBUTES} attributes"),
        );
    }
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = match Document::parse_with_options(text, options) {
        Ok(document) => document,
        Err(error) => {
            return Parsed::of_fault(
                error.pos().row,
                "",
                format!("XML: {}", cut(&error.to_string())),
            );
        }
    };
    let root = document.root_element();
    let stanzas = std::iter::once(root).chain(root.children().filter(Node::is_element));
    let mut stanzas = stanzas.filter(|node| matches!(node.tag_name().name(), "uwsgi" | "liege"));
    let stanza = match section {
        Some(id) => stanzas.find(|node| node.attribute("id") == Some(id)),
        None => stanzas.next(),
    };
    let Some(stanza) = stanza else {
        let wanted = section.map_or("<uwsgi>".to_owned(), |id| format!("<uwsgi id=\"{id}\">"));
        return Parsed::of_fault(
            0,
            "",
            format!("has no {wanted} (at the root, or directly in it)"),
        );
    };
    let mut parsed = Parsed::default();
    let lines = Lines::of(text.as_bytes());
    for element in stanza.children() {
        setting(&lines, element, &mut parsed);
    }
    parsed
}

fn setting(lines: &Lines, node: Node<'_, '_>, parsed: &mut Parsed) {
    let line = lines.at(node.range().start);
    if !node.is_element() {
        if node.is_text() && node.text().is_some_and(|text| !text.trim().is_empty()) {
            let message = "XML: text outside an element (expected <NAME>VALUE</NAME>)";
            parsed.add_fault(SyntaxFault::new(line, "", message));
        }
        return;
    }
    let key = node.tag_name().name();
    if node.children().any(|child| child.is_element()) {
        parsed.add_fault(SyntaxFault::new(line, key, "is nested (expected text only)"));
        return;
    }
    // Only the first text counts, as in uWSGI; an element without text is a flag.
    let value = node.children().find(Node::is_text).and_then(|text| text.text()).unwrap_or("1");
    parsed.pair(key, value, line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_meaning_is_a_fault_in_its_line() {
        let text = "<uwsgi>\n<a>1</a>\n<b>\n<c/></b>\nword\n</uwsgi>";
        let parsed = parse(text.as_bytes(), None);
        let lines: Vec<u32> = parsed.faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [3, 4], "{:?}", parsed.faults);
        assert_eq!(parsed.pairs.len(), 1);
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aa\">]><uwsgi><b>&a;</b></uwsgi>";
        for text in [bomb, "<x/>", "<uwsgi><a></uwsgi>", "", "\u{1}"] {
            assert!(!parse(text.as_bytes(), None).faults.is_empty(), "{text}");
        }
        assert!(!parse(b"<uwsgi id=\"a\"/>", Some("b")).faults.is_empty());
    }

    #[test]
    fn a_tag_with_very_many_attributes_is_refused_at_once() {
        let many: String = (0..80_000).map(|n| format!(" a{n}='1'")).collect();
        let parsed = parse(format!("<uwsgi{many}/>").as_bytes(), None);
        assert!(parsed.faults[0].message.contains("attributes"), "{:?}", parsed.faults);
    }

    #[test]
    fn depth_costs_no_stack() {
        assert!(!parse(&b"<a>".repeat(300_000), None).faults.is_empty());
        let deep = [b"<a>".repeat(90_000), b"</a>".repeat(90_000)].concat();
        assert!(!parse(&deep, None).faults.is_empty());
    }
}
