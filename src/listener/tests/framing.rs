//! Framing that two parties could read differently (RFC 9112, section 11.2) is refused or closes the
//! connection: nothing after it is ever read as a request.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::support::{count, exchange, read_until, start_default};
use crate::{clock::Clock, listener::ConnectionConfig};

const TAIL: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

/// The status of the only response.
async fn only_status(request: &str) -> String {
    let (server, address) = start_default();
    let answers = exchange(address, format!("{request}{TAIL}")).await;
    assert!(
        !answers.contains("smuggled"),
        "the tail got through: {request:?} {answers}"
    );
    assert!(count(&answers) <= 1, "two answers: {request:?} {answers}");
    drop(server);
    answers.get(9..12).unwrap_or("cut").to_owned()
}

#[tokio::test]
async fn a_tail_after_conflicting_lengths_is_never_a_request() {
    let cases = [
        // Both lengths in either order: read as chunked, and the connection closes.
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "200",
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            "200",
        ),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "200"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "400"),
        ("Content-Length: 5, 6\r\n\r\nhello", "400"),
        ("Content-Length: 5, 5\r\n\r\nhello", "400"),
        ("Content-Length: +5\r\n\r\nhello", "400"),
        ("Content-Length: -1\r\n\r\n", "400"),
        ("Content-Length: 0x5\r\n\r\nhello", "400"),
        ("Content-Length: 99999999999999999999\r\n\r\n", "400"),
        ("Content-Length:\r\n\r\n", "400"),
        ("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "400"),
        ("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", "400"),
        ("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "400"),
        (
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        ("Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", "400"),
        ("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400"),
        ("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", "400"),
        ("X: y\r\n\tTransfer-Encoding: chunked\r\n\r\n", "400"),
        ("Transfer_Encoding\u{0}: chunked\r\n\r\n", "400"),
    ];
    for (rest, expected) in cases {
        let request = format!("POST / HTTP/1.1\r\nHost: x\r\n{rest}");
        assert_eq!(only_status(&request).await, expected, "{rest:?}");
    }
}

#[tokio::test]
async fn a_chunked_request_of_http_1_0_is_refused() {
    let request = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(only_status(request).await, "400");
}

#[tokio::test]
async fn broken_chunks_end_the_connection() {
    for chunks in [
        "g\r\nx\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "1\r\nxx\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "1;\n\r\nx\r\n0\r\n\r\n",
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let (_server, address) = start_default();
        let answers = exchange(address, format!("{request}{TAIL}")).await;
        assert!(!answers.contains("smuggled"), "{chunks:?}: {answers}");
        assert!(count(&answers) <= 1, "{chunks:?}: {answers}");
    }
}

#[tokio::test]
async fn chunk_extensions_are_limited() {
    let (_server, address) = start_default();
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket
        .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let extension = format!("1;{}\r\nx\r\n", "e".repeat(4000));
    for _ in 0..1000 {
        // The server closes the connection long before all four megabytes are sent.
        if socket.write_all(extension.as_bytes()).await.is_err() {
            break;
        }
    }
    let answer = super::support::read_all(&mut socket).await;
    assert!(!answer.contains("[x"), "{answer}");
}

#[tokio::test]
async fn a_request_names_exactly_one_host() {
    let (_server, address) = start_default();
    for head in ["", "Host: a\r\nHost: b\r\n", "Host: a\r\nHost: a\r\n"] {
        let answer = exchange(address, format!("GET / HTTP/1.1\r\n{head}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{head:?}: {answer}");
        assert!(
            answer.contains("application/problem+json") && answer.contains("Host: "),
            "{answer}"
        );
    }
    let old = exchange(address, "GET /old HTTP/1.0\r\n\r\n").await;
    assert!(old.contains("GET /old"), "{old}");
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_order() {
    let (_server, address) = start_default();
    let request = |path: &str| format!("POST /{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{path}");
    let last = "GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = exchange(address, format!("{}{}{last}", request("a"), request("b"))).await;
    let place = |what: &str| answers.find(what).unwrap_or_else(|| panic!("{what}: {answers}"));
    assert!(place("/a from") < place("/b from") && place("/b from") < place("/end from"));
}

#[tokio::test]
async fn a_bare_line_feed_hides_no_header() {
    let (_server, address) = start_default();
    // RFC 9112, section 2.2 lets a recipient accept a lone LF as a line end. It must then do so
    // everywhere, or a header could hide in the value before it.
    let answer = exchange(address, "GET / HTTP/1.1\nHost: x\nConnection: close\n\n").await;
    assert_eq!(count(&answer), 1, "{answer}");
    let bare_cr = exchange(address, "GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n").await;
    assert!(bare_cr.starts_with("HTTP/1.1 400"), "{bare_cr}");
}

#[tokio::test]
async fn bad_heads_are_refused() {
    let (_server, address) = start_default();
    for head in [
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        "G\u{0}T / HTTP/1.1\r\nHost: x\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}",
    ] {
        let answer = exchange(address, format!("{head}{TAIL}")).await;
        assert!(!answer.contains("200 OK"), "{head:?}: {answer}");
    }
}

#[tokio::test]
async fn an_absolute_target_reaches_the_application() {
    let (_server, address) = start_default();
    let request = "GET http://other/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = exchange(address, request).await;
    assert!(answer.contains("GET http://other/a"), "{answer}");
}

#[tokio::test]
async fn a_response_before_the_end_of_the_body_is_not_lost() {
    let app = axum::Router::new().fallback(|| async { (http::StatusCode::PAYLOAD_TOO_LARGE, "too large") });
    let server = crate::listener::Server::new(
        &crate::engine::LimitsConfig::default(),
        &ConnectionConfig::default(),
        Clock::system(),
    );
    let listener = super::support::bind("127.0.0.1:0");
    let address = listener.address();
    server.serve_public(listener, app);
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    // The client sends the whole body although the response precedes its first byte.
    socket.write_all(&vec![b'x'; 900_000]).await.unwrap();
    assert!(read_until(&mut socket, "too large").await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn a_refusal_has_the_security_headers_of_every_response() {
    let (_server, address) = start_default();
    let answer = exchange(address, "GET / HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    for header in [
        "x-content-type-options: nosniff",
        "cross-origin-resource-policy: cross-origin",
    ] {
        assert!(answer.contains(header), "{header} is missing: {answer}");
    }
}
