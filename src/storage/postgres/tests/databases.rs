//! Databases that cannot be used, and databases that are replaced.

use super::{news::Recorder, shared::*, *};
use crate::{
    storage::{
        Verdict,
        contract::{append, name},
    },
    test_support::postgres::Stop,
};

pub(super) fn refusal(url: &str) -> String {
    match PostgresStorage::open(&PostgresOptions::new(url, "test"), Clock::system()) {
        Ok(_) => panic!("the database is accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_database_that_may_lose_acknowledged_data_is_refused() {
    let server = Postgres::start(&[("fsync", "off")]);
    let refused = refusal(&server.url("postgres"));
    assert!(refused.contains("fsync = off"), "{refused}");
    server.set("synchronous_commit", "off");
    server.set("fsync", "on");
    let mut refused = String::new();
    // A reload takes a moment to reach new sessions.
    for _ in 0..1_000 {
        refused = refusal(&server.url("postgres"));
        if !refused.contains("fsync = off") {
            break;
        }
    }
    assert!(refused.contains("synchronous_commit = off"), "{refused}");
}

#[test]
fn a_database_that_lacks_characters_is_refused() {
    let server = Postgres::shared();
    server.sql(
        "postgres",
        "create database latin encoding 'LATIN1' template template0 lc_collate 'C' lc_ctype 'C'",
    );
    let refused = refusal(&server.url("latin"));
    assert!(refused.contains("LATIN1") && refused.contains("UTF8"), "{refused}");
}

/// Every role that may connect can send notifications on a channel that it knows.
#[test]
fn each_database_has_a_channel_that_cannot_be_guessed() {
    let channel = || {
        let database = Postgres::shared().database();
        drop(open(&database));
        database.sql("select name from durable_streams.channel")
    };
    let (first, second) = (channel(), channel());
    assert!(first.len() == "durable_streams_".len() + 32, "{first}");
    assert_ne!(first, second);
}

#[test]
fn refusals_say_where_and_show_no_password() {
    use crate::test_support::postgres::PASSWORD;
    let database = Postgres::shared().database();
    for (url, part) in [
        (
            database.url().replace(PASSWORD, "wr0ng-password"),
            "password authentication failed",
        ),
        (database.url().replace("/test_", "/missing_"), "does not exist"),
        ("postgres://a:wr0ng-password@127.0.0.1:1/x".to_owned(), "127.0.0.1:1"),
    ] {
        let refused = refusal(&url);
        assert!(refused.contains(part), "{refused}");
        assert!(!refused.contains(PASSWORD) && !refused.contains("wr0ng"), "{refused}");
    }
}

#[test]
fn a_newer_schema_is_refused() {
    let database = Postgres::shared().database();
    drop(open(&database));
    database.sql("update durable_streams.format set version = 7");
    let refused = refusal(&database.url());
    assert!(refused.contains("format 7"), "{refused}");
}

#[test]
fn the_printed_schema_is_the_one_that_a_server_needs() {
    let database = Postgres::shared().database();
    // Once more, as at an upgrade.
    database.sql(&schema(None));
    database.sql(&schema(None));
    let store = open(&database);
    create(&store, "s", 1);
}

#[test]
fn another_history_is_noticed_after_a_failover() {
    let primary = Postgres::start(&[("synchronous_standby_names", "s1"), ("synchronous_commit", "local")]);
    let standby = primary.standby("s1", &[]);
    primary.set("synchronous_commit", "on");
    let store = open_at_either(&primary, &standby);
    create(&store, "s", 1);
    let recorder = Recorder::of(&store);
    let appended = |data: &str| group(vec![rev(1, 1), room(1, 100)], vec![append(1, 0, data)]);
    commit(&store, &[appended("before,")]);
    let before = SharedStore::history(&store);

    primary.stop(Stop::Immediate);
    standby.promote();
    let mut refusals = Vec::new();
    let verdicts = loop {
        match store.commit(&[appended("after")]) {
            Ok(Verdicts::Each(verdicts)) => break verdicts,
            Ok(other) => panic!("{other:?}"),
            Err(
                error @ (CommitError::Storage(StorageError::Away(_) | StorageError::Standby(_))
                | CommitError::Unknown(_)),
            ) => {
                refusals.push(error.to_string());
            }
            Err(error) => panic!("{error}"),
        }
        assert!(refusals.len() < 1_000_000, "{:?}", refusals.last());
    };
    assert!(matches!(verdicts[..], [Verdict::Committed(_)]), "{verdicts:?}");
    assert_ne!(SharedStore::history(&store), before);
    // A batch that was judged before the failover is refused after it.
    let late = store.commit_in(before, &[appended("late")]);
    assert!(
        matches!(late, Err(CommitError::Storage(StorageError::Away(_)))),
        "{late:?}"
    );
    recorder.wait_until_restored();
    assert_eq!(&store.read(1, 0..100).unwrap()[..], b"before,after");
    assert_eq!(store.get(&name("s")).unwrap().unwrap().tail, 12);
}

/// As after `pg_restore --clean`.
fn restore(database: &Database<'_>) {
    database.sql(
        "begin; alter table durable_streams.log rename to lost; \
         create table durable_streams.log (like durable_streams.lost including all); \
         insert into durable_streams.log select * from durable_streams.lost; drop table durable_streams.lost; commit",
    );
}

/// Another server may have got the number of its lane after the restore.
#[test]
fn a_server_that_writes_nothing_begins_another_lane_in_a_restored_database() {
    let database = Postgres::shared().database();
    let store = open(&database);
    create(&store, "s", 1);
    let _recorder = Recorder::of(&store);
    let (before, history) = (store.core.lane_id(), SharedStore::history(&store));
    restore(&database);
    wait_until(Postgres::shared(), "another lane", || store.core.lane_id() != before);
    let lanes = database.sql("select count(*) from durable_streams.servers");
    assert_eq!(lanes, "2");
    // A batch that was judged before the restore is refused.
    let appended = || group(vec![rev(1, 1), room(1, 100)], vec![append(1, 0, "x")]);
    let refused = store.commit_in(history, &[appended()]);
    assert!(
        matches!(refused, Err(CommitError::Storage(StorageError::Away(_)))),
        "{refused:?}"
    );
    assert!(matches!(commit(&store, &[appended()])[..], [Verdict::Committed(_)]));
}

#[test]
fn a_dump_that_is_restored_into_the_same_database_is_noticed() {
    let database = Postgres::shared().database();
    let store = open(&database);
    create(&store, "s", 1);
    let recorder = Recorder::of(&store);
    let before = SharedStore::history(&store);
    recorder.has_seen_no_restore();
    restore(&database);
    recorder.wait_until_restored();
    assert_ne!(SharedStore::history(&store), before);
    // Servers that start now agree.
    let other = open(&database);
    assert_eq!(SharedStore::history(&other), SharedStore::history(&store));
    let appended = || group(vec![rev(1, 1), room(1, 100)], vec![append(1, 0, "x")]);
    // One that was judged on what may be lost.
    assert!(store.commit_in(before, &[appended()]).is_err());
    assert!(matches!(commit(&store, &[appended()])[..], [Verdict::Committed(_)]));
    assert_eq!(&other.read(1, 0..9).unwrap()[..], b"x");
}

#[test]
fn servers_that_start_together_agree_who_creates_the_schema() {
    for _ in 0..3 {
        let database = Postgres::shared().database();
        std::thread::scope(|scope| {
            let starts: Vec<_> = (0..6).map(|_| scope.spawn(|| drop(open(&database)))).collect();
            starts.into_iter().for_each(|start| start.join().unwrap());
        });
    }
}
