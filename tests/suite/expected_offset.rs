//! `Stream-Expected-Offset`: compare-and-append.

use super::support::server::Setup;

#[test]
fn an_append_with_an_expected_offset_lands_only_at_that_tail() {
    for setup in [Setup::new(), Setup::new().acid()] {
        let server = setup.start();
        server.text_stream("s", "");
        let empty = server.post("s").text("a").send().next_offset();
        let at = |offset: &str| server.post("s").header("Stream-Expected-Offset", offset);
        let second = at(&empty).text("b").send().expect(204).next_offset();
        let late = at(&empty).text("x").send();
        assert!(late.problem(409).contains("not the expected offset"));
        assert_eq!(late.header("stream-next-offset"), Some(second.as_str()));
        at("nonsense").text("x").send().problem(400);
        assert_eq!(server.content("s"), "ab");

        // A retry of a request that landed is a duplicate, whatever it expected.
        let produced = || at(&second).text("c").producer("p", 0, 0).send();
        produced().expect(200);
        produced().expect(204);
        assert_eq!(server.content("s"), "abc");

        // A closed stream answers that it is closed, wherever its tail is.
        server.post("s").header("Stream-Closed", "true").send();
        let closed = at(&empty).text("x").send();
        closed.problem(409);
        assert_eq!(closed.header("stream-closed"), Some("true"));
    }
}

#[test]
fn of_writers_that_expect_the_same_offset_one_lands() {
    let server = Setup::new().acid().start();
    server.text_stream("s", "");
    let mut tail = server.post("s").text("0;").send().next_offset();
    for round in 1..10 {
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let append = |_| {
                let (server, tail) = (&server, tail.as_str());
                scope.spawn(move || {
                    let append = server.post("s").header("Stream-Expected-Offset", tail);
                    append.text(&format!("{round};")).send().status
                })
            };
            let writers: Vec<_> = (0..8).map(append).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert_eq!(
            statuses.iter().filter(|status| **status == 204).count(),
            1,
            "{statuses:?}"
        );
        assert_eq!(
            statuses.iter().filter(|status| **status == 409).count(),
            7,
            "{statuses:?}"
        );
        tail = server.head("s").send().next_offset();
    }
    assert_eq!(server.content("s"), "0;1;2;3;4;5;6;7;8;9;");
}
