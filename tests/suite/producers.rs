//! Idempotent producers with concurrent requests.

use serde_json::json;

use super::support::{
    http::{Connection, Request},
    now,
    server::{Server, Setup},
    tokens, until,
};

/// Sends one request on several connections at once; returns the number of 200s.
fn concurrently(server: &Server, epoch: u64, seq: u64, text: &str) -> usize {
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..8)
            .map(|_| scope.spawn(move || server.post("s").text(text).producer("p", epoch, seq).send().status))
            .collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    assert!(
        statuses.iter().all(|status| matches!(status, 200 | 204)),
        "{statuses:?}"
    );
    statuses.iter().filter(|status| **status == 200).count()
}

#[test]
fn concurrent_duplicates_are_stored_once() {
    for setup in [Setup::new(), Setup::new().acid()] {
        let server = setup.start();
        server.text_stream("s", "");
        for seq in 0..10 {
            assert_eq!(concurrently(&server, 0, seq, &format!("{seq};")), 1);
        }
        assert_eq!(server.content("s"), "0;1;2;3;4;5;6;7;8;9;");
    }
}

#[test]
fn a_new_epoch_fences_the_old_one() {
    let server = Setup::new().acid().start();
    server.text_stream("s", "");
    server.post("s").text("a").producer("p", 0, 0).send().expect(200);
    server.post("s").text("b").producer("p", 1, 1).send().problem(400);
    server.post("s").text("b").producer("p", 1, 0).send().expect(200);
    let zombie = server.post("s").text("x").producer("p", 0, 1).send();
    zombie.problem(403);
    assert_eq!(zombie.header("producer-epoch"), Some("1"));
    server.post("s").text("c").producer("other", 0, 0).send().expect(200);
    assert_eq!(server.content("s"), "abc");
}

#[test]
fn a_sequence_gap_is_refused_and_can_be_filled() {
    let server = Setup::new().start();
    server.text_stream("s", "");
    server.post("s").text("a").producer("p", 0, 0).send().expect(200);
    let gap = server.post("s").text("c").producer("p", 0, 2).send();
    gap.problem(409);
    assert_eq!(gap.header("producer-expected-seq"), Some("1"));
    assert_eq!(gap.header("producer-received-seq"), Some("2"));
    server.post("s").text("b").producer("p", 0, 1).send().expect(200);
    server.post("s").text("c").producer("p", 0, 2).send().expect(200);
    assert_eq!(server.content("s"), "abc");
}

#[test]
fn producers_are_scoped_to_their_stream() {
    let server = Setup::new().start();
    server.text_stream("s", "");
    server.text_stream("t", "");
    server.post("s").text("a").producer("p", 0, 0).send().expect(200);
    server.post("t").text("a").producer("p", 0, 0).send().expect(200);
    server.fork("f", "s").send().expect(201);
    server.post("f").text("b").producer("p", 0, 0).send().expect(200);
    assert_eq!(["s", "t", "f"].map(|name| server.content(name)), ["a", "a", "ab"]);
}

#[test]
fn many_producers_are_all_remembered() {
    let setup = Setup::new().acid();
    let server = setup.start();
    server.text_stream("s", "");
    let send = |server: &Server, n: u32| {
        server
            .post("s")
            .text("x")
            .producer(&format!("p{n}"), 0, 0)
            .send()
            .status
    };
    for n in 0..150 {
        assert_eq!(send(&server, n), 200);
    }
    server.stop();
    let server = setup.start();
    for n in 0..150 {
        assert_eq!(send(&server, n), 204, "p{n} is forgotten");
    }
    assert_eq!(server.content("s").len(), 150);
}

/// The next sequence number that the server expects of a producer.
fn next_seq(request: impl Fn() -> Request) -> u64 {
    let gap = request().text("x").producer("p", 0, 1_000_000).send();
    gap.problem(409);
    gap.header("producer-expected-seq").unwrap().parse().unwrap()
}

#[test]
fn a_stream_evicts_the_least_recently_used_producer() {
    for setup in [Setup::new(), Setup::new().acid(), Setup::new().on_disk("file-durable")] {
        let lasts = setup.data_dir().exists();
        let setup = setup.with("limits.max_producers_per_stream", 3);
        let mut server = setup.start();
        server.text_stream("s", "");
        let send = |server: &Server, id: &str, seq| server.post("s").text("x").producer(id, 0, seq).send();
        for id in ["a", "b", "c"] {
            send(&server, id, 0).expect(200);
        }
        send(&server, "a", 1).expect(200);
        send(&server, "d", 0).expect(200);
        if lasts {
            server.stop();
            server = setup.start();
        }
        for (id, seq) in [("a", 1), ("c", 0), ("d", 0)] {
            send(&server, id, seq).expect(204);
        }
        // The server treats it as a new producer.
        let forgotten = send(&server, "b", 1);
        forgotten.problem(409);
        assert_eq!(forgotten.header("producer-expected-seq"), Some("0"));
        send(&server, "b", 0).expect(200);
        send(&server, "c", 1).problem(409);
        assert_eq!(server.content("s").len(), 6);
    }
}

#[test]
fn producers_do_not_fill_the_store() {
    let setup = Setup::new().with("limits.max_memory_bytes", 200_000);
    let server = setup.with("limits.max_producers_per_stream", 100).start();
    server.text_stream("s", "");
    let mut connection = Connection::open(server.public);
    for n in 0..3000 {
        let id = format!("{n}-{}", "x".repeat(200));
        let answer = server
            .post("s")
            .text("x")
            .producer(&id, 0, 0)
            .send_on(&mut connection)
            .unwrap();
        answer.expect(200);
    }
    assert_eq!(server.content("s").len(), 3000);
    server.text_stream("t", &"x".repeat(100_000));
}

#[test]
fn producers_count_against_their_stream() {
    for setup in [Setup::new(), Setup::new().acid()] {
        let server = setup.with("limits.max_stream_bytes", 10_000).start();
        server.text_stream("s", "");
        let id = |n: u32| format!("{n:03}{}", "x".repeat(253));
        let send = |n| server.post("s").text("x").producer(&id(n), 0, 0).send();
        let taken = (0..200).take_while(|n| send(*n).status == 200).count();
        assert!((20..30).contains(&taken), "{taken}");
        send(200).problem(413);
        assert_eq!(server.content("s").len(), taken);
        // Known producers continue while there is room.
        server.post("s").text("x").producer(&id(0), 0, 1).send().expect(200);
        server.post("s").text(&"x".repeat(1000)).send().problem(413);
        server.post("s").header("stream-closed", "true").send().expect(204);
        // Producers do not fill a stream with size retention.
        server
            .put("kept")
            .text("")
            .header("stream-retention-bytes", "10000")
            .send()
            .expect(201);
        for n in 0..100 {
            let body = "y".repeat(500);
            server
                .post("kept")
                .text(&body)
                .producer(&id(n), 0, 0)
                .send()
                .expect(200);
        }
    }
}

#[test]
fn age_retention_evicts_unused_producers() {
    for setup in [Setup::new(), Setup::new().acid()] {
        let server = setup.start();
        server
            .put("s")
            .text("")
            .header("stream-retention-age", "1")
            .send()
            .expect(201);
        let old = server.post("s").text("old").producer("p", 0, 0).send().expect(200);
        server.post("s").text("old").producer("p", 0, 0).send().expect(204);
        until("old messages to be trimmed", || {
            server.head("s").send().header("stream-earliest-offset") == Some(&old.next_offset())
        });
        server.post("s").text("new").producer("p", 0, 0).send().expect(200);
        assert_eq!(server.content("s"), "new");
    }
}

fn writers(server: &Server) -> Vec<Box<dyn Fn() -> Request + '_>> {
    let token = |identity: Option<&str>, exp: u64| {
        let claims = tokens::client(now(), "s", &["write"]);
        let claims = tokens::with(claims, "identity", identity.map(Into::into));
        server.issuer.token(&tokens::with(claims, "exp", json!(now() + exp)))
    };
    let mut writers: Vec<Box<dyn Fn() -> Request>> = vec![Box::new(|| server.post("s"))];
    for token in [
        token(Some("7"), 600),
        token(Some("8"), 600),
        token(Some(""), 600),
        token(Some("\0"), 600),
        token(None, 600),
        token(None, 601),
    ] {
        writers.push(Box::new(move || server.raw("POST", "/v1/stream/s").token(&token)));
    }
    writers
}

#[test]
fn client_tokens_have_producers_of_their_own() {
    for setup in [Setup::new(), Setup::new().acid()] {
        let server = setup.gated().start();
        server.text_stream("s", "");
        let writers = writers(&server);
        for (n, writer) in writers.iter().enumerate() {
            // Writers neither fence each other nor learn each other's numbers.
            let epoch = 100 - n as u64;
            let first = writer().text("x").producer("p", epoch, 0).send().expect(200);
            assert_eq!(first.header("producer-epoch"), Some(epoch.to_string().as_str()));
            for seq in 1..=n as u64 {
                writer().text("x").producer("p", epoch, seq).send().expect(200);
            }
        }
        for (n, writer) in writers.iter().enumerate() {
            let stale = writer().text("x").producer("p", 0, 0).send();
            stale.problem(403);
            assert_eq!(stale.header("producer-epoch"), Some((100 - n).to_string().as_str()));
            let again = writer().text("x").producer("p", 100 - n as u64, 0).send().expect(204);
            assert_eq!(again.header("producer-seq"), Some(n.to_string().as_str()));
        }
    }
}

#[test]
fn client_tokens_have_sequences_of_their_own() {
    for setup in [Setup::new(), Setup::new().acid()] {
        let server = setup.gated().start();
        server.text_stream("s", "");
        let seq = |writer: &dyn Fn() -> Request, seq: &str| writer().text("x").header("stream-seq", seq).send();
        let writers = writers(&server);
        for (n, writer) in writers.iter().enumerate() {
            seq(writer, &format!("{}", 9 - n)).expect(204);
        }
        for (n, writer) in writers.iter().enumerate() {
            let own = format!("{}", 9 - n);
            let detail = seq(writer, &own).problem(409);
            assert!(detail.ends_with(&format!("the last one, \"{own}\"")), "{detail}");
            seq(writer, &format!("{own}a")).expect(204);
        }
    }
}

#[test]
fn an_identity_is_the_same_writer_with_its_next_token() {
    let setup = Setup::new().acid().gated();
    let server = setup.start();
    server.text_stream("s", "");
    let writer = |server: &Server, n: u64| {
        let claims = tokens::with(tokens::client(now(), "s", &["write"]), "exp", json!(now() + n));
        server.raw("POST", "/v1/stream/s").token(&server.issuer.token(&claims))
    };
    writer(&server, 100)
        .text("x")
        .producer("p", 3, 0)
        .header("stream-seq", "5")
        .send()
        .expect(200);
    server.stop();
    let server = setup.start();
    writer(&server, 200).text("x").producer("p", 3, 0).send().expect(204);
    writer(&server, 300)
        .text("x")
        .producer("p", 3, 1)
        .header("stream-seq", "5")
        .send()
        .problem(409);
    writer(&server, 300)
        .text("x")
        .producer("p", 3, 1)
        .header("stream-seq", "6")
        .send()
        .expect(200);
}

#[test]
fn one_client_evicts_no_other_writer() {
    let setup = Setup::new().gated().with("limits.max_producers_per_stream", 20);
    let server = setup.start();
    server.text_stream("s", "");
    let writers = writers(&server);
    for writer in &writers {
        writer()
            .text("x")
            .producer("p", 0, 0)
            .header("stream-seq", "5")
            .send()
            .expect(200);
    }
    let (hostile, others) = writers.split_last().unwrap();
    for n in 0..100 {
        hostile().text("x").producer(&format!("p{n}"), 0, 0).send().expect(200);
    }
    for writer in others {
        assert_eq!(next_seq(writer), 1);
        writer().text("x").header("stream-seq", "5").send().problem(409);
    }
    assert_eq!(next_seq(hostile), 0);
}

#[test]
fn only_the_writer_that_closed_may_repeat_the_close() {
    let server = Setup::new().gated().start();
    server.text_stream("s", "");
    let close = || {
        server
            .post("s")
            .producer("p", 0, 0)
            .header("stream-closed", "true")
            .send()
    };
    close().expect(204);
    close().expect(204);
    for writer in writers(&server).iter().skip(1) {
        writer().text("x").producer("p", 0, 0).send().problem(409);
    }
}
