//! Sockets from systemd, and the messages to it.

use std::{
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    process::{Command, Stdio},
};

use super::support::{
    TIMEOUT,
    http::Request,
    server::{BASE, BIN, Setup, run},
};

/// A server with these listeners as descriptors 3 and 4.
fn activated(setup: &Setup, names: &str, listeners: &[&TcpListener]) -> Command {
    let mut command = Command::new("sh");
    let passed = |listener: &TcpListener| Stdio::from(OwnedFd::from(listener.try_clone().unwrap()));
    let script = format!(
        "exec 3<&0 {} 0</dev/null 1>&2; LISTEN_PID=$$ exec \"$0\"",
        if listeners.len() > 1 { "4>&1" } else { "" }
    );
    command.args(["-c", &script, BIN]);
    setup.configure(&mut command);
    command
        .env("LISTEN_FDS", listeners.len().to_string())
        .env("LISTEN_FDNAMES", names)
        .stdin(passed(listeners[0]));
    if let Some(second) = listeners.get(1) {
        command.stdout(passed(second));
    }
    command
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn a_socket_from_systemd_outlives_the_server() {
    let (setup, socket) = (Setup::new().acid(), listener());
    let address = socket.local_addr().unwrap();
    let first = setup.spawn_with(activated(&setup, "durable-streams.socket", &[&socket]));
    assert_eq!(first.public, address);
    first.log.wait_for("serving");
    first.text_stream("s", "kept");
    first.stop();

    // The kernel takes the request in while there is no server.
    let mut early = Request::new(address, "GET", &format!("{BASE}/s")).open();
    let second = setup.spawn_with(activated(&setup, "durable-streams.socket", &[&socket]));
    second.log.wait_for("serving");
    let answer = early.answer();
    // 503 if it is read before the store is open.
    assert!([200, 503].contains(&answer.status), "{answer:?}");
    assert_eq!(second.content("s"), "kept");
    second.stop();
}

#[test]
fn both_listeners_can_come_from_systemd() {
    let setup = Setup::new().internal("127.0.0.1");
    let (public, internal) = (listener(), listener());
    let server = setup.spawn_with(activated(&setup, "internal:public", &[&internal, &public]));
    assert_eq!(server.public, public.local_addr().unwrap());
    assert_eq!(server.internal(), internal.local_addr().unwrap());
    server.log.wait_for("serving");
    server.text_stream("s", "a");
    Request::new(server.internal(), "GET", "/readyz").send().expect(200);
    server.stop();
}

#[test]
fn a_socket_that_belongs_to_no_listener_is_refused() {
    let (setup, socket) = (Setup::new(), listener());
    let (code, _, error) = run(activated(&setup, "internal", &[&socket]));
    assert_eq!(code, 1, "{error}");
    assert!(
        error.contains("[bind_listener] the socket \"internal\" from systemd"),
        "{error}"
    );
}

#[test]
fn sockets_for_another_process_are_ignored() {
    let (setup, socket) = (Setup::new(), listener());
    let mut command = setup.command();
    command
        .env("LISTEN_FDS", "1")
        .env("LISTEN_PID", "1")
        .env("LISTEN_FDNAMES", "public");
    let server = setup.spawn_with(command);
    assert_ne!(server.public, socket.local_addr().unwrap());
    server.log.wait_for("serving");
    server.stop();
}

/// systemd's end of the notification socket.
struct Manager(UnixDatagram);

impl Manager {
    fn of(setup: &mut Setup) -> Self {
        let path = setup.dir.path().join("notify");
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        setup.variable("NOTIFY_SOCKET", path.to_str().unwrap());
        Self(socket)
    }

    #[track_caller]
    fn message(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    /// Nothing is left to be read.
    fn is_silent(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let silent = self.0.recv(&mut [0; 4096]).is_err();
        self.0.set_nonblocking(false).unwrap();
        silent
    }
}

#[test]
fn systemd_is_told_about_the_start_reloads_and_the_stop() {
    let mut setup = Setup::new();
    let manager = Manager::of(&mut setup);
    let server = setup.start();
    assert!(manager.message().contains("EXTEND_TIMEOUT_USEC="));
    assert!(manager.message().contains("READY=1\n"));
    server.signal("HUP");
    let reload = manager.message();
    assert!(
        reload.contains("RELOADING=1\n") && reload.contains("MONOTONIC_USEC="),
        "{reload}"
    );
    assert!(manager.message().contains("READY=1\n"));
    server.signal("TERM");
    let stop = manager.message();
    assert!(
        stop.contains("STOPPING=1\n") && stop.contains("EXTEND_TIMEOUT_USEC=55000000\n"),
        "{stop}"
    );
    server.stop();
}

#[test]
fn systemd_is_told_that_the_server_is_ready_only_when_it_serves() {
    let setup = Setup::new().acid();
    let first = setup.start();
    let mut next = setup.clone();
    let manager = Manager::of(&mut next);
    let second = next.launch();
    second.log.wait_for("waiting for the data directory");
    let message = manager.message();
    assert!(message.contains("EXTEND_TIMEOUT_USEC=90000000\n"), "{message}");
    second.signal("HUP");
    second.log.wait_for("SIGHUP");
    assert!(manager.is_silent());
    first.stop();
    assert!(manager.message().contains("READY=1\n"));
    second.stop();
}
