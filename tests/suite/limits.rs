//! A full stream or store refuses writes and stays usable.

use super::support::server::Setup;

#[test]
fn a_full_stream_answers_413_and_stays_readable() {
    for setup in [Setup::new(), Setup::new().acid()] {
        // An append counts its content, plus one byte per earlier append.
        let server = setup.with("limits.max_stream_bytes", 11).start();
        server.text_stream("s", "12345");
        server.post("s").text("678901").send().problem(413);
        server.post("s").text("67890").send().expect(204);
        server.post("s").text("x").send().problem(413);
        assert_eq!(server.content("s"), "1234567890");
        server.put("new").text("123456789012").send().problem(413);
        server.get("new").send().problem(404);
        server.put("exact").text("12345678901").send().expect(201);
        server.post("s").header("stream-closed", "true").send().expect(204);
        // Inherited content does not count.
        server.fork("f", "s").send().expect(201);
        server.post("f").text("12345678901").send().expect(204);
        server.post("f").text("x").send().problem(413);
    }
}

#[test]
fn a_producer_can_retry_after_a_413() {
    let server = Setup::new().with("limits.max_stream_bytes", 1000).start();
    server.text_stream("s", "");
    let send = |len: usize| server.post("s").text(&"x".repeat(len)).producer("p", 0, 0).send();
    send(1001).problem(413);
    // Producer state counts too.
    send(1000).problem(413);
    send(800).expect(200);
    send(800).expect(204);
}

#[test]
fn full_memory_answers_507_and_accepts_writes_after_deletions() {
    let server = Setup::new().with("limits.max_memory_bytes", 200_000).start();
    let block = "x".repeat(50_000);
    server.text_stream("a", "");
    server.text_stream("b", "");
    let mut written = 0;
    let refused = loop {
        let answer = server.post("a").text(&block).send();
        if answer.status != 204 {
            break answer;
        }
        written += block.len();
        assert!(written < 400_000, "no limit");
    };
    refused.problem(507);
    assert!(written >= 100_000, "full after {written} bytes");
    assert_eq!(server.content("a").len(), written);
    server.put("c").text(&block).send().problem(507);
    server.get("c").send().problem(404);
    server.delete("a").send().expect(204);
    server.post("b").text(&block).send().expect(204);
    assert_eq!(server.content("b").len(), block.len());
}

#[test]
fn max_streams_refuses_new_streams_and_existing_ones_stay_usable() {
    for setup in [Setup::new(), Setup::new().acid()] {
        let server = setup.with("limits.max_streams", 2).start();
        server.text_stream("a", "x");
        server.text_stream("b", "x");
        server.put("c").text("x").send().problem(507);
        server.fork("c", "a").send().problem(507);
        server.get("c").send().problem(404);
        server.put("a").text("x").send().expect(200);
        server.post("a").text("y").send().expect(204);
        server.delete("b").send().expect(204);
        server.text_stream("c", "x");
    }
}

#[test]
fn concurrent_creations_respect_the_limit() {
    let server = Setup::new().with("limits.max_streams", 5).start();
    let created: usize = std::thread::scope(|scope| {
        let creators: Vec<_> = (0..20)
            .map(|n| {
                let server = &server;
                scope.spawn(move || usize::from(server.put(&format!("s{n}")).text("x").send().status == 201))
            })
            .collect();
        creators.into_iter().map(|creator| creator.join().unwrap()).sum()
    });
    assert_eq!((created, server.metric("ds_streams")), (5, 5.0));
}

#[test]
fn a_full_store_is_logged_at_a_limited_rate() {
    let server = Setup::new().with("limits.max_memory_bytes", 10_000).start();
    server.text_stream("s", "");
    for _ in 0..50 {
        server.post("s").text(&"x".repeat(20_000)).send().problem(507);
    }
    let log = server.log.text();
    assert_eq!(log.matches("storage is full").count(), 1, "{log}");
    assert_eq!(log.matches("could not commit a batch").count(), 1, "{log}");
}

#[test]
fn bodies_use_memory_in_proportion_to_their_size() {
    const LEN: usize = 10 * 1000 * 1000;
    let pair = |piece: &str| format!("[{}1]", piece.repeat((LEN - 3) / piece.len()));
    let bodies = [
        ("an array of tiny messages", pair("1,")),
        ("one long array", format!("[{}]", pair("1,"))),
        ("empty strings", pair("\"\",")),
        ("empty objects", pair("{},")),
        ("one long string", format!("\"{}\"", "x".repeat(LEN - 2))),
        ("escapes", format!("\"{}\"", "\\u0041".repeat(LEN / 6 - 1))),
        (
            "members of one name",
            format!("{{{}\"a\":1}}", "\"a\":1,".repeat(LEN / 6 - 2)),
        ),
        ("whitespace", format!("1{}", " \n".repeat(LEN / 2 - 1))),
        ("too deep", "[".repeat(LEN)),
    ];
    for (what, body) in bodies {
        for create in [true, false] {
            let server = Setup::new().with("limits.max_stream_bytes", 2 * LEN).start();
            if !create {
                server.put("s").json("").send().expect(201);
            }
            let before = server.memory_kib();
            let request = if create { server.put("s") } else { server.post("s") };
            let status = request.json(&body).send().status;
            assert!(
                matches!((what, status), ("too deep", 400) | (_, 201 | 204)),
                "{what}: {status}"
            );
            // The received chunks, the joined body, and the stored form of up to 1.5 times its
            // size.
            let taken = (server.peak_memory_kib() - before) * 1024 / LEN as u64;
            assert!(taken < 5, "{what}: takes {taken} times its size");
        }
    }
}

#[test]
fn the_depth_of_messages_is_configurable() {
    for depth in [1, 64, 1000] {
        let server = Setup::new().with("limits.max_json_depth", depth).start();
        server.put("s").json("").send().expect(201);
        let message = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        server
            .post("s")
            .json(&format!("[{}]", message(depth)))
            .send()
            .expect(204);
        let detail = server
            .post("s")
            .json(&format!("[{}]", message(depth + 1)))
            .send()
            .problem(400);
        let expected = format!("nests deeper than {depth} levels at byte {}", depth + 1);
        assert!(detail.contains(&expected), "{detail}");
        server.put("new").json(&message(depth + 2)).send().problem(400);
        server.get("new").send().problem(404);
        assert_eq!(server.content("s"), format!("[{}]", message(depth)));
    }
}
