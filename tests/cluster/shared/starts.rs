//! Starts while the database is away, and starts that cannot succeed.

use super::super::support::{
    http::Request,
    server::{BASE, Setup},
    shared::postgres::{PASSWORD, Postgres, Stop},
};

fn setup(url: &str) -> Setup {
    Setup::new().with("storage.mode", "postgres").with("storage.url", url)
}

#[test]
fn a_server_waits_for_its_database() {
    let postgres = Postgres::start(&[]);
    postgres.stop(Stop::Fast);
    let server = setup(&postgres.url("postgres")).launch();
    let asked = |method: &str, path: &str| Request::new(server.public, method, path).send();
    server.log.wait_for("waiting for the database");
    asked("GET", "/up").expect(200);
    let stream = format!("{BASE}/s");
    for (method, path) in [
        ("GET", "/readyz"),
        ("GET", "/healthz"),
        ("PUT", &stream),
        ("GET", &stream),
    ] {
        let answer = asked(method, path);
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        assert_eq!(answer.json()["type"], "urn:durable-streams:problem:store-away");
        let why = answer.problem(503);
        assert!(why.contains("the database cannot be reached"), "{why}");
    }
    let metrics = asked("GET", "/metrics").expect(200).text();
    assert!(metrics.contains("ds_store_reached 0"), "{metrics}");
    postgres.start_again();
    server.log.wait_for("serving");
    asked("GET", "/readyz").expect(200);
    asked("PUT", &stream).expect(201);
    assert!(!server.log.text().contains(PASSWORD));
    server.stop();
}

#[test]
fn a_waiting_server_can_be_stopped() {
    let mut server = setup("postgres://nobody@127.0.0.1:1/none").launch();
    server.log.wait_for("waiting for the database");
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_standby_is_waited_for_until_it_is_promoted() {
    let primary = Postgres::start(&[]);
    let standby = primary.standby("s1", &[]);
    let server = setup(&standby.url("postgres")).launch();
    let waits = server.log.wait_for("waiting for the database");
    assert!(waits.contains("standby"), "{waits}");
    primary.stop(Stop::Immediate);
    standby.promote();
    server.log.wait_for("serving");
    server.stop();
}

#[test]
fn a_start_that_cannot_succeed_ends_at_once() {
    let postgres = Postgres::start(&[]);
    let url = postgres.url("postgres");
    let ends = |url: &str, why: &str| {
        let (code, _, error) = setup(url).run(&[]);
        assert_eq!(code, 1, "{error}");
        let last = error.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("[start_server] storage.url: ") && last.contains(why),
            "{error}"
        );
        assert!(!error.contains("waiting for the database"), "{error}");
        assert!(!error.contains(PASSWORD) && !error.contains("wr0ng"), "{error}");
    };
    ends(&url.replace(PASSWORD, "wr0ng"), "password authentication failed");
    ends(&url.replace(&format!(":{PASSWORD}"), ""), "password missing");
    ends(&url.replace("/postgres?", "/absent?"), "does not exist");
    // There is no TLS at this server.
    ends(&url.replace("sslmode=disable", "sslmode=verify-full"), "TLS");
    setup(&url).start().stop();
    postgres.sql("postgres", "update durable_streams.format set version = 7");
    ends(&url, "format 7");
    postgres.sql("postgres", "update durable_streams.format set version = 1");
    postgres.sql("postgres", "create role guest login password 'guest'");
    postgres.sql("postgres", "drop schema durable_streams cascade");
    let guest = url.replace(&format!("postgres:{PASSWORD}@"), "guest:guest@");
    ends(&guest, "storage schema");
    postgres.set("synchronous_commit", "off");
    super::super::support::until("the setting to count", || {
        postgres.sql("postgres", "show synchronous_commit") == "off"
    });
    ends(&url, "synchronous_commit = off");
}
