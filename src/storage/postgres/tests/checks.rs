//! Rows that do not agree, and what the check says about them.

use super::{shared::*, *};
use crate::storage::{
    Fork, Inherited, ProducerState, StreamRecord,
    contract::{append, name, producer, put, record},
    postgres::tools::Database as Named,
};

/// Streams of each kind: `a` with rows and a producer, and `fork` of `source`.
fn filled() -> (Database<'static>, PostgresStorage) {
    let database = Postgres::shared().database();
    let store = open(&database);
    let first = store.reserve_ids(100, 0).unwrap();
    assert_eq!(first, 1);
    let due = StreamRecord {
        due_at: Some(77),
        ..record(1)
    };
    let source = StreamRecord { forks: 1, ..record(2) };
    let fork = StreamRecord {
        start: 6,
        fork: Some(Box::new(Fork {
            source: name("source"),
            source_id: 2,
            offset: 6,
            sub_offset: 0,
            lineage: vec![Inherited { id: 2, end: 6 }],
        })),
        ..record(3)
    };
    let changes = [
        vec![put("a", due)],
        vec![append(1, 0, "first,")],
        vec![append(1, 6, "second,")],
        vec![append(1, 13, "third")],
        vec![producer(1, "p", ProducerState { epoch: 1, seq: 2 }, 5)],
        vec![put("source", source), append(2, 0, "source"), put("fork", fork)],
        vec![append(3, 6, " and fork")],
    ];
    for changes in changes {
        commit(&store, &[group(vec![], changes)]);
    }
    (database, store)
}

fn problems(database: &Database<'_>) -> Vec<String> {
    let named = Named::named("storage.url", &database.url()).unwrap();
    named.check().unwrap().problems
}

#[test]
fn an_intact_database_passes_while_servers_use_it() {
    let (database, store) = filled();
    let named = Named::named("storage.url", &database.url()).unwrap();
    let report = named.check().unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!((report.streams, report.bytes), (3, 18 + 6 + 9));
    assert_eq!(
        (report.streams, report.bytes),
        (store.usage().streams, store.usage().bytes)
    );
    // Also with rows that wait to be deleted.
    let remove = crate::storage::contract::remove("a", 1);
    commit(&store, &[group(vec![], vec![remove])]);
    assert_eq!(problems(&database), Vec::<String>::new());
}

#[test]
fn damage_is_reported_with_the_stream_and_what_to_do() {
    let (lost, a) = ("restore a backup, or delete the stream", "`a`");
    for (damage, expected) in [
        (
            "delete from durable_streams.chunks where id = 1 and start = 6",
            vec![format!("{a} has lost its bytes from 6 to 13: {lost}")],
        ),
        (
            "delete from durable_streams.chunks where id = 1 and start < 13",
            vec![format!("{a} has lost its bytes from 0 to 13: {lost}")],
        ),
        (
            "delete from durable_streams.chunks where id = 1",
            vec![format!("{a} has lost its bytes from 0 to 18: {lost}")],
        ),
        (
            "update durable_streams.heads set tail = 20 where id = 1",
            vec![format!("{a} has lost its bytes from 18 to 20: {lost}")],
        ),
        (
            "update durable_streams.chunks set data = 'firs' where id = 1 and start = 0",
            vec![format!(
                "{a} has 1 rows whose bytes are not as long as their positions: {lost}"
            )],
        ),
        (
            "update durable_streams.chunks set start = 5, data = ',second,' where id = 1 and start = 6",
            vec![format!("{a} has bytes from 5 to 6 twice: {lost}")],
        ),
        (
            "delete from durable_streams.heads where id = 1",
            vec![format!("{a} has no row in heads, so nobody can read it: {lost}")],
        ),
        (
            "update durable_streams.streams set record = '\\x03ffff' where id = 1",
            vec![format!("{a} has a record that cannot be read ("), lost.to_owned()],
        ),
        (
            "update durable_streams.streams set key = 'b' where id = 1",
            vec![format!("{a} is kept under the key `b`: {lost}")],
        ),
        (
            "delete from durable_streams.streams where id = 2",
            vec![
                "`fork` is a fork of stream 2, which does not exist or counts no forks".to_owned(),
                "the head of stream 2 belongs to no stream: delete from durable_streams.heads where id = 2".to_owned(),
            ],
        ),
        (
            "delete from durable_streams.heads where id = 2",
            vec!["`fork` inherits the bytes up to 6 from stream 2, which does not have them".to_owned()],
        ),
        (
            "update durable_streams.heads set first = 3 where id = 2",
            vec!["`fork` inherits the bytes up to 6 from stream 2, which does not have them".to_owned()],
        ),
        (
            "delete from durable_streams.streams where id = 3; delete from durable_streams.heads where id = 3",
            vec!["`source` counts 1 forks, but has 0".to_owned()],
        ),
        (
            "delete from durable_streams.totals",
            vec!["the table durable_streams.totals has 0 rows instead of one: restore a backup".to_owned()],
        ),
    ] {
        let (database, store) = filled();
        drop(store);
        database.sql(damage);
        let found = problems(&database).join("\n");
        for part in expected {
            assert!(found.contains(&part), "{damage}: {part:?} is missing in\n{found}");
        }
    }
}

#[test]
fn what_the_report_says_mends_what_can_be_mended() {
    for (damage, problem) in [
        (
            "update durable_streams.heads set tail = 6 where id = 1; \
             update durable_streams.totals set bytes = bytes - 12",
            "`a` has bytes after its tail 6, which nobody can read",
        ),
        (
            "update durable_streams.heads set first = 2 where id = 1; \
             update durable_streams.totals set bytes = bytes - 0",
            "`a` begins at 0, but at 2 in heads",
        ),
        (
            "update durable_streams.heads set due_at = null where id = 1",
            "`a` is due at 77, but at null in heads",
        ),
        (
            "update durable_streams.heads set due_at = 5 where id = 3",
            "`fork` is due at null, but at 5 in heads",
        ),
        (
            "update durable_streams.ids set next = 3",
            "`fork` has the id 3, which was never reserved",
        ),
        (
            "update durable_streams.writers set progress = '\\xff'",
            "`a` has a producer whose state cannot be read",
        ),
        (
            "insert into durable_streams.heads values (50, 1, 0, 0, null)",
            "the head of stream 50 belongs to no stream",
        ),
        (
            "insert into durable_streams.chunks values (50, 0, 1, 'x')",
            "1 rows with bytes of stream 50 belong to no stream",
        ),
        (
            "insert into durable_streams.writers values (50, 'x', 'x', 0)",
            "1 rows with producers of stream 50 belong to no stream",
        ),
        (
            "update durable_streams.totals set streams = 9, bytes = 1000",
            "but has 3 with 33",
        ),
    ] {
        let (database, store) = filled();
        drop(store);
        database.sql(damage);
        let found = problems(&database);
        let [only] = &found[..] else {
            panic!("{damage}: {found:?}")
        };
        assert!(only.contains(problem), "{damage}: {only}");
        let (_, remedy) = only.rsplit_once(": ").unwrap();
        let remedy = remedy.split(", after which").next().unwrap();
        let remedy = remedy.split(" has the servers").next().unwrap();
        database.sql(remedy);
        assert_eq!(problems(&database), Vec::<String>::new(), "{damage}, then {remedy}");
    }
}

#[test]
fn a_database_of_another_kind_is_not_checked() {
    let database = Postgres::shared().database();
    let named = Named::named("storage.url", &database.url()).unwrap();
    let refused = named.check().unwrap_err().to_string();
    assert!(refused.contains("it has no schema durable_streams"), "{refused}");
    drop(open(&database));
    database.sql("update durable_streams.format set functions = 0");
    let refused = named.check().unwrap_err().to_string();
    assert!(refused.contains("of an earlier release"), "{refused}");
}
