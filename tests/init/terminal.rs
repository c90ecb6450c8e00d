//! At a terminal; script(1) provides one.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::*;

/// A terminal with a command on it.
struct Terminal {
    child: Child,
    keys: Option<ChildStdin>,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    fn open(world: &World, command: &str) -> Self {
        let mut child = world
            .command("script")
            .args(["-qefc", command, "/dev/null"])
            .env("LIEGE", LIEGE)
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut out, copy) = (child.stdout.take().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut chunk = [0; 1024];
            while let Ok(length @ 1..) = out.read(&mut chunk) {
                copy.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..length]));
            }
        });
        Self { keys: child.stdin.take(), child, screen }
    }

    #[track_caller]
    fn shows(&self, text: &str) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !self.screen.lock().unwrap().contains(text) {
            let screen = self.screen.lock().unwrap().clone();
            assert!(std::time::Instant::now() < deadline, "no {text:?} on {screen:?}");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    #[track_caller]
    fn end(mut self) -> i32 {
        let status = code(end_of(&mut self.child));
        drop(self.keys.take());
        status
    }
}

const STOP: &str = "\x1a";
const INTERRUPT: &str = "\x03";

#[test]
fn at_a_terminal_the_command_gets_the_foreground_and_the_script_gets_it_back() {
    if !has("script") {
        return;
    }
    let world = World::new();
    // Fields 5 and 8 of stat: the own group, and the one in the foreground.
    let show = "awk '{print ($5 == $8) ? \"front\" : \"back\"}' /proc/self/stat";
    std::fs::write(world.path("show"), format!("#!/bin/sh\nexec {show}\n")).unwrap();
    let terminal = Terminal::open(&world, "$LIEGE init sh ./show; sh ./show; echo done");
    terminal.shows("front\r\nfront\r\ndone");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn the_key_for_interrupt_reaches_the_command() {
    if !has("script") {
        return;
    }
    let world = World::new();
    // With a trap: between fork and exec a shell's child would swallow it.
    let script = "trap \"exit 33\" INT; echo up; while :; do sleep 0.02; done";
    let command = &format!("$LIEGE init sh -c '{script}'; echo ended with $?");
    let mut terminal = Terminal::open(&world, command);
    terminal.shows("up");
    terminal.press(INTERRUPT);
    terminal.shows("ended with 33");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn the_key_for_stop_gives_the_terminal_back_to_the_shell_and_fg_goes_on() {
    if !has("script") {
        return;
    }
    let world = World::new();
    let below = "echo up; read a; echo got $a; read b; echo got $b; exit 5";
    let command = format!(
        "sh -mc '$LIEGE init sh -c \"{}\"; echo stopped with $?; fg; echo $?'",
        below.replace('$', "\\$")
    );
    let mut terminal = Terminal::open(&world, &command);
    terminal.shows("up");
    terminal.press("first\n");
    terminal.shows("got first");
    terminal.press(STOP);
    terminal.shows("stopped with");
    terminal.press("second\n");
    terminal.shows("got second");
    terminal.shows("5\r\n");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn where_no_shell_could_continue_it_the_key_for_stop_does_nothing() {
    if !has("script") {
        return;
    }
    let world = World::new();
    let below = "echo up; read a; echo got $a; exit 5";
    let mut terminal = Terminal::open(&world, &format!("exec $LIEGE init sh -c '{below}'"));
    terminal.shows("up");
    terminal.press(STOP);
    terminal.press("line\n");
    terminal.shows("got line");
    assert_eq!(terminal.end(), 5);
}
