//! The spawner as a black box: what it answers, what it keeps, and when it ends.

use std::collections::BTreeSet;

use super::*;

/// What is open in a spawner that has answered all orders; nothing for a user who may not see it.
fn open_in(spawner: &Spawner) -> BTreeMap<i32, String> {
    if !is_root() {
        eprintln!("not shown: the descriptors of a process that is not dumpable are root's to see");
        return BTreeMap::new();
    }
    let is_handle = |name: &String| name.contains("[pidfd]");
    // The last handle is closed behind its answer.
    until("the end of its work", || !fds(spawner.pid()).values().any(is_handle));
    fds(spawner.pid())
}

#[test]
fn no_order_good_or_bad_leaves_a_descriptor_in_the_spawner_nor_ends_it() {
    let mut setup = stage(&[SLEEP]);
    let order = setup.order.clone();
    let mut spawner = setup.spawner();
    drop(spawner.start(order.clone()));
    let before = open_in(&spawner);
    for round in 0..50 {
        drop(spawner.start(order.clone()));
        // Without what must be attached; for a source that does not exist; not readable at all.
        let nothing = spawner.order(&SpawnerOrder::Start(order.clone()), &[]).unwrap();
        assert_eq!(nothing.wait(), ExitStatus::Code(126));
        let vassal = VassalName { source: 9, name: "a.ini".into() };
        let lost = spawner.start(StartOrder { vassal, ..StartOrder::default() });
        assert_eq!(lost.0.wait(), ExitStatus::Code(126));
        let whole = SpawnerOrder::Start(order.clone()).encode(1_000 + round);
        spawner.send(&whole[..whole.len() - 1], &[leak(), leak(), leak()]);
        let cut = spawner.answer(1_000 + round).expect("an answer").unwrap();
        assert_eq!(cut.wait(), ExitStatus::Code(126));
    }
    assert_eq!(open_in(&spawner), before);
}

#[test]
fn a_spawner_that_is_told_what_is_no_order_ends_without_a_process_that_nobody_knows() {
    let mut setup = stage(&[SLEEP]);
    // What has no session of its own yet is in this group.
    setup.command.process_group(0);
    let order = setup.order.clone();
    let mut spawner = setup.spawner();
    let group = i32::try_from(spawner.pid()).unwrap();
    let (known, status) = spawner.start(order.clone());
    said_on(&status);
    proc::kill(group, libc::SIGSTOP);
    until("its stop", || proc::state(group) == Some('T'));
    spawner.send(b"?", &[leak()]);
    // It is not read any more.
    spawner.send(&SpawnerOrder::Start(order).encode(2), &[]);
    proc::kill(group, libc::SIGCONT);
    assert!(spawner.answer(2).is_none());
    assert_eq!(spawner.end(), Some(71));
    let left = proc::children_of(std::process::id().cast_signed());
    let left: Vec<i32> = left.into_iter().filter(|pid| proc::group(*pid) == Some(group)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(proc::lives(known.pid.get()), "the program that it has started before");
}

#[test]
fn a_spawner_that_is_told_what_is_no_template_ends() {
    let mut spawner = stage(&[SLEEP]).spawner_told(b"?");
    assert!(spawner.answer(1).is_none());
    assert_eq!(spawner.end(), Some(71));
}

#[test]
fn a_process_that_the_kernel_refuses_is_an_answer_with_its_reason() {
    // The limit does not hold for root.
    let setup = stage(&[SLEEP]).through_shell("ulimit -u 0").of_ordinary_user();
    let Some((mut setup, _)) = setup else { return };
    let order = SpawnerOrder::Start(setup.order.clone());
    let mut spawner = setup.spawner();
    let mut open = BTreeSet::new();
    for _ in 0..3 {
        assert_eq!(spawner.order(&order, &[leak(), leak()]).err(), Some(libc::EAGAIN));
        open.insert(open_in(&spawner).len());
    }
    assert_eq!(open.len(), 1, "{open:?}");
}

#[test]
fn a_spawner_ends_with_its_socket_and_what_it_has_started_goes_on() {
    let mut setup = stage(&[SLEEP]);
    let order = setup.order.clone();
    let mut spawner = setup.spawner();
    let (program, status) = spawner.start(order);
    said_on(&status);
    assert_eq!(spawner.end(), Some(0));
    assert!(proc::lives(program.pid.get()));
    assert_eq!(proc::parent(program.pid.get()), Some(std::process::id().cast_signed()));
}

/// An emperor that is started here has its spawner as a child.
fn spawner_of(emperor: u32) -> Option<i32> {
    let is_spawner = |pid: &i32| {
        stat(pid.unsigned_abs())
            .is_some_and(|(name, state)| name == "liege-spawner" && state == 'S')
    };
    proc::children_of(emperor.cast_signed()).into_iter().find(is_spawner)
}

#[test]
fn a_spawner_dies_with_its_emperor_even_if_it_is_stopped() {
    let mut setup = stage(&[SLEEP]).foreign();
    setup.command = liege();
    // A keeper would end what is left.
    setup.command.args(["--emperor", ".", "--emperor-keeper", "off"]);
    setup.command.current_dir(setup.dir.path());
    setup.pipe = false;
    let mut emperor = setup.start();
    let mut found = None;
    until("its spawner", || {
        found = spawner_of(emperor.pid());
        found.is_some()
    });
    let spawner = found.unwrap();
    // It cannot see that its socket has ended.
    proc::kill(spawner, libc::SIGSTOP);
    until("its stop", || proc::state(spawner) == Some('T'));
    emperor.kill();
    until("its end", || !proc::lives(spawner));
}
