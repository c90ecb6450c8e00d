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
fn liege(files: &[(&str, &str)], args: &[&str]) -> (i32, String, String) {
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
    ] {
        let told = fault(&format!("{slip}\n"));
        let name = slip.split(' ').next().unwrap();
        let start = format!("a.ini:3: {name}: is not an option of liege. It resembles {meant}, ");
        assert!(told.starts_with(&start) && told.contains(&format!("Write {meant} ")), "{told}");
        assert!(is_refusal(&told), "{told}");
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
        let (status, _, err) = liege(files, args);
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
    let long = vassal("unprivileged-binary-patch-arg = sleep 1\n").unwrap().patch.unwrap().value;
    for name in ["command", "exec"] {
        let config = vassal(&format!("{name} = sleep 1\n")).unwrap();
        assert_eq!(config.patch.unwrap().value, long, "{name}");
    }
    // A template may use one name, the file the other.
    let both = vassal("unprivileged-binary-patch-arg = sleep 1\ncommand = sleep 2\n").unwrap();
    let run = config::vassal::Run::Command("sleep 2".to_owned());
    assert_eq!(both.patch.unwrap().value.run, run);
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
    let told = &warnings("procname = x\n")[0];
    assert!(is_refusal(told) && told.contains("has no effect"), "{told}");
}

#[test]
fn help_shows_the_usual_settings_of_a_vassal_file() {
    let (_, out, _) = liege(&[], &["--help"]);
    for setting in ["command = COMMAND", "chdir = DIR", "uid = USER", "http-socket = ADDR"] {
        assert!(out.contains(&format!("\n  {setting} ")), "{setting}:\n{out}");
    }
}
