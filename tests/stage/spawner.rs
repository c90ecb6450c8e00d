//! The spawner as a black box: what it answers, what it keeps, and what it lets its children see.

use std::os::unix::fs::{FileExt, MetadataExt};

use super::*;

/// A start hook that does not end keeps the child between fork and exec.
fn held_in_its_hook(mut setup: Setup) -> Setup {
    executable(&setup.path("hook"), "#!/bin/sh\n: >hooked\nexec sleep 600\n");
    setup.template.start_hook = Some(c_string(setup.path("hook").to_str().unwrap()));
    setup
}

/// A vassal of this name, and an order for it.
fn named(setup: &Setup, name: &str) -> StartOrder {
    vassal_file(&setup.path(name), &[SLEEP]);
    let vassal = VassalName { source: 0, name: name.into() };
    StartOrder { vassal, ..StartOrder::default() }
}

/// How often a text stands in the memory of a process, that of the kernel's own pages left out.
fn occurrences(pid: u32, text: &str) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut count = 0;
    for line in maps.lines().filter(|line| !line.contains("[v")) {
        let (range, rest) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        if !rest.starts_with('r') {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(number(to) - number(from)).unwrap()];
        // A page behind the end of a file cannot be read.
        if memory.read_exact_at(&mut bytes, number(from)).is_ok() {
            count += bytes.windows(text.len()).filter(|part| *part == text.as_bytes()).count();
        }
    }
    count
}

#[test]
fn the_memory_of_the_spawner_and_of_each_child_has_no_trace_of_another_vassal() {
    if !is_root() {
        eprintln!("skipped: the memory of a process that is not dumpable is root's to read");
        return;
    }
    let mut setup = stage(&[SLEEP]);
    let mut spawner = setup.spawner();
    let names = ["first-tenant.ini", "second-tenant.ini", "third-tenant-with-a-longer-name.ini"];
    let mut made = Vec::new();
    for name in names {
        let (process, status) = spawner.start(named(&setup, name));
        assert!(matches!(said_on(&status).pop(), Some((FromStage::Verdict(Verdict::Exec(_)), _))));
        made.push(process);
    }
    for name in names {
        assert_eq!(occurrences(spawner.pid(), &name[..12]), 0, "{name} in the spawner");
    }
    // What is looked for would be found.
    assert!(occurrences(spawner.pid(), setup.dir.path().to_str().unwrap()) > 0);
}

#[test]
fn a_child_before_its_exec_has_no_trace_of_another_vassal() {
    if !is_root() {
        eprintln!("skipped: the memory of a process that is not dumpable is root's to read");
        return;
    }
    let mut setup = held_in_its_hook(stage(&[SLEEP]));
    let mut spawner = setup.spawner();
    // Longer than the second one, which would otherwise lie where it has lain.
    let longer = format!("{}-first-tenant.ini", "x".repeat(100));
    let (first, _first_status) = spawner.start(named(&setup, &longer));
    until("its hook", || setup.path("hooked").exists());
    fs::remove_file(setup.path("hooked")).unwrap();
    let (second, _second_status) = spawner.start(named(&setup, "second-tenant.ini"));
    until("its hook", || setup.path("hooked").exists());
    assert!(occurrences(second.number(), "second-tenant") > 0);
    assert_eq!(occurrences(second.number(), "first-tenant"), 0);
    assert_eq!(occurrences(first.number(), "second-tenant"), 0);
}

#[test]
fn nobody_can_trace_the_spawner_or_a_child_before_its_exec_nor_make_them_dump_core() {
    if !is_root() || !is_reachable_by_all() {
        eprintln!("skipped: not root, or no other user can execute the program");
        return;
    }
    let setup = held_in_its_hook(stage(&[SLEEP]).run_by(NOBODY));
    fs::set_permissions(setup.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let hooked = setup.path("hooked");
    let stage = setup.start();
    until("its hook", || hooked.exists());
    // The files of a process that is not dumpable are root's, whoever runs it.
    let owner = |pid: u32| fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid();
    let spawner = stage.spawner.as_ref().unwrap().pid();
    assert_eq!((owner(spawner), owner(stage.pid())), (0, 0));
    assert_eq!(stage.status_line("Uid"), [NOBODY; 4].map(|id| id.to_string()).join(" "));
    // A program is as usual.
    let mut stage = super::stage(&[SLEEP]).run_by(NOBODY).start();
    stage.exec();
    assert_eq!(owner(stage.pid()), NOBODY);
}

#[test]
fn no_order_good_or_bad_leaves_a_descriptor_in_the_spawner_nor_ends_it() {
    let mut setup = stage(&[SLEEP]);
    let mut spawner = setup.spawner();
    let order = named(&setup, "a.ini");
    drop(spawner.start(order.clone()));
    // The last handle is closed behind its answer.
    until("its handle is closed", || {
        !fds(spawner.pid()).values().any(|what| what.contains("pidfd"))
    });
    let before = fds(spawner.pid());
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
    until("what was open before", || fds(spawner.pid()) == before);
}

#[test]
fn a_spawner_that_is_told_what_is_no_order_and_no_template_ends() {
    let mut setup = stage(&[SLEEP]);
    let mut spawner = setup.spawner();
    spawner.send(b"?", &[]);
    assert!(spawner.answer(1).is_none());
    assert_eq!(spawner.end(), Some(71));
    let mut spawner = setup.spawner_told(b"?");
    assert!(spawner.answer(1).is_none());
    assert_eq!(spawner.end(), Some(71));
}

#[test]
fn the_program_has_the_limit_of_descriptors_that_the_emperor_was_given() {
    let mut setup = stage(&[SLEEP]);
    setup.template.descriptor_limit = 123;
    let mut stage = setup.start();
    stage.exec();
    let limits = file_text(&stage.proc("limits"));
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("123"), "{line}");
}

#[test]
fn a_process_that_the_kernel_refuses_is_an_answer_with_its_reason() {
    if !is_root() || !is_reachable_by_all() {
        eprintln!("skipped: not root, or no other user can execute the program");
        return;
    }
    let mut setup = stage(&[SLEEP]);
    // The limit does not hold for root.
    let mut command = program("bash");
    command.args(["-c", "ulimit -u 0 && exec \"$0\" spawner", env!("CARGO_BIN_EXE_liege")]);
    setup.command = command;
    let mut setup = setup.run_by(NOBODY);
    let order = named(&setup, "a.ini");
    let mut spawner = setup.spawner();
    for _ in 0..2 {
        let refused = spawner.order(&SpawnerOrder::Start(order.clone()), &[]);
        assert_eq!(refused.err(), Some(libc::EAGAIN));
    }
}

#[test]
fn a_program_that_is_started_directly_has_nothing_open_but_what_is_meant_for_it() {
    let mut setup = stage(&[]);
    executable(&setup.path("program"), "#!/bin/sh\nexec sleep 600\n");
    setup.template.stage = false;
    setup.template.programs = vec![c_string(setup.path("program").to_str().unwrap())];
    setup.extra.push(("LEAK".into(), leak()));
    let stage = setup.start();
    stage.becomes("sleep");
    let open = stage.fds();
    let pipe: i32 = stage.environment()["UWSGI_EMPEROR_FD"].parse().unwrap();
    assert_eq!(open.keys().copied().collect::<Vec<_>>(), [0, 1, 2, pipe], "{open:?}");
    assert_eq!(open[&0], "/dev/null");
    assert!(open[&pipe].starts_with("socket:"));
}

#[test]
fn no_spawner_outlives_a_socket_that_is_closed() {
    let mut spawner = stage(&[SLEEP]).spawner();
    assert_eq!(spawner.end(), Some(0));
}
