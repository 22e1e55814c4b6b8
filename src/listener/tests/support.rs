//! Servers, connections in memory, and clients that write raw bytes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    routing::any,
};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    clock::Clock,
    engine::LimitsConfig,
    listener::ConnectionConfig,
    listener::{
        Listener, ListenerKind, PeerAddr, Server, TlsInfo,
        connection::{
            http1::serve_http1, http2::serve_http2, service::ConnectionService, state::ConnectionState,
            write_timeout::WriteTimeout,
        },
        shared::Shared,
    },
};

/// Only a hanging test reaches this.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn bind(address: &str) -> Listener {
    Listener::bind(address.parse().unwrap(), TIMEOUT).unwrap()
}

/// For tests with real sockets that wait for this timeout. With the others as short, a slow machine
/// would cut connections that the test still needs.
pub(super) fn short_write_timeout() -> ConnectionConfig {
    ConnectionConfig {
        write_timeout_secs: 1,
        ..ConnectionConfig::default()
    }
}

/// `/`: what the application saw. `/hang`: never a response. `/endless`: an endless body. `/slow`: a
/// response after 50 ms. `/ticks`: one event, then silence.
pub(super) fn app() -> Router {
    Router::new()
        .route(
            "/hang",
            any(|| async {
                std::future::pending::<()>().await;
            }),
        )
        .route(
            "/slow",
            any(|| async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                "slow"
            }),
        )
        .route(
            "/endless",
            any(|| async {
                let block = Bytes::from(vec![b'x'; 64 * 1024]);
                Body::from_stream(futures_util::stream::repeat(Ok::<_, std::convert::Infallible>(block)))
            }),
        )
        .route(
            "/ticks",
            any(|| async {
                let first = futures_util::stream::once(async { Ok::<_, std::io::Error>(Bytes::from("data: 1\n\n")) });
                (
                    [("content-type", "text/event-stream")],
                    Body::from_stream(first.chain(futures_util::stream::pending())),
                )
            }),
        )
        .fallback(any(echo))
}

async fn echo(request: Request) -> String {
    let peer = request.extensions().get::<PeerAddr>().unwrap().0;
    let kind = ListenerKind::of(request.extensions());
    let tls = request.extensions().get::<TlsInfo>().copied();
    let (parts, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(error) => format!("broken: {error}"),
    };
    let (method, uri, version) = (parts.method, parts.uri, parts.version);
    let tls = tls.map_or(String::new(), |tls| {
        format!(" over TLS, client certificate: {}", tls.client_cert)
    });
    format!(
        "{method} {uri} from {} on {kind:?}{tls}, {version:?}: [{body}]",
        peer.ip()
    )
}

pub(super) fn start(limits: &LimitsConfig) -> (Server, SocketAddr) {
    let server = Server::new(limits, &ConnectionConfig::default(), Clock::system());
    let listener = bind("127.0.0.1:0");
    let address = listener.address();
    server.serve_public(listener, app());
    (server, address)
}

pub(super) fn start_default() -> (Server, SocketAddr) {
    start(&LimitsConfig::default())
}

/// The server's end of a connection in memory.
pub(super) struct Served {
    pub(super) shared: Arc<Shared>,
    /// Ends with the connection.
    pub(super) task: JoinHandle<()>,
}

/// A connection in memory, so that a test can pause time.
pub(super) fn connect_http1(app: Router, connection: &ConnectionConfig) -> (DuplexStream, Served) {
    connect(app, connection, |io, service, shared| {
        tokio::spawn(serve_http1(io, service, shared, ()))
    })
}

/// A connection in memory with HTTP/2 from the start.
pub(super) fn connect_http2(app: Router, connection: &ConnectionConfig) -> (DuplexStream, Served) {
    connect(app, connection, |io, service, shared| {
        tokio::spawn(serve_http2(io, service, shared))
    })
}

fn connect(
    app: Router,
    connection: &ConnectionConfig,
    serve: impl FnOnce(WriteTimeout<DuplexStream>, ConnectionService<Router>, Arc<Shared>) -> JoinHandle<()>,
) -> (DuplexStream, Served) {
    let (client, server) = duplex(64 * 1024);
    let shared = Arc::new(Shared::new(&LimitsConfig::default(), connection, Clock::system()));
    let peer = PeerAddr("192.0.2.1:1".parse().unwrap());
    let state = Arc::new(ConnectionState::new(peer, shared.responses.of_client(None)));
    let io = WriteTimeout::new(server, shared.timeouts.write_timeout(), Arc::clone(&state));
    let service = ConnectionService::new(app, ListenerKind::Public, state);
    let task = serve(io, service, Arc::clone(&shared));
    (client, Served { shared, task })
}

/// Connects from a chosen local address.
pub(super) async fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Reads until the server closes the connection.
pub(super) async fn read_all(socket: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A reset after the response is an end too.
    let _ = timeout(TIMEOUT, socket.read_to_end(&mut bytes))
        .await
        .expect("the server should have closed the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until `marker`.
pub(super) async fn read_until(socket: &mut (impl AsyncRead + Unpin), marker: &str) -> String {
    let mut seen = Vec::new();
    let more = async {
        while !String::from_utf8_lossy(&seen).contains(marker) {
            assert_ne!(socket.read_buf(&mut seen).await.unwrap(), 0, "closed before {marker}");
        }
    };
    timeout(TIMEOUT, more).await.expect(marker);
    String::from_utf8_lossy(&seen).into_owned()
}

/// Sends bytes on a new connection and reads until the server closes it.
pub(super) async fn exchange(to: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut socket = TcpStream::connect(to).await.unwrap();
    socket.write_all(bytes.as_ref()).await.unwrap();
    read_all(&mut socket).await
}

pub(super) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(TIMEOUT, poll).await.expect(what);
}

pub(super) fn count(answers: &str) -> usize {
    answers.matches("HTTP/1.1 ").count()
}
