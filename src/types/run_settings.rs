//! What a vassal file says to the emperor about the running of its program. The configuration fills it, the
//! verdict of a stage carries it, and the state obeys it.

use std::time::Duration;

use super::choice::Choice;

/// SIGTERM, which is 15 on every Linux.
pub const SIGTERM: u8 = 15;

/// When a vassal that has ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// Whatever the reason; the default, as the documents of uWSGI promise.
    #[default]
    Always,
    /// Unless it ended cleanly.
    OnFailure,
    /// Only by a change of its file.
    Never,
}

impl Choice for Restart {
    const ALL: &'static [Self] = &[Self::Always, Self::OnFailure, Self::Never];
    const WORDS: &'static [&'static str] = &["always", "on-failure", "never"];
}

/// Which processes are sent the signals for a stop and a reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StopTo {
    /// The main process.
    Main,
    /// Its process group.
    Group,
    /// The main process; its process group where that is a shell which has stayed.
    #[default]
    Auto,
}

impl Choice for StopTo {
    const ALL: &'static [Self] = &[Self::Main, Self::Group, Self::Auto];
    const WORDS: &'static [&'static str] = &["main", "group"];
}

/// The settings of one life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunSettings {
    /// For a polite stop; without it TERM.
    pub stop_signal: Option<u8>,
    /// For a reload; without it the vassal is replaced.
    pub reload_signal: Option<u8>,
    /// For a graceful stop; without it `stop_signal`.
    pub graceful_signal: Option<u8>,
    pub stop_to: StopTo,
    pub restart: Restart,
    /// It must announce its readiness on a notify socket.
    pub notify: bool,
    /// It was promised a watchdog with this period.
    pub heartbeat: Option<Duration>,
    /// Alive this long is loyal; overrides the emperor's rule of that name.
    pub loyal_after: Option<Duration>,
    /// Alive this long is accepting, where nothing is announced; overrides the emperor's rule.
    pub ready_after: Option<Duration>,
    /// From exec to readiness, where that is announced; overrides the emperor's rule.
    pub start_timeout: Option<Duration>,
    /// How many listening sockets it leaves in custody; found by the stage.
    pub listeners: u8,
    /// Its sockets in words, for the log: addresses, lines and descriptors; found by the stage.
    pub places: Box<str>,
}

/// Reads or writes the fields of a packet, one call for each field in order.
pub trait Fields {
    /// Why a packet is refused.
    type Error;

    /// A signal, or none.
    ///
    /// # Errors
    /// A number that is not a signal's.
    fn signal(&mut self, value: &mut Option<u8>) -> Result<(), Self::Error>;

    /// One of a few values.
    ///
    /// # Errors
    /// The number of no value.
    fn choice<T: Choice>(&mut self, value: &mut T) -> Result<(), Self::Error>;

    /// True or false.
    ///
    /// # Errors
    /// A byte that is neither 0 nor 1.
    fn flag(&mut self, value: &mut bool) -> Result<(), Self::Error>;

    /// A duration, or none.
    fn duration(&mut self, value: &mut Option<Duration>) -> Result<(), Self::Error>;

    /// A number of listening sockets.
    ///
    /// # Errors
    /// More than one vassal can have.
    fn listeners(&mut self, value: &mut u8) -> Result<(), Self::Error>;

    /// A text for the log.
    fn text(&mut self, value: &mut Box<str>) -> Result<(), Self::Error>;
}

impl RunSettings {
    /// The signal for a polite stop.
    #[must_use]
    pub fn stop_signal(&self) -> u8 {
        self.stop_signal.unwrap_or(SIGTERM)
    }

    /// Reads or writes all fields. The pattern is complete, so that a new field does not compile before it is
    /// named here.
    pub fn visit<F: Fields>(&mut self, fields: &mut F) -> Result<(), F::Error> {
        let Self {
            stop_signal,
            reload_signal,
            graceful_signal,
            stop_to,
            restart,
            notify,
            heartbeat,
            loyal_after,
            ready_after,
            start_timeout,
            listeners,
            places,
        } = self;
        for signal in [stop_signal, reload_signal, graceful_signal] {
            fields.signal(signal)?;
        }
        fields.choice(stop_to)?;
        fields.choice(restart)?;
        fields.flag(notify)?;
        for duration in [heartbeat, loyal_after, ready_after, start_timeout] {
            fields.duration(duration)?;
        }
        fields.listeners(listeners)?;
        fields.text(places)
    }
}
