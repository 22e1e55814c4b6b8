//! Live responses, which are written without hyper, look the same on the wire.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::any;
use futures_util::StreamExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{
    certs::{Files, run},
    support::{TIMEOUT, bind, connect_http1, read_all, read_until, short_write_timeout, until},
};
use crate::{
    clock::Clock,
    engine::LimitsConfig,
    listener::{ConnectionConfig, TransportMode},
    listener::{Server, shutdown::Drained},
};

const SSE: [(&str, &str); 2] = [("content-type", "text/event-stream"), ("x-other", "kept")];

/// `/three`: three events. `/broken`: one event, then an error. `/until-stop`: one event, and the end
/// when the server stops. `/flood`: 10 MB of events.
fn app(stop: CancellationToken) -> Router {
    let event = |n: usize| Ok::<_, std::io::Error>(Bytes::from(format!("data: {n}\n\n")));
    Router::new()
        .route(
            "/three",
            any(move || async move { (SSE, Body::from_stream(futures_util::stream::iter((1..=3).map(event)))) }),
        )
        .route(
            "/broken",
            any(move || async move {
                let broken = futures_util::stream::iter([event(1), Err(std::io::Error::other("x"))]);
                (SSE, Body::from_stream(broken))
            }),
        )
        .route(
            "/flood",
            any(|| async {
                let block = Bytes::from(vec![b'x'; 100_000]);
                let blocks = futures_util::stream::repeat(Ok::<_, std::convert::Infallible>(block)).take(100);
                (SSE, Body::from_stream(blocks))
            }),
        )
        .route(
            "/until-stop",
            any(move || {
                let stop = stop.clone();
                async move {
                    let first = futures_util::stream::once(async move { event(1) });
                    let end = futures_util::stream::once(stop.cancelled_owned()).filter_map(|()| async { None });
                    (SSE, Body::from_stream(first.chain(end)))
                }
            }),
        )
        .fallback(any(|| async { "nothing live" }))
}

fn start() -> (Server, std::net::SocketAddr) {
    start_with(&ConnectionConfig::default())
}

fn start_with(connection: &ConnectionConfig) -> (Server, std::net::SocketAddr) {
    let server = Server::new(&LimitsConfig::default(), connection, Clock::system());
    let listener = bind("127.0.0.1:0");
    let address = listener.address();
    server.serve_public(listener, app(server.stopping()));
    (server, address)
}

async fn ask(socket: &mut (impl AsyncWrite + Unpin), path: &str, more: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
}

const END: &str = "9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n9\r\ndata: 3\n\n\r\n0\r\n\r\n";

#[tokio::test]
async fn a_live_response_is_well_formed_and_its_connection_goes_on() {
    let (_server, address) = start();
    let mut socket = TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        ask(&mut socket, "/", "").await;
        read_until(&mut socket, "nothing live").await;
        ask(&mut socket, "/three", "").await;
        let answer = read_until(&mut socket, "0\r\n\r\n").await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, END);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        for line in [
            "transfer-encoding: chunked",
            "content-type: text/event-stream",
            "x-other: kept",
            "date: ",
        ] {
            assert_eq!(head.matches(line).count(), 1, "{line}: {head}");
        }
        assert!(!head.contains("connection:"), "{head}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_idle_timeout_applies_after_a_live_response() {
    let timeouts = ConnectionConfig {
        idle_timeout_secs: 20,
        ..ConnectionConfig::default()
    };
    let (mut client, _served) = connect_http1(app(CancellationToken::new()), &timeouts);
    ask(&mut client, "/three", "").await;
    read_until(&mut client, END).await;
    let start = tokio::time::Instant::now();
    assert_eq!(read_all(&mut client).await, "");
    assert_eq!(start.elapsed().as_secs(), 20);
}

#[tokio::test]
async fn a_connection_closes_when_the_client_asks_for_it() {
    let (_server, address) = start();
    let mut socket = TcpStream::connect(address).await.unwrap();
    ask(&mut socket, "/three", "Connection: foo, Close\r\n").await;
    let answer = read_all(&mut socket).await;
    assert!(
        answer.contains("connection: close\r\n") && answer.ends_with(END),
        "{answer}"
    );
}

#[tokio::test]
async fn a_pipelined_request_is_never_half_read() {
    let (_server, address) = start();
    // In one write, so that hyper reads both. The response says that the second is not answered.
    let mut socket = TcpStream::connect(address).await.unwrap();
    let both = "GET /three HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
    socket.write_all(both.as_bytes()).await.unwrap();
    let answer = read_all(&mut socket).await;
    assert!(
        answer.contains("connection: close\r\n") && answer.ends_with(END),
        "{answer}"
    );
    // A live response waits its turn.
    let mut socket = TcpStream::connect(address).await.unwrap();
    let both = "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /three HTTP/1.1\r\nHost: x\r\n\r\n";
    socket.write_all(both.as_bytes()).await.unwrap();
    let answer = read_until(&mut socket, "0\r\n\r\n").await;
    assert!(answer.contains("nothing live") && answer.ends_with(END), "{answer}");
}

#[tokio::test]
async fn a_broken_body_never_looks_complete() {
    let (_server, address) = start();
    let mut socket = TcpStream::connect(address).await.unwrap();
    ask(&mut socket, "/broken", "").await;
    let answer = read_all(&mut socket).await;
    assert!(answer.contains("data: 1") && !answer.contains("\r\n0\r\n"), "{answer}");
}

#[tokio::test]
async fn a_stop_waits_for_live_responses_to_end_themselves() {
    let (server, address) = start();
    let mut socket = TcpStream::connect(address).await.unwrap();
    ask(&mut socket, "/until-stop", "").await;
    read_until(&mut socket, "data: 1").await;
    let stop = tokio::spawn(async move { server.drain(TIMEOUT).await });
    assert!(read_all(&mut socket).await.ends_with("0\r\n\r\n"));
    drop(socket);
    assert_eq!(stop.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn a_stalled_live_reader_is_dropped() {
    let (server, address) = start_with(&short_write_timeout());
    let mut socket = TcpStream::connect(address).await.unwrap();
    ask(&mut socket, "/flood", "").await;
    read_until(&mut socket, "200 OK").await;
    until("it to be dropped", || server.open_connections() == 1).await;
}

#[tokio::test]
async fn curl_reads_all_of_it_plain_and_over_tls() {
    let (_server, address) = start();
    let plain = ["-sS", &format!("http://{address}/flood")];
    let output = run("curl", plain.map(str::to_owned).into()).await;
    assert!(output.status.success());
    assert_eq!(output.stdout.len(), 10_000_000);

    let files = Files::new();
    let server = Server::new(&LimitsConfig::default(), &ConnectionConfig::default(), Clock::system());
    let listener = bind("127.0.0.1:0");
    let port = listener.address().port();
    let context = crate::listener::build_tls_context(&files.transport(TransportMode::Tls)).unwrap();
    server.serve_tls(listener, context, app(server.stopping()));
    for version in ["--http1.1", "--http2"] {
        let ca = files.path("ca.pem").display().to_string();
        let url = format!("https://localhost:{port}/flood");
        let output = run(
            "curl",
            ["-sS", version, "--cacert", &ca, &url].map(str::to_owned).into(),
        )
        .await;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout.len(), 10_000_000, "{version}");
    }
}
