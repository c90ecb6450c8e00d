//! What the emperor's configuration says about its own process: user, groups, capabilities, mask, directory,
//! limits, log, title.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::skip;
use crate::support::{Liege, Setup, code, is_root, proc, reachable_by_all};

const USER: u32 = 54321;
const GROUP: u32 = 54322;

fn root_only() -> bool {
    is_root() && reachable_by_all()
}

/// An emperor whose options stand in a file, as most are started.
fn emperor(lines: &str) -> Setup {
    let setup = Liege::in_temp_dir();
    let text = format!("[uwsgi]\nemperor = vassals\nemperor-stats = stats.sock\n{lines}");
    fs::write(setup.path("emperor.ini"), text).unwrap();
    setup.only_args(&["--ini", "emperor.ini"])
}

fn ids(pid: i32, field: &str) -> Vec<u32> {
    let text = proc::status(pid, field).unwrap();
    text.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

#[test]
fn the_emperor_and_its_vassals_run_as_its_user_with_its_groups_and_the_keeper_stays_root() {
    if !root_only() {
        skip!("changing the user needs root");
    }
    let lines = format!(
        "uid = {USER}\ngid = {GROUP}\nadd-gid = 7\nlogto = private/log\npidfile = private/pid\n"
    );
    let setup = emperor(&lines).app("one.ini", "do=ready");
    fs::create_dir(setup.path("private")).unwrap();
    fs::set_permissions(setup.path("private"), fs::Permissions::from_mode(0o711)).unwrap();
    let mut emperor = setup.env("HOME", "/root").env("USER", "root").start();
    for pid in [emperor.emperor_pid(), emperor.running("one.ini")] {
        assert_eq!(ids(pid, "Uid"), [USER; 4]);
        assert_eq!(ids(pid, "Gid"), [GROUP; 4]);
        assert_eq!(ids(pid, "Groups"), [7, GROUP]);
        assert_eq!(proc::status(pid, "CapPrm").unwrap().trim(), "0000000000000000");
    }
    assert_eq!(ids(emperor.first_pid(), "Uid"), [0; 4]);
    // No account has that number; root's home would be of no use.
    let env = &emperor.life("one.ini", 1)["env"];
    assert_eq!((env["HOME"].as_str(), env.get("USER")), (Some("/"), None));
    assert_eq!(emperor.stats().top("uid"), USER);
    for name in ["stats.sock", "private/log"] {
        let meta = fs::metadata(emperor.path(name)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (USER, GROUP), "{name}");
    }
    // Reopened by the one who may not read the directory any more, but owns the file.
    emperor.signal(libc::SIGUSR2);
    let log = || fs::read_to_string(emperor.path("private/log")).unwrap();
    emperor.wait_until("the log is reopened", || log().contains("the log is reopened"));
    assert!(!log().contains("cannot open"), "{}", log());
    let pid_file = emperor.path("private/pid");
    assert!(pid_file.exists());
    proc::kill(emperor.first_pid(), libc::SIGTERM);
    assert_eq!(code(emperor.wait_for_end()), 0);
    assert!(!pid_file.exists(), "the keeper removes what the emperor may not");
}

#[test]
fn an_old_log_file_goes_to_the_user_of_a_vassal_that_says_so() {
    if !root_only() {
        skip!("changing the user needs root");
    }
    for (line, owner) in [("logfile-chown = true\n", USER), ("", 0)] {
        let lines = format!("uid = {USER}\ngid = {USER}\nlogto = $DIR/old.log\n{line}");
        let setup = Liege::in_temp_dir().app_with("one.ini", &lines, "do=ready");
        fs::write(setup.path("old.log"), "old\n").unwrap();
        let emperor = setup.start();
        emperor.running("one.ini");
        assert_eq!(fs::metadata(emperor.path("old.log")).unwrap().uid(), owner, "{line}");
    }
}

#[test]
fn nothing_survives_an_emperor_that_has_changed_its_user() {
    if !root_only() {
        skip!("changing the user needs root");
    }
    for victim in ["emperor", "keeper"] {
        let setup = emperor(&format!("uid = {USER}\ngid = {USER}\n"));
        let mut emperor = setup.app("one.ini", "do=ready").start();
        let (pid, vassal) = (emperor.emperor_pid(), emperor.running("one.ini"));
        proc::kill(if victim == "emperor" { pid } else { emperor.first_pid() }, libc::SIGKILL);
        emperor.wait_for_end();
        emperor.wait_until(victim, || !proc::lives(pid) && !proc::lives(vassal));
    }
}

#[test]
fn a_vassal_of_another_user_is_refused_below_such_an_emperor() {
    if !root_only() {
        skip!("changing the user needs root");
    }
    let emperor = emperor(&format!("uid = {USER}\ngid = {USER}\n"))
        .app_with("same.ini", &format!("uid = {USER}\n"), "do=ready")
        .app_with("other.ini", "uid = 54999\n", "do=ready")
        .start();
    emperor.running("same.ini");
    emperor.logged("cannot become user 54999");
    emperor.logged("without a uid of its own");
    assert_eq!(emperor.lives("other.ini"), 0);
}

#[test]
fn an_emperor_keeps_the_capabilities_that_it_names_and_its_vassals_do_not() {
    if !root_only() {
        skip!("changing the user needs root");
    }
    let free = (600..1000).find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let emperor = emperor(&format!(
        "uid = {USER}\ngid = {USER}\ncap = net_bind_service,kill\nemperor-on-demand-extension = .socket\n"
    ))
    .app("one.ini", "do=ready")
    .vassal("two.ini.socket", &format!("127.0.0.1:{}\n", free.unwrap()))
    .app("two.ini", "do=ready")
    .start();
    let bits = |pid| proc::status(pid, "CapEff").unwrap().trim().to_owned();
    assert_eq!(bits(emperor.emperor_pid()), format!("{:016x}", 1 << 10 | 1 << 5));
    assert_eq!(bits(emperor.running("one.ini")), "0000000000000000");
    emperor.state("two.ini", "listening");
}

#[test]
fn an_ordinary_user_may_write_who_it_is_and_is_told_what_it_cannot_become() {
    if !root_only() {
        skip!("changing the user needs root");
    }
    emperor(&format!("uid = {USER}\ngid = {USER}\n")).user(USER).start().end();
    let (status, log) = emperor("uid = 1\n").user(USER).run();
    assert_eq!(code(status), 1);
    assert!(log.contains("emperor.ini:4: uid: cannot become user 1"), "{log}");
    let (status, log) = emperor("uid = no-such-user-x\n").run();
    assert_eq!(code(status), 1);
    assert!(log.contains("emperor.ini:4: uid: user 'no-such-user-x': not found"), "{log}");
}

#[test]
fn mask_directory_limit_and_title_are_what_the_file_says() {
    let setup = emperor(
        "chdir = below\numask = 027\nmax-fd = 777\nprocname = the emperor\nlogto = log\nenv = SET=by the file\nunenv = GONE\n",
    );
    fs::create_dir_all(setup.path("below")).unwrap();
    fs::rename(setup.path("vassals"), setup.path("below/vassals")).unwrap();
    std::os::unix::fs::symlink("below/vassals", setup.path("vassals")).unwrap();
    // Statistics and sources count from there, the log from where it was started.
    std::os::unix::fs::symlink("below/stats.sock", setup.path("stats.sock")).unwrap();
    let emperor = setup.env("GONE", "1").app("one.ini", "do=ready").start();
    let (pid, vassal) = (emperor.emperor_pid(), emperor.running("one.ini"));
    let env = &emperor.life("one.ini", 1)["env"];
    assert_eq!((env["SET"].as_str(), env.get("GONE")), (Some("by the file"), None));
    for pid in [pid, vassal] {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let open = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        assert_eq!(open.split_whitespace().nth(3), Some("777"), "{open}");
        assert_eq!(proc::status(pid, "Umask").unwrap().trim(), "0027");
    }
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    assert_eq!(read("comm"), "the emperor\n");
    assert!(read("cmdline").starts_with("the emperor\0"));
    assert!(
        !fs::read_to_string(format!("/proc/{vassal}/cmdline")).unwrap().contains("the emperor")
    );
    let cwd = fs::canonicalize(emperor.path("below/vassals")).unwrap();
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), cwd);
}

#[test]
fn a_limit_or_directory_that_cannot_be_had_is_named_with_its_remedy() {
    for (line, told) in [
        (
            "chdir = nowhere",
            "cannot enter nowhere (emperor.ini:4 chdir): No such file or directory (os error 2); create it first",
        ),
        ("max-fd = 2147483647", "LimitNOFILE="),
    ] {
        let (status, log) = emperor(&format!("{line}\npidfile = pid\n")).run();
        assert_eq!(code(status), 1);
        assert!(log.contains(told), "{log}");
    }
}
