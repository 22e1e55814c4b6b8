//! Idempotent producers, several requests at once.

use super::support::server::{Server, Setup};

/// Sends the same from several connections at once; how many of the answers were 200.
fn at_once(server: &Server, epoch: u64, seq: u64, text: &str) -> usize {
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
fn the_same_request_at_once_lands_once() {
    for setup in [Setup::new(), Setup::new().acid()] {
        let server = setup.start();
        server.text_stream("s", "");
        for seq in 0..10 {
            assert_eq!(at_once(&server, 0, seq, &format!("{seq};")), 1);
        }
        assert_eq!(server.content("s"), "0;1;2;3;4;5;6;7;8;9;");
    }
}

#[test]
fn a_new_epoch_fences_the_old_one_off() {
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
fn a_gap_is_refused_and_may_be_filled() {
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
fn producers_are_known_by_stream() {
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
