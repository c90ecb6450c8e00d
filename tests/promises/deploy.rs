//! How files come in: tools that remove a file before they write it again stop nothing.

use crate::support::{Liege, PATIENCE, app_path, app_text, proc, program};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// From the removal of a file to the end of its program, on a quiet machine: 100 ms of it are the wait for a
/// successor of the file.
const TO_GONE: Duration = Duration::from_millis(150);

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn has(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Puts the file `from` in the place of `to` as a tool of this name does.
fn deploy(tool: &str, from: &Path, to: &Path) {
    match tool {
        "install" => run(Command::new("install").args(["-m", "644"]).arg(from).arg(to)),
        "cp" => run(Command::new("cp").arg("--remove-destination").arg(from).arg(to)),
        "tar" => {
            let archive = from.with_extension("tar");
            let (dir, name) = (from.parent().unwrap(), from.file_name().unwrap());
            run(Command::new("tar").arg("cf").arg(&archive).arg("-C").arg(dir).arg(name));
            run(Command::new("tar").arg("xf").arg(&archive).arg("-C").arg(to.parent().unwrap()));
        }
        _ => {
            fs::remove_file(to).unwrap();
            fs::copy(from, to).unwrap();
        }
    }
}

/// A vassal with a socket of its own, and the n-th text of its file, each of which needs a replacement. Each is
/// longer than the last: tar gives times in seconds, and the number of the file may be used again.
fn text(emperor: &Liege, round: usize) -> String {
    let lines =
        format!("http-socket = $DIR/web.sock\nready-after = 0\nenv = ROUND={}", "x".repeat(round));
    app_text(false, &lines, "do=serve on=term:exit:0")
        .replace("$DIR", emperor.path("").to_str().unwrap())
        .replace("$APP", app_path().to_str().unwrap())
        .replace("$NAME", "web.ini")
}

#[test]
fn a_file_that_tools_remove_and_write_again_is_replaced_and_never_stopped() {
    let emperor = Liege::in_temp_dir().start();
    emperor.put("web.ini", &text(&emperor, 0));
    emperor.life("web.ini", 1);
    fs::create_dir(emperor.path("new")).unwrap();
    let from = emperor.path("new/web.ini");
    let mut round = 0;
    for tool in ["install", "cp", "tar", "rm"] {
        if tool != "rm" && !has(tool) {
            eprintln!("skipped: no {tool}");
            continue;
        }
        for _ in 0..10 {
            round += 1;
            fs::write(&from, text(&emperor, round)).unwrap();
            deploy(tool, &from, &emperor.file("web.ini"));
            emperor.life("web.ini", round + 1);
        }
    }
    assert!(!emperor.log().contains("its file is gone"), "{}", emperor.log());
    let pid = emperor.running("web.ini");
    fs::write(&from, "[uwsgi]\nhttp-socket = $DIR/web.sock\nprocesses = 4x\n").unwrap();
    deploy("rm", &from, &emperor.file("web.ini"));
    emperor.wait_until("the fault is shown", || emperor.log().contains("4x"));
    assert!(proc::lives(pid));
    assert!(!emperor.log().contains("its file is gone"), "{}", emperor.log());
}

#[test]
fn a_checkout_stops_nobody_whose_file_is_in_both_commits() {
    if !has("git") {
        crate::skip!("no git");
    }
    let emperor = Liege::in_temp_dir().option("--emperor-on-demand-extension", ".socket").start();
    let git = |args: &[&str]| {
        let name =
            ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=one"];
        run(Command::new("git").current_dir(emperor.path("vassals")).args(name).args(args));
    };
    git(&["init", "-q"]);
    for (branch, round) in [("one", 1), ("two", 2)] {
        fs::write(emperor.file("web.ini"), text(&emperor, round)).unwrap();
        fs::write(emperor.file("sleepy.ini"), format!("{};{branch}\n", program("/bin/cat")))
            .unwrap();
        let address = format!("{}\n# {branch}\n", emperor.path("sleepy.sock").display());
        fs::write(emperor.file("sleepy.ini.socket"), address).unwrap();
        git(&["add", "."]);
        if branch == "two" {
            git(&["checkout", "-q", "-b", branch]);
        }
        git(&["commit", "-q", "-m", branch]);
    }
    emperor.wait_until("both are there", || {
        emperor.lives("web.ini") > 0 && emperor.stats().find("sleepy.ini").is_some()
    });
    let socket = || {
        let meta = fs::symlink_metadata(emperor.path("sleepy.sock")).unwrap();
        (meta.ino(), meta.ctime(), meta.ctime_nsec())
    };
    emperor.state("sleepy.ini", "listening");
    let bound = socket();
    for round in 0..10 {
        let lives = emperor.lives("web.ini");
        git(&["checkout", "-q", ["one", "two"][round % 2]]);
        emperor.wait_until("it is replaced", || emperor.lives("web.ini") > lives);
    }
    assert!(!emperor.log().contains("its file is gone"), "{}", emperor.log());
    assert_eq!(socket(), bound, "the on-demand socket was made anew: {}", emperor.log());
}

#[test]
fn a_removed_file_stops_its_program_soon() {
    let emperor = Liege::in_temp_dir().vassal("a.ini", &program("/bin/sleep 1000")).start();
    let mut best = PATIENCE;
    for _ in 0..5 {
        let pid = emperor.running("a.ini");
        let start = Instant::now();
        emperor.remove("a.ini");
        emperor.wait_until("it is gone", || !proc::lives(pid));
        best = best.min(start.elapsed());
        emperor.put("a.ini", &program("/bin/sleep 1000"));
    }
    println!("removal to gone: {best:?}");
    assert!(best >= Duration::from_millis(100), "{best:?}");
    // The looks are 10 ms apart, and the machine may be busy: the figure itself is measured in benches.
    assert!(best < TO_GONE * 4, "{best:?}");
}
