//! When a new program is believed to take requests, and how long the old one stays.

use crate::support::{Liege, proc};

/// On this socket, with a long way to being believed by its age.
const LINES: &str = "http-socket = $DIR/one.sock\nready-after = 600";

/// A vassal that behaves so from its second life on, after a change of its file.
fn replaced(lines: &str, words: &str) -> (Liege, i32) {
    let emperor = Liege::in_temp_dir().app_with("one.ini", lines, words).start();
    let first = emperor.running("one.ini");
    emperor.life("one.ini", 1);
    emperor.touch("one.ini");
    (emperor, first)
}

#[test]
fn ready_from_a_program_that_has_promised_nothing_counts_at_once() {
    // It does not listen, so that nothing else tells.
    let (emperor, first) = replaced(LINES, "do=notify");
    emperor.running_anew("one.ini", first);
    emperor.wait_until("the old one is gone", || !proc::lives(first));
    let stats = emperor.stats();
    let vassal = stats.vassal("one.ini");
    assert_eq!((vassal.number("ready"), vassal.number("accepting")), (1, 1));
}

#[test]
fn ready_may_be_said_by_a_child_of_the_program() {
    let (emperor, first) = replaced(LINES, "do=notify:child");
    emperor.running_anew("one.ini", first);
}

#[test]
fn ready_of_somebody_else_is_not_counted_and_said_once() {
    let emperor = Liege::in_temp_dir()
        .app_with("one.ini", &format!("{LINES}\nstart-timeout = 600\nnotify = true"), "do=wait:1")
        .start();
    emperor.running("one.ini");
    let name = emperor.life("one.ini", 1)["env"]["NOTIFY_SOCKET"].as_str().unwrap().to_owned();
    // This test: of another session than any vassal.
    for _ in 0..3 {
        crate::support::notify(&name, "READY=1");
    }
    let (uid, pid) = (own_uid(), std::process::id());
    emperor.logged(&format!("READY=1 or WATCHDOG=1 of pid {pid} (user {uid}) is not counted"));
    emperor.stays("it is not believed", || emperor.stats().vassal("one.ini").number("ready") == 0);
    assert_eq!(emperor.log().matches("is not counted").count(), 1);
}

fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid()
}

/// A server that needs so long to boot, then listens with one of these, and dies as it is told.
fn python(boot: f32, serve: &str) -> String {
    format!(
        "import os, select, socket, sys, time\n\
         listener = socket.socket(fileno=3)\n\
         time.sleep({boot})\n\
         {serve}\n\
         def answer():\n\
         \x20   client, _ = listener.accept()\n\
         \x20   client.sendall(b'%d\\n' % os.getpid())\n\
         \x20   client.close()\n\
         epoll = select.epoll()\n\
         epoll.register(listener, select.EPOLLIN)\n\
         while True:\n\
         \x20   epoll.poll()\n\
         \x20   answer()\n"
    )
}

fn server(setup: crate::support::Setup, boot: f32, serve: &str) -> crate::support::Setup {
    std::fs::write(setup.path("server.py"), python(boot, serve)).unwrap();
    let lines = "http-socket = $DIR/one.sock\nready-after = 600\nnotify = false";
    let text =
        format!("[uwsgi]\n{lines}\nunprivileged-binary-patch-arg = python3 $DIR/server.py\n");
    setup.vassal("one.ini", &text)
}

fn has_python() -> bool {
    std::process::Command::new("python3").arg("--version").output().is_ok()
}

fn alone(emperor: &Liege, old: i32) -> i32 {
    let new = emperor.running_anew("one.ini", old);
    emperor.wait_until("the old one is gone", || !proc::lives(old));
    new
}

#[test]
fn a_program_that_says_nothing_is_seen_to_wait_for_connections() {
    if !has_python() {
        crate::skip!("there is no python3");
    }
    let emperor = server(Liege::in_temp_dir(), 0.2, "").start();
    let first = emperor.running("one.ini");
    emperor.wait_until("it is seen to accept, though nobody waits for that", || {
        emperor.stats().vassal("one.ini").number("accepting") == 1
    });
    for serve in ["", "while True: answer()", "while select.select([listener], [], []): answer()"] {
        // The function is defined behind the place where it serves.
        let serve = serve.replace(
            "answer()",
            "(lambda c: (c.sendall(b'%d\\n' % os.getpid()), c.close()))(listener.accept()[0])",
        );
        let old = emperor.pid("one.ini").unwrap();
        std::fs::write(emperor.path("server.py"), python(0.2, &serve)).unwrap();
        emperor.touch("one.ini");
        let new = alone(&emperor, old);
        assert_eq!(emperor.ask("one.sock"), format!("{new}\n"));
    }
    assert!(!proc::lives(first));
}

#[test]
fn a_slow_boot_that_fails_in_the_end_never_takes_the_site_down() {
    if !has_python() {
        crate::skip!("there is no python3");
    }
    let emperor = server(Liege::in_temp_dir(), 0.0, "").start();
    let first = emperor.running("one.ini");
    assert_eq!(emperor.ask("one.sock"), format!("{first}\n"));
    // Longer than the three seconds after which a program used to be believed.
    std::fs::write(emperor.path("server.py"), python(6.0, "sys.exit(3)")).unwrap();
    let text = std::fs::read_to_string(emperor.file("one.ini")).unwrap();
    emperor.put("one.ini", &text.replace("ready-after = 600\n", "# the default\n"));
    emperor.state("one.ini", "replacing");
    emperor.wait_until("it has failed, and all the time the old one has answered", || {
        assert_eq!(emperor.ask("one.sock"), format!("{first}\n"));
        emperor.stats().vassal("one.ini").text("state") == "running"
    });
    let stats = emperor.stats();
    let vassal = stats.vassal("one.ini");
    assert!(vassal.0["last_error"].to_string().contains("exit 3"), "{:?}", vassal.0);
    assert_eq!(vassal.pid(), Some(first));
    assert_eq!(emperor.ask("one.sock"), format!("{first}\n"));
}

#[test]
fn a_new_program_that_dies_soon_leaves_the_old_one_serving_while_it_still_does() {
    let lines =
        "http-socket = $DIR/one.sock\nready-after = 600\nnotify = true\nstart-timeout = 600";
    // The first goes on serving after SIGTERM; the second is ready, then dies; the third waits for the gate.
    let words =
        "listen=3 on=term: on=stop: do=until:1:notify,from:1:gate:$DIR/go,from:1:notify,serve";
    let emperor = Liege::in_temp_dir()
        .option("--emperor-curse-tolerance", "2")
        .app_with("one.ini", lines, words)
        .start();
    let first = emperor.running("one.ini");
    assert!(emperor.ask("one.sock").starts_with(&format!("{first} ")));
    emperor.touch("one.ini");
    emperor.life("one.ini", 2);
    emperor.open_gate("go");
    let second = emperor
        .wait_for("the second takes over", || emperor.pid("one.ini").filter(|pid| *pid != first));
    emperor
        .wait_until("the first is told to stop", || !emperor.events("one.ini", "term").is_empty());
    std::fs::remove_file(emperor.path("go")).unwrap();
    proc::kill(second, libc::SIGSEGV);
    emperor.logged("is not killed before another takes requests");
    emperor.life("one.ini", 3);
    // Longer than the curse tolerance.
    let since = std::time::Instant::now();
    emperor.wait_until("the first has served on all the time", || {
        assert!(emperor.ask("one.sock").starts_with(&format!("{first} ")));
        since.elapsed() > std::time::Duration::from_secs(4)
    });
    emperor.open_gate("go");
    emperor.wait_until("then it is ended", || !proc::lives(first));
    assert!(emperor.ask("one.sock").ends_with(" 3\n"));
}
