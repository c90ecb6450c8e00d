//! `emperor-force-config-pipe`: the text of a vassal file travels by a pipe, and the emperor never opens it.

use std::fs;

use crate::support::{Liege, Setup, executable, proc};

/// A program that writes what it was given on its config pipe into a file, asks for more when told to.
const READER: &str = r#"#!/usr/bin/python3
import os, socket, sys, time
def take():
    pipe = socket.socket(fileno=os.dup(int(os.environ["UWSGI_EMPEROR_FD_CONFIG"])))
    head = pipe.recv(4, socket.MSG_WAITALL)
    length = head[1] | head[2] << 8
    text = pipe.recv(length, socket.MSG_WAITALL) if length else b""
    name = sys.argv[2].removeprefix("emperor://")
    with open(os.environ["RECORD"] + "/" + name, "ab") as out:
        out.write(repr((sys.argv[1:], head[0], head[3], len(text), text[:60])).encode() + b"\n")
emperor = int(os.environ["UWSGI_EMPEROR_FD"])
take()
os.write(emperor, b"\x01")
while True:
    byte = os.read(emperor, 1)
    if byte == b"\x01":
        os.write(emperor, b"\x02")
        take()
        os.write(emperor, b"\x01")
    else:
        sys.exit(0)
"#;

fn reader(setup: Setup) -> Setup {
    let path = setup.path("reader");
    executable(&path, READER);
    let record = setup.path("record");
    setup
        .env("RECORD", record.to_str().unwrap())
        .option("--binary-path", path.to_str().unwrap())
        .flag("--emperor-force-config-pipe")
}

fn received(emperor: &Liege, name: &str, number: usize) -> String {
    emperor.wait_for(&format!("text {number} of {name}"), || {
        let text = fs::read_to_string(emperor.path("record").join(name)).ok()?;
        text.lines().nth(number - 1).map(str::to_owned)
    })
}

#[test]
fn the_text_is_there_when_the_program_starts_and_again_when_it_asks() {
    let emperor = reader(Liege::in_temp_dir().vassal("one.ini", "[uwsgi]\nx = 1\n")).start();
    let head = "(['--ini', 'emperor://one.ini'], 115, 0, ";
    assert_eq!(received(&emperor, "one.ini", 1), format!("{head}14, b'[uwsgi]\\nx = 1\\n')"));
    let pid = emperor.spoken("one.ini");
    emperor.put("one.ini", "[uwsgi]\nx = 22\n");
    assert_eq!(received(&emperor, "one.ini", 2), format!("{head}15, b'[uwsgi]\\nx = 22\\n')"));
    assert_eq!(emperor.running("one.ini"), pid);
}

#[test]
fn the_longest_text_passes_and_a_longer_one_is_held_with_the_reason_until_it_is_shorter() {
    let setup = Liege::in_temp_dir().vassal("one.ini", &"x".repeat(65_535));
    let setup = setup.vassal("two.ini", &"x".repeat(65_536));
    let emperor = reader(setup.option("--emperor-throttle", "200")).start();
    assert!(received(&emperor, "one.ini", 1).contains(" 65535, "));
    emperor.wait_until("the reason is shown", || {
        let error = emperor.stats().vassal("two.ini").0["last_error"].to_string();
        error.contains("too long for the config pipe") && error.contains("65535")
    });
    emperor.put("two.ini", "short");
    assert!(received(&emperor, "two.ini", 1).contains(" 5, b'short'"));
}

#[test]
fn liege_itself_reads_its_vassals_from_the_pipe() {
    let words = "do=ready,accepting,loyal";
    let setup = Liege::in_temp_dir().app_with("one.ini", "env = NAME=%o", words);
    let emperor = setup.flag("--emperor-force-config-pipe").start();
    let start = emperor.life("one.ini", 1);
    assert_eq!(start["env"]["NAME"], "emperor://one.ini");
    assert!(start["env"].get("UWSGI_EMPEROR_FD_CONFIG").is_none(), "the program has no use for it");
    let fds = start["fds"].as_object().unwrap();
    assert_eq!(fds.len(), 4, "nor the descriptor: {fds:?}");
}

#[test]
fn a_program_that_never_reads_and_asks_again_and_again_disturbs_nobody() {
    let setup = Liege::in_temp_dir().direct().flag("--emperor-force-config-pipe");
    let path = setup.path("asker");
    let text = "#!/usr/bin/python3\nimport os\npipe = int(os.environ['UWSGI_EMPEROR_FD'])\n\
                os.write(pipe, b'\\x01')\nfor _ in range(3000): os.write(pipe, b'\\x02')\n\
                os.write(pipe, b'\\x11')\nos.read(pipe, 1)\n";
    executable(&path, text);
    let setup = setup.vassal("one.ini", &"x".repeat(60_000));
    let emperor = setup.option("--binary-path", path.to_str().unwrap()).start();
    emperor.wait_until("it is heard to the end", || {
        emperor.try_stats().is_some_and(|stats| stats.vassal("one.ini").number("loyal") == 1)
    });
    let before = proc::descriptors(emperor.emperor_pid()).len();
    emperor.remove("one.ini");
    emperor.wait_until("it is gone", || emperor.stats().find("one.ini").is_none());
    assert!(proc::descriptors(emperor.emperor_pid()).len() < before);
    assert!(proc::zombies_of(emperor.emperor_pid()).is_empty());
}

#[test]
fn a_program_that_reads_and_asks_again_and_again_is_sent_its_file_at_a_pace() {
    let setup = Liege::in_temp_dir().direct().flag("--emperor-force-config-pipe");
    let path = setup.path("asker");
    let text = READER.replace("take()\nos.write(emperor, b\"\\x01\")\nwhile", "os.write(emperor, b\"\\x01\")\nwhile True:\n    take()\n    os.write(emperor, b\"\\x02\")\nwhile");
    executable(&path, &text);
    let record = setup.path("record");
    let setup = setup.env("RECORD", record.to_str().unwrap()).vassal("one.ini", "[uwsgi]\n");
    let begin = std::time::Instant::now();
    let emperor = setup.option("--binary-path", path.to_str().unwrap()).start();
    received(&emperor, "one.ini", 22);
    let elapsed = begin.elapsed().as_millis();
    assert!(elapsed >= 2000, "a start and 21 answers in {elapsed} ms");
    assert!(emperor.survivors().len() < 10);
}
