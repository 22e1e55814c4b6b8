//! The `streams` commands.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    process::{Child, Stdio},
};

use serde_json::Value;

use super::support::{
    http::escape,
    position,
    server::{BASE, Server, Setup},
    until,
};

/// Runs commands against one server.
pub struct Shell {
    setup: Setup,
    url: String,
}

impl Shell {
    pub fn to(server: &Server) -> Self {
        Self::at(&format!("http://{}{BASE}", server.public))
    }

    pub fn at(url: &str) -> Self {
        Self {
            setup: Setup::new(),
            url: url.to_owned(),
        }
    }

    pub fn by(mut self, token: &str) -> Self {
        self.setup.variable("DS_TOKEN", token);
        self
    }

    pub fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.setup.command();
        command.args(arguments).env("DS_URL", &self.url);
        command
    }

    /// Exit code, standard output and standard error.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        super::support::server::run(self.command(arguments))
    }

    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let (code, out, error) = self.run(arguments);
        assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}: {out}");
        out
    }

    #[track_caller]
    pub fn fails(&self, arguments: &[&str]) -> String {
        let (code, out, error) = self.run(arguments);
        assert_eq!(code, 1, "{arguments:?}: {out}{error}");
        error
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdin(Stdio::piped()).spawn().unwrap()
    }

    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.setup.dir.path().join(name)
    }
}

const NAMES: [&str; 5] = [
    "100% sure",
    "a\"b'c",
    "gid://app/Room/1",
    "gid://app/Room/2",
    "ümläut/日本語?#",
];

fn with_streams(setup: Setup) -> Server {
    let server = setup.start();
    for name in NAMES {
        server.text_stream(&escape(name), name);
    }
    server
}

#[test]
fn list_shows_every_stream_in_words_and_in_json() {
    let server = with_streams(Setup::new());
    server
        .put("shut")
        .json("[]")
        .header("stream-closed", "true")
        .header("stream-ttl", "60")
        .send()
        .expect(201);
    let shell = Shell::to(&server);
    let out = shell.ok(&["streams", "list"]);
    assert_eq!(out.lines().count(), 6);
    for name in NAMES {
        assert!(
            out.lines().any(|line| line.ends_with(&format!("  {name}"))),
            "{name}:\n{out}"
        );
    }
    let shut = out.lines().find(|line| line.ends_with("shut")).unwrap();
    let offset = server.head("shut").send().next_offset();
    assert_eq!(position(&offset), 0);
    for part in ["closed", "ttl 60s", "application/json", offset.as_str()] {
        assert!(shut.contains(part), "{shut}");
    }
    let out = shell.ok(&["streams", "list", "gid://", "--json"]);
    let listed: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[1]["name"], "gid://app/Room/2");
    assert_eq!(
        listed[1]["offset"],
        server.head("gid://app/Room/2").send().next_offset()
    );
    assert_eq!(shell.ok(&["streams", "list", "--limit", "3"]).lines().count(), 3);
    assert_eq!(shell.ok(&["streams", "list", "none"]), "");
}

#[test]
fn list_goes_through_all_pages() {
    let server = Setup::new().start();
    let mut connection = super::support::http::Connection::open(server.public);
    for index in 0..2100 {
        server
            .put(&format!("s{index:04}"))
            .text("")
            .send_on(&mut connection)
            .unwrap();
    }
    let shell = Shell::to(&server);
    assert_eq!(shell.ok(&["streams", "list"]).lines().count(), 2100);
    assert_eq!(shell.ok(&["streams", "list", "--limit", "1500"]).lines().count(), 1500);
    let deleted = shell.ok(&["streams", "delete", "--prefix", "s1", "--yes"]);
    assert!(deleted.ends_with("\n1000 streams deleted\n"));
    assert_eq!(server.metric("ds_streams"), 1100.0);
}

#[test]
fn show_describes_a_stream() {
    let server = Setup::new().gated().start();
    server
        .put("a%20b")
        .text("abc")
        .header("stream-ttl", "60")
        .send()
        .expect(201);
    server.fork("twig", "a%20b").send().expect(201);
    let shell = Shell::to(&server).by(&server.server_token());
    let out = shell.ok(&["streams", "show", "twig"]);
    let offset = server.head("a%20b").send().next_offset();
    for part in ["text/plain", "open", "ttl 60s", &format!("a b at {offset}")] {
        assert!(out.contains(part), "{part}:\n{out}");
    }
    let json: Value = serde_json::from_str(&shell.ok(&["streams", "show", "a b", "--json"])).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "name": "a b", "content_type": "text/plain", "offset": offset,
            "closed": false, "ttl_seconds": 60,
        })
    );
    assert!(
        shell
            .fails(&["streams", "show", "nope"])
            .contains("there is no stream \"nope\"")
    );
    // A client token reads its own stream and may not list.
    let client = Shell::to(&server).by(&server.client_token("twig", &["read"]));
    assert!(client.ok(&["streams", "show", "twig"]).contains("text/plain"));
    assert!(client.fails(&["streams", "list"]).contains("list needs a server token"));
    let (code, _, error) = shell.run(&["streams", "show", "a/../b"]);
    assert!(code == 2 && error.contains("`..` segment"), "{error}");
}

#[test]
fn delete_reports_deleted_and_remaining_streams() {
    let server = with_streams(Setup::new());
    let shell = Shell::to(&server);
    let (code, out, error) = shell.run(&["streams", "delete", "100% sure", "nope", "a\"b'c"]);
    assert_eq!(code, 1, "{out}{error}");
    assert_eq!(
        out,
        "deleted 100% sure\nnot deleted nope: there is no such stream\ndeleted a\"b'c\n"
    );
    assert!(error.contains("2 streams deleted, 1 not"), "{error}");

    let error = shell.fails(&["streams", "delete", "--prefix", "gid://"]);
    assert!(
        error.contains("2 streams would be deleted") && error.contains("--yes"),
        "{error}"
    );
    assert_eq!(server.metric("ds_streams"), 3.0);
    let out = shell.ok(&["streams", "delete", "--prefix", "gid://", "--yes"]);
    assert_eq!(
        out,
        "deleted gid://app/Room/1\ndeleted gid://app/Room/2\n2 streams deleted\n"
    );
    for arguments in [&["streams", "delete"][..], &["streams", "delete", "x", "--prefix", "y"]] {
        assert_eq!(shell.run(arguments).0, 2, "{arguments:?}");
    }
    assert_eq!(server.metric("ds_streams"), 1.0);
}

#[test]
fn a_private_key_signs_tokens_that_the_server_accepts() {
    let mut setup = Setup::new().gated();
    let server = setup.start();
    server.text_stream("s", "x");
    let key = setup.dir.path().join("signing_key.pem");
    std::fs::write(&key, setup.issuer.private_pem()).unwrap();
    let url = format!("http://{}{BASE}", server.public);
    let arguments = ["streams", "list", "--url", &url, "--key", key.to_str().unwrap()];
    let (code, out, error) = setup.run(&arguments);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(out.ends_with("  s\n"), "{out}");
    // The URL defaults to the configuration's.
    setup.variable("DS_SERVER__BIND_ADDRESS", &server.public.to_string());
    let (code, out, error) = setup.run(&["streams", "list", "--key", key.to_str().unwrap()]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    let (code, _, error) = setup.run(&["streams", "list", "--key", "nowhere.pem"]);
    assert!(code == 1 && error.contains("nowhere.pem"), "{error}");
}

#[test]
fn refusals_give_advice_and_no_token() {
    let server = Setup::new().gated().start();
    for command in [
        &["streams", "list"][..],
        &["streams", "show", "s"],
        &["streams", "delete", "s"],
        &["export"],
    ] {
        let error = Shell::to(&server).fails(command);
        assert!(error.contains("401") && error.contains("DS_TOKEN"), "{error}");
    }
    let stranger = super::support::tokens::Issuer::new(9);
    let token = stranger.token(&super::support::tokens::server(super::support::now()));
    let error = Shell::to(&server).by(&token).fails(&["streams", "list"]);
    assert!(error.contains("401") && error.contains("explain"), "{error}");
    let (_, signature) = token.rsplit_once('.').unwrap();
    let (_, help, _) = Shell::to(&server).by(&token).run(&["streams", "list", "--help"]);
    assert!(!error.contains(signature) && !help.contains(signature));
    let error = Shell::to(&server).by("not\u{1b}a token").fails(&["streams", "list"]);
    assert!(error.contains("--token") && !error.contains("not\u{1b}a"), "{error}");
}

#[test]
fn an_unreachable_server_is_reported() {
    let gone = {
        let server = Setup::new().start();
        let shell = Shell::to(&server);
        server.stop();
        shell
    };
    for command in [
        &["streams", "list"][..],
        &["streams", "show", "s"],
        &["streams", "delete", "s"],
        &["export"],
    ] {
        let error = gone.fails(command);
        assert!(
            error.contains("does not answer: ") && error.contains("refused"),
            "{error}"
        );
    }
    let server = Setup::new().start();
    let elsewhere = Shell::at(&format!("http://{}/v2", server.public));
    let error = elsewhere.fails(&["streams", "list"]);
    assert!(error.contains("/v2 the URL that streams are below?"), "{error}");
}

#[test]
fn a_tls_server_is_trusted_only_by_the_given_ca() {
    let (setup, certs) = super::tls::setup("tls");
    let server = setup.start();
    let shell = Shell::at(&format!("https://localhost:{}{BASE}", server.public.port()));
    let error = shell.fails(&["streams", "list"]);
    assert!(error.contains("does not answer"), "{error}");
    assert_eq!(shell.ok(&["streams", "list", "--ca", &certs.text("ca.pem")]), "");
    let error = shell.fails(&["streams", "list", "--ca", &certs.text("server.key")]);
    assert!(error.contains("holds no PEM certificate"), "{error}");
}

/// A server that sends this response to every request.
fn server_answering(answer: &'static str) -> (Shell, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/stream", listener.local_addr().unwrap());
    let (said, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = BufReader::new(connection.unwrap());
            let mut head = String::new();
            while connection.read_line(&mut head).is_ok_and(|read| read > 2) {}
            let _ = said.send(head);
            let _ = connection.get_mut().write_all(answer.as_bytes());
        }
    });
    (Shell::at(&url), heard)
}

#[test]
fn unexpected_responses_are_rejected() {
    let (shell, _) = server_answering(
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 32\r\nconnection: close\r\n\r\n{\"detail\":\"\\u001b[31mred\\u0007\"}  ",
    );
    let error = shell.fails(&["streams", "list"]);
    assert!(
        error.contains("[31mred") && !error.contains(['\u{1b}', '\u{7}']),
        "{error:?}"
    );

    for (body, complaint) in [
        (
            "{\"streams\":[{\"name\":\"\\u001b[2J\"}],\"next\":null}",
            "control character",
        ),
        ("{\"streams\":[],\"next\":\"a\"}", "does not advance"),
        ("<html>", "did not answer as a Durable Streams server"),
    ] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let (shell, _) = server_answering(answer.leak());
        let error = shell.fails(&["streams", "list"]);
        assert!(error.contains(complaint), "{error}");
    }
}

#[test]
fn a_token_is_not_sent_to_a_redirect_target() {
    let server = Setup::new().start();
    let answer = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{}{BASE}/__ds/streams\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        server.public
    );
    let (shell, heard) = server_answering(answer.leak());
    let error = shell.by("a.b.c").fails(&["streams", "list"]);
    assert!(error.contains("307"), "{error}");
    assert!(heard.recv().unwrap().contains("Bearer a.b.c"));
    assert!(!server.metrics().contains("operation=\"list\""));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let server = Setup::new().start();
    server.put("large").body(vec![7; 8 << 20]).send().expect(201);
    let shell = Shell::to(&server);
    let mut child = shell.spawn(&["export"]);
    let mut first = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut first).unwrap();
    assert!(first.starts_with("{\"stream\":\"large\""), "{first}");
    drop(out);
    let mut status = None;
    until("the export to exit", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!((status.unwrap().code(), error.as_str()), (Some(0), ""));
}
