//! The store on a real PostgreSQL.

mod checks;
mod copies;
mod databases;
mod faults;
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
    PostgresOptions {
        url: database.url(),
        listen_url: None,
        name: "test".to_owned(),
    }
}

fn open(database: &Database<'_>) -> PostgresStorage {
    PostgresStorage::open(&options(database), Clock::system()).unwrap()
}

contract!(OnPostgres);
