//! The file beside a vassal file that holds its on-demand address.

/// Longest address file that is read.
pub const MAX_ADDRESS_FILE: u64 = 4096;

/// The address in the first [`MAX_ADDRESS_FILE`] bytes of a file: the text up to the first byte below 32,
/// without blanks around it, lines of comment above it, or a comment behind it.
///
/// # Errors
/// Why there is none; no byte of the file is repeated, as it may be a link to something secret.
pub fn address_in(bytes: &[u8]) -> Result<&str, &'static str> {
    let is_whole = (bytes.len() as u64) < MAX_ADDRESS_FILE;
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut lines = bytes.split(|byte| *byte < 32);
    let is_comment = |line: &[u8]| matches!(line.trim_ascii_start(), [b'#' | b';', ..]);
    let mut line = lines.next().unwrap_or_default();
    if is_comment(line) {
        // Empty lines behind a comment are skipped; an empty first line means that there is no address.
        let is_address = |line: &&[u8]| !is_comment(line) && !line.trim_ascii().is_empty();
        line = lines.find(is_address).unwrap_or_default();
    }
    if !is_whole && lines.next().is_none() {
        return Err("holds no address: its first line is too long");
    }
    let line = str::from_utf8(line).map_err(|_| "holds no address: it is not UTF-8")?;
    let comment = [" #", " ;"].iter().filter_map(|mark| line.find(mark)).min();
    Ok(line.get(..comment.unwrap_or(line.len())).unwrap_or_default().trim())
}
