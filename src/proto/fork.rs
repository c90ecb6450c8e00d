//! The talk with a fork server, as uWSGI's Emperor speaks it: one request, one answer, the end.
//!
//! ```text
//! request  35 | size | mask | argv as an array of strings      attached: the vassal's descriptors
//! answer   35 | size | 0    | "pid" => the pid in decimal
//! ```
//!
//! [`ForkTalk`] is a state machine over the bytes: it neither reads nor waits. What comes from the server is
//! hostile, and so a pid that it names is no more than a claim.
//!
//! # Source
//! uWSGI 2.1-dev, observed.

use std::fmt;

use super::uwsgi::{self, HEADER_LENGTH, TooLong, UwsgiHeader};

/// The modifier of both packets.
pub const MODIFIER: u8 = 35;
/// Bit of the mask: the vassal's end of the emperor pipe is attached; always set.
pub const PIPE: u8 = 0x01;
/// Bit of the mask: the configuration pipe is attached.
pub const CONFIG: u8 = 0x02;
/// Bit of the mask: the on-demand listener is attached.
pub const ON_DEMAND: u8 = 0x04;
/// Longest body of an answer; that of uWSGI has 19 bytes at most.
pub const MAX_ANSWER: u16 = 4096;

/// Why there is no pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForkError {
    /// The server has ended the talk after so many bytes: it is not ready, or has died.
    Closed(usize),
    /// The answer begins with another modifier: no fork server of uWSGI's kind.
    WrongModifier(u8),
    /// The answer announces a longer body than any answer has.
    Oversize(u16),
    /// The body of the answer is not a dictionary.
    Malformed,
    /// The dictionary has no `pid`.
    NoPid,
    /// The value of `pid` cannot be the pid of a vassal.
    BadPid,
}

impl fmt::Display for ForkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(bytes) => write!(f, "it has closed after {bytes} bytes of its answer"),
            Self::WrongModifier(modifier) => {
                write!(f, "its answer has the modifier {modifier} instead of {MODIFIER}")
            }
            Self::Oversize(size) => write!(f, "its answer announces {size} bytes"),
            Self::Malformed => f.write_str("its answer is not a dictionary"),
            Self::NoPid => f.write_str("its answer holds no pid"),
            Self::BadPid => f.write_str("its answer holds a pid that no vassal can have"),
        }
    }
}

impl std::error::Error for ForkError {}

/// One request and its answer.
#[derive(Debug)]
pub struct ForkTalk {
    request: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
}

impl ForkTalk {
    /// Begins with a request for these arguments, the program among them, and a mask of descriptors.
    ///
    /// # Errors
    /// [`TooLong`] if the arguments do not fit into one packet.
    pub fn new(argv: &[&[u8]], mask: u8) -> Result<Self, TooLong> {
        let request = uwsgi::array(MODIFIER, mask, argv)?;
        Ok(Self { request, sent: 0, answer: Vec::new() })
    }

    /// What is still to be sent.
    pub fn to_send(&self) -> &[u8] {
        self.request.get(self.sent..).unwrap_or_default()
    }

    /// Notes that this many more bytes were sent.
    pub fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes).min(self.request.len());
    }

    /// Takes the next bytes of the answer, in pieces of any size; gives the pid when the answer is complete.
    /// Bytes behind the answer are ignored.
    ///
    /// # Errors
    /// As soon as no further byte could make it a good answer.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Option<i32>, ForkError> {
        let room = (HEADER_LENGTH + usize::from(MAX_ANSWER)).saturating_sub(self.answer.len());
        self.answer.extend(bytes.iter().take(room));
        let first = self.answer.first().copied().unwrap_or(MODIFIER);
        if first != MODIFIER {
            return Err(ForkError::WrongModifier(first));
        }
        let Some((header, body)) = self.answer.split_first_chunk() else { return Ok(None) };
        let header = UwsgiHeader::decode(*header);
        if header.size > MAX_ANSWER {
            return Err(ForkError::Oversize(header.size));
        }
        let Some(body) = body.get(..usize::from(header.size)) else { return Ok(None) };
        pid(body).map(Some)
    }

    /// The error of a stream that has ended before the answer was complete.
    pub fn closed(&self) -> ForkError {
        ForkError::Closed(self.answer.len())
    }
}

/// The pid in the body of an answer. 0, 1 and -1 are refused: to kill(2) they mean the own group, init and everybody.
fn pid(body: &[u8]) -> Result<i32, ForkError> {
    let pairs = uwsgi::dictionary(body).ok_or(ForkError::Malformed)?;
    let value = pairs.iter().find(|(key, _)| *key == b"pid").ok_or(ForkError::NoPid)?.1;
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| is_number);
    text.and_then(|text| text.parse().ok()).filter(|pid| *pid > 1).ok_or(ForkError::BadPid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANSWER: &[u8] = b"\x23\x0b\x00\x00\x03\x00pid\x04\x003640";

    fn talk() -> ForkTalk {
        ForkTalk::new(&[b"/bin/x", b"--ini", b"one.ini"], PIPE | ON_DEMAND).unwrap()
    }

    fn answer(pairs: &[&[u8]]) -> Result<Option<i32>, ForkError> {
        talk().receive(&uwsgi::array(MODIFIER, 0, pairs).unwrap())
    }

    #[test]
    fn a_request_is_what_uwsgi_sends() {
        let mut expected = vec![0x23, 24, 0, 0x05, 6, 0];
        expected.extend(b"/bin/x\x05\x00--ini\x07\x00one.ini");
        let mut talk = talk();
        assert_eq!(talk.to_send(), expected);
        talk.sent(20);
        assert_eq!(talk.to_send(), b"\x00one.ini");
        talk.sent(100);
        assert_eq!(talk.to_send(), b"");
    }

    #[test]
    fn an_answer_may_come_byte_by_byte() {
        let mut talk = talk();
        let (last, first) = ANSWER.split_last().unwrap();
        for byte in first {
            assert_eq!(talk.receive(&[*byte]), Ok(None));
        }
        assert_eq!(talk.receive(&[*last]), Ok(Some(3640)));
    }

    #[test]
    fn further_keys_and_bytes_behind_the_answer_mean_nothing() {
        assert_eq!(answer(&[b"name", b"x", b"pid", b"7"]), Ok(Some(7)));
        let mut long = ANSWER.to_vec();
        long.resize(100_000, 0);
        assert_eq!(talk().receive(&long), Ok(Some(3640)));
    }

    #[test]
    fn each_bad_answer_has_its_name() {
        assert_eq!(talk().receive(b"HTTP/1.1 400\r\n"), Err(ForkError::WrongModifier(b'H')));
        assert_eq!(talk().receive(b"\x23\xff\xff\x00"), Err(ForkError::Oversize(65_535)));
        assert_eq!(talk().receive(b"\x23\x02\x00\x00\xff\xff"), Err(ForkError::Malformed));
        assert_eq!(answer(&[b"pid"]), Err(ForkError::Malformed));
        assert_eq!(answer(&[b"pod", b"12"]), Err(ForkError::NoPid));
        assert_eq!(talk().receive(b"\x23\x00\x00\x00"), Err(ForkError::NoPid));
        for bad in ["-1", "-12", "0", "1", "", "12 ", "+12", "0x12", "4294967297", "9999999999"] {
            assert_eq!(answer(&[b"pid", bad.as_bytes()]), Err(ForkError::BadPid), "{bad}");
        }
    }

    #[test]
    fn an_end_in_the_middle_says_how_far_it_came() {
        let mut talk = talk();
        assert_eq!(talk.closed(), ForkError::Closed(0));
        assert_eq!(talk.receive(b"\x23\x0b\x00"), Ok(None));
        assert_eq!(talk.closed(), ForkError::Closed(3));
    }

    proptest! {
        #[test]
        fn however_an_answer_is_cut_the_same_pid_comes(pid in 2..i32::MAX, cuts: Vec<u8>) {
            let text = pid.to_string();
            let packet = uwsgi::array(MODIFIER, 0, &[b"pid", text.as_bytes()]).unwrap();
            let mut talk = talk();
            let mut rest = packet.as_slice();
            for cut in cuts {
                let (piece, more) = rest.split_at(usize::from(cut).min(rest.len()));
                if more.is_empty() {
                    break;
                }
                prop_assert_eq!(talk.receive(piece), Ok(None));
                rest = more;
            }
            prop_assert_eq!(talk.receive(rest), Ok(Some(pid)));
        }

        #[test]
        fn whatever_a_server_sends_is_met(pieces: Vec<Vec<u8>>) {
            let mut talk = talk();
            for piece in pieces {
                match talk.receive(&piece) {
                    Ok(None) => {}
                    Ok(Some(pid)) => prop_assert!(pid > 1),
                    Err(_) => break,
                }
            }
        }

        #[test]
        fn no_answer_is_kept_beyond_its_limit(pieces: Vec<[u8; 32]>) {
            let mut talk = talk();
            let _ = talk.receive(&[MODIFIER, 0xff, 0x0f, 0]);
            for piece in pieces.iter().cycle().take(400) {
                let _ = talk.receive(piece);
            }
            prop_assert!(talk.answer.len() <= HEADER_LENGTH + usize::from(MAX_ANSWER));
        }
    }
}
