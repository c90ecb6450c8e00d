//! Which sockets listen where, and which processes hold them, as /proc tells it: nothing is connected to, bound or changed.

use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::address::Address;

/// State of a TCP socket that listens, in `/proc/net/tcp`.
const LISTENING: &str = "0A";
/// Flag of a unix socket that listens (`__SO_ACCEPTCON`), in `/proc/net/unix`.
const ACCEPTS: u32 = 1 << 16;

/// A socket that listens, as `/proc/net` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerInfo {
    /// Where; the path of a unix socket as it was bound, which may be relative.
    pub address: Address,
    /// The number by which its holders are found.
    pub inode: u64,
}

/// All sockets of this network namespace that listen; nothing where /proc does not tell.
pub fn all() -> Vec<ListenerInfo> {
    let read = |name: &str| fs::read(format!("/proc/net/{name}")).unwrap_or_default();
    let mut found: Vec<ListenerInfo> = Vec::new();
    for name in ["tcp", "tcp6"] {
        let table = read(name);
        let table = String::from_utf8_lossy(&table).into_owned();
        found.extend(table.lines().skip(1).filter_map(tcp));
    }
    found.extend(read("unix").split(|byte| *byte == b'\n').skip(1).filter_map(unix));
    found
}

/// `sl local remote st …`, with the inode in field 10.
fn tcp(line: &str) -> Option<ListenerInfo> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if fields.get(3) != Some(&LISTENING) {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of 32 bits in the byte order of the machine.
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok();
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?.to_ne_bytes()).into(),
        _ => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?].map(u32::to_ne_bytes);
            Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?).into()
        }
    };
    let inode = fields.get(9)?.parse().ok()?;
    Some(ListenerInfo { address: Address::Tcp(SocketAddr::new(address, port)), inode })
}

/// `num: refs protocol flags type state inode path`; an abstract name begins with `@`.
fn unix(line: &[u8]) -> Option<ListenerInfo> {
    let mut fields = line.splitn(8, |byte| *byte == b' ').filter(|field| !field.is_empty());
    let text = |field: &[u8]| std::str::from_utf8(field).ok().map(str::to_owned);
    let flags = u32::from_str_radix(&text(fields.nth(3)?)?, 16).ok()?;
    // The inode is padded with blanks on its left.
    let rest = fields.skip(2).collect::<Vec<_>>().join(&b' ');
    let rest = rest.trim_ascii_start();
    let at = rest.iter().position(|byte| *byte == b' ')?;
    let (inode, path) = rest.split_at_checked(at)?;
    let inode = text(inode)?.parse().ok()?;
    let path = path.get(1..)?;
    (flags & ACCEPTS != 0).then(|| ListenerInfo {
        address: match path {
            [b'@', name @ ..] => Address::Abstract(name.to_vec()),
            path => Address::Path(PathBuf::from(OsString::from_vec(path.to_vec()))),
        },
        inode,
    })
}

/// A process that has a socket open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// The file that it executes, as far as this user may know.
    pub program: Option<PathBuf>,
}

/// The processes that have this socket open, as far as this user may know.
pub fn holders(inode: u64) -> Vec<Holder> {
    let link = format!("socket:[{inode}]");
    let has = |pid: u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.map(|entry| entry.path())
            .any(|path| fs::read_link(path).is_ok_and(|it| it.as_os_str() == link.as_str()))
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let program = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    pids.filter(|pid| has(*pid)).map(|pid| Holder { pid, program: program(pid) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    #[test]
    fn who_listens_is_found_with_its_address_and_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b.sock");
        let _unix = UnixListener::bind(&path).unwrap();
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut wanted = vec![Address::Path(path), Address::Tcp(four.local_addr().unwrap())];
        let six = TcpListener::bind("[::1]:0");
        wanted.extend(six.iter().map(|six| Address::Tcp(six.local_addr().unwrap())));
        let all = all();
        for address in wanted {
            let found = all.iter().find(|listener| listener.address == address);
            let found = found.unwrap_or_else(|| panic!("{address} is not found"));
            let holders = holders(found.inode);
            assert!(holders.iter().any(|holder| holder.pid == std::process::id()), "{address}");
        }
    }

    #[test]
    fn what_does_not_listen_is_not_told() {
        assert_eq!(tcp("  0: 0100007F:1F90 00000000:0000 01 0 0 0 0 0 12 1"), None);
        assert_eq!(unix(b"0000000000000000: 00000002 00000000 00000000 0002 01 77 /run/x"), None);
        let line = b"0000000000000000: 00000002 00000000 00010000 0001 01    77 /run/x y";
        let found = unix(line).unwrap();
        assert_eq!((found.inode, found.address), (77, Address::Path("/run/x y".into())));
    }
}
