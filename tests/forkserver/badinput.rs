//! Addresses that make no sense, or should not be believed.

use crate::support::{Liege, code, is_root, proc, reachable_by_all};
use crate::{adopted, app_path, asking, base_path, base_text, text, told};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

const SPEAKER: &str = "do=ready,accepting";

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_address_that_is_no_socket_is_told_and_heals() {
    let setup = asking().vassal("one.ini", &text(SPEAKER));
    fs::write(setup.path("base.sock"), "a file").unwrap();
    let emperor = setup.start();
    told(&emperor, "one.ini", "this is not a socket");
    assert!(emperor.stats().blacklisted("one.ini").is_none());
    emperor.put("base.ini", &base_text(""));
    adopted(&emperor, "one.ini");
}

#[test]
fn a_base_whose_socket_file_is_removed_is_restarted_once() {
    for words in ["", "say"] {
        let emperor = crate::with_base(words).vassal("one.ini", &text(SPEAKER)).start();
        let one = adopted(&emperor, "one.ini");
        fs::remove_file(emperor.path("base.sock")).unwrap();
        emperor.put("two.ini", &text(SPEAKER));
        adopted(&emperor, "two.ini");
        assert_eq!(emperor.lives("base.ini"), 2, "once");
        assert_eq!(emperor.pid("one.ini"), Some(one), "who was forked by it lives on");
        assert!(emperor.stats().blacklisted("base.ini").is_none());
    }
}

#[test]
fn an_abstract_address_is_as_good_as_a_path() {
    let name = format!("liege-test-{}", std::process::id());
    let base = base_path();
    let base =
        format!("[uwsgi]\nunprivileged-binary-patch-arg = {} sock=@{name}\n", base.display());
    let app = app_path().to_str().unwrap().to_owned();
    let emperor = Liege::in_temp_dir()
        .env("NEWBORN", &app)
        .option("--emperor-use-fork-server", &format!("@{name}"))
        .option("--vassal-fork-base", "base.ini")
        .vassal("base.ini", &base)
        .vassal("one.ini", &text(SPEAKER))
        .start();
    adopted(&emperor, "one.ini");
}

#[test]
fn an_address_that_cannot_carry_descriptors_is_refused_at_the_start() {
    let setup = Liege::in_temp_dir().option("--emperor-use-fork-server", "127.0.0.1:4000");
    let (status, said) = setup.run();
    assert_eq!(code(status), 1);
    assert!(said.contains("fork server at 127.0.0.1:4000"), "{said}");
}

#[test]
fn a_server_of_another_user_is_not_asked() {
    if !is_root() {
        crate::skip!("a server of another user needs root");
    }
    if !reachable_by_all() {
        crate::skip!("the test programs are not in a directory that other users can reach");
    }
    let setup = asking().vassal("one.ini", &text(SPEAKER));
    let socket = setup.path("base.sock");
    let mut command = Command::new(base_path());
    command.arg(format!("sock={}", socket.display()));
    command.arg(format!("record={}", setup.path("record/base.ini").display()));
    let server = Ended(command.uid(65534).gid(65534).spawn().unwrap());
    let emperor = setup.start();
    told(&emperor, "one.ini", "belongs to the user 65534");
    assert!(emperor.events("base.ini", "request").is_empty(), "nothing was sent to it");
    assert!(proc::lives(server.0.id() as i32));
    drop(server);
    emperor.put("base.ini", &base_text(""));
    adopted(&emperor, "one.ini");
}

#[test]
fn a_server_of_another_user_is_not_asked_although_it_sits_in_the_session_of_a_base() {
    if !is_root() {
        crate::skip!("a change of user needs root");
    }
    let setup = asking().vassal("one.ini", &text(SPEAKER));
    let emperor = setup.vassal("base.ini", &base_text("as:65534")).start();
    told(&emperor, "one.ini", "belongs to the user 65534");
    assert!(emperor.events("base.ini", "request").is_empty(), "nothing was sent to it");
    emperor.put("base.ini", &base_text(""));
    adopted(&emperor, "one.ini");
}

#[test]
fn a_server_that_is_not_below_the_emperor_cannot_give_it_children() {
    let setup = asking().vassal("one.ini", &text(SPEAKER));
    let mut command = Command::new(base_path());
    command.arg(format!("sock={}", setup.path("base.sock").display()));
    command.env("NEWBORN", app_path()).current_dir(setup.path("vassals"));
    let _server = Ended(command.spawn().unwrap());
    let emperor = setup.start();
    told(&emperor, "one.ini", "has not become our child");
    assert_eq!(emperor.pid("one.ini"), None);
}

#[test]
fn a_socket_that_may_not_be_connected_to_is_told_and_heals() {
    if is_root() {
        crate::skip!("root may connect everywhere");
    }
    let setup = asking().vassal("one.ini", &text(SPEAKER)).vassal("base.ini", &base_text(""));
    let emperor = setup.start();
    adopted(&emperor, "one.ini");
    let socket = emperor.path("base.sock");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o000)).unwrap();
    emperor.put("two.ini", &text(SPEAKER));
    told(&emperor, "two.ini", "Permission denied");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    adopted(&emperor, "two.ini");
}
