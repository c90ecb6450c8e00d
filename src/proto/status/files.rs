//! The packet that names the files which the emperor looks after for a vassal.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::super::packet::{MAX_FILE_PATH, Malformed, PacketReader, PacketWriter};
use super::{KIND_FILES, MAX_TOUCH, MAX_VACUUM};

/// Files that the emperor looks after as long as the vassal exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredFiles {
    /// Removed when the vassal is gone, at most [`MAX_VACUUM`].
    pub vacuum: Vec<FileMark>,
    /// A change of one of these reloads the vassal; at most [`MAX_TOUCH`].
    pub touch: Vec<OsString>,
}

/// A file that was made for the vassal. A file of that name with another inode, or with another time of change,
/// as inode numbers are reused, belongs to something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMark {
    /// Absolute.
    pub path: OsString,
    /// `st_dev`.
    pub dev: u64,
    /// `st_ino`.
    pub ino: u64,
    /// `st_mtim`, nanoseconds.
    pub modified: u64,
}

impl FileMark {
    /// `st_mtim` in nanoseconds, whatever it is.
    pub fn time((seconds, nanos): (i64, i64)) -> u64 {
        seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos).cast_unsigned()
    }
}

/// Writes the packet. A path that is too long is left out: a part of it would name another file.
pub(super) fn encode(files: &DeclaredFiles) -> Vec<u8> {
    let mut out = PacketWriter::new(KIND_FILES);
    let fits = |path: &OsString| path.len() <= MAX_FILE_PATH;
    let vacuum: Vec<&FileMark> =
        files.vacuum.iter().filter(|mark| fits(&mark.path)).take(MAX_VACUUM).collect();
    let touch: Vec<&OsString> =
        files.touch.iter().filter(|path| fits(path)).take(MAX_TOUCH).collect();
    out.byte(u8::try_from(vacuum.len()).unwrap_or(0));
    for mark in vacuum {
        out.bytes(mark.path.as_bytes());
        out.long(mark.dev);
        out.long(mark.ino);
        out.long(mark.modified);
    }
    out.byte(u8::try_from(touch.len()).unwrap_or(0));
    touch.into_iter().for_each(|path| out.bytes(path.as_bytes()));
    out.0
}

pub(super) fn decode(fields: &mut PacketReader<'_>) -> Result<DeclaredFiles, Malformed> {
    let count = |number: u8, most| match usize::from(number) {
        count if count <= most => Ok(count),
        _ => Err(Malformed("too many files")),
    };
    let vacuum = (0..count(fields.byte()?, MAX_VACUUM)?)
        .map(|_| {
            Ok(FileMark {
                path: fields.path()?,
                dev: fields.long()?,
                ino: fields.long()?,
                modified: fields.long()?,
            })
        })
        .collect::<Result<_, _>>()?;
    let touch =
        (0..count(fields.byte()?, MAX_TOUCH)?).map(|_| fields.path()).collect::<Result<_, _>>()?;
    Ok(DeclaredFiles { vacuum, touch })
}
