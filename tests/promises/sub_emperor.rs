//! An emperor that is itself a vassal: told by bytes, telling by bytes, gone with the one above.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use crate::support::{A_WHILE, Liege, PATIENCE, Setup, code, proc};

/// A directory of vassals for the lower emperor, with one in it.
fn lower(setup: Setup, words: &str) -> Setup {
    fs::create_dir(setup.path("lower")).unwrap();
    let app = crate::support::app_path();
    let record = setup.path("record").join("under.ini");
    let text = format!(
        "[uwsgi]\nunprivileged-binary-patch-arg = {} record={} {words}\n",
        app.display(),
        record.display()
    );
    fs::write(setup.path("lower").join("under.ini"), text).unwrap();
    setup
}

const SUB: &str = "[uwsgi]\nemperor = $DIR/lower\nemperor-stats = $DIR/lower.sock\n";

#[test]
fn a_vassal_file_that_names_a_directory_is_an_emperor() {
    let setup = lower(Liege::in_temp_dir(), "do=ready,accepting,loyal").vassal("sub.ini", SUB);
    let emperor = setup.start();
    let pid = emperor.running("sub.ini");
    let under = emperor.life("under.ini", 1);
    emperor.wait_until("it has announced itself", || {
        let stats = emperor.stats();
        let sub = stats.vassal("sub.ini");
        ["ready", "accepting", "loyal"].iter().all(|flag| sub.number(flag) == 1)
    });
    // It stays one process to the emperor above, and its vassals have a pipe to it, not to the one above.
    let keeper = proc::parent(under["ppid"].as_i64().unwrap() as i32);
    assert_eq!(keeper, Some(pid));
    let name = under["env"]["UWSGI_EMPEROR_FD"].as_str().unwrap();
    assert!(under["fds"][name].as_str().unwrap().starts_with("socket:"));
    emperor.loyal_below("under.ini");
    emperor.remove("sub.ini");
    emperor.wait_until("both are gone", || {
        !proc::lives(pid) && !proc::lives(under["pid"].as_i64().unwrap() as i32)
    });
    assert_eq!(emperor.events("under.ini", "byte")[0]["value"], 0, "asked, not killed");
    emperor.wait_until("it has left as asked", || {
        let log = emperor.log();
        log.lines()
            .any(|line| line.contains("[sub.ini] stopped after") && line.contains("(exit 0)"))
    });
}

#[test]
fn a_change_of_its_file_reloads_its_vassals() {
    let setup = lower(Liege::in_temp_dir(), "do=ready,accepting,loyal").vassal("sub.ini", SUB);
    let emperor = setup.start();
    let pid = emperor.running("sub.ini");
    emperor.wait_until("it is loyal", || emperor.stats().vassal("sub.ini").number("loyal") == 1);
    emperor.life("under.ini", 1);
    emperor.loyal_below("under.ini");
    emperor.touch("sub.ini");
    emperor.wait_until("byte 1 arrives", || {
        emperor.events("under.ini", "byte").iter().any(|byte| byte["value"] == 1)
    });
    emperor.wait_until("it announces itself again", || {
        let stats = emperor.stats();
        let sub = stats.vassal("sub.ini");
        sub.number("ready") == 1 && sub.number("accepting") == 1
    });
    assert_eq!(emperor.running("sub.ini"), pid);
}

#[test]
fn it_may_come_by_the_config_pipe() {
    let setup = lower(Liege::in_temp_dir(), "do=ready").vassal("sub.ini", SUB);
    let emperor = setup.flag("--emperor-force-config-pipe").start();
    emperor.running("sub.ini");
    emperor.life("under.ini", 1);
}

#[test]
fn a_faulty_one_is_shown_with_its_place() {
    let text = "[uwsgi]\nemperor = $DIR/lower\nemperor-throttle = fast\n";
    let setup = lower(Liege::in_temp_dir(), "do=ready").vassal("sub.ini", text);
    let emperor = setup.start();
    emperor.wait_until("the reason is shown", || {
        let error = emperor.stats().vassal("sub.ini").0["last_error"].to_string();
        error.contains("sub.ini:3") && error.contains("emperor-throttle")
    });
}

#[test]
fn an_emperor_of_emperors_takes_all_with_it_when_it_is_killed() {
    let setup = lower(Liege::in_temp_dir(), "do=ready,stray:deaf").vassal("sub.ini", SUB);
    let mut emperor = setup.start();
    emperor.life("under.ini", 1);
    emperor.wait_until("the stray is there", || !emperor.events("under.ini", "stray").is_empty());
    proc::kill(emperor.emperor_pid(), libc::SIGKILL);
    assert_eq!(code(emperor.wait_for_end()), 128 + libc::SIGKILL);
    emperor.all_gone();
}

#[test]
fn one_that_governs_its_own_file_is_refused_at_the_first_level_and_nobody_runs_twice() {
    let setup = Liege::in_temp_dir().vassal("sub.ini", "[uwsgi]\nemperor = $DIR/vassals\n");
    let emperor = setup.app("one.ini", "do=ready").start();
    emperor.running("one.ini");
    emperor.logged("line 2 emperor: this file is in the directory that it governs");
    emperor.life("one.ini", 1);
    assert_eq!(emperor.lives("one.ini"), 1);
    emperor.stays("no second one is started", || emperor.lives("one.ini") == 1);
    emperor.end();
    // The same file as the first emperor's.
    let setup = Liege::in_temp_dir().vassal("sub.ini", "[uwsgi]\nemperor = vassals\n");
    let (status, log) = setup.only_args(&["--ini", "vassals/sub.ini"]).run();
    assert_eq!(code(status), 1);
    assert!(log.contains("vassals/sub.ini:2: emperor: this file is in the directory"), "{log}");
}

#[test]
fn emperors_that_govern_each_other_end_with_a_fault_some_levels_deep() {
    let setup = Liege::in_temp_dir().vassal("sub.ini", "[uwsgi]\nemperor = $DIR/other\n");
    std::fs::create_dir(setup.path("other")).unwrap();
    let back = format!("[uwsgi]\nemperor = {}\n", setup.path("vassals").display());
    std::fs::write(setup.path("other/back.ini"), back).unwrap();
    let emperor = setup.option("--emperor-throttle", "60000").start();
    emperor.logged("8 emperors one below another: does one govern its own file?");
    assert!(emperor.survivors().len() < 30, "{:?}", emperor.survivors());
}

/// This test as the emperor above: one that speaks no word of ours.
struct Above {
    emperor: Liege,
    pipe: UnixStream,
}

impl Above {
    fn start(words: &str) -> Self {
        let (pipe, theirs) = UnixStream::pair().unwrap();
        pipe.set_read_timeout(Some(PATIENCE)).unwrap();
        proc::inherit(&theirs);
        let number = theirs.as_raw_fd().to_string();
        let setup = Liege::in_temp_dir().direct().app("one.ini", words);
        let emperor = setup.env("UWSGI_EMPEROR_FD", &number).start();
        drop(theirs);
        Self { emperor, pipe }
    }

    fn hear(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.pipe.read_exact(&mut bytes).unwrap();
        bytes
    }
}

#[test]
fn it_announces_itself_once_and_again_after_a_reload() {
    let mut above = Above::start("do=ready,accepting,loyal");
    assert_eq!(above.hear(3), [1, 5, 17]);
    above.emperor.spoken("one.ini");
    above.pipe.set_read_timeout(Some(A_WHILE)).unwrap();
    assert!(above.pipe.read(&mut [0]).is_err(), "it says no more");
    above.pipe.set_read_timeout(Some(PATIENCE)).unwrap();
    above.pipe.write_all(&[1]).unwrap();
    assert_eq!(above.hear(3), [1, 5, 17]);
    above.emperor.wait_until("its vassal is told", || {
        above.emperor.events("one.ini", "byte").iter().any(|byte| byte["value"] == 1)
    });
}

#[test]
fn byte_0_is_ragnarok_and_so_is_byte_2() {
    for byte in [0, 2] {
        let mut above = Above::start("do=ready");
        above.hear(3);
        above.emperor.running("one.ini");
        above.pipe.write_all(&[byte]).unwrap();
        assert_eq!(code(above.emperor.wait_for_end()), 0);
        above.emperor.all_gone();
        assert!(above.emperor.log().contains("told to stop by the emperor above"));
    }
}

#[test]
fn when_the_one_above_is_gone_it_ends_everything() {
    let mut above = Above::start("do=ready");
    above.hear(3);
    above.emperor.running("one.ini");
    above.pipe.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(code(above.emperor.wait_for_end()), 0);
    above.emperor.all_gone();
}

#[test]
fn one_above_that_never_reads_does_not_hold_it() {
    let mut above = Above::start("do=ready");
    for _ in 0..2000 {
        let _ = above.pipe.write_all(&[1]);
    }
    above.emperor.wait_until("it answers still", || above.emperor.try_stats().is_some());
    above.pipe.write_all(&[0]).unwrap();
    assert_eq!(code(above.emperor.wait_for_end()), 0);
}

#[test]
fn a_variable_that_names_no_pipe_is_told_and_does_no_harm() {
    let setup = Liege::in_temp_dir().app("one.ini", "do=ready");
    let setup = setup.shell("exec 9</dev/null").env("UWSGI_EMPEROR_FD", "9");
    let emperor = setup.start();
    emperor.running("one.ini");
    emperor.logged("UWSGI_EMPEROR_FD=9 is not an emperor pipe");
}
