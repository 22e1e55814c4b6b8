//! Which responses caches may store, and for how long.

use super::support::{
    http::Request,
    now,
    server::{BASE, Server, Setup},
    tokens::{client, with},
};

fn cache_control(request: &Request) -> String {
    request.send().expect(200).header("cache-control").unwrap().to_owned()
}

fn stream(server: &Server, name: &str, header: Option<(&str, &str)>) {
    let mut create = server.put(name).text("abc");
    if let Some((name, value)) = header {
        create = create.header(name, value);
    }
    create.send().expect(201);
}

#[test]
fn content_is_revalidated_by_default() {
    for (policy, expected) in [(None, "public, no-cache"), (Some("private"), "private, no-cache")] {
        let mut setup = Setup::new();
        if let Some(policy) = policy {
            setup = setup.with("http.cache", policy);
        }
        let server = setup.start();
        stream(&server, "s", None);
        for target in ["s", "s?live=long-poll&offset=-1"] {
            assert_eq!(cache_control(&server.get(target)), expected, "{target}");
        }
        // A recreated stream invalidates cached responses.
        let tag = server.get("s").send().header("etag").unwrap().to_owned();
        server.delete("s").send().expect(204);
        let ask = || server.get("s").header("if-none-match", &tag).send();
        ask().problem(404);
        stream(&server, "s", None);
        ask().expect(200);
    }
}

#[test]
fn public_max_age_never_outlives_the_stream() {
    let server = Setup::new().with("http.cache", "public").start();
    let in_secs = |secs: u64| {
        let at = now() + secs;
        let (hours, minutes, seconds) = (at / 3600 % 24, at / 60 % 60, at % 60);
        let output = std::process::Command::new("date")
            .args(["-u", "-d", &format!("@{at}"), "+%Y-%m-%d"])
            .output()
            .unwrap();
        let day = String::from_utf8(output.stdout).unwrap();
        format!("{}T{hours:02}:{minutes:02}:{seconds:02}Z", day.trim())
    };
    stream(&server, "for-ever", None);
    stream(&server, "short", Some(("stream-ttl", "2")));
    stream(&server, "minute", Some(("stream-ttl", "60")));
    stream(&server, "minutes", Some(("stream-ttl", "100")));
    stream(&server, "day", Some(("stream-ttl", "86400")));
    stream(&server, "until", Some(("stream-expires-at", &in_secs(30))));
    for (name, expected) in [
        ("for-ever", "public, max-age=60, stale-while-revalidate=300"),
        ("short", "public, max-age=2, must-revalidate"),
        ("minute", "public, max-age=60, must-revalidate"),
        ("minutes", "public, max-age=60, stale-while-revalidate=40"),
        ("day", "public, max-age=60, stale-while-revalidate=300"),
    ] {
        for target in [name.to_owned(), format!("{name}?live=long-poll&offset=-1")] {
            assert_eq!(cache_control(&server.get(&target)), expected, "{target}");
        }
    }
    let until = cache_control(&server.get("until"));
    let max_age = until.strip_prefix("public, max-age=").unwrap();
    let max_age: u64 = max_age.strip_suffix(", must-revalidate").unwrap().parse().unwrap();
    assert!((20..30).contains(&max_age), "{until}");
}

#[test]
fn shared_caches_may_store_responses_to_signed_urls_only() {
    let server = Setup::new().gated().with("http.cache", "public").start();
    stream(&server, "s", None);
    let token = |secs: u64| {
        let claims = with(client(now(), "s", &["read"]), "exp", serde_json::json!(now() + secs));
        server.issuer.token(&claims)
    };
    let path = format!("{BASE}/s");
    let signed = |secs: u64| server.raw("GET", &format!("{path}?token={}", token(secs)));
    assert_eq!(
        cache_control(&signed(3600)),
        "public, max-age=60, stale-while-revalidate=300"
    );
    assert_eq!(cache_control(&server.get("s")), "private, no-cache");
    assert_eq!(
        cache_control(&server.raw("GET", &path).token(&token(3600))),
        "private, no-cache"
    );
    // A cache cannot tell which of the two tokens was used.
    assert_eq!(cache_control(&signed(3600).token(&token(3600))), "private, no-cache");
    let short = cache_control(&signed(20));
    let max_age = short.strip_prefix("public, max-age=").unwrap();
    let max_age: u64 = max_age.strip_suffix(", must-revalidate").unwrap().parse().unwrap();
    assert!(max_age <= 25, "{short}: a token of 20 s and 5 s of leeway");
    let private = Setup::new().gated().start();
    stream(&private, "s", None);
    let token = private.client_token("s", &["read"]);
    assert_eq!(
        cache_control(&private.raw("GET", &format!("{path}?token={token}"))),
        "private, no-cache"
    );
}

#[test]
fn mutable_responses_are_no_store() {
    let server = Setup::new().with("http.cache", "public").start();
    stream(&server, "s", None);
    let tail = server.head("s").send().expect(200).next_offset();
    assert_eq!(cache_control(&server.head("s")), "no-store");
    assert_eq!(cache_control(&server.get("s?offset=now")), "no-store");
    assert_eq!(
        cache_control(&server.get(&format!("s?offset={tail}"))),
        "public, no-cache"
    );
    let live = server.sse("s", &tail).answer;
    assert_eq!(live.header("cache-control"), Some("no-cache, no-transform"));
}

#[test]
fn every_if_none_match_line_is_checked() {
    let server = Setup::new().start();
    stream(&server, "s", None);
    for target in ["s", "s?live=long-poll&offset=-1"] {
        let tag = server.get(target).send().expect(200).header("etag").unwrap().to_owned();
        let again = |first: &str, second: &str| {
            let request = server.get(target).header("if-none-match", first);
            request.header("if-none-match", second).send()
        };
        again("\"other\"", &tag).expect(304);
        again(&tag, "\"other\"").expect(304);
        again("\"other\"", "W/\"another\"").expect(200);
    }
}
