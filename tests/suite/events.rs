//! Server-sent events carry the same text as `GET`.

use std::time::Duration;

use super::support::{
    live::{Event, Sse},
    server::{Server, Setup},
};

/// The text of a live read until the stream closes.
fn text(mut sse: Sse) -> String {
    let events = sse.remainder().into_iter();
    let data = events.filter_map(|event| match event {
        Event::Data(data) => Some(data),
        _ => None,
    });
    data.collect()
}

fn append(server: &Server, name: &str, part: &[u8]) -> String {
    let append = server.post(name).header("content-type", "text/plain").body(part);
    append.send().expect(204).next_offset()
}

fn close(server: &Server, name: &str) {
    server.post(name).header("stream-closed", "true").send().expect(204);
}

fn with_line_feeds(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.replace("\r\n", "\n").replace('\r', "\n")
}

#[test]
fn live_and_late_readers_get_identical_text() {
    let euro = "\u{20ac}".as_bytes();
    let cases: [&[&[u8]]; 9] = [
        &[b"hello", b" world\n  two"],
        &[b"  ", b" ", b"\n ", b"\n"],
        &[b"a\r", b"\nb"],
        &[b"a\r", b"\n", b"\nb\r", b"\r", b"\nc"],
        &[b"\r", b"\r\n", b"\n"],
        &[b"\xc3", b"\xa9"],
        &[b"x", &euro[..1], &euro[1..2], &euro[2..], b"y"],
        &["\u{1f980}".as_bytes(), b"\xf0\x9f", b"\xa6\x80 ok"],
        &[b"data: x\n\nevent: control", b": y"],
    ];
    for mode in ["memory", "acid"] {
        let setup = if mode == "memory" {
            Setup::new()
        } else {
            Setup::new().on_disk(mode)
        };
        let server = setup.start();
        for (number, parts) in cases.iter().enumerate() {
            let name = format!("s{number}");
            server.text_stream(&name, "");
            let live = server.sse(&name, "-1");
            for part in *parts {
                append(&server, &name, part);
            }
            let late = server.sse(&name, "-1");
            close(&server, &name);
            let expected = with_line_feeds(&parts.concat());
            for (reader, sse) in [("live", live), ("late", late), ("last", server.sse(&name, "-1"))] {
                assert_eq!(text(sse), expected, "{mode}: {reader} reader of {parts:?}");
            }
        }
    }
}

#[test]
fn a_split_character_waits_with_the_offset_before_it() {
    let server = Setup::new().start();
    let before = server.text_stream("s", "ab");
    let mut live = server.sse("s", "-1");
    assert_eq!(live.data(), "ab");
    assert_eq!(live.control()["streamNextOffset"], before);
    append(&server, "s", b"\xc3");
    let mut late = server.sse("s", "-1");
    assert_eq!(late.data(), "ab");
    let control = late.control();
    assert_eq!(control["streamNextOffset"], before);
    let again = server.sse("s", &before);
    for sse in [&mut live, &mut late] {
        let socket = sse.connection.stream.get_ref();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        assert!(sse.try_next().is_err(), "half a character was sent");
        set_read_timeout(sse);
    }
    let tail = append(&server, "s", b"\xa9c");
    for mut sse in [live, late, again] {
        assert_eq!(sse.data(), "\u{e9}c");
        let control = sse.control();
        assert_eq!(control["streamNextOffset"], tail);
        assert_eq!(control["upToDate"], true);
    }
    assert_eq!(
        server.get("s?live=long-poll&offset=-1").send().expect(200).text(),
        "ab\u{e9}c"
    );
}

#[test]
fn a_reader_waiting_for_a_partial_character_gets_up_to_date_once() {
    let server = Setup::new().start();
    let beginning = server.text_stream("s", "");
    append(&server, "s", b"a\xf0");
    let forked = server.put("fork").header("stream-forked-from", "/v1/stream/s");
    forked.send().expect(201);
    for name in ["s", "fork"] {
        let mut sse = server.sse(name, "-1");
        let control = sse.control();
        assert_eq!(control["streamNextOffset"], beginning, "{name}");
        assert_eq!(control["upToDate"], true, "{name}");
        append(&server, name, b"\x9f");
        append(&server, name, b"\x98\x80");
        let next = std::iter::from_fn(|| sse.next()).find(|event| !matches!(event, Event::Comment));
        assert_eq!(next, Some(Event::Data("a\u{1f600}".to_owned())), "{name}");
    }
}

#[test]
fn a_long_poll_answers_raw_bytes() {
    let server = Setup::new().start();
    let beginning = server.text_stream("s", "");
    let end = append(&server, "s", b"caf\xe9");
    let forked = server.put("fork").header("stream-forked-from", "/v1/stream/s");
    forked.send().expect(201);
    for name in ["s", "fork"] {
        for offset in ["-1", &beginning] {
            let answer = server.get(&format!("{name}?live=long-poll&offset={offset}")).send();
            let answer = answer.expect(200);
            assert_eq!(
                (answer.body.as_slice(), answer.next_offset()),
                (&b"caf\xe9"[..], end.clone())
            );
            assert_eq!(answer.header("stream-up-to-date"), Some("true"));
        }
    }
}

#[test]
fn large_appends_ending_inside_a_character_are_sent_with_the_next() {
    let text = "\u{6f22}".repeat(900_000);
    for mode in ["memory", "acid"] {
        let server = match mode {
            "memory" => Setup::new().start(),
            mode => Setup::new().on_disk(mode).start(),
        };
        server.text_stream("s", "");
        let mut readers = vec![server.sse("s", "-1")];
        for part in text.as_bytes().chunks(640_000) {
            append(&server, "s", part);
            readers.push(server.sse("s", "-1"));
        }
        close(&server, "s");
        readers.push(server.sse("s", "-1"));
        for sse in readers {
            // The test client rejects invalid UTF-8.
            assert!(self::text(sse) == text, "{mode}");
        }
    }
}

fn set_read_timeout(sse: &Sse) {
    let socket = sse.connection.stream.get_ref();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
}

#[test]
fn closing_a_stream_releases_held_back_bytes() {
    let server = Setup::new().start();
    server.text_stream("s", "ab");
    append(&server, "s", b"c\xc3");
    let mut live = server.get("s?live=sse&offset=-1").open();
    close(&server, "s");
    let answer = live.answer().expect(200);
    assert!(answer.text().contains("c\u{fffd}\n"), "{}", answer.text());
    assert!(answer.text().contains("\"streamClosed\":true"), "{}", answer.text());
    assert_eq!(server.get("s").send().expect(200).body, b"abc\xc3");
}

#[test]
fn text_in_other_charsets_is_sent_as_base64() {
    let server = Setup::new().start();
    for (content_type, encoding, data) in [
        ("text/plain; charset=iso-8859-1", Some("base64"), "6Q=="),
        ("text/plain; charset=\"UTF-16\"", Some("base64"), "6Q=="),
        ("text/plain; charset=utf-8", None, "\u{e9}"),
    ] {
        let body: &[u8] = if encoding.is_some() {
            b"\xe9"
        } else {
            "\u{e9}".as_bytes()
        };
        server
            .put("s")
            .header("content-type", content_type)
            .body(body)
            .send()
            .expect(201);
        let mut sse = server.sse("s", "-1");
        assert_eq!(
            sse.answer.header("stream-sse-data-encoding"),
            encoding,
            "{content_type}"
        );
        assert_eq!(sse.data(), data, "{content_type}");
        server.delete("s").send().expect(204);
    }
}

#[test]
fn live_messages_equal_those_of_a_read() {
    let server = Setup::new().start();
    server.put("j").json("[]").send().expect(201);
    let live = server.sse("j", "-1");
    for message in [
        "\"  two\\r\\n\"",
        " {\"a\" :\r\n 1} ",
        "[[ 1 ]]",
        "\"\u{2028}\u{20ac}\"",
    ] {
        server.post("j").json(message).send().expect(204);
    }
    let whole = server.get("j").send().expect(200).json();
    for mut sse in [live, server.sse("j", "-1")] {
        let mut found = Vec::new();
        while found.len() < 4 {
            let batch: Vec<serde_json::Value> = serde_json::from_str(&sse.data()).unwrap();
            found.extend(batch);
        }
        assert_eq!(serde_json::Value::from(found), whole);
    }
}
