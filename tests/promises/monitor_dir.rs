//! The directory monitor: files found, changed and lost, however editors and deployments do it.

use crate::support::{Liege, app_text, proc, program};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;

const SPEAKER: &str = "do=ready,accepting,loyal";

fn reloads(emperor: &Liege, name: &str) -> usize {
    emperor.events(name, "byte").iter().filter(|event| event["value"] == 1).count()
}

fn loyal(emperor: &Liege, name: &str) {
    emperor.wait_until(&format!("{name} is loyal"), || {
        emperor.stats().find(name).is_some_and(|vassal| vassal.number("loyal") == 1)
    });
}

/// A skeleton outside the directory, and links to it.
fn linked(names: &[&str]) -> Liege {
    let setup = Liege::in_temp_dir();
    let text = app_text(false, "", SPEAKER).replace("$NAME", "%s");
    let app = crate::support::app_path();
    let text = text
        .replace("$DIR", setup.path("").to_str().unwrap())
        .replace("$APP", app.to_str().unwrap());
    fs::create_dir(setup.path("skel")).unwrap();
    fs::write(setup.path("skel/app.skel"), text).unwrap();
    for name in names {
        symlink("../skel/app.skel", setup.path("vassals").join(name)).unwrap();
    }
    let emperor = setup.start();
    names.iter().for_each(|name| loyal(&emperor, name));
    emperor
}

#[test]
fn only_files_with_a_known_ending_are_vassals() {
    let text = program("/bin/sleep 1000");
    let mut setup = Liege::in_temp_dir();
    for name in ["a.ini", "b.skel", "c.ini.socket", "d.ini~", ".e.ini.swp", "f", "ini", "g.conf"] {
        setup = setup.vassal(name, &text);
    }
    let emperor = setup.start();
    emperor.running("a.ini");
    assert_eq!(emperor.stats().vassals().len(), 1, "{}", emperor.stats().0);
}

#[test]
fn a_file_written_slowly_starts_once_with_its_whole_text() {
    let emperor = Liege::in_temp_dir().start();
    let dir = emperor.path("");
    let text = app_text(false, "", SPEAKER)
        .replace("$DIR", dir.to_str().unwrap())
        .replace("$APP", crate::support::app_path().to_str().unwrap())
        .replace("$NAME", "slow.ini");
    let mut file = File::create(emperor.file("slow.ini")).unwrap();
    for part in text.as_bytes().chunks(text.len() / 8) {
        file.write_all(part).unwrap();
        file.flush().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    drop(file);
    loyal(&emperor, "slow.ini");
    assert_eq!(emperor.lives("slow.ini"), 1);
    assert!(emperor.stats().blacklisted("slow.ini").is_none(), "{}", emperor.log());
}

#[test]
fn a_half_written_change_is_not_taken_before_the_writer_closes() {
    let emperor = Liege::in_temp_dir().app("one.ini", SPEAKER).start();
    loyal(&emperor, "one.ini");
    let text = fs::read(emperor.file("one.ini")).unwrap();
    let mut file = File::create(emperor.file("one.ini")).unwrap();
    file.write_all(&text[..10]).unwrap();
    emperor.stays("nothing happens while it is written", || reloads(&emperor, "one.ini") == 0);
    file.write_all(&text[10..]).unwrap();
    drop(file);
    emperor.wait_until("one reload", || reloads(&emperor, "one.ini") == 1);
}

#[test]
fn a_new_modification_time_alone_is_a_change() {
    let emperor = Liege::in_temp_dir().app("one.ini", SPEAKER).start();
    loyal(&emperor, "one.ini");
    proc::set_modified_only(&emperor.file("one.ini"), 1_000_000_000);
    emperor.wait_until("one reload", || reloads(&emperor, "one.ini") == 1);
}

#[test]
fn one_skeleton_serves_many_links_each_with_its_own_name() {
    let emperor = linked(&["one.ini", "two.ini", "three.ini"]);
    let mut pids: Vec<_> =
        ["one.ini", "two.ini", "three.ini"].map(|name| emperor.running(name)).into();
    pids.dedup();
    assert_eq!(pids.len(), 3);
}

#[test]
fn a_touched_skeleton_reloads_all_that_link_to_it() {
    let emperor = linked(&["one.ini", "two.ini"]);
    let skeleton = emperor.path("skel/app.skel");
    let all = |times| {
        emperor.wait_until(&format!("both were reloaded {times} times"), || {
            ["one.ini", "two.ini"].iter().all(|name| reloads(&emperor, name) == times)
        });
    };
    File::options()
        .append(true)
        .open(&skeleton)
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    all(1);
    let text = fs::read_to_string(&skeleton).unwrap();
    fs::write(&skeleton, format!("{text};\n")).unwrap();
    all(2);
    // A replaced target: the watch on the old inode alone would see nothing any more.
    let draft = emperor.path("skel/draft");
    fs::write(&draft, &text).unwrap();
    fs::rename(&draft, &skeleton).unwrap();
    all(3);
    fs::write(&skeleton, format!("{text};;\n")).unwrap();
    all(4);
}

#[test]
fn a_link_that_is_pointed_elsewhere_is_a_change() {
    let emperor = linked(&["one.ini"]);
    fs::copy(emperor.path("skel/app.skel"), emperor.path("skel/new.skel")).unwrap();
    symlink("../skel/new.skel", emperor.path("vassals/.link")).unwrap();
    fs::rename(emperor.path("vassals/.link"), emperor.file("one.ini")).unwrap();
    emperor.wait_until("it was reloaded", || reloads(&emperor, "one.ini") == 1);
    // And from now on the new target counts.
    let target = emperor.path("skel/new.skel");
    File::options()
        .append(true)
        .open(target)
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    emperor.wait_until("it was reloaded again", || reloads(&emperor, "one.ini") == 2);
}

#[test]
fn a_link_whose_target_goes_is_lost_and_found_again_with_it() {
    let emperor = linked(&["one.ini"]);
    let pid = emperor.running("one.ini");
    fs::rename(emperor.path("skel/app.skel"), emperor.path("skel/away")).unwrap();
    emperor.wait_until("it is stopped", || !proc::lives(pid));
    fs::rename(emperor.path("skel/away"), emperor.path("skel/app.skel")).unwrap();
    emperor.running_anew("one.ini", pid);
}

#[test]
fn a_new_link_and_a_new_hard_link_are_found() {
    let emperor = linked(&["one.ini"]);
    symlink("../skel/app.skel", emperor.file("soft.ini")).unwrap();
    fs::hard_link(emperor.path("skel/app.skel"), emperor.file("hard.ini")).unwrap();
    loyal(&emperor, "soft.ini");
    loyal(&emperor, "hard.ini");
}

#[test]
fn a_directory_that_goes_away_stops_its_vassals_and_comes_back_with_them() {
    let emperor = Liege::in_temp_dir().app("one.ini", SPEAKER).start();
    let pid = emperor.running("one.ini");
    fs::rename(emperor.path("vassals"), emperor.path("away")).unwrap();
    emperor.wait_until("it is stopped", || !proc::lives(pid) && emperor.stats().up() == 0);
    fs::rename(emperor.path("away"), emperor.path("vassals")).unwrap();
    emperor.running_anew("one.ini", pid);
    // And the watch is on the returned one.
    emperor.put_app("two.ini", SPEAKER);
    emperor.running("two.ini");
}

#[test]
fn a_removed_directory_that_is_made_anew_is_watched_again() {
    let emperor = Liege::in_temp_dir().app("one.ini", SPEAKER).start();
    let pid = emperor.running("one.ini");
    fs::remove_dir_all(emperor.path("vassals")).unwrap();
    emperor.wait_until("it is stopped", || !proc::lives(pid));
    fs::create_dir(emperor.path("vassals")).unwrap();
    emperor.put_app("two.ini", SPEAKER);
    emperor.running("two.ini");
}

#[test]
fn a_release_directory_behind_a_link_can_be_switched() {
    let setup = Liege::in_temp_dir();
    for release in ["r1", "r2"] {
        fs::create_dir(setup.path(release)).unwrap();
        fs::write(setup.path(release).join(format!("{release}.ini")), program("/bin/sleep 1000"))
            .unwrap();
    }
    symlink("r1", setup.path("current")).unwrap();
    let emperor = setup
        .only_args(&["--emperor", "$DIR/current", "--emperor-stats", "$DIR/stats.sock"])
        .start();
    emperor.running("r1.ini");
    symlink("r2", emperor.path("next")).unwrap();
    fs::rename(emperor.path("next"), emperor.path("current")).unwrap();
    emperor.running("r2.ini");
    emperor.wait_until("the old release is gone", || emperor.stats().find("r1.ini").is_none());
}

#[test]
fn what_happened_while_the_emperor_could_not_look_is_found_afterwards() {
    let emperor = Liege::in_temp_dir()
        .option("--emperor-throttle-burst", "100")
        .app("stays.ini", SPEAKER)
        .start();
    loyal(&emperor, "stays.ini");
    let stays = emperor.running("stays.ini");
    let pid = emperor.emperor_pid();
    proc::kill(pid, libc::SIGSTOP);
    // More than the kernel keeps (16,384 events), so that it says no more than "overflow".
    let scratch = emperor.file("scratch");
    for _ in 0..9000 {
        fs::write(&scratch, "").unwrap();
        fs::remove_file(&scratch).unwrap();
    }
    for number in 0..5 {
        emperor.put_app(&format!("new{number}.ini"), SPEAKER);
    }
    emperor.touch("stays.ini");
    proc::kill(pid, libc::SIGCONT);
    emperor.wait_until("the new ones run", || emperor.stats().up() == 6);
    emperor.wait_until("the touched one was reloaded", || reloads(&emperor, "stays.ini") == 1);
    assert_eq!(emperor.pid("stays.ini"), Some(stays));
}

#[test]
fn many_files_come_and_go_without_one_being_missed() {
    let emperor = Liege::in_temp_dir().option("--emperor-throttle-burst", "1000").start();
    for round in 0..3 {
        for number in 0..60 {
            emperor.put_app(&format!("{number}.ini"), "do=ready");
        }
        emperor.wait_until(&format!("all run, round {round}"), || emperor.stats().up() == 60);
        for number in 0..60 {
            emperor.remove(&format!("{number}.ini"));
        }
        emperor.wait_until("all are gone", || emperor.stats().vassals().is_empty());
    }
}

#[test]
fn a_relative_directory_counts_from_where_the_emperor_was_started() {
    let setup = Liege::in_temp_dir().app("one.ini", "do=ready");
    let args = ["--emperor", "vassals", "--emperor", "dir://more", "--emperor-stats", "stats.sock"];
    fs::create_dir(setup.path("more")).unwrap();
    fs::write(setup.path("more/two.ini"), program("/bin/sleep 1000")).unwrap();
    let emperor = setup.only_args(&args).start();
    emperor.running("one.ini");
    emperor.running("two.ini");
}

#[test]
fn the_log_names_the_directory_that_it_speaks_of() {
    let emperor = Liege::in_temp_dir().option("--emperor", "$DIR/missing").start();
    let text = format!("warning {}: there is no such directory", emperor.path("missing").display());
    emperor.logged(&text);
}

#[test]
fn a_vassal_that_has_never_started_is_gone_by_its_name() {
    let emperor = Liege::in_temp_dir().option("--emperor-throttle", "100000").start();
    for name in ["one.ini", "two.ini", "three.ini"] {
        emperor.put_app(name, "do=ready");
    }
    emperor.state("three.ini", "queued");
    emperor.remove("three.ini");
    emperor.logged("[three.ini] is gone");
    assert_eq!(emperor.lives("three.ini"), 0);
}
