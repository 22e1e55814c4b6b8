//! Fresh reads, which run on the runtime of the caller.

use super::{shared::*, *};
use crate::storage::contract::{append, name};

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// The tail of the stream `s`.
fn tail(runtime: &Runtime, store: &PostgresStorage) -> Position {
    let names = [name("s")];
    let found = runtime.block_on(store.refresh_async(&names)).unwrap();
    found[0].as_ref().unwrap().as_ref().unwrap().tail
}

#[test]
fn a_fresh_read_needs_no_thread_of_the_store() {
    let database = Postgres::shared().database();
    let store = open(&database);
    create(&store, "s", 1);
    let (release, held) = std::sync::mpsc::channel::<()>();
    drop(store.runtime.as_ref().unwrap().spawn(async move { held.recv() }));
    assert_eq!(tail(&runtime(), &store), 0);
    drop(release);
}

#[test]
fn a_connection_ends_with_the_runtime_that_made_it() {
    let database = Postgres::shared().database();
    let store = open(&database);
    create(&store, "s", 1);
    for number in 0..3 {
        assert_eq!(tail(&runtime(), &store), number);
        let next = group(vec![rev(1, 1), room(1, 100)], vec![append(1, 0, "x")]);
        commit(&store, &[next]);
    }
}

#[test]
fn a_fresh_read_is_repeated_on_a_new_connection() {
    let database = Postgres::shared().database();
    let (store, runtime) = (open(&database), runtime());
    create(&store, "s", 1);
    for _ in 0..3 {
        assert_eq!(tail(&runtime, &store), 0);
        database.sql(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and pid <> pg_backend_pid() and query like '%streams_v1%'",
        );
    }
}
