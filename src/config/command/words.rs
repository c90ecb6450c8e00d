//! The commands: words that stand first on a command line and are neither an option nor a file.

use std::ffi::OsStr;

use crate::opts::{help, lookup};
use crate::types::quote::quoted;

use super::super::Invocation;
use super::QueryOutput;

/// The commands, with what each does.
const COMMANDS: [(&str, &str); 5] = [
    ("check", "check FILE...    check vassal files, and emperors with all their vassals"),
    ("config", "config FILE      show what a vassal file resolves to"),
    ("init", "init CMD...      run one command as a container's init does"),
    ("help", "help             print the usual options"),
    ("version", "version          print the version"),
];

/// Answers a first word that is meant as a command. `None`: it is not a word, or there is a file of this name. The
/// caller has handled `check`, `config` and `init` already.
#[must_use]
pub fn answer_command(call: &Invocation) -> Option<QueryOutput> {
    let word = call.args.first().and_then(|word| OsStr::to_str(word))?;
    let is_word = word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    if !is_word || word.is_empty() || word.starts_with('-') || call.cwd.join(word).exists() {
        return None;
    }
    Some(match word {
        "help" => QueryOutput::good(help::short()),
        "version" => super::version(),
        _ => unknown_command(word),
    })
}

fn unknown_command(word: &str) -> QueryOutput {
    let names = COMMANDS.iter().map(|command| command.0);
    let hint = match word {
        "status" | "stats" | "list" | "ps" | "top" => {
            "; what runs is told by the statistics (--emperor-stats), and by the log after kill -USR1".into()
        }
        "start" | "stop" | "restart" | "reload" | "run" | "up" | "down" | "add" | "remove" => {
            "; a vassal is started by putting its file there, reloaded by touch, stopped by removing the file"
                .into()
        }
        _ => lookup::nearest_among(names, word)
            .map(|name| format!(" (did you mean {name}?)"))
            .unwrap_or_default(),
    };
    let list: String = COMMANDS.iter().map(|command| format!("\n  liege {}", command.1)).collect();
    QueryOutput::usage(&format!(
        "{} is neither a command nor a file{hint}; the commands are:{list}\nliege --emperor DIR governs the vassal \
         files in DIR; liege --help tells more",
        quoted(word)
    ))
}
