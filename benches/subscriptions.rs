//! The cost of subscriptions: a webhook delivery, and appends and memory beside many of them.
//!
//! `cargo bench --bench subscriptions` starts the server on each backend, with a receiver on this
//! machine, and prints two tables for a note:
//!
//! - Deliveries per second and the server's CPU for each. A delivery includes the append that causes
//!   it; `CPU of append` is the same append without a subscription.
//! - The server's CPU for an append that concerns no subscription, without any and beside many, and the
//!   memory of each of those. Each is linked to ten streams by its pattern.
//!
//! `DS_BENCH_SECONDS` is the time of each measurement (5), `DS_BENCH_SUBSCRIPTIONS` how many are many
//! (10000).
//!
//! To count the instructions of an append, run the binary with the number of subscriptions that do
//! not match and a number of appends under `valgrind --tool=callgrind`, with two different numbers of
//! appends, and divide the difference:
//!
//!     valgrind --tool=callgrind target/release/deps/subscriptions-... 10000 2000

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::State, routing::post};
use bytes::Bytes;
use durable_streams_server::{Config, ConfigLoadOptions, InMemoryStorage, build_router};
use futures_util::StreamExt as _;
use http::{Request, StatusCode};
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinSet};
use tower::ServiceExt as _;

const BIN: &str = env!("CARGO_BIN_EXE_durable-streams-server");
const STREAMS: usize = 32;
/// Streams that the pattern of each of many subscriptions links.
const LINKED: usize = 10;
const WARM_UP: Duration = Duration::from_secs(1);
const BACKENDS: [&str; 4] = ["memory", "file-fast", "file-durable", "acid"];

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|one| !one.starts_with('-')).collect();
    match arguments.as_slice() {
        [others, appends] => append_beside(others.parse().unwrap(), appends.parse().unwrap()).await,
        _ => {
            deliveries().await;
            beside_many().await;
        }
    }
}

async fn deliveries() {
    println!("| backend | deliveries/s | CPU of delivery | CPU of append |\n|---|---|---|---|");
    for mode in BACKENDS {
        let delivered = measure(&Server::start(mode), true).await;
        let appended = measure(&Server::start(mode), false).await;
        println!(
            "| {mode} | {:.0} | {:.1} µs | {:.1} µs |",
            delivered.count as f64 / time().as_secs_f64(),
            delivered.micros(),
            appended.micros(),
        );
    }
}

async fn beside_many() {
    let many = amount("DS_BENCH_SUBSCRIPTIONS", 10_000);
    println!(
        "\n| backend | CPU of append, no subscription | beside {many} | memory of a subscription with {LINKED} streams |"
    );
    println!("|---|---|---|---|");
    for mode in BACKENDS {
        let server = Server::start(mode);
        let client = reqwest::Client::new();
        let put = |path: String, body: String| {
            let request = client.put(server.url(&path)).header("content-type", "application/json");
            async move {
                request
                    .body(body)
                    .send()
                    .await
                    .unwrap()
                    .error_for_status()
                    .map(drop)
                    .unwrap()
            }
        };
        let streams = (0..many).flat_map(|number| (0..LINKED).map(move |stream| format!("other/{number}/{stream}")));
        each(streams.map(|path| put(path, String::new()))).await;
        let alone = measure(&server, false).await;
        let before = server.memory();
        let subscriptions = (0..many).map(|number| {
            let definition = format!(r#"{{"type":"pull-wake","wake_stream":"wake","pattern":"other/{number}/*"}}"#);
            put(format!("__ds/subscriptions/s{number}"), definition)
        });
        each(subscriptions).await;
        let memory = server.memory().saturating_sub(before) / many.max(1);
        let beside = measure(&server, false).await;
        println!(
            "| {mode} | {:.1} µs | {:.1} µs | {:.1} KiB |",
            alone.micros(),
            beside.micros(),
            memory as f64 / 1024.0,
        );
    }
}

/// Sends requests, 32 at a time.
async fn each<F: Future<Output = ()>>(requests: impl Iterator<Item = F>) {
    futures_util::stream::iter(requests)
        .buffer_unordered(32)
        .for_each(|()| std::future::ready(()))
        .await;
}

fn amount(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}

/// The time of one measurement.
fn time() -> Duration {
    Duration::from_secs(amount("DS_BENCH_SECONDS", 5) as u64)
}

/// Appends to a stream that none of `others` subscriptions concerns.
async fn append_beside(others: usize, appends: usize) {
    let config = Config::load(&ConfigLoadOptions::default()).unwrap().config;
    let router = build_router(Arc::new(InMemoryStorage::new(0)), &config).unwrap();
    let send = |method: &str, path: &str, content_type: &str, body: String| {
        let request = Request::builder().method(method).uri(format!("/v1/stream/{path}"));
        let request = request.header("host", "localhost").header("content-type", content_type);
        router.clone().oneshot(request.body(Body::from(body)).unwrap())
    };
    for number in 0..others {
        let definition = format!(r#"{{"type":"pull-wake","wake_stream":"wake","pattern":"other/{number}/*"}}"#);
        let path = format!("__ds/subscriptions/s{number}");
        let response = send("PUT", &path, "application/json", definition).await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
    }
    let response = send("PUT", "gid://app/Room/1/messages", "text/plain", String::new())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    for _ in 0..appends {
        let body = "x".repeat(256);
        let response = send("POST", "gid://app/Room/1/messages", "text/plain", body)
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
    }
}

struct Measured {
    count: u64,
    cpu: Duration,
}

impl Measured {
    /// The CPU of each.
    fn micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.count as f64
    }
}

/// A closed loop: each stream has one append, and with `delivered` its delivery, at a time.
async fn measure(server: &Server, delivered: bool) -> Measured {
    let (sender, mut arrived) = mpsc::unbounded_channel();
    let receiver = receiver(sender).await;
    let client = reqwest::Client::new();
    for stream in 0..STREAMS {
        client
            .put(server.url(&format!("s/{stream}")))
            .header("content-type", "text/plain")
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap();
        if delivered {
            let definition = format!(
                r#"{{"type":"webhook","streams":["s/{stream}"],"webhook":{{"url":"http://{receiver}/{stream}"}}}}"#
            );
            let url = server.url(&format!("__ds/subscriptions/{stream}"));
            let request = client
                .put(url)
                .header("content-type", "application/json")
                .body(definition);
            request.send().await.unwrap().error_for_status().unwrap();
        }
    }
    let append = |stream: usize| {
        let request = client.post(server.url(&format!("s/{stream}")));
        let request = request.header("content-type", "text/plain").body("x".repeat(256));
        async move { request.send().await.unwrap().error_for_status().map(drop).unwrap() }
    };
    for stream in 0..STREAMS {
        append(stream).await;
    }
    let (mut count, mut begun) = (0, None);
    let start = Instant::now();
    let (turns, mut turn) = mpsc::unbounded_channel();
    // Ended with the measurement, before the server.
    let mut appending = JoinSet::new();
    (0..STREAMS).for_each(|stream| turns.send(stream).unwrap());
    loop {
        let stream = match delivered {
            true => arrived.recv().await.unwrap(),
            false => turn.recv().await.unwrap(),
        };
        let (append, turns) = (append(stream), turns.clone());
        appending.spawn(async move {
            append.await;
            let _ = turns.send(stream);
        });
        while appending.try_join_next().is_some() {}
        let elapsed = start.elapsed();
        if elapsed >= WARM_UP {
            let (_, cpu) = begun.get_or_insert_with(|| (count, server.cpu()));
            if elapsed >= WARM_UP + time() {
                let cpu = server.cpu() - *cpu;
                let before = begun.map_or(0, |(before, _)| before);
                return Measured {
                    count: count - before,
                    cpu,
                };
            }
        }
        count += 1;
    }
}

/// A receiver that is done at once, and tells which stream was delivered.
async fn receiver(arrived: mpsc::UnboundedSender<usize>) -> SocketAddr {
    async fn done(State(arrived): State<mpsc::UnboundedSender<usize>>, body: Bytes) -> &'static str {
        let delivery: Value = serde_json::from_slice(&body).unwrap();
        let stream = delivery
            .get("subscription_id")
            .and_then(Value::as_str)
            .unwrap()
            .parse()
            .unwrap();
        let _ = arrived.send(stream);
        r#"{"done":true}"#
    }
    let app = Router::new().route("/{stream}", post(done)).with_state(arrived);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// The server as a process of its own, killed on drop.
struct Server {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start(mode: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut child = Command::new(BIN)
            .current_dir(&directory)
            .env_clear()
            .env("DS_SERVER__BIND_ADDRESS", address.to_string())
            .env("DS_STORAGE__MODE", mode)
            .env("DS_STORAGE__DATA_DIR", directory.path().join("data"))
            .env("DS_LIMITS__MAX_STREAM_BYTES", "0")
            .env("DS_LIMITS__MAX_MEMORY_BYTES", "0")
            .env("DS_WEBHOOKS__ALLOW_LOCAL_HTTP", "true")
            .env("DS_WEBHOOKS__MAX_IN_FLIGHT_PER_TARGET", "32")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("serving") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the server did not start");
        }
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let _ = writeln!(std::io::stderr(), "{line}");
            }
        });
        Self {
            child,
            address,
            _directory: directory,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/v1/stream/{path}", self.address)
    }

    /// Resident memory, in bytes.
    fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
    }

    /// User and system time of all threads.
    fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).unwrap().parse::<u64>().unwrap();
        // Fields 14 and 15, in hundredths of a second.
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
