//! What an author did not mean to write: it is said with the word that was meant, and never makes a program
//! run with more rights than its file was to give it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::fs;
use std::path::Path;
use std::process::Command;

use liege::config::{self, Invocation};

const RUN: &str = "command = sleep 1\n";

fn load(dir: &Path, text: &str) -> Result<config::VassalConfig, String> {
    fs::write(dir.join("a.ini"), format!("[uwsgi]\n{text}")).unwrap();
    let call = Invocation {
        run: liege::sys::command::output,
        ..Invocation::new(vec!["--ini".into(), "a.ini".into()], Vec::new(), dir.to_owned())
    };
    config::load(&call)
        .and_then(|resolved| config::vassal::check(&resolved))
        .map_err(|faults| faults.to_string())
}

fn vassal(text: &str) -> Result<config::VassalConfig, String> {
    load(tempfile::tempdir().unwrap().path(), text)
}

fn fault(text: &str) -> String {
    vassal(&format!("{RUN}{text}")).map(|config| format!("{:?}", config.warnings)).unwrap_err()
}

fn warnings(text: &str) -> Vec<String> {
    let config =
        vassal(&format!("{RUN}{text}")).unwrap_or_else(|faults| panic!("{text}: {faults}"));
    config.warnings.iter().map(ToString::to_string).collect()
}

/// `liege ARGS` in a directory with these files: status, standard output, standard error.
fn program(files: &[(&str, &str)], args: &[&str]) -> (i32, String, String) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        fs::write(dir.path().join(name), text).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_liege"))
        .args(args)
        .current_dir(dir.path())
        .env_clear()
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// What, why and what to do instead: three sentences.
fn is_refusal(told: &str) -> bool {
    let parts: Vec<&str> = told.split(". ").collect();
    let is_sentence = |part: &&str| part.starts_with(|letter: char| letter.is_ascii_uppercase());
    parts.len() == 3 && parts[1..].iter().all(is_sentence) && !told.ends_with('.')
}

#[test]
fn a_misspelt_security_setting_is_a_fault_that_names_the_right_one() {
    for (slip, meant) in [
        ("udi = www-data", "uid"),
        ("UID = www-data", "uid"),
        ("gdi = www-data", "gid"),
        ("add_gid = audio", "add-gid"),
        ("no-initgroup = true", "no-initgroups"),
        ("chrot = /jail", "chroot"),
        ("capp = net_raw", "cap"),
        ("unshar = net", "unshare"),
        ("no_new_privs = true", "no-new-privs"),
        ("chown-sokcet = web", "chown-socket"),
        ("chmod_socket = 660", "chmod-socket"),
        ("jial = x", "jail"),
        ("limit_as = 5", "limit-as"),
        ("limit-nprco = 5", "limit-nproc"),
        ("max_fd = 5", "max-fd"),
        ("umaks = 077", "umask"),
        ("chown_socket = web", "chown-socket"),
    ] {
        let told = fault(&format!("{slip}\n"));
        let name = slip.split(' ').next().unwrap();
        let start = format!("a.ini:3: {name}: is not an option of liege. It resembles {meant}, ");
        assert!(told.starts_with(&start) && told.contains(&format!("Write {meant} ")), "{told}");
        assert!(is_refusal(&told), "{told}");
        let is_of_socket = meant.ends_with("-socket");
        assert_eq!(told.contains("other users than meant could connect"), is_of_socket, "{told}");
    }
}

#[test]
fn a_misspelt_security_setting_is_a_fault_wherever_it_stands() {
    let run = "[uwsgi]\ncommand = sleep 1\n";
    for (files, args) in [
        (&[("v/a.yml", "uwsgi:\n  command: sleep 1\n  udi: x\n")][..], &["check", "v"][..]),
        (&[("v/a.json", r#"{"uwsgi": {"command": "sleep 1", "udi": "x"}}"#)], &["check", "v"]),
        (
            &[("v/a.ini", "[uwsgi]\ninclude = b.ini\n"), ("v/b.ini", &format!("{run}udi = x\n"))],
            &["check", "v/a.ini"],
        ),
        (
            &[("v/a.ini", "[uwsgi]\ninherit = b.ini\n"), ("v/b.ini", &format!("{run}udi = x\n"))],
            &["check", "v/a.ini"],
        ),
        (&[("e.ini", "[uwsgi]\nemperor = v\nudi = x\n"), ("v/a.ini", run)], &["check", "e.ini"]),
        (
            &[("e.ini", "[uwsgi]\nemperor = v\nvassals-set = udi=x\n"), ("v/a.ini", run)],
            &["check", "e.ini"],
        ),
        (
            &[("e.ini", "[uwsgi]\nemperor = v\nemperor-tyrnat = 1\n"), ("v/a.ini", run)],
            &["check", "e.ini"],
        ),
        // Other slips fill what is told of them.
        (
            &[(
                "v/a.ini",
                &format!(
                    "{run}{}udi = x\n",
                    (0..50).map(|n| format!("zork{n} = 1\n")).collect::<String>()
                ),
            )],
            &["check", "v"],
        ),
    ] {
        let (status, _, err) = program(files, args);
        assert!(
            status == 1 && err.contains("is not an option of liege. It resembles"),
            "{files:?}: {err}"
        );
    }
}

#[test]
fn other_unknown_names_stay_what_they_were() {
    for text in ["domain = x\n", "htpp-socket = :1\n", "my-id = 5\n"] {
        assert_eq!(warnings(text).len(), 1, "{text}");
    }
    for text in [
        "udi = 5\nenv = A=%(udi)\n",
        "port = 5\nenv = A=%(port)\n",
        "set-ph = udi=5\n",
        "set = port=5\n",
    ] {
        assert_eq!(warnings(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn the_words_of_other_supervisors_are_answered_with_ours() {
    for (word, ours) in [
        ("user = www-data", "uid"),
        ("usr = www-data", "uid"),
        ("user-id = 33", "uid"),
        ("setuid = www-data", "uid"),
        ("owner = www-data", "uid"),
        ("ui = 33", "uid"),
        ("group_id = 33", "gid"),
        ("setgid = 33", "gid"),
        ("group = www-data", "gid"),
        ("directory = /srv", "chdir"),
        ("WorkingDirectory = /srv", "chdir"),
        ("bind = :80", "http-socket"),
        ("port = 80", "http-socket = :PORT"),
        ("listen-address = :80", "http-socket"),
        ("environment = A=1", "env = NAME=TEXT"),
        ("cwd = /srv", "chdir"),
        ("autostart = true", "nothing: a vassal runs as long as its file is there"),
        ("ExecStart = /bin/x", "command"),
        ("stdout_logfile = /l", "logto"),
    ] {
        let told = fault(&format!("{word}\n"));
        assert!(told.contains("is not an option of liege. Other supervisors"), "{told}");
        assert!(told.contains(&format!("Write {ours}")) && is_refusal(&told), "{told}");
    }
}

#[test]
fn command_is_the_short_name_of_the_program() {
    let long = vassal("unprivileged-binary-patch-arg = sleep 1\n").unwrap().program.unwrap().value;
    for name in ["command", "exec"] {
        let config = vassal(&format!("{name} = sleep 1\n")).unwrap();
        assert_eq!(config.program.unwrap().value, long, "{name}");
    }
    // A template may use one name, the file the other.
    let both = vassal("unprivileged-binary-patch-arg = sleep 1\ncommand = sleep 2\n").unwrap();
    let run = config::vassal::ProgramSpec::Command("sleep 2".to_owned());
    assert_eq!(both.program.unwrap().value.run, run);
    let two = fault("privileged-binary-patch-arg = sleep 1\n");
    assert!(two.contains("a.ini:2 command names the program already"), "{two}");
    let none = vassal("processes = 1\n").unwrap_err();
    assert_eq!(
        none,
        "a.ini: nothing to run: write command = PROGRAM ARGUMENTS, the command line of the program"
    );
    let slip = vassal("comand = sleep 1\n").unwrap_err();
    assert!(slip.contains("did you mean \"command\"?"), "{slip}");
}

#[test]
fn every_refusal_says_what_why_and_what_to_do_instead() {
    assert_eq!(
        fault("chroot = /jail\n"),
        "a.ini:3: chroot: is not supported by this version of liege. It means: change the root directory, and \
         a start without it would not be what was asked for. Use privileged-binary-patch-arg = chroot \
         --userspec=USER:GROUP DIR PROGRAM"
    );
    for (text, told) in [
        ("https-socket = :443", "Put a TLS proxy in front and use http-socket"),
        ("http = :80", "Use http-socket and a proxy"),
        ("hook-as-root = exec:true", "Do it in the command"),
        ("declare-option = x=y", "Write the options themselves"),
        ("udi = x", "Write uid instead"),
    ] {
        let fault = fault(&format!("{text}\n"));
        assert!(is_refusal(&fault) && fault.contains(&format!(". {told}")), "{fault}");
    }
    let told = &warnings("log-maxsize = 5\n")[0];
    assert!(is_refusal(told) && told.contains("has no effect"), "{told}");
}

#[test]
fn help_shows_the_usual_settings_of_a_vassal_file() {
    let (_, out, _) = program(&[], &["--help"]);
    for setting in ["command = COMMAND", "chdir = DIR", "uid = USER", "http-socket = ADDR"] {
        assert!(out.contains(&format!("\n  {setting} ")), "{setting}:\n{out}");
    }
}

#[test]
fn only_names_in_dollar_parentheses_are_variables() {
    let dir = tempfile::tempdir().unwrap();
    let env = |name: &str, text: &str| (name.into(), text.into());
    for (text, wanted) in [
        ("$(id -un)", "$(id -un)"),
        ("$(nproc --all)", "$(nproc --all)"),
        ("$(hostname -f)", "$(hostname -f)"),
        ("$((7-1))", "$((7-1))"),
        ("$(cat /run/secrets/db-password)", "$(cat /run/secrets/db-password)"),
        ("$(date +%%Y-%%m)", "$(date +%Y-%m)"),
        ("$(./x-y)", "$(./x-y)"),
        ("$(1-2)", "$(1-2)"),
        ("$(-x)", "$(-x)"),
        ("$(:-x)", "$(:-x)"),
        ("$()", "$()"),
        ("$(A B)", "$(A B)"),
        ("$(A.B-x)", "$(A.B-x)"),
        ("$(MY-OLD)", "OLD"),
        ("$(echo $(WORD))", "$(echo word)"),
        ("$(echo $((2 - 1)) $(WORD-x))", "$(echo $((2 - 1)) word)"),
        ("$(WORD) $(_x1) $(NONE)", "word one $(NONE)"),
        ("$(WORD:-x)$(EMPTY:-x)$(EMPTY-y)$(NONE-z)$(NONE:-)", "wordxz"),
        ("$(NONE-a-b:-c)", "a-b:-c"),
        ("$(NONE-$(WORD))", "word"),
    ] {
        fs::write(dir.path().join("a.ini"), format!("[uwsgi]\nx = {text}\n")).unwrap();
        let call = Invocation {
            env: vec![env("WORD", "word"), env("EMPTY", ""), env("_x1", "one")],
            ..Invocation::new(vec!["a.ini".into()], Vec::new(), dir.path().to_owned())
        };
        assert_eq!(config::load(&call).unwrap().first("x"), Some(wanted), "{text}");
    }
}

#[test]
fn a_command_that_reads_as_a_variable_with_a_default_gets_a_warning_with_the_reading() {
    let config = vassal("command = sh -c 'echo $(python3-config --libs) $(HOME-/x)'\n").unwrap();
    let told: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let wanted = "a.ini:2: command: $(python3-config --libs) is read as the variable python3 with the default \
                  'config --libs'; ";
    assert!(told[0].starts_with(wanted), "{told:?}");
}

#[test]
fn percent_codes_in_variables_get_a_warning() {
    for code in ["%40", "%2F", "%3a", "%C3", "%e2"] {
        let told = warnings(&format!("env = URL=postgres://u:p{code}host/x\n"));
        let wanted = format!(
            "a.ini:3: env: {code} is read as the magic variable {} and {}; ",
            &code[..2],
            &code[2..]
        );
        assert!(told.len() == 1 && told[0].starts_with(&wanted), "{told:?}");
        assert!(told[0].ends_with(&format!("write %{code}")), "{told:?}");
    }
    let none =
        "env = URL=p%%40\nchdir = /srv/%0\nenv = P=%dapp:%dconf/%n\n; %40\nx = %40\nenv = A=%(x)\n";
    assert_eq!(warnings(none), Vec::<String>::new());
}

#[test]
fn a_bare_number_is_not_an_address() {
    for name in ["http-socket", "socket", "shared-socket"] {
        let told = fault(&format!("{name} = 18702\n"));
        assert!(
            told.starts_with(&format!("a.ini:3: {name}: '18702' is a number without a colon")),
            "{told}"
        );
        assert!(told.contains("expected :PORT"), "{told}");
    }
    assert!(vassal(&format!("{RUN}socket = ./18702\n")).is_ok());
    let (status, _, err) = program(&[], &["--emperor", ".", "--emperor-stats", "1717", "--check"]);
    assert!(status == 1 && err.contains("expected :PORT"), "{err}");
}

#[test]
fn localhost_is_the_loopback_address_without_a_look_up() {
    let config =
        vassal(&format!("{RUN}http-socket = localhost:8000\nsocket = LOCALHOST:0\n")).unwrap();
    let told: Vec<String> = config.sockets.iter().map(|at| at.value.to_string()).collect();
    assert_eq!(told, ["127.0.0.1:8000", "127.0.0.1:0"]);
    let told = fault("socket = example.org:80\n");
    assert!(told.contains("host names but localhost are not looked up"), "{told}");
}

#[test]
fn quotes_that_belong_to_a_value_get_a_warning_with_the_reading() {
    for (text, reading) in [
        ("chdir = '/srv/a b'", "'/srv/a b'"),
        ("socket = \"/run/a.sock\"", "\"/run/a.sock\""),
        ("env = X=\"y\"", "\"y\""),
        ("logto = \"/l\"", "\"/l\""),
    ] {
        let told = warnings(&format!("{text}\n"));
        let wanted = format!(": is read with its quotes: '{reading}'; quotes are part of a value");
        assert!(told.len() == 1 && told[0].contains(&wanted), "{told:?}");
    }
    assert!(
        fault("processes = \"4\"\n")
            .contains("is not a number (expected 0 to 2147483647); quotes are part")
    );
    let none = "env = X=say \"y\"\nenv = Y=\"\nname = \"x\"\n";
    let told = warnings(none);
    assert!(told.len() == 1 && told[0].contains("unknown option"), "{told:?}");
    assert_eq!(vassal("command = \"/bin/a b\" 'c'\n").unwrap().warnings, []);
}

#[test]
fn a_comment_behind_a_value_gets_a_warning_or_a_hint() {
    for text in [
        "http-socket = /run/site/a.sock   # unix socket file",
        "logto = /var/log/a.log ; the log",
        "chdir = /srv/a\t# the code",
        "env = A=b # c",
    ] {
        let told = warnings(&format!("{text}\n"));
        assert!(
            told.len() == 1 && told[0].contains("a comment needs a line of its own"),
            "{told:?}"
        );
        assert!(told[0].contains("is read with all that stands behind it: '"), "{told:?}");
    }
    for text in [
        "processes = 4   # four",
        "uid = web # user",
        "chmod-socket = 660 ; mode",
        "socket = :80 # web",
    ] {
        let told = fault(&format!("{text}\n"));
        assert!(told.ends_with("; a comment needs a line of its own"), "{told}");
    }
    assert!(fault("include = gone.ini # base\n").contains("a comment needs a line of its own"));
    let told = warnings("notify = true # yes\n");
    assert!(told.len() == 1 && told[0].ends_with("a comment needs a line of its own"), "{told:?}");
    // To a shell both have a meaning.
    assert_eq!(vassal("command = sh -c 'a ; b # c'\n").unwrap().warnings, []);
    assert_eq!(warnings("env = A=b#c;d\n"), Vec::<String>::new());
    let (_, _, err) =
        program(&[("a.ini", "[uwsgi]\ncommand = x\nchdir = /srv # y\n")], &["check", "a.ini"]);
    assert!(err.contains("warning: a.ini:3: chdir: is read with all"), "{err}");
}

#[test]
fn an_empty_line_of_a_loop_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("p.env"), "\u{feff}A=1\r\n\r\n  \n# a comment\nB=2\n\n").unwrap();
    let text = "for-readline = p.env\nenv = %(_)\nunenv = %(_)\nendfor =\n";
    let config = load(dir.path(), &format!("{RUN}{text}")).unwrap();
    let told: Vec<String> = config.env.iter().map(|change| format!("{:?}", change.value)).collect();
    assert!(told[0].contains("\"A\", \"1\""), "{told:?}");
    assert!(told.iter().any(|change| change.contains("\"B\", \"2\"")), "{told:?}");
    // Every option that can be repeated, and every loop.
    fs::write(dir.path().join("empty"), "\n\n\n").unwrap();
    for loops in ["for-readline = empty", "for = "] {
        for option in
            ["socket", "env", "chdir", "uid", "add-gid", "include", "set", "processes", "logto"]
        {
            let text = format!("{RUN}{loops}\n{option} = %(_)\nendfor =\n");
            let told = load(dir.path(), &text).map(|config| config.warnings.len());
            assert_eq!(told, Ok(0), "{loops} {option}");
        }
    }
    // What is more than the word is a setting all the same.
    let text = format!("{RUN}for-readline = empty\nenv = X%(_)=1\nendfor =\n");
    assert_eq!(load(dir.path(), &text).unwrap().env.len(), 2);
}

#[test]
fn placeholders_where_none_is_replaced_are_named() {
    for (text, told) in [
        ("x = @(/nowhere/%(name).txt)\n", "%(name) is not replaced in the name of what is read"),
        ("include = /nowhere/$(NAME).ini\n", "$(NAME) is not replaced in the name of what is read"),
        (
            "for-readline = /nowhere/%(name)\nenv = %(_)\nendfor =\n",
            "%(name) is not replaced in the name",
        ),
    ] {
        let fault = fault(text);
        assert!(fault.starts_with("a.ini:3: ") && fault.contains(told), "{fault}");
    }
    for text in
        ["for = %(list)", "if-exists = /srv/%(name)", "if-env = $(NAME)", "for-glob = @(list)/*"]
    {
        let told = warnings(&format!("{text}\nendif =\n"));
        let mark = &text[text.find(['%', '$', '@']).unwrap()..=text.find(')').unwrap()];
        assert!(
            told.len() == 1 && told[0].contains(&format!("{mark} is not replaced here")),
            "{told:?}"
        );
    }
    assert_eq!(
        warnings("for-readline = exec://echo $(echo A=1)\nenv = %(_)\nendfor =\n"),
        Vec::<String>::new()
    );
}

const SECRET: &str = "s3cr3t";

/// A file that must not show, and lines that bring its content where it is wrong.
fn with_secret(lines: &str) -> (i32, String, String) {
    let text = format!("[uwsgi]\ncommand = sleep 1\n{lines}\n");
    let secret = format!("{SECRET} {SECRET}=\n{SECRET}:x\n");
    program(&[("a.ini", &text), ("secret", &secret)], &["check", "a.ini"])
}

#[test]
fn what_a_file_or_a_variable_puts_in_is_in_no_message() {
    for lines in [
        "processes = @(secret)",
        "socket = @(secret):80",
        "socket = 1.2.3.4:@(secret)",
        "chmod-socket = @(secret)",
        "umask = @(exec://cat secret)",
        "uid = @(secret)",
        "uid = @(exec://printf s3cr3t)",
        "chown-socket = web:@(exec://printf s3cr3t)",
        "stop-signal = @(secret)",
        "restart = @(secret)",
        "processes = %(x)\nx = @(secret)",
        "processes = %(x)\nx = %(y)1\ny = @(secret)",
        "threads = %(x + 1)\nx = @(secret)",
        "threads = @(exec://printf '@(s3cr''3t)')",
        "inherit = @(exec://printf s3cr3t).ini",
        "for-readline = secret\nset = %(_)\nendfor =",
        "for-readline = secret\nprocesses = %(_)\nendfor =",
        "for-readline = secret\ninclude = %(_)\nendfor =",
        "for-readline = secret\nini = %(_)\nendfor =",
        "for-readline = secret\nexit = %(_)\nendfor =",
    ] {
        let (status, out, err) = with_secret(lines);
        assert_eq!(status, 1, "{lines}: {out}{err}");
        assert!(!err.contains(SECRET) && !out.contains(SECRET), "{lines}: {err}");
        assert!(err.contains("a.ini:"), "{lines}: {err}");
    }
    // What is wrong with the file itself is shown.
    assert!(with_secret("processes = s3cr3t").2.contains("'s3cr3t' is not a number"));
}

#[test]
fn no_message_repeats_more_than_64_characters_of_a_text() {
    let long = "y".repeat(500);
    for text in [
        "processes = LONG",
        "socket = 1.2.3.4:LONG",
        "uid = LONG/",
        "restart = LONG",
        "set = LONG",
        "LONG = 1",
        "exit = LONG",
        "for-times = LONG\nendfor =",
        "hook-as-root = LONG:x",
        "cap = LONG",
        "threads = %(LONG + 1)",
    ] {
        let text = text.replace("LONG", &long);
        let (_, out, err) =
            program(&[("a.ini", &format!("[uwsgi]\n{text}\n"))], &["check", "a.ini"]);
        assert!(!(out + &err).contains(&"y".repeat(65)), "{text}: {err}");
    }
}

#[test]
fn signals_have_the_same_names_everywhere() {
    for (text, number) in [
        ("RTMIN+3", 37),
        ("SIGRTMAX-1", 63),
        ("term", 15),
        ("SigQuit", 3),
        ("9", 9),
        ("STKFLT", 16),
        ("SEGV", 11),
    ] {
        let config =
            vassal(&format!("{RUN}stop-signal = {text}\nreload-signal = {text}\n")).unwrap();
        assert_eq!(
            (config.run.stop_signal, config.run.reload_signal),
            (Some(number), Some(number)),
            "{text}"
        );
        assert_eq!(
            liege::sys::signal::Signal::parse(text).map(|it| it.get()),
            Some(number),
            "{text}"
        );
    }
    assert!(
        fault("stop-signal = RTMIN+31\n")
            .contains("is not a signal (expected a name such as TERM or RTMIN+3")
    );
}

#[test]
fn an_unknown_command_is_answered_with_the_list_and_the_nearest() {
    for (word, told) in [
        ("status", "--emperor-stats"),
        ("stop", "stopped by removing the file"),
        ("foo", "'foo' is neither a command nor a file; the commands are:"),
        ("chekc", "did you mean check?"),
        ("confgi", "did you mean config?"),
    ] {
        let (status, out, err) = program(&[], &[word, "x"]);
        assert_eq!((status, out.as_str()), (2, ""), "{word}: {err}");
        assert!(err.contains(told), "{word}: {err}");
        for command in ["liege check FILE", "liege config FILE", "liege init CMD"] {
            assert!(err.contains(command), "{word}: {err}");
        }
    }
    assert_eq!(program(&[], &["help"]).1, program(&[], &["--help"]).1);
    for args in [&["-v"][..], &["version"], &["--version"]] {
        let (status, out, _) = program(&[], args);
        assert_eq!(
            (status, out.as_str()),
            (0, concat!("liege ", env!("CARGO_PKG_VERSION"), "\n")),
            "{args:?}"
        );
    }
    // A file of that name is what it was.
    let (_, _, err) = program(&[("status", "x")], &["status"]);
    assert!(err.contains("its ending is not known"), "{err}");
}

#[test]
fn a_misspelt_security_setting_in_the_environment_gets_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.ini"), format!("[uwsgi]\n{RUN}")).unwrap();
    let env = |name: &str| (name.into(), "x".into());
    let call = Invocation {
        env: vec![env("UWSGI_UDI"), env("UWSGI_PORT"), env("UWSGI_ZORK"), env("UWSGI_THEME")],
        ..Invocation::new(vec!["--ini".into(), "a.ini".into()], Vec::new(), dir.path().to_owned())
    };
    let told: Vec<String> =
        config::load(&call).unwrap().warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["environment: UWSGI_UDI: is not an option; it resembles uid, a security setting"]
    );
}

#[test]
fn a_check_tells_the_warnings_of_a_file_that_has_faults_too() {
    let odd = "notify = yess\nlogto = '/l'\n";
    for (fault, what) in [
        ("processes = x\n", "is not a number"),
        ("logot = @(no-such-file)\n", "no-such-file"),
        ("udi = x\n", "is not an option"),
    ] {
        let text = format!("[uwsgi]\ncommand = sleep 1\n{odd}{fault}");
        let (status, _, err) = program(&[("a.ini", &text)], &["check", "a.ini"]);
        assert_eq!(status, 1, "{err}");
        assert!(err.contains(what) && err.contains("quotes are part of a value"), "{err}");
        assert!(err.contains("warning: a.ini:3: notify: 'yess' means true"), "{err}");
    }
}
