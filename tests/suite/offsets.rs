//! Offsets: ownership, migration and append boundaries.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::support::{
    at_position,
    http::Answer,
    position,
    server::{Server, Setup},
    storage::{MODES, on_disk},
    until, with_last_digit,
};

pub(super) fn setups() -> Vec<Setup> {
    let on_disk = MODES.iter().map(|mode| on_disk(mode));
    std::iter::once(Setup::new()).chain(on_disk).collect()
}

pub(super) fn read(server: &Server, name: &str, offset: &str) -> Answer {
    server.get(&format!("{name}?offset={offset}")).send()
}

pub(super) fn poll(server: &Server, name: &str, offset: &str) -> Answer {
    server.get(&format!("{name}?live=long-poll&offset={offset}")).send()
}

/// Appends messages; returns the offset after the last.
pub(super) fn numbers(server: &Server, name: &str, numbers: std::ops::Range<u32>) -> String {
    let append = |number| server.post(name).json(&json!({"n": number}).to_string()).send();
    let offsets = numbers.map(|number| append(number).expect(204).next_offset());
    offsets.reduce(|_, last| last).unwrap()
}

/// Every use of an offset that does not belong to the stream.
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
        detail.starts_with("Stream-Fork-Offset: belongs to another stream"),
        "{detail}"
    );
    server.get("never").send().expect(404);
}

#[test]
fn an_offset_of_another_incarnation_is_refused() {
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
fn the_last_digit_of_an_offset_is_ignored() {
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
fn a_read_beyond_the_tail_waits_for_appends() {
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
fn a_fork_shares_its_sources_offsets_up_to_the_branch() {
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
        // Appends after the fork belong to one side only.
        assert_other_life(&server, "f", &three);
        assert_other_life(&server, "s", &own);

        // An earlier fork of this name has a different incarnation, but shares the inherited part.
        server.delete("f").send().expect(204);
        assert_eq!(fork("f", "s", &two), two);
        server.post("f").text("?").send().expect(204);
        assert_other_life(&server, "f", &own);
        assert_eq!(read(&server, "f", &two).expect(200).text(), "?");

        let tail = server.head("f").send().next_offset();
        assert_eq!(fork("g", "f", &tail), tail);
        assert_eq!(read(&server, "g", &one).expect(200).text(), "two?");
        assert_eq!(fork("empty", "f", &begin), begin);
        assert_eq!(fork("empty2", "empty", "-1"), begin);
        let said = server.post("empty2").text("x").send().expect(204).next_offset();
        assert_eq!(read(&server, "empty2", &begin).expect(200).text(), "x");
        assert_other_life(&server, "empty2", &one);
        assert_eq!(read(&server, "empty2", &said).expect(200).text(), "");
        // A repeated PUT matches only the offset that the fork was created with.
        let again = |offset: &str| server.fork("g", "f").header("stream-fork-offset", offset).send().status;
        assert_eq!((again(&tail), again(&two), again(&three)), (200, 409, 409));
    }
}
