//! Protocol cases that the official suite does not cover.

use super::support::{
    live::{Event, Sse},
    server::{Server, Setup},
    until,
};

#[test]
fn content_and_closure_are_atomic() {
    for setup in [Setup::new(), Setup::new().acid()] {
        let server = setup.start();
        let start = server.text_stream("s", "");
        let mut sse = server.sse("s", &start);
        sse.control();
        let mut poll = server.get(&format!("s?live=long-poll&offset={start}")).open();
        until("the reader", || {
            server.metric("ds_live_readers{mode=\"long-poll\"}") == 1.0
        });
        let closed = server
            .post("s")
            .text("end")
            .header("stream-closed", "TRUE")
            .send()
            .expect(204);
        assert_eq!(closed.header("stream-closed"), Some("true"));
        let answer = poll.answer().expect(200);
        assert_eq!(
            (answer.text().as_str(), answer.header("stream-closed")),
            ("end", Some("true"))
        );
        assert_eq!(sse.next(), Some(Event::Data("end".into())));
        let control = sse.control();
        assert_eq!(control["streamClosed"], true);
        assert_eq!(control["streamNextOffset"], closed.next_offset());
        assert_eq!(sse.next(), None);
        let refused = server.post("s").text("more").send();
        refused.problem(409);
        assert_eq!(refused.header("stream-closed"), Some("true"));
        assert_eq!(refused.next_offset(), closed.next_offset());
        server.post("s").header("stream-closed", "true").send().expect(204);
        server
            .post("s")
            .text("end")
            .header("stream-closed", "true")
            .send()
            .problem(409);
        assert_eq!(server.content("s"), "end");
    }
}

#[test]
fn a_refused_closing_append_does_not_close() {
    let server = Setup::new().with("limits.max_stream_bytes", 10).start();
    server.put("j").json("1").send().expect(201);
    let close = |request: super::support::http::Request| request.header("stream-closed", "true").send();
    close(server.post("j").json("{")).problem(400);
    close(server.post("j").text("x")).problem(409);
    close(server.post("j").json("1111111111111")).problem(413);
    close(server.post("j").json("2").producer("p", 0, 7)).problem(409);
    for values in [["true", "false"], ["false", "true"], ["true", "1"], ["true", ""]] {
        let [one, two] = values;
        let twice = server
            .post("j")
            .header("stream-closed", one)
            .header("stream-closed", two);
        twice.send().problem(400);
        let joined = server.post("j").header("stream-closed", &values.join(", "));
        joined.send().problem(400);
    }
    let answer = server.get("j").send().expect(200);
    assert_eq!((answer.text().as_str(), answer.header("stream-closed")), ("[1]", None));
}

#[test]
fn a_producer_may_repeat_its_closing_request() {
    let server = Setup::new().acid().start();
    server.text_stream("s", "");
    let last = || {
        server
            .post("s")
            .text("end")
            .producer("p", 0, 0)
            .header("stream-closed", "true")
            .send()
    };
    let tail = last().expect(200).next_offset();
    assert_eq!(last().expect(204).next_offset(), tail);
    server.post("s").text("x").producer("p", 0, 1).send().problem(409);
    assert_eq!(server.content("s"), "end");
}

#[test]
fn a_close_without_content_may_have_any_content_type() {
    let close = |server: &Server, types: &[&str]| {
        let request = server.post("s").header("stream-closed", "true");
        let request = types
            .iter()
            .fold(request, |request, kind| request.header("content-type", kind));
        request.send()
    };
    for types in [
        &["application/json"] as &[&str],
        &[""],
        &["nonsense"],
        &["text/plain", "application/json"],
        &["te\u{e9}xt/plain"],
        &[&"x".repeat(1000)],
    ] {
        let server = Setup::new().start();
        server.text_stream("s", "abc");
        // The content type of an empty close is not checked, first or repeated.
        for _ in 0..2 {
            let closed = close(&server, types).expect(204);
            assert_eq!(closed.header("stream-closed"), Some("true"), "{types:?}");
        }
    }
}

#[test]
fn refused_writers_get_the_tail() {
    let server = Setup::new().start();
    let tail = server.text_stream("s", "abc");
    let seq = |seq: &str| server.post("s").text("x").header("stream-seq", seq).send();
    let tail_after = seq("b").expect(204).next_offset();
    assert_ne!(tail, tail_after);
    for stale in ["a", "b"] {
        let conflict = seq(stale);
        // The official PHP client matches these words.
        let detail = conflict.problem(409);
        assert!(detail.starts_with("Sequence conflict"), "{detail}");
        assert_eq!(conflict.next_offset(), tail_after);
        assert_eq!(conflict.header("stream-closed"), None);
    }
    server.post("s").text("y").producer("p", 1, 0).send().expect(200);
    let stale = || server.post("s").text("z").producer("p", 0, 0).send();
    let open = stale();
    open.problem(403);
    assert_eq!(open.header("stream-closed"), None);
    let closed = server.post("s").header("stream-closed", "true").send().expect(204);
    let refused = stale();
    refused.problem(403);
    assert_eq!(refused.header("producer-epoch"), Some("1"));
    assert_eq!(refused.header("stream-closed"), Some("true"));
    assert_eq!(refused.next_offset(), closed.next_offset());
}

#[test]
fn an_etag_identifies_content_and_closure() {
    let server = Setup::new().start();
    let tail = server.text_stream("s", "abc");
    let ask = |query: &str, tag: &str| server.get(&format!("s{query}")).header("if-none-match", tag).send();
    let tag = |query: &str| {
        server
            .get(&format!("s{query}"))
            .send()
            .expect(200)
            .header("etag")
            .unwrap()
            .to_owned()
    };
    let (all, rest) = (tag(""), tag(&format!("?offset={tail}")));
    assert_ne!(all, rest);
    for given in [all.clone(), format!("W/{all}"), format!("\"x\", {all}"), "*".into()] {
        let answer = ask("", &given).expect(304);
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("etag"), Some(all.as_str()));
        assert_eq!(answer.next_offset(), tail);
    }
    ask("", &rest).expect(200);
    ask(&format!("?offset={tail}"), &rest).expect(304);
    server.post("s").header("stream-closed", "true").send().expect(204);
    for (query, old) in [(String::new(), &all), (format!("?offset={tail}"), &rest)] {
        let answer = ask(&query, old).expect(200);
        assert_eq!(answer.header("stream-closed"), Some("true"));
        let new = tag(&query);
        assert_eq!(ask(&query, &new).expect(304).header("stream-closed"), Some("true"));
    }
    server.delete("s").send().expect(204);
    server.text_stream("s", "xyz");
    assert_eq!(
        ask("", &all).expect(200).text(),
        "xyz",
        "the same name and length, other bytes"
    );
}

#[test]
fn cursors_never_go_backwards() {
    let server = Setup::new()
        .with("transport.connection.long_poll_timeout_secs", 1)
        .start();
    server.text_stream("s", "abc");
    let poll = |cursor: &str| {
        let answer = server
            .get(&format!("s?live=long-poll&offset=-1&cursor={cursor}"))
            .send()
            .expect(200);
        answer.header("stream-cursor").unwrap().parse::<u128>().unwrap()
    };
    let current = poll("0");
    assert!(poll("1") >= current);
    for ahead in [current + 5, current + 10_000_000, u64::MAX.into(), 10_u128.pow(36) - 1] {
        let cursor = poll(&ahead.to_string());
        assert!(cursor > ahead && cursor <= ahead + 180, "{cursor}");
    }
    // An invalid cursor is ignored.
    for odd in ["", "x", "-1", &"9".repeat(37)] {
        assert!(poll(odd) >= current, "{odd}");
    }
    let timeout = server
        .get(&format!("s?live=long-poll&offset=now&cursor={}", current + 5))
        .send()
        .expect(204);
    assert!(timeout.header("stream-cursor").unwrap().parse::<u128>().unwrap() > current + 5);
    let mut sse = Sse::open(&server.get(&format!("s?live=sse&offset=-1&cursor={}", current + 7)));
    let cursor = sse.control()["streamCursor"].as_str().unwrap().parse::<u128>().unwrap();
    assert!(cursor > current + 7);
}

#[test]
fn offsets_sort_as_text_and_resume_everywhere() {
    let server = Setup::new().acid().start();
    let mut offsets = vec![server.put("j").json("").send().expect(201).next_offset()];
    for n in 0..30 {
        let message = format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(n * 7));
        offsets.push(server.post("j").json(&message).send().expect(204).next_offset());
    }
    assert!(offsets.is_sorted());
    for (n, offset) in offsets.iter().enumerate() {
        let answer = server.get(&format!("j?offset={offset}")).send().expect(200);
        let messages = answer.json();
        assert_eq!(messages.as_array().unwrap().len(), 30 - n);
        if n < 30 {
            assert_eq!(messages[0]["n"], n);
        }
    }
}

#[test]
fn content_cannot_inject_events() {
    let server = Setup::new().start();
    let text = "a\n\nevent: control\ndata:{\"streamClosed\":true}\r\rid: 1\r\n\r\nretry: 1\n: x";
    server.put("s").text(text).send().expect(201);
    let mut sse = server.sse("s", "-1");
    let normal = text.replace("\r\n", "\n").replace('\r', "\n");
    assert_eq!(sse.data(), normal);
    assert_eq!(sse.control().get("streamClosed"), None);
    server
        .put("j")
        .json("{\"a\":\n\n\r\n\"event: control\\n\\n\"}")
        .send()
        .expect(201);
    let data = server.sse("j", "-1").data();
    let value: serde_json::Value = serde_json::from_str(&data).unwrap();
    assert_eq!(value[0]["a"], "event: control\n\n");
    server
        .put("b")
        .header("content-type", "application/octet-stream")
        .body([0, 10, 10, 13, 255])
        .send()
        .expect(201);
    let mut sse = server.sse("b", "-1");
    assert_eq!(sse.answer.header("stream-sse-data-encoding"), Some("base64"));
    assert_eq!(sse.data(), "AAoKDf8=");
}

#[test]
fn json_is_stored_verbatim() {
    let server = Setup::new().start();
    server
        .put("j")
        .json(r#"[1.0, 1e300, 12345678901234567890123, "\u00fc", {"b":1,"a":2,"a":3}, null]"#)
        .send()
        .expect(201);
    let expected = "[1.0,\n1e300,\n12345678901234567890123,\n\"\\u00fc\",\n{\"b\":1,\"a\":2,\"a\":3},\nnull]";
    assert_eq!(server.content("j"), expected);
    server.put("nested").json("[[1],[[2]]]").send().expect(201);
    assert_eq!(server.content("nested"), "[[1],\n[[2]]]");
}

#[test]
fn repeating_a_create_finds_the_stream_and_other_properties_conflict() {
    let server = Setup::new().start();
    server.put("s").text("a").header("stream-ttl", "60").send().expect(201);
    let again = server.put("s").text("b").header("stream-ttl", "60").send().expect(200);
    assert_eq!(again.next_offset(), server.head("s").send().next_offset());
    server
        .put("s")
        .header("content-type", "TEXT/plain; charset=utf-8")
        .header("stream-ttl", "60")
        .send()
        .expect(200);
    server.put("s").text("b").send().problem(409);
    server.put("s").text("b").header("stream-ttl", "61").send().problem(409);
    server
        .put("s")
        .json("[]")
        .header("stream-ttl", "60")
        .send()
        .problem(409);
    server
        .put("s")
        .text("b")
        .header("stream-ttl", "60")
        .header("stream-closed", "true")
        .send()
        .problem(409);
    assert_eq!(server.content("s"), "a");
}

#[test]
fn a_deleted_stream_ends_its_live_readers_and_its_offsets() {
    let server = Setup::new().start();
    server.text_stream("s", "abcdef");
    let mut sse = server.sse("s", "-1");
    assert_eq!(sse.data(), "abcdef");
    let mut poll = server.get("s?live=long-poll&offset=now").open();
    until("the reader", || {
        server.metric("ds_live_readers{mode=\"long-poll\"}") == 1.0
    });
    server.delete("s").send().expect(204);
    sse.remainder();
    poll.answer().problem(404);
    server.delete("s").send().problem(404);
    server.text_stream("s", "");
    assert_eq!(server.content("s"), "");
}

#[test]
fn every_answer_has_the_browsers_security_headers() {
    let server = Setup::new().start();
    server.text_stream("s", "a");
    for answer in [
        server.get("s").send(),
        server.head("s").send(),
        server.get("absent").send(),
        server.get("s?offset=x").send(),
        server.post("s").text("x").send(),
        server.raw("GET", "/up").send(),
        server.raw("OPTIONS", "/v1/stream/s").send(),
        server.sse("s", "-1").answer,
    ] {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer:?}");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("cross-origin"));
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
    assert_eq!(server.head("s").send().header("cache-control"), Some("no-store"));
}

#[test]
fn any_origin_may_read_and_other_clients_get_no_cors_headers() {
    let server = Setup::new().start();
    server.text_stream("s", "x");
    for path in ["s", "absent", "s?offset=x"] {
        let browser = server.get(path).header("origin", "https://app.test").send();
        assert_eq!(browser.header("access-control-allow-origin"), Some("*"), "{path}");
        assert!(
            browser
                .header("access-control-expose-headers")
                .is_some_and(|names| names.contains("Stream-Next-Offset"))
        );
        assert_eq!(
            server.get(path).send().header("access-control-allow-origin"),
            None,
            "{path}"
        );
    }
}
