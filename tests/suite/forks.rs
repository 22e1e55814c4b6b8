//! Forks: inheritance, and the lifetimes of forks and sources.

use super::support::{
    http::Request,
    server::{BASE, Server, Setup},
};

fn in_memory_and_on_disk(test: impl Fn(&Server)) {
    test(&Setup::new().start());
    test(&Setup::new().acid().start());
}

#[test]
fn a_fork_inherits_content_up_to_its_offset() {
    in_memory_and_on_disk(|server| {
        server.text_stream("s", "abc");
        let middle = server.post("s").text("def").send().expect(204).next_offset();
        server.post("s").text("ghi").send().expect(204);
        server.fork("all", "s").send().expect(201);
        server
            .fork("none", "s")
            .header("stream-fork-offset", "-1")
            .send()
            .expect(201);
        server
            .fork("some", "s")
            .header("stream-fork-offset", &middle)
            .send()
            .expect(201);
        for (name, content) in [("all", "abcdefghi"), ("none", ""), ("some", "abcdef")] {
            assert_eq!(server.content(name), content, "{name}");
            server.post(name).text("!").send().expect(204);
            assert_eq!(server.content(name), format!("{content}!"), "{name}");
        }
        server.post("s").text("?").send().expect(204);
        assert_eq!(server.content("s"), "abcdefghi?");
        assert_eq!(server.content("all"), "abcdefghi!");
        assert_eq!(server.content(&format!("some?offset={middle}")), "!");
    });
}

#[test]
fn a_sub_offset_counts_bytes_or_messages() {
    in_memory_and_on_disk(|server| {
        let first = server.text_stream("s", "abc");
        server.post("s").text("def").send().expect(204);
        server.put("j").json(r#"[{"n":1},{"n":2}]"#).send().expect(201);
        server.post("j").json(r#"[[1,2],"x"]"#).send().expect(204);
        let fork = |name: &str, source: &str, offset: &str, sub: u64| {
            let request = server.fork(name, source).header("stream-fork-offset", offset);
            request.header("stream-fork-sub-offset", &sub.to_string()).send()
        };
        fork("b", "s", "-1", 2).expect(201);
        fork("c", "s", &first, 1).expect(201);
        fork("d", "s", &first, 0).expect(201);
        assert_eq!(["b", "c", "d"].map(|name| server.content(name)), ["ab", "abcd", "abc"]);
        for (sub, content) in [(0, "[]"), (1, r#"[{"n":1}]"#)] {
            let name = format!("j{sub}");
            fork(&name, "j", "-1", sub).expect(201);
            assert_eq!(server.content(&name), content);
        }
        server.post("j1").json("true").send().expect(204);
        assert_eq!(server.content("j1"), "[{\"n\":1},\ntrue]");
        assert!(
            fork("x", "s", &first, 4)
                .problem(400)
                .contains("Stream-Fork-Sub-Offset")
        );
        assert!(fork("x", "j", "-1", 5).problem(400).contains("Stream-Fork-Sub-Offset"));
        server.get("x").send().expect(404);
    });
}

#[test]
fn a_chain_of_forks_reads_through_all_of_them() {
    in_memory_and_on_disk(|server| {
        server.text_stream("f0", "0;");
        let mut expected = "0;".to_owned();
        for n in 1..=40 {
            server.fork(&format!("f{n}"), &format!("f{}", n - 1)).send().expect(201);
            let own = format!("{n};");
            server.post(&format!("f{n}")).text(&own).send().expect(204);
            expected.push_str(&own);
        }
        assert_eq!(server.content("f40"), expected);
        // Each source is kept only for its fork, so deleting the last fork deletes all.
        for n in 0..40 {
            server.delete(&format!("f{n}")).send().expect(204);
        }
        assert_eq!(server.content("f40"), expected);
        assert_eq!(server.get("f20").send().status, 410);
        server.delete("f40").send().expect(204);
        assert_eq!(server.metric("ds_streams"), 0.0);
        server.get("f20").send().expect(404);
    });
}

#[test]
fn a_deleted_source_is_visible_only_to_its_forks() {
    in_memory_and_on_disk(|server| {
        server.text_stream("s", "abc");
        server.fork("f", "s").send().expect(201);
        server.fork("g", "s").send().expect(201);
        server.delete("s").send().expect(204);
        for method in ["GET", "POST", "DELETE", "HEAD"] {
            server.request(method, "s").text("x").send().expect(410);
        }
        for live in ["sse", "long-poll"] {
            server.get(&format!("s?live={live}&offset=-1")).send().problem(410);
        }
        server.put("s").text("new").send().problem(409);
        server.fork("h", "s").send().problem(409);
        assert_eq!(
            (server.content("f").as_str(), server.content("g").as_str()),
            ("abc", "abc")
        );
        server.delete("f").send().expect(204);
        server.get("s").send().problem(410);
        server.delete("g").send().expect(204);
        server.get("s").send().problem(404);
        server.text_stream("s", "new");
        assert_eq!(server.content("s"), "new");
    });
}

#[test]
fn repeating_a_fork_finds_it_after_its_source_is_deleted() {
    in_memory_and_on_disk(|server| {
        let offset = server.text_stream("s", "abc");
        let fork = || server.fork("f", "s").header("stream-fork-offset", &offset);
        fork().send().expect(201);
        server.post("f").text("d").send().expect(204);
        assert_eq!(
            fork().send().expect(200).next_offset(),
            server.head("f").send().next_offset()
        );
        server.delete("s").send().expect(204);
        fork().send().expect(200);
        server
            .fork("f", "s")
            .header("stream-fork-offset", "-1")
            .send()
            .problem(409);
        server.fork("f", "other").send().problem(409);
        server.put("f").text("x").send().problem(409);
        assert_eq!(server.content("f"), "abcd");
    });
}

#[test]
fn repeating_a_fork_with_another_lifetime_conflicts() {
    const TTL: (&str, &str) = ("stream-ttl", "100");
    const OTHER: (&str, &str) = ("stream-ttl", "200");
    const AT: (&str, &str) = ("stream-expires-at", "2099-01-01T00:00:00Z");
    let server = Setup::new().start();
    let with = |request: Request, header: Option<(&str, &str)>| match header {
        Some((name, value)) => request.header(name, value),
        None => request,
    };
    let lifetimes = [None, Some(TTL), Some(OTHER), Some(AT)];
    for (n, source) in [None, Some(TTL), Some(AT)].into_iter().enumerate() {
        with(server.put(&format!("s{n}")).text("a"), source).send().expect(201);
        for (m, first) in lifetimes.into_iter().enumerate() {
            let fork = |lifetime| with(server.fork(&format!("f{n}{m}"), &format!("s{n}")), lifetime).send();
            fork(first).expect(201);
            for again in lifetimes {
                // The default is the source's lifetime.
                let same = again.or(source) == first.or(source);
                assert_eq!(
                    fork(again).status,
                    if same { 200 } else { 409 },
                    "{source:?} {first:?} {again:?}"
                );
            }
        }
        // The same holds after the source is deleted.
        server.delete(&format!("s{n}")).send().expect(204);
        for (m, first) in lifetimes.into_iter().enumerate() {
            let again = server.fork(&format!("f{n}{m}"), &format!("s{n}")).send().status;
            assert_eq!(
                again,
                if first.or(source) == source { 200 } else { 409 },
                "{source:?} {first:?}"
            );
        }
    }
}

#[test]
fn a_fork_inherits_type_and_lifetime_by_default() {
    let server = Setup::new().start();
    let at = "2099-01-01T00:00:00.000Z";
    server
        .put("ttl")
        .text("x")
        .header("stream-ttl", "60")
        .send()
        .expect(201);
    server
        .put("at")
        .text("x")
        .header("stream-expires-at", at)
        .send()
        .expect(201);
    server.put("for-ever").text("x").send().expect(201);
    let lifetime = |name: &str| {
        let answer = server.head(name).send().expect(200);
        assert_eq!(answer.header("content-type"), Some("text/plain"));
        (
            answer.header("stream-ttl").map(str::to_owned),
            answer.header("stream-expires-at").map(str::to_owned),
        )
    };
    for source in ["ttl", "at", "for-ever"] {
        let own = lifetime(source);
        server.fork(&format!("{source}-plain"), source).send().expect(201);
        assert_eq!(lifetime(&format!("{source}-plain")), own);
        server
            .fork(&format!("{source}-ttl"), source)
            .header("stream-ttl", "7")
            .send()
            .expect(201);
        assert_eq!(lifetime(&format!("{source}-ttl")), (Some("7".into()), None));
        server
            .fork(&format!("{source}-at"), source)
            .header("stream-expires-at", at)
            .send()
            .expect(201);
        assert_eq!(lifetime(&format!("{source}-at")), (None, Some(at.into())));
    }
    server.fork("x", "ttl").json("[]").send().problem(409);
    server.fork("x", "absent").send().problem(404);
    let escaped = server
        .put("x")
        .header("stream-forked-from", &format!("{BASE}/tt%6C"))
        .send();
    escaped.expect(201);
}

#[test]
fn a_fork_of_a_closed_stream_is_open() {
    let server = Setup::new().start();
    server
        .put("s")
        .text("abc")
        .header("stream-closed", "true")
        .send()
        .expect(201);
    server.fork("f", "s").send().expect(201);
    server.post("f").text("d").send().expect(204);
    assert_eq!(server.content("f"), "abcd");
    server.post("s").text("d").send().problem(409);
}

#[test]
fn forks_and_their_deleted_sources_survive_a_restart() {
    let setup = Setup::new().acid();
    let server = setup.start();
    server.text_stream("s", "abc");
    server.fork("f", "s").send().expect(201);
    server
        .fork("g", "f")
        .header("stream-fork-offset", "-1")
        .header("stream-fork-sub-offset", "2")
        .send()
        .expect(201);
    server.post("g").text("!").send().expect(204);
    server.delete("s").send().expect(204);
    server.delete("f").send().expect(204);
    server.stop();
    let server = setup.start();
    assert_eq!(server.content("g"), "ab!");
    server.get("s").send().problem(410);
    server.delete("g").send().expect(204);
    assert_eq!(server.metric("ds_streams"), 0.0);
    assert_eq!(server.metric("ds_stored_bytes"), 0.0);
}
