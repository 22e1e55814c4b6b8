//! One server on PostgreSQL: commands on its database, health and metrics.

use super::{
    storage_tools::{assert_continues, assert_seen, fill, seen},
    support::{
        http::Answer,
        server::{Server, Setup},
        shared::postgres::{Database, Postgres, Stop},
        storage::{MODES, moved, on_disk, path, refused, storage, succeeds},
        until,
    },
};

fn on(database: &Database<'_>, setup: Setup) -> Setup {
    let mut setup = setup
        .with("storage.mode", "postgres")
        .with("storage.url", database.url());
    setup.variables.remove("DS_STORAGE__DATA_DIR");
    setup
}

/// As if the servers had been stopped a minute ago.
fn servers_are_silent(database: &Database<'_>) {
    database.sql("update durable_streams.servers set seen = seen - interval '1 minute'");
}

#[test]
fn a_directory_migrates_to_a_database_and_back() {
    let database = Postgres::shared().database();
    let acid = on_disk("acid");
    let server = acid.start();
    fill(&server);
    // The log of a subscription, which no request names.
    subscribe(&server, "s1");
    let before = seen(&server);
    server.stop();
    let shared = on(&database, acid.clone());
    let dir = acid.data_dir().display().to_string();
    let out = succeeds(&shared, &["migrate", "--data-dir", &dir, "--mode", "postgres"]);
    // The seven, the wake stream and the log.
    assert!(out.contains("copied     9 streams"), "{out}");
    assert!(!out.contains("Pa55word"), "{out}");
    let out = succeeds(&shared, &["check"]);
    assert!(out.starts_with("database   postgres://postgres@127.0.0.1:"), "{out}");
    assert!(out.ends_with("\nok\n"), "{out}");
    let server = shared.start();
    assert_seen(&without_tags(seen(&server)), &without_tags(before));
    assert_continues(&server);
    assert!(is_subscribed(&server, "s1"));
    let after = without_tags(seen(&server));
    server.stop();

    servers_are_silent(&database);
    let to = path(&acid, "back");
    let out = succeeds(&shared, &["migrate", "--to", &to, "--mode", "file-durable"]);
    assert!(
        out.contains(&format!(
            "set storage.mode to file-durable and storage.data_dir to {to}"
        )),
        "{out}"
    );
    let back = moved(&acid, &to, "file-durable");
    succeeds(&back, &["check"]);
    let server = back.start();
    assert_seen(&without_tags(seen(&server)), &after);
    assert!(is_subscribed(&server, "s1"));
}

/// Entity tags say from which history of which store content comes.
fn without_tags(mut seen: Vec<(Answer, String)>) -> Vec<(Answer, String)> {
    for (head, _) in &mut seen {
        head.headers.retain(|(name, _)| name != "etag");
    }
    seen
}

fn subscribe(server: &Server, id: &str) {
    server.put("wake").json("[]").send().expect(201);
    let body = r#"{"type":"pull-wake","streams":["json"],"wake_stream":"wake"}"#;
    server
        .put(&format!("__ds/subscriptions/{id}"))
        .json(body)
        .send()
        .expect(201);
}

fn is_subscribed(server: &Server, id: &str) -> bool {
    let mut status = 0;
    // Subscriptions are read in the background after a start.
    until("the subscriptions", || {
        status = server.get(&format!("__ds/subscriptions/{id}")).send().status;
        status != 503
    });
    status == 200
}

#[test]
fn the_commands_say_what_is_missing() {
    let database = Postgres::shared().database();
    let (shared, to) = (on(&database, Setup::new()), path(&Setup::new(), "x"));
    let acid = on_disk("acid");
    for (setup, arguments, part) in [
        (
            &shared,
            &["migrate", "--mode", "postgres"][..],
            "name the directory with --data-dir",
        ),
        (
            &shared,
            &["migrate", "--mode", "postgres", "--to", &to],
            "leave --to out",
        ),
        (&shared, &["migrate", "--mode", "acid"], "--to is missing"),
        (
            &shared,
            &["migrate", "--mode", "acid", "--to", &to],
            "it has no schema durable_streams",
        ),
        (&shared, &["check"], "it has no schema durable_streams"),
        (&shared, &["repair", "--to", &to], "pg_dump"),
        (&shared, &["backup", "--to", &to], "pg_dump"),
        (
            &acid,
            &["migrate", "--mode", "postgres"],
            "set storage.mode to postgres",
        ),
    ] {
        refused(setup, arguments, part);
    }
    assert!(MODES.iter().all(|mode| *mode != "postgres"));
}

#[test]
fn damage_is_reported_with_exit_code_1() {
    let database = Postgres::shared().database();
    let setup = on(&database, Setup::new());
    let server = setup.start();
    server.text_stream("s", "lost");
    database.sql("delete from durable_streams.chunks");
    let (code, out, error) = storage(&setup, &["check"]);
    assert_eq!((code, error.as_str()), (1, ""), "{out}");
    assert!(out.contains("problem    `s` has lost its bytes from 0 to "), "{out}");
}

#[test]
fn a_database_that_is_away_is_shown_by_health_and_metrics() {
    let postgres = Postgres::start(&[]);
    let database = postgres.database();
    let server = on(&database, Setup::new()).start();
    server.text_stream("s", "hello");
    server.get("s").send().expect(200);
    server.raw("GET", "/readyz").send().expect(200);
    let purpose = |purpose: &str| format!("ds_store_round_trip_seconds_count{{purpose=\"{purpose}\"}}");
    assert!(server.metric(&purpose("commit")) >= 1.0);
    assert!(server.metric(&purpose("read")) >= 1.0);
    assert!(server.metric("ds_store_events_total{event=\"committed_group\"}") >= 1.0);
    until("notifications", || {
        server.metric("ds_store_notifications_arrive") == 1.0
    });
    until("the log", || server.metrics().contains("ds_store_lag_seconds "));
    assert_eq!(server.metric("ds_store_reached"), 1.0);
    assert!(server.metric("ds_store_lag_seconds") < 10.0);

    postgres.stop(Stop::Immediate);
    until("the outage", || server.metric("ds_store_reached") == 0.0);
    let reason = server.raw("GET", "/readyz").send().problem(503);
    assert!(reason.contains("the database cannot be reached"), "{reason}");
    server.raw("GET", "/healthz").send().expect(200);
    postgres.start_again();
    until("the database", || server.raw("GET", "/readyz").send().status == 200);
    until("the metric", || server.metric("ds_store_reached") == 1.0);
}

#[test]
fn a_store_of_one_holder_has_no_metrics_of_a_shared_one() {
    let server = Setup::new().start();
    server.text_stream("s", "hello");
    assert!(!server.metrics().contains("ds_store_"));
}

#[test]
fn the_printed_schema_has_the_rights_of_a_role() {
    let (code, out, _) = Setup::new().run(&["storage", "schema", "--role", "streams"]);
    assert_eq!(code, 0);
    assert!(
        out.contains("grant usage on schema durable_streams to \"streams\";"),
        "{out}"
    );
    let (_, without, _) = Setup::new().run(&["storage", "schema"]);
    assert!(!without.contains("grant "), "{without}");
}
