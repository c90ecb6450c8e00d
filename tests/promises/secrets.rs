//! What files, commands and variables put into a vassal's settings is in no message.

use crate::support::{Liege, code, executable};

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

#[test]
fn a_touch_file_that_a_secret_names_is_not_named() {
    let setup = Liege::in_temp_dir().env("SECRET", SECRET);
    let lines = "touch-reload = /nowhere/$(SECRET)/x\ncommand = sleep 100";
    let emperor = setup.vassal("x.ini", &format!("[uwsgi]\n{lines}\n")).start();
    emperor.running("x.ini");
    emperor.logged("cannot be watched");
    assert!(emperor.log().contains(NOT_SHOWN), "{}", emperor.log());
    assert!(!emperor.log().contains(SECRET), "{}", emperor.log());
}

/// What only a check finds before the program does: each in a vassal file that is a program no shell reads, a
/// script without an interpreter, a socket where a file is.
const CHECKED: [(&str, &str); 3] = [
    ("syntax", "command = echo 'a' | @($DIR/secret) )"),
    ("script", "command = $DIR/@($DIR/secret)"),
    ("taken", "socket = $DIR/@($DIR/secret)\ncommand = sleep 100"),
];

/// What is wrong with an emperor: each fails its start and its check.
const EMPERORS: [&str; 6] = [
    "emperor = $DIR/vassals\nchdir = /nowhere/$(SECRET)",
    "emperor = $DIR/vassals\nlogto = /nowhere/$(SECRET)/log",
    "emperor = $DIR/vassals\npidfile = /nowhere/$(SECRET)/pid",
    "emperor = $DIR/vassals\nemperor-stats = /nowhere/$(SECRET)/stats",
    "emperor = $DIR/vassals\nuid = $(SECRET)",
    "emperor = $DIR/$(SECRET)",
];

const NOT_SHOWN: &str = "[not shown: put in by $( ) or @( )]";

#[test]
fn a_check_that_finds_a_fault_in_a_secret_does_not_show_it() {
    for (name, lines) in LINES.iter().chain(&CHECKED) {
        let setup = Liege::in_temp_dir().env("SECRET", SECRET);
        std::fs::write(setup.path("secret"), SECRET).unwrap();
        executable(&setup.path(SECRET), "#!/nowhere/interpreter\n");
        let setup = setup.vassal("x.ini", &format!("[uwsgi]\n{lines}\n"));
        let (status, told) = setup.only_args(&["check", "vassals/x.ini"]).run();
        assert_eq!(code(status), 1, "{name}: {told}");
        assert!(told.contains(NOT_SHOWN) && !told.contains(SECRET), "{name}: {told}");
    }
}

#[test]
fn an_emperor_that_fails_by_a_secret_does_not_show_it() {
    for lines in EMPERORS {
        for args in [&["check", "$DIR/e.ini"][..], &["check", "--json", "$DIR/e.ini"], &["e.ini"]] {
            let setup = Liege::in_temp_dir().env("SECRET", SECRET);
            let home = setup.path("").to_str().unwrap().trim_end_matches('/').to_owned();
            std::os::unix::fs::symlink(".", setup.path(SECRET)).unwrap();
            let text = format!("[uwsgi]\n{lines}\n").replace("$DIR", &home);
            std::fs::write(setup.path("e.ini"), text).unwrap();
            let (status, told) = setup.only_args(args).run();
            // A file that is there is named as it is: else nobody could mend it.
            let told = told.replace(&format!("{SECRET}/e.ini"), "");
            assert_ne!(code(status), 0, "{lines}: {told}");
            assert!(told.contains(NOT_SHOWN) && !told.contains(SECRET), "{lines}: {told}");
        }
    }
}

#[test]
fn a_directory_that_a_secret_names_and_that_is_not_there_is_not_named() {
    let setup = Liege::in_temp_dir().env("SECRET", SECRET);
    std::fs::write(setup.path("e.ini"), "[uwsgi]\nemperor = /nowhere/$(SECRET)\n").unwrap();
    let (status, told) = setup.only_args(&["check", "e.ini"]).run();
    assert_eq!(code(status), 1, "{told}");
    assert!(told.contains(NOT_SHOWN) && !told.contains(SECRET), "{told}");

    let setup = Liege::in_temp_dir().env("SECRET", SECRET);
    let home = setup.path("stats.sock");
    let text = format!(
        "[uwsgi]\nemperor = /nowhere/$(SECRET)\nemperor-stats = {}\n",
        home.to_str().unwrap()
    );
    std::fs::write(setup.path("e.ini"), text).unwrap();
    let emperor = setup.only_args(&["e.ini"]).start();
    emperor.logged(&format!("{NOT_SHOWN}: there is no such directory"));
    assert!(!emperor.log().contains(SECRET), "{}", emperor.log());
}

#[test]
fn a_program_that_fails_with_a_socket_that_a_secret_names_is_told_the_line_alone() {
    let setup = Liege::in_temp_dir().env("SECRET", SECRET);
    let text = "[uwsgi]\nsocket = $DIR/$(SECRET).sock\ncommand = false\n";
    let emperor = setup.vassal("x.ini", text).start();
    emperor.logged("liege holds [not shown: put in by $( ) or @( )] (line 2)");
    assert!(!emperor.log().contains(SECRET), "{}", emperor.log());
}
