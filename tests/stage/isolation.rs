//! What a process may see and show between its fork and its exec: nothing of the spawner, nothing of another vassal,
//! and nobody looks into it.

use std::os::unix::fs::{FileExt, MetadataExt};

use super::lease::Lease;
use super::*;

/// A child that waits in its exec, and what ends its waiting.
struct Held {
    stage: Stage,
    lease: Lease,
}

impl Held {
    /// Lets it become its program.
    fn release(self) -> Stage {
        drop(self.lease);
        self.stage.becomes("sleep");
        self.stage
    }
}

/// Whether a vassal is prepared by the stage or executed at once.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Direct,
    Stage,
}

const BOTH: [How; 2] = [How::Direct, How::Stage];

/// A vassal whose program sleeps.
fn sleeper(how: How, lines: &[&str]) -> Setup {
    let run = ["unprivileged-binary-patch-arg = ./program"];
    let mut setup = stage(&[&run, lines].concat());
    executable(&setup.path("program"), "#!/bin/sh\nexec sleep 600\n");
    if how == How::Direct {
        setup.template.stage = false;
        setup.template.programs = vec![c_string(setup.path("program").to_str().unwrap())];
    }
    setup
}

/// Holds up the exec of a program; `None` where there is no such thing.
fn hold_up(program: &Path) -> Option<Lease> {
    let mut taken = None;
    until("no process has the program open", || {
        let lease = Lease::take(program);
        let is_open =
            lease.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        taken = Some(lease);
        !is_open
    });
    let refused = |error| eprintln!("skipped: no lease of {}: {error}", program.display());
    taken.unwrap().map_err(refused).ok()
}

/// Starts it as far as its exec; `None` where that cannot be held up.
fn held(setup: Setup) -> Option<Held> {
    let lease = hold_up(&setup.path("program"))?;
    let stage = setup.start();
    until("its exec", || lease.is_awaited());
    Some(Held { stage, lease })
}

/// Who owns the files of a process that tell of its inside: root, while it is not dumpable.
fn owner_of_inside(pid: u32) -> u32 {
    fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid()
}

/// The words of a limit in `/proc/PID/limits` behind its name: the soft one, the hard one.
fn limit(stage: &Stage, name: &str) -> [String; 2] {
    let limits = file_text(&stage.proc("limits"));
    let words = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let mut words = words.split_whitespace().map(str::to_owned);
    [words.next().unwrap(), words.next().unwrap()]
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
            let part = String::from_utf8_lossy(&bytes);
            count += part.matches(text).count();
        }
    }
    count
}

/// Whether we may read the memory of a process that is not dumpable.
fn reads_memory() -> bool {
    if !is_root() {
        eprintln!("skipped: the memory of a process that is not dumpable is root's to read");
    }
    is_root()
}

/// What stands in the file of each vassal, and in no other.
const SECRET: &str = "sesame-of-";

/// A vassal of this name with a secret, and an order for it.
fn vassal(setup: &Setup, name: &str) -> StartOrder {
    let secret = format!("env = TOKEN={SECRET}{name}");
    let log = format!("logto = {}/log-of-{name}", setup.dir.path().display());
    vassal_file(&setup.path(name), &[SLEEP, &secret, &log]);
    let vassal = VassalName { source: 0, name: name.into() };
    StartOrder { vassal, ..StartOrder::default() }
}

#[test]
fn the_memory_of_the_spawner_has_no_trace_of_a_vassal() {
    if !reads_memory() {
        return;
    }
    let mut setup = stage(&[SLEEP]);
    let mut spawner = setup.spawner();
    let names = ["first-tenant.ini", "second-tenant.ini", "third-tenant-with-a-longer-name.ini"];
    let mut made = Vec::new();
    for name in names {
        let (process, status) = spawner.start(vassal(&setup, name));
        assert!(matches!(said_on(&status).pop(), Some((FromStage::Verdict(Verdict::Exec(_)), _))));
        made.push(process);
    }
    // Not even of one whose order it could not read.
    let whole = SpawnerOrder::Start(vassal(&setup, "fourth-tenant.ini")).encode(50);
    spawner.send(&whole[..whole.len() - 1], &[]);
    assert_eq!(spawner.answer(50).unwrap().unwrap().wait(), ExitStatus::Code(126));
    for trace in ["first-ten", "second-ten", "third-ten", "fourth-ten", "log-of-", SECRET] {
        assert_eq!(occurrences(spawner.pid(), trace), 0, "{trace} in the spawner");
    }
    // What is looked for would be found.
    assert!(occurrences(spawner.pid(), setup.dir.path().to_str().unwrap()) > 0);
}

#[test]
fn the_memory_of_a_child_before_its_exec_has_no_trace_of_another_vassal() {
    if !reads_memory() {
        return;
    }
    for how in BOTH {
        let mut setup = sleeper(how, &[]);
        let program = setup.path("program");
        let mut spawner = setup.spawner();
        // Longer than the second one, which would otherwise lie where it has lain.
        let longer = format!("{}-first-tenant.ini", "x".repeat(100));
        let lines = ["unprivileged-binary-patch-arg = ./program", "env = TOKEN=sesame-of-first"];
        vassal_file(&setup.path(&longer), &lines);
        let order = |name: &str| StartOrder {
            vassal: VassalName { source: 0, name: name.into() },
            ..StartOrder::default()
        };
        let (first, _first_status) = spawner.start(order(&longer));
        let is_sleep = || stat(first.number()).is_some_and(|(name, _)| name == "sleep");
        until("the first program", is_sleep);
        let Some(lease) = hold_up(&program) else { return };
        vassal_file(&setup.path("second-tenant.ini"), &lines[..1]);
        let (second, _second_status) = spawner.start(order("second-tenant.ini"));
        until("its exec", || lease.is_awaited());
        assert!(occurrences(second.number(), "second-tenant") > 0, "{how:?}");
        assert_eq!(occurrences(second.number(), "first-tenant"), 0, "{how:?}");
        assert_eq!(occurrences(second.number(), SECRET), 0, "{how:?}");
    }
}

#[test]
fn nobody_can_look_into_a_process_between_its_fork_and_its_exec() {
    for how in BOTH {
        let Some((setup, user)) = sleeper(how, &[]).of_ordinary_user() else { return };
        let Some(held) = held(setup) else { return };
        let pid = held.stage.pid();
        let spawner = held.stage.spawner.as_ref().unwrap().pid();
        assert_eq!(held.stage.status_line("Uid"), [user; 4].map(|id| id.to_string()).join(" "));
        assert_eq!((owner_of_inside(spawner), owner_of_inside(pid)), (0, 0), "{how:?}");
        // A program is as usual.
        assert_eq!(owner_of_inside(held.release().pid()), user, "{how:?}");
    }
}

#[test]
fn nobody_can_look_into_a_process_that_has_become_another_user_before_its_exec() {
    if !is_root() {
        eprintln!("skipped: only root becomes another user");
        return;
    }
    let Some(held) = held(sleeper(How::Stage, &[&format!("uid = {NOBODY}")])) else { return };
    assert_eq!(held.stage.status_line("Uid"), [NOBODY; 4].map(|id| id.to_string()).join(" "));
    assert_eq!(owner_of_inside(held.stage.pid()), 0);
    assert_eq!(owner_of_inside(held.release().pid()), NOBODY);
}

#[test]
fn a_process_leaves_no_core_before_its_exec_and_its_program_may() {
    for how in BOTH {
        let start = || held(sleeper(how, &[]).through_shell("ulimit -c unlimited"));
        let Some(Held { mut stage, lease }) = start() else { return };
        stage.signal(libc::SIGQUIT);
        assert_eq!(stage.wait(), ExitStatus::Signal(libc::SIGQUIT), "{how:?}");
        drop(lease);
        let mut program = start().unwrap().release();
        // It has its limit as it was given.
        assert_eq!(limit(&program, "Max core file size"), ["unlimited"; 2]);
        program.signal(libc::SIGQUIT);
        if program.wait() != ExitStatus::CoreDump(libc::SIGQUIT) {
            eprintln!("not shown: this machine keeps no core files");
        }
    }
}

#[test]
fn a_program_has_the_limit_of_core_files_that_the_emperor_was_given() {
    for how in BOTH {
        let stage = sleeper(how, &[]).through_shell("ulimit -c 0").start();
        stage.becomes("sleep");
        assert_eq!(limit(&stage, "Max core file size"), ["0"; 2], "{how:?}");
    }
}

#[test]
fn a_program_has_the_limit_of_descriptors_of_its_vassal_file_else_that_of_the_emperor() {
    for (how, lines, soft) in [
        (How::Direct, &[][..], "123"),
        (How::Stage, &[], "123"),
        (How::Stage, &["max-fd = 77"], "77"),
    ] {
        let mut setup = sleeper(how, lines);
        setup.template.descriptor_limit = 123;
        let stage = setup.start();
        stage.becomes("sleep");
        assert_eq!(limit(&stage, "Max open files")[0], soft, "{how:?} {lines:?}");
    }
}

#[test]
fn a_program_and_a_hook_have_nothing_open_but_what_is_meant_for_them() {
    for how in BOTH {
        let mut setup = sleeper(how, &[]);
        let hook = setup.path("hook");
        executable(&hook, "#!/bin/sh\nls -l /proc/self/fd > fds-of-hook\n");
        setup.template.start_hook = Some(c_string(hook.to_str().unwrap()));
        setup.extra.push(("LEAK".into(), leak()));
        let stage = setup.start();
        stage.becomes("sleep");
        let open = stage.fds();
        let pipe: i32 = stage.environment()["UWSGI_EMPEROR_FD"].parse().unwrap();
        let numbers: Vec<_> = open.keys().copied().collect();
        assert_eq!(numbers, [0, 1, 2, pipe], "{how:?}: {open:?}");
        assert_eq!(open[&0], "/dev/null");
        assert!(open[&pipe].starts_with("socket:"));
        // What ls itself has opened is the directory.
        let listed = file_text(&stage.path("fds-of-hook"));
        let names = listed.lines().filter_map(|line| line.split_once(" -> "));
        let names = names.map(|(_, name)| name).filter(|name| !name.starts_with("/proc/"));
        let names: Vec<&str> = names.collect();
        assert_eq!(names.len(), 3, "{how:?}: {listed}");
        assert!(names.contains(&"/dev/null"), "{how:?}: {listed}");
    }
}
