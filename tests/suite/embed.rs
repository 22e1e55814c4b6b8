//! `examples/embed.rs`, served on a real socket.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use durable_streams_server::{Config, ConfigLoadOptions};
use tokio::sync::oneshot;

use super::support::{
    http::Request,
    live::Sse,
    now,
    shared::postgres::Postgres,
    tokens::{AUDIENCE, ISSUER, Issuer, STREAM, client, server},
};

// The example's `main` is unused.
#[allow(dead_code)]
#[path = "../../examples/embed.rs"]
mod example;

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

fn start(base_dir: &Path, variables: &[(&str, &str)]) -> Running {
    let variables: BTreeMap<_, _> = variables
        .iter()
        .map(|&(name, value)| (name.into(), value.into()))
        .collect();
    let options = ConfigLoadOptions {
        base_dir: base_dir.into(),
        variables: Some(variables),
        ..ConfigLoadOptions::default()
    };
    let config = Config::load(&options).unwrap().config;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let served = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let stop = async { stopped.await.unwrap() };
            example::serve(listener, &config, stop).await
        });
        served.unwrap();
    });
    Running { address, stop, thread }
}

impl Running {
    fn ask(&self, method: &str, target: &str) -> Request {
        Request::new(self.address, method, target)
    }

    fn stop(self) {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

#[test]
fn the_applications_routes_and_the_streams_are_served_together() {
    let dir = tempfile::tempdir().unwrap();
    let app = start(dir.path(), &[]);
    assert_eq!(app.ask("GET", "/rooms/7").send().expect(200).text(), "room 7");
    app.ask("GET", "/elsewhere").send().expect(404);
    let answer = app.ask("PUT", "/v1/stream/a").text("hello").send().expect(201);
    assert_eq!(answer.header("location"), Some("/v1/stream/a"));
    assert_eq!(app.ask("GET", "/v1/stream/a").send().expect(200).text(), "hello");
    app.ask("GET", "/readyz").send().expect(200);

    // Shutdown ends live reads instead of waiting for them.
    let mut sse = Sse::open(&app.ask("GET", "/v1/stream/a?offset=-1&live=sse"));
    assert_eq!(sse.data(), "hello");
    app.ask("POST", "/v1/stream/a").text(" again").send().expect(204);
    assert_eq!(sse.data(), " again");
    app.stop();
    sse.remainder();
}

#[test]
fn embedding_applies_auth_storage_and_proxy_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let (issuer, key) = (Issuer::new(7), dir.path().join("key.pem"));
    std::fs::write(&key, issuer.public_pem()).unwrap();
    let (key, data) = (key.display().to_string(), dir.path().join("data").display().to_string());
    let variables = [
        ("DS_AUTH__VERIFY_KEY", key.as_str()),
        ("DS_AUTH__ISSUER", ISSUER),
        ("DS_AUTH__AUDIENCE", AUDIENCE),
        ("DS_STORAGE__MODE", "acid"),
        ("DS_STORAGE__DATA_DIR", data.as_str()),
        ("DS_PROXY__ENABLED", "true"),
        ("DS_PROXY__FORWARDED_HEADERS", "x-forwarded"),
        ("DS_PROXY__TRUSTED_PROXIES", "127.0.0.2"),
    ];
    let path = format!("/v1/stream/{STREAM}");
    let reader = issuer.token(&client(now(), STREAM, &["read"]));

    let app = start(dir.path(), &variables);
    app.ask("PUT", &path).text("kept").send().problem(401);
    let put = |name: &str, from: [u8; 4]| {
        let created = app.ask("PUT", name).from(from).header("x-forwarded-host", "front.test");
        let created = created
            .token(&issuer.token(&server(now())))
            .text("kept")
            .send()
            .expect(201);
        created.header("location").unwrap().to_owned()
    };
    assert!(put(&path, [127, 0, 0, 2]).starts_with("http://front.test/v1/stream/"));
    assert_eq!(put("/v1/stream/b", [127, 0, 0, 3]), "/v1/stream/b");
    // The gate does not cover the application's own routes.
    assert_eq!(app.ask("GET", "/rooms/7").send().expect(200).text(), "room 7");
    app.stop();

    let app = start(dir.path(), &variables);
    let url = format!("{path}?token={reader}");
    assert_eq!(app.ask("GET", &url).send().expect(200).text(), "kept");
    app.stop();
}

#[test]
fn applications_share_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let database = Postgres::shared().database();
    let url = database.url();
    let variables = [("DS_STORAGE__MODE", "postgres"), ("DS_STORAGE__URL", url.as_str())];
    let (one, other) = (start(dir.path(), &variables), start(dir.path(), &variables));
    one.ask("PUT", "/v1/stream/a").text("hello").send().expect(201);
    assert_eq!(other.ask("GET", "/v1/stream/a").send().expect(200).text(), "hello");
    let mut sse = Sse::open(&other.ask("GET", "/v1/stream/a?offset=-1&live=sse"));
    assert_eq!(sse.data(), "hello");
    one.ask("POST", "/v1/stream/a").text(" again").send().expect(204);
    assert_eq!(sse.data(), " again");
    one.stop();
    other.stop();
}
