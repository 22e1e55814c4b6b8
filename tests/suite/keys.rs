//! Keys that change under a running server, and live reads that end with their token.

use std::fs;

use super::support::{
    live::{Event, Sse},
    now,
    server::{BASE, Server, Setup},
    tokens::{STREAM, Signatory, client, server as server_claims, with},
    until,
};

fn start() -> (Setup, Server) {
    let setup = Setup::new().gated().with("auth.reload_secs", 1);
    let server = setup.start();
    server.put(STREAM).text("a").send().expect(201);
    (setup, server)
}

fn status(server: &Server, signatory: &Signatory) -> u16 {
    let token = signatory.token(&server_claims(now()));
    server
        .raw("HEAD", &format!("{BASE}/{STREAM}"))
        .token(&token)
        .send()
        .status
}

#[test]
fn a_rotated_key_takes_over_without_a_restart() {
    let (setup, server) = start();
    let (old, new) = (setup.signatory.clone(), Signatory::new(8));
    assert_eq!((status(&server, &old), status(&server, &new)), (200, 401));
    // Both, while the app's servers change over.
    fs::write(setup.key_file(), format!("{}{}", old.public_pem(), new.public_pem())).unwrap();
    server.log.wait_for("the new keys are in force");
    assert_eq!((status(&server, &old), status(&server, &new)), (200, 200));
    fs::write(setup.key_file(), new.public_pem()).unwrap();
    until("the old key to be out", || status(&server, &old) == 401);
    assert_eq!(status(&server, &new), 200);
}

#[test]
fn a_broken_key_file_keeps_the_old_keys_and_says_so() {
    let (setup, server) = start();
    fs::write(setup.key_file(), "-----BEGIN PUBLIC KEY-----\nAAAA\n").unwrap();
    server.log.wait_for("the old keys stay in force");
    assert_eq!(status(&server, &setup.signatory), 200);
    fs::remove_file(setup.key_file()).unwrap();
    assert_eq!(status(&server, &setup.signatory), 200);
}

#[test]
fn a_remembered_token_is_forgotten_with_its_key() {
    let (setup, server) = start();
    let token = setup.signatory.token(&server_claims(now()));
    let ask = || {
        server
            .raw("HEAD", &format!("{BASE}/{STREAM}"))
            .token(&token)
            .send()
            .status
    };
    assert_eq!((ask(), ask()), (200, 200));
    fs::write(setup.key_file(), Signatory::new(8).public_pem()).unwrap();
    server.log.wait_for("the new keys are in force");
    assert_eq!(ask(), 401);
}

#[test]
fn a_directory_of_keys_goes_by_kid() {
    let setup = Setup::new().gated();
    let keys = setup.dir.path().join("keys");
    fs::create_dir(&keys).unwrap();
    let (one, two) = (Signatory::new(1), Signatory::new(2));
    fs::write(keys.join("one.pem"), one.public_pem()).unwrap();
    fs::write(keys.join("two.pem"), two.public_pem()).unwrap();
    let server = setup.with("auth.verify_key", keys.display()).start();
    let ask = |signatory: &Signatory, kid: &str| {
        let token = signatory.token_with_kid(kid, &server_claims(now()));
        server.raw("HEAD", &format!("{BASE}/s")).token(&token).send().status
    };
    assert_eq!((ask(&one, "one"), ask(&two, "two")), (404, 404));
    assert_eq!((ask(&one, "two"), ask(&two, "nobody")), (401, 401));
}

#[test]
fn a_jwks_file_goes_by_kid() {
    let setup = Setup::new().gated();
    let file = setup.dir.path().join("jwks.json");
    let mut jwk = setup.signatory.jwk();
    jwk["kid"] = "main".into();
    fs::write(&file, serde_json::json!({"keys": [jwk]}).to_string()).unwrap();
    let server = setup.clone().with("auth.verify_key", file.display()).start();
    let token = setup.signatory.token_with_kid("main", &server_claims(now()));
    server
        .raw("HEAD", &format!("{BASE}/s"))
        .token(&token)
        .send()
        .expect(404);
    server.raw("HEAD", &format!("{BASE}/s")).send().expect(401);
}

/// A reader's token that ends soon: the leeway of 5 s holds for the start of a read only.
fn short_token(server: &Server, secs: u64) -> String {
    let claims = with(client(now(), STREAM, &["read"]), "exp", serde_json::json!(now() + secs));
    server.signatory.token(&claims)
}

#[test]
fn an_sse_read_ends_with_its_token() {
    let server = Setup::new().gated().start();
    server.put(STREAM).text("a").send().expect(201);
    let target = format!("{BASE}/{STREAM}?live=sse&offset=-1&token={}", short_token(&server, 2));
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
fn a_stream_that_never_rests_does_not_outlive_the_readers_token() {
    let server = Setup::new().gated().start();
    server.put(STREAM).text("a").send().expect(201);
    let target = format!("{BASE}/{STREAM}?live=sse&offset=-1&token={}", short_token(&server, 1));
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
    let token = short_token(&server, 2);
    let target = format!("{BASE}/{STREAM}?live=long-poll&offset={offset}&token={token}");
    let started = std::time::Instant::now();
    server.raw("GET", &target).send().expect(204);
    assert!(started.elapsed().as_secs() < 12, "went on for {:?}", started.elapsed());
}
