//! Metrics and health: access and values.

use super::support::{
    http::{Connection, Request},
    server::{BASE, Setup, metric_in},
    until,
};

#[test]
fn metrics_need_the_internal_listener_or_a_server_token() {
    let server = Setup::new().gated().internal("127.0.0.1").start();
    server.raw("GET", "/metrics").send().expect(401);
    let client = server.client_token("s", &["read", "write"]);
    server.raw("GET", "/metrics").token(&client).send().expect(403);
    server
        .raw("GET", "/metrics")
        .token(&server.server_token())
        .send()
        .expect(200);
    let inside = Request::new(server.internal(), "GET", "/metrics").send().expect(200);
    assert_eq!(
        inside.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
}

#[test]
fn counters_and_gauges_move() {
    let server = Setup::new().acid().start();
    let appends = "ds_requests_total{operation=\"append\",status=\"204\"}";
    let (commits, appended) = (
        server.metric("ds_commits_total"),
        server.metric("ds_appended_bytes_total"),
    );
    server.text_stream("s", "");
    server.post("s").text("12345").send().expect(204);
    server.post("s").text("1").header("stream-seq", "").send().expect(400);
    assert_eq!(server.metric(appends), 1.0);
    assert_eq!(
        server.metric("ds_requests_total{operation=\"append\",status=\"400\"}"),
        1.0
    );
    assert_eq!(
        server.metric("ds_requests_total{operation=\"create\",status=\"201\"}"),
        1.0
    );
    assert_eq!(server.metric("ds_appended_bytes_total") - appended, 5.0);
    assert_eq!(server.metric("ds_commits_total") - commits, 2.0);
    assert_eq!(
        server.metric("ds_commit_seconds_count"),
        server.metric("ds_commits_total")
    );
    assert_eq!(
        server.metric("ds_commit_batch_size_count"),
        server.metric("ds_commits_total")
    );
    assert_eq!(server.metric("ds_streams"), 1.0);
    assert!(server.metric("ds_stored_bytes") >= 5.0);
    server.delete("s").send().expect(204);
    assert_eq!(server.metric("ds_streams"), 0.0);
    assert_eq!(server.metric("ds_stored_bytes"), 0.0);
}

#[test]
fn live_readers_are_counted_while_connected() {
    let server = Setup::new()
        .with("transport.connection.long_poll_timeout_secs", 5)
        .start();
    let tail = server.text_stream("s", "a");
    let gauge = |mode: &str| server.metric(&format!("ds_live_readers{{mode=\"{mode}\"}}"));
    let readers: Vec<_> = (0..3).map(|_| server.sse("s", &tail)).collect();
    let poll = server.get(&format!("s?live=long-poll&offset={tail}")).open();
    until("all of them", || (gauge("sse"), gauge("long-poll")) == (3.0, 1.0));
    drop((readers, poll));
    // Over HTTP/1.1 a disconnected poll is noticed only when it is answered.
    until("none of them", || (gauge("sse"), gauge("long-poll")) == (0.0, 0.0));
}

#[test]
fn connections_are_counted_served_and_refused() {
    let server = Setup::new()
        .with("limits.max_connections", 20)
        .with("limits.max_connections_per_address", 10)
        .internal("127.0.0.1")
        .start();
    let held: Vec<_> = (0..5).map(|_| Connection::open(server.public)).collect();
    // The metrics request counts itself.
    until("all of them", || server.metric("ds_connections") == 6.0);
    drop(held);
    until("none of them", || server.metric("ds_connections") == 1.0);
    let outside = Request::new(server.internal(), "GET", "/up").from([127, 0, 0, 9]);
    outside.send().expect(403);
    assert_eq!(server.metric("ds_refused_connections_total{reason=\"peer\"}"), 1.0);
    // On one connection: the server is about to be full.
    let mut scraper = Connection::open(server.internal());
    let mut refused = |reason: &str| {
        let scrape = Request::new(server.internal(), "GET", "/metrics").send_on(&mut scraper);
        let name = format!("ds_refused_connections_total{{reason=\"{reason}\"}}");
        metric_in(&scrape.unwrap().expect(200).text(), &name)
    };
    let mut held: Vec<_> = (0..11).map(|_| Connection::open(server.public)).collect();
    until("one to be refused", || refused("address") == 1.0);
    held.extend((0..11).map(|_| Connection::try_open(server.public, Some([127, 0, 0, 9].into())).unwrap()));
    until("some to be refused", || refused("full") >= 1.0);
}

#[test]
fn no_label_grows_with_streams_or_clients() {
    let server = Setup::new().start();
    let series = || server.metrics().lines().filter(|line| !line.starts_with('#')).count();
    let everything = |n: usize| {
        let name = format!("stream-{n}");
        server.text_stream(&name, "");
        let producer = server.post(&name).producer(&format!("producer-{n}"), 0, 0);
        producer.text("x").send().expect(200);
        server.get(&name).send().expect(200);
        server.head(&name).send().expect(200);
        server.request(&format!("METHOD{n}"), &name).send().expect(405);
        server.raw("GET", &format!("/path-{n}")).send().expect(404);
        server.delete(&name).send().expect(204);
    };
    everything(0);
    // The first metrics request counts itself.
    series();
    let before = series();
    (1..20).for_each(everything);
    assert_eq!(series(), before);
    let metrics = server.metrics();
    for word in ["stream-", "producer-", "path-", "METHOD", BASE] {
        assert!(!metrics.contains(word), "{word}:\n{metrics}");
    }
}

#[test]
fn health_needs_no_token() {
    let server = Setup::new().gated().start();
    for path in ["/up", "/healthz", "/readyz"] {
        server.raw("GET", path).send().expect(200);
        server.raw("HEAD", path).send().expect(200);
    }
}

#[test]
fn a_failure_in_the_log_has_the_request_id_of_the_answer() {
    let server = Setup::new().logging("debug", "json").start();
    let answer = server.get("absent").send().expect(404);
    let id = answer.header("x-request-id").unwrap();
    assert_eq!(answer.json()["request_id"], id);
    let line = super::support::server::json_line(&server.log.wait_for(id));
    assert_eq!(line["url.path"], format!("{BASE}/absent"));
}
