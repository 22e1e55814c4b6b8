//! Append boundaries in reads, forks, retention and text.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    offsets::{poll, read, setups},
    support::{at_position, live::Event, position, rng::TestRng, server::Setup},
};

#[test]
fn live_readers_get_whole_appends() {
    for setup in setups() {
        let setup = setup.with("limits.max_stream_bytes", 0);
        let server = setup.start();
        server
            .put("s")
            .header("content-type", "application/octet-stream")
            .send()
            .expect(201);
        let sizes = [700_000, 700_000, 10, 3_000_000, 1, 2, 300_000, 200_000, 900_000];
        let mut rng = TestRng::new(7);
        let appends = sizes.map(|size| rng.bytes(size));
        let mut ends = vec![0];
        for append in &appends {
            let post = server.post("s").header("content-type", "application/octet-stream");
            post.body(append.clone()).send().expect(204);
            ends.push(ends.last().unwrap() + append.len());
        }
        let whole = appends.concat();
        let check = |pieces: Vec<Vec<u8>>| {
            let mut at = 0;
            for piece in &pieces {
                assert!(whole[at..].starts_with(piece), "other bytes at {at}");
                at += piece.len();
                assert!(ends.contains(&at), "a piece ends at {at}, inside of an append");
            }
            assert_eq!(at, whole.len());
            assert!(pieces.len() > 3, "{} pieces", pieces.len());
        };
        // The content is the same after a restart.
        let server = if setup.data_dir().exists() {
            server.stop();
            setup.start()
        } else {
            server
        };
        let mut sse = server.sse("s", "-1");
        let mut pieces = Vec::new();
        while pieces.iter().map(Vec::len).sum::<usize>() < whole.len() {
            pieces.push(STANDARD.decode(sse.data().trim_start()).unwrap());
        }
        check(pieces);
        let (mut pieces, mut offset) = (Vec::new(), "-1".to_owned());
        while pieces.iter().map(Vec::len).sum::<usize>() < whole.len() {
            let answer = poll(&server, "s", &offset).expect(200);
            offset = answer.next_offset();
            pieces.push(answer.body);
        }
        check(pieces);
        // The boundaries hold through a fork, which shares the offsets.
        server.fork("f", "s").send().expect(201);
        let answer = poll(&server, "f", "-1").expect(200);
        assert!(ends.contains(&answer.body.len()));
        assert!(server.get("f").send().expect(200).body == whole);
    }
}

#[test]
fn a_sub_offset_ends_at_the_next_append() {
    for setup in setups() {
        let server = setup.start();
        let first = server.text_stream("s", "abc");
        let second = server.post("s").text("defgh").send().expect(204).next_offset();
        let fork = |name: &str, source: &str, offset: &str, sub: u64| {
            let request = server.fork(name, source).header("stream-fork-offset", offset);
            request.header("stream-fork-sub-offset", &sub.to_string()).send()
        };
        for (offset, sub) in [("-1", 4), (first.as_str(), 6), (second.as_str(), 1), ("-1", 8)] {
            let detail = fork("f", "s", offset, sub).problem(400);
            assert!(detail.starts_with("Stream-Fork-Sub-Offset: "), "{detail}");
        }
        assert_eq!(fork("whole", "s", "-1", 3).expect(201).next_offset(), first);
        assert_eq!(server.content("whole"), "abc");
        fork("part", "s", &first, 2).expect(201);
        assert_eq!(server.content("part"), "abcde");
        server.post("part").text("!").send().expect(204);
        // The partial append becomes an append of the fork.
        assert_eq!(read(&server, "part", &first).expect(200).text(), "de!");
        fork("f", "part", &first, 3).problem(400);
        fork("twig", "part", &first, 1).expect(201);
        assert_eq!(server.content("twig"), "abcd");
        let mut sse = server.sse("twig", &first);
        assert_eq!(sse.data().trim_start(), "d");
    }
}

#[test]
fn reads_from_positions_never_issued_are_safe() {
    let server = Setup::new().with("limits.max_stream_bytes", 0).start();
    // Content that resembles the header of a huge frame.
    let hostile: Vec<u8> = std::iter::repeat_n([0xff, 0xff, 0xff, 0x7f, 3, 0], 50_000)
        .flatten()
        .collect();
    server
        .put("s")
        .header("content-type", "application/octet-stream")
        .body(hostile)
        .send()
        .expect(201);
    let tail = server.head("s").send().next_offset();
    server.put("json").json(r#"[{"a":1},{"b":2}]"#).send().expect(201);
    let json_tail = server.head("json").send().next_offset();
    let before = server.memory_kib();
    for at in (1..400).chain([position(&tail) - 1, position(&tail) - 2]) {
        let offset = at_position(&tail, at);
        for answer in [read(&server, "s", &offset), poll(&server, "s", &offset)] {
            assert!(matches!(answer.status, 200 | 400), "{at}: {answer:?}");
        }
        let fork = server.fork("f", "s").header("stream-fork-offset", &offset).send();
        if fork.status != 201 {
            assert!(fork.problem(400).starts_with("Stream-Fork-Offset"), "{at}");
        }
        server.delete("f").send();
    }
    assert!(server.memory_kib() < before + 50_000, "{before} KiB before");
    for live in ["", "live=long-poll&", "live=sse&"] {
        let offset = at_position(&json_tail, 5);
        let detail = server.get(&format!("json?{live}offset={offset}")).send().problem(400);
        assert!(detail.starts_with("offset: "), "{detail}");
    }
}

#[test]
fn text_ending_inside_a_character_waits_for_the_rest() {
    for setup in [Setup::new(), Setup::new().acid()] {
        let server = setup.start();
        let before = server.text_stream("s", "a");
        let mut early = server.sse("s", "-1");
        assert_eq!(early.data().trim_start(), "a");
        let post = |body: &[u8]| server.post("s").header("content-type", "text/plain").body(body).send();
        post(b"\xc3").expect(204);
        let mut late = server.sse("s", &before);
        let whole = post(b"\xa9").expect(204).next_offset();
        for sse in [&mut early, &mut late] {
            assert_eq!(sse.data().trim_start(), "é");
            assert_eq!(sse.control()["streamNextOffset"], whole.as_str());
        }
        // Invalid UTF-8 is not held back forever, nor at the end.
        post(b"\xe9").expect(204);
        post(b"b").expect(204);
        assert_eq!(server.get("s").send().expect(200).body, b"a\xc3\xa9\xe9b");
        let next = post(b"\xc3").expect(204).next_offset();
        server.post("s").header("stream-closed", "true").send().expect(204);
        let answer = poll(&server, "s", &whole).expect(200);
        assert_eq!(
            (answer.body.as_slice(), answer.next_offset()),
            (&b"\xe9b\xc3"[..], next)
        );
        assert!(answer.header("stream-closed").is_some());
    }
}

#[test]
fn retention_cuts_between_appends() {
    for setup in setups() {
        let server = setup.start();
        let put = server.put("s").header("stream-retention-bytes", "1000");
        put.header("content-type", "application/octet-stream")
            .send()
            .expect(201);
        for number in 0..200u8 {
            let post = server.post("s").header("content-type", "application/octet-stream");
            post.body(vec![number; 1 + usize::from(number % 50)]).send().expect(204);
        }
        let head = server.head("s").send();
        let earliest = head.header("stream-earliest-offset").unwrap();
        let kept = server.get("s").send().expect(200).body;
        assert_eq!(read(&server, "s", earliest).expect(200).body, kept);
        let first = kept[0];
        assert_eq!(
            kept.iter().filter(|byte| **byte == first).count(),
            1 + usize::from(first % 50)
        );
        assert!((500..1100).contains(&kept.len()), "{}", kept.len());
    }
}

#[test]
fn a_reader_is_up_to_date_while_a_character_is_held_back() {
    let server = Setup::new().start();
    server
        .put("s")
        .header("content-type", "text/plain")
        .body(b"a\xc3")
        .send()
        .expect(201);
    let mut sse = server.sse("s", "-1");
    server
        .post("s")
        .header("content-type", "text/plain")
        .body(b"\xa9")
        .send()
        .expect(204);
    assert_eq!(sse.data().trim_start(), "aé");
    let events: Vec<Event> = std::iter::from_fn(|| match sse.next() {
        Some(Event::Control(control)) if control["upToDate"] == true => None,
        event => event,
    })
    .collect();
    assert!(events.len() < 4, "{events:?}");
}
