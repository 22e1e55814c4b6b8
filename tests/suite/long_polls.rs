//! Long-polls: timeouts, ETags and closed streams.

use std::time::{Duration, Instant};

use super::support::server::Setup;

#[test]
fn a_long_poll_ends_before_its_timeout() {
    let server = Setup::new()
        .with("transport.connection.long_poll_timeout_secs", 2)
        .start();
    server.text_stream("s", "");
    let began = Instant::now();
    let polls: Vec<_> = (0..8)
        .map(|_| server.get("s?live=long-poll&offset=now").open())
        .collect();
    let ends: Vec<_> = polls
        .into_iter()
        .map(|mut poll| {
            poll.answer().expect(204);
            began.elapsed()
        })
        .collect();
    assert!(ends[0] >= Duration::from_millis(1690), "{ends:?}");
    assert!(ends[7] < Duration::from_secs(15), "{ends:?}");
}

#[test]
fn a_long_poll_answers_304_for_a_matching_etag() {
    let server = Setup::new().start();
    server.text_stream("s", "abc");
    let poll = |tag: &str| {
        let request = server.get("s?live=long-poll&offset=-1");
        request.header("if-none-match", tag).send()
    };
    let answer = poll("\"other\"").expect(200);
    let tag = answer.header("etag").unwrap();
    let unchanged = poll(tag).expect(304);
    for name in ["etag", "stream-next-offset", "stream-up-to-date", "cache-control"] {
        assert_eq!(unchanged.header(name), answer.header(name), "{name}");
    }
    assert!(unchanged.header("stream-cursor").is_some());
    server.post("s").header("stream-closed", "true").send().expect(204);
    assert_eq!(poll(tag).expect(200).header("stream-closed"), Some("true"));
    // `now` means a different position each time.
    let mut now = server
        .get("s?live=long-poll&offset=now")
        .header("if-none-match", "*")
        .open();
    now.answer().expect(204);
}

#[test]
fn a_live_read_at_the_end_of_a_closed_stream_has_stream_closed() {
    let server = Setup::new().start();
    server.text_stream("s", "abc");
    let tail = server
        .post("s")
        .header("stream-closed", "true")
        .send()
        .expect(204)
        .next_offset();
    for offset in ["now", &tail] {
        for (live, status) in [("sse", 200), ("long-poll", 204)] {
            let answer = server
                .get(&format!("s?live={live}&offset={offset}"))
                .send()
                .expect(status);
            assert_eq!(answer.header("stream-closed"), Some("true"), "{live} {offset}");
            assert_eq!(answer.header("stream-up-to-date"), Some("true"), "{live} {offset}");
            assert_eq!(answer.next_offset(), tail, "{live} {offset}");
        }
    }
    let answer = server.get("s?live=sse&offset=-1").send().expect(200);
    assert_eq!(answer.header("stream-closed"), None);
    server.text_stream("open", "abc");
    assert_eq!(server.sse("open", "now").answer.header("stream-closed"), None);
}
