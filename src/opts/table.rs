//! The rows that are obeyed, grouped as help and manual show them.

use super::key::Block::{For, ForGlob, ForReadline, ForTimes, If};
use super::key::Format::{Ini, Json, Xml, Yaml};
use super::key::{
    Directive as D, EmperorOption as E, RunOption as R, Served, Test, VassalOption as V,
};
use super::{Class, Missing, Opt, OptionKind, Section};
use crate::types::choice::Choice;
use crate::types::keeper_mode::KeeperMode;
use crate::types::log_level::Level;
use crate::types::run_settings::{Restart, StopTo};

const fn directive(name: &'static str, directive: D, kind: OptionKind, help: &'static str) -> Opt {
    Opt::new(name, kind, Class::Directive(directive), Section::Language).help(help)
}

const fn mode(name: &'static str, directive: D, help: &'static str) -> Opt {
    Opt::new(name, OptionKind::Flag, Class::Directive(directive), Section::Mode).help(help)
}

const fn block(name: &'static str, block: super::key::Block, help: &'static str) -> Opt {
    Opt::new(name, OptionKind::Text, Class::Directive(D::Open(block)), Section::Language).help(help)
}

/// A test that opens a block; `not`: the block is taken if the test is false.
const fn test(name: &'static str, what: Test, not: bool) -> Opt {
    let (meta, help) = match (what, not) {
        (Test::Env, false) => ("NAME[=TEXT]", "block for a variable that is set (to this)"),
        (Test::Env, true) => ("NAME[=TEXT]", "block for a variable that is not set (to this)"),
        (Test::Exists, false) => ("PATH", "block for something readable of this name"),
        (Test::Exists, true) => ("PATH", "block for nothing readable of this name"),
        (Test::File, false) => ("PATH", "block for a regular file"),
        (Test::File, true) => ("PATH", "block for no regular file"),
        (Test::Dir, false) => ("PATH", "block for a directory"),
        (Test::Dir, true) => ("PATH", "block for no directory"),
        (Test::Opt, false) => {
            ("NAME[=TEXT]", "block for a name that stands above (with this text)")
        }
        (Test::Opt, true) => ("NAME[=TEXT]", "block for a name that does not stand above"),
        (Test::Reload, false) => ("", "block for a re-exec in place: never true here"),
        (Test::Reload, true) => ("", "block for no re-exec in place: always true here"),
        (Test::Hostname, false) => ("NAME", "block for the host of this name"),
        (Test::Hostname, true) => ("NAME", "block for hosts of other names"),
        (Test::Plugin, false) => ("NAME", "block for a plugin: never true here"),
        (Test::Plugin, true) => ("NAME", "block for no plugin: always true here"),
    };
    block(name, If(what, not), help).meta(meta)
}

const fn emperor(name: &'static str, key: E, kind: OptionKind, section: Section) -> Opt {
    Opt::new(name, kind, Class::Emperor(key), section)
}

const fn vassal(name: &'static str, key: V, kind: OptionKind, section: Section) -> Opt {
    Opt::new(name, kind, Class::Vassal(key), section)
}

const fn socket(name: &'static str, help: &'static str) -> Opt {
    vassal(name, V::Socket, OptionKind::Socket, Section::Sockets).many().help(help)
}

/// A construct that is not supported; the help says behind a semicolon what to do instead.
const fn not_read_yet(name: &'static str, help: &'static str) -> Opt {
    directive(name, D::NotYet, OptionKind::Text, help)
}

const BIND: &str = "bind this address and pass it to the program";
/// The rows.
#[rustfmt::skip] // a table: one row, one to three lines
pub static SUPPORTED_OPTIONS: &[Opt] = &[
    // Instead of running.
    mode("help", D::Help, "print the usual options").also(&["usage"]).short('h'),
    mode("help-all", D::HelpAll, "print every option that is obeyed"),
    mode("version", D::Version, "print the version").short('v'),
    mode("check", D::Check, "check the configuration and that of all vassals, then leave: 0 good, 1 faults"),
    mode("show-config", D::ShowConfig, "print the resolved configuration and leave, without any side effect"),
    mode("show-config-json", D::ShowConfigJson, "the same as one JSON array of pairs"),
    Opt::new("get", OptionKind::Word, Class::Directive(D::Get), Section::Mode).meta("NAME").help("print the first value of NAME and leave"),
    Opt::new("man", OptionKind::Word, Class::Directive(D::Man), Section::Mode).meta("TEMPLATE").help("print a template of the manual with the table of options filled in"),

    // The configuration language.
    directive("ini", D::Read(Ini), OptionKind::Word, "read an INI file at this place").meta("FILE[:SECTION]").many(),
    directive("json", D::Read(Json), OptionKind::Word, "read a JSON file at this place").also(&["js"]).short('j').meta("FILE[:NAME]").many(),
    directive("yaml", D::Read(Yaml), OptionKind::Word, "read a YAML file at this place").also(&["yml"]).short('y').meta("FILE[:NAME]").many(),
    directive("xml", D::Read(Xml), OptionKind::Word, "read an XML file at this place").also(&["xmlconfig"]).short('x').meta("FILE[:ID]").many(),
    directive("config", D::Config, OptionKind::Word, "read a file of any format, INI if its ending tells none").meta("FILE").many(),
    directive("include", D::Include, OptionKind::Word, "read a template at this place").meta("FILE").many(),
    directive("inherit", D::Inherit, OptionKind::Word, "read a template last of all, so that it overrides").meta("FILE").many(),
    directive("set", D::Set, OptionKind::Pair, "append an option or placeholder").short('S').many(),
    directive("set-ph", D::SetPlaceholder, OptionKind::Pair, "append a placeholder; an option's name is a fault").also(&["set-placeholder"]).many(),
    directive("strict", D::Strict, OptionKind::Flag, "names that are not options are faults"),
    directive("print", D::Print, OptionKind::Text, "write a line to the log").also(&["iprint"]).many(),
    directive("exit", D::Exit, OptionKind::Number, "end here with this status").meta("STATUS").default("1").optional(),
    block("for", For, "repeat each line of the block for each word").meta("WORDS"),
    block("for-times", ForTimes, "repeat each line of the block N times").meta("N"),
    block("for-glob", ForGlob, "repeat each line of the block for each matching name").meta("PATTERN"),
    block("for-readline", ForReadline, "repeat each line of the block for each line of a file").meta("FILE"),
    test("if-env", Test::Env, false).also(&["ifenv"]),
    test("if-not-env", Test::Env, true),
    test("if-exists", Test::Exists, false).also(&["ifexists"]),
    test("if-not-exists", Test::Exists, true),
    test("if-file", Test::File, false),
    test("if-not-file", Test::File, true),
    test("if-dir", Test::Dir, false).also(&["ifdir", "if-directory"]),
    test("if-not-dir", Test::Dir, true),
    test("if-opt", Test::Opt, false),
    test("if-not-opt", Test::Opt, true),
    test("if-reload", Test::Reload, false).bare(),
    test("if-not-reload", Test::Reload, true).bare(),
    test("if-hostname", Test::Hostname, false),
    test("if-not-hostname", Test::Hostname, true),
    test("if-plugin", Test::Plugin, false).also(&["ifplugin"]),
    test("if-not-plugin", Test::Plugin, true),
    directive("else", D::Else, OptionKind::Text, "the lines for a test that is not true").optional(),
    directive("endif", D::Close, OptionKind::Text, "end of a block").also(&["end-if", "endfor", "end-for", "end"]).optional(),
    not_read_yet("if-hostname-match", "block for hosts whose name matches; write if-hostname"),
    not_read_yet("if-not-hostname-match", "block for hosts whose name does not match; write if-not-hostname"),
    not_read_yet("declare-option", "an option made of others; write the options themselves").also(&["declare-option2"]),
    not_read_yet("blacklist", "options that the following lines may not use; remove it"),
    not_read_yet("end-blacklist", "end of such a list; remove it").bare(),
    not_read_yet("whitelist", "the only options that the following lines may use; remove it"),
    not_read_yet("end-whitelist", "end of such a list; remove it").bare(),
    not_read_yet("inject-before", "text put before each file; use include").also(&["inject-after"]),

    // Where vassals come from.
    emperor("emperor", E::Emperor, OptionKind::Word, Section::Sources).meta("DIR").many().help("a directory of vassal files; also dir://DIR"),
    emperor("emperor-freq", E::Freq, OptionKind::Seconds, Section::Sources).default("0").help("time between rescans, for file systems without events; 0 = none"),
    emperor("emperor-dir-grace", E::DirGrace, OptionKind::Seconds, Section::Sources).default("0").help("time before the vassals of a directory that has vanished are stopped"),
    emperor("emperor-nofollow", E::NoFollow, OptionKind::Flag, Section::Sources).help("the time of a link counts, not that of its target"),
    emperor("emperor-extra-extension", E::ExtraExtension, OptionKind::Word, Section::Sources).also(&["emperor-extra-ext"]).meta("ENDING").many().help("a further ending of vassal files, read as INI"),

    // How vassals are started.
    emperor("binary-path", E::BinaryPath, OptionKind::Word, Section::Start).meta("PROGRAM").help("start this program with each vassal's arguments, instead of liege"),
    emperor("emperor-wrapper", E::Wrapper, OptionKind::Word, Section::Start).meta("PROGRAM").help("start this program instead of binary-path, or of liege"),
    emperor("emperor-wrapper-override", E::WrapperOverride, OptionKind::Word, Section::Start).meta("PROGRAM").many().help("try this program first; several are tried in order"),
    emperor("emperor-wrapper-fallback", E::WrapperFallback, OptionKind::Word, Section::Start).meta("PROGRAM").many().help("try this program when the others cannot be executed; several are tried in order"),
    emperor("vassals-set", E::VassalsSet, OptionKind::Pair, Section::Start).also(&["vassal-set"]).many().help("set this in every vassal, before its file"),
    emperor("vassals-include", E::VassalsInclude, OptionKind::Word, Section::Start).meta("FILE").many().help("template that every vassal includes after its file"),
    emperor("vassals-include-before", E::VassalsIncludeBefore, OptionKind::Word, Section::Start).meta("FILE").many().help("template that every vassal includes before its file"),
    emperor("vassals-inherit", E::VassalsInherit, OptionKind::Word, Section::Start).meta("FILE").many().help("template that overrides every vassal file"),
    emperor("vassals-inherit-before", E::VassalsInheritBefore, OptionKind::Word, Section::Start).meta("FILE").many().help("the same, read before those of vassals-inherit"),
    emperor("vassals-start-hook", E::StartHook, OptionKind::Word, Section::Start).meta("COMMAND").help("run this program, with the vassal's name, before the program in each new process"),
    emperor("vassals-stop-hook", E::StopHook, OptionKind::Word, Section::Start).meta("COMMAND").help("run this program, with the vassal's name, when a process of it has ended"),
    emperor("emperor-force-config-pipe", E::ForceConfigPipe, OptionKind::Flag, Section::Start).help("send the text of vassal files by the configuration pipe"),
    emperor("emperor-max-starting", E::MaxStarting, OptionKind::Number, Section::Start).help("most vassals that start at the same time; default 2 for each processor, at least 8"),
    emperor("stage-timeout", E::StageTimeout, OptionKind::Seconds, Section::Start).default("10").help("longest time to read a vassal file and prepare its program"),
    Opt::new("start-timeout", OptionKind::Seconds, Class::Both(V::Run(R::StartTimeout), E::StartTimeout), Section::Start).default("90").help("longest time from exec to readiness, where the program announces it"),
    Opt::new("ready-after", OptionKind::Seconds, Class::Both(V::Run(R::ReadyAfter), E::ReadyAfter), Section::Start).default("10").help("a program of which nothing else is known counts as ready this long after exec"),

    // Life, penalty and end.
    emperor("emperor-throttle", E::Throttle, OptionKind::Millis, Section::Life).default("1000").help("wait added for each death before loyalty, and for starts that come too fast"),
    emperor("emperor-max-throttle", E::MaxThrottle, OptionKind::Millis, Section::Life).default("180000").help("longest such wait"),
    emperor("emperor-throttle-burst", E::ThrottleBurst, OptionKind::Number, Section::Life).default("1").help("starts per second that never wait"),
    emperor("emperor-no-blacklist", E::NoBlacklist, OptionKind::Flag, Section::Life).help("deaths are not punished"),
    emperor("emperor-loyal-after", E::LoyalAfter, OptionKind::Seconds, Section::Life).default("10").help("a program that does not say so is loyal when it has lived this long"),
    vassal("loyal-after", V::Run(R::LoyalAfter), OptionKind::Seconds, Section::Program).help("alive for this long it is loyal, unless it says so itself; default emperor-loyal-after"),
    emperor("emperor-required-heartbeat", E::RequiredHeartbeat, OptionKind::Seconds, Section::Life).default("30").help("longest silence of a vassal after its first heartbeat"),
    emperor("emperor-curse-tolerance", E::CurseTolerance, OptionKind::Seconds, Section::Life).default("30").help("time from the request to stop to SIGKILL"),
    emperor("emperor-graceful-shutdown", E::GracefulShutdown, OptionKind::Flag, Section::Life).help("vassals are asked to stop gracefully"),
    emperor("reload-mercy", E::ReloadMercy, OptionKind::Seconds, Section::Life).default("30").help("time for all to stop when the emperor ends"),
    emperor("emperor-keeper", E::Keeper, OptionKind::Choice(KeeperMode::WORDS), Section::Life).meta("auto|on|off").default("auto").help("a parent process that ends every vassal should the emperor die"),

    // On demand.
    emperor("emperor-on-demand-extension", E::OnDemandExtension, OptionKind::Word, Section::OnDemand).also(&["emperor-on-demand-ext"]).meta("ENDING").help("a vassal with a file of this further ending is started by the first connection to the address in it"),

    // Fork server.
    emperor("emperor-use-fork-server", E::UseForkServer, OptionKind::Socket, Section::ForkServer).help("ask the fork server at this address for every vassal"),
    emperor("vassal-fork-base", E::ForkBase, OptionKind::Word, Section::ForkServer).meta("NAME").many().help("a vassal that is started normally, because it is the fork server"),

    // Statistics, log and process.
    emperor("emperor-stats", E::Serve(Served::Statistics), OptionKind::Socket, Section::Process).also(&["emperor-stats-server"]).many().help("serve statistics as JSON at this address; a unix socket has the mode 660 unless chmod-socket is set"),
    emperor("stats-http", E::StatsHttp, OptionKind::Flag, Section::Process).help("statistics begin with an HTTP header"),
    emperor("emperor-pidfile", E::Pidfile, OptionKind::Word, Section::Process).meta("FILE").help("write the emperor's pid to this file"),
    Opt::new("pidfile", OptionKind::Word, Class::Both(V::Pidfile, E::Pidfile), Section::Process).meta("FILE").help("write the pid to this file"),
    Opt::new("procname", OptionKind::Word, Class::Both(V::Procname, E::Procname), Section::Process).also(&["emperor-procname"]).meta("TEXT").help("title of the emperor's process; programs keep their own"),
    emperor("emperor-log-level", E::LogLevel, OptionKind::Choice(Level::WORDS), Section::Process).meta("error|warning|notice|info|debug").default("info").help("how much the emperor logs; debug tells each step of a vassal"),
    Opt::new("logto", OptionKind::Word, Class::Both(V::Logto, E::Logto), Section::Process).meta("FILE").help("append the log, and what a vassal prints, to this file"),
    Opt::new("listen", OptionKind::Number, Class::Both(V::Listen, E::Listen), Section::Process).short('l').default("100").help("backlog of listening sockets"),
    Opt::new("chmod-socket", OptionKind::Mode, Class::Both(V::ChmodSocket, E::ChmodSocket), Section::Process).also(&["chmod"]).short('C').help("mode of unix sockets: three octal digits, 666 if left out"),

    // Vassal: program.
    vassal("command", V::UnprivilegedCommand, OptionKind::Word, Section::Program).also(&["exec", "unprivileged-binary-patch-arg"]).meta("COMMAND").help("run this command line after the drop of privileges"),
    vassal("privileged-binary-patch-arg", V::PrivilegedCommand, OptionKind::Word, Section::Program).meta("COMMAND").help("run this command line without any drop of privileges"),
    vassal("unprivileged-binary-patch", V::UnprivilegedPath, OptionKind::Word, Section::Program).meta("PROGRAM").help("run this program, with the vassal's own arguments, after the drop"),
    vassal("privileged-binary-patch", V::PrivilegedPath, OptionKind::Word, Section::Program).meta("PROGRAM").help("run this program, with the vassal's own arguments, without any drop"),
    vassal("binsh", V::Binsh, OptionKind::Word, Section::Program).meta("PROGRAM").many().help("a shell to use instead of /bin/sh; the first that can be executed"),
    vassal("processes", V::Processes, OptionKind::Number, Section::Program).also(&["workers"]).short('p').help("told to the program as WEB_CONCURRENCY and LIEGE_PROCESSES"),
    vassal("threads", V::Threads, OptionKind::Number, Section::Program).help("told to the program as LIEGE_THREADS"),
    vassal("stop-signal", V::Run(R::StopSignal), OptionKind::Signal, Section::Program).default("TERM").help("signal that asks the program to stop"),
    vassal("graceful-signal", V::Run(R::GracefulSignal), OptionKind::Signal, Section::Program).help("signal for a graceful stop; default stop-signal"),
    vassal("reload-signal", V::Run(R::ReloadSignal), OptionKind::Signal, Section::Program).help("signal that makes the program reload; without it the program is replaced"),
    vassal("stop-to", V::Run(R::StopTo), OptionKind::Choice(StopTo::WORDS), Section::Program).meta("main|group").help("who gets them: the main process or its group; default main, group where a shell stays"),
    vassal("restart", V::Run(R::Restart), OptionKind::Choice(Restart::WORDS), Section::Program).meta("always|on-failure|never").default("always").help("when a program that has ended is started again"),
    vassal("notify", V::Run(R::Notify), OptionKind::AutoFlag, Section::Program).default("auto").help("the program must announce its readiness on a notify socket (auto: it may)"),
    vassal("heartbeat", V::Run(R::Heartbeat), OptionKind::Seconds, Section::Program).help("the program promises a sign of life in this time; needs notify = true"),

    // Vassal: sockets.
    socket("socket", BIND).also(&["uwsgi-socket"]).short('s'),
    socket("http-socket", BIND).also(&["http11-socket"]),
    socket("fastcgi-socket", BIND).also(&["fastcgi-nph-socket"]),
    socket("scgi-socket", BIND).also(&["scgi-nph-socket"]),
    socket("raw-socket", BIND).also(&["puwsgi-socket"]),
    vassal("shared-socket", V::SharedSocket, OptionKind::Socket, Section::Sockets).also(&["undeferred-shared-socket"]).many().help("bind this address; =N in another socket option means the N-th of these"),
    vassal("abstract-socket", V::AbstractSocket, OptionKind::Flag, Section::Sockets).short('a').help("unix sockets are made in the abstract name space"),
    vassal("chown-socket", V::ChownSocket, OptionKind::Owner, Section::Sockets).help("owner of unix sockets"),
    vassal("reuse-port", V::ReusePort, OptionKind::Flag, Section::Sockets).help("set SO_REUSEPORT"),
    vassal("honour-stdin", V::HonourStdin, OptionKind::Flag, Section::Sockets).help("leave descriptor 0 as it is"),
    vassal("skip-zero", V::SkipZero, OptionKind::Flag, Section::Sockets).help("do not take a socket on descriptor 0"),

    // Vassal: directory, environment and files.
    vassal("chdir", V::Chdir, OptionKind::Word, Section::Place).meta("DIR").help("working directory of the program"),
    vassal("env", V::Env, OptionKind::Variable, Section::Place).many().help("set a variable, or unset it if there is no ="),
    vassal("unenv", V::Unenv, OptionKind::Word, Section::Place).meta("NAME").many().help("unset a variable"),
    vassal("umask", V::Umask, OptionKind::Umask, Section::Place).help("file creation mask"),
    vassal("daemonize", V::Daemonize, OptionKind::Word, Section::Place).short('d').meta("FILE").help("the same as logto: a vassal never leaves the foreground"),

    vassal("vacuum", V::Vacuum, OptionKind::Flag, Section::Place).help("remove its unix sockets and its pid file when the vassal is gone for good"),
    vassal("touch-reload", V::TouchReload, OptionKind::Word, Section::Place).meta("FILE").many().help("reload when this file changes"),
    vassal("logfile-chown", V::LogfileChown, OptionKind::Flag, Section::Place).help("give an older log file to the user as well; a new one, and the emperor's, is given in any case"),
    vassal("log-date", V::LogDate, OptionKind::Text, Section::Place).also(&["logdate"]).meta("FORMAT").optional().help("time in front of each line of the emperor's log: always so; what programs print is not changed"),

    // Vassal: identity.
    vassal("uid", V::Uid, OptionKind::User, Section::Identity).help("user of the program"),
    vassal("gid", V::Gid, OptionKind::Group, Section::Identity).help("group of the program; default that of the user"),
    vassal("add-gid", V::AddGid, OptionKind::Group, Section::Identity).many().help("a further group"),
    vassal("no-initgroups", V::NoInitgroups, OptionKind::Flag, Section::Identity).help("leave out the user's other groups"),

    // Vassal: limits.
    vassal("cap", V::Cap, OptionKind::Capabilities, Section::Confinement).help("capabilities that the emperor keeps when it changes its user; refused in a vassal file"),
    vassal("limit-as", V::LimitAs, OptionKind::Megabytes, Section::Confinement).help("limit of the address space"),
    vassal("max-fd", V::MaxFd, OptionKind::Number, Section::Confinement).help("limit of descriptors"),
];

/// A row of [`super::unsupported`]: known and not obeyed yet.
pub(super) const fn unsupported(
    name: &'static str,
    kind: OptionKind,
    missing: Missing,
    section: Section,
) -> Opt {
    Opt::new(name, kind, Class::Unsupported(missing), section)
}
