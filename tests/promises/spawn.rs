//! Starting a vassal through the stage: what the file says is what the program sees.

use crate::skip;
use crate::support::{Liege, ask_tcp, free_port, is_root, program, reachable_by_all};
use serde_json::json;

#[test]
fn a_file_in_the_directory_is_a_running_program() {
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready").start();
    let pid = emperor.running("one.ini");
    let start = emperor.life("one.ini", 1);
    assert_eq!(start["pid"], pid, "no process is left between the emperor and the program");
    assert_eq!(start["ppid"], emperor.emperor_pid());
    assert_eq!(start["death_signal"], libc::SIGKILL);
}

#[test]
fn the_words_of_a_patch_argument_are_split_as_a_shell_does() {
    let text = "[uwsgi]\nunprivileged-binary-patch-arg = $APP record=$DIR/record/one.ini \"do=print:a b\" ''\n";
    let emperor = Liege::in_temp_dir().vassal("one.ini", text).start();
    let argv = &emperor.life("one.ini", 1)["argv"];
    assert_eq!(argv[2], "do=print:a b");
    assert_eq!(argv[3], "");
    emperor.logged("a b");
}

#[test]
fn a_patch_argument_with_shell_signs_goes_to_the_shell() {
    let text = "[uwsgi]\nenv = WORD=seen\nunprivileged-binary-patch-arg = exec $APP record=$DIR/record/$NAME do=print:${WORD}\n";
    let emperor = Liege::in_temp_dir().vassal("one.ini", text).start();
    emperor.logged("seen");
    assert_eq!(emperor.life("one.ini", 1)["pid"], emperor.running("one.ini"));
}

#[test]
fn a_patch_without_arguments_gets_those_of_the_vassal() {
    let text = "[uwsgi]\nunprivileged-binary-patch = $APP\n;\n";
    let emperor = Liege::in_temp_dir()
        .vassal("one.ini", &format!("{text}app = record=$DIR/record/one.ini do=ready\n"))
        .start();
    let start = emperor.life("one.ini", 1);
    let app = crate::support::app_path();
    assert_eq!(start["argv"], json!([app.to_str(), "--ini", "one.ini"]));
}

#[test]
fn the_start_state_is_built_and_not_inherited() {
    let setup = Liege::in_temp_dir().app("one.ini", "do=ready").env("LISTEN_FDS", "2");
    let emperor = setup.shell("trap '' TERM HUP PIPE; exec 5</etc/passwd 9>$DIR/leak").start();
    let start = emperor.life("one.ini", 1);
    assert_eq!(start["blocked"], "0000000000000000");
    assert_eq!(start["ignored"], "0000000000000000");
    let env = start["env"].as_object().unwrap();
    assert!(!env.contains_key("LIEGE_STATUS_FD") && !env.contains_key("LISTEN_FDS"), "{env:?}");
    let fds = start["fds"].as_object().unwrap();
    assert_eq!(fds.len(), 4, "0, 1, 2 and the emperor pipe: {fds:?}");
    assert_eq!(fds["0"], "/dev/null");
}

#[test]
fn chdir_env_and_umask_act() {
    let lines = "chdir = $DIR/record\nenv = COLOUR=red\nenv = EMPTY=\numask = 027";
    let emperor = Liege::in_temp_dir().app_with("one.ini", lines, "do=ready").start();
    let start = emperor.life("one.ini", 1);
    let dir = emperor.path("record").canonicalize().unwrap();
    assert_eq!(start["cwd"].as_str(), dir.to_str());
    assert_eq!(start["env"]["COLOUR"], "red");
    assert_eq!(start["env"]["EMPTY"], "");
    assert_eq!(start["umask"], "0027");
}

#[test]
fn a_vassal_starts_in_the_directory_of_its_file() {
    let emperor = Liege::in_temp_dir().app("one.ini", "do=ready").start();
    let dir = emperor.path("vassals").canonicalize().unwrap();
    assert_eq!(emperor.life("one.ini", 1)["cwd"].as_str(), dir.to_str());
}

#[test]
fn logto_takes_what_the_program_prints() {
    let emperor =
        Liege::in_temp_dir().app_with("one.ini", "logto = $DIR/one.log", "do=print:here").start();
    emperor.wait_until("the line is in the file of the vassal", || {
        std::fs::read_to_string(emperor.path("one.log")).is_ok_and(|text| text.contains("here"))
    });
    assert!(!emperor.log().lines().any(|line| line == "here"));
}

#[test]
fn uid_and_gid_are_dropped_to_and_cannot_be_taken_back() {
    if !is_root() {
        skip!("changing the user needs root");
    }
    if !reachable_by_all() {
        skip!("the test programs are not in a directory that other users can reach");
    }
    let lines = "uid = 65534\ngid = 65533";
    let emperor = Liege::in_temp_dir().app_with("one.ini", lines, "do=ready").start();
    let start = emperor.life("one.ini", 1);
    assert_eq!(start["uid"], "65534 65534 65534 65534");
    assert_eq!(start["gid"], "65533 65533 65533 65533");
    assert_eq!(start["death_signal"], libc::SIGKILL, "the change of uid must not clear it");
}

#[test]
fn a_privileged_patch_keeps_the_user() {
    if !is_root() {
        skip!("changing the user needs root");
    }
    let text = "[uwsgi]\nuid = 65534\nprivileged-binary-patch-arg = $APP record=$DIR/record/$NAME do=ready\n";
    let emperor = Liege::in_temp_dir().vassal("one.ini", text).start();
    assert_eq!(emperor.life("one.ini", 1)["uid"], "0 0 0 0");
    // Its author may believe that it was dropped.
    emperor.logged("uid");
}

#[test]
fn a_socket_is_bound_and_passed_in_every_known_way() {
    let port = free_port();
    let lines = format!("http-socket = 127.0.0.1:{port}");
    let emperor = Liege::in_temp_dir()
        .app_with("one.ini", &lines, "listen=3 do=ready,accepting,serve")
        .start();
    let start = emperor.life("one.ini", 1);
    let (fds, env) = (&start["fds"], &start["env"]);
    assert_eq!(fds["0"], fds["3"], "the only socket is standard input too: {fds}");
    assert!(fds["3"].as_str().unwrap().starts_with("socket:"));
    assert_eq!(env["LISTEN_FDS"], "1");
    assert_eq!(env["LISTEN_PID"], start["pid"].to_string());
    assert_eq!(env["LISTEN_FDNAMES"], "http-socket");
    assert_eq!(env["SERVER_STARTER_PORT"], format!("127.0.0.1:{port}=3"));
    assert_ne!(env["UWSGI_EMPEROR_FD"], "3");
    assert_eq!(ask_tcp(port).unwrap(), format!("{} 1\n", start["pid"]));
}

#[test]
fn several_sockets_come_in_their_order() {
    let lines = "http-socket = $DIR/a.sock\nsocket = $DIR/b.sock";
    let emperor =
        Liege::in_temp_dir().app_with("one.ini", lines, "listen=4 do=ready,serve").start();
    let start = emperor.life("one.ini", 1);
    assert_eq!(start["env"]["LISTEN_FDS"], "2");
    assert_eq!(start["env"]["LISTEN_FDNAMES"], "http-socket:socket");
    assert_eq!(start["fds"]["0"], "/dev/null", "which of the two would be meant is not clear");
    assert_eq!(emperor.ask("b.sock"), format!("{} 1\n", start["pid"]));
}

#[test]
fn a_shell_script_is_a_vassal_like_any_other() {
    let text = program("/bin/sh -c \"echo script says $0; exec sleep 1000\"");
    let emperor = Liege::in_temp_dir().vassal("script.ini", &text).start();
    emperor.running("script.ini");
    emperor.logged("script says");
}

#[test]
fn a_placeholder_and_a_magic_variable_are_replaced() {
    let text = "[uwsgi]\nword = %n\nenv = WORD=%(word)\nunprivileged-binary-patch-arg = $APP record=$DIR/record/$NAME do=ready\n";
    let emperor = Liege::in_temp_dir().vassal("blog.ini", text).start();
    assert_eq!(emperor.life("blog.ini", 1)["env"]["WORD"], "blog");
}

#[test]
fn many_vassals_are_all_started_at_once() {
    let mut setup = Liege::in_temp_dir();
    for number in 0..60 {
        setup = setup.app(&format!("{number}.ini"), "do=ready,accepting,loyal");
    }
    let emperor = setup.start();
    emperor.wait_until("all 60 run and are loyal", || {
        let stats = emperor.stats();
        stats.up() == 60 && stats.vassals().iter().all(|vassal| vassal["loyal"] == 1)
    });
    assert_eq!(emperor.end().code(), Some(0));
}
