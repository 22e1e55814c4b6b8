//! Ambiguous, chunked and pipelined requests.

use std::io::Read as _;

use super::{
    clients::{POST, start},
    support::{
        http::Connection,
        server::{BASE, Setup},
    },
};

/// Sends an ambiguous request that smuggles a second one.
fn smuggle(framing: &str, behind: &str) -> (String, String) {
    let server = start(Setup::new());
    server.text_stream("victim", "kept");
    let mut connection = Connection::open(server.public);
    let hidden = format!("DELETE {BASE}/victim HTTP/1.1\r\nhost: streams.test\r\n\r\n");
    connection
        .try_write(format!("{POST}{framing}\r\n\r\n{behind}{hidden}").as_bytes())
        .unwrap();
    connection.stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    let answers = connection.rest();
    assert_eq!(server.content("victim"), "kept", "{framing:?}: {answers}");
    (answers, server.content("s"))
}

#[test]
fn nothing_after_an_ambiguous_length_is_a_request() {
    let chunked = "transfer-encoding: chunked";
    for (framing, behind) in [
        (format!("content-length: 5\r\n{chunked}"), "0\r\n\r\n"),
        (format!("{chunked}\r\ncontent-length: 5"), "0\r\n\r\n"),
        (format!("{chunked}\r\ncontent-length: 0"), "0\r\n\r\n"),
        (format!("{chunked}\r\n{chunked}"), "0\r\n\r\n"),
        ("transfer-encoding: chunked, identity".into(), "0\r\n\r\n"),
        ("transfer-encoding: identity, chunked".into(), "0\r\n\r\n"),
        ("transfer-encoding: xchunked\r\ncontent-length: 5".into(), "0\r\n\r\n"),
        ("transfer-encoding:\tchunked\r\ncontent-length: 5".into(), "0\r\n\r\n"),
        ("transfer-encoding : chunked\r\ncontent-length: 5".into(), "0\r\n\r\n"),
        (
            "x: y\r\n transfer-encoding: chunked\r\ncontent-length: 5".into(),
            "0\r\n\r\n",
        ),
        ("content-length: 5\r\ncontent-length: 6".into(), "abcde"),
        ("content-length: 5, 6".into(), "abcde"),
        ("content-length: +5".into(), "abcde"),
        ("content-length: 5 5".into(), "abcde"),
        ("content-length: 0x5".into(), "abcde"),
        ("content-length: -1".into(), "abcde"),
        ("content-length: 99999999999999999999999".into(), "abcde"),
    ] {
        let (answers, _) = smuggle(&framing, behind);
        let count = answers.matches("HTTP/1.1 ").count();
        assert!(count <= 1, "{framing:?}: {answers}");
    }
}

#[test]
fn a_chunked_append_is_stored_whole() {
    let server = start(Setup::new());
    let mut connection = Connection::open(server.public);
    connection.write(&format!(
        "{POST}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    ));
    connection.answer().expect(204);
    assert_eq!(server.content("s"), "abcde");
}

#[test]
fn a_broken_chunk_stores_nothing() {
    for chunks in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nabc",
    ] {
        let server = start(Setup::new());
        let mut connection = Connection::open(server.public);
        connection.write(&format!("{POST}transfer-encoding: chunked\r\n\r\n{chunks}"));
        connection.stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
        let answer = connection.rest();
        assert!(!answer.contains(" 204 "), "{chunks:?}: {answer}");
        assert_eq!(server.content("s"), "", "{chunks:?}");
    }
}

#[test]
fn expect_100_continue_is_answered_after_the_gate() {
    let server = Setup::new().gated().start();
    server.put("s").text("").send().expect(201);
    let head = format!("{POST}expect: 100-continue\r\ncontent-length: 3\r\n");
    let mut stranger = Connection::open(server.public);
    stranger.write(&format!("{head}\r\n"));
    stranger.answer().problem(401);
    let mut connection = Connection::open(server.public);
    connection.write(&format!(
        "{head}authorization: Bearer {}\r\n\r\n",
        server.server_token()
    ));
    assert_eq!(connection.answer().status, 100);
    connection.write("abc");
    connection.answer().expect(204);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = start(Setup::new());
    let mut connection = Connection::open(server.public);
    let append = |text: &str| format!("{POST}content-length: {}\r\n\r\n{text}", text.len());
    let read = "GET /v1/stream/s HTTP/1.1\r\nhost: x\r\n\r\n";
    connection.write(&format!("{}{}{read}{}{read}", append("a"), append("b"), append("c")));
    let statuses_and_bodies: Vec<_> = (0..5)
        .map(|_| connection.answer())
        .map(|answer| (answer.status, answer.text()))
        .collect();
    let expected = [(204, ""), (204, ""), (200, "ab"), (204, ""), (200, "abc")];
    assert_eq!(
        statuses_and_bodies,
        expected.map(|(status, text)| (status, text.to_owned()))
    );
}

#[test]
fn non_http_input_gets_no_success_response() {
    let server = start(Setup::new());
    for said in [
        "\0\0\0\0\r\n\r\n",
        "\x16\x03\x01\x02\0",
        "GET /up\r\n\r\n",
        "GET /up HTTP/9.9\r\nhost: x\r\n\r\n",
        "\r\n\r\n\r\nxyz\r\n\r\n",
    ] {
        let mut connection = Connection::open(server.public);
        connection.write(said);
        connection.stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = connection.stream.read_to_string(&mut answer);
        assert!(!answer.contains(" 200 "), "{said:?}: {answer}");
    }
    server.raw("GET", "/up").send().expect(200);
}
