//! What a message says to do is about what was tried, and works.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::skip;
use crate::support::{Liege, code, is_root, reachable_by_all};

const SOMEBODY: u32 = 54321;

fn can_be_somebody_else() -> bool {
    is_root() && reachable_by_all()
}

#[test]
fn a_refused_file_or_directory_gets_no_advice_about_sockets() {
    if !can_be_somebody_else() {
        skip!("changing the user needs root");
    }
    for (option, remedy) in [
        ("--logto", "write there"),
        ("--pidfile", "write there"),
        ("--emperor-stats", "make a socket there"),
    ] {
        let setup = Liege::in_temp_dir().user(SOMEBODY).option(option, "$DIR/closed/x");
        fs::create_dir(setup.path("closed")).unwrap();
        fs::set_permissions(setup.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
        let (status, log) = setup.run();
        assert_eq!(code(status), 1, "{log}");
        assert!(log.contains("Permission denied") && log.contains(remedy), "{log}");
        assert!(!log.contains("bind"), "{log}");
    }
}

#[test]
fn a_port_below_1024_is_to_be_had_as_its_refusal_says() {
    if !can_be_somebody_else() {
        skip!("changing the user needs root");
    }
    let first_free = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if first_free.map_or(true, |text| text.trim() != "1024") {
        skip!("low ports are free for all here");
    }
    let free = (600..1000).find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let line = format!("http-socket = 127.0.0.1:{}\n", free.unwrap());
    let refused = Liege::in_temp_dir().user(SOMEBODY).app_with("a.ini", &line, "do=ready").start();
    refused.logged("AmbientCapabilities=CAP_NET_BIND_SERVICE");
    assert!(!refused.log().contains("use an on-demand address"));
    refused.end();
    let user = SOMEBODY.to_string();
    let words = [
        "setpriv",
        "--reuid",
        &user,
        "--regid",
        &user,
        "--clear-groups",
        "--inh-caps=+net_bind_service",
        "--ambient-caps=+net_bind_service",
    ];
    let granted = Liege::in_temp_dir().before(&words).app_with("a.ini", &line, "do=ready").start();
    granted.running("a.ini");
}
