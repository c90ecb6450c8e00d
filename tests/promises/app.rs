//! The test vassal by itself, with this test as its emperor: what the other chapters rely on.

use crate::support::{PATIENCE, app_path, proc};
use serde_json::Value;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use tempfile::TempDir;

struct Fixture {
    dir: TempDir,
    child: Child,
    pipe: UnixStream,
}

fn start(words: &str) -> Fixture {
    let dir = TempDir::new().unwrap();
    let (pipe, theirs) = UnixStream::pair().unwrap();
    pipe.set_read_timeout(Some(PATIENCE)).unwrap();
    proc::inherit(&theirs);
    let record = format!("record={}", dir.path().join("record").display());
    let mut command = Command::new(app_path());
    command.arg(record).args(words.split_whitespace());
    command.env("UWSGI_EMPEROR_FD", theirs.as_raw_fd().to_string());
    Fixture { child: proc::with_default_signals(&mut command).spawn().unwrap(), dir, pipe }
}

impl Fixture {
    fn hear(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.pipe.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn record(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join("record")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_speaks_and_answers_as_its_words_say() {
    let mut app = start("do=ready,accepting,wait:10,loyal,beat on=graceful:idle");
    assert_eq!(app.hear(4), [1, 5, 17, 26]);
    app.pipe.write_all(&[1]).unwrap();
    assert_eq!(app.hear(2), [1, 5], "ready again after a reload");
    app.pipe.write_all(&[2]).unwrap();
    assert_eq!(app.hear(1), [22]);
    app.pipe.write_all(&[0]).unwrap();
    assert_eq!(app.child.wait().unwrap().code(), Some(0));
    let record = app.record();
    assert_eq!(record[0]["event"], "start");
    assert_eq!(record[0]["blocked"], "0000000000000000");
    let bytes: Vec<_> = record.iter().filter(|line| line["event"] == "byte").collect();
    assert_eq!(
        bytes.iter().map(|byte| byte["value"].as_i64().unwrap()).collect::<Vec<_>>(),
        [1, 2, 0]
    );
}

#[test]
fn it_catches_the_signals_that_it_has_a_word_for_and_no_others() {
    let mut app = start("do=ready on=term:exit:7");
    app.hear(1);
    proc::kill(app.child.id() as i32, libc::SIGTERM);
    assert_eq!(app.child.wait().unwrap().code(), Some(7));
    let mut app = start("do=ready");
    app.hear(1);
    proc::kill(app.child.id() as i32, libc::SIGTERM);
    assert_eq!(app.child.wait().unwrap().code(), None);
}

#[test]
fn its_strays_write_themselves_down() {
    let mut app = start("do=stray:double,stray:stopped,ready");
    app.hear(1);
    let strays: Vec<i64> = app
        .record()
        .iter()
        .filter(|line| line["event"] == "stray")
        .map(|line| line["pid"].as_i64().unwrap())
        .collect();
    assert_eq!(strays.len(), 2);
    for pid in strays {
        assert!(proc::lives(pid as i32));
        proc::kill(pid as i32, libc::SIGKILL);
    }
}
