//! How packets of our own protocols are written: a version byte, a kind byte, then fields. Integers are little endian,
//! a text is its length in 16 bit and its bytes, a list its count and its items, a duration 64 bit milliseconds with
//! all ones for none.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

pub(super) const VERSION: u8 = 1;
const NO_DURATION: u64 = u64::MAX;

/// Longest duration; a longer one is taken for this. An instant plus this much does not overflow.
pub const MAX_DURATION: Duration = Duration::from_secs(10 * 366 * 86_400);
/// Most listening sockets that one vassal can leave in custody.
pub const MAX_LISTENERS: usize = 16;
/// Most warnings in a verdict, and most further faults in an error.
pub const MAX_LINES: usize = 19;
/// Longest path of a file that a stage names.
pub const MAX_FILE_PATH: usize = 512;
const MAX_LINE: usize = 480;
/// Longest name of a vassal.
pub(super) const MAX_VASSAL_NAME: usize = 4096;

/// Why a packet was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub(super) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed packet: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// The beginning of `text` that fits into `limit` bytes, cut between two characters.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

/// A packet that is being written.
pub(super) struct PacketWriter(pub Vec<u8>);

impl PacketWriter {
    pub(super) fn new(kind: u8) -> Self {
        let mut packet = Vec::with_capacity(256);
        packet.extend([VERSION, kind]);
        Self(packet)
    }

    pub(super) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn long(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn duration(&mut self, value: Option<Duration>) {
        self.long(value.map_or(NO_DURATION, |duration| {
            u64::try_from(duration.min(MAX_DURATION).as_millis()).unwrap_or(NO_DURATION)
        }));
    }

    /// The caller has cut `value` to one of the limits above, all far below 64 KiB.
    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.0.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.0.extend(value);
    }

    pub(super) fn text(&mut self, value: &str, limit: usize) {
        self.bytes(cut(value, limit).as_bytes());
    }

    pub(super) fn lines(&mut self, lines: &[String]) {
        let count = lines.len().min(MAX_LINES);
        self.byte(u8::try_from(count).unwrap_or(u8::MAX));
        for line in lines.iter().take(count) {
            self.text(line, MAX_LINE);
        }
    }
}

/// What has not been read yet.
pub(super) struct PacketReader<'a>(pub &'a [u8]);

impl<'a> PacketReader<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Malformed("too short"))?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn header(&mut self) -> Result<u8, Malformed> {
        let [version, kind] = self.take()?;
        if version == VERSION { Ok(kind) } else { Err(Malformed("another version")) }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let [byte] = self.take()?;
        Ok(byte)
    }

    pub(super) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag that is neither 0 nor 1")),
        }
    }

    pub(super) fn errno(&mut self) -> Result<i32, Malformed> {
        let errno = i32::from_le_bytes(self.take()?);
        // MAX_ERRNO of the kernel; the number ends up in a sentence, not in an index.
        if (0..=4095).contains(&errno) { Ok(errno) } else { Err(Malformed("no errno")) }
    }

    pub(super) fn long(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    pub(super) fn listeners(&mut self) -> Result<u8, Malformed> {
        let count = self.byte()?;
        if usize::from(count) <= MAX_LISTENERS {
            Ok(count)
        } else {
            Err(Malformed("too many sockets"))
        }
    }

    pub(super) fn duration(&mut self) -> Result<Option<Duration>, Malformed> {
        let millis = self.long()?;
        Ok((millis != NO_DURATION).then(|| Duration::from_millis(millis).min(MAX_DURATION)))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::from(u16::from_le_bytes(self.take()?));
        let (head, rest) = self.0.split_at_checked(length).ok_or(Malformed("too short"))?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn name(&mut self) -> Result<OsString, Malformed> {
        let name = self.bytes()?;
        if name.len() > MAX_VASSAL_NAME {
            return Err(Malformed("name too long"));
        }
        Ok(OsString::from_vec(name.to_vec()))
    }

    pub(super) fn text(&mut self, limit: usize) -> Result<String, Malformed> {
        let text = String::from_utf8_lossy(self.bytes()?);
        Ok(cut(&text, limit).to_owned())
    }

    /// Absolute, and without NUL.
    pub(super) fn path(&mut self) -> Result<OsString, Malformed> {
        let path = self.bytes()?;
        if path.len() > MAX_FILE_PATH || path.first() != Some(&b'/') || path.contains(&0) {
            return Err(Malformed("no path"));
        }
        Ok(OsString::from_vec(path.to_vec()))
    }

    pub(super) fn lines(&mut self) -> Result<Vec<String>, Malformed> {
        let count = usize::from(self.byte()?);
        if count > MAX_LINES {
            return Err(Malformed("too many lines"));
        }
        (0..count).map(|_| self.text(MAX_LINE)).collect()
    }

    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("bytes left over")) }
    }
}
