//! The socket on which a program announces itself: nobody else's.

use crate::support::Liege;

/// On this socket, with a long way to being believed by its age.
const LINES: &str = "http-socket = $DIR/one.sock\nready-after = 600";

fn own_uid() -> u32 {
    crate::support::proc::uid()
}

/// Where the program announces itself, as it was told.
fn notify_socket(emperor: &Liege, name: &str) -> std::path::PathBuf {
    let told = emperor.life(name, 1)["env"]["NOTIFY_SOCKET"].as_str().unwrap().to_owned();
    assert!(told.starts_with('/'), "a path: {told}");
    told.into()
}

#[test]
fn a_notify_socket_is_its_users_alone_and_goes_with_the_life() {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let root = own_uid() == 0;
    let lines = format!("{LINES}\n{}", if root { "uid = 12345\ngid = 12345" } else { "" });
    let emperor = Liege::in_temp_dir().app_with("one.ini", &lines, "do=notify").start();
    emperor.running("one.ini");
    let socket = notify_socket(&emperor, "one.ini");
    let meta = std::fs::symlink_metadata(&socket).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.mode() & 0o777, 0o600);
    assert_eq!(meta.uid(), if root { 12345 } else { own_uid() });
    let place = std::fs::metadata(socket.parent().unwrap()).unwrap();
    assert_eq!((place.uid(), place.mode() & 0o022), (own_uid(), 0));
    emperor.wait_until("it is heard", || emperor.stats().vassal("one.ini").number("ready") == 1);
    emperor.remove("one.ini");
    emperor.wait_until("it is gone", || emperor.stats().find("one.ini").is_none());
    assert!(std::fs::symlink_metadata(&socket).is_err());
}

/// An emperor of an ordinary user, with a directory of temporary files of its own.
fn ordinary(setup: crate::support::Setup) -> crate::support::Setup {
    let temporary = setup.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let setup = setup.env("TMPDIR", temporary.to_str().unwrap()).env("XDG_RUNTIME_DIR", "");
    if own_uid() != 0 {
        return setup;
    }
    std::os::unix::fs::chown(&temporary, Some(12345), Some(12345)).unwrap();
    setup.user(12345)
}

#[test]
fn no_umask_takes_the_directory_of_notify_sockets_away_and_it_goes_with_the_emperor() {
    use std::os::unix::fs::MetadataExt;
    if own_uid() == 0 && !crate::support::reachable_by_all() {
        crate::skip!("another user cannot reach the programs of the tests");
    }
    for umask in ["077", "027"] {
        let setup = Liege::in_temp_dir().option("--umask", umask).app_with("one.ini", LINES, "");
        let setup = ordinary(setup);
        let temporary = setup.path("tmp");
        let emperor = setup.start();
        emperor.running("one.ini");
        let socket = notify_socket(&emperor, "one.ini");
        assert!(socket.starts_with(&temporary), "{}", socket.display());
        let place = socket.parent().unwrap();
        assert_eq!(std::fs::metadata(place).unwrap().mode() & 0o777, 0o711, "umask {umask}");
        // A cleaner of temporary files, or another unit with the same directory.
        std::fs::remove_dir_all(place).unwrap();
        emperor.remove("one.ini");
        emperor.wait_until("it is gone", || emperor.stats().find("one.ini").is_none());
        emperor.put_app_with("two.ini", LINES, "");
        emperor.running("two.ini");
        assert!(notify_socket(&emperor, "two.ini").starts_with(&temporary));
        assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 1);
        let left = || std::fs::read_dir(&temporary).unwrap().count();
        emperor.signal(libc::SIGTERM);
        emperor.wait_until("nothing is left", || left() == 0);
    }
}

#[test]
fn a_start_that_fails_leaves_no_notify_socket_behind() {
    let lines = format!("{LINES}\nnotify = true\nchdir = /no/such/directory");
    let emperor = Liege::in_temp_dir().app_with("one.ini", &lines, "do=notify").start();
    emperor.logged("cannot enter /no/such/directory");
    let pid = emperor.emperor_pid();
    let of_ours = |dir: &str| {
        let listing = std::fs::read_dir(dir).into_iter().flatten().flatten();
        listing.filter(|it| it.file_name().to_string_lossy().starts_with(&format!("notify.{pid}.")))
    };
    emperor.wait_until("nothing is left", || of_ours("/run/liege").count() == 0);
}

#[test]
fn a_vassal_that_beats_lives_while_another_user_floods() {
    if own_uid() != 0 {
        crate::skip!("only root can start another user's program");
    }
    let beats = "import os, socket, time\n\
                 to = os.environ['NOTIFY_SOCKET']\n\
                 to = '\\0' + to[1:] if to[0] == '@' else to\n\
                 line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                 open('$DIR/name', 'w').write(os.environ['NOTIFY_SOCKET'])\n\
                 line.sendto(b'READY=1', to)\n\
                 while True:\n  \
                   try: line.sendto(b'WATCHDOG=1', socket.MSG_DONTWAIT, to)\n  \
                   except BlockingIOError: pass\n  \
                   time.sleep(0.1)\n";
    let floods = "import socket, sys\n\
                  to = sys.argv[1]\n\
                  to = '\\0' + to[1:] if to[0] == '@' else to\n\
                  line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                  while True:\n  \
                    try: line.sendto(b'x', to)\n  \
                    except OSError: pass\n";
    let text = "[uwsgi]\nnotify = true\nheartbeat = 1\n\
                unprivileged-binary-patch-arg = /usr/bin/python3 $DIR/beats\n";
    let setup = Liege::in_temp_dir()
        .option("--emperor-required-heartbeat", "2")
        .option("--emperor-curse-tolerance", "1")
        .vassal("one.ini", text);
    let dir = setup.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    std::fs::write(setup.path("beats"), beats.replace("$DIR", &dir)).unwrap();
    std::fs::write(setup.path("floods"), floods).unwrap();
    let emperor = setup.start();
    let pid = emperor.running("one.ini");
    emperor.wait_until("it is ready", || emperor.stats().vassal("one.ini").number("ready") == 1);
    let name = std::fs::read_to_string(emperor.path("name")).unwrap();
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=23456", "--clear-groups", "/usr/bin/python3"]);
    let mut flood = command.arg(emperor.path("floods")).arg(&name).spawn().unwrap();
    let begun = std::time::Instant::now();
    let lives = |emperor: &Liege| emperor.pid("one.ini") == Some(pid);
    // Twice as long as silence is borne.
    while begun.elapsed() < std::time::Duration::from_secs(7) && lives(&emperor) {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    flood.kill().unwrap();
    flood.wait().unwrap();
    assert!(lives(&emperor), "it was stopped for the words of somebody else");
    assert!(!emperor.log().contains("no heartbeat"));
}
