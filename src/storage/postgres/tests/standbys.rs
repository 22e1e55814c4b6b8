//! Standbys that are away, and primaries that no longer are.

use super::{news::Recorder, shared::*, *};
use crate::{
    storage::{
        Verdict,
        contract::{append, name},
    },
    test_support::postgres::Stop,
};

fn appended(data: &str) -> Group {
    group(vec![rev(1, 1), room(1, 100)], vec![append(1, 0, data)])
}

fn waiting(server: &Postgres) -> String {
    server.sql(
        "postgres",
        "select count(*) from pg_stat_activity where wait_event = 'SyncRep'",
    )
}

/// Runs SQL that waits for a standby.
fn begin(server: &Arc<Postgres>, sql: &'static str) {
    let server = Arc::clone(server);
    std::thread::spawn(move || server.sql("postgres", sql));
}

#[test]
fn a_commit_without_its_standby_is_not_acknowledged_and_occupies_one_connection() {
    let server = Arc::new(Postgres::start(&[]));
    let store = open_at(server.url("postgres"));
    create(&store, "s", 1);
    server.set("synchronous_standby_names", "absent");
    wait_until(&server, "no commit waits", || {
        begin(&server, "select pg_logical_emit_message(true, 'x', 'x')");
        server.sql("postgres", "select pg_sleep(0.05)");
        waiting(&server) != "0"
    });
    let others: u64 = waiting(&server).parse().unwrap();
    let doubtful = store.commit(&[appended("doubtful,")]);
    assert!(matches!(doubtful, Err(CommitError::Unknown(_))), "{doubtful:?}");
    let refused = store.commit(&[appended("refused,")]);
    let Err(CommitError::Storage(StorageError::Away(why))) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("standby"), "{why}");
    // Reads go on, and so does what needs no standby.
    assert_eq!(store.get(&name("s")).unwrap().unwrap().tail, 0);
    assert!(store.shared().unwrap().take_duty(crate::storage::Duty::Sweep).unwrap());
    assert_eq!(waiting(&server), (others + 1).to_string());
    // The row of a commit proves it only once the standbys have the row, which the crash of a primary may delay.
    begin(&server, "select durable_streams.settle_v1(1, 1)");
    wait_until(&server, "the proof does not wait", || {
        waiting(&server) == (others + 2).to_string()
    });
    let recorder = Recorder::of(&store);
    server.set("synchronous_standby_names", "");
    // This server's live readers get it, although nobody else announces it to them, and nothing else is committed.
    recorder.wait_for_tail(1, 9);
    let verdicts = commit(&store, &[appended("after")]);
    assert!(matches!(verdicts[..], [Verdict::Committed(_)]), "{verdicts:?}");
    assert_eq!(&store.read(1, 0..100).unwrap()[..], b"doubtful,after");
}

/// In a busy cluster, somebody waits at any moment.
#[test]
fn a_standby_that_others_have_just_begun_to_wait_for_stops_no_write() {
    let server = Arc::new(Postgres::start(&[]));
    let store = open_at(server.url("postgres"));
    server.set("synchronous_standby_names", "absent");
    wait_until(&server, "no commit waits", || {
        begin(&server, "select pg_logical_emit_message(true, 'x', 'x')");
        server.sql("postgres", "select pg_sleep(0.05)");
        waiting(&server) != "0"
    });
    let connections = &store.core.connections;
    connections.note_late_write();
    store.block(connections.check_standby()).unwrap().unwrap();
    server.sql("postgres", "select pg_sleep(3)");
    connections.note_late_write();
    let refused = store.block(connections.check_standby()).unwrap();
    assert!(refused.is_err_and(|failure| failure.to_string().contains("standby")));
}

/// Two hosts in the URL, and both take writes: the one that was left behind must not be used.
#[test]
fn an_old_primary_is_not_used_again() {
    let primary = Postgres::start(&[]);
    let standby = primary.standby("s1", &[]);
    let store = open_at_either(&primary, &standby);
    create(&store, "s", 1);
    let lsn = primary.sql("postgres", "select pg_current_wal_flush_lsn()");
    wait_until(&primary, "the standby lags", || {
        standby.sql("postgres", &format!("select pg_last_wal_replay_lsn() >= '{lsn}'")) == "t"
    });
    // A pooler may lead an open connection to a standby, which answers no lookups.
    standby.sql(
        "postgres",
        "do $$ begin perform durable_streams.streams_v1('{}'); raise exception 'it answers'; \
         exception when object_not_in_prerequisite_state then null; end $$",
    );
    primary.stop(Stop::Immediate);
    standby.promote();
    wait_until(
        &standby,
        "the new primary is not used",
        || matches!(store.commit(&[appended("new")]), Ok(Verdicts::Each(verdicts)) if matches!(verdicts[..], [Verdict::Committed(_)])),
    );
    let history = SharedStore::history(&store);

    primary.start_again();
    standby.sql(
        "postgres",
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'durable-streams-server'",
    );
    let mut refused = String::new();
    for _ in 0..50 {
        match store.get(&name("s")) {
            Ok(stored) => assert_eq!(stored.unwrap().tail, 3),
            Err(error) => refused = error.to_string(),
        }
        standby.sql("postgres", "select pg_sleep(0.02)");
    }
    assert!(refused.contains("old primary"), "{refused}");
    assert_eq!(primary.sql("postgres", "select tail from durable_streams.heads"), "0");
    primary.stop(Stop::Immediate);
    wait_until(&standby, "the new primary is not used again", || {
        store.get(&name("s")).is_ok()
    });
    assert_eq!(store.get(&name("s")).unwrap().unwrap().tail, 3);
    assert_eq!(SharedStore::history(&store), history);
}
