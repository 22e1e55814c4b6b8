//! Roles that may not create a schema.

use super::{databases::refusal, shared::*, *};
use crate::{
    storage::{
        Duty, ProducerState,
        contract::{append, producer, remove},
        postgres::tools::Database as Named,
    },
    test_support::postgres::{PASSWORD, USER},
};

/// A role without rights, and the URL with which it connects.
fn role(database: &Database<'_>) -> (String, String) {
    let role = format!("Role of {}", database.name());
    database.sql(&format!("create role \"{role}\" login password '{PASSWORD}'"));
    let encoded = role.replace(' ', "%20");
    let url = database.url().replace(&format!("//{USER}:"), &format!("//{encoded}:"));
    (role, url)
}

fn connect(url: &str) -> PostgresStorage {
    PostgresStorage::connect(&PostgresOptions::new(url, "test")).unwrap()
}

#[test]
fn a_role_without_rights_is_told_what_to_do() {
    let database = Postgres::shared().database();
    let (role, url) = role(&database);
    let told = "have an administrator run the output of `durable-streams-server storage schema --role ROLE`";
    let missing = refusal(&url);
    assert!(missing.contains("may not create or update the schema"), "{missing}");
    assert!(missing.contains(told), "{missing}");
    database.sql(&schema(None));
    let unusable = refusal(&url);
    assert!(unusable.contains("may not use the schema"), "{unusable}");
    assert!(unusable.contains(told), "{unusable}");
    database.sql(&schema(Some(&role)));
    database.sql(&format!("revoke delete on durable_streams.writers from \"{role}\""));
    let partial = refusal(&url);
    assert!(partial.contains("no rights to the table writers"), "{partial}");
    // An upgrade that only the administrator may make.
    database.sql(&schema(Some(&role)));
    database.sql("update durable_streams.format set functions = 0");
    let outdated = refusal(&url);
    assert!(outdated.contains("may not create or update the schema"), "{outdated}");
    database.sql(&schema(Some(&role)));
    drop(connect(&url));
}

#[test]
fn the_printed_rights_are_enough_for_everything_that_a_server_does() {
    let database = Postgres::shared().database();
    let (role, url) = role(&database);
    database.sql(&schema(Some(&role)));
    let store = connect(&url);
    let id = store.reserve_ids(2, 0).unwrap();
    create(&store, "s", id);
    let appended = group(vec![rev(id, 1), room(id, 100)], vec![append(id, 0, "kept")]);
    commit(&store, &[appended]);
    let state = ProducerState { epoch: 0, seq: 0 };
    commit(&store, &[group(vec![], vec![producer(id, "p", state, 1)])]);
    create(&store, "removed", id + 1);
    commit(
        &store,
        &[group(vec![], vec![append(id + 1, 0, "x"), remove("removed", id + 1)])],
    );
    for duty in [Duty::Sweep, Duty::Retention, Duty::Upkeep, Duty::Subscriptions] {
        assert!(store.take_duty(duty).unwrap());
    }
    database.sql("update durable_streams.log set at = at - interval '5 minutes'");
    while store.maintain().unwrap() {}
    database.sql("update durable_streams.merges set due = now() - interval '1 second'");
    while store.maintain().unwrap() {}
    let recorder = super::news::Recorder::of(&store);
    let other = connect(&url);
    commit(&other, &[group(vec![rev(id, 1)], vec![append(id, 4, "!")])]);
    recorder.wait_for_tail(id, 5);
    drop((store, other));

    // And for the tools.
    let named = Named::named("storage.url", &url).unwrap();
    let report = named.check().unwrap();
    assert_eq!((report.streams, report.problems), (1, vec![]));
    database.sql("update durable_streams.servers set seen = seen - interval '1 minute'");
    drop(named.export().unwrap());
    database.sql("delete from durable_streams.heads; delete from durable_streams.streams");
    drop(named.import().unwrap());
}
