//! What belongs to the user of a vassal: its sockets, its log, its home; and logs that are no files.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use crate::support::{Liege, PATIENCE, proc, program};

fn is_root() -> bool {
    proc::uid() == 0
}

fn owner(path: &Path) -> (u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid())
}

#[test]
fn a_unix_socket_belongs_to_the_user_of_its_vassal_also_after_a_replacement() {
    if !is_root() {
        crate::skip!("only root can give a socket away");
    }
    let text = |user: &str| {
        let socket = "socket = $DIR/one.sock\nchmod-socket = 660\nready-after = 0";
        format!("{}{user}\n{socket}\n", program("sleep 1000"))
    };
    let setup = Liege::in_temp_dir();
    let emperor = setup.vassal("one.ini", &text("uid = 12345\ngid = 23456")).start();
    let mut pid = emperor.running("one.ini");
    let socket = emperor.path("one.sock");
    assert_eq!(owner(&socket), (12345, 23456));
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o660);
    for (user, expected) in [
        ("uid = 12346\ngid = 12346", (12346, 12346)),
        ("chown-socket = 12347:12348\nuid = 12346\ngid = 12346", (12347, 12348)),
        ("uid = 0\ngid = 0", (0, 0)),
        ("uid = 12345\ngid = 12345", (12345, 12345)),
        ("", (0, 0)),
    ] {
        emperor.put("one.ini", &text(user));
        pid = emperor.running_anew("one.ini", pid);
        assert_eq!(owner(&socket), expected, "{user}");
    }
}

#[test]
fn a_new_log_file_belongs_to_the_user_of_its_vassal_and_an_old_one_to_whom_it_did() {
    if !is_root() {
        crate::skip!("only root can give a file away");
    }
    let setup = Liege::in_temp_dir();
    fs::write(setup.path("old.log"), "").unwrap();
    std::os::unix::fs::symlink(setup.path("old.log"), setup.path("link.log")).unwrap();
    let lines = |log: &str| format!("uid = 12345\ngid = 23456\nlogto = $DIR/{log}");
    let emperor = setup
        .app_with("new.ini", &lines("new.log"), "do=print:hello")
        .app_with("old.ini", &lines("old.log"), "do=print:hello")
        .app_with("link.ini", &lines("link.log"), "do=print:hello")
        .start();
    let hello = |name: &str| fs::read_to_string(emperor.path(name)).unwrap_or_default();
    emperor.wait_until("all have written", || {
        hello("new.log") == "hello\n" && hello("old.log") == "hello\nhello\n"
    });
    assert_eq!(owner(&emperor.path("new.log")), (12345, 23456));
    assert_eq!(fs::metadata(emperor.path("new.log")).unwrap().mode() & 0o777, 0o640);
    assert_eq!(owner(&emperor.path("old.log")), (0, 0));
}

#[test]
fn home_and_name_follow_the_user() {
    if !is_root() {
        crate::skip!("only root can become somebody else");
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let Some(line) = passwd.lines().find(|line| line.starts_with("daemon:")) else {
        crate::skip!("there is no user daemon");
    };
    let home = line.split(':').nth(5).unwrap();
    let lines = "uid = daemon\ngid = daemon";
    let emperor = Liege::in_temp_dir()
        .env("HOME", "/root")
        .env("USER", "root")
        .app_with("one.ini", lines, "do=wait:1")
        .app_with("own.ini", &format!("{lines}\nenv = HOME=/srv\nunenv = USER"), "do=wait:1")
        .app_with("root.ini", "uid = root\ngid = root", "do=wait:1")
        .start();
    let told = |name: &str| {
        let env = emperor.life(name, 1)["env"].clone();
        ["HOME", "USER", "LOGNAME"].map(|name| env[name].as_str().map(str::to_owned))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(told("one.ini"), [some(home), some("daemon"), some("daemon")]);
    assert_eq!(told("own.ini"), [some("/srv"), None, some("daemon")]);
    assert_eq!(told("root.ini"), [some("/root"), some("root"), None]);
}

#[test]
fn a_log_that_is_a_standard_stream_is_that_stream_whatever_it_is() {
    for path in ["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"] {
        // The name of a socket cannot be opened.
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let text = format!("{}logto = {path}\n", program("sh -c 'echo hello; exec sleep 1000'"));
        let emperor = Liege::in_temp_dir()
            .option("--logto", path)
            .stderr(Stdio::from(OwnedFd::from(theirs)))
            .vassal("one.ini", &text)
            .start();
        emperor.running("one.ini");
        let mut said = String::new();
        while !said.contains("hello\n") || !said.contains("governs 1 vassal") {
            let mut chunk = [0; 4096];
            let length = ours.read(&mut chunk).unwrap();
            assert!(length > 0, "{said}");
            said.push_str(&String::from_utf8_lossy(&chunk[..length]));
        }
    }
}

#[test]
fn a_log_that_is_no_descriptor_of_a_vassal_is_refused() {
    let text = format!("{}logto = /dev/fd/4\n", program("sleep 1000"));
    let emperor = Liege::in_temp_dir().vassal("one.ini", &text).start();
    emperor.logged("/dev/fd/4 is not open: a vassal has the descriptors 1 and 2");
}
