//! `vacuum` and `touch-reload`: files that the emperor minds for a vassal.

use std::fs;
use std::os::unix::net::UnixListener;
use std::time::SystemTime;

use crate::support::Liege;

const LINES: &str =
    "http-socket = $DIR/a.sock\nsocket = below/../b.sock\npidfile = $DIR/a.pid\nvacuum = true\n";

fn setup(lines: &str) -> crate::support::Setup {
    let setup = Liege::in_temp_dir();
    fs::create_dir(setup.path("vassals/below")).unwrap();
    setup.app_with("one.ini", lines, "do=ready,accepting")
}

fn there(emperor: &Liege) -> Vec<&'static str> {
    let names = ["a.sock", "vassals/b.sock", "a.pid"];
    names.into_iter().filter(|name| emperor.path(name).exists()).collect()
}

#[test]
fn vacuum_removes_sockets_and_pid_file_when_the_vassal_is_gone_and_not_before() {
    let emperor = setup(LINES).start();
    let all = ["a.sock", "vassals/b.sock", "a.pid"];
    let pid = emperor.running("one.ini");
    assert_eq!(there(&emperor), all);
    // A death is no end: the sockets are in custody.
    crate::support::proc::kill(pid, libc::SIGKILL);
    let pid = emperor.running_anew("one.ini", pid);
    assert_eq!(there(&emperor), all);
    // Nor is a replacement.
    emperor.put_app_with("one.ini", &format!("{LINES}env = A=b\n"), "do=ready,accepting");
    emperor.running_anew("one.ini", pid);
    emperor.wait_until("the old one is gone", || !crate::support::proc::lives(pid));
    assert_eq!(there(&emperor), all);
    emperor.remove("one.ini");
    emperor.wait_until("all is removed", || there(&emperor).is_empty());
}

#[test]
fn vacuum_happens_at_the_end_of_all_too_and_without_it_everything_stays() {
    for (lines, left) in [(LINES.to_owned(), 0), (LINES.replace("vacuum = true\n", ""), 3)] {
        let mut emperor = setup(&lines).start();
        emperor.running("one.ini");
        emperor.signal(libc::SIGTERM);
        emperor.wait_for_end();
        assert_eq!(there(&emperor).len(), left, "{lines}");
    }
}

#[test]
fn vacuum_removes_nothing_that_somebody_else_has_put_there() {
    let emperor = setup(LINES).start();
    emperor.running("one.ini");
    for name in ["a.sock", "a.pid"] {
        fs::remove_file(emperor.path(name)).unwrap();
    }
    let _other = UnixListener::bind(emperor.path("a.sock")).unwrap();
    // It may well get the number of the inode that is free now.
    fs::write(emperor.path("new"), "7\n").unwrap();
    let new = fs::File::options().write(true).open(emperor.path("new")).unwrap();
    new.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    fs::rename(emperor.path("new"), emperor.path("a.pid")).unwrap();
    emperor.remove("one.ini");
    emperor.wait_until("what is its own is removed", || !emperor.path("vassals/b.sock").exists());
    assert_eq!(there(&emperor), ["a.sock", "a.pid"]);
}

#[test]
fn a_socket_that_the_file_has_given_up_is_vacuumed_at_the_replacement() {
    let emperor = setup(LINES).start();
    let pid = emperor.running("one.ini");
    let lines = LINES.replace("a.sock", "c.sock");
    emperor.put_app_with("one.ini", &lines, "do=ready,accepting");
    emperor.running_anew("one.ini", pid);
    emperor.wait_until("the old name is gone", || !emperor.path("a.sock").exists());
    assert!(emperor.path("c.sock").exists());
}

#[test]
fn a_touch_of_a_named_file_is_a_reload_and_of_others_is_nothing() {
    let lines = "touch-reload = $DIR/deploy/now\ntouch-reload = $DIR/link\n";
    let setup = setup(lines);
    fs::create_dir_all(setup.path("deploy")).unwrap();
    fs::create_dir_all(setup.path("target")).unwrap();
    fs::write(setup.path("target/file"), "").unwrap();
    std::os::unix::fs::symlink("target/file", setup.path("link")).unwrap();
    let emperor = setup.start();
    emperor.spoken("one.ini");
    let reloads = || emperor.events("one.ini", "byte").len();
    // It need not be there at the start; another file in its place is a change, too.
    for (number, step) in (1..).zip(["made", "replaced", "touched", "touched by its target"]) {
        match step {
            "made" => fs::write(emperor.path("deploy/now"), "1").unwrap(),
            "replaced" => {
                fs::write(emperor.path("deploy/new"), "1").unwrap();
                fs::rename(emperor.path("deploy/new"), emperor.path("deploy/now")).unwrap();
            }
            "touched" => touch(&emperor.path("deploy/now")),
            _ => touch(&emperor.path("target/file")),
        }
        emperor.wait_until(step, || reloads() == number);
    }
    emperor.logged("deploy/now has changed");
    fs::write(emperor.path("deploy/other"), "1").unwrap();
    fs::remove_file(emperor.path("deploy/now")).unwrap();
    emperor.stays("nothing that others do is a reload", || reloads() == 4);
    assert_eq!(emperor.lives("one.ini"), 1);
}

fn touch(path: &std::path::Path) {
    fs::File::options()
        .append(true)
        .open(path)
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
}

#[test]
fn more_files_than_are_watched_are_refused_and_a_missing_directory_is_told() {
    let many: String = (0..13).map(|number| format!("touch-reload = $DIR/{number}\n")).collect();
    let emperor = setup(&many).start();
    emperor.logged("at most 12 files are watched");
    assert_eq!(emperor.lives("one.ini"), 0);
    emperor.end();
    let emperor = setup("touch-reload = $DIR/no/such/file\n").start();
    emperor.running("one.ini");
    emperor.logged("its directory must be there");
}

#[test]
fn limits_of_a_vassal_are_those_of_its_program() {
    let emperor = setup("limit-as = 777\nmax-fd = 55\n").start();
    let pid = emperor.running("one.ini");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().map(str::to_owned).take(2).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max open files"), ["55", "55"]);
    assert_eq!(limit("Max address space"), [(777 << 20).to_string(), (777 << 20).to_string()]);
}
