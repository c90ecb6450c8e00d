//! A report as JSON, laid out like uWSGI's: tabs, one key per line, so that scripts that read it line by
//! line keep working. uWSGI's keys come first and in its order, ours behind them.
//!
//! Whatever the names are, the result is valid JSON: what is UTF-8 stays what it is, other bytes are
//! shown as in the log. Characters that a terminal would obey are `\u` escapes, so that `cat` is safe;
//! serde_json leaves DEL, the C1 controls and U+202E as they are, hence the few lines of our own.
//!
//! # Source
//! uWSGI 2.0.21, observed; `suspended`, `adopted` and `attrs` are 2.1's.

use std::fmt::{self, Write};

use super::report::{BlacklistEntry, Refused, StatisticsReport, VassalReport};
use crate::log::{escaped, is_deceptive};

/// About as long as a vassal is; saves growing step by step when there are thousands.
const TYPICAL_VASSAL: usize = 750;

/// Appends the report to `out`.
pub fn render(report: &StatisticsReport, out: &mut Vec<u8>) {
    out.reserve(TYPICAL_VASSAL * (report.vassals.len() + 1));
    let mut json = Json { out, depth: 0, is_first: true };
    json.open("{");
    json.text("version", &report.version);
    json.number("pid", report.pid);
    json.number("uid", report.uid);
    json.number("gid", report.gid);
    json.bytes("cwd", &report.cwd);
    json.list("emperor", &report.emperor, |json, source| json.bare_bytes(source));
    json.flag("emperor_tyrant", report.emperor_tyrant);
    json.number("throttle_level", report.throttle_level);
    json.list("vassals", &report.vassals, |json, vassal| json.object(|json| json.vassal(vassal)));
    json.list("blacklist", &report.blacklist, |json, entry| json.object(|json| json.entry(entry)));

    json.text("state", report.state);
    json.key("death_guards");
    json.words(&report.death_guards);
    json.option("keeper_pid", report.keeper_pid.as_ref(), Json::number);
    json.number("started", report.started);
    json.number("running", report.running);
    json.number("failing", report.failing);
    json.number("starting", report.starting);
    json.number("max_vassals", report.max_vassals);
    json.number("internal_errors", report.internal_errors);
    json.number("longest_loop_us", report.longest_loop);
    json.number("lost_log_lines", report.lost_log_lines);
    json.list("refused", &report.refused, |json, file| json.object(|json| json.refused(file)));
    json.close("}");
    json.raw("\n");
}

/// The text so far, and where it stands.
struct Json<'a> {
    out: &'a mut Vec<u8>,
    depth: usize,
    is_first: bool,
}

impl Json<'_> {
    fn vassal(&mut self, vassal: &VassalReport) {
        self.bytes("id", &vassal.id);
        self.number("pid", vassal.pid.unwrap_or(-1));
        self.number("born", vassal.born);
        self.number("last_mod", vassal.last_mod);
        self.number("last_heartbeat", vassal.last_heartbeat);
        self.flag("loyal", vassal.loyal);
        self.flag("ready", vassal.ready);
        self.flag("accepting", vassal.accepting);
        self.number("last_loyal", vassal.last_loyal);
        self.number("last_ready", vassal.last_ready);
        self.number("last_accepting", vassal.last_accepting);
        self.number("first_run", vassal.first_run);
        self.number("last_run", vassal.last_run);
        self.number("cursed", vassal.cursed);
        self.flag("zerg", vassal.zerg);
        self.bytes("on_demand", &vassal.on_demand);
        self.flag("suspended", vassal.suspended);
        self.flag("adopted", vassal.adopted);
        self.number("uid", vassal.uid);
        self.number("gid", vassal.gid);
        self.bytes("monitor", &vassal.monitor);
        self.attributes(&vassal.attrs);
        self.number("respawns", vassal.respawns);

        self.text("state", vassal.state);
        self.text("reason", &vassal.reason);
        self.option("next_start_ms", vassal.next_start_ms.as_ref(), Self::number);
        self.option("last_exit", vassal.last_exit.as_ref(), Self::shown);
        self.option("last_error", vassal.last_error.as_ref(), Self::shown);
        self.flag("stale", vassal.stale.is_some());
        self.option("stale_reason", vassal.stale.as_ref(), Self::shown);
        self.option("base", vassal.base.as_ref(), |json, key, base| json.bytes(key, base));
        self.number("generation", vassal.generation);
        self.option("memory", vassal.memory.as_ref(), Self::number);
        self.number("starts", vassal.starts);
        self.number("deaths", vassal.deaths);
        self.option("other_pid", vassal.other_pid.as_ref(), Self::number);
    }

    fn entry(&mut self, entry: &BlacklistEntry) {
        self.bytes("id", &entry.id);
        self.number("throttle_level", entry.throttle_level);
        self.number("attempt", entry.attempt);
        self.number("first_attempt", entry.first_attempt);
        self.number("last_attempt", entry.last_attempt);
    }

    fn refused(&mut self, file: &Refused) {
        self.bytes("id", &file.id);
        self.bytes("monitor", &file.monitor);
        self.text("reason", &file.reason);
    }

    /// An array of objects with one pair each: repeats and order stay, and it is JSON (uWSGI's is not).
    fn attributes(&mut self, attributes: &[(Vec<u8>, Vec<u8>)]) {
        self.key("attrs");
        self.raw("[");
        for (index, (name, value)) in attributes.iter().enumerate() {
            self.raw(if index == 0 { "{" } else { ",{" });
            self.quoted_bytes(name);
            self.raw(":");
            self.quoted_bytes(value);
            self.raw("}");
        }
        self.raw("]");
    }

    fn words(&mut self, words: &[&str]) {
        self.raw("[");
        for (index, word) in words.iter().enumerate() {
            self.raw(if index == 0 { "" } else { "," });
            self.quoted(word);
        }
        self.raw("]");
    }

    fn list<T>(&mut self, key: &str, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.key(key);
        self.open("[");
        for item in items {
            each(self, item);
        }
        self.close("]");
    }

    fn object(&mut self, inside: impl FnOnce(&mut Self)) {
        self.next_line();
        self.open("{");
        inside(self);
        self.close("}");
    }

    /// uWSGI does not indent the strings of `emperor`.
    fn bare_bytes(&mut self, bytes: &[u8]) {
        self.raw(if self.is_first { "\n" } else { ",\n" });
        self.is_first = false;
        self.quoted_bytes(bytes);
    }

    fn number(&mut self, key: &str, value: impl fmt::Display) {
        self.key(key);
        self.display(&value);
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.number(key, u8::from(value));
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.quoted(value);
    }

    fn shown(&mut self, key: &str, value: impl fmt::Display) {
        self.text(key, &value.to_string());
    }

    fn bytes(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        self.quoted_bytes(value);
    }

    fn option<T>(&mut self, key: &str, value: Option<T>, some: impl FnOnce(&mut Self, &str, T)) {
        match value {
            Some(value) => some(self, key, value),
            None => self.number(key, "null"),
        }
    }

    fn key(&mut self, key: &str) {
        self.next_line();
        self.raw("\"");
        self.raw(key);
        self.raw("\":");
    }

    fn open(&mut self, bracket: &str) {
        self.raw(bracket);
        self.depth += 1;
        self.is_first = true;
    }

    fn close(&mut self, bracket: &str) {
        self.depth = self.depth.saturating_sub(1);
        self.is_first = true;
        self.next_line();
        self.raw(bracket);
    }

    fn next_line(&mut self) {
        self.raw(if self.is_first { "\n" } else { ",\n" });
        self.is_first = false;
        self.out.resize(self.out.len() + self.depth, b'\t');
    }

    fn quoted_bytes(&mut self, bytes: &[u8]) {
        match str::from_utf8(bytes) {
            Ok(text) => self.quoted(text),
            Err(_not_text) => self.quoted(&escaped(bytes).to_string()),
        }
    }

    fn quoted(&mut self, text: &str) {
        self.raw("\"");
        let mut rest = text;
        let special = |c: char| matches!(c, '"' | '\\') || is_deceptive(c);
        while let Some((plain, tail)) = rest.find(special).map(|at| rest.split_at(at)) {
            self.raw(plain);
            let mut characters = tail.chars();
            match characters.next() {
                Some('"') => self.raw("\\\""),
                Some('\\') => self.raw("\\\\"),
                // All deceptive characters are below U+10000: no surrogate pairs.
                Some(other) => self.display(&format_args!("\\u{:04x}", u32::from(other))),
                None => {}
            }
            rest = characters.as_str();
        }
        self.raw(rest);
        self.raw("\"");
    }

    fn display(&mut self, value: &dyn fmt::Display) {
        // Only a `Display` that fails by itself could fail: the buffer takes all.
        let _ = write!(self, "{value}");
    }

    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }
}

impl Write for Json<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.raw(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{BlacklistEntry, Refused, StatisticsReport, VassalReport};
    use super::render;
    use crate::state::Exit;
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

    const OURS: [&str; 25] = [
        "state",
        "death_guards",
        "keeper_pid",
        "started",
        "running",
        "failing",
        "starting",
        "max_vassals",
        "internal_errors",
        "longest_loop_us",
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

    fn sample() -> StatisticsReport {
        let (born, said) = (1_795_279_373, 1_795_279_376);
        let first = VassalReport {
            id: b"a.ini".to_vec(),
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
            monitor: b"/etc/uwsgi/vassals".to_vec(),
            state: "running",
            ..VassalReport::default()
        };
        let pair = |value: &[u8]| (b"k".to_vec(), value.to_vec());
        let second = VassalReport {
            id: b"b.ini".to_vec(),
            born,
            last_mod: born,
            first_run: born,
            last_run: born,
            on_demand: b"127.0.0.1:28111".to_vec(),
            monitor: b"/etc/uwsgi/vassals".to_vec(),
            attrs: vec![pair(b"v"), pair(b"w")],
            state: "listening",
            next_start_ms: Some(250),
            last_exit: Some(Exit::Signal(9)),
            last_error: Some("exec: /bin/none: No such file".to_owned()),
            base: Some(b"base.ini".to_vec()),
            memory: Some(4096),
            other_pid: Some(7),
            ..VassalReport::default()
        };
        let entry = BlacklistEntry {
            id: b"c.ini".to_vec(),
            throttle_level: 1,
            attempt: 0,
            first_attempt: said,
            last_attempt: said,
        };
        StatisticsReport {
            version: "2.0.21-debian".to_owned(),
            pid: 28659,
            cwd: b"/etc/uwsgi/vassals".to_vec(),
            emperor: vec![b"/etc/uwsgi/vassals".to_vec(), b"/srv/*/app.ini".to_vec()],
            vassals: vec![first, second],
            blacklist: vec![entry],
            state: "governing",
            death_guards: vec!["parent-death", "keeper"],
            ..StatisticsReport::default()
        }
    }

    fn rendered(report: &StatisticsReport) -> String {
        let mut out = Vec::new();
        render(report, &mut out);
        String::from_utf8(out).unwrap()
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
        assert_eq!(vassal["last_exit"], "signal 9");
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
        let refused = names.map(|name| Refused { id: name.to_vec(), ..Refused::default() }).into();
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
            let entry = BlacklistEntry { id: id.clone().into_bytes(), ..BlacklistEntry::default() };
            let report = StatisticsReport { blacklist: vec![entry], cwd: other, ..StatisticsReport::default() };
            prop_assert_eq!(&parsed(&report)["blacklist"][0]["id"], &Value::String(id));
        }
    }
}
