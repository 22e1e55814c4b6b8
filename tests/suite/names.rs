//! Valid stream names, and names that are equal.

use super::support::{
    http::Request,
    server::{BASE, Server, Setup},
};

#[test]
fn different_spellings_of_a_name_are_one_stream() {
    let server = Setup::new().start();
    let groups: [(&str, &[&str]); 7] = [
        (
            "gid://app/Room/1",
            &[
                "gid:%2F%2Fapp%2FRoom%2F1",
                "gid:/app/Room/1",
                "%67id:/app/Room/1",
                "gid:%2fapp/Room/1",
                "gid:///app//Room/1",
                "gid:%2F/%2Fapp/Room/1",
            ],
        ),
        (
            "gid://app/Room/2/gid://app/User/3",
            &["gid:/app/Room/2/gid:/app/User/3", "gid://app/Room/2/gid:/app/User//3"],
        ),
        ("x//y", &["x/y", "x%2Fy", "x%2f/y"]),
        ("a%20b", &["a%20%62"]),
        ("%C3%BC", &["%c3%bc"]),
        ("a+b", &["a%2Bb"]),
        ("a%3Fb%23c", &["a%3fb%23c"]),
    ];
    for (name, others) in groups {
        server.text_stream(name, name);
        for other in others {
            assert_eq!(server.content(other), name, "{other}");
        }
    }
    assert_eq!(server.metric("ds_streams"), 7.0);
}

#[test]
fn names_that_look_alike_are_different_streams() {
    let server = Setup::new().start();
    let names = [
        "a", "A", "a/", "/a", "a/b", "a%252Fb", "gid://x", "GID:/x", "x/gid:/x", "gid:", "a.", "...", ".a", "a;b",
        "a%5Cb", "e%CC%81", "%C3%A9", "up", "metrics", "__dsx", "x/__ds", "~", "*",
    ];
    for name in names {
        server.text_stream(name, name);
    }
    for name in names {
        assert_eq!(server.content(name), name);
    }
}

#[test]
fn an_invalid_name_is_a_problem_for_every_method() {
    let server = Setup::new().start();
    for name in [
        "",
        ".",
        "..",
        "a/..",
        "a/../b",
        "./a",
        "a/%2e%2E/b",
        "%2e",
        "a%00",
        "%00",
        "a%0Ab",
        "a%0d",
        "a%7f",
        "a%C2%85",
        "%",
        "a%2",
        "%zz",
        "%ff",
        "%c3",
        "%C0%AE%C0%AE",
        "%5F%5Fds/x",
        "_%5fds",
    ] {
        for method in ["GET", "PUT", "POST", "DELETE"] {
            let answer = server.request(method, name).text("x").send();
            assert!(
                answer.problem(400).starts_with("stream name:"),
                "{method} {name}: {}",
                answer.text()
            );
        }
    }
    assert_eq!(server.metric("ds_streams"), 0.0);
}

#[test]
fn the_reserved_segment_is_never_a_stream() {
    let server = Setup::new().start();
    for name in [
        "__ds",
        "__ds/",
        "__ds/x",
        "__ds/subscriptions/x/y",
        "/__ds",
        "//__ds/x",
        "__ds//streams",
        "%2F__ds/x",
    ] {
        let answer = server.put(name).text("x").send();
        assert!((400..500).contains(&answer.status), "{name}: {}", answer.status);
        answer.problem(answer.status);
    }
    assert_eq!(server.metric("ds_streams"), 0.0);
}

#[test]
fn a_name_has_at_most_1024_decoded_bytes() {
    let server = Setup::new().start();
    for (byte, count) in [("a", 1024), ("%61", 1024), ("%C3%BC", 512)] {
        let longest = byte.repeat(count);
        let answer = server.put(&longest).text("x").send();
        assert!(matches!(answer.status, 200 | 201), "{byte}: {}", answer.text());
        assert_eq!(server.content(&longest), "x");
        let longer = format!("{longest}a");
        assert!(server.put(&longer).text("x").send().problem(400).contains("1024"));
    }
    // The restored slash counts.
    let repaired = format!("gid:/{}", "a".repeat(1019));
    server.put(&repaired).text("x").send().problem(400);
}

/// An untrusted public `Host` never reaches `Location`.
#[test]
fn the_location_of_a_new_stream_is_its_path_unless_the_host_is_known() {
    let server = Setup::new().start();
    let path = format!("{BASE}/gid:%2F%2Fapp/");
    let mut number = 0;
    let mut location = |server: &Server, host: &str| {
        number += 1;
        let target = format!("{path}{number}");
        let request = Request::new(server.public, "PUT", &target)
            .header("host", host)
            .text("x");
        let location = request.send().expect(201).header("location").unwrap().to_owned();
        location.strip_suffix(&target).unwrap().to_owned()
    };
    for foreign in [
        "streams.test",
        "evil.test:80",
        "192.0.2.7",
        "localhost.evil.test",
        "127.0.0.1.evil.test",
        "[2001:db8::1]:80",
    ] {
        assert_eq!(location(&server, foreign), "", "{foreign}");
    }
    for local in [
        "localhost:4437",
        "127.0.0.1:4437",
        "10.1.2.3",
        "[::1]:4437",
        "[fd00::1]",
    ] {
        assert_eq!(location(&server, local), format!("http://{local}"));
    }
    let server = Setup::new()
        .with("http.public_url", "https://streams.example.com")
        .start();
    for host in ["streams.test", "localhost:4437"] {
        assert_eq!(location(&server, host), "https://streams.example.com");
    }
}

#[test]
fn an_unsupported_method_is_405_for_names_like_the_reserved_one() {
    let server = Setup::new().start();
    for (name, status) in [
        ("__dsfoo", 405),
        ("__ds.foo/x", 405),
        ("x/__ds", 405),
        ("s", 405),
        ("__ds", 404),
        ("__ds/foo", 404),
        ("/__ds/foo", 404),
    ] {
        let answer = server
            .raw("PATCH", &format!("{BASE}/{name}"))
            .text("x")
            .send()
            .expect(status);
        assert_eq!(answer.header("allow").is_some(), status == 405, "{name}");
    }
}

#[test]
fn the_creators_spelling_is_shown_and_every_spelling_works() {
    for mode in ["memory", "acid", "file-durable", "file-fast"] {
        let setup = Setup::new().on_disk(mode);
        let mut server = setup.start();
        for (created, other) in [("a//b", "a/b"), ("b:/c", "b:///c"), ("gid:/d", "gid://d")] {
            server.text_stream(created, created);
            server.put(other).text(created).send().expect(200);
            server.post(other).text("!").send().expect(204);
        }
        let shown = ["a//b", "b:/c", "gid://d"];
        for _ in 0..2 {
            let names = |query: &str| -> Vec<String> {
                let list = server
                    .raw("GET", &format!("{BASE}/__ds/streams{query}"))
                    .send()
                    .expect(200);
                let list: serde_json::Value = serde_json::from_str(&list.text()).unwrap();
                let streams = list["streams"].as_array().unwrap();
                streams
                    .iter()
                    .map(|stream| stream["name"].as_str().unwrap().to_owned())
                    .collect()
            };
            assert_eq!(names(""), shown, "{mode}");
            assert_eq!(names("?prefix=a/"), ["a//b"], "{mode}");
            assert_eq!(names("?prefix=a///b"), ["a//b"], "{mode}");
            assert_eq!(names("?prefix=gid:/"), ["gid://d"], "{mode}");
            assert_eq!(names("?after=a/b"), shown[1..], "{mode}");
            assert_eq!(names("?after=b://c"), shown[2..], "{mode}");
            if mode == "memory" {
                break;
            }
            server.stop();
            server = setup.start();
            assert_eq!(server.content("a/b"), "a//b!");
        }
        // Another client recreates it with another spelling.
        server.delete("a/b").send().expect(204);
        server.text_stream("a/b", "x");
        assert_eq!(server.metric("ds_streams"), 3.0);
        let list = server
            .raw("GET", &format!("{BASE}/__ds/streams?prefix=a"))
            .send()
            .text();
        assert!(list.contains("\"a/b\"") && !list.contains("a//b"), "{list}");
    }
}

#[test]
fn the_base_path_is_as_configured() {
    let server = Setup::new().with("http.stream_base_path", "/live/events").start();
    server.raw("PUT", "/live/events/s").text("x").send().expect(201);
    server.raw("GET", "/live/events/s").send().expect(200);
    for path in ["/v1/stream/s", "/live/eventss", "/live/events", "/live"] {
        let status = server.raw("GET", path).send().status;
        assert!(status == 404 || status == 400, "{path}: {status}");
    }
}

/// Equality holds in claims, fork sources, retention rules and on the command line.
#[test]
fn merged_names_are_equal_everywhere() {
    let rules = r#"[{ streams = "gid:/app/Kept/*", max_bytes = 1000 }]"#;
    let setup = Setup::new().gated().with("retention.rules", rules);
    let server = setup.start();
    let name = "gid://app/Room/1/gid://app/User/2";
    server.text_stream(name, "hello");
    for claim in [
        name,
        "gid:/app/Room/1/gid:/app/User/2",
        "gid:///app/Room/1//gid:/app/User/2",
    ] {
        let token = server.client_token(claim, &["read"]);
        for path in [name, "gid:/app/Room/1/gid:/app/User/2"] {
            let answer = server.raw("GET", &format!("{BASE}/{path}")).token(&token).send();
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, "hello"),
                "{claim} {path}"
            );
        }
        server
            .raw("GET", &format!("{BASE}/gid://app/Room/1"))
            .token(&token)
            .send()
            .expect(403);
    }
    server
        .fork("fork", "gid:/app/Room/1/gid:/app/User/2")
        .send()
        .expect(201);
    assert_eq!(server.content("fork"), "hello");

    server.text_stream("gid://app/Kept/1", "");
    for _ in 0..10 {
        server.post("gid:/app/Kept/1").text(&"x".repeat(400)).send().expect(204);
    }
    assert!(server.content("gid://app/Kept/1").len() <= 1400);

    let url = format!("http://{}{BASE}", server.public);
    let token_file = server.dir().join("token");
    std::fs::write(&token_file, server.server_token()).unwrap();
    let told = ["--url", &url, "--token-file", token_file.to_str().unwrap()];
    let ask = |arguments: &[&str]| {
        let (code, out, error) = setup.run(&[arguments, &told].concat());
        assert_eq!(code, 0, "{out}{error}");
        out
    };
    assert!(ask(&["streams", "show", "gid:/app/Room/1/gid:/app/User/2"]).contains("text/plain"));
    assert!(ask(&["streams", "list", "gid:/app/Room"]).contains(name));
    let exported = ask(&["export", "gid:/app/Room/1/gid:/app/User/2"]);
    assert!(exported.contains("hello"), "{exported}");
    ask(&["streams", "delete", "gid:/app/Room/1//gid:/app/User/2", "--yes"]);
    server
        .raw("HEAD", &format!("{BASE}/{name}"))
        .token(&server.server_token())
        .send()
        .expect(410);
}
