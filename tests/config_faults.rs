//! Hostile and broken configuration: every fault is told with its place, all of them at once, and nothing
//! waits, grows or ends the program.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

#[path = "support/brief.rs"]
#[allow(dead_code, reason = "there is no emperor here")]
mod brief;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use liege::config::{self, Invocation, Resolved};

/// Does something that must take less than 2 s of this thread's own processor time, however busy the machine is.
fn soon<T>(work: impl FnOnce() -> T) -> T {
    let used = || {
        // Not every kernel counts it; there this shows only that the work ends.
        let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or("0 ".to_owned());
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    };
    let before = used();
    let done = work();
    let took = used() - before;
    assert!(took < Duration::from_secs(2), "{took:?} of processor time");
    done
}

/// A directory with files, and readings in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        brief::cut_panics();
        Self(tempfile::tempdir().unwrap())
    }

    fn file(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        fs::write(self.0.path().join(name), text).unwrap();
        self
    }

    fn ini(self, text: &str) -> Self {
        self.file("a.ini", format!("[uwsgi]\n{text}"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    fn call(&self, args: &[&str]) -> Invocation {
        let args = args.iter().map(OsString::from).collect();
        Invocation {
            run: liege::sys::command::output,
            ..Invocation::new(args, Vec::new(), self.path())
        }
    }

    fn load(&self) -> Result<Resolved, String> {
        config::load(&self.call(&["--ini", "a.ini"])).map_err(|faults| faults.to_string())
    }

    /// The faults, which must come soon.
    fn faults(&self) -> String {
        soon(|| self.load().unwrap_err())
    }

    /// This file is refused by the program for the reason told, within 2 s of work and 64 MiB: the kernel
    /// holds it to both, however busy the machine is with other things.
    fn explodes(&self, name: &str, what: &str, told: &str) {
        let output = Command::new("prlimit")
            .args(["--as=67108864", "--cpu=2", env!("CARGO_BIN_EXE_liege"), "--show-config", name])
            .current_dir(self.path())
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        let first = err.lines().next().unwrap_or_default();
        assert_eq!(output.status.code(), Some(1), "{name}, {what}: {} {first}", output.status);
        assert!(err.contains(told), "{name}, {what}: {first}");
    }

    fn value(&self, name: &str) -> String {
        self.load().unwrap().first(name).unwrap().to_owned()
    }
}

#[test]
fn every_fault_of_a_file_is_told_not_only_the_first() {
    let place = Place::new()
        .ini("a = \u{1}\n= b\nset = x\ninclude = gone.ini\nelse =\nset-ph = uid=1\nc = @(gone.txt)\ndeclare-option = x=y\n");
    let faults = place.faults();
    for line in [
        "a.ini:3:",
        "a.ini:4: set:",
        "a.ini:5: include: gone.ini",
        "a.ini:6: else",
        "a.ini:7: set-ph",
        "a.ini:8: c: @(gone.txt)",
        "a.ini:9: declare-option",
    ] {
        assert!(faults.contains(line), "{line} is missing in:\n{faults}");
    }
    assert_eq!(faults.lines().count(), 7, "{faults}");
}

#[test]
fn a_fault_in_an_included_file_names_the_way_to_it() {
    let place = Place::new()
        .ini("include = b.ini\n")
        .file("b.ini", "[uwsgi]\ninclude = c.ini\n")
        .file("c.ini", "[uwsgi]\nset = x\n");
    assert!(place.faults().contains(
        "c.ini:2: set: 'x' has no '=' (expected NAME=TEXT) (included from b.ini:2, from a.ini:2)"
    ));
}

#[test]
fn only_regular_files_are_read_and_nothing_is_waited_for() {
    let place = Place::new();
    let dir = place.path();
    assert!(Command::new("mkfifo").arg(dir.join("fifo.ini")).status().unwrap().success());
    fs::create_dir(dir.join("dir.ini")).unwrap();
    symlink("/dev/zero", dir.join("zero.ini")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket.ini")).unwrap();
    for (name, what) in [
        ("fifo.ini", "FIFO"),
        ("dir.ini", "directory"),
        ("zero.ini", "device"),
        ("socket.ini", "socket"),
    ] {
        let direct = config::load(&place.call(&["--ini", name])).unwrap_err().to_string();
        assert!(direct.contains(what) && direct.contains(name), "{direct}");
        fs::write(dir.join("a.ini"), format!("[uwsgi]\ninclude = {name}\nx = @({name})\n"))
            .unwrap();
        let included = place.faults();
        assert!(included.contains(&format!("a.ini:2: include: {name}: ")), "{included}");
        assert!(included.contains(&format!("a.ini:3: x: @({name}): ")), "{included}");
    }
}

#[test]
fn noise_is_refused_with_its_size_or_its_lines() {
    let mut seed = 1_u64;
    let mut noise = Vec::new();
    while noise.len() < 10 << 20 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        noise.extend(seed.to_be_bytes().map(|byte| if byte == b'%' { b'$' } else { byte }));
    }
    assert!(Place::new().file("a.ini", &noise).faults().contains("longer than 1 MiB"));
    noise.truncate(1 << 20);
    assert!(Place::new().file("a.ini", &noise).faults().contains("no section [uwsgi]"));
    let inside = [&b"[uwsgi]\n"[..], &noise[..(1 << 20) - 8]].concat();
    assert!(Place::new().file("a.ini", inside).faults().contains("is not UTF-8"));
    let sparse = Place::new().ini("");
    File::options()
        .write(true)
        .open(sparse.path().join("a.ini"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    assert!(sparse.faults().contains("longer than 1 MiB"));
}

#[test]
fn bytes_that_are_no_text_matter_only_where_they_are_read() {
    let text = b"\xff before\n[uwsgi]\n; caf\xe9\na = 1\n[other]\nx = \xff\n";
    assert_eq!(Place::new().file("a.ini", text).value("a"), "1");
    let faults = Place::new().file("a.ini", b"[uwsgi]\na = caf\xe9\nb = \0\n").faults();
    assert!(faults.contains("a.ini:2: is not UTF-8; save the file in that encoding"), "{faults}");
    assert!(faults.contains("a.ini:3: contains a zero byte"), "{faults}");
}

#[test]
fn a_file_of_any_name_is_read() {
    let place = Place::new();
    for name in [&b"\xff.ini"[..], b"-x.ini", b"a b.ini", b"a:b.ini", b"%n.ini", b"a'\".ini"] {
        let name = OsString::from_vec(name.to_vec());
        fs::write(place.path().join(&name), "[uwsgi]\na = 1\n").unwrap();
        let call = Invocation::new(vec!["--ini".into(), name.clone()], Vec::new(), place.path());
        let resolved = config::load(&call).unwrap_or_else(|faults| panic!("{name:?}: {faults}"));
        assert_eq!(resolved.first("a"), Some("1"), "{name:?}");
    }
    let name = "a\nb.ini";
    fs::write(place.path().join(name), "[uwsgi]\na = %n\nb = 1\n").unwrap();
    let faults = config::load(&place.call(&["--ini", name])).unwrap_err().to_string();
    assert!(faults.contains("control character"), "{faults}");
}

#[test]
fn files_nest_64_deep_and_no_deeper() {
    let chain = |last: usize| {
        let mut place = Place::new().ini("include = 0.ini\n");
        for number in 0..last {
            let text = format!("[uwsgi]\ninclude = {}.ini\n", number + 1);
            place = place.file(&format!("{number}.ini"), text);
        }
        place.file(&format!("{last}.ini"), "[uwsgi]\na = 1\n")
    };
    assert_eq!(chain(60).value("a"), "1");
    assert!(chain(70).faults().contains("more than 64 deep"));
}

#[test]
fn files_that_inherit_each_other_are_a_fault_with_the_chain() {
    let place = Place::new().ini("inherit = b.ini\n").file("b.ini", "[uwsgi]\ninherit = a.ini\n");
    let faults = place.faults();
    assert!(faults.contains("b.ini:2: inherit: a.ini is already being read"), "{faults}");
    assert!(faults.contains("a.ini:2 → b.ini:2 → a.ini"), "{faults}");
}

#[test]
fn bombs_are_refused_soon_and_within_64_mib() {
    let doubling: String =
        (1..40).map(|n| format!("a{n} = %(a{})%(a{0})\n", n - 1)).collect::<String>()
            + "a0 = xxxxxxxx\n";
    let deep: String = (0..2000).map(|n| format!("a{n} = %(a{})\n", n + 1)).collect();
    let many = "x = 1\n".repeat(10_001);
    let loops = format!("for-times = 9999\n{}endfor =\n", "x = %(_)\n".repeat(50));
    let huge = "x".repeat(900_000);
    let bombs = [
        ("doubling placeholders", doubling, "1 MiB"),
        ("deep placeholders", deep, "more than 64 deep"),
        ("many lines", many, "10000 settings"),
        ("loops", loops, "10000 settings"),
        (
            "too many repetitions",
            "for-times = 100000000\nx=1\nendfor=\n".to_owned(),
            "more than 10000 times",
        ),
        ("a resource that names itself", "x = @(self.txt)\n".to_owned(), "leads back to itself"),
        ("resources that double", "x = @(f0.txt)\n".to_owned(), "10000 variables and resources"),
        (
            "marks that are never closed",
            format!("x = {})\n", "%(".repeat(500_000)),
            "without a value",
        ),
        (
            "marks inside marks",
            format!("x = {}{}\n", "%(a ".repeat(200_000), ")".repeat(200_000)),
            "neither a name in the list",
        ),
        (
            "joined texts",
            format!("a = {}\nx = %({})\n", "y".repeat(90_000), "a ".repeat(100_000)),
            "1 MiB",
        ),
        ("large resources", "x = @(huge.txt)\n".repeat(9000), "1 MiB"),
        ("half a million lines", "a\n".repeat(520_000), "10000 settings"),
        ("half a million faults", "=\n".repeat(520_000), "has no name"),
        (
            "unknown names",
            (0..9000).map(|n| format!("strange-option-{n} = 1\n")).collect::<String>() + "set=x\n",
            "has no '='",
        ),
        (
            "unknown names in strict",
            "strict = 1\n".to_owned()
                + &(0..9000).map(|n| format!("strange-option-{n} = 1\n")).collect::<String>(),
            "strict is set",
        ),
        ("odd percent signs", "%q\n".repeat(340_000), "10000 settings"),
        ("magic", format!("{}\n", "%p".repeat(400_000)), "1 MiB"),
        (
            "magic that asks the kernel",
            format!(";{}\nset=x\n", "%k%h".repeat(50_000)),
            "has no '='",
        ),
        (
            "defaults of defaults",
            format!("x = {}{}\n", "$(a-".repeat(200_000), ")".repeat(200_000)),
            "MiB",
        ),
        (
            "a file again and again",
            "for-times = 9000\ninclude = notes.ini\nendfor =\n".to_owned(),
            "more than 8 MiB are read",
        ),
        (
            "a resource again and again",
            "for-times = 9000\nx = @(zeros.txt)\nendfor =\n".to_owned(),
            "more than 8 MiB are read",
        ),
    ];
    for (what, text, told) in bombs {
        let place = Place::new()
            .ini(&text)
            .file("self.txt", "@(self.txt)@(self.txt)")
            .file("huge.txt", &huge)
            .file("zeros.txt", vec![0; 1 << 20])
            .file("notes.ini", "[uwsgi]\n".to_owned() + &"; a line of notes\n".repeat(50_000));
        fs::write(place.path().join("f50.txt"), "").unwrap();
        for number in 0..50 {
            let text = format!("@(f{0}.txt)@(f{0}.txt)", number + 1);
            fs::write(place.path().join(format!("f{number}.txt")), text).unwrap();
        }
        place.explodes("a.ini", what, told);
    }
}

#[test]
fn bombs_of_other_formats_are_refused_soon_and_within_64_mib() {
    let bombs = [
        (
            "a.json",
            format!("{{\"uwsgi\":{{{}\"z\":1}}}}", "\"a\":1,".repeat(90_000)),
            "10000 settings",
        ),
        ("a.json", format!("{{\"uwsgi\":{{\"a\":[{}1]}}}}", "{},".repeat(300_000)), "is nested"),
        (
            "a.json",
            format!("{{\"uwsgi\":{{\"a\":[{}1]}}}}", "1,".repeat(500_000)),
            "10000 settings",
        ),
        ("a.json", "[".repeat(1 << 20), "JSON"),
        ("a.yml", format!("uwsgi:\n{}", " a: 1\n".repeat(140_000)), "10000 settings"),
        ("a.yml", format!("uwsgi:\n a:\n{}", " - 1\n".repeat(200_000)), "10000 settings"),
        ("a.yml", format!("uwsgi: {}", "[".repeat(1_000_000)), "YAML"),
        ("a.yml", format!("uwsgi: {}", "{a: ".repeat(250_000)), "YAML"),
        ("a.yml", format!("uwsgi: {}", "- ".repeat(500_000)), "YAML"),
        ("a.xml", format!("<uwsgi>{}</uwsgi>", "<a/>".repeat(90_000)), "10000 settings"),
        ("a.xml", format!("<uwsgi>{}</uwsgi>", "<a><b/></a>".repeat(90_000)), "XML"),
        ("a.xml", "<a>".repeat(300_000), "XML"),
        ("a.xml", format!("<uwsgi {}/>", "a=\"\" ".repeat(170_000)), "XML"),
    ];
    for (name, text, told) in bombs {
        let place = Place::new().file(name, &text);
        place.explodes(name, text.get(..60).unwrap_or(&text), told);
    }
}

#[test]
fn a_pattern_that_would_walk_for_ever_is_a_fault_with_its_place() {
    let place =
        Place::new().ini(&format!("a = 1\nfor-glob = {}\nx = %(_)\nend =\n", "*/".repeat(35)));
    for name in ["b", "c", "d"] {
        symlink(".", place.path().join(name)).unwrap();
    }
    place.explodes("a.ini", "for-glob", "liege: a.ini:3: for-glob: '*/*/");
    // To glob(3) two stars are one, and nothing below the first level is looked at.
    let place = Place::new().ini("for-glob = /**\nx = %(_)\nend =\n");
    assert!(place.load().unwrap().settings.iter().any(|s| s.key == "x" && s.value == "/proc"));
}

#[test]
fn commands_have_a_limit_of_time_all_together() {
    let text = "a = @(exec://echo 1)\nb = @(exec://sleep 1000)\ninclude = exec://sleep 1000\n";
    let place = Place::new().ini(text);
    let mut call = place.call(&["a.ini"]);
    call.commands_timeout = Duration::from_secs(1);
    let start = Instant::now();
    let faults = config::load(&call).unwrap_err().to_string();
    for told in [
        "a.ini:3: b: @(exec://sleep 1000): the commands of this configuration take longer than 1 s",
        "a.ini:4: include: exec://sleep 1000: the commands of this configuration take longer",
    ] {
        assert!(faults.contains(told), "{told} is missing in:\n{faults}");
    }
    assert!(start.elapsed() < Duration::from_secs(100));
}

#[test]
fn a_variable_that_names_itself_is_a_fault() {
    let place = Place::new().ini("x = $(A)\n");
    let mut call = place.call(&["--ini", "a.ini"]);
    call.env = vec![("A".into(), "$(B)$(B)".into()), ("B".into(), "$(A)$(A)".into())];
    let faults = soon(|| config::load(&call).unwrap_err().to_string());
    assert!(faults.contains("a.ini:2: x: ") && faults.contains("leads back to itself"), "{faults}");
}

#[test]
fn a_percent_sign_without_meaning_is_kept_with_a_warning() {
    let place = Place::new().ini("; 50% of it\na = 100% q%q\nc = 5%\n[other]\nb = %q\n");
    let resolved = place.load().unwrap();
    assert_eq!(resolved.first("a"), Some("100% q%q"));
    let warnings: Vec<String> = resolved.warnings.iter().map(ToString::to_string).collect();
    assert!(
        warnings.contains(&"a.ini:3: % before 'q' has no meaning, write %%".to_owned()),
        "{warnings:?}"
    );
    let end = "a.ini:4: % at the end of a line has no meaning, write %%".to_owned();
    assert!(warnings.contains(&end), "{warnings:?}");
    let is_there =
        |warning: &String| warning.starts_with("a.ini:3") || warning.starts_with("a.ini:4");
    assert!(warnings.iter().all(is_there), "{warnings:?}");
}

#[test]
fn whatever_a_file_says_a_fault_is_one_line_without_colours() {
    let text =
        r#"{"uwsgi": {"a\nliege: forged": "é", "\u001b[31mb": 1, "set": "5\r\nliege: \u009b"}}"#;
    let place = Place::new().file("a.json", text);
    let reading = config::load(&place.call(&["--json", "a.json"])).unwrap_err().to_string();
    assert_eq!(reading.lines().count(), 1, "{reading}");
    assert!(reading.contains(r"'5\r\nliege: \u{9b}' has no '='"), "{reading}");
    let place = Place::new().file("a.json", text.replace("set", "c"));
    let warnings = config::load(&place.call(&["--json", "a.json"])).unwrap().warnings;
    assert!(warnings.iter().all(|told| !told.to_string().contains(char::is_control)));
    assert!(warnings[0].to_string().contains(r#""a\nliege: forged""#), "{}", warnings[0]);
}

#[test]
fn a_name_that_is_empty_is_a_fault_in_every_format() {
    for (name, text) in [
        ("a.ini", "[uwsgi]\n= x\n"),
        ("a.yaml", "uwsgi:\n  \"\": x\n"),
        ("a.json", "{\"uwsgi\":\n{\"\": 1}}"),
    ] {
        let place = Place::new().file(name, text);
        let faults = config::load(&place.call(&[name])).unwrap_err().to_string();
        assert!(faults.starts_with(&format!("{name}:2: has no name")), "{faults}");
    }
}

#[test]
fn a_name_that_nothing_uses_is_a_warning_with_the_nearest_option() {
    let place = Place::new()
        .ini("htpp-socket = :1\nbase = /srv\nchdir = %(base)\nset-ph = x=1\nset = y=1\n");
    let warnings: Vec<String> =
        place.load().unwrap().warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["a.ini:2: unknown option \"htpp-socket\" (did you mean \"http-socket\"?)"]
    );
}

#[test]
fn exit_and_print_are_obeyed() {
    let place =
        Place::new().ini("print = hello %n %(x)\nx = 1\nif-exists = gone\nexit = 7\nendif =\n");
    let resolved = place.load().unwrap();
    assert_eq!(resolved.messages().collect::<Vec<_>>(), ["hello a 1"]);
    for (text, status) in [("exit = 7\n", 7), ("exit\n", 1), ("exit = 0\n", 0), ("exit = x\n", 1)] {
        let place = Place::new().ini(text);
        assert_eq!(config::load(&place.call(&["a.ini"])).unwrap_err().status(), status, "{text}");
    }
}

/// Stays open, so that no other file can get its number.
static OPEN: OnceLock<[File; 2]> = OnceLock::new();

fn holding(text: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text).unwrap();
    file
}

#[test]
fn text_comes_from_commands_descriptors_and_the_emperor_too() {
    let place = Place::new();
    let load = |args: &[&str]| config::load(&place.call(args)).map_err(|faults| faults.to_string());
    let resolved = load(&["--ini", "exec://printf '[uwsgi]\\na = %s\\n' 1"]).unwrap();
    assert_eq!(resolved.first("a"), Some("1"));
    assert!(
        load(&["--ini", "exec://echo '[uwsgi]'; exit 3"]).unwrap_err().contains("exit status: 3")
    );
    assert!(load(&["--ini", "exec://yes"]).unwrap_err().contains("longer than 1 MiB"));
    for scheme in ["http://x/y.ini", "data://0", "sym://x", "zork://x"] {
        assert!(load(&["--ini", scheme]).unwrap_err().contains(scheme));
    }
    assert!(load(&["--ini", "emperor://x.ini"]).unwrap_err().contains("configuration pipe"));

    // Numbers that no other test has open: two ends of one pipe would be refused.
    let mut call = place.call(&["--ini", "emperor://x.ini", "--ini", "fd://905"]);
    call.env = vec![("UWSGI_EMPEROR_FD_CONFIG".into(), "904".into())];
    call.descriptor = |number| {
        let text = b"[uwsgi]\na = 1\n";
        let length = u8::try_from(text.len()).unwrap();
        let line = [&[115, length, 0, 0], text.as_slice(), b"behind"].concat();
        let [line, file] = OPEN.get_or_init(|| [holding(&line), holding(b"[uwsgi]\nb = %o\n")]);
        let mut asked = if number == 904 { line } else { file }.try_clone()?;
        asked.rewind()?;
        Ok(asked)
    };
    let resolved = config::load(&call).unwrap();
    assert_eq!((resolved.first("a"), resolved.first("b")), (Some("1"), Some("fd://905")));
}

#[test]
fn a_file_that_is_open_already_is_read_whatever_its_name_means_now() {
    let place = Place::new().ini("a = old %n\n");
    let mut call = place.call(&["--ini", "a.ini"]);
    call.opened = Some(("a.ini".into(), File::open(place.path().join("a.ini")).unwrap()));
    fs::remove_file(place.path().join("a.ini")).unwrap();
    for _ in 0..2 {
        assert_eq!(config::load(&call).unwrap().first("a"), Some("old a"));
    }
}

#[test]
fn defaults_of_variables_are_those_of_the_shell() {
    let place = Place::new().ini("a = $(X:-one) $(E:-two) $(E-three) $(X-) $(H:-$(X:-four))\n");
    let mut call = place.call(&["--ini", "a.ini"]);
    call.env = vec![("E".into(), "".into())];
    assert_eq!(config::load(&call).unwrap().first("a"), Some("one two   four"));
}

#[test]
fn a_second_descriptor_of_the_line_is_the_line_as_well_and_a_stage_reads_no_other() {
    use std::os::fd::AsRawFd;
    let (line, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let second = line.try_clone().unwrap();
    let told = |inherits_files: bool, value: i32, number: i32| {
        let env = vec![("UWSGI_EMPEROR_FD".into(), value.to_string().into())];
        let args = ["--include", &format!("fd://{number}")].map(Into::into).to_vec();
        let call = Invocation {
            descriptor: |number| panic!("descriptor {number} was read"),
            inherits_files,
            ..Invocation::new(args, env, "/".into())
        };
        config::load(&call).unwrap_err().to_string()
    };
    let of_the_line = told(true, line.as_raw_fd(), second.as_raw_fd());
    assert!(
        of_the_line.contains("is the line between this vassal and its emperor"),
        "{of_the_line}"
    );
    let other = told(false, 999, 7);
    assert!(other.contains("descriptor 7 is liege's own or not open"), "{other}");
}

#[test]
fn what_an_emperor_and_its_vassal_say_to_each_other_is_no_configuration() {
    let names = ["UWSGI_EMPEROR_FD", "UWSGI_EMPEROR_FD_CONFIG"];
    for (name, text) in names.iter().flat_map(|name| [(name, "fd://9"), (name, "exec://env")]) {
        let env = vec![((*name).into(), "9".into())];
        let args = vec![format!("--chdir=@({text})").into()];
        let call = Invocation {
            run: liege::sys::command::output,
            descriptor: |number| panic!("descriptor {number} was read"),
            ..Invocation::new(args, env, "/".into())
        };
        match (text, config::load(&call)) {
            ("fd://9", Err(faults)) => {
                let told = faults.to_string();
                assert!(
                    told.contains("descriptor 9 is the line between") && told.contains(name),
                    "{told}"
                );
            }
            ("exec://env", Ok(resolved)) => {
                let seen = resolved.first("chdir").unwrap();
                assert!(!seen.contains(name), "{seen}");
            }
            (_, other) => panic!("{name} {text}: {other:?}"),
        }
    }
}
