//! Packets of the uwsgi protocol: a header of four bytes, then an array of strings or a dictionary.
//!
//! ```text
//! modifier1 (8 bits) | size of the body (16 bits) | modifier2 (8 bits) | body
//! body: strings, or key and value by turns; each is its length (16 bits) and its bytes
//! ```
//!
//! All numbers are little endian. There is no terminator and no padding.
//!
//! # Source
//! uWSGI 2.1-dev, observed.

use std::fmt;

/// The first bytes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UwsgiHeader {
    /// What kind of request this is.
    pub modifier1: u8,
    /// Length of the body.
    pub size: u16,
    /// Its meaning depends on `modifier1`.
    pub modifier2: u8,
}

/// How many bytes a header has.
pub const HEADER_LENGTH: usize = 4;

impl UwsgiHeader {
    pub const fn encode(self) -> [u8; HEADER_LENGTH] {
        let [low, high] = self.size.to_le_bytes();
        [self.modifier1, low, high, self.modifier2]
    }

    /// Reads a header; any four bytes are one.
    pub const fn decode([modifier1, low, high, modifier2]: [u8; HEADER_LENGTH]) -> Self {
        Self { modifier1, size: u16::from_le_bytes([low, high]), modifier2 }
    }
}

/// The length of a string, or of the whole body, does not fit into 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the arguments are longer than a packet of 65535 bytes")
    }
}

impl std::error::Error for TooLong {}

/// A packet whose body is an array of strings.
pub fn array(modifier1: u8, modifier2: u8, strings: &[&[u8]]) -> Result<Vec<u8>, TooLong> {
    let mut body = Vec::new();
    for string in strings {
        let length = u16::try_from(string.len()).map_err(|_| TooLong)?;
        body.extend(length.to_le_bytes());
        body.extend(*string);
    }
    let size = u16::try_from(body.len()).map_err(|_| TooLong)?;
    let mut packet = UwsgiHeader { modifier1, size, modifier2 }.encode().to_vec();
    packet.append(&mut body);
    Ok(packet)
}

/// Takes a string off the front of a body; `None` if its length points beyond the end.
fn string<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = body.split_first_chunk()?;
    let (string, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    *body = rest;
    Some(string)
}

/// The strings of an array; `None` if a length points beyond the end of the body.
pub fn strings(mut body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut strings = Vec::new();
    while !body.is_empty() {
        strings.push(string(&mut body)?);
    }
    Some(strings)
}

/// The pairs of a dictionary, in their order; `None` if a length points beyond the end, or a key has
/// no value.
pub fn dictionary(body: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let strings = strings(body)?;
    let (pairs, rest) = strings.as_chunks();
    rest.is_empty().then(|| pairs.iter().map(|&[key, value]| (key, value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_array_is_its_strings_with_their_lengths() {
        let packet = array(35, 5, &[b"/bin/x", b"--ini", b"", b"one.ini"]).unwrap();
        let mut expected = vec![35, 26, 0, 5, 6, 0];
        expected.extend(b"/bin/x\x05\x00--ini\x00\x00\x07\x00one.ini");
        assert_eq!(packet, expected);
    }

    #[test]
    fn what_does_not_fit_into_sixteen_bits_is_refused() {
        let long = vec![b'x'; 65_536];
        assert_eq!(array(35, 1, &[&long]), Err(TooLong));
        let half = vec![b'x'; 32_766];
        assert_eq!(array(35, 1, &[&half, &half]), Err(TooLong));
        assert_eq!(array(35, 1, &[&half, half.get(1..).unwrap()]).unwrap().len(), 4 + 65_535);
    }

    #[test]
    fn a_key_without_value_and_a_length_beyond_the_end_are_no_dictionary() {
        assert_eq!(dictionary(b""), Some(vec![]));
        assert_eq!(dictionary(b"\x01\x00a"), None);
        assert_eq!(dictionary(b"\x01\x00a\x02\x00b"), None);
        assert_eq!(dictionary(b"\x01"), None);
        assert_eq!(dictionary(b"\x01\x00a\x01\x00b"), Some(vec![(&b"a"[..], &b"b"[..])]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            modifiers: (u8, u8),
            list in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
        ) {
            let list: Vec<&[u8]> = list.iter().map(Vec::as_slice).collect();
            let packet = array(modifiers.0, modifiers.1, &list).unwrap();
            let (header, body) = packet.split_first_chunk().unwrap();
            let header = UwsgiHeader::decode(*header);
            prop_assert_eq!((header.modifier1, header.modifier2), modifiers);
            prop_assert_eq!(usize::from(header.size), body.len());
            prop_assert_eq!(strings(body), Some(list));
        }

        #[test]
        fn any_bytes_are_a_dictionary_or_none(body: Vec<u8>) {
            let _ = dictionary(&body);
        }
    }
}
