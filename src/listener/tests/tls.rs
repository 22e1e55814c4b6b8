//! The public listener over TLS, with curl and openssl as peers.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{
    certs::{Files, curl, run},
    support::{TIMEOUT, app, bind, exchange, read_until, short_write_timeout},
};
use crate::{
    clock::Clock,
    engine::LimitsConfig,
    listener::{ConnectionConfig, Server, build_tls_context, shutdown::Drained},
    listener::{TlsVersion, TransportConfig, TransportMode},
};

pub(super) fn start(transport: &TransportConfig) -> (Server, SocketAddr) {
    start_with(transport, &ConnectionConfig::default())
}

fn start_with(transport: &TransportConfig, connection: &ConnectionConfig) -> (Server, SocketAddr) {
    let server = Server::new(&LimitsConfig::default(), connection, Clock::system());
    let listener = bind("127.0.0.1:0");
    let address = listener.address();
    server.serve_tls(listener, build_tls_context(transport).unwrap(), app());
    (server, address)
}

/// A TLS connection, for what curl cannot do.
pub(super) async fn connect(files: &Files, address: SocketAddr, alpn: &str) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(files.ca.pem().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let socket = TcpStream::connect(address).await.unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost").unwrap(), socket)
        .await
        .unwrap()
}

#[tokio::test]
async fn both_http_versions_are_served() {
    let files = Files::new();
    let (_server, address) = start(&files.transport(TransportMode::Tls));
    for (flag, version) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2.0")] {
        let answer = curl(&files.path("ca.pem"), address.port(), &[flag]).await.unwrap();
        assert!(answer.contains("over TLS, client certificate: false"), "{answer}");
        assert!(answer.contains(version), "{answer}");
    }
    let upload = curl(&files.path("ca.pem"), address.port(), &["--http2", "-d", "hello"]).await;
    assert!(upload.unwrap().contains("[hello]"));
}

#[tokio::test]
async fn only_the_configured_protocols_are_negotiated() {
    let files = Files::new();
    let mut transport = files.transport(TransportMode::Tls);
    transport.tls.alpn_protocols = vec!["http/1.1".into()];
    let (_server, address) = start(&transport);
    let answer = curl(&files.path("ca.pem"), address.port(), &["--http2"]).await.unwrap();
    assert!(answer.contains("HTTP/1.1"), "{answer}");
}

#[tokio::test]
async fn a_server_that_another_ca_signed_is_refused_by_clients() {
    let files = Files::new();
    let (_server, address) = start(&files.transport(TransportMode::Tls));
    curl(&files.path("client-ca.pem"), address.port(), &[])
        .await
        .unwrap_err();
}

#[tokio::test]
async fn versions_outside_the_configured_ones_are_refused() {
    let files = Files::new();
    for (min, max, refused, accepted) in [
        (
            TlsVersion::Tls12,
            TlsVersion::Tls13,
            &["-tls1", "-tls1_1"][..],
            &["-tls1_2", "-tls1_3"][..],
        ),
        (TlsVersion::Tls13, TlsVersion::Tls13, &["-tls1_2"], &["-tls1_3"]),
        (TlsVersion::Tls12, TlsVersion::Tls12, &["-tls1_3"], &["-tls1_2"]),
    ] {
        let mut transport = files.transport(TransportMode::Tls);
        transport.tls.min_version = min;
        transport.tls.max_version = max;
        let (_server, address) = start(&transport);
        for (flags, expected) in [(refused, false), (accepted, true)] {
            for flag in flags {
                let arguments = [
                    "s_client",
                    "-connect",
                    &address.to_string(),
                    "-cipher",
                    "ALL:@SECLEVEL=0",
                    flag,
                ];
                let output = run("openssl", arguments.map(str::to_owned).into()).await;
                let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
                assert_eq!(
                    stdout.contains("BEGIN CERTIFICATE"),
                    expected,
                    "{min:?} to {max:?}, {flag}: {stdout}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_client_must_present_a_certificate_of_the_client_ca() {
    let files = Files::new();
    let (_server, address) = start(&files.transport(TransportMode::Mtls));
    let path = |name: &str| files.path(name).display().to_string();
    let ca = files.path("ca.pem");
    for version in ["--http1.1", "--http2"] {
        let shown = |name: &str| [path(&format!("{name}.pem")), path(&format!("{name}.key"))];
        let [cert, key] = shown("client");
        let answer = curl(&ca, address.port(), &[version, "--cert", &cert, "--key", &key]).await;
        assert!(
            answer.as_ref().unwrap().contains("client certificate: true"),
            "{answer:?}"
        );

        curl(&ca, address.port(), &[version]).await.unwrap_err();
        let [cert, key] = shown("stranger");
        curl(&ca, address.port(), &[version, "--cert", &cert, "--key", &key])
            .await
            .unwrap_err();
    }
}

#[tokio::test]
async fn a_handshake_has_a_timeout() {
    let files = Files::new();
    let timeouts = ConnectionConfig {
        handshake_timeout_secs: 1,
        ..ConnectionConfig::default()
    };
    let (_server, address) = start_with(&files.transport(TransportMode::Tls), &timeouts);
    assert_eq!(exchange(address, "").await, "");
    // Only the start of a ClientHello.
    exchange(address, [0x16, 3, 1, 2, 0, 1]).await;
    // Plain HTTP gets an alert at most.
    let answer = exchange(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(!answer.contains("HTTP/"), "{answer}");
}

#[tokio::test]
async fn an_idle_connection_over_tls_is_cut() {
    let files = Files::new();
    let timeouts = ConnectionConfig {
        idle_timeout_secs: 1,
        ..ConnectionConfig::default()
    };
    let (_server, address) = start_with(&files.transport(TransportMode::Tls), &timeouts);
    let mut stream = connect(&files, address, "http/1.1").await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut seen = Vec::new();
    tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut seen))
        .await
        .unwrap()
        .ok();
    assert!(seen.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_stalled_reader_over_tls_is_dropped() {
    let files = Files::new();
    let (server, address) = start_with(&files.transport(TransportMode::Tls), &short_write_timeout());
    let before = server.open_connections();
    let mut stream = connect(&files, address, "http/1.1").await;
    stream
        .write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    stream.read_u8().await.unwrap();
    super::support::until("it to be dropped", || server.open_connections() == before).await;
}

async fn serial(address: SocketAddr) -> String {
    let arguments = ["s_client", "-connect", &address.to_string(), "-showcerts"];
    let output = run("openssl", arguments.map(str::to_owned).into()).await;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    stdout
        .split_once("BEGIN CERTIFICATE")
        .unwrap()
        .1
        .split_once("END")
        .unwrap()
        .0
        .to_owned()
}

#[tokio::test]
async fn new_files_are_used_for_new_connections() {
    let files = Files::new();
    let (server, address) = start(&files.transport(TransportMode::Tls));
    let first = serial(address).await;
    let mut open = connect(&files, address, "http/1.1").await;
    open.write_all(b"GET /ticks HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_until(&mut open, "data: 1").await;

    files.renew();
    server.reload_certificates();
    let changed = async { while serial(address).await == first {} };
    tokio::time::timeout(TIMEOUT, changed).await.unwrap();
    // The open connection stays: the server ends the response when it stops.
    let stop = tokio::spawn(async move { server.drain(std::time::Duration::ZERO).await });
    assert_eq!(stop.await.unwrap(), Drained { cut: 1 });
    drop(open);
}

#[tokio::test]
async fn a_stop_ends_tls_connections_too() {
    let files = Files::new();
    let (server, address) = start(&files.transport(TransportMode::Tls));
    let mut one = connect(&files, address, "http/1.1").await;
    let silent = TcpStream::connect(address).await.unwrap();
    let stop = tokio::spawn(async move { server.drain(TIMEOUT).await });
    let mut rest = Vec::new();
    tokio::time::timeout(TIMEOUT, one.read_to_end(&mut rest))
        .await
        .unwrap()
        .ok();
    drop((one, silent));
    assert_eq!(stop.await.unwrap(), Drained { cut: 0 });
}
