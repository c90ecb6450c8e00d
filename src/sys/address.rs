//! Addresses of stream sockets, built and read as the bytes of the kernel's structs (ip(7), ipv6(7),
//! unix(7)): no unions, no casts.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use libc::c_int;

pub use crate::types::address::Address;

/// Longest path of a unix socket that can be bound (`sun_path` with its final zero).
const MAX_SOCKET_PATH: usize = 107;

/// The bytes of a `sockaddr_in`, `sockaddr_in6` or `sockaddr_un`.
pub(super) struct Raw {
    /// The struct, zeros behind it.
    pub bytes: [u8; 128],
    /// How many bytes count.
    pub length: usize,
}

impl Raw {
    /// Nothing yet: room for the kernel to write to.
    pub fn empty() -> Self {
        Self { bytes: [0; 128], length: 0 }
    }

    /// A unix socket without a name: binding it makes the kernel choose an abstract one.
    pub fn unnamed() -> Self {
        Self::new(&[&family(libc::AF_UNIX)]).unwrap_or_else(Self::empty)
    }

    fn new(parts: &[&[u8]]) -> Option<Self> {
        let mut raw = Self::empty();
        for part in parts {
            let end = raw.length + part.len();
            raw.bytes.get_mut(raw.length..end)?.copy_from_slice(part);
            raw.length = end;
        }
        Some(raw)
    }

    /// The bytes to give to bind(2) or connect(2).
    ///
    /// # Errors
    /// `ENAMETOOLONG`; `EINVAL` for a path that is empty or holds a zero byte.
    pub fn of(address: &Address) -> io::Result<Self> {
        let too_long = || io::Error::from_raw_os_error(libc::ENAMETOOLONG);
        let raw = match address {
            Address::Tcp(SocketAddr::V4(v4)) => Self::new(&[
                &family(libc::AF_INET),
                &v4.port().to_be_bytes(),
                &v4.ip().octets(),
                &[0; 8],
            ]),
            Address::Tcp(SocketAddr::V6(v6)) => Self::new(&[
                &family(libc::AF_INET6),
                &v6.port().to_be_bytes(),
                &v6.flowinfo().to_be_bytes(),
                &v6.ip().octets(),
                &v6.scope_id().to_ne_bytes(),
            ]),
            Address::Path(path) => {
                let path = path.as_os_str().as_bytes();
                if path.len() > MAX_SOCKET_PATH {
                    return Err(too_long());
                }
                // An empty path would ask for an automatic abstract name, an inner zero would end it.
                if path.is_empty() || path.contains(&0) {
                    return Err(io::Error::from_raw_os_error(libc::EINVAL));
                }
                Self::new(&[&family(libc::AF_UNIX), path, &[0]])
            }
            Address::Abstract(name) if name.len() > MAX_SOCKET_PATH => return Err(too_long()),
            Address::Abstract(name) => Self::new(&[&family(libc::AF_UNIX), &[0], name]),
        };
        raw.ok_or_else(too_long)
    }

    /// `AF_INET`, `AF_INET6` or `AF_UNIX`.
    pub fn family(&self) -> c_int {
        let [a, b, ..] = self.bytes;
        c_int::from(u16::from_ne_bytes([a, b]))
    }

    /// What the kernel wrote; `None` for a unix socket without a name and for other families.
    pub fn address(&self) -> Option<Address> {
        let used = self.bytes.get(..self.length.min(self.bytes.len()))?;
        let (_, rest) = used.split_first_chunk::<2>()?;
        if self.family() == libc::AF_UNIX {
            return match rest {
                [] => None,
                [0, name @ ..] => Some(Address::Abstract(name.to_vec())),
                path => {
                    let path = path.split(|&byte| byte == 0).next().unwrap_or(path);
                    Some(Address::Path(std::ffi::OsString::from_vec(path.to_vec()).into()))
                }
            };
        }
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let port = u16::from_be_bytes(*port);
        if self.family() == libc::AF_INET {
            let (ip, _) = rest.split_first_chunk::<4>()?;
            return Some(Address::Tcp((IpAddr::V4(Ipv4Addr::from(*ip)), port).into()));
        }
        if self.family() != libc::AF_INET6 {
            return None;
        }
        let (flow, rest) = rest.split_first_chunk::<4>()?;
        let (ip, rest) = rest.split_first_chunk::<16>()?;
        let (scope, _) = rest.split_first_chunk::<4>()?;
        let (flow, scope) = (u32::from_be_bytes(*flow), u32::from_ne_bytes(*scope));
        Some(Address::Tcp(SocketAddrV6::new(Ipv6Addr::from(*ip), port, flow, scope).into()))
    }

    /// The length as the kernel takes it.
    pub fn socklen(&self) -> libc::socklen_t {
        libc::socklen_t::try_from(self.length).unwrap_or(0)
    }
}

/// The first two bytes of every address.
fn family(number: c_int) -> [u8; 2] {
    u16::try_from(number).unwrap_or(0).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_survives_its_bytes() {
        let addresses = [
            Address::Tcp(([127, 0, 0, 1], 80).into()),
            Address::Tcp(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 65535, 7, 3).into()),
            Address::Path("/run/a.sock".into()),
            Address::Path("x".repeat(MAX_SOCKET_PATH).into()),
            Address::Abstract(b"name\0with\xffodd bytes".to_vec()),
            Address::Abstract(vec![b'x'; MAX_SOCKET_PATH]),
        ];
        for address in addresses {
            assert_eq!(Raw::of(&address).unwrap().address(), Some(address));
        }
        assert_eq!(Raw::unnamed().address(), None);
        assert_eq!(Raw::empty().address(), None);
    }
}
