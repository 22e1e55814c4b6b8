//! Key rotation on a running server, and live reads that end with their token.

use std::fs;

use super::support::{
    live::{Event, Sse},
    now,
    server::{BASE, Server, Setup},
    tokens::{Issuer, STREAM, client, server as server_claims, with},
    until,
};

fn start() -> (Setup, Server) {
    let setup = Setup::new().gated().with("auth.reload_secs", 1);
    let server = setup.start();
    server.put(STREAM).text("a").send().expect(201);
    (setup, server)
}

fn status(server: &Server, issuer: &Issuer) -> u16 {
    let token = issuer.token(&server_claims(now()));
    server
        .raw("HEAD", &format!("{BASE}/{STREAM}"))
        .token(&token)
        .send()
        .status
}

#[test]
fn a_rotated_key_works_without_a_restart() {
    let (setup, server) = start();
    let (old, new) = (setup.issuer.clone(), Issuer::new(8));
    assert_eq!((status(&server, &old), status(&server, &new)), (200, 401));
    // Both keys are valid during the rotation.
    fs::write(setup.key_file(), format!("{}{}", old.public_pem(), new.public_pem())).unwrap();
    server.log.wait_for("the new keys are in force");
    assert_eq!((status(&server, &old), status(&server, &new)), (200, 200));
    fs::write(setup.key_file(), new.public_pem()).unwrap();
    until("the old key to be withdrawn", || status(&server, &old) == 401);
    assert_eq!(status(&server, &new), 200);
}

#[test]
fn a_broken_key_file_keeps_the_old_keys_and_logs_a_warning() {
    let (setup, server) = start();
    fs::write(setup.key_file(), "-----BEGIN PUBLIC KEY-----\nAAAA\n").unwrap();
    server.log.wait_for("the old keys stay in force");
    assert_eq!(status(&server, &setup.issuer), 200);
    fs::remove_file(setup.key_file()).unwrap();
    assert_eq!(status(&server, &setup.issuer), 200);
}

#[test]
fn cached_tokens_are_dropped_with_their_key() {
    let (setup, server) = start();
    let token = setup.issuer.token(&server_claims(now()));
    let ask = || {
        server
            .raw("HEAD", &format!("{BASE}/{STREAM}"))
            .token(&token)
            .send()
            .status
    };
    assert_eq!((ask(), ask()), (200, 200));
    fs::write(setup.key_file(), Issuer::new(8).public_pem()).unwrap();
    server.log.wait_for("the new keys are in force");
    assert_eq!(ask(), 401);
}

#[test]
fn a_directory_of_keys_is_selected_from_by_kid() {
    let setup = Setup::new().gated();
    let keys = setup.dir.path().join("keys");
    fs::create_dir(&keys).unwrap();
    let (one, two) = (Issuer::new(1), Issuer::new(2));
    fs::write(keys.join("one.pem"), one.public_pem()).unwrap();
    fs::write(keys.join("two.pem"), two.public_pem()).unwrap();
    let server = setup.with("auth.verify_key", keys.display()).start();
    let ask = |issuer: &Issuer, kid: &str| {
        let token = issuer.token_with_kid(kid, &server_claims(now()));
        server.raw("HEAD", &format!("{BASE}/s")).token(&token).send().status
    };
    assert_eq!((ask(&one, "one"), ask(&two, "two")), (404, 404));
    assert_eq!((ask(&one, "two"), ask(&two, "nobody")), (401, 401));
}

#[test]
fn a_jwks_file_is_selected_from_by_kid() {
    let setup = Setup::new().gated();
    let file = setup.dir.path().join("jwks.json");
    let mut jwk = setup.issuer.jwk();
    jwk["kid"] = "main".into();
    fs::write(&file, serde_json::json!({"keys": [jwk]}).to_string()).unwrap();
    let server = setup.clone().with("auth.verify_key", file.display()).start();
    let token = setup.issuer.token_with_kid("main", &server_claims(now()));
    server
        .raw("HEAD", &format!("{BASE}/s"))
        .token(&token)
        .send()
        .expect(404);
    server.raw("HEAD", &format!("{BASE}/s")).send().expect(401);
}

/// A short-lived token. The leeway of 5 s applies only to the start of a read.
fn short_lived_token(server: &Server, secs: u64) -> String {
    let claims = with(client(now(), STREAM, &["read"]), "exp", serde_json::json!(now() + secs));
    server.issuer.token(&claims)
}

#[test]
fn an_sse_read_ends_with_its_token() {
    let server = Setup::new().gated().start();
    server.put(STREAM).text("a").send().expect(201);
    let target = format!(
        "{BASE}/{STREAM}?live=sse&offset=-1&token={}",
        short_lived_token(&server, 2)
    );
    let mut sse = Sse::open(&server.raw("GET", &target));
    assert_eq!(sse.data(), "a");
    let started = std::time::Instant::now();
    let rest = sse.remainder();
    assert!(started.elapsed().as_secs() < 12, "went on for {:?}", started.elapsed());
    assert!(!rest.iter().any(|event| matches!(event, Event::Data(_))), "{rest:?}");
    until("the reader to be gone", || {
        let metrics = server.raw("GET", "/metrics").token(&server.server_token()).send();
        metrics.text().contains("ds_live_readers{mode=\"sse\"} 0")
    });
}

#[test]
fn a_read_of_a_busy_stream_ends_with_its_token() {
    let server = Setup::new().gated().start();
    server.put(STREAM).text("a").send().expect(201);
    let target = format!(
        "{BASE}/{STREAM}?live=sse&offset=-1&token={}",
        short_lived_token(&server, 1)
    );
    let mut sse = Sse::open(&server.raw("GET", &target));
    let writing = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while writing.load(std::sync::atomic::Ordering::Relaxed) {
                server.post(STREAM).text("b").send();
            }
        });
        sse.remainder();
        writing.store(false, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_long_poll_ends_with_its_token() {
    let server = Setup::new().gated().start();
    let offset = server.put(STREAM).text("a").send().expect(201).next_offset();
    let token = short_lived_token(&server, 2);
    let target = format!("{BASE}/{STREAM}?live=long-poll&offset={offset}&token={token}");
    let started = std::time::Instant::now();
    server.raw("GET", &target).send().expect(204);
    assert!(started.elapsed().as_secs() < 12, "went on for {:?}", started.elapsed());
}

fn with_directory(kids: &[(&str, u8)]) -> (Setup, std::path::PathBuf) {
    let setup = Setup::new().gated().with("auth.reload_secs", 1);
    let keys = setup.dir.path().join("keys");
    fs::create_dir(&keys).unwrap();
    for (kid, seed) in kids {
        fs::write(keys.join(format!("{kid}.pem")), Issuer::new(*seed).public_pem()).unwrap();
    }
    let setup = setup.with("auth.verify_key", keys.display());
    (setup, keys)
}

#[test]
fn a_withdrawn_key_ends_the_live_reads_that_were_opened_with_it() {
    let (setup, keys) = with_directory(&[("one", 1), ("two", 2)]);
    let server = setup.start();
    let (one, two) = (Issuer::new(1), Issuer::new(2));
    let path = format!("{BASE}/{STREAM}");
    let admin = one.token_with_kid("one", &server_claims(now()));
    let put = server.raw("PUT", &path).token(&admin).text("a").send().expect(201);
    let reader = |issuer: &Issuer, kid: &str| issuer.token_with_kid(kid, &client(now(), STREAM, &["read"]));
    let open = |token: &str| {
        let mut sse = Sse::open(&server.raw("GET", &format!("{path}?live=sse&offset=-1&token={token}")));
        assert_eq!(sse.data(), "a");
        sse
    };
    let (mut old, mut kept) = (open(&reader(&two, "two")), open(&reader(&one, "one")));
    let target = format!("{path}?live=long-poll&offset={}", put.next_offset());
    let long_poll = server.raw("GET", &target).token(&reader(&two, "two"));
    std::thread::scope(|scope| {
        let polled = scope.spawn(|| long_poll.send());
        fs::remove_file(keys.join("two.pem")).unwrap();
        let started = std::time::Instant::now();
        let rest = old.remainder();
        assert!(!rest.iter().any(|event| matches!(event, Event::Data(_))), "{rest:?}");
        // A poll that started after the change is refused.
        assert!(matches!(polled.join().unwrap().status, 204 | 401));
        assert!(started.elapsed().as_secs() < 12, "after {:?}", started.elapsed());
    });
    server.raw("POST", &path).token(&admin).text("b").send().expect(204);
    assert_eq!(kept.data(), "b");
    server.raw("GET", &path).token(&reader(&two, "two")).send().problem(401);
}

#[test]
fn an_empty_key_directory_refuses_every_token_and_reports_not_ready() {
    let (setup, keys) = with_directory(&[("one", 1)]);
    let server = setup.start();
    let token = Issuer::new(1).token_with_kid("one", &server_claims(now()));
    let ask = || server.raw("HEAD", &format!("{BASE}/s")).token(&token).send();
    ask().expect(404);
    fs::remove_file(keys.join("one.pem")).unwrap();
    server.log.wait_for("every token is refused until a key is added");
    let refused = server.raw("GET", &format!("{BASE}/s")).token(&token).send();
    assert!(
        refused
            .problem(401)
            .contains("the server has no key to verify tokens with")
    );
    let ready = server.raw("GET", "/readyz").send();
    assert!(ready.problem(503).contains("auth.verify_key holds no key"));
    server.raw("GET", "/up").send().expect(200);
    fs::write(keys.join("one.pem"), Issuer::new(1).public_pem()).unwrap();
    until("the key to be reloaded", || ask().status == 404);
    server.raw("GET", "/readyz").send().expect(200);
}

#[test]
fn unusable_keys_are_skipped_with_a_warning_and_reported_by_check() {
    let (setup, keys) = with_directory(&[("one", 1)]);
    let private = Issuer::new(3).private_pem();
    fs::write(keys.join("private.pem"), &private).unwrap();
    fs::write(keys.join("broken.pem"), "broken").unwrap();
    let (code, out, _) = setup.run(&["check"]);
    assert_eq!(code, 0, "{out}");
    assert!(
        out.contains("broken.pem") && out.contains("this is a private key"),
        "{out}"
    );
    let server = setup.start();
    server.log.wait_for("private.pem: this is a private key");
    server.log.wait_for("broken.pem: this is neither PEM");
    let secret = private.lines().nth(1).unwrap();
    assert!(!out.contains(secret) && !server.log.text().contains(secret));

    let file = setup.dir.path().join("jwks.json");
    let members = serde_json::json!({"keys": [Issuer::new(1).jwk(), {"kid": "x"}]});
    fs::write(&file, members.to_string()).unwrap();
    let setup = setup.clone().with("auth.verify_key", file.display());
    let (code, out, _) = setup.run(&["check"]);
    assert!(code == 0 && out.contains("key 2 (kid \"x\") is left out"), "{out}");
    setup.start().log.wait_for("key 2 (kid \"x\") is left out");
}
