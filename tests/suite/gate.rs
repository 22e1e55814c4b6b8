//! The gate, over real connections.

use std::collections::BTreeSet;

use super::support::{
    http::{Answer, Request},
    now,
    server::{BASE, Server, Setup},
    shared::hostile::{Case, Expect, Table},
    tokens::{Issuer, STREAM, client, server as server_claims, with},
    until,
};

fn gated() -> Setup {
    Setup::new().gated().internal("127.0.0.1")
}

fn send(server: &Server, case: &Case, internal: bool) -> Answer {
    let to = if internal { server.internal() } else { server.public };
    let mut request = Request::new(to, case.method, &case.target);
    for (name, value) in &case.headers {
        request = request.header(name, value);
    }
    request.send()
}

fn matches_expectation(case: &Case, status: u16) -> bool {
    match case.expect {
        Expect::Passes => status != 401 && status != 403,
        Expect::BadRequest => status == 400,
        Expect::Unauthorized | Expect::WrongKind => status == 401,
        Expect::Forbidden => status == 403,
    }
}

/// Every token of the table and its signature, as they would appear in a log.
fn secrets(cases: &[Case]) -> BTreeSet<String> {
    let mut secrets = BTreeSet::new();
    for case in cases {
        let header = case
            .headers
            .iter()
            .filter(|(name, _)| name.contains("auth") || *name == "cookie");
        let header = header.map(|(_, value)| value.rsplit([' ', '=']).next().unwrap_or_default().to_owned());
        let query = case.target.split_once("token=").map(|(_, token)| token.to_owned());
        for token in header.chain(query) {
            if token.len() > 40 && token.contains('.') {
                secrets.extend(
                    token
                        .rsplit('.')
                        .next()
                        .filter(|signature| signature.len() > 40)
                        .map(str::to_owned),
                );
                secrets.insert(token);
            }
        }
    }
    secrets
}

/// Sends the whole table to a server that logs at the lowest level; no token may appear in the log.
fn send_table(format: &str, internal: bool) {
    let server = gated().logging("trace", format).start();
    let cases: Vec<Case> = Table::new(BASE, &server.issuer, now())
        .cases()
        .into_iter()
        // These pass the gate and would create or delete the stream between other cases.
        .filter(|case| !(case.expect == Expect::Passes && matches!(case.method, "PUT" | "DELETE")))
        .collect();
    assert!(cases.len() > 400, "the table has shrunk to {}", cases.len());
    let secrets = secrets(&cases);
    assert!(secrets.len() > 150, "only {} tokens found in the table", secrets.len());
    let (mut wrong, mut said) = (Vec::new(), String::new());
    for case in &cases {
        let answer = send(&server, case, internal);
        if !matches_expectation(case, answer.status) {
            wrong.push(format!(
                "{} ({} {}): {}",
                case.why, case.method, case.target, answer.status
            ));
        }
        said.push_str(&format!("{:?} {}\n", answer.headers, answer.text()));
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    let metrics = server.metrics();
    assert!(metrics.contains("ds_streams 0\n"), "data was stored:\n{metrics}");
    until("the refusals to be logged", || {
        server.log.text().matches("401").count() > 200
    });
    for (place, text) in [("log", server.log.text()), ("answers", said), ("metrics", metrics)] {
        let leaked = secrets.iter().find(|secret| text.contains(*secret));
        assert_eq!(leaked, None, "a token is in the {place}");
    }
}

#[test]
fn every_hostile_token_gets_its_status_on_the_public_listener() {
    send_table("console", false);
}

#[test]
fn every_hostile_token_gets_its_status_on_the_internal_listener() {
    send_table("json", true);
}

#[test]
fn tokens_do_what_their_permissions_say() {
    let server = gated().start();
    let path = format!("{BASE}/{STREAM}");
    let ask = |method: &str| server.raw(method, &path).token(&server.server_token());
    ask("PUT").text("a").send().expect(201);
    let writer = server.client_token(STREAM, &["write"]);
    server.raw("POST", &path).token(&writer).text("b").send().expect(204);
    let reader = server.client_token(STREAM, &["read"]);
    assert_eq!(server.raw("GET", &path).token(&reader).send().expect(200).text(), "ab");
    ask("DELETE").send().expect(204);
}

#[test]
fn a_refused_append_or_close_or_delete_changes_nothing() {
    let server = gated().start();
    let path = format!("{BASE}/{STREAM}");
    server
        .raw("PUT", &path)
        .token(&server.server_token())
        .text("a")
        .send()
        .expect(201);
    let reader = server.client_token(STREAM, &["read"]);
    let writer = server.client_token(STREAM, &["write"]);
    let other = server.client_token("other", &["read", "write"]);
    let stranger = Issuer::new(9).token(&server_claims(now()));
    for (token, status) in [(&reader, 403), (&other, 403), (&stranger, 401)] {
        server.raw("POST", &path).token(token).text("x").send().expect(status);
        server.raw("DELETE", &path).token(token).send().expect(status);
    }
    for closing in ["true", "TRUE", " true ", "true\t"] {
        let request = server
            .raw("POST", &path)
            .token(&writer)
            .header("stream-closed", closing);
        request.text("x").send().expect(403);
    }
    // A writer cannot close with two headers either.
    for (values, status) in [
        (["true", "true"], 403),
        (["false", "true"], 400),
        (["true", "false"], 400),
    ] {
        let request = server.raw("POST", &path).token(&writer).text("");
        let twice = values
            .iter()
            .fold(request, |request, value| request.header("stream-closed", value));
        twice.send().expect(status);
    }
    let answer = server.raw("GET", &path).token(&reader).send().expect(200);
    assert_eq!((answer.text().as_str(), answer.header("stream-closed")), ("a", None));
}

#[test]
fn refusals_do_not_reveal_whether_a_stream_exists() {
    let server = gated().start();
    let there = |name: &str| server.put(name).text("secret").send().expect(201);
    there("there");
    there("forked");
    server.fork("fork", "forked").send().expect(201);
    server.delete("forked").send().expect(204);
    let expired = server
        .issuer
        .token(&with(server_claims(now()), "exp", serde_json::json!(now() - 60)));
    let other = server.client_token("another", &["read", "write"]);
    let requests: [(&str, &str, Option<&str>); 4] = [
        ("nobody", "", None),
        ("expired", "", Some(&expired)),
        ("other", "", Some(&other)),
        ("live", "?live=sse", Some(&other)),
    ];
    for (who, query, token) in requests {
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
            let ask = |name: &str| {
                let request = server.raw(method, &format!("{BASE}/{name}{query}")).text("x");
                let answer = token.map_or(request.clone(), |token| request.token(token)).send();
                let mut body = answer.text();
                if method != "HEAD" {
                    let id = answer.json()["request_id"].as_str().unwrap().to_owned();
                    body = body.replace(&id, "ID");
                }
                (answer.shape(), body)
            };
            let (present, absent, gone) = (ask("there"), ask("absent"), ask("forked"));
            assert_eq!(present, absent, "{who} {method}");
            assert_eq!(present, gone, "{who} {method}");
        }
    }
}

#[test]
fn a_browser_can_read_the_reason_of_a_refusal() {
    let server = gated().with("http.cors_origins", "https://app.test").start();
    let path = format!("{BASE}/{STREAM}");
    let other = server.client_token("another", &["read"]);
    let from_app = |request: Request| request.header("origin", "https://app.test").send();
    for answer in [
        from_app(server.raw("GET", &path)).expect(401),
        from_app(server.raw("GET", &path).token("x.y.z")).expect(401),
        from_app(server.raw("GET", &path).token(&other)).expect(403),
    ] {
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.test"));
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("WWW-Authenticate"), "{exposed}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        answer.problem(answer.status);
    }
    let elsewhere = server.raw("GET", &path).header("origin", "https://evil.test").send();
    assert_eq!(elsewhere.header("access-control-allow-origin"), None);
}

#[test]
fn a_401_gives_the_reason() {
    let server = gated().start();
    let path = format!("{BASE}/{STREAM}");
    let ask = |claim: &str, value: serde_json::Value| {
        let token = server
            .issuer
            .token(&with(client(now(), STREAM, &["read"]), claim, value));
        let answer = server.raw("GET", &path).token(&token).send().expect(401);
        answer.header("www-authenticate").unwrap().to_owned()
    };
    let expired = ask("exp", (now() - 60).into());
    assert!(expired.starts_with("Bearer error=\"invalid_token\""), "{expired}");
    assert!(expired.contains("expired"), "{expired}");
    assert!(ask("iss", "other".into()).contains("iss"));
    assert!(ask("aud", "other".into()).contains("aud"));
    let nobody = server.raw("GET", &path).send().expect(401);
    assert_eq!(nobody.header("www-authenticate"), Some("Bearer"));
}

#[test]
fn preflights_need_no_token_and_allow_client_headers() {
    let server = gated().start();
    let request = server
        .raw("OPTIONS", &format!("{BASE}/{STREAM}"))
        .header("origin", "https://app.test")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization, content-type");
    let answer = request.send().expect(204);
    let allowed = |header: &str| answer.header(header).unwrap().to_ascii_lowercase();
    for name in [
        "authorization",
        "content-type",
        "producer-id",
        "stream-seq",
        "if-none-match",
    ] {
        assert!(allowed("access-control-allow-headers").contains(name), "{name}");
    }
    assert!(allowed("access-control-allow-methods").contains("delete"));
}

#[test]
fn browsers_may_remember_a_preflight_for_the_configured_time() {
    for (setup, expected) in [
        (Setup::new(), "86400"),
        (Setup::new().with("http.cors_max_age_secs", 600), "600"),
    ] {
        let server = setup.start();
        let answer = server
            .raw("OPTIONS", &format!("{BASE}/s"))
            .header("origin", "https://app.test");
        assert_eq!(
            answer.send().expect(204).header("access-control-max-age"),
            Some(expected)
        );
    }
}

#[test]
fn gated_responses_are_private() {
    let server = gated().start();
    let path = format!("{BASE}/{STREAM}");
    server
        .raw("PUT", &path)
        .token(&server.server_token())
        .text("a")
        .send()
        .expect(201);
    let reader = server.client_token(STREAM, &["read"]);
    let answer = server.raw("GET", &path).token(&reader).send().expect(200);
    assert!(
        answer.header("cache-control").unwrap().starts_with("private"),
        "{answer:?}"
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

/// Each token costs a signature check until the address is throttled.
#[test]
fn forged_tokens_are_throttled_and_valid_ones_keep_working() {
    let server = gated().with("auth.max_failures_per_minute", 20).start();
    server.put(STREAM).text("a").send().expect(201);
    let path = format!("{BASE}/{STREAM}");
    let reader = server.client_token(STREAM, &["read"]);
    let read = |token: &str| server.raw("GET", &path).token(token).send();
    read(&reader).expect(200);
    let stranger = Issuer::new(9);
    let forged = |number: u32| stranger.token_with_kid(&number.to_string(), &server_claims(now()));
    let mut statuses: Vec<u16> = (0..30).map(|number| read(&forged(number)).status).collect();
    let first = statuses.iter().position(|status| *status == 429).unwrap();
    assert!((18..=22).contains(&first), "{statuses:?}");
    assert!(statuses.drain(..first).all(|status| status == 401), "401 until then");
    let foreign = server.raw("GET", &path).header("origin", "https://app.test");
    let refused = foreign.token(&forged(99)).send();
    assert!(refused.problem(429).contains("did not verify; try again in"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(refused.header("access-control-allow-origin"), Some("*"));
    // A second candidate token counts too.
    let both = server
        .raw("GET", &format!("{path}?token={}", forged(100)))
        .token(&forged(101));
    both.send().problem(429);
    // Cached tokens and tokens from other addresses still work.
    read(&reader).expect(200);
    server
        .raw("GET", &path)
        .from([127, 0, 0, 7])
        .token(&server.client_token(STREAM, &["read"]))
        .send()
        .expect(200);
    // Peers of the internal listener are not throttled.
    for number in 0..30 {
        let inside = Request::new(server.internal(), "GET", &path).token(&forged(200 + number));
        inside.send().problem(401);
    }
}

/// Some clients retry a 403 at once and forever.
#[test]
fn a_token_refused_repeatedly_is_throttled() {
    let server = gated().with("auth.max_failures_per_minute", 20).start();
    let path = format!("{BASE}/{STREAM}");
    let writer = server.client_token("another", &["write"]);
    let post = |token: &str| server.raw("POST", &path).token(token).text("x").send();
    let statuses: Vec<u16> = (0..30).map(|_| post(&writer).status).collect();
    let first = statuses.iter().position(|status| *status == 429).unwrap();
    assert!((18..=22).contains(&first), "{statuses:?}");
    let refused = post(&writer);
    assert!(refused.problem(429).contains("refused too often") && refused.header("retry-after").is_some());
    post(&server.client_token("yet another", &["write"])).problem(403);
    server.put("another").text("x").send().expect(201);
    server
        .raw("POST", &format!("{BASE}/another"))
        .token(&writer)
        .text("x")
        .send()
        .expect(204);
}
