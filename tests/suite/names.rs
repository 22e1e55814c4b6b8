//! Which paths are stream names, and which are the same one.

use super::support::server::{BASE, Setup};

#[test]
fn different_spellings_of_a_name_are_one_stream() {
    let server = Setup::new().start();
    let groups: [(&str, &[&str]); 5] = [
        (
            "gid://app/Room/1",
            &[
                "gid:%2F%2Fapp%2FRoom%2F1",
                "gid:/app/Room/1",
                "%67id:/app/Room/1",
                "gid:%2fapp/Room/1",
            ],
        ),
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
    assert_eq!(server.metric("ds_streams"), 5.0);
}

#[test]
fn names_that_look_alike_are_different_streams() {
    let server = Setup::new().start();
    let names = [
        "a", "A", "a/", "/a", "//a", "a//", "a/b", "a//b", "a%252Fb", "gid://x", "gid:///x", "GID:/x", "x/gid:/x",
        "gid:", "a.", "...", ".a", "a;b", "a%5Cb", "e%CC%81", "%C3%A9", "up", "metrics", "__dsx", "x/__ds", "~", "*",
    ];
    for name in names {
        server.text_stream(name, name);
    }
    for name in names {
        assert_eq!(server.content(name), name);
    }
}

#[test]
fn what_is_no_name_is_a_problem_for_every_method() {
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
    for name in ["__ds", "__ds/", "__ds/x", "__ds/subscriptions/x/y"] {
        let answer = server.put(name).text("x").send();
        assert!((400..500).contains(&answer.status), "{name}: {}", answer.status);
        answer.problem(answer.status);
    }
    assert_eq!(server.metric("ds_streams"), 0.0);
}

#[test]
fn a_name_has_1024_bytes_at_most_however_it_is_written() {
    let server = Setup::new().start();
    for (byte, count) in [("a", 1024), ("%61", 1024), ("%C3%BC", 512)] {
        let longest = byte.repeat(count);
        let answer = server.put(&longest).text("x").send();
        assert!(matches!(answer.status, 200 | 201), "{byte}: {}", answer.text());
        assert_eq!(server.content(&longest), "x");
        let longer = format!("{longest}a");
        assert!(server.put(&longer).text("x").send().problem(400).contains("1024"));
    }
    // The slash that is put back counts.
    let repaired = format!("gid:/{}", "a".repeat(1019));
    server.put(&repaired).text("x").send().problem(400);
}

#[test]
fn the_location_of_a_new_stream_is_its_url() {
    let server = Setup::new().start();
    let answer = server.put("gid:%2F%2Fapp/1").text("x").send().expect(201);
    assert_eq!(
        answer.header("location"),
        Some(format!("http://streams.test{BASE}/gid:%2F%2Fapp/1").as_str())
    );
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
