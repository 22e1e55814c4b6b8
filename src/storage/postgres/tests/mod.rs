//! The store on a real PostgreSQL.

mod answers;
mod checks;
mod copies;
mod databases;
mod faults;
mod fresh;
mod news;
mod pooler;
mod roles;
mod shared;
mod standbys;
mod tls;
mod upkeep;

use super::*;
use crate::{
    storage::contract::{Subject, contract},
    test_support::postgres::{Database, Postgres},
};

/// A store in a database of its own.
struct OnPostgres(Database<'static>);

impl Subject for OnPostgres {
    type Store = PostgresStorage;

    fn new() -> Self {
        Self(Postgres::shared().database())
    }

    fn open(&self) -> PostgresStorage {
        open(&self.0)
    }
}

fn options(database: &Database<'_>) -> PostgresOptions {
    PostgresOptions::new(database.url(), "test")
}

fn open(database: &Database<'_>) -> PostgresStorage {
    open_at(database.url())
}

/// Tries again and again, at the pace of a server that runs.
#[track_caller]
fn wait_until(server: &Postgres, what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        server.sql("postgres", "select pg_sleep(0.02)");
    }
    panic!("{what}");
}

fn open_at(url: String) -> PostgresStorage {
    PostgresStorage::open(&PostgresOptions::new(url, "test"), Clock::system()).unwrap()
}

/// A store at whichever of two servers takes writes.
fn open_at_either(primary: &Postgres, standby: &Postgres) -> PostgresStorage {
    let both = format!("127.0.0.1:{},127.0.0.1:{}/", primary.port(), standby.port());
    let url = primary.url("postgres");
    let url = url.replace(&format!("127.0.0.1:{}/", primary.port()), &both);
    open_at(url + "&target_session_attrs=read-write")
}

contract!(OnPostgres);
