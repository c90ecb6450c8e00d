//! The status socket: the private line between the emperor and the stage of one life.
//!
//! A `SOCK_SEQPACKET` pair; every message is one packet, written as `packet.rs` says. The stage gives one verdict;
//! end-of-file after it means that the program was exec'd, a failure after it that it was not. The process that
//! becomes the stage or the program uses the same socket before, so a failure can also come without a verdict.
//!
//! The stage of a tenant is hostile: whatever it sends, decoding gives a value within the limits named here, or an
//! error, and never panics. Texts are not escaped here, but where they are printed.

mod files;

use std::convert::Infallible;
use std::time::Duration;

use crate::types::choice::Choice;
use crate::types::exit_status::ExitStatus;
use crate::types::run_settings::{Fields, RunSettings};

use super::packet::{PacketReader, PacketWriter, VERSION};

pub use super::packet::{MAX_DURATION, MAX_FILE_PATH, MAX_LINES, MAX_LISTENERS, Malformed};
pub use files::{DeclaredFiles, FileMark};

/// Longest packet, both ways.
pub const MAX_PACKET: usize = 16 * 1024;

/// Most files that are removed at the end of a vassal: its sockets and its pid file.
pub const MAX_VACUUM: usize = MAX_LISTENERS + 1;

/// Most files whose change is a reload.
pub const MAX_TOUCH: usize = 12;

/// Longest text about the sockets of a vassal.
pub const MAX_PLACES: usize = 256;

const MAX_ARGV0: usize = 255;
const MAX_STEP: usize = 32;
const MAX_ORIGIN: usize = 1024;
const MAX_MESSAGE: usize = 2048;

const KIND_EXEC: u8 = b'X';
const KIND_ERROR: u8 = b'E';
const KIND_FAILED: u8 = b'F';
const KIND_HOOK: u8 = b'H';
const KIND_FILES: u8 = b'V';

/// The stage's answer: what it has found and done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is prepared, the program is exec'd next.
    Exec(ExecVerdict),
    /// The program is not started.
    Error(StageFault),
}

/// What the emperor has to know of a program that is about to run.
///
/// Attached: `run.listeners` listening sockets, then the notify socket if it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecVerdict {
    /// What the emperor obeys for this vassal.
    pub run: RunSettings,
    /// It has a notify socket, which is the last attached descriptor.
    pub notify_socket: bool,
    /// A hash of all that a running program cannot change: with an equal one a new start would give the same program.
    pub fingerprint: u64,
    /// The program, for the log.
    pub argv0: String,
    /// What the administrator should know of this start, at most [`MAX_LINES`].
    pub warnings: Vec<String>,
}

impl ExecVerdict {
    /// How many descriptors come with this verdict.
    pub fn descriptors(&self) -> usize {
        usize::from(self.run.listeners) + usize::from(self.notify_socket)
    }
}

/// A fault found by the stage: the step of the start, the place in the configuration, and the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageFault {
    /// The named point of the start (`spawn::step::Step::name`).
    pub step: String,
    /// `file:line option`, or empty.
    pub origin: String,
    /// What is wrong, and the remedy.
    pub message: String,
    /// Further faults of the same file, each a whole line, at most [`MAX_LINES`].
    pub more: Vec<String>,
    /// The address that is in use, where that is the reason; it is not shown.
    pub taken: String,
}

/// One packet from the child or the stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromStage {
    Verdict(Verdict),
    /// The start hook is over; the start goes on, whatever it says.
    Hook(HookEnd),
    /// Files that the emperor looks after, if the vassal file names some; comes before the verdict `exec`.
    Files(DeclaredFiles),
    /// A system call failed between fork and exec, or the exec itself.
    Failed {
        /// Which step: the number of a `spawn::step::Step`.
        step: u8,
        errno: i32,
    },
}

/// How a start hook has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookEnd {
    /// By itself, or by a signal.
    Ended(ExitStatus),
    /// It took too long, and was killed.
    Overdue,
    /// It could not be run, for this reason.
    Refused(i32),
}

/// Builds the packet `Failed` without memory from the heap: for the child between fork and exec.
pub const fn failed_packet(step: u8, errno: i32) -> [u8; 7] {
    let [a, b, c, d] = errno.to_le_bytes();
    [VERSION, KIND_FAILED, step, a, b, c, d]
}

/// Builds the packet `Hook` without memory from the heap: for the child between fork and exec.
pub const fn hook_packet(end: HookEnd) -> [u8; 7] {
    let (kind, number) = match end {
        HookEnd::Ended(ExitStatus::Code(status)) => (0, status),
        HookEnd::Ended(ExitStatus::Signal(signal)) => (1, signal),
        HookEnd::Ended(ExitStatus::CoreDump(signal)) => (4, signal),
        HookEnd::Overdue => (2, 0),
        HookEnd::Refused(errno) => (3, errno),
    };
    let [a, b, c, d] = number.to_le_bytes();
    [VERSION, KIND_HOOK, kind, a, b, c, d]
}

impl FromStage {
    /// The packet; texts and lists beyond the limits are cut.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Verdict(Verdict::Exec(verdict)) => encode_exec(verdict),
            Self::Verdict(Verdict::Error(fault)) => {
                let mut out = PacketWriter::new(KIND_ERROR);
                out.text(&fault.step, MAX_STEP);
                out.text(&fault.origin, MAX_ORIGIN);
                out.text(&fault.message, MAX_MESSAGE);
                out.lines(&fault.more);
                out.text(&fault.taken, MAX_ORIGIN);
                out.0
            }
            Self::Hook(end) => hook_packet(*end).to_vec(),
            FromStage::Files(files) => files::encode(files),
            Self::Failed { step, errno } => failed_packet(*step, *errno).to_vec(),
        }
    }

    /// Reads one packet from a stage that is not trusted: texts are cut, durations clamped, invalid UTF-8 replaced.
    ///
    /// # Errors
    /// A packet of another version or kind, too short, too long, or with a number out of its range.
    pub fn decode(packet: &[u8]) -> Result<Self, Malformed> {
        if packet.len() > MAX_PACKET {
            return Err(Malformed("too long"));
        }
        let mut fields = PacketReader(packet);
        let message = match fields.header()? {
            KIND_EXEC => Self::Verdict(Verdict::Exec(decode_exec(&mut fields)?)),
            KIND_ERROR => Self::Verdict(Verdict::Error(StageFault {
                step: fields.text(MAX_STEP)?,
                origin: fields.text(MAX_ORIGIN)?,
                message: fields.text(MAX_MESSAGE)?,
                more: fields.lines()?,
                taken: fields.text(MAX_ORIGIN)?,
            })),
            KIND_HOOK => Self::Hook(decode_hook(&mut fields)?),
            KIND_FILES => FromStage::Files(files::decode(&mut fields)?),
            KIND_FAILED => Self::Failed { step: fields.byte()?, errno: fields.errno()? },
            _ => return Err(Malformed("unknown kind")),
        };
        fields.end()?;
        Ok(message)
    }
}

fn decode_hook(fields: &mut PacketReader<'_>) -> Result<HookEnd, Malformed> {
    let (kind, number) = (fields.byte()?, fields.errno()?);
    if kind != 3 && number > 255 {
        return Err(Malformed("a status above 255"));
    }
    Ok(match kind {
        0 => HookEnd::Ended(ExitStatus::Code(number)),
        1 => HookEnd::Ended(ExitStatus::Signal(number)),
        2 => HookEnd::Overdue,
        3 => HookEnd::Refused(number),
        4 => HookEnd::Ended(ExitStatus::CoreDump(number)),
        _ => return Err(Malformed("unknown end of a hook")),
    })
}

fn encode_exec(verdict: &ExecVerdict) -> Vec<u8> {
    let mut out = PacketWriter::new(KIND_EXEC);
    let Ok(()) = verdict.run.clone().visit(&mut out);
    out.byte(u8::from(verdict.notify_socket));
    out.long(verdict.fingerprint);
    out.text(&verdict.argv0, MAX_ARGV0);
    out.lines(&verdict.warnings);
    out.0
}

fn decode_exec(fields: &mut PacketReader<'_>) -> Result<ExecVerdict, Malformed> {
    let mut run = RunSettings::default();
    run.visit(fields)?;
    Ok(ExecVerdict {
        run,
        notify_socket: fields.flag()?,
        fingerprint: fields.long()?,
        argv0: fields.text(MAX_ARGV0)?,
        warnings: fields.lines()?,
    })
}

impl Fields for PacketWriter {
    type Error = Infallible;

    fn signal(&mut self, value: &mut Option<u8>) -> Result<(), Infallible> {
        self.byte(value.unwrap_or(0));
        Ok(())
    }

    fn choice<T: Choice>(&mut self, value: &mut T) -> Result<(), Infallible> {
        let index = T::ALL.iter().position(|known| known == value);
        self.byte(index.and_then(|index| u8::try_from(index).ok()).unwrap_or(u8::MAX));
        Ok(())
    }

    fn flag(&mut self, value: &mut bool) -> Result<(), Infallible> {
        self.byte(u8::from(*value));
        Ok(())
    }

    fn duration(&mut self, value: &mut Option<Duration>) -> Result<(), Infallible> {
        PacketWriter::duration(self, *value);
        Ok(())
    }

    fn listeners(&mut self, value: &mut u8) -> Result<(), Infallible> {
        self.byte(*value);
        Ok(())
    }

    fn text(&mut self, value: &mut Box<str>) -> Result<(), Infallible> {
        PacketWriter::text(self, value, MAX_PLACES);
        Ok(())
    }
}

impl Fields for PacketReader<'_> {
    type Error = Malformed;

    fn signal(&mut self, value: &mut Option<u8>) -> Result<(), Malformed> {
        *value = match self.byte()? {
            0 => None,
            number @ 1..=64 => Some(number),
            _ => return Err(Malformed("not a signal")),
        };
        Ok(())
    }

    fn choice<T: Choice>(&mut self, value: &mut T) -> Result<(), Malformed> {
        let known = T::ALL.get(usize::from(self.byte()?));
        *value = *known.ok_or(Malformed("an unknown choice"))?;
        Ok(())
    }

    fn flag(&mut self, value: &mut bool) -> Result<(), Malformed> {
        *value = PacketReader::flag(self)?;
        Ok(())
    }

    fn duration(&mut self, value: &mut Option<Duration>) -> Result<(), Malformed> {
        *value = PacketReader::duration(self)?;
        Ok(())
    }

    fn listeners(&mut self, value: &mut u8) -> Result<(), Malformed> {
        *value = PacketReader::listeners(self)?;
        Ok(())
    }

    fn text(&mut self, value: &mut Box<str>) -> Result<(), Malformed> {
        *value = PacketReader::text(self, MAX_PLACES)?.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::run_settings::StopTo;
    use proptest::prelude::*;
    use std::ffi::OsString;

    /// Fills each field of the settings by chance: shrinks to the seed 0.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) % limit
        }
    }

    impl Fields for Chance {
        type Error = Infallible;

        fn signal(&mut self, value: &mut Option<u8>) -> Result<(), Infallible> {
            *value = Some(self.below(65) as u8).filter(|number| *number > 0);
            Ok(())
        }

        fn choice<T: Choice>(&mut self, value: &mut T) -> Result<(), Infallible> {
            *value = T::ALL[self.below(T::ALL.len() as u64) as usize];
            Ok(())
        }

        fn flag(&mut self, value: &mut bool) -> Result<(), Infallible> {
            *value = self.below(2) == 1;
            Ok(())
        }

        fn duration(&mut self, value: &mut Option<Duration>) -> Result<(), Infallible> {
            let longest = MAX_DURATION.as_millis() as u64;
            *value = match self.below(4) {
                0 => None,
                1 => Some(MAX_DURATION),
                _ => Some(Duration::from_millis(self.below(longest + 1))),
            };
            Ok(())
        }

        fn listeners(&mut self, value: &mut u8) -> Result<(), Infallible> {
            *value = self.below(MAX_LISTENERS as u64 + 1) as u8;
            Ok(())
        }

        fn text(&mut self, value: &mut Box<str>) -> Result<(), Infallible> {
            *value = "ä,".repeat(self.below(60) as usize).into();
            Ok(())
        }
    }

    fn verdict() -> impl Strategy<Value = ExecVerdict> {
        let lines = prop::collection::vec("\\PC{0,40}", 0..MAX_LINES);
        (any::<u64>(), any::<bool>(), any::<u64>(), "\\PC{0,60}", lines).prop_map(
            |(seed, notify_socket, fingerprint, argv0, warnings)| {
                let mut run = RunSettings::default();
                let Ok(()) = run.visit(&mut Chance(seed));
                ExecVerdict { run, notify_socket, fingerprint, argv0, warnings }
            },
        )
    }

    fn hook_end() -> impl Strategy<Value = HookEnd> {
        prop_oneof![
            (0i32..256).prop_map(|status| HookEnd::Ended(ExitStatus::Code(status))),
            (0i32..256).prop_map(|signal| HookEnd::Ended(ExitStatus::Signal(signal))),
            (0i32..256).prop_map(|signal| HookEnd::Ended(ExitStatus::CoreDump(signal))),
            Just(HookEnd::Overdue),
            (0i32..4096).prop_map(HookEnd::Refused),
        ]
    }

    fn from_stage() -> impl Strategy<Value = FromStage> {
        let lines = prop::collection::vec("\\PC{0,40}", 0..MAX_LINES);
        let fault = ("[a-z]{0,8}", "\\PC{0,60}", "\\PC{0,60}", lines, "\\PC{0,60}").prop_map(
            |(step, origin, message, more, taken)| StageFault {
                step,
                origin,
                message,
                more,
                taken,
            },
        );
        prop_oneof![
            verdict().prop_map(|it| FromStage::Verdict(Verdict::Exec(it))),
            fault.prop_map(|it| FromStage::Verdict(Verdict::Error(it))),
            (any::<u8>(), 0i32..4096).prop_map(|(step, errno)| FromStage::Failed { step, errno }),
            hook_end().prop_map(FromStage::Hook),
        ]
    }

    proptest! {
        #[test]
        fn what_a_stage_says_arrives_as_it_was_said(message in from_stage()) {
            prop_assert_eq!(FromStage::decode(&message.encode()), Ok(message));
        }

        #[test]
        fn no_bytes_can_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..600), kind in 0usize..4) {
            let mut packet = vec![VERSION, [KIND_EXEC, KIND_ERROR, KIND_FAILED, KIND_HOOK][kind]];
            packet.extend(bytes);
            if let Ok(FromStage::Verdict(Verdict::Exec(verdict))) = FromStage::decode(&packet) {
                prop_assert!(verdict.run.stop_signal() <= 64 && verdict.descriptors() <= MAX_LISTENERS + 1);
                prop_assert!(verdict.run.heartbeat.is_none_or(|period| period <= MAX_DURATION));
            }
        }

        #[test]
        fn a_shortened_or_lengthened_packet_is_refused(message in from_stage(), at in any::<prop::sample::Index>()) {
            let mut packet = message.encode();
            prop_assert!(FromStage::decode(&packet[..at.index(packet.len())]).is_err());
            packet.push(0);
            prop_assert!(FromStage::decode(&packet).is_err());
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters_and_always_fit_a_packet() {
        let long = "ä".repeat(5000) + "x";
        let fault = StageFault {
            step: long.clone(),
            origin: long.clone(),
            message: long.clone(),
            more: vec![long.clone(); 200],
            taken: long.clone(),
        };
        let packet = FromStage::Verdict(Verdict::Error(fault)).encode();
        assert!(packet.len() <= MAX_PACKET);
        let Ok(FromStage::Verdict(Verdict::Error(read))) = FromStage::decode(&packet) else {
            panic!("not read")
        };
        assert_eq!(read.message, "ä".repeat(MAX_MESSAGE / 2));
        assert_eq!(read.more.len(), MAX_LINES);
        let (argv0, places) = (long.clone(), long.clone());
        let warnings = vec![long; 50];
        let run = RunSettings { places: places.into(), ..RunSettings::default() };
        let verdict = ExecVerdict { run, argv0, warnings, ..ExecVerdict::default() };
        assert!(FromStage::Verdict(Verdict::Exec(verdict)).encode().len() <= MAX_PACKET);
    }

    #[test]
    fn files_are_few_short_and_absolute() {
        let mark = |path: &str| FileMark { path: path.into(), dev: 1, ino: u64::MAX, modified: 5 };
        let long = format!("/{}", "x".repeat(MAX_FILE_PATH - 1));
        let full = DeclaredFiles {
            vacuum: vec![mark(&long); MAX_VACUUM],
            touch: vec![OsString::from(&long); MAX_TOUCH],
        };
        let packet = FromStage::Files(full.clone()).encode();
        assert!(packet.len() <= MAX_PACKET);
        assert_eq!(FromStage::decode(&packet), Ok(FromStage::Files(full)));
        for path in ["relative", "", &format!("{long}x"), "/a\0b"] {
            let files = DeclaredFiles { vacuum: vec![mark(path)], touch: vec![path.into()] };
            let packet = FromStage::Files(files).encode();
            let read = FromStage::decode(&packet);
            assert!(
                read == Ok(FromStage::Files(DeclaredFiles::default()))
                    || read == Err(Malformed("no path")),
                "{read:?}"
            );
        }
        let many = [VERSION, KIND_FILES, 0, u8::try_from(MAX_TOUCH).unwrap() + 1];
        assert_eq!(FromStage::decode(&many), Err(Malformed("too many files")));
    }

    #[test]
    fn a_lying_stage_cannot_exceed_the_limits() {
        let encode = |change: fn(&mut RunSettings)| {
            let mut verdict = ExecVerdict { argv0: "x".to_owned(), ..ExecVerdict::default() };
            change(&mut verdict.run);
            FromStage::Verdict(Verdict::Exec(verdict)).encode()
        };
        let good = encode(|_| {});
        // Where a field begins in the packet.
        let place = |change| {
            good.iter().zip(encode(change)).position(|(good, other)| *good != other).unwrap()
        };
        let read = |packet: &[u8]| match FromStage::decode(packet) {
            Ok(FromStage::Verdict(Verdict::Exec(verdict))) => Ok(verdict),
            Ok(other) => panic!("{other:?}"),
            Err(malformed) => Err(malformed.0),
        };
        for (at, byte, error) in [
            (place(|run| run.stop_signal = Some(1)), 65, "not a signal"),
            (place(|run| run.stop_to = StopTo::Main), 3, "an unknown choice"),
            (place(|run| run.listeners = 1), 17, "too many sockets"),
        ] {
            let mut packet = good.clone();
            packet[at] = byte;
            assert_eq!(read(&packet), Err(error));
        }
        let mut packet = good.clone();
        let at = place(|run| run.heartbeat = Some(Duration::ZERO));
        packet[at..at + 8].copy_from_slice(&(u64::MAX - 1).to_le_bytes());
        assert_eq!(read(&packet).unwrap().run.heartbeat, Some(MAX_DURATION));
        let x = good.iter().rposition(|byte| *byte == b'x').unwrap();
        packet[x] = 0xff;
        assert_eq!(read(&packet).unwrap().argv0, "\u{fffd}");
    }

    #[test]
    fn the_child_needs_no_memory_to_say_what_failed() {
        let said = FromStage::Failed { step: 3, errno: 13 };
        assert_eq!(failed_packet(3, 13).as_slice(), said.encode());
        assert_eq!(FromStage::decode(&failed_packet(3, 13)), Ok(said));
        assert!(FromStage::decode(&failed_packet(3, -1)).is_err());
    }
}
