//! What files, commands and variables put into a vassal's settings is in no message.

use crate::support::Liege;

const SECRET: &str = "s3cr3t";

/// The rest of a vassal file that fails by what stands in `$DIR/secret`.
const LINES: [(&str, &str); 8] = [
    ("chdir", "chdir = /nowhere/@($DIR/secret)\ncommand = sleep 100"),
    ("logto", "logto = /nowhere/@($DIR/secret)/log\ncommand = sleep 100"),
    ("pidfile", "pidfile = /nowhere/%(x)\nx = @($DIR/secret)\ncommand = sleep 100"),
    ("socket", "socket = /nowhere/@(exec://cat $DIR/secret)\ncommand = sleep 100"),
    ("uid", "uid = @($DIR/secret)\ncommand = sleep 100"),
    ("gid", "gid = 0\nuid = 0\nadd-gid = $(SECRET)\ncommand = sleep 100"),
    ("program", "command = @($DIR/secret) --option"),
    ("shell", "binsh = /nowhere/@($DIR/secret)\ncommand = @($DIR/secret) | cat"),
];

#[test]
fn a_start_that_fails_by_a_secret_does_not_show_it() {
    let mut setup = Liege::in_temp_dir().env("SECRET", SECRET);
    std::fs::write(setup.path("secret"), SECRET).unwrap();
    for (name, lines) in LINES {
        setup = setup.vassal(&format!("{name}.ini"), &format!("[uwsgi]\n{lines}\n"));
    }
    let emperor = setup.start();
    for (name, _) in LINES {
        emperor.wait_until(&format!("{name} has failed"), || {
            let stats = emperor.stats();
            let vassal = stats.find(&format!("{name}.ini"));
            let told = vassal.and_then(|vassal| vassal.0["last_error"].as_str());
            told.is_some_and(|told| told.contains("[not shown: put in by $( ) or @( )]"))
        });
    }
    assert!(!emperor.log().contains(SECRET), "{}", emperor.log());
    assert!(!emperor.stats().0.to_string().contains(SECRET));
}
