//! The one table of options, and what is made from it.
//!
//! Command line, keys in files, environment, `--help`, completions and the manual come from these rows;
//! nothing else spells an option's name. The rows stand in [`table`] (obeyed), [`unsupported`] (known, not yet
//! obeyed) and [`uwsgi_only`] (names of uWSGI's embedded server and its plugins).

pub mod cli;
pub mod complete;
pub mod help;
pub mod key;
pub mod lookup;
pub mod other_supervisors;
pub mod refusal;
pub mod roff;
pub mod security;
pub mod table;
pub mod unsupported;
mod uwsgi_only;

pub use key::{Directive, EmperorOption, VassalOption};
pub use lookup::{find, nearest};
pub use refusal::Refusal;

/// Whether a name takes a value on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// Never: `--name`.
    None,
    /// Only as `--name=value`.
    Optional,
    /// Always: `--name value` or `--name=value`.
    Required,
}

/// What the text of an option means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// False is `false`, `off`, `no` (any case) and `0`; everything else is true.
    Flag,
    /// A flag, or `auto`.
    AutoFlag,
    /// A decimal number from 0 to 2^31 - 1.
    Number,
    /// The same, with a sign.
    Signed,
    /// A number of mebibytes.
    Megabytes,
    /// A number of seconds.
    Seconds,
    /// A number of milliseconds.
    Millis,
    /// Any text.
    Text,
    /// A text that must not be empty.
    Word,
    /// A user's name or number.
    User,
    /// A group's name or number.
    Group,
    /// `USER` or `USER:GROUP`.
    Owner,
    /// Three octal digits, or 1 for 666.
    Mode,
    /// Three or four octal digits.
    Umask,
    /// A comma list of namespaces.
    Namespaces,
    /// A comma list of capabilities.
    Capabilities,
    /// `action:text`.
    Hook,
    /// The address of a socket.
    Socket,
    /// The address of a socket, or `none`.
    SocketOrNone,
    /// The name or number of a signal.
    Signal,
    /// `NAME=text` or `NAME`.
    Variable,
    /// `NAME=text`.
    Pair,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// What follows from using an option that is not obeyed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A fault: without it the vassal would be less safe, or would not do what its author expects.
    Fault,
    /// A warning: the vassal runs as well without it.
    Warning,
}

/// How an option is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It acts on the reading of the configuration, or says what the program is to do.
    Directive(Directive),
    /// It is an option of vassals.
    Vassal(VassalOption),
    /// It is an option of the emperor.
    Emperor(EmperorOption),
    /// Vassals and the emperor have an option of this name.
    Both(VassalOption, EmperorOption),
    /// Known, not obeyed yet.
    Unsupported(Missing),
    /// liege always does what it asks for: it is accepted without a message.
    Always,
    /// Only uWSGI's own server needs it: it is ignored, and one warning for each vassal lists all of these.
    Ignored,
    /// Refused, for this reason and with this way out.
    Refused(&'static Refusal<'static>),
}

/// The part of help and manual in which an option is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// What the program does instead of its work.
    Mode,
    Language,
    /// Where vassals come from.
    Sources,
    /// How they are started.
    Start,
    /// How they live, fail and end.
    Life,
    OnDemand,
    ForkServer,
    /// Statistics, log and the emperor's own process.
    Process,
    /// A vassal's program.
    Program,
    /// A vassal's sockets.
    Sockets,
    /// A vassal's directory, environment and files.
    Place,
    /// A vassal's identity.
    Identity,
    /// A vassal's confinement: limits, namespaces, control groups.
    Confinement,
    /// Commands and waits around a start.
    Hooks,
}

impl Section {
    /// All, in the order of the manual.
    pub const ALL: [Self; 14] = [
        Self::Mode,
        Self::Language,
        Self::Sources,
        Self::Start,
        Self::Life,
        Self::OnDemand,
        Self::ForkServer,
        Self::Process,
        Self::Program,
        Self::Sockets,
        Self::Place,
        Self::Identity,
        Self::Confinement,
        Self::Hooks,
    ];

    /// The heading in help and manual.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Mode => "Instead of running",
            Self::Language => "Configuration language",
            Self::Sources => "Where vassals come from",
            Self::Start => "How vassals are started",
            Self::Life => "Life, penalty and end",
            Self::OnDemand => "On demand",
            Self::ForkServer => "Fork server",
            Self::Process => "Statistics, log and process",
            Self::Program => "Vassal: program",
            Self::Sockets => "Vassal: sockets",
            Self::Place => "Vassal: directory, environment and files",
            Self::Identity => "Vassal: identity",
            Self::Confinement => "Vassal: confinement",
            Self::Hooks => "Commands and waits around a start",
        }
    }

    /// Whether it describes what concerns the emperor alone.
    #[must_use]
    pub const fn is_emperors(self) -> bool {
        matches!(self, Self::Sources | Self::Start | Self::Life | Self::OnDemand)
    }

    /// Whether it describes what stands in vassal files.
    #[must_use]
    pub const fn is_vassals(self) -> bool {
        matches!(
            self,
            Self::Program
                | Self::Sockets
                | Self::Place
                | Self::Identity
                | Self::Confinement
                | Self::Hooks
        )
    }
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opt {
    /// Without dashes.
    pub name: &'static str,
    /// Other names of the same.
    pub aliases: &'static [&'static str],
    pub letter: Option<char>,
    /// Whether it takes a value on the command line.
    pub arg: Arg,
    pub kind: OptionKind,
    /// What becomes of it.
    pub class: Class,
    pub section: Section,
    /// The word for its value in help and manual.
    pub meta: &'static str,
    /// Its value when it is not given; empty: none, off, unset.
    pub default: &'static str,
    /// It may be given several times, and all count.
    pub repeats: bool,
    /// What it does, as a phrase without full stop.
    pub help: &'static str,
}

impl Opt {
    /// A row, which the following methods complete.
    #[must_use]
    pub const fn new(name: &'static str, kind: OptionKind, class: Class, section: Section) -> Self {
        let (arg, meta) = match kind {
            OptionKind::Flag => (Arg::None, ""),
            OptionKind::AutoFlag => (Arg::Optional, "true|false|auto"),
            OptionKind::Number | OptionKind::Signed => (Arg::Required, "N"),
            OptionKind::Megabytes => (Arg::Required, "MIB"),
            OptionKind::Seconds => (Arg::Required, "S"),
            OptionKind::Millis => (Arg::Required, "MS"),
            OptionKind::Text | OptionKind::Word => (Arg::Required, "TEXT"),
            OptionKind::User => (Arg::Required, "USER"),
            OptionKind::Group => (Arg::Required, "GROUP"),
            OptionKind::Owner => (Arg::Required, "USER[:GROUP]"),
            OptionKind::Mode => (Arg::Optional, "MODE"),
            OptionKind::Umask => (Arg::Required, "MODE"),
            OptionKind::Namespaces | OptionKind::Capabilities => (Arg::Required, "NAME,..."),
            OptionKind::Hook => (Arg::Required, "ACTION:TEXT"),
            OptionKind::Socket => (Arg::Required, "ADDR"),
            OptionKind::SocketOrNone => (Arg::Required, "ADDR|none"),
            OptionKind::Signal => (Arg::Required, "SIGNAL"),
            OptionKind::Variable | OptionKind::Pair => (Arg::Required, "NAME=TEXT"),
            OptionKind::Choice(_) => (Arg::Required, "WORD"),
        };
        Self {
            name,
            aliases: &[],
            letter: None,
            arg,
            kind,
            class,
            section,
            meta,
            default: "",
            repeats: false,
            help: "",
        }
    }

    #[must_use]
    pub const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    #[must_use]
    pub const fn also(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    #[must_use]
    pub const fn short(mut self, letter: char) -> Self {
        self.letter = Some(letter);
        self
    }

    #[must_use]
    pub const fn meta(mut self, meta: &'static str) -> Self {
        self.meta = meta;
        self
    }

    #[must_use]
    pub const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    /// Its value may be left out.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.arg = Arg::Optional;
        self
    }

    /// It takes no value on the command line.
    #[must_use]
    pub const fn bare(mut self) -> Self {
        self.arg = Arg::None;
        self.meta = "";
        self
    }

    /// It may be given several times.
    #[must_use]
    pub const fn many(mut self) -> Self {
        self.repeats = true;
        self
    }

    /// Whether this version does what it says, so that help and manual show it.
    #[must_use]
    pub const fn is_obeyed(&self) -> bool {
        match self.class {
            Class::Directive(directive) => !matches!(directive, Directive::NotYet),
            Class::Vassal(_) | Class::Emperor(_) | Class::Both(..) => true,
            Class::Unsupported(_) | Class::Always | Class::Ignored | Class::Refused(_) => false,
        }
    }

    #[must_use]
    pub const fn vassal_key(&self) -> Option<VassalOption> {
        match self.class {
            Class::Vassal(key) | Class::Both(key, _) => Some(key),
            _ => None,
        }
    }

    #[must_use]
    pub const fn emperor_key(&self) -> Option<EmperorOption> {
        match self.class {
            Class::Emperor(key) | Class::Both(_, key) => Some(key),
            _ => None,
        }
    }

    /// The text that a bare command line option stands for.
    #[must_use]
    pub const fn bare_value(&self) -> &'static str {
        // A flag reads as the word; where a number or mode may be left out, 1 is its flag form.
        if matches!(self.kind, OptionKind::Number | OptionKind::Mode) { "1" } else { "true" }
    }
}
