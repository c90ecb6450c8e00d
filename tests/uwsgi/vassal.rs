//! uWSGI programs as vassals, through `binary-path`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::UWSGI;
use crate::support::{Liege, PATIENCE, Setup, code, free_port, proc};

/// Answers with its pid and with a text from the environment.
const APP: &str = "import os
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [('pid=%d told=%s' % (os.getppid(), os.environ.get('TOLD'))).encode()]
";

fn setup() -> Setup {
    let setup = Liege::in_temp_dir().option("--binary-path", UWSGI);
    fs::write(setup.path("app.py"), APP).unwrap();
    setup
}

/// A vassal file for the application, with more lines.
fn app(port: u16, more: &str) -> String {
    format!(
        "[uwsgi]\nplugin = python3\nmaster = true\nneed-app = true\nwsgi-file = $DIR/app.py\n\
         http-socket = 127.0.0.1:{port}\n{more}\n"
    )
}

/// The body of the answer, if somebody listens.
fn get(port: u16) -> Option<String> {
    let mut client = TcpStream::connect(("127.0.0.1", port)).ok()?;
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    client.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.").then(|| body.to_owned())
}

fn answer(emperor: &Liege, port: u16) -> String {
    emperor.wait_for("the application answers", || get(port))
}

/// A master and its workers.
fn family(pid: i32) -> Vec<i32> {
    let mut family = proc::children_of(pid);
    family.push(pid);
    family
}

fn flag(emperor: &Liege, name: &str, flag: &str) -> bool {
    emperor.stats().find(name).is_some_and(|vassal| vassal.0[flag] == 1)
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn it_is_ready_accepting_and_after_its_first_request_loyal() {
    let port = free_port();
    let emperor = setup().vassal("one.ini", &app(port, "")).start();
    let pid = emperor.running("one.ini");
    emperor.wait_until("it accepts", || flag(&emperor, "one.ini", "accepting"));
    assert!(flag(&emperor, "one.ini", "ready"));
    assert!(!flag(&emperor, "one.ini", "loyal"));
    assert!(answer(&emperor, port).starts_with(&format!("pid={pid} ")));
    emperor.wait_until("it is loyal", || flag(&emperor, "one.ini", "loyal"));
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn a_touch_reloads_it_with_the_same_pid_and_the_new_file() {
    let port = free_port();
    let emperor = setup().vassal("one.ini", &app(port, "env = TOLD=old")).start();
    let pid = emperor.running("one.ini");
    assert_eq!(answer(&emperor, port), format!("pid={pid} told=old"));
    emperor.put("one.ini", &app(port, "env = TOLD=new"));
    emperor.wait_until("the new text is served", || {
        get(port).is_some_and(|text| text == format!("pid={pid} told=new"))
    });
    emperor.wait_until("it accepts again", || flag(&emperor, "one.ini", "accepting"));
    assert_eq!(emperor.running("one.ini"), pid);
    assert_eq!(emperor.stats().vassal("one.ini").number("respawns"), 1);
    assert_eq!(emperor.stats().vassal("one.ini").number("deaths"), 0);
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn it_stops_by_itself_when_its_file_is_gone() {
    for graceful in [false, true] {
        let port = free_port();
        let setup = setup().vassal("one.ini", &app(port, ""));
        let setup = if graceful { setup.flag("--emperor-graceful-shutdown") } else { setup };
        let emperor = setup.start();
        emperor.running("one.ini");
        answer(&emperor, port);
        emperor.remove("one.ini");
        emperor.wait_until("it is gone", || emperor.stats().find("one.ini").is_none());
        let log = emperor.log();
        let stopped = log.lines().find(|line| line.contains("[one.ini] stopped after"));
        assert!(stopped.is_some_and(|line| !line.contains("SIGKILL")), "{log}");
        assert!(get(port).is_none());
        assert_eq!(code(emperor.end()), 0);
    }
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn its_heartbeat_is_heard_and_missed() {
    let port = free_port();
    let setup = setup().vassal("one.ini", &app(port, "heartbeat = 1"));
    let setup = setup.option("--emperor-required-heartbeat", "3");
    let emperor = setup.option("--emperor-curse-tolerance", "2").start();
    let pid = emperor.running("one.ini");
    emperor
        .wait_until("it beats", || emperor.stats().vassal("one.ini").number("last_heartbeat") > 0);
    answer(&emperor, port);
    // A worker beats, whatever its master does.
    family(pid).into_iter().for_each(|it| proc::kill(it, libc::SIGSTOP));
    emperor.running_anew("one.ini", pid);
    emperor.logged("[one.ini] no heartbeat in time: told to reload");
    answer(&emperor, port);
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn killed_it_comes_back_and_killed_with_the_emperor_it_is_gone() {
    let port = free_port();
    let mut emperor = setup().vassal("one.ini", &app(port, "processes = 3")).start();
    let pid = emperor.running("one.ini");
    answer(&emperor, port);
    emperor.wait_until("it is loyal", || flag(&emperor, "one.ini", "loyal"));
    proc::kill(pid, libc::SIGKILL);
    emperor.running_anew("one.ini", pid);
    // It may need a second try, while the kernel still closes the sockets of the workers that were killed.
    let pid = emperor.wait_for("the new one answers", || {
        let pid = emperor.pid("one.ini")?;
        get(port)?.starts_with(&format!("pid={pid} ")).then_some(pid)
    });
    emperor.wait_until("its three workers are there", || family(pid).len() == 4);
    let family = family(pid);
    proc::kill(emperor.emperor_pid(), libc::SIGKILL);
    assert_eq!(code(emperor.wait_for_end()), 128 + libc::SIGKILL);
    emperor.wait_until("master and workers are gone", || !family.iter().any(|&it| proc::lives(it)));
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn on_demand_it_is_started_by_its_first_client_and_rests_when_it_is_idle() {
    let text = "[uwsgi]\nplugin = python3\nmaster = true\nneed-app = true\nwsgi-file = $DIR/app.py\n\
                idle = 2\ndie-on-idle = true\nprotocol = http\n";
    let port = free_port();
    let setup = setup().vassal("one.ini", text).on_demand("one.ini", &format!("127.0.0.1:{port}"));
    let emperor = setup.start();
    emperor.state("one.ini", "listening");
    assert!(answer(&emperor, port).starts_with("pid="));
    emperor.state("one.ini", "running");
    emperor.state("one.ini", "listening");
    assert!(answer(&emperor, port).starts_with("pid="));
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn its_arguments_environment_and_descriptors_are_those_of_its_own_emperor() {
    let port = free_port();
    let setup = setup().vassal("one.ini", &app(port, "")).env("KEPT", "a b");
    let emperor = setup.env("NOTIFY_SOCKET", "/nonexistent").start();
    let pid = emperor.running("one.ini");
    let words = |file: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        text.split_terminator('\0').map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(words("cmdline"), [UWSGI, "--ini", "one.ini"]);
    let environment = words("environ");
    assert!(environment.contains(&"KEPT=a b".to_owned()), "{environment:?}");
    for name in ["NOTIFY_SOCKET", "LIEGE_STATUS_FD", "UWSGI_ORIGINAL_PROC_NAME", "LISTEN_FDS"] {
        let is_there = environment.iter().any(|line| line.starts_with(&format!("{name}=")));
        assert!(!is_there, "{name}");
    }
    let pipe = environment.iter().find_map(|line| line.strip_prefix("UWSGI_EMPEROR_FD="));
    let link = fs::read_link(format!("/proc/{pid}/fd/{}", pipe.unwrap())).unwrap();
    assert!(link.to_str().unwrap().starts_with("socket:"), "{}", link.display());
    let dir = emperor.path("vassals").canonicalize().unwrap();
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), dir);
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn variables_for_vassals_set_its_options() {
    let port = free_port();
    let setup = setup().vassal("one.ini", "[uwsgi]\nneed-app = true\n");
    let file = setup.path("app.py");
    let emperor = setup
        .env("UWSGI_VASSAL_PLUGIN", "python3")
        .env("UWSGI_VASSAL_MASTER", "true")
        .env("UWSGI_VASSAL_WSGI_FILE", file.to_str().unwrap())
        .env("UWSGI_VASSAL_HTTP_SOCKET", &format!("127.0.0.1:{port}"))
        .env("UWSGI_VASSAL_ENV", "TOLD=by the emperor")
        .start();
    assert!(answer(&emperor, port).ends_with("told=by the emperor"));
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn settings_and_templates_of_the_emperor_reach_it() {
    let port = free_port();
    let setup = setup().vassal("one.ini", "[uwsgi]\nneed-app = true\nenv = TOLD=%(told)\n");
    fs::write(setup.path("before"), "[uwsgi]\nplugin = python3\nmaster = true\n").unwrap();
    fs::rename(setup.path("before"), setup.path("before.ini")).unwrap();
    let file = setup.path("app.py");
    let after = format!("[uwsgi]\nwsgi-file = {}\n", file.display());
    fs::write(setup.path("after.ini"), after).unwrap();
    let emperor = setup
        .option("--vassals-include-before", "$DIR/before.ini")
        .option("--vassals-inherit", "$DIR/after.ini")
        .option("--vassals-set", "told=by a setting")
        .option("--vassals-set", &format!("http-socket=127.0.0.1:{port}"))
        .start();
    assert!(answer(&emperor, port).ends_with("told=by a setting"));
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn it_reads_its_file_from_the_config_pipe_and_again_at_a_reload() {
    let port = free_port();
    let setup = setup().vassal("one.ini", &app(port, "env = TOLD=old"));
    let emperor = setup.flag("--emperor-force-config-pipe").start();
    let pid = emperor.running("one.ini");
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(line.ends_with("--ini\0emperor://one.ini\0"), "{line}");
    assert_eq!(answer(&emperor, port), format!("pid={pid} told=old"));
    emperor.put("one.ini", &app(port, "env = TOLD=new"));
    emperor.wait_until("the new text is served", || {
        get(port).is_some_and(|text| text == format!("pid={pid} told=new"))
    });
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn one_that_is_not_installed_is_named_and_its_installation_is_enough() {
    let port = free_port();
    let setup = Liege::in_temp_dir().vassal("one.ini", &app(port, ""));
    fs::write(setup.path("app.py"), APP).unwrap();
    let place = setup.path("uwsgi");
    let setup = setup.option("--binary-path", place.to_str().unwrap());
    let emperor = setup.option("--emperor-max-throttle", "1000").start();
    emperor.wait_until("the reason is shown", || {
        let error = emperor.stats().vassal("one.ini").0["last_error"].to_string();
        error.contains("No such file") && error.contains(place.to_str().unwrap())
    });
    std::os::unix::fs::symlink(UWSGI, &place).unwrap();
    answer(&emperor, port);
    assert_eq!(emperor.stats().vassal("one.ini").0["last_error"], json!(null));
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn a_faulty_one_disturbs_nobody_and_comes_with_its_next_change() {
    let (port, other) = (free_port(), free_port());
    let setup = setup().vassal("good.ini", &app(other, ""));
    let bad = app(port, "").replace("app.py", "no-such-app.py");
    let setup = setup.vassal("bad.ini", &bad);
    let emperor = setup.option("--emperor-max-throttle", "500").start();
    emperor.wait_until("it is blacklisted", || emperor.stats().blacklisted("bad.ini").is_some());
    answer(&emperor, other);
    let pid = emperor.running("good.ini");
    emperor.put("bad.ini", &app(port, ""));
    answer(&emperor, port);
    assert_eq!(emperor.running("good.ini"), pid);
}

#[test]
#[ignore = "needs uWSGI: tests/run --apps"]
fn an_emperor_of_uwsgi_may_be_a_vassal() {
    let port = free_port();
    let setup = setup().vassal("sub.ini", "[uwsgi]\nemperor = $DIR/lower\nemperor-freq = 1\n");
    fs::create_dir(setup.path("lower")).unwrap();
    let text = app(port, "").replace("$DIR", setup.path("").to_str().unwrap());
    fs::write(setup.path("lower").join("under.ini"), text).unwrap();
    let emperor = setup.start();
    answer(&emperor, port);
    emperor.wait_until("it is loyal", || flag(&emperor, "sub.ini", "loyal"));
    emperor.remove("sub.ini");
    emperor.wait_for_within(Duration::from_secs(60), "both are gone", || {
        get(port).is_none().then_some(())
    });
}
