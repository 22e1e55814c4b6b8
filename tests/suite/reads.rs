//! Catch-up reads answer everything up to the tail, and cost what their reader has not taken.

use std::{
    io::{self, Read as _},
    time::{Duration, Instant},
};

use super::support::{
    certs::Certs,
    curl::Curl,
    http::{Answer, Connection, Request},
    server::{BASE, Server, Setup},
    until,
};

const MODES: [&str; 4] = ["memory", "acid", "file-durable", "file-fast"];

fn in_mode(mode: &str) -> Setup {
    let setup = Setup::new().with("limits.max_stream_bytes", 0);
    if mode == "memory" {
        setup.with("limits.max_memory_bytes", 0)
    } else {
        setup.on_disk(mode)
    }
}

/// Bytes that no shift or swap leaves as they are.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn binary_stream(server: &Server, name: &str, content: &[u8]) {
    let create = server.put(name).header("content-type", "application/octet-stream");
    create.send().expect(201);
    for part in content.chunks(400_000) {
        let append = server.post(name).header("content-type", "application/octet-stream");
        append.body(part).send().expect(204);
    }
}

/// Messages of about a kilobyte, as an array and one by one.
fn messages(server: &Server, name: &str, count: usize) -> Vec<String> {
    let messages: Vec<_> = (0..count)
        .map(|n| format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(900 + n % 200)))
        .collect();
    server.put(name).json("[]").send().expect(201);
    for batch in messages.chunks(500) {
        server
            .post(name)
            .json(&format!("[{}]", batch.join(",")))
            .send()
            .expect(204);
    }
    messages
}

#[track_caller]
fn is_everything(server: &Server, name: &str, answer: &Answer) {
    assert_eq!(answer.next_offset(), server.head(name).send().next_offset());
    assert_eq!(answer.header("stream-up-to-date"), Some("true"));
    assert_eq!(answer.header("stream-closed"), None);
    assert!(answer.header("etag").is_some());
}

#[test]
fn one_read_answers_everything() {
    for mode in MODES {
        let setup = in_mode(mode);
        let server = setup.start();
        let content = noise(5_000_000);
        binary_stream(&server, "b", &content);
        let messages = messages(&server, "j", 3000);
        let text = "\u{20ac} and a line\r\n".repeat(200_000);
        server.put("t").text(&text).send().expect(201);
        let check = |server: &Server| {
            let answer = server.get("b").send().expect(200);
            assert!(answer.body == content, "{mode}: {} bytes", answer.body.len());
            is_everything(server, "b", &answer);
            let answer = server.get("j?offset=-1").send().expect(200);
            assert!(answer.text() == format!("[{}]", messages.join(",\n")), "{mode}");
            assert_eq!(
                answer.header("content-length"),
                Some(answer.body.len().to_string().as_str())
            );
            is_everything(server, "j", &answer);
            assert!(server.get("t").send().expect(200).text() == text, "{mode}");
        };
        check(&server);
        if mode != "memory" {
            server.stop();
            check(&setup.start());
        }
    }
}

#[test]
fn a_read_from_the_middle_answers_the_rest() {
    let server = in_mode("acid").start();
    let messages = messages(&server, "j", 1500);
    let middle = server.head("j").send().next_offset();
    let large = format!("\"{}\"", "y".repeat(3_000_000));
    server.post("j").json(&format!("[{large},1]")).send().expect(204);
    let answer = server.get(&format!("j?offset={middle}")).send().expect(200);
    assert!(answer.text() == format!("[{large},\n1]"));
    let fork = server.fork("f", "j").send().expect(201);
    assert_eq!(fork.next_offset(), server.head("j").send().next_offset());
    server.post("f").json("2").send().expect(204);
    let all = format!("[{},\n{large},\n1,\n2]", messages.join(",\n"));
    assert!(server.get("f").send().expect(200).text() == all);
}

#[test]
fn http_1_0_and_http_2_answer_everything_too() {
    let setup = in_mode("file-durable");
    let server = setup.start();
    let messages = messages(&server, "j", 3000);
    let expected = format!("[{}]", messages.join(",\n"));
    let mut connection = Connection::open(server.public);
    connection.say("GET /v1/stream/j HTTP/1.0\r\n\r\n");
    let answer = connection.answer().expect(200);
    assert!(answer.text() == expected);
    let length = expected.len().to_string();
    assert_eq!(answer.header("content-length"), Some(length.as_str()));
    let tail = answer.next_offset();
    // Where the length is not known from the positions, it is counted for a client of HTTP/1.0.
    let content = noise(3_000_000);
    binary_stream(&server, "b", &content);
    let mut connection = Connection::open(server.public);
    connection.say("GET /v1/stream/b HTTP/1.0\r\n\r\n");
    let answer = connection.answer().expect(200);
    assert!(answer.body == content);
    assert_eq!(answer.header("content-length"), Some("3000000"));
    server.stop();

    let certs = Certs::new(setup.dir.path());
    let server = setup
        .with("transport.mode", "tls")
        .with("transport.tls.cert_path", certs.text("server.pem"))
        .with("transport.tls.key_path", certs.text("server.key"))
        .with("transport.http.versions", "http1,http2")
        .with("transport.tls.alpn_protocols", "http/1.1,h2")
        .start();
    let request = Curl::new(&certs, server.public, &format!("{BASE}/j"));
    let (version, answer) = request.with(&["--http2"]).try_send().unwrap();
    assert_eq!(version, "HTTP/2");
    assert!(answer.text() == expected);
    assert_eq!(answer.next_offset(), tail);
}

#[test]
fn a_capped_read_ends_with_a_message_and_says_that_there_is_more() {
    let server = in_mode("acid").with("limits.max_read_bytes", 100_000).start();
    let messages = messages(&server, "j", 500);
    let (mut offset, mut found, mut pages) = ("-1".to_owned(), Vec::new(), 0);
    loop {
        let answer = server.get(&format!("j?offset={offset}")).send().expect(200);
        assert!(answer.body.len() <= 100_000);
        let page = answer.json();
        found.extend(
            page.as_array()
                .unwrap()
                .iter()
                .map(|message| message["n"].as_u64().unwrap()),
        );
        (offset, pages) = (answer.next_offset(), pages + 1);
        if answer.header("stream-up-to-date").is_some() {
            break;
        }
    }
    assert!(found.into_iter().eq(0..messages.len() as u64));
    assert!(pages >= 5, "{pages}");
}

/// Reads until the connection ends or breaks, and says how much came and how it ended.
fn drain(connection: &mut Connection) -> (usize, Vec<u8>) {
    let (mut taken, mut space, mut end) = (0, vec![0; 1 << 16], Vec::new());
    loop {
        match connection.stream.read(&mut space) {
            Ok(0) => return (taken, end),
            Ok(count) => {
                taken += count;
                end.extend_from_slice(&space[..count]);
                end.drain(..end.len().saturating_sub(5));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return (taken, end),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_stream_deleted_under_a_reader_breaks_the_answer_off() {
    const LEN: usize = 60_000_000;
    for mode in ["memory", "file-durable"] {
        // Nothing of it may be in the cache when it is gone.
        let server = in_mode(mode).with("storage.cache_bytes", 0).start();
        let block = noise(4_000_000);
        binary_stream(&server, "b", &block.repeat(LEN / block.len()));
        let mut connection = server.get("b").open();
        let head = connection.head().unwrap().unwrap().expect(200);
        server.delete("b").send().expect(204);
        binary_stream(&server, "b", &block);
        let (taken, end) = drain(&mut connection);
        match head.header("content-length") {
            Some(length) => assert!(taken < length.parse().unwrap(), "{mode}: {taken} of {length}"),
            None => assert_ne!(end, b"0\r\n\r\n", "{mode}: {taken} bytes"),
        }
        assert!(taken < LEN, "{mode}: nothing was left to be deleted");
    }
}

#[test]
fn a_stream_deleted_under_a_reader_resets_an_http_2_answer() {
    let setup = in_mode("file-durable");
    let server = setup.start();
    let block = noise(400_000);
    binary_stream(&server, "b", &block.repeat(100));
    server.stop();
    let certs = Certs::new(setup.dir.path());
    let server = setup
        .with("transport.mode", "tls")
        .with("transport.tls.cert_path", certs.text("server.pem"))
        .with("transport.tls.key_path", certs.text("server.key"))
        .with("transport.http.versions", "http1,http2")
        .with("transport.tls.alpn_protocols", "http/1.1,h2")
        .with("storage.cache_bytes", 0)
        .internal("127.0.0.1")
        .start();
    let target = format!("{BASE}/b");
    let slow = Curl::new(&certs, server.public, &target).with(&["--http2", "--limit-rate", "2M"]);
    let reader = std::thread::spawn(move || slow.try_send());
    until("the reader to have begun", || {
        server.metric("ds_requests_total{operation=\"read\",status=\"200\"}") == 1.0
    });
    Request::new(server.internal(), "DELETE", &target).send().expect(204);
    let complaint = reader.join().unwrap().expect_err("a whole answer");
    assert!(complaint.contains("INTERNAL_ERROR"), "{complaint}");
}

#[test]
fn slow_readers_of_a_large_stream_cost_what_they_hold() {
    const READERS: usize = 30;
    const LEN: usize = 60_000_000;
    for mode in ["memory", "file-durable"] {
        let server = in_mode(mode).start();
        binary_stream(&server, "b", &noise(LEN));
        let first = server.get("b").send().expect(200);
        assert_eq!(first.body.len(), LEN);
        drop(first);
        let before = server.memory_kib();
        let mut readers: Vec<_> = (0..READERS).map(|_| server.get("b").open()).collect();
        for (n, reader) in readers.iter_mut().enumerate() {
            reader.head().unwrap().unwrap().expect(200);
            // Each is somewhere else.
            let mut taken = vec![0; n * 1_500_000];
            reader.stream.read_exact(&mut taken).unwrap();
        }
        std::thread::sleep(Duration::from_millis(500));
        let grown = server.memory_kib().saturating_sub(before);
        assert!(
            grown < 1024 * (2 * READERS as u64 + 40),
            "{mode}: {grown} KiB for {READERS} readers"
        );
        assert!(drain_rest(readers.pop().unwrap()) >= LEN - (READERS - 1) * 1_500_000);
    }
}

fn drain_rest(mut connection: Connection) -> usize {
    let mut space = vec![0; 1 << 16];
    let mut taken = 0;
    connection
        .stream
        .get_ref()
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    while let Ok(count) = connection.stream.read(&mut space) {
        if count == 0 {
            break;
        }
        taken += count;
    }
    taken
}

#[test]
fn readers_of_one_large_message_share_it() {
    const READERS: usize = 40;
    for mode in ["memory", "acid"] {
        let server = in_mode(mode).start();
        server.put("j").json("[]").send().expect(201);
        let message = format!("\"{}\"", "z".repeat(9_000_000));
        server.post("j").json(&message).send().expect(204);
        let before = server.memory_kib();
        let target = format!("j?offset={}", "-1");
        let mut readers: Vec<_> = (0..READERS).map(|_| server.get(&target).open()).collect();
        for reader in &mut readers {
            reader.head().unwrap().unwrap().expect(200);
        }
        let polls: Vec<_> = (0..READERS)
            .map(|_| server.get("j?live=long-poll&offset=-1").open())
            .map(|mut poll| {
                poll.head().unwrap().unwrap().expect(200);
                poll
            })
            .collect();
        let grown = server.memory_kib().saturating_sub(before);
        assert!(grown < 100_000, "{mode}: {grown} KiB");
        drop((readers, polls));
    }
}

#[test]
fn a_long_poll_has_the_configured_timeout() {
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
    // Far from the default of 30 s. How long before the timeout is a matter of the handler's own test.
    assert!(ends[7] < Duration::from_secs(15), "{ends:?}");
}

#[test]
fn a_long_poll_answers_304_to_who_has_it() {
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
    // The content after `now` differs each time.
    let mut now = server
        .get("s?live=long-poll&offset=now")
        .header("if-none-match", "*")
        .open();
    now.answer().expect(204);
}

#[test]
fn a_live_read_at_the_end_of_a_closed_stream_says_so_in_its_headers() {
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
    // Data comes first here, and the end after it.
    let answer = server.get("s?live=sse&offset=-1").send().expect(200);
    assert_eq!(answer.header("stream-closed"), None);
    server.text_stream("open", "abc");
    assert_eq!(server.sse("open", "now").answer.header("stream-closed"), None);
}

#[test]
fn a_starting_server_answers_preflights() {
    let setup = Setup::new().acid();
    let holder = setup.start();
    let waiting = setup.launch();
    let preflight = || {
        waiting
            .raw("OPTIONS", "/v1/stream/s")
            .header("origin", "https://app.test")
            .header("access-control-request-method", "GET")
            .header(
                "access-control-request-headers",
                "authorization,traceparent,x-forwarded-for",
            )
            .send()
    };
    let answer = preflight().expect(204);
    let allowed = answer.header("access-control-allow-headers").unwrap().to_lowercase();
    assert!(
        allowed.contains("traceparent") && allowed.contains("authorization"),
        "{allowed}"
    );
    assert!(!allowed.contains("x-forwarded-for"), "{allowed}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    waiting.get("s").send().problem(503);
    holder.stop();
    until("the waiting server to serve", || waiting.get("s").send().status == 404);
    preflight().expect(204);
}

#[test]
fn content_is_shown_without_running_it() {
    let server = Setup::new().start();
    let page = "<script>alert(1)</script>";
    server
        .put("s")
        .header("content-type", "text/html")
        .body(page)
        .send()
        .expect(201);
    for answer in [
        server.get("s").send().expect(200),
        server.get("s?offset=now").send().expect(200),
        server.get("s?live=long-poll&offset=-1").send().expect(200),
        server.sse("s", "-1").answer,
    ] {
        assert_eq!(
            answer.header("content-security-policy"),
            Some("default-src 'none'; sandbox")
        );
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    }
}
