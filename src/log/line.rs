//! One line of the log: escaped, cut at a fixed length, in a buffer that never grows.

use std::fmt::{self, Display, Write};
use std::time::Duration;

/// Longest line, its newline included.
pub(super) const MAX_LOG_LINE: usize = 8 * 1024;

/// Ends a line that was cut.
const CUT: &str = "…";

/// A line under construction. Byte 0 is a newline that is only sent when the line before was cut short
/// by the reader, so that both stay one write.
pub(super) struct LineBuffer {
    bytes: Vec<u8>,
    body: usize,
    room: usize,
    is_full: bool,
}

impl LineBuffer {
    /// An empty line of at most `room` bytes.
    pub(super) fn with_room(room: usize) -> Self {
        Self { bytes: Vec::with_capacity(room + 1), body: 1, room, is_full: false }
    }

    /// Starts anew; what follows stands in front of the text and is not compared.
    pub(super) fn start(&mut self, prefix: fmt::Arguments<'_>) {
        self.bytes.clear();
        self.bytes.push(b'\n');
        self.is_full = false;
        self.push(prefix);
        self.body = self.bytes.len();
    }

    /// Adds the text and the newline.
    pub(super) fn finish(&mut self, text: fmt::Arguments<'_>) {
        self.push(text);
        self.bytes.push(b'\n');
    }

    /// The whole line with its newline.
    pub(super) fn whole(&self) -> &[u8] {
        self.bytes.get(1..).unwrap_or_default()
    }

    /// The whole line, after the end of one that was cut short.
    pub(super) fn after_a_torn_one(&self) -> &[u8] {
        &self.bytes
    }

    /// The text without its prefix.
    pub(super) fn text(&self) -> &[u8] {
        self.bytes.get(self.body..).unwrap_or_default()
    }

    /// A `Display` that gives an error leaves its text incomplete; the line is written all the same.
    fn push(&mut self, text: fmt::Arguments<'_>) {
        let _incomplete = self.write_fmt(text);
    }

    fn push_plain(&mut self, text: &str) {
        // One byte in front of the line and one behind it are newlines.
        let room = (self.room + 1).saturating_sub(self.bytes.len() + 1);
        if self.is_full || text.len() + CUT.len() <= room {
            if !self.is_full {
                self.bytes.extend_from_slice(text.as_bytes());
            }
            return;
        }
        self.is_full = true;
        let fits = text.floor_char_boundary(room.saturating_sub(CUT.len()));
        self.bytes.extend_from_slice(text.get(..fits).unwrap_or_default().as_bytes());
        self.bytes.extend_from_slice(CUT.as_bytes());
    }
}

impl Write for LineBuffer {
    /// Control characters are escaped here once more: a caller that forgets [`escaped`] can still not
    /// be made to forge a line.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, character)) = rest.char_indices().find(|&(_, c)| is_deceptive(c)) {
            let (plain, tail) = rest.split_at(at);
            self.push_plain(plain);
            let (deceptive, after) = tail.split_at(character.len_utf8());
            for byte in deceptive.bytes() {
                self.push_plain(str::from_utf8(&code(byte)).unwrap_or_default());
            }
            rest = after;
        }
        self.push_plain(rest);
        Ok(())
    }
}

/// `\xNN`
const fn code(byte: u8) -> [u8; 4] {
    const fn digit(value: u8) -> u8 {
        if value < 10 { b'0' + value } else { b'a' + value - 10 }
    }
    [b'\\', b'x', digit(byte >> 4), digit(byte & 15)]
}

/// Characters that move the cursor, change colours, end the line, or show text in another order or
/// not at all.
pub fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{61c}' | '\u{feff}')
}

/// Shows bytes from outside so that they can neither forge a line nor speak to the terminal: control
/// characters and what is not UTF-8 become `\xNN`, a backslash `\\`; all else stays readable.
pub fn escaped(bytes: &[u8]) -> Escaped<'_> {
    Escaped(bytes)
}

/// See [`escaped`].
pub struct Escaped<'a>(&'a [u8]);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\\' => f.write_str("\\\\")?,
                    plain if !is_deceptive(plain) => f.write_char(plain)?,
                    deceptive => {
                        for byte in deceptive.encode_utf8(&mut [0; 4]).bytes() {
                            write!(f, "\\x{byte:02x}")?;
                        }
                    }
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Shows a time since 1970 as `2026-11-21T18:03:00.123Z`. Always UTC: local time would need the time
/// zone files, and with them a read from disk at a moment that nobody chose.
pub(super) struct Timestamp(pub(super) Duration);

impl Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (year, month, day) = civil(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let millis = self.0.subsec_millis();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// Days since 1970 to a date. Counted from 1 March of the year 0, so that the leap day is the last
/// day of a year and months have a regular pattern of lengths.
fn civil(days_since_1970: u64) -> (u64, u64, u64) {
    const DAYS_FROM_MARCH_0_TO_1970: u64 = 719_468;
    let days = days_since_1970 + DAYS_FROM_MARCH_0_TO_1970;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::{LineBuffer, Timestamp, escaped};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use std::time::Duration;

    fn line(room: usize, text: &str) -> String {
        let mut line = LineBuffer::with_room(room);
        line.start(format_args!("> "));
        line.finish(format_args!("{text}"));
        String::from_utf8(line.whole().to_vec()).unwrap()
    }

    #[test]
    fn what_comes_from_outside_is_shown_but_never_obeyed() {
        let shown = [
            (&b"blog.ini"[..], "blog.ini"),
            (b"gr\xc3\xbc\xc3\x9fe.ini", "grüße.ini"),
            (b"a\nb\tc\x1b[31m\x7f", "a\\x0ab\\x09c\\x1b[31m\\x7f"),
            (b"\xff\xfe", "\\xff\\xfe"),
            (b"cut \xe2\x82", "cut \\xe2\\x82"),
            (b"\\x0a", "\\\\x0a"),
            ("\u{9b}31m".as_bytes(), "\\xc2\\x9b31m"),
            ("ini.\u{202e}gpj".as_bytes(), "ini.\\xe2\\x80\\xaegpj"),
            (b"", ""),
        ];
        for (bytes, text) in shown {
            assert_eq!(escaped(bytes).to_string(), text);
        }
    }

    #[test]
    fn a_caller_that_forgets_to_escape_cannot_be_made_to_forge_a_line() {
        assert_eq!(line(100, "a\nforged\x1b[0m\u{85}"), "> a\\x0aforged\\x1b[0m\\xc2\\x85\n");
        let twice = format!("{}", escaped(b"a\n\\"));
        assert_eq!(line(100, &twice), "> a\\x0a\\\\\n", "nothing is escaped twice");
    }

    #[test]
    fn a_long_line_is_cut_between_characters_and_says_so() {
        assert_eq!(line(10, "1234"), "> 1234\n");
        assert_eq!(line(10, "12345"), "> 1234…\n");
        assert_eq!(line(10, "123ä5"), "> 123…\n");
        assert_eq!(line(10, "\n\n\n"), "> \\x0a…\n");
        assert_eq!(line(super::MAX_LOG_LINE, &"x".repeat(20_000)).len(), super::MAX_LOG_LINE);
    }

    #[test]
    fn times_are_shown_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_399, "2000-02-28T23:59:59.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (951_868_800, "2000-03-01T00:00:00.007Z"),
            (1_795_279_373, "2026-11-21T16:42:53.007Z"),
            (4_107_542_399, "2100-02-28T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            assert_eq!(Timestamp(Duration::new(seconds, 7_654_321)).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_two_lines_or_a_longer_one(text in any::<String>(), room in 8..40_usize) {
            let line = line(room, &text);
            prop_assert!(line.len() <= room);
            prop_assert_eq!(line.find(|c: char| c.is_control()), Some(line.len() - 1));
        }

        #[test]
        fn different_bytes_are_shown_differently(a in any::<Vec<u8>>(), b in any::<Vec<u8>>()) {
            prop_assert_eq!(a == b, escaped(&a).to_string() == escaped(&b).to_string());
        }
    }
}
