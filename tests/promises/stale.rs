//! An edit is applied, whatever the vassal is and says; and where it is not, that is shown.

use crate::support::{Liege, free_port, proc};
use std::fs;

const SPEAKER: &str = "do=ready,accepting,loyal";

/// `stale` and its reason.
fn stale(emperor: &Liege, name: &str) -> (u64, String) {
    let stats = emperor.stats();
    let vassal = stats.vassal(name);
    (
        vassal.number("stale") as u64,
        vassal.0["stale_reason"].as_str().unwrap_or_default().to_owned(),
    )
}

fn bytes(emperor: &Liege, name: &str) -> usize {
    emperor.events(name, "byte").iter().filter(|event| event["value"] == 1).count()
}

#[test]
fn an_edit_of_what_an_exec_fixes_reaches_a_program_that_speaks() {
    let emperor = Liege::in_temp_dir().app_with("one.ini", "env = COLOUR=red", SPEAKER).start();
    let mut pid = emperor.spoken("one.ini");
    assert_eq!(emperor.life("one.ini", 1)["env"]["COLOUR"], "red");
    // The environment, the arguments, the umask.
    emperor.put_app_with("one.ini", "env = COLOUR=blue", SPEAKER);
    emperor.running_anew("one.ini", pid);
    assert_eq!(emperor.life("one.ini", 2)["env"]["COLOUR"], "blue");
    pid = emperor.spoken("one.ini");
    emperor.put_app_with("one.ini", "env = COLOUR=blue", &format!("{SPEAKER} listen=0"));
    emperor.running_anew("one.ini", pid);
    assert!(emperor.life("one.ini", 3)["argv"].to_string().contains("listen=0"));
    assert_eq!(bytes(&emperor, "one.ini"), 0, "told to stop, not to reload");
    // What it says to nobody but the emperor, and what it says to nobody.
    pid = emperor.spoken("one.ini");
    let lines = "# a comment\nenv = COLOUR=blue\nstop-signal = INT";
    emperor.put_app_with("one.ini", lines, &format!("{SPEAKER} listen=0"));
    emperor.wait_until("it is told to reload", || bytes(&emperor, "one.ini") == 1);
    assert_eq!((emperor.pid("one.ini"), stale(&emperor, "one.ini").0), (Some(pid), 0));
    assert!(emperor.stats().blacklisted("one.ini").is_none(), "an edit is no death");
}

#[test]
fn a_program_that_speaks_moves_to_another_port_and_nobody_is_refused_at_the_old_one_before() {
    let (old, new) = (free_port(), free_port());
    let lines = |port: u16| format!("http-socket = 127.0.0.1:{port}");
    let words = "listen=3 do=ready,accepting,serve";
    let emperor = Liege::in_temp_dir().app_with("one.ini", &lines(old), words).start();
    let pid = emperor.spoken("one.ini");
    emperor.put_app_with("one.ini", &lines(new), words);
    emperor.wait_until("it serves at the new port", || {
        crate::support::ask_tcp(new).is_ok_and(|said| !said.starts_with(&format!("{pid} ")))
    });
    emperor.wait_until("and nobody at the old one", || crate::support::ask_tcp(old).is_err());
}

#[test]
fn an_edit_reaches_a_program_with_a_reload_signal_and_a_touch_is_that_signal() {
    let words = "on=hup: do=wait:1";
    let lines = "reload-signal = HUP\nenv = COLOUR=red";
    let emperor = Liege::in_temp_dir().app_with("one.ini", lines, words).start();
    let pid = emperor.running("one.ini");
    emperor.life("one.ini", 1);
    emperor.touch("one.ini");
    emperor.wait_until("it got SIGHUP", || emperor.events("one.ini", "hup").len() == 1);
    emperor.put_app_with("one.ini", "reload-signal = HUP\nenv = COLOUR=blue", words);
    emperor.running_anew("one.ini", pid);
    assert_eq!(emperor.life("one.ini", 2)["env"]["COLOUR"], "blue");
}

#[test]
fn a_stop_signal_that_was_edited_is_the_one_that_is_sent() {
    let words = "on=hup: on=int:exit:0 do=wait:1";
    let emperor = Liege::in_temp_dir().app_with("one.ini", "reload-signal = HUP", words).start();
    let pid = emperor.running("one.ini");
    emperor.life("one.ini", 1);
    emperor.put_app_with("one.ini", "reload-signal = HUP\nstop-signal = INT", words);
    emperor.wait_until("it got SIGHUP", || emperor.events("one.ini", "hup").len() == 1);
    assert_eq!(emperor.pid("one.ini"), Some(pid));
    emperor.remove("one.ini");
    emperor.wait_until("it has ended", || !proc::lives(pid));
    emperor.logged("(exit 0)");
}

#[test]
fn a_faulty_edit_leaves_a_program_that_speaks_alone_and_is_shown_as_long_as_it_lasts() {
    let emperor = Liege::in_temp_dir().app("one.ini", SPEAKER).start();
    let pid = emperor.spoken("one.ini");
    let good = fs::read_to_string(emperor.file("one.ini")).unwrap();
    assert_eq!(stale(&emperor, "one.ini"), (0, String::new()));
    emperor.put("one.ini", "[uwsgi]\nchdir = $DIR/nowhere\nlisten = many\n");
    emperor.wait_until("the fault is shown with its place", || {
        let (is_stale, why) = stale(&emperor, "one.ini");
        is_stale == 1 && why.contains("one.ini:3")
    });
    emperor.stays("it runs on and is told nothing", || {
        emperor.pid("one.ini") == Some(pid) && bytes(&emperor, "one.ini") == 0
    });
    emperor.put("one.ini", &good);
    emperor.wait_until("it is told to reload", || bytes(&emperor, "one.ini") == 1);
    assert_eq!((emperor.pid("one.ini"), stale(&emperor, "one.ini").0), (Some(pid), 0));
}

#[test]
fn an_address_that_cannot_be_read_is_shown_while_the_program_runs_on() {
    let emperor =
        Liege::in_temp_dir().app("one.ini", SPEAKER).on_demand("one.ini", "one.sock").start();
    assert!(std::os::unix::net::UnixStream::connect(emperor.path("one.sock")).is_ok());
    let pid = emperor.spoken("one.ini");
    fs::write(emperor.file("one.ini.socket"), "fd://9\n").unwrap();
    emperor.wait_until("it is shown", || {
        let (is_stale, why) = stale(&emperor, "one.ini");
        is_stale == 1 && why.contains("address")
    });
    assert_eq!(emperor.pid("one.ini"), Some(pid));
}

#[test]
fn an_edited_option_of_an_emperor_below_is_obeyed_and_a_touch_keeps_its_process() {
    let text = |throttle: u32| {
        format!(
            "[uwsgi]\nemperor = $DIR/lower\nemperor-stats = $DIR/lower.sock\nemperor-throttle = {throttle}\n"
        )
    };
    let setup = Liege::in_temp_dir();
    fs::create_dir(setup.path("lower")).unwrap();
    let emperor = setup.vassal("sub.ini", &text(1000)).start();
    let pid = emperor.spoken("sub.ini");
    emperor.touch("sub.ini");
    emperor.logged("told to reload by the emperor above");
    assert_eq!(emperor.pid("sub.ini"), Some(pid));
    emperor.put("sub.ini", &text(2000));
    emperor.running_anew("sub.ini", pid);
}
