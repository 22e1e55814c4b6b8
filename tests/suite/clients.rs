//! Misbehaving clients.

use std::time::{Duration, Instant};

use super::support::{
    http::Connection,
    live::Event,
    server::{Server, Setup},
    until,
};

pub(super) const POST: &str = "POST /v1/stream/s HTTP/1.1\r\nhost: streams.test\r\ncontent-type: text/plain\r\n";

pub(super) fn start(setup: Setup) -> Server {
    let server = setup.start();
    server.text_stream("s", "");
    server
}

/// How long the server kept the connection open after this input.
fn time_to_disconnect(server: &Server, input: &str, then_every_100_ms: &str) -> (Duration, String) {
    let mut connection = Connection::open(server.public);
    let started = Instant::now();
    connection.write(input);
    let mut trickle = connection.stream.get_ref().try_clone().unwrap();
    let more = then_every_100_ms.to_owned();
    std::thread::spawn(move || {
        use std::io::Write as _;
        while !more.is_empty() && trickle.write_all(more.as_bytes()).is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let rest = connection.rest();
    (started.elapsed(), rest)
}

#[test]
fn a_body_announced_as_too_large_is_refused_before_it_is_read() {
    let server = start(Setup::new().with("limits.max_body_bytes", 1000));
    let mut connection = Connection::open(server.public);
    // The client sends no body, and the server sends no `100 Continue`.
    connection.write(&format!("{POST}expect: 100-continue\r\ncontent-length: 1001\r\n\r\n"));
    connection.answer().problem(413);
    for length in ["1001", "99999999999", "9223372036854775807"] {
        let mut connection = Connection::open(server.public);
        connection.write(&format!("{POST}content-length: {length}\r\n\r\n"));
        connection.answer().problem(413);
    }
    server.post("s").text(&"x".repeat(1000)).send().expect(204);
    assert_eq!(server.content("s").len(), 1000);
}

#[test]
fn an_unannounced_oversized_body_is_refused() {
    let server = start(Setup::new().with("limits.max_body_bytes", 1000));
    let mut connection = Connection::open(server.public);
    let chunk = format!("190\r\n{}\r\n", "x".repeat(400));
    connection.write(&format!(
        "{POST}transfer-encoding: chunked\r\n\r\n{chunk}{chunk}{chunk}"
    ));
    connection.answer().problem(413);
    assert_eq!(server.content("s"), "");
}

#[test]
fn all_bodies_together_are_bounded() {
    let setup = Setup::new()
        .with("limits.max_body_bytes", 6000)
        .with("limits.max_inflight_bytes", 8000);
    let server = start(setup);
    let mut held = None;
    until("a body to be refused", || {
        // A new request each time: if both arrive together, the server may refuse this one instead.
        let other = Connection::try_open(server.public, Some([127, 0, 0, 2].into()));
        let first = held.insert(other.unwrap());
        first.write(&format!("{POST}content-length: 6000\r\n\r\n{}", "x".repeat(5000)));
        let answer = server.post("s").text(&"y".repeat(4000)).send();
        if answer.status == 503 {
            assert!(answer.header("retry-after").is_some());
        }
        answer.status == 503
    });
    drop(held);
    until("room", || server.post("s").text(&"z".repeat(4000)).send().status == 204);
}

#[test]
fn an_oversized_request_head_is_refused() {
    let server = start(Setup::new().with("limits.max_header_bytes", 16_384));
    let bombs = [
        format!("GET /{} HTTP/1.1\r\n", "x".repeat(200_000)),
        format!("GET /up HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(200_000)),
        format!("GET /up HTTP/1.1\r\nhost: x\r\n{}\r\n", "x-y: z\r\n".repeat(10_000)),
        format!("GET /up HTTP/1.1\r\nhost: x\r\n{}\r\n", "x:\r\n".repeat(150)),
        format!("GET /up HTTP/1.1\r\nhost: x\r\n{}", "x".repeat(1_000_000)),
    ];
    for bomb in bombs {
        let mut connection = Connection::open(server.public);
        connection.try_write(bomb.as_bytes()).unwrap();
        let rest = connection.rest();
        assert!(!rest.contains(" 200 "), "{rest}");
        let refused = ["", "HTTP/1.1 400", "HTTP/1.1 414", "HTTP/1.1 431"];
        assert!(refused.iter().any(|start| rest.starts_with(start)), "{rest}");
    }
    server.raw("GET", "/up").send().expect(200);
}

#[test]
fn a_slow_request_head_times_out() {
    let server = start(Setup::new().with("transport.connection.header_timeout_secs", 1));
    let cases = [
        ("silence", "", ""),
        ("half a head", "GET /up HTTP/1.1\r\nhost:", ""),
        ("a trickled head", "GET /up HTTP/1.1\r\nhost: x\r\nx: ", "y"),
        ("trickled headers", "GET /up HTTP/1.1\r\nhost: x\r\n", "x: y\r\n"),
    ];
    std::thread::scope(|scope| {
        for (what, input, more) in cases {
            let server = &server;
            scope.spawn(move || {
                let (lived, answer) = time_to_disconnect(server, input, more);
                assert!(lived < Duration::from_secs(10), "{what} lived for {lived:?}");
                assert!(!answer.contains(" 200 "), "{what}: {answer}");
            });
        }
    });
}

#[test]
fn an_idle_connection_is_closed() {
    let server = start(Setup::new().with("transport.connection.idle_timeout_secs", 1));
    let (lived, answer) = time_to_disconnect(&server, "GET /up HTTP/1.1\r\nhost: x\r\n\r\n", "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(lived < Duration::from_secs(10), "lived for {lived:?}");
}

#[test]
fn a_slow_body_times_out() {
    // A stalled body hits `body_timeout_secs`, a trickling one `body_total_timeout_secs`.
    let setup = Setup::new()
        .with("transport.connection.body_timeout_secs", 1)
        .with("transport.connection.body_total_timeout_secs", 3);
    let server = start(setup);
    let cases = [
        ("no body", "content-length: 1000\r\n\r\n", ""),
        ("half a body", "content-length: 1000\r\n\r\nabc", ""),
        ("half a chunk", "transfer-encoding: chunked\r\n\r\n5\r\nab", ""),
        ("no last chunk", "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n", ""),
        ("a trickled body", "content-length: 1000\r\n\r\n", "x"),
        ("trickled chunks", "transfer-encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
    ];
    std::thread::scope(|scope| {
        for (what, framing, more) in cases {
            let server = &server;
            scope.spawn(move || {
                let (lived, answer) = time_to_disconnect(server, &format!("{POST}{framing}"), more);
                let least = if more.is_empty() { 1 } else { 3 };
                assert!(lived >= Duration::from_secs(least), "{what} lived for {lived:?}");
                assert!(lived < Duration::from_secs(10), "{what} lived for {lived:?}");
                assert!(
                    answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
                    "{what}: {answer}"
                );
            });
        }
    });
    assert_eq!(server.content("s"), "");
    server.post("s").text("x").send().expect(204);
}

#[test]
fn a_steady_body_may_take_longer_than_the_pause_timeout() {
    let server = start(Setup::new().with("transport.connection.body_timeout_secs", 2));
    let mut connection = Connection::open(server.public);
    connection.write(&format!("{POST}transfer-encoding: chunked\r\n\r\n"));
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(250));
        connection.write("1\r\nx\r\n");
    }
    connection.write("0\r\n\r\n");
    connection.answer().expect(204);
    assert_eq!(server.content("s"), "x".repeat(10));
}

#[test]
fn an_incomplete_body_is_not_appended() {
    let server = start(Setup::new());
    for framing in [
        "content-length: 10\r\n\r\nabc",
        "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let mut connection = Connection::open(server.public);
        connection.write(&format!("{POST}{framing}"));
        connection.stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
        let answer = connection.rest();
        assert!(!answer.contains(" 204 "), "{answer}");
    }
    assert_eq!(server.content("s"), "");
}

#[test]
fn a_stalled_reader_is_dropped_and_delays_nobody() {
    let setup = Setup::new().with("transport.connection.write_timeout_secs", 2);
    let setup = setup
        .with("limits.max_stream_bytes", 0)
        .with("limits.max_memory_bytes", 0);
    let server = start(setup);
    let stalled: Vec<_> = (0..20).map(|_| server.get("s?live=sse&offset=-1").open()).collect();
    let mut well = server.sse("s", "-1");
    let readers = || server.metric("ds_live_readers{mode=\"sse\"}");
    until("all of them", || readers() == 21.0);
    let before = server.memory_kib();
    let block = "x".repeat(500_000);
    let (mut sent, mut taken) = (0, 0);
    // Larger than the socket buffers, so that stalled readers block; 20 copies would be 800 MB.
    while sent < 40 * block.len() {
        server.post("s").text(&block).send().expect(204);
        sent += block.len();
        while taken < sent {
            taken += well.data().len();
        }
    }
    let grown = server.memory_kib().saturating_sub(before);
    assert!(grown < 40 * 500 + 100_000, "grew by {grown} KiB for 20 MB");
    until("stalled readers to be dropped", || readers() == 1.0);
    server.post("s").text("end").send().expect(204);
    assert_eq!(well.data(), "end");
    drop(stalled);
}

#[test]
fn connections_are_capped_with_a_reserve_for_the_internal_listener() {
    let server = Setup::new()
        .with("limits.max_connections", 32)
        .with("limits.max_connections_per_address", 0)
        .internal("127.0.0.1")
        .start();
    let mut held: Vec<_> = (0..40).map(|_| Connection::open(server.public)).collect();
    let mut answered = 0;
    for connection in &mut held {
        connection.try_write(b"GET /up HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        answered += usize::from(connection.read(false).is_ok_and(|answer| answer.status == 200));
    }
    assert!((16..=32).contains(&answered), "{answered} of 40 were served");
    super::support::http::Request::new(server.internal(), "GET", "/up")
        .send()
        .expect(200);
    drop(held);
    until("places to be free", || {
        server
            .raw("GET", "/up")
            .try_send()
            .is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn live_readers_are_capped_and_other_requests_work() {
    let server = start(Setup::new().with("limits.max_live_readers", 3));
    let readers: Vec<_> = (0..3).map(|_| server.sse("s", "-1")).collect();
    for live in ["sse", "long-poll"] {
        let answer = server.get(&format!("s?live={live}&offset=-1")).send();
        answer.problem(503);
        assert!(answer.header("retry-after").is_some());
    }
    server.post("s").text("x").send().expect(204);
    assert_eq!(server.content("s"), "x");
    for mut reader in readers {
        assert_eq!(reader.data(), "x");
    }
    until("a place to be free", || {
        server.get("s?live=long-poll&offset=-1").send().status == 200
    });
}

#[test]
fn an_idle_sse_read_gets_heartbeats_and_ends_at_its_timeout() {
    let setup = Setup::new().with("transport.connection.sse_heartbeat_secs", 1);
    let server = start(setup.with("transport.connection.sse_reconnect_interval_secs", 2));
    let mut sse = server.sse("s", "-1");
    assert_eq!(sse.answer.header("x-accel-buffering"), Some("no"));
    let events = sse.remainder();
    assert!(matches!(events.first(), Some(Event::Retry(_))), "{events:?}");
    assert!(events.contains(&Event::Comment), "{events:?}");
}
