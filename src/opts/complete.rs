//! Completions for bash, zsh and fish, made from the table.

use std::fmt::Write as _;

use super::{Arg, Class, Directive, Opt, OptionKind, table};

const COMPLETED_COMMANDS: [(&str, &str); 3] = [
    ("check", "check vassal files"),
    ("config", "show what a vassal file resolves to"),
    ("init", "run one command as a container's init does"),
];

/// The options that people write on a command line, and not only in vassal files.
fn rows() -> impl Iterator<Item = &'static Opt> {
    table::SUPPORTED_OPTIONS.iter().filter(|opt| match opt.class {
        Class::Directive(
            Directive::NotYet | Directive::Open(_) | Directive::Else | Directive::Close,
        ) => false,
        Class::Directive(_) | Class::Emperor(_) | Class::Both(..) => true,
        _ => false,
    })
}

fn takes_file(opt: &Opt) -> bool {
    ["FILE", "DIR", "PROGRAM", "TEMPLATE"].iter().any(|word| opt.meta.starts_with(word))
        || opt.kind == OptionKind::Socket
}

#[must_use]
pub fn bash() -> String {
    let words: Vec<String> = rows().map(|opt| format!("--{}", opt.name)).collect();
    let files: Vec<String> =
        rows().filter(|opt| takes_file(opt)).map(|opt| format!("--{}", opt.name)).collect();
    let others: Vec<String> = rows()
        .filter(|opt| opt.arg == Arg::Required && !takes_file(opt) && choices(opt).is_empty())
        .map(|opt| format!("--{}", opt.name))
        .collect();
    let mut cases = String::new();
    for opt in rows().filter(|opt| !choices(opt).is_empty()) {
        let words = choices(opt).join(" ");
        let _ = writeln!(
            cases,
            "        --{}) mapfile -t COMPREPLY < <(compgen -W '{words}' -- \"$cur\"); return ;;",
            opt.name
        );
    }
    format!(
        "\
# Completion of liege for bash. Made from the table of options.
_liege() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}}
    COMPREPLY=()
    case $prev in
        {}) mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return ;;
        {}) return ;;
{cases}    esac
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$cur\")
        return
    fi
    local commands=
    [[ $COMP_CWORD -eq 1 ]] && commands='{}'
    mapfile -t COMPREPLY < <(compgen -W \"$commands\" -- \"$cur\"; compgen -f -- \"$cur\")
}}
complete -o filenames -F _liege liege
",
        files.join("|"),
        others.join("|"),
        words.join(" "),
        COMPLETED_COMMANDS.map(|command| command.0).join(" "),
    )
}

#[must_use]
pub fn zsh() -> String {
    let mut text = String::from(
        "#compdef liege\n# Completion of liege for zsh. Made from the table of options.\n_arguments -s \\\n",
    );
    for opt in rows() {
        let star = if opt.repeats { "*" } else { "" };
        let help = opt.help.replace('[', "\\[").replace(']', "\\]").replace('\'', "'\\''");
        let value = match opt.arg {
            Arg::None => String::new(),
            _ if !choices(opt).is_empty() => format!(":word:({})", choices(opt).join(" ")),
            _ if takes_file(opt) => ":file:_files".to_owned(),
            _ => format!(":{}: ", opt.meta.replace(':', " ")),
        };
        let equal = if opt.arg == Arg::Optional { "=-" } else { "" };
        let value = if opt.arg == Arg::Optional { format!(":{value}") } else { value };
        let _ = writeln!(text, "    '{star}--{}{equal}[{help}]{value}' \\", opt.name);
    }
    let commands = COMPLETED_COMMANDS.map(|(name, help)| format!("{name}\\:\"{help}\"")).join(" ");
    let commands = commands.replace('\'', "'\\''");
    let _ = writeln!(text, "    '1:command:(({commands}))' \\\n    '*:file:_files'");
    text
}

#[must_use]
pub fn fish() -> String {
    let mut text =
        String::from("# Completion of liege for fish. Made from the table of options.\n");
    let quoted = |help: &str| help.replace('\'', "\\'");
    for (name, help) in COMPLETED_COMMANDS {
        let _ = writeln!(
            text,
            "complete -c liege -n __fish_use_subcommand -a {name} -d '{}'",
            quoted(help)
        );
    }
    for opt in rows() {
        let letter = opt.letter.map(|letter| format!(" -s {letter}")).unwrap_or_default();
        let value = match opt.arg {
            Arg::Required if !choices(opt).is_empty() => {
                format!(" -x -a '{}'", choices(opt).join(" "))
            }
            Arg::Required if takes_file(opt) => " -r -F".to_owned(),
            Arg::Required => " -x".to_owned(),
            Arg::None | Arg::Optional => String::new(),
        };
        let _ = writeln!(
            text,
            "complete -c liege -l {}{letter}{value} -d '{}'",
            opt.name,
            quoted(opt.help)
        );
    }
    text
}

fn choices(opt: &Opt) -> &'static [&'static str] {
    match opt.kind {
        OptionKind::Choice(words) => words,
        _ => &[],
    }
}
