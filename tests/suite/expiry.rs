//! Lifetimes: expiry, sliding and restarts.

use std::time::{Duration, Instant};

use super::support::{
    now,
    server::{Server, Setup},
    until,
};

fn streams(server: &Server) -> f64 {
    server.metric("ds_streams")
}

/// A time this many seconds from now.
fn timestamp(secs: u64) -> String {
    let at = i64::try_from(now() + secs).unwrap();
    jiff::Timestamp::from_second(at).unwrap().to_string()
}

#[test]
fn a_stream_expires_without_any_request() {
    for setup in [Setup::new(), Setup::new().acid()] {
        let server = setup.start();
        server.put("ttl").text("x").header("stream-ttl", "1").send().expect(201);
        server
            .put("at")
            .text("x")
            .header("stream-expires-at", &timestamp(2))
            .send()
            .expect(201);
        server.text_stream("kept", "");
        assert_eq!(streams(&server), 3.0);
        until("both to end", || streams(&server) == 1.0);
        assert_eq!(server.metric("ds_stored_bytes"), 0.0);
        server.get("ttl").send().problem(404);
        server.head("at").send().expect(404);
        server.put("ttl").text("new").send().expect(201);
    }
}

#[test]
fn an_expires_at_in_the_past_expires_the_stream_at_once() {
    let server = Setup::new().start();
    let answer = server
        .put("s")
        .text("x")
        .header("stream-expires-at", "2020-01-01T00:00:00Z")
        .send();
    assert!(matches!(answer.status, 201 | 400), "{}", answer.text());
    server.get("s").send().problem(404);
    until("nothing to be kept", || streams(&server) == 0.0);
}

#[test]
fn reads_and_writes_extend_a_sliding_lifetime_and_metadata_does_not() {
    let server = Setup::new().acid().start();
    for name in ["read", "written", "looked-at"] {
        server.put(name).text("x").header("stream-ttl", "2").send().expect(201);
    }
    let mut looked_at = true;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) || looked_at {
        assert!(start.elapsed() < Duration::from_secs(20), "looking keeps it alive");
        server.get("read").send().expect(200);
        server.post("written").text("x").send().expect(204);
        looked_at = server.head("looked-at").send().status == 200;
        std::thread::sleep(Duration::from_millis(100));
    }
    until("the others to exit", || streams(&server) == 0.0);
}

#[test]
fn a_live_reader_extends_a_sliding_lifetime_until_it_leaves() {
    let server = Setup::new().acid().start();
    server.put("s").text("x").header("stream-ttl", "1").send().expect(201);
    server
        .put("other")
        .text("x")
        .header("stream-ttl", "1")
        .send()
        .expect(201);
    let mut reader = server.sse("s", "-1");
    assert_eq!(reader.data(), "x");
    until("the other server to exit", || server.head("other").send().status == 404);
    // It expired at the same moment.
    server.head("s").send().expect(200);
    server.post("s").text("y").send().expect(204);
    assert_eq!(reader.data(), "y");
    drop(reader);
    until("the process to exit", || streams(&server) == 0.0);
}

#[test]
fn a_live_reader_does_not_extend_expires_at() {
    let server = Setup::new().start();
    server
        .put("s")
        .text("x")
        .header("stream-expires-at", &timestamp(2))
        .send()
        .expect(201);
    let mut reader = server.sse("s", "-1");
    let poll = server.get("s?live=long-poll&offset=now").open();
    reader.remainder();
    server.get("s").send().problem(404);
    let mut poll = poll;
    poll.answer().problem(404);
}

#[test]
fn a_lifetime_continues_while_the_server_is_down() {
    let setup = Setup::new().acid();
    let server = setup.start();
    server
        .put("short")
        .text("x")
        .header("stream-ttl", "1")
        .send()
        .expect(201);
    server
        .put("long")
        .text("x")
        .header("stream-ttl", "3600")
        .send()
        .expect(201);
    server.kill();
    std::thread::sleep(Duration::from_millis(1100));
    let server = setup.start();
    server.get("short").send().problem(404);
    until("it to be removed", || streams(&server) == 1.0);
    let answer = server.head("long").send().expect(200);
    assert_eq!(answer.header("stream-ttl"), Some("3600"));
}

#[test]
fn reads_before_a_stop_extend_the_lifetime_after_it() {
    let setup = Setup::new().acid();
    let server = setup.start();
    server.put("s").text("x").header("stream-ttl", "4").send().expect(201);
    server
        .put("unread")
        .text("x")
        .header("stream-ttl", "4")
        .send()
        .expect(201);
    std::thread::sleep(Duration::from_millis(2500));
    server.get("s").send().expect(200);
    server.stop();
    let server = setup.start();
    until("the other server to exit", || {
        server.head("unread").send().status == 404
    });
    server.get("s").send().expect(200);
}

#[test]
fn an_expired_source_is_kept_for_its_forks() {
    let server = Setup::new().acid().start();
    server.put("s").text("abc").header("stream-ttl", "1").send().expect(201);
    server.fork("f", "s").header("stream-ttl", "3600").send().expect(201);
    until("the process to exit", || server.head("s").send().status == 410);
    for method in ["GET", "POST", "DELETE"] {
        server.request(method, "s").text("x").send().problem(410);
    }
    server.put("s").text("new").send().problem(409);
    assert_eq!(server.content("f"), "abc");
    server.delete("f").send().expect(204);
    assert_eq!(streams(&server), 0.0);
}

#[test]
fn a_deleted_source_stays_deleted_after_it_expires() {
    let server = Setup::new().start();
    server.put("s").text("abc").header("stream-ttl", "1").send().expect(201);
    server
        .put("clock")
        .text("abc")
        .header("stream-ttl", "1")
        .send()
        .expect(201);
    server.fork("f", "s").header("stream-ttl", "3600").send().expect(201);
    server.delete("s").send().expect(204);
    server.get("s").send().problem(410);
    until("its time to be over", || server.head("clock").send().status == 404);
    server.get("s").send().problem(410);
}
