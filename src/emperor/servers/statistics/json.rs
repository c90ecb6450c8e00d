//! The layout of the statistics, which is uWSGI's: tabs, one key per line, flags as 0 and 1, so that scripts that
//! read it line by line keep working.
//!
//! Whatever the names are, the result is valid JSON: what is UTF-8 stays what it is, other bytes are
//! shown as in the log. Characters that a terminal would obey are `\u` escapes, so that `cat` is safe;
//! serde_json by itself leaves DEL, the C1 controls and U+202E as they are.
//!
//! # Source
//! uWSGI 2.0.21, observed.

use std::fmt::Display;
use std::io::{self, Write};

use serde::{Serialize, Serializer};
use serde_json::ser::{CharEscape, Formatter};
use serde_json::value::RawValue;

use crate::log::{escaped, is_deceptive};

/// A report as text.
pub(super) fn to_text(report: &impl Serialize) -> Vec<u8> {
    let mut text = Vec::new();
    append(&mut text, report, 0);
    text.push(b'\n');
    text
}

/// Appends a value at this depth.
fn append(text: &mut Vec<u8>, value: &impl Serialize, depth: usize) {
    let mut serializer = serde_json::Serializer::with_formatter(text, Layout { depth });
    // A buffer takes everything, and no key is anything but a text.
    let _ = value.serialize(&mut serializer);
}

/// The text of a report before its vassals, from one that has none.
pub(super) fn head(report: &impl Serialize) -> Vec<u8> {
    let mut text = to_text(report);
    text.truncate(end_of_head(&text));
    text
}

/// The text behind them.
pub(super) fn tail(report: &impl Serialize) -> Vec<u8> {
    let mut text = to_text(report);
    text.drain(..end_of_head(&text));
    text
}

/// Behind the bracket that opens the list of vassals. No text has a quotation mark that is not escaped.
fn end_of_head(text: &[u8]) -> usize {
    const VASSALS: &[u8] = b"\"vassals\":[";
    let found = text.windows(VASSALS.len()).position(|part| part == VASSALS);
    found.map_or(0, |at| at + VASSALS.len())
}

/// Appends a vassal behind the head or another one.
pub(super) fn append_vassal(text: &mut Vec<u8>, vassal: &impl Serialize) {
    text.extend_from_slice(if text.ends_with(b"[") { b"\n\t\t" } else { b",\n\t\t" });
    append(text, vassal, 2);
}

/// A name or path from outside, which need not be UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OutsideText(pub Vec<u8>);

impl Serialize for OutsideText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_not_text) => serializer.collect_str(&escaped(&self.0)),
        }
    }
}

/// A pid; uWSGI's -1 where there is none.
pub(super) fn pid<S: Serializer>(pid: &Option<i32>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i32(pid.unwrap_or(-1))
}

/// A value as the log shows it.
pub(super) fn shown<S: Serializer>(
    value: &Option<impl Display>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.as_ref().map(ToString::to_string).serialize(serializer)
}

/// uWSGI does not indent the strings of `emperor`.
pub(super) fn unindented<S: Serializer>(
    texts: &[OutsideText],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let lines: Vec<String> = texts.iter().map(|text| format!("\n{}", quoted(text))).collect();
    raw(format!("[{}\n\t]", lines.join(",")), serializer)
}

/// An array in one line.
pub(super) fn in_one_line<S: Serializer>(words: &[&str], serializer: S) -> Result<S::Ok, S::Error> {
    let words: Vec<String> = words.iter().map(quoted).collect();
    raw(format!("[{}]", words.join(",")), serializer)
}

/// An array of objects with one pair each: repeats and order stay, and it is JSON (uWSGI's is not).
pub(super) fn pairs<S: Serializer>(
    pairs: &[(OutsideText, OutsideText)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let pair = |(name, value)| format!("{{{}:{}}}", quoted(name), quoted(value));
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| pair((name, value))).collect();
    raw(format!("[{}]", pairs.join(",")), serializer)
}

fn quoted(text: &impl Serialize) -> String {
    let mut quoted = to_text(text);
    quoted.pop();
    String::from_utf8(quoted).unwrap_or_default()
}

fn raw<S: Serializer>(text: String, serializer: S) -> Result<S::Ok, S::Error> {
    RawValue::from_string(text).map_err(serde::ser::Error::custom)?.serialize(serializer)
}

/// The present depth of the text.
struct Layout {
    depth: usize,
}

impl Layout {
    fn new_line<W: ?Sized + Write>(&self, out: &mut W, is_first: bool) -> io::Result<()> {
        out.write_all(if is_first { b"\n" } else { b",\n" })?;
        (0..self.depth).try_for_each(|_| out.write_all(b"\t"))
    }

    fn open<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        out.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth = self.depth.saturating_sub(1);
        self.new_line(out, true)?;
        out.write_all(bracket)
    }
}

impl Formatter for Layout {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"[")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.new_line(out, first)
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"]")
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"{")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.new_line(out, first)
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"}")
    }

    fn write_bool<W: ?Sized + Write>(&mut self, out: &mut W, value: bool) -> io::Result<()> {
        out.write_all(if value { b"1" } else { b"0" })
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for part in fragment.split_inclusive(is_deceptive) {
            let last = part.chars().next_back().filter(|last| is_deceptive(*last));
            let plain = part.len() - last.map_or(0, char::len_utf8);
            out.write_all(part.get(..plain).unwrap_or_default().as_bytes())?;
            if let Some(last) = last {
                // All deceptive characters are below U+10000: no surrogate pairs.
                write!(out, "\\u{:04x}", u32::from(last))?;
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        let byte = match escape {
            CharEscape::Quote => return out.write_all(b"\\\""),
            CharEscape::ReverseSolidus => return out.write_all(b"\\\\"),
            CharEscape::Solidus => b'/',
            CharEscape::Backspace => 8,
            CharEscape::Tab => b'\t',
            CharEscape::LineFeed => b'\n',
            CharEscape::FormFeed => 12,
            CharEscape::CarriageReturn => b'\r',
            CharEscape::AsciiControl(byte) => byte,
        };
        write!(out, "\\u{byte:04x}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{BlacklistEntry, Refused, StatisticsReport, VassalReport};
    use super::{OutsideText, append_vassal, head, tail, to_text};
    use crate::types::exit_status::ExitStatus;

    use proptest::prelude::{any, prop_assert_eq, proptest};
    use serde_json::{Value, json};

    /// What uWSGI 2.1 would show; ours follow where the dots are.
    const GOLDEN: &str = r#"{
	"version":"2.0.21-debian",
	"pid":28659,
	"uid":0,
	"gid":0,
	"cwd":"/etc/uwsgi/vassals",
	"emperor":[
"/etc/uwsgi/vassals",
"/srv/*/app.ini"
	],
	"emperor_tyrant":0,
	"throttle_level":0,
	"vassals":[
		{
			"id":"a.ini",
			"pid":28660,
			"born":1795279373,
			"last_mod":1795279373,
			"last_heartbeat":0,
			"loyal":1,
			"ready":1,
			"accepting":1,
			"last_loyal":1795279376,
			"last_ready":1795279376,
			"last_accepting":1795279376,
			"first_run":1795279373,
			"last_run":1795279373,
			"cursed":0,
			"zerg":0,
			"on_demand":"",
			"suspended":0,
			"adopted":0,
			"uid":0,
			"gid":0,
			"monitor":"/etc/uwsgi/vassals",
			"attrs":[],
			"respawns":0,
…
		},
		{
			"id":"b.ini",
			"pid":-1,
			"born":1795279373,
			"last_mod":1795279373,
			"last_heartbeat":0,
			"loyal":0,
			"ready":0,
			"accepting":0,
			"last_loyal":0,
			"last_ready":0,
			"last_accepting":0,
			"first_run":1795279373,
			"last_run":1795279373,
			"cursed":0,
			"zerg":0,
			"on_demand":"127.0.0.1:28111",
			"suspended":0,
			"adopted":0,
			"uid":0,
			"gid":0,
			"monitor":"/etc/uwsgi/vassals",
			"attrs":[{"k":"v"},{"k":"w"}],
			"respawns":0,
…
		}
	],
	"blacklist":[
		{
			"id":"c.ini",
			"throttle_level":1,
			"attempt":0,
			"first_attempt":1795279376,
			"last_attempt":1795279376
		}
	],
…
}
"#;

    const OURS: [&str; 27] = [
        "state",
        "death_guards",
        "keeper_pid",
        "spawner_pid",
        "started",
        "running",
        "failing",
        "starting",
        "max_vassals",
        "internal_errors",
        "longest_turn_us",
        "longest_turn_wall_us",
        "lost_log_lines",
        "refused",
        "reason",
        "next_start_ms",
        "last_exit",
        "last_error",
        "base",
        "stale",
        "stale_reason",
        "generation",
        "memory",
        "starts",
        "deaths",
        "other_pid",
        "]",
    ];

    fn text(bytes: &[u8]) -> OutsideText {
        OutsideText(bytes.to_vec())
    }

    fn sample() -> StatisticsReport {
        let (born, said) = (1_795_279_373, 1_795_279_376);
        let first = VassalReport {
            id: text(b"a.ini"),
            pid: Some(28660),
            born,
            last_mod: born,
            first_run: born,
            last_run: born,
            loyal: true,
            ready: true,
            accepting: true,
            last_loyal: said,
            last_ready: said,
            last_accepting: said,
            monitor: text(b"/etc/uwsgi/vassals"),
            state: "running",
            ..VassalReport::default()
        };
        let pair = |value: &[u8]| (text(b"k"), text(value));
        let second = VassalReport {
            id: text(b"b.ini"),
            born,
            last_mod: born,
            first_run: born,
            last_run: born,
            on_demand: text(b"127.0.0.1:28111"),
            monitor: text(b"/etc/uwsgi/vassals"),
            attrs: vec![pair(b"v"), pair(b"w")],
            state: "listening",
            next_start_ms: Some(250),
            last_exit: Some(ExitStatus::Signal(9)),
            last_error: Some("exec: /bin/none: No such file".to_owned()),
            base: Some(text(b"base.ini")),
            memory: Some(4096),
            other_pid: Some(7),
            ..VassalReport::default()
        };
        let entry = BlacklistEntry {
            id: text(b"c.ini"),
            throttle_level: 1,
            attempt: 0,
            first_attempt: said,
            last_attempt: said,
        };
        StatisticsReport {
            version: "2.0.21-debian".to_owned(),
            pid: 28659,
            cwd: text(b"/etc/uwsgi/vassals"),
            emperor: vec![text(b"/etc/uwsgi/vassals"), text(b"/srv/*/app.ini")],
            vassals: vec![first, second],
            blacklist: vec![entry],
            state: "governing",
            death_guards: vec!["parent-death", "keeper"],
            ..StatisticsReport::default()
        }
    }

    fn rendered(report: &StatisticsReport) -> String {
        let whole = to_text(report);
        let frame = StatisticsReport { vassals: Vec::new(), ..report.clone() };
        let mut parts = head(&frame);
        report.vassals.iter().for_each(|vassal| append_vassal(&mut parts, vassal));
        parts.extend(tail(&frame));
        assert_eq!(parts, whole, "made of parts it is the same");
        String::from_utf8(whole).unwrap()
    }

    fn parsed(report: &StatisticsReport) -> Value {
        serde_json::from_str(&rendered(report)).unwrap()
    }

    /// The key of a line, or what is there instead.
    fn key(line: &str) -> &str {
        line.trim_start().trim_start_matches('"').split(['"', ',']).next().unwrap_or_default()
    }

    #[test]
    fn scripts_that_read_the_statistics_of_uwsgi_line_by_line_keep_working() {
        let text = rendered(&sample());
        let mut lines = text.lines();
        let golden: Vec<&str> = GOLDEN.lines().collect();
        for (index, want) in golden.iter().enumerate() {
            if *want != "…" {
                assert_eq!(lines.next(), Some(*want));
                continue;
            }
            let after = golden[index + 1];
            while lines.clone().next().is_some_and(|line| line != after) {
                let ours = lines.next().unwrap();
                assert!(OURS.contains(&key(ours)), "{ours}");
            }
        }
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn our_keys_say_what_uwsgi_cannot() {
        let value = parsed(&sample());
        assert_eq!(value["state"], "governing");
        assert_eq!(value["death_guards"], json!(["parent-death", "keeper"]));
        assert_eq!(value["keeper_pid"], Value::Null);
        let vassal = &value["vassals"][1];
        assert_eq!(vassal["state"], "listening");
        assert_eq!(vassal["next_start_ms"], 250);
        assert_eq!(vassal["last_exit"], "SIGKILL");
        assert_eq!(vassal["last_error"], "exec: /bin/none: No such file");
        assert_eq!(vassal["base"], "base.ini");
        assert_eq!(vassal["memory"], 4096);
        assert_eq!(vassal["other_pid"], 7);
        assert_eq!(value["vassals"][0]["last_exit"], Value::Null);
    }

    #[test]
    fn an_empty_realm_is_valid_json() {
        let value = parsed(&StatisticsReport::default());
        assert_eq!(value["vassals"], json!([]));
        assert_eq!(value["blacklist"], json!([]));
        assert_eq!(value["emperor"], json!([]));
    }

    #[test]
    fn hostile_names_are_valid_json_and_harmless_on_a_terminal() {
        let names: [&[u8]; 6] = [
            b"quo\"te\\.ini",
            b"a\n\x1b[31m\x7f\x00",
            b"\xff\xfe\n.ini",
            "\u{9b}31m\u{202e}\u{2028}".as_bytes(),
            "grüße 🦀".as_bytes(),
            b"\"},{\"id\":\"forged",
        ];
        let refused = names.map(|name| Refused { id: text(name), ..Refused::default() }).into();
        let report = StatisticsReport { refused, ..StatisticsReport::default() };
        let value = parsed(&report);
        for (index, name) in names.iter().enumerate() {
            let shown = value["refused"][index]["id"].as_str().unwrap();
            match str::from_utf8(name) {
                Ok(name) => assert_eq!(shown, name),
                Err(_) => assert_eq!(shown, "\\xff\\xfe\\x0a.ini"),
            }
        }
        let text = rendered(&report);
        assert!(text.chars().all(|c| c == '\n' || c == '\t' || !crate::log::is_deceptive(c)));
        assert_eq!(text.lines().filter(|line| line.contains("\"id\"")).count(), names.len());
    }

    proptest! {
        #[test]
        fn whatever_a_name_is_it_is_read_back(id in any::<String>(), other in any::<Vec<u8>>()) {
            let entry = BlacklistEntry { id: text(id.as_bytes()), ..BlacklistEntry::default() };
            let report = StatisticsReport { blacklist: vec![entry], cwd: OutsideText(other), ..StatisticsReport::default() };
            prop_assert_eq!(&parsed(&report)["blacklist"][0]["id"], &Value::String(id));
        }
    }
}
