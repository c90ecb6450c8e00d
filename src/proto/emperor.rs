//! The Emperor protocol: single bytes on a stream socket pair, both ways.
//!
//! A vassal finds its end of the pair in the environment variable [`PIPE_FD_VARIABLE`].

pub use crate::types::environment::{CONFIG_FD_VARIABLE, PIPE_FD_VARIABLE};

/// Names the directory of vassal files in the environment of a hook.
pub const DIRECTORY_VARIABLE: &str = "UWSGI_VASSALS_DIR";

/// Names the number of emperors above an emperor that is a vassal, without the first one.
pub const DEPTH_VARIABLE: &str = "LIEGE_EMPERORS";

/// Most emperors one below another: a file that governs its own directory would start emperors without end.
pub const MAX_EMPEROR_DEPTH: usize = 8;

/// The scheme of a vassal file whose text is sent on the config pipe.
pub const CONFIG_SCHEME: &str = "emperor://";

/// Longest text that the config pipe carries.
pub const MAX_CONFIG: usize = 65_535;

/// The header of a text on the config pipe: modifier1, the length in little endian, modifier2.
///
/// # Source
/// uWSGI 2.0.21, observed.
pub const fn config_header(length: u16) -> [u8; 4] {
    let [low, high] = length.to_le_bytes();
    [115, low, high, 0]
}

/// What the emperor says to a vassal.
///
/// # Source
/// uWSGI 2.0.21, observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToVassal {
    /// Byte 0: stop now.
    Stop,
    /// Byte 1: read the configuration again.
    Reload,
    /// Byte 2: finish the requests under way, then stop.
    StopGracefully,
}

impl ToVassal {
    pub const fn byte(self) -> u8 {
        match self {
            Self::Stop => 0,
            Self::Reload => 1,
            Self::StopGracefully => 2,
        }
    }
}

/// What a vassal says to the emperor.
///
/// # Source
/// uWSGI 2.0.21, observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromVassal {
    /// Byte 1: it has started.
    Ready,
    /// Byte 2: it asks for its configuration on the config pipe.
    SendConfig,
    /// Byte 5: it takes requests.
    Accepting,
    /// Byte 17: it has served one.
    Loyal,
    /// Byte 22: it asks to be stopped; an on-demand vassal goes back to waiting.
    GoIdle,
    /// Byte 26: a sign of life.
    Heartbeat,
    /// Byte 30: it asks for a reinforcement (broodlord mode).
    Spawn,
}

impl FromVassal {
    /// Reads one byte; bytes without a meaning are ignored, as uWSGI does.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Ready,
            2 => Self::SendConfig,
            5 => Self::Accepting,
            17 => Self::Loyal,
            22 => Self::GoIdle,
            26 => Self::Heartbeat,
            30 => Self::Spawn,
            _ => return None,
        })
    }

    pub const fn byte(self) -> u8 {
        match self {
            Self::Ready => 1,
            Self::SendConfig => 2,
            Self::Accepting => 5,
            Self::Loyal => 17,
            Self::GoIdle => 22,
            Self::Heartbeat => 26,
            Self::Spawn => 30,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FromVassal;

    #[test]
    fn every_byte_of_a_vassal_is_either_known_or_ignored() {
        let known: Vec<u8> =
            (0..=255).filter(|&byte| FromVassal::from_byte(byte).is_some()).collect();
        assert_eq!(known, [1, 2, 5, 17, 22, 26, 30]);
        for byte in known {
            assert_eq!(FromVassal::from_byte(byte).map(FromVassal::byte), Some(byte));
        }
    }
}
