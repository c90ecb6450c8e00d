//! From the list to checked structs: what each option becomes, and what is refused with which words.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::ffi::OsString;
use std::time::Duration;

use liege::config::vassal::{EnvChange, Notify, ProgramSpec, VassalProgram};
use liege::config::{self, EmperorConfig, Faults, Invocation, SocketSpec, VassalConfig, values};
use liege::opts::{self, Arg, Class, Missing, Opt, OptionKind};
use liege::types::address::Address;
use liege::types::keeper_mode::KeeperMode;
use liege::types::run_settings::Restart;

const RUN: &str = "unprivileged-binary-patch-arg = sleep 1\n";

fn load(text: &str) -> config::Resolved {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.ini"), format!("[uwsgi]\n{text}")).unwrap();
    let args = vec!["--ini".into(), "a.ini".into()];
    config::load(&Invocation::new(args, Vec::new(), dir.path().to_owned())).unwrap()
}

fn vassal(text: &str) -> Result<VassalConfig, String> {
    config::vassal::check(&load(text)).map_err(|faults| faults.to_string())
}

fn emperor(args: &[&str]) -> Result<EmperorConfig, Faults> {
    let args = args.iter().map(OsString::from).collect();
    config::load(&Invocation::new(args, Vec::new(), "/".into()))
        .and_then(|resolved| config::emperor::check(&resolved))
}

fn warnings(text: &str) -> Vec<String> {
    vassal(&format!("{RUN}{text}")).unwrap().warnings.iter().map(ToString::to_string).collect()
}

fn addresses(config: &VassalConfig) -> Vec<(String, String)> {
    config.sockets.iter().map(|at| (at.to_string(), at.value.to_string())).collect()
}

#[test]
fn a_whole_vassal_file_becomes_what_it_says() {
    let config = vassal(
        "privileged-binary-patch-arg = nginx -g 'daemon off;'\nbinsh = /bin/dash\nhttp-socket = :80\n\
         shared-socket = @pool\nsocket = =0\nchmod-socket = 660\nchown-socket = web:www\nlisten = 5\nreuse-port\n\
         chdir = /srv\nenv = A=b=c\nunenv = B\nenv = C\numask = 027\nadd-gid = 7\nadd-gid = audio\n\
         logto = /l\npidfile = /p\nworkers = 4\nthreads = 2\nheartbeat = 5\nnotify = true\n\
         stop-signal = SIGINT\nreload-signal = HUP\ngraceful-signal = 3\nrestart = on-failure\nloyal-after = 1\n\
         ready-after = 2\nstart-timeout = 3\n",
    )
    .unwrap();
    let run = ProgramSpec::Command("nginx -g 'daemon off;'".to_owned());
    let program = config.program.as_ref().unwrap();
    assert_eq!(program.value, VassalProgram { privileged: true, run });
    assert_eq!(program.to_string(), "a.ini:2 privileged-binary-patch-arg");
    let at =
        |line: u32, key: &str, address: &str| (format!("a.ini:{line} {key}"), address.to_owned());
    assert_eq!(
        addresses(&config),
        [
            at(4, "http-socket", "0.0.0.0:80"),
            at(5, "shared-socket", "@pool"),
            at(6, "socket", "=0")
        ]
    );
    assert_eq!(config.shared, [1]);
    assert_eq!((config.chmod_socket, config.listen), (Some(0o660), 5));
    assert_eq!(config.chown_socket.unwrap().value, ("web".to_owned(), Some("www".to_owned())));
    let env: Vec<EnvChange> = config.env.into_iter().map(|change| change.value).collect();
    let unset = |name: &str| EnvChange::Unset(name.to_owned());
    assert_eq!(env, [EnvChange::Set("A".to_owned(), "b=c".to_owned()), unset("B"), unset("C")]);
    assert_eq!(config.umask, Some(0o27));
    assert_eq!(
        config.add_gid.iter().map(|gid| gid.value.as_str()).collect::<Vec<_>>(),
        ["7", "audio"]
    );
    assert_eq!((config.processes, config.threads), (Some(4), Some(2)));
    let seconds = |count| Some(Duration::from_secs(count));
    let run = &config.run;
    assert_eq!(run.heartbeat, seconds(5));
    assert_eq!((run.loyal_after, run.ready_after), (seconds(1), seconds(2)));
    assert_eq!(run.start_timeout, seconds(3));
    assert_eq!(run.stop_signal, Some(2));
    assert_eq!((run.reload_signal, run.graceful_signal), (Some(1), Some(3)));
    assert_eq!(run.restart, Restart::OnFailure);
    assert_eq!((config.notify, config.reuse_port), (Notify::Demanded, true));
}

#[test]
fn the_last_text_of_a_single_option_counts_and_every_text_must_be_right() {
    assert_eq!(vassal(&format!("{RUN}processes = 1\nprocesses = 2\n")).unwrap().processes, Some(2));
    let faults =
        vassal(&format!("{RUN}processes = x\nprocesses = 2\nchmod-socket = 9\nsocket =\n"));
    assert_eq!(faults.unwrap_err().lines().count(), 3);
}

#[test]
fn a_vassal_runs_exactly_one_program() {
    let none = vassal("processes = 1\n").unwrap_err();
    assert!(none.starts_with("a.ini: nothing to run: write command = PROGRAM"), "{none}");
    let slip = vassal("unpriviledged-binary-patch-arg = x\n").unwrap_err();
    assert!(
        slip.contains("nothing to run")
            && slip.contains("did you mean \"unprivileged-binary-patch-arg\"?"),
        "{slip}"
    );
    let two = vassal(&format!("{RUN}privileged-binary-patch = /bin/x\n")).unwrap_err();
    assert!(two.contains("a.ini:3: privileged-binary-patch: a.ini:2 unprivileged-binary-patch-arg names the program already"), "{two}");
    assert!(
        vassal(&format!("{RUN}{RUN}")).is_ok(),
        "a template and the file may name the same option"
    );
}

#[test]
fn names_of_the_embedded_server_are_one_warning() {
    let told = warnings(
        "harakiri = 5\nbuffer-size = 1\nmodule = x\nharakiri = 6\nmaster = true\nneed-app\n",
    );
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("a.ini:3: ignored")
            && told[0].ends_with(": buffer-size, harakiri, module"),
        "{told:?}"
    );
}

#[test]
fn what_would_give_false_security_is_refused_with_a_way_out() {
    for (text, told) in [
        ("https-socket = :443", "TLS proxy"),
        ("http = :80", "Use http-socket"),
        ("zerg = /x", "shared-socket"),
        ("call-as-root = x", "Use a hook"),
        ("chroot = /jail", "is not supported by this version"),
        ("cap = net_raw", "is not supported in a vassal file by this version"),
        ("hook-as-root = exec:true", "is not supported by this version"),
        ("socket = =0", "no shared-socket number 0"),
        ("unshare = zork", "'zork' is not a namespace"),
        ("uid = -1", "not an account"),
        ("uid = 4294967295", "not an account"),
    ] {
        let faults = vassal(&format!("{RUN}{text}\n")).unwrap_err();
        assert!(faults.starts_with("a.ini:3: ") && faults.contains(told), "{text}: {faults}");
    }
}

#[test]
fn root_is_meant_without_a_group_too() {
    for text in ["uid = 0\n", "uid = root\n"] {
        assert!(warnings(text).is_empty(), "{text}: {:?}", warnings(text));
    }
}

#[test]
fn what_has_no_effect_is_said() {
    for (text, told) in [
        ("procname = x", "has no effect"),
        ("idle = 60", "has no effect"),
        ("stage-timeout = 4", "no effect in a vassal"),
        ("emperor-throttle = 5", "no effect in a vassal"),
        ("emperor-tyrant = true", "no effect in a vassal"),
        ("daemonize = /l", "taken as logto"),
        ("heartbeat = 5", "heartbeat without notify"),
        ("uid = 1000", "without gid"),
        ("notify = disabled", "means true"),
        ("help = 1", "command line only"),
    ] {
        let told_really = warnings(&format!("{text}\n"));
        assert!(told_really.len() == 1 && told_really[0].contains(told), "{text}: {told_really:?}");
    }
    assert_eq!(warnings("vacuum = false\nrefork = no\n"), Vec::<String>::new());
    let faults = vassal(&format!("{RUN}fork-server-use = none\n")).unwrap_err();
    assert!(faults.contains("fork-server-use: is not supported"), "{faults}");
    let privileged = vassal("privileged-binary-patch = /x\nuid = 5\nadd-gid = 6\n").unwrap();
    assert_eq!(privileged.warnings.len(), 2);
}

#[test]
fn unix_sockets_become_abstract_wherever_the_flag_stands() {
    let config =
        vassal(&format!("{RUN}socket = /run/a\nabstract-socket = true\nsocket = :1\n")).unwrap();
    assert_eq!(config.sockets[0].value, SocketSpec::Bind(Address::Abstract(b"/run/a".to_vec())));
    assert!(matches!(config.sockets[1].value, SocketSpec::Bind(Address::Tcp(_))));
}

#[test]
fn the_emperor_is_told_everything_by_its_command_line() {
    let config = emperor(&[
        "--emperor",
        "/etc/a",
        "--emperor",
        "dir:///etc/b",
        "--emperor-freq",
        "3",
        "--emperor-nofollow",
        "--emperor-extra-ext=.skel",
        "--binary-path",
        "/usr/bin/uwsgi",
        "--emperor-throttle",
        "50",
        "--emperor-max-throttle",
        "60",
        "--emperor-keeper",
        "off",
        "--emperor-stats",
        "127.0.0.1:1717",
        "--emperor-stats",
        "/run/s",
        "--chmod-socket",
        "--vassals-set",
        "a=b",
        "--vassals-include",
        "i",
        "--vassal-fork-base",
        "base.ini",
        "--emperor-use-fork-serve",
        "/run/fs",
        "--emperor-max-starting",
        "0",
        "--reload-mercy",
        "5",
        "--emperor-on-demand-ext",
        ".socket",
        "--master",
    ])
    .unwrap();
    let sources: Vec<String> =
        config.emperors.iter().map(|source| source.value.to_string()).collect();
    assert_eq!(sources, ["/etc/a", "/etc/b"]);
    assert_eq!(config.emperors[0].to_string(), "command line --emperor");
    assert_eq!((config.freq, config.throttle), (Duration::from_secs(3), Duration::from_millis(50)));
    assert_eq!((config.keeper, config.max_starting), (KeeperMode::Off, Some(1)));
    assert_eq!((config.served.len(), config.chmod_socket), (2, Some(0o666)));
    assert_eq!(
        config.use_fork_server.unwrap().value,
        SocketSpec::Bind(Address::Path("/run/fs".into()))
    );
    assert_eq!(config.warnings, []);
}

#[test]
fn what_the_emperor_cannot_do_is_a_fault_with_a_remedy() {
    for (args, told) in [
        (&["--emperor", "/x", "--emperor-tyrant"][..], "--emperor-tyrant: is not supported"),
        (&["--emperor", "/x", "--http-socket", ":80"], "serves nothing itself"),
        (&["--emperor", "/x/*.ini"], "with a pattern is not supported"),
        (&["--emperor", "zmq://x"], "'zmq://' is not supported"),
        (&["--emperor", "glob://x"], "'glob://' is not supported"),
        (&["--emperor-freq", "3"], "nothing to govern: say --emperor DIR"),
        (
            &["--emperor", "/x", "--emperor-stats", "example.org:1"],
            "host names but localhost are not looked up",
        ),
        (&["--emperor", "/x", "--emperor-keeper", "maybe"], "not one of auto, on, off"),
    ] {
        let faults = emperor(args).unwrap_err().to_string();
        assert!(faults.contains(told), "{args:?}: {faults}");
    }
    let config = emperor(&["--emperor", "/x", "--processes", "4"]).unwrap();
    assert!(config.warnings[0].message.contains("belongs into a vassal file"));
}

#[test]
fn what_concerns_the_process_of_the_emperor_is_obeyed_or_said_to_be_ignored() {
    let own = "--uid 5 --gid audio --add-gid 7 --umask 027 --chdir /srv --max-fd 99 --cap kill";
    let args: Vec<&str> = ["--emperor", "/x"].into_iter().chain(own.split(' ')).collect();
    let config = emperor(&args).unwrap();
    assert_eq!(config.warnings, []);
    let (own, text) =
        (config.own_process, |place: Option<config::Located<String>>| place.unwrap().value);
    assert_eq!(
        (text(own.uid), text(own.gid), text(own.chdir)),
        ("5".into(), "audio".into(), "/srv".into())
    );
    assert_eq!((own.add_gid.len(), own.umask), (1, Some(0o27)));
    assert_eq!((own.max_fd.unwrap().value, own.cap.unwrap().value), (99, 1 << 5));
    for (args, told) in [
        (&["--daemonize", "/l"][..], "taken as logto"),
        (&["--stats", ":1"], "emperor-stats"),
        (&["--logger", "syslog"], "is ignored"),
        (&["--vacuum"], "is ignored"),
        (&["--log-date=%Y"], "the format is not used"),
        (&["--uid", "5"], "without gid"),
        (&["--cap", "kill"], "no effect without uid"),
    ] {
        let args: Vec<&str> = ["--emperor", "/x"].iter().chain(args).copied().collect();
        let config = emperor(&args).unwrap();
        let messages: Vec<&String> = config.warnings.iter().map(|fault| &fault.message).collect();
        assert!(messages.len() == 1 && messages[0].contains(told), "{args:?}: {messages:?}");
        assert!(args[2] != "--daemonize" || config.logto.unwrap().value == "/l");
    }
    for args in [&["--log-date"][..], &["--logfile-chown"], &["--emperor-procname", "x"]] {
        let args: Vec<&str> = ["--emperor", "/x"].iter().chain(args).copied().collect();
        assert_eq!(emperor(&args).unwrap().warnings, []);
    }
}

#[test]
fn options_in_the_environment_that_reach_every_vassal_are_told_once() {
    let mut call = Invocation::new(vec!["--emperor=/x".into()], Vec::new(), "/".into());
    for name in ["UWSGI_PROCESSES", "UWSGI_EMPEROR_FREQ", "UWSGI_VASSAL_SOCKET", "UWSGI_LISTEN"] {
        call.env.push((name.into(), "5".into()));
    }
    let config = config::emperor::check(&config::load(&call).unwrap()).unwrap();
    assert_eq!((config.listen, config.freq), (5, Duration::from_secs(5)));
    let told: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    let told: Vec<&String> = told.iter().filter(|told| told.contains("environment are")).collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].contains(": UWSGI_PROCESSES, UWSGI_LISTEN; "), "{told:?}");
}

/// A right text for an option, whatever it means.
fn sample(opt: &Opt) -> &'static str {
    match opt.kind {
        OptionKind::Flag
        | OptionKind::AutoFlag
        | OptionKind::Number
        | OptionKind::Signed
        | OptionKind::Megabytes
        | OptionKind::Seconds
        | OptionKind::Millis => "1",
        OptionKind::Mode | OptionKind::Umask => "660",
        OptionKind::Text | OptionKind::Word => "x",
        OptionKind::User | OptionKind::Group | OptionKind::Owner => "1",
        OptionKind::Namespaces => "net",
        OptionKind::Capabilities => "net_raw",
        OptionKind::Hook => "exec:true",
        OptionKind::Socket | OptionKind::SocketOrNone => "127.0.0.1:1",
        OptionKind::Signal => "TERM",
        OptionKind::Variable | OptionKind::Pair => "a=b",
        OptionKind::Choice(words) => words[words.len() - 1],
    }
}

#[test]
fn no_option_is_taken_and_does_nothing_without_a_word() {
    let base = vassal(RUN).unwrap();
    for opt in opts::lookup::rows() {
        if matches!(opt.class, Class::Directive(_)) {
            continue;
        }
        let text = format!("{RUN}{} = {}\n", opt.name, sample(opt));
        let says_something = match vassal(&text) {
            Err(faults) => faults.contains(opt.name),
            Ok(config) => config != base,
        };
        assert!(says_something, "{} does nothing in a vassal", opt.name);
        if opt.class == Class::Unsupported(Missing::Fault) && !opt.section.is_emperors() {
            assert!(vassal(&text).is_err(), "{}", opt.name);
        }
    }
    let base = emperor(&["--emperor", "/x"]).unwrap();
    for opt in opts::lookup::rows() {
        if matches!(opt.class, Class::Directive(_)) {
            continue;
        }
        let name = format!("--{}", opt.name);
        let mut args = vec!["--emperor", "/x", &name];
        args.extend((opt.arg == Arg::Required).then(|| sample(opt)));
        // A value that is the default changes nothing, and need not.
        let says_something = match emperor(&args) {
            Err(faults) => faults.to_string().contains(opt.name),
            // Each line has its time in any case; a format is told to be of no use.
            Ok(_) if matches!(opt.name, "log-date" | "logfile-chown") => true,
            Ok(config) => config != base || opt.default == sample(opt),
        };
        assert!(says_something, "{} does nothing in an emperor", opt.name);
    }
}

#[test]
fn the_defaults_of_the_table_are_those_of_the_structs() {
    let bare = emperor(&["--emperor", "/x"]).unwrap();
    for opt in opts::lookup::rows().filter(|opt| !opt.default.is_empty()) {
        values::check(opt.kind, opt.default).unwrap();
        if opt.emperor_key().is_some() && opt.arg == Arg::Required {
            let name = format!("--{}", opt.name);
            let said = emperor(&["--emperor", "/x", &name, opt.default]).unwrap();
            assert_eq!(said, bare, "{}", opt.name);
        }
    }
    assert_eq!(vassal(RUN).unwrap().listen, 100);
}

#[test]
fn what_is_always_so_may_be_said_in_every_form_and_lists_of_forbidden_options_are_refused() {
    let args = ["--need-app", "--need-app=1", "--set", "need-app=1"].map(Into::into).to_vec();
    let call = Invocation::new(args, Vec::new(), "/".into());
    assert!(config::load(&call).unwrap().warnings.is_empty());
    let args = ["--blacklist", "socket", "--end-blacklist"].map(Into::into).to_vec();
    let faults = config::load(&Invocation::new(args, Vec::new(), "/".into())).unwrap_err();
    let told: Vec<&str> = faults.0.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(told, ["blacklist", "end-blacklist"]);
}
