//! What each option means to the code. The functions that take settings match on these without a wildcard, so an
//! option that has no effect does not compile.

/// An option that acts on the reading of the configuration, or says what the program is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Read a file of this format, at this place.
    Read(Format),
    /// Read a file of the format that its name tells.
    Include,
    /// The same, but a file with an unknown ending is read as INI, and it is the main file and not a template.
    Config,
    /// Read a file when everything else is known, at the end of the list.
    Inherit,
    /// Append a setting.
    Set,
    /// Append a placeholder.
    SetPlaceholder,
    /// Unknown names are faults.
    Strict,
    /// Write a line to the log.
    Print,
    /// End the reading with a fault.
    Exit,
    Open(Block),
    /// The other half of a block.
    Else,
    Close,
    /// A construct that is not supported: a fault as soon as it is met.
    NotYet,
    /// Print the list of settings.
    ShowConfig,
    /// Print the list of settings as JSON.
    ShowConfigJson,
    /// Print one value.
    Get,
    /// Check the configuration.
    Check,
    Version,
    /// Print the usual options.
    Help,
    /// Print all options.
    HelpAll,
    /// Print a manual page made from a template.
    Man,
}

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Ini,
    Json,
    Yaml,
    Xml,
}

/// What opens a block, and how often its lines are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// For each word.
    For,
    /// For each number from 1 to N.
    ForTimes,
    /// For each name that matches.
    ForGlob,
    /// For each line of a file.
    ForReadline,
    /// If the test is true, or, with `true`, if it is false.
    If(Test, bool),
}

/// What a block may test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// A variable of the environment.
    Env,
    /// Whether something readable has this name.
    Exists,
    File,
    Dir,
    /// A setting that stands above.
    Opt,
    /// A re-execution in place, which liege never does.
    Reload,
    /// The name of this host.
    Hostname,
    /// A plugin, which liege does not have.
    Plugin,
}

/// An option of vassals; each has the name of its option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// An option of vassals that the emperor obeys: it fills a field of `RunSettings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Served {
    Statistics,
}

/// An option of the emperor; each has the name of its option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmperorOption {
    Emperor,
    Freq,
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
