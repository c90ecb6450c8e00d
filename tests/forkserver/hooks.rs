//! Hooks around adopted vassals.

use std::fs;

use crate::support::{executable, proc};
use crate::{adopted, text, with_base};

#[test]
fn an_adopted_vassal_has_no_start_hook_but_a_stop_hook() {
    let mut setup = with_base("say");
    for name in ["start", "stop"] {
        let path = setup.path(name);
        let text = format!("#!/bin/sh\necho $1 >> {}.seen\n", path.display());
        executable(&path, &text);
        let option = format!("--vassals-{name}-hook");
        setup = setup.option(&option, path.to_str().unwrap());
    }
    let emperor = setup.vassal("one.ini", &text("do=ready,accepting,loyal")).start();
    let seen = |name: &str| {
        let text = fs::read_to_string(emperor.path(&format!("{name}.seen"))).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let pid = adopted(&emperor, "one.ini");
    emperor.wait_until("it is loyal", || emperor.stats().vassal("one.ini").number("loyal") == 1);
    proc::kill(pid, libc::SIGKILL);
    emperor.running_anew("one.ini", pid);
    assert_eq!(seen("start"), ["base.ini"]);
    assert_eq!(seen("stop"), ["one.ini"]);
}
