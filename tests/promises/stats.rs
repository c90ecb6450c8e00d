//! The statistics: one JSON object for each connection, at once, whatever the client does.

use crate::support::stats::Stats;
use crate::support::{Liege, free_port, proc};
use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const TOP: &[&str] = &[
    "version",
    "pid",
    "uid",
    "gid",
    "cwd",
    "emperor",
    "emperor_tyrant",
    "throttle_level",
    "vassals",
    "blacklist",
];
const VASSAL: &[&str] = &[
    "id",
    "pid",
    "born",
    "last_mod",
    "last_heartbeat",
    "loyal",
    "ready",
    "accepting",
    "last_loyal",
    "last_ready",
    "last_accepting",
    "first_run",
    "last_run",
    "cursed",
    "zerg",
    "on_demand",
    "suspended",
    "adopted",
    "uid",
    "gid",
    "monitor",
    "attrs",
    "respawns",
];
const BLACKLIST: &[&str] = &["id", "throttle_level", "attempt", "first_attempt", "last_attempt"];

/// The keys of each object, in the order of the text, outermost object last.
fn keys_of_objects(text: &str) -> Vec<Vec<String>> {
    let (mut open, mut done): (Vec<Vec<String>>, Vec<Vec<String>>) = (Vec::new(), Vec::new());
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}', '"']) {
        let (sign, tail) = (rest.as_bytes()[at], &rest[at + 1..]);
        rest = tail;
        match sign {
            b'{' => open.push(Vec::new()),
            b'}' => done.extend(open.pop()),
            _ => {
                let mut end = 0;
                while tail.as_bytes()[end] != b'"' {
                    end += if tail.as_bytes()[end] == b'\\' { 2 } else { 1 };
                }
                rest = &tail[end + 1..];
                if rest.trim_start().starts_with(':') {
                    open.last_mut().unwrap().push(tail[..end].to_owned());
                }
            }
        }
    }
    done
}

/// The known keys are all there, in this order; others may stand between them.
fn assert_order(keys: &[String], wanted: &[&str]) {
    let known: Vec<&str> =
        keys.iter().map(String::as_str).filter(|key| wanted.contains(key)).collect();
    assert_eq!(known, wanted, "in {keys:?}");
}

#[test]
fn the_keys_are_those_of_uwsgi_in_its_order() {
    let setup = Liege::in_temp_dir().option("--emperor-throttle", "60000");
    let emperor = setup.app("bad.ini", "do=exit:1").start();
    emperor.state("bad.ini", "backoff");
    let text = String::from_utf8(emperor.raw_stats().unwrap()).unwrap();
    let objects = keys_of_objects(&text);
    assert_order(objects.last().unwrap(), TOP);
    let vassal = objects.iter().find(|keys| keys.iter().any(|key| key == "monitor")).unwrap();
    assert_order(vassal, VASSAL);
    let entry = objects.iter().find(|keys| keys.iter().any(|key| key == "attempt")).unwrap();
    assert_eq!(entry, BLACKLIST, "no key of ours here");
    for ours in ["state", "reason", "next_start_ms", "last_exit", "last_error", "generation"] {
        assert!(vassal.iter().any(|key| key == ours), "{ours} in {vassal:?}");
    }
}

#[test]
fn the_emperor_describes_itself() {
    let emperor = Liege::in_temp_dir().start();
    let stats = emperor.stats();
    let dir = emperor.path("vassals").canonicalize().unwrap();
    let dir = dir.to_str().unwrap();
    assert_eq!(stats.top("cwd"), dir, "it works in its first directory");
    assert_eq!(stats.top("emperor"), &serde_json::json!([dir]));
    assert_eq!(stats.top("uid"), proc::uid());
    assert_eq!(stats.top("emperor_tyrant"), 0);
    assert!(stats.top("version").as_str().unwrap().contains(env!("CARGO_PKG_VERSION")));
    assert!(proc::lives(emperor.emperor_pid()));
}

#[test]
fn a_tcp_address_answers_too() {
    let port = free_port();
    let setup = Liege::in_temp_dir().only_args(&[
        "--emperor",
        "$DIR/vassals",
        "--emperor-stats",
        &format!("127.0.0.1:{port}"),
    ]);
    let emperor = setup.app("one.ini", "do=ready").spawn();
    let stats = emperor.wait_for("an answer", || {
        let mut text = Vec::new();
        TcpStream::connect(("127.0.0.1", port)).ok()?.read_to_end(&mut text).ok()?;
        Stats::parse(&text)
    });
    assert!(proc::lives(stats.top("pid").as_i64().unwrap() as i32));
}

#[test]
fn hostile_names_and_texts_are_valid_json() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let setup = Liege::in_temp_dir();
    let names: &[&[u8]] = &[
        b"quo\"te.ini",
        b"back\\slash.ini",
        b"blank name.ini",
        b"per%cent.ini",
        b"-dash.ini",
        b"\xff\xfe.ini",
        "\u{fc}ml\u{e4}ut.ini".as_bytes(),
        b"$(reboot).ini",
        b"semi;colon.ini",
    ];
    for name in names {
        let text = crate::support::program("/bin/sleep 1000");
        std::fs::write(setup.path("vassals").join(OsStr::from_bytes(name)), text).unwrap();
    }
    let setup = setup.vassal("fault.ini", "[uwsgi]\nlisten = \"\\\u{1}many\"\n");
    let emperor = setup.start();
    emperor.wait_until("all good ones run", || emperor.stats().up() == names.len());
    // Reading it was parsing it; here is what it says.
    let stats = emperor.stats();
    for name in names {
        if let Ok(name) = std::str::from_utf8(name) {
            assert!(stats.vassal(name).pid().is_some(), "{name}");
        }
    }
    assert_eq!(stats.vassals().len(), names.len() + 1);
}

#[test]
fn two_hundred_silent_clients_block_nobody() {
    // So many vassals that what a client gets does not fit into the buffer of its socket.
    let mut setup = Liege::in_temp_dir();
    for number in 0..500 {
        let name = format!("{number}.ini");
        setup = setup.app(&name, "do=serve").on_demand(&name, &format!("{number}.sock"));
    }
    let emperor = setup.start();
    emperor.wait_until("all wait", || {
        let stats = emperor.stats();
        stats.vassals().iter().filter(|vassal| vassal["state"] == "listening").count() == 500
    });
    assert!(emperor.raw_stats().unwrap().len() > 220_000, "more than a buffer takes");
    let pid = emperor.emperor_pid();
    let memory =
        || proc::status(pid, "VmRSS").unwrap().trim_end_matches(" kB").parse::<u64>().unwrap();
    let before = memory();
    let clients: Vec<_> =
        (0..200).filter_map(|_| UnixStream::connect(emperor.path("stats.sock")).ok()).collect();
    let start = Instant::now();
    emperor.put_app("late.ini", "do=ready");
    emperor.running("late.ini");
    emperor.remove("late.ini");
    emperor.wait_until("it is gone", || emperor.stats().find("late.ini").is_none());
    assert!(start.elapsed().as_secs() < 25, "{:?}", start.elapsed());
    assert!(memory() < before + 20_000, "{before} kB, then {} kB", memory());
    drop(clients);
    assert_eq!(emperor.end().code(), Some(0));
}

#[test]
fn a_client_that_sends_or_leaves_does_no_harm() {
    use std::io::Write;
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready").start();
    for round in 0..50 {
        let mut client = emperor.connect("stats.sock");
        if round % 2 == 0 {
            let _ = client.write_all(&vec![b'G'; 100_000][..4096]);
        }
        drop(client);
    }
    assert!(emperor.stats().find("one.ini").is_some());
}

#[test]
fn a_stale_stats_socket_is_replaced() {
    let setup = Liege::in_temp_dir();
    proc::make_left_over_socket(&setup.path("stats.sock"));
    let emperor = setup.start();
    assert!(proc::lives(emperor.emperor_pid()));
}

#[test]
fn an_idle_emperor_sleeps() {
    let mut setup = Liege::in_temp_dir();
    for number in 0..50 {
        // No deadline is left once they are loyal.
        setup = setup.app(&format!("{number}.ini"), "do=ready,accepting,loyal");
    }
    let emperor = setup.start();
    emperor.wait_until("all are loyal", || {
        emperor.stats().vassals().iter().all(|vassal| vassal["loyal"] == 1)
    });
    let pids = [emperor.emperor_pid(), emperor.first_pid()];
    let sleeps = || pids.map(|pid| proc::sleeps(pid).unwrap());
    // Slots of the start budget, the throttle and the last client have their own last deadlines.
    let mut last = (sleeps(), Instant::now());
    emperor.wait_until("two seconds pass in which neither it nor its keeper wakes up", || {
        let now = sleeps();
        if now != last.0 {
            last = (now, Instant::now());
        }
        last.1.elapsed().as_secs() >= 2
    });
}

#[test]
fn the_socket_is_for_its_owner_and_group_unless_the_configuration_opens_it() {
    let mode = |emperor: &Liege| {
        fs::symlink_metadata(emperor.path("stats.sock")).unwrap().permissions().mode() & 0o777
    };
    let emperor = Liege::in_temp_dir().start();
    emperor.stats();
    assert_eq!(mode(&emperor), 0o660);
    let emperor = Liege::in_temp_dir().flag("--chmod-socket=666").start();
    emperor.stats();
    assert_eq!(mode(&emperor), 0o666);
}

#[test]
fn a_socket_whose_file_is_gone_is_bound_anew_at_sighup_and_at_sigusr2() {
    let emperor = Liege::in_temp_dir().start();
    let pid = emperor.emperor_pid();
    for signal in [libc::SIGHUP, libc::SIGUSR2] {
        fs::remove_file(emperor.path("stats.sock")).unwrap();
        assert!(UnixStream::connect(emperor.path("stats.sock")).is_err());
        proc::kill(pid, signal);
        emperor.wait_until("it answers again", || {
            UnixStream::connect(emperor.path("stats.sock")).is_ok()
        });
        assert_eq!(emperor.emperor_pid(), pid);
    }
    emperor.logged("somebody has removed its file; it is bound again");
}

#[test]
fn a_client_that_asks_again_and_again_costs_a_part_of_a_processor_and_keeps_nobody_out() {
    let mut setup = Liege::in_temp_dir();
    for number in 0..300 {
        let name = format!("{number}.ini");
        setup = setup.app(&name, "do=serve").on_demand(&name, &format!("{number}.sock"));
    }
    let emperor = setup.start();
    emperor.wait_until("all are there", || emperor.stats().vassals().len() == 300);
    let path = emperor.path("stats.sock");
    let end = Arc::new(AtomicBool::new(false));
    let storm = {
        let end = Arc::clone(&end);
        thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                drop(UnixStream::connect(&path));
            }
        })
    };
    let pid = emperor.emperor_pid();
    let (before, start) = (proc::ticks(pid), Instant::now());
    let mut answers = 0;
    while start.elapsed() < Duration::from_secs(3) {
        emperor.stats();
        answers += 1;
    }
    let used = Duration::from_millis(10 * (proc::ticks(pid) - before));
    end.store(true, Ordering::Relaxed);
    storm.join().unwrap();
    println!("{answers} honest answers; {used:?} of {:?}", start.elapsed());
    assert!(answers >= 3, "{answers}");
    assert!(used < start.elapsed() / 2, "{used:?} of {:?}", start.elapsed());
}

#[test]
fn the_statistics_of_many_vassals_are_whole_for_each_client_and_one_that_leaves_harms_nobody() {
    let mut setup = Liege::in_temp_dir();
    let names: Vec<String> = (0..700).map(|number| format!("{number}.ini")).collect();
    for (number, name) in names.iter().enumerate() {
        setup = setup.app(name, "do=ready").on_demand(name, &format!("{number}.sock"));
    }
    let emperor = setup.start();
    let all: std::collections::BTreeSet<&str> = names.iter().map(String::as_str).collect();
    for name in names.iter().take(5) {
        drop(emperor.connect("stats.sock"));
        // Its answer is another one than the last.
        emperor.touch(name);
        let clients: Vec<_> = (0..4).map(|_| emperor.connect("stats.sock")).collect();
        drop(emperor.connect("stats.sock"));
        for mut client in clients {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut client, &mut text).unwrap();
            let stats: serde_json::Value = serde_json::from_str(&text).unwrap();
            let vassals = stats["vassals"].as_array().unwrap();
            assert_eq!(vassals.len(), all.len());
            let shown = vassals.iter().map(|vassal| vassal["id"].as_str().unwrap());
            assert_eq!(shown.collect::<std::collections::BTreeSet<_>>(), all);
        }
    }
}
