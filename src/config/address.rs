//! Addresses of sockets: what `socket`, an on-demand file and `emperor-stats` take.
//!
//! `host:port`, `:port` (0.0.0.0), `[v6]:port`, `/path` or a name without a colon (unix), `@name` or
//! `\0name` (abstract), `fd://N` (already open), `=N` (the N-th `shared-socket`), `::` (descriptor 0).
//! Names of hosts are not looked up: nothing here may block.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// Longest name of a unix socket, as in uWSGI (the kernel would take 107).
const MAX_UNIX: usize = 102;

/// The address of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// IP address and port; port 0 is any free one.
    Tcp(SocketAddr),
    /// A path in the file system.
    Unix(PathBuf),
    /// An abstract unix name, without its leading zero byte.
    Abstract(Vec<u8>),
    /// A descriptor that is already open.
    Fd(i32),
    /// The N-th `shared-socket`.
    Shared(usize),
    /// Descriptor 0.
    Stdin,
}

/// Reads an address; leading blanks are skipped.
///
/// # Errors
/// What is wrong with the text, and what was expected.
pub fn parse(text: &str) -> Result<Address, String> {
    let text = text.trim_start();
    if text.is_empty() {
        return Err("is empty (expected host:port, :port, [v6]:port, /path or @name)".to_owned());
    }
    if text == "::" {
        return Ok(Address::Stdin);
    }
    if let Some(number) = text.strip_prefix("fd://") {
        return number
            .parse()
            .ok()
            .filter(|fd| *fd >= 0)
            .map(Address::Fd)
            .ok_or_else(|| format!("'{number}' is no descriptor (expected fd://N, N from 0)"));
    }
    if let Some(number) = text.strip_prefix('=') {
        return number
            .parse()
            .map(Address::Shared)
            .map_err(|_| format!("'{text}' names no shared-socket (expected =N, N from 0)"));
    }
    if let Some(name) = text.strip_prefix('@').or_else(|| text.strip_prefix("\\0")) {
        return unix(name).map(|name| Address::Abstract(name.as_bytes().to_vec()));
    }
    if !text.starts_with(['/', '.'])
        && let Some((host, port)) = text.rsplit_once(':')
    {
        return tcp(host, port).map(Address::Tcp);
    }
    unix(text).map(|name| Address::Unix(PathBuf::from(name)))
}

fn unix(name: &str) -> Result<&str, String> {
    if name.is_empty() {
        return Err("has an empty name (expected @name)".to_owned());
    }
    if name.len() > MAX_UNIX {
        return Err(format!(
            "the name of the unix socket is {} bytes long (at most {MAX_UNIX}); use a shorter path",
            name.len()
        ));
    }
    Ok(name)
}

fn tcp(host: &str, port: &str) -> Result<SocketAddr, String> {
    let port = if port.is_empty() {
        0
    } else {
        port.parse::<u16>()
            .map_err(|_| format!("'{port}' is no port (expected a number from 0 to 65535)"))?
    };
    let ip = if host.is_empty() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else if let Some(v6) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        IpAddr::V6(
            v6.parse::<Ipv6Addr>()
                .map_err(|_| format!("'{v6}' is no IPv6 address (expected [v6]:port)"))?,
        )
    } else if host.contains('*') {
        return Err(format!(
            "'{host}': patterns for the address of an interface are not supported; write the address"
        ));
    } else {
        IpAddr::V4(host.parse::<Ipv4Addr>().map_err(|_| {
            format!(
                "'{host}' is no IPv4 address (host names are not looked up; IPv6 is written [v6]:port; \
                 a unix socket with a colon in its name needs its whole path)"
            )
        })?)
    };
    Ok(SocketAddr::new(ip, port))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
            Self::Fd(number) => write!(f, "fd://{number}"),
            Self::Shared(index) => write!(f, "={index}"),
            Self::Stdin => f.write_str("::"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_read_back_from_its_text() {
        for text in
            ["0.0.0.0:80", "[::1]:80", "127.0.0.1:0", "/run/a.sock", "@name", "fd://3", "=0", "::"]
        {
            let address = parse(text).unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(parse(&address.to_string()).unwrap(), address);
        }
        assert_eq!(parse("  :80").unwrap().to_string(), "0.0.0.0:80");
        assert_eq!(parse("run/a.sock").unwrap(), Address::Unix("run/a.sock".into()));
        assert_eq!(parse("/run/a:b.sock").unwrap(), Address::Unix("/run/a:b.sock".into()));
        assert_eq!(parse("\\0name").unwrap(), parse("@name").unwrap());
    }

    #[test]
    fn an_address_that_cannot_be_bound_says_what_was_expected() {
        for text in [
            "",
            "  ",
            "localhost:80",
            "1.2.3.4:http",
            "1.2.3.4:70000",
            "::1:80",
            "fd://x",
            "=x",
            "@",
            "*:80",
        ] {
            assert!(parse(text).unwrap_err().len() > 10, "{text}");
        }
        assert!(parse(&"x".repeat(103)).is_err());
    }
}
