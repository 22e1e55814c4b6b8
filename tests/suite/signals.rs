//! Signal handling: no signal ends a server without a drain.

use std::fs;

use super::support::{
    http::Connection,
    now,
    server::{BASE, Setup},
    tokens::{Issuer, STREAM, server as server_claims},
    until,
};

#[test]
fn sighup_reloads_keys_and_certificates_at_once() {
    let (setup, certs) = super::tls::setup("tls");
    let setup = setup
        .gated()
        .internal("127.0.0.1")
        .with("auth.reload_secs", 3600)
        .with("transport.tls.reload_secs", 3600);
    let server = setup.start();
    server.signal("HUP");
    server.log.wait_for("the key files have not changed");
    server.log.wait_for("the TLS files have not changed");

    let new = Issuer::new(8);
    fs::write(setup.key_file(), new.public_pem()).unwrap();
    certs.renew();
    server.signal("HUP");
    server.log.wait_for("the new keys are in force");
    server.log.wait_for("TLS files changed");
    let request = super::support::http::Request::new(server.internal(), "PUT", &format!("{BASE}/{STREAM}"));
    let status = |issuer: &Issuer| {
        let token = issuer.token(&server_claims(now()));
        request.clone().text("x").token(&token).send().status
    };
    assert_eq!((status(&new), status(&setup.issuer)), (201, 401));
    server.stop();
}

#[test]
fn other_signals_are_ignored() {
    let server = Setup::new().logging("debug", "console").start();
    server.text_stream("s", "");
    let mut reader = server.sse("s", "-1");
    for signal in ["USR1", "USR2", "HUP", "PIPE"] {
        server.signal(signal);
        if signal != "PIPE" {
            server.log.wait_for(&format!("SIG{signal}"));
        }
        server.post("s").text(signal).send().expect(204);
        assert_eq!(reader.data(), signal);
    }
    server.stop();
}

#[test]
fn every_signal_that_stops_drains() {
    for signal in ["TERM", "INT", "QUIT"] {
        let mut server = Setup::new().start();
        server.text_stream("s", "");
        // The append in flight completes.
        let mut append = Connection::open(server.public);
        append.write(&format!(
            "POST {BASE}/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nha"
        ));
        until("it to be under way", || server.metric("ds_connections") >= 1.0);
        std::thread::sleep(std::time::Duration::from_millis(100));
        server.signal(signal);
        server.log.wait_for("stopping");
        append.write("lf");
        assert_eq!(append.answer().status, 204, "{signal}");
        assert_eq!(server.wait().code(), Some(0), "{signal}");
    }
}
