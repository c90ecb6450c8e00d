//! Everything that is made from the option table and committed is what the table makes now.
//!
//! `LIEGE_UPDATE=1 cargo test --test opts_generated` writes the files anew.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may fail

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use liege::opts::{complete, roff};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn same(path: &Path, wanted: &str) {
    if std::env::var_os("LIEGE_UPDATE").is_some() {
        // By renaming: the shells of another test read it at this time.
        let draft = path.with_extension("draft");
        fs::write(&draft, wanted).unwrap();
        fs::rename(&draft, path).unwrap();
    }
    let there = fs::read_to_string(path).unwrap_or_default();
    assert!(
        there == wanted,
        "{} is not what the table of options makes: LIEGE_UPDATE=1 cargo test --test opts_generated",
        path.display()
    );
}

#[test]
fn committed_completions_are_those_of_the_table() {
    let folder = root().join("contrib/completions");
    same(&folder.join("liege.bash"), &complete::bash());
    same(&folder.join("_liege"), &complete::zsh());
    same(&folder.join("liege.fish"), &complete::fish());
}

#[test]
fn committed_manual_pages_are_their_templates_with_the_table_filled_in() {
    let templates: Vec<PathBuf> = fs::read_dir(root().join("man"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "in"))
        .collect();
    assert!(templates.len() >= 2, "the templates of liege.8 and liege-config.5: {templates:?}");
    for template in templates {
        let text = fs::read_to_string(&template).unwrap();
        same(&template.with_extension(""), &roff::page(&text));
    }
}

/// A shell that is installed reads the completions without complaint.
#[test]
fn shells_read_the_completions() {
    for (shell, file) in [("bash", "liege.bash"), ("zsh", "_liege"), ("fish", "liege.fish")] {
        let file = root().join("contrib/completions").join(file);
        let checked = Command::new(shell).arg("-n").arg(&file).status();
        match checked {
            Ok(status) => assert!(status.success(), "{shell} -n {}", file.display()),
            Err(_) => println!("skipped: no {shell} here"),
        }
    }
}

#[test]
fn bash_completes_names_with_blanks_and_stars_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["my file.ini", "m*.ini", "mx.ini"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let script = root().join("contrib/completions/liege.bash");
    let offered = |words: &str| {
        let text = format!(
            "source '{}'; COMP_WORDS=(liege {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _liege; printf '<%s>' \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let bash = Command::new("bash").args(["-c", &text]).current_dir(folder.path()).output();
        bash.ok().map(|output| String::from_utf8(output.stdout).unwrap())
    };
    let Some(files) = offered("check m") else {
        println!("skipped: bash is not installed");
        return;
    };
    for name in ["<my file.ini>", "<m*.ini>", "<mx.ini>"] {
        assert_eq!(files.matches(name).count(), 1, "{files}");
    }
    assert_eq!(offered("--emperor my").unwrap(), "<my file.ini>");
    assert_eq!(offered("che").unwrap(), "<check>");
    assert_eq!(offered("--emperor-keeper o").unwrap(), "<on><off>");
    assert!(offered("--show-c").unwrap().contains("<--show-config-json>"));
}
