//! Bad input: a problem names the header or parameter, and nothing is stored.

use super::support::{
    http::{Answer, Request},
    server::{Server, Setup},
};

const SEVENTEEN_DIGITS: &str = "0000000000000000_00000000000000003";

/// A request for the stream `s`, and the header or parameter that the problem must name.
struct Bad {
    what: &'static str,
    method: &'static str,
    name: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: &'static str,
}

fn bad(what: &'static str, method: &'static str, headers: &[(&'static str, &'static str)]) -> Bad {
    let body = match method {
        "POST" => "more",
        _ => "",
    };
    let name = if method == "PUT" { "new" } else { "s" };
    Bad {
        what,
        method,
        name,
        headers: headers.to_vec(),
        body,
    }
}

fn read(what: &'static str, name: &'static str) -> Bad {
    Bad {
        name,
        ..bad(what, "GET", &[])
    }
}

fn body(method: &'static str, name: &'static str, body: &'static str) -> Bad {
    Bad {
        name,
        body,
        ..bad("body", method, &[("content-type", "application/json")])
    }
}

const TEXT: (&str, &str) = ("content-type", "text/plain");
const FORK: (&str, &str) = ("stream-forked-from", "/v1/stream/s");
const ID: (&str, &str) = ("producer-id", "p");
const EPOCH: (&str, &str) = ("producer-epoch", "0");
const SEQ: (&str, &str) = ("producer-seq", "0");

fn lifetimes() -> Vec<Bad> {
    let mut cases = Vec::new();
    for value in [
        "",
        "0x10",
        "-1",
        "+1",
        "1.0",
        "1e3",
        "01",
        "00",
        " ",
        "1 2",
        "1,2",
        "abc",
        "1s",
        "9223372036854775808",
        "99999999999999999999999999",
        "\u{661}",
    ] {
        cases.push(bad("Stream-TTL", "PUT", &[TEXT, ("stream-ttl", value)]));
    }
    for value in [
        "",
        "tomorrow",
        "1700000000",
        "2030-01-01",
        "2030-13-01T00:00:00Z",
        "2030-01-01T25:00:00Z",
        "2030-01-01T00:00:00",
        "2030-01-01 00:00:00Z",
        "Tue, 01 Jan 2030 00:00:00 GMT",
        "-2030-01-01T00:00:00Z",
        "1960-01-01T00:00:00Z",
        "2030-02-30T00:00:00Z",
    ] {
        cases.push(bad("Stream-Expires-At", "PUT", &[TEXT, ("stream-expires-at", value)]));
    }
    let both = [
        TEXT,
        ("stream-ttl", "60"),
        ("stream-expires-at", "2099-01-01T00:00:00Z"),
    ];
    cases.push(bad("Stream-TTL", "PUT", &both));
    cases.push(bad(
        "Stream-TTL",
        "PUT",
        &[TEXT, ("stream-ttl", "60"), ("stream-ttl", "60")],
    ));
    cases
}

fn content_types() -> Vec<Bad> {
    let mut cases = Vec::new();
    for value in [
        "text",
        "text/",
        "/plain",
        "text plain",
        "text/pl ain",
        "a/b/c",
        ";charset=utf-8",
        "te\u{e9}xt/plain",
    ] {
        cases.push(bad("Content-Type", "PUT", &[("content-type", value)]));
    }
    cases.push(bad("Content-Type", "PUT", &[TEXT, TEXT]));
    cases
}

fn forks() -> Vec<Bad> {
    let mut cases = Vec::new();
    for from in [
        "",
        "s",
        "/s",
        "/v1/stream",
        "/v1/stream/",
        "/v1/streams/s",
        "http://other.test/v1/stream/s",
        "/v1/stream/../s",
        "/v1/stream/%zz",
        "/v1/stream/%00",
        "/v1/stream/__ds/x",
    ] {
        cases.push(bad("Stream-Forked-From", "PUT", &[("stream-forked-from", from)]));
    }
    cases.push(bad("Stream-Forked-From", "PUT", &[FORK, FORK]));
    for offset in [
        "",
        "now",
        "0",
        "x",
        "-2",
        SEVENTEEN_DIGITS,
        "0000000000000000_0000000000000099",
        "0_0",
    ] {
        cases.push(bad(
            "Stream-Fork-Offset",
            "PUT",
            &[FORK, ("stream-fork-offset", offset)],
        ));
    }
    cases.push(bad("Stream-Fork-Offset", "PUT", &[TEXT, ("stream-fork-offset", "-1")]));
    for sub in ["", "-1", "+1", "1.5", "01", "x", "99", "18446744073709551616"] {
        let headers = [FORK, ("stream-fork-offset", "-1"), ("stream-fork-sub-offset", sub)];
        cases.push(bad("Stream-Fork-Sub-Offset", "PUT", &headers));
    }
    cases.push(bad(
        "Stream-Fork-Sub-Offset",
        "PUT",
        &[TEXT, ("stream-fork-sub-offset", "1")],
    ));
    cases.push(bad(
        "Stream-Fork-Sub-Offset",
        "PUT",
        &[FORK, ("stream-fork-sub-offset", "1")],
    ));
    cases
}

fn contents() -> Vec<Bad> {
    let mut cases = Vec::new();
    for content in [
        "{",
        "[1,]",
        "nope",
        " ",
        "1 2",
        "[1][2]",
        "{\"a\":\u{1}}",
        "\"\\ud800",
        "[[[",
        "\u{feff}1",
        "NaN",
        "\"\\ud800\"",
        "[1e999]",
    ] {
        cases.push(body("PUT", "new", content));
    }
    cases
}

fn appending() -> Vec<Bad> {
    let mut cases = vec![
        bad("Content-Type", "POST", &[]),
        bad("Content-Type", "POST", &[("content-type", "plain")]),
        bad("Content-Type", "POST", &[TEXT, TEXT]),
        bad("Content-Type", "POST", &[TEXT, TEXT, ("stream-closed", "true")]),
        bad(
            "Content-Type",
            "POST",
            &[("content-type", "plain"), ("stream-closed", "true")],
        ),
        bad("Stream-Seq", "POST", &[TEXT, ("stream-seq", "")]),
        bad("Stream-Seq", "POST", &[TEXT, ("stream-seq", "1"), ("stream-seq", "2")]),
        bad("Producer-Id", "POST", &[TEXT, ID]),
        bad("Producer-Epoch", "POST", &[TEXT, EPOCH]),
        bad("Producer-Seq", "POST", &[TEXT, SEQ]),
        bad("Producer-Id", "POST", &[TEXT, ID, EPOCH]),
        bad("Producer-Epoch", "POST", &[TEXT, EPOCH, SEQ]),
        bad("Producer-Id", "POST", &[TEXT, ("producer-id", ""), EPOCH, SEQ]),
        bad("Producer-Id", "POST", &[TEXT, ID, ID, EPOCH, SEQ]),
        Bad {
            body: "",
            ..bad("body", "POST", &[TEXT])
        },
        Bad {
            body: "",
            ..bad("body", "POST", &[TEXT, ("stream-closed", "false")])
        },
    ];
    for value in ["", "-1", "1.0", "x", "0x1", "9007199254740992", "18446744073709551616"] {
        cases.push(bad(
            "Producer-Epoch",
            "POST",
            &[TEXT, ID, ("producer-epoch", value), SEQ],
        ));
        cases.push(bad("Producer-Seq", "POST", &[TEXT, ID, EPOCH, ("producer-seq", value)]));
    }
    for content in ["{", "[]", "[1,]", "1 2", " ", "[1,2", "'x'", "NaN", "\"\n\""] {
        cases.push(body("POST", "json", content));
    }
    cases
}

fn reading() -> Vec<Bad> {
    vec![
        read("offset", "s?offset="),
        read("offset", "s?offset=0"),
        read("offset", "s?offset=-2"),
        read("offset", "s?offset=NOW"),
        read("offset", "s?offset=0000000000000000_00000000000000003"),
        read("offset", "s?offset=0000000000000000-0000000000000003"),
        read("offset", "s?offset=0000000000000000_000000000000000x"),
        read("offset", "s?offset=9999999999999999_99999999999999990"),
        read("offset", "s?offset=-1&offset=-1"),
        read("offset", "s?offset=-1&%6fffset=now"),
        read("offset", "s?live=sse"),
        read("offset", "s?live=long-poll"),
        read("live", "s?live=&offset=-1"),
        read("live", "s?live=SSE&offset=-1"),
        read("live", "s?live=poll&offset=-1"),
        read("live", "s?live=sse&live=long-poll&offset=-1"),
        read("cursor", "s?live=long-poll&offset=-1&cursor=1&cursor=2"),
    ]
}

fn send(server: &Server, case: &Bad) -> Answer {
    let mut request: Request = server.request(case.method, case.name).body(case.body);
    for (name, value) in &case.headers {
        request = request.header(name, value);
    }
    request.send()
}

fn check(cases: &[Bad]) {
    let server = Setup::new().start();
    server.text_stream("s", "abc");
    server.put("json").json(r#"[{"a":1},{"b":2}]"#).send().expect(201);
    let state = |name: &str| (server.head(name).send().shape(), server.content(name));
    let before = (state("s"), state("json"));
    let mut wrong = Vec::new();
    for case in cases {
        let answer = send(&server, case);
        let said = format!("{} {} {:?} {:?}", case.method, case.name, case.headers, case.body);
        if answer.status != 400 {
            wrong.push(format!("{said}: {} {}", answer.status, answer.text()));
            server.delete("new").send();
            continue;
        }
        let detail = answer.problem(400);
        if !detail.starts_with(&format!("{}:", case.what)) {
            wrong.push(format!("{said}: does not name {}: {detail}", case.what));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    assert_eq!((state("s"), state("json")), before);
    assert_eq!(server.metric("ds_streams"), 2.0);
}

#[test]
fn an_invalid_create_creates_nothing() {
    for cases in [lifetimes(), content_types(), forks(), contents()] {
        check(&cases);
    }
}

#[test]
fn an_invalid_append_appends_nothing() {
    check(&appending());
}

#[test]
fn an_invalid_read_names_the_parameter() {
    check(&reading());
}

#[test]
fn deep_json_is_refused_and_does_no_harm() {
    let server = Setup::new().start();
    server.put("json").json("").send().expect(201);
    let deep = "[".repeat(200_000);
    assert!(server.post("json").json(&deep).send().problem(400).starts_with("body:"));
    server.post("json").json("1").send().expect(204);
    assert_eq!(server.content("json"), "[1]");
}

#[test]
fn stream_closed_values_other_than_true_are_ignored() {
    let server = Setup::new().start();
    server.text_stream("s", "");
    for value in ["false", "yes", "1", ""] {
        let request = server.post("s").text("x").header("stream-closed", value);
        assert_eq!(request.send().expect(204).header("stream-closed"), None, "{value:?}");
    }
}

#[test]
fn an_unknown_parameter_or_header_is_no_error() {
    let server = Setup::new().start();
    server.text_stream("s", "abc");
    let answer = server.get("s?x=1&x=2&utm_source=y").header("stream-wish", "z").send();
    assert_eq!(answer.expect(200).text(), "abc");
}

#[test]
fn unknown_methods_and_paths_get_405_and_404() {
    let server = Setup::new().start();
    let answer = server.request("PATCH", "s").send();
    answer.problem(405);
    assert_eq!(answer.header("allow"), Some("GET, HEAD, POST, PUT, DELETE, OPTIONS"));
    for path in ["/", "/nowhere", "/v1", "/v1/streams/s", "/metricsx"] {
        server.raw("GET", path).send().problem(404);
    }
    let answer = server.raw("POST", "/up").send();
    answer.problem(405);
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
}
