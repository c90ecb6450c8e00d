//! Where a stream socket listens.

use std::fmt;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The address of a listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// IP address and port; port 0 is any free one.
    Tcp(SocketAddr),
    /// A unix socket in the file system.
    Path(PathBuf),
    /// A unix socket in the abstract name space, without the leading zero byte.
    Abstract(Vec<u8>),
}

impl Address {
    /// The same address, where a relative path counts from `directory`.
    #[must_use]
    pub fn relative_to(&self, directory: &Path) -> Self {
        match self {
            Self::Path(path) => Self::Path(directory.join(path)),
            other => other.clone(),
        }
    }

    /// Whether only one process can listen at either of two addresses.
    #[must_use]
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let covers = |one: IpAddr, other: IpAddr| {
            one.is_unspecified() && (one.is_ipv6() || other.is_ipv4()) || one == other
        };
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => {
                one.port() != 0
                    && one.port() == other.port()
                    && (covers(one.ip(), other.ip()) || covers(other.ip(), one.ip()))
            }
            _ => self == other,
        }
    }
}

/// As a configuration writes it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    #[test]
    fn an_address_is_shown_as_it_is_written_in_a_file() {
        let shown = |address: Address| address.to_string();
        assert_eq!(shown(Address::Tcp(([0, 0, 0, 0], 80).into())), "0.0.0.0:80");
        assert_eq!(shown(Address::Tcp((Ipv6Addr::LOCALHOST, 80).into())), "[::1]:80");
        assert_eq!(shown(Address::Abstract("blög".into())), "@blög");
        assert_eq!(shown(Address::Path("/run/a".into())), "/run/a");
    }
}
