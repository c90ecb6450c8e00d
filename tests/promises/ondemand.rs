//! On demand: a socket that waits, a program that is started by its first client.

use crate::support::{Liege, ask_tcp, free_port, proc};
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};

const SERVER: &str = "do=ready,accepting,loyal,serve";

fn waiting(emperor: &Liege, name: &str) {
    emperor.state(name, "listening");
    assert_eq!(emperor.stats().vassal(name).number("pid"), -1);
}

#[test]
fn the_first_connection_starts_it_and_is_answered() {
    let emperor =
        Liege::in_temp_dir().app("one.ini", SERVER).on_demand("one.ini", "one.sock").start();
    waiting(&emperor, "one.ini");
    let address = emperor.path("one.sock");
    assert_eq!(emperor.stats().vassal("one.ini").text("on_demand"), address.to_str().unwrap());
    assert_eq!(emperor.lives("one.ini"), 0);
    let answer = emperor.ask("one.sock");
    assert_eq!(answer, format!("{} 1\n", emperor.running("one.ini")));
    assert_eq!(emperor.ask("one.sock"), answer, "and so is the second, by the same process");
}

#[test]
fn a_tcp_address_works_too() {
    let port = free_port();
    let emperor = Liege::in_temp_dir()
        .app("one.ini", SERVER)
        .on_demand("one.ini", &format!("127.0.0.1:{port}"))
        .start();
    waiting(&emperor, "one.ini");
    assert!(ask_tcp(port).unwrap().ends_with(" 1\n"));
}

#[test]
fn the_socket_is_standard_input_and_the_first_of_listen_fds() {
    let emperor =
        Liege::in_temp_dir().app("one.ini", SERVER).on_demand("one.ini", "one.sock").start();
    emperor.ask("one.sock");
    let start = emperor.life("one.ini", 1);
    assert!(start["fds"]["0"].as_str().unwrap().starts_with("socket:"));
    assert_eq!(start["fds"]["0"], start["fds"]["3"]);
    assert_eq!(start["env"]["LISTEN_FDS"], "1");
    assert_eq!(start["env"]["LISTEN_FDNAMES"], "on-demand");
}

#[test]
fn a_program_under_binary_path_has_it_as_standard_input() {
    let emperor = Liege::in_temp_dir()
        .direct()
        .app("one.ini", SERVER)
        .on_demand("one.ini", "one.sock")
        .start();
    waiting(&emperor, "one.ini");
    assert!(emperor.ask("one.sock").ends_with(" 1\n"));
    let start = emperor.life("one.ini", 1);
    assert!(start["fds"]["0"].as_str().unwrap().starts_with("socket:"));
    assert_eq!(start["fds"].as_object().unwrap().len(), 4);
}

#[test]
fn an_exit_with_status_0_returns_it_to_waiting_with_the_same_socket() {
    let words = "do=serve on=served:exit:0";
    let emperor =
        Liege::in_temp_dir().app("one.ini", words).on_demand("one.ini", "one.sock").start();
    for life in 1..=20 {
        assert!(emperor.ask("one.sock").ends_with(&format!(" {life}\n")));
    }
    waiting(&emperor, "one.ini");
    assert!(emperor.stats().blacklisted("one.ini").is_none());
}

#[test]
fn byte_22_returns_it_to_waiting_and_leaks_nothing() {
    let words = "do=ready,accepting,serve on=served:idle";
    let emperor =
        Liege::in_temp_dir().app("one.ini", words).on_demand("one.ini", "one.sock").start();
    waiting(&emperor, "one.ini");
    let pid = emperor.emperor_pid();
    let before = proc::descriptors(pid).len();
    for life in 1..=15 {
        assert!(emperor.ask("one.sock").ends_with(&format!(" {life}\n")));
        emperor
            .wait_until("the byte came back", || emperor.events("one.ini", "byte").len() == life);
        waiting(&emperor, "one.ini");
    }
    emperor
        .wait_until("no more descriptors than before", || proc::descriptors(pid).len() <= before);
    assert!(emperor.stats().blacklisted("one.ini").is_none());
    let log = emperor.log();
    assert!(log.contains(" to go back to listening") && !log.contains("restart"), "{log}");
}

#[test]
fn a_crash_with_clients_in_the_queue_loses_none_of_them() {
    let words = "do=until:2:wait:100,until:2:exit:1,ready,accepting,loyal,serve";
    let setup = Liege::in_temp_dir().option("--emperor-throttle", "200");
    let emperor = setup.app("one.ini", words).on_demand("one.ini", "one.sock").start();
    waiting(&emperor, "one.ini");
    let clients: Vec<_> = (0..30).map(|_| emperor.connect("one.sock")).collect();
    for mut client in clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with(" 3\n"), "{answer:?}");
    }
    assert_eq!(emperor.lives("one.ini"), 3);
}

#[test]
fn clients_are_kept_while_it_is_held_after_a_crash() {
    let words = "do=until:1:exit:1,serve";
    let setup = Liege::in_temp_dir().option("--emperor-throttle", "4000");
    let emperor = setup.app("one.ini", words).on_demand("one.ini", "one.sock").start();
    let _first = emperor.connect("one.sock");
    emperor.wait_until("it is held and blamed", || {
        let stats = emperor.stats();
        stats.vassal("one.ini").text("state") == "backoff" && stats.blacklisted("one.ini").is_some()
    });
    assert!(
        emperor.ask("one.sock").ends_with(" 2\n"),
        "refused by nobody, served when the penalty is over"
    );
}

#[test]
fn a_killed_one_is_started_by_the_next_client_and_not_before() {
    let emperor =
        Liege::in_temp_dir().app("one.ini", SERVER).on_demand("one.ini", "one.sock").start();
    emperor.ask("one.sock");
    emperor.wait_until("it is loyal", || emperor.stats().vassal("one.ini").number("loyal") == 1);
    proc::kill(emperor.running("one.ini"), libc::SIGKILL);
    waiting(&emperor, "one.ini");
    emperor.stays("nobody asks: nothing is started", || emperor.lives("one.ini") == 1);
    assert!(emperor.ask("one.sock").ends_with(" 2\n"));
}

#[test]
fn a_touch_and_a_hangup_start_nothing_that_waits() {
    let emperor =
        Liege::in_temp_dir().app("one.ini", SERVER).on_demand("one.ini", "one.sock").start();
    waiting(&emperor, "one.ini");
    let before = emperor.stats().vassal("one.ini").number("last_mod");
    let file = std::fs::File::options().append(true).open(emperor.file("one.ini")).unwrap();
    file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(100)).unwrap();
    emperor.signal(libc::SIGHUP);
    emperor.wait_until("the change is known", || {
        emperor.stats().vassal("one.ini").number("last_mod") > before
    });
    emperor.stays("it waits on", || emperor.lives("one.ini") == 0);
    assert!(emperor.ask("one.sock").ends_with(" 1\n"));
}

#[test]
fn a_removed_file_closes_the_socket() {
    let emperor =
        Liege::in_temp_dir().app("one.ini", SERVER).on_demand("one.ini", "one.sock").start();
    waiting(&emperor, "one.ini");
    emperor.remove("one.ini");
    emperor.wait_until("nobody listens", || UnixStream::connect(emperor.path("one.sock")).is_err());
    emperor.wait_until("it is gone", || emperor.stats().find("one.ini").is_none());
    emperor.put_app("one.ini", SERVER);
    waiting(&emperor, "one.ini");
    assert!(emperor.ask("one.sock").ends_with(" 1\n"));
}

#[test]
fn an_address_that_another_program_has_is_named_and_taken_when_it_is_free() {
    let setup = Liege::in_temp_dir().app("one.ini", SERVER).on_demand("one.ini", "one.sock");
    let other = UnixListener::bind(setup.path("one.sock")).unwrap();
    let emperor = setup.app("two.ini", "do=ready").start();
    emperor.running("two.ini");
    emperor.state("one.ini", "backoff");
    let stats = emperor.stats().vassal("one.ini").0.to_string();
    assert!(stats.contains("in use"), "{stats}");
    assert_eq!(emperor.lives("one.ini"), 0, "never started without its socket");
    drop(other);
    waiting(&emperor, "one.ini");
    assert!(emperor.ask("one.sock").ends_with(" 1\n"));
}

#[test]
fn a_stale_socket_file_is_replaced_but_another_file_is_not() {
    let setup = Liege::in_temp_dir()
        .app("stale.ini", SERVER)
        .on_demand("stale.ini", "stale.sock")
        .app("file.ini", SERVER)
        .on_demand("file.ini", "./precious");
    proc::make_left_over_socket(&setup.path("stale.sock"));
    std::fs::write(setup.path("precious"), "data").unwrap();
    let emperor = setup.start();
    waiting(&emperor, "stale.ini");
    assert!(emperor.ask("stale.sock").ends_with(" 1\n"));
    emperor.state("file.ini", "backoff");
    assert_eq!(std::fs::read_to_string(emperor.path("precious")).unwrap(), "data");
}

#[test]
fn an_address_that_appears_makes_a_vassal_on_demand_and_a_new_one_moves_it() {
    let setup = Liege::in_temp_dir().option("--emperor-on-demand-extension", ".socket");
    let emperor = setup.start();
    emperor.put("one.ini.socket", "$DIR/a.sock\n");
    emperor.put_app("one.ini", SERVER);
    waiting(&emperor, "one.ini");
    emperor.put("one.ini.socket", "$DIR/b.sock\n");
    emperor.wait_until("it listens at the new address", || {
        UnixStream::connect(emperor.path("b.sock")).is_ok()
    });
    emperor.wait_until("and no longer at the old one", || {
        UnixStream::connect(emperor.path("a.sock")).is_err()
    });
}

#[test]
fn a_reload_of_a_running_one_keeps_the_socket_and_its_clients() {
    let emperor = Liege::in_temp_dir()
        .app_with("one.ini", "ready-after = 1", "do=serve on=term:exit:0")
        .on_demand("one.ini", "one.sock")
        .start();
    emperor.ask("one.sock");
    let first = emperor.running("one.ini");
    emperor.touch("one.ini");
    emperor.wait_until("the successor answers, and until then nobody was refused", || {
        emperor.ask("one.sock").ends_with(" 2\n")
    });
    emperor.running_anew("one.ini", first);
    assert!(!proc::lives(first));
}

#[test]
fn a_hundred_waiting_vassals_cost_no_process() {
    let mut setup = Liege::in_temp_dir();
    for number in 0..100 {
        let name = format!("{number}.ini");
        setup = setup.app(&name, SERVER).on_demand(&name, &format!("{number}.sock"));
    }
    let emperor = setup.start();
    emperor.wait_until("all wait", || {
        emperor.stats().vassals().iter().filter(|vassal| vassal["state"] == "listening").count()
            == 100
    });
    let mut alone = vec![emperor.emperor_pid(), emperor.first_pid(), emperor.spawner_pid()];
    alone.sort_unstable();
    alone.dedup();
    assert_eq!(emperor.survivors(), alone);
    assert!(emperor.ask("57.sock").ends_with(" 1\n"));
}

#[test]
fn a_crash_at_every_connection_is_not_a_storm() {
    let setup = Liege::in_temp_dir().option("--emperor-throttle", "300");
    let emperor = setup.app("one.ini", "do=exit:1").on_demand("one.ini", "one.sock").start();
    let _client = emperor.connect("one.sock");
    emperor.life("one.ini", 4);
    let starts: Vec<i64> = emperor
        .events("one.ini", "start")
        .iter()
        .map(|start| start["at_ms"].as_i64().unwrap())
        .collect();
    for (number, pair) in starts.windows(2).enumerate() {
        let least = 300 * (number as i64 + 1);
        assert!(pair[1] - pair[0] >= least - 50, "start {}: {starts:?}", number + 2);
    }
}

#[test]
fn a_program_that_takes_no_connection_is_not_started_in_a_storm() {
    let emperor =
        Liege::in_temp_dir().app("one.ini", "do=exit:0").on_demand("one.ini", "one.sock").start();
    let _client = emperor.connect("one.sock");
    emperor.life("one.ini", 2);
    let start = std::time::Instant::now();
    let before = emperor.lives("one.ini");
    emperor.stays("it is tried again, but not as fast as it fails", || {
        emperor.lives("one.ini") - before <= 10 * (1 + start.elapsed().as_secs() as usize)
    });
}

#[test]
fn a_program_that_shuts_the_socket_down_takes_it_from_nobody_for_long() {
    let words = "do=until:1:shutdown,until:1:exit:0,serve";
    let emperor =
        Liege::in_temp_dir().app("one.ini", words).on_demand("one.ini", "one.sock").start();
    waiting(&emperor, "one.ini");
    drop(UnixStream::connect(emperor.path("one.sock")));
    emperor.life("one.ini", 1);
    emperor.wait_until("a later client is served", || {
        let Ok(mut client) = UnixStream::connect(emperor.path("one.sock")) else { return false };
        client.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).is_ok() && answer.contains(' ')
    });
}

#[test]
fn an_address_that_is_none_holds_it_until_its_file_changes() {
    let emperor =
        Liege::in_temp_dir().app("one.ini", SERVER).on_demand("one.ini", "s3cr3t.org:80").start();
    let held = || {
        emperor.wait_until("it is held for its address, and no try is due", || {
            let stats = emperor.stats();
            let vassal = stats.vassal("one.ini");
            vassal.text("state") == "backoff"
                && vassal.text("reason").contains("its address file holds no address")
                && vassal.0["next_start_ms"].is_null()
        });
    };
    for nonsense in [
        "s3cr3t.org:80",
        "1.2.3.4:s3cr3t",
        "fd://3",
        "8000",
        "root:s3cr3t:1:::",
        "s3cr3t",
        "the s3cr3t line of a socket",
        "s3cr3t/7hE+kEy=",
    ] {
        emperor.put("one.ini.socket", nonsense);
        held();
        emperor.put("one.ini.socket", "$DIR/one.sock");
        waiting(&emperor, "one.ini");
    }
    // It may be a link to what only root can read.
    for text in ["root:s3cr3t:19000:0:99999:7:::\n", "s3cr3t\n"] {
        std::fs::write(emperor.path("shadow"), text).unwrap();
        std::os::unix::fs::symlink(emperor.path("shadow"), emperor.path("link")).unwrap();
        std::fs::rename(emperor.path("link"), emperor.file("one.ini.socket")).unwrap();
        held();
        emperor.put("one.ini.socket", "$DIR/one.sock");
        waiting(&emperor, "one.ini");
    }
    assert!(!emperor.file("s3cr3t").exists());
    assert!(!emperor.log().contains("s3cr3t"), "{}", emperor.log());
    assert!(!emperor.stats().0.to_string().contains("s3cr3t"));
    assert!(emperor.ask("one.sock").ends_with(" 1\n"));
    // What runs is not stopped for it.
    emperor.write("one.ini.socket", "example.org:80");
    emperor.logged("reload failed, the running process stays: its address file holds no address");
    assert!(emperor.ask("one.sock").ends_with(" 1\n"));
}
