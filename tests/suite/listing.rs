//! The list of streams, `__ds/streams`.

use serde_json::Value;

use super::support::{
    http::{Answer, Connection, Request, escape},
    server::{BASE, Server, Setup},
    tokens::Issuer,
    until,
};

fn ask(server: &Server, query: &str) -> Request {
    server.request("GET", &format!("__ds/streams{query}"))
}

#[track_caller]
fn list(server: &Server, query: &str) -> Value {
    ask(server, query).send().expect(200).json()
}

fn names(page: &Value) -> Vec<String> {
    let streams = page["streams"].as_array().unwrap();
    streams
        .iter()
        .map(|stream| stream["name"].as_str().unwrap().to_owned())
        .collect()
}

/// All names with this prefix, in pages of this size, and the number of pages.
#[track_caller]
fn all(server: &Server, prefix: &str, limit: usize) -> (Vec<String>, usize) {
    let (mut found, mut pages, mut after) = (Vec::new(), 0, None::<String>);
    loop {
        let after_part = after
            .map(|after| format!("&after={}", escape(&after)))
            .unwrap_or_default();
        let page = list(server, &format!("?limit={limit}&prefix={}{after_part}", escape(prefix)));
        let here = names(&page);
        assert!(here.len() <= limit);
        found.extend(here);
        pages += 1;
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return (found, pages),
        }
    }
}

#[test]
fn pages_are_in_the_order_of_names() {
    for setup in [Setup::new(), Setup::new().acid()] {
        let server = setup.start();
        let mut names = [
            "gid://app/Room/1",
            "gid://app/Room/10",
            "gid://app/Room/2",
            "gid://app/room/1",
            "a b",
            "a\"b'c",
            "100%/x&y=z#?",
            "ümläut/日本語",
            "a\\b",
            "//",
            "{\"next\":null}",
        ];
        for name in names {
            server.text_stream(&escape(name), name);
        }
        names.sort_unstable();
        for limit in [1, 3, 4, 11, 1000] {
            let (found, pages) = all(&server, "", limit);
            assert_eq!(found, names, "limit {limit}");
            assert_eq!(pages, names.len().div_ceil(limit), "limit {limit}");
        }
        assert_eq!(
            all(&server, "gid://app/Room/1", 10).0,
            ["gid://app/Room/1", "gid://app/Room/10"]
        );
        assert_eq!(all(&server, "gid://app/Room/", 1).0.len(), 3);
        assert_eq!(all(&server, "none", 1), (vec![], 1));
        let behind = list(&server, "?after=gid://app/Room/1z&prefix=gid:");
        assert_eq!(self::names(&behind), ["gid://app/Room/2", "gid://app/room/1"]);
    }
}

#[test]
fn a_listed_stream_matches_its_head_response() {
    for setup in [Setup::new(), Setup::new().acid()] {
        let server = setup.start();
        server.put("json").json("[1]").send().expect(201);
        server
            .put("ttl")
            .text("abc")
            .header("stream-ttl", "60")
            .send()
            .expect(201);
        let at = "2099-01-01T00:00:00.000Z";
        server
            .put("at")
            .text("")
            .header("stream-expires-at", at)
            .send()
            .expect(201);
        server.put("shut").header("stream-closed", "true").send().expect(201);
        let kept = server
            .put("kept")
            .text(&"x".repeat(100))
            .header("stream-retention-age", "3600");
        kept.header("stream-retention-bytes", "10").send().expect(201);
        server.post("kept").text(&"y".repeat(10)).send().expect(204);
        server.fork("twig", "ttl").send().expect(201);
        server.post("ttl").text("def").send().expect(204);

        let page = list(&server, "");
        for stream in page["streams"].as_array().unwrap() {
            let head = server.head(stream["name"].as_str().unwrap()).send().expect(200);
            let text = |name: &str| head.header(name).map(str::to_owned);
            let member = |name: &str| stream.get(name).map(|value| value.as_str().unwrap().to_owned());
            assert_eq!(member("content_type"), text("content-type"), "{stream}");
            assert_eq!(member("offset"), text("stream-next-offset"), "{stream}");
            assert_eq!(stream["closed"], text("stream-closed").is_some(), "{stream}");
            let ttl = stream.get("ttl_seconds").map(ToString::to_string);
            assert_eq!(ttl, text("stream-ttl"), "{stream}");
            assert_eq!(member("expires_at"), text("stream-expires-at"), "{stream}");
            let number = |name: &str| stream.get(name).map(ToString::to_string);
            assert_eq!(
                number("retention_age_seconds"),
                text("stream-retention-age"),
                "{stream}"
            );
            assert_eq!(number("retention_bytes"), text("stream-retention-bytes"), "{stream}");
            assert_eq!(member("earliest_offset"), text("stream-earliest-offset"), "{stream}");
        }
        assert_eq!(names(&page), ["at", "json", "kept", "shut", "ttl", "twig"]);
        assert!(page["streams"][2]["earliest_offset"].is_string(), "{page}");
        assert_eq!(page["streams"][5]["forked_from"], "ttl");
        assert_eq!(
            page["streams"][5]["fork_offset"],
            server.fork("twig", "ttl").send().next_offset()
        );
        assert!(page["streams"][4].get("forked_from").is_none());
    }
}

#[test]
fn deleted_and_expired_streams_are_not_listed() {
    for setup in [Setup::new(), Setup::new().acid()] {
        let server = setup.start();
        for name in ["a", "b", "c", "d"] {
            server.text_stream(name, name);
        }
        server.fork("b-fork", "b").send().expect(201);
        server.delete("b").send().expect(204);
        server.delete("c").send().expect(204);
        server.get("b").send().problem(410);
        assert_eq!(names(&list(&server, "")), ["a", "b-fork", "d"]);
        // Streams in between do not count.
        assert_eq!(all(&server, "", 1).0, ["a", "b-fork", "d"]);
        server.put("e").text("").header("stream-ttl", "1").send().expect(201);
        until("e to be over", || !names(&list(&server, "")).contains(&"e".to_owned()));
        server.get("e").send().problem(404);
        server.text_stream("c", "again");
        assert_eq!(names(&list(&server, "")), ["a", "b-fork", "c", "d"]);
    }
}

#[test]
fn only_server_tokens_may_list() {
    let server = Setup::new().gated().internal("127.0.0.1").start();
    server.text_stream("secret", "x");
    let target = format!("{BASE}/__ds/streams");
    let client = server.client_token("secret", &["read", "write"]);
    let stranger = Issuer::new(9).token(&super::support::tokens::server(super::support::now()));
    for to in [server.public, server.internal()] {
        for query in ["", "?limit=0", "?prefix=secret", "?after=%00"] {
            let ask = |method: &str| Request::new(to, method, &format!("{target}{query}"));
            assert!(ask("GET").send().problem(401).contains("needs a token"));
            ask("GET").token(&stranger).send().problem(401);
            assert_eq!(
                ask("GET").token(&client).send().problem(403),
                "list needs a server token"
            );
            ask("HEAD").token(&client).send().expect(403);
            ask("POST").send().expect(401);
        }
        let listed = Request::new(to, "GET", &target)
            .token(&server.server_token())
            .send()
            .expect(200);
        assert_eq!(names(&listed.json()), ["secret"]);
        assert_eq!(listed.header("cache-control"), Some("no-store"));
        // The token may be in the query.
        let by_query = Request::new(to, "GET", &format!("{target}?token={}", server.server_token()));
        by_query.send().expect(200);
    }
    assert!(!server.log.text().contains(client.rsplit('.').next().unwrap()));
}

#[test]
fn an_invalid_parameter_is_named() {
    let server = Setup::new().start();
    let long = "a".repeat(1025);
    for (query, name) in [
        ("limit=0", "limit:"),
        ("limit=-1", "limit:"),
        ("limit=1001", "limit:"),
        ("limit=1000000000", "limit:"),
        ("limit=1e9", "limit:"),
        ("limit=", "limit:"),
        ("limit=18446744073709551617", "limit:"),
        ("limit=1&limit=2", "limit:"),
        ("prefix=a&prefix=b", "prefix:"),
        ("after=a&after=a", "after:"),
        ("prefix=a%00", "prefix:"),
        ("after=a%0Ab", "after:"),
        ("after=%1b[31m", "after:"),
        ("after=%C2%9b", "after:"),
        (&format!("prefix={long}"), "prefix:"),
        (&format!("after={long}"), "after:"),
        ("prefix=%ff", "query:"),
    ] {
        let problem = ask(&server, &format!("?{query}")).send().problem(400);
        assert!(problem.starts_with(name), "{query}: {problem}");
    }
    let longest = "a".repeat(1024);
    assert_eq!(all(&server, &longest, 1).0.len(), 0);
    assert_eq!(list(&server, "?prefix=&after=&unknown=x")["next"], Value::Null);
}

#[test]
fn it_is_read_only_and_has_a_head() {
    let server = Setup::new().start();
    server.text_stream("s", "x");
    let path = format!("{BASE}/__ds/streams");
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = server.raw(method, &path).text("x").send();
        assert!(answer.problem(405).contains("GET, HEAD"));
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
    let get = server.raw("GET", &path).send().expect(200);
    assert_eq!(get.header("content-type"), Some("application/json"));
    assert_eq!(server.raw("HEAD", &path).send().shape(), get.shape());
    server.raw("OPTIONS", &path).send().expect(204);
    for other in ["/", "/x", "x"] {
        let status = server.raw("GET", &format!("{path}{other}")).send().status;
        assert!(matches!(status, 404), "{other}: {status}");
    }
    let metrics = server.metrics();
    assert!(metrics.contains("operation=\"list\""), "{metrics}");
}

fn fill(server: &Server, count: usize) {
    let mut connection = Connection::open(server.public);
    for index in 0..count {
        let put = server.put(&format!("gid://app/Room/{index:05}")).text("x");
        let answer: Answer = put.send_on(&mut connection).unwrap();
        assert_eq!(answer.status, 201);
    }
}

#[test]
fn ten_thousand_streams_are_listed_in_bounded_pages_and_stay_idle() {
    let server = Setup::new().start();
    fill(&server, 10_000);
    let (found, pages) = all(&server, "gid://", 1000);
    assert_eq!((found.len(), pages), (10_000, 10));
    assert!(found.is_sorted());
    let before = server.memory_kib();
    for _ in 0..5 {
        let page = ask(&server, "?limit=1000").send().expect(200);
        assert!(page.body.len() < 1024 * 1024, "{}", page.body.len());
        assert_eq!(names(&page.json()).len(), 1000);
    }
    assert_eq!(names(&list(&server, "")).len(), 100);
    let grown = server.memory_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB for a few pages");
}

#[test]
fn listing_after_a_restart_loads_no_streams() {
    let setup = Setup::new().acid();
    let server = setup.start();
    fill(&server, 1500);
    server
        .post("gid://app/Room/00007")
        .header("stream-closed", "true")
        .send()
        .expect(204);
    server.stop();
    let server = setup.start();
    assert_eq!(all(&server, "", 1000).0.len(), 1500);
    assert_eq!(
        list(&server, "?prefix=gid://app/Room/00007")["streams"][0]["closed"],
        true
    );
    assert_eq!(server.metric("ds_streams_in_memory"), 0.0);
}
