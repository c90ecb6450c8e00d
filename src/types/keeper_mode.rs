//! Whether an emperor runs under a keeper.

use super::choice::Choice;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeeperMode {
    /// It does, unless it is PID 1 or a service of systemd.
    #[default]
    Auto,
    On,
    Off,
}

impl Choice for KeeperMode {
    const ALL: &'static [Self] = &[Self::Auto, Self::On, Self::Off];
    const WORDS: &'static [&'static str] = &["auto", "on", "off"];
}
