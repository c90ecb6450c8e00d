//! What each obeyed option is to the code: the checks match on these without a wildcard, so a row
//! without a rule does not compile.

/// Steers the reading of the configuration, or what the program does at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Read a file of this format, at this place.
    Read(Format),
    /// Read a file of the format that its name tells.
    Include,
    /// The same, but an unknown ending is INI and it counts as the vassal's own file.
    Config,
    /// Read a file when everything else is known, at the end of the list.
    Inherit,
    /// Append an entry.
    Set,
    /// Append a placeholder.
    SetPlaceholder,
    /// Unknown names are faults.
    Strict,
    /// Write a line to the log.
    Print,
    /// End here.
    Exit,
    /// Open a block.
    Open(Block),
    /// The other half of a block.
    Else,
    /// Close a block.
    Close,
    /// A construct that is not read yet: a fault as soon as it is met.
    NotYet,
    /// Print the list and leave.
    ShowConfig,
    /// Print the list as JSON and leave.
    ShowConfigJson,
    /// Print one value and leave.
    Get,
    /// Check and leave.
    Check,
    /// Print the version and leave.
    Version,
    /// Print the usual options and leave.
    Help,
    /// Print all options and leave.
    HelpAll,
    /// Print a finished manual page and leave.
    Man,
}

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// INI.
    Ini,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// XML.
    Xml,
}

/// What opens a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Each word.
    For,
    /// 1 to N.
    ForTimes,
    /// Each matching name.
    ForGlob,
    /// Each line of a file.
    ForReadline,
    /// A test, and whether it is turned round.
    If(Test, bool),
}

/// What a block may test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// A variable of the environment.
    Env,
    /// Something readable of this name.
    Exists,
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A name further up in the list.
    Opt,
    /// A re-exec in place, which never happens here.
    Reload,
    /// The name of this host.
    Hostname,
    /// A plugin, of which there are none.
    Plugin,
}

/// Obeyed in vassal files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is the option of that name; `table` describes them
pub enum VassalOption {
    PrivilegedPath,
    PrivilegedCommand,
    UnprivilegedPath,
    UnprivilegedCommand,
    Binsh,
    Socket,
    SharedSocket,
    ChmodSocket,
    ChownSocket,
    Listen,
    ReusePort,
    HonourStdin,
    SkipZero,
    AbstractSocket,
    Chdir,
    Env,
    Unenv,
    Umask,
    Uid,
    Gid,
    AddGid,
    NoInitgroups,
    Logto,
    LogfileChown,
    LogDate,
    Daemonize,
    Pidfile,
    Vacuum,
    Procname,
    TouchReload,
    Cap,
    LimitAs,
    MaxFd,
    Processes,
    Threads,
    Run(RunOption),
}

/// Written in vassal files and obeyed by the emperor: what fills `RunSettings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is the option of that name; `table` describes them
pub enum RunOption {
    StopSignal,
    GracefulSignal,
    ReloadSignal,
    StopTo,
    Restart,
    Notify,
    Heartbeat,
    LoyalAfter,
    ReadyAfter,
    StartTimeout,
}

/// What the emperor serves to those who connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Statistics.
    Statistics,
}

/// Obeyed by the emperor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is the option of that name; `table` describes them
pub enum EmperorOption {
    Emperor,
    Freq,
    /// How long vassals outlive their directory.
    DirGrace,
    NoFollow,
    ExtraExtension,
    BinaryPath,
    Throttle,
    MaxThrottle,
    ThrottleBurst,
    MaxStarting,
    NoBlacklist,
    RequiredHeartbeat,
    CurseTolerance,
    ReloadMercy,
    LoyalAfter,
    StageTimeout,
    StartTimeout,
    ReadyAfter,
    GracefulShutdown,
    OnDemandExtension,
    Listen,
    ChmodSocket,
    /// An address at which the emperor serves something.
    Serve(Served),
    StatsHttp,
    Keeper,
    LogLevel,
    Pidfile,
    Procname,
    Logto,
    VassalsSet,
    VassalsInclude,
    VassalsInherit,
    VassalsIncludeBefore,
    VassalsInheritBefore,
    UseForkServer,
    ForkBase,
    Wrapper,
    WrapperOverride,
    WrapperFallback,
    StartHook,
    StopHook,
    ForceConfigPipe,
}
