//! Listeners that are of no use any more: their file is removed or replaced, or a program has shut them down.

use crate::support::{Liege, free_port, proc};
use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

/// What an administrator does.
type Way = fn(&Liege);

const SERVER: &str = "do=ready,accepting,loyal,serve on=term:exit:0";
const ONE_ANSWER: &str = "do=serve on=served:exit:0";

/// What the server says, if there is one and it answers soon.
fn try_ask(emperor: &Liege, socket: &str) -> Option<String> {
    let mut client = UnixStream::connect(emperor.path(socket)).ok()?;
    client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).ok()?;
    answer.ends_with('\n').then_some(answer)
}

fn served(emperor: &Liege, socket: &str, what: &str) {
    emperor.wait_until(what, || try_ask(emperor, socket).is_some());
}

/// An on-demand vassal that waits at `one.sock`.
fn waiting(words: &str, options: &[(&str, &str)]) -> Liege {
    let mut setup = Liege::in_temp_dir();
    for (name, value) in options {
        setup = setup.option(name, value);
    }
    let emperor = setup.app("one.ini", words).on_demand("one.ini", "one.sock").start();
    emperor.state("one.ini", "listening");
    emperor
}

#[test]
fn a_program_that_takes_the_file_of_its_socket_along_is_called_again() {
    let emperor = Liege::in_temp_dir()
        .vassal(
            "one.ini",
            "[uwsgi]\nunprivileged-binary-patch-arg = /bin/sh -c \"rm -f $DIR/one.sock; \
             exec $APP record=$DIR/record/one.ini do=serve on=served:exit:0\"\n",
        )
        .on_demand("one.ini", "one.sock")
        .start();
    emperor.state("one.ini", "listening");
    for life in 1..=3 {
        emperor.wait_until("its client is served", || {
            try_ask(&emperor, "one.sock")
                .is_some_and(|answer| answer.ends_with(&format!(" {life}\n")))
        });
    }
    emperor.logged("somebody has removed its file");
}

#[test]
fn a_socket_whose_file_is_gone_is_bound_anew_at_a_touch_at_sighup_and_at_each_scan() {
    let emperor = waiting(ONE_ANSWER, &[]);
    let ways: [(&str, Way); 3] = [
        ("a touch", |emperor| emperor.touch("one.ini")),
        ("SIGHUP", |emperor| emperor.signal(libc::SIGHUP)),
        ("SIGWINCH", |emperor| emperor.signal(libc::SIGWINCH)),
    ];
    for (what, way) in ways {
        emperor.state("one.ini", "listening");
        fs::remove_file(emperor.path("one.sock")).unwrap();
        assert_eq!(try_ask(&emperor, "one.sock"), None);
        way(&emperor);
        served(&emperor, "one.sock", &format!("after {what} it is served"));
    }
    let emperor = waiting(ONE_ANSWER, &[("--emperor-freq", "1")]);
    fs::remove_file(emperor.path("one.sock")).unwrap();
    served(&emperor, "one.sock", "after a scan it is served");
}

#[test]
fn a_socket_that_others_have_replaced_is_bound_anew_when_they_are_gone() {
    let emperor = waiting(ONE_ANSWER, &[]);
    fs::remove_file(emperor.path("one.sock")).unwrap();
    let other = UnixListener::bind(emperor.path("one.sock")).unwrap();
    emperor.signal(libc::SIGHUP);
    emperor.wait_until("it is held and says why", || {
        emperor.stats().vassal("one.ini").text("reason").contains("cannot listen on")
    });
    drop(other);
    served(&emperor, "one.sock", "it is served when the other is gone");
}

#[test]
fn what_runs_on_a_socket_whose_file_is_gone_is_replaced_on_a_new_one() {
    for (words, way) in [
        (SERVER, (|emperor| emperor.signal(libc::SIGHUP)) as Way),
        ("do=serve on=term:exit:0", |emperor| emperor.touch("one.ini")),
    ] {
        let emperor = Liege::in_temp_dir()
            .app_with("one.ini", "ready-after = 0", words)
            .on_demand("one.ini", "one.sock")
            .start();
        emperor.state("one.ini", "listening");
        emperor.ask("one.sock");
        let first = emperor.running("one.ini");
        fs::remove_file(emperor.path("one.sock")).unwrap();
        way(&emperor);
        served(&emperor, "one.sock", "a client is served");
        emperor.running_anew("one.ini", first);
        emperor.logged("it is bound again");
    }
}

#[test]
fn a_socket_of_its_own_that_lost_its_file_is_bound_anew_at_sighup() {
    let emperor = Liege::in_temp_dir()
        .app_with("one.ini", "http-socket = $DIR/own.sock\nready-after = 0", SERVER)
        .start();
    served(&emperor, "own.sock", "it is served");
    let first = emperor.running("one.ini");
    fs::remove_file(emperor.path("own.sock")).unwrap();
    emperor.signal(libc::SIGHUP);
    served(&emperor, "own.sock", "it is served again");
    emperor.running_anew("one.ini", first);
    // Nothing is wrong now: what is told to reload is the same process.
    let second = emperor.running("one.ini");
    emperor.signal(libc::SIGHUP);
    emperor.wait_until("it was told to reload", || !emperor.events("one.ini", "byte").is_empty());
    assert_eq!(emperor.pid("one.ini"), Some(second));
}

#[test]
fn a_shared_listener_that_was_shut_down_is_not_handed_on() {
    let port = free_port();
    let lines = "http-socket = $DIR/own.sock\nready-after = 0";
    let words = "listen=3 do=serve,until:1:gate:$DIR/gate,until:1:shutdown on=term:exit:0";
    let emperor = Liege::in_temp_dir().app_with("unix.ini", lines, words).start();
    let tcp = lines.replace("$DIR/own.sock", &format!("127.0.0.1:{port}"));
    emperor.put_app_with("tcp.ini", &tcp, words);
    served(&emperor, "own.sock", "the unix socket is served");
    emperor.wait_until("the port is served", || crate::support::ask_tcp(port).is_ok());
    emperor.open_gate("gate");
    emperor.wait_until("both are shut down", || {
        UnixStream::connect(emperor.path("own.sock")).is_err()
            && TcpStream::connect(("127.0.0.1", port)).is_err()
    });
    let pids = [emperor.running("unix.ini"), emperor.running("tcp.ini")];
    assert!(pids.iter().all(|&pid| proc::lives(pid)));
    emperor.signal(libc::SIGHUP);
    served(&emperor, "own.sock", "the unix socket is served by the successor");
    emperor.wait_until("and the port", || crate::support::ask_tcp(port).is_ok());
}

#[test]
fn a_vassal_that_waits_is_not_woken_by_another_that_wants_its_address() {
    let emperor = waiting(ONE_ANSWER, &[]);
    emperor.put_app_with("other.ini", "http-socket = $DIR/one.sock", "do=serve");
    emperor.logged("listens there already; give one of the two another address");
    emperor.put("third.ini.socket", emperor.path("one.sock").to_str().unwrap());
    emperor.put_app("third.ini", "do=serve");
    emperor.wait_until("who has it is named", || {
        emperor
            .stats()
            .find("third.ini")
            .is_some_and(|v| v.text("reason").contains("vassal one.ini"))
    });
    emperor.stays("nobody has been woken", || emperor.lives("one.ini") == 0);
}

#[test]
fn an_empty_address_file_holds_its_vassal_and_stops_nothing_that_runs() {
    let emperor =
        Liege::in_temp_dir().app("one.ini", SERVER).on_demand("one.ini", "one.sock").start();
    emperor.ask("one.sock");
    let pid = emperor.running("one.ini");
    fs::write(emperor.file("one.ini.socket"), "").unwrap();
    emperor.logged("its first line is empty");
    assert!(try_ask(&emperor, "one.sock").is_some() && proc::lives(pid));
    emperor.put("two.ini.socket", "\n");
    emperor.put_app("two.ini", SERVER);
    emperor.wait_until("it is held, and says why", || {
        emperor.stats().find("two.ini").is_some_and(|vassal| {
            vassal.text("state") == "backoff"
                && vassal.text("reason").contains("its first line is empty")
        })
    });
    emperor.stays("it is not started", || emperor.lives("two.ini") == 0);
}

#[test]
fn listeners_leave_the_descriptors_that_a_start_needs_and_what_has_no_room_waits_for_it() {
    let emperor = Liege::in_temp_dir().option("--emperor-on-demand-extension", ".socket").start();
    let pid = emperor.emperor_pid();
    proc::limit_files(pid, 64);
    for number in 0..40 {
        let address = emperor.path(&format!("{number}.sock"));
        emperor.put(&format!("{number}.ini.socket"), address.to_str().unwrap());
        emperor.put_app(&format!("{number}.ini"), SERVER);
    }
    let with = |state: &str| -> Vec<String> {
        let stats = emperor.stats();
        let all = stats.vassals().iter().filter(|vassal| vassal["state"] == state);
        all.map(|vassal| vassal["id"].as_str().unwrap().to_owned()).collect()
    };
    emperor.wait_until("some wait for clients, the others for room", || {
        let held = emperor.stats();
        let mut held = held.vassals().iter().filter(|vassal| vassal["state"] == "backoff");
        let says = held.all(|vassal| vassal["reason"].as_str().unwrap().contains("LimitNOFILE"));
        with("listening").len() + with("backoff").len() == 40 && says
    });
    emperor.logged("more vassals are not started: no descriptor is left for the on-demand socket");
    let log = emperor.log();
    let lines = log.lines().filter(|line| line.contains("not started: no descriptor is left"));
    assert!(lines.count() < 10, "{log}");
    assert!(log.contains("; next attempt in 50 ms, then less often"), "{log}");
    let bound = with("listening");
    assert!((2..20).contains(&bound.len()), "{bound:?}");
    // All of them can run, and one more besides.
    for name in &bound {
        let socket = name.replace(".ini", ".sock");
        assert!(try_ask(&emperor, &socket).is_some(), "{name}");
    }
    emperor.put_app("always.ini", SERVER);
    emperor.running("always.ini");
    assert!(bound.iter().all(|name| emperor.pid(name).is_some()));
    assert!(emperor.stats().top("blacklist").as_array().unwrap().is_empty());
    proc::limit_files(pid, 1024);
    emperor.wait_until("there is room for all", || with("backoff").is_empty());
    assert!(try_ask(&emperor, "39.sock").is_some());
}

#[test]
fn a_program_that_fails_with_sockets_of_its_file_is_told_where_each_of_them_is() {
    let (first, second) = (free_port(), free_port());
    let lines = format!("http-socket = 127.0.0.1:{first}\nsocket = 127.0.0.1:{second}");
    let emperor = Liege::in_temp_dir()
        .option("--emperor-throttle", "1")
        .app_with("own.ini", &lines, "do=exit:98")
        .app("none.ini", "do=exit:98")
        .start();
    emperor.life("own.ini", 4);
    let line_of = |key: &str| {
        let text = fs::read_to_string(emperor.file("own.ini")).unwrap();
        1 + text.lines().position(|line| line.starts_with(key)).expect("a line of this option")
    };
    let hint = |name: &str| {
        let (http, other) = (line_of("http-socket"), line_of("socket"));
        format!(
            "liege holds 127.0.0.1:{first} ({name}{http}) and passes it as descriptor 3, 127.0.0.1:{second} \
             ({name}{other}) as descriptor 4; let the program use that, or remove the line"
        )
    };
    let error = |name: &str| emperor.stats().vassal(name).0["last_error"].to_string();
    emperor.wait_until("the sockets are named", || error("own.ini").contains(&hint("own.ini:")));
    let log = emperor.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("liege holds")).collect();
    assert_eq!(told.len(), 1, "once, and for no other vassal: {log}");
    assert!(
        told[0].contains("[own.ini] exited after") && told[0].contains(&hint("line ")),
        "{log}"
    );
    assert!(!error("none.ini").contains("liege holds"));
}
