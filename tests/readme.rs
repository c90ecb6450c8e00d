//! The README is true: its commands are there and do what it says.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::stats::Stats;
use support::{free_port, proc};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

#[test]
fn both_commands_are_in_the_readme_and_can_be_executed() {
    use std::os::unix::fs::PermissionsExt;
    for command in ["contrib/examples/quickstart/run", "tests/run"] {
        assert!(readme().contains(command), "{command} is not in the README");
        let mode = fs::metadata(root().join(command)).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{command} cannot be executed");
    }
}

#[test]
fn every_path_that_the_readme_names_exists() {
    let text = readme().replace("```", "");
    let quoted = text.split('`').skip(1).step_by(2);
    for word in quoted.flat_map(str::split_whitespace) {
        let prefixes = ["contrib/", "man/", "tests/", "benches/", "src/"];
        if prefixes.iter().any(|prefix| word.starts_with(prefix)) {
            assert!(root().join(word.trim_end_matches('/')).exists(), "{word}");
        }
    }
}

#[test]
fn every_option_that_the_readme_names_is_known() {
    let text = readme();
    let ours: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("tests/run") && !line.contains("cargo "))
        .collect();
    for option in
        ours.join("\n").split(['`', ' ', '\n', '=']).filter_map(|word| word.strip_prefix("--"))
    {
        // A line of a table begins with dashes as well.
        let known = option.starts_with('-') || liege::opts::find(option).is_some();
        assert!(known, "--{option}");
    }
}

/// A quickstart that is ended with everything under it.
struct Quickstart {
    child: Child,
    id: String,
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        for signal in [libc::SIGTERM, libc::SIGKILL] {
            let start = Instant::now();
            loop {
                let left = proc::marked(&format!("TEST_OF_LIEGE={}", self.id));
                if left.is_empty() || start.elapsed() > Duration::from_secs(5) {
                    break;
                }
                left.iter().for_each(|&pid| proc::kill(pid, signal));
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let _ = self.child.wait();
    }
}

fn http(port: u16) -> Option<String> {
    let mut client = TcpStream::connect(("127.0.0.1", port)).ok()?;
    client.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    client.read_to_string(&mut answer).ok()?;
    let is_good =
        ["HTTP/1.0 200 OK", "HTTP/1.1 200 OK"].iter().any(|good| answer.starts_with(good));
    is_good.then_some(answer)
}

fn statistics(port: u16) -> Option<Stats> {
    let (_, body) = http(port)?
        .split_once("\r\n\r\n")
        .map(|(head, body)| (head.to_owned(), body.to_owned()))?;
    Stats::parse(body.as_bytes())
}

fn within<T>(time: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < time, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "builds a release: tests/run does it"]
fn the_quickstart_serves_sleeps_crashes_and_ends() {
    let [http_port, on_demand, stats] = [free_port(), free_port(), free_port()];
    let id = format!("quickstart-{}", std::process::id());
    let mut command = Command::new(root().join("contrib/examples/quickstart/run"));
    for (name, port) in [
        ("QUICKSTART_HTTP", http_port),
        ("QUICKSTART_ON_DEMAND", on_demand),
        ("QUICKSTART_STATS", stats),
    ] {
        command.env(name, format!("127.0.0.1:{port}"));
    }
    // A file of the user, and one of the examples that the user has changed.
    let vassals = tempfile::tempdir().unwrap();
    let sleeper = "[uwsgi]\nunprivileged-binary-patch-arg = /bin/sleep 1000\n";
    for name in ["mine.ini", "script.ini"] {
        fs::write(vassals.path().join(name), sleeper).unwrap();
    }
    let said = vassals.path().join("said");
    command.env("QUICKSTART_VASSALS", vassals.path()).env("TERM", "xterm");
    command.env("TEST_OF_LIEGE", &id).stdin(Stdio::null()).stdout(fs::File::create(&said).unwrap());
    let mut quickstart = Quickstart { child: command.spawn().unwrap(), id };

    // The build is in it.
    let first = within(Duration::from_secs(600), "the web server answers", || http(http_port));
    assert!(first.contains("This is hello"), "{first}");
    let seen = within(Duration::from_secs(10), "statistics", || statistics(stats));
    assert_eq!(seen.vassal("ondemand.ini").text("state"), "listening");
    let woken = within(Duration::from_secs(10), "the one on demand answers", || http(on_demand));
    assert!(woken.contains("This is ondemand"), "{woken}");
    within(Duration::from_secs(30), "the penalty of the crashing one grows", || {
        let stats = statistics(stats)?;
        let entry = stats.blacklisted("crash.ini")?;
        (entry.number("throttle_level") >= 2000).then_some(())
    });
    assert_eq!(statistics(stats).unwrap().vassal("mine.ini").text("state"), "running");
    assert_eq!(fs::read_to_string(vassals.path().join("script.ini")).unwrap(), sleeper);
    let said = fs::read_to_string(&said).unwrap();
    for port in [http_port, on_demand, stats] {
        assert!(said.contains(&format!(" curl http://127.0.0.1:{port}/")), "{said}");
    }
    assert!(!said.contains('\x1b'), "no colours in a file: {said}");
    within(Duration::from_secs(30), "the quiet one goes back to listening", || {
        (statistics(stats)?.vassal("ondemand.ini").text("state") == "listening").then_some(())
    });

    // The shell of `run` has become the keeper.
    proc::kill(quickstart.child.id() as i32, libc::SIGTERM);
    let status = quickstart.child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    let left = proc::marked(&format!("TEST_OF_LIEGE={}", quickstart.id));
    assert!(left.is_empty(), "{left:?}");
}
