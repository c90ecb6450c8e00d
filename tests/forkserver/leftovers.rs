//! What the processes of a base leave behind.

use crate::support::{Liege, proc};
use crate::{adopted, living, text, with_base};

/// The children that a vassal has forked, by its record.
fn forked(emperor: &Liege, name: &str) -> Vec<i32> {
    let strays = emperor.events(name, "stray");
    strays.iter().map(|stray| stray["pid"].as_i64().unwrap() as i32).collect()
}

#[test]
fn what_an_adopted_vassal_has_forked_ends_with_it() {
    let emperor = with_base("")
        .vassal("one.ini", &text("do=until:1:stray:deaf,ready on=eof:"))
        .vassal("two.ini", &text("do=stray:deaf,ready on=eof:"))
        .start();
    let (one, two) = (adopted(&emperor, "one.ini"), adopted(&emperor, "two.ini"));
    emperor.wait_until("all are forked", || {
        forked(&emperor, "one.ini").len() == 1 && forked(&emperor, "two.ini").len() == 1
    });
    let (of_one, of_two) = (forked(&emperor, "one.ini")[0], forked(&emperor, "two.ini")[0]);
    let base = emperor.running("base.ini");
    assert_eq!(proc::session(of_one), Some(base), "nothing but its parent tells whose it is");
    proc::kill(one, libc::SIGKILL);
    emperor.wait_until("its child is gone", || !proc::lives(of_one));
    emperor.running_anew("one.ini", one);
    assert!(proc::lives(of_two) && proc::lives(two) && proc::lives(base));
    // Also when the base is not there any more.
    emperor.remove("base.ini");
    emperor.wait_until("the base is gone", || !proc::lives(base));
    emperor.stays("its vassal is whole", || proc::lives(of_two) && proc::lives(two));
    emperor.remove("two.ini");
    emperor.wait_until("nothing is left of it", || !proc::lives(of_two) && !proc::lives(two));
}

#[test]
fn who_becomes_ours_long_after_its_talk_was_given_up_is_killed() {
    let emperor = with_base("do=linger:4000").vassal("one.ini", &text("do=ready on=eof:")).start();
    let pid = adopted(&emperor, "one.ini");
    emperor.wait_until("both were born", || emperor.lives("one.ini") == 2);
    emperor.wait_until("one is left", || living(&emperor, "one.ini") == [pid]);
}
