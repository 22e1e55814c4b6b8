//! Handlers over a store in memory, with a clock that the test moves.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::{HeaderName, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    InMemoryStorage,
    auth::AuthConfig,
    clock::Clock,
    config::Config,
    engine::Engine,
    gate::Gate,
    random::Random,
    routes,
    telemetry::Metrics,
    test_support::tokens::{AUDIENCE, ISSUER, Issuer, STREAM, client, server},
};

struct Server {
    app: App,
    clock: Clock,
    stopping: CancellationToken,
}

impl Server {
    fn start(config: &Config) -> Self {
        let clock = Clock::manual(Clock::system().millis());
        let stopping = CancellationToken::new();
        let gate = Gate::load(config.auth.as_ref(), &config.http.stream_base_path, clock.clone()).unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let store = Arc::new(InMemoryStorage::new(0));
        let engine = Engine::start(store, config.engine(), Arc::clone(&metrics), clock.clone()).unwrap();
        let settings = config.http_settings();
        let app = App::new(
            settings,
            gate,
            metrics,
            clock.clone(),
            Random::seeded(1),
            stopping.clone(),
        );
        app.ready(engine);
        Self { app, clock, stopping }
    }

    fn open() -> Self {
        Self::start(&Config::default())
    }

    async fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Response<Body> {
        self.send(method, target, headers, "").await
    }

    /// Sends a request, and checks that the response has only headers that its row declares.
    async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &'static str) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(format!("/v1/stream/{target}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).unwrap();
        let found = routes::find(
            request.method(),
            request.uri().path(),
            self.app.base(),
            request.headers(),
        );
        let response = dispatch(&self.app, request).await;
        let Ok(found) = found else { return response };
        let of_the_protocol = |name: &&HeaderName| {
            ["stream-", "producer-"]
                .iter()
                .any(|start| name.as_str().starts_with(start))
        };
        for name in response.headers().keys().filter(of_the_protocol) {
            let declared = found.route.response_headers.contains(name);
            assert!(
                declared,
                "{} sets {name}, which its row does not declare",
                found.route.name
            );
        }
        response
    }

    async fn create(&self, target: &str, headers: &[(&str, &str)]) {
        let headers = [&[("content-type", "text/plain")], headers].concat();
        let created = self.ask("PUT", target, &headers).await;
        assert_eq!(created.status(), StatusCode::CREATED);
    }
}

fn value(response: &Response<Body>, name: impl header::AsHeaderName) -> &str {
    response.headers().get(name).unwrap().to_str().unwrap()
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_live_read_ends_with_its_token() {
    let issuer = Issuer::new(1);
    let directory = tempfile::tempdir().unwrap();
    let verify_key = directory.path().join("verify_key.pem");
    std::fs::write(&verify_key, issuer.public_pem()).unwrap();
    let server_of_tokens = Server::start(&Config {
        auth: Some(AuthConfig {
            verify_key,
            issuer: vec![ISSUER.into()],
            audience: vec![AUDIENCE.into()],
            ..AuthConfig::default()
        }),
        ..Config::default()
    });
    let clock = &server_of_tokens.clock;
    let now = clock.secs();
    let bearer = |claims| format!("Bearer {}", issuer.token(&claims));
    let (app, reader) = (bearer(server(now)), bearer(client(now, STREAM, &["read"])));
    server_of_tokens.create(STREAM, &[("authorization", &app)]).await;

    // The gate still accepts the token, which has a millisecond left.
    let expires_at = now + 900 + AuthConfig::default().leeway_secs;
    clock.set_millis(expires_at * 1000 - 1);
    let read = async |mode: &str| {
        let target = format!("{STREAM}?offset=now&live={mode}");
        server_of_tokens
            .ask("GET", &target, &[("authorization", &reader)])
            .await
    };
    assert_eq!(read("long-poll").await.status(), StatusCode::NO_CONTENT);
    let events = text(read("sse").await).await;
    assert!(
        events.starts_with("retry: ") && events.ends_with("\"upToDate\":true}\n\n"),
        "{events}"
    );
}

#[tokio::test]
async fn a_shared_cache_keeps_content_no_longer_than_the_stream_lives() {
    let mut config = Config::default();
    config.http.cache = CachePolicy::Public;
    let server = Server::start(&config);
    let expires_at = crate::protocol::headers::format_timestamp(server.clock.millis() + 40_000);
    server.create("s", &[("stream-expires-at", &expires_at)]).await;
    let appended = server.send("POST", "s", &[("content-type", "text/plain")], "x").await;
    assert_eq!(appended.status(), StatusCode::NO_CONTENT);
    for (passed, left) in [(0, 40), (15, 25), (20, 5)] {
        server.clock.advance(Duration::from_secs(passed));
        let read = server.ask("GET", "s", &[]).await;
        let expected = format!("public, max-age={left}, must-revalidate");
        assert_eq!(value(&read, header::CACHE_CONTROL), expected);
    }
    server.clock.advance(Duration::from_secs(6));
    assert_eq!(server.ask("GET", "s", &[]).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_cursor_exceeds_the_clients_and_does_not_go_back_with_the_clock() {
    let server = Server::open();
    server.create("s", &[("stream-closed", "true")]).await;
    let poll = async |cursor: &str| {
        let target = format!("s?offset=-1&live=long-poll&cursor={cursor}");
        let response = server.ask("GET", &target, &[]).await;
        value(&response, "stream-cursor").parse::<u128>().unwrap()
    };
    let first = poll("0").await;
    let second = poll(&first.to_string()).await;
    assert!(second > first && second <= first + 180);
    server.clock.set_millis(server.clock.millis() - 3_600_000);
    assert!(poll(&second.to_string()).await > second);
}

#[tokio::test]
async fn a_stopping_server_tells_live_readers_when_to_return() {
    let server = Server::open();
    server.create("s", &[]).await;
    let events = server.ask("GET", "s?offset=now&live=sse", &[]).await;
    let tail = server.ask("HEAD", "s", &[]).await;
    let tail = value(&tail, "stream-next-offset").to_owned();
    server.stopping.cancel();
    let poll = server.ask("GET", "s?offset=now&live=long-poll", &[]).await;
    assert_eq!(poll.status(), StatusCode::NO_CONTENT);
    assert_eq!(value(&poll, "stream-next-offset"), tail);
    let events = text(events).await;
    let (_, retry) = events.rsplit_once("retry: ").unwrap();
    assert!((1_000..=3_000).contains(&retry.trim().parse::<u64>().unwrap()));
    assert_eq!(events.matches("retry: ").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn live_readers_of_a_stopping_server_end_one_after_another_and_get_all_events_until_then() {
    let server = Server::open();
    server.create("s", &[]).await;
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let events = server.ask("GET", "s?offset=now&live=sse", &[]).await;
        readers.spawn(async move { (text(events).await, tokio::time::Instant::now()) });
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let start = tokio::time::Instant::now();
    server.stopping.cancel();
    tokio::time::sleep(Duration::from_secs(5)).await;
    server
        .send("POST", "s", &[("content-type", "text/plain")], "late")
        .await;
    let ends: Vec<_> = readers.join_all().await;
    // 100 for each second: a thousand need ten.
    for second in 0..10 {
        let ended = |end: &tokio::time::Instant| (*end - start).as_secs() == second;
        let count = ends.iter().filter(|(_, end)| ended(end)).count();
        assert!((60..140).contains(&count), "{count} ended in second {second}");
    }
    for (events, end) in &ends {
        let late = *end - start > Duration::from_secs(5);
        assert_eq!(events.contains("data:late"), late, "{events}");
    }
}

/// Browsers see only the headers in the table; [`Server::send`] compares each response with its row.
#[tokio::test]
async fn responses_have_only_headers_that_the_route_table_declares() {
    let server = Server::open();
    let text = ("content-type", "text/plain");
    let policy = [
        ("stream-ttl", "60"),
        ("stream-retention-age", "60"),
        ("stream-retention-bytes", "9"),
    ];
    server.create("s", &policy).await;
    let producer = |epoch: &'static str, seq: &'static str| {
        [
            text,
            ("producer-id", "p"),
            ("producer-epoch", epoch),
            ("producer-seq", seq),
        ]
    };
    let closing = [text, ("stream-closed", "true")];
    for (method, target, headers, body, status) in [
        ("HEAD", "s", &[][..], "", 200),
        ("POST", "s", &producer("1", "0"), "x", 200),
        ("POST", "s", &producer("1", "5"), "x", 409),
        ("POST", "s", &producer("0", "0"), "x", 403),
        ("POST", "s", &[text, ("stream-seq", "b")], "x", 204),
        ("POST", "s", &[text, ("stream-seq", "a")], "x", 409),
        ("POST", "s", &closing, "x", 204),
        ("POST", "s", &[text], "x", 409),
        ("PUT", "f", &[("stream-forked-from", "/v1/stream/s")], "", 201),
        ("GET", "s", &[], "", 200),
        ("GET", "s?offset=-1&live=long-poll", &[], "", 200),
        ("GET", "s?offset=now&live=sse", &[], "", 200),
        ("GET", "s?offset=0000000000000001_0000000000000010", &[], "", 410),
        ("DELETE", "s", &[], "", 204),
        ("GET", "s", &[], "", 410),
    ] {
        let response = server.send(method, target, headers, body).await;
        assert_eq!(response.status().as_u16(), status, "{method} {target} {headers:?}");
    }
}

#[tokio::test]
async fn requests_are_counted_under_the_labels_of_the_route_table() {
    let server = Server::open();
    server.create("s", &[]).await;
    for (method, target, status) in [
        ("GET", "s", 200),
        ("GET", "s?offset=x&live=sse", 400),
        ("GET", "s?offset=-1&live=sse", 200),
        ("HEAD", "s", 200),
        ("POST", "s", 400),
        ("GET", "__ds/streams", 200),
        ("GET", "__ds/x", 404),
        ("PATCH", "s", 405),
        ("OPTIONS", "s", 204),
        ("DELETE", "s", 204),
    ] {
        let response = server.ask(method, target, &[]).await;
        assert_eq!(response.status().as_u16(), status, "{method} {target}");
    }
    let metrics = text(dispatch(&server.app, Request::get("/metrics").body(Body::empty()).unwrap()).await).await;
    for (operation, status) in [
        ("create", 201),
        ("read", 200),
        ("read", 400),
        ("sse", 200),
        ("metadata", 200),
        ("append", 400),
        ("list", 200),
        ("none", 404),
        ("none", 405),
        ("preflight", 204),
        ("delete", 204),
    ] {
        let line = format!("ds_requests_total{{operation=\"{operation}\",status=\"{status}\"}} 1\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}
