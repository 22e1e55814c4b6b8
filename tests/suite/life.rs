//! Starting, stopping and deploying.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::support::{
    http::Connection,
    live::Event,
    log::Log,
    server::{Server, Setup, run},
    unprivileged::{self, Net},
    until,
};

#[test]
fn a_stop_under_load_loses_nothing_acknowledged() {
    let setup = Setup::new().acid();
    let mut server = setup.start();
    server.text_stream("s", "");
    let stopping = AtomicBool::new(false);
    let acknowledged: Vec<String> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (server, stopping) = (&server, &stopping);
                scope.spawn(move || {
                    let mut done = Vec::new();
                    for n in 0.. {
                        let line = format!("{writer}-{n};");
                        match server.post("s").text(&line).try_send() {
                            Ok(answer) if answer.status == 204 => done.push(line),
                            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
                            // The listener is closed, or the connection was closed without a
                            // response.
                            Err(_) => {
                                assert!(stopping.load(Ordering::SeqCst), "a connection broke before the stop");
                                break;
                            }
                        }
                    }
                    done
                })
            })
            .collect();
        until("appends", || server.metric("ds_appended_bytes_total") > 300.0);
        stopping.store(true, Ordering::SeqCst);
        server.signal("TERM");
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(server.wait().code(), Some(0));
    let content = setup.start().content("s");
    for line in &acknowledged {
        assert!(content.contains(line.as_str()), "{line} was acknowledged and is lost");
    }
    let mut stored: Vec<&str> = content.split_terminator(';').collect();
    let all = stored.len();
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored.len(), all, "a message is stored twice");
}

#[test]
fn a_stop_sends_live_readers_a_retry_hint() {
    let mut server = Setup::new().start();
    let tail = server.text_stream("s", "a");
    let mut sse = server.sse("s", &tail);
    sse.control();
    let mut poll = server.get(&format!("s?live=long-poll&offset={tail}")).open();
    until("the reader", || {
        server.metric("ds_live_readers{mode=\"long-poll\"}") == 1.0
    });
    let started = Instant::now();
    server.signal("TERM");
    let rest = sse.remainder();
    assert!(
        matches!(rest.last(), Some(Event::Retry(millis)) if *millis > 0),
        "{rest:?}"
    );
    let answer = poll.answer();
    assert_eq!(answer.status, 204);
    assert_eq!(answer.next_offset(), tail);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(server.wait().code(), Some(0));
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "took {:?}",
        started.elapsed()
    );
}

#[test]
fn a_stop_does_not_wait_forever_for_an_endless_request() {
    let mut server = Setup::new().with("server.drain_timeout_secs", 1).start();
    server.text_stream("s", "");
    let mut open = Connection::open(server.public);
    open.write("POST /v1/stream/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 9\r\n\r\nabc");
    server.raw("GET", "/up").send().expect(200);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    server.log.wait_for("were cut");
}

#[test]
fn an_interrupt_stops_it_too() {
    let mut server = Setup::new().start();
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn everything_is_there_after_a_restart() {
    let setup = Setup::new().acid();
    let server = setup.start();
    server.put("json").json(r#"[{"a":1}]"#).send().expect(201);
    server
        .put("ttl")
        .header("stream-ttl", "3600")
        .text("x")
        .send()
        .expect(201);
    server.text_stream("closed", "abc");
    server.post("closed").header("stream-closed", "true").send().expect(204);
    server.fork("fork", "json").send().expect(201);
    server.text_stream("p", "");
    server.post("p").producer("p", 3, 0).text("a").send().expect(200);
    server.post("p").text("b").header("stream-seq", "m").send().expect(204);
    let names = ["json", "ttl", "closed", "fork", "p"];
    let all = |server: &Server| names.map(|name| (server.head(name).send().shape(), server.content(name)));
    let before = all(&server);
    server.stop();
    let server = setup.start();
    assert_eq!(all(&server), before);
    server.post("p").producer("p", 3, 0).text("a").send().expect(204);
    server.post("p").producer("p", 2, 0).text("a").send().expect(403);
    let gap = server.post("p").producer("p", 3, 5).text("a").send().expect(409);
    assert_eq!(gap.header("producer-expected-seq"), Some("1"));
    server.post("p").text("c").header("stream-seq", "l").send().expect(409);
    server.post("closed").text("more").send().expect(409);
    assert_eq!(all(&server), before);
}

#[test]
fn load_balancers_are_given_time_to_notice_a_stop() {
    let mut server = Setup::new().with("shutdown.delay_secs", 1).start();
    server.text_stream("s", "a");
    server.raw("GET", "/readyz").send().expect(200);
    server.signal("TERM");
    server.log.wait_for("stopping");
    server.raw("GET", "/readyz").send().problem(503);
    server.raw("GET", "/up").send().expect(200);
    server.post("s").text("b").send().expect(204);
    assert_eq!(server.wait().code(), Some(0));
}

/// A second server on the same directory waits, says so and takes over.
fn takes_over(end: impl FnOnce(Server)) {
    let setup = Setup::new().acid();
    let first = setup.start();
    first.text_stream("s", "abc");
    let second = setup.launch();
    let line = second.log.wait_for("waiting for the data directory");
    assert!(line.contains(&first.pid().to_string()), "{line}");
    second.raw("GET", "/up").send().expect(200);
    for path in ["/readyz", "/healthz", "/metrics"] {
        let answer = second.raw("GET", path).send();
        answer.problem(503);
        let secs: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!(secs > 0, "{path}");
    }
    assert_eq!(first.content("s"), "abc");
    end(first);
    let ended = Instant::now();
    until("it to serve", || second.get("s").send().status == 200);
    assert!(ended.elapsed() < Duration::from_secs(1), "took {:?}", ended.elapsed());
    assert_eq!(second.content("s"), "abc");
    second.raw("GET", "/readyz").send().expect(200);
}

#[test]
fn a_second_server_takes_over_when_the_first_one_stops() {
    takes_over(Server::stop);
}

#[test]
fn a_second_server_takes_over_when_the_first_one_is_killed() {
    takes_over(Server::kill);
}

#[test]
fn a_waiting_server_can_be_stopped() {
    let setup = Setup::new().acid();
    let _first = setup.start();
    let mut second = setup.launch();
    second.log.wait_for("waiting for the data directory");
    second.signal("TERM");
    assert_eq!(second.wait().code(), Some(0));
}

#[test]
fn without_lock_wait_a_locked_directory_is_refused_naming_the_holder() {
    let setup = Setup::new().acid();
    let first = setup.start();
    let (code, _, error) = setup.clone().with("storage.lock_wait_secs", 0).run(&[]);
    assert_eq!(code, 1, "{error}");
    let line = one_line(&error, "[start_server]");
    assert!(line.contains(&format!("process {}", first.pid())), "{line}");
}

#[test]
fn lock_wait_limits_the_wait_for_a_holder_that_hangs() {
    let setup = Setup::new().acid();
    let first = setup.start();
    first.signal("STOP");
    let (code, _, error) = setup.clone().with("storage.lock_wait_secs", 1).run(&[]);
    assert_eq!(code, 1, "{error}");
    let line = one_line(&error, "[start_server]");
    assert!(line.contains(&format!("process {}", first.pid())), "{line}");
    first.signal("CONT");
    first.raw("GET", "/readyz").send().expect(200);
}

#[test]
fn a_second_signal_skips_the_drain() {
    let mut server = Setup::new().acid().start();
    server.text_stream("s", "kept");
    let mut stuck = Connection::open(server.public);
    stuck.write("POST /v1/stream/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 9\r\n\r\nabc");
    until("the request to be in flight", || {
        server.metric("ds_requests_total{operation=\"create\",status=\"201\"}") == 1.0
    });
    server.signal("TERM");
    server.log.wait_for("stopping");
    let started = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "took {:?}",
        started.elapsed()
    );
}

/// The error message, which must be a single line.
fn one_line(error: &str, phase: &str) -> String {
    let lines: Vec<&str> = error.lines().filter(|line| line.contains(phase)).collect();
    assert_eq!(lines.len(), 1, "{error}");
    let last = error.lines().last();
    assert_eq!(last, Some(lines[0]), "more follows:\n{error}");
    assert!(!error.contains("panicked"), "{error}");
    lines[0].to_owned()
}

#[test]
fn a_port_in_use_is_reported_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (code, _, error) = Setup::new().with("server.bind_address", address).run(&[]);
    assert_eq!(code, 1);
    let line = one_line(&error, "[bind_listener]");
    assert!(line.contains(&address.to_string()) && line.contains("in use"), "{line}");
}

#[test]
fn an_unreadable_key_is_reported_in_one_line() {
    let setup = Setup::new().gated();
    for content in [
        None,
        Some(""),
        Some("no key"),
        Some("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
    ] {
        match content {
            None => std::fs::remove_file(setup.key_file()).unwrap(),
            Some(content) => std::fs::write(setup.key_file(), content).unwrap(),
        }
        let (code, _, error) = setup.run(&[]);
        assert_eq!(code, 78, "{error}");
        let line = one_line(&error, "[load_keys]");
        assert!(line.contains("verify_key.pem"), "{line}");
    }
}

#[test]
fn a_private_key_in_the_place_of_the_public_one_is_never_shown() {
    let setup = Setup::new().gated();
    let private = setup.issuer.private_pem();
    std::fs::write(setup.key_file(), &private).unwrap();
    let (code, out, error) = setup.run(&[]);
    assert_eq!(code, 78);
    let secret = private.lines().nth(1).unwrap();
    assert!(!out.contains(secret) && !error.contains(secret), "{error}");
}

#[test]
fn a_data_directory_that_is_a_file_is_reported_in_one_line() {
    let setup = Setup::new().acid();
    std::fs::write(setup.data_dir(), "a file").unwrap();
    let (code, _, error) = setup.run(&[]);
    assert_eq!(code, 1);
    let line = one_line(&error, "[start_server]");
    assert!(line.contains("data") && line.contains("not a directory"), "{line}");
}

#[test]
fn an_unwritable_data_directory_is_reported_in_one_line() {
    use std::os::unix::fs::PermissionsExt as _;
    let setup = Setup::new().acid();
    std::fs::create_dir(setup.data_dir()).unwrap();
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(setup.dir.path(), 0o755);
    mode(&setup.data_dir(), 0o555);
    let (code, _, error) = run(unprivileged::command(&setup, Net::Shared));
    assert_eq!(code, 1, "{error}");
    let line = one_line(&error, "[start_server]");
    assert!(line.contains("not writable"), "{line}");
}

#[test]
fn all_configuration_errors_are_reported_at_once() {
    let setup = Setup::new()
        .with("storage.mode", "tape")
        .with("limits.max_strems", 3)
        .with("server.bind_address", "nowhere")
        .with("auth.issuer", "x");
    let (code, _, error) = setup.run(&[]);
    assert_eq!(code, 78, "{error}");
    for part in [
        "DS_STORAGE__MODE",
        "DS_LIMITS__MAX_STREMS",
        "DS_LIMITS__MAX_STREAMS?",
        "DS_SERVER__BIND_ADDRESS",
        "auth.verify_key",
    ] {
        assert!(error.contains(part), "{part} is missing:\n{error}");
    }
    assert!(
        error.starts_with("[load_config]") || error.contains("\n[load_config]"),
        "{error}"
    );
}

#[test]
fn takes_as_many_descriptors_as_the_system_grants() {
    let setup = Setup::new();
    let inner = setup.command();
    let mut child = std::process::Command::new("sh")
        .args(["-c", "ulimit -Sn 128; exec \"$0\""])
        .arg(inner.get_program())
        .env_clear()
        .envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let log = Log::of(child.stderr.take().unwrap());
    log.wait_for("serving");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard] = line.split_whitespace().skip(3).take(2).collect::<Vec<_>>()[..] else {
        panic!("{line}")
    };
    assert_eq!(soft, hard);
}

#[test]
fn a_reader_resumes_from_its_offset_after_a_kill() {
    let setup = Setup::new().acid();
    let server = setup.start();
    server.text_stream("s", "abc");
    let offset = server.get("s").send().expect(200).next_offset();
    server.post("s").text("def").send().expect(204);
    server.kill();
    let server = setup.start();
    assert_eq!(server.content(&format!("s?offset={offset}")), "def");
    let mut sse = server.sse("s", &offset);
    assert_eq!(sse.data(), "def");
}
