//! Offsets: whose they are, what moving them does, and where appends begin and end.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::support::{
    at_position,
    http::Answer,
    live::Event,
    position,
    server::{Server, Setup},
    storage::{MODES, on_disk},
    until, with_last_digit,
};

/// A setup in each mode.
fn setups() -> Vec<Setup> {
    let on_disk = MODES.iter().map(|mode| on_disk(mode));
    std::iter::once(Setup::new()).chain(on_disk).collect()
}

fn read(server: &Server, name: &str, offset: &str) -> Answer {
    server.get(&format!("{name}?offset={offset}")).send()
}

fn poll(server: &Server, name: &str, offset: &str) -> Answer {
    server.get(&format!("{name}?live=long-poll&offset={offset}")).send()
}

/// Appends messages, and returns the offset after the last.
fn numbers(server: &Server, name: &str, numbers: std::ops::Range<u32>) -> String {
    let append = |number| server.post(name).json(&json!({"n": number}).to_string()).send();
    let offsets = numbers.map(|number| append(number).expect(204).next_offset());
    offsets.reduce(|_, last| last).unwrap()
}

/// Every way to come back with an offset that is not the stream's.
#[track_caller]
fn assert_other_life(server: &Server, name: &str, offset: &str) {
    let tail = server.head(name).send().next_offset();
    for live in ["", "live=long-poll&", "live=sse&"] {
        let answer = server.get(&format!("{name}?{live}offset={offset}")).send();
        let detail = answer.problem(410);
        assert!(
            detail.contains("offset=-1") && detail.contains("offset=now"),
            "{detail}"
        );
        assert_eq!(answer.json()["type"], "urn:durable-streams:problem:other-life");
        assert_eq!(answer.next_offset(), tail);
    }
    let fork = server.fork("never", name).header("stream-fork-offset", offset).send();
    let detail = fork.problem(400);
    assert!(
        detail.starts_with("Stream-Fork-Offset: is not of the stream"),
        "{detail}"
    );
    server.get("never").send().expect(404);
}

#[test]
fn an_offset_of_another_life_is_refused() {
    for setup in setups() {
        let server = setup.start();
        let mut earlier: Vec<String> = Vec::new();
        for life in 0..3 {
            server.put("s").json("[]").send().expect(201);
            let begin = server.head("s").send().next_offset();
            let middle = numbers(&server, "s", 1..3);
            let tail = numbers(&server, "s", 3..4 + life);
            let now = [begin, middle, tail];
            for offset in &earlier {
                assert_other_life(&server, "s", offset);
            }
            assert_eq!(read(&server, "s", &now[1]).expect(200).json()[0]["n"], 3);
            assert!(earlier.iter().all(|before| *before < now[0]), "later lives sort later");
            earlier.extend(now);
            server.delete("s").send().expect(204);
        }
        server.put("other").json("[1]").send().expect(201);
        for offset in &earlier {
            assert_other_life(&server, "other", offset);
        }
    }
}

#[test]
fn a_restart_keeps_offsets_where_it_keeps_streams() {
    for setup in setups() {
        let server = setup.start();
        server.put("s").json("[]").send().expect(201);
        let middle = numbers(&server, "s", 1..4);
        numbers(&server, "s", 4..6);
        server.stop();
        let server = setup.start();
        if server.head("s").send().status == 200 {
            assert_eq!(read(&server, "s", &middle).expect(200).json()[0]["n"], 4);
            server.delete("s").send().expect(204);
        }
        server.put("s").json("[]").send().expect(201);
        numbers(&server, "s", 7..20);
        assert_other_life(&server, "s", &middle);
    }
}

#[test]
fn the_last_digit_of_an_offset_means_nothing() {
    let server = Setup::new().start();
    let moved = |offset: &str| (0..10).map(|digit| with_last_digit(offset, digit)).collect::<Vec<_>>();
    for (name, kind) in [("text", "text/plain"), ("binary", "application/octet-stream")] {
        let put = server.put(name).header("content-type", kind).body("abc");
        let middle = put.send().expect(201).next_offset();
        let post = || server.post(name).header("content-type", kind);
        let tail = post().body("defg").send().expect(204).next_offset();
        for offset in moved(&middle) {
            assert_eq!(read(&server, name, &offset).expect(200).text(), "defg");
            assert_eq!(poll(&server, name, &offset).expect(200).text(), "defg");
            let data = if kind == "text/plain" {
                "defg".to_owned()
            } else {
                STANDARD.encode("defg")
            };
            assert_eq!(server.sse(name, &offset).data().trim_start(), data);
            let fork = server.fork("fork", name).header("stream-fork-offset", &offset);
            let forked = fork.send();
            assert!(matches!(forked.status, 200 | 201), "{forked:?}");
            assert_eq!(forked.next_offset(), middle);
            assert_eq!(server.content("fork"), "abc");
        }
        server.delete("fork").send().expect(204);
        for offset in moved(&tail) {
            let answer = read(&server, name, &offset).expect(200);
            assert_eq!((answer.text(), answer.next_offset()), (String::new(), tail.clone()));
        }
        post().body("h").send().expect(204);
        for offset in moved(&tail) {
            assert_eq!(read(&server, name, &offset).expect(200).text(), "h");
        }
    }
}

#[test]
fn an_offset_beyond_the_tail_waits_for_what_comes() {
    for setup in [Setup::new(), Setup::new().acid()] {
        let server = setup.start();
        server.put("json").json("[1]").send().expect(201);
        server.text_stream("text", "one");
        for (name, nothing) in [("json", "[]"), ("text", "")] {
            let tail = server.head(name).send().next_offset();
            for by in [1, 1000, 999_999_999] {
                let beyond = at_position(&tail, position(&tail) + by);
                let answer = read(&server, name, &beyond).expect(200);
                assert_eq!((answer.text().as_str(), answer.next_offset()), (nothing, tail.clone()));
                assert_eq!(answer.header("stream-up-to-date"), Some("true"));
                let fork = server.fork("f", name).header("stream-fork-offset", &beyond).send();
                assert!(fork.problem(400).starts_with("Stream-Fork-Offset: "));
            }
            let beyond = at_position(&tail, position(&tail) + 7);
            let mut sse = server.sse(name, &beyond);
            assert_eq!(sse.control()["streamNextOffset"], tail.as_str());
            let target = format!("{name}?live=long-poll&offset={beyond}");
            let mut waiting = server.get(&target).open();
            until("the long-poll to wait", || {
                server.metric("ds_live_readers{mode=\"long-poll\"}") > 0.0
            });
            let (kind, two) = match name {
                "json" => ("application/json", "2"),
                _ => ("text/plain", "two"),
            };
            let post = server.post(name).header("content-type", kind).body(two);
            let next = post.send().expect(204).next_offset();
            assert!(sse.data().contains(two));
            assert_eq!(sse.control()["streamNextOffset"], next.as_str());
            let answer = waiting.answer().expect(200);
            assert!(answer.text().contains(two), "{answer:?}");
            assert_eq!(answer.next_offset(), next);
        }
    }
}

#[test]
fn a_fork_shares_the_offsets_up_to_where_it_branches_off() {
    for setup in [Setup::new(), Setup::new().acid()] {
        let server = setup.start();
        let begin = server.text_stream("s", "");
        let one = server.post("s").text("one").send().expect(204).next_offset();
        let two = server.post("s").text("two").send().expect(204).next_offset();
        let three = server.post("s").text("three").send().expect(204).next_offset();
        let fork = |name: &str, source: &str, offset: &str| {
            let request = server.fork(name, source).header("stream-fork-offset", offset);
            request.send().expect(201).next_offset()
        };
        assert_eq!(fork("f", "s", &two), two);
        let own = server.post("f").text("!").send().expect(204).next_offset();
        for (offset, content) in [(&begin, "onetwo!"), (&one, "two!"), (&two, "!"), (&own, "")] {
            assert_eq!(read(&server, "f", offset).expect(200).text(), content);
        }
        assert!(two < own && own != at_position(&two, position(&own)));
        // Later appends of the source are not the fork's, and the other way round.
        assert_other_life(&server, "f", &three);
        assert_other_life(&server, "s", &own);

        // An earlier fork of the name is another life too, but what both inherit is not.
        server.delete("f").send().expect(204);
        assert_eq!(fork("f", "s", &two), two);
        server.post("f").text("?").send().expect(204);
        assert_other_life(&server, "f", &own);
        assert_eq!(read(&server, "f", &two).expect(200).text(), "?");

        // Forks of forks, also at the beginning.
        let tail = server.head("f").send().next_offset();
        assert_eq!(fork("g", "f", &tail), tail);
        assert_eq!(read(&server, "g", &one).expect(200).text(), "two?");
        assert_eq!(fork("empty", "f", &begin), begin);
        assert_eq!(fork("empty2", "empty", "-1"), begin);
        let said = server.post("empty2").text("x").send().expect(204).next_offset();
        assert_eq!(read(&server, "empty2", &begin).expect(200).text(), "x");
        assert_other_life(&server, "empty2", &one);
        assert_eq!(read(&server, "empty2", &said).expect(200).text(), "");
        // A fork is found again by the offset that it was created with, and by no other.
        let again = |offset: &str| server.fork("g", "f").header("stream-fork-offset", offset).send().status;
        assert_eq!((again(&tail), again(&two), again(&three)), (200, 409, 409));
    }
}

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
        let appends: Vec<Vec<u8>> = sizes
            .iter()
            .enumerate()
            .map(|(index, size)| {
                (0..*size)
                    .map(|at: u32| (at.wrapping_mul(31) >> 3) as u8 ^ index as u8)
                    .collect()
            })
            .collect();
        let mut ends = vec![0];
        for append in &appends {
            let post = server.post("s").header("content-type", "application/octet-stream");
            post.body(append.clone()).send().expect(204);
            ends.push(ends.last().unwrap() + append.len());
        }
        let whole = appends.concat();
        // The places of what was sent in pieces.
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
        // A restart reads the same content again.
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
        // So do they through a fork, which shares the offsets.
        server.fork("f", "s").send().expect(201);
        let answer = poll(&server, "f", "-1").expect(200);
        assert!(ends.contains(&answer.body.len()));
        assert!(server.get("f").send().expect(200).body == whole);
    }
}

#[test]
fn a_sub_offset_goes_no_further_than_the_next_append() {
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
        // The part is an append of the fork's own.
        assert_eq!(read(&server, "part", &first).expect(200).text(), "de!");
        fork("f", "part", &first, 3).problem(400);
        fork("twig", "part", &first, 1).expect(201);
        assert_eq!(server.content("twig"), "abcd");
        let mut sse = server.sse("twig", &first);
        assert_eq!(sse.data().trim_start(), "d");
    }
}

#[test]
fn a_position_that_was_never_handed_out_does_no_harm() {
    let server = Setup::new().with("limits.max_stream_bytes", 0).start();
    // Content that looks like the beginning of something very long.
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
fn text_that_ends_inside_of_a_character_waits_for_the_rest() {
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
        // Invalid UTF-8 is not held back for ever, nor at the end.
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
fn a_reader_who_has_everything_is_told_so_while_a_character_is_held_back() {
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
