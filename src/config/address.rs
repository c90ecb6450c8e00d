//! Addresses of sockets: what `socket`, an on-demand file and `emperor-stats` take.
//!
//! `host:port`, `:port` (0.0.0.0), `[v6]:port`, `/path` or a name without a colon (unix), `@name` or
//! `\0name` (abstract), `fd://N` (already open), `=N` (the N-th `shared-socket`), `::` (descriptor 0).
//! Names of hosts are not looked up, because nothing here may block; `localhost` is 127.0.0.1.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::types::address::Address;
use crate::types::quote::BadText;

/// Longest name of a unix socket, as in uWSGI (the kernel would take 107).
const MAX_UNIX: usize = 102;

/// What a vassal file says about a socket: where it is bound, or where it is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SocketSpec {
    /// It is bound at this address.
    Bind(Address),
    /// A descriptor that is already open.
    Fd(i32),
    /// The N-th `shared-socket`.
    Shared(usize),
    /// Descriptor 0.
    Stdin,
}

impl SocketSpec {
    /// The address where it is bound, if it is to be bound at all.
    #[must_use]
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Bind(address) => Some(address),
            Self::Fd(_) | Self::Shared(_) | Self::Stdin => None,
        }
    }
}

/// Reads an address; leading blanks are skipped.
pub fn parse(text: &str) -> Result<SocketSpec, BadText> {
    let text = text.trim_start();
    if text.is_empty() {
        return Err(BadText::without_text(
            "is empty (expected host:port, :port, [v6]:port, /path or @name)",
        ));
    }
    if text == "::" {
        return Ok(SocketSpec::Stdin);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadText::new(
            text,
            "is a number without a colon, which would be the name of a unix socket (expected :PORT, such as \
             :8080, or ./NAME for the unix socket)",
        ));
    }
    if let Some(number) = text.strip_prefix("fd://") {
        let bad = || BadText::new(number, "is not a descriptor (expected fd://N, N from 0)");
        return number.parse().ok().filter(|fd| *fd >= 0).map(SocketSpec::Fd).ok_or_else(bad);
    }
    if let Some(number) = text.strip_prefix('=') {
        let bad =
            |_| BadText::new(text, "is not the number of a shared-socket (expected =N, N from 0)");
        return number.parse().map(SocketSpec::Shared).map_err(bad);
    }
    if let Some(name) = text.strip_prefix('@').or_else(|| text.strip_prefix("\\0")) {
        let address = unix(name).map(|name| Address::Abstract(name.as_bytes().to_vec()));
        return address.map(SocketSpec::Bind);
    }
    if !text.starts_with(['/', '.'])
        && let Some((host, port)) = text.rsplit_once(':')
    {
        return tcp(host, port).map(|address| SocketSpec::Bind(Address::Tcp(address)));
    }
    unix(text).map(|name| SocketSpec::Bind(Address::Path(PathBuf::from(name))))
}

/// The message about an address file without an address. It does not repeat what the file holds, as that may be a
/// link to a file that only its owner may read.
pub const NO_PLACE: &str = "its address file holds no address to listen at (expected host:port, :port, [v6]:port, /path, \
     ./path, NAME.sock or @name)";

/// Reads the address of an address file: one where the emperor itself can listen.
pub fn of_file(text: &str) -> Result<Address, &'static str> {
    match parse(text).map_err(|_| NO_PLACE)? {
        SocketSpec::Bind(Address::Path(_)) if !is_meant_as_path(text) => Err(NO_PLACE),
        SocketSpec::Bind(address) => Ok(address),
        SocketSpec::Fd(_) | SocketSpec::Shared(_) | SocketSpec::Stdin => Err(NO_PLACE),
    }
}

/// Whether a text without a colon is meant as the path of a socket. A word of some other kind of file would become
/// the name of a socket otherwise.
fn is_meant_as_path(text: &str) -> bool {
    let is_path = ["/", "./", "../"].iter().any(|start| text.starts_with(start));
    is_path || (text.contains("sock") && !text.contains(char::is_whitespace))
}

fn unix(name: &str) -> Result<&str, BadText> {
    if name.is_empty() {
        return Err(BadText::without_text("has an empty name (expected @name)"));
    }
    if name.len() > MAX_UNIX {
        return Err(BadText::without_text(format!(
            "the name of the unix socket is {} bytes long (at most {MAX_UNIX}); use a shorter path",
            name.len()
        )));
    }
    Ok(name)
}

fn tcp(host: &str, port: &str) -> Result<SocketAddr, BadText> {
    let port = if port.is_empty() {
        0
    } else {
        port.parse::<u16>()
            .map_err(|_| BadText::new(port, "is not a port (expected a number from 0 to 65535)"))?
    };
    let ip = if host.is_empty() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else if host.eq_ignore_ascii_case("localhost") {
        // The one name that needs no look-up.
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else if let Some(v6) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let bad = |_| BadText::new(v6, "is not an IPv6 address (expected [v6]:port)");
        IpAddr::V6(v6.parse::<Ipv6Addr>().map_err(bad)?)
    } else if host.contains('*') {
        return Err(BadText::new(
            host,
            "is a pattern for the address of an interface, which is not supported (expected the address)",
        ));
    } else {
        let bad = |_| {
            BadText::new(
                host,
                "is not an IPv4 address (host names but localhost are not looked up; IPv6 is written \
                 [v6]:port; a unix socket with a colon in its name needs its whole path)",
            )
        };
        IpAddr::V4(host.parse::<Ipv4Addr>().map_err(bad)?)
    };
    Ok(SocketAddr::new(ip, port))
}

impl fmt::Display for SocketSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address) => address.fmt(f),
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
        assert_eq!(parse("localhost:80").unwrap().to_string(), "127.0.0.1:80");
        assert_eq!(parse("LocalHost:").unwrap().to_string(), "127.0.0.1:0");
        assert_eq!(parse("./18702").unwrap(), SocketSpec::Bind(Address::Path("./18702".into())));
        assert_eq!(
            parse("run/a.sock").unwrap(),
            SocketSpec::Bind(Address::Path("run/a.sock".into()))
        );
        assert_eq!(
            parse("/run/a:b.sock").unwrap(),
            SocketSpec::Bind(Address::Path("/run/a:b.sock".into()))
        );
        assert_eq!(parse("\\0name").unwrap(), parse("@name").unwrap());
    }

    #[test]
    fn an_address_that_cannot_be_bound_says_what_was_expected() {
        for text in [
            "",
            "  ",
            "example.org:80",
            "18702",
            "1.2.3.4:http",
            "1.2.3.4:70000",
            "::1:80",
            "fd://x",
            "=x",
            "@",
            "*:80",
        ] {
            assert!(parse(text).unwrap_err().to_string().len() > 10, "{text}");
        }
        assert!(parse(&"x".repeat(103)).is_err());
    }
}
