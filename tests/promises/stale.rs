//! An edit is applied, whatever the vassal is and says; and where it is not, that is shown.

use crate::support::{Liege, free_port, proc};
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;

const SPEAKER: &str = "do=ready,accepting,loyal";

/// `stale` and its reason.
fn stale(emperor: &Liege, name: &str) -> (u64, String) {
    let stats = emperor.stats();
    let vassal = stats.vassal(name);
    (
        vassal.number("stale") as u64,
        vassal.0["stale_reason"].as_str().unwrap_or_default().to_owned(),
    )
}

fn bytes(emperor: &Liege, name: &str) -> usize {
    emperor.events(name, "byte").iter().filter(|event| event["value"] == 1).count()
}

#[test]
fn an_edit_of_what_an_exec_fixes_reaches_a_program_that_speaks() {
    let emperor = Liege::in_temp_dir().app_with("one.ini", "env = COLOUR=red", SPEAKER).start();
    let mut pid = emperor.spoken("one.ini");
    assert_eq!(emperor.life("one.ini", 1)["env"]["COLOUR"], "red");
    // The environment, the arguments, the umask.
    emperor.put_app_with("one.ini", "env = COLOUR=blue", SPEAKER);
    emperor.running_anew("one.ini", pid);
    assert_eq!(emperor.life("one.ini", 2)["env"]["COLOUR"], "blue");
    pid = emperor.spoken("one.ini");
    emperor.put_app_with("one.ini", "env = COLOUR=blue", &format!("{SPEAKER} listen=0"));
    emperor.running_anew("one.ini", pid);
    assert!(emperor.life("one.ini", 3)["argv"].to_string().contains("listen=0"));
    assert_eq!(bytes(&emperor, "one.ini"), 0, "told to stop, not to reload");
    // What it says to nobody but the emperor, and what it says to nobody.
    pid = emperor.spoken("one.ini");
    let lines = "# a comment\nenv = COLOUR=blue\nstop-signal = INT";
    emperor.put_app_with("one.ini", lines, &format!("{SPEAKER} listen=0"));
    emperor.wait_until("it is told to reload", || bytes(&emperor, "one.ini") == 1);
    assert_eq!((emperor.pid("one.ini"), stale(&emperor, "one.ini").0), (Some(pid), 0));
    assert!(emperor.stats().blacklisted("one.ini").is_none(), "an edit is no death");
}

#[test]
fn a_program_that_speaks_moves_to_another_port_and_nobody_is_refused_at_the_old_one_before() {
    let (old, new) = (free_port(), free_port());
    let lines = |port: u16| format!("http-socket = 127.0.0.1:{port}");
    let words = "listen=3 do=ready,accepting,serve";
    let emperor = Liege::in_temp_dir().app_with("one.ini", &lines(old), words).start();
    let pid = emperor.spoken("one.ini");
    emperor.put_app_with("one.ini", &lines(new), words);
    emperor.wait_until("it serves at the new port", || {
        crate::support::ask_tcp(new).is_ok_and(|said| !said.starts_with(&format!("{pid} ")))
    });
    emperor.wait_until("and nobody at the old one", || crate::support::ask_tcp(old).is_err());
}

#[test]
fn an_edit_reaches_a_program_with_a_reload_signal_and_a_touch_is_that_signal() {
    let words = "on=hup: do=wait:1";
    let lines = "reload-signal = HUP\nenv = COLOUR=red";
    let emperor = Liege::in_temp_dir().app_with("one.ini", lines, words).start();
    let pid = emperor.running("one.ini");
    emperor.life("one.ini", 1);
    emperor.touch("one.ini");
    emperor.wait_until("it got SIGHUP", || emperor.events("one.ini", "hup").len() == 1);
    emperor.put_app_with("one.ini", "reload-signal = HUP\nenv = COLOUR=blue", words);
    emperor.running_anew("one.ini", pid);
    assert_eq!(emperor.life("one.ini", 2)["env"]["COLOUR"], "blue");
}

#[test]
fn a_stop_signal_that_was_edited_is_the_one_that_is_sent() {
    let words = "on=hup: on=int:exit:0 do=wait:1";
    let emperor = Liege::in_temp_dir().app_with("one.ini", "reload-signal = HUP", words).start();
    let pid = emperor.running("one.ini");
    emperor.life("one.ini", 1);
    emperor.put_app_with("one.ini", "reload-signal = HUP\nstop-signal = INT", words);
    emperor.wait_until("it got SIGHUP", || emperor.events("one.ini", "hup").len() == 1);
    assert_eq!(emperor.pid("one.ini"), Some(pid));
    emperor.remove("one.ini");
    emperor.wait_until("it has ended", || !proc::lives(pid));
    emperor.logged("(exit 0)");
}

#[test]
fn a_faulty_edit_leaves_a_program_that_speaks_alone_and_is_shown_as_long_as_it_lasts() {
    let emperor = Liege::in_temp_dir().app("one.ini", SPEAKER).start();
    let pid = emperor.spoken("one.ini");
    let good = fs::read_to_string(emperor.file("one.ini")).unwrap();
    assert_eq!(stale(&emperor, "one.ini"), (0, String::new()));
    emperor.put("one.ini", "[uwsgi]\nchdir = $DIR/nowhere\nlisten = many\n");
    emperor.wait_until("the fault is shown with its place", || {
        let (is_stale, why) = stale(&emperor, "one.ini");
        is_stale == 1 && why.contains("one.ini:3")
    });
    emperor.stays("it runs on and is told nothing", || {
        emperor.pid("one.ini") == Some(pid) && bytes(&emperor, "one.ini") == 0
    });
    emperor.put("one.ini", &good);
    emperor.wait_until("it is told to reload", || bytes(&emperor, "one.ini") == 1);
    assert_eq!((emperor.pid("one.ini"), stale(&emperor, "one.ini").0), (Some(pid), 0));
}

#[test]
fn an_address_that_cannot_be_read_is_shown_while_the_program_runs_on() {
    let emperor =
        Liege::in_temp_dir().app("one.ini", SPEAKER).on_demand("one.ini", "one.sock").start();
    assert!(std::os::unix::net::UnixStream::connect(emperor.path("one.sock")).is_ok());
    let pid = emperor.spoken("one.ini");
    fs::write(emperor.file("one.ini.socket"), "fd://9\n").unwrap();
    emperor.wait_until("it is shown", || {
        let (is_stale, why) = stale(&emperor, "one.ini");
        is_stale == 1 && why.contains("address")
    });
    assert_eq!(emperor.pid("one.ini"), Some(pid));
}

#[test]
fn an_edited_option_of_an_emperor_below_is_obeyed_and_a_touch_keeps_its_process() {
    let text = |throttle: u32| {
        format!(
            "[uwsgi]\nemperor = $DIR/lower\nemperor-stats = $DIR/lower.sock\nemperor-throttle = {throttle}\n"
        )
    };
    let setup = Liege::in_temp_dir();
    fs::create_dir(setup.path("lower")).unwrap();
    let emperor = setup.vassal("sub.ini", &text(1000)).start();
    let pid = emperor.spoken("sub.ini");
    emperor.touch("sub.ini");
    emperor.logged("told to reload by the emperor above");
    assert_eq!(emperor.pid("sub.ini"), Some(pid));
    emperor.put("sub.ini", &text(2000));
    emperor.running_anew("sub.ini", pid);
}

/// Lines that no start could obey, and what is said of them; `$PORT` is taken by the test.
const HOPELESS: [(&str, &str); 12] = [
    ("http-socket = 127.0.0.1:$PORT", "in use"),
    ("http-socket = 192.0.2.1:8000", "no interface of this machine"),
    ("socket = $DIR/nowhere/one.sock", "create $DIR/nowhere first"),
    ("socket = $DIR/file", "in use"),
    ("socket = @$DIR/abstract", "in use"),
    ("socket = $DIR/a.sock\nhttp-socket = $DIR/a.sock", "has this address already"),
    ("logto = $DIR/nowhere/log", "create $DIR/nowhere first"),
    ("pidfile = $DIR", "not a directory"),
    ("logto = /dev/fd/7", "descriptors 1 and 2"),
    ("command = $DIR/script", "its interpreter"),
    ("command = if true; then", "the shell cannot read"),
    ("env = BIG=$BIG", "128 KiB"),
];

#[test]
fn an_edit_that_could_not_start_leaves_what_runs_alone_and_is_shown() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for words in ["do=wait:1", SPEAKER] {
        let emperor = Liege::in_temp_dir().app("one.ini", words).start();
        fs::write(emperor.path("file"), "").unwrap();
        crate::support::executable(&emperor.path("script"), "#!/nowhere/interpreter\n");
        let name = SocketAddr::from_abstract_name(emperor.path("abstract").to_str().unwrap());
        let _listener = std::os::unix::net::UnixListener::bind_addr(&name.unwrap()).unwrap();
        let pid = emperor.running("one.ini");
        emperor.life("one.ini", 1);
        for (line, told) in HOPELESS {
            let big = "x".repeat(140_000);
            let fill = |text: &str| {
                let text = text.replace("$PORT", &port.to_string()).replace("$BIG", &big);
                text.replace("$DIR", emperor.path("").to_str().unwrap().trim_end_matches('/'))
            };
            match line.starts_with("command") {
                true => emperor.put("one.ini", &format!("[uwsgi]\n{}\n", fill(line))),
                false => emperor.put_app_with("one.ini", &fill(line), words),
            }
            let told = fill(told);
            emperor.wait_until(&format!("{line} is refused: {told}"), || {
                let (is_stale, why) = stale(&emperor, "one.ini");
                is_stale == 1 && why.contains(&told)
            });
            assert_eq!(emperor.pid("one.ini"), Some(pid), "{line}");
            assert!(!emperor.path("a.sock").exists(), "nothing is left of a trial");
        }
        let log = emperor.log();
        assert!(!log.contains("cannot start") && !log.contains("stopping "), "{log}");
        emperor.put_app_with("one.ini", "env = COLOUR=blue", words);
        emperor.running_anew("one.ini", pid);
    }
}

#[test]
fn an_address_that_the_program_has_bound_for_itself_is_no_obstacle_for_its_own_line() {
    let port = free_port();
    let emperor = Liege::in_temp_dir().start();
    let path = emperor.path("own.sock");
    for (name, address, line) in [
        ("tcp.ini", format!("127.0.0.1:{port}"), format!("http-socket = :{port}")),
        ("unix.ini", path.display().to_string(), format!("socket = {}", path.display())),
    ] {
        // A process in a session of its own has the address, too.
        emperor.put_app(name, &format!("listen={address} do=serve,stray:double"));
        let pid = emperor.running(name);
        emperor.wait_until("both are there", || !emperor.events(name, "stray").is_empty());
        emperor.put_app_with(name, &line, "listen=3 do=serve");
        emperor.running_anew(name, pid);
        emperor.wait_until("it serves", || match name {
            "tcp.ini" => crate::support::ask_tcp(port).is_ok(),
            _ => std::os::unix::net::UnixStream::connect(&path).is_ok(),
        });
        assert!(emperor.stats().blacklisted(name).is_none(), "{}", emperor.log());
    }
}

#[test]
fn an_edit_that_wants_the_address_of_another_vassal_waits_until_that_one_is_gone() {
    let port = free_port();
    let line = format!("http-socket = 127.0.0.1:{port}");
    let emperor = Liege::in_temp_dir()
        .app_with("first.ini", &line, "listen=3 do=serve")
        .app("second.ini", "do=wait:1")
        .start();
    emperor.running("first.ini");
    let pid = emperor.running("second.ini");
    emperor.put_app_with("second.ini", &line, "listen=3 do=serve");
    emperor.wait_until("it is shown who has it", || {
        stale(&emperor, "second.ini").1.contains("first.ini")
    });
    emperor.stays("it runs on, once", || emperor.pid("second.ini") == Some(pid));
    assert_eq!(emperor.lives("second.ini"), 1);
    emperor.remove("first.ini");
    emperor.running_anew("second.ini", pid);
    emperor.wait_until("it serves", || crate::support::ask_tcp(port).is_ok());
}
