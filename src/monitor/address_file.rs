//! The file beside a vassal file that holds its on-demand address.
//!
//! It is the only file whose content a monitor reads, and it may be hostile: no byte of it may show in
//! an error, nothing that is not a regular file is read, and never more than [`MAX_ADDRESS_FILE`].

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use super::change::OnDemandAddress;
use crate::sys::creds;
use crate::sys::dir::{self, FileKind, Links, Stat};
use crate::types::address_file::{MAX_ADDRESS_FILE, address_in};

const NOT_A_FILE: &str = "is not a regular file; write the address into one";

/// Reads the companion `name`: the text up to the first byte below 32, without blanks around it, lines of
/// comment above it, or a comment behind it. None means not on demand; an empty one has lost its text, or is still to
/// get it. What only a change of the file can heal is a [`OnDemandAddress::Fault`].
///
/// # Errors
/// What is worth another try.
pub(super) fn read(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<OnDemandAddress> {
    let entry = match dir::stat_at(directory, name, Links::Stay) {
        Err(error) if dir::is_not_found(&error) => return Ok(OnDemandAddress::No),
        result => result?,
    };
    // Looked at before it is opened: opening a device can have effects of its own.
    let stat = match dir::stat_at(directory, name, Links::Follow) {
        Err(error) if dir::is_not_found(&error) => {
            return fault(name, "is a dangling link; create its target");
        }
        result => result?,
    };
    if stat.kind != FileKind::File {
        return fault(name, NOT_A_FILE);
    }
    let mut file = dir::open_file(directory, name)?;
    let opened = dir::stat(file.as_fd())?;
    if opened.kind != FileKind::File {
        return fault(name, NOT_A_FILE);
    }
    if entry.kind != FileKind::Link && (entry.dev, entry.ino) != (opened.dev, opened.ino) {
        return Err(io::Error::other("it was replaced while it was looked at"));
    }
    if !may_lead_to(&entry, &opened, creds::effective_uid()) {
        return fault(
            name,
            "is a link to the file of another user; write the address into a file instead",
        );
    }
    let mut bytes = Vec::new();
    (&mut file).take(MAX_ADDRESS_FILE).read_to_end(&mut bytes)?;
    match address_in(&bytes) {
        Err(why) => fault(name, why),
        Ok("") => {
            fault(name, "holds no address: its first line is empty; write one, or remove the file")
        }
        Ok(address) => Ok(OnDemandAddress::Address(address.into())),
    }
}

/// Whether an entry of the directory may stand for a file: a link may be made by somebody who cannot read
/// what it leads to, but we can.
fn may_lead_to(entry: &Stat, file: &Stat, own: u32) -> bool {
    entry.kind != FileKind::Link || [0, own, file.uid].contains(&entry.uid)
}

#[allow(clippy::unnecessary_wraps, reason = "the callers return it")]
fn fault(name: &OsStr, why: &str) -> io::Result<OnDemandAddress> {
    Ok(OnDemandAddress::Fault(format!("its address file {} {why}", name.display()).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn read_of(content: &[u8]) -> OnDemandAddress {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.ini.socket"), content).unwrap();
        let directory = dir::open(folder.path()).unwrap();
        read(directory.as_fd(), OsStr::new("a.ini.socket")).unwrap()
    }

    #[test]
    fn the_address_ends_at_the_first_byte_below_32() {
        let address = |text: &str| OnDemandAddress::Address(text.into());
        assert_eq!(read_of(b"127.0.0.1:8000"), address("127.0.0.1:8000"));
        assert_eq!(read_of(b"  /run/a b.sock \r\nsecond line\n"), address("/run/a b.sock"));
        assert_eq!(read_of(b"@name\0rest"), address("@name"));
        for nothing in [&b""[..], b"\n", b"   \n127.0.0.1:1", b"\t127.0.0.1:1"] {
            let OnDemandAddress::Fault(why) = read_of(nothing) else { panic!("{nothing:?}") };
            assert!(why.contains("its first line is empty"), "{why}");
        }
    }

    #[test]
    fn a_byte_order_mark_comments_and_blanks_are_not_part_of_an_address() {
        let address = OnDemandAddress::Address("127.0.0.1:8000".into());
        for text in [
            "\u{feff}127.0.0.1:8000\r\n",
            "127.0.0.1:8000   \n",
            "127.0.0.1:8000 # the blog\n",
            "127.0.0.1:8000 ; the blog",
            "# the blog\n127.0.0.1:8000\n",
            "; the blog\r\n\r\n # of us all\r\n  127.0.0.1:8000 \r\n",
            "\u{feff}# the blog\n127.0.0.1:8000",
        ] {
            assert_eq!(read_of(text.as_bytes()), address, "{text:?}");
        }
        assert_eq!(read_of(b"/run/a#b;c.sock"), OnDemandAddress::Address("/run/a#b;c.sock".into()));
        assert!(matches!(read_of(b"# nothing\n"), OnDemandAddress::Fault(_)));
    }

    #[test]
    fn a_link_of_somebody_else_does_not_lead_to_what_only_we_can_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        symlink("file", folder.path().join("link")).unwrap();
        let directory = dir::open(folder.path()).unwrap();
        let stat =
            |name: &str| dir::stat_at(directory.as_fd(), OsStr::new(name), Links::Stay).unwrap();
        let of = |stat: Stat, uid| Stat { uid, ..stat };
        for (link, file, may) in
            [(5, 5, true), (0, 5, true), (9, 5, true), (5, 0, false), (5, 6, false)]
        {
            let (link, file) = (of(stat("link"), link), of(stat("file"), file));
            assert_eq!(may_lead_to(&link, &file, 9), may, "{} {}", link.uid, file.uid);
        }
        assert!(may_lead_to(&of(stat("file"), 5), &of(stat("file"), 5), 9));
    }

    #[test]
    fn hostile_content_is_a_fault_that_does_not_show_it() {
        for content in [vec![b'7'; 5000], b"secret\xff\n".to_vec()] {
            let OnDemandAddress::Fault(why) = read_of(&content) else { panic!("{content:?}") };
            assert!(!why.contains('7') && !why.contains("secret"));
        }
        let mut long = vec![b'7'; 4095];
        long.push(b'\n');
        assert_eq!(read_of(&long), OnDemandAddress::Address("7".repeat(4095).into()));
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
            assert!(matches!(says(name), Ok(OnDemandAddress::Fault(_))), "{name}");
        }
        assert_eq!(says("absent").unwrap(), OnDemandAddress::No);
        assert_eq!(says("good").unwrap(), OnDemandAddress::Address("@there".into()));
    }
}
