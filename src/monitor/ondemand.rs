//! The file beside a vassal file that holds its on-demand address.
//!
//! It is the only file whose content a monitor reads, and it may be hostile: no byte of it may show in
//! an error, nothing that is not a regular file is read, and never more than [`LONGEST`].

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use super::OnDemand;
use crate::sys::dir::{self, Kind, Links};

/// An address is shorter than this.
const LONGEST: u64 = 4096;

/// Reads the companion `name`: the text up to the first byte below 32, without blanks around it. None,
/// or an empty one, means not on demand. What only a change of the file can heal is a
/// [`OnDemand::Fault`].
///
/// # Errors
/// What is worth another try.
pub(super) fn read(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<OnDemand> {
    match dir::stat_at(directory, name, Links::Stay) {
        Err(error) if dir::is_nowhere(&error) => return Ok(OnDemand::No),
        result => result?,
    };
    // Looked at before it is opened: opening a device can have effects of its own.
    let stat = match dir::stat_at(directory, name, Links::Follow) {
        Err(error) if dir::is_nowhere(&error) => {
            return fault(name, "is a link that leads nowhere; make what it names");
        }
        result => result?,
    };
    if stat.kind != Kind::File {
        return fault(name, "is no regular file; write the address into one");
    }
    let mut file = dir::open_file(directory, name)?;
    if dir::stat(file.as_fd())?.kind != Kind::File {
        return fault(name, "is no regular file; write the address into one");
    }
    let mut bytes = Vec::new();
    (&mut file).take(LONGEST).read_to_end(&mut bytes)?;
    let line = bytes.split(|byte| *byte < 32).next().unwrap_or_default();
    if line.len() as u64 == LONGEST {
        return fault(name, "holds no address: its first line is too long");
    }
    match str::from_utf8(line).map(str::trim) {
        Ok("") => Ok(OnDemand::No),
        Ok(address) => Ok(OnDemand::Address(address.into())),
        Err(_) => fault(name, "holds no address: it is not UTF-8"),
    }
}

#[allow(clippy::unnecessary_wraps, reason = "the callers return it")]
fn fault(name: &OsStr, why: &str) -> io::Result<OnDemand> {
    Ok(OnDemand::Fault(format!("its address file {} {why}", name.display()).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn read_of(content: &[u8]) -> OnDemand {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.ini.socket"), content).unwrap();
        let directory = dir::open(folder.path()).unwrap();
        read(directory.as_fd(), OsStr::new("a.ini.socket")).unwrap()
    }

    #[test]
    fn the_address_ends_at_the_first_byte_below_32() {
        let address = |text: &str| OnDemand::Address(text.into());
        assert_eq!(read_of(b"127.0.0.1:8000"), address("127.0.0.1:8000"));
        assert_eq!(read_of(b"  /run/a b.sock \r\nsecond line\n"), address("/run/a b.sock"));
        assert_eq!(read_of(b"@name\0rest"), address("@name"));
        for nothing in [&b""[..], b"\n", b"   \n127.0.0.1:1", b"\t127.0.0.1:1"] {
            assert_eq!(read_of(nothing), OnDemand::No, "{nothing:?}");
        }
    }

    #[test]
    fn hostile_content_is_a_fault_that_does_not_show_it() {
        for content in [vec![b'7'; 5000], b"secret\xff\n".to_vec()] {
            let OnDemand::Fault(why) = read_of(&content) else { panic!("{content:?}") };
            assert!(!why.contains('7') && !why.contains("secret"));
        }
        let mut long = vec![b'7'; 4095];
        long.push(b'\n');
        assert_eq!(read_of(&long), OnDemand::Address("7".repeat(4095).into()));
    }

    #[test]
    fn only_a_regular_file_is_read_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let directory = dir::open(at).unwrap();
        let says = |name: &str| read(directory.as_fd(), OsStr::new(name));
        nix::sys::stat::mknodat(
            &directory,
            "fifo",
            nix::sys::stat::SFlag::S_IFIFO,
            nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR,
            0,
        )
        .unwrap();
        fs::create_dir(at.join("directory")).unwrap();
        fs::write(at.join("real"), "@there").unwrap();
        for (link, to) in [
            ("to-fifo", "fifo"),
            ("to-null", "/dev/null"),
            ("dangling", "x"),
            ("circle", "circle"),
            ("good", "real"),
        ] {
            symlink(to, at.join(link)).unwrap();
        }
        for name in ["fifo", "directory", "to-fifo", "to-null", "dangling", "circle"] {
            assert!(matches!(says(name), Ok(OnDemand::Fault(_))), "{name}");
        }
        assert_eq!(says("absent").unwrap(), OnDemand::No);
        assert_eq!(says("good").unwrap(), OnDemand::Address("@there".into()));
    }
}
