//! Answers that never come, and answers that cannot be read.

use super::{shared::*, *};
use crate::storage::{
    Landed, Verdict,
    contract::{append, name},
};

fn appended(id: u64, data: &str) -> Group {
    group(vec![rev(id, 1), room(id, 100)], vec![append(id, 0, data)])
}

const fn landed(id: u64, at: u64) -> Landed {
    Landed { id, at, rev: 1 }
}

/// Replaces a part of the commit function.
fn change_commit(database: &Database<'_>, part: &str, by: &str) {
    let changed = database.sql(&format!(
        "do $do$ declare def text := pg_get_functiondef('durable_streams.commit_v1'::regproc); \
         begin if strpos(def, $part${part}$part$) = 0 then raise exception 'no such part'; end if; \
         execute replace(def, $part${part}$part$, $part${by}$part$); end $do$; select 'changed'"
    ));
    assert_eq!(changed, "changed");
}

/// Nobody waits for it any longer than for one with changes.
#[test]
fn a_batch_that_only_expects_is_not_repeated_for_ever() {
    let database = Postgres::shared().database();
    let store = open(&database);
    create(&store, "s", 1);
    change_commit(
        &database,
        "  if p_names is not null then\n    if current_setting",
        "  if p_lock is null then perform pg_terminate_backend(pg_backend_pid()), pg_sleep(1); end if;\n  \
         if p_names is not null then\n    if current_setting",
    );
    let expecting = group(vec![rev(1, 1)], vec![]);
    let refused = store.commit(std::slice::from_ref(&expecting));
    assert!(
        matches!(refused, Err(CommitError::Storage(StorageError::Away(_)))),
        "{refused:?}"
    );
}

#[test]
fn a_record_that_cannot_be_read_does_not_concern_other_groups() {
    let database = Postgres::shared().database();
    let store = open(&database);
    create(&store, "s", 1);
    create(&store, "t", 2);
    database.sql("update durable_streams.streams set record = '\\xff' where id = 2");
    database.sql("update durable_streams.heads set rev = 2 where id = 2");
    let verdicts = commit(&store, &[appended(1, "x"), appended(2, "y")]);
    assert_eq!(
        verdicts,
        [Verdict::Committed(vec![landed(1, 0)]), Verdict::Moved(Vec::new())]
    );
    assert_eq!(
        commit(&store, &[appended(1, "z")]),
        [Verdict::Committed(vec![landed(1, 1)])]
    );
    let found = SharedStore::refresh(&store, &[name("s"), name("t")]).unwrap();
    assert!(matches!(found[..], [Ok(Some(_)), Err(_)]), "{found:?}");
}

#[test]
fn a_commit_with_an_answer_that_cannot_be_read_is_found_in_the_log() {
    let database = Postgres::shared().database();
    let store = open(&database);
    create(&store, "s", 1);
    change_commit(
        &database,
        "now := (extract(epoch from clock_timestamp()) * 1000000)::bigint",
        "now := null",
    );
    for at in 0..3 {
        assert_eq!(
            commit(&store, &[appended(1, "x")]),
            [Verdict::Committed(vec![landed(1, at)])]
        );
    }
}

/// Leaves a row in the log as if the commit `ahead` of the last one had happened.
fn use_number(database: &Database<'_>, ahead: u32) {
    database.sql(&format!(
        "insert into durable_streams.log (lane, n, ids, revs, tails, streams, bytes) \
         select lane, n + {ahead}, ids, revs, tails, 0, 0 from durable_streams.log"
    ));
}

/// However it came to be used.
#[test]
fn a_number_that_was_used_is_passed_over() {
    let database = Postgres::shared().database();
    let store = open(&database);
    create(&store, "s", 1);
    use_number(&database, 1);
    assert_eq!(
        commit(&store, &[appended(1, "x")]),
        [Verdict::Committed(vec![landed(1, 0)])]
    );
    assert_eq!(store.get(&name("s")).unwrap().unwrap().tail, 1);
}

/// As when another server has had the lane since a restore.
#[test]
fn a_lane_in_which_others_are_far_ahead_is_left() {
    let database = Postgres::shared().database();
    let store = open(&database);
    create(&store, "s", 1);
    let before = store.core.lane_id();
    use_number(&database, 1_000_000);
    assert_eq!(
        commit(&store, &[appended(1, "x")]),
        [Verdict::Committed(vec![landed(1, 0)])]
    );
    assert_ne!(store.core.lane_id(), before);
}

/// The end of its answer may still be to come, and a pooler would mistake the next statement.
#[test]
fn a_connection_that_has_refused_a_statement_is_not_used_again() {
    let database = Postgres::shared().database();
    let store = open(&database);
    let connections = &store.core.connections;
    let ask = |sql: &str| store.block(connections.read(sql, &[])).unwrap();
    let pid = || get::<i32>(&ask("select pg_backend_pid()").unwrap()[0], 0).unwrap();
    let before = pid();
    assert_eq!(pid(), before);
    assert!(matches!(ask("select 1 / 0"), Err(Failure::Refused { .. })));
    assert_ne!(pid(), before);
}

/// A backend does not detect that its client is gone while it waits for a lock.
#[test]
fn a_read_that_is_not_answered_in_time_leaves_no_backend_behind() {
    let database = Postgres::shared().database();
    let store = open(&database);
    create(&store, "s", 1);
    std::thread::scope(|scope| {
        let lock = "begin; lock table durable_streams.heads; select pg_sleep(60)";
        let holder = scope.spawn(|| database.sql(lock));
        let waiting = |event: &str| {
            let activity = format!(
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event = '{event}'"
            );
            database.sql(&activity)
        };
        wait_until(Postgres::shared(), "nothing is locked", || waiting("PgSleep") == "1");
        let refused = store.get(&name("s"));
        assert!(matches!(refused, Err(StorageError::Away(_))), "{refused:?}");
        wait_until(Postgres::shared(), "a backend is left behind", || {
            waiting("relation") == "0"
        });
        assert_eq!(waiting("PgSleep"), "1");
        database.sql(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and wait_event = 'PgSleep'",
        );
        assert!(holder.join().is_err(), "the lock was released too early");
    });
}

#[test]
fn connections_that_wait_for_an_answer_for_ever_are_limited() {
    let database = Postgres::shared().database();
    let store = open(&database);
    let connections = &store.core.connections;
    let given_up: Vec<_> = (0..connections::MAX_CONNECTIONS)
        .map(|_| Arc::clone(&connections.alive))
        .collect();
    let refused = store.block(connections.open(None)).unwrap();
    assert!(refused.is_err_and(|failure| failure.to_string().contains("do not come")));
    drop(given_up);
    wait_until(Postgres::shared(), "no connection is made", || {
        store.block(connections.open(None)).unwrap().is_ok()
    });
}
