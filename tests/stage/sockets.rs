//! Sockets: where they come from, where the program finds them, what the emperor keeps.

use super::*;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// The stage that has become the program, what it has said, and the sockets in custody.
fn exec(setup: Setup) -> (Stage, ExecVerdict, Vec<OwnedFd>) {
    let mut stage = setup.start();
    let (settings, mut fds) = stage.exec();
    // Behind them comes a notify socket, which is nobody's custody.
    fds.truncate(usize::from(settings.run.listeners));
    (stage, settings, fds)
}

#[test]
fn sockets_lie_from_descriptor_3_in_the_order_of_the_file_and_the_emperor_pipe_behind_them() {
    let lines =
        [SLEEP, "http-socket = 127.0.0.1:0", "socket = a.sock", "http-socket = 127.0.0.1:0"];
    let (stage, settings, custody) = exec(stage(&lines));
    assert_eq!(settings.run.listeners, 3);
    let fds = stage.fds();
    assert_eq!(fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
    for (number, held) in (3..).zip(&custody) {
        assert_eq!(fds[&number], identity(held));
        assert!(stage.is_blocking(number));
        assert!(socket::is_listening(held.as_fd()));
    }
    assert_eq!(fds[&0], "/dev/null");
    let env = stage.environment();
    let port = |index: usize| socket::local_address(custody[index].as_fd()).unwrap().unwrap();
    let path = stage.path("a.sock").canonicalize().unwrap();
    let starter = format!("{}=3;{}=4;{}=5", port(0), path.display(), port(2));
    for (name, value) in [
        ("LISTEN_FDS", "3"),
        ("LISTEN_PID", &stage.pid().to_string()),
        ("LISTEN_FDNAMES", "http-socket:socket:http-socket.1"),
        ("SERVER_STARTER_PORT", &starter),
        ("UWSGI_EMPEROR_FD", "6"),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
}

#[test]
fn a_single_socket_is_descriptor_0_as_well_unless_stdin_is_honoured() {
    let one = "socket = 127.0.0.1:0";
    let (first, _, custody) = exec(stage(&[SLEEP, one]));
    assert_eq!(first.fds()[&0], identity(&custody[0]));
    assert_eq!(first.fds()[&3], identity(&custody[0]));
    let (second, _, _) = exec(stage(&[SLEEP, one, "honour-stdin = true"]));
    assert_eq!(second.fds()[&0], "/dev/null");
    let (third, _, _) = exec(stage(&[SLEEP, one, one]));
    assert_eq!(third.fds()[&0], "/dev/null");
}

#[test]
fn the_on_demand_listener_is_descriptor_0_and_3_and_is_not_sent_back() {
    let (listener, _) = tcp();
    fd::set_nonblocking(listener.as_fd()).unwrap();
    let id = identity(&listener);
    let (stage, settings, custody) =
        exec(stage(&[SLEEP, "socket = 127.0.0.1:0"]).on_demand(listener));
    assert_eq!((settings.run.listeners, custody.len()), (1, 1));
    let fds = stage.fds();
    assert_eq!((&fds[&0], &fds[&3], &fds[&4]), (&id, &id, &identity(&custody[0])));
    assert!(stage.is_blocking(3));
    assert_eq!(stage.environment()["LISTEN_FDNAMES"], "on-demand:socket");
}

#[test]
fn a_listener_on_descriptor_0_is_the_on_demand_listener_of_any_emperor() {
    for foreign in [true, false] {
        let (listener, address) = tcp();
        let id = identity(&listener);
        let setup = stage(&[SLEEP, &format!("http-socket = {address}"), "socket = ::"]);
        let stage = if foreign {
            let mut setup = setup.foreign();
            setup.command.stdin(Stdio::from(listener));
            let stage = setup.start();
            stage.becomes("sleep");
            stage
        } else {
            exec(setup.on_demand(listener)).0
        };
        let fds = stage.fds();
        assert_eq!((&fds[&0], &fds[&3]), (&id, &id));
        assert_eq!(fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(stage.environment()["LISTEN_FDNAMES"], "on-demand");
    }
}

#[test]
fn skip_zero_leaves_descriptor_0_alone() {
    let (listener, _) = tcp();
    let id = identity(&listener);
    let mut setup = stage(&[SLEEP, "skip-zero = true"]).foreign();
    setup.command.stdin(Stdio::from(listener));
    let stage = setup.start();
    stage.becomes("sleep");
    assert_eq!(stage.fds()[&0], id);
    assert!(!stage.environment().contains_key("LISTEN_FDS"));
}

#[test]
fn a_successor_gets_the_same_sockets_from_custody_and_what_is_gone_is_closed() {
    let any = "socket = 127.0.0.1:0";
    let (first, _, custody) = exec(stage(&[SLEEP, any, any]));
    drop(first);
    let address = |fd: &OwnedFd| socket::local_address(fd.as_fd()).unwrap().unwrap().to_string();
    let (kept, gone) = (address(&custody[1]), address(&custody[0]));
    let id = identity(&custody[1]);
    // A client that came while nothing ran waits for the next program.
    let _client = std::net::TcpStream::connect(&kept).unwrap();
    let (second, settings, custody) =
        exec(stage(&[SLEEP, &format!("http-socket = {kept}")]).held(custody));
    assert_eq!((settings.run.listeners, custody.len()), (1, 1));
    assert_eq!((&identity(&custody[0]), &second.fds()[&3]), (&id, &id));
    assert_eq!(second.environment()["LISTEN_FDNAMES"], "http-socket");
    socket::accept(custody[0].as_fd()).unwrap();
    until("the address of what is gone", || std::net::TcpListener::bind(&gone).is_ok());
}

#[test]
fn sockets_that_a_running_program_uses_keep_their_flags() {
    let (listener, address) = tcp();
    fd::set_nonblocking(listener.as_fd()).unwrap();
    let line = format!("socket = {address}");
    let copy = listener.try_clone().unwrap();
    let (stage, _, _) =
        exec(super::stage(&[SLEEP, &line]).held(vec![copy]).order(|order| order.in_use = true));
    assert!(!stage.is_blocking(3));
    drop(stage);
    let (stage, _, _) = exec(super::stage(&[SLEEP, &line]).held(vec![listener]));
    assert!(stage.is_blocking(3));
}

#[test]
fn as_many_sockets_as_custody_has_room_for_are_passed_and_one_more_is_refused() {
    let mut lines = vec!["socket = 127.0.0.1:0"; status::MAX_LISTENERS];
    lines.push(SLEEP);
    let (stage, settings, custody) = exec(super::stage(&lines));
    assert_eq!(usize::from(settings.run.listeners), status::MAX_LISTENERS);
    assert_eq!(stage.fds().len(), 3 + status::MAX_LISTENERS + 1);
    let (listener, _) = tcp();
    let (stage, _, _) = exec(super::stage(&lines).held(custody).on_demand(listener));
    assert_eq!(stage.fds().len(), 3 + 1 + status::MAX_LISTENERS + 1);
    lines.push("socket = 127.0.0.1:0");
    let fault = super::stage(&lines).start().error(1);
    assert_eq!((fault.step.as_str(), fault.origin.as_str()), ("bind", "a.ini:19 socket"));
}

#[test]
fn unix_sockets_have_the_mode_and_the_owner_that_the_file_says() {
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
    let (stage, _, _) = exec(super::stage(&[SLEEP, "socket = a.sock", "umask = 077"]));
    assert_eq!(mode(&stage.path("a.sock")), 0o700);
    let lines = [SLEEP, "socket = a.sock", "umask = 077", "chmod-socket = 664"];
    let (stage, _, _) = exec(super::stage(&lines));
    assert_eq!(mode(&stage.path("a.sock")), 0o664);
    if !is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let lines = [SLEEP, "socket = a.sock", "chown-socket = daemon:9", "uid = 2", "gid = 2"];
    let (stage, _, _) = exec(super::stage(&lines));
    let meta = fs::symlink_metadata(stage.path("a.sock")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (1, 9));
}

#[test]
fn a_changed_mode_reaches_a_socket_from_custody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let line = format!("socket = {}", path.display());
    let (first, _, custody) = exec(stage(&[SLEEP, &line, "chmod-socket = 600"]));
    let id = identity(&custody[0]);
    let (_second, _, custody) = exec(stage(&[SLEEP, &line, "chmod-socket = 660"]).held(custody));
    assert_eq!(identity(&custody[0]), id);
    assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o777, 0o660);
    drop(first);
}

#[test]
fn a_left_over_unix_socket_is_replaced_and_a_living_one_is_not() {
    let setup = stage(&[SLEEP, "socket = a.sock"]);
    left_over_socket(&setup.path("a.sock"));
    let (stage, _, _) = exec(setup);
    std::os::unix::net::UnixStream::connect(stage.path("a.sock")).unwrap();
    let setup = super::stage(&[SLEEP, &format!("socket = {}", stage.path("a.sock").display())]);
    let fault = setup.start().error(1);
    assert!(fault.message.contains("Address already in use"), "{fault:?}");
    assert!(fs::symlink_metadata(stage.path("a.sock")).unwrap().file_type().is_socket());
}

#[test]
fn abstract_and_shared_sockets_reach_the_program() {
    let name = format!("liege-stage-{}", std::process::id());
    let abstract_line = format!("socket = @{name}");
    let lines = [SLEEP, &abstract_line, "shared-socket = 127.0.0.1:0", "http-socket = =0"];
    let (stage, settings, custody) = exec(stage(&lines));
    assert_eq!((settings.run.listeners, custody.len()), (2, 2));
    assert_eq!(stage.environment()["LISTEN_FDNAMES"], "socket:shared-socket");
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
}

#[test]
fn a_socket_that_a_foreign_emperor_has_left_open_reaches_the_program() {
    let (listener, address) = tcp();
    let id = identity(&listener);
    // The number is ours: it stays the same in the stage.
    let lines =
        [SLEEP, "socket = 127.0.0.1:0", &format!("raw-socket = fd://{}", listener.as_raw_fd())];
    let mut setup = stage(&lines).foreign();
    setup.extra.push(("INHERITED".into(), listener));
    let stage = setup.start();
    stage.becomes("sleep");
    assert_eq!(stage.fds()[&4], id);
    let env = stage.environment();
    assert_eq!(env["LISTEN_FDNAMES"], "socket:raw-socket");
    assert!(env["SERVER_STARTER_PORT"].ends_with(&format!("{address}=4")), "{env:?}");
}

#[test]
fn a_socket_that_was_left_open_in_the_spawner_is_no_vassals() {
    let (listener, _) = tcp();
    // Above every number that a start has.
    let high = fd::duplicate(listener.as_fd(), 200).unwrap();
    let line = format!("socket = fd://{}", high.as_raw_fd());
    let mut setup = stage(&[SLEEP, &line]);
    setup.extra.push(("INHERITED".into(), high));
    let fault = setup.start().error(1);
    assert_eq!((&*fault.step, &*fault.origin), ("bind", "a.ini:3 socket"));
    assert!(fault.message.contains("Bad file descriptor"), "{fault:?}");
}

#[test]
fn reuse_port_lets_others_listen_at_the_same_address() {
    let (first, _, custody) = exec(stage(&[SLEEP, "socket = 127.0.0.1:0", "reuse-port = true"]));
    let address = socket::local_address(custody[0].as_fd()).unwrap().unwrap();
    let lines = [SLEEP, &format!("socket = {address}"), "reuse-port = true"];
    let (second, _, _) = exec(stage(&lines));
    let refused = stage(&[SLEEP, &format!("socket = {address}")]).start().error(1);
    assert!(refused.message.contains("stop the program that listens there"), "{refused:?}");
    drop((first, second));
}

#[test]
fn a_longer_queue_than_the_kernel_grants_is_a_warning() {
    let lines = [SLEEP, "socket = 127.0.0.1:0", "listen = 1000000000"];
    let (_, settings, _) = exec(stage(&lines));
    assert!(settings.warnings.iter().any(|line| line.contains("somaxconn")), "{settings:?}");
}

#[test]
fn a_shell_between_the_emperor_and_a_program_with_sockets_is_a_warning() {
    let warned = |text: &str| {
        let line = format!("unprivileged-binary-patch-arg = {text}");
        let (_, settings, _) = exec(stage(&[&line, "socket = 127.0.0.1:0"]));
        settings.warnings.iter().any(|line| line.contains("LISTEN_PID is the shell's"))
    };
    assert!(warned("sleep $((600)); true"));
    assert!(!warned("exec sleep $((600))"));
    assert!(!warned("sleep 600"));
}

#[test]
fn ipv6_sockets_are_bound_where_the_machine_has_ipv6() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: no IPv6");
        return;
    }
    let (stage, _, custody) = exec(super::stage(&[SLEEP, "http-socket = [::1]:0"]));
    let address = socket::local_address(custody[0].as_fd()).unwrap().unwrap();
    assert_eq!(stage.environment()["SERVER_STARTER_PORT"], format!("{address}=3"));
    std::net::TcpStream::connect(address.to_string()).unwrap();
}
